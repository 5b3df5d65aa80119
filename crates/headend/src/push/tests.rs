use gridloom_core::{MeterId, MilliwattHours, ObisCode, Period, UtcTime};
use gridloom_dlms::alert::AlertPush;
use gridloom_dlms::apdu::{
    AttributeDescriptor, DataNotification, DataNotificationConfirm, EventNotification, LongInvokeId,
};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::CosemDateTime;
use gridloom_dlms::selection::CaptureObject;

use super::{PushContent, PushFault, PushMeaning, content_of};
use crate::profile::{Column, ProfileShape, ScalerUnit, Unit};
use crate::template::{MeterTemplate, PushList, PushObject, ScalerSource};

const METER: MeterId = MeterId(7);
const CLOCK: &str = "8 0-0:1.0.0.255 2";
const IMPORT: &str = "3 1-0:1.29.0.255 2";
const EXPORT: &str = "3 1-0:2.29.0.255 2";
const REGISTER: &str = "3 1-0:1.8.0.255 2";
const STATUS: &str = "1 0-0:96.10.1.255 2";
const ALARM: &str = "1 0-0:97.98.0.255 2";
const SETUP: &str = "40 0-0:25.9.0.255 1";
const BUFFER: &str = "7 1-0:99.1.0.255 2";

fn end() -> UtcTime {
    UtcTime::from_secs(1_767_225_600)
}

fn time(at: UtcTime) -> Data {
    Data::OctetString(CosemDateTime::from_utc(at).unwrap().to_bytes().to_vec())
}

fn list(objects: &[&str]) -> PushList {
    PushList(
        objects
            .iter()
            .map(|it| PushObject::parse(it).unwrap())
            .collect(),
    )
}

fn template(pushes: &[&[&str]]) -> MeterTemplate {
    let mut template = MeterTemplate::standard("foreign");
    template.scaler_source = ScalerSource::Unity;
    template.pushes = pushes.iter().map(|objects| list(objects)).collect();
    template
}

fn row(at: UtcTime, wh: u32) -> Vec<Data> {
    vec![
        time(at),
        Data::DoubleLongUnsigned(wh),
        Data::DoubleLongUnsigned(0),
        Data::DoubleLongUnsigned(9_000 + wh),
        Data::Unsigned(0),
    ]
}

fn notification(id: u32, body: &Data) -> Vec<u8> {
    let mut out = Vec::new();
    let body = body.encode();
    DataNotification {
        invoke_id: LongInvokeId(id),
        time: None,
        body: &body,
    }
    .encode(&mut out);
    out
}

fn read(
    template: &MeterTemplate,
    shape: Option<&ProfileShape>,
    apdu: &[u8],
) -> Result<PushContent, PushFault> {
    let meaning = PushMeaning {
        meter: METER,
        template,
        shape,
    };
    content_of(apdu, meaning)
}

#[test]
fn a_push_of_named_objects_is_an_interval_and_its_events() {
    let named: &[&str] = &[SETUP, CLOCK, IMPORT, EXPORT, REGISTER, STATUS, ALARM];
    let template = template(&[&[CLOCK], named]);
    let mut members = vec![Data::OctetString(vec![0, 0, 25, 9, 0, 255])];
    members.extend(row(end(), 120));
    members.push(Data::DoubleLongUnsigned(4));
    let body = Data::Structure(members);
    let content = read(&template, None, &notification(0x4000_0005, &body)).unwrap();
    assert_eq!(content.confirm, Some(LongInvokeId(0x4000_0005)));
    assert_eq!(content.read_because, None);
    let [reading] = content.readings[..] else {
        panic!("{content:?}");
    };
    assert_eq!(
        (reading.meter, reading.period, reading.end),
        (METER, Period::QUARTER_HOUR, end())
    );
    assert_eq!(reading.values.import, MilliwattHours::new(120_000));
    assert_eq!(reading.import_register, MilliwattHours::new(9_120_000));
    let event = &content.events[0];
    assert_eq!(event.object, ObisCode([0, 0, 97, 98, 0, 255]));
    assert_eq!(
        (event.value.as_str(), event.is_raised),
        ("4 (0x00000004)", true)
    );
    // Nobody waits for an answer to this one.
    let content = read(&template, None, &notification(5, &body)).unwrap();
    assert_eq!(content.confirm, None);
}

#[test]
fn a_push_may_name_its_own_objects() {
    let objects = [
        "40 0-0:25.9.0.255 2",
        CLOCK,
        IMPORT,
        EXPORT,
        REGISTER,
        STATUS,
    ];
    let own = list(&objects).0.into_iter().map(|object| {
        Data::Structure(vec![
            Data::LongUnsigned(object.class_id),
            Data::OctetString(object.instance.0.to_vec()),
            Data::Integer(object.attribute),
            Data::LongUnsigned(0),
        ])
    });
    let mut members = vec![Data::Array(own.collect())];
    members.extend(row(end(), 7));
    let apdu = notification(1, &Data::Structure(members));
    let content = read(&template(&[]), None, &apdu).unwrap();
    assert_eq!(
        content.readings[0].values.import,
        MilliwattHours::new(7_000)
    );
}

