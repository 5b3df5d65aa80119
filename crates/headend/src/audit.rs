//! What the audit log says: who did what to which target, what was before and after, and how it
//! ended. The chain itself is the store's ([`gridloom_store::audit_log`]).
//!
//! Every import, command, key change, counter healing, campaign step and change of the master
//! key writes one, in the same batch as what it records: neither exists without the other.

use core::fmt;

use gridloom_core::bytes::{Reader, Truncated};
use gridloom_core::{MeterId, UtcTime};
use gridloom_store::Change;

/// Bytes of each text of a record; a longer one is cut off and ends with `…`.
pub const AUDIT_TEXT_BYTES_MAX: usize = 1_000;

const VERSION: u8 = 1;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When.
    pub at: UtcTime,
    /// Who: an operator's name, or the part of the program that acted by itself.
    pub actor: String,
    /// What was done.
    pub action: Action,
    /// To what.
    pub target: Target,
    /// What was there before; empty where nothing was.
    pub before: String,
    /// What was wanted or is there now. Never a key.
    pub after: String,
    /// How it ended.
    pub outcome: AuditOutcome,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Meters were imported from a file.
    Import,
    /// A meter was enrolled or its row changed.
    MeterChange,
    /// A meter went to another state of its life.
    StateChange,
    /// A meter's key was made, sent, verified, promoted or given up.
    KeyChange,
    /// A meter's secret was put into the vault.
    KeyImport,
    /// The master key was changed, or keys wrapped anew.
    MasterKey,
    /// An invocation counter was moved forward.
    CounterHealing,
    /// A command was selected, confirmed, sent, verified or cancelled.
    Command,
    /// A firmware campaign went on.
    Campaign,
    /// A meter told of an event.
    Event,
    /// An analyst decided about a packet that the edge holds.
    Quarantine,
}

impl Action {
    /// Every action, in the order of their codes, with its name.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Import, "import"),
        (Self::MeterChange, "meter change"),
        (Self::StateChange, "state change"),
        (Self::KeyChange, "key change"),
        (Self::KeyImport, "key import"),
        (Self::MasterKey, "master key"),
        (Self::CounterHealing, "counter healing"),
        (Self::Command, "command"),
        (Self::Campaign, "campaign"),
        (Self::Event, "event"),
        (Self::Quarantine, "quarantine decision"),
    ];
}

/// To what it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The system as a whole.
    System,
    /// One meter.
    Meter(MeterId),
    /// A piece of work by its number: a command, a key change, a campaign.
    Work(u64),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditOutcome {
    /// It was done, and where that is possible verified.
    Done,
    /// It was refused before anything happened.
    Refused(String),
    /// It was tried and failed.
    Failed(String),
    /// It was tried, and nobody knows yet.
    Unknown(String),
}

/// Why a record does not decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditDecodeError {
    /// It ends early.
    #[error("audit record: {0}")]
    Truncated(#[from] Truncated),
    /// A field says something unknown.
    #[error(
        "audit record: {field} {value} is unknown; a newer gridloom wrote it, or it is damaged"
    )]
    Unknown {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u8,
    },
    /// A text is not UTF-8.
    #[error("audit record: {0} is not UTF-8")]
    Text(&'static str),
    /// Something follows the record.
    #[error("audit record: {0} bytes too many")]
    TooLong(usize),
}

impl AuditRecord {
    /// The change that appends it to the log.
    pub fn to_change(&self) -> Change {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        Change::Audit(bytes)
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend(self.at.as_millis().to_be_bytes());
        let action = Action::ALL
            .iter()
            .position(|(known, _)| *known == self.action);
        let action = action.and_then(|code| u8::try_from(code).ok());
        out.push(action.expect("every action stands in its short table"));
        let (target, number) = match self.target {
            Target::System => (0, 0),
            Target::Meter(meter) => (1, u64::from(meter.0)),
            Target::Work(number) => (2, number),
        };
        out.push(target);
        out.extend(number.to_be_bytes());
        let (outcome, reason) = match &self.outcome {
            AuditOutcome::Done => (0, ""),
            AuditOutcome::Refused(reason) => (1, reason.as_str()),
            AuditOutcome::Failed(reason) => (2, reason.as_str()),
            AuditOutcome::Unknown(reason) => (3, reason.as_str()),
        };
        out.push(outcome);
        for text in [&self.actor, &self.before, &self.after, reason] {
            let text = cut(text);
            let length = u16::try_from(text.len()).expect("a cut text is short");
            out.extend(length.to_be_bytes());
            out.extend(text.as_bytes());
        }
    }

