//! What a meter notices of hands and faults: tampering at its terminals and covers, and the
//! alarms that it raises. All times are the meter's own.

use std::sync::{Arc, LazyLock};

use gridloom_core::UtcTime;
use gridloom_dlms::alert::AlertPush;
use gridloom_dlms::apdu::DataAccessResult;
use gridloom_dlms::axdr::Data;

use crate::alerts::Alerts;
use crate::metrology::Instantaneous;
use crate::objects::alarm::{
    AlarmBit, AlarmConfig, AlarmEvent, AlarmObject, Alarms, Condition, StatusBit,
};
use crate::objects::power_quality::{
    Disturbance, PowerQuality, PowerQualityConfig, PowerQualityEvent,
};
use crate::objects::retained::RetainedError;
use crate::objects::tamper::{Feeding, Tamper, TamperConfig, TamperEvent, TamperWatch};
use crate::objects::terminals::Terminals;
use crate::parts;
use gridloom_dlms::companion::IndianEvent;

/// Every alarm passes from the factory; of the event status word a client chooses.
const ALARMS: AlarmConfig = AlarmConfig {
    filters: [u32::MAX; 2],
    status_filter: 0,
};

/// Customers may generate.
static TAMPER: LazyLock<Arc<TamperConfig>> = LazyLock::new(|| {
    Arc::new(TamperConfig {
        feeding: Feeding::Allowed,
        ..TamperConfig::INDIAN
    })
});

static MADE_ALARMS: LazyLock<Alarms> = LazyLock::new(|| Alarms::new(ALARMS));

/// What hands do to a meter, besides the load that it measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surroundings {
    /// The meter's cover is open.
    pub cover_open: bool,
    /// The terminals' cover is open.
    pub terminal_cover_open: bool,
    /// The magnetic field at the meter, in microtesla.
    pub field_ut: u32,
    /// A foreign voltage on the neutral, in millivolts.
    pub neutral_disturbance_mv: u32,
    /// The neutral is connected.
    pub neutral_connected: bool,
    /// How much of the load's current returns past the meter, in thousandths.
    pub bypass_milli: u32,
    /// Total harmonic distortion of the voltages, in thousandths of the fundamental.
    pub distortion_milli: u32,
}

impl Surroundings {
    /// Nobody is there.
    pub const QUIET: Self = Self {
        cover_open: false,
        terminal_cover_open: false,
        field_ut: 0,
        neutral_disturbance_mv: 0,
        neutral_connected: true,
        bypass_milli: 0,
        distortion_milli: 0,
    };

    fn terminals(&self, seen: &Instantaneous, phases: u8) -> Terminals {
        let small = |value: i64| u32::try_from(value.max(0)).unwrap_or(u32::MAX);
        let kept = u64::from(1_000_u32.saturating_sub(self.bypass_milli));
        let neutral = u64::from(small(seen.neutral_ma)) * kept / 1_000;
        Terminals {
            voltage_mv: seen.voltage_mv.map(small),
            current_ma: seen.current_ma.map(small),
            neutral_ma: u32::try_from(neutral).ok(),
            active_mw: seen.phase_active_mw,
            power_factor_milli: small(seen.power_factor_milli.abs()),
            neutral_disturbance_mv: self.neutral_disturbance_mv,
            neutral_connected: self.neutral_connected,
            field_ut: self.field_ut,
            cover_open: self.cover_open,
            terminal_cover_open: self.terminal_cover_open,
            phases,
        }
    }
}

/// The supervision of one meter; it owns nothing until something happens.
#[derive(Debug, Default)]
pub(crate) struct Supervision {
    alarms: Option<Box<Alarms>>,
    tamper: Option<Box<TamperWatch>>,
    /// Since the voltages were first out of bounds.
    quality: Option<Box<PowerQuality>>,
    /// `None` until the meter is told, and after each start.
    surroundings: Option<Box<Surroundings>>,
    alerts: Option<Box<Alerts>>,
}

impl Supervision {
    /// The alerts on their way to the edge; `None` before the first one.
    pub(crate) fn alerts(&self) -> Option<&Alerts> {
        self.alerts.as_deref()
    }

    /// Likewise, to be sent and confirmed.
    pub(crate) fn alerts_mut(&mut self) -> Option<&mut Alerts> {
        self.alerts.as_deref_mut()
    }

    /// Takes an alert, and gives it its number.
    pub(crate) fn raise(&mut self, push: AlertPush) -> u32 {
        self.alerts.get_or_insert_default().raise(push)
    }

    /// A raised alert may leave.
    pub(crate) fn release(&mut self, number: u32) {
        if let Some(alerts) = &mut self.alerts {
            alerts.release(number);
        }
    }

    /// What an alert says now.
    pub(crate) fn alert(&self, device_name: Vec<u8>, at: UtcTime) -> AlertPush {
        let alarms = self.alarms.as_deref().unwrap_or(&MADE_ALARMS);
        AlertPush {
            device_name,
            time: UtcTime::from_secs(at.as_secs()),
            descriptors: alarms.descriptors(),
            status_word: alarms.status_word(),
        }
    }

