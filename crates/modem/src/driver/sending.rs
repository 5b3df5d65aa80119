//! Sending one text: number, prompt, text, reference.

use gridloom_core::Instant;

use super::ModemDriver;
use crate::cause::{Cause, CmeCause, CmsCause};
use crate::command::{Command, SendStage};
use crate::event::{Event, Output, RestartReason};
use crate::outgoing::{AttemptError, Outgoing, SendFailure, Ticket};

const CTRL_Z: u8 = 0x1A;

impl ModemDriver {
    pub(super) fn handle_prompt(&mut self, now: Instant) {
        let Some(Command::Send {
            ticket,
            stage: SendStage::Prompt,
        }) = self.command()
        else {
            return;
        };
        let mut bytes = self
            .queue
            .get(ticket)
            .part()
            .encode(self.charset)
            .expect("a part is checked before its number is sent");
        bytes.push(CTRL_Z);
        self.outbox.push_back(Output::Transmit(bytes));
        self.set_stage(ticket, SendStage::Reference, now);
    }

    pub(super) fn handle_reference(&mut self, reference: u8, now: Instant) {
        if let Some(Command::Send {
            ticket,
            stage: SendStage::Reference,
        }) = self.command()
        {
            self.set_stage(ticket, SendStage::Result(reference), now);
        }
    }

    fn set_stage(&mut self, ticket: Ticket, stage: SendStage, now: Instant) {
        let wait = match stage {
            SendStage::Reference => self.timing.text,
            SendStage::Prompt | SendStage::Result(_) => self.timing.command,
        };
        if let Some(pending) = &mut self.pending {
            pending.command = Command::Send { ticket, stage };
            pending.deadline = now + wait;
        }
    }

    pub(super) fn finish_send(
        &mut self,
        ticket: Ticket,
        stage: SendStage,
        result: Result<(), Cause>,
        now: Instant,
    ) {
        let command = Command::Send { ticket, stage }.name();
        match (stage, result) {
            (SendStage::Result(reference), _) => {
                self.restarts = 0;
                self.part_sent(ticket, reference);
            }
            (_, Err(cause)) => {
                self.attempt_failed(ticket, AttemptError::Refused(cause), now);
                let sim_gone = matches!(
                    cause,
                    Cause::Cms(CmsCause(310..=316)) | Cause::Cme(CmeCause(10..=15))
                );
                if sim_gone {
                    self.restart(RestartReason::Refused { command, cause }, now);
                }
            }
            (SendStage::Prompt, Ok(())) => {
                self.attempt_failed(ticket, AttemptError::NoPrompt, now);
                self.restart(RestartReason::OutOfStep(command), now);
            }
            (SendStage::Reference, Ok(())) => {
                self.attempt_failed(ticket, AttemptError::Unconfirmed, now);
                self.restart(RestartReason::OutOfStep(command), now);
            }
        }
    }

    /// Begins or fails the next text; `false` when there is none to send now.
    pub(super) fn start_text(&mut self, now: Instant) -> bool {
        if !self.can_send() {
            return false;
        }
        let Some(text) = self.queue.due(now) else {
            return false;
        };
        let ticket = text.ticket;
        if let Err(error) = text.part().encode(self.charset) {
            let text = self.queue.remove(ticket);
            self.failed(&text, SendFailure::Text(error));
            return true;
        }
        let command = Command::Send {
            ticket,
            stage: SendStage::Prompt,
        };
        let line = format!("{}=\"{}\"", command.name(), text.number);
        self.reader.expect_prompt();
        self.write_line(&line);
        self.await_result(command, line, now);
        true
    }

    pub(super) fn part_sent(&mut self, ticket: Ticket, reference: u8) {
        if let Some(text) = self.queue.part_sent(ticket, reference) {
            self.tell(Event::Sent {
                ticket: text.ticket,
                references: text.references,
                repeated: text.repeated,
            });
        }
    }

    pub(super) fn attempt_failed(&mut self, ticket: Ticket, error: AttemptError, now: Instant) {
        if let Some((text, failure)) = self.queue.attempt_failed(ticket, error, now) {
            self.failed(&text, failure);
        }
    }

    pub(super) fn failed(&mut self, text: &Outgoing, failure: SendFailure) {
        self.tell(Event::Failed {
            ticket: text.ticket,
            parts_sent: text.references.len(),
            failure,
        });
    }
}
