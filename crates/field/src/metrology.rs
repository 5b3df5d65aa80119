//! Measures: integrates power exactly into registers of whole watt-hours.

use gridloom_core::{
    IntervalValues, MillivarHours, MillivoltAmpereHours, Millivolts, MilliwattHours, Period,
    ReadingStatus, Seed, UtcTime,
};

use crate::load::{Load, Power};
use crate::supply::Supply;

/// Microjoules (mW · ms) in one watt-hour.
const MICROJOULES_PER_WH: u64 = 3_600_000_000;

/// One energy register: whole watt-hours, and what is left over in microjoules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Accumulator {
    pub(crate) watt_hours: u64,
    /// Below [`MICROJOULES_PER_WH`].
    pub(crate) rest_uj: u64,
}

impl Accumulator {
    fn add(&mut self, milliwatts: u64, millis: u64) {
        let energy = self.rest_uj + milliwatts * millis;
        self.watt_hours += energy / MICROJOULES_PER_WH;
        self.rest_uj = energy % MICROJOULES_PER_WH;
    }

    pub(crate) fn is_valid(self) -> bool {
        self.rest_uj < MICROJOULES_PER_WH
            && i64::try_from(self.watt_hours).is_ok_and(|wh| wh < i64::MAX / 1_000)
    }
}

/// The cumulative energy registers, in whole Wh, varh and VAh. They never run backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Registers {
    /// Active import (1-0:1.8.0).
    pub import: MilliwattHours,
    /// Active export (1-0:2.8.0).
    pub export: MilliwattHours,
    /// Reactive energy of quadrants I to IV (1-0:5.8.0 to 1-0:8.8.0).
    pub reactive: [MillivarHours; 4],
    /// Apparent import (1-0:9.8.0).
    pub apparent: MillivoltAmpereHours,
}

/// What the terminals see at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instantaneous {
    /// Phase to neutral, L1 to L3, in millivolts; zero for phases the meter does not have.
    pub voltage_mv: [i64; 3],
    /// L1 to L3, in milliamperes.
    pub current_ma: [i64; 3],
    /// Active power of all phases in milliwatts; import is positive.
    pub active_mw: i64,
    /// Reactive power of all phases in millivars; inductive is positive.
    pub reactive_mvar: i64,
    /// Apparent power of all phases in millivolt-amperes.
    pub apparent_mva: i64,
    /// |P| / S in thousandths, 0–1000; 1000 without load.
    pub power_factor_milli: i64,
    /// Frequency in millihertz.
    pub frequency_mhz: i64,
    /// In the neutral conductor, in milliamperes: the sum of the phases as phasors.
    pub neutral_ma: i64,
    /// Active power of L1 to L3 in milliwatts; import is positive.
    pub phase_active_mw: [i64; 3],
    /// |P| / S of L1 to L3 in thousandths; 1000 without load.
    pub phase_power_factor_milli: [i64; 3],
}

/// Means over an interval, each cut to a whole unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Means {
    /// Phase to neutral, L1 to L3, in millivolts, while there was supply.
    pub voltage_mv: [i64; 3],
    /// L1 to L3, in milliamperes.
    pub current_ma: [i64; 3],
    /// Active power in milliwatts; import is positive.
    pub active_mw: i64,
    /// Reactive power in millivars; inductive is positive.
    pub reactive_mvar: i64,
    /// Apparent power in millivolt-amperes.
    pub apparent_mva: i64,
    /// |P| / S in thousandths, of the means.
    pub power_factor_milli: i64,
    /// Frequency in millihertz.
    pub frequency_mhz: i64,
}

/// Sums of value × milliseconds over the running interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sums {
    /// Time with supply.
    pub(crate) millis: u64,
    /// Supply was away for a part.
    pub(crate) interrupted: bool,
    pub(crate) voltage: [u64; 3],
    pub(crate) current: [u64; 3],
    pub(crate) active: i64,
    pub(crate) reactive: i64,
    pub(crate) apparent: u64,
    pub(crate) frequency: u64,
}

