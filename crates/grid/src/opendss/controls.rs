//! Regulators and capacitor controls.

use std::collections::BTreeMap;

use super::error::CircuitError;
use super::field::Field;
use super::script::Object;
use super::transformers::TapRange;
use crate::network::{CapacitorControl, CapacitorLaw, ElementId, Network, Regulator, Watched};

/// The element of that class and name a field refers to.
fn element(network: &Network, field: &Field<'_>, label: &str) -> Result<ElementId, CircuitError> {
    network
        .find(label)
        .ok_or_else(|| field.missing(format!("element {label}")))
}

pub(crate) fn regulator(
    network: &mut Network,
    ranges: &BTreeMap<ElementId, Vec<TapRange>>,
    object: &Object,
) -> Result<(), CircuitError> {
    let mut transformer = None;
    let (mut winding, mut tap_winding, mut tap_number) = (1, None, None);
    let (mut target, mut band, mut ratio, mut rating) = (120.0, 3.0, 60.0, 300.0);
    let (mut r, mut x, mut delay, mut steps, mut active) = (0.0, 0.0, 15.0, 16, true);
    let mut phase = Watched::Phase(0);
    for field in Field::all(object) {
        match field.property() {
            "transformer" => {
                let label = format!("transformer.{}", field.text());
                transformer = Some((element(network, &field, &label)?, field));
            }
            "winding" => winding = field.count(8)?,
            "tapwinding" => tap_winding = Some(field.count(8)?),
            "vreg" => target = field.positive()?,
            "band" => band = field.positive()?,
            "ptratio" => ratio = field.positive()?,
            "ctprim" => rating = field.positive()?,
            "r" => r = field.number()?,
            "x" => x = field.number()?,
            "delay" => delay = field.number()?,
            "maxtapchange" => {
                let most = field.number()?.clamp(0.0, 32.0);
                steps = (0..=32_i32)
                    .rfind(|steps| f64::from(*steps) <= most)
                    .unwrap_or(0);
            }
            "ptphase" => {
                phase = match field.text().as_str() {
                    "max" => Watched::Highest,
                    "min" => Watched::Lowest,
                    _ => Watched::Phase(field.phases()? - 1),
                };
            }
            "tapnum" => tap_number = Some(field.number()?),
            "enabled" => active = field.flag()?,
            _ => return Err(field.refused()),
        }
    }
    let Some((id, field)) = transformer else {
        return Err(CircuitError::Missing {
            origin: object.origin.clone(),
            object: object.label.clone(),
            what: "transformer".to_owned(),
        });
    };
    let tap_winding = tap_winding.unwrap_or(winding);
    let range = ranges
        .get(&id)
        .filter(|ranges| winding <= ranges.len())
        .and_then(|ranges| ranges.get(tap_winding - 1))
        .ok_or_else(|| field.missing(format!("winding {winding} of it")))?;
    if range.min >= range.max {
        return Err(field.missing("range between its least and its largest tap".to_owned()));
    }
    let regulator = Regulator {
        name: object.label.clone(),
        transformer: id,
        winding: winding - 1,
        tap_winding: tap_winding - 1,
        phase,
        target_volts: target,
        band_volts: band,
        voltage_ratio: ratio,
        current_rating: rating,
        compensation_volts: (r, x),
        delay_seconds: delay,
        steps_max: steps,
        range: (range.min, range.max),
        steps: range.steps,
        active: active && steps > 0,
    };
    if let Some(number) = tap_number {
        let tap = (1.0 + number * regulator.step()).clamp(range.min, range.max);
        network.set_tap(id, tap_winding - 1, tap);
    }
    network.regulators.push(regulator);
    Ok(())
}

pub(crate) fn capacitor(network: &mut Network, object: &Object) -> Result<(), CircuitError> {
    let (mut bank, mut watched, mut terminal) = (None, None, 1);
    let mut law = CapacitorLaw::Current;
    let (mut voltage_ratio, mut current_ratio) = (60.0, 60.0);
    let (mut on, mut off) = (300.0, 200.0);
    let (mut delay, mut delay_off) = (15.0, 15.0);
    let (mut overrides, mut min, mut max, mut enabled) = (false, 115.0, 126.0, true);
    for field in Field::all(object) {
        match field.property() {
            "capacitor" => {
                let label = format!("capacitor.{}", field.text());
                bank = Some(element(network, &field, &label)?);
            }
            "element" => watched = Some(element(network, &field, &field.text())?),
            "terminal" => terminal = field.count(8)?,
            "type" => {
                law = match field.text().as_str() {
                    "current" => CapacitorLaw::Current,
                    "voltage" => CapacitorLaw::Voltage,
                    "kvar" => CapacitorLaw::Reactive,
                    _ => return Err(field.refused()),
                };
            }
            "ptratio" => voltage_ratio = field.positive()?,
            "ctratio" => current_ratio = field.positive()?,
            "onsetting" => on = field.number()?,
            "offsetting" => off = field.number()?,
            "delay" => delay = field.number()?,
            "delayoff" => delay_off = field.number()?,
            "voltoverride" => overrides = field.flag()?,
            "vmin" => min = field.number()?,
            "vmax" => max = field.number()?,
            "enabled" => enabled = field.flag()?,
            _ => return Err(field.refused()),
        }
    }
    let (Some(capacitor), Some(watched)) = (bank, watched) else {
        return Err(CircuitError::Missing {
            origin: object.origin.clone(),
            object: object.label.clone(),
            what: "capacitor or element".to_owned(),
        });
    };
    let (_, terminals) = network.element(watched).kind.shape();
    if terminal > terminals {
        return Err(CircuitError::Missing {
            origin: object.origin.clone(),
            object: object.label.clone(),
            what: format!("terminal {terminal} of its element"),
        });
    }
    if enabled {
        network.capacitor_controls.push(CapacitorControl {
            name: object.label.clone(),
            capacitor,
            watched: (watched, terminal - 1),
            law,
            on,
            off,
            voltage_ratio,
            current_ratio,
            voltage_override: overrides.then_some((min, max)),
            delays_seconds: (delay, delay_off),
        });
    }
    Ok(())
}
