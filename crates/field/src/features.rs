//! What a meter does beyond measuring: its load switch, its limiter, its tariffs, its highest
//! demand. All times are the meter's own.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::bytes::Reader;
use gridloom_core::{ObisCode, UtcTime};
use gridloom_dlms::axdr::Data;

use crate::load::{ApplianceState, DayPrices, Load, Power, Stretch};
use crate::metrology::CHANNELS;
use crate::objects::InterfaceObject;
use crate::objects::activity_calendar::{ActivityCalendar, CalendarEvent, Plan};
use crate::objects::demand_register::{DemandPeriod, ScalerUnit};
use crate::objects::disconnect_control::{
    Cause, ControlState, DisconnectConfig, DisconnectControl, DisconnectEvent, SwitchPosition,
};
use crate::objects::limiter::{
    Limiter, LimiterConfig, LimiterEvent, MonitoredValue, ThresholdType,
};
use crate::objects::maximum_demand::{MaximumDemand, Peak};
use crate::objects::retained::RetainedError;
use crate::objects::script_table::{Script, ScriptAction, ScriptName, ScriptService, ScriptTable};
use crate::objects::special_days::SpecialDays;
use crate::parts;
use gridloom_dlms::companion::IndianEvent;

/// Tariffs of a meter.
pub const TARIFFS: usize = 8;

/// The script table whose script `n` makes tariff `n` the active one.
pub const TARIFF_SCRIPTS: ObisCode = ObisCode([0, 0, 10, 0, 100, 255]);

/// The script table of the load switch: 1 disconnects, 2 reconnects.
pub const DISCONNECT_SCRIPTS: ObisCode = ObisCode([0, 0, 10, 0, 106, 255]);

const DISCONNECT_CONTROL: ObisCode = ObisCode([0, 0, 96, 3, 10, 255]);

/// What the limiter of a meter without a limit has as its threshold, in watts.
const UNLIMITED: i64 = u32::MAX as i64;

const SWITCH: DisconnectConfig = DisconnectConfig {
    // Remote reconnection closes at once; the button opens and closes.
    mode: 2,
    reverse_voltage_max_mv: 50_000,
    switch_time: Duration::from_secs(2),
};

const WATTS: ScalerUnit = ScalerUnit {
    scaler: 0,
    unit: 27,
};
const VOLT_AMPERES: ScalerUnit = ScalerUnit {
    scaler: 0,
    unit: 28,
};

/// What the meter reports of its features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureEvent {
    /// The load switch changed its state.
    Switched {
        /// From.
        from: ControlState,
        /// To.
        to: ControlState,
        /// By whom.
        cause: Cause,
    },
    /// The load stayed above the limit, and the limiter's script ran.
    LimitExceeded {
        /// When the time was up, by the meter's clock.
        at: UtcTime,
    },
    /// The load came back below the limit.
    LimitKept {
        /// When the time was up, by the meter's clock.
        at: UtcTime,
    },
    /// The passive calendar became the active one.
    CalendarActivated {
        /// When, by the meter's clock.
        at: UtcTime,
    },
    /// Another tariff is active, 1 to [`TARIFFS`].
    Tariff {
        /// Which.
        tariff: u8,
    },
}

impl FeatureEvent {
    /// What the event logs call it.
    pub(crate) const fn code(&self) -> Option<IndianEvent> {
        match self {
            Self::Switched { from, to, .. } => match (from, to) {
                (ControlState::Connected, _) => Some(IndianEvent::LoadDisconnected),
                (_, ControlState::Connected) => Some(IndianEvent::LoadConnected),
                _ => None,
            },
            Self::CalendarActivated { .. } => Some(IndianEvent::CalendarSet),
            Self::LimitExceeded { .. } | Self::LimitKept { .. } | Self::Tariff { .. } => None,
        }
    }
}

/// Import and export by tariff. The totals are the metrology's; what is kept here are the
/// differences, so that both always sum up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tariffs {
    /// 1 to [`TARIFFS`].
    active: u8,
    /// Up to the last change, in Wh.
    settled: [[u64; 2]; TARIFFS],
    /// The totals at that change.
    since: [u64; 2],
}

impl Tariffs {
    const NEW: Self = Self {
        active: 1,
        settled: [[0; 2]; TARIFFS],
        since: [0; 2],
    };

    fn energy(&self, tariff: u8, channel: usize, totals: &[u64; CHANNELS]) -> u64 {
        let settled = self.settled[usize::from(tariff) - 1][channel];
        if tariff == self.active {
            settled + totals[channel].saturating_sub(self.since[channel])
        } else {
            settled
        }
    }

