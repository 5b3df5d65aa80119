//! Keys and firmware of meters behind real sockets, ordered on the command line; the master key
//! is held by another program, and no secret reaches a log.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod process;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Now, Period, Seed, SystemTitle};
use gridloom_dlms::security::{Curve, KeyEncryptionKey, Keys, PrivateKey};
use gridloom_field::meter::{Boot, Meter};
use gridloom_field::objects::firmware::{MakersKey, sign_image};
use gridloom_host::dlms::{MeterListenOptions, MeterListener, MeterWire};
use gridloom_host::{Clock, Net, Runner};
use gridloom_nodes::{DiskReply, DiskRequest, Input, MeterNode, Node, Output as NodeOutput};
use gridloom_sim::town::{Homes, Town, TownPlan};
use process::{gridloom, run, text, until};
use serde_json::Value;

const METERS: u32 = 5;

/// The meter that knows another maker.
const STRANGER: u32 = 3;

const MODEL: [u8; 8] = *b"GLMETER1";

/// A key change, and a campaign with its pauses, on a busy machine.
const CHANGE_MAX: Duration = Duration::from_secs(240);

const STOP_MAX: Duration = Duration::from_secs(30);

const EK: [u8; 16] = *b"\xE7\x11\x82\x3C\xD4\x05\x96\x47\xF8\x29\x7A\xBB\x0C\xCD\x5E\x9F";
const AK: [u8; 16] = *b"\xA9\x22\x73\xC4\x15\xE6\x57\x88\x09\xDA\x3B\xFC\x6D\x1E\x4F\xB0";
const KEK: [u8; 16] = *b"\x5B\x33\xE4\x95\x06\xC7\x78\x19\xDA\x4B\xAC\xFD\x2E\x8F\x60\x11";

/// Holds the master key for a test: it hides nothing, but follows the protocol.
const HOLDER: &str = r#"#!/bin/sh
while read -r verb version form digits; do
    case "$verb" in
    newest) echo "ok 1" ;;
    wrap) echo "ok a6a6a6a6a6a6a6a6$digits" ;;
    unwrap)
        case "$digits" in
        a6a6a6a6a6a6a6a6*) echo "ok ${digits#a6a6a6a6a6a6a6a6}" ;;
        *) echo mismatch ;;
        esac
        ;;
    *) echo "error unknown question" ;;
    esac
done
"#;

fn maker(byte: u8) -> PrivateKey {
    PrivateKey::generate(Curve::P256, &mut |bytes| bytes.fill(byte))
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// A meter whose memory lasts as long as it does.
struct Forgetful {
    node: MeterNode,
    done: VecDeque<u64>,
    now: Option<Now>,
}

impl Node for Forgetful {
    fn handle(&mut self, input: Input, now: Now) {
        self.now = Some(now);
        self.node.handle(input, now);
    }

    fn poll_output(&mut self) -> Option<NodeOutput> {
        loop {
            match self.node.poll_output() {
                Some(NodeOutput::Disk(DiskRequest::Remember { ticket, .. })) => {
                    self.done.push_back(ticket);
                }
                Some(output) => return Some(output),
                None => {
                    let now = self.now?;
                    let ticket = self.done.pop_front()?;
                    let result = Ok(());
                    let done = DiskReply::Done { ticket, result };
                    self.node.handle(Input::Disk(done), now);
                }
            }
        }
    }

    fn wake(&self) -> gridloom_core::Wake {
        self.node.wake()
    }
}

/// Five meters on one address, in a runtime of their own.
struct Meters {
    address: String,
    _runtime: tokio::runtime::Runtime,
}

impl Meters {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let address = runtime.block_on(async {
            let listener = MeterListener::tcp("test", "127.0.0.1:0", MeterWire::Wrapper);
            let listener = listener.await.unwrap();
            let address = listener.address().unwrap();
            let clock = Clock::realtime();
            let mut runner = Runner::new(Net::new(clock.clone(), Seed::new(1)));
            let now = clock.now();
            let plan = TownPlan {
                seed: Seed::new(1),
                period: Period::QUARTER_HOUR,
                start: now.utc.day().start(),
                currency: gridloom_core::Currency::new("EUR", 2).unwrap(),
                homes: Homes::Households {
                    count: METERS,
                    response: gridloom_grid::response::Response::Off,
                },
            };
            let town = Town::new(plan, |_| Keys::new(EK, AK)).unwrap();
            for (number, house) in (1..).zip(town.houses()) {
                let mut config = house.config().clone();
                config.title = title(number);
                config.access.master = Some(KeyEncryptionKey::new(KEK));
                let signer = maker(if number == STRANGER { 8 } else { 7 });
                config.firmware = Arc::new(MakersKey::new(signer.public_key(), MODEL));
                let memory = std::collections::BTreeMap::new();
                let meter = Meter::start(config, house.load(), &memory, Boot::Reset, now).unwrap();
                let node = Forgetful {
                    node: MeterNode::new(meter),
                    done: VecDeque::new(),
                    now: None,
                };
                runner.add(&format!("meter-{number}"), node);
            }
            runner.listen_for_clients(listener, MeterListenOptions::default());
            // It runs as long as the runtime does.
            std::mem::forget(runner.start());
            address.to_string()
        });
        Self {
            address,
            _runtime: runtime,
        }
    }
}

