//! What holds for any bytes that reach an edge. The fuzz target, the corpus replay and the
//! corpus itself share the one meter and the one moment given here.

use std::time::Duration;

use gridloom_core::{Instant, MeterId, Now, Period, SystemTitle, UtcTime};
use gridloom_dlms::security::{CipherContext, CipheredApdu, Keys, Protection};
use gridloom_edge::{
    Edge, EdgeConfig, EdgeMemory, Effect, HashKey, MeterAlarm, Path, Reason, Registration,
    Registry, ScreeningConfig, Site, Verdict,
};

/// The only meter the edge knows.
pub(crate) const TITLE: SystemTitle = SystemTitle(*b"GLM\0\0\0\0\x01");
/// Its number.
pub(crate) const METER: MeterId = MeterId(7);
/// Its capture period.
pub(crate) const PERIOD: Period = Period::HALF_HOUR;
/// The last counter believed from it.
pub(crate) const BELIEVED: u32 = 100;
/// When the bytes arrive: on the half hour.
pub(crate) const NOW: Now = Now {
    instant: Instant::from_nanos(9_000_000_000),
    utc: UtcTime::from_secs(1_359_675_000),
};

fn keys() -> Keys {
    Keys::new(*b"fuzzed unicast k", *b"fuzzed authent k")
}

/// A frame of the meter with this plain APDU.
pub(crate) fn seal(counter: u32, plain: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    CipherContext::new(&keys()).protect(Protection::full(TITLE, counter), plain, &mut frame);
    frame
}

fn edge() -> Edge {
    let registry = Registry::new([Registration {
        meter: METER,
        title: TITLE,
        keys: keys(),
        period: PERIOD,
        site: Site::default(),
    }])
    .expect("one meter");
    let mut memory = EdgeMemory::default();
    memory.believed.insert(TITLE, BELIEVED);
    let config = EdgeConfig {
        title: SystemTitle(*b"GLE\0\0\0\0\x01"),
        price_scale: -4,
        screening: ScreeningConfig::default(),
        hash_key: HashKey::default(),
    };
    let mut edge = Edge::new(config, registry, &memory);
    assert!(
        matches!(edge.poll_output(), Some(Effect::Remember { .. })),
        "the edge reserves counters first"
    );
    edge
}

/// What the edge says of the bytes as a frame, and why it drops them if it does. What is dropped is
/// counted once, under its own reason, and has no effect but an alert; whatever passes is the
/// meter's, fresh, and passes only once.
pub(crate) fn judge(frame: &[u8]) -> (Verdict, Option<Reason>) {
    let path = Path {
        gateway: 1,
        down: 1,
    };
    let mut edge = edge();
    let screening = edge.handle_packet(path, frame, NOW);
    let verdict = (screening.verdict, screening.drop_reason());
    let mut alerts = 0;
    let mut accepted = None;
    let mut has_alarm = false;
    while let Some(effect) = edge.poll_output() {
        match effect {
            Effect::Alert(_) => alerts += 1,
            Effect::Accept(reading) => {
                assert_eq!(
                    accepted.replace(reading.accepted),
                    None,
                    "one packet, one reading"
                );
            }
            Effect::Alarm(alarm) => {
                assert!(alarm.body().is_some(), "what goes up can be read there");
                assert!(alarm.apdu.len() <= MeterAlarm::APDU_MAX);
                assert_eq!((alarm.title, alarm.key.meter), (TITLE, METER));
                assert!(!has_alarm, "one packet, one alarm");
                has_alarm = true;
            }
            Effect::Down { .. } | Effect::Remember { .. } | Effect::Audit(_) => {
                panic!("nothing is reserved or written yet: {effect:?}")
            }
        }
    }
    let status = edge.status();
    let counted: u64 = screening
        .reasons
        .iter()
        .map(|reason| status.reasons.get(reason))
        .sum();
    let all: u64 = status.reasons.to_array().iter().sum();
    assert_eq!(counted, all, "nothing else is counted");
    match screening.verdict {
        Verdict::Drop => {
            assert_eq!((accepted, all), (None, 1), "one reason and no reading");
            assert!(!has_alarm, "what is dropped alarms nobody above");
            assert_eq!((status.accepted, status.heard), (0, 0));
            assert_eq!(alerts, 1);
            return verdict;
        }
        Verdict::Quarantine => {
            assert_eq!((accepted, alerts), (None, 1));
            assert_eq!((status.accepted, status.heard), (0, 0));
            assert_eq!(status.quarantine.packets, 1);
        }
        Verdict::Forward => {
            let packet = CipheredApdu::decode(frame).expect("what passes was read");
            assert_eq!(packet.title, TITLE);
            assert!(packet.counter > BELIEVED);
            if let Some(accepted) = accepted {
                assert_eq!((accepted.title, accepted.counter), (TITLE, packet.counter));
                assert_eq!(accepted.reading.meter, METER);
                assert_eq!(accepted.reading.period, PERIOD);
                assert!(accepted.reading.end <= NOW.utc + Duration::from_secs(300));
            }
        }
    }
    let again = edge.handle_packet(path, frame, NOW);
    assert_eq!(
        again.drop_reason(),
        Some(Reason::Replayed),
        "no frame passes twice"
    );
    verdict
}

/// Any bytes: first as a frame, then as what a verified frame says.
pub(crate) fn packet(bytes: &[u8]) {
    judge(bytes);
    let (_, reason) = judge(&seal(BELIEVED + 1, bytes));
    assert!(
        !matches!(
            reason,
            Some(Reason::UnknownTitle | Reason::BadTag | Reason::Replayed)
        ),
        "a verified frame was dropped for {reason:?}"
    );
}
