//! Writes the packet corpus anew, after a change of what a meter sends.

#[allow(dead_code, reason = "the tests run the checks; this only seals frames")]
#[path = "../tests/checks/mod.rs"]
mod checks;

use std::path::Path;
use std::time::Duration;

use gridloom_core::{
    IntervalValues, MillivarHours, MillivoltAmpereHours, Millivolts, MilliwattHours, ObisCode,
    Period, ReadingStatus, UtcTime, Watts,
};
use gridloom_dlms::alert::AlertPush;
use gridloom_dlms::apdu::{
    Apdu, AttributeDescriptor, DataAccessResult, EventNotification, ExceptionResponse, InvokeId,
    ServiceError, SetResponseNormal, StateError,
};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::push::{BillingStatus, IntervalPush};

use checks::{BELIEVED, NOW, PERIOD, seal};

fn interval(period: Period, end: UtcTime) -> IntervalPush {
    IntervalPush {
        period,
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
}

fn push(period: Period, end: UtcTime) -> Vec<u8> {
    notification(&interval(period, end))
}

fn notification(push: &IntervalPush) -> Vec<u8> {
    let mut plain = Vec::new();
    push.encode_notification(&mut plain).expect("whole units");
    plain
}

fn plain(apdu: &Apdu<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    apdu.encode(&mut out);
    out
}

fn main() -> std::io::Result<()> {
    let fresh = BELIEVED + 1;
    let good = push(PERIOD, NOW.utc);
    let set_answer = plain(&Apdu::SetResponseNormal(SetResponseNormal {
        invoke_id: InvokeId::confirmed(1),
        result: DataAccessResult::Success,
    }));
    let exception = plain(&Apdu::ExceptionResponse(ExceptionResponse {
        state: StateError::ServiceUnknown,
        service: ServiceError::DecipheringError,
    }));
    let sealed = seal(fresh, &good);
    let patched = |at: usize, value: u8| {
        let mut frame = sealed.clone();
        frame[at] = value;
        frame
    };
    let mut alert = Vec::new();
    AlertPush {
        device_name: b"GLM0000000000001".to_vec(),
        time: NOW.utc,
        descriptors: [1 << 13, 1],
        status_word: 1 << 64,
    }
    .encode_notification(5, &mut alert)
    .expect("a short name");
    let event = plain(&Apdu::EventNotification(EventNotification {
        time: None,
        attribute: AttributeDescriptor {
            class_id: 1,
            instance: ObisCode([0, 0, 96, 11, 0, 255]),
            attribute: 2,
        },
        value: Data::LongUnsigned(101),
    }));
    let ahead = NOW.utc + PERIOD.duration();
    let mut two_closed = good.clone();
    two_closed.extend([0x12, 0, 1]);
    let impossible = {
        let mut push = interval(PERIOD, NOW.utc);
        push.values.import = MilliwattHours::new(40_000_000);
        notification(&push)
    };
    let files = [
        ("accepted", sealed.clone()),
        ("alert", seal(fresh, &alert)),
        ("answer", seal(fresh, &set_answer)),
        (
            "bad-tag",
            patched(sealed.len() - 1, !sealed[sealed.len() - 1]),
        ),
        ("clock-ahead", seal(fresh, &push(PERIOD, ahead))),
        ("event", seal(fresh, &event)),
        ("impossible", seal(fresh, &impossible)),
        ("highest-counter", seal(u32::MAX, &good)),
        (
            "old-interval",
            seal(fresh, &push(PERIOD, NOW.utc - Duration::from_secs(86_400))),
        ),
        ("plain-alert", alert),
        ("plain-answer", set_answer),
        ("plain-event", event),
        ("plain-exception", exception.clone()),
        ("plain-push", good.clone()),
        ("replayed", seal(BELIEVED, &good)),
        ("trailing", seal(fresh, &two_closed)),
        ("unexpected", seal(fresh, &exception)),
        ("unknown-title", patched(9, 2)),
        (
            "wrong-period",
            seal(fresh, &push(Period::QUARTER_HOUR, NOW.utc)),
        ),
    ];
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").map_err(std::io::Error::other)?)
        .join("fuzz-corpus/packet");
    std::fs::create_dir_all(&folder)?;
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}