fn title(number: u32) -> SystemTitle {
    SystemTitle::new(*b"GLT", u64::from(number))
}

/// `gridloom serve`, killed at once when dropped.
struct Served {
    child: Child,
    url: String,
}

impl Served {
    fn start(data: &Path, config: &Path, log: &Path) -> Self {
        let errors = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log);
        let mut command: Command = gridloom();
        command
            .args(["serve", "--data", text(data), "--config", text(config)])
            .args(["--console", "127.0.0.1:0", "--utility", "127.0.0.1:0"])
            .env("RUST_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(errors.unwrap());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let url = loop {
            let mut line = String::new();
            let length = out.read_line(&mut line).unwrap();
            assert!(length > 0, "{}", std::fs::read_to_string(log).unwrap());
            if let Some(rest) = line.strip_prefix("console  ") {
                break rest.trim().trim_end_matches('/').to_owned();
            }
        };
        child.stdout = Some(out.into_inner());
        Self { child, url }
    }

    fn ask(&self, data: &Path, arguments: &[&str]) -> Output {
        let token = data.join("operator.token");
        let place = ["--url", &self.url, "--token-file", text(&token), "--json"];
        run(&[arguments, &place[..]].concat())
    }

    /// The answer, whatever the command made of it.
    fn view(&self, data: &Path, arguments: &[&str]) -> Value {
        let output = self.ask(data, arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr))
        })
    }
}

