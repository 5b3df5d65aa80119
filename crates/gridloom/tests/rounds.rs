//! Every tier in a process of its own, over mutual TLS and under load: nodes drawn from a seed are
//! killed, or stand still for a while, sometimes two at once, while supply is switched. Nothing is
//! lost, doubled or altered, no order is carried out twice, and service comes back by itself. How long
//! that takes is printed; nothing depends on it.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod network;
mod process;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use network::{AK, EK, Network, Node, ask, good};
use process::{Draws, clock, gridloom, pause, run, text, until};
use serde_json::Value;

/// What is captured, buffered and ordered becomes settled within this, on a busy machine.
const SETTLED_MAX: Duration = Duration::from_secs(180);

/// The rate before a fault is the mean over this time.
const BEFORE: Duration = Duration::from_secs(2);

/// Rates after it are means over this time.
const WINDOW: Duration = Duration::from_secs(1);

/// The console counts so often, with some delay.
const COUNTED_EVERY: Duration = Duration::from_millis(600);

/// A round ends, whatever the rate is by then. Readings that did not come make the end fail.
const ROUND_MAX: Duration = Duration::from_secs(12);

/// The codes of the meters' control log (IS 15959): supply switched off, and on.
const SWITCHED: [(&str, i64); 2] = [("disconnect", 301), ("connect", 302)];

#[test]
fn readings_and_orders_survive_lost_nodes() {
    Rounds::run(3, 5);
}

/// The long run, for the figures; `make rounds`.
#[test]
#[ignore = "takes minutes: the figures of docs/performance.md"]
fn twenty_rounds() {
    Rounds::run(20, 10);
}

/// What happens to a node.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Killed, and started again after a time.
    Kill(Duration),
    /// Stopped, and continued after a time: its sockets stand, and nothing answers.
    Stop(Duration),
}

impl Fault {
    fn draw(draws: &mut Draws) -> Self {
        let time = Duration::from_millis(draws.between(500, 4_000));
        if draws.next().is_multiple_of(2) {
            Self::Kill(time)
        } else {
            Self::Stop(time)
        }
    }

    const fn time(self) -> Duration {
        match self {
            Self::Kill(time) | Self::Stop(time) => time,
        }
    }

    fn begin(self, node: Node, network: &mut Network) {
        match self {
            Self::Kill(_) => network.kill(node),
            Self::Stop(_) => network.signal(node, "-STOP"),
        }
    }

    fn end(self, node: Node, network: &mut Network) {
        match self {
            Self::Kill(_) => network.start_again(node),
            Self::Stop(_) => network.signal(node, "-CONT"),
        }
    }
}

/// One fault, and when it begins after the round's first.
#[derive(Debug, Clone, Copy)]
struct Strike {
    node: Node,
    fault: Fault,
    after: Duration,
}

impl Strike {
    /// One node, or in a third of the rounds two, the second while the first is away.
    fn draw(draws: &mut Draws) -> Vec<Self> {
        let fault = Fault::draw(draws);
        let of = |draws: &mut Draws| {
            let index = draws.between(0, Node::ALL.len() as u64);
            Node::ALL[usize::try_from(index).unwrap()]
        };
        let first = Self {
            node: of(draws),
            fault,
            after: Duration::ZERO,
        };
        let mut strikes = vec![first];
        if draws.next().is_multiple_of(3) {
            let node = of(draws);
            if node != first.node {
                let within = u64::try_from(fault.time().as_millis()).unwrap();
                let after = Duration::from_millis(draws.between(0, within));
                strikes.push(Self {
                    node,
                    fault: Fault::draw(draws),
                    after,
                });
            }
        }
        strikes
    }

    fn words(&self) -> String {
        let what = match self.fault {
            Fault::Kill(_) => "killed",
            Fault::Stop(_) => "stopped",
        };
        format!("{} {what}", self.node.name())
    }
}

/// How a round went.
#[derive(Debug)]
struct Row {
    round: u32,
    strikes: Vec<Strike>,
    /// Readings stored each second before the first fault.
    before: f64,
    /// The longest time in which nothing was stored, within the counting of twice a second.
    silence: Duration,
    /// From the first fault until nine tenths of the rate before are back; `None` if the round or the
    /// load ended earlier.
    t_90: Option<Duration>,
}

