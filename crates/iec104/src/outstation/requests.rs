//! What a controlling station may ask, what the station answers itself, and what it leaves to its
//! user.

use gridloom_core::{Instant, Now, UtcTime};

use crate::asdu::{Asdu, AsduError, Element, Header, Object, Packing, ParameterValue};
use crate::cause::{Cause, CommonAddress, ObjectAddress, Transmission};
use crate::command::{Command, CommandKind, Freeze, Qcc, Qpa, Qpm, Reset, Stage};
use crate::link::CloseReason;
use crate::time::Cp56Time2a;
use crate::type_id::TypeId;
use crate::value::ValueKind;

use super::control::{ControlMode, OnConfirm, PendingState, Selection, SelectionEnd};
use super::scan::Scan;
use super::{
    Cargo, ClockPolicy, ConnectionId, Notice, Output, Outstation, OutstationError, REPLIES_MAX,
    SCANS_MAX, Token,
};

/// What only the user of the station can decide: whether the originator may, and whether the
/// process can.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// A command that passed the station's own checks: address, type, age, selection.
    /// After a confirmed execution call [`Outstation::terminate`] when the process is done.
    Command {
        /// The control.
        address: ObjectAddress,
        /// What to do.
        command: Command,
        /// QU or QL.
        qualifier: u8,
        /// Select or execute.
        stage: Stage,
        /// The originator address, 0 where none is used.
        originator: u8,
        /// When it was given.
        time: Option<Cp56Time2a>,
    },
    /// A parameter of a measured value.
    Parameter {
        /// The point.
        address: ObjectAddress,
        /// The parameter.
        value: ParameterValue,
        /// Which one.
        qualifier: Qpm,
    },
    /// Switch parameters, or the periodic transmission of a point, on or off.
    ParameterActivation {
        /// The point; none for the parameters loaded before.
        address: ObjectAddress,
        /// What is switched.
        qualifier: Qpa,
        /// On (activation) or off (deactivation).
        active: bool,
    },
    /// Reset the process; call [`Outstation::restart`] when it is done.
    ResetProcess,
}

/// The user's answer to a [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// ACTCON: it is allowed and possible.
    Confirm,
    /// ACTCON with P/N = 1.
    Refuse,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Positive,
    Negative,
}

impl Outstation {
    /// Answers a request. After [`OutstationError::Stale`] nothing may be operated: the request was
    /// refused in the meantime, or its connection is gone.
    pub fn answer(
        &mut self,
        token: Token,
        answer: Answer,
        now: Now,
    ) -> Result<(), OutstationError> {
        self.assert_drained();
        let is_asked =
            self.controls
                .pending
                .get(&token)
                .is_some_and(|pending| match pending.state {
                    PendingState::Asked { until } => now.instant < until,
                    PendingState::Running { .. } => false,
                });
        let Some(pending) = self.controls.pending.get_mut(&token).filter(|_| is_asked) else {
            return Err(OutstationError::Stale);
        };
        let asdu = pending.asdu.clone();
        match (answer, pending.on_confirm) {
            (Answer::Confirm, OnConfirm::Run(_)) => {
                pending.state = PendingState::Running {
                    until: now.instant + self.config.operate_timeout,
                };
            }
            (Answer::Confirm, OnConfirm::Select(selection)) => {
                let until = now.instant + self.config.select_timeout;
                self.controls.selection = Some(Selection { until, ..selection });
                self.controls.pending.remove(&token);
            }
            (Answer::Confirm, OnConfirm::Done) | (Answer::Refuse, _) => {
                self.controls.pending.remove(&token);
            }
        }
        let ending = match answer {
            Answer::Confirm => Ending::Positive,
            Answer::Refuse => Ending::Negative,
        };
        self.confirm(&asdu, ending);
        self.pump(now);
        Ok(())
    }

    /// A confirmed command is done: ACTTERM, after the return information given before. Does
    /// nothing if its connection is gone or its time was up.
    pub fn terminate(&mut self, token: Token, now: Now) {
        self.assert_drained();
        let is_running = |state| matches!(state, PendingState::Running { .. });
        let pending = self.controls.pending.get(&token);
        if pending.is_some_and(|pending| is_running(pending.state)) {
            self.finish(token, Ending::Positive);
            self.pump(now);
        }
    }

