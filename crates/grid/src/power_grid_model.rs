//! Reads grids in the JSON of power-grid-model: nodes, lines, links, transformers of two
//! windings, sources, shunts, loads and generation.
//!
//! A component or a value that would change the power flow and is not modelled is an error with
//! its id; sensors have no effect on a power flow.

mod read;
mod transformer;
mod value;

pub use read::{COMPONENTS_MAX, Calculation, Grid};
pub use value::GridError;
