//! ASDUs against octets written by hand from the standard's layout, and against chance.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one variant"
)]

use gridloom_core::seed::Rng;
use gridloom_core::{Seed, UtcTime};
use gridloom_iec104::{
    ASDU_MAX, Asdu, AsduError, Cause, Command, CommonAddress, CounterGroup, CounterReading,
    Cp56Time2a, DoublePoint, Element, Freeze, Initialization, InitializationReason, Normalized,
    OBJECTS_MAX, Object, ObjectAddress, Packing, ParameterKind, ParameterValue, Qcc, Qoi, Qpa, Qpm,
    Quality, Reset, Stage, StepDirection, Transmission, TypeId, Value,
};
use rand_core::Rng as _;

const TIME: [u8; 7] = [0x8B, 0xA4, 0x0F, 0x15, 0xD5, 0x0B, 0x1A];

fn time() -> Cp56Time2a {
    Cp56Time2a::decode(TIME)
}

fn point(value: Value) -> Element {
    Element::Point {
        value,
        quality: Quality::GOOD,
    }
}

fn command(command: Command, qualifier: u8, stage: Stage) -> Element {
    Element::Command {
        command,
        qualifier,
        stage,
    }
}

fn object(address: u32, element: Element) -> Object {
    Object {
        address: ObjectAddress::new(address).unwrap(),
        element,
        time: None,
    }
}

fn timed(address: u32, element: Element) -> Object {
    Object {
        time: Some(time()),
        ..object(address, element)
    }
}

fn asdu(cause: Cause, packing: Packing, objects: Vec<Object>) -> Asdu {
    let transmission = Transmission {
        originator: 5,
        ..Transmission::new(cause)
    };
    let station = CommonAddress::new(0x0102).unwrap();
    Asdu::new(transmission, station, packing, objects).unwrap()
}

/// Type, VSQ, cause, originator 5, common address 0102h, then the objects.
fn octets(type_code: u8, vsq: u8, cause: u8, body: &[&[u8]]) -> Vec<u8> {
    let mut all = vec![type_code, vsq, cause, 5, 0x02, 0x01];
    all.extend(body.concat());
    all
}

