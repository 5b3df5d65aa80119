//! Writes the envelope corpus anew, after a change of the envelope.

use std::path::Path;
use std::time::Duration;

use gridloom_core::{
    IntervalReading, IntervalValues, MeterId, MilliwattHours, Month, Period, Price, ReadingStatus,
    SystemTitle, UtcTime, Watts,
};
use gridloom_dlms::alert::AlertPush;
use gridloom_dlms::push::{BillingStatus, ClosedMonth};
use gridloom_edge::{
    AcceptedReading, AlarmKey, AlarmNumber, GatewayId, GatewayStatus, LinkQuality, MeterAlarm,
    Path as EdgePath, Reason, ReasonCounters, Reasons, Scores, ScreenedReading,
};
use gridloom_headend::ReadingKey;
use gridloom_nodes::delay::Shares;
use gridloom_nodes::envelope::{Message, Role, Uplink, VERSION};
use gridloom_store::PricePoint;
use gridloom_store::spool::{Gap, GapCause, Lane, Whose};

const END: UtcTime = UtcTime::from_secs(1_359_675_000);

fn reading(billing: BillingStatus) -> AcceptedReading {
    AcceptedReading {
        title: SystemTitle(*b"GLM\0\0\0\0\x01"),
        counter: 101,
        reading: IntervalReading {
            meter: MeterId(7),
            period: Period::HALF_HOUR,
            end: END,
            status: ReadingStatus::POWER_DOWN,
            values: IntervalValues::from_array([333_000, 0, 1, 2, 3, 4, 350_000, 230_100]),
            import_register: MilliwattHours::new(123_456_000),
        },
        power: Watts::new(-42),
        billing,
    }
}

fn alarm() -> MeterAlarm {
    let mut apdu = Vec::new();
    let alert = AlertPush {
        device_name: b"GLM0000000000001".to_vec(),
        time: END,
        descriptors: [1 << 13, 0],
        status_word: 1,
    };
    alert
        .encode_notification(1, &mut apdu)
        .expect("a short name");
    MeterAlarm {
        key: AlarmKey {
            meter: MeterId(7),
            number: AlarmNumber::Alert(AlertPush::invoke_id(1)),
            time: END,
        },
        title: SystemTitle(*b"GLM\0\0\0\0\x01"),
        counter: 102,
        received: END,
        scores: Scores::FULL,
        reasons: Reasons::NONE,
        apdu,
    }
}

fn gap() -> Gap {
    Gap {
        lane: Lane::Readings,
        cause: GapCause::Full,
        whose: Whose::Meter(MeterId(7)),
        from: Some(END),
        to: Some(END),
        entries: 3,
    }
}

fn main() -> std::io::Result<()> {
    let key = |meter| ReadingKey {
        meter: MeterId(meter),
        period: Period::HALF_HOUR,
        end: END,
    };
    let point = PricePoint {
        end: END,
        period: Period::HALF_HOUR,
        price: Price::parse("0.1875").expect("a price"),
        total: Watts::new(1_500),
        stations_on: 2,
        missing: 1,
    };
    let owing = BillingStatus {
        running_minor: -1_234,
        unpriced: 1,
        oldest_unpriced: Some(END),
        closed: Month::new(2013, 1).map(|month| ClosedMonth { month, minor: 99 }),
    };
    let files = [
        ("hello-gateway", Message::hello(Role::Gateway, "gateway-1")),
        ("hello-archive", Message::hello(Role::Archive, "")),
        (
            "uplink",
            Message::Uplink(Uplink {
                path: 4,
                received: END,
                link: LinkQuality {
                    response_ms: Some(250),
                    ..LinkQuality::default()
                },
                frame: vec![0xDB, 8, 0x47],
            }),
        ),
        (
            "uplinks",
            Message::Spooled {
                first: 1,
                uplinks: vec![Uplink {
                    path: 4,
                    received: END,
                    link: LinkQuality {
                        response_ms: Some(250),
                        ..LinkQuality::default()
                    },
                    frame: vec![0xDB, 8, 0x47],
                }],
            },
        ),
        ("taken", Message::Taken { first: 1, count: 1 }),
        (
            "downlink",
            Message::Downlink {
                path: u64::MAX,
                frame: vec![0xDB],
            },
        ),
        (
            "readings",
            Message::Readings(vec![reading(owing), reading(BillingStatus::default())]),
        ),
        (
            "screened",
            Message::Screened(vec![ScreenedReading {
                accepted: reading(owing),
                scores: Scores::FULL,
                reasons: Reasons::of(Reason::NeighbourPath),
                path: EdgePath {
                    gateway: 2,
                    down: 5,
                },
                link: LinkQuality {
                    received: Some(END),
                    lost_percent: Some(3),
                    retransmissions: Some(1),
                    response_ms: Some(250),
                    signal_dbm: Some(-98),
                },
            }]),
        ),
        ("gaps", Message::Gaps(vec![gap()])),
        ("echo", Message::Echo { number: 3 }),
        ("echoed", Message::Echoed { number: 3 }),
        (
            "held",
            Message::Held(vec![(10, Duration::from_micros(250))]),
        ),
        (
            "delays",
            Message::Delays(vec![Shares {
                key: key(7),
                received: END,
                gateway: Duration::from_micros(250),
                edge: Duration::from_millis(3),
            }]),
        ),
        ("gaps-taken", Message::GapsTaken(vec![gap()])),
        ("alarms", Message::Alarms(vec![alarm()])),
        ("alarms-stored", Message::AlarmsStored(vec![alarm().key])),
        (
            "trust",
            Message::Trust {
                edge: Scores::FULL,
                gateways: vec![GatewayStatus {
                    link: 2,
                    id: Some(GatewayId(1)),
                    name: Some("gateway-1".into()),
                    packets: 9,
                    trust: Scores::FULL,
                }],
            },
        ),
        ("readings-none", Message::Readings(Vec::new())),
        ("stored", Message::Stored(vec![key(7), key(8)])),
        ("prices", Message::Prices(vec![point, point])),
        (
            "refusals",
            Message::Refusals(ReasonCounters::from_array([7; ReasonCounters::KINDS])),
        ),
        (
            "object",
            Message::Object {
                ticket: 1,
                name: "readings/2013-01-31".into(),
                bytes: vec![0x50, 0x41, 0x52, 0x31],
            },
        ),
        (
            "object-stored",
            Message::ObjectStored {
                ticket: 1,
                stored: true,
            },
        ),
    ];
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").map_err(std::io::Error::other)?)
        .join("fuzz-corpus/envelope");
    std::fs::create_dir_all(&folder)?;
    for (name, message) in files {
        std::fs::write(folder.join(name), message.encode())?;
    }
    // A list that claims more than it may hold, and a peer of another version.
    std::fs::write(folder.join("list-too-long"), [VERSION, 5, 0xFF, 0xFF])?;
    std::fs::write(
        folder.join("other-version"),
        [VERSION - 1, 1, 1, 0, 0, 0, 0],
    )
}
