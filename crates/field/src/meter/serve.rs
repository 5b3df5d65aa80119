//! The objects behind an association, as its client reads, writes and invokes them.

use gridloom_core::{Period, UtcTime};
use gridloom_dlms::apdu::{
    ActionResult, AttributeDescriptor, DataAccessResult, MethodDescriptor, SelectiveAccess,
};
use gridloom_dlms::association::Mechanism;
use gridloom_dlms::axdr::{BitString, Data};
use gridloom_dlms::datetime::CosemDateTime;
use gridloom_dlms::selection::CaptureObject;
use gridloom_dlms::server::{Caller, LogicalDevice, SecurityDesk};

use super::Meter;
use crate::billing_period::BillingPeriods;
use crate::catalogue::buffer::Source;
use crate::catalogue::demand::Demand;
use crate::catalogue::rows::{Buffer, CounterOf, Holder, Kind};
use crate::catalogue::table::Row;
use crate::catalogue::{Client, ObjectTable};
use crate::clock::{Clock, ClockStep};
use crate::config::{Line, MeterConfig};
use crate::features::{Features, Switched};
use crate::fittings::{Fitting, Fittings, Pushes, Scripts};
use crate::load::Load;
use crate::logs::Logs;
use crate::metrology::{Instantaneous, Metrology};
use crate::objects::InterfaceObject as _;
use crate::objects::communication_setup::{AddressSource, Ipv4Setup, TcpUdpSetup};
use crate::objects::event_log::Dial;
use crate::objects::push_setup::Destination;
use crate::objects::script_table::ScriptName;
use crate::objects::shape;
use crate::profile::{Entry, Profile};
use crate::protection::Protection;
use crate::supervision::Supervision;
use crate::survey::{self, Span, Survey};
use crate::upgrade::Upgrade;

/// The parts of a meter that its objects show and change.
pub(super) struct Device<'a> {
    pub(super) table: ObjectTable,
    pub(super) config: &'a MeterConfig,
    pub(super) clock: &'a mut Clock,
    pub(super) truly: UtcTime,
    /// The end of the running interval, unless intervals wait to be captured.
    pub(super) settable: Option<UtcTime>,
    pub(super) profile: &'a Profile,
    pub(super) metrology: &'a Metrology,
    pub(super) load: &'a mut dyn Load,
    pub(super) periods: &'a mut BillingPeriods,
    pub(super) features: &'a mut Features,
    pub(super) logs: &'a mut Logs,
    pub(super) fittings: &'a mut Fittings,
    pub(super) protection: &'a mut Protection,
    pub(super) upgrade: &'a mut Upgrade,
    pub(super) supervision: &'a mut Supervision,
    pub(super) survey: &'a mut Survey,
    pub(super) block_reset: &'a mut Option<UtcTime>,
    /// The highest counters of clients, under the unicast and the broadcast key.
    pub(super) believed: [u32; 2],
    pub(super) done: Done,
}

/// What is left to be done once the APDU is answered.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// How the clock was set, all requests of the APDU taken together.
    pub(super) step: Option<ClockStep>,
    pub(super) billing_ends: bool,
    pub(super) features: bool,
    pub(super) logs: bool,
    pub(super) fittings: bool,
    /// The security setup, a key pair or a secret.
    pub(super) protection: bool,
    pub(super) image: bool,
    /// That a client wants to run.
    pub(super) scripts: Vec<ScriptName>,
    /// Somebody who proved who he is was served.
    pub(super) proved: bool,
    pub(super) alarms: bool,
    /// That a client asked for.
    pub(super) pushes: Vec<Pushes>,
    /// The rows of the block load profile, or their period.
    pub(super) survey: bool,
    /// That a client set.
    pub(super) periods: Vec<(Span, Period)>,
    /// Anything else that must be durable before the answer leaves.
    pub(super) changed: bool,
}

