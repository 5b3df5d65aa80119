//! A client of one meter, as the command line describes it.

mod counters;
mod options;
pub(crate) mod protection;
mod session;

pub(crate) use options::MeterOptions;
pub(crate) use session::{MeterSession, run_on};
