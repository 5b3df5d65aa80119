//! Links: listeners, dialers, and what runs between a socket or line and a node.

mod address;
mod backoff;
mod counters;
mod datagrams;
mod dialer;
mod line;
mod link;
mod listener;

pub use address::{DialAddress, HOST_NAME_MAX, Listener, NetError};
pub use backoff::Backoff;
pub use counters::{Net, NetCounts, REFUSALS_MAX, TlsRefusal};
pub use dialer::{CONNECT_TIMEOUT, DialOptions, STABLE_AFTER};
pub use link::{
    FLUSH_TIMEOUT, LinkLimits, PARTIAL_FRAME_TIMEOUT, QUEUE_BYTES_MAX, QUEUE_FRAMES_MAX,
};
pub use listener::{CONNECTIONS_MAX, ListenOptions};

pub(crate) use address::bind_udp;
pub(crate) use counters::{Ending, add, count};
pub(crate) use dialer::{DialTarget, dial, dial_once};
pub(crate) use link::{LinkEvent, LinkSpec, LinkWriter, Route, SendError, SharedOrder};
pub(crate) use listener::{accept_each, listen};
