//! Durable readings: nothing acknowledged is lost, and nothing is stored twice.
//!
//! A [`Ledger`] takes records, hands out what has to be written as [`Effect`]s and learns from
//! each [`Outcome`] what is durable. Its journal makes a record durable at once; a [`Backend`]
//! keeps sealed days as one compressed block per meter, and the tables beside them.
//!
//! Invariants:
//!
//! - A record is durable before [`Ledger::durable_through`] says so, and stays so through a crash
//!   at any byte of any later write.
//! - `(meter, period, end)` identifies a reading: an identical one is counted, a different one is
//!   kept as evidence, and the first stays.
//! - Damage is named, never skipped; only an unfinished last write is cut off.
//! - What a [`Spool`] took stays until it is acknowledged, or is named in a gap: by its bound, by
//!   damage, or because nobody answered.
//! - An [`OperationsStore`] never lowers a counter, never forgets a key's number and only appends
//!   to its audit log, whose hashes are chained.
//! - Nothing here opens a file: bytes go out in effects, and a database comes in opened.

pub mod account;
pub mod audit_log;
pub mod backend;
pub mod block;
pub mod cells;
pub mod effect;
mod frame;
mod head;
pub mod journal;
pub mod ledger;
pub mod memory;
pub mod memory_operations;
mod merge;
pub mod operations;
pub mod record;
pub mod recover;
pub mod replica;
mod schema;
pub mod spool;
pub mod sqlite;

pub use account::{Account, MissingRange, account};
pub use audit_log::{AuditEntry, AuditFault, AuditHash, AuditHead, Verifier};
pub use backend::{AuditRow, Backend, MeterRow, StoreError, Summary};
pub use cells::CellStore;
pub use effect::{Checkpoint, CommitBatch, CommitReport, Effect, MeterDay, Operation, Outcome};
pub use ledger::{AppendError, Ledger, LedgerConfig, LedgerStats};
pub use memory::{MemoryBackend, MemoryCells};
pub use memory_operations::MemoryOperations;
pub use operations::{
    Batch, Change, ClientRole, CounterRow, DeviceLink, DeviceRow, DeviceState, Direction, KeyId,
    KeyKind, KeyRow, KeyState, MasterRow, OperationsStore, Refused, Rewrap, Transport, WhichWork,
    WorkKind, WorkRow,
};
pub use record::{BillRow, Lsn, PricePoint, Record, StoredReading};
pub use recover::{RecoverError, Recovery, TornTail};
pub use replica::{Entry, EntryError};
pub use spool::{Lane, Spool, SpoolConfig};
pub use sqlite::{SqliteBackend, SqliteCells, SqliteOperations};
