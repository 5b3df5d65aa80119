//! Short messages through a modem on a serial line, program to program.

mod process;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use process::{Demo, bills, gridloom, refusal, run, until};

const NUMBER: &str = "+49301234567";

/// April at 90 000 times real time, on a busy machine.
const MONTH_MAX: Duration = Duration::from_secs(150);

/// Alarms and bills of a month that are read before the test gives up.
const TEXTS_MAX: usize = 60;

/// `gridloom emulate modem` at work; killed when dropped.
struct Modem {
    child: Child,
    out: BufReader<ChildStdout>,
    device: String,
}

impl Modem {
    fn start(arguments: &[&str]) -> Self {
        let mut child = gridloom()
            .args(["emulate", "modem"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut out = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let mut line = String::new();
        out.read_line(&mut line).expect("its output is text");
        let device = line
            .strip_prefix("modem ")
            .unwrap_or_else(|| panic!("it said {line:?}"))
            .trim()
            .to_owned();
        Self { child, out, device }
    }

    /// The next text that it was given to send: number and text.
    fn sent(&mut self) -> (String, String) {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("its output is text");
        let rest = line
            .strip_prefix("sent ")
            .unwrap_or_else(|| panic!("it said {line:?}"));
        let (number, text) = rest.trim().split_once("  ").expect("number and text");
        (number.to_owned(), text.to_owned())
    }
}

impl Drop for Modem {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_text_is_sent_and_another_received() {
    let mut modem = Modem::start(&["--receive", "+4915112345678:Pump 2 runs dry"]);
    let device = modem.device.clone();
    let text = "Transformer 4: oil at 92 C";
    let sent = run(&[
        "sms", "--device", &device, "send", "--to", NUMBER, "--text", text,
    ]);
    let words = String::from_utf8_lossy(&sent.stderr);
    assert!(sent.status.success(), "{words}");
    assert_eq!(String::from_utf8_lossy(&sent.stdout), "sent in 1 part(s)\n");
    assert_eq!(modem.sent(), (NUMBER.to_owned(), text.to_owned()));

    // A fresh one, because the first connection has read what had arrived.
    let modem = Modem::start(&["--receive", "+4915112345678:Pump 2 runs dry"]);
    let heard = run(&["sms", "--device", &modem.device, "listen", "--seconds", "3"]);
    let heard = String::from_utf8_lossy(&heard.stdout).into_owned();
    assert!(
        heard.contains("+4915112345678") && heard.contains("Pump 2 runs dry"),
        "{heard:?}"
    );
}

#[test]
fn what_cannot_be_sent_is_refused_with_words() {
    let modem = Modem::start(&[]);
    let send = |device: &str, to: &str| {
        refusal(&[
            "sms", "--device", device, "send", "--to", to, "--text", "Hello",
        ])
    };
    for (device, to, named) in [
        (modem.device.as_str(), "12 monkeys", "--to"),
        ("/dev/no-such-modem", NUMBER, "/dev/no-such-modem"),
    ] {
        let words = send(device, to);
        assert!(words.contains(named), "{words}");
    }
}

#[test]
fn a_closed_month_is_texted() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut modem = Modem::start(&[]);
    let device = modem.device.clone();
    let arguments = ["--speed", "90000", "--modem", &device, "--sms-to", NUMBER];
    let demo = Demo::start(&data, &arguments);
    until("three closed bills", MONTH_MAX, || {
        let snapshot = demo.api("snapshot");
        let count = snapshot["bills"].as_array().map_or(0, Vec::len);
        (count >= 3).then_some(())
    });
    let booked = bills(&data);
    let mut expected: BTreeSet<String> = booked
        .iter()
        .filter(|bill| bill["month"] == "2026-04")
        .map(|bill| {
            let word = |key: &str| bill[key].as_str().expect("a text").to_owned();
            let (name, amount, currency) = (word("name"), word("amount"), word("currency"));
            format!("{name}: bill of 2026-04 is {amount} {currency}")
        })
        .collect();
    assert_eq!(expected.len(), 3, "{booked:?}");
    // At this speed a meter may fall silent for a moment, which is told as well.
    let mut silent: BTreeSet<String> = BTreeSet::new();
    for _ in 0..TEXTS_MAX {
        let (number, text) = modem.sent();
        assert_eq!(number, NUMBER, "{text}");
        if let Some(house) = text.strip_suffix(": meter silent") {
            silent.insert(house_of(house));
        } else if let Some(house) = text.strip_suffix(": meter is back") {
            assert!(silent.remove(&house_of(house)), "{text} without alarm");
        } else {
            let (bill, reading) = text
                .split_once(", meter reads ")
                .expect("a bill and a reading");
            assert!(expected.remove(bill), "{text:?} is not among {expected:?}");
            let kwh = reading
                .strip_suffix(" kWh")
                .and_then(|kwh| kwh.parse().ok());
            assert!(kwh.is_some_and(|kwh: f64| kwh > 10.0), "{text}");
        }
        if expected.is_empty() {
            demo.interrupt().in_order();
            return;
        }
    }
    panic!("{expected:?} were not among {TEXTS_MAX} texts");
}

/// `WARNING 2026-04-02T13:53:08Z House 2` is about House 2.
fn house_of(alert: &str) -> String {
    alert
        .splitn(3, ' ')
        .nth(2)
        .expect("level, time, house")
        .to_owned()
}
