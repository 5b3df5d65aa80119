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
mod tests {
    use super::ControlState::{Connected, Disconnected, ReadyForReconnection};
    use super::*;
    use crate::objects::retained::assert_survives;

    const AT: UtcTime = UtcTime::from_secs(1_000);

    fn config(mode: u8) -> DisconnectConfig {
        DisconnectConfig {
            mode,
            reverse_voltage_max_mv: 50_000,
            switch_time: Duration::from_secs(2),
        }
    }

    fn control(mode: u8, state: ControlState) -> DisconnectControl {
        let mut control = DisconnectControl::new(config(mode));
        control.state = state;
        control.position = state.position();
        control
    }

    /// Lets the contacts follow and returns the events.
    fn settle(control: &mut DisconnectControl) -> Vec<DisconnectEvent> {
        let mut events = Vec::new();
        while let Some(event) = control.poll_event() {
            if let DisconnectEvent::Switch(position) = event {
                control.handle_position(position, AT);
            }
            events.push(event);
        }
        events
    }

    #[test]
    fn every_mode_has_its_transitions() {
        type Try = fn(&mut DisconnectControl, UtcTime) -> Result<(), SwitchRefusal>;
        // The trial, the state before, then the state after in modes 0 to 6; `None` is a refusal.
        let (d, c, r) = (
            Some(Disconnected),
            Some(Connected),
            Some(ReadyForReconnection),
        );
        let cases: [(&str, Try, ControlState, [Option<ControlState>; 7]); 15] = [
            (
                "b",
                DisconnectControl::remote_disconnect,
                Connected,
                [None, d, d, d, d, d, d],
            ),
            (
                "c",
                DisconnectControl::remote_disconnect,
                ReadyForReconnection,
                [None, d, d, d, d, d, d],
            ),
            (
                "-",
                DisconnectControl::remote_disconnect,
                Disconnected,
                [None, d, d, d, d, d, d],
            ),
            (
                "a, d",
                DisconnectControl::remote_reconnect,
                Disconnected,
                [None, r, c, r, c, r, r],
            ),
            (
                "-",
                DisconnectControl::remote_reconnect,
                ReadyForReconnection,
                [None, r, None, r, None, r, r],
            ),
            (
                "-",
                DisconnectControl::remote_reconnect,
                Connected,
                [None, c, c, c, c, c, c],
            ),
            (
                "e",
                DisconnectControl::handle_button,
                ReadyForReconnection,
                [None, c, c, c, c, c, c],
            ),
            (
                "f",
                DisconnectControl::handle_button,
                Connected,
                [None, r, r, None, None, r, None],
            ),
            (
                "-",
                DisconnectControl::handle_button,
                Disconnected,
                [None; 7],
            ),
            (
                "g",
                DisconnectControl::local_disconnect,
                Connected,
                [None, r, r, r, r, r, r],
            ),
            (
                "-",
                DisconnectControl::local_disconnect,
                Disconnected,
                [None, d, d, d, d, d, d],
            ),
            (
                "-",
                DisconnectControl::local_disconnect,
                ReadyForReconnection,
                [None, r, r, r, r, r, r],
            ),
            (
                "h",
                DisconnectControl::local_reconnect,
                ReadyForReconnection,
                [None, None, None, None, None, c, c],
            ),
            (
                "-",
                DisconnectControl::local_reconnect,
                Disconnected,
                [None; 7],
            ),
            ("-", DisconnectControl::local_reconnect, Connected, [c; 7]),
        ];
        for (name, attempt, from, after) in cases {
            for (mode, expected) in (0_u8..).zip(after) {
                let mut control = control(mode, from);
                let done = attempt(&mut control, AT);
                settle(&mut control);
                let case = format!("{name} in mode {mode} from {from:?}");
                assert_eq!(done.is_ok(), expected.is_some(), "{case}");
                assert_eq!(control.state(), expected.unwrap_or(from), "{case}");
                assert_eq!(control.position(), control.state().position(), "{case}");
            }
        }
    }