impl Row {
    fn json(&self) -> Value {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap();
        let strikes = self.strikes.iter().map(|strike| {
            serde_json::json!({
                "node": strike.node.name(),
                "fault": match strike.fault { Fault::Kill(_) => "kill", Fault::Stop(_) => "stop" },
                "after_ms": millis(strike.after),
                "away_ms": millis(strike.fault.time()),
            })
        });
        serde_json::json!({
            "round": self.round,
            "strikes": strikes.collect::<Vec<_>>(),
            "rate_before": self.before.round(),
            "silence_ms": millis(self.silence),
            "t_90_ms": self.t_90.map(millis),
        })
    }
}

/// The count of stored readings, looked at all the time.
struct Watch {
    began: Instant,
    samples: Arc<Mutex<Vec<(Duration, u64)>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    #[expect(
        clippy::disallowed_methods,
        reason = "the program under test lives in real time, and so does who watches it"
    )]
    fn start(console: SocketAddr) -> Self {
        let began = clock();
        let samples = Arc::new(Mutex::new(vec![(Duration::ZERO, 0)]));
        let is_over = Arc::new(AtomicBool::new(false));
        let (to, stop) = (samples.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let answer = ask(console, "/api/v1/snapshot");
                let at = clock() - began;
                let mut samples = to.lock().unwrap();
                let (then, last) = *samples.last().unwrap();
                let stored = answer
                    .and_then(|snapshot| snapshot["counters"]["readings_stored"].as_u64())
                    .map_or(last, |stored| stored.max(last));
                // It counts twice a second: in between it says what it said before.
                if stored > last || at - then > COUNTED_EVERY {
                    samples.push((at, stored));
                }
                drop(samples);
                pause(Duration::from_millis(50));
            }
        });
        Self {
            began,
            samples,
            is_over,
            thread: Some(thread),
        }
    }

    fn now(&self) -> Duration {
        clock() - self.began
    }

    fn stored(&self) -> u64 {
        self.samples.lock().unwrap().last().unwrap().1
    }

    /// Readings stored until `at`, between two samples in proportion; `None` if that is not known yet.
    fn stored_at(samples: &[(Duration, u64)], at: Duration) -> Option<f64> {
        let next = samples.partition_point(|(time, _)| *time <= at);
        let ((from, low), (to, high)) = (samples[next.checked_sub(1)?], *samples.get(next)?);
        let part = (at - from).as_secs_f64() / (to - from).as_secs_f64();
        Some(low as f64 + part * (high - low) as f64)
    }

    /// Mean readings a second from `from` over `span`.
    fn rate(samples: &[(Duration, u64)], from: Duration, span: Duration) -> Option<f64> {
        let more = Self::stored_at(samples, from + span)? - Self::stored_at(samples, from)?;
        Some(more / span.as_secs_f64())
    }

    fn rate_before(&self, at: Duration) -> f64 {
        let samples = self.samples.lock().unwrap();
        Self::rate(&samples, at - BEFORE, BEFORE).unwrap_or_default()
    }

    /// From `fault` to the first second with nine tenths of `before`, after the last with less than
    /// half of it.
    fn t_90(&self, fault: Duration, before: f64) -> Option<Duration> {
        if before < 1.0 {
            return None;
        }
        let samples = self.samples.lock().unwrap();
        let rates: Vec<_> = (0..)
            .map(|step| Duration::from_millis(50 * step))
            .map_while(|after| Some((after, Self::rate(&samples, fault + after, WINDOW)?)))
            .collect();
        let dips = rates.iter().rposition(|(_, rate)| *rate < before / 2.0);
        let mut after = rates[dips.unwrap_or(0)..].iter();
        let (after, _) = after.find(|(_, rate)| *rate >= before * 0.9)?;
        Some(*after)
    }

    fn longest_silence(&self, since: Duration) -> Duration {
        let samples = self.samples.lock().unwrap();
        let (mut longest, mut moved) = (Duration::ZERO, since);
        for pair in samples.windows(2).filter(|pair| pair[1].0 > since) {
            if pair[1].1 > pair[0].1 {
                longest = longest.max(pair[0].0.saturating_sub(moved));
                moved = pair[1].0;
            }
        }
        longest.max(samples.last().unwrap().0.saturating_sub(moved))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // If it failed, it has said so.
            let _ = thread.join();
        }
    }
}

/// Orders that switch supply, one after the other: off, then on again, meter by meter.
struct Switching {
    url: String,
    token: std::path::PathBuf,
    meters: u32,
    given: u32,
    under_way: Option<Child>,
}

impl Switching {
    fn new(network: &Network, meters: u32) -> Self {
        Self {
            url: format!("http://{}", network.headend_console()),
            token: network.at("headend-1/operator.token"),
            meters,
            given: 0,
            under_way: None,
        }
    }

