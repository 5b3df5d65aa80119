//! The head-end's tables on disk.

use std::path::{Path, PathBuf};

use gridloom_store::{Batch, OperationsStore, Refused, SqliteOperations};

use super::cells::open_connection;
use super::directory::DataDirectory;
use super::ledger::{database_error, database_path, existing_database};
use super::{DiskError, words};

/// Meters, keys, work and audit log of the head-end, in the data directory's `gridloom.db`: on
/// a connection of its own, so that readings and operations never wait for each other.
#[derive(Debug)]
pub struct OperationsDisk {
    path: PathBuf,
    store: Box<dyn OperationsStore>,
}

impl OperationsDisk {
    /// Opens the tables.
    ///
    /// # Errors
    ///
    /// [`DiskError::Database`] if the file cannot be opened or is no database of ours.
    pub fn open(directory: &DataDirectory) -> Result<Self, DiskError> {
        Self::open_in(directory.path())
    }

    /// Opens the tables of a data directory that this process has locked.
    pub(super) fn open_in(data: &Path) -> Result<Self, DiskError> {
        Self::open_at(database_path(data))
    }

    /// The tables of a data directory, for reading them whether or not somebody works there.
    ///
    /// # Errors
    ///
    /// [`DiskError::Database`] if there is none, or it cannot be opened.
    pub fn open_database(data: &Path) -> Result<Self, DiskError> {
        Self::open_at(existing_database(data)?)
    }

    fn open_at(path: PathBuf) -> Result<Self, DiskError> {
        let store = SqliteOperations::new(open_connection(&path)?)
            .map_err(|error| database_error(&path, &error))?;
        Ok(Self {
            path,
            store: Box::new(store),
        })
    }

    /// The tables, before the disk is started: what a head-end starts from.
    pub fn store(&self) -> &dyn OperationsStore {
        &*self.store
    }

    /// The tables, before the disk is started: for enrolling meters.
    pub fn store_mut(&mut self) -> &mut dyn OperationsStore {
        &mut *self.store
    }

    pub(super) fn commit(&mut self, batches: &[Batch]) -> Result<Vec<Result<(), Refused>>, String> {
        self.store
            .commit(batches)
            .map_err(|error| words::of_database(&self.path, &error))
    }
}
