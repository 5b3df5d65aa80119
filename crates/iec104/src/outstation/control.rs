//! Commands: selections, requests that wait for the user, and their time limits.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::Instant;

use crate::cause::ObjectAddress;
use crate::command::{Command, CommandKind};

use super::config::OutstationError;
use super::points::POINTS_MAX;
use super::{REQUESTS_MAX, Token};

/// How a control is operated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlMode {
    /// By one command; a selection is refused.
    Direct,
    /// By a selection and a command; one without the other is refused.
    SelectBeforeOperate,
    /// Either way.
    Either,
}

/// A command or set point as it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// Its type, with or without time.
    pub kind: CommandKind,
    /// How it is operated.
    pub mode: ControlMode,
}

/// How a selection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectionEnd {
    /// It was carried out.
    Executed,
    /// The controlling station took it back.
    Cancelled,
    /// Nothing came within the selection's time.
    TimedOut,
    /// Its connection ended or stopped, or the station was restarted.
    LinkLost,
}

/// What is selected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Selection {
    pub(super) address: ObjectAddress,
    pub(super) command: Command,
    pub(super) qualifier: u8,
    pub(super) until: Instant,
}

impl Selection {
    /// Whether a command is the one that was selected.
    pub(super) fn is_for(&self, address: ObjectAddress, command: Command, qualifier: u8) -> bool {
        self.address == address && self.command.same(command) && self.qualifier == qualifier
    }
}

/// What happens when a request is confirmed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum OnConfirm {
    /// The object becomes selected.
    Select(Selection),
    /// The command runs until it is terminated.
    Run(ObjectAddress),
    /// Nothing more follows.
    Done,
}

#[derive(Debug, Clone)]
pub(super) struct Pending {
    /// The ASDU as it came, to be mirrored.
    pub(super) asdu: Vec<u8>,
    pub(super) on_confirm: OnConfirm,
    pub(super) state: PendingState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PendingState {
    Asked { until: Instant },
    Running { until: Instant },
}

impl PendingState {
    pub(super) fn until(self) -> Instant {
        match self {
            Self::Asked { until } | Self::Running { until } => until,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Controls {
    table: BTreeMap<ObjectAddress, Control>,
    pub(super) selection: Option<Selection>,
    pub(super) pending: BTreeMap<Token, Pending>,
    last_token: u64,
}

impl Controls {
    pub(super) fn add(
        &mut self,
        address: ObjectAddress,
        control: Control,
    ) -> Result<(), OutstationError> {
        if address == ObjectAddress::NONE || self.table.contains_key(&address) {
            return Err(OutstationError::Address(address));
        }
        if control.kind == CommandKind::Bits && control.mode == ControlMode::SelectBeforeOperate {
            return Err(OutstationError::NotSelectable(control.kind));
        }
        if self.table.len() >= POINTS_MAX {
            return Err(OutstationError::TooManyPoints);
        }
        self.table.insert(address, control);
        Ok(())
    }

    pub(super) fn control(&self, address: ObjectAddress) -> Option<Control> {
        self.table.get(&address).copied()
    }

    /// Keeps a request for the user to answer; `None` if too many wait.
    pub(super) fn ask(
        &mut self,
        asdu: &[u8],
        on_confirm: OnConfirm,
        now: Instant,
        timeout: Duration,
    ) -> Option<Token> {
        if self.pending.len() >= REQUESTS_MAX {
            return None;
        }
        self.last_token += 1;
        let token = Token(self.last_token);
        let pending = Pending {
            asdu: asdu.to_vec(),
            on_confirm,
            state: PendingState::Asked {
                until: now + timeout,
            },
        };
        self.pending.insert(token, pending);
        Some(token)
    }

    /// Whether a command for this object waits or runs.
    pub(super) fn is_busy(&self, address: ObjectAddress) -> bool {
        self.pending
            .values()
            .any(|pending| match pending.on_confirm {
                OnConfirm::Select(selection) => selection.address == address,
                OnConfirm::Run(running) => running == address,
                OnConfirm::Done => false,
            })
    }

    /// Whether somebody is about to select, so that nobody else may.
    pub(super) fn is_selecting(&self) -> bool {
        self.pending
            .values()
            .any(|pending| matches!(pending.on_confirm, OnConfirm::Select(_)))
    }

    /// Requests of a connection that is gone; their answers will be stale.
    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }

    pub(super) fn wake(&self) -> impl Iterator<Item = (Instant, &'static str)> {
        let selection = self.selection.map(|selection| (selection.until, "select"));
        let pending = self.pending.values().map(|pending| match pending.state {
            PendingState::Asked { until } => (until, "answer"),
            PendingState::Running { until } => (until, "operate"),
        });
        selection.into_iter().chain(pending)
    }
}
