//! A node's non-volatile memory: named cells that are replaced as a whole.

use core::fmt;
use std::collections::BTreeMap;

use crate::backend::StoreError;

/// Bytes of one cell; a larger one is refused.
pub const CELL_BYTES_MAX: usize = 4 << 20;

/// Bytes of a node's or a cell's name; a longer one is refused.
pub const CELL_NAME_BYTES_MAX: usize = 120;

/// Cells by `(node, slot)`.
pub trait CellStore: fmt::Debug + Send {
    /// Replaces the content of cells `(node, slot, bytes)` in one transaction; durable when it
    /// returns. Of two writes to one cell the later stays.
    ///
    /// # Errors
    ///
    /// If a cell is out of bounds or the database fails; nothing has changed then.
    fn put_many(&mut self, cells: &[(&str, &str, &[u8])]) -> Result<(), StoreError>;

    /// The content of one cell.
    ///
    /// # Errors
    ///
    /// If the database fails.
    fn get(&self, node: &str, slot: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Every cell of a node, by its name.
    ///
    /// # Errors
    ///
    /// If the database fails.
    fn all_of(&self, node: &str) -> Result<BTreeMap<String, Vec<u8>>, StoreError>;
}

/// Refuses a cell that is out of bounds.
pub(crate) fn check_cell((node, slot, bytes): (&str, &str, &[u8])) -> Result<(), StoreError> {
    let fields = [
        ("cell node", node.len(), CELL_NAME_BYTES_MAX),
        ("cell slot", slot.len(), CELL_NAME_BYTES_MAX),
        ("cell bytes", bytes.len(), CELL_BYTES_MAX),
    ];
    match fields.into_iter().find(|(_, got, max)| got > max) {
        Some((field, got, max)) => Err(StoreError::FieldOutOfBounds { field, got, max }),
        None => Ok(()),
    }
}
