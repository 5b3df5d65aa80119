//! A grid and the changes that make many calculations of it.

use serde_json::{Map, Value};

use super::read::{Calculation, Grid};
use super::value::GridError;

/// Most calculations of a batch.
pub const UPDATES_MAX: usize = 1_000_000;

/// A grid's components, and updates of them. Each update begins from the grid, not from the
/// update before.
#[derive(Debug, Clone)]
pub struct Batch {
    grid: Map<String, Value>,
    updates: Vec<Map<String, Value>>,
}

impl Batch {
    /// Reads a grid and its updates.
    ///
    /// # Errors
    ///
    /// [`GridError::Shape`] if one is no such file; [`GridError::TooLarge`] beyond
    /// [`UPDATES_MAX`].
    pub fn read(grid: &str, updates: &str) -> Result<Self, GridError> {
        let file = parsed(updates)?;
        let attributes = file.get("attributes");
        let list = file
            .get("data")
            .and_then(Value::as_array)
            .ok_or_else(|| shape("the data of updates is no list".to_owned()))?;
        if list.len() > UPDATES_MAX {
            return Err(GridError::TooLarge { max: UPDATES_MAX });
        }
        Ok(Self {
            grid: components(grid)?,
            updates: list
                .iter()
                .map(|update| by_attribute(update, attributes))
                .collect::<Result<_, _>>()?,
        })
    }

    /// How many updates.
    pub fn len(&self) -> usize {
        self.updates.len()
    }

    /// No update at all.
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }

    /// The grid with one update applied, from zero. Updates without an id stand in the order of
    /// the grid's components.
    ///
    /// # Errors
    ///
    /// [`GridError`] if an update names a component that is not there, or its values do not fit.
    ///
    /// # Panics
    ///
    /// If there is no such update.
    pub fn grid(&self, at: usize, calculation: Calculation) -> Result<Grid, GridError> {
        let mut grid = self.grid.clone();
        for (kind, changes) in &self.updates[at] {
            let unknown = |what: &str| shape(format!("update {at} of {kind}: {what}"));
            let components = grid
                .get_mut(kind)
                .and_then(Value::as_array_mut)
                .ok_or_else(|| unknown("the grid has no such components"))?;
            let changes = changes.as_array().ok_or_else(|| unknown("no list"))?;
            for (place, change) in changes.iter().enumerate() {
                let change = change.as_object().ok_or_else(|| unknown("no object"))?;
                let place = match change.get("id") {
                    Some(id) => components.iter().position(|of| of["id"] == *id),
                    None => (place < components.len()).then_some(place),
                };
                let component = place
                    .and_then(|place| components[place].as_object_mut())
                    .ok_or_else(|| {
                        let id = change.get("id").map_or_else(String::new, Value::to_string);
                        unknown(&format!("there is no component {id}"))
                    })?;
                for (name, value) in change.iter().filter(|(_, value)| !value.is_null()) {
                    component.insert(name.clone(), value.clone());
                }
            }
        }
        Grid::of(&grid, calculation)
    }
}

fn shape(reason: String) -> GridError {
    GridError::Shape { reason }
}

fn parsed(text: &str) -> Result<Value, GridError> {
    serde_json::from_str(text).map_err(|error| shape(error.to_string()))
}

/// The components of a grid's file, by kind, each an object.
pub(super) fn components(text: &str) -> Result<Map<String, Value>, GridError> {
    let file = parsed(text)?;
    let data = file
        .get("data")
        .ok_or_else(|| shape("no object named data".to_owned()))?;
    by_attribute(data, file.get("attributes"))
}

/// Components may stand as lists of values in the order of the file's attributes.
fn by_attribute(data: &Value, attributes: Option<&Value>) -> Result<Map<String, Value>, GridError> {
    let data = data
        .as_object()
        .ok_or_else(|| shape("no object named data".to_owned()))?;
    let mut all = Map::new();
    for (kind, list) in data {
        let list = list
            .as_array()
            .ok_or_else(|| shape(format!("{kind} is no list")))?;
        let names = attributes
            .and_then(|attributes| attributes.get(kind))
            .and_then(Value::as_array);
        let of = |component: &Value| -> Result<Value, GridError> {
            let Some(values) = component.as_array() else {
                return Ok(component.clone());
            };
            let names = names
                .filter(|names| names.len() == values.len())
                .ok_or_else(|| shape(format!("{kind}: a list of values without as many names")))?;
            let pairs = names.iter().zip(values).filter_map(|(name, value)| {
                let name = name.as_str()?;
                (!value.is_null()).then(|| (name.to_owned(), value.clone()))
            });
            Ok(Value::Object(pairs.collect()))
        };
        let list = list.iter().map(of).collect::<Result<Vec<_>, _>>()?;
        all.insert(kind.clone(), Value::Array(list));
    }
    Ok(all)
}
