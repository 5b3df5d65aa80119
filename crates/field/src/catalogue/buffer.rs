//! The profiles (class 7): rows made from what the meter keeps anyway, when they are asked for.
//!
//! Nothing here owns a row. The block load profile is the meter's own profile; the daily one is
//! its registers walked back over it; the billing one is the billing periods.

use gridloom_core::{ObisCode, UtcTime};
use gridloom_dlms::apdu::{DataAccessResult, SelectiveAccess};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::CosemDateTime;
use gridloom_dlms::selection::CaptureObject;

use super::register::{Channel, Phase, Quantity, total};
use super::rows::Buffer;
use crate::billing_period::{BillingPeriod, BillingPeriods};
use crate::clock::Clock;
use crate::features::Features;
use crate::metrology::{CHANNELS, Connection, Instantaneous, Metrology};
use crate::objects::selection::{Rows, Selection};
use crate::profile::{Entry, Profile};

/// Rows in one answer. Whoever asks for more is told that the scope of the access is violated,
/// and reads in smaller ranges; an answer that silently ended would look like a gap.
pub const ROWS_MAX: usize = 4_000;

/// One column of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Clock,
    Status,
    Register([u8; 5], Quantity),
    /// The highest mean of a billing period, of active (0) or of apparent import (1): its value
    /// (attribute 2) or its time (attribute 5).
    Peak(usize, i8),
}

impl Column {
    fn capture(self, attribute: i8) -> CaptureObject {
        let (class_id, name) = match self {
            Self::Clock => (8, [0, 0, 1, 0, 0]),
            Self::Status => (1, [0, 0, 96, 10, 1]),
            Self::Register(name, _) => (3, name),
            Self::Peak(0, _) => (4, [1, 0, 1, 6, 0]),
            Self::Peak(..) => (4, [1, 0, 9, 6, 0]),
        };
        let [a, b, c, d, e] = name;
        CaptureObject {
            class_id,
            instance: ObisCode([a, b, c, d, e, 255]),
            attribute,
            data_index: 0,
        }
    }

    /// What is captured.
    fn captured(self) -> CaptureObject {
        self.capture(match self {
            Self::Clock | Self::Status | Self::Register(..) => 2,
            Self::Peak(_, attribute) => attribute,
        })
    }

    /// The scaler and unit of its object, where its values have them.
    fn scaler(self) -> Option<(CaptureObject, Data)> {
        match self {
            Self::Clock | Self::Status => None,
            Self::Register(_, quantity) => Some((self.capture(3), quantity.scaler_unit_data())),
            Self::Peak(kind, 2) => {
                let unit = [27, 28][kind];
                let scaler = Data::Structure(vec![Data::Integer(0), Data::Enum(unit)]);
                Some((self.capture(3), scaler))
            }
            Self::Peak(..) => None,
        }
    }
}

const BLOCK: &[Column] = &[
    Column::Clock,
    Column::Status,
    Column::Register([1, 0, 1, 29, 0], Quantity::Block(Channel::Import)),
    Column::Register([1, 0, 2, 29, 0], Quantity::Block(Channel::Export)),
    Column::Register([1, 0, 5, 29, 0], Quantity::Block(Channel::Quadrant1)),
    Column::Register([1, 0, 6, 29, 0], Quantity::Block(Channel::Quadrant2)),
    Column::Register([1, 0, 7, 29, 0], Quantity::Block(Channel::Quadrant3)),
    Column::Register([1, 0, 8, 29, 0], Quantity::Block(Channel::Quadrant4)),
    Column::Register([1, 0, 9, 29, 0], Quantity::Block(Channel::Apparent)),
    Column::Register([1, 0, 32, 27, 0], Quantity::MeanVoltage),
    Column::Register([1, 0, 1, 8, 0], Quantity::Total(Channel::Import)),
];

/// Of the daily profile.
const TOTALS: &[Column] = &[
    Column::Clock,
    Column::Register([1, 0, 1, 8, 0], Quantity::Total(Channel::Import)),
    Column::Register([1, 0, 2, 8, 0], Quantity::Total(Channel::Export)),
    Column::Register([1, 0, 5, 8, 0], Quantity::Total(Channel::Quadrant1)),
    Column::Register([1, 0, 6, 8, 0], Quantity::Total(Channel::Quadrant2)),
    Column::Register([1, 0, 7, 8, 0], Quantity::Total(Channel::Quadrant3)),
    Column::Register([1, 0, 8, 8, 0], Quantity::Total(Channel::Quadrant4)),
    Column::Register([1, 0, 9, 8, 0], Quantity::Total(Channel::Apparent)),
];

