//! Changes the keys of a meter, and survives a crash anywhere in the middle.
//!
//! ```text
//! make keys → store them as pending → mark as sending → transfer (class 64, method 2)
//!                                          ↑                 ↓ whatever is heard of it
//!                                 old keys work         probe: new keys, old keys, mixtures
//!                                                            ↓ new keys work
//!                                                       promote
//! ```
//!
//! Invariants:
//!
//! - Nothing is believed but an association that opens under a key: an answer to the transfer may
//!   be lost, early, or undone by a restart of the meter.
//! - No key is thrown away before another one has opened an association. A refusal proves nothing:
//!   anybody can forge one.
//! - Keys that were sent are given up only after the *old* keys opened an association: its
//!   counters are higher than those of any transfer still under way, which the meter now refuses
//!   as a replay.
//! - Counters belong to key numbers, and a number is never given twice.
//!
//! Only [`KeyKind::UnicastEncryption`] and [`KeyKind::Authentication`] are changed here: an
//! association proves exactly these two. A broadcast key or the meter's own master key would be
//! promoted on the meter's word alone.

mod candidates;
mod state;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, MeterId, Now, SystemTitle, UtcTime};
use gridloom_store::{
    Batch, Change, CounterRow, Direction, KeyId, KeyKind, KeyRow, KeyState, WorkKind, WorkRow,
};

use crate::audit::{Action, AuditOutcome, AuditRecord, Target};
use crate::vault::{NewKey, Secret, Vault, VaultError};

pub use candidates::KeySelection;
use candidates::{Candidate, candidates};
use state::{DurableStage, DurableState};

/// Transfers that a meter may ignore, old keys still working, before the change is given up.
pub const TRANSFERS_MAX: u32 = 5;

/// The first pause after a failure.
pub const RETRY_FIRST: Duration = Duration::from_secs(10);

/// The longest pause; there is no last attempt while keys are uncertain.
pub const RETRY_LONGEST: Duration = Duration::from_hours(1);

/// How long a replaced key is kept in case its meter falls back to it.
pub const PREVIOUS_KEPT: Duration = Duration::from_hours(7 * 24);

/// Kinds of keys that an association proves.
const PROVABLE: [KeyKind; 2] = [KeyKind::UnicastEncryption, KeyKind::Authentication];

/// What to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationPlan {
    /// The number of this work.
    pub number: u64,
    /// Whose keys.
    pub meter: MeterId,
    /// Which ones.
    pub kinds: BTreeSet<KeyKind>,
    /// Who wants it, for the audit log.
    pub actor: String,
    /// The head-end's own system title, whose counters start under the new keys.
    pub own: SystemTitle,
}

/// One change of one meter's keys.
#[derive(Debug)]
pub struct Rotation {
    number: u64,
    meter: MeterId,
    actor: String,
    current: BTreeMap<KeyKind, KeyId>,
    pending: BTreeMap<KeyKind, KeyId>,
    /// Transfers begun so far.
    transfers: u32,
    /// Failures in a row; sets the pause.
    failures: u32,
    /// Why the meter refused, once it did: it is given up as soon as the old keys work.
    refused: Option<String>,
    stage: Stage,
    outbox: VecDeque<RotationOutput>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// The pending keys are being stored.
    Preparing,
    /// It is being stored that a transfer begins.
    Marking,
    /// A transfer is under way.
    Transferring,
    /// The n-th candidate is being tried.
    Probing(usize),
    /// A pause before a transfer or a probe.
    Pausing {
        until: Instant,
        then: Then,
    },
    /// It is being stored that a candidate works.
    Promoting(Candidate),
    /// It is being stored that the pending keys are given up.
    GivingUp,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Transfer,
    Probe,
}

/// What a rotation wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationOutput {
    /// Commit this; answer with [`Rotation::handle_committed`] or
    /// [`Rotation::handle_commit_failed`].
    Commit(Batch),
    /// Open an association under these keys and invoke `key_transfer` with the others; answer
    /// with [`Rotation::handle_transfer`].
    Transfer {
        /// Under which keys.
        under: KeySelection,
        /// What to hand over: see [`transport_keys`].
        keys: Vec<(KeyKind, KeyId)>,
    },
    /// Open an association under these keys, and release it; answer with
    /// [`Rotation::handle_probe`].
    Probe(KeySelection),
    /// No key that we hold opens an association. Nothing is thrown away and probing goes on, but
    /// somebody should look at the meter.
    NoKeyWorks {
        /// Rounds of probing so far.
        rounds: u32,
    },
    /// It is over.
    Finished(RotationOutcome),
}

