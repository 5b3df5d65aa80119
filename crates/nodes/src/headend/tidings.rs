//! Edges learn which keys their meters have: told until one of them has it durably.
//!
//! A meter's pushes are verified at an edge, so its edge knows new keys before the meter gets them
//! and takes both pairs until it is told which are current. That something is to be told is written
//! with the change of keys itself; what is told is always what the tables say now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridloom_core::{Instant, MeterId, Now, UtcTime};
use gridloom_headend::{KeyNews, Standing};
use gridloom_store::{Batch, Change, KeyId, KeyKind, KeyState, Transport, WorkKind, WorkRow};

use super::HeadEndNode;
use super::disk::Saved;
use crate::envelope::Message;

/// The first pause before an edge is told again.
const AGAIN_FIRST: Duration = Duration::from_secs(5);

/// The longest pause; there is no last attempt.
const AGAIN_LONGEST: Duration = Duration::from_mins(5);

/// Attempts after which an operator hears of it.
const ATTEMPTS_QUIET: u32 = 10;

const VERSION: u8 = 1;

/// What edges have yet to learn.
#[derive(Debug, Default)]
pub(super) struct Tidings {
    open: BTreeMap<MeterId, Telling>,
    /// The work rows that stand for it, by meter.
    rows: BTreeMap<MeterId, BTreeSet<u64>>,
    last: u64,
}

#[derive(Debug, Clone, Copy)]
struct Telling {
    number: u64,
    pairs: Pairs,
    /// `None` once an edge has it; it is kept while the change goes on.
    again_at: Option<Instant>,
    attempts: u32,
}

/// What is told: the keys, and whether they are still to come.
type Pairs = ([Option<KeyId>; 2], Standing);

impl Tidings {
    pub(super) fn wake(&self) -> Option<(Instant, &'static str)> {
        let due = self.open.values().filter_map(|telling| telling.again_at);
        due.min().map(|at| (at, "tell edges again"))
    }

    /// A number above every one before, in this life and mostly in others: numbers follow the
    /// clock. Where the clock was set back, the edge says what it has.
    fn next_number(&mut self, above: u64, now: UtcTime) -> u64 {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        self.last = self.last.max(above).saturating_add(1).max(millis);
        self.last
    }
}

impl HeadEndNode {
    /// Whether edges have to know this meter's keys.
    fn is_told(&self, meter: MeterId) -> bool {
        let row = self.registry.meter(meter);
        self.config.edge_key.is_some()
            && row.is_some_and(|row| row.link.transport == Transport::Gateway)
    }

    /// What has to be durable together with a step of a key change.
    pub(super) fn with_tidings(&mut self, mut batch: Batch, number: u64, now: Now) -> Batch {
        let meter = self.rotations.get(&number).map(|rotation| rotation.meter());
        if let Some(meter) = meter.filter(|meter| self.is_told(*meter)) {
            self.tidings.rows.entry(meter).or_default().insert(number);
            batch.changes.push(news_row(number, meter, false, now.utc));
        }
        batch
    }

    /// What earlier lives did not tell.
    pub(super) fn restore_tidings(&mut self, rows: &[WorkRow], now: Now) {
        for row in rows {
            let Some(meter) = row.meter else { continue };
            self.tidings
                .rows
                .entry(meter)
                .or_default()
                .insert(row.number);
        }
        let meters: Vec<MeterId> = self.tidings.rows.keys().copied().collect();
        for meter in meters {
            if self.is_told(meter) {
                self.tell(meter, now);
            } else {
                self.told(meter, now);
            }
        }
    }

    /// The keys of a meter stand differently now.
    pub(super) fn tell(&mut self, meter: MeterId, now: Now) {
        if !self.is_told(meter) || !self.tidings.rows.contains_key(&meter) {
            return;
        }
        let pairs = self.pairs(meter);
        if self
            .tidings
            .open
            .get(&meter)
            .is_some_and(|telling| telling.pairs == pairs)
        {
            return;
        }
        let number = self.tidings.next_number(0, now.utc);
        let telling = Telling {
            number,
            pairs,
            again_at: Some(now.instant),
            attempts: 0,
        };
        self.tidings.open.insert(meter, telling);
        self.send_tidings(now);
    }

