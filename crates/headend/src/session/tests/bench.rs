//! A session, a real server, a small meter behind it, and the faulty link between them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Instant, Now, ObisCode, SystemTitle, UtcTime};
use gridloom_dlms::apdu::{
    ActionResult, AttributeDescriptor, DataAccessResult, MethodDescriptor, SelectiveAccess,
};
use gridloom_dlms::association::{Conformance, DedicatedKey, Mechanism};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{Authentication, Ciphering, ClientConfig, ReleaseForm, ServiceForm};
use gridloom_dlms::counter::{ReceiveCounter, TransmitCounter};
use gridloom_dlms::datetime::{ClockStatus, CosemDateTime};
use gridloom_dlms::security::{Keys, Policy, SecurityControl, SecuritySuite};
use gridloom_dlms::selection::{CaptureObject, EntryDescriptor, RangeDescriptor};
use gridloom_dlms::server::{
    AssociationPolicy, Caller, DeviceSecurity, KeyKind, LogicalDevice, Server, ServerConfig,
};

use super::super::{
    Output, PUBLIC_CLIENT, Session, SessionConfig, SessionReport, Step, StepError, StepValue,
};
use crate::healing::{CounterFinding, CounterState};
use crate::profile::ProfileShape;
use crate::template::{CipheringForm, MeterTemplate};

pub(super) const PROFILE: ObisCode = ObisCode([1, 0, 99, 1, 0, 255]);
pub(super) const EVENTS: ObisCode = ObisCode([0, 0, 99, 98, 0, 255]);
pub(super) const SCALERS: ObisCode = ObisCode([1, 0, 94, 91, 4, 255]);
pub(super) const REGISTER: ObisCode = ObisCode([1, 0, 1, 8, 0, 255]);
pub(super) const COUNTER: ObisCode = ObisCode([0, 0, 43, 1, 0, 255]);
/// 2026-01-01T00:00:00Z.
pub(super) const START: i64 = 1_767_225_600;

const CLIENT_TITLE: SystemTitle = SystemTitle(*b"HEADEND0");
const METER_TITLE: SystemTitle = SystemTitle(*b"MMM00001");
const EK: [u8; 16] = [3; 16];
const AK: [u8; 16] = [4; 16];

/// The end of the interval at a slot of the profile.
pub(super) fn end(slot: i64) -> UtcTime {
    UtcTime::from_secs(START + slot * 900)
}

/// What the link does to the client's nth APDU, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The link breaks before it arrives.
    CutBefore(usize),
    /// It arrives, and the link breaks before the answer.
    CutAfter(usize),
    /// From it on, nothing comes back.
    Silent(usize),
    /// There is no link.
    NoLink,
}

/// The meter.
pub(super) struct Device {
    now: UtcTime,
    pub(super) clock_offset_ms: i64,
    pub(super) deviation: i16,
    pub(super) states_deviation: bool,
    pub(super) can_select: bool,
    pub(super) output: bool,
    pub(super) relay_sticks: bool,
    serial: Data,
    counter: u32,
}

fn column(class_id: u16, instance: ObisCode, attribute: i8) -> Data {
    CaptureObject {
        class_id,
        instance,
        attribute,
        data_index: 0,
    }
    .to_data()
}

impl Device {
    fn stamp(&self, utc: UtcTime) -> Data {
        let local = UtcTime::from_secs(utc.as_secs() - i64::from(self.deviation) * 60);
        let deviation = if self.states_deviation {
            self.deviation
        } else {
            CosemDateTime::DEVIATION_OPEN
        };
        let written = CosemDateTime {
            deviation,
            ..CosemDateTime::from_utc(local).unwrap()
        };
        assert_eq!(written.status, ClockStatus::GOOD);
        Data::OctetString(written.to_bytes().to_vec())
    }

    fn meter_time(&self) -> UtcTime {
        UtcTime::from_millis(self.now.as_millis() + self.clock_offset_ms)
    }

