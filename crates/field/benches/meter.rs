//! A day of one meter: 96 intervals of a household measured, remembered, pushed, acknowledged.

use std::collections::{BTreeMap, VecDeque};

use divan::Bencher;
use gridloom_core::{Currency, Instant, MeterId, Now, Period, Seed, SystemTitle, UtcTime};
use gridloom_dlms::apdu::{Apdu, DataNotificationConfirm, LongInvokeId};
use gridloom_dlms::security::{CipherContext, Keys, Protection};
use gridloom_field::{Boot, HouseholdLoad, Meter, MeterConfig, Output};
use gridloom_grid::{Household, HouseholdOptions};

fn main() {
    divan::main();
}

const EDGE: SystemTitle = SystemTitle(*b"GLMedge1");
/// 2013-01-01T00:00:00Z.
const START: i64 = 1_356_998_400;

fn at(seconds: i64) -> Now {
    Now {
        instant: Instant::from_nanos(seconds.unsigned_abs() * 1_000_000_000),
        utc: UtcTime::from_secs(START + seconds),
    }
}

/// Drains, and answers every write.
fn settle(meter: &mut Meter, now: Now) {
    let mut tickets = VecDeque::new();
    loop {
        while let Some(output) = meter.poll_output() {
            if let Output::Remember { ticket, .. } = output {
                tickets.push_back(ticket);
            }
        }
        let Some(ticket) = tickets.pop_front() else {
            return;
        };
        meter.handle_remembered(ticket, Ok(()), now);
    }
}

#[divan::bench]
fn day(bencher: Bencher<'_, '_>) {
    let keys = Keys::new([1; 16], [2; 16]);
    let cipher = CipherContext::new(&keys);
    let euro = Currency::new("EUR", 2).expect("a currency");
    let title = SystemTitle(*b"GLMmetr1");
    bencher
        .with_inputs(|| {
            let household = Household::new(Seed::new(1), 1, HouseholdOptions::default());
            let config =
                MeterConfig::new(MeterId(1), title, EDGE, keys.clone(), euro, Seed::new(1));
            let load = Box::new(HouseholdLoad::new(household));
            Meter::start(config, load, &BTreeMap::new(), Boot::Reset, at(0)).expect("it is new")
        })
        .bench_values(|mut meter| {
            settle(&mut meter, at(0));
            meter.handle_link_up(at(0));
            settle(&mut meter, at(0));
            for quarter in 1..=96_u32 {
                let now = at(i64::from(quarter) * 900);
                meter.handle_timeout(now);
                settle(&mut meter, now);
                let id = LongInvokeId::of_interval(Period::QUARTER_HOUR, now.utc);
                let mut plain = Vec::new();
                Apdu::DataNotificationConfirm(DataNotificationConfirm {
                    invoke_id: id,
                    time: None,
                })
                .encode(&mut plain);
                let mut frame = Vec::new();
                cipher.protect(Protection::full(EDGE, quarter), &plain, &mut frame);
                meter.handle_frame(&frame, now);
                settle(&mut meter, now);
            }
            assert_eq!(meter.profile().unacknowledged(), 0);
            meter
        });
}
