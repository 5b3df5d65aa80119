//! What holds for any bytes that reach an edge. The fuzz target, the corpus replay and the
//! corpus itself share the one meter and the one moment given here.

use std::time::Duration;

use gridloom_core::{Instant, MeterId, Now, Period, SystemTitle, UtcTime};
use gridloom_dlms::security::{CipherContext, CipheredApdu, Keys, Protection};
use gridloom_edge::{
    Edge, EdgeConfig, EdgeMemory, Effect, Path, Refusal, RefusalCounters, Registration, Registry,
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
    }])
    .expect("one meter");
    let memory = EdgeMemory {
        reserved: 0,
        believed: [(TITLE, BELIEVED)].into(),
    };
    let config = EdgeConfig {
        title: SystemTitle(*b"GLE\0\0\0\0\x01"),
        price_scale: -4,
    };
    let mut edge = Edge::new(config, registry, &memory);
    assert!(
        matches!(edge.poll_output(), Some(Effect::Remember { .. })),
        "the edge reserves counters first"
    );
    edge
}

/// What the edge says of the bytes as a frame. A refusal is counted once, under its own reason,
/// and has no effect; whatever passes is the meter's, fresh, and passes only once.
pub(crate) fn judge(frame: &[u8]) -> Result<(), Refusal> {
    let path = Path {
        gateway: 1,
        down: 1,
    };
    let mut edge = edge();
    let verdict = edge.handle_packet(path, frame, NOW);
    let mut expected = RefusalCounters::default();
    let effect = edge.poll_output();
    assert_eq!(edge.poll_output(), None, "one packet, one effect");
    match verdict {
        Err(refusal) => {
            expected.count(refusal);
            assert_eq!(effect, None, "a refused packet has no effect");
            assert_eq!((edge.status().accepted, edge.status().heard), (0, 0));
        }
        Ok(()) => {
            let packet = CipheredApdu::decode(frame).expect("what passes was read");
            assert_eq!(packet.title, TITLE);
            assert!(packet.counter > BELIEVED);
            if let Some(effect) = effect {
                let Effect::Accept(accepted) = effect else {
                    panic!("nothing is reserved, so nothing is sent: {effect:?}")
                };
                assert_eq!((accepted.title, accepted.counter), (TITLE, packet.counter));
                assert_eq!(accepted.reading.meter, METER);
                assert_eq!(accepted.reading.period, PERIOD);
                assert!(accepted.reading.end <= NOW.utc + Duration::from_secs(300));
            }
            assert_eq!(
                edge.handle_packet(path, frame, NOW),
                Err(Refusal::Replayed),
                "no frame passes twice"
            );
            expected.count(Refusal::Replayed);
        }
    }
    assert_eq!(edge.status().refused, expected);
    verdict
}

/// Any bytes: first as a frame, then as what a verified frame says.
pub(crate) fn packet(bytes: &[u8]) {
    let _ = judge(bytes);
    let verdict = judge(&seal(BELIEVED + 1, bytes));
    assert!(
        !matches!(
            verdict,
            Err(Refusal::UnknownTitle | Refusal::BadTag | Refusal::Replayed)
        ),
        "a verified frame was refused with {verdict:?}"
    );
}