#[test]
fn rows_of_the_profile_need_its_columns() {
    let template = template(&[&[SETUP, BUFFER]]);
    let body = Data::Structure(vec![
        Data::OctetString(vec![0, 0, 25, 9, 0, 255]),
        Data::Array(vec![
            Data::Structure(row(end(), 1)),
            Data::Structure(row(end() + Period::QUARTER_HOUR.duration(), 2)),
        ]),
    ]);
    let apdu = notification(1, &body);
    let content = read(&template, None, &apdu).unwrap();
    assert!(content.read_because.unwrap().contains("columns"));
    let columns = list(&[CLOCK, IMPORT, EXPORT, REGISTER, STATUS]);
    let columns = columns.0.into_iter().map(|object| Column {
        object: CaptureObject {
            class_id: object.class_id,
            instance: object.instance,
            attribute: object.attribute,
            data_index: 0,
        },
        scaler: (object.class_id == 3).then_some(ScalerUnit {
            scaler: 1,
            unit: Unit::WATT_HOURS,
        }),
    });
    let shape = ProfileShape {
        columns: columns.collect(),
        period: Some(Period::QUARTER_HOUR.duration()),
    };
    let content = read(&template, Some(&shape), &apdu).unwrap();
    let imports: Vec<i64> = content
        .readings
        .iter()
        .map(|it| it.values.import.get())
        .collect();
    assert_eq!(imports, [10_000, 20_000]);
}

#[test]
fn what_cannot_be_an_interval_makes_the_meter_be_read() {
    // A register alone is no interval, and a scaler that nobody has read is not guessed.
    let named: &[&str] = &[CLOCK, IMPORT, EXPORT, REGISTER, STATUS];
    let mut scaled = template(&[named]);
    scaled.scaler_source = ScalerSource::Registers;
    let apdu = notification(1, &Data::Structure(row(end(), 3)));
    let content = read(&scaled, None, &apdu).unwrap();
    assert!(content.read_because.unwrap().contains("scaler"));
    let late = end() + std::time::Duration::from_secs(1);
    let apdu = notification(1, &Data::Structure(row(late, 3)));
    let content = read(&template(&[named]), None, &apdu).unwrap();
    assert!(content.readings.is_empty());
    assert!(content.read_because.unwrap().contains("does not end"));
}

#[test]
fn events_are_told_by_their_own_service_too() {
    let event = |obis: [u8; 6], value| {
        let mut out = Vec::new();
        EventNotification {
            time: Some(CosemDateTime::from_utc(end()).unwrap()),
            attribute: AttributeDescriptor {
                class_id: 1,
                instance: ObisCode(obis),
                attribute: 2,
            },
            value,
        }
        .encode(&mut out);
        out
    };
    for (value, words, is_raised) in [
        (Data::Unsigned(9), "9", true),
        (Data::Unsigned(0), "0", false),
        (Data::OctetString(vec![1, 0xAB]), "01AB", true),
        (Data::OctetString(vec![7; 500]), "07", true),
    ] {
        let apdu = event([0, 0, 96, 11, 4, 255], value);
        let content = read(&template(&[]), None, &apdu).unwrap();
        let [told] = &content.events[..] else {
            panic!("{content:?}");
        };
        assert!(
            told.value.starts_with(words) && told.value.len() <= 80,
            "{told:?}"
        );
        assert_eq!((told.is_raised, told.at), (is_raised, Some(end())));
        assert_eq!(content.confirm, None);
    }
}

#[test]
fn the_alarms_of_our_own_alert_are_events_by_name() {
    for (descriptors, events) in [([1, 0], vec![true]), ([0, 0], vec![false])] {
        let alert = AlertPush {
            device_name: b"GLM".to_vec(),
            time: end(),
            descriptors,
            status_word: 0,
        };
        let mut apdu = Vec::new();
        alert.encode_notification(3, &mut apdu).unwrap();
        let content = read(&template(&[]), None, &apdu).unwrap();
        assert_eq!(content.confirm, Some(AlertPush::invoke_id(3)));
        let raised: Vec<bool> = content.events.iter().map(|event| event.is_raised).collect();
        assert_eq!(raised, events, "{content:?}");
        assert_eq!(content.events[0].at, Some(end()));
    }
}

#[test]
fn what_is_no_push_is_refused_with_the_remedy() {
    let plain = template(&[]);
    let mut confirm = Vec::new();
    DataNotificationConfirm {
        invoke_id: LongInvokeId(1),
        time: None,
    }
    .encode(&mut confirm);
    let unknown = notification(1, &Data::Structure(row(end(), 3)));
    for (apdu, words) in [
        (&[][..], "unasked"),
        (&confirm, "0x10"),
        (&[0xC4, 1, 0xC1, 0, 0], "0xC4"),
        (&unknown, "[[push]]"),
        (&notification(1, &Data::Unsigned(1))[..6], "no A-XDR"),
    ] {
        let refused = read(&plain, None, apdu).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
    for cut in 0..unknown.len() {
        assert!(read(&plain, None, &unknown[..cut]).is_err());
    }
}
