//! Event log: a profile generic (class 7, version 1) with the columns clock, event code and what
//! the meter registered at that moment, kept in a ring.

use std::collections::VecDeque;
use std::sync::Arc;

use gridloom_core::{ObisCode, UtcTime};
use gridloom_dlms::apdu::{ActionResult, DataAccessResult, SelectiveAccess};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::CosemDateTime;
use gridloom_dlms::selection::{CaptureObject, EntryDescriptor, RangeDescriptor};

use super::InterfaceObject;
use super::retained::{Keeper, Kept, RetainedError};
use super::shape;

/// Entries of one log; what is configured above is refused.
pub const LOG_ENTRIES_MAX: u32 = 1_000;
/// Columns besides clock and code; what is configured above is refused.
pub const LOG_CAPTURES_MAX: usize = 16;
/// Bytes of one captured value in A-XDR; a longer one is our error.
pub const CAPTURED_BYTES_MAX: usize = 64;

const VERSION: u8 = 1;
const OBJECT: &str = "event-log";
const SORT_FIFO: u8 = 1;

/// How a meter's clock writes times and reads those that clients name.
pub trait Dial {
    /// `time` as the clock writes it.
    fn write(&self, time: UtcTime) -> CosemDateTime;

    /// The moment that a client names; `None` where it names none.
    fn read(&self, time: &CosemDateTime) -> Option<UtcTime>;
}

/// A clock that shows UTC. A deviation left open means UTC as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UtcDial;

impl Dial for UtcDial {
    fn write(&self, time: UtcTime) -> CosemDateTime {
        CosemDateTime::from_utc(time).expect("a log keeps whole seconds of the years 1 to 9999")
    }

    fn read(&self, time: &CosemDateTime) -> Option<UtcTime> {
        time.to_utc().ok()
    }
}

/// The type that a profile's event codes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeType {
    /// `unsigned`, as in IDIS.
    Unsigned,
    /// `long-unsigned`, as in IS 15959.
    LongUnsigned,
}

impl CodeType {
    /// A code as a value of this type; what an `unsigned` cannot hold reads as 255.
    pub fn value(self, code: u16) -> Data {
        match self {
            Self::Unsigned => Data::Unsigned(u8::try_from(code).unwrap_or(u8::MAX)),
            Self::LongUnsigned => Data::LongUnsigned(code),
        }
    }
}

/// What happens when a full log captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest entry makes room.
    Rollover,
    /// The new entry is dropped, and counted: the non-rollover log of IS 15959.
    Keep,
}

/// The shape of a log; shared by all meters of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLogConfig {
    /// The event code object whose value is the second column (0.0.96.11.x.255).
    pub code: ObisCode,
    /// The type of that column.
    pub code_type: CodeType,
    /// What else is captured with each event, in order; at most [`LOG_CAPTURES_MAX`].
    pub captures: Vec<CaptureObject>,
    /// How many entries it holds, 1–[`LOG_ENTRIES_MAX`].
    pub entries: u32,
    /// What happens when they are used up.
    pub when_full: WhenFull,
}

/// One event as it was logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When, by the meter's clock, to the second.
    pub at: UtcTime,
    /// The event code.
    pub code: u16,
    /// The captured values, one for each of the configured objects.
    pub captured: Vec<Data>,
}

/// One event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    config: Arc<EventLogConfig>,
    /// Oldest first, never more than configured.
    entries: VecDeque<LogEntry>,
    /// Events that ever came, also those that were overwritten or dropped.
    occurred: u64,
}

impl EventLog {
    /// An empty log.
    ///
    /// # Panics
    ///
    /// If the configuration passes the bounds it states.
    pub fn new(config: Arc<EventLogConfig>) -> Self {
        assert!(
            (1..=LOG_ENTRIES_MAX).contains(&config.entries)
                && config.captures.len() <= LOG_CAPTURES_MAX,
            "an event log is within its bounds"
        );
        Self {
            config,
            entries: VecDeque::new(),
            occurred: 0,
        }
    }

