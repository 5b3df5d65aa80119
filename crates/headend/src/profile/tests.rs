//! Rows with everything left out that can be, and rows that are no intervals.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{MeterId, MilliwattHours, ObisCode, Period, ReadingStatus, UtcTime};
use gridloom_dlms::axdr::{BitString, Data};
use gridloom_dlms::datetime::{ClockStatus, CosemDateTime};
use gridloom_dlms::selection::CaptureObject;

use super::*;
use crate::template::{Channel, ChannelSource, ColumnKind, MeterTemplate, ScalerSource};

const IMPORT: ObisCode = ObisCode([1, 0, 1, 29, 0, 255]);
const EXPORT: ObisCode = ObisCode([1, 0, 2, 29, 0, 255]);
const REGISTER: ObisCode = ObisCode([1, 0, 1, 8, 0, 255]);
const STATUS: ObisCode = ObisCode([0, 0, 96, 10, 1, 255]);
const MINUTE: Duration = Duration::from_secs(60);

fn at(minutes: i64) -> UtcTime {
    UtcTime::from_secs(minutes * 60)
}

fn column(class_id: u16, instance: ObisCode, unit: Option<(i8, Unit)>) -> Column {
    Column {
        object: CaptureObject {
            class_id,
            instance,
            attribute: 2,
            data_index: 0,
        },
        scaler: unit.map(|(scaler, unit)| ScalerUnit { scaler, unit }),
    }
}

fn shape() -> ProfileShape {
    let energy = Some((0, Unit::WATT_HOURS));
    ProfileShape {
        columns: vec![
            column(8, ObisCode([0, 0, 1, 0, 0, 255]), None),
            column(1, STATUS, None),
            column(3, IMPORT, energy),
            column(3, EXPORT, energy),
            column(3, REGISTER, energy),
        ],
        period: Some(MINUTE * 15),
    }
}

fn stamp(minutes: i64, deviation: i16) -> Data {
    let written = CosemDateTime {
        deviation,
        ..CosemDateTime::from_utc(at(minutes)).unwrap()
    };
    Data::OctetString(written.to_bytes().to_vec())
}

fn time(minutes: i64) -> Data {
    stamp(minutes, 0)
}

fn wh(value: u32) -> Data {
    Data::DoubleLongUnsigned(value)
}

fn buffer(rows: Vec<Vec<Data>>) -> Data {
    Data::Array(rows.into_iter().map(Data::Structure).collect())
}

const READING: RowReading = RowReading {
    nulls: Nulls::RowBefore,
    deviation: 0,
};

#[test]
fn what_compression_leaves_out_is_filled_in() {
    let good = Data::Unsigned(0);
    let packed = buffer(vec![
        vec![time(15), good.clone(), wh(10), wh(0), wh(1_000)],
        vec![
            Data::Null,
            Data::Null,
            Data::Null,
            Data::Null,
            Data::DeltaUnsigned(10),
        ],
        vec![
            Data::Null,
            Data::Null,
            wh(12),
            Data::Null,
            Data::DeltaLong(12),
        ],
        vec![
            time(75),
            Data::Unsigned(0x80),
            wh(1),
            wh(0),
            Data::DeltaInteger(-22),
        ],
    ]);
    let rows = rows_of(&packed, &shape(), READING).unwrap();
    let seen: Vec<_> = rows
        .iter()
        .map(|row| {
            let numbers: Vec<_> = row.values[2..].iter().map(integer_of).collect();
            (row.time.unwrap(), row.status.unwrap(), numbers)
        })
        .collect();
    let all = |a, b, c| vec![Some(a), Some(b), Some(c)];
    assert_eq!(
        seen,
        [
            (at(15), 0, all(10, 0, 1_000)),
            (at(30), 0, all(10, 0, 1_010)),
            (at(45), 0, all(12, 0, 1_022)),
            (at(75), 0x80, all(1, 0, 1_000)),
        ]
    );
    let absent = RowReading {
        nulls: Nulls::Absent,
        deviation: 0,
    };
    let open = buffer(vec![
        vec![time(15), good.clone(), wh(10), wh(0), wh(1_000)],
        vec![Data::Null, good, Data::Null, wh(0), wh(1_010)],
    ]);
    let rows = rows_of(&open, &shape(), absent).unwrap();
    assert_eq!(rows[1].time, Some(at(30)), "a time follows all the same");
    assert_eq!(rows[1].values[2], Data::Null);
}