    fn activate(&mut self, tariff: u8, totals: &[u64; CHANNELS]) {
        for channel in 0..2 {
            self.settled[usize::from(self.active) - 1][channel] =
                self.energy(self.active, channel, totals);
            self.since[channel] = totals[channel];
        }
        self.active = tariff;
    }
}

/// An object that a feature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Switch,
    SwitchScripts,
    Limiter,
    Calendar,
    SpecialDays,
    /// Of active import.
    DemandActive,
    /// Of apparent import.
    DemandApparent,
}

/// The features of one meter.
#[derive(Debug)]
pub(crate) struct Features {
    switch: DisconnectControl,
    scripts: ScriptTable,
    limiter: Limiter,
    calendar: ActivityCalendar,
    special: SpecialDays,
    tariffs: Tariffs,
    /// Of active and of apparent import.
    demand: [MaximumDemand; 2],
    /// When the calendar or the limiter has something to do.
    due: Option<UtcTime>,
    events: VecDeque<FeatureEvent>,
}

impl Features {
    pub(crate) fn new() -> Self {
        let nothing = ScriptName::NONE;
        let mut features = Self {
            switch: DisconnectControl::new(SWITCH),
            scripts: ScriptTable::new(switch_scripts()),
            limiter: Limiter::new(&LimiterConfig {
                monitored: MonitoredValue {
                    class_id: 3,
                    instance: ObisCode([1, 0, 1, 7, 0, 255]),
                    attribute: 2,
                },
                threshold_type: ThresholdType::DoubleLongUnsigned,
                threshold_normal: UNLIMITED,
                threshold_emergency: UNLIMITED,
                min_over_s: 60,
                min_under_s: 60,
                action_over: ScriptName {
                    table: DISCONNECT_SCRIPTS,
                    selector: 1,
                },
                action_under: nothing,
            }),
            calendar: ActivityCalendar::new(Plan::default()),
            special: SpecialDays::new(),
            tariffs: Tariffs::NEW,
            demand: [MaximumDemand::new(WATTS), MaximumDemand::new(VOLT_AMPERES)],
            due: None,
            events: VecDeque::new(),
        };
        features
            .switch
            .handle_position(SwitchPosition::Closed, UtcTime::from_secs(0));
        while features.switch.poll_event().is_some() {}
        features
    }

    /// Whether the load has supply.
    pub(crate) fn is_closed(&self) -> bool {
        self.switch.position() == SwitchPosition::Closed
    }

    /// Whether the limiter must see every change of the load.
    pub(crate) fn is_limited(&self) -> bool {
        self.limiter.threshold_active() < UNLIMITED || self.limiter.wake().is_some()
    }

    /// When [`Self::handle_time`] has something to do.
    pub(crate) fn due(&self) -> Option<UtcTime> {
        self.due
    }

    /// The tariff that is active, 1 to [`TARIFFS`].
    pub(crate) fn tariff(&self) -> u8 {
        self.tariffs.active
    }

    /// Import (0) or export (1) in a tariff, in Wh.
    pub(crate) fn energy(&self, tariff: u8, channel: usize, totals: &[u64; CHANNELS]) -> u64 {
        self.tariffs.energy(tariff, channel, totals)
    }

    /// Import in every tariff, in Wh.
    pub(crate) fn imports(&self, totals: &[u64; CHANNELS]) -> [u64; TARIFFS] {
        let mut imports = [0; TARIFFS];
        for (import, tariff) in imports.iter_mut().zip(1..) {
            *import = self.energy(tariff, 0, totals);
        }
        imports
    }

    /// The object of a part.
    pub(crate) fn object(&self, part: Part) -> &dyn InterfaceObject {
        match part {
            Part::Switch => &self.switch,
            Part::SwitchScripts => &self.scripts,
            Part::Limiter => &self.limiter,
            Part::Calendar => &self.calendar,
            Part::SpecialDays => &self.special,
            Part::DemandActive => &self.demand[0],
            Part::DemandApparent => &self.demand[1],
        }
    }

    /// The object of a part, to be changed; [`Self::handle_time`] comes afterwards.
    pub(crate) fn object_mut(&mut self, part: Part) -> &mut dyn InterfaceObject {
        match part {
            Part::Switch => &mut self.switch,
            Part::SwitchScripts => &mut self.scripts,
            Part::Limiter => &mut self.limiter,
            Part::Calendar => &mut self.calendar,
            Part::SpecialDays => &mut self.special,
            Part::DemandActive => &mut self.demand[0],
            Part::DemandApparent => &mut self.demand[1],
        }
    }

