//! Components as the file has them.

use serde_json::{Map, Value};

use crate::network::NetworkError;

/// What is wrong with a grid's file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// No JSON, or not of the expected shape.
    #[error("grid file: {reason}; expected {{\"data\": {{\"node\": [...], ...}}}}")]
    Shape {
        /// What is wrong, with line and column where they are known.
        reason: String,
    },
    /// A component that is not modelled.
    #[error("grid file: components of kind {kind:?} are not modelled; take them out")]
    Kind {
        /// Its kind.
        kind: String,
    },
    /// A value that is missing or does not fit.
    #[error("grid file: {kind} {id}: {attribute}: expected {expected}")]
    Value {
        /// The component's kind.
        kind: String,
        /// Its id.
        id: i64,
        /// The attribute.
        attribute: String,
        /// What would fit.
        expected: &'static str,
    },
    /// Too many components.
    #[error("grid file: more than {max} components; split the grid")]
    TooLarge {
        /// The bound.
        max: usize,
    },
    /// The network refuses a component.
    #[error("grid file: {kind} {id}: {error}")]
    Network {
        /// The component's kind.
        kind: String,
        /// Its id.
        id: i64,
        /// Why.
        error: NetworkError,
    },
}

/// One component.
#[derive(Clone, Copy)]
pub(super) struct Component<'a> {
    pub(super) kind: &'a str,
    pub(super) id: i64,
    values: &'a Map<String, Value>,
}

impl<'a> Component<'a> {
    pub(super) fn of(kind: &'a str, value: &'a Value) -> Result<Self, GridError> {
        let shape = || GridError::Shape {
            reason: format!("a {kind} without a whole-number id"),
        };
        let values = value.as_object().ok_or_else(shape)?;
        let id = values.get("id").and_then(Value::as_i64).ok_or_else(shape)?;
        Ok(Self { kind, id, values })
    }

    pub(super) fn wrong(&self, attribute: &str, expected: &'static str) -> GridError {
        GridError::Value {
            kind: self.kind.to_owned(),
            id: self.id,
            attribute: attribute.to_owned(),
            expected,
        }
    }

    pub(super) fn network(&self, error: NetworkError) -> GridError {
        GridError::Network {
            kind: self.kind.to_owned(),
            id: self.id,
            error,
        }
    }

    pub(super) fn has(&self, attribute: &str) -> bool {
        self.values
            .get(attribute)
            .is_some_and(|value| !value.is_null())
    }

    pub(super) fn number(&self, attribute: &str) -> Result<f64, GridError> {
        self.optional(attribute)?
            .ok_or_else(|| self.wrong(attribute, "a number"))
    }

    pub(super) fn number_or(&self, attribute: &str, default: f64) -> Result<f64, GridError> {
        Ok(self.optional(attribute)?.unwrap_or(default))
    }

    fn optional(&self, attribute: &str) -> Result<Option<f64>, GridError> {
        if !self.has(attribute) {
            return Ok(None);
        }
        self.values[attribute]
            .as_f64()
            .filter(|value| value.is_finite())
            .map(Some)
            .ok_or_else(|| self.wrong(attribute, "a finite number"))
    }

    pub(super) fn positive(&self, attribute: &str) -> Result<f64, GridError> {
        self.number(attribute)
            .ok()
            .filter(|value| *value > 0.0)
            .ok_or_else(|| self.wrong(attribute, "a number above zero"))
    }

    pub(super) fn whole(&self, attribute: &str) -> Result<i64, GridError> {
        self.values
            .get(attribute)
            .and_then(Value::as_i64)
            .ok_or_else(|| self.wrong(attribute, "a whole number"))
    }

    pub(super) fn whole_or(&self, attribute: &str, default: i64) -> Result<i64, GridError> {
        if self.has(attribute) {
            self.whole(attribute)
        } else {
            Ok(default)
        }
    }

    pub(super) fn status(&self, attribute: &str) -> Result<bool, GridError> {
        match self.whole_or(attribute, 1)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.wrong(attribute, "0 or 1")),
        }
    }

    /// Three values, one for each phase.
    pub(super) fn phases(&self, attribute: &str) -> Result<[f64; 3], GridError> {
        let list = self.values.get(attribute).and_then(Value::as_array);
        let numbers: Option<Vec<f64>> =
            list.and_then(|list| list.iter().map(Value::as_f64).collect());
        numbers
            .and_then(|numbers| <[f64; 3]>::try_from(numbers).ok())
            .ok_or_else(|| self.wrong(attribute, "three numbers"))
    }
}
