//! Transformers of two and three windings in their sequences, at each position of their taps.

use super::value::{Component, GridError};
use crate::network::complex::{inverse, polar};
use crate::network::{Matrix, Phasor, SequenceBranch};

const GROUNDED_WYE: i64 = 1;
const DELTA: i64 = 2;

/// A tap changer's range; a range may run downwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tap {
    /// The terminal whose turns change.
    pub(super) side: i64,
    /// Lowest and highest label.
    pub(super) range: (i64, i64),
    /// The label in the file, kept inside the range.
    pub(super) position: i64,
    min: i64,
    max: i64,
    nominal: i64,
    size: f64,
}

impl Tap {
    pub(super) fn of(of: &Component<'_>) -> Result<Self, GridError> {
        let nominal = of.whole_or("tap_nom", 0)?;
        let (min, max) = (of.whole_or("tap_min", 0)?, of.whole_or("tap_max", 0)?);
        let range = (min.min(max), min.max(max));
        Ok(Self {
            side: of.whole_or("tap_side", 0)?,
            range,
            position: of.whole_or("tap_pos", nominal)?.clamp(range.0, range.1),
            min,
            max,
            nominal,
            size: of.number_or("tap_size", 0.0)?,
        })
    }

    /// What a position adds to the rated voltage of its side, in volts.
    pub(super) fn shift(&self, position: i64) -> f64 {
        let direction = if self.max >= self.min { 1.0 } else { -1.0 };
        direction * steps(position - self.nominal) * self.size
    }

    /// A value that may be given at the ends of the range, too.
    fn interpolated(
        &self,
        of: &Component<'_>,
        name: &str,
        position: i64,
    ) -> Result<f64, GridError> {
        interpolated(of, name, (self.min, self.nominal, self.max), position)
    }
}

fn steps(count: i64) -> f64 {
    i32::try_from(count).map(f64::from).unwrap_or(0.0)
}

/// Two windings in the sizes of their rating plate.
struct Pair {
    volts: (f64, f64),
    rating: f64,
    short_circuit: f64,
    copper_loss: f64,
    magnetising: f64,
    core_loss: f64,
    /// Magnetising current and core loss in the zero sequence.
    zero: (f64, f64),
    windings: (i64, i64),
    clock: i64,
    grounding: (Phasor, Phasor),
}

impl Pair {
    /// Admittances in the positive and the zero sequence, in siemens; `None` for windings that
    /// are not known.
    fn sequences(&self) -> Option<(Matrix, Matrix)> {
        let (u1, u2) = self.volts;
        let base = u2 * u2 / self.rating;
        let resistance = self.copper_loss / self.rating * base;
        let whole = self.short_circuit * base;
        let reactance = (whole * whole - resistance * resistance)
            .max(0.0)
            .sqrt()
            .copysign(whole);
        let series = Phasor::new(resistance, reactance);
        let conductance = self.core_loss / (u2 * u2);
        let magnetising = self.magnetising / base;
        let susceptance = (magnetising * magnetising - conductance * conductance)
            .max(0.0)
            .sqrt();
        let shunt = Phasor::new(conductance, -susceptance);
        let ratio = u1 / u2;
        let turn = polar(ratio, 30.0 * steps(self.clock));
        let positive = SequenceBranch::pi(inverse(series), shunt, turn);
        let (from, to) = (self.grounding.0 * 3.0, self.grounding.1 * 3.0);
        let mut zero = Matrix::zeros(2);
        match self.windings {
            (GROUNDED_WYE, GROUNDED_WYE) => {
                let through = series + to + from / (ratio * ratio);
                // Clocks 2, 6 and 10 reverse the windings, which the zero sequence sees as a sign.
                let sign = if self.clock.rem_euclid(4) == 2 {
                    -1.0
                } else {
                    1.0
                };
                zero = SequenceBranch::pi(inverse(through), shunt, Phasor::new(ratio * sign, 0.0));
            }
            (GROUNDED_WYE, DELTA) => {
                *zero.at(0, 0) = inverse(series * (ratio * ratio) + from);
            }
            (DELTA, GROUNDED_WYE) => *zero.at(1, 1) = inverse(series + to),
            // One grounded wye without a delta: the zero sequence returns through the core alone.
            (0, GROUNDED_WYE) => *zero.at(1, 1) = self.core_in_zero_sequence(base),
            (GROUNDED_WYE, 0) => {
                *zero.at(0, 0) = self.core_in_zero_sequence(base) / (ratio * ratio);
            }
            (0..=2, 0..=2) => {}
            _ => return None,
        }
        Some((positive, zero))
    }

    /// Magnetising admittance in the zero sequence.
    fn core_in_zero_sequence(&self, base: f64) -> Phasor {
        let (current, loss) = self.zero;
        let conductance = loss / (self.rating * base);
        let whole = current / base;
        let susceptance = (whole * whole - conductance * conductance).max(0.0).sqrt();
        Phasor::new(conductance, -susceptance)
    }
}

fn grounding(of: &Component<'_>, side: &str) -> Result<Phasor, GridError> {
    Ok(Phasor::new(
        of.number_or(&format!("r_grounding_{side}"), 0.0)?,
        of.number_or(&format!("x_grounding_{side}"), 0.0)?,
    ))
}

