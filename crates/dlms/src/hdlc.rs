//! The data link of IEC 62056-46: HDLC frames of type 3 on serial lines and on TCP, and both
//! ends of the link that carries APDUs over them in normal response mode.
//!
//! Invariants:
//!
//! - A frame counts only if its length, its header check and its frame check are right; anything
//!   else on the line is skipped, byte by byte, until a frame begins.
//! - [`ClientLink`] and [`ServerLink`] deliver each APDU whole, once and in order, or end the
//!   connection; what is lost, doubled or damaged on the line is repaired below.
//! - A frame to another address is never answered.
//!
//! Read from the standard, and kept to: frames are found by their length, without byte stuffing;
//! recovery is by checkpoint (the poll and final bits). A REJ is understood, never sent, because
//! it is not in the standard's list and meters answer it with FRMR.

mod address;
mod checksum;
mod client;
mod deframer;
mod frame;
mod parameters;
mod server;
mod transfer;

pub use address::{Address, AddressError};
pub use client::{ClientLink, ClientLinkConfig, ClientLinkOutput, LinkError};
pub use deframer::{BACKLOG_MAX, Deframer};
pub use frame::{Control, FLAG, FRAME_MAX, Frame, FrameError, INFO_MAX, Sequence};
pub use parameters::{INFO_MIN, ParameterError, Parameters, WINDOW_MAX};
pub use server::{CLIENTS_MAX, Peer, ServerLink, ServerLinkConfig, ServerLinkOutput};
pub use transfer::APDU_MAX;
