//! What people and automation did to the process: one record for each deed, for the hash-chained
//! log of whoever keeps it.

use core::fmt;

use gridloom_core::UtcTime;
use gridloom_core::bytes::{Reader, Truncated};

/// Bytes of each text of a record; a longer one is cut off and ends with `…`.
pub const AUDIT_TEXT_BYTES_MAX: usize = 1_000;

/// The first byte of a record. The head-end's records, which may stand in the same log, begin
/// with another.
pub const AUDIT_MARK: u8 = b'S';

const VERSION: u8 = 1;

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// A person at a desk, by the name of the account.
    Person(String),
    /// A part of the program that acts by itself: a sequence, a regulator.
    Automation(String),
}

impl Actor {
    /// The name.
    pub fn name(&self) -> &str {
        match self {
            Self::Person(name) | Self::Automation(name) => name,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(name) => f.write_str(name),
            Self::Automation(name) => write!(f, "automation {name}"),
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// A value was put in by hand, or taken back.
    Substitution,
    /// Acquisition of a point was blocked or freed.
    Blocking,
    /// A limit, range, delay or deadband was changed.
    Limit,
    /// Alarms were acknowledged.
    Acknowledgement,
    /// A latched alarm was reset.
    Reset,
    /// An alarm was shelved or taken from the shelf.
    Shelving,
    /// An alarm was taken out of service or put back.
    Service,
    /// A tag was placed or removed.
    Tag,
    /// A command was selected, confirmed, sent, verified or cancelled.
    Command,
    /// A sequence was started, went on, ended or was aborted.
    Sequence,
    /// All automation was stopped or let go on.
    EmergencyStop,
    /// Load was shed or restored.
    Shedding,
}

impl Action {
    /// Every action, in the order of their codes, with its name.
    pub const ALL: [(Self, &'static str); 12] = [
        (Self::Substitution, "substitution"),
        (Self::Blocking, "blocking"),
        (Self::Limit, "limit change"),
        (Self::Acknowledgement, "acknowledgement"),
        (Self::Reset, "reset"),
        (Self::Shelving, "shelving"),
        (Self::Service, "service"),
        (Self::Tag, "tag"),
        (Self::Command, "command"),
        (Self::Sequence, "sequence"),
        (Self::EmergencyStop, "emergency stop"),
        (Self::Shedding, "load shedding"),
    ];
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(action, _)| action == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
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

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When.
    pub at: UtcTime,
    /// Who.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// To what: the tag of a point, the name of an alarm, a device or a sequence.
    pub target: String,
    /// What was there before; empty where nothing was.
    pub before: String,
    /// What was wanted or is there now.
    pub after: String,
    /// Why, in the actor's words; empty where none were asked for.
    pub reason: String,
    /// How it ended.
    pub outcome: AuditOutcome,
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
    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend([AUDIT_MARK, VERSION]);
        out.extend(self.at.as_millis().to_be_bytes());
        let actions = (0_u8..).zip(Action::ALL);
        let code = actions
            .into_iter()
            .find(|(_, (known, _))| *known == self.action);
        let (code, _) = code.expect("every action stands in its table");
        let (outcome, evidence) = match &self.outcome {
            AuditOutcome::Done => (0, ""),
            AuditOutcome::Refused(evidence) => (1, evidence.as_str()),
            AuditOutcome::Failed(evidence) => (2, evidence.as_str()),
            AuditOutcome::Unknown(evidence) => (3, evidence.as_str()),
        };
        let (kind, name) = match &self.actor {
            Actor::Person(name) => (0, name),
            Actor::Automation(name) => (1, name),
        };
        out.extend([code, outcome, kind]);
        for text in [
            name,
            &self.target,
            &self.before,
            &self.after,
            &self.reason,
            evidence,
        ] {
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
        for (field, expected) in [("mark", AUDIT_MARK), ("version", VERSION)] {
            let value = reader.u8()?;
            if value != expected {
                return Err(unknown(field, value));
            }
        }
        let at = UtcTime::from_millis(reader.i64()?);
        let code = reader.u8()?;
        let action = Action::ALL.get(usize::from(code));
        let (action, _) = *action.ok_or_else(|| unknown("action", code))?;
        let (outcome, kind) = (reader.u8()?, reader.u8()?);
        let mut text = |field| -> Result<String, AuditDecodeError> {
            let length = reader.u16()?;
            let bytes = reader.take(usize::from(length))?;
            let text = core::str::from_utf8(bytes).map_err(|_| AuditDecodeError::Text(field))?;
            Ok(text.to_owned())
        };
        let actor = match kind {
            0 => Actor::Person(text("actor")?),
            1 => Actor::Automation(text("actor")?),
            other => return Err(unknown("actor", other)),
        };
        let (target, before) = (text("target")?, text("before")?);
        let (after, reason) = (text("after")?, text("reason")?);
        let evidence = text("evidence")?;
        let outcome = match outcome {
            0 => AuditOutcome::Done,
            1 => AuditOutcome::Refused(evidence),
            2 => AuditOutcome::Failed(evidence),
            3 => AuditOutcome::Unknown(evidence),
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
                reason,
                outcome,
            }),
            more => Err(AuditDecodeError::TooLong(more)),
        }
    }
}

impl fmt::Display for AuditRecord {
    /// One line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {} of {}",
            self.at, self.actor, self.action, self.target
        )?;
        for (word, text) in [("from", &self.before), ("to", &self.after)] {
            if !text.is_empty() {
                write!(f, " {word} {text}")?;
            }
        }
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason)?;
        }
        match &self.outcome {
            AuditOutcome::Done => f.write_str(": done"),
            AuditOutcome::Refused(evidence) => write!(f, ": refused, {evidence}"),
            AuditOutcome::Failed(evidence) => write!(f, ": failed, {evidence}"),
            AuditOutcome::Unknown(evidence) => write!(f, ": outcome unknown, {evidence}"),
        }
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

    fn record(actor: Actor, outcome: AuditOutcome) -> AuditRecord {
        AuditRecord {
            at: UtcTime::from_secs(1_700_000_000),
            actor,
            action: Action::Shedding,
            target: "North.F3".into(),
            before: "closed".into(),
            after: "open".into(),
            reason: "load".into(),
            outcome,
        }
    }

    #[test]
    fn records_survive_their_bytes_and_damage_is_named() {
        let anna = Actor::Person("anna".into());
        let cases = [
            record(anna.clone(), AuditOutcome::Done),
            record(anna.clone(), AuditOutcome::Refused("no".into())),
            record(anna, AuditOutcome::Failed("ü".into())),
            record(
                Actor::Automation("vvc".into()),
                AuditOutcome::Unknown(String::new()),
            ),
        ];
        for case in cases {
            let mut bytes = Vec::new();
            case.encode(&mut bytes);
            for length in 0..bytes.len() {
                assert!(AuditRecord::decode(&bytes[..length]).is_err(), "{length}");
            }
            assert_eq!(AuditRecord::decode(&bytes), Ok(case));
            bytes.push(0);
            assert_eq!(
                AuditRecord::decode(&bytes),
                Err(AuditDecodeError::TooLong(1))
            );
            for (place, field) in [(0, "mark"), (1, "version"), (10, "action"), (12, "actor")] {
                let mut damaged = bytes.clone();
                damaged[place] = 99;
                let error = AuditRecord::decode(&damaged).unwrap_err().to_string();
                assert!(error.contains(field), "{error}");
            }
        }
    }

    #[test]
    fn a_record_reads_as_one_line_and_long_texts_are_cut() {
        let mut record = record(
            Actor::Person("anna".into()),
            AuditOutcome::Failed("late".into()),
        );
        let line = record.to_string();
        assert!(
            line.ends_with(
                "anna: load shedding of North.F3 from closed to open (load): failed, late"
            ),
            "{line}"
        );
        record.reason = "é".repeat(AUDIT_TEXT_BYTES_MAX);
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let reason = AuditRecord::decode(&bytes).unwrap().reason;
        assert!(reason.len() <= AUDIT_TEXT_BYTES_MAX && reason.ends_with("é…"));
    }
}
