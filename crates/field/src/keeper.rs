//! Decides when the meter's memory is written, and knows what of it is durable.
//!
//! The *state cell* is small, and one write of it is atomic: it holds everything but the profile,
//! and of the profile the entries that changed since their *profile cells* were written. When
//! many have changed, the profile cells are written, but only at a moment when everything that
//! they would contain is durable in the state cell already. So the profile cells never know
//! anything that the state cell does not, and a crash between any two writes leaves one
//! consistent state.
//!
//! Other *cells* hold what changes seldom. A change of one is durable once the state cell is and
//! then the cell: so a request is never believed twice, though a crash may take its effect, and
//! with it its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridloom_core::{Instant, Now, UtcTime};

/// What to write next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    /// The prices that the house was told.
    Prices { ticket: u64 },
    /// The state cell.
    State { ticket: u64 },
    /// Another cell.
    Cell { ticket: u64, name: &'static str },
    /// The profile cells of these entries.
    Profile { ends: BTreeSet<UtcTime> },
}

/// How soon a change must be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Something waits for it.
    Now,
    /// Forgetting it costs a repetition, no more.
    Soon,
}

#[derive(Debug, Default)]
pub(crate) struct Keeper {
    tickets: u64,
    /// Counts changes.
    generation: u64,
    /// The changes known to be durable.
    durable: u64,
    /// The changes that something waits for.
    urgent: u64,
    /// The oldest change that is in no write yet.
    dirty_since: Option<Instant>,
    state: Option<(u64, u64)>,
    changed: BTreeSet<UtcTime>,
    folding: BTreeSet<UtcTime>,
    fold_tickets: BTreeSet<u64>,
    prices: Prices,
    /// Only those that are not durable.
    cells: BTreeMap<&'static str, CellChanges>,
    retry_at: Option<Instant>,
    failures: u64,
    last_failure: Option<String>,
}

/// Changes of a cell, each pair from the first to the last.
#[derive(Debug, Default, Clone, Copy)]
struct CellChanges {
    /// In no write yet.
    changed: Option<(u64, u64)>,
    writing: Option<(u64, (u64, u64))>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Prices {
    #[default]
    Durable,
    Changed,
    Writing {
        ticket: u64,
    },
}

impl Keeper {
    /// The profile cells are written once so many entries changed.
    const FOLD_AT: usize = 24;

    /// The meter takes nothing new while so many changed entries are not yet in their cells.
    const CHANGED_MAX: usize = 512;

    /// A change of no urgency is durable after so long.
    const FLUSH_AFTER: Duration = Duration::from_secs(5);

    /// A failed write is repeated after so long.
    const RETRY_AFTER: Duration = Duration::from_secs(1);

    /// Something changed.
    pub(crate) fn touch(&mut self, urgency: Urgency, now: Now) {
        self.generation += 1;
        if urgency == Urgency::Now {
            self.urgent = self.generation;
        }
        self.dirty_since.get_or_insert(now.instant);
    }

    /// A profile entry changed.
    pub(crate) fn touch_entry(&mut self, end: UtcTime, urgency: Urgency, now: Now) {
        self.changed.insert(end);
        self.touch(urgency, now);
    }

    /// A cell changed; something may wait for it.
    pub(crate) fn touch_cell(&mut self, name: &'static str, now: Now) {
        self.touch(Urgency::Now, now);
        let change = self.generation;
        let cell = self.cells.entry(name).or_default();
        cell.changed = Some((cell.changed.map_or(change, |(first, _)| first), change));
    }

    /// The house was told prices.
    pub(crate) fn touch_prices(&mut self) {
        self.prices = Prices::Changed;
    }

    /// The number of the latest change; durable once [`Self::durable`] reaches it.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Everything up to this change is durable.
    pub(crate) fn durable(&self) -> u64 {
        let waiting = self.cells.values().flat_map(|cell| {
            let writing = cell.writing.map(|(_, changes)| changes);
            [cell.changed, writing].into_iter().flatten()
        });
        waiting
            .map(|(first, _)| first - 1)
            .min()
            .map_or(self.durable, |before| before.min(self.durable))
    }

    /// Whether the memory is so far behind that nothing new may be taken.
    pub(crate) fn is_behind(&self) -> bool {
        self.changed.len() + self.folding.len() >= Self::CHANGED_MAX
    }

    /// Entries that the state cell must carry.
    pub(crate) fn carried(&self) -> impl Iterator<Item = UtcTime> {
        self.changed.union(&self.folding).copied()
    }