    /// Logs an event. `captured` has the current value of each of the configured objects.
    ///
    /// # Panics
    ///
    /// If there is not one value for each, one is longer than [`CAPTURED_BYTES_MAX`], or `at` is
    /// not in the years 1 to 9999.
    pub fn handle_event(&mut self, code: u16, captured: Vec<Data>, at: UtcTime) {
        assert!(
            captured.len() == self.config.captures.len()
                && captured
                    .iter()
                    .all(|value| value.encode().len() <= CAPTURED_BYTES_MAX),
            "each capture object of a log has one short value"
        );
        let at = UtcTime::from_secs(at.as_secs());
        assert!(
            CosemDateTime::from_utc(at).is_ok(),
            "a clock shows the years 1 to 9999"
        );
        self.occurred = self.occurred.saturating_add(1);
        if self.entries.len() == self.capacity() {
            match self.config.when_full {
                WhenFull::Rollover => {
                    self.entries.pop_front();
                }
                WhenFull::Keep => return,
            }
        }
        self.entries.push_back(LogEntry { at, code, captured });
    }

    /// The objects whose values [`Self::handle_event`] wants.
    pub fn captures(&self) -> &[CaptureObject] {
        &self.config.captures
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &LogEntry> {
        self.entries.iter()
    }

    /// The newest event code, the value of the event code object; 0 before the first event.
    pub fn last_code(&self) -> Data {
        let code = self.entries.back().map_or(0, |entry| entry.code);
        self.config.code_type.value(code)
    }

    /// Events that ever came, also those overwritten or dropped.
    pub const fn occurred(&self) -> u64 {
        self.occurred
    }

    /// The buffer (attribute 2), wholly or by range or by entry, with times as `dial` has them.
    ///
    /// # Errors
    ///
    /// [`DataAccessResult::TypeUnmatched`] for an unreadable selection,
    /// [`DataAccessResult::ScopeOfAccessViolated`] for a column that the log does not have.
    pub fn buffer(
        &self,
        access: Option<&SelectiveAccess>,
        dial: &dyn Dial,
    ) -> Result<Data, DataAccessResult> {
        let columns = self.columns();
        let all: Vec<usize> = (0..columns.len()).collect();
        match access {
            None => Ok(self.rows(self.entries.iter(), &all, dial)),
            Some(access) if access.selector == 1 => {
                let range = RangeDescriptor::from_access(access)
                    .map_err(|_| DataAccessResult::TypeUnmatched)?;
                self.by_range(&range, &columns, dial)
            }
            Some(access) if access.selector == 2 => {
                let entries = EntryDescriptor::from_access(access)
                    .map_err(|_| DataAccessResult::TypeUnmatched)?;
                self.by_entry(&entries, columns.len(), dial)
            }
            Some(_) => Err(DataAccessResult::ScopeOfAccessViolated),
        }
    }

    fn by_range(
        &self,
        range: &RangeDescriptor,
        columns: &[CaptureObject],
        dial: &dyn Dial,
    ) -> Result<Data, DataAccessResult> {
        let place = |wanted: &CaptureObject| {
            columns
                .iter()
                .position(|column| column == wanted)
                .ok_or(DataAccessResult::ScopeOfAccessViolated)
        };
        let selected = if range.selected.is_empty() {
            (0..columns.len()).collect()
        } else {
            range
                .selected
                .iter()
                .map(place)
                .collect::<Result<Vec<_>, _>>()?
        };
        match place(&range.restricting)? {
            0 => {
                let from = bound(&range.from, UtcTime::from_millis(i64::MIN), dial)?;
                let to = bound(&range.to, UtcTime::from_millis(i64::MAX), dial)?;
                let within = self
                    .entries
                    .iter()
                    .filter(|entry| (from..=to).contains(&entry.at));
                Ok(self.rows(within, &selected, dial))
            }
            1 => {
                let code = |value: &Data| {
                    shape::long_unsigned(value).or_else(|_| shape::unsigned(value).map(u16::from))
                };
                let (from, to) = (code(&range.from)?, code(&range.to)?);
                let within = self
                    .entries
                    .iter()
                    .filter(|entry| (from..=to).contains(&entry.code));
                Ok(self.rows(within, &selected, dial))
            }
            // The captured values are not ordered.
            _ => Err(DataAccessResult::ScopeOfAccessViolated),
        }
    }

    fn by_entry(
        &self,
        wanted: &EntryDescriptor,
        columns: usize,
        dial: &dyn Dial,
    ) -> Result<Data, DataAccessResult> {
        let selected: Vec<usize> = wanted.column_range(columns).collect();
        if selected.is_empty() {
            return Err(DataAccessResult::ScopeOfAccessViolated);
        }
        let rows = wanted.row_range(self.entries.len());
        Ok(self.rows(self.entries.range(rows), &selected, dial))
    }

    fn rows<'a>(
        &self,
        entries: impl Iterator<Item = &'a LogEntry>,
        columns: &[usize],
        dial: &dyn Dial,
    ) -> Data {
        let cell = |entry: &LogEntry, column: usize| match column {
            0 => shape::date_time_value(dial.write(entry.at)),
            1 => self.config.code_type.value(entry.code),
            column => entry.captured[column - 2].clone(),
        };
        let row =
            |entry| Data::Structure(columns.iter().map(|column| cell(entry, *column)).collect());
        Data::Array(entries.map(row).collect())
    }