/// The parts of a meter at a true time, each borrowed for itself. Nothing may be set unless
/// `settable` says so.
macro_rules! device {
    ($meter:ident, $truly:expr) => {
        Device {
            table: ObjectTable::of($meter.config.connection),
            config: &$meter.config,
            clock: &mut $meter.clock,
            truly: $truly,
            settable: None,
            profile: &$meter.profile,
            metrology: &$meter.metrology,
            load: &mut *$meter.load,
            periods: &mut $meter.periods,
            features: &mut $meter.features,
            logs: &mut $meter.logs,
            fittings: &mut $meter.fittings,
            protection: &mut $meter.protection,
            upgrade: &mut $meter.upgrade,
            supervision: &mut $meter.supervision,
            survey: &mut $meter.survey,
            block_reset: &mut $meter.block_reset,
            believed: [0; 2],
            done: Done::default(),
        }
    };
}
pub(super) use device;

impl LogicalDevice for Device<'_> {
    fn get(
        &mut self,
        caller: &Caller,
        asked: AttributeDescriptor,
        access: Option<&SelectiveAccess>,
    ) -> Result<Data, DataAccessResult> {
        let client = client_of(caller).ok_or(DataAccessResult::ReadWriteDenied)?;
        let (row, attribute) = self.table.readable(client, asked)?;
        self.meet(caller);
        if access.is_some_and(|access| !attribute.selectors.contains(&access.selector)) {
            return Err(DataAccessResult::ScopeOfAccessViolated);
        }
        if asked.attribute == 1 {
            return Ok(Data::OctetString(row.name.0.to_vec()));
        }
        self.value(row, asked.attribute, access, caller, client)
    }

    fn set(
        &mut self,
        caller: &Caller,
        asked: AttributeDescriptor,
        access: Option<&SelectiveAccess>,
        value: &Data,
    ) -> Result<(), DataAccessResult> {
        let client = client_of(caller).ok_or(DataAccessResult::ReadWriteDenied)?;
        let row = self.table.writable(client, asked)?;
        self.meet(caller);
        if access.is_some() {
            return Err(DataAccessResult::ScopeOfAccessViolated);
        }
        let shown = self.clock.time_at(self.truly);
        match row.kind.holder() {
            Holder::Clock => {
                let mut clock = *self.clock;
                let step = clock.set(asked.attribute, value, self.truly)?;
                self.take_clock(clock, step)
                    .map_err(|refusal| match refusal {
                        ClockRefusal::Behind => DataAccessResult::TemporaryFailure,
                        ClockRefusal::TooFarBack => DataAccessResult::OtherReason,
                    })?;
            }
            Holder::Part(part) => {
                let object = self.features.object_mut(part);
                object.set(asked.attribute, value, shown)?;
                self.done.features = true;
            }
            Holder::Fitting(fitting) => {
                self.check_fitting(fitting, asked.attribute, value)?;
                self.fittings.change(fitting, shown, |object| {
                    object.set(asked.attribute, value, shown)
                })?;
                if let Fitting::Push(push) = fitting
                    && self.fittings.push(push).destination().is_none()
                {
                    self.fittings.restore_objects(push);
                }
                self.done.fittings = true;
            }
            Holder::Alarm(object) => {
                self.supervision.write(object, value)?;
                self.done.alarms = true;
            }
            Holder::ImageTransfer => {
                self.upgrade.set(asked.attribute, value, shown)?;
                self.done.image = true;
            }
            Holder::Span(span) => {
                let seconds = shape::long_unsigned(value)?;
                let period = survey::settable(seconds.into(), self.config.period)?;
                self.done.periods.push((span, period));
            }
            Holder::Log(_) | Holder::Scripts(_) | Holder::Profile(_) | Holder::Fixed => {
                return Err(DataAccessResult::ReadWriteDenied);
            }
        }
        Ok(())
    }

    fn invoke(
        &mut self,
        caller: &Caller,
        asked: MethodDescriptor,
        parameters: Option<&Data>,
    ) -> Result<Option<Data>, ActionResult> {
        let client = client_of(caller).ok_or(ActionResult::ReadWriteDenied)?;
        let row = self.table.invocable(client, asked)?;
        self.meet(caller);
        let shown = self.clock.time_at(self.truly);
        let mut returned = None;
        match row.kind.holder() {
            Holder::Clock => {
                let mut clock = *self.clock;
                let period = self.config.period;
                let step = clock.invoke(asked.method, parameters, period, self.truly)?;
                self.take_clock(clock, step)
                    .map_err(|refusal| match refusal {
                        ClockRefusal::Behind => ActionResult::TemporaryFailure,
                        ClockRefusal::TooFarBack => ActionResult::OtherReason,
                    })?;
            }
            Holder::Part(part) => {
                let object = self.features.object_mut(part);
                returned = object.invoke(asked.method, parameters, shown)?;
                self.done.features = true;
            }
            Holder::Log(number) => {
                let log = self.logs.log_mut(number);
                returned = log.invoke(asked.method, parameters, shown)?;
                self.done.logs = true;
            }
            Holder::Fitting(Fitting::Push(push)) => {
                shape::nothing(parameters)?;
                self.done.pushes.push(push);
            }
            Holder::Fitting(Fitting::Ipv4) => return Err(ActionResult::OtherReason),
            Holder::Fitting(fitting) => {
                returned = self.fittings.change(fitting, shown, |object| {
                    object.invoke(asked.method, parameters, shown)
                })?;
                self.done.fittings = true;
            }
            Holder::ImageTransfer => {
                // A failed verification changes it too; a block only its segment.
                self.done.image |= asked.method != 2;
                self.done.changed = true;
                returned = self.upgrade.invoke(asked.method, parameters, shown)?;
            }
            Holder::Scripts(scripts) => {
                let selector = shape::long_unsigned(shape::required(parameters)?)?;
                if scripts.table().actions(selector).is_none() {
                    return Err(ActionResult::ScopeOfAccessViolated);
                }
                self.done.scripts.push(ScriptName {
                    table: scripts.name(),
                    selector,
                });
            }
            Holder::Profile(Buffer::Billing) => {
                if asked.method == 2 {
                    self.done.billing_ends = true;
                } else {
                    self.periods.clear();
                }
                self.done.changed = true;
            }
            Holder::Profile(Buffer::Block) if self.survey.has_block() => {
                self.survey.reset_block(self.config.profile_days);
                self.done.survey = true;
            }
            Holder::Profile(Buffer::Block | Buffer::Daily) => {
                *self.block_reset = self.profile.newest().map(Entry::end);
                self.done.changed = true;
            }
            Holder::Profile(Buffer::Instantaneous)
            | Holder::Alarm(_)
            | Holder::Span(_)
            | Holder::Fixed => return Err(ActionResult::ReadWriteDenied),
        }
        Ok(returned)
    }

    fn invoke_security(
        &mut self,
        caller: &Caller,
        asked: MethodDescriptor,
        parameters: Option<&Data>,
        desk: &mut SecurityDesk<'_>,
    ) -> Result<Option<Data>, ActionResult> {
        let client = client_of(caller).ok_or(ActionResult::ReadWriteDenied)?;
        let row = self.table.invocable(client, asked)?;
        self.meet(caller);
        if matches!(row.kind, Kind::Association) {
            self.protection
                .change_secret(caller.client, parameters, desk)?;
            self.done.protection = true;
            return Ok(None);
        }
        let shown = self.clock.time_at(self.truly);
        let returned = self
            .protection
            .invoke(asked.method, parameters, shown, desk)?;
        // A request for a certificate and an export change nothing.
        self.done.protection |= !matches!(asked.method, 5 | 7);
        Ok(returned)
    }

    fn admits_keys(
        &mut self,
        caller: &Caller,
        asked: MethodDescriptor,
    ) -> Result<(), ActionResult> {
        let client = client_of(caller).ok_or(ActionResult::ReadWriteDenied)?;
        self.table.invocable(client, asked).map(|_| ())
    }
}

