//! Serving clients: associations over connections, and the objects behind them.

use std::sync::LazyLock;

use gridloom_core::{Now, ObisCode, UtcTime};
use gridloom_dlms::apdu::{
    ActionResult, AttributeDescriptor, DataAccessResult, MethodDescriptor, SelectiveAccess,
};
use gridloom_dlms::association::Mechanism;
use gridloom_dlms::axdr::{BitString, Data};
use gridloom_dlms::datetime::CosemDateTime;
use gridloom_dlms::selection::CaptureObject;
use gridloom_dlms::server::{Caller, KeyKind, LogicalDevice, SecurityDesk, Server};
use rand_core::Rng as _;

use super::{Meter, Output, Owed};
use crate::billing_period::BillingPeriods;
use crate::catalogue::buffer::Source;
use crate::catalogue::demand::Demand;
use crate::catalogue::rows::{Buffer, CounterOf, Kind};
use crate::catalogue::table::Row;
use crate::catalogue::{Client, ObjectTable};
use crate::clock::{Clock, ClockStep};
use crate::config::MeterConfig;
use crate::features::{Features, Switched};
use crate::fittings::Fittings;
use crate::keeper::Urgency;
use crate::load::Load;
use crate::logs::Logs;
use crate::memory::{IMAGE_CELL, LOGS_CELL, SECURITY_CELL, SUPERVISION_CELL};
use crate::metrology::{Instantaneous, Metrology};
use crate::objects::InterfaceObject as _;
use crate::objects::event_code::IndianEvent;
use crate::objects::event_log::Dial;
use crate::objects::push_setup::{Destination, PushConfig, PushSetup};
use crate::objects::script_table::ScriptName;
use crate::objects::shape;
use crate::profile::{Entry, Profile};
use crate::protection::Protection;
use crate::supervision::Supervision;
use crate::upgrade::Upgrade;

/// A client's connection, numbered by whoever hosts the meter and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Fills bytes that nobody can guess.
pub type Entropy = Box<dyn FnMut(&mut [u8]) + Send>;

impl Meter {
    /// Connections served at once; a further one is closed by [`Output::Disconnect`].
    pub const CONNECTIONS_MAX: usize = 4;

    /// Gives the source of the challenges that clients must answer: the operating system's, in
    /// every deployment. Without it they follow from the seed, and a simulation repeats itself.
    pub fn set_entropy(&mut self, entropy: Entropy) {
        self.entropy = Some(entropy);
    }

    /// A client connected. A meter without supply serves none.
    pub fn handle_client_connected(&mut self, connection: ConnectionId, now: Now) {
        self.begin(now);
        self.admit(connection);
        self.settle(now);
    }

    /// A client's connection is gone, and what was to be answered on it.
    pub fn handle_client_disconnected(&mut self, connection: ConnectionId, now: Now) {
        self.begin(now);
        if let Some(mut server) = self.connections.remove(&connection) {
            server.disconnected();
        }
        self.drop_client_answers(|other| other == connection);
        self.settle(now);
    }

    /// An APDU came from the client at SAP `client`, not trusted in any way; the first one also
    /// begins its connection. It is answered by [`Output::Answer`] once everything that it
    /// changed is durable. While
    /// [`Self::ANSWERS_MAX`] answers wait for that, further APDUs are dropped and counted.
    pub fn handle_client_apdu(
        &mut self,
        connection: ConnectionId,
        client: u16,
        apdu: &[u8],
        now: Now,
    ) {
        self.begin(now);
        self.measure(now);
        if self.admit(connection) {
            if self.waiting_answers() < Self::ANSWERS_MAX && !self.restarting {
                self.serve(connection, client, apdu, now);
            } else {
                self.counters.answers_dropped += 1;
            }
        }
        self.settle(now);
    }

    fn admit(&mut self, connection: ConnectionId) -> bool {
        if self.off_since.is_none() {
            if self.connections.contains_key(&connection) {
                return true;
            }
            if self.connections.len() < Self::CONNECTIONS_MAX {
                let server = Server::new(self.config.access.server.clone());
                self.connections.insert(connection, server);
                return true;
            }
        }
        self.outbox.push_back(Output::Disconnect { connection });
        false
    }

