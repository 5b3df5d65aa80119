//! The one block transfer that an association may have going on.

use crate::apdu::{AttributeDescriptor, MethodDescriptor, SelectiveAccess};
use crate::block::{BlockReceiver, BlockSender};

/// An attribute, and which part of it.
pub(super) type Place = (AttributeDescriptor, Option<SelectiveAccess>);

/// One, or a list of them.
#[derive(Debug)]
pub(super) enum Targets<T> {
    /// One.
    One(T),
    /// A list, which is answered by a list even if it has one entry.
    List(Vec<T>),
}

/// The one block transfer that an association may have going on. Any other request ends it.
#[derive(Debug, Default)]
pub(super) enum Transfer {
    /// None.
    #[default]
    Idle,
    /// What a GET read goes out.
    Get(BlockSender),
    /// What a SET will write comes in.
    Set(Targets<Place>, BlockReceiver),
    /// The parameters of an ACTION come in.
    Action(Targets<MethodDescriptor>, BlockReceiver),
    /// What an ACTION returned goes out.
    Returned(BlockSender),
}
