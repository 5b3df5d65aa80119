//! What the head-end's operations keep: meters and how to reach them, wrapped keys and their
//! counters, long-running work, and the audit log.
//!
//! An [`OperationsStore`] stands beside a [`crate::Backend`], on its own connection to the same
//! database file: readings and operations never wait for each other's statements.

mod rows;

use core::fmt;

use gridloom_core::{MeterId, SystemTitle};

use crate::audit_log::{AUDIT_RECORD_BYTES_MAX, AuditEntry, AuditHead};
use crate::backend::{NAME_BYTES_MAX, StoreError, WRAPPED_KEY_BYTES_MAX};

pub use rows::{
    ClientRole, CounterRow, DeviceLink, DeviceRow, DeviceState, Direction, KeyId, KeyKind, KeyRow,
    KeyState, MasterRow, Rewrap, Transport, WhichWork, WorkKind, WorkRow,
};
pub(crate) use rows::{by_code, code_of, is_single};

/// Bytes of a serial number; a longer one is refused.
pub const SERIAL_BYTES_MAX: usize = 40;

/// Groups of one meter; one more is refused.
pub const GROUPS_PER_METER_MAX: usize = 32;

/// Client roles of one meter; one more is refused.
pub const ROLES_PER_METER_MAX: usize = 8;

/// Amperes of a service's fuse; a larger one is refused.
pub const FUSE_A_MAX: usize = 6_000;

/// Volts between phase and neutral; more is no low voltage (IEC 60038) and is refused.
pub const VOLTAGE_V_MAX: usize = 1_000;

/// Bytes of the state of one piece of work; a larger one is refused.
pub const WORK_STATE_BYTES_MAX: usize = 1 << 20;

/// Numbers of keys and work are signed 64-bit in a database.
const NUMBER_MAX: usize = usize::MAX / 2;

/// Changes in one batch; a larger one is refused.
pub const CHANGES_PER_BATCH_MAX: usize = 100_000;

/// The operations' tables.
pub trait OperationsStore: fmt::Debug + Send {
    /// Carries out batches with one synchronisation of the disk for all of them; durable when it
    /// returns. Each batch either succeeds as a whole or, refused, changes nothing; a refused one
    /// harms no other. The answers stand in the order of the batches.
    ///
    /// # Errors
    ///
    /// If the database fails; no batch has changed anything then.
    fn commit(&mut self, batches: &[Batch]) -> Result<Vec<Result<(), Refused>>, StoreError>;

    /// Every meter, by number.
    ///
    /// # Errors
    ///
    /// If the database fails or a row is damaged.
    fn devices(&self) -> Result<Vec<DeviceRow>, StoreError>;

    /// The keys of one meter, or of all, by number; retired ones too.
    ///
    /// # Errors
    ///
    /// If the database fails or a row is damaged.
    fn keys(&self, of: Option<MeterId>) -> Result<Vec<KeyRow>, StoreError>;

    /// A number above that of every key there ever was.
    ///
    /// # Errors
    ///
    /// If the database fails.
    fn next_key(&self) -> Result<KeyId, StoreError>;

    /// The counters under one key, or under all, by key, direction and title.
    ///
    /// # Errors
    ///
    /// If the database fails or a row is damaged.
    fn counters(&self, of: Option<KeyId>) -> Result<Vec<CounterRow>, StoreError>;

    /// The versions of the master key, oldest first.
    ///
    /// # Errors
    ///
    /// If the database fails or a row is damaged.
    fn masters(&self) -> Result<Vec<MasterRow>, StoreError>;

    /// Work of one kind, by number and meter.
    ///
    /// # Errors
    ///
    /// If the database fails or a row is damaged.
    fn work(&self, kind: WorkKind, which: WhichWork) -> Result<Vec<WorkRow>, StoreError>;

    /// The audit log's entries after number `after`, oldest first, at most `limit` and never
    /// more than [`crate::audit_log::AUDIT_READ_MAX`].
    ///
    /// # Errors
    ///
    /// If the database fails or a row is damaged.
    fn audit_log(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, StoreError>;

    /// Where the audit log ends.
    ///
    /// # Errors
    ///
    /// If the database fails or a row is damaged.
    fn audit_head(&self) -> Result<AuditHead, StoreError>;
}

/// Changes that happen together or not at all, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The changes.
    pub changes: Vec<Change>,
}