#[test]
fn local_times_become_utc() {
    // The clock says 12:00; what that is in UTC depends on the deviation, stated or not.
    let cases = [
        (0, 330, 720),
        (-60, 330, 660),
        (CosemDateTime::DEVIATION_OPEN, 0, 720),
        (CosemDateTime::DEVIATION_OPEN, -330, 390),
        (CosemDateTime::DEVIATION_OPEN, -60, 660),
    ];
    for (stated, deviation, expected) in cases {
        let reading = RowReading {
            nulls: Nulls::Absent,
            deviation,
        };
        let row = vec![stamp(720, stated), Data::Unsigned(0), wh(0), wh(0), wh(0)];
        let rows = rows_of(&buffer(vec![row]), &shape(), reading).unwrap();
        assert_eq!(rows[0].time, Some(at(expected)), "{stated} {deviation}");
    }
}

#[test]
fn a_buffer_that_does_not_fit_its_columns_is_named() {
    let row = || vec![time(15), Data::Unsigned(0), wh(1), wh(1), wh(1)];
    let with = |nth: usize, value: Data| {
        let mut row = row();
        row[nth] = value;
        buffer(vec![row])
    };
    let no_period = ProfileShape {
        period: None,
        ..shape()
    };
    let mut no_time = row();
    no_time[0] = Data::Null;
    let cases = [
        (
            rows_of(&Data::Null, &shape(), READING),
            ProfileError::Type {
                attribute: "buffer",
            },
        ),
        (
            rows_of(&buffer(vec![vec![time(0)]]), &shape(), READING),
            ProfileError::Width {
                row: 0,
                got: 1,
                wanted: 5,
            },
        ),
        (
            rows_of(&with(0, Data::Null), &shape(), READING),
            ProfileError::NoTime { row: 0 },
        ),
        (
            rows_of(&buffer(vec![row(), no_time]), &no_period, READING),
            ProfileError::NoTime { row: 1 },
        ),
        (
            rows_of(&with(0, wh(4)), &shape(), READING),
            ProfileError::Type {
                attribute: "a capture time",
            },
        ),
        (
            rows_of(&with(4, Data::DeltaLong(4)), &shape(), READING),
            ProfileError::Delta { row: 0, column: 4 },
        ),
    ];
    for (got, expected) in cases {
        assert_eq!(got, Err(expected));
    }
    let open = with(0, Data::OctetString(vec![0xFF; 12]));
    assert!(matches!(
        rows_of(&open, &shape(), READING),
        Err(ProfileError::Time { row: 0, .. })
    ));
}

fn template() -> MeterTemplate {
    MeterTemplate::standard("test")
}

/// A row of time, status, import, export and register.
fn row(minutes: i64, status: u8, import: u32, export: u32, register: u32) -> ProfileRow {
    let values = vec![
        time(minutes),
        Data::Unsigned(status),
        wh(import),
        wh(export),
        wh(register),
    ];
    rows_of(&buffer(vec![values]), &shape(), READING)
        .unwrap()
        .remove(0)
}

fn meaning(template: &MeterTemplate) -> IntervalMeaning<'_> {
    IntervalMeaning {
        meter: MeterId(7),
        template,
        after: None,
        anchor: None,
    }
}

/// Ends in minutes, import in mWh, register in mWh; and the faults by row.
type Summary = (Vec<(i64, i64, i64)>, Vec<(usize, RowFault)>);

fn summary(intervals: &Intervals) -> Summary {
    let minutes = |time: UtcTime| time.as_secs() / 60;
    (
        intervals
            .readings
            .iter()
            .map(|reading| {
                (
                    minutes(reading.end),
                    reading.values.import.get(),
                    reading.import_register.get(),
                )
            })
            .collect(),
        intervals
            .exceptions
            .iter()
            .map(|exception| (exception.row, exception.fault))
            .collect(),
    )
}