/// How a rotation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationOutcome {
    /// The new keys work, and are current.
    Changed,
    /// The old keys work, and stay current.
    GivenUp(String),
}

/// What is known of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferOutcome {
    /// The meter's verified answer says that it took the keys.
    Accepted,
    /// The meter's verified answer says that it did not.
    Refused(String),
    /// Nothing was sent: the link or the association did not come up in time.
    NotSent(String),
    /// The meter does not accept the keys that the association was tried under.
    WrongKey(String),
    /// It was sent, and no verified answer came.
    Unknown(String),
}

/// What is known after a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// The association opened: both sides proved the keys.
    Opened,
    /// The meter was reached, but not under these keys.
    WrongKey(String),
    /// The meter was not reached.
    Unreachable(String),
}

/// Why a rotation cannot begin or go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotationError {
    /// A kind of key that no association proves.
    #[error(
        "key change of {meter}: a {kind} cannot be proved by an association; change guek or gak"
    )]
    NotProvable {
        /// Whose.
        meter: MeterId,
        /// Which kind.
        kind: KeyKind,
    },
    /// Nothing to change.
    #[error("key change of {0}: no kind of key is named; name guek, gak or both")]
    NothingToChange(MeterId),
    /// There is no current key.
    #[error("key change of {meter}: it has no current {kind}; import its keys first")]
    NoCurrentKey {
        /// Whose.
        meter: MeterId,
        /// Which kind.
        kind: KeyKind,
    },
    /// Another change is under way.
    #[error("key change of {meter}: {key} is pending; finish that change first")]
    AlreadyPending {
        /// Whose.
        meter: MeterId,
        /// The key.
        key: KeyId,
    },
    /// Too little entropy.
    #[error("key change of {meter}: {got} bytes of entropy, {wanted} are needed")]
    Entropy {
        /// Whose.
        meter: MeterId,
        /// Given.
        got: usize,
        /// Needed.
        wanted: usize,
    },
    /// The vault refused.
    #[error("key change: {0}")]
    Vault(#[from] VaultError),
    /// The stored state does not decode.
    #[error("key change {number}: its stored state is damaged ({what}); restore it from a backup")]
    DamagedState {
        /// Which.
        number: u64,
        /// What is wrong.
        what: &'static str,
    },
}

impl Rotation {
    /// Makes new keys out of `entropy` (as many bytes as the old keys have, one after the other)
    /// and begins. `next_key` is the first free key number; it is counted on.
    ///
    /// # Errors
    ///
    /// If the keys cannot be changed now; nothing has happened then.
    pub fn begin(
        plan: &RotationPlan,
        keys: &[KeyRow],
        next_key: &mut KeyId,
        vault: &mut Vault,
        entropy: &[u8],
        now: Now,
    ) -> Result<Self, RotationError> {
        let meter = plan.meter;
        if plan.kinds.is_empty() {
            return Err(RotationError::NothingToChange(meter));
        }
        if let Some(&kind) = plan.kinds.iter().find(|kind| !PROVABLE.contains(kind)) {
            return Err(RotationError::NotProvable { meter, kind });
        }
        let current = in_state(keys, meter, KeyState::Current);
        let pending = in_state(keys, meter, KeyState::Pending);
        if let Some(&key) = pending.values().next() {
            return Err(RotationError::AlreadyPending { meter, key });
        }
        if let Some(&kind) = PROVABLE.iter().find(|kind| !current.contains_key(kind)) {
            return Err(RotationError::NoCurrentKey { meter, kind });
        }
        let mut rotation = Self {
            number: plan.number,
            meter,
            actor: plan.actor.clone(),
            current,
            pending,
            transfers: 0,
            failures: 0,
            refused: None,
            stage: Stage::Preparing,
            outbox: VecDeque::new(),
        };
        let mut changes = Vec::new();
        let (mut left, mut wanted) = (entropy, 0);
        for &kind in &plan.kinds {
            let old = keys.iter().find(|row| row.key == rotation.current[&kind]);
            let length = vault
                .unseal(old.expect("the key was just found"))?
                .expose()
                .len();
            wanted += length;
            let Some((bytes, rest)) = left.split_at_checked(length) else {
                return Err(RotationError::Entropy {
                    meter,
                    got: entropy.len(),
                    wanted,
                });
            };
            left = rest;
            let key = *next_key;
            let row = vault.seal(
                NewKey {
                    key,
                    meter,
                    kind,
                    client: 0,
                    state: KeyState::Pending,
                    made_at: now.utc,
                },
                &Secret::new(bytes),
            )?;
            next_key.0 += 1;
            changes.push(Change::Key(row));
            changes.push(Change::Counter(CounterRow {
                key,
                direction: Direction::Transmit,
                title: plan.own,
                value: 0,
            }));
            rotation.pending.insert(kind, key);
        }
        changes.push(rotation.work(DurableStage::Prepared, now.utc));
        changes.push(rotation.audit("prepared", AuditOutcome::Done, now.utc));
        rotation.commit(changes);
        Ok(rotation)
    }