/// Admittances between the terminals of a transformer at a tap position.
pub(super) fn two_windings(
    of: &Component<'_>,
    tap: &Tap,
    position: i64,
) -> Result<(Matrix, Matrix), GridError> {
    let mut volts = (of.positive("u1")?, of.positive("u2")?);
    match tap.side {
        0 => volts.0 += tap.shift(position),
        1 => volts.1 += tap.shift(position),
        _ => return Err(of.wrong("tap_side", "0 or 1")),
    }
    let (current, loss) = (of.number("i0")?, of.number("p0")?);
    let pair = Pair {
        volts,
        rating: of.positive("sn")?,
        short_circuit: tap.interpolated(of, "uk", position)?,
        copper_loss: tap.interpolated(of, "pk", position)?,
        magnetising: current,
        core_loss: loss,
        zero: (
            of.number_or("i0_zero_sequence", current)?,
            of.number_or("p0_zero_sequence", loss)?,
        ),
        windings: (of.whole("winding_from")?, of.whole("winding_to")?),
        clock: of.whole("clock")?,
        grounding: (grounding(of, "from")?, grounding(of, "to")?),
    };
    pair.sequences()
        .ok_or_else(|| of.wrong("winding_from", "wye, grounded wye or delta: 0, 1 or 2"))
}

/// Three windings as three pairs that meet in a point of their own, which is then reduced.
pub(super) fn three_windings(
    of: &Component<'_>,
    tap: &Tap,
    position: i64,
) -> Result<(Matrix, Matrix), GridError> {
    let three = |name: &str| -> Result<[f64; 3], GridError> {
        Ok([
            of.positive(&format!("{name}1"))?,
            of.positive(&format!("{name}2"))?,
            of.positive(&format!("{name}3"))?,
        ])
    };
    let rated = three("u")?;
    let mut volts = rated;
    let side = usize::try_from(tap.side)
        .ok()
        .filter(|side| *side < 3)
        .ok_or_else(|| of.wrong("tap_side", "0, 1 or 2"))?;
    volts[side] += tap.shift(position);
    let rating = three("sn_")?;
    // Given between two windings at the smaller rating; wanted at the first one's.
    let ends = [(0, 1), (0, 2), (1, 2)];
    let mut impedance = [0.0; 3];
    let mut loss = [0.0; 3];
    for (at, (one, other)) in ends.into_iter().enumerate() {
        let scale = rating[0] / rating[one].min(rating[other]);
        let pair = format!("{}{}", one + 1, other + 1);
        impedance[at] = tap.interpolated(of, &format!("uk_{pair}"), position)? * scale;
        loss[at] = tap.interpolated(of, &format!("pk_{pair}"), position)? * scale * scale;
    }
    let star = |all: [f64; 3]| {
        [
            (all[0] + all[1] - all[2]) / 2.0,
            (all[0] + all[2] - all[1]) / 2.0,
            (all[1] + all[2] - all[0]) / 2.0,
        ]
    };
    let (impedance, loss) = (star(impedance), star(loss));
    let mut positive = Matrix::zeros(4);
    let mut zero = Matrix::zeros(4);
    for at in 0..3 {
        let share = rating[at] / rating[0];
        let name = |what: &str| format!("{what}_{}", at + 1);
        let clock = if at == 0 {
            0
        } else {
            12 - of.whole(&format!("clock_1{}", at + 1))?
        };
        let (current, core_loss) = if at == 0 {
            (of.number("i0")?, of.number("p0")?)
        } else {
            (0.0, 0.0)
        };
        let pair = Pair {
            volts: (volts[at], rated[0]),
            rating: rating[at],
            short_circuit: impedance[at] * share,
            copper_loss: loss[at] * share * share,
            magnetising: current,
            core_loss,
            zero: (current, core_loss),
            windings: (of.whole(&name("winding"))?, GROUNDED_WYE),
            clock,
            grounding: (
                grounding(of, &format!("{}", at + 1))?,
                Phasor::new(0.0, 0.0),
            ),
        };
        let (one, other) = pair
            .sequences()
            .ok_or_else(|| of.wrong("winding_1", "wye, grounded wye or delta: 0, 1 or 2"))?;
        for (whole, part) in [(&mut positive, one), (&mut zero, other)] {
            for (row, from) in [at, 3].into_iter().enumerate() {
                for (column, to) in [at, 3].into_iter().enumerate() {
                    *whole.at(from, to) += part.get(row, column);
                }
            }
        }
    }
    Ok((positive.reduced(3), zero.reduced(3)))
}

/// A value that may be given at the ends of the tap's range, too.
fn interpolated(
    of: &Component<'_>,
    name: &str,
    (min, nominal, max): (i64, i64, i64),
    position: i64,
) -> Result<f64, GridError> {
    let at_nominal = of.number(name)?;
    let at_min = of.number_or(&format!("{name}_min"), at_nominal)?;
    let at_max = of.number_or(&format!("{name}_max"), at_nominal)?;
    let (low, high) = (min.min(max), min.max(max));
    let reversed = min > max;
    let (at_low, at_high) = if reversed {
        (at_max, at_min)
    } else {
        (at_min, at_max)
    };
    let (end, value) = if position < nominal {
        (low, at_low)
    } else {
        (high, at_high)
    };
    let whole = |count: i64| i32::try_from(count).map(f64::from).unwrap_or(0.0);
    if end == nominal {
        return Ok(at_nominal);
    }
    let share = whole(position - nominal) / whole(end - nominal);
    Ok(at_nominal + share * (value - at_nominal))
}
