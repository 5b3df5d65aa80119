//! Transformers of two windings in their sequences.

use super::value::{Component, GridError};
use crate::network::complex::{inverse, polar};
use crate::network::{Matrix, Phasor, SequenceBranch};

const GROUNDED_WYE: i64 = 1;
const DELTA: i64 = 2;

/// Admittances between its terminals in the positive and the zero sequence, in siemens.
pub(super) fn sequences(of: &Component<'_>) -> Result<(Matrix, Matrix), GridError> {
    let (mut u1, mut u2) = (of.positive("u1")?, of.positive("u2")?);
    let sn = of.positive("sn")?;
    let nominal = of.whole_or("tap_nom", 0)?;
    let (min, max) = (of.whole_or("tap_min", 0)?, of.whole_or("tap_max", 0)?);
    let position = of
        .whole_or("tap_pos", nominal)?
        .clamp(min.min(max), min.max(max));
    let direction = if max >= min { 1.0 } else { -1.0 };
    let steps = |count: i64| i32::try_from(count).map(f64::from).unwrap_or(0.0);
    let shift = direction * steps(position - nominal) * of.number_or("tap_size", 0.0)?;
    match of.whole_or("tap_side", 0)? {
        0 => u1 += shift,
        1 => u2 += shift,
        _ => return Err(of.wrong("tap_side", "0 or 1")),
    }
    let uk = interpolated(of, "uk", (min, nominal, max), position)?;
    let pk = interpolated(of, "pk", (min, nominal, max), position)?;
    let base = u2 * u2 / sn;
    let resistance = pk / sn * base;
    let whole = uk * base;
    let reactance = (whole * whole - resistance * resistance)
        .max(0.0)
        .sqrt()
        .copysign(uk);
    let series = Phasor::new(resistance, reactance);
    let conductance = of.number("p0")? / (u2 * u2);
    let magnetising = of.number("i0")? / base;
    let susceptance = (magnetising * magnetising - conductance * conductance)
        .max(0.0)
        .sqrt();
    let shunt = Phasor::new(conductance, -susceptance);
    let clock = of.whole("clock")?;
    let ratio = u1 / u2;
    let turn = polar(ratio, 30.0 * steps(clock));
    let positive = SequenceBranch::pi(inverse(series), shunt, turn);

    let grounding = |side: &str| -> Result<Phasor, GridError> {
        Ok(Phasor::new(
            of.number_or(&format!("r_grounding_{side}"), 0.0)?,
            of.number_or(&format!("x_grounding_{side}"), 0.0)?,
        ) * 3.0)
    };
    let (from, to) = (of.whole("winding_from")?, of.whole("winding_to")?);
    let mut zero = Matrix::zeros(2);
    match (from, to) {
        (GROUNDED_WYE, GROUNDED_WYE) => {
            let through = series + grounding("to")? + grounding("from")? / (ratio * ratio);
            // Clocks 2, 6 and 10 reverse the windings, which the zero sequence sees as a sign.
            let sign = if clock.rem_euclid(4) == 2 { -1.0 } else { 1.0 };
            zero = SequenceBranch::pi(inverse(through), shunt, Phasor::new(ratio * sign, 0.0));
        }
        (GROUNDED_WYE, DELTA) => {
            let own = series * (ratio * ratio) + grounding("from")?;
            *zero.at(0, 0) = inverse(own);
        }
        (DELTA, GROUNDED_WYE) => *zero.at(1, 1) = inverse(series + grounding("to")?),
        // One grounded wye without a delta: the zero sequence returns through the core alone.
        (0, GROUNDED_WYE) => *zero.at(1, 1) = core_in_zero_sequence(of, base)?,
        (GROUNDED_WYE, 0) => {
            *zero.at(0, 0) = core_in_zero_sequence(of, base)? / (ratio * ratio);
        }
        (0..=4, 0..=4) if from < 3 && to < 3 => {}
        _ => return Err(of.wrong("winding_from", "wye, grounded wye or delta: 0, 1 or 2")),
    }
    Ok((positive, zero))
}

/// Magnetising admittance in the zero sequence; like the positive one unless it is given.
fn core_in_zero_sequence(of: &Component<'_>, base: f64) -> Result<Phasor, GridError> {
    let current = of.number_or("i0_zero_sequence", of.number("i0")?)?;
    let loss = of.number_or("p0_zero_sequence", of.number("p0")?)?;
    let conductance = loss / (of.number("sn")? * base);
    let whole = current / base;
    let susceptance = (whole * whole - conductance * conductance).max(0.0).sqrt();
    Ok(Phasor::new(conductance, -susceptance))
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