    /// Ends a selection, if there is one.
    pub(super) fn drop_selection(&mut self, end: SelectionEnd) {
        if let Some(selection) = self.controls.selection.take() {
            self.notice(Notice::SelectionEnded(selection.address, end));
        }
    }

    pub(super) fn expire_controls(&mut self, now: Now) {
        let selection = self.controls.selection;
        if selection.is_some_and(|selection| selection.until <= now.instant) {
            self.drop_selection(SelectionEnd::TimedOut);
        }
        let due: Vec<(Token, PendingState)> = self
            .controls
            .pending
            .iter()
            .filter(|(_, pending)| pending.state.until() <= now.instant)
            .map(|(&token, pending)| (token, pending.state))
            .collect();
        for (token, state) in due {
            match state {
                PendingState::Asked { .. } => {
                    if let Some(pending) = self.controls.pending.remove(&token) {
                        self.refuse(&pending.asdu);
                    }
                }
                PendingState::Running { .. } => self.finish(token, Ending::Negative),
            }
        }
    }

    /// An ASDU came on the active connection. Type, cause, address and object are checked in this
    /// order, and what is wrong goes back with its cause.
    pub(super) fn handle_asdu(&mut self, id: ConnectionId, raw: &[u8], now: Now) {
        let header = match Header::decode(raw) {
            Ok(header) => header,
            Err(error) => return self.notice(Notice::Malformed(id, error)),
        };
        let type_id = TypeId::from_code(header.type_code).filter(|id| allowed(*id).is_some());
        let Some(type_id) = type_id else {
            return self.mirror_refusal(raw, Cause::UnknownType);
        };
        let causes = allowed(type_id).unwrap_or_default();
        let cause = Cause::from_code(header.cause_octet & 0x3F);
        let Some(cause) = cause.filter(|cause| causes.contains(cause)) else {
            return self.mirror_refusal(raw, Cause::UnknownCause);
        };
        let own = self.config.common_address.get();
        let is_global = header.common_address == CommonAddress::GLOBAL.get() && broadcast(type_id);
        if header.common_address != own && !is_global {
            return self.mirror_refusal(raw, Cause::UnknownCommonAddress);
        }
        let asdu = match Asdu::decode(raw) {
            Ok(asdu) => asdu,
            Err(error) => {
                self.notice(Notice::Malformed(id, error));
                // A reserved state or qualifier can be named in an answer; wrong lengths cannot.
                if matches!(error, AsduError::Element { .. }) {
                    self.refuse(raw);
                }
                return;
            }
        };
        if asdu.transmission().negative {
            return;
        }
        let object = asdu.objects()[0];
        let is_system = !matches!(
            object.element,
            Element::Command { .. }
                | Element::Read
                | Element::Parameter { .. }
                | Element::ParameterActivation(_)
        );
        if is_system && object.address != ObjectAddress::NONE {
            return self.mirror_refusal(raw, Cause::UnknownObjectAddress);
        }
        self.handle_object(raw, cause, asdu.transmission(), object, now);
    }