    /// Gives the next order if the last one is over, or lost with the head-end that took it.
    fn give(&mut self) {
        if let Some(order) = &mut self.under_way
            && order.try_wait().unwrap().is_none()
        {
            return;
        }
        let (meter, kind) = self.order(self.given);
        let meter = meter.to_string();
        let order = ["order", kind, "--meters", &meter, "--confirm", "--json"];
        let mut command = gridloom();
        command.args(order).args(["--url", &self.url]);
        command.args(["--token-file", text(&self.token)]);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        self.under_way = Some(command.spawn().unwrap());
        self.given += 1;
    }

    /// Meter and kind of the order with this number.
    fn order(&self, number: u32) -> (u64, &'static str) {
        let (kind, _) = SWITCHED[number as usize % 2];
        (u64::from(number / 2 % self.meters + 1), kind)
    }

    fn finish(&mut self) {
        if let Some(mut order) = self.under_way.take() {
            until("the end of an order", SETTLED_MAX, || {
                order.try_wait().unwrap()
            });
        }
    }

    /// For each meter and kind, how often it shall have been switched: at least as often as the
    /// head-end says, which forgets what was over before its start, and at most as often as ordered.
    fn due(&mut self, console: SocketAddr) -> BTreeMap<(u64, String), (u64, u64)> {
        self.finish();
        self.give();
        self.finish();
        let settled = || {
            let orders = ask(console, "/api/v1/headend/orders")?;
            let orders = orders.as_array()?.clone();
            let open = |order: &Value| order["state"] != "over" && order["state"] != "selected";
            (!orders.iter().any(open)).then_some(orders)
        };
        let orders = until("every order is over", SETTLED_MAX, settled);
        let mut due = BTreeMap::new();
        for number in 0..self.given {
            let (meter, kind) = self.order(number);
            let (_, most) = due.entry((meter, kind.to_owned())).or_insert((0, 0));
            *most += 1;
        }
        for order in orders.iter().filter(|order| order["state"] == "over") {
            let path = format!("/api/v1/headend/orders/{}", order["id"]);
            let order = until("an order", SETTLED_MAX, || ask(console, &path));
            let part = &order["parts"][0];
            eprintln!(
                "order {}: {} meter {}: {} {}",
                order["id"], order["kind"], part["meter"], part["state"], part["detail"]
            );
            let kind = order["kind"].as_str().unwrap().to_owned();
            let (least, _) = due
                .entry((part["meter"].as_u64().unwrap(), kind))
                .or_insert((0, 0));
            *least += u64::from(part["state"] == "done");
        }
        due
    }
}

impl Drop for Switching {
    fn drop(&mut self) {
        if let Some(mut order) = self.under_way.take() {
            // It may have ended already.
            let _ = order.kill();
            let _ = order.wait();
        }
    }
}

struct Rounds {
    network: Network,
    watch: Watch,
    switching: Switching,
    draws: Draws,
}

impl Rounds {
    fn run(rounds: u32, meters_each: u32) {
        let draws = Draws::seeded();
        let network = Network::start(rounds + 1, meters_each);
        let mut all = Self {
            watch: Watch::start(network.utility_console()),
            switching: Switching::new(&network, meters_each),
            network,
            draws,
        };
        let rows: Vec<_> = (1..=rounds).map(|round| all.round(round)).collect();
        let healed = clock();
        let owed = all.network.owed();
        until("every reading in the store", SETTLED_MAX, || {
            (all.watch.stored() >= owed).then_some(())
        });
        all.report(&rows, healed.elapsed());
        all.account();
    }

    fn round(&mut self, round: u32) -> Row {
        self.load();
        self.switching.give();
        let strikes = Strike::draw(&mut self.draws);
        let fault = self.watch.now();
        let mut deeds: Vec<(Duration, bool, Strike)> = Vec::new();
        for strike in &strikes {
            deeds.push((strike.after, true, *strike));
            deeds.push((strike.after + strike.fault.time(), false, *strike));
        }
        deeds.sort_by_key(|(at, ..)| *at);
        for (at, is_begin, strike) in deeds {
            pause((fault + at).saturating_sub(self.watch.now()));
            if is_begin {
                strike.fault.begin(strike.node, &mut self.network);
            } else {
                strike.fault.end(strike.node, &mut self.network);
            }
        }
        // Whatever it is, the rate of the first second after everybody is back is seen.
        let seen = self.watch.now() + WINDOW * 2;
        let before = self.watch.rate_before(fault);
        let t_90 = loop {
            let now = self.watch.now();
            if now >= seen {
                let t_90 = self.watch.t_90(fault, before);
                let is_loaded = self.watch.stored() < self.network.owed();
                if t_90.is_some() || !is_loaded || now >= fault + ROUND_MAX {
                    break t_90;
                }
            }
            pause(Duration::from_millis(50));
        };
        let row = Row {
            round,
            before,
            silence: self.watch.longest_silence(fault),
            t_90,
            strikes,
        };
        eprintln!("{row:?}");
        row
    }