impl Batch {
    /// A batch of these changes.
    pub const fn new(changes: Vec<Change>) -> Self {
        Self { changes }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Writes a meter, replacing its row if there is one.
    Device(DeviceRow),
    /// Writes a key, replacing its row if there is one; see [`KeyState::may_become`].
    Key(KeyRow),
    /// Moves a key on in its life and leaves everything else as it is by now; a retired key
    /// loses its bytes. See [`KeyState::may_become`].
    KeyState(KeyId, KeyState),
    /// Wraps a key anew. Unlike [`Change::Key`] it leaves everything else as it is by now.
    Rewrap(Rewrap),
    /// Raises a counter. The same value again is harmless, a lower one is refused.
    Counter(CounterRow),
    /// Writes a version of the master key.
    Master(MasterRow),
    /// Writes the state of a piece of work.
    Work(WorkRow),
    /// Appends a record to the audit log.
    Audit(Vec<u8>),
}

/// Why a batch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Another meter in service has it.
    #[error("registry: {field} {value} of {meter} belongs to {by}; retire that meter first")]
    Taken {
        /// Who wanted it.
        meter: MeterId,
        /// `title`, `serial` or `address`.
        field: &'static str,
        /// The value.
        value: String,
        /// Its owner.
        by: MeterId,
    },
    /// A field is out of bounds.
    #[error("{field} of {got} is out of bounds, at most {max}")]
    FieldOutOfBounds {
        /// Which field.
        field: &'static str,
        /// Its size or value.
        got: usize,
        /// The bound.
        max: usize,
    },
    /// The counter would go back.
    #[error(
        "counter: {direction:?} counter of {title} under {key} stands at {held}, {offered} was \
         offered; a counter is never lowered without a new key"
    )]
    CounterLowered {
        /// The key.
        key: KeyId,
        /// Whose sending.
        direction: Direction,
        /// The sender.
        title: SystemTitle,
        /// Where it stands.
        held: u32,
        /// What was offered.
        offered: u32,
    },
    /// A counter under a key that is not there.
    #[error("key: {0} is unknown; write the key before its counters")]
    UnknownKey(KeyId),
    /// The number is another key's.
    #[error("key: number {0} belongs to another meter, kind or client")]
    KeyNumberTaken(KeyId),
    /// The key was wrapped anew or retired since it was read.
    #[error("key: {key} is not wrapped by master key {from} any more; read it again")]
    NotWrappedBy {
        /// The key.
        key: KeyId,
        /// The version that was expected.
        from: u32,
    },
    /// A key cannot go back in its life.
    #[error("key: {key} is {from:?} and cannot become {to:?}")]
    KeyState {
        /// The key.
        key: KeyId,
        /// Its state.
        from: KeyState,
        /// The state that was wanted.
        to: KeyState,
    },
    /// There is one already.
    #[error("key: {meter} has a {state:?} {kind} already, {by}; finish its change first")]
    KeyTwice {
        /// Whose.
        meter: MeterId,
        /// Which kind.
        kind: KeyKind,
        /// Pending or current.
        state: KeyState,
        /// The key that is there.
        by: KeyId,
    },
    /// A version of the master key was written before, with another check value.
    #[error("master key: version {0} has another check value; give the new key a new version")]
    MasterChanged(u32),
    /// Finished work was written again.
    #[error("work: {kind:?} {number} is finished; start new work under a new number")]
    Finished {
        /// Its kind.
        kind: WorkKind,
        /// Its number.
        number: u64,
    },
}

/// Refuses what is out of bounds, whatever the tables hold.
pub(crate) fn check_change(change: &Change) -> Result<(), Refused> {
    match change {
        Change::Device(row) => check_device(row),
        Change::Key(row) => within(&[
            ("wrapped key", row.wrapped.len(), WRAPPED_KEY_BYTES_MAX),
            ("key number", to_usize(row.key.0), NUMBER_MAX),
        ]),
        Change::Work(row) => within(&[
            ("work state", row.state.len(), WORK_STATE_BYTES_MAX),
            ("work number", to_usize(row.number), NUMBER_MAX),
        ]),
        Change::Audit(record) => within(&[("audit record", record.len(), AUDIT_RECORD_BYTES_MAX)]),
        Change::Rewrap(row) => within(&[("wrapped key", row.wrapped.len(), WRAPPED_KEY_BYTES_MAX)]),
        Change::KeyState(..) | Change::Counter(_) | Change::Master(_) => Ok(()),
    }
}

/// Refuses a batch that is too large.
pub(crate) fn check_batch(batch: &Batch) -> Result<(), Refused> {
    let size = batch.changes.len();
    within(&[("batch", size, CHANGES_PER_BATCH_MAX)])?;
    batch.changes.iter().try_for_each(check_change)
}

fn check_device(row: &DeviceRow) -> Result<(), Refused> {
    within(&[
        ("serial", row.serial.len(), SERIAL_BYTES_MAX),
        ("name", row.name.len(), NAME_BYTES_MAX),
        ("address", row.link.address.len(), NAME_BYTES_MAX),
        ("template", row.template.len(), NAME_BYTES_MAX),
        ("service_point", row.service_point.len(), NAME_BYTES_MAX),
        ("phases", usize::from(row.phases), 3),
        ("fuse_a", usize::from(row.fuse_a), FUSE_A_MAX),
        ("voltage_v", usize::from(row.voltage_v), VOLTAGE_V_MAX),
        ("groups", row.groups.len(), GROUPS_PER_METER_MAX),
        ("roles", row.roles.len(), ROLES_PER_METER_MAX),
    ])?;
    row.groups
        .iter()
        .try_for_each(|group| within(&[("group", group.len(), NAME_BYTES_MAX)]))
}

fn within(fields: &[(&'static str, usize, usize)]) -> Result<(), Refused> {
    match fields.iter().find(|(_, got, max)| got > max) {
        Some(&(field, got, max)) => Err(Refused::FieldOutOfBounds { field, got, max }),
        None => Ok(()),
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What a key row may not do to the row of the same number.
pub(crate) fn check_key_change(held: &KeyRow, row: &KeyRow) -> Result<(), Refused> {
    if (held.meter, held.kind, held.client) != (row.meter, row.kind, row.client) {
        return Err(Refused::KeyNumberTaken(row.key));
    }
    if !held.state.may_become(row.state) {
        return Err(Refused::KeyState {
            key: row.key,
            from: held.state,
            to: row.state,
        });
    }
    Ok(())
}