    /// Goes on after a start, from the unfinished work and the meter's keys. Whether a transfer
    /// reached the meter is unknown then, so a change that was sending probes first.
    ///
    /// # Errors
    ///
    /// If the stored state is damaged.
    pub fn resume(work: &WorkRow, keys: &[KeyRow], now: Now) -> Result<Self, RotationError> {
        let damaged = |what| RotationError::DamagedState {
            number: work.number,
            what,
        };
        let meter = work.meter.ok_or_else(|| damaged("it names no meter"))?;
        let state = DurableState::decode(&work.state).map_err(damaged)?;
        let mut rotation = Self {
            number: work.number,
            meter,
            actor: state.actor,
            current: in_state(keys, meter, KeyState::Current),
            pending: in_state(keys, meter, KeyState::Pending),
            transfers: state.transfers,
            failures: 0,
            refused: state.refused,
            stage: Stage::Over,
            outbox: VecDeque::new(),
        };
        if rotation.pending.is_empty() {
            return Err(damaged("no key is pending"));
        }
        if PROVABLE
            .iter()
            .any(|kind| !rotation.current.contains_key(kind))
        {
            return Err(damaged("a current key is missing"));
        }
        match state.stage {
            DurableStage::Prepared => rotation.mark(now),
            DurableStage::Sending => rotation.probe(0),
        }
        Ok(rotation)
    }

    /// Whose keys it changes.
    pub const fn meter(&self) -> MeterId {
        self.meter
    }

