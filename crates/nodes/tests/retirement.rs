//! A meter that is retired in a month is billed in it to that moment, and never again.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_billing::{SigmoidParameters, SigmoidTariff};
use gridloom_core::{
    Currency, Instant, IntervalReading, IntervalValues, MeterId, Millivolts, MilliwattHours, Month,
    Now, Period, Price, ReadingStatus, Seed, SystemTitle, UtcTime, Watts,
};
use gridloom_dlms::push::BillingStatus;
use gridloom_edge::{AcceptedReading, LinkQuality, Path, Reasons, Scores, ScreenedReading};
use gridloom_grid::station::Fleet;
use gridloom_mdm::{MeterLimits, Phases, PowerTriangle, ServiceSpan};
use gridloom_nodes::envelope::{Message, Role};
use gridloom_nodes::{
    Answer, DiskReply, DiskRequest, Input, LinkId, Node, Output, Port, Query, ServedMeter,
    UtilityConfig, UtilityMemory, UtilityNode,
};
use gridloom_store::{
    Backend, BillRow, Checkpoint, Effect, Ledger, LedgerConfig, MemoryBackend, Outcome,
};

const PERIOD: Period = Period::HOUR;
const EDGE: LinkId = LinkId(1);
const STAYS: MeterId = MeterId(1);
const GOES: MeterId = MeterId(2);

fn at(text: &str) -> UtcTime {
    UtcTime::parse(text).unwrap()
}

fn now(utc: UtcTime) -> Now {
    Now {
        instant: Instant::ZERO + utc.since(at("2026-02-09T00:00:00Z")),
        utc,
    }
}

fn title(meter: MeterId) -> SystemTitle {
    SystemTitle::new(*b"GLM", meter.0.into())
}

fn served(meter: MeterId, span: ServiceSpan) -> ServedMeter {
    let nominal = Millivolts::new(230_000);
    ServedMeter {
        meter,
        title: title(meter),
        name: meter.to_string(),
        limits: MeterLimits::new(63, Phases::One, nominal, PowerTriangle::NotCaptured).unwrap(),
        span,
        purpose: gridloom_nodes::Purpose::Customer,
    }
}

fn both() -> Vec<ServedMeter> {
    let from = at("2026-02-09T00:00:00Z");
    let until = at("2026-02-10T12:20:00Z");
    vec![
        served(STAYS, ServiceSpan::since(from)),
        served(GOES, ServiceSpan::between(from, until).unwrap()),
    ]
}

fn config() -> UtilityConfig {
    let price = |text| Price::parse(text).unwrap();
    UtilityConfig {
        name: "test".into(),
        period: PERIOD,
        currency: Currency::new("EUR", 2).unwrap(),
        tariff: SigmoidTariff::new(SigmoidParameters {
            p_min: price("0.1"),
            p_max: price("0.3"),
            x0: Watts::new(1_000),
            k_per_watt: 0.001,
            price_decimals: SigmoidParameters::PRICE_DECIMALS_DEFAULT,
        })
        .unwrap(),
        cutoff: Duration::from_secs(60),
        grace: Duration::from_hours(24),
        seal_after: Duration::from_hours(2),
        stations: Fleet::for_area(Seed::new(1), Watts::new(10_000)),
    }
}

/// One kilowatt-hour in every hour since `from`.
fn reading(meter: MeterId, from: UtcTime, end: UtcTime) -> AcceptedReading {
    let hours = i64::try_from(end.since(from).as_secs() / 3_600).unwrap();
    AcceptedReading {
        title: title(meter),
        counter: 1,
        reading: IntervalReading {
            meter,
            period: PERIOD,
            end,
            status: ReadingStatus(0),
            values: IntervalValues {
                import: MilliwattHours::new(1_000_000),
                voltage: Millivolts::new(230_000),
                ..IntervalValues::default()
            },
            import_register: MilliwattHours::new(1_000_000 * hours),
        },
        power: Watts::new(1_000),
        billing: BillingStatus::default(),
    }
}

/// As its edge passes it on.
fn screened(accepted: AcceptedReading) -> ScreenedReading {
    ScreenedReading {
        accepted,
        scores: Scores::FULL,
        reasons: Reasons::NONE,
        path: Path {
            gateway: 1,
            down: 1,
        },
        link: LinkQuality::default(),
    }
}

/// A utility with a disk that does at once what it is asked.
struct Bench {
    node: UtilityNode,
    backend: MemoryBackend,
}