    fn columns(&self) -> Vec<CaptureObject> {
        let code = CaptureObject {
            class_id: 1,
            instance: self.config.code,
            attribute: 2,
            data_index: 0,
        };
        [CaptureObject::CLOCK, code]
            .into_iter()
            .chain(self.config.captures.iter().copied())
            .collect()
    }

    fn capacity(&self) -> usize {
        usize::try_from(self.config.entries).expect("a log has at most a thousand entries")
    }

    /// Appends what the log keeps.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.put(self.occurred.to_be_bytes());
        keeper.list(self.entries.iter(), |keeper, entry| {
            keeper.time(entry.at);
            keeper.put(entry.code.to_be_bytes());
            for value in &entry.captured {
                keeper.data(value);
            }
        });
    }

    /// Takes over what a log of the same configuration kept.
    ///
    /// # Errors
    ///
    /// Bytes that no such log wrote.
    pub fn decode(config: Arc<EventLogConfig>, bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut log = Self::new(config);
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        log.occurred = kept.u64()?;
        let captures = log.config.captures.len();
        let entries = kept.list("entries", log.capacity(), |kept| {
            Ok(LogEntry {
                at: kept.time()?,
                code: kept.u16()?,
                captured: (0..captures)
                    .map(|_| kept.data("captured value", CAPTURED_BYTES_MAX))
                    .collect::<Result<_, _>>()?,
            })
        })?;
        for entry in &entries {
            let writable = CosemDateTime::from_utc(entry.at).is_ok();
            kept.require(writable, "time")?;
        }
        kept.finish()?;
        log.entries = entries.into();
        Ok(log)
    }
}

/// An end of a range; a date-time whose year is open restricts nothing.
fn bound(value: &Data, open: UtcTime, dial: &dyn Dial) -> Result<UtcTime, DataAccessResult> {
    let time = shape::date_time(value)?;
    if time.year == CosemDateTime::YEAR_OPEN {
        return Ok(open);
    }
    dial.read(&time)
        .ok_or(DataAccessResult::ScopeOfAccessViolated)
}

impl InterfaceObject for EventLog {
    fn get(&self, attribute: i8, _: UtcTime) -> Result<Data, DataAccessResult> {
        match attribute {
            2 => self.buffer(None, &UtcDial),
            3 => Ok(shape::array_value(&self.columns(), |column| {
                column.to_data()
            })),
            // Captured as events come, not periodically.
            4 => Ok(Data::DoubleLongUnsigned(0)),
            5 => Ok(Data::Enum(SORT_FIFO)),
            6 => Ok(CaptureObject::CLOCK.to_data()),
            7 => Ok(Data::DoubleLongUnsigned(
                u32::try_from(self.entries.len()).expect("a log has at most a thousand entries"),
            )),
            8 => Ok(Data::DoubleLongUnsigned(self.config.entries)),
            _ => Err(DataAccessResult::ObjectUndefined),
        }
    }

