//! The only sockets, serial ports, files, clock and entropy.

pub mod serial;
