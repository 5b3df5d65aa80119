//! Every counter of ours, under every key: lent to one session at a time, reserved in batches.
//!
//! Two sessions under one key would take the same numbers twice, so a key's counters are lent to
//! one session and come back with it. What sessions reserve meanwhile collects until the store is
//! ready for the next batch: ten thousand meters cost one synchronisation of the disk.

use std::collections::BTreeMap;

use gridloom_core::SystemTitle;
use gridloom_dlms::counter::{COUNTER_ALARM, ReceiveCounter, TransmitCounter};
use gridloom_store::{Batch, Change, CounterRow, Direction, KeyId};

/// The counters of all keys.
#[derive(Debug)]
pub struct CounterBook {
    own: SystemTitle,
    entries: BTreeMap<KeyId, Entry>,
    /// What has to be written, by key and direction.
    queued: BTreeMap<(KeyId, Direction), u32>,
    /// What is being written.
    in_flight: BTreeMap<(KeyId, Direction), u32>,
}

#[derive(Debug)]
struct Entry {
    peer: SystemTitle,
    /// The highest counter of any reservation, durable or not: where a lost session's successor
    /// goes on.
    bound: u32,
    /// The last counter that was believed and given back.
    believed: Option<u32>,
    transmit: Slot,
}

#[derive(Debug)]
enum Slot {
    Home(TransmitCounter),
    Lent,
}

/// The counters of one key, for one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loan {
    /// Ours.
    pub transmit: TransmitCounter,
    /// The meter's.
    pub receive: ReceiveCounter,
}

impl CounterBook {
    /// An empty book of the head-end with this system title.
    pub const fn new(own: SystemTitle) -> Self {
        Self {
            own,
            entries: BTreeMap::new(),
            queued: BTreeMap::new(),
            in_flight: BTreeMap::new(),
        }
    }

    /// Enters a key of the meter with title `peer`, with what the store holds of its counters.
    /// A key that is there already stays as it is.
    pub fn enter(&mut self, key: KeyId, peer: SystemTitle, rows: &[CounterRow]) {
        let held = |direction, title| {
            let of = rows.iter().filter(|row| row.key == key);
            let row = of
                .filter(|row| (row.direction, row.title) == (direction, title))
                .max();
            row.map(|row| row.value)
        };
        let bound = held(Direction::Transmit, self.own).unwrap_or(0);
        self.entries.entry(key).or_insert_with(|| Entry {
            peer,
            bound,
            believed: held(Direction::Receive, peer),
            transmit: Slot::Home(TransmitCounter::resume(bound)),
        });
    }

    /// Lends the counters of a key to a session; `None` if the key is unknown or they are lent.
    pub fn lend(&mut self, key: KeyId) -> Option<Loan> {
        let entry = self.entries.get_mut(&key)?;
        let receive = entry
            .believed
            .map_or_else(ReceiveCounter::new, ReceiveCounter::after);
        match core::mem::replace(&mut entry.transmit, Slot::Lent) {
            Slot::Home(transmit) => Some(Loan { transmit, receive }),
            Slot::Lent => None,
        }
    }

    /// A session wants its reservation up to `upper` to be durable.
    ///
    /// # Panics
    ///
    /// If the key's counters are not lent, or the reservation is no higher than the last.
    pub fn reserve(&mut self, key: KeyId, upper: u32) {
        let entry = self.lent(key);
        assert!(upper > entry.bound, "a reservation goes up");
        entry.bound = upper;
        self.queued.insert((key, Direction::Transmit), upper);
    }

    /// A session is over and gives its counters back.
    ///
    /// # Panics
    ///
    /// If the key's counters are not lent.
    pub fn give_back(&mut self, key: KeyId, loan: Loan) {
        let entry = self.lent(key);
        entry.transmit = Slot::Home(loan.transmit);
        if loan.receive.last() > entry.believed {
            entry.believed = loan.receive.last();
            if let Some(believed) = entry.believed {
                self.queued.insert((key, Direction::Receive), believed);
            }
        }
        // A reservation that is still under way has nobody left to tell: start above it.
        let transmit = Direction::Transmit;
        if self.queued.contains_key(&(key, transmit))
            || self.in_flight.contains_key(&(key, transmit))
        {
            self.lost_at_home(key);
        }
    }

    /// A session is gone without giving its counters back: its successor starts above whatever
    /// it may have used.
    pub fn lost(&mut self, key: KeyId) {
        if self.entries.contains_key(&key) {
            self.lost_at_home(key);
        }
    }

    fn lost_at_home(&mut self, key: KeyId) {
        let entry = self.entries.get_mut(&key).expect("the key is entered");
        entry.transmit = Slot::Home(TransmitCounter::resume(entry.bound));
    }

    /// A key is retired: its counters are not used any more. The store keeps them.
    pub fn remove(&mut self, key: KeyId) {
        self.entries.remove(&key);
    }

    /// Everything that waits, as one batch; `None` if nothing does or one is under way.
    pub fn next_batch(&mut self) -> Option<Batch> {
        if self.queued.is_empty() || !self.in_flight.is_empty() {
            return None;
        }
        self.in_flight = core::mem::take(&mut self.queued);
        let own = self.own;
        let rows = self.in_flight.iter().filter_map(|(place, value)| {
            let (key, direction) = *place;
            let peer = self.entries.get(&key)?.peer;
            Some(Change::Counter(CounterRow {
                key,
                direction,
                title: match direction {
                    Direction::Transmit => own,
                    Direction::Receive => peer,
                },
                value: *value,
            }))
        });
        Some(Batch::new(rows.collect()))
    }

