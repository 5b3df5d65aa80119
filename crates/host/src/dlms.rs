//! Sessions with meters: what dials one, and what lets clients in to ten thousand.
//!
//! Both ends speak the wrapper over TCP and UDP (IEC 62056-47) and HDLC over TCP and serial lines
//! (IEC 62056-46); above them there are only APDUs.

mod hdlc;
mod listener;
mod session;
mod transport;
mod udp;

pub use listener::{HdlcLine, MeterListenOptions, MeterListener, MeterWire, SERVERS_MAX};
pub use session::{ClientSession, NOTIFICATIONS_MAX, Opened, SessionError};
pub use transport::{ClientRoute, ClientTransport, TransportError};
pub use udp::UDP_PEERS_MAX;