    fn serve(&mut self, connection: ConnectionId, client: u16, apdu: &[u8], now: Now) {
        // What is behind its own clock must not be set: `measure` comes again at once.
        let settable = !self.is_over(now) && !self.keeper.is_behind();
        let last = UtcTime::from_millis(self.boundary().as_millis() - 1);
        self.integrate_to(now.utc.min(last));
        let believed = [KeyKind::Unicast, KeyKind::Broadcast].map(|key| self.link.believed(key));
        if self.protection.is_dated() {
            let peers = self.protection.peers(self.clock.time_at(now.utc));
            self.link.security_mut().set_peers(peers);
        }
        self.challenges += 1;
        let mut seeded = self
            .config
            .seed
            .child("challenge")
            .nth(now.utc.as_millis().unsigned_abs())
            .nth(self.challenges)
            .rng();
        let mut entropy = |bytes: &mut [u8]| match &mut self.entropy {
            Some(entropy) => entropy(bytes),
            None => seeded.fill_bytes(bytes),
        };
        let mut device = Device {
            table: ObjectTable::of(self.config.connection),
            config: &self.config,
            clock: &mut self.clock,
            truly: now.utc,
            settable: settable.then_some(self.interval_end),
            profile: &self.profile,
            metrology: &self.metrology,
            load: &mut *self.load,
            periods: &mut self.periods,
            features: &mut self.features,
            logs: &mut self.logs,
            fittings: &mut self.fittings,
            protection: &mut self.protection,
            upgrade: &mut self.upgrade,
            supervision: &mut self.supervision,
            block_reset: &mut self.block_reset,
            believed,
            step: None,
            billing_ends: false,
            features_changed: false,
            logs_changed: false,
            fittings_changed: false,
            protection_changed: false,
            image_changed: false,
            scripts: Vec::new(),
            proved: false,
            alarms_changed: false,
            alert_asked: false,
            push_asked: false,
            changed: false,
        };
        let keys = self.link.security().keys().clone();
        let server = self.connections.get_mut(&connection);
        let answer = server.expect("the caller has looked").handle_apdu(
            client,
            apdu,
            &mut device,
            self.link.security_mut(),
            &mut entropy,
        );
        let Device {
            step,
            billing_ends,
            features_changed,
            logs_changed,
            fittings_changed,
            protection_changed,
            image_changed,
            scripts,
            proved,
            alarms_changed,
            alert_asked,
            push_asked,
            mut changed,
            ..
        } = device;
        if features_changed {
            self.change_features();
            changed = true;
        }
        if logs_changed {
            self.keeper.touch_cell(LOGS_CELL, now);
            changed = true;
        }
        if fittings_changed {
            self.change_fittings();
            changed = true;
        }
        if protection_changed {
            let peers = self.protection.peers(self.clock.time_at(now.utc));
            self.link.security_mut().set_peers(peers);
            self.keeper.touch_cell(SECURITY_CELL, now);
            changed = true;
        }
        for script in scripts {
            self.run_script(script, now);
            changed = true;
        }
        // Whoever activates an image has not seen it run.
        if proved && !image_changed && self.upgrade.is_on_trial() {
            self.upgrade.handle_confirmed();
            self.keeper.touch_cell(IMAGE_CELL, now);
            changed = true;
        }
        if alarms_changed {
            self.keeper.touch_cell(SUPERVISION_CELL, now);
            changed = true;
        }
        self.alert_due |= alert_asked;
        if image_changed {
            self.keeper.touch_cell(IMAGE_CELL, now);
            changed = true;
        }
        self.carry_image(now);
        if push_asked && let Some(newest) = self.profile.newest() {
            // Also one that was delivered: whoever asks wants to see a push.
            self.schedule.add(newest.end());
        }
        if billing_ends {
            self.end_billing(self.clock.time_at(now.utc));
        }
        if let Some(step) = step {
            self.stepped(step, now);
            changed = true;
        }
        if *self.link.security().keys() != keys {
            self.note(IndianEvent::GlobalKeysChanged, now);
        }
        if self.link.has_changed() || changed {
            self.keeper.touch(Urgency::Now, now);
            changed = true;
        }
        let Some(apdu) = answer else {
            return;
        };
        // Answers keep their order on a connection.
        let behind = self.owed.iter().any(|(_, owed)| {
            matches!(owed, Owed::ClientAnswer { connection: other, .. } if *other == connection)
        });
        if changed || behind {
            self.owe(Owed::ClientAnswer {
                connection,
                client,
                apdu,
            });
        } else {
            self.outbox.push_back(Output::Answer {
                connection,
                client,
                apdu,
            });
        }
    }

    /// Answers that wait until their effect is durable.
    pub(super) fn waiting_answers(&self) -> usize {
        let owed = self.owed.iter();
        owed.filter(|(_, owed)| matches!(owed, Owed::Answer(_) | Owed::ClientAnswer { .. }))
            .count()
    }

