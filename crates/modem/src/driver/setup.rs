//! Bringing a modem up: the order of the set-up, and the care for the PIN.

use gridloom_core::Instant;

use super::{ModemDriver, Phase, PinState, SIM_LOOKS_MAX};
use crate::cause::HaltReason;
use crate::cause::{Cause, CmeCause};
use crate::command::Command;
use crate::event::{Event, RestartReason};
use crate::reply::PinStatus;

impl ModemDriver {
    pub(super) fn finish_step(
        &mut self,
        command: Command,
        result: Result<(), Cause>,
        now: Instant,
    ) {
        if let (Command::SetCharset(charset), Ok(())) = (command, result) {
            self.charset = charset;
        }
        match (command.next_in_setup(result), &self.phase) {
            (Err(cause), _) => {
                let command = command.name();
                self.restart(RestartReason::Refused { command, cause }, now);
            }
            (Ok(Some(next)), Phase::Starting) => self.begin(next, now),
            (Ok(None), Phase::Starting) => {
                self.phase = Phase::Ready;
                self.listing_due = true;
                self.supervise_at = now + self.supervision_wait();
                self.unregistered_since = now;
                self.tell(Event::Ready);
            }
            // Supervision answered: the modem is well.
            (Ok(_), _) => self.restarts = 0,
        }
    }

    pub(super) fn finish_pin_query(
        &mut self,
        status: Option<PinStatus>,
        result: Result<(), Cause>,
        now: Instant,
    ) {
        let command = Command::PinQuery.name();
        match (result, status) {
            (Err(Cause::Cme(CmeCause::PUK_REQUIRED)), _) | (Ok(()), Some(PinStatus::SimPuk)) => {
                self.halt(HaltReason::PukRequired);
            }
            (Err(cause), _) => self.restart(RestartReason::Refused { command, cause }, now),
            (Ok(()), None) => self.restart(RestartReason::OutOfStep(command), now),
            (Ok(()), Some(PinStatus::Other(lock))) => self.halt(HaltReason::OtherLock(lock)),
            (Ok(()), Some(PinStatus::Ready)) => {
                if let PinState::Entered | PinState::Taken { .. } = self.pin_state {
                    self.pin_state = PinState::Proven;
                }
                self.begin(Command::TextMode, now);
            }
            (Ok(()), Some(PinStatus::SimPin)) => self.enter_pin(now),
        }
    }

    fn enter_pin(&mut self, now: Instant) {
        match self.pin_state {
            PinState::Untried if self.pin.is_none() => self.halt(HaltReason::PinMissing),
            PinState::Untried | PinState::Proven => {
                // Set before the answer: an entry that gets none must not be repeated.
                self.pin_state = PinState::Entered;
                self.begin(Command::PinEnter, now);
            }
            PinState::Entered => self.halt(HaltReason::PinUncertain),
            PinState::Refused(cause) => self.halt(HaltReason::PinRefused(cause)),
            PinState::Taken { looks } if looks >= SIM_LOOKS_MAX => {
                self.halt(HaltReason::PinUncertain);
            }
            PinState::Taken { looks } => {
                self.pin_state = PinState::Taken { looks: looks + 1 };
                self.look_at_sim_later(now);
            }
        }
    }

    pub(super) fn finish_pin_entry(&mut self, result: Result<(), Cause>, now: Instant) {
        match result {
            Ok(()) => {
                self.pin_state = PinState::Taken { looks: 0 };
                self.look_at_sim_later(now);
            }
            Err(cause) => {
                self.pin_state = PinState::Refused(cause);
                self.halt(HaltReason::PinRefused(cause));
            }
        }
    }

    fn look_at_sim_later(&mut self, now: Instant) {
        self.phase = Phase::Waiting {
            until: now + self.timing.restart_first,
            then: Command::PinQuery,
        };
    }
}