    /// The batch is durable.
    pub fn handle_committed(&mut self, now: Now) {
        self.assert_drained();
        match core::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Preparing => self.mark(now),
            Stage::Marking => self.transfer(),
            Stage::Promoting(works) => {
                for kind in works {
                    let key = self.pending.remove(&kind).expect("it was a candidate");
                    self.current.insert(kind, key);
                }
                if self.pending.is_empty() {
                    self.finish(RotationOutcome::Changed);
                } else {
                    // The meter took a part: the rest goes out under what works now.
                    self.mark(now);
                }
            }
            Stage::GivingUp => {
                let reason = self.refused.take().unwrap_or_default();
                self.finish(RotationOutcome::GivenUp(reason));
            }
            Stage::Transferring | Stage::Probing(_) | Stage::Pausing { .. } | Stage::Over => {
                panic!("nothing was to be committed")
            }
        }
    }

    /// The database failed: the effect is unknown, as after a crash. The host drops this machine
    /// and resumes from the store once it works again.
    pub fn handle_commit_failed(&mut self) {
        self.assert_drained();
        self.stage = Stage::Over;
    }

    /// What became of the transfer.
    pub fn handle_transfer(&mut self, outcome: TransferOutcome, now: Now) {
        self.assert_drained();
        assert_eq!(self.stage, Stage::Transferring, "no transfer was asked for");
        match outcome {
            TransferOutcome::NotSent(_) => self.pause(Then::Transfer, now),
            // Even an accepted key is not current before it opened an association.
            TransferOutcome::Accepted
            | TransferOutcome::WrongKey(_)
            | TransferOutcome::Unknown(_) => self.probe(0),
            TransferOutcome::Refused(reason) => {
                self.refused = Some(reason);
                self.probe(0);
            }
        }
    }

    /// What became of the probe.
    pub fn handle_probe(&mut self, outcome: ProbeOutcome, now: Now) {
        self.assert_drained();
        let Stage::Probing(index) = self.stage else {
            panic!("no probe was asked for");
        };
        let all = candidates(&self.pending);
        match outcome {
            ProbeOutcome::Opened => {
                self.failures = 0;
                let works = all[index].clone();
                if !works.is_empty() {
                    self.promote(works, now);
                } else if self.refused.is_some() || self.transfers >= TRANSFERS_MAX {
                    self.give_up(now);
                } else {
                    self.mark(now);
                }
            }
            ProbeOutcome::WrongKey(_) if index + 1 < all.len() => self.probe(index + 1),
            ProbeOutcome::WrongKey(_) => {
                self.pause(Then::Probe, now);
                self.outbox.push_back(RotationOutput::NoKeyWorks {
                    rounds: self.failures,
                });
            }
            ProbeOutcome::Unreachable(_) => self.pause(Then::Probe, now),
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.assert_drained();
        if let Stage::Pausing { until, then } = self.stage
            && now.instant >= until
        {
            match then {
                // The mark is durable: nothing was sent since.
                Then::Transfer => self.transfer(),
                Then::Probe => self.probe(0),
            }
        }
    }

    /// The next effect.
    pub fn poll_output(&mut self) -> Option<RotationOutput> {
        self.outbox.pop_front()
    }

    /// When to come back.
    pub const fn wake(&self) -> Option<(Instant, &'static str)> {
        match self.stage {
            Stage::Pausing { until, .. } => Some((until, "key change retry")),
            Stage::Preparing
            | Stage::Marking
            | Stage::Transferring
            | Stage::Probing(_)
            | Stage::Promoting(_)
            | Stage::GivingUp
            | Stage::Over => None,
        }
    }

    fn mark(&mut self, now: Now) {
        self.stage = Stage::Marking;
        self.transfers += 1;
        let after = format!("transfer {}", self.transfers);
        let changes = vec![
            self.work(DurableStage::Sending, now.utc),
            self.audit(&after, AuditOutcome::Done, now.utc),
        ];
        self.commit(changes);
    }

    fn transfer(&mut self) {
        self.stage = Stage::Transferring;
        self.outbox.push_back(RotationOutput::Transfer {
            under: KeySelection::of(&self.current),
            keys: self
                .pending
                .iter()
                .map(|(kind, key)| (*kind, *key))
                .collect(),
        });
    }

    fn probe(&mut self, index: usize) {
        self.stage = Stage::Probing(index);
        let mut keys = self.current.clone();
        for kind in &candidates(&self.pending)[index] {
            keys.insert(*kind, self.pending[kind]);
        }
        let with = KeySelection::of(&keys);
        self.outbox.push_back(RotationOutput::Probe(with));
    }

    fn pause(&mut self, then: Then, now: Now) {
        let doublings = self.failures.min(20);
        self.failures = self.failures.saturating_add(1);
        let pause = RETRY_FIRST.saturating_mul(1 << doublings);
        self.stage = Stage::Pausing {
            until: now.instant + pause.min(RETRY_LONGEST),
            then,
        };
    }

    fn promote(&mut self, works: Candidate, now: Now) {
        let mut changes = Vec::new();
        for kind in &works {
            // In this order: there is never more than one current key.
            let (old, new) = (self.current[kind], self.pending[kind]);
            changes.push(Change::KeyState(old, KeyState::Previous));
            changes.push(Change::KeyState(new, KeyState::Current));
        }
        let is_whole = works.len() == self.pending.len();
        changes.push(if is_whole {
            self.finished(now.utc)
        } else {
            self.work(DurableStage::Prepared, now.utc)
        });
        changes.push(self.audit("promoted", AuditOutcome::Done, now.utc));
        self.stage = Stage::Promoting(works);
        self.commit(changes);
    }

    fn give_up(&mut self, now: Now) {
        let reason = self.refused.get_or_insert_with(|| {
            format!("the meter ignored {TRANSFERS_MAX} transfers, its old keys still work")
        });
        let reason = reason.clone();
        let mut changes: Vec<_> = self
            .pending
            .values()
            .map(|key| Change::KeyState(*key, KeyState::Retired))
            .collect();
        changes.push(self.finished(now.utc));
        changes.push(self.audit("given up", AuditOutcome::Failed(reason), now.utc));
        self.stage = Stage::GivingUp;
        self.commit(changes);
    }

    fn finish(&mut self, outcome: RotationOutcome) {
        self.stage = Stage::Over;
        self.outbox.push_back(RotationOutput::Finished(outcome));
    }

    fn commit(&mut self, changes: Vec<Change>) {
        let batch = Batch::new(changes);
        self.outbox.push_back(RotationOutput::Commit(batch));
    }

    fn work(&self, stage: DurableStage, at: UtcTime) -> Change {
        self.work_row(stage, at, false)
    }

    fn finished(&self, at: UtcTime) -> Change {
        self.work_row(DurableStage::Sending, at, true)
    }

    fn work_row(&self, stage: DurableStage, changed_at: UtcTime, is_finished: bool) -> Change {
        let state = DurableState {
            stage,
            transfers: self.transfers,
            actor: self.actor.clone(),
            refused: self.refused.clone(),
        };
        Change::Work(WorkRow {
            kind: WorkKind::Rotation,
            number: self.number,
            meter: Some(self.meter),
            state: state.encode(),
            is_finished,
            changed_at,
        })
    }

    fn audit(&self, what: &str, outcome: AuditOutcome, at: UtcTime) -> Change {
        let list = |keys: &BTreeMap<KeyKind, KeyId>| {
            let names: Vec<_> = keys
                .iter()
                .map(|(kind, key)| format!("{kind} {key}"))
                .collect();
            names.join(", ")
        };
        let record = AuditRecord {
            at,
            actor: self.actor.clone(),
            action: Action::KeyChange,
            target: Target::Meter(self.meter),
            before: list(&self.current),
            after: format!("{what}: {}", list(&self.pending)),
            outcome,
        };
        record.to_change()
    }

    fn assert_drained(&self) {
        assert!(
            self.outbox.is_empty(),
            "the host drains outputs between inputs"
        );
    }
}