    fn rows(&self, access: Option<&SelectiveAccess>) -> Result<Vec<Data>, DataAccessResult> {
        let all = (1..=96_i64).map(|slot| {
            let energy = u32::try_from(1_000 + slot).unwrap();
            let row = vec![
                self.stamp(end(slot)),
                Data::Unsigned(0),
                Data::DoubleLongUnsigned(energy),
            ];
            (end(slot), Data::Structure(row))
        });
        let Some(access) = access else {
            return Ok(all.map(|(_, row)| row).collect());
        };
        if !self.can_select {
            return Err(DataAccessResult::ScopeOfAccessViolated);
        }
        if let Ok(range) = RangeDescriptor::from_access(access) {
            let (from, to) = range
                .times(self.deviation)
                .map_err(|_| DataAccessResult::TypeUnmatched)?;
            let within = |time: &UtcTime| from <= *time && *time <= to;
            return Ok(all
                .filter(|(time, _)| within(time))
                .map(|(_, row)| row)
                .collect());
        }
        let entries =
            EntryDescriptor::from_access(access).map_err(|_| DataAccessResult::TypeUnmatched)?;
        let range = entries.row_range(96);
        Ok(all
            .map(|(_, row)| row)
            .skip(range.start)
            .take(range.len())
            .collect())
    }
}