/// Of the event logs, besides the code.
const EVENTS: &[Column] = &[
    Column::Clock,
    Column::Register([1, 0, 1, 8, 0], Quantity::Total(Channel::Import)),
];

const BILLING: &[Column] = &[
    Column::Clock,
    Column::Register([1, 0, 1, 8, 0], Quantity::Total(Channel::Import)),
    Column::Register([1, 0, 1, 8, 1], Quantity::Tariff(Channel::Import, 1)),
    Column::Register([1, 0, 1, 8, 2], Quantity::Tariff(Channel::Import, 2)),
    Column::Register([1, 0, 1, 8, 3], Quantity::Tariff(Channel::Import, 3)),
    Column::Register([1, 0, 1, 8, 4], Quantity::Tariff(Channel::Import, 4)),
    Column::Register([1, 0, 1, 8, 5], Quantity::Tariff(Channel::Import, 5)),
    Column::Register([1, 0, 1, 8, 6], Quantity::Tariff(Channel::Import, 6)),
    Column::Register([1, 0, 1, 8, 7], Quantity::Tariff(Channel::Import, 7)),
    Column::Register([1, 0, 1, 8, 8], Quantity::Tariff(Channel::Import, 8)),
    Column::Register([1, 0, 2, 8, 0], Quantity::Total(Channel::Export)),
    Column::Register([1, 0, 5, 8, 0], Quantity::Total(Channel::Quadrant1)),
    Column::Register([1, 0, 6, 8, 0], Quantity::Total(Channel::Quadrant2)),
    Column::Register([1, 0, 7, 8, 0], Quantity::Total(Channel::Quadrant3)),
    Column::Register([1, 0, 8, 8, 0], Quantity::Total(Channel::Quadrant4)),
    Column::Register([1, 0, 9, 8, 0], Quantity::Total(Channel::Apparent)),
    Column::Peak(0, 2),
    Column::Peak(0, 5),
    Column::Peak(1, 2),
    Column::Peak(1, 5),
];

const NOW_SINGLE_PHASE: &[Column] = &[
    Column::Clock,
    Column::Register([1, 0, 12, 7, 0], Quantity::Voltage(Phase::L1)),
    Column::Register([1, 0, 11, 7, 0], Quantity::Current(Phase::L1)),
    Column::Register([1, 0, 91, 7, 0], Quantity::NeutralCurrent),
    Column::Register([1, 0, 13, 7, 0], Quantity::PowerFactor),
    Column::Register([1, 0, 14, 7, 0], Quantity::Frequency),
    Column::Register([1, 0, 9, 7, 0], Quantity::Apparent),
    Column::Register([1, 0, 1, 7, 0], Quantity::ActiveImport),
    Column::Register([1, 0, 2, 7, 0], Quantity::ActiveExport),
    Column::Register([1, 0, 3, 7, 0], Quantity::ReactiveImport),
    Column::Register([1, 0, 4, 7, 0], Quantity::ReactiveExport),
    Column::Register([1, 0, 1, 8, 0], Quantity::Total(Channel::Import)),
    Column::Register([1, 0, 2, 8, 0], Quantity::Total(Channel::Export)),
];

const NOW_THREE_PHASE: &[Column] = &[
    Column::Clock,
    Column::Register([1, 0, 31, 7, 0], Quantity::Current(Phase::L1)),
    Column::Register([1, 0, 51, 7, 0], Quantity::Current(Phase::L2)),
    Column::Register([1, 0, 71, 7, 0], Quantity::Current(Phase::L3)),
    Column::Register([1, 0, 32, 7, 0], Quantity::Voltage(Phase::L1)),
    Column::Register([1, 0, 52, 7, 0], Quantity::Voltage(Phase::L2)),
    Column::Register([1, 0, 72, 7, 0], Quantity::Voltage(Phase::L3)),
    Column::Register([1, 0, 33, 7, 0], Quantity::PhasePowerFactor(Phase::L1)),
    Column::Register([1, 0, 53, 7, 0], Quantity::PhasePowerFactor(Phase::L2)),
    Column::Register([1, 0, 73, 7, 0], Quantity::PhasePowerFactor(Phase::L3)),
    Column::Register([1, 0, 91, 7, 0], Quantity::NeutralCurrent),
    Column::Register([1, 0, 13, 7, 0], Quantity::PowerFactor),
    Column::Register([1, 0, 14, 7, 0], Quantity::Frequency),
    Column::Register([1, 0, 9, 7, 0], Quantity::Apparent),
    Column::Register([1, 0, 1, 7, 0], Quantity::ActiveImport),
    Column::Register([1, 0, 2, 7, 0], Quantity::ActiveExport),
    Column::Register([1, 0, 3, 7, 0], Quantity::ReactiveImport),
    Column::Register([1, 0, 4, 7, 0], Quantity::ReactiveExport),
    Column::Register([1, 0, 1, 8, 0], Quantity::Total(Channel::Import)),
    Column::Register([1, 0, 2, 8, 0], Quantity::Total(Channel::Export)),
];

