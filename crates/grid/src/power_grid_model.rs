//! Reads grids in the JSON of power-grid-model: nodes, lines, links, generic branches, transformers
//! of two and three windings with the regulators of their taps, sources, shunts, loads, generation
//! and its voltage regulators; and batches of updates.
//!
//! A component or a value that would change the power flow and is not modelled is an error with
//! its id; sensors and faults have no effect on a power flow. State estimation and short circuits
//! are other calculations, which are not done here.

mod batch;
mod read;
mod regulators;
mod transformer;
mod value;

pub use batch::{Batch, UPDATES_MAX};
pub use read::{COMPONENTS_MAX, Calculation, Grid};
pub use value::GridError;
