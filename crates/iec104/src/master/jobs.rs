//! What a controlling station may ask for, and how it learns what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{Instant, UtcTime};

use crate::asdu::{Asdu, AsduError, Element, Object, Packing, ParameterValue};
use crate::cause::{Cause, ObjectAddress, Qoi, Transmission};
use crate::command::{Command, Freeze, Qcc, Qpa, Qpm, Reset, Stage};
use crate::time::Cp56Time2a;
use crate::type_id::TypeId;

use super::config::{MasterConfig, MasterError};

/// Requests without outcome; [`Master::request`](super::Master::request) refuses more.
pub const JOBS_MAX: usize = 64;

/// A request of ours, until its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(u64);

/// Whether a command carries the time at which it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandTime {
    /// Types 58–64: the station refuses it when it comes late.
    Tagged,
    /// Types 45–51.
    Untagged,
}

/// A command to one object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Order {
    /// The control.
    pub address: ObjectAddress,
    /// What to do.
    pub command: Command,
    /// QU (0–31) or QL (0–127); 0 leaves it to the station.
    pub qualifier: u8,
    /// Whether it carries its time.
    pub time: CommandTime,
}

/// Something to ask of the station.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Task {
    /// Interrogate the station or a group.
    Interrogate(Qoi),
    /// Break an interrogation off.
    StopInterrogation(Qoi),
    /// Read, freeze or reset counters.
    Counters(Qcc),
    /// Set the station's clock.
    Clock,
    /// Read one point.
    Read(ObjectAddress),
    /// Send a test command with this counter.
    Test(u16),
    /// Reset the process, or forget waiting events.
    Reset(Reset),
    /// Select an object; nothing moves.
    Select(Order),
    /// Carry a command out, after its selection or directly.
    Execute(Order),
    /// Take a selection back.
    Cancel(Order),
    /// Load a parameter.
    Parameter(ObjectAddress, ParameterValue, Qpm),
    /// Switch a parameter or a periodic transmission on (`true`) or off.
    ParameterActivation(ObjectAddress, Qpa, bool),
}

/// What came of a request. Exactly one for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Confirmed, and nothing more was to come.
    Confirmed,
    /// Confirmed, carried out, and terminated.
    Terminated,
    /// Read: the value is the update before.
    Answered,
    /// Confirmed, but not terminated in time: whether it was carried out is not known from this.
    NotTerminated,
    /// Terminated with P/N = 1: begun, and not carried out.
    Failed,
    /// Confirmed negatively.
    Refused,
    /// The station does not know the type (COT 44).
    UnknownType,
    /// The station does not know the cause for this type (COT 45).
    UnknownCause,
    /// The station does not know its address (COT 46).
    UnknownCommonAddress,
    /// The station does not know the object (COT 47).
    UnknownObjectAddress,
    /// Sent, and no confirmation came in time. A command may have been carried out.
    NoConfirmation,
    /// Never sent: the window stayed closed. It will not be.
    NotSent,
    /// The connection was lost or stopped before the outcome. A command may have been carried out.
    LinkLost,
}

/// Which answers belong to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    type_id: TypeId,
    address: ObjectAddress,
    cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Queued { until: Instant },
    Sent { until: Instant },
    Confirmed { until: Instant },
}

impl Step {
    fn until(self) -> Instant {
        match self {
            Self::Queued { until } | Self::Sent { until } | Self::Confirmed { until } => until,
        }
    }
}

#[derive(Debug, Clone)]
struct Job {
    key: Key,
    object: Object,
    /// The cause of the values that an interrogation brings.
    brings: Option<Cause>,
    is_terminated: bool,
    step: Step,
}

/// News of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    Confirmed(RequestId),
    Finished(RequestId, Outcome),
    /// An answer to nothing.
    Unmatched,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Jobs {
    jobs: BTreeMap<RequestId, Job>,
    last_id: u64,
}

impl Jobs {
    /// Takes a request in; it waits for [`next_asdu`](Self::next_asdu).
    pub(super) fn add(
        &mut self,
        task: Task,
        config: &MasterConfig,
        now: Instant,
        utc: UtcTime,
    ) -> Result<RequestId, MasterError> {
        let (cause, object, brings, is_terminated) = describe(task, utc);
        // Whether it can be said is found out before it counts.
        let type_id = encode(config, cause, object)?.type_id();
        let key = Key {
            type_id,
            address: object.address,
            cause,
        };
        if self
            .jobs
            .values()
            .any(|job| job.key == key && job.brings == brings)
        {
            return Err(MasterError::Busy);
        }
        if self.jobs.len() >= JOBS_MAX {
            return Err(MasterError::TooMany);
        }
        self.last_id += 1;
        let id = RequestId(self.last_id);
        let job = Job {
            key,
            object,
            brings,
            is_terminated,
            step: Step::Queued {
                until: now + config.confirm_timeout,
            },
        };
        self.jobs.insert(id, job);
        Ok(id)
    }