    fn set(&mut self, attribute: i8, _: &Data, _: UtcTime) -> Result<(), DataAccessResult> {
        match attribute {
            2..=8 => Err(DataAccessResult::ReadWriteDenied),
            _ => Err(DataAccessResult::ObjectUndefined),
        }
    }

    /// Method 1, reset, clears the log; that it was cleared is for the meter to log. Method 2,
    /// capture, is refused: an event log captures events only.
    fn invoke(
        &mut self,
        method: i8,
        parameters: Option<&Data>,
        _: UtcTime,
    ) -> Result<Option<Data>, ActionResult> {
        match (method, self.config.when_full) {
            (1, WhenFull::Rollover) => {
                shape::nothing(parameters)?;
                self.entries.clear();
                Ok(None)
            }
            (1, WhenFull::Keep) | (2, _) => Err(ActionResult::ReadWriteDenied),
            _ => Err(ActionResult::ObjectUndefined),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::retained::assert_survives;

    const VOLTAGE: CaptureObject = CaptureObject {
        class_id: 3,
        instance: ObisCode([1, 0, 12, 7, 0, 255]),
        attribute: 2,
        data_index: 0,
    };
    const CODE: ObisCode = ObisCode([0, 0, 96, 11, 0, 255]);

    fn config(when_full: WhenFull) -> Arc<EventLogConfig> {
        Arc::new(EventLogConfig {
            code: CODE,
            code_type: CodeType::LongUnsigned,
            captures: vec![VOLTAGE],
            entries: 4,
            when_full,
        })
    }

    fn at(second: i64) -> UtcTime {
        UtcTime::from_secs(1_700_000_000 + second)
    }

    /// Events 1, 2, … `count`, one every ten seconds.
    fn log(count: u16, when_full: WhenFull) -> EventLog {
        let mut log = EventLog::new(config(when_full));
        for code in 1..=count {
            let voltage = Data::LongUnsigned(2_300 + code);
            log.handle_event(code, vec![voltage], at(i64::from(code) * 10));
        }
        log
    }

    fn codes(buffer: &Data) -> Vec<u16> {
        shape::array(buffer, 99)
            .unwrap()
            .iter()
            .map(|row| {
                let [_, code, _] = shape::structure::<3>(row).unwrap();
                shape::long_unsigned(code).unwrap()
            })
            .collect()
    }

    #[test]
    fn a_full_log_rolls_over_or_keeps() {
        let cases = [
            (3, WhenFull::Rollover, vec![1, 2, 3]),
            (6, WhenFull::Rollover, vec![3, 4, 5, 6]),
            (6, WhenFull::Keep, vec![1, 2, 3, 4]),
        ];
        for (count, when_full, expected) in cases {
            let log = log(count, when_full);
            assert_eq!(codes(&log.buffer(None, &UtcDial).unwrap()), expected);
            assert_eq!(log.occurred(), u64::from(count));
            assert_eq!(
                log.last_code(),
                Data::LongUnsigned(expected[expected.len() - 1])
            );
        }
    }

    #[test]
    fn ranges_include_their_ends() {
        let log = log(4, WhenFull::Rollover);
        let open = CosemDateTime::from_bytes([0xFF; 12]);
        let time = |second| shape::date_time_value(UtcDial.write(at(second)));
        // The deviation left open means the same time.
        let undeviated = |second| {
            let mut time = UtcDial.write(at(second));
            time.deviation = CosemDateTime::DEVIATION_OPEN;
            shape::date_time_value(time)
        };
        let open = shape::date_time_value(open);
        let cases = [
            (time(20), time(30), vec![2, 3]),
            (undeviated(20), undeviated(30), vec![2, 3]),
            (time(21), time(30), vec![3]),
            (time(31), time(39), vec![]),
            (open.clone(), time(20), vec![1, 2]),
            (time(30), open, vec![3, 4]),
        ];
        for (from, to, expected) in cases {
            let range = RangeDescriptor {
                restricting: CaptureObject::CLOCK,
                from,
                to,
                selected: vec![],
            };
            let buffer = log.buffer(Some(&range.to_access()), &UtcDial).unwrap();
            assert_eq!(codes(&buffer), expected);
        }
    }

    #[test]
    fn a_range_may_choose_columns_and_codes() {
        let log = log(4, WhenFull::Rollover);
        let code_column = log.columns()[1];
        let range = |restricting, from, to, selected| {
            RangeDescriptor {
                restricting,
                from,
                to,
                selected,
            }
            .to_access()
        };
        let chosen = range(
            code_column,
            Data::LongUnsigned(2),
            Data::LongUnsigned(2),
            vec![VOLTAGE, code_column],
        );
        assert_eq!(
            log.buffer(Some(&chosen), &UtcDial),
            Ok(Data::Array(vec![Data::Structure(vec![
                Data::LongUnsigned(2_302),
                Data::LongUnsigned(2)
            ])]))
        );
        let unordered = range(
            VOLTAGE,
            Data::LongUnsigned(1),
            Data::LongUnsigned(2),
            vec![],
        );
        assert_eq!(
            log.buffer(Some(&unordered), &UtcDial),
            Err(DataAccessResult::ScopeOfAccessViolated)
        );
        let badly_typed = range(CaptureObject::CLOCK, Data::Null, Data::Null, vec![]);
        assert_eq!(
            log.buffer(Some(&badly_typed), &UtcDial),
            Err(DataAccessResult::TypeUnmatched)
        );
    }

    #[test]
    fn entries_and_columns_count_from_one() {
        let log = log(4, WhenFull::Rollover);
        let refused = Err(DataAccessResult::ScopeOfAccessViolated);
        let cases = [
            ((1, 0, 1, 0), Ok(vec![1, 2, 3, 4])),
            ((2, 3, 1, 3), Ok(vec![2, 3])),
            ((4, 9, 1, 0), Ok(vec![4])),
            ((5, 0, 1, 0), Ok(vec![])),
            ((0, 0, 0, 0), Ok(vec![1, 2, 3, 4])),
            ((1, 0, 1, 4), Ok(vec![1, 2, 3, 4])),
            ((1, 0, 3, 2), refused),
        ];
        for ((from, to, from_column, to_column), expected) in cases {
            let access = EntryDescriptor {
                from,
                to,
                from_column,
                to_column,
            }
            .to_access();
            let read = log
                .buffer(Some(&access), &UtcDial)
                .map(|buffer| codes(&buffer));
            assert_eq!(read, expected, "{from}..{to}");
        }
        let column = EntryDescriptor {
            from: 1,
            to: 1,
            from_column: 2,
            to_column: 2,
        };
        assert_eq!(
            log.buffer(Some(&column.to_access()), &UtcDial),
            Ok(Data::Array(vec![Data::Structure(vec![
                Data::LongUnsigned(1)
            ])]))
        );
    }

    #[test]
    fn it_describes_itself_and_can_be_cleared() {
        let mut full = log(4, WhenFull::Rollover);
        assert_eq!(full.get(7, at(0)), Ok(Data::DoubleLongUnsigned(4)));
        assert_eq!(full.get(8, at(0)), Ok(Data::DoubleLongUnsigned(4)));
        assert_eq!(full.get(4, at(0)), Ok(Data::DoubleLongUnsigned(0)));
        let columns = full.get(3, at(0)).unwrap();
        assert_eq!(shape::array(&columns, 9).map(<[_]>::len), Ok(3));
        assert_eq!(full.invoke(1, Some(&Data::Integer(0)), at(0)), Ok(None));
        assert_eq!(full.get(7, at(0)), Ok(Data::DoubleLongUnsigned(0)));
        assert_eq!(full.occurred(), 4);
        let mut kept = log(4, WhenFull::Keep);
        assert_eq!(
            kept.invoke(1, None, at(0)),
            Err(ActionResult::ReadWriteDenied)
        );
    }

    #[test]
    fn it_survives() {
        let config = config(WhenFull::Rollover);
        assert_survives(&log(6, WhenFull::Rollover), EventLog::encode, |bytes| {
            EventLog::decode(Arc::clone(&config), bytes)
        });
    }
}