    fn handle_object(
        &mut self,
        raw: &[u8],
        cause: Cause,
        transmission: Transmission,
        object: Object,
        now: Now,
    ) {
        let answered = Transmission {
            negative: false,
            ..transmission
        };
        match object.element {
            Element::Interrogation(qoi) => {
                let data = Transmission {
                    cause: Cause::Interrogated(qoi),
                    ..answered
                };
                if cause == Cause::Deactivation {
                    self.stop_scan(raw, data.cause);
                } else {
                    self.start_scan(raw, data);
                }
            }
            Element::CounterInterrogation(qcc) => {
                let data = Transmission {
                    cause: Cause::CountersRequested(qcc.counters),
                    ..answered
                };
                match (cause, qcc.freeze) {
                    (Cause::Deactivation, _) => self.stop_scan(raw, data.cause),
                    (_, Freeze::Read) => self.start_scan(raw, data),
                    (_, Freeze::Freeze | Freeze::FreezeAndReset | Freeze::Reset) => {
                        self.freeze(raw, qcc, transmission.test, now.utc);
                    }
                }
            }
            Element::Read => self.read(raw, object.address, answered),
            Element::Clock => self.set_clock(raw, object.time, transmission.test, now.utc),
            Element::Test(_) => self.confirm(raw, Ending::Positive),
            Element::Reset(reset) => self.reset(raw, reset, transmission.test, now.instant),
            Element::Command {
                command,
                qualifier,
                stage,
            } => {
                let order = Order {
                    address: object.address,
                    command,
                    qualifier,
                    stage,
                    time: object.time,
                };
                if cause == Cause::Deactivation {
                    self.cancel(raw, order);
                } else {
                    self.command(raw, order, transmission, now);
                }
            }
            Element::Parameter { value, qualifier } => {
                let kind = match value {
                    ParameterValue::Normalized(_) => ValueKind::Normalized,
                    ParameterValue::Scaled(_) => ValueKind::Scaled,
                    ParameterValue::Float(_) => ValueKind::Float,
                };
                let point = self.points.point(object.address);
                if point.is_none_or(|point| point.initial.kind() != kind) {
                    return self.mirror_refusal(raw, Cause::UnknownObjectAddress);
                }
                let request = Request::Parameter {
                    address: object.address,
                    value,
                    qualifier,
                };
                self.ask(
                    raw,
                    request,
                    OnConfirm::Done,
                    transmission.test,
                    now.instant,
                );
            }
            Element::ParameterActivation(qualifier) => {
                let is_known = match qualifier {
                    Qpa::Loaded => object.address == ObjectAddress::NONE,
                    Qpa::Object | Qpa::Periodic => self.points.point(object.address).is_some(),
                };
                if !is_known {
                    return self.mirror_refusal(raw, Cause::UnknownObjectAddress);
                }
                let request = Request::ParameterActivation {
                    address: object.address,
                    qualifier,
                    active: cause == Cause::Activation,
                };
                self.ask(
                    raw,
                    request,
                    OnConfirm::Done,
                    transmission.test,
                    now.instant,
                );
            }
            Element::Point { .. } | Element::EndOfInitialization(_) => {
                unreachable!("types of the monitor direction were refused")
            }
        }
    }

    fn start_scan(&mut self, raw: &[u8], data: Transmission) {
        let finish = self.mirror(raw, Cause::ActivationTermination, Ending::Positive);
        let Some(session) = &mut self.active else {
            return;
        };
        if session.scans.len() >= SCANS_MAX {
            return self.refuse(raw);
        }
        session.scans.push_back(Scan::new(data, Some(finish)));
        self.confirm(raw, Ending::Positive);
    }

    fn stop_scan(&mut self, raw: &[u8], cause: Cause) {
        let Some(session) = &mut self.active else {
            return;
        };
        let before = session.scans.len();
        session.scans.retain(|scan| scan.cause() != cause);
        if session.scans.len() == before {
            return self.refuse(raw);
        }
        self.confirm(raw, Ending::Positive);
    }

    fn freeze(&mut self, raw: &[u8], qcc: Qcc, test: bool, now: UtcTime) {
        if !test {
            let time = Cp56Time2a::from_utc(now);
            for (address, value, quality) in self.points.freeze(qcc) {
                self.record(Cause::Spontaneous, address, value, quality, time);
            }
        }
        self.confirm(raw, Ending::Positive);
    }

    fn read(&mut self, raw: &[u8], address: ObjectAddress, transmission: Transmission) {
        let Some(object) = self.points.object(address) else {
            return self.mirror_refusal(raw, Cause::UnknownObjectAddress);
        };
        let own = self.config.common_address;
        let asdu = Asdu::new(transmission, own, Packing::Single, vec![object]);
        self.reply(asdu.expect("one point is an ASDU").encode());
    }

