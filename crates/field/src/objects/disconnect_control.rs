//! Disconnect control (class 70, version 0): the load switch, and who may open and close it.
//!
//! The control mode says which transitions exist (Blue Book, table of class 70):
//!
//! | Mode | remote disconnect b, c | remote reconnect | manual reconnect e | manual disconnect f | local disconnect g | local reconnect h |
//! |---|---|---|---|---|---|---|
//! | 0 | – | – | – | – | – | – |
//! | 1 | yes | d: to ready | yes | yes | yes | – |
//! | 2 | yes | a: to connected | yes | yes | yes | – |
//! | 3 | yes | d: to ready | yes | – | yes | – |
//! | 4 | yes | a: to connected | yes | – | yes | – |
//! | 5 | yes | d: to ready | yes | yes | yes | yes |
//! | 6 | yes | d: to ready | yes | – | yes | yes |

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::UtcTime;
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::Data;

use super::InterfaceObject;
use super::retained::{Keeper, Kept, RetainedError};
use super::shape;

const VERSION: u8 = 1;
const OBJECT: &str = "disconnect-control";
const MODE_MAX: u8 = 6;

/// Control state (attribute 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ControlState {
    /// The output is open and stays so.
    Disconnected = 0,
    /// The output is closed.
    Connected = 1,
    /// The output is open; whoever the mode allows may close it.
    ReadyForReconnection = 2,
}

impl ControlState {
    const fn position(self) -> SwitchPosition {
        match self {
            Self::Connected => SwitchPosition::Closed,
            Self::Disconnected | Self::ReadyForReconnection => SwitchPosition::Open,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Disconnected),
            1 => Some(Self::Connected),
            2 => Some(Self::ReadyForReconnection),
            _ => None,
        }
    }
}

/// Where the contacts of the load switch stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SwitchPosition {
    /// The load has no supply.
    Open,
    /// The load has supply.
    Closed,
}

/// Who moves the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A client's method.
    Remote,
    /// The button on the meter.
    Manual,
    /// A function of the meter: limiter, tariff, prepayment, tamper.
    Local,
    /// A client set control mode 0, in which the output is always closed.
    Mode,
}

/// Why a transition did not take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SwitchRefusal {
    /// The control mode does not have the transition from this state.
    #[error("disconnect control: mode {mode} has no such transition from {state:?}; set the mode")]
    NotInMode {
        /// The mode.
        mode: u8,
        /// The state.
        state: ControlState,
    },
    /// Somebody feeds the open output: closing would short two supplies.
    #[error("disconnect control: {millivolts} mV stand on the open output; isolate the load")]
    ReverseVoltage {
        /// What stands there, in millivolts.
        millivolts: u32,
    },
}

/// What the meter must know or do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectEvent {
    /// Move the contacts, then report with [`DisconnectControl::handle_position`].
    Switch(SwitchPosition),
    /// The control state has changed: log it.
    Changed {
        /// From.
        from: ControlState,
        /// To.
        to: ControlState,
        /// By whom.
        cause: Cause,
    },
    /// Closing was refused because of voltage on the load side: log it.
    ReverseVoltage {
        /// Who wanted it.
        cause: Cause,
        /// What stands there, in millivolts.
        millivolts: u32,
    },
    /// The contacts did not get there in time, or moved by themselves: log and alarm.
    Failed {
        /// Where they should be.
        wanted: SwitchPosition,
    },
}

/// The load switch of a kind of meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DisconnectConfig {
    /// The control mode from the factory, 0–6.
    pub mode: u8,
    /// Above this, voltage on the open output forbids closing, in millivolts.
    pub reverse_voltage_max_mv: u32,
    /// The contacts report within this time.
    pub switch_time: Duration,
}

/// One load switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisconnectControl {
    config: DisconnectConfig,
    mode: u8,
    state: ControlState,
    /// What the contacts last reported.
    position: SwitchPosition,
    /// When the contacts must have followed the state.
    follow_by: Option<UtcTime>,
    reverse_voltage_mv: u32,
    /// At most two per input.
    events: VecDeque<DisconnectEvent>,
}

impl DisconnectControl {
    /// A connected load.
    ///
    /// # Panics
    ///
    /// If the configured mode is above 6.
    pub fn new(config: DisconnectConfig) -> Self {
        assert!(config.mode <= MODE_MAX, "a control mode is 0 to 6");
        Self {
            config,
            mode: config.mode,
            state: ControlState::Connected,
            position: SwitchPosition::Closed,
            follow_by: None,
            reverse_voltage_mv: 0,
            events: VecDeque::new(),
        }
    }