    /// Reads a whole record.
    ///
    /// # Errors
    ///
    /// [`AuditDecodeError`] names the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, AuditDecodeError> {
        let unknown = |field, value| AuditDecodeError::Unknown { field, value };
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            VERSION => {}
            other => return Err(unknown("version", other)),
        }
        let at = UtcTime::from_millis(reader.i64()?);
        let code = reader.u8()?;
        let action = Action::ALL.get(usize::from(code));
        let (action, _) = *action.ok_or_else(|| unknown("action", code))?;
        let (code, number) = (reader.u8()?, reader.u64()?);
        let target = match code {
            0 => Target::System,
            1 => Target::Meter(MeterId(
                u32::try_from(number).map_err(|_| unknown("meter", code))?,
            )),
            2 => Target::Work(number),
            other => return Err(unknown("target", other)),
        };
        let outcome = reader.u8()?;
        let mut text = |field| -> Result<String, AuditDecodeError> {
            let length = reader.u16()?;
            let bytes = reader.take(usize::from(length))?;
            let text = core::str::from_utf8(bytes).map_err(|_| AuditDecodeError::Text(field))?;
            Ok(text.to_owned())
        };
        let (actor, before, after) = (text("actor")?, text("before")?, text("after")?);
        let reason = text("reason")?;
        let outcome = match outcome {
            0 => AuditOutcome::Done,
            1 => AuditOutcome::Refused(reason),
            2 => AuditOutcome::Failed(reason),
            3 => AuditOutcome::Unknown(reason),
            other => return Err(unknown("outcome", other)),
        };
        match reader.rest().len() {
            0 => Ok(Self {
                at,
                actor,
                action,
                target,
                before,
                after,
                outcome,
            }),
            more => Err(AuditDecodeError::TooLong(more)),
        }
    }
}

impl fmt::Display for AuditRecord {
    /// One line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.at, self.actor, self.action)?;
        match self.target {
            Target::System => {}
            Target::Meter(meter) => write!(f, " of {meter}")?,
            Target::Work(number) => write!(f, " {number}")?,
        }
        if !self.before.is_empty() {
            write!(f, " from {}", self.before)?;
        }
        if !self.after.is_empty() {
            write!(f, " to {}", self.after)?;
        }
        match &self.outcome {
            AuditOutcome::Done => f.write_str(": done"),
            AuditOutcome::Refused(reason) => write!(f, ": refused, {reason}"),
            AuditOutcome::Failed(reason) => write!(f, ": failed, {reason}"),
            AuditOutcome::Unknown(reason) => write!(f, ": outcome unknown, {reason}"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(action, _)| action == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

/// At most [`AUDIT_TEXT_BYTES_MAX`] bytes of a text.
fn cut(text: &str) -> std::borrow::Cow<'_, str> {
    const MARK: &str = "…";
    if text.len() <= AUDIT_TEXT_BYTES_MAX {
        return text.into();
    }
    let end = text.floor_char_boundary(AUDIT_TEXT_BYTES_MAX - MARK.len());
    format!("{}{MARK}", &text[..end]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(target: Target, outcome: AuditOutcome) -> AuditRecord {
        AuditRecord {
            at: UtcTime::from_secs(1_700_000_000),
            actor: "anna".into(),
            action: Action::KeyChange,
            target,
            before: "k1".into(),
            after: "k2".into(),
            outcome,
        }
    }

    #[test]
    fn records_survive_their_bytes_and_damage_is_named() {
        let cases = [
            record(Target::System, AuditOutcome::Done),
            record(
                Target::Meter(MeterId(u32::MAX)),
                AuditOutcome::Refused("no".into()),
            ),
            record(Target::Work(u64::MAX), AuditOutcome::Failed("ü".into())),
            record(Target::Work(0), AuditOutcome::Unknown(String::new())),
        ];
        for case in cases {
            let mut bytes = Vec::new();
            case.encode(&mut bytes);
            assert_eq!(AuditRecord::decode(&bytes), Ok(case));
            for length in 0..bytes.len() {
                assert!(AuditRecord::decode(&bytes[..length]).is_err(), "{length}");
            }
            bytes.push(0);
            assert_eq!(
                AuditRecord::decode(&bytes),
                Err(AuditDecodeError::TooLong(1))
            );
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let mut long = record(Target::System, AuditOutcome::Done);
        long.after = "é".repeat(AUDIT_TEXT_BYTES_MAX);
        let mut bytes = Vec::new();
        long.encode(&mut bytes);
        let after = AuditRecord::decode(&bytes).unwrap().after;
        assert!(after.len() <= AUDIT_TEXT_BYTES_MAX && after.ends_with("é…"));
        assert!(bytes.len() < gridloom_store::audit_log::AUDIT_RECORD_BYTES_MAX);
    }

    #[test]
    fn a_record_reads_as_one_line() {
        let line = record(
            Target::Meter(MeterId(7)),
            AuditOutcome::Failed("tag".into()),
        );
        assert!(
            line.to_string()
                .ends_with("anna: key change of m7 from k1 to k2: failed, tag"),
            "{line}"
        );
    }
}