    /// The batch is durable. Tells each reservation that a session waits for: hand it to its
    /// client.
    pub fn handle_committed(&mut self) -> Vec<(KeyId, u32)> {
        let done = core::mem::take(&mut self.in_flight);
        let reservations = done.into_iter().filter_map(|((key, direction), value)| {
            let is_lent = self
                .entries
                .get(&key)
                .is_some_and(|entry| matches!(entry.transmit, Slot::Lent) && entry.bound == value);
            (direction == Direction::Transmit && is_lent).then_some((key, value))
        });
        reservations.collect()
    }

    /// The database failed: the same has to be written again, unless something higher waits.
    pub fn handle_failed(&mut self) {
        for (place, value) in core::mem::take(&mut self.in_flight) {
            let queued = self.queued.entry(place).or_insert(value);
            *queued = value.max(*queued);
        }
    }

    /// Keys that have to be changed because a counter under them comes to its end.
    pub fn near_end(&self) -> impl Iterator<Item = KeyId> {
        self.entries.iter().filter_map(|(key, entry)| {
            let is_near = entry.bound >= COUNTER_ALARM
                || entry.believed.is_some_and(|last| last >= COUNTER_ALARM);
            is_near.then_some(*key)
        })
    }

    fn lent(&mut self, key: KeyId) -> &mut Entry {
        let entry = self.entries.get_mut(&key).expect("the key is entered");
        assert!(
            matches!(entry.transmit, Slot::Lent),
            "only a session that borrowed the counters of {key} speaks of them"
        );
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: SystemTitle = SystemTitle(*b"GLH00001");
    const PEER: SystemTitle = SystemTitle(*b"GLM00001");
    const KEY: KeyId = KeyId(1);

    fn book(value: u32) -> CounterBook {
        let mut book = CounterBook::new(OWN);
        let row = CounterRow {
            key: KEY,
            direction: Direction::Transmit,
            title: OWN,
            value,
        };
        book.enter(KEY, PEER, &[row]);
        book
    }

    fn values(batch: Option<Batch>) -> Vec<(Direction, u32)> {
        let changes = batch.map(|batch| batch.changes).unwrap_or_default();
        changes
            .iter()
            .filter_map(|change| match change {
                Change::Counter(row) => Some((row.direction, row.value)),
                Change::Device(_)
                | Change::Key(_)
                | Change::KeyState(..)
                | Change::Rewrap(_)
                | Change::Master(_)
                | Change::Work(_)
                | Change::Audit(_) => None,
            })
            .collect()
    }

    #[test]
    fn counters_are_lent_once_and_reserved_before_use() {
        let mut book = book(100);
        let mut loan = book.lend(KEY).unwrap();
        assert_eq!(book.lend(KEY), None);
        assert_eq!(book.lend(KeyId(2)), None);
        let upper = loan.transmit.reservation_due().unwrap();
        book.reserve(KEY, upper);
        let transmit = (Direction::Transmit, upper);
        assert_eq!(values(book.next_batch()), [transmit]);
        assert_eq!(values(book.next_batch()), [], "one at a time");
        book.handle_failed();
        assert_eq!(values(book.next_batch()), [transmit], "again");
        assert_eq!(book.handle_committed(), [(KEY, upper)]);
        loan.transmit.reserved(upper);
        assert_eq!(loan.transmit.next(), Ok(101));
        let fresh = loan.receive.check(7).unwrap();
        loan.receive.commit(fresh);
        book.give_back(KEY, loan);
        assert_eq!(values(book.next_batch()), [(Direction::Receive, 7)]);
        assert_eq!(book.handle_committed(), []);
        let mut loan = book.lend(KEY).unwrap();
        assert_eq!(loan.transmit.next(), Ok(102), "the block is used up");
        assert!(loan.receive.check(7).is_err());
    }

    #[test]
    fn a_successor_starts_above_what_a_lost_session_may_have_used() {
        for give_back in [false, true] {
            let mut book = book(0);
            let mut loan = book.lend(KEY).unwrap();
            let upper = loan.transmit.reservation_due().unwrap();
            book.reserve(KEY, upper);
            let batch = book.next_batch();
            assert!(batch.is_some());
            if give_back {
                book.give_back(KEY, loan);
            } else {
                book.lost(KEY);
            }
            assert_eq!(book.handle_committed(), [], "nobody waits for it");
            let mut loan = book.lend(KEY).unwrap();
            let next = loan.transmit.reservation_due().unwrap();
            assert!(next > upper);
            book.reserve(KEY, next);
            assert!(book.next_batch().is_some());
            assert_eq!(book.handle_committed(), [(KEY, next)]);
            loan.transmit.reserved(next);
            assert_eq!(loan.transmit.next(), Ok(upper + 1));
        }
    }

    #[test]
    fn the_end_is_near_before_it_comes() {
        assert_eq!(book(COUNTER_ALARM - 1).near_end().count(), 0);
        assert!(book(COUNTER_ALARM).near_end().eq([KEY]));
    }
}