    /// Hands have changed something; [`Self::handle_seen`] comes next.
    pub(crate) fn surround(&mut self, surroundings: Surroundings) {
        self.surroundings = Some(Box::new(surroundings));
    }

    /// Whether the terminals are looked at.
    pub(crate) fn is_watching(&self) -> bool {
        self.surroundings.is_some()
    }

    /// The terminals look so from `at` on.
    pub(crate) fn handle_seen(&mut self, seen: &Instantaneous, phases: u8, at: UtcTime) {
        if let Some(surroundings) = &self.surroundings {
            let terminals = surroundings.terminals(seen, phases);
            self.tamper
                .get_or_insert_with(|| Box::new(TamperWatch::new(Arc::clone(&TAMPER))))
                .handle_terminals(&terminals, at);
        }
    }

    /// Whether voltages from `lowest` to `highest` must be looked at one by one: they are out
    /// of bounds, or were so once.
    pub(crate) fn wants_voltages(
        &self,
        (lowest, highest): (i64, i64),
        limits: &PowerQualityConfig,
    ) -> bool {
        let share = |milli: u32| i64::from(limits.nominal_mv) * i64::from(milli) / 1_000;
        self.quality.is_some()
            || lowest < share(limits.sag_milli)
            || highest > share(limits.swell_milli)
    }

    /// The voltages are these from `at` on.
    pub(crate) fn handle_voltages(
        &mut self,
        millivolts: [i64; 3],
        limits: &PowerQualityConfig,
        at: UtcTime,
    ) {
        let small = |value: i64| u32::try_from(value.max(0)).unwrap_or(u32::MAX);
        self.quality_mut(limits, at)
            .handle_voltages(millivolts.map(small), at);
    }

    /// The voltages are distorted as the surroundings say from `at` on.
    pub(crate) fn handle_distortion(&mut self, limits: &PowerQualityConfig, at: UtcTime) {
        let Some(milli) = self.surroundings.as_ref().map(|seen| seen.distortion_milli) else {
            return;
        };
        if milli > limits.distortion_max_milli || self.quality.is_some() {
            let quality = self.quality_mut(limits, at);
            for phase in 0..limits.phases {
                quality.handle_harmonics(phase, &[milli], at);
            }
        }
    }

    /// Nobody measures from `at` on.
    pub(crate) fn handle_power_down(&mut self, at: UtcTime) {
        if let Some(quality) = &mut self.quality {
            quality.handle_power_down(at);
        }
    }

    fn quality_mut(&mut self, limits: &PowerQualityConfig, at: UtcTime) -> &mut PowerQuality {
        self.quality
            .get_or_insert_with(|| Box::new(PowerQuality::new(Arc::new(*limits), at)))
    }

    /// Raises the alarms of a disturbance that has come to count or is over, and says what to
    /// log, when.
    pub(crate) fn poll_quality(
        &mut self,
    ) -> Option<(Option<IndianEvent>, UtcTime, PowerQualityEvent)> {
        let event = self.quality.as_mut()?.poll_event()?;
        let (disturbance, phase, condition, at) = match event {
            PowerQualityEvent::Began {
                disturbance,
                phase,
                at,
            } => (disturbance, phase, Condition::Present, at),
            PowerQualityEvent::Ended {
                disturbance,
                phase,
                at,
                ..
            } => (disturbance, phase, Condition::Gone, at),
            PowerQualityEvent::WeekEnded { at } => return Some((None, at, event)),
        };
        let by_phase = |bits: [AlarmBit; 3]| bits.get(usize::from(phase)).copied();
        let (status, alarm) = match disturbance {
            Disturbance::Sag => (Some(StatusBit::LowVoltage), None),
            Disturbance::Swell => (Some(StatusBit::OverVoltage), None),
            Disturbance::Cut => (
                None,
                by_phase([
                    AlarmBit::MissingVoltageL1,
                    AlarmBit::MissingVoltageL2,
                    AlarmBit::MissingVoltageL3,
                ]),
            ),
            Disturbance::Distortion => (
                None,
                by_phase([
                    AlarmBit::BadVoltageL1,
                    AlarmBit::BadVoltageL2,
                    AlarmBit::BadVoltageL3,
                ]),
            ),
            Disturbance::Unbalance => (
                Some(StatusBit::VoltageUnbalance),
                Some(AlarmBit::PhaseAsymmetry),
            ),
        };
        if let Some(bit) = status {
            self.status(bit, condition);
        }
        if let Some(bit) = alarm {
            self.alarm(bit, condition);
        }
        Some((disturbance.indian_event(condition), at, event))
    }

    /// How often the voltage of a phase, from 0, was disturbed.
    pub(crate) fn disturbances(&self, disturbance: Disturbance, phase: u8) -> u32 {
        let quality = self.quality.as_ref();
        quality.map_or(0, |quality| quality.count(disturbance, phase))
    }

