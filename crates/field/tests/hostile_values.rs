//! Whatever a client writes or passes, an object answers without a panic, and what it refuses
//! changes nothing.

use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{ObisCode, UtcTime};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::CosemDateTime;
use gridloom_dlms::security::{Curve, PrivateKey};
use gridloom_dlms::selection::CaptureObject;
use gridloom_field::InterfaceObject;
use gridloom_field::objects::activity_calendar::{
    ActivityCalendar, Plan, PlannedAction, PlannedDay, Season, Week,
};
use gridloom_field::objects::communication_setup::{HdlcSetup, Ipv4Setup, TcpUdpSetup};
use gridloom_field::objects::demand_register::{DemandConfig, DemandRegister, ScalerUnit};
use gridloom_field::objects::disconnect_control::{DisconnectConfig, DisconnectControl};
use gridloom_field::objects::event_log::{CodeType, EventLog, EventLogConfig, WhenFull};
use gridloom_field::objects::firmware::MakersKey;
use gridloom_field::objects::image_transfer::{ImageConfig, ImageTransfer, RunningImage};
use gridloom_field::objects::limiter::{Limiter, LimiterConfig, MonitoredValue, ThresholdType};
use gridloom_field::objects::maximum_demand::MaximumDemand;
use gridloom_field::objects::push_setup::{Destination, PushConfig, PushSetup};
use gridloom_field::objects::recurrence::{DatePattern, Recurrence, TimePattern};
use gridloom_field::objects::script_table::{
    Script, ScriptAction, ScriptName, ScriptService, ScriptTable,
};
use gridloom_field::objects::single_action_schedule::{ScheduleType, SingleActionSchedule};
use gridloom_field::objects::special_days::SpecialDays;

const AT: UtcTime = UtcTime::from_secs(1_795_000_000);
const WATTS: ScalerUnit = ScalerUnit {
    scaler: 0,
    unit: 27,
};
const SCRIPT: ScriptName = ScriptName {
    table: ObisCode([0, 0, 10, 0, 100, 255]),
    selector: 1,
};

fn plan() -> Plan {
    Plan {
        name: b"2026".to_vec(),
        seasons: vec![Season {
            name: b"all".to_vec(),
            start: CosemDateTime::from_bytes([0xFF, 0xFF, 1, 1, 0xFF, 0, 0, 0, 0, 0x80, 0, 0xFF]),
            week: b"week".to_vec(),
        }],
        weeks: vec![Week {
            name: b"week".to_vec(),
            days: [1; 7],
        }],
        days: vec![PlannedDay {
            id: 1,
            actions: vec![PlannedAction {
                start: 0,
                script: SCRIPT,
            }],
        }],
    }
}

fn objects() -> Vec<(&'static str, Box<dyn InterfaceObject>)> {
    let script = Script {
        identifier: 1,
        actions: vec![ScriptAction {
            service: ScriptService::Invoke,
            class_id: 70,
            instance: ObisCode([0, 0, 96, 3, 10, 255]),
            index: 1,
            parameter: Data::Integer(0),
        }],
    };
    let mut log = EventLog::new(Arc::new(EventLogConfig {
        code: ObisCode([0, 0, 96, 11, 0, 255]),
        code_type: CodeType::LongUnsigned,
        captures: vec![],
        entries: 3,
        when_full: WhenFull::Rollover,
    }));
    log.handle_event(7, vec![], AT);
    let maker = PrivateKey::from_bytes(Curve::P256, &[7; 32]).expect("a scalar");
    let daily = Recurrence {
        date: DatePattern::ANY,
        time: TimePattern::from_fields(6, 0, 0).expect("a time of day"),
    };
    let mut calendar = ActivityCalendar::new(plan());
    for attribute in 2..=5 {
        let value = calendar.get(attribute, AT).expect("an attribute");
        calendar
            .set(attribute + 4, &value, AT)
            .expect("its passive part");
    }
    vec![
        ("script table", Box::new(ScriptTable::new(vec![script]))),
        ("event log", Box::new(log)),
        (
            "disconnect control",
            Box::new(DisconnectControl::new(DisconnectConfig {
                mode: 1,
                reverse_voltage_max_mv: 50_000,
                switch_time: Duration::from_secs(1),
            })),
        ),
        (
            "limiter",
            Box::new(Limiter::new(&LimiterConfig {
                monitored: MonitoredValue {
                    class_id: 3,
                    instance: ObisCode([1, 0, 1, 7, 0, 255]),
                    attribute: 2,
                },
                threshold_type: ThresholdType::DoubleLongUnsigned,
                threshold_normal: 5_000,
                threshold_emergency: 1_000,
                min_over_s: 60,
                min_under_s: 60,
                action_over: SCRIPT,
                action_under: ScriptName::NONE,
            })),
        ),
        ("activity calendar", Box::new(calendar)),
        ("special days", Box::new(SpecialDays::new())),
        (
            "single action schedule",
            Box::new(SingleActionSchedule::new(
                SCRIPT,
                ScheduleType::One,
                vec![daily],
                AT,
            )),
        ),
        (
            "demand register",
            Box::new(DemandRegister::new(
                DemandConfig {
                    period_s: 900,
                    periods: 2,
                    scaler_unit: WATTS,
                },
                0,
                AT,
            )),
        ),
        ("maximum demand", Box::new(MaximumDemand::new(WATTS))),
        (
            "image transfer",
            Box::new(ImageTransfer::new(ImageConfig {
                block_size: 64,
                running: RunningImage {
                    version: 1,
                    identifier: vec![],
                },
                verifier: Arc::new(MakersKey::new(maker.public_key(), *b"GL-1P-01")),
                trial: Duration::from_secs(3_600),
            })),
        ),
        (
            "push setup",
            Box::new(PushSetup::new(PushConfig {
                objects: vec![CaptureObject::CLOCK],
                destination: Destination {
                    transport: 0,
                    address: vec![1, 2],
                    message: 0,
                },
                randomisation_s: 0,
                retries: 3,
                delay_s: 60,
            })),
        ),
        ("TCP-UDP setup", Box::new(TcpUdpSetup::DEFAULT)),
        ("IPv4 setup", Box::new(Ipv4Setup::DHCP)),
        ("HDLC setup", Box::new(HdlcSetup::DEFAULT)),
    ]
}