impl Served {
    /// SIGTERM, as a service manager does it.
    fn stop(mut self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success());
        let status = until("a clean stop", STOP_MAX, || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn good(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{words}");
}

#[test]
fn keys_and_firmware_change_behind_real_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let (data, config, log) = (at("data"), at("gridloom.toml"), at("log"));
    let holder = at("holder");
    std::fs::write(&holder, HOLDER).unwrap();
    std::fs::set_permissions(&holder, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(
        &config,
        format!("[vault]\ncommand = [{:?}]\n", text(&holder)),
    )
    .unwrap();
    let meters = Meters::start();
    let (ek, ak, kek) = (digits(&EK), digits(&AK), digits(&KEK));
    let mut csv = "title,serial,name,transport,address,server,roles,template,groups,\
                   service_point,guek,gak,kek\n"
        .to_owned();
    for number in 1..=METERS {
        csv += &format!(
            "{},S{number},Home {number},tcp,{},{number},1:hls5/0,gridloom,all,P{number},{ek},{ak},\
             {kek}\n",
            title(number),
            meters.address
        );
    }
    std::fs::write(at("meters.csv"), csv).unwrap();
    let (file, command) = (at("meters.csv"), text(&holder).to_owned());
    let import = ["meters", "import", text(&file), "--data", text(&data)];
    good(&run(&[&import[..], &["--vault-command", &command]].concat()));
    assert!(
        !data.join("master.key").exists(),
        "the program holds the key"
    );
    // A program that holds another key, or is none, is named at the start.
    for (script, words) in [
        (
            "#!/bin/sh\nread -r x; echo error the token is locked\n",
            "the token is locked",
        ),
        (
            "#!/bin/sh\nread -r x; echo ok 1; read -r x; echo mismatch\n",
            "not master key 1",
        ),
        ("#!/bin/sh\nexit 0\n", "ended without an answer"),
    ] {
        let other = at("other");
        std::fs::write(&other, script).unwrap();
        std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o700)).unwrap();
        let ports = ["--console", "127.0.0.1:0", "--utility", "127.0.0.1:0"];
        let serve = [
            "serve",
            "--data",
            text(&data),
            "--vault-command",
            text(&other),
        ];
        let refused = run(&[&serve[..], &ports[..]].concat());
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains(words), "{said}");
    }

    let served = Served::start(&data, &config, &log);
    let rekey = [
        "order",
        "rekey",
        "--meters",
        "1,2",
        "--keys",
        "guek,gak,gbek,kek",
    ];
    for round in 1..=2 {
        let view = served.view(&data, &rekey);
        assert_eq!(
            (&view["done"], &view["failed"]),
            (&2.into(), &0.into()),
            "{round}: {view}"
        );
    }
    let view = served.view(&data, &["order", "read", "--group", "all"]);
    assert_eq!(view["done"], METERS, "{view}");
    let refused = served.ask(&data, &["order", "rekey", "--meters", "1", "--keys", "lls"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("give guek, gak, gbek or kek"), "{said}");

    let image = at("new.img");
    let program = vec![0x5A; 20_000];
    std::fs::write(&image, sign_image(MODEL, 9 << 24 | 1, &program, &maker(7))).unwrap();
    let begin = [
        "campaign",
        "start",
        "--image",
        text(&image),
        "--version",
        "9.0.1",
        "--group",
        "all",
        "--stages",
        "2,100%",
        "--success",
        "50",
        "--no-wait",
    ];
    let refused = served.ask(&data, &begin);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("no maker of firmware is known"), "{said}");
    let key = digits(&maker(7).public_key().to_bytes());
    std::fs::write(data.join("firmware-makers"), format!("{key}\n")).unwrap();
    let id = served.view(&data, &begin)["id"].to_string();
    let show = ["campaign", "show", &id];
    until("the first blocks", CHANGE_MAX, || {
        let listed = served.view(&data, &["campaign", "list"]);
        (listed[0]["under_way"].as_u64()? > 0).then_some(())
    });
    // It dies in the middle, and goes on.
    drop(served);
    let served = Served::start(&data, &config, &log);
    let followed = until("the end of the campaign", CHANGE_MAX, || {
        let output = served.ask(&data, &show);
        let view: Value = serde_json::from_slice(&output.stdout).ok()?;
        (view["state"] == "finished").then_some((output, view))
    });
    let (output, view) = followed;
    assert_eq!(output.status.code(), Some(1), "one meter failed");
    assert_eq!(
        (&view["succeeded"], &view["failed"]),
        (&4.into(), &1.into()),
        "{view}"
    );
    let stranger = &view["meters"][2];
    assert_eq!(stranger["phase"], "failed", "{view}");
    assert!(
        stranger["detail"].as_str().unwrap().contains("erif"),
        "{view}"
    );
    let version = [
        "order",
        "read",
        "--meters",
        "1",
        "--obis",
        "1-0:0.2.0.255",
        "--class",
        "1",
    ];
    let read = served.view(&data, &version);
    assert!(
        read["parts"][0]["detail"].to_string().contains("9.0.1"),
        "{read}"
    );
    let refused = served.ask(&data, &["campaign", "pause", &id]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("it is finished"), "{said}");

    // What ran before, signed again under a higher number: our meters never go back.
    let before = at("before.img");
    std::fs::write(
        &before,
        sign_image(MODEL, 9 << 24 | 2, &program[1..], &maker(7)),
    )
    .unwrap();
    let back = [
        "campaign",
        "rollback",
        &id,
        "--image",
        text(&before),
        "--version",
        "9.0.2",
    ];
    let view = served.view(&data, &back);
    assert_eq!(
        (&view["succeeded"], &view["total"]),
        (&4.into(), &5.into()),
        "{view}"
    );
    // Asked to stop, it says how its links ended: the log is not empty.
    served.stop();

    let log = std::fs::read(&log).unwrap();
    assert!(
        String::from_utf8_lossy(&log).contains("link ended"),
        "{}",
        String::from_utf8_lossy(&log)
    );
    let is_in_log = |needle: &[u8]| log.windows(needle.len()).any(|window| window == needle);
    let mut secrets = vec![EK.to_vec(), AK.to_vec(), KEK.to_vec()];
    for secret in [EK, AK, KEK] {
        secrets.push(digits(&secret).into_bytes());
        secrets.push(digits(&secret).to_lowercase().into_bytes());
        secrets.push(format!("{secret:?}").trim_matches(['[', ']']).into());
    }
    for secret in secrets {
        assert!(!is_in_log(&secret), "{secret:02X?} is in the log");
    }
}