#[test]
fn interval_columns_become_readings() {
    let mut doubtful = row(30, 0x80, 12, 3, 1_022);
    doubtful.clock = ClockStatus::DOUBTFUL;
    let rows = [
        row(15, 0, 10, 0, 1_010),
        doubtful,
        row(31, 0, 1, 0, 1_023),
        row(30, 0, 1, 0, 1_023),
        row(60, 0, 5, 0, 1_027),
    ];
    let template = template();
    let intervals = intervals_of(&shape(), &rows, meaning(&template)).unwrap();
    assert_eq!(
        summary(&intervals),
        (
            vec![
                (15, 10_000, 1_010_000),
                (30, 12_000, 1_022_000),
                (60, 5_000, 1_027_000)
            ],
            vec![(2, RowFault::OffGrid), (3, RowFault::Repeated)]
        )
    );
    let reading = intervals.readings[1];
    assert_eq!(reading.meter, MeterId(7));
    assert_eq!(reading.period, Period::QUARTER_HOUR);
    assert_eq!(reading.values.export.get(), 3_000);
    assert_eq!(
        reading.status,
        ReadingStatus::POWER_DOWN.with(ReadingStatus::CLOCK_INVALID)
    );
}

fn registers_only() -> (MeterTemplate, ProfileShape) {
    let mut template = template();
    template.channels = BTreeMap::from([(
        Channel::Import,
        ChannelSource {
            obis: REGISTER,
            attribute: 2,
            kind: ColumnKind::Register,
        },
    )]);
    (template, shape())
}

#[test]
fn registers_are_subtracted_exactly() {
    let (template, mut shape) = registers_only();
    shape.columns[4].scaler = Some(ScalerUnit {
        scaler: -1,
        unit: Unit::WATT_HOURS,
    });
    let rows = [
        row(0, 0, 0, 0, 1_000),
        row(15, 0, 0, 0, 1_015),
        row(45, 0, 0, 0, 1_040),
        row(60, 0, 0, 0, 1_040),
        row(75, 0, 0, 0, 7),
    ];
    let wanted = IntervalMeaning {
        after: Some(at(0)),
        ..meaning(&template)
    };
    let intervals = intervals_of(&shape, &rows, wanted).unwrap();
    let import = Channel::Import;
    assert_eq!(
        summary(&intervals),
        (
            vec![(15, 1_500, 101_500), (60, 0, 104_000)],
            vec![
                (2, RowFault::NoPredecessor(import)),
                (
                    4,
                    RowFault::Fell {
                        channel: import,
                        from: 1_040,
                        to: 7
                    }
                )
            ]
        )
    );
    let all = intervals_of(&shape, &rows, meaning(&template)).unwrap();
    assert_eq!(all.exceptions[0].fault, RowFault::NoPredecessor(import));
    assert_eq!(
        all.exceptions[0].time,
        Some(at(0)),
        "the first row has none"
    );
}

#[test]
fn what_cannot_be_held_exactly_is_an_exception() {
    let (template, mut shape) = registers_only();
    let mut with = |scaler: i8, register: u32| {
        shape.columns[4].scaler = Some(ScalerUnit {
            scaler,
            unit: Unit::WATT_HOURS,
        });
        let rows = [row(0, 0, 0, 0, 0), row(15, 0, 0, 0, register)];
        let intervals = intervals_of(&shape, &rows, meaning(&template)).unwrap();
        let fault = intervals.exceptions.get(1).map(|exception| exception.fault);
        let import = intervals.readings.first().map(|r| r.values.import.get());
        (import, fault)
    };
    let not_exact = |raw, scaler| {
        let channel = Channel::Import;
        (
            None,
            Some(RowFault::NotExact {
                channel,
                raw,
                scaler,
            }),
        )
    };
    assert_eq!(with(-3, 1), (Some(1), None));
    assert_eq!(with(-4, 10), (Some(1), None));
    assert_eq!(with(-4, 11), not_exact(11, -4));
    assert_eq!(with(3, 2), (Some(2_000_000), None));
    assert_eq!(with(15, 2), (Some(2_000_000_000_000_000_000), None));
    assert_eq!(with(15, 20), not_exact(20, 15));
    assert_eq!(with(17, 1), not_exact(1, 17));
    assert_eq!(with(i8::MIN, 1), not_exact(1, i8::MIN));
}