impl Bench {
    fn give(&mut self, input: Input, now: Now) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.node.handle(input, now);
            while let Some(output) = self.node.poll_output() {
                if let Output::Disk(request) = output
                    && let Some(reply) = self.carry_out(request)
                {
                    inputs.push_back(Input::Disk(reply));
                }
            }
        }
    }

    fn carry_out(&mut self, request: DiskRequest) -> Option<DiskReply> {
        match request {
            DiskRequest::Ledger(effect) => Some(DiskReply::Ledger(match effect {
                Effect::TruncateSegment { .. } => Outcome::Truncated,
                Effect::WriteJournal { through, .. } => Outcome::Written { through },
                Effect::Commit(batch) => Outcome::Committed(self.backend.commit(batch).unwrap()),
                Effect::DropSegments { .. } => Outcome::Dropped,
            })),
            DiskRequest::Query {
                ticket,
                query:
                    Query::Readings {
                        meter,
                        period,
                        first,
                        last,
                    },
            } => {
                let readings = self.backend.readings(meter, period, first..=last).unwrap();
                let result = Ok(Answer::Readings(readings));
                Some(DiskReply::Answer { ticket, result })
            }
            DiskRequest::Remember { .. }
            | DiskRequest::Query { .. }
            | DiskRequest::Archive { .. }
            | DiskRequest::Spool(_)
            | DiskRequest::Pair(_)
            | DiskRequest::Operations { .. } => None,
        }
    }

    fn bills(&self, month: &str) -> Vec<BillRow> {
        self.backend.bills(Month::parse(month).unwrap()).unwrap()
    }
}

#[test]
fn the_last_bill_ends_with_service_and_names_its_gap() {
    let began = at("2026-02-09T00:00:00Z");
    let (ledger, _) =
        Ledger::recover(LedgerConfig::default(), Checkpoint::NONE, Vec::new()).unwrap();
    let backend = MemoryBackend::new();
    let memory = UtilityMemory::read(&backend, None, ledger, &both(), PERIOD, began.day()).unwrap();
    let node = UtilityNode::new(config(), both(), memory, now(began));
    let mut bench = Bench { node, backend };
    let link = Input::LinkUp {
        link: EDGE,
        port: Port::Down,
    };
    bench.give(link, now(began));
    let send = |message: &Message| Input::Frame {
        link: EDGE,
        frame: message.encode(),
    };
    let hello = Message::hello(Role::Edge, "edge-1");
    bench.give(send(&hello), now(began));

    let month_end = at("2026-03-01T00:00:00Z");
    let mut end = began + PERIOD.duration();
    let mut sent = [0, 0];
    while end <= month_end {
        let mut readings = vec![reading(STAYS, began, end)];
        // It measures on for an hour after it was retired, and two hours of it never come.
        let goes_on = end <= at("2026-02-10T13:00:00Z");
        let is_missing = (at("2026-02-10T05:00:00Z")..=at("2026-02-10T06:00:00Z")).contains(&end);
        if goes_on && !is_missing {
            readings.push(reading(GOES, began, end));
            sent[1] += 1;
        }
        // What comes under a strange title is no meter of ours.
        let mut stranger = reading(GOES, began, end);
        stranger.title = title(MeterId(9));
        readings.push(stranger);
        sent[0] += 1;
        let screened = readings.into_iter().map(screened).collect();
        bench.give(send(&Message::Screened(screened)), now(end));
        bench.give(Input::Timeout, now(end + Duration::from_secs(61)));
        end = end + PERIOD.duration();
    }
    assert_eq!(
        bench.node.status(now(month_end)).counters.unregistered,
        sent[0]
    );
    for minutes in 0..10 {
        let later = month_end + Duration::from_secs(61 + 60 * minutes);
        bench.give(Input::Timeout, now(later));
    }
    // Complete but for the gap: the month waits for its grace.
    assert_eq!(bench.bills("2026-02"), []);
    let over = month_end + Duration::from_hours(24);
    for minutes in 0..10 {
        bench.give(
            Input::Timeout,
            now(over + Duration::from_secs(60 * minutes)),
        );
    }
    let bills = bench.bills("2026-02");
    let figures: Vec<_> = bills
        .iter()
        .map(|bill| (bill.meter, bill.intervals, bill.gaps))
        .collect();
    // 36 hours until noon of its last day, less two; what it measured after that is nobody's.
    assert_eq!(figures, [(STAYS, 20 * 24, 0), (GOES, 34, 2)]);
    assert_eq!(sent[1], 35);
    assert_eq!(bills[1].energy, MilliwattHours::new(34 * 1_000_000));
    let shown: Vec<_> = bench.node.status(now(over)).meters;
    assert_eq!(shown.len(), 1, "a retired meter is not shown as silent");

    // A restart knows that the month is closed, also with a meter that came after it.
    let mut later = both();
    let april = ServiceSpan::since(at("2026-04-02T00:00:00Z"));
    later.push(served(MeterId(3), april));
    let (ledger, _) =
        Ledger::recover(LedgerConfig::default(), Checkpoint::NONE, Vec::new()).unwrap();
    let memory =
        UtilityMemory::read(&bench.backend, None, ledger, &later, PERIOD, began.day()).unwrap();
    assert_eq!(memory.next_month, Month::parse("2026-03").unwrap());
}
