//! What operators ask for, and how it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridloom_core::{MeterId, UtcTime};
use gridloom_headend::campaign::CampaignPlan;
use gridloom_headend::command::{CommandError, End, Order as CommandOrder};
use gridloom_headend::rotation::RotationError;
use gridloom_headend::session::{Step, StepError, StepValue};
use gridloom_store::KeyKind;

/// An order of an operator; the number is that of its work in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u64);

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Read now. Runs at once, and is not kept over a restart.
    Read {
        /// Whom.
        targets: Vec<MeterId>,
        /// What; none of the steps may change the meter.
        steps: Vec<Step>,
        /// When nobody waits any more.
        deadline: UtcTime,
    },
    /// A bulk command: selected now, sent once it is confirmed.
    Command {
        /// Whom.
        targets: Vec<MeterId>,
        /// What.
        order: CommandOrder,
        /// Why.
        reason: String,
        /// After this time it is not sent to any more meters.
        expires: UtcTime,
    },
    /// Change the keys of one meter.
    ChangeKeys {
        /// Whose.
        meter: MeterId,
        /// Which ones.
        kinds: BTreeSet<KeyKind>,
    },
    /// Bring firmware to meters. The plan's number is replaced by the order's.
    Campaign {
        /// The plan.
        plan: CampaignPlan,
        /// The image.
        image: Arc<[u8]>,
    },
}

/// How an order stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderReport {
    /// Its number.
    pub id: OrderId,
    /// Who gave it.
    pub by: String,
    /// When.
    pub at: UtcTime,
    /// What is wanted.
    pub what: What,
    /// Where it stands.
    pub state: OrderState,
    /// Each meter's part.
    pub parts: BTreeMap<MeterId, Part>,
}

/// What an order wants, without its particulars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// To read.
    Read,
    /// To switch supply on.
    Connect,
    /// To switch supply off.
    Disconnect,
    /// To write an attribute.
    Set,
    /// To set the clock.
    SyncClock,
    /// To change keys.
    ChangeKeys,
    /// To bring firmware.
    Campaign,
}

impl What {
    pub(super) const fn of(order: &CommandOrder) -> Self {
        match order {
            CommandOrder::Connect => Self::Connect,
            CommandOrder::Disconnect => Self::Disconnect,
            CommandOrder::Set { .. } => Self::Set,
            CommandOrder::SyncClock { .. } => Self::SyncClock,
            CommandOrder::Read(_) => Self::Read,
        }
    }
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderState {
    /// It waits for its confirmation.
    Selected,
    /// It is being carried out.
    Running,
    /// Nothing more will happen.
    Over,
}

/// One meter's part of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Its turn has not come.
    Waiting,
    /// Its session runs.
    Running {
        /// The step, from 0.
        step: usize,
        /// Bytes of a long answer so far.
        bytes: usize,
    },
    /// What each step gave, and why the session broke off if it did.
    Read {
        /// By step.
        values: Vec<Result<StepValue, StepError>>,
        /// The session's own error.
        broken: Option<String>,
    },
    /// How its part of a command ended.
    Ended(End),
    /// Its keys were changed, or it runs the new firmware.
    Done,
    /// It is not done, and this is why.
    Failed(String),
}

impl Part {
    /// Whether nothing more will happen.
    pub const fn is_over(&self) -> bool {
        match self {
            Self::Waiting | Self::Running { .. } => false,
            Self::Read { .. } | Self::Ended(_) | Self::Done | Self::Failed(_) => true,
        }
    }
}

/// Why an order is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// No steps or too many.
    #[error("order: {0} steps; give 1 to {max}", max = gridloom_headend::session::Session::STEPS_MAX)]
    Steps(usize),
    /// A step that changes the meter.
    #[error("order: step {0} changes the meter; give it as a command, which is verified")]
    NotARead(usize),
    /// No targets or too many.
    #[error("order: {0} meters; give 1 to {max}", max = super::HeadEndNode::TARGETS_MAX)]
    Targets(usize),
    /// A meter that is unknown, suspended or retired.
    #[error("order: {0} is not in service; enrol it, or end its suspension")]
    NotInService(MeterId),
    /// Too many orders are open.
    #[error("order: too many orders are open; wait or cancel one")]
    Full,
    /// There is no such order, or it is over.
    #[error("order {}: there is none in this state", .0.0)]
    Unknown(OrderId),
    /// The command book refuses.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The keys cannot be changed.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// There is no key that wraps others on their way.
    #[error("key change of {0}: it has no kek, which wraps keys on their way; import it")]
    NoKek(MeterId),
    /// The campaign's plan.
    #[error(transparent)]
    Plan(#[from] gridloom_headend::campaign::PlanError),
    /// Nobody to roll back.
    #[error("campaign {}: no meter has activated its image; abort it instead", .0.0)]
    NothingActivated(OrderId),
    /// The image is not the plan's.
    #[error("campaign: the image has {got} bytes, the plan says {wanted}; give the right file")]
    Image {
        /// Its length.
        got: usize,
        /// What the plan says.
        wanted: u32,
    },
}