/// Why a clock stays as it is.
enum ClockRefusal {
    /// Intervals wait to be captured under its present time.
    Behind,
    /// Further back than [`Clock::BACK_MAX`].
    TooFarBack,
}

impl Device<'_> {
    /// What an attribute is for a push that names it; null for what this meter does not have, or
    /// what only an association can see.
    pub(super) fn pushed(&mut self, object: &CaptureObject, caller: &Caller) -> Data {
        let asked = AttributeDescriptor {
            class_id: object.class_id,
            instance: object.instance,
            attribute: object.attribute,
        };
        let Ok((row, _)) = self.table.readable(Client::Management, asked) else {
            return Data::Null;
        };
        let whole = if asked.attribute == 1 {
            shape::name_value(row.name)
        } else if matches!(row.kind, Kind::Association | Kind::SecuritySetup) {
            Data::Null
        } else if let (Kind::Profile(buffer), 2) = (row.kind, asked.attribute) {
            // The newest row: a whole buffer does not fit a push.
            self.source().newest(buffer)
        } else {
            self.value(row, asked.attribute, None, caller, Client::Management)
                .unwrap_or(Data::Null)
        };
        let Some(index) = usize::from(object.data_index).checked_sub(1) else {
            return whole;
        };
        let member = if let Data::Array(members) | Data::Structure(members) = whole {
            members.into_iter().nth(index)
        } else {
            None
        };
        member.unwrap_or(Data::Null)
    }

    /// Whether a meter can do what a client writes: what it would only store it refuses.
    fn check_fitting(
        &self,
        fitting: Fitting,
        attribute: i8,
        value: &Data,
    ) -> Result<(), DataAccessResult> {
        let fits = match (fitting, attribute) {
            (Fitting::Schedule(_), 2) => Scripts::knows(ScriptName::from_value(value)?),
            // The edge reads one list only: another one needs another destination.
            (Fitting::Push(push), 2) => {
                !self.fittings.push(push).destination().is_none() || *value == push.made_list()
            }
            (Fitting::Push(_), 3) => {
                let destination = Destination::from_value(value)?;
                destination.is_none() || self.config.reach.allows(&destination)
            }
            (Fitting::Tcp, 5) => usize::from(shape::unsigned(value)?) <= Meter::CONNECTIONS_MAX,
            (Fitting::Tcp, 6) => {
                self.config.reach.port.is_some() && is_timeout(shape::long_unsigned(value)?)
            }
            (Fitting::Hdlc, 8) => {
                self.config.reach.line == Line::Hdlc && is_timeout(shape::long_unsigned(value)?)
            }
            (Fitting::Hdlc, _) => self.config.reach.line == Line::Hdlc,
            _ => true,
        };
        if fits {
            Ok(())
        } else {
            Err(DataAccessResult::OtherReason)
        }
    }

    fn meet(&mut self, caller: &Caller) {
        let proved = !matches!(caller.authentication, Mechanism::None | Mechanism::Lls);
        self.done.proved |= proved;
    }

    fn take_clock(&mut self, clock: Clock, step: Option<ClockStep>) -> Result<(), ClockRefusal> {
        if let Some(step) = step {
            let interval_end = self.settable.ok_or(ClockRefusal::Behind)?;
            let start = interval_end - self.config.period.duration();
            if step.after < start - Clock::BACK_MAX {
                return Err(ClockRefusal::TooFarBack);
            }
            let before = self.done.step.map_or(step.before, |step| step.before);
            self.done.step = Some(ClockStep {
                before,
                after: step.after,
            });
        }
        *self.clock = clock;
        self.done.changed = true;
        Ok(())
    }

    fn value(
        &mut self,
        row: &Row,
        attribute: i8,
        access: Option<&SelectiveAccess>,
        caller: &Caller,
        client: Client,
    ) -> Result<Data, DataAccessResult> {
        let shown = self.clock.time_at(self.truly);
        Ok(match row.kind {
            Kind::Association => return self.association(attribute, caller, client),
            Kind::SapList => Data::Array(vec![Data::Structure(vec![
                Data::LongUnsigned(1),
                Data::OctetString(self.device_name()),
            ])]),
            Kind::DeviceName => Data::OctetString(self.device_name()),
            Kind::SecuritySetup => return self.protection.get(attribute, caller.title),
            Kind::InvocationCounter(of) => Data::DoubleLongUnsigned(match of {
                CounterOf::Unicast => self.believed[0],
                CounterOf::Broadcast => self.believed[1],
            }),
            Kind::Clock => return self.clock.get(attribute, self.truly),
            Kind::Serial => Data::OctetString(self.serial().into_bytes()),
            Kind::Maker => Data::OctetString(b"Gridloom".to_vec()),
            Kind::YearOfManufacture => Data::LongUnsigned(YEAR),
            Kind::Firmware => Data::OctetString(self.upgrade.version().into_bytes()),
            Kind::Span(span) => {
                let period = self.survey.period(span, self.config.period);
                Data::LongUnsigned(u16::try_from(period.as_secs()).unwrap_or(u16::MAX))
            }
            Kind::OutageCount => Data::DoubleLongUnsigned(self.logs.outages().count()),
            Kind::OutageMinutes => Data::DoubleLongUnsigned(
                u32::try_from(self.logs.outages().seconds() / 60).unwrap_or(u32::MAX),
            ),
            Kind::EventCode(number) => self.logs.log(number).last_code(),
            Kind::Log(number) if attribute == 2 => {
                return self.logs.log(number).buffer(access, &Dialled(self.clock));
            }
            Kind::Log(number) => return self.logs.log(number).get(attribute, shown),
            Kind::Alarm(object) => self.supervision.value(object),
            Kind::Disturbances(disturbance, phase) => {
                let count = self.supervision.disturbances(disturbance, phase as u8);
                Data::DoubleLongUnsigned(count)
            }
            Kind::Demand(channel) => {
                let demand = Demand {
                    clock: self.clock,
                    profile: self.profile,
                    metrology: self.metrology,
                    period_s: self
                        .survey
                        .period(Span::Demand, self.config.period)
                        .as_secs(),
                    survey: self.survey,
                    channel,
                    shown,
                };
                return demand.get(attribute);
            }
            Kind::TamperCount => Data::DoubleLongUnsigned(self.supervision.count()),
            Kind::Scripts(scripts) => return scripts.table().get(attribute, shown),
            Kind::Fitting(Fitting::Tcp) => {
                let port = self.config.reach.port.unwrap_or(self.fittings.tcp().port);
                let setup = TcpUdpSetup {
                    port,
                    ..self.fittings.tcp().clone()
                };
                return setup.get(attribute, shown);
            }
            Kind::Fitting(Fitting::Ipv4) => {
                let setup = Ipv4Setup {
                    address: self.config.reach.address.map_or(0, u32::from),
                    source: AddressSource::Static,
                    ..Ipv4Setup::DHCP
                };
                return setup.get(attribute, shown);
            }
            Kind::Fitting(fitting) => return self.fittings.object(fitting).get(attribute, shown),
            Kind::ImageTransfer => return self.upgrade.get(attribute, shown),
            Kind::ActiveTariff => Data::Unsigned(self.features.tariff()),
            Kind::Part(part) => return self.features.object(part).get(attribute, shown),
            Kind::ProfileStatus => {
                let newest = self.profile.newest();
                Data::Unsigned(newest.map_or(0, |entry| entry.status().0))
            }
            Kind::Register(quantity) if attribute == 3 => quantity.scaler_unit_data(),
            Kind::Register(quantity) => {
                let seen = self.seen();
                let rows = self.survey.block().unwrap_or(self.profile);
                quantity.value(self.metrology, &seen, rows.newest(), self.features)
            }
            Kind::Profile(buffer) => {
                return self.source().profile(buffer, attribute, access);
            }
            Kind::Scalers(buffer) => return self.source().scalers(buffer, attribute),
        })
    }

    fn seen(&mut self) -> Instantaneous {
        let at = self.metrology.cursor();
        let mut house = Switched {
            is_closed: self.features.is_closed(),
            load: &mut *self.load,
        };
        self.metrology.instantaneous(&mut house, at)
    }

    fn source(&mut self) -> Source<'_> {
        Source {
            seen: self.seen(),
            clock: self.clock,
            shown: self.clock.time_at(self.truly),
            connection: self.config.connection,
            profile: self.profile,
            block: self.survey.block().unwrap_or(self.profile),
            block_reset: if self.survey.has_block() {
                None
            } else {
                (*self.block_reset).max(self.survey.hidden())
            },
            days_reset: *self.block_reset,
            metrology: self.metrology,
            periods: self.periods,
            features: self.features,
        }
    }

    /// The maker's three letters and thirteen digits, as a logical device name has them.
    pub(super) fn device_name(&self) -> Vec<u8> {
        let [a, b, c, ..] = self.config.title.0;
        let mut name = vec![a, b, c];
        name.extend(self.serial().bytes());
        name
    }

    /// The serial number in the system title.
    fn serial(&self) -> String {
        let [_, _, _, serial @ ..] = self.config.title.0;
        let number = serial
            .iter()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        format!("{number:013}")
    }

    /// The current association (class 15 version 1), as the caller has it.
    fn association(
        &self,
        attribute: i8,
        caller: &Caller,
        client: Client,
    ) -> Result<Data, DataAccessResult> {
        /// Joint-ISO-CCITT, country, UK, DLMS UA.
        const DLMS_UA: [u8; 5] = [0x60, 0x85, 0x74, 0x05, 0x08];

        let ciphered = caller.protection.is_some();
        let server = &self.config.access.server;
        let policy = server.associations.iter().find(|policy| {
            policy.client == caller.client
                && policy.mechanism == caller.authentication
                && policy.ciphered == ciphered
        });
        let name = |kind: u8, number: u8| {
            let mut name = DLMS_UA.to_vec();
            name.extend([kind, number]);
            Data::OctetString(name)
        };
        Ok(match attribute {
            2 => self.table.object_list(client),
            3 => Data::Structure(vec![
                Data::Integer(i8::try_from(caller.client).unwrap_or(i8::MAX)),
                Data::LongUnsigned(1),
            ]),
            4 => name(1, if ciphered { 3 } else { 1 }),
            5 => {
                let conformance = policy.map_or(0, |policy| policy.conformance.bits());
                let [_, bits @ ..] = conformance.to_be_bytes();
                let bits = BitString::new(24, bits.to_vec()).expect("three bytes are 24 bits");
                Data::Structure(vec![
                    Data::BitString(bits),
                    Data::LongUnsigned(server.max_pdu),
                    Data::LongUnsigned(server.max_pdu),
                    Data::Unsigned(6),
                    Data::Integer(0),
                    Data::OctetString(Vec::new()),
                ])
            }
            6 => name(2, caller.authentication.id()),
            // Associated.
            8 => Data::Enum(2),
            9 => Data::OctetString(vec![0, 0, 43, 0, 0, 255]),
            _ => return Err(DataAccessResult::ReadWriteDenied),
        })
    }
}

/// The meter's clock as its event logs write and read it.
struct Dialled<'a>(&'a Clock);

impl Dial for Dialled<'_> {
    fn write(&self, time: UtcTime) -> CosemDateTime {
        self.0.local(time)
    }

    fn read(&self, time: &CosemDateTime) -> Option<UtcTime> {
        self.0.moment(time)
    }
}

/// The host hangs up after [`Meter::INACTIVITY_S_MAX`] anyway: a longer time-out, or none, would
/// only look as if it held.
fn is_timeout(seconds: u16) -> bool {
    (1..=Meter::INACTIVITY_S_MAX).contains(&seconds)
}

/// When the first meters of this kind were made.
const YEAR: u16 = 2_026;

fn client_of(caller: &Caller) -> Option<Client> {
    Client::from_sap(caller.client)
}