    /// A client disconnects (transitions b and c). Without effect where it is disconnected.
    ///
    /// # Errors
    ///
    /// [`SwitchRefusal::NotInMode`] in mode 0.
    pub fn remote_disconnect(&mut self, at: UtcTime) -> Result<(), SwitchRefusal> {
        if self.mode == 0 {
            return Err(self.not_in_mode());
        }
        self.enter(ControlState::Disconnected, Cause::Remote, at)
    }

    /// A client reconnects (transitions a and d). Without effect in a state that it leads to or
    /// through already: the button is still to be pressed where the mode asks for it.
    ///
    /// # Errors
    ///
    /// [`SwitchRefusal::NotInMode`] in mode 0 and, in modes 2 and 4, where the button must be
    /// pressed; [`SwitchRefusal::ReverseVoltage`].
    pub fn remote_reconnect(&mut self, at: UtcTime) -> Result<(), SwitchRefusal> {
        match (self.mode, self.state) {
            (0, _) | (2 | 4, ControlState::ReadyForReconnection) => Err(self.not_in_mode()),
            (_, ControlState::Connected | ControlState::ReadyForReconnection) => Ok(()),
            (2 | 4, ControlState::Disconnected) => {
                self.enter(ControlState::Connected, Cause::Remote, at)
            }
            (_, ControlState::Disconnected) => {
                self.enter(ControlState::ReadyForReconnection, Cause::Remote, at)
            }
        }
    }

    /// The button is pressed: closes what is ready (e), else opens what is closed (f).
    ///
    /// # Errors
    ///
    /// Where the mode gives the button no such right, or voltage stands on the load side.
    pub fn handle_button(&mut self, at: UtcTime) -> Result<(), SwitchRefusal> {
        match (self.mode, self.state) {
            (1..=MODE_MAX, ControlState::ReadyForReconnection) => {
                self.enter(ControlState::Connected, Cause::Manual, at)
            }
            (1 | 2 | 5, ControlState::Connected) => {
                self.enter(ControlState::ReadyForReconnection, Cause::Manual, at)
            }
            (_, ControlState::Connected | ControlState::ReadyForReconnection)
            | (_, ControlState::Disconnected) => Err(self.not_in_mode()),
        }
    }

    /// A function of the meter disconnects (g). Without effect on an open output.
    ///
    /// # Errors
    ///
    /// [`SwitchRefusal::NotInMode`] in mode 0.
    pub fn local_disconnect(&mut self, at: UtcTime) -> Result<(), SwitchRefusal> {
        match (self.mode, self.state) {
            (0, _) => Err(self.not_in_mode()),
            (_, ControlState::Connected) => {
                self.enter(ControlState::ReadyForReconnection, Cause::Local, at)
            }
            (_, ControlState::Disconnected | ControlState::ReadyForReconnection) => Ok(()),
        }
    }

    /// A function of the meter reconnects (h). Without effect on a closed output.
    ///
    /// # Errors
    ///
    /// Outside modes 5 and 6, where a client has disconnected, or with voltage on the load side.
    pub fn local_reconnect(&mut self, at: UtcTime) -> Result<(), SwitchRefusal> {
        match (self.mode, self.state) {
            (_, ControlState::Connected) => Ok(()),
            (5 | 6, ControlState::ReadyForReconnection) => {
                self.enter(ControlState::Connected, Cause::Local, at)
            }
            (_, ControlState::Disconnected | ControlState::ReadyForReconnection) => {
                Err(self.not_in_mode())
            }
        }
    }

    /// The contacts stand at `position`. The meter says so after every [`DisconnectEvent::Switch`]
    /// and at start.
    pub fn handle_position(&mut self, position: SwitchPosition, at: UtcTime) {
        let was = self.position;
        self.position = position;
        let wanted = self.state.position();
        if position == wanted {
            self.follow_by = None;
        } else if self.follow_by.is_none() && was == wanted {
            // They moved by themselves: once more, and an alarm if that does not help.
            self.events.push_back(DisconnectEvent::Failed { wanted });
            self.drive(at);
        }
    }

    /// What stands on the load side while the output is open, in millivolts.
    pub const fn handle_load_side_voltage(&mut self, millivolts: u32) {
        self.reverse_voltage_mv = millivolts;
    }

    /// Reports contacts that did not follow in time.
    pub fn handle_timeout(&mut self, at: UtcTime) {
        if self.follow_by.is_some_and(|by| at >= by) {
            self.follow_by = None;
            let wanted = self.state.position();
            self.events.push_back(DisconnectEvent::Failed { wanted });
        }
    }

    /// When [`Self::handle_timeout`] is due, and why.
    pub fn wake(&self) -> Option<(UtcTime, &'static str)> {
        self.follow_by.map(|by| (by, "load switch follows"))
    }

