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
//! - Nothing here opens a file: bytes go out in effects, and a database comes in opened.

pub mod account;
pub mod backend;
pub mod block;
pub mod cells;
pub mod effect;
mod head;
pub mod journal;
pub mod ledger;
pub mod memory;
mod merge;
pub mod record;
pub mod recover;
mod schema;
pub mod sqlite;

pub use account::{Account, MissingRange, account};
pub use backend::{AuditRow, Backend, MeterRow, StoreError, Summary};
pub use cells::CellStore;
pub use effect::{Checkpoint, CommitBatch, CommitReport, Effect, MeterDay, Operation, Outcome};
pub use ledger::{AppendError, Ledger, LedgerConfig, LedgerStats};
pub use memory::{MemoryBackend, MemoryCells};
pub use record::{BillRow, Lsn, PricePoint, Record, StoredReading};
pub use recover::{RecoverError, Recovery, TornTail};
pub use sqlite::{SqliteBackend, SqliteCells};