/// Values that no attribute wants, and every value that differs from `good` in one byte.
fn values(good: Option<&Data>) -> Vec<Data> {
    let mut values = vec![
        Data::Null,
        Data::Boolean(true),
        Data::Enum(0xFF),
        Data::Integer(-1),
        Data::Unsigned(0xFF),
        Data::LongUnsigned(0),
        Data::LongUnsigned(0xFFFF),
        Data::DoubleLongUnsigned(0),
        Data::DoubleLongUnsigned(u32::MAX),
        Data::OctetString(vec![]),
        Data::OctetString(vec![0xFF; 12]),
        Data::OctetString(vec![0; 70_000]),
        Data::Array(vec![]),
        Data::Array(vec![Data::Null; 5_000]),
        Data::Structure(vec![]),
        Data::Structure(vec![
            Data::OctetString(vec![]),
            Data::DoubleLongUnsigned(64),
        ]),
        Data::Structure(vec![
            Data::DoubleLongUnsigned(0),
            Data::OctetString(vec![0; 64]),
        ]),
        Data::Structure(vec![
            Data::DoubleLongUnsigned(u32::MAX),
            Data::OctetString(vec![]),
        ]),
    ];
    let bytes = good.map(Data::encode).unwrap_or_default();
    for place in 0..bytes.len() {
        for byte in [0x00, 0x01, 0x7F, 0x80, 0xFD, 0xFE, 0xFF] {
            let mut bent = bytes.clone();
            bent[place] = byte;
            values.extend(Data::decode(&bent));
        }
    }
    values
}

fn all(object: &dyn InterfaceObject) -> Vec<Option<Data>> {
    (-1..=16)
        .map(|attribute| object.get(attribute, AT).ok())
        .collect()
}

#[test]
fn what_is_refused_changes_nothing_and_what_is_taken_can_be_read() {
    for (name, mut object) in objects() {
        for attribute in (-1..=16).chain([i8::MIN, i8::MAX]) {
            let good = object.get(attribute, AT).ok();
            for value in values(good.as_ref()) {
                let before = all(&*object);
                match object.set(attribute, &value, AT) {
                    Err(_) => assert_eq!(all(&*object), before, "{name} {attribute} {value:?}"),
                    Ok(()) => {
                        assert!(object.get(attribute, AT).is_ok(), "{name} {attribute}");
                        let good = good.as_ref().expect("what is written can be read");
                        assert_eq!(
                            object.set(attribute, good, AT),
                            Ok(()),
                            "{name} {attribute}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn no_parameter_makes_a_method_panic() {
    for (name, mut object) in objects() {
        for round in 0..2 {
            for method in (-1..=16).chain([i8::MIN, i8::MAX]) {
                assert!(
                    method > 0 || object.invoke(method, None, AT).is_err(),
                    "{name} {method}"
                );
                for value in values(None) {
                    // What comes of it is the tables' concern; here it only comes to an end.
                    let _ = object.invoke(method, Some(&value), AT);
                }
            }
            // The second time, with images taken.
            if round == 0 {
                let _ = object.set(5, &Data::Boolean(true), AT);
            }
        }
    }
}
