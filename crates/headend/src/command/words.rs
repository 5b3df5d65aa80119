//! The words of bulk commands: orders, journal entries, audit events.

use std::time::Duration;

use gridloom_core::{MeterId, UtcTime};
use gridloom_dlms::apdu::AttributeDescriptor;
use gridloom_dlms::axdr::Data;

use crate::session::{ControlState, SessionError, Step, StepError, StepValue, Supply};

/// A bulk command; the host never gives a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// What each meter is ordered to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Switch supply on.
    Connect,
    /// Switch supply off.
    Disconnect,
    /// Write an attribute, and read it back.
    Set {
        /// Which one.
        attribute: AttributeDescriptor,
        /// The new value.
        value: Data,
    },
    /// Set the clock if it is off.
    SyncClock {
        /// How far it may be off without being set.
        tolerance: Duration,
        /// How far it may be off to be set without an operator.
        max_step: Duration,
    },
    /// Read attributes; the values go where every reading goes.
    Read(Vec<AttributeDescriptor>),
}

/// What a session found out about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The meter's state is as ordered.
    Verified,
    /// It is not known whether the order was carried out.
    Doubtful(String),
    /// The order was not carried out, and may be sent again.
    NotDone(String),
    /// The meter refuses, or its state says otherwise.
    Refused(String),
}

impl Order {
    /// Whether it switches supply: a later one makes an earlier one void.
    pub(super) const fn is_supply(&self) -> bool {
        matches!(self, Self::Connect | Self::Disconnect)
    }

    /// The steps that carry it out and look at what came of it.
    pub(super) fn steps(&self) -> Vec<Step> {
        match self {
            Self::Connect => vec![Step::Connect],
            Self::Disconnect => vec![Step::Disconnect],
            Self::Set { attribute, value } => vec![
                Step::Set {
                    attribute: *attribute,
                    access: None,
                    value: value.clone(),
                },
                Step::Get {
                    attribute: *attribute,
                    access: None,
                },
            ],
            Self::SyncClock {
                tolerance,
                max_step,
            } => vec![Step::SyncClock {
                tolerance: *tolerance,
                max_step: *max_step,
            }],
            Self::Read(attributes) => vec![Step::GetList(attributes.clone())],
        }
    }

    /// The steps that only look whether it was carried out. Setting a clock looks first anyway.
    pub(super) fn looking_steps(&self) -> Vec<Step> {
        match self {
            Self::Connect | Self::Disconnect => vec![Step::ReadSupply],
            Self::Set { attribute, .. } => vec![Step::Get {
                attribute: *attribute,
                access: None,
            }],
            Self::SyncClock { .. } | Self::Read(_) => self.steps(),
        }
    }

    /// What the results of [`Self::steps`] come to.
    pub(super) fn judge(
        &self,
        results: &[Result<StepValue, StepError>],
        ended: &Result<(), SessionError>,
    ) -> Judgement {
        match results {
            [Err(error), ..] => judge_error(error, ended),
            [Ok(_), Err(error), ..] => Judgement::Doubtful(error.to_string()),
            [Ok(_), Ok(StepValue::Data(found))] => match self {
                Self::Set { value, .. } if value == found => Judgement::Verified,
                _ => Judgement::Refused("the attribute reads otherwise after writing".to_owned()),
            },
            [Ok(_)] => Judgement::Verified,
            _ => Judgement::Doubtful("the session gave another number of results".to_owned()),
        }
    }

    /// What the results of [`Self::looking_steps`] come to.
    pub(super) fn judge_look(
        &self,
        results: &[Result<StepValue, StepError>],
        ended: &Result<(), SessionError>,
    ) -> Judgement {
        let found = match (self, results) {
            (Self::SyncClock { .. } | Self::Read(_), _) => return self.judge(results, ended),
            (_, [Ok(found)]) => found,
            (_, [Err(error)]) => return Judgement::Doubtful(reason(error, ended)),
            (_, _) => return Judgement::Doubtful("the session gave no result".to_owned()),
        };
        let done = match (self, found) {
            (Self::Connect, StepValue::Supply(Supply { output, control })) => {
                *output || *control == ControlState::ReadyForReconnection
            }
            (Self::Disconnect, StepValue::Supply(Supply { output, .. })) => !output,
            (Self::Set { value, .. }, StepValue::Data(found)) => value == found,
            _ => false,
        };
        if done {
            Judgement::Verified
        } else {
            Judgement::NotDone("the meter's state is not as ordered".to_owned())
        }
    }
}

fn judge_error(error: &StepError, ended: &Result<(), SessionError>) -> Judgement {
    let why = reason(error, ended);
    let passes = match (error, ended) {
        (StepError::OutcomeUnknown(_), _) => return Judgement::Doubtful(why),
        // The session never came to the step: its own end says whether it may another time.
        (StepError::Skipped, Err(ended)) => ended.is_transient(),
        (error, _) => error.is_transient() && !error.may_have_acted(),
    };
    if passes {
        Judgement::NotDone(why)
    } else {
        Judgement::Refused(why)
    }
}