    /// The oldest request that has not been sent; it counts as sent now. One whose time is up
    /// stays behind, even if nobody has noticed yet.
    pub(super) fn next_asdu(
        &mut self,
        config: &MasterConfig,
        now: Instant,
        utc: UtcTime,
    ) -> Option<Vec<u8>> {
        let job = self
            .jobs
            .values_mut()
            .find(|job| matches!(job.step, Step::Queued { until } if now < until))?;
        job.step = Step::Sent {
            until: job.step.until(),
        };
        let mut object = job.object;
        if object.element == Element::Clock {
            // The time is that of leaving; a command keeps the time at which it was given.
            object.time = Some(Cp56Time2a::from_utc(utc));
        }
        let asdu = encode(config, job.key.cause, object).expect("add() has encoded it once");
        Some(asdu.encode())
    }

    /// An ASDU of the control direction came back.
    pub(super) fn handle_answer(&mut self, asdu: &Asdu, timeout: Duration, now: Instant) -> News {
        let Transmission {
            cause, negative, ..
        } = asdu.transmission();
        // The causes 44-47 do not say which of both they answer.
        let asked = [
            (Cause::ActivationCon, Cause::Activation),
            (Cause::ActivationTermination, Cause::Activation),
            (Cause::DeactivationCon, Cause::Deactivation),
        ];
        let asked = asked.into_iter().find(|(answer, _)| *answer == cause);
        let asked = asked.map(|(_, asked)| asked);
        let object = asdu.objects()[0];
        let brings = brings(object.element);
        // The confirmation of a selection that was given up is not that of a command sent since.
        // A termination may carry another S/E, and a clock's confirmation another time.
        let is_command = matches!(object.element, Element::Command { .. });
        let is_mirrored = |job: &Job| {
            !is_command
                || cause != Cause::ActivationCon
                || is_same_command(object.element, job.object.element)
        };
        let found = self.jobs.iter_mut().find(|(_, job)| {
            !matches!(job.step, Step::Queued { .. })
                && (job.key.type_id, job.key.address) == (asdu.type_id(), object.address)
                && asked.is_none_or(|cause| cause == job.key.cause)
                && job.brings == brings
                && is_mirrored(job)
        });
        let Some((&id, job)) = found else {
            return News::Unmatched;
        };
        let outcome = match (cause, negative) {
            (Cause::ActivationCon | Cause::DeactivationCon, true) => Outcome::Refused,
            (Cause::ActivationCon, false) if job.is_terminated => {
                job.step = Step::Confirmed {
                    until: now + timeout,
                };
                return News::Confirmed(id);
            }
            (Cause::ActivationCon | Cause::DeactivationCon, false) => Outcome::Confirmed,
            (Cause::ActivationTermination, false) => Outcome::Terminated,
            (Cause::ActivationTermination, true) => Outcome::Failed,
            (Cause::UnknownType, _) => Outcome::UnknownType,
            (Cause::UnknownCause, _) => Outcome::UnknownCause,
            (Cause::UnknownCommonAddress, _) => Outcome::UnknownCommonAddress,
            (Cause::UnknownObjectAddress, _) => Outcome::UnknownObjectAddress,
            _ => return News::Unmatched,
        };
        self.jobs.remove(&id);
        News::Finished(id, outcome)
    }

    /// A value came: an interrogation goes on, or a read command is answered.
    pub(super) fn handle_value(
        &mut self,
        cause: Cause,
        address: ObjectAddress,
        timeout: Duration,
        now: Instant,
    ) -> Option<News> {
        if cause == Cause::Request {
            let found = self.jobs.iter().find(|(_, job)| {
                job.object.element == Element::Read
                    && job.object.address == address
                    && matches!(job.step, Step::Sent { .. })
            });
            let (&id, _) = found?;
            self.jobs.remove(&id);
            return Some(News::Finished(id, Outcome::Answered));
        }
        for job in self.jobs.values_mut() {
            if job.brings == Some(cause) && matches!(job.step, Step::Confirmed { .. }) {
                job.step = Step::Confirmed {
                    until: now + timeout,
                };
            }
        }
        None
    }