impl Sums {
    fn means(&self) -> Means {
        let Some(millis) = i64::try_from(self.millis).ok().filter(|ms| *ms > 0) else {
            return Means::default();
        };
        let mean = |sum: u64| i64::try_from(sum).unwrap_or(i64::MAX) / millis;
        let active_mw = self.active / millis;
        let apparent_mva = mean(self.apparent);
        Means {
            voltage_mv: self.voltage.map(mean),
            current_ma: self.current.map(mean),
            active_mw,
            reactive_mvar: self.reactive / millis,
            apparent_mva,
            power_factor_milli: power_factor_milli(active_mw, apparent_mva),
            frequency_mhz: mean(self.frequency),
        }
    }
}

/// What a second interval, beside the meter's own, must see of the terminals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tap {
    /// Time with supply.
    pub(crate) millis: u64,
    /// Of L1, in millivolts × milliseconds.
    pub(crate) voltage: u64,
    /// Supply was away for a part.
    pub(crate) interrupted: bool,
}

impl Tap {
    /// The mean voltage of L1 in 0.1 V, cut to a whole step.
    pub(crate) fn voltage_dv(&self) -> u16 {
        let mean = self.voltage.checked_div(self.millis).unwrap_or(0);
        u16::try_from(mean / 100).unwrap_or(u16::MAX)
    }
}

/// How the meter is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// L1 and neutral.
    SinglePhase,
    /// L1, L2, L3 and neutral.
    ThreePhase,
}

impl Connection {
    const fn phases(self) -> usize {
        match self {
            Self::SinglePhase => 1,
            Self::ThreePhase => 3,
        }
    }
}

/// What an interval's capture yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Captured {
    /// Energies of the interval (differences of the registers) and the mean voltage of L1.
    pub values: IntervalValues,
    /// The active import register at the end.
    pub import_register: MilliwattHours,
    /// The means.
    pub means: Means,
    /// [`ReadingStatus::POWER_DOWN`] if supply was away for a part of the interval.
    pub status: ReadingStatus,
}

/// The measuring part of a meter. All its state follows from its load and the time, so
/// integrating in two steps gives bit by bit what one step gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrology {
    connection: Connection,
    supply: Supply,
    seed: Seed,
    pub(crate) cursor: UtcTime,
    /// Import, export, QI–QIV, apparent.
    pub(crate) energy: [Accumulator; CHANNELS],
    /// Whole units at the start of the running interval.
    pub(crate) at_start: [u64; CHANNELS],
    pub(crate) sums: Sums,
    /// The lowest and the highest voltage of any phase since they were last asked for.
    voltages: Option<(i64, i64)>,
    /// Of the block load profile and of the demand, where they have periods of their own.
    taps: Option<Box<[Tap; 2]>>,
}

/// Energy registers of a meter.
pub(crate) const CHANNELS: usize = 7;
const IMPORT: usize = 0;
const EXPORT: usize = 1;
const APPARENT: usize = 6;

impl Metrology {
    /// No voltage of a network is taken to be lower, in millivolts.
    const VOLTAGE_MV_MIN: i64 = 1_000;

    /// Registers at zero, measuring from `start` on.
    pub fn new(connection: Connection, supply: Supply, seed: Seed, start: UtcTime) -> Self {
        Self {
            connection,
            supply,
            seed,
            cursor: start,
            energy: [Accumulator::default(); CHANNELS],
            at_start: [0; CHANNELS],
            sums: Sums::default(),
            voltages: None,
            taps: None,
        }
    }

    /// What a second interval has seen since the last call: 0 of the block load profile, 1 of
    /// the demand. The first call begins both.
    pub(crate) fn take_tap(&mut self, number: usize) -> Tap {
        core::mem::take(&mut self.taps.get_or_insert_default()[number])
    }

    /// The same, without a new start.
    pub(crate) fn tap(&self, number: usize) -> Tap {
        self.taps
            .as_ref()
            .map_or(Tap::default(), |taps| taps[number])
    }

    /// The lowest and the highest voltage of any phase since the last call, in millivolts.
    pub(crate) const fn take_voltages(&mut self) -> Option<(i64, i64)> {
        self.voltages.take()
    }

    /// Everything before this time is in the registers.
    pub fn cursor(&self) -> UtcTime {
        self.cursor
    }

    /// Integrates `load` up to `until`; does nothing if that lies in the past.
    ///
    /// # Panics
    ///
    /// If the load exceeds [`Power::PHASE_MILLI_MAX`] or names a stretch without length.
    pub fn advance(&mut self, load: &mut dyn Load, until: UtcTime) {
        while self.cursor < until {
            let stretch = load.power_at(self.cursor);
            assert!(stretch.until > self.cursor, "a stretch has a length");
            let end = stretch.until.min(until);
            match stretch.power {
                Some(power) => self.integrate(&self.connected(power), load, end),
                None => self.skip_to(end),
            }
        }
    }

