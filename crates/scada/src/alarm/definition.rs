//! Alarms as configured.

use core::fmt;
use std::time::Duration;

use super::state::Latching;
use crate::fixed::Fixed;
use crate::point::{Catalogue, PointId, Quality, Shape, TEXT_BYTES_MAX, Tag, Validity, Value};

/// The longest on- or off-delay; a longer one is refused.
pub const DELAY_MAX: Duration = Duration::from_secs(86_400);
/// Steps of an escalation; more are refused.
pub const ESCALATION_STEPS_MAX: usize = 16;

/// The number of an alarm: its place in the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlarmId(pub(super) u32);

impl AlarmId {
    /// The place in the book, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for AlarmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "alarm {}", self.0)
    }
}

/// How urgent an alarm is; the most urgent is the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Danger to life or plant.
    Critical,
    /// At once.
    High,
    /// Soon.
    Medium,
    /// In this shift.
    Low,
}

impl Priority {
    /// Every priority, the most urgent first.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Critical, "critical"),
        (Self::High, "high"),
        (Self::Medium, "medium"),
        (Self::Low, "low"),
    ];
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(priority, _)| priority == self);
        f.write_str(found.map_or("", |(_, word)| word))
    }
}

/// What makes an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The number is above the limit. It has returned at the limit less the deadband.
    Above(Fixed),
    /// The number is below the limit. It has returned at the limit plus the deadband.
    Below(Fixed),
    /// The point holds this state.
    Is(Value),
    /// The point holds another state.
    IsNot(Value),
    /// The value is bad or old.
    Unusable,
}

/// A condition made ready: plain integers, so that a hundred thousand are tried in a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Threshold {
    test: Test,
    limit: i64,
    /// For numbers: where the alarm returns.
    back: i64,
}

#[derive(Debug, Clone, Copy)]
enum Test {
    Above,
    Below,
    Is,
    IsNot,
    Unusable,
}

impl Threshold {
    pub(super) const fn new(condition: Condition, deadband: Fixed) -> Self {
        let (test, limit, back) = match condition {
            Condition::Above(limit) => {
                let limit = limit.millionths();
                (
                    Test::Above,
                    limit,
                    limit.saturating_sub(deadband.millionths()),
                )
            }
            Condition::Below(limit) => {
                let limit = limit.millionths();
                (
                    Test::Below,
                    limit,
                    limit.saturating_add(deadband.millionths()),
                )
            }
            Condition::Is(value) => (Test::Is, value.raw(), 0),
            Condition::IsNot(value) => (Test::IsNot, value.raw(), 0),
            Condition::Unusable => (Test::Unusable, 0, 0),
        };
        Self { test, limit, back }
    }

    /// Whether the condition holds; `None` if the value does not let one say.
    pub(super) fn holds(self, raw: i64, quality: Quality, active: bool) -> Option<bool> {
        let unusable = quality.validity() == Validity::Bad || quality.is_old();
        let holds = match self.test {
            Test::Unusable => return Some(unusable),
            Test::Above if active => raw > self.back,
            Test::Above => raw > self.limit,
            Test::Below if active => raw < self.back,
            Test::Below => raw < self.limit,
            Test::Is => raw == self.limit,
            Test::IsNot => raw != self.limit,
        };
        (!unusable).then_some(holds)
    }
}

/// By which way people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// A text message.
    Sms,
    /// A letter by e-mail.
    Email,
    /// A call of a web address.
    Webhook,
}

/// Whom to tell when nobody acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EscalationStep {
    /// How long the alarm has stood unacknowledged.
    pub after: Duration,
    /// By which way.
    pub channel: Channel,
    /// A telephone number, an address.
    pub to: String,
}

/// Whom to tell, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Escalation {
    /// The steps, the earliest first.
    pub steps: Vec<EscalationStep>,
}

/// One alarm as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmDefinition {
    /// Its name; groups are acknowledged by the front part of it.
    pub name: Tag,
    /// Which point it watches.
    pub point: PointId,
    /// What makes it.
    pub condition: Condition,
    /// How far a number must come back behind its limit.
    pub deadband: Fixed,
    /// How long the condition must hold.
    pub on_delay: Duration,
    /// How long it must be gone.
    pub off_delay: Duration,
    /// How urgent it is.
    pub priority: Priority,
    /// Whether it stays until it is reset.
    pub latching: Latching,
    /// A single or derived point: while it is on and trusted, the alarm is suppressed by design.
    pub suppressed_by: Option<PointId>,
    /// Alarms of one group say which of them came first.
    pub first_out: Option<u16>,
    /// Whom to tell when nobody acknowledges.
    pub escalation: Escalation,
    /// An acknowledged alarm that still stands after this is announced again.
    pub again_after: Option<Duration>,
    /// What the operator reads.
    pub message: String,
    /// What the operator is to do.
    pub response: String,
}