    /// Requests whose time is up.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(RequestId, Outcome)> {
        let due: Vec<(RequestId, Outcome)> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.step.until() <= now)
            .map(|(&id, job)| {
                let outcome = match job.step {
                    Step::Queued { .. } => Outcome::NotSent,
                    Step::Sent { .. } => Outcome::NoConfirmation,
                    Step::Confirmed { .. } => Outcome::NotTerminated,
                };
                (id, outcome)
            })
            .collect();
        for (id, _) in &due {
            self.jobs.remove(id);
        }
        due
    }

    /// The connection is gone: every request ends.
    pub(super) fn fail_all(&mut self) -> Vec<(RequestId, Outcome)> {
        let jobs = core::mem::take(&mut self.jobs);
        jobs.into_iter()
            .map(|(id, job)| match job.step {
                Step::Queued { .. } => (id, Outcome::NotSent),
                Step::Sent { .. } | Step::Confirmed { .. } => (id, Outcome::LinkLost),
            })
            .collect()
    }

    pub(super) fn wake(&self) -> Option<(Instant, &'static str)> {
        let deadlines = self.jobs.values().map(|job| match job.step {
            Step::Queued { until } | Step::Sent { until } => (until, "confirm"),
            Step::Confirmed { until } => (until, "terminate"),
        });
        deadlines.min_by_key(|(at, _)| *at)
    }
}

fn encode(config: &MasterConfig, cause: Cause, object: Object) -> Result<Asdu, AsduError> {
    let transmission = Transmission {
        originator: config.originator,
        ..Transmission::new(cause)
    };
    Asdu::new(
        transmission,
        config.common_address,
        Packing::Single,
        vec![object],
    )
}

fn is_same_command(a: Element, b: Element) -> bool {
    match (a, b) {
        (
            Element::Command {
                command: a,
                qualifier: qualifier_a,
                stage: stage_a,
            },
            Element::Command {
                command: b,
                qualifier: qualifier_b,
                stage: stage_b,
            },
        ) => a.same(b) && (qualifier_a, stage_a) == (qualifier_b, stage_b),
        _ => false,
    }
}

/// The values that a request brings, by their cause.
fn brings(element: Element) -> Option<Cause> {
    match element {
        Element::Interrogation(qoi) => Some(Cause::Interrogated(qoi)),
        Element::CounterInterrogation(qcc) => Some(Cause::CountersRequested(qcc.counters)),
        Element::Point { .. }
        | Element::Command { .. }
        | Element::EndOfInitialization(_)
        | Element::Read
        | Element::Clock
        | Element::Reset(_)
        | Element::Test(_)
        | Element::Parameter { .. }
        | Element::ParameterActivation(_) => None,
    }
}

/// Cause, object, values and whether an ACTTERM ends it.
fn describe(task: Task, utc: UtcTime) -> (Cause, Object, Option<Cause>, bool) {
    let tag = Cp56Time2a::from_utc(utc);
    let order = |order: Order, stage| Object {
        address: order.address,
        element: Element::Command {
            command: order.command,
            qualifier: order.qualifier,
            stage,
        },
        time: match order.time {
            CommandTime::Tagged => Some(tag),
            CommandTime::Untagged => None,
        },
    };
    let timed = |element| Object {
        time: Some(tag),
        ..Object::system(element)
    };
    let at = |address, element| Object {
        address,
        ..Object::system(element)
    };
    let (cause, object, is_terminated) = match task {
        Task::Interrogate(qoi) => (
            Cause::Activation,
            Object::system(Element::Interrogation(qoi)),
            true,
        ),
        Task::StopInterrogation(qoi) => (
            Cause::Deactivation,
            Object::system(Element::Interrogation(qoi)),
            false,
        ),
        Task::Counters(qcc) => (
            Cause::Activation,
            Object::system(Element::CounterInterrogation(qcc)),
            qcc.freeze == Freeze::Read,
        ),
        Task::Clock => (Cause::Activation, timed(Element::Clock), false),
        Task::Read(address) => (Cause::Request, at(address, Element::Read), false),
        Task::Test(counter) => (Cause::Activation, timed(Element::Test(counter)), false),
        Task::Reset(reset) => (
            Cause::Activation,
            Object::system(Element::Reset(reset)),
            false,
        ),
        Task::Select(given) => (Cause::Activation, order(given, Stage::Select), false),
        Task::Execute(given) => (Cause::Activation, order(given, Stage::Execute), true),
        Task::Cancel(given) => (Cause::Deactivation, order(given, Stage::Select), false),
        Task::Parameter(address, value, qualifier) => (
            Cause::Activation,
            at(address, Element::Parameter { value, qualifier }),
            false,
        ),
        Task::ParameterActivation(address, qualifier, active) => (
            if active {
                Cause::Activation
            } else {
                Cause::Deactivation
            },
            at(address, Element::ParameterActivation(qualifier)),
            false,
        ),
    };
    (cause, object, brings(object.element), is_terminated)
}
