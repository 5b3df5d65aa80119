//! Alarms after ISA-18.2: from a condition on a point to an operator's acknowledgement, with
//! delays, shelving, suppression, escalation and the figures by which alarm systems are judged.

mod book;
mod definition;
mod history;
mod operator;
mod rates;
mod state;

pub use book::{ALARMS_MAX, AlarmBook, Occurrence};
pub use definition::{
    AlarmDefinition, AlarmError, AlarmId, Channel, Condition, DELAY_MAX, ESCALATION_STEPS_MAX,
    Escalation, EscalationStep, Priority,
};
pub use history::{Effect, HistoryRecord, Notification};
pub use operator::{PAGE_MAX, SHELF_MAX, Selection};
pub use rates::{ACTIVATIONS_MAX, CHATTER_ACTIVATIONS, FLOOD_ACTIVATIONS, FLOOD_ENDS_BELOW, Kpis};
pub use state::{Event, Latching, Machine, State};