const fn columns(buffer: Buffer, connection: Connection) -> &'static [Column] {
    match (buffer, connection) {
        (Buffer::Block, _) => BLOCK,
        (Buffer::Daily, _) => TOTALS,
        (Buffer::Billing, _) => BILLING,
        (Buffer::Instantaneous, Connection::SinglePhase) => NOW_SINGLE_PHASE,
        (Buffer::Instantaneous, Connection::ThreePhase) => NOW_THREE_PHASE,
    }
}

/// What the rows are made from.
pub(crate) struct Source<'a> {
    pub(crate) clock: &'a Clock,
    /// What the clock shows.
    pub(crate) shown: UtcTime,
    pub(crate) connection: Connection,
    pub(crate) profile: &'a Profile,
    /// The rows of the block load profile: the meter's own intervals, or those of a period that
    /// a client has set.
    pub(crate) block: &'a Profile,
    /// Rows of it up to here are not shown.
    pub(crate) block_reset: Option<UtcTime>,
    /// Intervals up to here were reset away for the daily profile.
    pub(crate) days_reset: Option<UtcTime>,
    pub(crate) metrology: &'a Metrology,
    pub(crate) periods: &'a BillingPeriods,
    pub(crate) features: &'a Features,
    pub(crate) seen: Instantaneous,
}

