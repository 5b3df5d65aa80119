//! The network: buses, elements, controls, meter points.

use std::collections::BTreeMap;

use gridloom_core::MeterId;

use super::bus::{BUSES_MAX, Buses, Terminal};
use super::complex::Phasor;
use super::element::{Element, ElementId, Kind};
use super::error::NetworkError;
use super::load::{Law, VoltageLimits};
use super::meter_point::MeterPoint;
use super::regulator::{CapacitorControl, Regulator};
use super::tap_changer::{TapChanger, TapStrategy};
use super::voltage_regulator::VoltageRegulator;

/// Most elements of a network; one more is refused with [`NetworkError::TooLarge`].
pub const ELEMENTS_MAX: usize = 400_000;

/// A distribution network as it is built, before anything is solved.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Its buses.
    pub buses: Buses,
    /// Line-drop compensated regulators.
    pub regulators: Vec<Regulator>,
    /// Capacitor controls.
    pub capacitor_controls: Vec<CapacitorControl>,
    /// Tap changers that keep a terminal inside a band.
    pub tap_changers: Vec<TapChanger>,
    /// Which tap they choose.
    pub tap_strategy: TapStrategy,
    /// Plants that hold a voltage.
    pub voltage_regulators: Vec<VoltageRegulator>,
    elements: Vec<Element>,
    by_name: BTreeMap<String, ElementId>,
    meter_points: BTreeMap<MeterId, MeterPoint>,
}

impl Network {
    /// An empty network.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an element, closed and in service.
    ///
    /// # Errors
    ///
    /// [`NetworkError`] if the name is taken, the conductors do not fit its kind, or the network
    /// is at its bound.
    pub fn add(
        &mut self,
        name: &str,
        kind: Kind,
        conductors: Vec<Terminal>,
    ) -> Result<ElementId, NetworkError> {
        let name = name.to_ascii_lowercase();
        let (width, terminals) = kind.shape();
        if conductors.len() != width * terminals {
            return Err(NetworkError::Conductors {
                name,
                got: conductors.len(),
                expected: width * terminals,
            });
        }
        for (what, count, max) in [
            ("elements", self.elements.len() + 1, ELEMENTS_MAX),
            ("buses", self.buses.len(), BUSES_MAX),
        ] {
            if count > max {
                return Err(NetworkError::TooLarge { what, count, max });
            }
        }
        if self.by_name.contains_key(&name) {
            return Err(NetworkError::Duplicate { name });
        }
        let id = ElementId(self.elements.len());
        self.by_name.insert(name.clone(), id);
        self.elements.push(Element {
            name,
            kind,
            conductors,
            closed: vec![true; terminals],
            in_service: true,
        });
        Ok(id)
    }

    /// The conductors of one terminal: a bus and its node numbers, 0 being earth.
    pub fn terminal(&mut self, bus: &str, numbers: &[u8]) -> Vec<Terminal> {
        let bus = self.buses.bus(bus);
        numbers
            .iter()
            .map(|number| self.buses.node(bus, *number))
            .collect()
    }

    /// One element.
    pub fn element(&self, id: ElementId) -> &Element {
        &self.elements[id.0]
    }

    /// The element of that class and name.
    pub fn find(&self, name: &str) -> Option<ElementId> {
        self.by_name.get(&name.to_ascii_lowercase()).copied()
    }

    /// All elements, in the order of their adding.
    pub fn elements(&self) -> impl Iterator<Item = (ElementId, &Element)> {
        self.elements
            .iter()
            .enumerate()
            .map(|(at, element)| (ElementId(at), element))
    }

    /// Opens or closes a terminal of an element, from zero.
    pub fn set_closed(&mut self, id: ElementId, terminal: usize, closed: bool) {
        self.elements[id.0].closed[terminal] = closed;
    }

    /// Takes an element in or out of service.
    pub fn set_in_service(&mut self, id: ElementId, in_service: bool) {
        self.elements[id.0].in_service = in_service;
    }

    /// Sets a winding's tap, per unit.
    pub fn set_tap(&mut self, id: ElementId, winding: usize, tap: f64) {
        if let Kind::Transformer(transformer) = &mut self.elements[id.0].kind {
            transformer.windings[winding].tap = tap;
        }
    }

    /// A winding's tap, per unit; `None` where there is no such winding.
    pub fn tap(&self, id: ElementId, winding: usize) -> Option<f64> {
        match &self.elements[id.0].kind {
            Kind::Transformer(transformer) => {
                transformer.windings.get(winding).map(|winding| winding.tap)
            }
            Kind::Source(_)
            | Kind::Line(_)
            | Kind::Sequence(_)
            | Kind::Capacitor(_)
            | Kind::Shunt(_)
            | Kind::Load(_)
            | Kind::Generator(_) => None,
        }
    }

    /// Moves a tap changer to one of its positions, from zero, and its branch with it.
    ///
    /// # Panics
    ///
    /// If there is no such tap changer or position.
    pub fn set_tap_position(&mut self, changer: usize, position: usize) {
        let changer = &mut self.tap_changers[changer];
        changer.at = position;
        self.elements[changer.element.0].kind = Kind::Sequence(changer.positions[position].clone());
    }

    /// Sets the power of a load or a plant, phase by phase, in VA; positive is consumed.
    pub fn set_power(&mut self, id: ElementId, power: &[Phasor]) {
        if let Some(load) = self.elements[id.0].kind.load_mut() {
            assert_eq!(load.power.len(), power.len(), "one power for each phase");
            load.power.copy_from_slice(power);
        }
    }

    /// Sets the nominal voltage of a load or a plant, in kV.
    pub fn set_nominal_kv(&mut self, id: ElementId, kv: f64) {
        if let Some(load) = self.elements[id.0].kind.load_mut() {
            load.kv = kv;
        }
    }

    /// Sets how a load's or a plant's power follows the voltage, and where that ends.
    pub fn set_law(&mut self, id: ElementId, law: Law, limits: VoltageLimits) {
        if let Some(load) = self.elements[id.0].kind.load_mut() {
            load.law = law;
            load.limits = limits;
        }
    }

    /// Puts a meter at a load or a plant; the meter's former point, if any, is given back.
    pub fn set_meter(&mut self, meter: MeterId, element: ElementId) -> Option<MeterPoint> {
        self.meter_points
            .insert(meter, MeterPoint { meter, element })
    }

    /// Where a meter is.
    pub fn meter_point(&self, meter: MeterId) -> Option<MeterPoint> {
        self.meter_points.get(&meter).copied()
    }

    /// All meter points, by meter.
    pub fn meter_points(&self) -> impl Iterator<Item = &MeterPoint> {
        self.meter_points.values()
    }
}