    /// Entries remembered in the state cell at start are still not in their profile cells.
    pub(crate) fn carry(&mut self, ends: impl IntoIterator<Item = UtcTime>) {
        self.changed.extend(ends);
    }

    /// Writes that failed so far.
    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    /// The newest failure in the system's words, until a write succeeds.
    pub(crate) fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    pub(crate) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// The next write, if it is time for one.
    pub(crate) fn next_job(&mut self, now: Now) -> Option<Job> {
        if self.retry_at.is_some_and(|at| now.instant < at) {
            return None;
        }
        self.retry_at = None;
        // Before the state that was measured with them.
        if self.prices == Prices::Changed {
            let ticket = self.ticket();
            self.prices = Prices::Writing { ticket };
            return Some(Job::Prices { ticket });
        }
        let durable = self.durable;
        let ready = self.cells.iter_mut().find_map(|(name, cell)| {
            let ready = cell.writing.is_none();
            let changes = cell
                .changed
                .take_if(|(_, last)| ready && *last <= durable)?;
            Some((*name, cell, changes))
        });
        if let Some((name, cell, changes)) = ready {
            self.tickets += 1;
            let ticket = self.tickets;
            cell.writing = Some((ticket, changes));
            return Some(Job::Cell { ticket, name });
        }
        if self.state.is_some() {
            return None;
        }
        let fold_due = self.changed.len() >= Self::FOLD_AT && self.fold_tickets.is_empty();
        if let Some(since) = self.dirty_since {
            let flush = now.instant >= since + Self::FLUSH_AFTER;
            if self.urgent > self.durable || flush || fold_due {
                let ticket = self.ticket();
                self.state = Some((ticket, self.generation));
                self.dirty_since = None;
                return Some(Job::State { ticket });
            }
            return None;
        }
        if fold_due {
            self.folding = core::mem::take(&mut self.changed);
            return Some(Job::Profile {
                ends: self.folding.clone(),
            });
        }
        None
    }

    /// A profile cell is being written under `ticket`, as part of the latest [`Job::Profile`].
    pub(crate) fn folding_under(&mut self, ticket: u64) {
        self.fold_tickets.insert(ticket);
    }

    /// A write ended.
    ///
    /// # Panics
    ///
    /// If `ticket` is not that of a write that is going on.
    pub(crate) fn handle_done(&mut self, ticket: u64, result: Result<(), String>, now: Now) {
        let failed = result.is_err();
        match result {
            Ok(()) => self.last_failure = None,
            Err(words) => {
                self.failures += 1;
                self.last_failure = Some(words);
                self.retry_at = Some(now.instant + Self::RETRY_AFTER);
            }
        }
        if let Some((_, generation)) = self.state.take_if(|(waiting, _)| *waiting == ticket) {
            if failed {
                self.dirty_since = Some(now.instant);
                self.urgent = self.generation;
            } else {
                self.durable = generation;
            }
        } else if let Some(name) = self.cell_of(ticket) {
            let cell = self.cells.entry(name).or_default();
            let written = cell.writing.take();
            if let (true, Some((_, (first, last)))) = (failed, written) {
                let last = cell.changed.map_or(last, |(_, last)| last);
                cell.changed = Some((first, last));
            }
            if cell.changed.is_none() {
                self.cells.remove(name);
            }
        } else if self.fold_tickets.remove(&ticket) {
            if failed {
                self.changed.append(&mut self.folding);
            } else if self.fold_tickets.is_empty() {
                self.folding.clear();
            }
        } else {
            // A newer day's prices may have replaced those that were being written.
            assert!(ticket <= self.tickets, "the host answers what it was asked");
            if self.prices == (Prices::Writing { ticket }) {
                self.prices = if failed {
                    Prices::Changed
                } else {
                    Prices::Durable
                };
            }
        }
    }

    /// The cell that is being written under `ticket`.
    fn cell_of(&self, ticket: u64) -> Option<&'static str> {
        let mut cells = self.cells.iter();
        cells.find_map(|(name, cell)| (cell.writing?.0 == ticket).then_some(*name))
    }

    /// When [`Self::next_job`] has something without another input.
    pub(crate) fn wake(&self) -> Option<(Instant, &'static str)> {
        if let Some(at) = self.retry_at {
            return Some((at, "memory"));
        }
        self.dirty_since
            .filter(|_| self.state.is_none())
            .map(|since| (since + Self::FLUSH_AFTER, "memory"))
    }
}
