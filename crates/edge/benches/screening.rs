//! The whole screening with a million meters registered: bytes per meter, packets per second of
//! one core, and what a hostile packet costs while honest ones pass.
//!
//! Plain loops over one long-lived edge: to set up a million meters for every sample would
//! measure the set-up. `GRIDLOOM_METERS` sets another number of meters.

#![allow(clippy::print_stdout, reason = "a bench prints what it found")]

use std::hint::black_box;
use std::time::Duration;

use gridloom_core::{
    Instant, IntervalValues, MeterId, MillivarHours, MillivoltAmpereHours, Millivolts,
    MilliwattHours, Now, Period, ReadingStatus, SystemTitle, UtcTime, Watts,
};
use gridloom_dlms::apdu::DataNotification;
use gridloom_dlms::push::{BillingStatus, IntervalPush};
use gridloom_dlms::security::{CipherContext, CipheredApdu, Keys, Policy, Protection, RawKeys};
use gridloom_edge::{
    Edge, EdgeConfig, EdgeMemory, HashKey, Path, Registration, Registry, ScreeningConfig, Site,
    Verdict,
};

const PERIOD: Period = Period::QUARTER_HOUR;
const FIRST_END: UtcTime = UtcTime::from_secs(1_359_676_800);
/// Rounds in which every meter sends one reading.
const ROUNDS: u32 = 4;
/// Hostile packets for each honest one.
const HOSTILE: u32 = 10;
/// Honest packets in a flood.
const IN_A_FLOOD_MAX: u32 = 100_000;
/// What a million meters at a quarter hour send: one packet in this time.
const BETWEEN_PACKETS: Duration = Duration::from_micros(900);

fn title(meter: u32) -> SystemTitle {
    SystemTitle::new(*b"GLM", u64::from(meter))
}

fn raw_keys(meter: u32) -> ([u8; 16], [u8; 16]) {
    let mut encryption = [0x5A; 16];
    encryption[..4].copy_from_slice(&meter.to_be_bytes());
    (encryption, [0xA5; 16])
}

fn keys(meter: u32) -> Keys {
    let (encryption, authentication) = raw_keys(meter);
    Keys::new(encryption, authentication)
}

/// A hundred gateways, each meter by its own way.
fn home(meter: u32) -> Path {
    Path {
        gateway: u64::from(meter % 100),
        down: u64::from(meter),
    }
}

fn edge(meters: u32) -> Edge {
    let registrations = (0..meters).map(|meter| Registration {
        meter: MeterId(meter),
        title: title(meter),
        keys: keys(meter),
        period: PERIOD,
        site: Site::default(),
    });
    let config = EdgeConfig {
        title: SystemTitle(*b"GLE\0\0\0\0\x01"),
        price_scale: -4,
        screening: ScreeningConfig::default(),
        hash_key: HashKey::new([0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210]),
    };
    let registry = Registry::new(registrations).expect("every title once");
    let mut edge = Edge::new(config, registry, &EdgeMemory::default());
    while edge.poll_output().is_some() {}
    edge
}

fn plain(round: u32) -> Vec<u8> {
    let mut plain = Vec::new();
    IntervalPush {
        period: PERIOD,
        end: FIRST_END + PERIOD.duration() * round,
        status: ReadingStatus::GOOD,
        values: IntervalValues {
            import: MilliwattHours::new(333_000),
            export: MilliwattHours::ZERO,
            reactive: [12_000, 0, 0, 12_000].map(MillivarHours::new),
            apparent: MillivoltAmpereHours::new(350_000),
            voltage: Millivolts::new(230_100),
        },
        import_register: MilliwattHours::new(123_456_000 + i64::from(round) * 333_000),
        power: Watts::new(1_332),
        billing: BillingStatus::default(),
    }
    .encode_notification(&mut plain)
    .expect("whole units");
    plain
}

/// One frame per meter of a round, end to end in the order in which they are sent: a frame that
/// just came is in the cache, the state of its meter is not.
struct Frames {
    bytes: Vec<u8>,
    one: usize,
}

impl Frames {
    fn of(round: u32, meters: u32) -> Self {
        let plain = plain(round);
        let mut bytes = Vec::new();
        for meter in (0..meters).map(|nth| sender(nth, meters)) {
            let protection = Protection::full(title(meter), round + 1);
            CipherContext::new(&keys(meter)).protect(protection, &plain, &mut bytes);
        }
        let one = bytes.len() / meters as usize;
        Self { bytes, one }
    }

