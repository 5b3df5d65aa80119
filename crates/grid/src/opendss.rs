//! Reads circuits in the language of OpenDSS: the part of it that describes distribution feeders.
//!
//! Nothing is skipped in silence: a class, a property, an option or a command that is not known,
//! or that would change the power flow and is not modelled, is an error with file and line. What
//! only shows, meters or rates (monitors, plots, fault rates) is known as such and has no effect.

mod circuit;
mod classes;
mod controls;
mod error;
mod field;
mod geometry;
mod injections;
mod lines;
mod script;
mod shapes;
mod shipped;
mod text;
mod transformers;

pub use circuit::Circuit;
pub use error::{CircuitError, Origin};
pub use script::{BYTES_MAX, DEPTH_MAX, Files, OBJECTS_MAX};
pub use shapes::{Mode, POINTS_MAX, Shapes};
pub use shipped::Shipped;
