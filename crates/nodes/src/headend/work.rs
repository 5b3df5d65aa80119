//! Commands and key changes: their machines' outputs become sessions and batches, and
//! sessions become their answers.

use std::time::Duration;

use gridloom_core::{MeterId, Now, ObisCode, UtcTime};
use gridloom_dlms::apdu::{AttributeDescriptor, MethodDescriptor};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{ClientError, Layer};
use gridloom_headend::audit::{Action, AuditOutcome, AuditRecord, Target};
use gridloom_headend::campaign::ImageAnswer;
use gridloom_headend::command::{self, CommandEvent, End, Entry, Happened};
use gridloom_headend::rotation::{
    ProbeOutcome, RotationOutcome, RotationOutput, TransferOutcome, transport_keys,
};
use gridloom_headend::schedule::{JobId, Lane, Outcome, Start};
use gridloom_headend::session::{Step, StepError};
use gridloom_store::{Batch, Change, WorkKind, WorkRow};

use super::disk::Saved;
use super::orders::{OrderId, OrderState, Part};
use super::rows::{encode_command, encode_part};
use super::talk::{Errand, Talked};
use super::{Handover, HeadEndNode, Task};

/// How long a step of a key change or a campaign waits for its turn.
pub(super) const PATIENCE: Duration = Duration::from_hours(1);

const CLOCK: ObisCode = ObisCode([0, 0, 1, 0, 0, 255]);
const SECURITY_SETUP: ObisCode = ObisCode([0, 0, 43, 0, 0, 255]);

impl HeadEndNode {
    /// Asks the schedule for a session; where it refuses, the task has failed.
    pub(super) fn submit_task(
        &mut self,
        meter: MeterId,
        lane: Lane,
        task: Task,
        not_before: UtcTime,
        deadline: UtcTime,
        now: Now,
    ) {
        self.last_task += 1;
        let id = gridloom_headend::schedule::TaskId(self.last_task);
        let submitted = self
            .schedule
            .submit(meter, lane, id, not_before, deadline, now.utc);
        match submitted {
            Ok(job) => {
                if let Task::Command(command, meter) = task {
                    self.submitted.insert((command, meter), (id, job));
                }
                self.tasks.insert(id, task);
                self.drain_schedule();
            }
            Err(error) => {
                self.drain_schedule();
                self.task_failed(task, &error.to_string(), now);
            }
        }
    }

    pub(super) fn task_failed_and_finished(&mut self, job: JobId, task: Task, why: &str, now: Now) {
        self.finish_job(job, Outcome::Done, now);
        self.task_failed(task, why, now);
    }

    /// No session came about in time.
    pub(super) fn task_failed(&mut self, task: Task, why: &str, now: Now) {
        match task {
            Task::Reading(order, meter) => {
                let is_over = self
                    .orders
                    .get(&order)
                    .and_then(|report| report.parts.get(&meter))
                    .is_some_and(Part::is_over);
                if !is_over {
                    self.set_part(order, meter, Part::Failed(why.to_owned()));
                }
            }
            Task::Command(command, meter) => {
                self.submitted.remove(&(command, meter));
                self.commands.handle_not_started(command, meter, now.utc);
                self.drain_commands();
            }
            Task::Gap(read, ..) => self.gap_failed(read, now),
            Task::Profile(meter) => {
                self.reading_soon.remove(&meter);
            }
            Task::Transfer(number, ..) => {
                self.transferred(number, TransferOutcome::NotSent(why.to_owned()), now);
            }
            Task::Probe(number, _) => {
                self.probed(number, ProbeOutcome::Unreachable(why.to_owned()), now);
            }
            Task::Image(number, meter, _) => {
                self.image_answered(number, meter, ImageAnswer::Unreachable(why.to_owned()), now);
            }
        }
    }