#[test]
fn an_anchor_gives_registers_to_its_neighbours() {
    let mut template = template();
    template.channels.remove(&Channel::ImportRegister);
    let rows = [
        row(0, 0, 1, 0, 0),
        row(15, 0, 2, 0, 0),
        row(30, 0, 4, 0, 0),
        row(45, 0, 8, 0, 0),
        row(75, 0, 16, 0, 0),
    ];
    let anchored = |minutes, watt_hours: i64| {
        let anchor = Anchor {
            end: at(minutes),
            import_register: MilliwattHours::new(watt_hours * 1_000),
        };
        let wanted = IntervalMeaning {
            anchor: Some(anchor),
            ..meaning(&template)
        };
        let intervals = intervals_of(&shape(), &rows, wanted).unwrap();
        let (readings, faults) = summary(&intervals);
        let registers: Vec<_> = readings
            .into_iter()
            .map(|(end, _, register)| (end, register / 1_000))
            .collect();
        assert!(
            faults
                .iter()
                .all(|(_, fault)| *fault == RowFault::NoRegister)
        );
        assert_eq!(registers.len() + faults.len(), rows.len());
        registers
    };
    let contiguous = [(0, 97), (15, 99), (30, 103), (45, 111)];
    assert_eq!(anchored(15, 99), contiguous);
    assert_eq!(anchored(-15, 96), contiguous);
    assert_eq!(
        anchored(75, 500),
        [(75, 500)],
        "nothing is known across a hole"
    );
    assert_eq!(anchored(-30, 96), []);
}

#[test]
fn a_template_that_does_not_fit_is_named() {
    type Change = fn(&mut MeterTemplate, &mut ProfileShape);
    let cases: [(Change, &str); 5] = [
        (
            |_, shape| shape.period = None,
            "the meter captures every None, the template says 900 s",
        ),
        (
            |template, _| template.capture_period = Period::HOUR,
            "the template says 3600 s",
        ),
        (
            |_, shape| {
                shape.columns.remove(3);
            },
            "does not capture 1-0:2.29.0.255 attribute 2 for Export",
        ),
        (
            |_, shape| shape.columns[2].scaler = None,
            "the scaler of 1-0:1.29.0.255 for Import is unknown",
        ),
        (
            |_, shape| {
                shape.columns[2].scaler = Some(ScalerUnit {
                    scaler: 0,
                    unit: Unit::VAR_HOURS,
                });
            },
            "has unit 32, 30 wanted",
        ),
    ];
    for (change, fault) in cases {
        let (mut template, mut shape) = (template(), shape());
        change(&mut template, &mut shape);
        let error = intervals_of(&shape, &[], meaning(&template)).unwrap_err();
        assert!(error.to_string().contains(fault), "{error}");
    }
    let mut unity = template();
    unity.scaler_source = ScalerSource::Unity;
    let mut bare = shape();
    for column in &mut bare.columns {
        column.scaler = None;
    }
    let rows = [row(15, 0, 10, 0, 1_010)];
    let intervals = intervals_of(&bare, &rows, meaning(&unity)).unwrap();
    assert_eq!(summary(&intervals).0, [(15, 10_000, 1_010_000)]);
}

#[test]
fn a_status_is_a_byte_or_an_exception() {
    let template = template();
    let bits = |bits, bytes| Data::BitString(BitString::new(bits, bytes).unwrap());
    let cases = [
        (Data::Unsigned(0x82), Some(0x82)),
        (Data::LongUnsigned(0x20), Some(0x20)),
        (bits(8, vec![0x04]), Some(0x04)),
        (Data::LongUnsigned(0x120), None),
        (bits(16, vec![0, 4]), None),
        (Data::Null, None),
    ];
    for (status, expected) in cases {
        let mut row = row(15, 0, 1, 1, 1);
        row.values[1] = status.clone();
        let intervals = intervals_of(&shape(), &[row], meaning(&template)).unwrap();
        let got = intervals.readings.first().map(|reading| reading.status.0);
        assert_eq!(got, expected, "{status:?}");
        if expected.is_none() {
            assert_eq!(intervals.exceptions[0].fault, RowFault::Status);
        }
    }
}
