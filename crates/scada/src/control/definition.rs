//! Devices as configured, and why a command is refused.

use core::fmt;
use std::time::Duration;

use gridloom_core::UtcTime;

use super::desk::{CommandId, Stage};
use super::note::NoteId;
use super::sequence::RunId;
use crate::expression::{Expression, ExpressionError, Type};
use crate::fixed::Fixed;
use crate::point::{Catalogue, PointId, Shape, Tag, Value};

/// The longest select, feedback or age limit; a longer one is refused.
pub const TIME_MAX: Duration = Duration::from_secs(3_600);
/// Interlocks of a device; more are refused.
pub const INTERLOCKS_MAX: usize = 32;
/// A command from further in the future than this is refused: a clock is wrong.
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(5);

/// The number of a device: its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub(super) u32);

impl DeviceId {
    /// The place in the list, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What must hold for a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interlock {
    /// For which value; `None` for all.
    pub value: Option<Value>,
    /// A yes or no over points, as [`crate::expression`] says.
    pub expression: String,
    /// What the operator reads when it does not hold.
    pub reason: String,
}

/// Who has to agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persons {
    /// One person.
    One,
    /// A second person, other than the first, before it is sent.
    Two,
}

/// Whether the station takes part in the selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selecting {
    /// It is asked to reserve the object (IEC 60870-5-101 §6.8).
    AtStation,
    /// The station knows direct commands only: the reservation is ours.
    Here,
}

/// One device that can be commanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: Tag,
    /// The point that shows what became of a command; commands have its shape.
    pub feedback: PointId,
    /// How near a number must come to count as reached.
    pub tolerance: Fixed,
    /// The lowest and highest number that may be commanded.
    pub range: Option<(Fixed, Fixed)>,
    /// What must hold.
    pub interlocks: Vec<Interlock>,
    /// Whether the station takes part in the selection.
    pub selecting: Selecting,
    /// How long a selection is held.
    pub select_time: Duration,
    /// How long the feedback may take after sending.
    pub feedback_time: Duration,
    /// How old a command may be when it arrives here.
    pub age_max: Duration,
    /// Who has to agree.
    pub persons: Persons,
}

impl Device {
    /// A device selected at its station for 30 s, with 10 s for feedback and for age, and no
    /// interlock.
    pub const fn new(name: Tag, feedback: PointId) -> Self {
        Self {
            name,
            feedback,
            tolerance: Fixed::ZERO,
            range: None,
            interlocks: Vec::new(),
            selecting: Selecting::AtStation,
            select_time: Duration::from_secs(30),
            feedback_time: Duration::from_secs(10),
            age_max: Duration::from_secs(10),
            persons: Persons::One,
        }
    }
}

