//! The only sockets, serial ports, files, clock and entropy: runs [`gridloom_nodes`] on tokio.
//! It adds no decision; what a node does in the simulator it does here.
//!
//! Invariants:
//!
//! - A node gets one input at a time and is drained before the next.
//! - Time never runs backwards, on either clock.
//! - No byte from a peer panics, and no peer makes us hold more than [`net`]'s bounds.
//! - A disk request is answered as done only when it is durable, and requests of one node are
//!   carried out in order.
//! - With [`tls`] no peer comes in without a certificate of the utility's authority, for its role,
//!   and none stays once it is revoked.
//! - One process at a time works in a data directory.

pub mod clock;
pub mod disk;
pub mod dlms;
pub mod entropy;
pub mod framing;
pub mod net;
pub mod program;
pub mod runner;
pub mod serial;
mod throttle;
pub mod tls;

pub use clock::{Clock, ClockError, Speed};
pub use disk::{
    ArchiveDisk, CellDisk, DataDirectory, Disk, DiskError, DiskHandle, DiskParts, KeeperDisk,
    LedgerDisk, LedgerStart, OperationsDisk, SpoolDisk,
};
pub use dlms::{
    ClientRoute, ClientSession, ClientTransport, MeterListenOptions, MeterListener, SessionError,
    TransportError,
};
pub use entropy::EntropyError;
pub use framing::{FrameError, Framing};
pub use net::{
    Backoff, DialAddress, DialOptions, LinkLimits, ListenOptions, Listener, Net, NetCounts,
    NetError, TlsRefusal,
};
pub use program::{LineProgram, ProgramError};
pub use runner::{Gate, Handle, NodeIndex, Runner, Running, Stopped};
pub use throttle::LOG_GAP;
pub use tls::{Admission, NodeName, Seeking, Tls, TlsError, TlsFault, TlsFiles};
