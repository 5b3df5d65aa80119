//! Voltage regulators and capacitor controls: what changes taps and switches banks.

use super::element::ElementId;

/// Steps a control loop may take before the network counts as restless.
pub const CONTROL_STEPS_MAX: usize = 200;

/// A line-drop compensated regulator of one winding's tap.
#[derive(Debug, Clone, PartialEq)]
pub struct Regulator {
    /// Its name.
    pub name: String,
    /// The transformer.
    pub transformer: ElementId,
    /// The winding whose voltage is watched, from zero.
    pub winding: usize,
    /// The winding whose tap moves, from zero.
    pub tap_winding: usize,
    /// The phase that is watched, from zero; the highest or lowest of all where it is `None`.
    pub phase: Watched,
    /// Target at the relay, in volts.
    pub target_volts: f64,
    /// Width of the band around the target, in volts.
    pub band_volts: f64,
    /// Ratio of the voltage transformer.
    pub voltage_ratio: f64,
    /// Primary rating of the current transformer, in amperes.
    pub current_rating: f64,
    /// Compensator's resistance and reactance, in volts at rated current.
    pub compensation_volts: (f64, f64),
    /// Delay before a first step, in seconds; the shortest acts first.
    pub delay_seconds: f64,
    /// Steps per action at most.
    pub steps_max: i32,
    /// Tap range, per unit, and the number of steps in it.
    pub range: (f64, f64),
    /// Steps in the range.
    pub steps: u32,
    /// Whether it acts; a blocked regulator keeps its tap.
    pub active: bool,
}

/// Which phase a regulator watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// One phase, from zero.
    Phase(usize),
    /// The highest of all.
    Highest,
    /// The lowest of all.
    Lowest,
}

impl Regulator {
    /// One step, per unit.
    pub fn step(&self) -> f64 {
        (self.range.1 - self.range.0) / f64::from(self.steps)
    }

    /// The tap's position: steps from nominal.
    pub fn position(&self, tap: f64) -> i32 {
        rounded((tap - 1.0) / self.step())
    }

    /// The tap of a position, kept inside the range.
    pub fn tap(&self, position: i32) -> f64 {
        (1.0 + f64::from(position) * self.step()).clamp(self.range.0, self.range.1)
    }

    /// Steps it takes at a relay voltage: seven tenths of what the target needs, at least one, and
    /// none inside the band. A step boosts by one step of `nominal_volts`, the winding's.
    pub fn wanted(&self, relay_volts: f64, nominal_volts: f64) -> i32 {
        let half = self.band_volts / 2.0;
        if (relay_volts - self.target_volts).abs() <= half {
            return 0;
        }
        let boost = (self.target_volts - relay_volts) * self.voltage_ratio / nominal_volts;
        // Seven tenths, because regulators behind and before this one move as well, and together
        // they would overshoot.
        let steps = rounded(boost / self.step()) * 7 / 10;
        let at_least = if boost > 0.0 {
            steps.max(1)
        } else {
            steps.min(-1)
        };
        at_least.clamp(-self.steps_max, self.steps_max)
    }
}

/// What a capacitor control watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapacitorLaw {
    /// Reactive power of all phases into the element, in kvar.
    Reactive,
    /// Voltage at the relay.
    Voltage,
    /// Current at the relay.
    Current,
}

/// A control that switches a bank on above one setting and off below another.
#[derive(Debug, Clone, PartialEq)]
pub struct CapacitorControl {
    /// Its name.
    pub name: String,
    /// The bank.
    pub capacitor: ElementId,
    /// The element that is watched, and its terminal.
    pub watched: (ElementId, usize),
    /// What is watched.
    pub law: CapacitorLaw,
    /// Setting that closes the bank.
    pub on: f64,
    /// Setting that opens it.
    pub off: f64,
    /// Ratio of the voltage transformer.
    pub voltage_ratio: f64,
    /// Ratio of the current transformer.
    pub current_ratio: f64,
    /// Relay voltages below which the bank closes and above which it opens, whatever the law.
    pub voltage_override: Option<(f64, f64)>,
    /// Delay before closing and before opening, in seconds.
    pub delays_seconds: (f64, f64),
}

impl CapacitorControl {
    /// What it wants: `Some(closed)` where that differs from now.
    pub fn wanted(&self, closed: bool, measured: f64, relay_volts: f64) -> Option<bool> {
        if let Some((min, max)) = self.voltage_override {
            if closed && relay_volts > max {
                return Some(false);
            }
            if !closed && relay_volts < min {
                return Some(true);
            }
        }
        let forbidden = |wish: bool| {
            self.voltage_override.is_some_and(|(min, max)| {
                if wish {
                    relay_volts > max
                } else {
                    relay_volts < min
                }
            })
        };
        let wish = match self.law {
            // Low voltage is what a bank is closed for.
            CapacitorLaw::Voltage if closed => (measured > self.off).then_some(false),
            CapacitorLaw::Voltage => (measured < self.on).then_some(true),
            CapacitorLaw::Reactive | CapacitorLaw::Current if closed => {
                (measured < self.off).then_some(false)
            }
            CapacitorLaw::Reactive | CapacitorLaw::Current => (measured > self.on).then_some(true),
        };
        wish.filter(|wish| !forbidden(*wish))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "clamped to a range of positions"
)]
fn rounded(value: f64) -> i32 {
    value.round().clamp(-1_000.0, 1_000.0) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regulator_moves_at_least_one_step_and_no_more_than_its_most() {
        let regulator = Regulator {
            name: "r".into(),
            transformer: ElementId(0),
            winding: 1,
            tap_winding: 1,
            phase: Watched::Phase(0),
            target_volts: 122.0,
            band_volts: 2.0,
            voltage_ratio: 20.0,
            current_rating: 700.0,
            compensation_volts: (0.0, 0.0),
            delay_seconds: 15.0,
            steps_max: 16,
            range: (0.9, 1.1),
            steps: 32,
            active: true,
        };
        let cases = [
            (122.9, 0),
            (121.0, 0),
            (120.9, 1),
            (123.1, -1),
            (114.5, 7),
            (90.0, 16),
            (120.0, 2),
            (118.4, 3),
        ];
        for (volts, steps) in cases {
            assert_eq!(regulator.wanted(volts, 2_400.0), steps, "{volts}");
        }
        assert_eq!(regulator.position(1.0625), 10);
        assert!((regulator.tap(10) - 1.0625).abs() < 1e-12);
        assert!((regulator.tap(40) - 1.1).abs() < 1e-12);
    }
}