impl AlarmDefinition {
    /// An alarm without delays, deadband, latching, group or escalation.
    pub const fn new(name: Tag, point: PointId, condition: Condition, priority: Priority) -> Self {
        Self {
            name,
            point,
            condition,
            deadband: Fixed::ZERO,
            on_delay: Duration::ZERO,
            off_delay: Duration::ZERO,
            priority,
            latching: Latching::No,
            suppressed_by: None,
            first_out: None,
            escalation: Escalation { steps: Vec::new() },
            again_after: None,
            message: String::new(),
            response: String::new(),
        }
    }
}

/// Why something is not done to an alarm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlarmError {
    /// There is no room.
    #[error("alarm {0}: the book is full")]
    Full(Tag),
    /// The name is taken.
    #[error("alarm {0} is defined twice: rename one")]
    Twice(Tag),
    /// A field cannot be.
    #[error("alarm {name}: {field} {got}: {remedy}")]
    Field {
        /// Which alarm.
        name: Tag,
        /// Which field.
        field: &'static str,
        /// What it says.
        got: String,
        /// What to do.
        remedy: &'static str,
    },
    /// There is no such alarm.
    #[error("{0} is not in the book: reload the page")]
    Unknown(AlarmId),
    /// Nothing was selected, or too much.
    #[error("{0} alarms are selected: select between 1 and 500")]
    Selection(usize),
    /// The alarm's state does not allow it.
    #[error("alarm {name} is {state}: it cannot {event} now")]
    State {
        /// Which alarm.
        name: Tag,
        /// Its state.
        state: super::State,
        /// What was wanted.
        event: super::Event,
    },
    /// A deed needs words.
    #[error("alarm {0}: say why")]
    NoReason(Tag),
}

pub(super) fn check(alarm: &AlarmDefinition, catalogue: &Catalogue) -> Result<(), AlarmError> {
    let fault = |field, got: String, remedy| AlarmError::Field {
        name: alarm.name.clone(),
        field,
        got,
        remedy,
    };
    let known = |point: PointId| point.index() < catalogue.len();
    if !known(alarm.point) {
        return Err(fault(
            "point",
            alarm.point.to_string(),
            "name a point of the catalogue",
        ));
    }
    let shape = catalogue.get(alarm.point).kind.shape();
    let fits = match alarm.condition {
        Condition::Above(_) | Condition::Below(_) => matches!(shape, Shape::Number(_)),
        Condition::Is(value) | Condition::IsNot(value) => {
            shape.fits(value) && !matches!(shape, Shape::Number(_))
        }
        Condition::Unusable => true,
    };
    if !fits {
        let remedy = "compare numbers with limits and states with states of the point's kind";
        return Err(fault("condition", format!("{:?}", alarm.condition), remedy));
    }
    let number = matches!(alarm.condition, Condition::Above(_) | Condition::Below(_));
    if alarm.deadband < Fixed::ZERO || (!number && alarm.deadband != Fixed::ZERO) {
        let remedy = "give zero or more, and only to limits";
        return Err(fault("deadband", alarm.deadband.to_string(), remedy));
    }
    for (field, delay) in [("on_delay", alarm.on_delay), ("off_delay", alarm.off_delay)] {
        if delay > DELAY_MAX {
            return Err(fault(field, format!("{delay:?}"), "give at most a day"));
        }
    }
    if alarm.again_after == Some(Duration::ZERO) {
        return Err(fault("again_after", "0".into(), "give a time above zero"));
    }
    if let Some(point) = alarm.suppressed_by
        && !(known(point) && matches!(catalogue.get(point).kind.shape(), Shape::Single))
    {
        return Err(fault(
            "suppressed_by",
            point.to_string(),
            "name a single point",
        ));
    }
    let steps = &alarm.escalation.steps;
    if steps.len() > ESCALATION_STEPS_MAX || !steps.is_sorted_by_key(|step| step.after) {
        let remedy = "give at most 16 steps, the earliest first";
        return Err(fault(
            "escalation",
            format!("{} steps", steps.len()),
            remedy,
        ));
    }
    for (field, text) in [("message", &alarm.message), ("response", &alarm.response)] {
        if text.len() > TEXT_BYTES_MAX {
            let got = format!("{} bytes", text.len());
            return Err(fault(field, got, "shorten it to 4096 bytes"));
        }
    }
    Ok(())
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above(limit) => write!(f, "above {limit}"),
            Self::Below(limit) => write!(f, "below {limit}"),
            Self::Is(value) => write!(f, "{value}"),
            Self::IsNot(value) => write!(f, "not {value}"),
            Self::Unusable => f.write_str("value unusable"),
        }
    }
}