#[test]
fn every_type_by_hand() {
    use Cause::{Activation, Initialized, Request, Spontaneous};
    let single = |cause, object| asdu(cause, Packing::Single, vec![object]);
    let step = Value::Step {
        position: -5,
        transient: true,
    };
    let counter = Value::Counter(CounterReading {
        count: 65_536,
        sequence: 3,
        carry: false,
        adjusted: false,
    });
    let values: [(u8, u8, Value, &[u8]); 8] = [
        (1, 30, Value::Single(true), &[0x01]),
        (3, 31, Value::Double(DoublePoint::Off), &[0x01]),
        (5, 32, step, &[0xFB, 0x00]),
        (
            7,
            33,
            Value::Bits(0xA0B0_C0D0),
            &[0xD0, 0xC0, 0xB0, 0xA0, 0],
        ),
        (
            9,
            34,
            Value::Normalized(Normalized(16_384)),
            &[0x00, 0x40, 0],
        ),
        (11, 35, Value::Scaled(-2), &[0xFE, 0xFF, 0]),
        (13, 36, Value::Float(50.0), &[0x00, 0x00, 0x48, 0x42, 0]),
        (15, 37, counter, &[0x00, 0x00, 0x01, 0x00, 0x03]),
    ];
    let mut cases = Vec::new();
    for (plain, tagged, value, element) in values {
        let address: &[u8] = &[0x03, 0x02, 0x01];
        cases.push((
            single(Spontaneous, object(0x0001_0203, point(value))),
            octets(plain, 1, 3, &[address, element]),
        ));
        cases.push((
            single(Spontaneous, timed(0x0001_0203, point(value))),
            octets(tagged, 1, 3, &[address, element, &TIME]),
        ));
    }
    type Given<'a> = (u8, u8, Command, u8, Stage, &'a [u8]);
    let commands: [Given<'_>; 7] = [
        (45, 58, Command::Single(true), 0, Stage::Select, &[0x81]),
        (46, 59, Command::Double(true), 1, Stage::Execute, &[0x06]),
        (
            47,
            60,
            Command::Step(StepDirection::Higher),
            0,
            Stage::Select,
            &[0x82],
        ),
        (
            48,
            61,
            Command::Normalized(Normalized(1)),
            0,
            Stage::Execute,
            &[1, 0, 0],
        ),
        (
            49,
            62,
            Command::Scaled(256),
            9,
            Stage::Select,
            &[0, 1, 0x89],
        ),
        (
            50,
            63,
            Command::Float(1.0),
            0,
            Stage::Execute,
            &[0, 0, 0x80, 0x3F, 0],
        ),
        (51, 64, Command::Bits(7), 0, Stage::Execute, &[7, 0, 0, 0]),
    ];
    for (plain, tagged, given, qualifier, stage, element) in commands {
        let address: &[u8] = &[0xFF, 0xFF, 0xFF];
        let element_of = command(given, qualifier, stage);
        cases.push((
            single(Activation, object(0x00FF_FFFF, element_of)),
            octets(plain, 1, 6, &[address, element]),
        ));
        cases.push((
            single(Activation, timed(0x00FF_FFFF, element_of)),
            octets(tagged, 1, 6, &[address, element, &TIME]),
        ));
    }
    let none: &[u8] = &[0, 0, 0];
    let qcc = Qcc {
        counters: CounterGroup::GENERAL,
        freeze: Freeze::Freeze,
    };
    let initialized = Element::EndOfInitialization(Initialization {
        reason: InitializationReason::RemoteReset,
        changed_parameters: true,
    });
    let qpm = Qpm {
        kind: ParameterKind::HighLimit,
        changed_locally: false,
        not_in_operation: true,
    };
    let parameter = |value| Element::Parameter {
        value,
        qualifier: qpm,
    };
    let systems: [(u8, Cause, Object, &[u8]); 11] = [
        (70, Initialized, object(0, initialized), &[0x82]),
        (
            100,
            Activation,
            object(0, Element::Interrogation(Qoi::STATION)),
            &[0x14],
        ),
        (
            100,
            Activation,
            object(0, Element::Interrogation(Qoi::group(16).unwrap())),
            &[0x24],
        ),
        (
            101,
            Activation,
            object(0, Element::CounterInterrogation(qcc)),
            &[0x45],
        ),
        (103, Activation, timed(0, Element::Clock), &TIME),
        (
            105,
            Activation,
            object(0, Element::Reset(Reset::Process)),
            &[0x01],
        ),
        (
            107,
            Activation,
            timed(0, Element::Test(0xAA55)),
            &[0x55, 0xAA, 0x8B, 0xA4, 0x0F, 0x15, 0xD5, 0x0B, 0x1A],
        ),
        (
            110,
            Activation,
            object(0, parameter(ParameterValue::Normalized(Normalized(2)))),
            &[2, 0, 0x84],
        ),
        (
            111,
            Activation,
            object(0, parameter(ParameterValue::Scaled(-1))),
            &[0xFF, 0xFF, 0x84],
        ),
        (
            112,
            Activation,
            object(0, parameter(ParameterValue::Float(1.0))),
            &[0, 0, 0x80, 0x3F, 0x84],
        ),
        (
            113,
            Activation,
            object(0, Element::ParameterActivation(Qpa::Periodic)),
            &[0x03],
        ),
    ];
    for (type_code, cause, object, element) in systems {
        cases.push((
            single(cause, object),
            octets(type_code, 1, cause.code(), &[none, element]),
        ));
    }
    cases.push((
        single(Request, object(9, Element::Read)),
        octets(102, 1, 5, &[&[9, 0, 0]]),
    ));
    let mut types: Vec<TypeId> = cases.iter().map(|(asdu, _)| asdu.type_id()).collect();
    types.sort();
    types.dedup();
    assert_eq!(types.len(), TypeId::all().count(), "every type has a case");
    for (asdu, octets) in cases {
        assert_eq!(asdu.encode(), octets, "{asdu:?}");
        assert_eq!(Asdu::decode(&octets), Ok(asdu));
    }
}