/// Why a command, a tag or a sequence is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// A device or a sequence is configured wrongly.
    #[error("{name}: {field} {got}: {remedy}")]
    Field {
        /// Which device, sequence or block.
        name: Tag,
        /// Which field.
        field: &'static str,
        /// What it says.
        got: String,
        /// What to do.
        remedy: &'static str,
    },
    /// An expression cannot be read.
    #[error("{name}: {source}")]
    Expression {
        /// Of which device or sequence.
        name: Tag,
        /// What is wrong.
        source: ExpressionError,
    },
    /// A name is taken.
    #[error("{0} is defined twice: rename one")]
    Twice(Tag),
    /// There is no such device.
    #[error("device {0:?} is unknown: reload the page")]
    UnknownDevice(DeviceId),
    /// There is no such command any more.
    #[error("command {0:?} is over: select again")]
    UnknownCommand(CommandId),
    /// There is no such tag.
    #[error("tag {0:?} is gone already")]
    UnknownNote(NoteId),
    /// There is no such sequence, or no such run.
    #[error("sequence {0} is unknown")]
    UnknownSequence(Tag),
    /// The run is over.
    #[error("run {0:?} is over")]
    UnknownRun(RunId),
    /// There is no such block.
    #[error("shedding block {0} is unknown, or not in the state for this")]
    UnknownBlock(Tag),
    /// The device is reserved.
    #[error("{device} is held by {by} until {until}: wait, or ask")]
    Held {
        /// Which device.
        device: Tag,
        /// Who holds it.
        by: String,
        /// Until when, at the latest.
        until: UtcTime,
    },
    /// The request is too old.
    #[error("{device}: the command is {age:?} old, {limit:?} is allowed: give it again")]
    TooOld {
        /// Which device.
        device: Tag,
        /// How old.
        age: Duration,
        /// How old it may be.
        limit: Duration,
    },
    /// The request is from the future.
    #[error("{device}: the command is {ahead:?} ahead of our clock: set the clocks")]
    FromTheFuture {
        /// Which device.
        device: Tag,
        /// How far.
        ahead: Duration,
    },
    /// The value does not suit the device.
    #[error("{device} cannot be set to {value}: {remedy}")]
    Value {
        /// Which device.
        device: Tag,
        /// The value.
        value: Value,
        /// What to do.
        remedy: &'static str,
    },
    /// The present state is not known well enough.
    #[error("{device}: the state is {quality}: check on site first")]
    StateUnknown {
        /// Which device.
        device: Tag,
        /// The quality of its feedback.
        quality: String,
    },
    /// It is in that state already.
    #[error("{device} is {value} already")]
    AlreadyThere {
        /// Which device.
        device: Tag,
        /// The state.
        value: Value,
    },
    /// An interlock does not hold.
    #[error("{device} is interlocked: {}", .reasons.join("; "))]
    Interlocked {
        /// Which device.
        device: Tag,
        /// What does not hold, with the values.
        reasons: Vec<String>,
    },
    /// A tag forbids it.
    #[error("{device} is tagged {kind} by {owner}: {note}")]
    Tagged {
        /// Which device.
        device: Tag,
        /// Which kind of tag.
        kind: &'static str,
        /// Whose.
        owner: String,
        /// What it says.
        note: String,
    },
    /// All automation is stopped.
    #[error("automation is stopped by {by}: {reason}")]
    AutomationStopped {
        /// By whom.
        by: String,
        /// Why.
        reason: String,
    },
    /// The wrong person.
    #[error("{who} cannot do this: {remedy}")]
    WrongPerson {
        /// Who tried.
        who: String,
        /// Who can.
        remedy: &'static str,
    },
    /// Not at this stage.
    #[error("the command is {stage:?}: {remedy}")]
    Stage {
        /// Where it stands.
        stage: Stage,
        /// What to do.
        remedy: &'static str,
    },
    /// A deed needs words.
    #[error("{0}: say why")]
    NoReason(String),
    /// There is no room.
    #[error("{what}: {max} are the most: end one first")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
}

/// An interlock that has been read.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) value: Option<Value>,
    pub(super) expression: Expression,
    pub(super) reason: String,
}

/// Reads a yes or no.
pub(super) fn condition(
    name: &Tag,
    text: &str,
    catalogue: &Catalogue,
) -> Result<Expression, ControlError> {
    let expression =
        Expression::parse(text, catalogue).map_err(|source| ControlError::Expression {
            name: name.clone(),
            source,
        })?;
    if expression.kind() != Type::Boolean {
        return Err(ControlError::Field {
            name: name.clone(),
            field: "expression",
            got: text.to_owned(),
            remedy: "give a yes or no: compare with something",
        });
    }
    Ok(expression)
}

pub(super) fn check(device: &Device, catalogue: &Catalogue) -> Result<Vec<Check>, ControlError> {
    let fault = |field, got: String, remedy| ControlError::Field {
        name: device.name.clone(),
        field,
        got,
        remedy,
    };
    if device.feedback.index() >= catalogue.len() {
        let remedy = "name a point of the catalogue";
        return Err(fault("feedback", device.feedback.to_string(), remedy));
    }
    let number = matches!(
        catalogue.get(device.feedback).kind.shape(),
        Shape::Number(_)
    );
    if device.tolerance < Fixed::ZERO || (!number && device.tolerance != Fixed::ZERO) {
        let remedy = "give zero or more, and only to numbers";
        return Err(fault("tolerance", device.tolerance.to_string(), remedy));
    }
    if let Some((low, high)) = device.range
        && (low > high || !number)
    {
        let remedy = "give the lower end first, and only to numbers";
        return Err(fault("range", format!("{low} to {high}"), remedy));
    }
    for (field, time) in [
        ("select_time", device.select_time),
        ("feedback_time", device.feedback_time),
        ("age_max", device.age_max),
    ] {
        if time.is_zero() || time > TIME_MAX {
            return Err(fault(
                field,
                format!("{time:?}"),
                "give up to an hour, not zero",
            ));
        }
    }
    if device.interlocks.len() > INTERLOCKS_MAX {
        let got = device.interlocks.len().to_string();
        return Err(fault(
            "interlocks",
            got,
            "give at most 32: join them with and",
        ));
    }
    let read = |interlock: &Interlock| {
        Ok(Check {
            value: interlock.value,
            expression: condition(&device.name, &interlock.expression, catalogue)?,
            reason: interlock.reason.clone(),
        })
    };
    device.interlocks.iter().map(read).collect()
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device {}", self.0)
    }
}