/// The parameters of `key_transfer` (class 64, method 2): `key_id` and the key wrapped by the
/// meter's own master key (`kek`).
///
/// # Errors
///
/// If a key does not unwrap from the vault.
pub fn transport_keys(
    vault: &mut Vault,
    kek: &KeyRow,
    keys: &[KeyRow],
) -> Result<Vec<(u8, Vec<u8>)>, RotationError> {
    let mut entries = Vec::with_capacity(keys.len());
    for row in keys {
        let key_id = match row.kind {
            KeyKind::UnicastEncryption => 0,
            KeyKind::BroadcastEncryption => 1,
            KeyKind::Authentication => 2,
            KeyKind::KeyEncryption => 3,
            KeyKind::LowLevelSecret | KeyKind::HighLevelSecret => {
                return Err(RotationError::NotProvable {
                    meter: row.meter,
                    kind: row.kind,
                });
            }
        };
        entries.push((key_id, vault.transport(kek, row)?));
    }
    Ok(entries)
}

/// Retires replaced keys whose successor was made [`PREVIOUS_KEPT`] ago and still is current.
pub fn retire_previous(keys: &[KeyRow], now: UtcTime) -> Batch {
    let has_old_successor = |row: &&KeyRow| {
        keys.iter().any(|other| {
            (other.meter, other.kind, other.client) == (row.meter, row.kind, row.client)
                && other.state == KeyState::Current
                && now.since(other.made_at) >= PREVIOUS_KEPT
        })
    };
    let previous = keys.iter().filter(|row| row.state == KeyState::Previous);
    let due = previous.filter(has_old_successor);
    Batch::new(
        due.map(|row| Change::KeyState(row.key, KeyState::Retired))
            .collect(),
    )
}

fn in_state(keys: &[KeyRow], meter: MeterId, state: KeyState) -> BTreeMap<KeyKind, KeyId> {
    keys.iter()
        .filter(|row| row.meter == meter && row.state == state && PROVABLE.contains(&row.kind))
        .map(|row| (row.kind, row.key))
        .collect()
}

#[cfg(test)]
mod tests;
