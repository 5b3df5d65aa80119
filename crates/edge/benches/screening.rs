//! How many packets a core screens per second: verified and read, or refused.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use gridloom_core::{
    Instant, IntervalValues, MeterId, MillivarHours, MillivoltAmpereHours, Millivolts,
    MilliwattHours, Now, Period, ReadingStatus, SystemTitle, UtcTime, Watts,
};
use gridloom_dlms::push::{BillingStatus, IntervalPush};
use gridloom_dlms::security::{CipherContext, Keys, Protection};
use gridloom_edge::{Edge, EdgeConfig, EdgeMemory, Path, Registration, Registry};

fn main() {
    divan::main();
}

const METERS: u32 = 1_000;
/// Pushes of each meter in one run.
const ROUNDS: u32 = 4;
const NOW: Now = Now {
    instant: Instant::ZERO,
    utc: UtcTime::from_secs(1_359_675_000),
};

fn title(meter: u32) -> SystemTitle {
    SystemTitle::new(*b"GLM", u64::from(meter))
}

fn keys(meter: u32) -> Keys {
    let [a, b, c, d] = meter.to_be_bytes();
    let mut encryption = [0x5A; 16];
    encryption[..4].copy_from_slice(&[a, b, c, d]);
    Keys::new(encryption, [0xA5; 16])
}

fn edge() -> Edge {
    let meters = (0..METERS).map(|meter| Registration {
        meter: MeterId(meter),
        title: title(meter),
        keys: keys(meter),
        period: Period::QUARTER_HOUR,
    });
    let config = EdgeConfig {
        title: SystemTitle(*b"GLE\0\0\0\0\x01"),
        price_scale: -4,
    };
    let registry = Registry::new(meters).expect("every title once");
    let mut edge = Edge::new(config, registry, &EdgeMemory::default());
    while edge.poll_output().is_some() {}
    edge
}

fn push(round: u32) -> Vec<u8> {
    let end = NOW.utc - Period::QUARTER_HOUR.duration() * (ROUNDS - round);
    let mut plain = Vec::new();
    IntervalPush {
        period: Period::QUARTER_HOUR,
        end,
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
            oldest_unpriced: Some(end),
            closed: None,
        },
    }
    .encode_notification(&mut plain)
    .expect("whole units");
    plain
}

/// Every meter's pushes, round by round.
fn frames() -> Vec<Vec<u8>> {
    let contexts: Vec<_> = (0..METERS)
        .map(|meter| CipherContext::new(&keys(meter)))
        .collect();
    (0..ROUNDS)
        .flat_map(|round| {
            let plain = push(round);
            (0..METERS).zip(&contexts).map(move |(meter, context)| {
                let mut frame = Vec::new();
                let protection = Protection::full(title(meter), round + 1);
                context.protect(protection, &plain, &mut frame);
                frame
            })
        })
        .collect()
}

/// Screens all frames; how many passed.
fn screen(edge: &mut Edge, frames: &[Vec<u8>]) -> usize {
    let path = Path {
        gateway: 1,
        down: 1,
    };
    let mut passed = 0;
    for frame in frames {
        if edge.handle_packet(path, black_box(frame), NOW).is_ok() {
            passed += 1;
        }
        while let Some(effect) = edge.poll_output() {
            black_box(effect);
        }
    }
    passed
}

#[divan::bench]
fn accepted(bencher: Bencher<'_, '_>) {
    let frames = frames();
    bencher
        .counter(ItemsCount::new(frames.len()))
        .with_inputs(edge)
        .bench_local_refs(|edge| assert_eq!(screen(edge, &frames), frames.len()));
}

fn refused(bencher: Bencher<'_, '_>, spoil: impl Fn(&mut Vec<u8>)) {
    let mut frames = frames();
    frames.iter_mut().for_each(spoil);
    let mut edge = edge();
    bencher
        .counter(ItemsCount::new(frames.len()))
        .bench_local(|| assert_eq!(screen(&mut edge, &frames), 0));
}

#[divan::bench]
fn refused_unknown_title(bencher: Bencher<'_, '_>) {
    // The third byte of a frame is the first of its title.
    refused(bencher, |frame| frame[2] = b'X');
}

#[divan::bench]
fn refused_bad_tag(bencher: Bencher<'_, '_>) {
    refused(bencher, |frame| {
        let last = frame.len() - 1;
        frame[last] ^= 1;
    });
}