    /// Supply was away until `at`: time passes, energy does not.
    pub fn skip_to(&mut self, at: UtcTime) {
        if at > self.cursor {
            self.cursor = at;
            self.sums.interrupted = true;
            for tap in self.taps.iter_mut().flat_map(|taps| taps.iter_mut()) {
                tap.interrupted = true;
            }
        }
    }

    /// Whether there was supply at any time of the running interval.
    pub fn has_measured(&self) -> bool {
        self.sums.millis > 0
    }

    /// The running interval ended while supply was away: its energy is in the registers and goes
    /// to the interval in which supply returned, its means go to none.
    pub(crate) fn restart_means(&mut self) {
        self.sums = Sums {
            interrupted: true,
            ..Sums::default()
        };
    }

    /// Supply was away for all of the running interval: the next one starts afresh.
    pub fn discard_interval(&mut self) {
        assert!(!self.has_measured(), "what was measured is captured");
        self.sums = Sums::default();
    }

    /// Closes the running interval at the cursor and starts the next one.
    pub fn capture(&mut self) -> Captured {
        let now = self.energy.map(|register| register.watt_hours);
        let mut delta = [0_i64; CHANNELS];
        for (delta, (now, start)) in delta.iter_mut().zip(now.iter().zip(self.at_start)) {
            *delta = milli(now - start);
        }
        let means = self.sums.means();
        let status = if self.sums.interrupted {
            ReadingStatus::POWER_DOWN
        } else {
            ReadingStatus::GOOD
        };
        self.at_start = now;
        self.sums = Sums::default();
        let [import, export, q1, q2, q3, q4, apparent] = delta;
        Captured {
            values: IntervalValues {
                import: MilliwattHours::new(import),
                export: MilliwattHours::new(export),
                reactive: [q1, q2, q3, q4].map(MillivarHours::new),
                apparent: MillivoltAmpereHours::new(apparent),
                // A register of 0.1 V: cut to its step.
                voltage: Millivolts::new(means.voltage_mv[0] / 100 * 100),
            },
            import_register: self.registers().import,
            means,
            status,
        }
    }

    /// The registers in whole units: import, export, QI–QIV, apparent.
    pub(crate) fn totals(&self) -> [u64; CHANNELS] {
        self.energy.map(|register| register.watt_hours)
    }

    /// The registers.
    pub fn registers(&self) -> Registers {
        let [import, export, q1, q2, q3, q4, apparent] =
            self.energy.map(|register| milli(register.watt_hours));
        Registers {
            import: MilliwattHours::new(import),
            export: MilliwattHours::new(export),
            reactive: [q1, q2, q3, q4].map(MillivarHours::new),
            apparent: MillivoltAmpereHours::new(apparent),
        }
    }

    /// What the terminals see at `at`.
    pub fn instantaneous(&self, load: &mut dyn Load, at: UtcTime) -> Instantaneous {
        let Some(power) = load.power_at(at).power else {
            return Instantaneous {
                power_factor_milli: 1_000,
                phase_power_factor_milli: [1_000; 3],
                ..Instantaneous::default()
            };
        };
        let power = self.connected(power);
        let apparent_mva = i64::try_from(power.total_mva()).expect("bounded by the phases");
        let mut seen = Instantaneous {
            active_mw: power.total_mw(),
            reactive_mvar: power.total_mvar(),
            apparent_mva,
            power_factor_milli: power_factor_milli(power.total_mw(), apparent_mva),
            frequency_mhz: self.supply.frequency_at(self.seed, at),
            phase_active_mw: power.active_mw,
            phase_power_factor_milli: [0, 1, 2].map(|phase| {
                let apparent = i64::try_from(power.apparent_mva(phase)).unwrap_or(i64::MAX);
                power_factor_milli(power.active_mw[phase], apparent)
            }),
            ..Instantaneous::default()
        };
        let said = load.voltage_mv(at);
        for phase in 0..self.connection.phases() {
            let voltage = self.voltage_mv(said, phase, at, &power);
            seen.voltage_mv[phase] = voltage;
            seen.current_ma[phase] = current_ma(power.apparent_mva(phase), voltage);
        }
        seen.neutral_ma = match self.connection {
            Connection::SinglePhase => seen.current_ma[0],
            Connection::ThreePhase => neutral_ma(&power, &seen.voltage_mv),
        };
        seen
    }

