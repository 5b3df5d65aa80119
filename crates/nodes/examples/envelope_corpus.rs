//! Writes the envelope corpus anew, after a change of the envelope.

use std::path::Path;

use gridloom_core::{
    IntervalReading, IntervalValues, MeterId, MilliwattHours, Month, Period, Price, ReadingStatus,
    SystemTitle, UtcTime, Watts,
};
use gridloom_dlms::push::{BillingStatus, ClosedMonth};
use gridloom_edge::{AcceptedReading, ReasonCounters};
use gridloom_headend::ReadingKey;
use gridloom_nodes::envelope::{Message, Role};
use gridloom_store::PricePoint;

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
            Message::Uplink {
                path: 4,
                received: END,
                frame: vec![0xDB, 8, 0x47],
            },
        ),
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
    std::fs::write(folder.join("list-too-long"), [1, 5, 0xFF, 0xFF])?;
    std::fs::write(folder.join("other-version"), [2, 1, 1, 0, 0, 0, 0])
}
