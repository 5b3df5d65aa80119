//! Rows of a load profile as intervals for the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{
    IntervalReading, IntervalValues, MeterId, MillivarHours, MillivoltAmpereHours, Millivolts,
    MilliwattHours, ObisCode, Period, ReadingStatus, UtcTime,
};
use gridloom_dlms::axdr::Data;

use super::rows::ProfileRow;
use super::shape::{ProfileShape, ScalerUnit, Unit, integer_of};
use crate::template::{Channel, ChannelSource, ColumnKind, MeterTemplate, ScalerSource};

/// A known state of the active import register, for profiles that do not capture it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The end of an interval.
    pub end: UtcTime,
    /// The register then.
    pub import_register: MilliwattHours,
}

/// Whose intervals they are, and how far they are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntervalMeaning<'a> {
    /// Whose.
    pub meter: MeterId,
    /// What the columns mean.
    pub template: &'a MeterTemplate,
    /// Rows up to here only serve the difference of the next one.
    pub after: Option<UtcTime>,
    /// A known state of the import register.
    pub anchor: Option<Anchor>,
}

/// What came of the rows of a load profile: each wanted row is in one of the two lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Intervals {
    /// The intervals, oldest first.
    pub readings: Vec<IntervalReading>,
    /// The rows that are none.
    pub exceptions: Vec<RowException>,
}

/// A row that is no interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowException {
    /// Which row, from 0.
    pub row: usize,
    /// Its time, if it has one.
    pub time: Option<UtcTime>,
    /// What is wrong with it.
    pub fault: RowFault,
}

/// Why a row is no interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowFault {
    /// The profile captures no clock.
    #[error("the row has no time; capture the clock")]
    NoTime,
    /// The row does not end a period.
    #[error("the row does not end an interval; the clock was set or the power failed")]
    OffGrid,
    /// A row of this time came before.
    #[error("a second row of the same time; the clock was set back")]
    Repeated,
    /// A register's row before is missing, so that nobody knows the interval's part.
    #[error("{0:?}: the row one period before is missing; the difference covers more than one")]
    NoPredecessor(Channel),
    /// A register is below the row before.
    #[error("{channel:?}: the register fell from {from} to {to}; it was reset or exchanged")]
    Fell {
        /// Which channel.
        channel: Channel,
        /// The row before, unscaled.
        from: i64,
        /// This row, unscaled.
        to: i64,
    },
    /// The value is no integer.
    #[error("{0:?}: the row has no integer value")]
    NoValue(Channel),
    /// The value cannot be held exactly.
    #[error("{channel:?}: {raw} times ten to {scaler} cannot be held exactly")]
    NotExact {
        /// Which channel.
        channel: Channel,
        /// The number.
        raw: i64,
        /// Its exponent.
        scaler: i8,
    },
    /// Neither the row nor an anchor gives the import register.
    #[error("the import register is unknown; capture 1-0:1.8.0 or read it once")]
    NoRegister,
    /// The profile status has more than eight bits set, or is no number.
    #[error("the profile status is no byte")]
    Status,
}

/// Why no row can be an interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntervalsError {
    /// A column that the template names is not captured.
    #[error(
        "object: the profile does not capture {obis} attribute {attribute} for {channel:?}; \
         correct the template or the meter's capture objects"
    )]
    NoColumn {
        /// For which channel.
        channel: Channel,
        /// The object.
        obis: ObisCode,
        /// Its attribute.
        attribute: i8,
    },
    /// A column's scaler is not known.
    #[error("object: the scaler of {obis} for {channel:?} is unknown; correct scaler_source")]
    NoScaler {
        /// For which channel.
        channel: Channel,
        /// The object.
        obis: ObisCode,
    },
    /// A column has another unit than its channel.
    #[error("object: {obis} for {channel:?} has unit {got}, {wanted} wanted; correct the template")]
    Unit {
        /// For which channel.
        channel: Channel,
        /// The object.
        obis: ObisCode,
        /// Its unit's code.
        got: u8,
        /// The unit's code that the channel has.
        wanted: u8,
    },
    /// The meter captures in another period.
    #[error("object: the meter captures every {got:?}, the template says {wanted} s")]
    Period {
        /// The meter's.
        got: Option<Duration>,
        /// The template's, in seconds.
        wanted: u32,
    },
}

/// A channel's place in a row.
struct Feed {
    channel: Channel,
    index: usize,
    kind: ColumnKind,
    scaler: i8,
}

