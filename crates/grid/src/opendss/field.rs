//! Typed access to an object's assignments.

use super::error::CircuitError;
use super::script::{Assignment, Object};
use super::text::{flag, matrix, number, numbers, words};
use crate::network::{Connection, Matrix, ORDER_MAX, Phasor, Terminal};

/// One assignment of an object.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    object: &'a Object,
    assignment: &'a Assignment,
}

impl<'a> Field<'a> {
    /// All assignments of an object, in order.
    pub(crate) fn all(object: &'a Object) -> impl Iterator<Item = Field<'a>> {
        object
            .assignments
            .iter()
            .map(move |assignment| Field { object, assignment })
    }

    pub(crate) fn property(&self) -> &'static str {
        self.assignment.property
    }

    pub(crate) fn text(&self) -> String {
        self.assignment.value.trim().to_ascii_lowercase()
    }

    pub(crate) fn wrong(&self, expected: &'static str) -> CircuitError {
        CircuitError::Value {
            origin: self.assignment.origin.clone(),
            object: self.object.label.clone(),
            property: self.assignment.property.to_owned(),
            value: self.assignment.value.chars().take(60).collect(),
            expected,
        }
    }

    pub(crate) fn missing(&self, what: String) -> CircuitError {
        CircuitError::Missing {
            origin: self.assignment.origin.clone(),
            object: self.object.label.clone(),
            what,
        }
    }

    pub(crate) fn refused(&self) -> CircuitError {
        CircuitError::Property {
            origin: self.assignment.origin.clone(),
            object: self.object.label.clone(),
            property: format!("{}={}", self.assignment.property, self.assignment.value),
        }
    }

    pub(crate) fn number(&self) -> Result<f64, CircuitError> {
        number(&self.assignment.value).ok_or_else(|| self.wrong("a number"))
    }

    pub(crate) fn positive(&self) -> Result<f64, CircuitError> {
        self.number()
            .ok()
            .filter(|value| *value > 0.0)
            .ok_or_else(|| self.wrong("a number above zero"))
    }

    pub(crate) fn numbers(&self) -> Result<Vec<f64>, CircuitError> {
        numbers(&self.assignment.value).ok_or_else(|| self.wrong("numbers"))
    }

    pub(crate) fn positives(&self) -> Result<Vec<f64>, CircuitError> {
        self.numbers()
            .ok()
            .filter(|values| values.iter().all(|value| *value > 0.0))
            .ok_or_else(|| self.wrong("numbers above zero"))
    }

    pub(crate) fn words(&self) -> Vec<String> {
        words(&self.assignment.value)
    }

    pub(crate) fn flag(&self) -> Result<bool, CircuitError> {
        flag(&self.assignment.value).ok_or_else(|| self.wrong("yes or no"))
    }

    /// A count from one to `max`.
    pub(crate) fn count(&self, max: usize) -> Result<usize, CircuitError> {
        self.assignment
            .value
            .trim()
            .parse()
            .ok()
            .filter(|count| (1..=max).contains(count))
            .ok_or_else(|| self.wrong("a whole number from one on"))
    }

    pub(crate) fn phases(&self) -> Result<usize, CircuitError> {
        self.count(ORDER_MAX / 4)
    }

    pub(crate) fn matrix(&self, order: usize) -> Result<Matrix, CircuitError> {
        let values = matrix(&self.assignment.value, order)
            .ok_or_else(|| self.wrong("a square matrix, rows divided by |"))?;
        let mut full = Matrix::zeros(order);
        for (at, value) in values.iter().enumerate() {
            *full.at(at / order, at % order) = Phasor::new(*value, 0.0);
        }
        Ok(full)
    }

    pub(crate) fn connection(&self) -> Result<Connection, CircuitError> {
        connection(&self.assignment.value).ok_or_else(|| self.wrong("wye or delta"))
    }

    pub(crate) fn connections(&self) -> Result<Vec<Connection>, CircuitError> {
        self.words()
            .iter()
            .map(|word| connection(word))
            .collect::<Option<_>>()
            .ok_or_else(|| self.wrong("wye or delta for each winding"))
    }

    pub(crate) fn bus(&self) -> Result<BusName, CircuitError> {
        BusName::parse(&self.assignment.value).ok_or_else(|| self.wrong("bus or bus.1.2.3"))
    }

    pub(crate) fn buses(&self) -> Result<Vec<BusName>, CircuitError> {
        self.words()
            .iter()
            .map(|word| BusName::parse(word))
            .collect::<Option<_>>()
            .ok_or_else(|| self.wrong("a bus for each winding"))
    }

    /// Metres per unit of length; `None` for no unit.
    pub(crate) fn metres(&self) -> Result<Option<f64>, CircuitError> {
        Ok(Some(match self.text().as_str() {
            "none" | "n" => return Ok(None),
            "mi" => 1_609.344,
            "kft" => 304.8,
            "km" => 1_000.0,
            "m" => 1.0,
            "ft" => 0.3048,
            "in" => 0.0254,
            "cm" => 0.01,
            "mm" => 0.001,
            _ => return Err(self.wrong("none, mi, kft, km, m, ft, in, cm or mm")),
        }))
    }
}

fn connection(value: &str) -> Option<Connection> {
    match value.trim().to_ascii_lowercase().as_str() {
        "wye" | "w" | "y" | "ln" => Some(Connection::Wye),
        "delta" | "d" | "ll" => Some(Connection::Delta),
        _ => None,
    }
}

/// A bus as the language writes it, with the nodes it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BusName {
    pub(crate) name: String,
    pub(crate) nodes: Vec<u8>,
}

impl BusName {
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let mut parts = value.trim().split('.');
        let name = parts
            .next()
            .filter(|name| !name.is_empty())?
            .to_ascii_lowercase();
        let nodes = parts
            .map(|part| part.trim().parse().ok())
            .collect::<Option<_>>()?;
        Some(Self { name, nodes })
    }

    /// Its conductors: the nodes that are named, then phases in order, then earth.
    pub(crate) fn conductors(
        &self,
        network: &mut crate::network::Network,
        count: usize,
        phases: usize,
    ) -> Vec<Terminal> {
        let numbers: Vec<u8> = (0..count)
            .map(|at| match self.nodes.get(at) {
                Some(node) => *node,
                None if at < phases => u8::try_from(at + 1).unwrap_or(0),
                None => 0,
            })
            .collect();
        network.terminal(&self.name, &numbers)
    }
}
