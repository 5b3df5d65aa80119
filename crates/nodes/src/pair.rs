//! A head-end pair: two members with the same data, of which at most one is active.
//!
//! - A [`Witness`](witness::Witness) grants one member at a time a lease with an epoch. Every edge
//!   is one, and so are the members themselves; a [`Seat`](seat::Seat) wins and keeps a majority.
//! - An edge's [`Fence`] hears only the utility of the highest epoch that it knows of.
//! - [`MemberNode`] keeps the second copy: what the disk of the active member carries out goes to
//!   the standby, and its answer is held back until the standby has it, too. Where the standby is
//!   away, a majority of the witnesses has to know so first; then the standby cannot win with what
//!   it has, until it has been given everything again.

mod fence;
mod follower;
mod member;
mod mirror;
mod seat;
mod witness;

pub use fence::{Fence, FenceError};
pub use member::{MemberNode, PairConfig, PairError};
pub use mirror::PeerState;
pub use seat::{Seat, SeatOutput, Voter};
pub use status::{PairStatus, Standing};
pub use witness::{Witness, WitnessRecord};

mod status;