/// Turns rows into intervals.
///
/// # Errors
///
/// A template that does not fit the profile.
pub fn intervals_of(
    shape: &ProfileShape,
    rows: &[ProfileRow],
    meaning: IntervalMeaning<'_>,
) -> Result<Intervals, IntervalsError> {
    let template = meaning.template;
    let period = template.capture_period;
    if shape.period != Some(period.duration()) {
        return Err(IntervalsError::Period {
            got: shape.period,
            wanted: period.as_secs(),
        });
    }
    let feeds = template
        .channels
        .iter()
        .map(|(channel, source)| feed_of(*channel, *source, shape, template.scaler_source))
        .collect::<Result<Vec<_>, _>>()?;
    let mut first_at: BTreeMap<UtcTime, &ProfileRow> = BTreeMap::new();
    let mut intervals = Intervals::default();
    let mut registers: BTreeMap<UtcTime, Option<MilliwattHours>> = BTreeMap::new();
    let mut kept: Vec<(usize, IntervalReading)> = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let wanted = row
            .time
            .is_none_or(|time| meaning.after.is_none_or(|after| time > after));
        let known = row.time.is_some_and(|time| first_at.contains_key(&time));
        let found = if known {
            Err(RowFault::Repeated)
        } else {
            reading_of(row, &first_at, &feeds, meaning.meter, period)
        };
        if let (Some(time), false) = (row.time, known) {
            first_at.insert(time, row);
        }
        match found {
            Ok((reading, register)) if wanted => {
                registers.insert(reading.end, register);
                kept.push((index, reading));
            }
            Err(fault) if wanted => intervals.exceptions.push(RowException {
                row: index,
                time: row.time,
                fault,
            }),
            Ok(_) | Err(_) => {}
        }
    }
    kept.sort_by_key(|(_, reading)| reading.end);
    fill_registers(&mut registers, &kept, meaning.anchor, period);
    for (row, reading) in kept {
        match registers[&reading.end] {
            Some(import_register) => intervals.readings.push(IntervalReading {
                import_register,
                ..reading
            }),
            None => intervals.exceptions.push(RowException {
                row,
                time: Some(reading.end),
                fault: RowFault::NoRegister,
            }),
        }
    }
    intervals.exceptions.sort_by_key(|exception| exception.row);
    Ok(intervals)
}

fn feed_of(
    channel: Channel,
    source: ChannelSource,
    shape: &ProfileShape,
    scalers: ScalerSource,
) -> Result<Feed, IntervalsError> {
    let ChannelSource {
        obis,
        attribute,
        kind,
    } = source;
    let index = shape
        .columns
        .iter()
        .position(|column| column.object.instance == obis && column.object.attribute == attribute)
        .ok_or(IntervalsError::NoColumn {
            channel,
            obis,
            attribute,
        })?;
    let Some(wanted) = unit_of(channel) else {
        return Ok(Feed {
            channel,
            index,
            kind,
            scaler: 0,
        });
    };
    let unity = ScalerUnit {
        scaler: 0,
        unit: wanted,
    };
    let scaler = match (shape.columns[index].scaler, scalers) {
        (Some(scaler), _) => scaler,
        (None, ScalerSource::Unity) => unity,
        (None, ScalerSource::Registers | ScalerSource::Profile(_)) => {
            return Err(IntervalsError::NoScaler { channel, obis });
        }
    };
    if scaler.unit != wanted {
        return Err(IntervalsError::Unit {
            channel,
            obis,
            got: scaler.unit.0,
            wanted: wanted.0,
        });
    }
    Ok(Feed {
        channel,
        index,
        kind,
        scaler: scaler.scaler,
    })
}

/// The unit of a channel; `None` for the status.
const fn unit_of(channel: Channel) -> Option<Unit> {
    match channel {
        Channel::Import | Channel::Export | Channel::ImportRegister => Some(Unit::WATT_HOURS),
        Channel::ReactiveQ1 | Channel::ReactiveQ2 | Channel::ReactiveQ3 | Channel::ReactiveQ4 => {
            Some(Unit::VAR_HOURS)
        }
        Channel::Apparent => Some(Unit::VOLT_AMPERE_HOURS),
        Channel::Voltage => Some(Unit::VOLTS),
        Channel::Status => None,
    }
}

