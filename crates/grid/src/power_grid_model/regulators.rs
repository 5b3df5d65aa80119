//! Tap changers and voltage regulators: what they keep, and with what.

use super::read::Builder;
use super::transformer::{self, Tap};
use super::value::{Component, GridError};
use crate::network::complex::SQRT_3;
use crate::network::{POSITIONS_MAX, Phasor, TapChanger, VoltageRegulator};

impl<'a> Builder<'a> {
    /// A tap changer with its branch at each position.
    pub(super) fn tap_regulator(&mut self, of: &Component<'_>) -> Result<(), GridError> {
        let object = of.whole("regulated_object")?;
        let wrong = || of.wrong("regulated_object", "the id of a transformer");
        let transformer: Component<'a> = *self.transformers.get(&object).ok_or_else(wrong)?;
        let element = *self.grid.elements.get(&object).ok_or_else(wrong)?;
        let tap = Tap::of(&transformer)?;
        let three = transformer.kind == "three_winding_transformer";
        let side = of.whole("control_side")?;
        let terminal = usize::try_from(side)
            .ok()
            .filter(|terminal| *terminal < if three { 3 } else { 2 })
            .ok_or_else(|| of.wrong("control_side", "a side of the transformer"))?;
        let (low, high) = tap.range;
        if usize::try_from(high.saturating_sub(low)).map_or(true, |count| count >= POSITIONS_MAX) {
            return Err(transformer.wrong("tap_max", "less than 1000 positions"));
        }
        let mut labels: Vec<i64> = (low..=high).collect();
        // Turns of its own side raise the voltage there; those of another side lower it.
        labels.sort_by(|a, b| tap.shift(*a).total_cmp(&tap.shift(*b)));
        if tap.side != side {
            labels.reverse();
        }
        let positions = labels
            .iter()
            .map(|label| {
                let (positive, zero) = if three {
                    transformer::three_windings(&transformer, &tap, *label)?
                } else {
                    transformer::two_windings(&transformer, &tap, *label)?
                };
                Ok(self.sequence_branch(positive, zero))
            })
            .collect::<Result<_, GridError>>()?;
        let at = labels
            .iter()
            .position(|label| *label == tap.position)
            .ok_or_else(|| transformer.wrong("tap_pos", "a position inside the range"))?;
        self.grid.network.tap_changers.push(TapChanger {
            name: format!("{}.{}", of.kind, of.id),
            element,
            terminal,
            target_volts: of.positive("u_set")? / SQRT_3,
            band_volts: of.positive("u_band")? / SQRT_3,
            compensation: Phasor::new(
                of.number_or("line_drop_compensation_r", 0.0)?,
                of.number_or("line_drop_compensation_x", 0.0)?,
            ),
            positions,
            labels,
            at,
            active: of.status("status")?,
        });
        Ok(())
    }

    /// A plant or a load that holds its node's voltage.
    pub(super) fn voltage_regulator(&mut self, of: &Component<'_>) -> Result<(), GridError> {
        let object = of.whole("regulated_object")?;
        let wrong = || of.wrong("regulated_object", "the id of a load or of generation");
        let element = *self.grid.elements.get(&object).ok_or_else(wrong)?;
        let network = &self.grid.network;
        let held = network.element(element);
        if held.kind.load().is_none() {
            return Err(wrong());
        }
        let node = held.conductors[0].ok_or_else(wrong)?;
        let base = network
            .buses
            .base_volts(network.buses.place(node).bus)
            .ok_or_else(wrong)?;
        // A network of one phase carries a third of the power.
        let share = if self.is_symmetric() { 3.0 } else { 1.0 };
        let low = of.number_or("q_min", f64::NEG_INFINITY)? / share;
        let high = of.number_or("q_max", f64::INFINITY)? / share;
        if low > high {
            return Err(of.wrong("q_max", "no less than q_min"));
        }
        self.grid.network.voltage_regulators.push(VoltageRegulator {
            name: format!("{}.{}", of.kind, of.id),
            element,
            target_volts: of.positive("u_ref")? * base,
            vars: (low, high),
            active: of.status("status")?,
        });
        Ok(())
    }
}