    /// A single-phase meter sees all of a house on L1.
    fn connected(&self, power: Power) -> Power {
        for value in power.active_mw.iter().chain(&power.reactive_mvar) {
            assert!(
                value.abs() <= Power::PHASE_MILLI_MAX,
                "a load stays within what a phase can carry"
            );
        }
        match self.connection {
            Connection::ThreePhase => power,
            Connection::SinglePhase => Power {
                active_mw: [power.total_mw(), 0, 0],
                reactive_mvar: [power.total_mvar(), 0, 0],
            },
        }
    }

    /// What a network says of a phase, or the meter's own supply. A phase that is dark while
    /// others are not still divides.
    fn voltage_mv(&self, said: Option<[i64; 3]>, phase: usize, at: UtcTime, power: &Power) -> i64 {
        match said {
            Some(said) => said[phase].max(Self::VOLTAGE_MV_MIN),
            None => self.supply.voltage_mv(self.seed, phase, at, power),
        }
    }

    fn integrate(&mut self, power: &Power, load: &mut dyn Load, end: UtcTime) {
        let (active, reactive) = (power.total_mw(), power.total_mvar());
        let apparent = power.total_mva();
        let phases: [u64; 3] = [0, 1, 2].map(|phase| power.apparent_mva(phase));
        while self.cursor < end {
            let step_end = Supply::step_end(self.cursor).min(end);
            let millis = step_end.as_millis() - self.cursor.as_millis();
            let span = millis.unsigned_abs();
            self.energy[if active >= 0 { IMPORT } else { EXPORT }].add(active.unsigned_abs(), span);
            self.energy[quadrant(active, reactive)].add(reactive.unsigned_abs(), span);
            if active >= 0 {
                self.energy[APPARENT].add(apparent, span);
            }
            self.sums.millis += span;
            if let Some(taps) = &mut self.taps {
                taps[0].millis += span;
            }
            self.sums.active += active * millis;
            self.sums.reactive += reactive * millis;
            self.sums.apparent += apparent * span;
            let said = load.voltage_mv(self.cursor);
            let frequency = self.supply.frequency_at(self.seed, self.cursor);
            self.sums.frequency += frequency.unsigned_abs() * span;
            for (phase, apparent) in phases.iter().enumerate().take(self.connection.phases()) {
                let voltage = self.voltage_mv(said, phase, self.cursor, power);
                let (lowest, highest) = self.voltages.unwrap_or((voltage, voltage));
                self.voltages = Some((lowest.min(voltage), highest.max(voltage)));
                self.sums.voltage[phase] += voltage.unsigned_abs() * span;
                if let (0, Some(taps)) = (phase, &mut self.taps) {
                    taps[0].voltage += voltage.unsigned_abs() * span;
                }
                self.sums.current[phase] += current_ma(*apparent, voltage).unsigned_abs() * span;
            }
            self.cursor = step_end;
        }
    }
}

/// The mean active power that an interval's energy is, in milliwatts; import minus export.
pub fn mean_milliwatts(values: &IntervalValues, period: Period) -> i64 {
    (values.import.get() - values.export.get()) * i64::from(period.per_hour())
}

/// Place of a quadrant's register: by the signs of P and Q.
fn quadrant(active: i64, reactive: i64) -> usize {
    match (active >= 0, reactive >= 0) {
        (true, true) => 2,
        (false, true) => 3,
        (false, false) => 4,
        (true, false) => 5,
    }
}

fn power_factor_milli(active_mw: i64, apparent_mva: i64) -> i64 {
    if apparent_mva == 0 {
        1_000
    } else {
        // The apparent power was cut to a whole unit, so the quotient can pass one by a hair.
        (active_mw.abs().saturating_mul(1_000) / apparent_mva).min(1_000)
    }
}

fn current_ma(apparent_mva: u64, voltage_mv: i64) -> i64 {
    i64::try_from(apparent_mva).expect("bounded by the phase") * 1_000 / voltage_mv
}