fn reason(error: &StepError, ended: &Result<(), SessionError>) -> String {
    match (error, ended) {
        (StepError::Skipped, Err(ended)) => ended.to_string(),
        (error, _) => error.to_string(),
    }
}

/// A bulk command, as an operator selects it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its number.
    pub id: CommandId,
    /// Who selected it.
    pub author: String,
    /// Why, in the author's words.
    pub reason: String,
    /// What to do.
    pub order: Order,
    /// Whom it is for, each meter once.
    pub targets: Vec<MeterId>,
    /// After this time it is not sent to any more meters.
    pub expires: UtcTime,
}

/// How a meter's part ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The meter's state is as ordered.
    Verified,
    /// It is not, or nobody knows; the text names why.
    Failed(String),
    /// It was not sent in time.
    Expired,
    /// Somebody took it back before it was sent.
    Cancelled,
    /// A later command switches the same supply.
    Superseded(CommandId),
}

/// What must be durable before it has effects, in this order. A restart reads it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A command was confirmed.
    Confirmed(Command),
    /// A command is about to be sent to a meter.
    Sending(CommandId, MeterId),
    /// A meter's part ended.
    Settled(CommandId, MeterId, End),
    /// Somebody took a command back.
    Cancelled(CommandId),
}

/// One line of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandEvent {
    /// When.
    pub at: UtcTime,
    /// Which command.
    pub command: CommandId,
    /// Which meter; `None` for the command as a whole.
    pub meter: Option<MeterId>,
    /// What happened.
    pub what: Happened,
}

/// What happened to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// Somebody selected it.
    Selected {
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// For how many meters.
        targets: usize,
    },
    /// Nobody confirmed it in time.
    SelectionLapsed,
    /// Somebody confirmed it.
    Confirmed {
        /// Who.
        by: String,
    },
    /// Somebody took it back.
    Cancelled {
        /// Who.
        by: String,
    },
    /// It is being sent to a meter.
    Sending,
    /// It is not known whether a meter carried it out.
    Doubtful {
        /// Why not.
        why: String,
    },
    /// A meter did not carry it out, and will be sent it again.
    Again {
        /// Why not.
        why: String,
    },
    /// A meter's part ended.
    Settled(End),
    /// Every meter's part ended.
    Closed(Progress),
}

/// How many meters stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Not sent yet.
    pub queued: usize,
    /// Being sent.
    pub sending: usize,
    /// Sent, and not known whether carried out.
    pub doubtful: usize,
    /// Carried out.
    pub verified: usize,
    /// Not carried out, or never known.
    pub failed: usize,
    /// Not sent in time.
    pub expired: usize,
    /// Taken back.
    pub cancelled: usize,
    /// Overtaken by a later command.
    pub superseded: usize,
}

impl Progress {
    /// Whether nothing more will happen.
    pub const fn is_closed(&self) -> bool {
        self.queued + self.sending + self.doubtful == 0
    }
}

/// What the book wants done or known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Make an entry durable, then call `handle_journaled` with its number. In order.
    Journal {
        /// Its number.
        seq: u64,
        /// The entry.
        entry: Entry,
    },
    /// Ask the schedule for a session in the command lane.
    Submit {
        /// For which command.
        command: CommandId,
        /// With whom.
        meter: MeterId,
        /// Not before this time.
        not_before: UtcTime,
        /// Not after this time.
        deadline: UtcTime,
    },
    /// Take the last submission for this meter back.
    Withdraw {
        /// For which command.
        command: CommandId,
        /// With whom.
        meter: MeterId,
    },
    /// Carry out these steps in the session that was granted.
    Run {
        /// For which command.
        command: CommandId,
        /// With whom.
        meter: MeterId,
        /// The steps.
        steps: Vec<Step>,
    },
    /// For the audit trail.
    Audit(CommandEvent),
}

/// Why the book refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The number was used.
    #[error("command {}: the number was used before; take a new one", .0.0)]
    Known(CommandId),
    /// There is no such selection or command.
    #[error("command {}: there is none in this state; select it again", .0.0)]
    Unknown(CommandId),
    /// No targets, a target twice, or too many.
    #[error("command {}: {targets} targets; name 1 to {max} meters, each once", .id.0)]
    Targets {
        /// The command.
        id: CommandId,
        /// How many there are.
        targets: usize,
        /// How many there may be.
        max: usize,
    },
    /// It would expire at once.
    #[error("command {}: it expires at {expires}, which is over; give it time", .id.0)]
    Expired {
        /// The command.
        id: CommandId,
        /// When.
        expires: UtcTime,
    },
    /// Too many commands are open.
    #[error("command {}: too many commands are open; wait or cancel one", .0.0)]
    Full(CommandId),
    /// A meter has too many commands waiting.
    #[error("command {}: meter {meter} has too many commands waiting; cancel one", .id.0)]
    MeterFull {
        /// The command.
        id: CommandId,
        /// The meter.
        meter: MeterId,
    },
}