/// A row's interval, and its import register if the row has it.
fn reading_of(
    row: &ProfileRow,
    earlier: &BTreeMap<UtcTime, &ProfileRow>,
    feeds: &[Feed],
    meter: MeterId,
    period: Period,
) -> Result<(IntervalReading, Option<MilliwattHours>), RowFault> {
    let end = row.time.ok_or(RowFault::NoTime)?;
    if period.slot_of(end).is_none() {
        return Err(RowFault::OffGrid);
    }
    let before = earlier.get(&(end - period.duration())).copied();
    let mut values = IntervalValues::default();
    let mut status = ReadingStatus::GOOD;
    let mut register = None;
    for feed in feeds {
        if feed.channel == Channel::Status {
            status = status_of(&row.values[feed.index])?;
            continue;
        }
        let raw = raw_of(feed, row)?;
        let total = scaled(feed, raw)?;
        if feed.channel == Channel::ImportRegister {
            register = Some(MilliwattHours::new(total));
            continue;
        }
        let amount = match feed.kind {
            ColumnKind::Interval => total,
            ColumnKind::Register => {
                let before = before.ok_or(RowFault::NoPredecessor(feed.channel))?;
                let from = raw_of(feed, before)?;
                if raw < from {
                    return Err(RowFault::Fell {
                        channel: feed.channel,
                        from,
                        to: raw,
                    });
                }
                if feed.channel == Channel::Import {
                    register.get_or_insert(MilliwattHours::new(total));
                }
                scaled(feed, raw - from)?
            }
        };
        match feed.channel {
            Channel::Import => values.import = MilliwattHours::new(amount),
            Channel::Export => values.export = MilliwattHours::new(amount),
            Channel::ReactiveQ1 => values.reactive[0] = MillivarHours::new(amount),
            Channel::ReactiveQ2 => values.reactive[1] = MillivarHours::new(amount),
            Channel::ReactiveQ3 => values.reactive[2] = MillivarHours::new(amount),
            Channel::ReactiveQ4 => values.reactive[3] = MillivarHours::new(amount),
            Channel::Apparent => values.apparent = MillivoltAmpereHours::new(amount),
            Channel::Voltage => values.voltage = Millivolts::new(amount),
            Channel::ImportRegister | Channel::Status => {}
        }
    }
    if row.clock.is_suspect() {
        status = status.with(ReadingStatus::CLOCK_INVALID);
    }
    let reading = IntervalReading {
        meter,
        period,
        end,
        status,
        values,
        import_register: MilliwattHours::ZERO,
    };
    Ok((reading, register))
}

fn raw_of(feed: &Feed, row: &ProfileRow) -> Result<i64, RowFault> {
    integer_of(&row.values[feed.index]).ok_or(RowFault::NoValue(feed.channel))
}

/// The number in thousandths of the channel's unit.
fn scaled(feed: &Feed, raw: i64) -> Result<i64, RowFault> {
    let fault = RowFault::NotExact {
        channel: feed.channel,
        raw,
        scaler: feed.scaler,
    };
    let exponent = i32::from(feed.scaler) + 3;
    let power = 10_i64.checked_pow(exponent.unsigned_abs()).ok_or(fault)?;
    if exponent >= 0 {
        raw.checked_mul(power).ok_or(fault)
    } else if raw % power == 0 {
        Ok(raw / power)
    } else {
        Err(fault)
    }
}

fn status_of(value: &Data) -> Result<ReadingStatus, RowFault> {
    let byte = match value {
        Data::BitString(bits) if bits.bits() == 8 => bits.bytes()[0],
        value => integer_of(value)
            .and_then(|number| u8::try_from(number).ok())
            .ok_or(RowFault::Status)?,
    };
    Ok(ReadingStatus(byte))
}

/// Carries known states of the import register over to neighbours, by the energy between them.
fn fill_registers(
    registers: &mut BTreeMap<UtcTime, Option<MilliwattHours>>,
    kept: &[(usize, IntervalReading)],
    anchor: Option<Anchor>,
    period: Period,
) {
    let mut known: Option<Anchor> = anchor;
    let step = period.duration();
    for (_, reading) in kept {
        if registers[&reading.end].is_none()
            && let Some(before) = known
            && before.end + step == reading.end
        {
            registers.insert(
                reading.end,
                before.import_register.checked_add(reading.values.import),
            );
        }
        if let Some(&Some(import_register)) = registers.get(&reading.end) {
            known = Some(Anchor {
                end: reading.end,
                import_register,
            });
        }
        if anchor.is_some_and(|anchor| anchor.end == reading.end) {
            registers.insert(reading.end, anchor.map(|anchor| anchor.import_register));
            known = anchor;
        }
    }
    for pair in kept.windows(2).rev() {
        let [(_, reading), (_, next)] = pair else {
            continue;
        };
        if registers[&reading.end].is_none()
            && reading.end + step == next.end
            && let Some(later) = registers[&next.end]
        {
            let before = later.get().checked_sub(next.values.import.get());
            registers.insert(reading.end, before.map(MilliwattHours::new));
        }
    }
}
