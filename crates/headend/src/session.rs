//! One session with one meter: a plan of steps over one association, and the healing of our
//! invocation counter when the meter refuses it.
//!
//! The link is the host's: it opens one for a client's address when told to, hands over whole
//! APDUs, and says when the link is gone. A session always releases its association.

mod browse;
mod machine;
mod plan;
mod reading;
mod run;

pub use machine::{Output, PUBLIC_CLIENT, Session, SessionConfig};
pub use plan::{
    ClockReport, ControlState, EventRow, ObjectEntry, ProfileRead, Selection, SessionError,
    SessionReport, Step, StepError, StepValue, Supply,
};
