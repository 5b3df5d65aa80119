//! What an operator does to alarms. Each deed is somebody's: history and audit say whose.

use std::time::Duration;

use gridloom_core::Now;

use super::book::{AlarmBook, Deed};
use super::definition::{AlarmDefinition, AlarmError, AlarmId, Condition, check};
use super::history::Effect;
use super::state::Event;
use crate::audit::{Action, Actor, AuditOutcome, AuditRecord};
use crate::fixed::Fixed;
use crate::image::Image;
use crate::point::Tag;

/// The longest time on the shelf; a longer one is refused.
pub const SHELF_MAX: Duration = Duration::from_secs(86_400);
/// Alarms of a page that are acknowledged at once; more are refused.
pub const PAGE_MAX: usize = 500;

/// Which alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection<'a> {
    /// One.
    One(AlarmId),
    /// Those that the operator sees on a page.
    Page(&'a [AlarmId]),
    /// Those of a group, by their names.
    Group(&'a Tag),
}

/// A change of an alarm at run time.
type Edit<'a> = &'a dyn Fn(&mut AlarmDefinition);

impl AlarmBook {
    /// Acknowledges every selected alarm that wants it, active or returned; how many.
    ///
    /// # Errors
    ///
    /// [`AlarmError::Selection`] or [`AlarmError::Unknown`]; then nothing was acknowledged.
    pub fn acknowledge(
        &mut self,
        selection: Selection<'_>,
        actor: &Actor,
        comment: &str,
        image: &Image,
        now: Now,
    ) -> Result<usize, AlarmError> {
        let alarms = self.selected(selection)?;
        let deed = Deed {
            event: Event::Acknowledge,
            actor: Some(actor),
            reason: comment,
        };
        let mut done = Vec::new();
        for alarm in alarms {
            if self.apply(alarm, &deed, image.frame(), now) {
                done.push(self.definitions[alarm.index()].name.to_string());
            }
        }
        let count = done.len();
        let after = match done.as_slice() {
            [] => return Ok(0),
            [one] => one.clone(),
            many => format!("{} alarms: {}", many.len(), many.join(" ")),
        };
        let target = match selection {
            Selection::Group(group) => group.to_string(),
            Selection::Page(_) => "page".into(),
            Selection::One(_) => after.clone(),
        };
        let texts = (String::new(), after, comment);
        self.audit(Action::Acknowledgement, target, texts, actor, now);
        Ok(count)
    }

    /// Resets a latched alarm that has returned and is acknowledged.
    ///
    /// # Errors
    ///
    /// [`AlarmError::State`] if it is in another state.
    pub fn reset(
        &mut self,
        alarm: AlarmId,
        actor: &Actor,
        image: &Image,
        now: Now,
    ) -> Result<(), AlarmError> {
        self.act(alarm, Event::Reset, Action::Reset, (actor, ""), image, now)
    }

    /// Puts an alarm aside for a time of at most [`SHELF_MAX`]. Time is the operator's: until 14:00.
    ///
    /// # Errors
    ///
    /// [`AlarmError`] if the time is zero or too long, no reason is given, or it is shelved.
    pub fn shelve(
        &mut self,
        alarm: AlarmId,
        time: Duration,
        actor: &Actor,
        reason: &str,
        image: &Image,
        now: Now,
    ) -> Result<(), AlarmError> {
        let definition = self.definition(alarm)?;
        if time.is_zero() || time > SHELF_MAX {
            return Err(AlarmError::Field {
                name: definition.name.clone(),
                field: "time on the shelf",
                got: format!("{time:?}"),
                remedy: "give more than zero and at most a day",
            });
        }
        self.want_reason(alarm, reason)?;
        self.act(
            alarm,
            Event::Shelve,
            Action::Shelving,
            (actor, reason),
            image,
            now,
        )?;
        let until = now.utc + time;
        self.shelf.insert((until, alarm));
        if let Some(occurrence) = self.occurrences.get_mut(&alarm) {
            occurrence.shelved_until = Some(until);
        }
        Ok(())
    }

    /// Takes an alarm from the shelf before its time.
    ///
    /// # Errors
    ///
    /// [`AlarmError::State`] if it is not shelved.
    pub fn unshelve(
        &mut self,
        alarm: AlarmId,
        actor: &Actor,
        image: &Image,
        now: Now,
    ) -> Result<(), AlarmError> {
        self.act(
            alarm,
            Event::Unshelve,
            Action::Shelving,
            (actor, ""),
            image,
            now,
        )?;
        self.shelf.retain(|(_, other)| *other != alarm);
        if let Some(occurrence) = self.occurrences.get_mut(&alarm) {
            occurrence.shelved_until = None;
        }
        Ok(())
    }

    /// Takes an alarm out of service for maintenance, without a limit of time.
    ///
    /// # Errors
    ///
    /// [`AlarmError`] if no reason is given, or it is out of service.
    pub fn take_out_of_service(
        &mut self,
        alarm: AlarmId,
        actor: &Actor,
        reason: &str,
        image: &Image,
        now: Now,
    ) -> Result<(), AlarmError> {
        self.want_reason(alarm, reason)?;
        self.act(
            alarm,
            Event::Remove,
            Action::Service,
            (actor, reason),
            image,
            now,
        )
    }

    /// Puts an alarm back into service; it is announced if its condition holds.
    ///
    /// # Errors
    ///
    /// [`AlarmError::State`] if it is in service.
    pub fn put_back_into_service(
        &mut self,
        alarm: AlarmId,
        actor: &Actor,
        image: &Image,
        now: Now,
    ) -> Result<(), AlarmError> {
        self.act(
            alarm,
            Event::PutBack,
            Action::Service,
            (actor, ""),
            image,
            now,
        )
    }

    /// Changes the limit of an alarm on a number, and its deadband. It counts at once.
    ///
    /// # Errors
    ///
    /// [`AlarmError`] if the alarm has no limit, the deadband is negative, or no reason is given.
    pub fn set_limit(
        &mut self,
        alarm: AlarmId,
        (limit, deadband): (Fixed, Fixed),
        actor: &Actor,
        reason: &str,
        image: &Image,
        now: Now,
    ) -> Result<(), AlarmError> {
        let definition = self.definition(alarm)?;
        let condition = match definition.condition {
            Condition::Above(_) => Condition::Above(limit),
            Condition::Below(_) => Condition::Below(limit),
            other @ (Condition::Is(_) | Condition::IsNot(_) | Condition::Unusable) => {
                return Err(AlarmError::Field {
                    name: definition.name.clone(),
                    field: "limit",
                    got: other.to_string(),
                    remedy: "only alarms above or below a number have one",
                });
            }
        };
        let change = |definition: &mut AlarmDefinition| {
            (definition.condition, definition.deadband) = (condition, deadband);
        };
        self.edit(alarm, &change, (actor, reason), image, now)
    }

    /// Changes the delays of an alarm. A delay that runs begins anew.
    ///
    /// # Errors
    ///
    /// [`AlarmError`] if one is longer than [`super::DELAY_MAX`], or no reason is given.
    pub fn set_delays(
        &mut self,
        alarm: AlarmId,
        (on, off): (Duration, Duration),
        actor: &Actor,
        reason: &str,
        image: &Image,
        now: Now,
    ) -> Result<(), AlarmError> {
        let change = |definition: &mut AlarmDefinition| {
            (definition.on_delay, definition.off_delay) = (on, off);
        };
        self.edit(alarm, &change, (actor, reason), image, now)
    }

    fn edit(
        &mut self,
        alarm: AlarmId,
        change: Edit<'_>,
        (actor, reason): (&Actor, &str),
        image: &Image,
        now: Now,
    ) -> Result<(), AlarmError> {
        self.assert_drained();
        let before = self.definition(alarm)?.clone();
        self.want_reason(alarm, reason)?;
        let mut after = before.clone();
        change(&mut after);
        check(&after, image.catalogue())?;
        let texts = (limits(&before), limits(&after), reason);
        let target = before.name.to_string();
        self.definitions[alarm.index()] = after;
        self.audit(Action::Limit, target, texts, actor, now);
        self.renew(alarm, image.frame(), now);
        Ok(())
    }

    fn act(
        &mut self,
        alarm: AlarmId,
        event: Event,
        action: Action,
        (actor, reason): (&Actor, &str),
        image: &Image,
        now: Now,
    ) -> Result<(), AlarmError> {
        self.assert_drained();
        let before = self.state(alarm)?;
        let name = self.definition(alarm)?.name.clone();
        let deed = Deed {
            event,
            actor: Some(actor),
            reason,
        };
        if !self.apply(alarm, &deed, image.frame(), now) {
            return Err(AlarmError::State {
                name,
                state: before,
                event,
            });
        }
        let after = self.state(alarm)?;
        let texts = (before.to_string(), after.to_string(), reason);
        self.audit(action, name.to_string(), texts, actor, now);
        Ok(())
    }

    fn selected(&self, selection: Selection<'_>) -> Result<Vec<AlarmId>, AlarmError> {
        self.assert_drained();
        let alarms = match selection {
            Selection::One(alarm) => vec![alarm],
            Selection::Page(alarms) if alarms.is_empty() || alarms.len() > PAGE_MAX => {
                return Err(AlarmError::Selection(alarms.len()));
            }
            Selection::Page(alarms) => alarms.to_vec(),
            Selection::Group(group) => {
                let within = self.occurrences.keys().filter(|alarm| {
                    let name = &self.definitions[alarm.index()].name;
                    name.is_within(group)
                });
                within.copied().collect()
            }
        };
        for alarm in &alarms {
            self.definition(*alarm)?;
        }
        Ok(alarms)
    }

    fn want_reason(&self, alarm: AlarmId, reason: &str) -> Result<(), AlarmError> {
        let name = &self.definition(alarm)?.name;
        if reason.trim().is_empty() {
            return Err(AlarmError::NoReason(name.clone()));
        }
        Ok(())
    }

    fn assert_drained(&self) {
        assert!(
            self.effects.is_empty(),
            "host must drain effects between inputs"
        );
    }

    fn audit(
        &mut self,
        action: Action,
        target: String,
        (before, after, reason): (String, String, &str),
        actor: &Actor,
        now: Now,
    ) {
        self.effects.push_back(Effect::Audit(Box::new(AuditRecord {
            at: now.utc,
            actor: actor.clone(),
            action,
            target,
            before,
            after,
            reason: reason.to_owned(),
            outcome: AuditOutcome::Done,
        })));
    }
}

fn limits(definition: &AlarmDefinition) -> String {
    format!(
        "{}, deadband {}, on-delay {:?}, off-delay {:?}",
        definition.condition, definition.deadband, definition.on_delay, definition.off_delay
    )
}
