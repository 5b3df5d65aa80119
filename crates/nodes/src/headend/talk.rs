//! Sessions: begun when the schedule says so, fed from their ways, ended into whatever wanted them.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridloom_core::{Instant, Now, UtcTime};
use gridloom_dlms::client::{ClientError, Layer};
use gridloom_headend::audit::{Action, AuditOutcome, Target};
use gridloom_headend::healing::{CounterFinding, CounterState};
use gridloom_headend::rotation::KeySelection;
use gridloom_headend::schedule::{JobId, Outcome, Start, Work};
use gridloom_headend::session::{
    Output as SessionOutput, Session, SessionConfig, SessionError, SessionReport, Step, StepError,
    StepValue,
};
use gridloom_headend::{AuditRecord, Loan};
use gridloom_store::{Batch, KeyId};

use super::disk::Saved;
use super::keys::client_of;
use super::orders::Part;
use super::status::LastError;
use super::ways::{Wanted, WayEvent};
use super::{HeadEndNode, Task, Todo};

/// What a session is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Errand {
    /// A periodic read of the profile.
    Read {
        /// Up to here it was read before.
        since: Option<UtcTime>,
        from: UtcTime,
        /// `None` if no due time asked for it.
        due: Option<UtcTime>,
    },
    /// A single job.
    Once(Task),
}

/// A session under way.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) start: Start,
    pub(super) errand: Errand,
    session: Session,
    key: Option<KeyId>,
    results: Vec<Result<StepValue, StepError>>,
    wake: Option<Instant>,
}

/// How a session went.
#[derive(Debug)]
pub(super) struct Talked {
    pub(super) results: Vec<Result<StepValue, StepError>>,
    pub(super) ended: Result<(), SessionError>,
    pub(super) outcome: Outcome,
    /// The meter's last counter.
    pub(super) counter: u32,
}

impl HeadEndNode {
    /// The schedule grants a session.
    pub(super) fn start(&mut self, start: Start, now: Now) {
        match start.work {
            Work::Recurring { due, .. } => self.start_read(start, Some(due), now),
            Work::Once(id) => match self.tasks.get(&id).cloned() {
                Some(task) => self.start_task(start, task, now),
                None => self.finish_job(start.job, Outcome::Done, now),
            },
        }
    }

    /// Opens a session, or ends it at once where a key is missing.
    pub(super) fn talk(
        &mut self,
        start: Start,
        errand: Errand,
        steps: Vec<Step>,
        selection: Option<KeySelection>,
        now: Now,
    ) {
        let row = self.registry.meter(start.meter).cloned();
        let template = row
            .as_ref()
            .and_then(|row| self.templates.get(&row.template).map(Arc::clone));
        let (Some(row), Some(template)) = (row, template) else {
            return self.not_begun(start, errand, steps.len(), "a meter with a template", now);
        };
        let client = client_of(
            &row,
            &template,
            self.config.title,
            &self.keys,
            selection,
            &mut self.vault,
            &mut self.entropy,
        );
        let (client, key) = match client {
            Ok(client) => client,
            Err(what) => return self.not_begun(start, errand, steps.len(), what, now),
        };
        let mut counters = CounterState::default();
        if let Some(key) = key {
            let Some(loan) = self.counters.lend(key) else {
                let what = "counters that no other session uses";
                return self.not_begun(start, errand, steps.len(), what, now);
            };
            self.borrowers.insert(key, start.job);
            counters = CounterState {
                transmit: loan.transmit,
                receive: loan.receive,
                proven: self.proven.get(&key).copied(),
            };
        }
        let config = SessionConfig {
            client,
            template,
            counters,
            shapes: self.shapes.get(&start.meter).cloned().unwrap_or_default(),
            link_timeout: self.config.link_timeout,
            session_timeout: self.config.session_timeout,
        };
        let session = Session::new(config, steps, now);
        self.sessions.insert(
            start.job,
            Running {
                start,
                errand,
                session,
                key,
                results: Vec::new(),
                wake: None,
            },
        );
        self.with_session(start.job, |_| {});
    }

    fn not_begun(
        &mut self,
        start: Start,
        errand: Errand,
        steps: usize,
        what: &'static str,
        now: Now,
    ) {
        let talked = Talked {
            results: vec![Err(StepError::Skipped); steps],
            ended: Err(SessionError::Client(ClientError::NoKey { what })),
            outcome: Outcome::Failed,
            counter: 0,
        };
        self.talked(start, errand, talked, now);
    }

    /// Gives a session an input, and takes what it wants done.
    pub(super) fn with_session(&mut self, job: JobId, input: impl FnOnce(&mut Session)) {
        let Some(running) = self.sessions.get_mut(&job) else {
            return;
        };
        input(&mut running.session);
        while let Some(output) = running.session.poll_output() {
            self.todo.push_back(Todo::Session(job, output));
        }
        if let Some(at) = running.wake.take() {
            self.wakes.remove(&(at, job));
        }
        if let Some((at, _)) = running.session.wake() {
            running.wake = Some(at);
            self.wakes.insert((at, job));
        }
    }

    pub(super) fn wake_sessions(&mut self, now: Now) {
        while let Some(&(at, job)) = self.wakes.first()
            && at <= now.instant
        {
            self.wakes.remove(&(at, job));
            if let Some(running) = self.sessions.get_mut(&job) {
                running.wake = None;
            }
            self.with_session(job, |session| session.handle_timeout(now));
            self.pump(now);
        }
    }

