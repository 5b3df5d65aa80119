//! What comes out of the book: history to be appended, people to be told, deeds to be logged.

use gridloom_core::UtcTime;

use super::definition::{AlarmId, Channel, Priority};
use super::state::{Event, State};
use crate::audit::{Actor, AuditRecord};
use crate::point::{Quality, Tag, Value};

/// One move of one alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRecord {
    /// One more than the record before, from 0 at the start.
    pub sequence: u64,
    /// When, by our clock.
    pub at: UtcTime,
    /// When the value was measured that made the move, by the station's clock.
    pub source_time: UtcTime,
    /// Which alarm.
    pub alarm: AlarmId,
    /// Its name.
    pub name: Tag,
    /// How urgent it is.
    pub priority: Priority,
    /// What happened.
    pub event: Event,
    /// Its state before.
    pub from: State,
    /// Its state now.
    pub to: State,
    /// Who, where somebody did it.
    pub actor: Option<Actor>,
    /// Why, in the actor's words.
    pub reason: String,
    /// The value of its point.
    pub value: Value,
    /// The quality of that value.
    pub quality: Quality,
    /// Its condition: the limit as it was then.
    pub condition: super::Condition,
    /// Whether it was the first of its group.
    pub first_out: bool,
}

/// Somebody is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Of which alarm.
    pub alarm: AlarmId,
    /// By which way.
    pub channel: Channel,
    /// Where.
    pub to: String,
    /// The words: priority, name, message, since when.
    pub text: String,
}

/// What the host carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Append to the history.
    Record(Box<HistoryRecord>),
    /// Tell somebody.
    Notify(Notification),
    /// Append to the audit log.
    Audit(Box<AuditRecord>),
    /// More alarms came than a person can handle.
    FloodBegan,
    /// The flood is over.
    FloodEnded,
    /// An alarm comes and goes: three times in a minute.
    ChatteringBegan(AlarmId),
    /// It has been quiet for a minute.
    ChatteringEnded(AlarmId),
}
