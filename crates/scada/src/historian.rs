//! The historian: what every point was, within a stated error, and exact aggregates of what came
//! in before anything was left out.
//!
//! A number is archived by straight lines such that no sample lies further from its line than the
//! error that the class states, and that every block repeats ([`Class::error`]). A plain swinging
//! door of the same width may err by more than twice its width; here the slope of a line is kept
//! within what all its samples allow, so the bound holds for each.

mod aggregate;
mod archive;
mod bits;
mod block;
mod class;
mod door;
mod events;
mod query;

pub use aggregate::{Aggregate, decode_aggregates, roll_up};
pub use archive::{Archive, ArchiveError, Effect, Recorded, Sealed, SealedKind};
pub use block::{BLOCK_BYTES_MAX, BlockError, BlockHead, SAMPLES_MAX, Vertex, decode_block};
pub use class::{Class, ClassError, Method, Retention};
pub use events::{EVENTS_MAX, EventLog, ProcessEvent, decode_events};
pub use query::{Reconstructed, Series};
