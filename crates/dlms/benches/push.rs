//! How many pushes a core decrypts, verifies and reads per second, and seals.

mod frames;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use gridloom_core::{
    IntervalValues, MillivarHours, MillivoltAmpereHours, Millivolts, MilliwattHours, Month, Period,
    ReadingStatus, UtcTime, Watts,
};
use gridloom_dlms::apdu::DataNotification;
use gridloom_dlms::axdr::Decoder;
use gridloom_dlms::push::{BillingStatus, ClosedMonth, IntervalPush};
use gridloom_dlms::security::{CipherContext, Protection};

use frames::{TITLE, accept, context, one_entry, sealed};

fn main() {
    divan::main();
}

/// When the one entry was read.
const TIME: [u8; 12] = [7, 0xDD, 1, 31, 4, 23, 30, 0, 0, 0, 0, 0];

fn interval() -> IntervalPush {
    IntervalPush {
        period: Period::QUARTER_HOUR,
        end: UtcTime::from_secs(1_359_675_000),
        status: ReadingStatus::GOOD,
        values: IntervalValues {
            import: MilliwattHours::new(333_000),
            export: MilliwattHours::ZERO,
            reactive: [MillivarHours::new(12_000); 4],
            apparent: MillivoltAmpereHours::new(350_000),
            voltage: Millivolts::new(230_100),
        },
        import_register: MilliwattHours::new(123_456_789_000),
        power: Watts::new(1_332),
        billing: BillingStatus {
            running_minor: 1_234,
            unpriced: 1,
            oldest_unpriced: Some(UtcTime::from_secs(1_359_675_000)),
            closed: Month::new(2012, 12).map(|month| ClosedMonth {
                month,
                minor: 4_321,
            }),
        },
    }
}

#[divan::bench]
fn open_one_entry_streaming(bencher: Bencher<'_, '_>) {
    let (context, frame, mut plain) = (context(), sealed(&one_entry(&TIME)), Vec::new());
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        let plain = accept(&context, black_box(&frame), &mut plain);
        let notification = DataNotification::decode(plain).expect("a notification");
        let mut body = Decoder::new(notification.body);
        body.structure(3).expect("three members");
        let time = body.octet_array::<12>().expect("a date-time");
        let name = body.octet_array::<6>().expect("a logical name");
        (time, name, body.double_long_unsigned().expect("a register"))
    });
}

#[divan::bench]
fn open_one_entry_tree(bencher: Bencher<'_, '_>) {
    let (context, frame, mut plain) = (context(), sealed(&one_entry(&TIME)), Vec::new());
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        let plain = accept(&context, black_box(&frame), &mut plain);
        let notification = DataNotification::decode(plain).expect("a notification");
        notification.data().expect("a value")
    });
}

#[divan::bench]
fn open_interval_push(bencher: Bencher<'_, '_>) {
    let mut notification = Vec::new();
    interval()
        .encode_notification(&mut notification)
        .expect("whole units");
    let (context, frame, mut plain) = (context(), sealed(&notification), Vec::new());
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        let plain = accept(&context, black_box(&frame), &mut plain);
        let notification = DataNotification::decode(plain).expect("a notification");
        IntervalPush::decode(notification.body).expect("an interval")
    });
}

#[divan::bench]
fn seal_interval_push(bencher: Bencher<'_, '_>) {
    let (context, push) = (context(), interval());
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        plain.clear();
        out.clear();
        black_box(&push)
            .encode_notification(&mut plain)
            .expect("whole units");
        context.protect(Protection::full(TITLE, 7), &plain, &mut out);
        out.len()
    });
}

#[divan::bench]
fn expand_keys() -> CipherContext {
    context()
}