#[test]
fn both_packings_by_hand() {
    let points = |addresses: [u32; 3]| {
        addresses
            .into_iter()
            .map(|address| object(address, point(Value::Single(address % 2 == 1))))
            .collect::<Vec<_>>()
    };
    let sequence = asdu(
        Cause::Interrogated(Qoi::STATION),
        Packing::Sequence,
        points([5, 6, 7]),
    );
    assert_eq!(
        sequence.encode(),
        octets(1, 0x83, 20, &[&[5, 0, 0, 1, 0, 1]])
    );
    let apart = asdu(Cause::Background, Packing::Single, points([5, 8, 7]));
    assert_eq!(
        apart.encode(),
        octets(1, 3, 2, &[&[5, 0, 0, 1, 8, 0, 0, 0, 7, 0, 0, 1]])
    );
    for asdu in [sequence, apart] {
        assert_eq!(Asdu::decode(&asdu.encode()), Ok(asdu));
    }
    let refused = Asdu::new(
        Transmission::new(Cause::Spontaneous),
        CommonAddress::new(1).unwrap(),
        Packing::Sequence,
        points([5, 7, 8]),
    );
    assert_eq!(refused, Err(AsduError::Sequence(TypeId::MSpNa1)));
}

/// The standard forbids it, and stations in the field answer interrogations with it.
#[test]
fn a_sequence_of_tagged_points_is_read() {
    let received = octets(31, 0x82, 20, &[&[5, 0, 0], &[1], &TIME, &[2], &TIME]);
    let asdu = Asdu::decode(&received).unwrap();
    let expected = [(5, DoublePoint::Off), (6, DoublePoint::On)]
        .map(|(address, state)| timed(address, point(Value::Double(state))));
    assert_eq!(asdu.objects(), expected);
    assert_eq!(asdu.encode(), received);
}