impl LogicalDevice for Device {
    fn get(
        &mut self,
        caller: &Caller,
        attribute: AttributeDescriptor,
        access: Option<&SelectiveAccess>,
    ) -> Result<Data, DataAccessResult> {
        let AttributeDescriptor {
            class_id,
            instance,
            attribute,
        } = attribute;
        if caller.client == PUBLIC_CLIENT && instance != COUNTER {
            return Err(DataAccessResult::ReadWriteDenied);
        }
        let wh = |scaler| Data::Structure(vec![Data::Integer(scaler), Data::Enum(30)]);
        let clock = ObisCode([0, 0, 1, 0, 0, 255]);
        let status = ObisCode([0, 0, 96, 10, 1, 255]);
        Ok(match (class_id, instance.0, attribute) {
            (1, [0, 0, 96, 1, 0, 255], 2) => self.serial.clone(),
            (1, [0, 0, 43, 1, 0, 255], 2) => Data::DoubleLongUnsigned(self.counter),
            (3, [1, 0, 1, 8, 0, 255], 2) => Data::DoubleLongUnsigned(5_000),
            (3, [1, 0, 1, 8, 0, 255], 3) => wh(1),
            (7, [1, 0, 99, 1, 0, 255], 2) => Data::Array(self.rows(access)?),
            (7, [1, 0, 99, 1, 0, 255], 3) => Data::Array(vec![
                column(8, clock, 2),
                column(1, status, 2),
                column(3, REGISTER, 2),
            ]),
            (7, [1, 0, 99, 1, 0, 255], 4) => Data::DoubleLongUnsigned(900),
            (7, [1, 0, 94, 91, 4, 255], 2) => Data::Array(vec![Data::Structure(vec![wh(1)])]),
            (7, [1, 0, 94, 91, 4, 255], 3) => Data::Array(vec![column(3, REGISTER, 3)]),
            (7, [0, 0, 99, 98, 0, 255], 2) => Data::Array(
                [(1, 7), (2, 8)]
                    .map(|(slot, code)| {
                        Data::Structure(vec![self.stamp(end(slot)), Data::LongUnsigned(code)])
                    })
                    .to_vec(),
            ),
            (7, [0, 0, 99, 98, 0, 255], 3) => Data::Array(vec![
                column(8, clock, 2),
                column(1, ObisCode([0, 0, 96, 11, 0, 255]), 2),
            ]),
            (7, [0, 0, 99, 98, 0, 255], 4) => return Err(DataAccessResult::ReadWriteDenied),
            (8, [0, 0, 1, 0, 0, 255], 2) => self.stamp(self.meter_time()),
            (8, [0, 0, 1, 0, 0, 255], 3) => Data::Long(self.deviation),
            (15, [0, 0, 40, 0, 0, 255], 2) => {
                let rights = |members: std::ops::RangeInclusive<i8>| {
                    let entry = |member| {
                        Data::Structure(vec![Data::Integer(member), Data::Enum(1), Data::Null])
                    };
                    let attributes = Data::Array(members.map(entry).collect());
                    Data::Structure(vec![attributes, Data::Array(Vec::new())])
                };
                let object = |class_id, instance: ObisCode, last| {
                    Data::Structure(vec![
                        Data::LongUnsigned(class_id),
                        Data::Unsigned(0),
                        Data::OctetString(instance.0.to_vec()),
                        rights(1..=last),
                    ])
                };
                Data::Array(vec![object(1, COUNTER, 2), object(3, REGISTER, 3)])
            }
            (70, [0, 0, 96, 3, 10, 255], 2) => Data::Boolean(self.output),
            (70, [0, 0, 96, 3, 10, 255], 3) => Data::Enum(u8::from(self.output)),
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    fn set(
        &mut self,
        _caller: &Caller,
        attribute: AttributeDescriptor,
        _access: Option<&SelectiveAccess>,
        value: &Data,
    ) -> Result<(), DataAccessResult> {
        match (attribute.class_id, value) {
            (1, value) => self.serial = value.clone(),
            (8, Data::OctetString(bytes)) => {
                let written = CosemDateTime::from_bytes(bytes.as_slice().try_into().unwrap());
                let time = written.to_utc_at(self.deviation).unwrap();
                self.clock_offset_ms = time.as_millis() - self.now.as_millis();
            }
            _ => return Err(DataAccessResult::ReadWriteDenied),
        }
        Ok(())
    }

    fn invoke(
        &mut self,
        _caller: &Caller,
        method: MethodDescriptor,
        _parameters: Option<&Data>,
    ) -> Result<Option<Data>, ActionResult> {
        match (method.class_id, method.method) {
            (9, 1) => Ok(None),
            (70, 1 | 2) => {
                if !self.relay_sticks {
                    self.output = method.method == 2;
                }
                Ok(None)
            }
            _ => Err(ActionResult::ObjectUndefined),
        }
    }
}

/// Everything of one session. Change what is public, then run.
pub(super) struct Bench {
    pub(super) template: MeterTemplate,
    pub(super) encryption: [u8; 16],
    pub(super) authentication: [u8; 16],
    pub(super) expected_title: SystemTitle,
    pub(super) answer_timeout: Duration,
    pub(super) counters: CounterState,
    pub(super) shapes: BTreeMap<ObisCode, ProfileShape>,
    pub(super) device: Device,
    pub(super) fault: Fault,
    /// What the counter object claims instead of the truth.
    pub(super) claimed: Option<u32>,
    /// The first reservation becomes durable only when the second one is asked for.
    pub(super) slow_disk: bool,
    /// Before this APDU of the client, the meter believes a much higher counter of ours.
    pub(super) jump_at: Option<usize>,
    /// APDUs that the client sent.
    pub(super) sent: usize,
    security: DeviceSecurity,
    server: Server,
    log: Vec<Output>,
    over: bool,
    now: Now,
    entropy: u8,
}

enum Input {
    LinkUp,
    LinkDown,
    Apdu(Vec<u8>),
    Reserved(u32),
}

impl Bench {
    pub(super) fn standard() -> Self {
        let config = Arc::new(ServerConfig {
            associations: vec![
                AssociationPolicy {
                    client: PUBLIC_CLIENT,
                    mechanism: Mechanism::None,
                    ciphered: false,
                    policy: Policy::AuthenticatedEncryption,
                    conformance: Conformance::GET,
                },
                AssociationPolicy {
                    client: 1,
                    mechanism: Mechanism::Gmac,
                    ciphered: true,
                    policy: Policy::AuthenticatedEncryption,
                    conformance: Conformance::STANDARD,
                },
            ],
            max_pdu: 512,
        });
        let mut security =
            DeviceSecurity::new(METER_TITLE, Keys::new(EK, AK), TransmitCounter::new());
        let upper = security.reservation_due().unwrap();
        security.reserved(upper);
        Self {
            template: MeterTemplate::standard("test"),
            encryption: EK,
            authentication: AK,
            expected_title: METER_TITLE,
            answer_timeout: Duration::from_secs(20),
            counters: CounterState::default(),
            shapes: BTreeMap::new(),
            device: Device {
                now: UtcTime::default(),
                clock_offset_ms: 0,
                deviation: 0,
                states_deviation: true,
                can_select: true,
                output: true,
                relay_sticks: false,
                serial: Data::VisibleString(b"GL0001".to_vec()),
                counter: 0,
            },
            fault: Fault::None,
            claimed: None,
            slow_disk: false,
            jump_at: None,
            sent: 0,
            security,
            server: Server::new(config),
            log: Vec::new(),
            over: false,
            now: Now {
                instant: Instant::from_nanos(1),
                utc: end(1_000),
            },
            entropy: 0,
        }
    }

    /// The meter believed this counter of ours last.
    pub(super) fn meter_heard(&mut self, counter: u32) {
        self.security = self.security.clone().with_receive_counter(
            CLIENT_TITLE,
            KeyKind::Unicast,
            ReceiveCounter::after(counter),
        );
    }

    fn client(&self) -> ClientConfig {
        let form = self.template.ciphering;
        ClientConfig {
            client: 1,
            server: 1,
            authentication: Authentication::Gmac,
            ciphering: Some(Ciphering {
                keys: Keys::new(self.encryption, self.authentication),
                title: CLIENT_TITLE,
                server_title: Some(self.expected_title),
                dedicated_key: form
                    .uses_dedicated_key()
                    .then(|| DedicatedKey::new([7; 16])),
                form: match form {
                    CipheringForm::GeneralGlobal | CipheringForm::GeneralDedicated => {
                        ServiceForm::General
                    }
                    CipheringForm::None
                    | CipheringForm::ServiceGlobal
                    | CipheringForm::ServiceDedicated => ServiceForm::Service,
                },
                control: SecurityControl::AUTHENTICATED_ENCRYPTED,
                policy: Policy::AuthenticatedEncryption,
                suite: SecuritySuite::Suite0,
            }),
            max_pdu: 512,
            conformance: Conformance::STANDARD,
            release: ReleaseForm::Full,
            answer_timeout: self.answer_timeout,
            attempts: 1,
        }
    }

    /// Runs a session to its end, and returns what its steps gave.
    pub(super) fn run(&mut self, steps: Vec<Step>) -> Vec<Result<StepValue, StepError>> {
        let config = SessionConfig {
            client: self.client(),
            template: Arc::new(self.template.clone()),
            counters: self.counters.clone(),
            shapes: self.shapes.clone(),
            link_timeout: Duration::from_secs(30),
            session_timeout: Duration::from_secs(300),
        };
        let mut session = Session::new(config, steps, self.now);
        let mut inputs = VecDeque::new();
        for _ in 0..5_000 {
            while let Some(output) = session.poll_output() {
                self.carry_out(&output, &mut inputs);
                self.log.push(output);
            }
            let now = self.now;
            match inputs.pop_front() {
                Some(Input::LinkUp) => {
                    self.entropy += 1;
                    session.handle_link_up(&[self.entropy; 16], now);
                }
                Some(Input::LinkDown) => session.handle_link_down(now),
                Some(Input::Apdu(apdu)) => session.handle_apdu(&apdu, now),
                Some(Input::Reserved(upper)) => session.handle_reserved(upper, now),
                None => match session.wake() {
                    Some((at, _)) => {
                        let wait = at.since(self.now.instant);
                        self.pass(wait);
                        session.handle_timeout(self.now);
                    }
                    None => break,
                },
            }
        }
        self.over = session.is_over();
        let done: Vec<_> = self
            .log
            .iter()
            .filter_map(|output| {
                if let Output::StepDone { index, result } = output {
                    Some((*index, result.clone()))
                } else {
                    None
                }
            })
            .collect();
        let order: Vec<usize> = done.iter().map(|(index, _)| *index).collect();
        assert_eq!(order, (0..done.len()).collect::<Vec<_>>(), "in order, once");
        done.into_iter().map(|(_, result)| result).collect()
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant = self.now.instant + time;
        self.now.utc = self.now.utc + time;
    }

    fn carry_out(&mut self, output: &Output, inputs: &mut VecDeque<Input>) {
        match output {
            Output::Connect { .. } if self.fault == Fault::NoLink => {}
            Output::Connect { .. } => inputs.push_back(Input::LinkUp),
            Output::Reserve { .. } if self.slow_disk && self.reserved().is_empty() => {}
            Output::Reserve { upper } => {
                let slow = self.reserved().first().copied().filter(|_| self.slow_disk);
                inputs.extend(slow.map(Input::Reserved));
                inputs.push_back(Input::Reserved(*upper));
            }
            Output::Close => self.server.disconnected(),
            Output::Send { apdu } => self.send(apdu, inputs),
            Output::Progress { .. }
            | Output::StepDone { .. }
            | Output::Counter(_)
            | Output::Notified(_)
            | Output::Finished(_) => {}
        }
    }

    fn send(&mut self, apdu: &[u8], inputs: &mut VecDeque<Input>) {
        self.sent += 1;
        self.pass(Duration::from_millis(100));
        self.device.now = self.now.utc;
        if self.fault == Fault::CutBefore(self.sent) {
            self.server.disconnected();
            return inputs.push_back(Input::LinkDown);
        }
        if self.jump_at == Some(self.sent) {
            self.meter_heard(50_000);
        }
        let heard = self
            .security
            .receive_counters()
            .find_map(|(title, _, counter)| (title == CLIENT_TITLE).then_some(counter.last()));
        self.device.counter = self.claimed.or(heard.flatten()).unwrap_or(0);
        let client = *self.connects().last().unwrap();
        let answer = self.server.handle_apdu(
            client,
            apdu,
            &mut self.device,
            &mut self.security,
            &mut |bytes| bytes.fill(0x5A),
        );
        if let Some(upper) = self.security.reservation_due() {
            self.security.reserved(upper);
        }
        self.pass(Duration::from_millis(100));
        if self.fault == Fault::CutAfter(self.sent) {
            self.server.disconnected();
            inputs.push_back(Input::LinkDown);
        } else if !matches!(self.fault, Fault::Silent(at) if self.sent >= at) {
            inputs.extend(answer.map(Input::Apdu));
        }
    }

    pub(super) fn report(&self) -> &SessionReport {
        match self.log.last() {
            Some(Output::Finished(report)) => report,
            other => panic!("a report comes last, not {other:?}"),
        }
    }

    pub(super) fn connects(&self) -> Vec<u16> {
        let clients = self.log.iter().filter_map(|output| {
            if let Output::Connect { client, .. } = output {
                Some(*client)
            } else {
                None
            }
        });
        clients.collect()
    }

    pub(super) fn reserved(&self) -> Vec<u32> {
        let uppers = self.log.iter().filter_map(|output| {
            if let Output::Reserve { upper } = output {
                Some(*upper)
            } else {
                None
            }
        });
        uppers.collect()
    }

    pub(super) fn findings(&self) -> Vec<CounterFinding> {
        let findings = self.log.iter().filter_map(|output| {
            if let Output::Counter(finding) = output {
                Some(*finding)
            } else {
                None
            }
        });
        findings.collect()
    }

    pub(super) fn session_is_over(&self) -> bool {
        self.over
    }

    /// Whether the last APDU was an RLRQ.
    pub(super) fn released(&self) -> bool {
        let last = self.log.iter().rev().find_map(|output| {
            if let Output::Send { apdu } = output {
                Some(apdu[0])
            } else {
                None
            }
        });
        last == Some(0x62)
    }
}