    pub(super) fn carry_out_session(&mut self, job: JobId, output: SessionOutput, now: Now) {
        let Some(running) = self.sessions.get_mut(&job) else {
            return;
        };
        let meter = running.start.meter;
        match output {
            SessionOutput::Connect { client, server } => {
                let Some(row) = self.registry.meter(meter) else {
                    return self.with_session(job, |session| session.handle_link_down(now));
                };
                let connections = self.templates.get(&row.template).map(|t| t.connections);
                let wanted = Wanted {
                    meter,
                    link: row.link.clone(),
                    client,
                    server,
                    sessions_max: usize::from(connections.unwrap_or(1)),
                };
                self.ways.open(job, wanted, now.instant);
            }
            SessionOutput::Send { apdu } => self.ways.send(job, meter, apdu, now.instant),
            SessionOutput::Reserve { upper } => {
                if let Some(key) = running.key {
                    self.counters.reserve(key, upper);
                }
            }
            SessionOutput::Close => self.ways.close(job, now.instant),
            SessionOutput::Progress { index, bytes } => {
                if let Errand::Once(Task::Reading(order, _)) = running.errand {
                    let part = Part::Running { step: index, bytes };
                    self.set_part(order, meter, part);
                }
            }
            SessionOutput::StepDone { result, .. } => running.results.push(result),
            SessionOutput::Counter(finding) => self.note_finding(job, finding, now),
            // A push has a listener of its own, or comes over the edge; unconfirmed, it comes
            // again there.
            SessionOutput::Notified(_) => {}
            SessionOutput::Finished(report) => self.finish_session(job, report, now),
        }
    }

    pub(super) fn carry_out_way(&mut self, job: JobId, event: WayEvent, now: Now) {
        match event {
            WayEvent::Up => {
                let challenge: [u8; 32] = self.entropy.bytes();
                self.with_session(job, |session| session.handle_link_up(&challenge, now));
            }
            WayEvent::Down => self.with_session(job, |session| session.handle_link_down(now)),
            WayEvent::Apdu(apdu) => {
                self.with_session(job, |session| session.handle_apdu(&apdu, now));
            }
        }
    }

    fn note_finding(&mut self, job: JobId, finding: CounterFinding, now: Now) {
        let meter = self.sessions[&job].start.meter;
        let words = finding.to_string();
        let record = AuditRecord {
            at: now.utc,
            actor: self.config.name.clone(),
            action: Action::CounterHealing,
            target: Target::Meter(meter),
            before: String::new(),
            after: words.clone(),
            outcome: if finding.is_alarm() {
                AuditOutcome::Refused("an operator decides".into())
            } else {
                AuditOutcome::Done
            },
        };
        self.save(Batch::new(vec![record.to_change()]), Saved::Nothing);
        if finding.is_alarm() {
            self.alarm(Some(meter), words, now);
        }
    }

    fn finish_session(&mut self, job: JobId, report: SessionReport, now: Now) {
        let running = self.sessions.remove(&job).expect("a session ends once");
        if let Some(at) = running.wake {
            self.wakes.remove(&(at, job));
        }
        self.ways.close(job, now.instant);
        let meter = running.start.meter;
        if let Some(key) = running.key {
            self.borrowers.remove(&key);
            if let Some(proven) = report.counters.proven {
                self.proven.insert(key, proven);
            }
            let loan = Loan {
                transmit: report.counters.transmit.clone(),
                receive: report.counters.receive,
            };
            self.counters.give_back(key, loan);
            self.send_confirms(key);
        }
        let shapes: BTreeMap<_, _> = report.shapes.iter().cloned().collect();
        if !shapes.is_empty() {
            self.shapes.insert(meter, shapes);
        }
        let talked = Talked {
            outcome: report.outcome(),
            counter: report.counters.receive.last().unwrap_or(0),
            results: running.results,
            ended: report.result,
        };
        self.talked(running.start, running.errand, talked, now);
    }

    /// A session is over, or could not begin.
    fn talked(&mut self, start: Start, errand: Errand, talked: Talked, now: Now) {
        self.sessions_ended += 1;
        let meter = start.meter;
        if let Err(error) = &talked.ended {
            self.sessions_failed += 1;
            self.note_error(meter, error.layer(), error.to_string(), now);
        } else if talked.results.iter().all(Result::is_ok) {
            self.errors.remove(&meter);
        } else if let Some(Err(error)) = talked.results.iter().find(|result| result.is_err()) {
            let layer = if let StepError::Client(error) | StepError::OutcomeUnknown(error) = error {
                error.layer()
            } else {
                Layer::Object
            };
            self.note_error(meter, layer, error.to_string(), now);
        }
        if talked.ended.is_ok() {
            self.commission(meter, now);
        }
        let outcome = match errand {
            Errand::Read { since, from, due } => {
                let outcome = self.read_over(&start, (since, from), &talked, now, due);
                if outcome != Outcome::TryAgain {
                    self.profile_read_over(&start);
                }
                outcome
            }
            Errand::Once(task) => self.task_over(&start, task, talked, now),
        };
        self.finish_job(start.job, outcome, now);
    }

    pub(super) fn note_error(
        &mut self,
        meter: gridloom_core::MeterId,
        layer: Layer,
        words: String,
        now: Now,
    ) {
        let at = now.utc;
        self.errors.insert(meter, LastError { at, layer, words });
    }

    pub(super) fn finish_job(&mut self, job: JobId, outcome: Outcome, now: Now) {
        self.schedule.handle_finished(job, outcome, now.utc);
        self.drain_schedule();
    }
}