    #[test]
    fn a_fed_output_is_not_closed() {
        let refused = SwitchRefusal::ReverseVoltage { millivolts: 50_001 };
        let mut open = control(2, Disconnected);
        open.handle_load_side_voltage(50_001);
        assert_eq!(open.remote_reconnect(AT), Err(refused));
        assert_eq!(
            open.invoke(2, Some(&Data::Integer(0)), AT),
            Err(ActionResult::TemporaryFailure)
        );
        assert_eq!(open.state(), Disconnected);
        // Setting mode 0 would close it as well.
        assert_eq!(
            open.set(4, &Data::Enum(0), AT),
            Err(DataAccessResult::TemporaryFailure)
        );
        assert_eq!(open.mode(), 2);
        let events = settle(&mut open);
        assert!(
            events
                .iter()
                .all(|event| matches!(event, DisconnectEvent::ReverseVoltage { .. })),
            "{events:?}"
        );
        assert_eq!(events.len(), 3);
        open.handle_load_side_voltage(50_000);
        assert_eq!(open.remote_reconnect(AT), Ok(()));
        assert_eq!(
            settle(&mut open),
            [
                DisconnectEvent::Changed {
                    from: Disconnected,
                    to: Connected,
                    cause: Cause::Remote
                },
                DisconnectEvent::Switch(SwitchPosition::Closed)
            ]
        );
    }

    #[test]
    fn becoming_ready_moves_no_contact() {
        let mut open = control(1, Disconnected);
        assert_eq!(open.remote_reconnect(AT), Ok(()));
        assert_eq!(settle(&mut open).len(), 1);
        assert_eq!(open.wake(), None);
    }

    #[test]
    fn contacts_that_do_not_follow_are_reported_once() {
        let mut control = control(1, Connected);
        control.remote_disconnect(AT).unwrap();
        while control.poll_event().is_some() {}
        let due = AT + Duration::from_secs(2);
        assert_eq!(control.wake(), Some((due, "load switch follows")));
        assert_eq!(control.get(2, AT), Ok(Data::Boolean(true)));
        control.handle_timeout(AT + Duration::from_millis(1_999));
        assert_eq!(control.poll_event(), None);
        control.handle_timeout(due);
        let failed = DisconnectEvent::Failed {
            wanted: SwitchPosition::Open,
        };
        assert_eq!(control.poll_event(), Some(failed));
        control.handle_timeout(due);
        assert_eq!((control.poll_event(), control.wake()), (None, None));
        control.handle_position(SwitchPosition::Open, due);
        // Later they weld shut.
        control.handle_position(SwitchPosition::Closed, due);
        assert_eq!(control.poll_event(), Some(failed));
        assert_eq!(
            control.poll_event(),
            Some(DisconnectEvent::Switch(SwitchPosition::Open))
        );
    }

    #[test]
    fn what_a_client_may_write() {
        let mut control = control(1, Disconnected);
        let cases = [
            (4, Data::Enum(7), Err(DataAccessResult::OtherReason)),
            (4, Data::Unsigned(1), Err(DataAccessResult::TypeUnmatched)),
            (3, Data::Enum(1), Err(DataAccessResult::ReadWriteDenied)),
            (5, Data::Enum(1), Err(DataAccessResult::ObjectUndefined)),
            (4, Data::Enum(6), Ok(())),
            (4, Data::Enum(0), Ok(())),
        ];
        for (attribute, value, expected) in cases {
            assert_eq!(control.set(attribute, &value, AT), expected, "{value:?}");
        }
        settle(&mut control);
        assert_eq!(control.get(2, AT), Ok(Data::Boolean(true)));
        assert_eq!(control.get(3, AT), Ok(Data::Enum(1)));
        assert_eq!(
            control.invoke(1, None, AT),
            Err(ActionResult::OtherReason),
            "mode 0 never disconnects"
        );
    }

    #[test]
    fn it_survives_and_drives_again_what_had_not_followed() {
        for (mode, state) in [(0, Connected), (4, Disconnected), (6, ReadyForReconnection)] {
            assert_survives(&control(mode, state), DisconnectControl::encode, |bytes| {
                DisconnectControl::decode(config(1), bytes, AT).map(|mut c| {
                    c.config.mode = mode;
                    c
                })
            });
        }
        let mut control = control(1, Connected);
        control.remote_disconnect(AT).unwrap();
        let mut bytes = Vec::new();
        control.encode(&mut bytes);
        let mut restarted = DisconnectControl::decode(config(1), &bytes, AT).unwrap();
        assert_eq!(
            settle(&mut restarted),
            [DisconnectEvent::Switch(SwitchPosition::Open)]
        );
        for impossible in [[1, 7, 1, 1], [1, 1, 3, 1], [1, 0, 0, 0], [1, 1, 1, 2]] {
            assert!(matches!(
                DisconnectControl::decode(config(1), &impossible, AT),
                Err(RetainedError::Value { .. })
            ));
        }
    }
}