    fn set_clock(&mut self, raw: &[u8], time: Option<Cp56Time2a>, test: bool, now: UtcTime) {
        let time = time.filter(|time| time.to_utc().is_some() && !time.invalid);
        let (Some(time), ClockPolicy::Accept) = (time, self.config.clock) else {
            return self.refuse(raw);
        };
        // The confirmation carries the station's own time from before.
        let mut mirrored = self.mirror(raw, Cause::ActivationCon, Ending::Positive);
        let tag = mirrored.len() - Cp56Time2a::OCTETS;
        mirrored[tag..].copy_from_slice(&Cp56Time2a::from_utc(now).encode());
        self.reply(mirrored);
        if !test {
            self.outbox.push_back(Output::Clock(time));
        }
    }

    fn reset(&mut self, raw: &[u8], reset: Reset, test: bool, now: Instant) {
        match reset {
            Reset::Process => self.ask(raw, Request::ResetProcess, OnConfirm::Done, test, now),
            Reset::Events => {
                if !test {
                    let forgotten = self.events.clear();
                    self.notice(Notice::EventsCleared(forgotten));
                }
                self.confirm(raw, Ending::Positive);
            }
        }
    }

    fn command(&mut self, raw: &[u8], order: Order, transmission: Transmission, now: Now) {
        let Order {
            address,
            command,
            qualifier,
            stage,
            time,
        } = order;
        let control = self.controls.control(address);
        let Some(control) = control.filter(|control| control.kind == command.kind()) else {
            return self.mirror_refusal(raw, Cause::UnknownObjectAddress);
        };
        let age_max = self.config.command_age_max;
        let is_fresh = |time: Cp56Time2a| {
            let given = time.to_utc().filter(|_| !time.invalid);
            given.is_some_and(|given| {
                given.since(now.utc) <= age_max && now.utc.since(given) <= age_max
            })
        };
        // No process can be set to something that is no number.
        let is_number = !matches!(command, Command::Float(value) if !value.is_finite());
        if !is_number || time.is_some_and(|time| !is_fresh(time)) || self.controls.is_busy(address)
        {
            return self.refuse(raw);
        }
        let selected = self.controls.selection;
        // The wake may come late: a selection ends at its time, not when it is noticed.
        let selected = selected.filter(|selection| now.instant < selection.until);
        let matches = selected.is_some_and(|s| s.is_for(address, command, qualifier));
        let may = match (stage, control.mode) {
            (Stage::Select, ControlMode::Direct) => false,
            (Stage::Select, ControlMode::SelectBeforeOperate | ControlMode::Either) => {
                (selected.is_none() || matches) && !self.controls.is_selecting()
            }
            (Stage::Execute, ControlMode::Direct) => true,
            (Stage::Execute, ControlMode::SelectBeforeOperate) => matches,
            (Stage::Execute, ControlMode::Either) => {
                matches || selected.is_none_or(|selection| selection.address != address)
            }
        };
        if !may {
            return self.refuse(raw);
        }
        let on_confirm = match stage {
            Stage::Select => OnConfirm::Select(Selection {
                address,
                command,
                qualifier,
                until: now.instant,
            }),
            Stage::Execute => OnConfirm::Run(address),
        };
        if stage == Stage::Execute && matches && !transmission.test {
            self.drop_selection(SelectionEnd::Executed);
        }
        let request = Request::Command {
            address,
            command,
            qualifier,
            stage,
            originator: transmission.originator,
            time,
        };
        self.ask(raw, request, on_confirm, transmission.test, now.instant);
    }

    fn cancel(&mut self, raw: &[u8], order: Order) {
        let is_selected = self.controls.selection.is_some_and(|selection| {
            selection.address == order.address && selection.command.kind() == order.kind()
        });
        if !is_selected {
            let control = self.controls.control(order.address);
            return match control.filter(|control| control.kind == order.kind()) {
                Some(_) => self.refuse(raw),
                None => self.mirror_refusal(raw, Cause::UnknownObjectAddress),
            };
        }
        self.drop_selection(SelectionEnd::Cancelled);
        self.confirm(raw, Ending::Positive);
    }

