//! The meter-day block.

/// Why bytes are not a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The checksum does not fit.
    #[error("checksum does not fit this meter, period and day")]
    Checksum,
}
