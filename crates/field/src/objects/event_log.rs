//! Event log: a profile generic (class 7, version 1) with the columns clock, event code and what
//! the meter registered at that moment, kept in a ring.

use std::collections::VecDeque;
use std::sync::Arc;

use gridloom_core::{ObisCode, UtcTime};
use gridloom_dlms::apdu::{ActionResult, DataAccessResult, SelectiveAccess};
use gridloom_dlms::axdr::{Data, Decoder};
use gridloom_dlms::datetime::CosemDateTime;
use gridloom_dlms::selection::CaptureObject;

use super::InterfaceObject;
use super::retained::{Keeper, Kept, RetainedError};
use super::selection::{Rows, Selection};
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

/// An entry as it is held: a fleet of meters has millions of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    at: UtcTime,
    code: u16,
    /// The captured values in A-XDR, one after the other.
    captured: Box<[u8]>,
}

impl Stored {
    fn captured(&self) -> Vec<Data> {
        let mut decoder = Decoder::new(&self.captured);
        let mut values = Vec::new();
        while !decoder.rest().is_empty() {
            values.push(decoder.value().expect("captured values were written here"));
        }
        values
    }
}

/// One event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    config: Arc<EventLogConfig>,
    /// Oldest first, never more than configured.
    entries: VecDeque<Stored>,
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
        let captured: Vec<Vec<u8>> = captured.into_iter().map(|value| value.encode()).collect();
        assert!(
            captured.len() == self.config.captures.len()
                && captured
                    .iter()
                    .all(|value| value.len() <= CAPTURED_BYTES_MAX),
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
        self.entries.push_back(Stored {
            at,
            code,
            captured: captured.concat().into(),
        });
    }

    /// The objects whose values [`Self::handle_event`] wants.
    pub fn captures(&self) -> &[CaptureObject] {
        &self.config.captures
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = LogEntry> {
        self.entries.iter().map(|entry| LogEntry {
            at: entry.at,
            code: entry.code,
            captured: entry.captured(),
        })
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
        let Selection { columns, rows } = Selection::read(access, &self.columns())?;
        match rows {
            Rows::All => Ok(self.rows(self.entries.iter(), &columns, dial)),
            Rows::Numbered(wanted) => {
                let rows = wanted.row_range(self.entries.len());
                Ok(self.rows(self.entries.range(rows), &columns, dial))
            }
            Rows::Between {
                column: 0,
                from,
                to,
            } => {
                let from = bound(&from, UtcTime::from_millis(i64::MIN), dial)?;
                let to = bound(&to, UtcTime::from_millis(i64::MAX), dial)?;
                let entries = self.entries.iter();
                let within = entries.filter(|entry| (from..=to).contains(&entry.at));
                Ok(self.rows(within, &columns, dial))
            }
            Rows::Between {
                column: 1,
                from,
                to,
            } => {
                let code = |value: &Data| {
                    shape::long_unsigned(value).or_else(|_| shape::unsigned(value).map(u16::from))
                };
                let (from, to) = (code(&from)?, code(&to)?);
                let entries = self.entries.iter();
                let within = entries.filter(|entry| (from..=to).contains(&entry.code));
                Ok(self.rows(within, &columns, dial))
            }
            // The captured values are not ordered.
            Rows::Between { .. } => Err(DataAccessResult::ScopeOfAccessViolated),
        }
    }

    fn rows<'a>(
        &self,
        entries: impl Iterator<Item = &'a Stored>,
        columns: &[usize],
        dial: &dyn Dial,
    ) -> Data {
        let row = |entry: &Stored| {
            let captured = entry.captured();
            let cell = |column: &usize| match *column {
                0 => shape::date_time_value(dial.write(entry.at)),
                1 => self.config.code_type.value(entry.code),
                column => captured[column - 2].clone(),
            };
            Data::Structure(columns.iter().map(cell).collect())
        };
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
            keeper.octets(&entry.captured);
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
        let most = captures * CAPTURED_BYTES_MAX;
        let entries = kept.list("entries", log.capacity(), |kept| {
            let (at, code) = (kept.time()?, kept.u16()?);
            let captured = kept.octets("captured values", most)?;
            let mut decoder = Decoder::new(captured);
            for _ in 0..captures {
                let value = decoder.value();
                kept.require(value.is_ok(), "captured value")?;
            }
            kept.require(decoder.finish().is_ok(), "captured values")?;
            Ok(Stored {
                at,
                code,
                captured: captured.into(),
            })
        })?;
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
mod tests;
