//! What the nodes of a world are called.

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The meter of the house with this index, from 0.
    Meter(usize),
    /// The gateway with this number, from 1.
    Gateway(usize),
    /// The edge.
    Edge,
    /// The other edge, where there are alternate paths.
    BackupEdge,
    /// The utility.
    Utility,
    /// The archive.
    Archive,
    /// The head-end.
    HeadEnd,
    /// The attacker beside the network with this number, from 0.
    Attacker(usize),
}
