//! What a meter says unasked: intervals for the ledger, events for the operator, or a reason to
//! read its profile.
//!
//! Three forms are understood, each by what it is and not by who sends it: gridloom's own pushes; a
//! structure that begins with its own object list; and a structure whose objects the template
//! names ([`crate::template::PushList`]). Whatever cannot become an interval is never guessed: it makes the meter
//! be read ([`PushContent::read_because`]).

mod content;
mod objects;

#[cfg(test)]
mod tests;

pub use content::{
    EVENTS_PER_PUSH_MAX, PushContent, PushFault, PushMeaning, PushedEvent, content_of,
};