    /// The load draws `watts` from `at` on; true if what must be remembered has changed.
    pub(crate) fn handle_power(
        &mut self,
        watts: i64,
        at: UtcTime,
        totals: &[u64; CHANNELS],
    ) -> bool {
        let before = self.limiter.wake();
        self.limiter.handle_value(watts, at);
        let acted = self.carry_out(at, totals);
        self.plan(at);
        acted || self.limiter.wake() != before
    }

    /// Carries out what is due by `at`, and what clients have asked for; `totals` are the
    /// registers then. True if anything happened.
    pub(crate) fn handle_time(&mut self, at: UtcTime, totals: &[u64; CHANNELS]) -> bool {
        self.limiter.handle_time(at);
        self.calendar.handle_time(at, &self.special);
        let acted = self.carry_out(at, totals);
        self.plan(at);
        acted
    }

    /// A schedule runs a script at `at`.
    pub(crate) fn handle_script(
        &mut self,
        script: ScriptName,
        at: UtcTime,
        totals: &[u64; CHANNELS],
    ) {
        self.run(script, Cause::Local, at, totals);
        self.carry_out(at, totals);
        self.plan(at);
    }

    /// A demand period has ended: mean import in W and VA.
    /// True if one of them is a new maximum.
    pub(crate) fn handle_demand(
        &mut self,
        end: UtcTime,
        means: [u32; 2],
        is_complete: bool,
    ) -> bool {
        let mut higher = false;
        for (register, average) in self.demand.iter_mut().zip(means) {
            let before = register.peak();
            register.handle_period(DemandPeriod {
                end,
                average,
                is_complete,
            });
            higher |= register.peak() != before;
        }
        higher
    }

    /// A billing period has ended: the peaks of it.
    pub(crate) fn handle_billing(&mut self, at: UtcTime) -> [Peak; 2] {
        let [active, apparent] = &mut self.demand;
        [active.handle_billing(at), apparent.handle_billing(at)]
    }

    pub(crate) fn poll_event(&mut self) -> Option<FeatureEvent> {
        self.events.pop_front()
    }

    /// Features act on each other: a script may switch, and a switch may end a limit.
    fn carry_out(&mut self, at: UtcTime, totals: &[u64; CHANNELS]) -> bool {
        let mut acted = false;
        loop {
            if let Some(selector) = self.scripts.poll_run() {
                self.run(
                    ScriptName {
                        table: DISCONNECT_SCRIPTS,
                        selector,
                    },
                    Cause::Remote,
                    at,
                    totals,
                );
            } else if let Some(event) = self.limiter.poll_event() {
                match event {
                    LimiterEvent::Exceeded { at, script } => {
                        self.events.push_back(FeatureEvent::LimitExceeded { at });
                        self.run(script, Cause::Local, at, totals);
                    }
                    LimiterEvent::Ok { at, script } => {
                        self.events.push_back(FeatureEvent::LimitKept { at });
                        self.run(script, Cause::Local, at, totals);
                    }
                    LimiterEvent::ThresholdChanged { .. } => {}
                }
            } else if let Some(event) = self.calendar.poll_event() {
                match event {
                    CalendarEvent::Execute { at, script } => {
                        self.run(script, Cause::Local, at, totals);
                    }
                    CalendarEvent::Activated { at } => {
                        self.events
                            .push_back(FeatureEvent::CalendarActivated { at });
                    }
                    CalendarEvent::PassiveWritten => {}
                }
            } else if let Some(event) = self.switch.poll_event() {
                match event {
                    // Emulated contacts follow at once.
                    DisconnectEvent::Switch(position) => {
                        self.switch.handle_position(position, at);
                    }
                    DisconnectEvent::Changed { from, to, cause } => {
                        self.events
                            .push_back(FeatureEvent::Switched { from, to, cause });
                    }
                    DisconnectEvent::ReverseVoltage { .. } | DisconnectEvent::Failed { .. } => {}
                }
            } else {
                return acted;
            }
            acted = true;
        }
    }

    /// Scripts of the two tables that the meter has; others do nothing. A switch that refuses
    /// stays as it is.
    fn run(&mut self, script: ScriptName, cause: Cause, at: UtcTime, totals: &[u64; CHANNELS]) {
        let tariff = u8::try_from(script.selector).unwrap_or(0);
        if script.table == TARIFF_SCRIPTS && (1..=TARIFFS).contains(&usize::from(tariff)) {
            if tariff != self.tariffs.active {
                self.tariffs.activate(tariff, totals);
                self.events.push_back(FeatureEvent::Tariff { tariff });
            }
        } else if script.table == DISCONNECT_SCRIPTS {
            let _stays = match (script.selector, cause) {
                (1, Cause::Remote) => self.switch.remote_disconnect(at),
                (2, Cause::Remote) => self.switch.remote_reconnect(at),
                (1, _) => self.switch.local_disconnect(at),
                (2, _) => self.switch.local_reconnect(at),
                _ => Ok(()),
            };
        }
    }