/// The magnitude of the sum of three phasors, 120 degrees apart.
fn neutral_ma(power: &Power, voltage_mv: &[i64; 3]) -> i64 {
    /// Half the root of three.
    const SINE: f64 = 0.866_025_403_784_438_6;
    /// Cosine and sine of the angles at which the phases follow each other.
    const ANGLES: [(f64, f64); 3] = [(1.0, 0.0), (-0.5, -SINE), (-0.5, SINE)];

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a phase's bound is far below 2^52, and so is the result"
    )]
    let sum = {
        let (mut real, mut imaginary) = (0.0, 0.0);
        for (phase, (cosine, sine)) in ANGLES.into_iter().enumerate() {
            // mW / mV = A.
            let active = power.active_mw[phase] as f64 / voltage_mv[phase] as f64;
            let reactive = power.reactive_mvar[phase] as f64 / voltage_mv[phase] as f64;
            real += active * cosine + reactive * sine;
            imaginary += active * sine - reactive * cosine;
        }
        ((real * real + imaginary * imaginary).sqrt() * 1_000.0).round() as i64
    };
    sum
}

fn milli(whole: u64) -> i64 {
    i64::try_from(whole)
        .ok()
        .and_then(|whole| whole.checked_mul(1_000))
        .expect("a register of 10^15 Wh is beyond any meter's life")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{ApplianceState, ConstantLoad, DayPrices, Stretch};

    const QUIET: Supply = Supply {
        noise: Millivolts::ZERO,
        ..Supply::LOW_VOLTAGE_50_HZ
    };

    fn meter(connection: Connection) -> Metrology {
        Metrology::new(connection, QUIET, Seed::new(1), UtcTime::from_secs(0))
    }

    fn constant(active_mw: [i64; 3], reactive_mvar: [i64; 3]) -> ConstantLoad {
        ConstantLoad {
            power: Power {
                active_mw,
                reactive_mvar,
            },
        }
    }

    #[test]
    fn the_neutral_carries_what_the_phases_do_not_balance() {
        // Per phase W and var, then mA in the neutral; 230 V without source impedance.
        let stiff = Supply {
            resistance_mohm: 0,
            reactance_mohm: 0,
            ..QUIET
        };
        let cases = [
            ([2_300, 2_300, 2_300], [0; 3], 0),
            ([2_300, 0, 0], [0; 3], 10_000),
            ([2_300, 2_300, 0], [0; 3], 10_000),
            ([2_300, 0, 0], [2_300, 0, 0], 14_142),
            ([2_300; 3], [1_150; 3], 0),
            // A feeding phase stands against its neighbours.
            ([-2_300, 2_300, 2_300], [0; 3], 20_000),
        ];
        for (active, reactive, expected) in cases {
            let mut load = constant(active.map(|w| w * 1_000), reactive.map(|w| w * 1_000));
            let start = UtcTime::from_secs(0);
            let meter = Metrology::new(Connection::ThreePhase, stiff, Seed::new(1), start);
            let seen = meter.instantaneous(&mut load, start);
            assert_eq!(seen.neutral_ma, expected, "{active:?} {reactive:?}");
            assert_eq!(seen.phase_active_mw, active.map(|w| w * 1_000));
        }
    }

    #[test]
    fn each_quadrant_has_its_registers() {
        // Active and reactive power in kW and kvar, then Wh of import, export, QI-QIV, apparent.
        let cases = [
            (3, 4, [3_000, 0, 4_000, 0, 0, 0, 5_000]),
            (-3, 4, [0, 3_000, 0, 4_000, 0, 0, 0]),
            (-3, -4, [0, 3_000, 0, 0, 4_000, 0, 0]),
            (3, -4, [3_000, 0, 0, 0, 0, 4_000, 5_000]),
            (0, 0, [0; 7]),
        ];
        for (active, reactive, expected) in cases {
            let mut load = constant([active * 1_000_000, 0, 0], [reactive * 1_000_000, 0, 0]);
            let mut meter = meter(Connection::SinglePhase);
            meter.advance(&mut load, UtcTime::from_secs(3_600));
            let captured = meter.capture();
            let [energies @ .., voltage] = captured.values.to_array();
            assert_eq!(
                energies,
                expected.map(|wh: i64| wh * 1_000),
                "{active} {reactive}"
            );
            let drop = (240 * active + 150 * reactive) * 1_000_000 / 230_000;
            assert_eq!(voltage, (230_000 - drop) / 100 * 100);
            assert_eq!(captured.status, ReadingStatus::GOOD);
        }
    }

    #[test]
    fn remainders_are_kept_until_they_are_whole() {
        // 7 W for an hour in steps of a minute: 7 Wh, though each minute is less than one.
        let mut load = constant([7_000, 0, 0], [0; 3]);
        let mut meter = meter(Connection::SinglePhase);
        let mut sum = 0;
        for minute in 1..=60 {
            meter.advance(&mut load, UtcTime::from_secs(minute * 60));
            sum += meter.capture().values.import.get();
        }
        assert_eq!((sum, meter.registers().import.get()), (7_000, 7_000));
    }

    #[test]
    fn three_phases_balance_within_the_meter() {
        let mut load = constant([2_300_000, -1_300_000, 0], [0, 0, 1_150_000]);
        let mut meter = meter(Connection::ThreePhase);
        let seen = meter.instantaneous(&mut load, UtcTime::from_secs(0));
        assert_eq!(seen.voltage_mv, [227_600, 231_356, 229_250]);
        assert_eq!(seen.current_ma, [10_105, 5_619, 5_016]);
        assert_eq!((seen.active_mw, seen.reactive_mvar), (1_000_000, 1_150_000));
        assert_eq!(
            (seen.apparent_mva, seen.power_factor_milli),
            (1_523_975, 656)
        );
        meter.advance(&mut load, UtcTime::from_secs(900));
        let captured = meter.capture();
        assert_eq!(captured.values.import.get(), 250_000);
        assert_eq!(captured.values.export.get(), 0);
        assert_eq!(captured.means.current_ma, seen.current_ma);
        assert_eq!(captured.means.power_factor_milli, 656);
        // The same house behind a single-phase meter is all on L1.
        let single = super::tests::meter(Connection::SinglePhase);
        let seen = single.instantaneous(&mut load, UtcTime::from_secs(0));
        assert_eq!(seen.voltage_mv[1..], [0, 0]);
        assert_eq!(seen.active_mw, 1_000_000);
    }

    /// Power that comes and goes, and a quarter of an hour without supply.
    struct Fitful;

    impl Load for Fitful {
        fn power_at(&mut self, at: UtcTime) -> Stretch {
            let step = at.as_millis().div_euclid(77_777);
            Stretch {
                until: UtcTime::from_millis((step + 1) * 77_777),
                power: (!(20..32).contains(&step)).then(|| Power {
                    active_mw: [step * 12_345 - 400_000, 0, 0],
                    reactive_mvar: [step * 777, 0, 0],
                }),
            }
        }

        fn appliances_at(&mut self, _: UtcTime) -> Vec<ApplianceState> {
            Vec::new()
        }

        fn begin_day(&mut self, _: gridloom_core::Day, _: &DayPrices) {}
    }

    #[test]
    fn many_small_steps_measure_what_one_step_measures() {
        let noisy = Metrology::new(
            Connection::SinglePhase,
            Supply::LOW_VOLTAGE_50_HZ,
            Seed::new(9),
            UtcTime::from_secs(0),
        );
        let end = UtcTime::from_secs(7_200);
        let mut once = noisy.clone();
        once.advance(&mut Fitful, end);
        for step_ms in [997, 60_000, 123_456] {
            let mut often = noisy.clone();
            let mut at = 0;
            while at < end.as_millis() {
                at = (at + step_ms).min(end.as_millis());
                often.advance(&mut Fitful, UtcTime::from_millis(at));
            }
            assert_eq!(often, once, "{step_ms}");
        }
        assert_eq!(once.capture().status, ReadingStatus::POWER_DOWN);
    }

    #[test]
    fn without_supply_there_is_nothing_to_measure() {
        let mut meter = meter(Connection::SinglePhase);
        meter.skip_to(UtcTime::from_secs(900));
        assert!(!meter.has_measured());
        meter.discard_interval();
        let dark = meter.instantaneous(&mut Fitful, UtcTime::from_millis(25 * 77_777));
        assert_eq!((dark.voltage_mv[0], dark.power_factor_milli), (0, 1_000));
        let mut load = constant([4_000_000, 0, 0], [0; 3]);
        meter.advance(&mut load, UtcTime::from_secs(1_800));
        assert_eq!(meter.capture().status, ReadingStatus::GOOD);
    }
}