impl Source<'_> {
    /// An attribute, 2 to 8, of a profile.
    pub(crate) fn profile(
        &self,
        buffer: Buffer,
        attribute: i8,
        access: Option<&SelectiveAccess>,
    ) -> Result<Data, DataAccessResult> {
        let columns = columns(buffer, self.connection);
        Ok(match attribute {
            2 => self.buffer(buffer, columns, access)?,
            3 => Data::Array(
                columns
                    .iter()
                    .map(|c| capture_data(&c.captured()))
                    .collect(),
            ),
            4 => Data::DoubleLongUnsigned(match buffer {
                Buffer::Block => self.block.period().as_secs(),
                Buffer::Daily => 86_400,
                // Made when a month ends, or when they are read.
                Buffer::Billing | Buffer::Instantaneous => 0,
            }),
            5 => Data::Enum(FIFO),
            6 => unsorted(),
            7 => count(match buffer {
                Buffer::Block => self.intervals(UtcTime::from_millis(i64::MIN), LAST).count(),
                Buffer::Daily => self.days().len(),
                Buffer::Billing => self.periods.len(),
                Buffer::Instantaneous => 1,
            }),
            8 => count(match buffer {
                Buffer::Block => self.block.capacity(),
                Buffer::Daily => self.profile.capacity() / self.per_day(),
                Buffer::Billing => BillingPeriods::KEPT_MAX,
                Buffer::Instantaneous => 1,
            }),
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    /// An attribute, 2 to 8, of the profile that holds the scalers of another, or, without one,
    /// of the event logs: an Indian
    /// head-end reads them instead of each register's.
    pub(crate) fn scalers(
        &self,
        buffer: Option<Buffer>,
        attribute: i8,
    ) -> Result<Data, DataAccessResult> {
        let columns = buffer.map_or(EVENTS, |buffer| columns(buffer, self.connection));
        let scalers = columns.iter().filter_map(|column| column.scaler());
        Ok(match attribute {
            2 => Data::Array(vec![Data::Structure(
                scalers.map(|(_, scaler)| scaler).collect(),
            )]),
            3 => Data::Array(scalers.map(|(object, _)| capture_data(&object)).collect()),
            4 => Data::DoubleLongUnsigned(0),
            5 => Data::Enum(FIFO),
            6 => unsorted(),
            7 | 8 => Data::DoubleLongUnsigned(1),
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    fn buffer(
        &self,
        buffer: Buffer,
        columns: &'static [Column],
        access: Option<&SelectiveAccess>,
    ) -> Result<Data, DataAccessResult> {
        self.select(buffer, &Wanted::read(access, columns, self.clock)?)
    }

    /// The newest row of a profile; null where it has none.
    pub(crate) fn newest(&self, buffer: Buffer) -> Data {
        let columns = columns(buffer, self.connection);
        let newest = match buffer {
            Buffer::Block => self.block.newest().map(Entry::end),
            Buffer::Daily => self.days().last().map(|(end, _)| *end),
            Buffer::Billing => self.periods.iter().last().map(|period| period.end),
            Buffer::Instantaneous => None,
        };
        let wanted = Wanted {
            from: newest.unwrap_or(UtcTime::from_millis(i64::MIN)),
            ..Wanted::all(columns)
        };
        match self.select(buffer, &wanted) {
            Ok(Data::Array(rows)) => rows.into_iter().next_back().unwrap_or(Data::Null),
            _ => Data::Null,
        }
    }

    fn select(&self, buffer: Buffer, wanted: &Wanted) -> Result<Data, DataAccessResult> {
        match buffer {
            Buffer::Block => {
                let rows = self.intervals(wanted.from, wanted.to);
                wanted.rows(rows, |column, entry| self.of_entry(column, entry))
            }
            Buffer::Daily => {
                let days = self.days();
                let rows = days.iter().filter(|(end, _)| wanted.holds(*end));
                wanted.rows(rows, |column, (end, totals)| {
                    self.of_totals(column, *end, totals)
                })
            }
            Buffer::Billing => {
                let rows = self.periods.iter();
                let rows = rows.filter(|period| wanted.holds(period.end));
                wanted.rows(rows, |column, period| self.of_period(column, period))
            }
            Buffer::Instantaneous => wanted.rows([()].iter(), |column, ()| self.of_now(column)),
        }
    }

    /// The intervals that clients see, by their ends.
    fn intervals(&self, from: UtcTime, to: UtcTime) -> impl DoubleEndedIterator<Item = &Entry> {
        self.block.between(after(self.block_reset, from), to)
    }

    fn per_day(&self) -> usize {
        let per_day = self.profile.period().per_day();
        usize::try_from(per_day).expect("a day's intervals fit usize")
    }

    /// The registers at each midnight that ended an interval, oldest first. They are exact: the
    /// energy of an interval is a difference of registers, so those before it follow from those
    /// after it. Where the profile has a gap the walk ends.
    fn days(&self) -> Vec<(UtcTime, [u64; CHANNELS])> {
        let mut totals = self.metrology.at_start;
        let mut days = Vec::new();
        let first = after(self.days_reset, UtcTime::from_millis(i64::MIN));
        for entry in self.profile.between(first, LAST).rev() {
            if entry.register_wh != totals[0] {
                break;
            }
            if entry.end.second_of_day() == 0 {
                days.push((entry.end, totals));
            }
            for (total, energy) in totals.iter_mut().zip(entry.energies) {
                *total = total.saturating_sub(energy.into());
            }
        }
        days.reverse();
        days
    }

    fn time(&self, time: UtcTime) -> Data {
        Data::OctetString(self.clock.local(time).to_bytes().to_vec())
    }

    fn of_entry(&self, column: Column, entry: &Entry) -> Data {
        match column {
            Column::Clock => self.time(entry.end),
            Column::Status | Column::Peak(..) => Data::Unsigned(entry.status.0),
            Column::Register(_, Quantity::Total(_)) => total(entry.register_wh),
            Column::Register(_, quantity) => {
                quantity.value(self.metrology, &self.seen, Some(entry), self.features)
            }
        }
    }

    fn of_totals(&self, column: Column, end: UtcTime, totals: &[u64; CHANNELS]) -> Data {
        match column {
            Column::Register(_, Quantity::Total(channel)) => total(totals[channel as usize]),
            Column::Clock | Column::Status | Column::Register(..) | Column::Peak(..) => {
                self.time(end)
            }
        }
    }

    fn of_period(&self, column: Column, period: &BillingPeriod) -> Data {
        match column {
            Column::Register(_, Quantity::Tariff(_, tariff)) => {
                total(period.tariffs[usize::from(tariff) - 1])
            }
            Column::Peak(kind, 2) => Data::DoubleLongUnsigned(period.peaks[kind].value),
            Column::Peak(kind, _) => match period.peaks[kind].at {
                Some(at) => self.time(at),
                None => Data::Null,
            },
            Column::Clock | Column::Status | Column::Register(..) => {
                self.of_totals(column, period.end, &period.registers)
            }
        }
    }

    fn of_now(&self, column: Column) -> Data {
        match column {
            Column::Clock | Column::Status | Column::Peak(..) => self.time(self.shown),
            Column::Register(_, quantity) => quantity.value(
                self.metrology,
                &self.seen,
                self.profile.newest(),
                self.features,
            ),
        }
    }
}

/// Which part of a buffer a client wants.
struct Wanted {
    from: UtcTime,
    to: UtcTime,
    /// Counted from 0.
    numbers: core::ops::Range<usize>,
    columns: Vec<Column>,
}

const FIFO: u8 = 1;
const LAST: UtcTime = UtcTime::from_millis(i64::MAX);

impl Wanted {
    fn read(
        access: Option<&SelectiveAccess>,
        columns: &'static [Column],
        clock: &Clock,
    ) -> Result<Self, DataAccessResult> {
        let captured: Vec<CaptureObject> = columns.iter().map(|c| c.captured()).collect();
        let selection = Selection::read(access, &captured)?;
        let mut wanted = Self {
            columns: selection
                .columns
                .iter()
                .map(|place| columns[*place])
                .collect(),
            ..Self::all(columns)
        };
        match selection.rows {
            Rows::All => {}
            Rows::Between { column, from, to } => {
                if columns[column] != Column::Clock {
                    return Err(DataAccessResult::ScopeOfAccessViolated);
                }
                wanted.from = moment(&from, clock)?;
                wanted.to = moment(&to, clock)?;
            }
            Rows::Numbered(entries) => {
                if entries.from == 0 {
                    return Err(DataAccessResult::ScopeOfAccessViolated);
                }
                wanted.numbers = entries.row_range(usize::MAX);
            }
        }
        Ok(wanted)
    }

    /// Everything.
    fn all(columns: &'static [Column]) -> Self {
        Self {
            from: UtcTime::from_millis(i64::MIN),
            to: LAST,
            numbers: 0..usize::MAX,
            columns: columns.to_vec(),
        }
    }

    fn holds(&self, end: UtcTime) -> bool {
        (self.from..=self.to).contains(&end)
    }

    /// The rows within its entries, column by column.
    fn rows<T>(
        &self,
        rows: impl Iterator<Item = T>,
        value: impl Fn(Column, &T) -> Data,
    ) -> Result<Data, DataAccessResult> {
        let mut made = Vec::new();
        for row in rows.skip(self.numbers.start).take(self.numbers.len()) {
            if made.len() == ROWS_MAX {
                return Err(DataAccessResult::ScopeOfAccessViolated);
            }
            let values = self.columns.iter().map(|column| value(*column, &row));
            made.push(Data::Structure(values.collect()));
        }
        Ok(Data::Array(made))
    }
}

/// `from`, or what comes right after a reset.
fn after(reset: Option<UtcTime>, from: UtcTime) -> UtcTime {
    reset.map_or(from, |reset| {
        from.max(UtcTime::from_millis(reset.as_millis() + 1))
    })
}

fn moment(value: &Data, clock: &Clock) -> Result<UtcTime, DataAccessResult> {
    let bytes = if let Data::DateTime(bytes) = value {
        *bytes
    } else if let Data::OctetString(bytes) = value {
        bytes
            .as_slice()
            .try_into()
            .map_err(|_| DataAccessResult::TypeUnmatched)?
    } else {
        return Err(DataAccessResult::TypeUnmatched);
    };
    clock
        .moment(&CosemDateTime::from_bytes(bytes))
        .ok_or(DataAccessResult::OtherReason)
}

fn capture_data(object: &CaptureObject) -> Data {
    Data::Structure(vec![
        Data::LongUnsigned(object.class_id),
        Data::OctetString(object.instance.0.to_vec()),
        Data::Integer(object.attribute),
        Data::LongUnsigned(object.data_index),
    ])
}

/// The sort object of a buffer in the order of capture: none.
fn unsorted() -> Data {
    capture_data(&CaptureObject {
        class_id: 0,
        instance: ObisCode([0; 6]),
        attribute: 0,
        data_index: 0,
    })
}

fn count(rows: usize) -> Data {
    Data::DoubleLongUnsigned(u32::try_from(rows).unwrap_or(u32::MAX))
}
