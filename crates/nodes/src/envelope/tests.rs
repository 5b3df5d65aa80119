//! Every kind comes back as it went, and what it cannot be is refused.

use super::*;
use gridloom_core::{
    IntervalReading, IntervalValues, MilliwattHours, Month, Period, Price, ReadingStatus, Watts,
};
use gridloom_dlms::apdu::LongInvokeId;
use gridloom_dlms::push::{BillingStatus, ClosedMonth};
use gridloom_edge::{AlarmNumber, GatewayId, LineFault, Path, Reason, Reasons};
use gridloom_store::spool::{GapCause, Lane, Whose};

fn alarm(number: AlarmNumber) -> MeterAlarm {
    MeterAlarm {
        key: AlarmKey {
            meter: MeterId(3),
            number,
            time: UtcTime::from_secs(1_357_000_201),
        },
        title: SystemTitle(*b"GLMABCDE"),
        counter: 77,
        received: UtcTime::from_secs(1_357_000_202),
        scores: Scores::FULL,
        reasons: Reasons::NONE,
        apdu: vec![0x0F, 1],
    }
}

fn samples() -> Vec<Message> {
    let key = ReadingKey {
        meter: MeterId(3),
        period: Period::HALF_HOUR,
        end: UtcTime::from_secs(1_357_000_200),
    };
    let reading = AcceptedReading {
        title: SystemTitle(*b"GLMABCDE"),
        counter: 77,
        reading: IntervalReading {
            meter: key.meter,
            period: key.period,
            end: key.end,
            status: ReadingStatus::POWER_DOWN,
            values: IntervalValues::from_array([1, -2, 3, 4, 5, 6, 7, 230_100]),
            import_register: MilliwattHours::new(9_000),
        },
        power: Watts::new(-5),
        billing: BillingStatus {
            running_minor: -1_234,
            unpriced: 2,
            oldest_unpriced: Some(key.end),
            closed: Month::parse("2013-01").map(|month| ClosedMonth { month, minor: 99 }),
        },
    };
    let at = key.end;
    let gap = |whose, time: Option<UtcTime>| Gap {
        lane: Lane::Readings,
        cause: GapCause::Damaged,
        whose,
        from: time,
        to: time,
        entries: 9,
    };
    let uplink = Uplink {
        path: 4,
        received: key.end,
        link: LinkQuality {
            response_ms: Some(40),
            ..LinkQuality::default()
        },
        frame: vec![1, 2, 3],
    };
    let price = PricePoint {
        end: key.end,
        period: key.period,
        price: Price::parse("0.1875").unwrap(),
        total: Watts::new(1_500),
        stations_on: 2,
        missing: 1,
    };
    vec![
        Message::hello(Role::Edge, "edge-1"),
        Message::Uplink(uplink.clone()),
        Message::Spooled {
            first: 1 << 40,
            uplinks: vec![uplink.clone(), uplink],
        },
        Message::Taken { first: 9, count: 3 },
        Message::Downlink {
            path: 4,
            frame: Vec::new(),
        },
        Message::Screened(vec![ScreenedReading {
            accepted: reading.clone(),
            scores: Scores::FULL,
            reasons: Reasons::of(Reason::NeighbourPath),
            path: Path {
                gateway: 3,
                down: 9,
            },
            link: LinkQuality {
                received: Some(key.end),
                lost_percent: Some(1),
                retransmissions: Some(2),
                response_ms: Some(70_000),
                signal_dbm: Some(-99),
            },
        }]),
        Message::Readings(vec![reading.clone(), reading]),
        Message::Alarms(vec![
            alarm(AlarmNumber::Alert(LongInvokeId(0xC000_0001))),
            alarm(AlarmNumber::Event(77)),
        ]),
        Message::AlarmsStored(vec![alarm(AlarmNumber::Event(77)).key]),
        Message::Trust {
            edge: Scores::FULL,
            gateways: vec![GatewayStatus {
                link: 3,
                id: Some(GatewayId(4)),
                name: Some("gateway-4".into()),
                packets: 5,
                trust: Scores::FULL,
            }],
        },
        Message::Gaps(vec![
            gap(Whose::Unknown, None),
            gap(Whose::Meter(MeterId(7)), Some(at)),
        ]),
        Message::GapsTaken(vec![gap(Whose::Title(SystemTitle(*b"GLMABCDE")), Some(at))]),
        Message::Echo { number: 1 << 40 },
        Message::Echoed { number: 3 },
        Message::Held(vec![(1 << 40, Duration::from_micros(SHARE_US_MAX))]),
        Message::Delays(vec![Shares {
            key,
            received: at,
            gateway: Duration::ZERO,
            edge: Duration::from_micros(7),
        }]),
        Message::Stored(vec![key]),
        Message::Prices(vec![price]),
        Message::Refusals(ReasonCounters::from_array([7; ReasonCounters::KINDS])),
        Message::Object {
            ticket: 1,
            name: "readings/a".into(),
            bytes: vec![0; 300],
        },
        Message::ObjectStored {
            ticket: 1,
            stored: true,
        },
        Message::hello(Role::HeadEnd, "head-end"),
        Message::ToMeter {
            meter: MeterId(9),
            client: WPort::MANAGEMENT,
            apdu: vec![0xC0, 1],
        },
        Message::FromMeter {
            meter: MeterId(9),
            client: WPort::PUBLIC_CLIENT,
            apdu: vec![0xC4],
        },
        Message::MeterUnreachable { meter: MeterId(9) },
        Message::KeysChanged {
            meter: MeterId(9),
            number: 1_700_000_000_123,
            sealed: vec![7; 64],
        },
        Message::KeysTaken {
            meter: MeterId(9),
            number: 3,
        },
        Message::LineGone {
            path: 8,
            closed: None,
        },
        Message::Heartbeat {
            number: 1 << 33,
            every_ms: 500,
        },
        Message::Alive { number: 7 },
        Message::Duty { is_active: true },
        Message::Lines(vec![
            (8, SystemTitle(*b"GLMABCDE")),
            (9, SystemTitle([0; 8])),
        ]),
        Message::Reached(vec![MeterId(3), MeterId(4)]),
        Message::LineGone {
            path: 8,
            closed: Some(ClosedLine {
                fault: LineFault::PartialFrame,
                address: Some([192, 0, 2, 7].into()),
            }),
        },
        Message::LineGone {
            path: 8,
            closed: Some(ClosedLine {
                fault: LineFault::SlowReader,
                address: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()),
            }),
        },
        Message::LineGone {
            path: 8,
            closed: Some(ClosedLine {
                fault: LineFault::NoFrame,
                address: None,
            }),
        },
    ]
}

#[test]
fn every_message_survives_the_wire() {
    for message in samples() {
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn every_cut_and_every_extra_byte_is_an_error() {
    for message in samples() {
        let whole = message.encode();
        for length in 0..whole.len() {
            assert!(
                Message::decode(&whole[..length]).is_err(),
                "{message:?} cut to {length}"
            );
        }
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(Message::decode(&longer), Err(EnvelopeError::TooLong(1)));
    }
}

#[test]
fn what_cannot_be_is_named() {
    let cases: [(&[u8], EnvelopeError); 5] = [
        (&[9, 1], EnvelopeError::Version { got: 9 }),
        (&[VERSION, 200], EnvelopeError::Kind(200)),
        (&[VERSION, 1, 9], EnvelopeError::Field { field: "role" }),
        (
            &[VERSION, 5, 0xFF, 0xFF],
            EnvelopeError::Field {
                field: "list length",
            },
        ),
        (
            &[VERSION, 5, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7],
            EnvelopeError::Field { field: "period" },
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(Message::decode(bytes), Err(expected), "{bytes:?}");
    }
}
