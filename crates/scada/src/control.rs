//! Commands: select, confirm, operate, and see that it happened.
//!
//! `select → (station confirms) → (second person) → operate → station accepts → feedback → done`,
//! or refused, cancelled, expired or failed. Age, tags, interlocks and the stop of automation are
//! tried at select and again at operate. Every end, and every refusal, is an audit record.

mod definition;
mod desk;
mod note;
mod sequence;
mod shedding;

pub use definition::{
    CLOCK_AHEAD_MAX, ControlError, Device, DeviceId, INTERLOCKS_MAX, Interlock, Persons, Selecting,
    TIME_MAX,
};
pub use desk::{
    Answer, CommandEnd, CommandId, Controls, Effect, Request, SELECTED_MAX, Stage, Standing,
};
pub use note::{NOTES_MAX, Note, NoteId, NoteKind, Remover};
pub use sequence::{RUNS_MAX, RunId, STEPS_MAX, Sequence, Step};
pub use shedding::{BLOCKS_MAX, Shed, SheddingBlock, SheddingMeans};