    /// Tells what is due, where somebody is there to be told.
    pub(super) fn send_tidings(&mut self, now: Now) {
        if self.ways.utility().is_none() {
            return;
        }
        let due = |telling: &Telling| telling.again_at.is_some_and(|at| at <= now.instant);
        let meters: Vec<MeterId> = self
            .tidings
            .open
            .iter()
            .filter(|(_, telling)| due(telling))
            .map(|(meter, _)| *meter)
            .collect();
        for meter in meters {
            let Some(telling) = self.tidings.open.get_mut(&meter) else {
                continue;
            };
            let pause = AGAIN_FIRST.saturating_mul(1 << telling.attempts.min(10));
            telling.again_at = Some(now.instant + pause.min(AGAIN_LONGEST));
            telling.attempts = telling.attempts.saturating_add(1);
            let (number, attempts) = (telling.number, telling.attempts);
            match self.news_of(meter, number) {
                Ok(sealed) => {
                    let message = Message::KeysChanged {
                        meter,
                        number,
                        sealed,
                    };
                    self.ways.tell_utility(&message);
                }
                Err(why) => self.alarm(Some(meter), why, now),
            }
            if attempts == ATTEMPTS_QUIET {
                let words = "key: no edge has taken this meter's changed keys, so its pushes may \
                             be refused; check that the edge runs and has this head-end's edge key";
                self.alarm(Some(meter), words.to_owned(), now);
            }
        }
    }

    /// The utility is there again: everything that is open is told at once.
    pub(super) fn tidings_again(&mut self, now: Now) {
        for telling in self.tidings.open.values_mut() {
            if telling.again_at.is_some() {
                telling.again_at = Some(now.instant);
            }
        }
        self.send_tidings(now);
    }

    /// The keys as the tables say: those that come over those that are.
    fn pairs(&self, meter: MeterId) -> Pairs {
        let rows = self.keys.of(meter);
        let find = |kind, state| {
            let row = rows
                .iter()
                .find(|row| (row.kind, row.state) == (kind, state));
            row.map(|row| row.key)
        };
        let kinds = [KeyKind::UnicastEncryption, KeyKind::Authentication];
        let pending = kinds.map(|kind| find(kind, KeyState::Pending));
        let standing = match pending {
            [None, None] => Standing::Current,
            [_, _] => Standing::Coming,
        };
        let mut keys = kinds.map(|kind| find(kind, KeyState::Current));
        for (key, pending) in keys.iter_mut().zip(pending) {
            *key = pending.or(*key);
        }
        (keys, standing)
    }

    fn news_of(&mut self, meter: MeterId, number: u64) -> Result<Vec<u8>, String> {
        let ([guek, gak], standing) = self.pairs(meter);
        let mut open = |key: Option<KeyId>| {
            let row = key.and_then(|key| self.keys.row(key));
            let row = row.ok_or("key: the meter has no guek or no gak; import them")?;
            self.vault.unseal(row).map_err(|error| error.to_string())
        };
        let (encryption, authentication) = (open(guek)?, open(gak)?);
        let title = self.registry.meter(meter).map(|row| row.title);
        let (Some(title), Some(key)) = (title, &self.config.edge_key) else {
            return Err("key: the meter is not registered any more".to_owned());
        };
        let lengths = (encryption.expose().len(), authentication.expose().len());
        if !matches!(lengths, (16, 16) | (32, 32)) {
            return Err("key: guek and gak have 16 or 32 bytes each; import them".to_owned());
        }
        Ok(key.seal(&KeyNews {
            title,
            number,
            standing,
            encryption,
            authentication,
        }))
    }

    /// An edge has it.
    pub(super) fn handle_keys_taken(&mut self, meter: MeterId, number: u64, now: Now) {
        let Some(told) = self.tidings.open.get(&meter).map(|telling| telling.number) else {
            return;
        };
        if number < told {
            return;
        }
        let next = match number == told {
            true => None,
            // Told by an earlier life with a clock ahead of ours.
            false => Some(self.tidings.next_number(number, now.utc)),
        };
        if let Some(telling) = self.tidings.open.get_mut(&meter) {
            telling.number = next.unwrap_or(told);
            telling.again_at = next.map(|_| now.instant);
        }
        if next.is_some() {
            return self.send_tidings(now);
        }
        let is_over = self
            .rotations
            .values()
            .all(|rotation| rotation.meter() != meter);
        if is_over {
            self.told(meter, now);
        }
    }

    /// A key change is over, whatever its end.
    pub(super) fn rotation_over(&mut self, meter: MeterId, now: Now) {
        let is_taken = self
            .tidings
            .open
            .get(&meter)
            .is_some_and(|telling| telling.again_at.is_none());
        if is_taken {
            self.told(meter, now);
        }
    }

    fn told(&mut self, meter: MeterId, now: Now) {
        self.tidings.open.remove(&meter);
        let rows = self.tidings.rows.remove(&meter).unwrap_or_default();
        let rows = rows.into_iter();
        let changes: Vec<Change> = rows
            .map(|number| news_row(number, meter, true, now.utc))
            .collect();
        if !changes.is_empty() {
            self.save(Batch::new(changes), Saved::Nothing);
        }
    }
}

fn news_row(number: u64, meter: MeterId, is_finished: bool, changed_at: UtcTime) -> Change {
    Change::Work(WorkRow {
        kind: WorkKind::KeyNews,
        number,
        meter: Some(meter),
        state: vec![VERSION],
        is_finished,
        changed_at,
    })
}