    /// Leaves a request to the user. One that is sent for a test is confirmed and goes no further.
    fn ask(
        &mut self,
        raw: &[u8],
        request: Request,
        on_confirm: OnConfirm,
        test: bool,
        now: Instant,
    ) {
        if test {
            self.confirm(raw, Ending::Positive);
            if matches!(on_confirm, OnConfirm::Run(_)) {
                let term = self.mirror(raw, Cause::ActivationTermination, Ending::Positive);
                self.reply(term);
            }
            return;
        }
        let timeout = self.config.answer_timeout;
        match self.controls.ask(raw, on_confirm, now, timeout) {
            Some(token) => self.outbox.push_back(Output::Request(token, request)),
            None => self.refuse(raw),
        }
    }

    fn finish(&mut self, token: Token, ending: Ending) {
        let Some(pending) = self.controls.pending.remove(&token) else {
            return;
        };
        let term = self.mirror(&pending.asdu, Cause::ActivationTermination, ending);
        let mark = self.events.mark();
        let Some(session) = &mut self.active else {
            return;
        };
        session.terminations.push_back((mark, term));
        self.cut_off_flooder();
    }

    /// ACTCON or DEACTCON.
    fn confirm(&mut self, raw: &[u8], ending: Ending) {
        let cause = confirmation(raw);
        let mirrored = self.mirror(raw, cause, ending);
        self.reply(mirrored);
    }

    /// A negative confirmation, and a notice of it.
    fn refuse(&mut self, raw: &[u8]) {
        self.notice(Notice::Refused {
            type_code: raw[0],
            cause: confirmation(raw),
        });
        self.confirm(raw, Ending::Negative);
    }

    /// Sends an ASDU back with one of the causes 44–47.
    fn mirror_refusal(&mut self, raw: &[u8], cause: Cause) {
        self.notice(Notice::Refused {
            type_code: raw[0],
            cause,
        });
        let mirrored = self.mirror(raw, cause, Ending::Negative);
        self.reply(mirrored);
    }

    /// The ASDU as it came, with another cause; T and the originator stay. A broadcast is answered
    /// under the station's own address.
    fn mirror(&self, raw: &[u8], cause: Cause, ending: Ending) -> Vec<u8> {
        let negative = match ending {
            Ending::Positive => 0,
            Ending::Negative => 0x40,
        };
        let mut mirrored = raw.to_vec();
        mirrored[2] = cause.code() | negative | raw[2] & 0x80;
        let address = &mut mirrored[4..6];
        if address == CommonAddress::GLOBAL.get().to_le_bytes()
            && cause != Cause::UnknownCommonAddress
        {
            address.copy_from_slice(&self.config.common_address.get().to_le_bytes());
        }
        mirrored
    }

    fn reply(&mut self, asdu: Vec<u8>) {
        if let Some(session) = &mut self.active {
            session.replies.push_back((Cargo::Answer, asdu));
            self.cut_off_flooder();
        }
    }

    /// Ends a connection whose peer asks and does not read.
    fn cut_off_flooder(&mut self) {
        let Some(session) = &self.active else {
            return;
        };
        if session.replies.len() + session.terminations.len() > REPLIES_MAX
            && let Some(link) = self.links.get_mut(&session.id)
        {
            link.close(CloseReason::Flooded);
        }
    }
}

/// A command as it came.
#[derive(Debug, Clone, Copy)]
struct Order {
    address: ObjectAddress,
    command: Command,
    qualifier: u8,
    stage: Stage,
    time: Option<Cp56Time2a>,
}

impl Order {
    fn kind(&self) -> CommandKind {
        self.command.kind()
    }
}

fn confirmation(raw: &[u8]) -> Cause {
    if raw[2] & 0x3F == Cause::Deactivation.code() {
        Cause::DeactivationCon
    } else {
        Cause::ActivationCon
    }
}

/// The causes with which a type comes from a controlling station; `None` for the types that do not.
fn allowed(type_id: TypeId) -> Option<&'static [Cause]> {
    use Cause::{Activation, Deactivation, Request};
    Some(match type_id.code() {
        45..=51 | 58..=64 | 100 | 101 | 113 => &[Activation, Deactivation],
        103 | 105 | 107 | 110..=112 => &[Activation],
        102 => &[Request],
        _ => return None,
    })
}

/// Whether a type may go to all stations at once.
fn broadcast(type_id: TypeId) -> bool {
    matches!(type_id.code(), 100 | 101 | 103 | 105)
}
