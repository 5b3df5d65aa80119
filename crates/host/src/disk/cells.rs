//! The memory of nodes on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gridloom_store::CellStore;
use gridloom_store::cells::CELL_BYTES_MAX;
use gridloom_store::sqlite::SqliteCells;
use rusqlite::Connection;

use super::directory::DataDirectory;
use super::ledger::database_error;
use super::{DiskError, words};

/// Memory cells of all nodes of a process, in the data directory's `field.db`.
#[derive(Debug)]
pub struct CellDisk {
    path: PathBuf,
    store: Box<dyn CellStore>,
}

impl CellDisk {
    /// Opens the cells.
    ///
    /// # Errors
    ///
    /// [`DiskError::Database`] if the file cannot be opened or is no database of ours.
    pub fn open(directory: &DataDirectory) -> Result<Self, DiskError> {
        Self::open_at(directory.path())
    }

    /// Opens the cells of a data directory that this process has locked.
    pub(super) fn open_at(data: &Path) -> Result<Self, DiskError> {
        let path = data.join("field.db");
        let store = SqliteCells::new(open_connection(&path)?)
            .map_err(|error| database_error(&path, &error))?;
        Ok(Self {
            path,
            store: Box::new(store),
        })
    }

    /// What a node remembers, by cell: what it starts from.
    ///
    /// # Errors
    ///
    /// [`DiskError::Database`] if the database fails.
    pub fn all_of(&self, node: &str) -> Result<BTreeMap<String, Vec<u8>>, DiskError> {
        self.store
            .all_of(node)
            .map_err(|error| database_error(&self.path, &error))
    }

    /// Writes what a new node remembers, before it is run.
    ///
    /// # Errors
    ///
    /// [`DiskError::Database`] if a cell is too long or the database fails; nothing is written.
    pub fn install(
        &mut self,
        node: &str,
        cells: &BTreeMap<&'static str, Vec<u8>>,
    ) -> Result<(), DiskError> {
        let rows: Vec<(&str, &str, &[u8])> = cells
            .iter()
            .map(|(cell, bytes)| (node, *cell, bytes.as_slice()))
            .collect();
        cells
            .values()
            .try_for_each(|bytes| self.check(bytes.len()))
            .and_then(|()| self.put_many(&rows))
            .map_err(|cause| DiskError::Database {
                path: self.path.clone(),
                cause,
            })
    }

    pub(super) fn check(&self, length: usize) -> Result<(), String> {
        if length <= CELL_BYTES_MAX {
            return Ok(());
        }
        Err(format!(
            "{}: a cell of {length} bytes is refused, at most {CELL_BYTES_MAX} are kept: \
             divide it over several",
            self.path.display()
        ))
    }

    pub(super) fn put_many(&mut self, cells: &[(&str, &str, &[u8])]) -> Result<(), String> {
        self.store
            .put_many(cells)
            .map_err(|error| words::of_database(&self.path, &error))
    }
}

/// Opens a database file, creating it if it is not there.
pub(super) fn open_connection(path: &Path) -> Result<Connection, DiskError> {
    Connection::open(path).map_err(|error| DiskError::Database {
        path: path.to_owned(),
        cause: error.to_string(),
    })
}