    pub(super) fn start_task(&mut self, start: Start, task: Task, now: Now) {
        let errand = Errand::Once(task.clone());
        match task {
            Task::Reading(order, _) => {
                let steps = self.steps.get(&order).cloned().unwrap_or_default();
                if steps.is_empty() {
                    return self.finish_job(start.job, Outcome::Done, now);
                }
                self.set_part(order, start.meter, Part::Running { step: 0, bytes: 0 });
                self.talk(start, errand, steps, None, now);
            }
            Task::Command(command, meter) => {
                self.submitted.remove(&(command, meter));
                if self.commands.handle_started(command, meter) {
                    self.granted.insert((command, meter), start);
                    self.drain_commands();
                } else {
                    self.finish_job(start.job, Outcome::Done, now);
                }
            }
            Task::Gap(_, _, span) => self.start_gap(start, task, span, now),
            Task::Profile(_) => self.start_read(start, None, now),
            Task::Transfer(_, ref handover) => match self.transfer_step(handover) {
                Ok(step) => {
                    let under = handover.under;
                    self.talk(start, errand, vec![step], Some(under), now);
                }
                Err(why) => self.task_failed_and_finished(start.job, task, &why, now),
            },
            Task::Probe(_, under) => {
                let step = get(8, CLOCK, 2);
                self.talk(start, errand, vec![step], Some(under), now);
            }
            Task::Image(number, _, request) => match self.image_steps(number, request) {
                Some(steps) => self.talk(start, errand, steps, None, now),
                None => {
                    let why = "the image's bytes are not there; give them at the start";
                    self.task_failed_and_finished(start.job, task, why, now);
                }
            },
        }
    }

    /// The session of a task is over; says what the schedule makes of it.
    pub(super) fn task_over(
        &mut self,
        start: &Start,
        task: Task,
        talked: Talked,
        now: Now,
    ) -> Outcome {
        let meter = start.meter;
        match task {
            Task::Reading(order, _) => {
                let outcome = talked.outcome;
                if outcome == Outcome::TryAgain {
                    self.set_part(order, meter, Part::Waiting);
                    return outcome;
                }
                let part = Part::Read {
                    broken: talked.ended.err().map(|error| error.to_string()),
                    values: talked.results,
                };
                self.forget_task(start);
                self.set_part(order, meter, part);
                outcome
            }
            Task::Command(command, meter) => {
                let (results, ended) = (&talked.results, &talked.ended);
                self.commands
                    .handle_results(command, meter, results, ended, now.utc);
                self.drain_commands();
                self.forget_task(start);
                Outcome::Done
            }
            // Its errand is that of a periodic read.
            Task::Profile(_) => talked.outcome,
            Task::Gap(read, series, span) => {
                self.forget_task(start);
                self.gap_over(read, series, span, &talked, now);
                Outcome::Done
            }
            Task::Transfer(number, ..) => {
                self.forget_task(start);
                self.transferred(number, transfer_outcome(&talked), now);
                Outcome::Done
            }
            Task::Probe(number, _) => {
                self.forget_task(start);
                self.probed(number, probe_outcome(&talked), now);
                Outcome::Done
            }
            Task::Image(number, meter, request) => {
                self.forget_task(start);
                self.image_answered(
                    number,
                    meter,
                    super::firmware::image_answer(request, &talked),
                    now,
                );
                Outcome::Done
            }
        }
    }

    pub(super) fn forget_task(&mut self, start: &Start) {
        if let gridloom_headend::schedule::Work::Once(id) = start.work {
            self.tasks.remove(&id);
        }
    }

    // ---- Commands.

    pub(super) fn carry_out_command(&mut self, output: command::Output, now: Now) {
        match output {
            command::Output::Journal { seq, entry } => {
                let change = self.entry_row(entry, now.utc);
                self.journal.extend(change);
                self.journal_through = Some(seq);
            }
            command::Output::Audit(event) => self.note_command(event, now.utc),
            command::Output::Submit {
                command,
                meter,
                not_before,
                deadline,
            } => {
                let task = Task::Command(command, meter);
                self.submit_task(meter, Lane::Command, task, not_before, deadline, now);
            }
            command::Output::Withdraw { command, meter } => {
                if let Some((task, job)) = self.submitted.remove(&(command, meter)) {
                    self.tasks.remove(&task);
                    self.schedule.cancel(job);
                    self.drain_schedule();
                }
            }
            command::Output::Run {
                command,
                meter,
                steps,
            } => {
                let start = self.granted.remove(&(command, meter));
                let start = start.expect("only a granted session runs");
                let errand = Errand::Once(Task::Command(command, meter));
                self.talk(start, errand, steps, None, now);
            }
        }
    }

