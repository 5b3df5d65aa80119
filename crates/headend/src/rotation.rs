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
//! Kinds go one part after the other, because each is proved its own way: first the GUEK and the
//! GAK, which an association proves; then the GBEK; the KEK, under which all others travel, alone
//! and last.
//!
//! Invariants:
//!
//! - A GUEK and a GAK are not believed before an association opens under them: an answer to the
//!   transfer may be lost, early, or undone by a restart of the meter.
//! - A KEK is not believed before the meter has unwrapped something by it in a later association:
//!   its own GAK, which it has already. Nothing counts under a GAK, so taking it twice does no
//!   harm, and the key wrap (RFC 3394) makes the verified answer a proof.
//! - A GBEK opens nothing by which a meter could be reached, so the meter's verified answer is
//!   enough. One whose answer was lost is sent again: no frame goes out under it before.
//! - No key is thrown away before another one has opened an association. A refusal proves nothing:
//!   anybody can forge one.
//! - Keys that were sent are given up only after the *old* keys opened an association: its
//!   counters are higher than those of any transfer still under way, which the meter now refuses
//!   as a replay.
//! - Counters belong to key numbers, and a number is never given twice.

mod candidates;
mod kinds;
mod state;
mod terms;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, MeterId, Now, UtcTime};
use gridloom_store::{
    Batch, Change, CounterRow, Direction, KeyId, KeyKind, KeyRow, KeyState, WorkKind, WorkRow,
};

use crate::audit::{Action, AuditOutcome, AuditRecord, Target};
use crate::vault::{NewKey, Secret, Vault};

pub use candidates::KeySelection;
use candidates::{Candidate, candidates};
use kinds::{CHANGEABLE, Part, in_state, missing};
pub use kinds::{PREVIOUS_KEPT, retire_previous, transport_keys};
use state::{DurableStage, DurableState};
pub use terms::{
    ProbeOutcome, RotationError, RotationOutcome, RotationOutput, RotationPlan, TransferOutcome,
};

/// Transfers that a meter may ignore, old keys still working, before the change is given up.
pub const TRANSFERS_MAX: u32 = 5;

/// The first pause after a failure.
pub const RETRY_FIRST: Duration = Duration::from_secs(10);

/// The longest pause; there is no last attempt while keys are uncertain.
pub const RETRY_LONGEST: Duration = Duration::from_hours(1);

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
    /// The meter is asked to unwrap something by this master key.
    Proving(Master),
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