    /// What has lasted long enough by `at` counts.
    pub(crate) fn handle_time(&mut self, at: UtcTime) {
        if let Some(tamper) = &mut self.tamper {
            tamper.handle_time(at);
        }
        if let Some(quality) = &mut self.quality {
            quality.handle_time(at);
        }
    }

    /// When [`Self::handle_time`] has something to do.
    pub(crate) fn due(&self) -> Option<UtcTime> {
        let tamper = self.tamper.as_ref().and_then(|tamper| tamper.wake());
        let quality = self.quality.as_ref().and_then(|quality| quality.wake());
        [tamper, quality]
            .into_iter()
            .flatten()
            .map(|(at, _)| at)
            .min()
    }

    /// Raises the alarms of what has come to count or is over, and says what to log, when.
    pub(crate) fn poll_event(&mut self) -> Option<(Option<IndianEvent>, TamperEvent)> {
        let event = self.tamper.as_mut()?.poll_event()?;
        let (tamper, condition) = match event {
            TamperEvent::Began { tamper, .. } => (tamper, Condition::Present),
            TamperEvent::Ended { tamper, .. } => (tamper, Condition::Gone),
        };
        let others = self.tamper.as_ref().is_some_and(|watch| {
            Tamper::ALL.into_iter().any(|other| {
                other != tamper
                    && other.alarm_bit() == tamper.alarm_bit()
                    && watch.record(other).since().is_some()
            })
        });
        if let Some(bit) = tamper.status_bit() {
            self.status(bit, condition);
        }
        if let Some(bit) = tamper.alarm_bit()
            && (condition == Condition::Present || !others)
        {
            self.alarm(bit, condition);
        }
        Some((tamper.indian_event(condition), event))
    }

    /// An alarm begins or ends.
    pub(crate) fn alarm(&mut self, bit: AlarmBit, condition: Condition) {
        self.alarms_mut().handle_alarm(bit, condition);
    }

    /// A condition of the event status word begins or ends.
    pub(crate) fn status(&mut self, bit: StatusBit, condition: Condition) {
        self.alarms_mut().handle_status(bit, condition);
    }

    /// Whether an alert is due since the last call.
    pub(crate) fn take_alert(&mut self) -> bool {
        let mut alert = false;
        while let Some(event) = self.alarms.as_mut().and_then(|alarms| alarms.poll_event()) {
            alert |= match event {
                AlarmEvent::Descriptor { .. } | AlarmEvent::Status { .. } => true,
                AlarmEvent::ErrorsCleared | AlarmEvent::AlarmsCleared => false,
            };
        }
        alert
    }

    /// How often tampering counted.
    pub(crate) fn count(&self) -> u32 {
        self.tamper.as_ref().map_or(0, |tamper| tamper.count())
    }

    /// Attribute 2 of an alarm object.
    pub(crate) fn value(&self, object: AlarmObject) -> Data {
        match &self.alarms {
            Some(alarms) => alarms.value(object),
            None => MADE_ALARMS.value(object),
        }
    }

    /// A client writes attribute 2 of an alarm object.
    pub(crate) fn write(
        &mut self,
        object: AlarmObject,
        value: &Data,
    ) -> Result<(), DataAccessResult> {
        self.alarms_mut().write(object, value)
    }

    fn alarms_mut(&mut self) -> &mut Alarms {
        self.alarms
            .get_or_insert_with(|| Box::new(Alarms::new(ALARMS)))
    }

    /// Appends what is kept.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        if let Some(alarms) = &self.alarms {
            parts::put(out, 1, |out| alarms.encode(out));
        }
        if let Some(tamper) = &self.tamper {
            parts::put(out, 2, |out| tamper.encode(out));
        }
        if let Some(quality) = &self.quality {
            parts::put(out, 3, |out| quality.encode(out));
        }
        if let Some(alerts) = &self.alerts {
            parts::put(out, 4, |out| alerts.encode(out));
        }
    }

    /// Takes over what a supervision kept.
    ///
    /// # Errors
    ///
    /// Bytes that no supervision wrote.
    pub(crate) fn decode(bytes: &[u8], limits: &PowerQualityConfig) -> Result<Self, RetainedError> {
        const OBJECT: &str = "supervision";
        let mut supervision = Self::default();
        parts::read(OBJECT, bytes, |number, part| {
            match number {
                1 => supervision.alarms = Some(Box::new(Alarms::decode(part)?)),
                2 => {
                    let watch = TamperWatch::decode(Arc::clone(&TAMPER), part)?;
                    supervision.tamper = Some(Box::new(watch));
                }
                3 => {
                    let quality = PowerQuality::decode(Arc::new(*limits), part)?;
                    supervision.quality = Some(Box::new(quality));
                }
                4 => supervision.alerts = Some(Box::new(Alerts::decode(part)?)),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(supervision)
    }
}