    fn entry_row(&mut self, entry: Entry, at: UtcTime) -> Option<Change> {
        let (number, meter, state, is_finished) = match entry {
            Entry::Confirmed(command) => {
                let state = encode_command(&command, false);
                let number = command.id.0;
                self.command_heads.insert(command.id, command);
                (number, None, state, false)
            }
            Entry::Cancelled(id) => {
                let command = self.command_heads.get(&id)?;
                (id.0, None, encode_command(command, true), false)
            }
            Entry::Sending(id, meter) => (id.0, Some(meter), encode_part(None), false),
            Entry::Settled(id, meter, end) => (id.0, Some(meter), encode_part(Some(&end)), true),
        };
        Some(Change::Work(WorkRow {
            kind: WorkKind::Command,
            number,
            meter,
            state,
            is_finished,
            changed_at: at,
        }))
    }

    fn note_command(&mut self, event: CommandEvent, at: UtcTime) {
        let order = OrderId(event.command.0);
        let (mut actor, mut outcome) = (self.config.name.clone(), AuditOutcome::Done);
        let after = match &event.what {
            Happened::Selected {
                by,
                reason,
                targets,
            } => {
                actor.clone_from(by);
                format!("selected for {targets} meters: {reason}")
            }
            Happened::SelectionLapsed => {
                self.close_order(order);
                "not confirmed in time".to_owned()
            }
            Happened::Confirmed { by } => {
                actor.clone_from(by);
                self.set_state(order, OrderState::Running);
                "confirmed".to_owned()
            }
            Happened::Cancelled { by } => {
                actor.clone_from(by);
                "cancelled".to_owned()
            }
            Happened::Sending => {
                if let Some(meter) = event.meter {
                    self.set_part(order, meter, Part::Running { step: 0, bytes: 0 });
                }
                "being sent".to_owned()
            }
            Happened::Doubtful { why } => {
                outcome = AuditOutcome::Unknown(why.clone());
                "sent".to_owned()
            }
            Happened::Again { why } => {
                outcome = AuditOutcome::Failed(why.clone());
                "not carried out, to be sent again".to_owned()
            }
            Happened::Settled(end) => {
                if let Some(meter) = event.meter {
                    self.set_part(order, meter, Part::Ended(end.clone()));
                }
                if let End::Failed(why) = end {
                    outcome = AuditOutcome::Failed(why.clone());
                }
                format!("ended: {end:?}")
            }
            Happened::Closed(progress) => {
                let head = self.finished_head(event.command, at);
                self.journal.extend(head);
                self.close_order(order);
                format!("closed: {progress:?}")
            }
        };
        let target = event
            .meter
            .map_or(Target::Work(event.command.0), Target::Meter);
        let record = AuditRecord {
            at: event.at,
            actor,
            action: Action::Command,
            target,
            before: format!("command {}", event.command.0),
            after,
            outcome,
        };
        self.journal.push(record.to_change());
    }

    /// Writes what the command book journaled, in its order, one batch at a time.
    pub(super) fn save_journal(&mut self) {
        if self.saving_journal || self.journal.is_empty() {
            return;
        }
        self.saving_journal = true;
        let count = self
            .journal
            .len()
            .min(gridloom_store::operations::CHANGES_PER_BATCH_MAX);
        let changes: Vec<Change> = self.journal.drain(..count).collect();
        let through = match self.journal.is_empty() {
            true => self.journal_through.take(),
            false => None,
        };
        self.save(Batch::new(changes), Saved::Journal(through));
    }

    // ---- Key changes.

    pub(super) fn carry_out_rotation(&mut self, number: u64, output: RotationOutput, now: Now) {
        let Some(meter) = self.rotations.get(&number).map(|rotation| rotation.meter()) else {
            return;
        };
        let deadline = now.utc + PATIENCE;
        match output {
            RotationOutput::Commit(batch) => {
                let batch = self.with_tidings(batch, number, now);
                self.save(batch, Saved::Rotation(number));
            }
            RotationOutput::Transfer {
                under,
                wrapped_by,
                keys,
            } => {
                let handover = Handover {
                    under,
                    wrapped_by,
                    keys,
                };
                let task = Task::Transfer(number, handover);
                self.submit_task(meter, Lane::Command, task, now.utc, deadline, now);
            }
            RotationOutput::Probe(under) => {
                let task = Task::Probe(number, under);
                self.submit_task(meter, Lane::Command, task, now.utc, deadline, now);
            }
            RotationOutput::NoKeyWorks { rounds } => {
                let words = format!(
                    "key: no key of ours opens an association or unwraps at the meter ({rounds} \
                     rounds); nothing is thrown away; look whether somebody else changed its keys"
                );
                self.alarm(Some(meter), words, now);
            }
            RotationOutput::Finished(outcome) => {
                self.rotations.remove(&number);
                let part = match outcome {
                    RotationOutcome::Changed => Part::Done,
                    RotationOutcome::GivenUp(why) => Part::Failed(why),
                };
                self.set_part(OrderId(number), meter, part);
                self.close_order(OrderId(number));
                self.rotation_over(meter, now);
            }
        }
    }