    /// The frame that is sent as the nth.
    fn get(&self, nth: u32) -> &[u8] {
        let start = nth as usize * self.one;
        &self.bytes[start..start + self.one]
    }
}

fn now(round: u32, packets: u32) -> Now {
    let passed = PERIOD.duration() * round + BETWEEN_PACKETS * packets;
    Now {
        instant: Instant::ZERO + passed,
        utc: FIRST_END + passed,
    }
}

fn drain(edge: &mut Edge) {
    while let Some(effect) = edge.poll_output() {
        black_box(effect);
    }
}

/// What this thread has had of a processor: other work on the machine does not count, though it
/// takes its share of the caches.
struct CpuTime(u64);

impl CpuTime {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
        let nanos = text.split(' ').next().and_then(|it| it.parse().ok());
        Self(nanos.expect("the first number is nanoseconds on a processor"))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(Self::now().0 - self.0)
    }
}

/// Resident bytes of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|it| it.parse().ok());
    pages.unwrap_or(0_usize) * 4_096
}

fn rate(count: u32, time: Duration) -> String {
    format!(
        "{:.0} packets/s, {:.0} ns each",
        f64::from(count) / time.as_secs_f64(),
        time.as_secs_f64() * 1e9 / f64::from(count)
    )
}

/// The meter that sends the nth packet of a round.
fn sender(nth: u32, meters: u32) -> u32 {
    let at = u64::from(nth) * 611_953 % u64::from(meters);
    u32::try_from(at).expect("below the number of meters")
}

/// Sends the nth honest packet of a round; whether it was forwarded.
fn honest(edge: &mut Edge, frames: &Frames, nth: u32, meters: u32, at: Now) -> bool {
    let path = home(sender(nth, meters));
    let screening = edge.handle_packet(path, black_box(frames.get(nth)), at);
    drain(edge);
    screening.verdict == Verdict::Forward
}

fn main() {
    let meters = std::env::var("GRIDLOOM_METERS")
        .ok()
        .map_or(1_000_000, |it| it.parse().expect("a number of meters"));
    let before = resident();
    let mut edge = edge(meters);
    println!(
        "set up: {meters} meters, {:.1} resident bytes each",
        (resident() - before) as f64 / f64::from(meters)
    );
    let mut grown = resident() - before;
    for round in 0..ROUNDS {
        let frames = Frames::of(round, meters);
        if round == 0 {
            reference(&frames, meters);
        }
        let before = resident();
        let started = CpuTime::now();
        let mut forwarded = 0;
        for nth in 0..meters {
            forwarded += u32::from(honest(&mut edge, &frames, nth, meters, now(round, nth)));
        }
        let took = started.elapsed();
        grown += resident().saturating_sub(before);
        assert_eq!(forwarded, meters, "honest packets pass");
        println!("honest, round {round}: {}", rate(meters, took));
    }
    for round in ROUNDS..2 * ROUNDS {
        let frames = Frames::of(round, meters);
        let started = CpuTime::now();
        let mut forwarded = 0;
        for first in (0..meters).step_by(Edge::EXPECTED_MAX) {
            let batch = first..(first + 64).min(meters);
            edge.expect(batch.clone().map(|nth| frames.get(nth)));
            for nth in batch {
                forwarded += u32::from(honest(&mut edge, &frames, nth, meters, now(round, nth)));
            }
        }
        let took = started.elapsed();
        assert_eq!(forwarded, meters, "honest packets pass");
        println!("honest, by 64, round {round}: {}", rate(meters, took));
    }
    println!(
        "all heard: {:.1} resident bytes per meter",
        grown as f64 / f64::from(meters)
    );
    floods(&mut edge, meters);
}