/// One of the two master keys that the meter may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Master {
    New,
    Old,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Transfer,
    Mark,
    Probe,
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
        if let Some(&kind) = plan.kinds.iter().find(|kind| Part::of(**kind).is_none()) {
            return Err(RotationError::NotTransferable { meter, kind });
        }
        let current = in_state(keys, meter, KeyState::Current);
        let pending = in_state(keys, meter, KeyState::Pending);
        if let Some(&key) = pending.values().next() {
            return Err(RotationError::AlreadyPending { meter, key });
        }
        if let Some(kind) = missing(&current) {
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
            // A first broadcast key is as long as the unicast one: the suite says so.
            let like = rotation.current.get(&kind);
            let like = like.unwrap_or(&rotation.current[&KeyKind::UnicastEncryption]);
            let old = keys.iter().find(|row| row.key == *like);
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
            let counts = matches!(
                kind,
                KeyKind::UnicastEncryption | KeyKind::BroadcastEncryption
            );
            if counts {
                changes.push(Change::Counter(CounterRow {
                    key,
                    direction: Direction::Transmit,
                    title: plan.own,
                    value: 0,
                }));
            }
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
        if missing(&rotation.current).is_some() {
            return Err(damaged("a current key is missing"));
        }
        match (state.stage, rotation.part()) {
            (DurableStage::Prepared, _) => rotation.mark(now),
            (DurableStage::Sending, Part::Association) => rotation.probe(0),
            // The mark is durable, and a second copy does no harm.
            (DurableStage::Sending, Part::Broadcast) => rotation.transfer(),
            (DurableStage::Sending, Part::Master) => rotation.prove(Master::New),
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
                let part = self.part();
                for kind in works {
                    let key = self.pending.remove(&kind).expect("it was a candidate");
                    self.current.insert(kind, key);
                }
                if !self.pending.is_empty() && self.part() != part {
                    // The next part is tried as often as this one was.
                    (self.transfers, self.refused) = (0, None);
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
            Stage::Transferring
            | Stage::Probing(_)
            | Stage::Proving(_)
            | Stage::Pausing { .. }
            | Stage::Over => panic!("nothing was to be committed"),
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
        if let Stage::Proving(master) = self.stage {
            return self.handle_proof(master, outcome, now);
        }
        assert_eq!(self.stage, Stage::Transferring, "no transfer was asked for");
        match self.part() {
            Part::Association => self.after_transfer(outcome, now),
            Part::Broadcast => self.after_broadcast(outcome, now),
            Part::Master => match outcome {
                TransferOutcome::NotSent(_) => self.pause(Then::Transfer, now),
                TransferOutcome::WrongKey(_) => self.locked_out(Then::Transfer, now),
                TransferOutcome::Accepted | TransferOutcome::Unknown(_) => {
                    self.prove(Master::New);
                }
                TransferOutcome::Refused(reason) => {
                    self.refused = Some(reason);
                    self.prove(Master::New);
                }
            },
        }
    }

    fn after_transfer(&mut self, outcome: TransferOutcome, now: Now) {
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

    fn after_broadcast(&mut self, outcome: TransferOutcome, now: Now) {
        match outcome {
            TransferOutcome::Accepted => {
                self.failures = 0;
                self.promote(Candidate::from([KeyKind::BroadcastEncryption]), now);
            }
            TransferOutcome::NotSent(_) => self.pause(Then::Transfer, now),
            TransferOutcome::WrongKey(_) => self.locked_out(Then::Transfer, now),
            TransferOutcome::Refused(reason) => {
                self.refused = Some(reason);
                self.give_up(now);
            }
            TransferOutcome::Unknown(_) if self.transfers < TRANSFERS_MAX => {
                self.pause(Then::Mark, now);
            }
            // Whatever it holds now, the next change overwrites it.
            TransferOutcome::Unknown(_) => self.give_up(now),
        }
    }

    /// What the meter unwrapped by a master key.
    fn handle_proof(&mut self, master: Master, outcome: TransferOutcome, now: Now) {
        match (outcome, master) {
            (TransferOutcome::Accepted, Master::New) => {
                self.failures = 0;
                self.promote(Candidate::from([KeyKind::KeyEncryption]), now);
            }
            (TransferOutcome::Accepted, Master::Old) => {
                self.failures = 0;
                if self.refused.is_some() || self.transfers >= TRANSFERS_MAX {
                    self.give_up(now);
                } else {
                    self.mark(now);
                }
            }
            (TransferOutcome::Refused(_), Master::New) => self.prove(Master::Old),
            (TransferOutcome::Refused(_) | TransferOutcome::WrongKey(_), _) => {
                self.locked_out(Then::Probe, now);
            }
            (TransferOutcome::NotSent(_) | TransferOutcome::Unknown(_), _) => {
                self.pause(Then::Probe, now);
            }
        }
    }

    /// What became of the probe.
    pub fn handle_probe(&mut self, outcome: ProbeOutcome, now: Now) {
        self.assert_drained();
        let Stage::Probing(index) = self.stage else {
            panic!("no probe was asked for");
        };
        let all = self.candidates();
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
            ProbeOutcome::WrongKey(_) => self.locked_out(Then::Probe, now),
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
                Then::Mark => self.mark(now),
                Then::Probe if self.part() == Part::Master => self.prove(Master::New),
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
            | Stage::Proving(_)
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

    /// The part whose turn it is.
    fn part(&self) -> Part {
        let parts = CHANGEABLE
            .iter()
            .filter(|kind| self.pending.contains_key(kind));
        let part = parts.filter_map(|kind| Part::of(*kind)).next();
        part.expect("something is pending until it is over")
    }

    /// The pending keys whose turn it is.
    fn due(&self) -> BTreeMap<KeyKind, KeyId> {
        let part = Some(self.part());
        let due = self
            .pending
            .iter()
            .filter(|(kind, _)| Part::of(**kind) == part);
        due.map(|(kind, key)| (*kind, *key)).collect()
    }

    fn candidates(&self) -> Vec<Candidate> {
        candidates(&self.due())
    }

    fn transfer(&mut self) {
        self.stage = Stage::Transferring;
        self.outbox.push_back(RotationOutput::Transfer {
            under: KeySelection::of(&self.current),
            wrapped_by: self.current[&KeyKind::KeyEncryption],
            keys: self.due().into_iter().collect(),
        });
    }

    /// Hands the meter the GAK that it has, wrapped by a master key that it may have.
    fn prove(&mut self, master: Master) {
        self.stage = Stage::Proving(master);
        let kind = KeyKind::Authentication;
        let wrapped_by = match master {
            Master::New => self.pending[&KeyKind::KeyEncryption],
            Master::Old => self.current[&KeyKind::KeyEncryption],
        };
        self.outbox.push_back(RotationOutput::Transfer {
            under: KeySelection::of(&self.current),
            wrapped_by,
            keys: vec![(kind, self.current[&kind])],
        });
    }

    /// The meter was reached, but takes none of our keys.
    fn locked_out(&mut self, then: Then, now: Now) {
        self.pause(then, now);
        self.outbox.push_back(RotationOutput::NoKeyWorks {
            rounds: self.failures,
        });
    }

    fn probe(&mut self, index: usize) {
        self.stage = Stage::Probing(index);
        let mut keys = self.current.clone();
        for kind in &self.candidates()[index] {
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
            if let Some(old) = self.current.get(kind) {
                changes.push(Change::KeyState(*old, KeyState::Previous));
            }
            changes.push(Change::KeyState(self.pending[kind], KeyState::Current));
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
        let left: Vec<_> = self.pending.keys().map(|kind| kind.name()).collect();
        let why = self.refused.take().unwrap_or_else(|| match self.part() {
            Part::Association | Part::Master => {
                format!("the meter ignored {TRANSFERS_MAX} transfers, its old keys still work")
            }
            Part::Broadcast => {
                format!("no answer to {TRANSFERS_MAX} transfers; change it again")
            }
        });
        let reason = format!("{} not changed: {why}", left.join(", "));
        self.refused = Some(reason.clone());
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

#[cfg(test)]
mod tests;
