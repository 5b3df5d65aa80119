//! Activity calendar (class 20, version 0): which script, usually which tariff, holds at what
//! time of which day of which week of which season; and the calendar that will replace it.
//!
//! All times are the meter's own: whoever mounts the calendar on a meter whose clock has a
//! deviation adds it first.

mod plan;

use std::collections::VecDeque;

use gridloom_core::UtcTime;
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::CosemDateTime;

use super::InterfaceObject;
use super::retained::{Keeper, Kept, RetainedError};
use super::script_table::ScriptName;
use super::shape;
use super::special_days::SpecialDays;

pub use plan::{
    CALENDAR_NAME_MAX, DAY_ACTIONS_MAX, DAYS_MAX, Plan, PlannedAction, PlannedDay, SEASONS_MAX,
    Season, WEEKS_MAX, Week,
};

const VERSION: u8 = 1;
const OBJECT: &str = "activity-calendar";
/// An activation time that is not set.
const NEVER: CosemDateTime = CosemDateTime::from_bytes([0xFF; CosemDateTime::LEN]);

/// What the meter must know or do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CalendarEvent {
    /// Another script holds: run it.
    Execute {
        /// Since when.
        at: UtcTime,
        /// Which.
        script: ScriptName,
    },
    /// The passive calendar has become the active one: log it.
    Activated {
        /// When it should have been, or was asked for.
        at: UtcTime,
    },
    /// A client has written a part of the passive calendar: log it.
    PassiveWritten,
}

/// One activity calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityCalendar {
    active: Plan,
    passive: Plan,
    activation: CosemDateTime,
    /// What was run last.
    running: Option<ScriptName>,
    /// At most three per input.
    events: VecDeque<CalendarEvent>,
}

impl ActivityCalendar {
    /// A calendar that follows `active`; the passive one is empty.
    ///
    /// # Panics
    ///
    /// If the plan names what it does not contain or passes the bounds: the maker's plan is wrong.
    pub fn new(active: Plan) -> Self {
        assert!(active.is_consistent(), "a maker's plan is consistent");
        Self {
            active,
            passive: Plan::default(),
            activation: NEVER,
            running: None,
            events: VecDeque::new(),
        }
    }

    /// The script that holds at `at`, and since when; `None` where the plan says nothing.
    pub fn script_at(&self, at: UtcTime, special: &SpecialDays) -> Option<(UtcTime, ScriptName)> {
        self.active.script_at(at, special)
    }

    /// The day profile that holds on the day of `at`.
    pub fn day_id_at(&self, at: UtcTime, special: &SpecialDays) -> Option<u8> {
        self.active.day_id(at.day(), special)
    }

    /// Activates the passive calendar if it is due, and reports a change of script. Whatever
    /// lies between the last call and `at` is passed over: only what holds now is run. Call it
    /// after each write to the special days as well.
    pub fn handle_time(&mut self, at: UtcTime, special: &SpecialDays) {
        if let Some(due) = self.activation_due().filter(|due| *due <= at) {
            self.activate(due);
        }
        let Some((since, script)) = self.script_at(at, special) else {
            return;
        };
        if self.running != Some(script) {
            self.running = Some(script);
            self.events
                .push_back(CalendarEvent::Execute { at: since, script });
        }
    }

    /// The next time [`Self::handle_time`] is due after `at`, and why.
    pub fn wake(&self, at: UtcTime, special: &SpecialDays) -> Option<(UtcTime, &'static str)> {
        let activation = self
            .activation_due()
            .map(|due| (due.max(at), "passive calendar"));
        let change = self.active.next_change(at, special);
        activation
            .into_iter()
            .chain(change.map(|at| (at, "tariff change")))
            .min()
    }

    /// What the meter must know or do next.
    pub fn poll_event(&mut self) -> Option<CalendarEvent> {
        self.events.pop_front()
    }

    fn activation_due(&self) -> Option<UtcTime> {
        self.activation.to_utc().ok()
    }

    fn activate(&mut self, at: UtcTime) {
        self.activation = NEVER;
        // An inconsistent or empty passive calendar would leave the meter without a tariff.
        if self.passive.is_consistent() && !self.passive.is_empty() {
            self.active = self.passive.clone();
            self.events.push_back(CalendarEvent::Activated { at });
        }
    }

    /// Appends what the calendar keeps.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        self.active.keep(&mut keeper);
        self.passive.keep(&mut keeper);
        keeper.put(self.activation.to_bytes());
        keeper.option(self.running, |keeper, script| script.keep(keeper));
    }

    /// Takes over what a calendar kept.
    ///
    /// # Errors
    ///
    /// Bytes that no calendar wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let calendar = Self {
            active: Plan::read(&mut kept)?,
            passive: Plan::read(&mut kept)?,
            activation: kept.date_time()?,
            running: kept.option("running script", ScriptName::read)?,
            events: VecDeque::new(),
        };
        kept.require(calendar.active.is_consistent(), "active plan")?;
        kept.finish()?;
        Ok(calendar)
    }
}

impl InterfaceObject for ActivityCalendar {
    fn get(&self, attribute: i8, _: UtcTime) -> Result<Data, DataAccessResult> {
        Ok(match attribute {
            2 => self.active.name_value(),
            3 => self.active.seasons_value(),
            4 => self.active.weeks_value(),
            5 => self.active.days_value(),
            6 => self.passive.name_value(),
            7 => self.passive.seasons_value(),
            8 => self.passive.weeks_value(),
            9 => self.passive.days_value(),
            10 => shape::date_time_value(self.activation),
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    /// The active calendar is never written, only replaced by the passive one. The passive one's
    /// parts come one by one, so that they need not fit each other before activation.
    fn set(&mut self, attribute: i8, value: &Data, _: UtcTime) -> Result<(), DataAccessResult> {
        match attribute {
            2..=5 => return Err(DataAccessResult::ReadWriteDenied),
            6 => self.passive.set_name(value)?,
            7 => self.passive.set_seasons(value)?,
            8 => self.passive.set_weeks(value)?,
            9 => self.passive.set_days(value)?,
            10 => {
                self.activation = shape::date_time(value)?;
                return Ok(());
            }
            _ => return Err(DataAccessResult::ObjectUndefined),
        }
        self.events.push_back(CalendarEvent::PassiveWritten);
        Ok(())
    }

    /// Method 1 activates the passive calendar; call [`Self::handle_time`] afterwards.
    fn invoke(
        &mut self,
        method: i8,
        parameters: Option<&Data>,
        at: UtcTime,
    ) -> Result<Option<Data>, ActionResult> {
        if method != 1 {
            return Err(ActionResult::ObjectUndefined);
        }
        shape::nothing(parameters)?;
        if !self.passive.is_consistent() || self.passive.is_empty() {
            return Err(ActionResult::OtherReason);
        }
        self.activate(at);
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