/// What no screening can do without, on the same machine at the same time: the tag of every
/// frame and its parse, with keys that are expanded already and with keys that are not.
fn reference(frames: &Frames, meters: u32) {
    let count = meters.min(100_000);
    let mut plain = Vec::new();
    let mut other = Vec::new();
    let mut open = |context: &CipherContext, frame| {
        let packet = CipheredApdu::decode(frame).expect("an honest frame");
        let plain = context
            .open(&packet, Policy::AuthenticatedEncryption, &mut other)
            .expect("an honest tag");
        let notification = DataNotification::decode(plain).expect("a notification");
        black_box(IntervalPush::decode(notification.body)).is_ok()
    };
    let context = CipherContext::new(&keys(sender(0, meters)));
    let started = CpuTime::now();
    for _ in 0..count {
        assert!(open(&context, black_box(frames.get(0))));
    }
    println!(
        "reference, one meter's expanded keys: {}",
        rate(count, started.elapsed())
    );
    let started = CpuTime::now();
    for nth in 0..count {
        let context = CipherContext::new(&keys(sender(nth, meters)));
        assert!(open(&context, black_box(frames.get(nth))));
    }
    println!(
        "reference, every meter's keys in a context: {}",
        rate(count, started.elapsed())
    );
    let started = CpuTime::now();
    for nth in 0..count {
        let (encryption, authentication) = raw_keys(sender(nth, meters));
        let keys = RawKeys {
            encryption: &encryption,
            authentication: &authentication,
        };
        let packet = CipheredApdu::decode(black_box(frames.get(nth))).expect("an honest frame");
        let plain = keys
            .open(&packet, Policy::AuthenticatedEncryption, &mut plain)
            .expect("an honest tag");
        let notification = DataNotification::decode(plain).expect("a notification");
        assert!(black_box(IntervalPush::decode(notification.body)).is_ok());
    }
    println!(
        "reference, every meter's raw keys: {}",
        rate(count, started.elapsed())
    );
}

type Hostile = fn(frames: &Frames, number: u32, meters: u32) -> (Path, Vec<u8>);

fn floods(edge: &mut Edge, meters: u32) {
    let in_a_flood = IN_A_FLOOD_MAX.min(meters);
    let kinds: [(&str, Option<Hostile>); 6] = [
        ("no flood", None),
        (
            "unknown titles, one path",
            Some(|frames, number, meters| {
                let mut frame = frames.get(number % meters).to_vec();
                frame[2] = b'X';
                (
                    Path {
                        gateway: 200,
                        down: 1,
                    },
                    frame,
                )
            }),
        ),
        (
            "unknown titles, a path each",
            Some(|frames, number, meters| {
                let mut frame = frames.get(number % meters).to_vec();
                frame[2] = b'X';
                (
                    Path {
                        gateway: 201,
                        down: u64::from(number),
                    },
                    frame,
                )
            }),
        ),
        (
            "known titles, bad tags, one path",
            Some(|frames, number, meters| {
                (
                    Path {
                        gateway: 202,
                        down: 1,
                    },
                    spoilt(frames.get(number % meters)),
                )
            }),
        ),
        (
            "known titles, bad tags, a path each",
            Some(|frames, number, meters| {
                let down = u64::from(number);
                (
                    Path { gateway: 203, down },
                    spoilt(frames.get(number % meters)),
                )
            }),
        ),
        (
            "known titles, bad tags, the meter's own path",
            Some(|frames, number, meters| {
                let nth = number % meters;
                (home(sender(nth, meters)), spoilt(frames.get(nth)))
            }),
        ),
    ];
    let mut quiet = Duration::ZERO;
    for (round, (name, hostile)) in (2 * ROUNDS..).zip(kinds) {
        let frames = Frames::of(round, meters);
        let hostile: Vec<_> = hostile
            .into_iter()
            .flat_map(|make| {
                let frames = &frames;
                let count = u64::from(in_a_flood * HOSTILE);
                (0..count).map(move |at| {
                    let number = u32::try_from(at * 7_919 % (1 << 31)).expect("below 2^31");
                    make(frames, number, meters)
                })
            })
            .collect();
        let (mut passed, mut dropped) = (0_u32, 0_u32);
        let mut attack = hostile.iter();
        let started = CpuTime::now();
        for nth in 0..in_a_flood {
            let at = now(round, nth);
            for (path, frame) in attack.by_ref().take(HOSTILE as usize) {
                let screening = edge.handle_packet(*path, black_box(frame), at);
                dropped += u32::from(screening.verdict == Verdict::Drop);
                drain(edge);
            }
            passed += u32::from(honest(edge, &frames, nth, meters, at));
        }
        let took = started.elapsed();
        if hostile.is_empty() {
            quiet = took;
            println!("{name}: {}", rate(in_a_flood, took));
            continue;
        }
        assert_eq!(dropped as usize, hostile.len(), "nothing hostile passes");
        println!(
            "{name}: honest delivery {:.3} %, a hostile packet costs {:.0} ns, an honest one {:.0} ns",
            f64::from(passed) * 100.0 / f64::from(in_a_flood),
            took.saturating_sub(quiet).as_secs_f64() * 1e9 / f64::from(dropped),
            quiet.as_secs_f64() * 1e9 / f64::from(in_a_flood),
        );
    }
}

/// With a tag that does not verify and a counter that is fresh.
fn spoilt(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    // The counter follows tag, title, length and control byte.
    frame[12] = 0x7F;
    frame
}