    /// Lets readings flow: where less than a fleet's day is owed, the next fleet joins.
    fn load(&mut self) {
        let open = self.network.owed().saturating_sub(self.watch.stored());
        if open < self.network.fleet_owes() {
            self.network.next_fleet();
        }
        let from = self.watch.stored();
        until("readings flow", SETTLED_MAX, || {
            let stored = self.watch.stored();
            (stored > from + 100 || stored >= self.network.owed()).then_some(())
        });
        pause(BEFORE);
    }

    fn report(&self, rows: &[Row], rest: Duration) {
        let mut table = String::new();
        for row in rows {
            let words: Vec<_> = row.strikes.iter().map(Strike::words).collect();
            let away: Vec<_> = row.strikes.iter().map(|it| it.fault.time()).collect();
            let t_90 = row
                .t_90
                .map_or("-".to_owned(), |time| format!("{time:.1?}"));
            let _ = writeln!(
                table,
                "{:>2}  {:<40} away {:<16} {:>5.0}/s before, silent {:>5.1?}, T_90 {t_90}",
                row.round,
                words.join(", "),
                format!("{away:.1?}"),
                row.before,
                row.silence,
            );
        }
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        let json = serde_json::json!({
            "owed": self.network.owed(),
            "all_stored_after_last_round_ms": u64::try_from(rest.as_millis()).unwrap(),
            "rounds": rows,
        });
        eprintln!("{table}everything stored {rest:.1?} after the last round\n{json}");
    }

    /// Compares what the meters did and measured with what was ordered and stored.
    fn account(mut self) {
        let console = self.network.headend_console();
        let due = self.switching.due(console);
        assert!(
            due.values().any(|(least, _)| *least > 0),
            "no supply was switched: {due:?}"
        );
        for ((meter, kind), (least, most)) in due {
            let (_, code) = SWITCHED.into_iter().find(|(it, _)| *it == kind).unwrap();
            let log = self.control_log(meter);
            let times = log.iter().filter(|it| **it == code).count() as u64;
            assert!(
                (least..=most).contains(&times),
                "meter {meter}: {kind} ordered {most} times, done {least}, in its log {times}"
            );
        }
        self.network.stop();
        for (name, log) in self.network.logs() {
            assert!(!log.contains("panicked"), "{name}: {log}");
        }
        let data = self.network.at("utility");
        let mut check = ["check", "--json", "--data", text(&data)]
            .map(str::to_owned)
            .to_vec();
        for fleet in 0..self.network.fleets_started() {
            let field = self.network.at(&format!("field-{fleet}"));
            check.extend(["--field".to_owned(), text(&field).to_owned()]);
        }
        let check: Vec<_> = check.iter().map(String::as_str).collect();
        let accounts: Vec<Value> = serde_json::from_str(&good(&run(&check))).unwrap();
        let mut stored = 0;
        for account in &accounts {
            for fault in [
                "gaps",
                "lost",
                "twice",
                "altered",
                "mispriced",
                "wrong_bills",
            ] {
                assert_eq!(account[fault].as_u64(), Some(0), "{fault}: {account}");
            }
            stored += account["stored"].as_u64().unwrap();
        }
        assert!(stored >= self.network.owed(), "{stored} readings");
    }

    /// The codes in the control log of a meter of the first fleet, read from the meter itself.
    fn control_log(&self, meter: u64) -> Vec<i64> {
        let (at, server) = (self.network.fleet_address(0), meter.to_string());
        let read = [
            "read", &at, "--server", &server, "--client", "1", "--auth", "gmac",
        ];
        let keys = [
            "--ek",
            EK,
            "--ak",
            AK,
            "--obis",
            "0.0.99.98.6.255",
            "--json",
        ];
        let output = gridloom()
            .env("XDG_STATE_HOME", self.network.at("counters"))
            .args([&read[..], &keys].concat())
            .output()
            .unwrap();
        let log: Value = serde_json::from_str(&good(&output)).unwrap();
        let rows = log["rows"].as_array().unwrap().iter();
        rows.map(|row| row[1].as_i64().unwrap()).collect()
    }
}