    /// What the meter must know or do next.
    pub fn poll_event(&mut self) -> Option<DisconnectEvent> {
        self.events.pop_front()
    }

    /// Control state (attribute 3).
    pub const fn state(&self) -> ControlState {
        self.state
    }

    /// Control mode (attribute 4), 0–6.
    pub const fn mode(&self) -> u8 {
        self.mode
    }

    /// Where the contacts stand (attribute 2).
    pub const fn position(&self) -> SwitchPosition {
        self.position
    }

    fn not_in_mode(&self) -> SwitchRefusal {
        SwitchRefusal::NotInMode {
            mode: self.mode,
            state: self.state,
        }
    }

    fn enter(&mut self, to: ControlState, cause: Cause, at: UtcTime) -> Result<(), SwitchRefusal> {
        let from = self.state;
        if from == to {
            return Ok(());
        }
        if to == ControlState::Connected {
            let millivolts = self.reverse_voltage_mv;
            if self.position == SwitchPosition::Open
                && millivolts > self.config.reverse_voltage_max_mv
            {
                self.events
                    .push_back(DisconnectEvent::ReverseVoltage { cause, millivolts });
                return Err(SwitchRefusal::ReverseVoltage { millivolts });
            }
        }
        self.state = to;
        self.events
            .push_back(DisconnectEvent::Changed { from, to, cause });
        if to.position() != from.position() {
            self.drive(at);
        }
        Ok(())
    }

    fn drive(&mut self, at: UtcTime) {
        self.follow_by = Some(at + self.config.switch_time);
        self.events
            .push_back(DisconnectEvent::Switch(self.state.position()));
    }

    fn set_mode(&mut self, mode: u8, at: UtcTime) -> Result<(), DataAccessResult> {
        if mode > MODE_MAX {
            return Err(DataAccessResult::OtherReason);
        }
        if mode == 0 {
            self.enter(ControlState::Connected, Cause::Mode, at)
                .map_err(|_| DataAccessResult::TemporaryFailure)?;
        }
        self.mode = mode;
        Ok(())
    }

    /// Appends what the switch keeps.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.byte(self.mode);
        keeper.byte(self.state as u8);
        keeper.flag(self.position == SwitchPosition::Closed);
    }

    /// Takes over what a switch kept. If the contacts had not followed, they are driven again at
    /// `at`: the first events say so.
    ///
    /// # Errors
    ///
    /// Bytes that no switch wrote.
    pub fn decode(
        config: DisconnectConfig,
        bytes: &[u8],
        at: UtcTime,
    ) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let mut control = Self::new(config);
        control.mode = kept.u8()?;
        kept.require(control.mode <= MODE_MAX, "control mode")?;
        let state = kept.u8()?;
        control.state =
            ControlState::from_code(state).ok_or_else(|| kept.impossible("control state"))?;
        kept.require(
            control.mode != 0 || control.state == ControlState::Connected,
            "control state",
        )?;
        control.position = if kept.flag("output state")? {
            SwitchPosition::Closed
        } else {
            SwitchPosition::Open
        };
        kept.finish()?;
        if control.position != control.state.position() {
            control.drive(at);
        }
        Ok(control)
    }
}

impl From<SwitchRefusal> for ActionResult {
    fn from(refusal: SwitchRefusal) -> Self {
        match refusal {
            SwitchRefusal::NotInMode { .. } => Self::OtherReason,
            SwitchRefusal::ReverseVoltage { .. } => Self::TemporaryFailure,
        }
    }
}

impl InterfaceObject for DisconnectControl {
    fn get(&self, attribute: i8, _: UtcTime) -> Result<Data, DataAccessResult> {
        match attribute {
            2 => Ok(Data::Boolean(self.position == SwitchPosition::Closed)),
            3 => Ok(Data::Enum(self.state as u8)),
            4 => Ok(Data::Enum(self.mode)),
            _ => Err(DataAccessResult::ObjectUndefined),
        }
    }

    fn set(&mut self, attribute: i8, value: &Data, at: UtcTime) -> Result<(), DataAccessResult> {
        match attribute {
            2 | 3 => Err(DataAccessResult::ReadWriteDenied),
            4 => self.set_mode(shape::enumeration(value)?, at),
            _ => Err(DataAccessResult::ObjectUndefined),
        }
    }

    fn invoke(
        &mut self,
        method: i8,
        parameters: Option<&Data>,
        at: UtcTime,
    ) -> Result<Option<Data>, ActionResult> {
        match method {
            1 => {
                shape::nothing(parameters)?;
                self.remote_disconnect(at)?;
            }
            2 => {
                shape::nothing(parameters)?;
                self.remote_reconnect(at)?;
            }
            _ => return Err(ActionResult::ObjectUndefined),
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