#[test]
fn octets_that_are_no_asdu_are_named() {
    let good = octets(1, 1, 3, &[&[1, 0, 0, 1]]);
    let change = |at: usize, to: u8| {
        let mut bad = good.clone();
        bad[at] = to;
        bad
    };
    let type_id = TypeId::MSpNa1;
    let cases: Vec<(Vec<u8>, AsduError)> = vec![
        (vec![], AsduError::Short(0)),
        (good[..5].to_vec(), AsduError::Short(5)),
        (change(0, 2), AsduError::UnknownType(2)),
        (change(2, 14), AsduError::UnknownCause(14)),
        (change(1, 0), AsduError::Count { type_id, count: 0 }),
        (
            change(1, 2),
            AsduError::Length {
                type_id,
                wanted: 8,
                got: 4,
            },
        ),
        (
            [good.clone(), vec![0]].concat(),
            AsduError::Length {
                type_id,
                wanted: 4,
                got: 5,
            },
        ),
        (
            octets(45, 0x81, 6, &[&[1, 0, 0, 1]]),
            AsduError::Sequence(TypeId::CScNa1),
        ),
        (
            octets(45, 2, 6, &[&[1, 0, 0, 1, 2, 0, 0, 1]]),
            AsduError::Count {
                type_id: TypeId::CScNa1,
                count: 2,
            },
        ),
        (
            octets(1, 0x82, 20, &[&[0xFF, 0xFF, 0xFF, 1, 1]]),
            AsduError::Sequence(type_id),
        ),
        (
            octets(46, 1, 6, &[&[1, 0, 0, 3]]),
            AsduError::Element {
                type_id: TypeId::CDcNa1,
                address: ObjectAddress::new(1).unwrap(),
                octet: 3,
            },
        ),
        (
            octets(100, 1, 6, &[&[0, 0, 0, 37]]),
            AsduError::Element {
                type_id: TypeId::CIcNa1,
                address: ObjectAddress::NONE,
                octet: 37,
            },
        ),
        (
            {
                let mut bad = change(4, 0);
                bad[5] = 0;
                bad
            },
            AsduError::NoCommonAddress,
        ),
    ];
    for (bytes, error) in cases {
        assert_eq!(Asdu::decode(&bytes), Err(error), "{bytes:02X?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for type_id in TypeId::all().filter(|id| id.code() < 40) {
        for packing in [Packing::Single, Packing::Sequence] {
            let most = Asdu::objects_max(type_id, packing);
            assert!((1..=OBJECTS_MAX).contains(&most));
            let mut rng = Seed::new(1).rng();
            let build = |count: usize, rng: &mut Rng| {
                let objects = (1..).take(count).map(|address| Object {
                    address: ObjectAddress::new(address).unwrap(),
                    element: Element::Point {
                        value: value_of(type_id, rng),
                        quality: Quality::GOOD,
                    },
                    time: type_id.has_time().then(time),
                });
                Asdu::new(
                    Transmission::new(Cause::Spontaneous),
                    CommonAddress::new(1).unwrap(),
                    packing,
                    objects.collect(),
                )
            };
            let full = build(most, &mut rng).unwrap();
            assert!(full.encode().len() <= ASDU_MAX);
            let decoded = Asdu::decode(&full.encode()).unwrap();
            assert_eq!(decoded.encode(), full.encode());
            assert!(build(most + 1, &mut rng).is_err(), "{type_id:?}");
        }
    }
    let station = CommonAddress::new(1).unwrap();
    let new = |objects| {
        let transmission = Transmission::new(Cause::Activation);
        Asdu::new(transmission, station, Packing::Single, objects)
    };
    let mixed = vec![
        object(1, point(Value::Single(true))),
        object(2, point(Value::Scaled(1))),
    ];
    assert_eq!(new(mixed), Err(AsduError::NoType { time: false }));
    assert_eq!(new(vec![]), Err(AsduError::NoType { time: false }));
    let interrogation = timed(0, Element::Interrogation(Qoi::STATION));
    assert_eq!(
        new(vec![interrogation]),
        Err(AsduError::NoType { time: true })
    );
    for (given, qualifier, stage) in [
        (Command::Single(true), 32, Stage::Execute),
        (Command::Scaled(1), 128, Stage::Execute),
        (Command::Bits(1), 1, Stage::Execute),
        (Command::Bits(1), 0, Stage::Select),
    ] {
        let refused = new(vec![object(1, command(given, qualifier, stage))]);
        assert!(
            matches!(refused, Err(AsduError::Element { .. })),
            "{given:?}"
        );
    }
}

fn value_of(type_id: TypeId, rng: &mut Rng) -> Value {
    let bits = rng.next_u32();
    let [low, high, ..] = bits.to_le_bytes();
    let short = i16::from_le_bytes([low, high]);
    match type_id.code() {
        1 | 30 => Value::Single(bits & 1 == 0),
        3 | 31 => Value::Double(
            [
                DoublePoint::Intermediate,
                DoublePoint::Off,
                DoublePoint::On,
                DoublePoint::Indeterminate,
            ][usize::from(low % 4)],
        ),
        5 | 32 => Value::Step {
            position: i8::from_le_bytes([low]) / 2,
            transient: high & 1 == 0,
        },
        7 | 33 => Value::Bits(bits),
        9 | 34 => Value::Normalized(Normalized(short)),
        11 | 35 => Value::Scaled(short),
        13 | 36 => Value::Float(f32::from_bits(bits)),
        _ => Value::Counter(CounterReading {
            count: i32::from_le_bytes(bits.to_le_bytes()),
            sequence: low % 32,
            carry: high & 1 == 0,
            adjusted: high & 2 == 0,
        }),
    }
}

/// Chance makes ASDUs; each comes back as it was.
#[test]
fn what_is_encoded_is_decoded() {
    let monitor: Vec<TypeId> = TypeId::all().filter(|id| id.code() < 40).collect();
    for seed in 0..20_000 {
        let mut rng = Seed::new(seed).child("asdu").rng();
        let draw = |rng: &mut Rng, below: usize| usize::try_from(rng.next_u32()).unwrap() % below;
        let type_id = monitor[draw(&mut rng, monitor.len())];
        let packing = match draw(&mut rng, 2) {
            0 => Packing::Sequence,
            _ => Packing::Single,
        };
        let count = 1 + draw(&mut rng, Asdu::objects_max(type_id, packing));
        let first = u32::try_from(draw(&mut rng, 0x00FF_FF00)).unwrap();
        let flags = draw(&mut rng, 256);
        let is_counter = matches!(type_id.code(), 15 | 37);
        let has_overflow = matches!(type_id.code(), 5..=13 | 32..=36);
        let quality = Quality {
            overflow: has_overflow && flags & 1 != 0,
            blocked: !is_counter && flags & 2 != 0,
            substituted: !is_counter && flags & 4 != 0,
            not_topical: !is_counter && flags & 8 != 0,
            invalid: flags & 16 != 0,
        };
        let transmission = Transmission {
            cause: Cause::from_code(u8::try_from(1 + draw(&mut rng, 13)).unwrap()).unwrap(),
            negative: flags & 32 != 0,
            test: flags & 64 != 0,
            originator: u8::try_from(flags).unwrap(),
        };
        let moment = i64::try_from(draw(&mut rng, 4_000_000_000)).unwrap();
        let tag = Cp56Time2a::from_utc(UtcTime::from_millis(946_684_800_000 + moment * 700));
        let objects: Vec<Object> = (first..)
            .take(count)
            .map(|address| Object {
                address: ObjectAddress::new(address).unwrap(),
                element: Element::Point {
                    value: value_of(type_id, &mut rng),
                    quality,
                },
                time: type_id.has_time().then_some(tag),
            })
            .collect();
        let station = CommonAddress::new(1 + u16::try_from(flags).unwrap()).unwrap();
        let asdu = Asdu::new(transmission, station, packing, objects).unwrap();
        let octets = asdu.encode();
        let decoded = Asdu::decode(&octets).unwrap();
        // Octets, because a NaN is not equal to itself.
        assert_eq!(decoded.encode(), octets, "seed {seed}");
        assert_eq!(decoded.transmission(), asdu.transmission());
        assert_eq!(decoded.objects().len(), count);
        for (a, b) in decoded.objects().iter().zip(asdu.objects()) {
            assert_eq!((a.address, a.time), (b.address, b.time));
            match (a.element, b.element) {
                (
                    Element::Point {
                        value: a,
                        quality: qa,
                    },
                    Element::Point {
                        value: b,
                        quality: qb,
                    },
                ) => assert!(a.same(b) && qa == qb, "seed {seed}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// No octets panic; what is read and written once is stable.
#[test]
fn no_bytes_panic_the_decoder() {
    let codes: Vec<u8> = TypeId::all().map(TypeId::code).collect();
    let mut read = 0;
    for seed in 0..200_000 {
        let mut rng = Seed::new(seed).child("octets").rng();
        let mut octets = vec![0; usize::try_from(rng.next_u32() % 40).unwrap()];
        rng.fill_bytes(&mut octets);
        if let [type_code, vsq, cause, ..] = &mut octets[..] {
            *type_code = codes[usize::from(*type_code) % codes.len()];
            *vsq &= 0x83;
            *cause = *cause % 13 + 1;
        }
        if let Ok(asdu) = Asdu::decode(&octets) {
            read += 1;
            let once = asdu.encode();
            assert_eq!(once.len(), octets.len(), "seed {seed}");
            let again = Asdu::decode(&once).unwrap().encode();
            assert_eq!(again, once, "seed {seed}");
        }
    }
    assert!(read > 1_000, "only {read} were ASDUs at all");
}
