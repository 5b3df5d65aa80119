//! How DLMS frames lie on the wire, as both sides name it.

use clap::ValueEnum;

/// How frames lie on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// The wrapper over TCP (IEC 62056-47)
    Wrapper,
    /// HDLC over TCP (IEC 62056-46)
    Hdlc,
    /// The wrapper over UDP
    Udp,
}