    fn transfer_step(&mut self, handover: &Handover) -> Result<Step, String> {
        let kek = self.keys.row(handover.wrapped_by).cloned();
        let kek = kek.ok_or("key: there is no kek; import it")?;
        let rows: Vec<_> = handover
            .keys
            .iter()
            .filter_map(|(_, key)| self.keys.row(*key).cloned())
            .collect();
        let entries =
            transport_keys(&mut self.vault, &kek, &rows).map_err(|error| error.to_string())?;
        let entries = entries.into_iter().map(|(key_id, wrapped)| {
            Data::Structure(vec![Data::Enum(key_id), Data::OctetString(wrapped)])
        });
        Ok(invoke(
            64,
            SECURITY_SETUP,
            2,
            Data::Array(entries.collect()),
        ))
    }

    fn transferred(&mut self, number: u64, outcome: TransferOutcome, now: Now) {
        if let Some(rotation) = self.rotations.get_mut(&number) {
            rotation.handle_transfer(outcome, now);
            self.drain_rotation(number);
        }
    }

    fn probed(&mut self, number: u64, outcome: ProbeOutcome, now: Now) {
        if let Some(rotation) = self.rotations.get_mut(&number) {
            rotation.handle_probe(outcome, now);
            self.drain_rotation(number);
        }
    }
}

pub(super) const fn get(class_id: u16, instance: ObisCode, attribute: i8) -> Step {
    Step::Get {
        attribute: AttributeDescriptor {
            class_id,
            instance,
            attribute,
        },
        access: None,
    }
}

pub(super) const fn invoke(
    class_id: u16,
    instance: ObisCode,
    method: i8,
    parameters: Data,
) -> Step {
    Step::Invoke {
        method: MethodDescriptor {
            class_id,
            instance,
            method,
        },
        parameters: Some(parameters),
    }
}

/// Why a session brought nothing.
pub(super) fn words_of(talked: &Talked) -> String {
    match (&talked.ended, talked.results.first()) {
        (Err(error), _) => error.to_string(),
        (Ok(()), Some(Err(error))) => error.to_string(),
        (Ok(()), _) => "the session gave no result".to_owned(),
    }
}

/// Whether the session failed before its association opened, and by which layer.
fn failed_before_opening(talked: &Talked) -> Option<Layer> {
    match (&talked.ended, talked.results.first()) {
        (Err(error), Some(Err(StepError::Skipped)) | None) => Some(error.layer()),
        _ => None,
    }
}

fn transfer_outcome(talked: &Talked) -> TransferOutcome {
    let words = words_of(talked);
    match failed_before_opening(talked) {
        Some(Layer::Key | Layer::Tag | Layer::Association) => {
            return TransferOutcome::WrongKey(words);
        }
        Some(Layer::Link | Layer::Frame | Layer::Counter | Layer::Object | Layer::Access) => {
            return TransferOutcome::NotSent(words);
        }
        None => {}
    }
    match talked.results.first() {
        Some(Ok(_)) => TransferOutcome::Accepted,
        Some(Err(StepError::Client(ClientError::Method(..)))) => TransferOutcome::Refused(words),
        Some(Err(_)) | None => TransferOutcome::Unknown(words),
    }
}

fn probe_outcome(talked: &Talked) -> ProbeOutcome {
    let words = words_of(talked);
    match failed_before_opening(talked) {
        None => ProbeOutcome::Opened,
        // A meter may keep silent on what it cannot open: then other keys are tried, which
        // throws none away.
        Some(Layer::Link)
            if !matches!(
                &talked.ended,
                Err(gridloom_headend::session::SessionError::Client(
                    ClientError::TimedOut { .. }
                ))
            ) =>
        {
            ProbeOutcome::Unreachable(words)
        }
        Some(_) => ProbeOutcome::WrongKey(words),
    }
}