    fn plan(&mut self, at: UtcTime) {
        let limiter = self.limiter.wake().map(|(at, _)| at);
        let calendar = self.calendar.wake(at, &self.special).map(|(at, _)| at);
        self.due = [limiter, calendar].into_iter().flatten().min();
    }

    /// Appends what the features keep.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        parts::put(out, 1, |out| self.switch.encode(out));
        parts::put(out, 2, |out| self.limiter.encode(out));
        parts::put(out, 3, |out| self.calendar.encode(out));
        parts::put(out, 4, |out| self.special.encode(out));
        parts::put(out, 5, |out| self.demand[0].encode(out));
        parts::put(out, 6, |out| self.demand[1].encode(out));
        parts::put(out, 7, |out| {
            out.push(self.tariffs.active);
            let settled = self.tariffs.settled.iter().flatten();
            for energy in settled.chain(&self.tariffs.since) {
                out.extend(energy.to_be_bytes());
            }
        });
    }

    /// Takes over what features kept; `at` is the meter's time.
    ///
    /// # Errors
    ///
    /// Bytes that no features wrote.
    pub(crate) fn decode(bytes: &[u8], at: UtcTime) -> Result<Self, RetainedError> {
        const OBJECT: &str = "features";
        let truncated = |source| RetainedError::Truncated {
            object: OBJECT,
            source,
        };
        let mut features = Self::new();
        parts::read(OBJECT, bytes, |number, part| {
            match number {
                1 => features.switch = DisconnectControl::decode(SWITCH, part, at)?,
                2 => {
                    let kind = ThresholdType::DoubleLongUnsigned;
                    features.limiter = Limiter::decode(kind, part)?;
                }
                3 => features.calendar = ActivityCalendar::decode(part)?,
                4 => features.special = SpecialDays::decode(part)?,
                5 => features.demand[0] = MaximumDemand::decode(WATTS, part)?,
                6 => features.demand[1] = MaximumDemand::decode(VOLT_AMPERES, part)?,
                7 => {
                    features.tariffs = tariffs(part).map_err(truncated)?.ok_or({
                        RetainedError::Value {
                            object: OBJECT,
                            field: "tariff",
                        }
                    })?
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(features)
    }
}

fn tariffs(bytes: &[u8]) -> Result<Option<Tariffs>, gridloom_core::bytes::Truncated> {
    let mut reader = Reader::new(bytes);
    let mut tariffs = Tariffs::NEW;
    tariffs.active = reader.u8()?;
    let settled = tariffs.settled.iter_mut().flatten();
    for energy in settled.chain(&mut tariffs.since) {
        *energy = reader.u64()?;
    }
    let holds = (1..=TARIFFS).contains(&usize::from(tariffs.active))
        && tariffs.settled.iter().flatten().all(|wh| *wh < 1 << 40)
        && reader.is_empty();
    Ok(holds.then_some(tariffs))
}

fn switch_scripts() -> Vec<Script> {
    let script = |identifier: u16, method: i8| Script {
        identifier,
        actions: vec![ScriptAction {
            service: ScriptService::Invoke,
            class_id: 70,
            instance: DISCONNECT_CONTROL,
            index: method,
            parameter: Data::Integer(0),
        }],
    };
    vec![script(1, 1), script(2, 2)]
}

/// A house behind a switch.
pub(crate) struct Switched<'a> {
    pub(crate) load: &'a mut dyn Load,
    pub(crate) is_closed: bool,
}

impl Load for Switched<'_> {
    fn power_at(&mut self, at: UtcTime) -> Stretch {
        let stretch = self.load.power_at(at);
        if self.is_closed {
            return stretch;
        }
        Stretch {
            until: stretch.until,
            power: stretch.power.map(|_| Power::default()),
        }
    }

    fn voltage_mv(&mut self, at: UtcTime) -> Option<[i64; 3]> {
        self.load.voltage_mv(at)
    }

    fn appliances_at(&mut self, at: UtcTime) -> Vec<ApplianceState> {
        if self.is_closed {
            self.load.appliances_at(at)
        } else {
            Vec::new()
        }
    }

    fn begin_day(&mut self, day: gridloom_core::Day, prices: &DayPrices) {
        self.load.begin_day(day, prices);
    }
}