    /// Without supply no connection stands.
    pub(super) fn drop_clients(&mut self) {
        self.connections.clear();
        self.drop_client_answers(|_| true);
    }

    fn drop_client_answers(&mut self, of: impl Fn(ConnectionId) -> bool) {
        let before = self.owed.len();
        self.owed.retain(
            |(_, owed)| !matches!(owed, Owed::ClientAnswer { connection, .. } if of(*connection)),
        );
        self.counters.answers_dropped += (before - self.owed.len()) as u64;
    }
}

/// The parts of a meter that its objects show and change.
struct Device<'a> {
    table: ObjectTable,
    config: &'a MeterConfig,
    clock: &'a mut Clock,
    truly: UtcTime,
    /// The end of the running interval, unless intervals wait to be captured.
    settable: Option<UtcTime>,
    profile: &'a Profile,
    metrology: &'a Metrology,
    load: &'a mut dyn Load,
    periods: &'a mut BillingPeriods,
    features: &'a mut Features,
    logs: &'a mut Logs,
    fittings: &'a mut Fittings,
    protection: &'a mut Protection,
    upgrade: &'a mut Upgrade,
    supervision: &'a mut Supervision,
    block_reset: &'a mut Option<UtcTime>,
    /// The highest counters of clients, under the unicast and the broadcast key.
    believed: [u32; 2],
    /// How the clock was set, all requests of the APDU taken together.
    step: Option<ClockStep>,
    billing_ends: bool,
    features_changed: bool,
    logs_changed: bool,
    fittings_changed: bool,
    protection_changed: bool,
    image_changed: bool,
    /// That a client wants to run.
    scripts: Vec<ScriptName>,
    /// Somebody who proved who he is was served.
    proved: bool,
    alarms_changed: bool,
    alert_asked: bool,
    push_asked: bool,
    changed: bool,
}

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
        match row.kind {
            Kind::Clock => {
                let mut clock = *self.clock;
                let step = clock.set(asked.attribute, value, self.truly)?;
                self.take_clock(clock, step)
                    .map_err(|refusal| match refusal {
                        ClockRefusal::Behind => DataAccessResult::TemporaryFailure,
                        ClockRefusal::TooFarBack => DataAccessResult::OtherReason,
                    })
            }
            Kind::Part(part) => {
                let shown = self.clock.time_at(self.truly);
                self.features
                    .object_mut(part)
                    .set(asked.attribute, value, shown)?;
                self.features_changed = true;
                Ok(())
            }
            Kind::Fitting(fitting) => {
                let shown = self.clock.time_at(self.truly);
                self.fittings.change(fitting, shown, |object| {
                    object.set(asked.attribute, value, shown)
                })?;
                self.fittings_changed = true;
                Ok(())
            }
            Kind::Alarm(object) => {
                self.supervision.write(object, value)?;
                self.alarms_changed = true;
                Ok(())
            }
            Kind::ImageTransfer => {
                let shown = self.clock.time_at(self.truly);
                self.upgrade.set(asked.attribute, value, shown)?;
                self.image_changed = true;
                Ok(())
            }
            Kind::Association
            | Kind::SapList
            | Kind::DeviceName
            | Kind::SecuritySetup
            | Kind::InvocationCounter(_)
            | Kind::Serial
            | Kind::Maker
            | Kind::YearOfManufacture
            | Kind::Firmware
            | Kind::CapturePeriod
            | Kind::DemandPeriod
            | Kind::ProfileStatus
            | Kind::ActiveTariff
            | Kind::OutageCount
            | Kind::OutageMinutes
            | Kind::EventCode(_)
            | Kind::Log(_)
            | Kind::InstantPush
            | Kind::AlertPush
            | Kind::TamperCount
            | Kind::Disturbances(..)
            | Kind::Demand(_)
            | Kind::Scripts(_)
            | Kind::Register(_)
            | Kind::Profile(_)
            | Kind::Scalers(_) => Err(DataAccessResult::ReadWriteDenied),
        }
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
        match row.kind {
            Kind::Clock => {
                let mut clock = *self.clock;
                let period = self.config.period;
                let step = clock.invoke(asked.method, parameters, period, self.truly)?;
                self.take_clock(clock, step)
                    .map_err(|refusal| match refusal {
                        ClockRefusal::Behind => ActionResult::TemporaryFailure,
                        ClockRefusal::TooFarBack => ActionResult::OtherReason,
                    })?;
            }
            Kind::Profile(Buffer::Billing) if asked.method == 2 => self.billing_ends = true,
            Kind::Part(part) => {
                let shown = self.clock.time_at(self.truly);
                let object = self.features.object_mut(part);
                let returned = object.invoke(asked.method, parameters, shown)?;
                self.features_changed = true;
                return Ok(returned);
            }
            Kind::Profile(Buffer::Billing) => self.periods.clear(),
            Kind::Log(number) => {
                let shown = self.clock.time_at(self.truly);
                let log = self.logs.log_mut(number);
                let returned = log.invoke(asked.method, parameters, shown)?;
                self.logs_changed = true;
                return Ok(returned);
            }
            Kind::Fitting(fitting) => {
                let shown = self.clock.time_at(self.truly);
                let returned = self.fittings.change(fitting, shown, |object| {
                    object.invoke(asked.method, parameters, shown)
                })?;
                self.fittings_changed = true;
                return Ok(returned);
            }
            Kind::ImageTransfer => {
                let shown = self.clock.time_at(self.truly);
                // A failed verification changes it too; a block only its segment.
                self.image_changed |= asked.method != 2;
                self.changed = true;
                return self.upgrade.invoke(asked.method, parameters, shown);
            }
            Kind::Scripts(scripts) => {
                let selector = shape::long_unsigned(shape::required(parameters)?)?;
                if scripts.table().actions(selector).is_none() {
                    return Err(ActionResult::ScopeOfAccessViolated);
                }
                self.scripts.push(ScriptName {
                    table: scripts.name(),
                    selector,
                });
            }
            Kind::AlertPush => {
                self.alert_asked = true;
                return Ok(None);
            }
            Kind::InstantPush => {
                self.push_asked = true;
                return Ok(None);
            }
            Kind::Profile(Buffer::Block | Buffer::Daily) => {
                *self.block_reset = self.profile.newest().map(Entry::end);
            }
            Kind::Association
            | Kind::SapList
            | Kind::DeviceName
            | Kind::SecuritySetup
            | Kind::InvocationCounter(_)
            | Kind::Serial
            | Kind::Maker
            | Kind::YearOfManufacture
            | Kind::Firmware
            | Kind::CapturePeriod
            | Kind::DemandPeriod
            | Kind::ProfileStatus
            | Kind::ActiveTariff
            | Kind::OutageCount
            | Kind::OutageMinutes
            | Kind::EventCode(_)
            | Kind::Alarm(_)
            | Kind::TamperCount
            | Kind::Disturbances(..)
            | Kind::Demand(_)
            | Kind::Register(_)
            | Kind::Profile(Buffer::Instantaneous)
            | Kind::Scalers(_) => return Err(ActionResult::ReadWriteDenied),
        }
        self.changed = true;
        Ok(None)
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
            self.protection_changed = true;
            return Ok(None);
        }
        let shown = self.clock.time_at(self.truly);
        let returned = self
            .protection
            .invoke(asked.method, parameters, shown, desk)?;
        // A request for a certificate and an export change nothing.
        self.protection_changed |= !matches!(asked.method, 5 | 7);
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
    fn meet(&mut self, caller: &Caller) {
        let proved = !matches!(caller.authentication, Mechanism::None | Mechanism::Lls);
        self.proved |= proved;
    }

    fn take_clock(&mut self, clock: Clock, step: Option<ClockStep>) -> Result<(), ClockRefusal> {
        if let Some(step) = step {
            let interval_end = self.settable.ok_or(ClockRefusal::Behind)?;
            let start = interval_end - self.config.period.duration();
            if step.after < start - Clock::BACK_MAX {
                return Err(ClockRefusal::TooFarBack);
            }
            let before = self.step.map_or(step.before, |step| step.before);
            self.step = Some(ClockStep {
                before,
                after: step.after,
            });
        }
        *self.clock = clock;
        self.changed = true;
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
        let seconds = |seconds: u32| Data::LongUnsigned(u16::try_from(seconds).unwrap_or(u16::MAX));
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
            Kind::CapturePeriod | Kind::DemandPeriod => seconds(self.config.period.as_secs()),
            Kind::OutageCount => Data::DoubleLongUnsigned(self.logs.outages().count()),
            Kind::OutageMinutes => Data::DoubleLongUnsigned(
                u32::try_from(self.logs.outages().seconds() / 60).unwrap_or(u32::MAX),
            ),
            Kind::EventCode(number) => self.logs.log(number).last_code(),
            Kind::Log(number) if attribute == 2 => {
                return self.logs.log(number).buffer(access, &Dialled(self.clock));
            }
            Kind::Log(number) => {
                let shown = self.clock.time_at(self.truly);
                return self.logs.log(number).get(attribute, shown);
            }
            Kind::InstantPush => {
                let shown = self.clock.time_at(self.truly);
                return INSTANT_PUSH.get(attribute, shown);
            }
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
                    period_s: self.config.period.as_secs(),
                    channel,
                    shown: self.clock.time_at(self.truly),
                };
                return demand.get(attribute);
            }
            Kind::TamperCount => Data::DoubleLongUnsigned(self.supervision.count()),
            Kind::AlertPush => {
                let shown = self.clock.time_at(self.truly);
                return ALERT_PUSH.get(attribute, shown);
            }
            Kind::Scripts(scripts) => {
                let shown = self.clock.time_at(self.truly);
                return scripts.table().get(attribute, shown);
            }
            Kind::Fitting(fitting) => {
                let shown = self.clock.time_at(self.truly);
                return self.fittings.object(fitting).get(attribute, shown);
            }
            Kind::ImageTransfer => {
                let shown = self.clock.time_at(self.truly);
                return self.upgrade.get(attribute, shown);
            }
            Kind::ActiveTariff => Data::Unsigned(self.features.tariff()),
            Kind::Part(part) => {
                let shown = self.clock.time_at(self.truly);
                return self.features.object(part).get(attribute, shown);
            }
            Kind::ProfileStatus => {
                let newest = self.profile.newest();
                Data::Unsigned(newest.map_or(0, |entry| entry.status().0))
            }
            Kind::Register(quantity) if attribute == 3 => quantity.scaler_unit_data(),
            Kind::Register(quantity) => {
                let seen = self.seen();
                quantity.value(self.metrology, &seen, self.profile.newest(), self.features)
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
            period: self.config.period,
            connection: self.config.connection,
            profile: self.profile,
            block_reset: *self.block_reset,
            metrology: self.metrology,
            periods: self.periods,
            features: self.features,
        }
    }

    /// The maker's three letters and thirteen digits, as a logical device name has them.
    fn device_name(&self) -> Vec<u8> {
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

/// What every meter pushes after each interval, to its edge. It is the maker's: a client may
/// only ask for a push now.
static INSTANT_PUSH: LazyLock<PushSetup> = LazyLock::new(|| {
    let object = |class_id: u16, [a, b, c, d, e]: [u8; 5], attribute: i8| CaptureObject {
        class_id,
        instance: ObisCode([a, b, c, d, e, 255]),
        attribute,
        data_index: 0,
    };
    let mut objects = vec![
        object(40, [0, 0, 25, 9, 0], 1),
        object(8, [0, 0, 1, 0, 0], 2),
        object(1, [0, 0, 96, 10, 1], 2),
        object(1, [1, 0, 0, 8, 4], 2),
    ];
    for quantity in [1, 2, 5, 6, 7, 8, 9] {
        objects.push(object(3, [1, 0, quantity, 29, 0], 2));
    }
    objects.extend([
        object(3, [1, 0, 32, 27, 0], 2),
        object(3, [1, 0, 1, 8, 0], 2),
        object(3, [1, 0, 1, 7, 0], 2),
    ]);
    PushSetup::new(PushConfig {
        objects,
        destination: Destination {
            transport: 0,
            address: Vec::new(),
            message: 0,
        },
        randomisation_s: 0,
        retries: 0,
        delay_s: 0,
    })
});

/// What every meter tells its management when an alarm begins.
static ALERT_PUSH: LazyLock<PushSetup> = LazyLock::new(|| {
    let object = |class_id: u16, [a, b, c, d, e]: [u8; 5], attribute: i8| CaptureObject {
        class_id,
        instance: ObisCode([a, b, c, d, e, 255]),
        attribute,
        data_index: 0,
    };
    PushSetup::new(PushConfig {
        objects: vec![
            object(40, [0, 4, 25, 9, 0], 1),
            object(8, [0, 0, 1, 0, 0], 2),
            object(1, [0, 0, 97, 98, 20], 2),
            object(1, [0, 0, 97, 98, 21], 2),
            object(1, [0, 0, 94, 91, 18], 2),
        ],
        destination: Destination {
            transport: 0,
            address: Vec::new(),
            message: 0,
        },
        randomisation_s: 0,
        retries: 0,
        delay_s: 0,
    })
});

/// When the first meters of this kind were made.
const YEAR: u16 = 2_026;

fn client_of(caller: &Caller) -> Option<Client> {
    Client::from_sap(caller.client)
}
