//! Every counter of ours, under every key: lent to one session at a time, reserved in batches.
//!
//! Two sessions under one key would take the same numbers twice, so a key's counters are lent to
//! one session and come back with it. What sessions reserve meanwhile collects until the store is
//! ready for the next batch: ten thousand meters cost one synchronisation of the disk.

use std::collections::BTreeMap;

use gridloom_core::SystemTitle;
use gridloom_dlms::counter::{COUNTER_ALARM, CounterError, ReceiveCounter, TransmitCounter};
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
    /// Which of the counters below it were believed or may have been: bit n stands for
    /// `believed - 1 - n`.
    late: u64,
    transmit: Slot,
    /// Whether a reservation of the counters at home is being written.
    is_reserving: bool,
}

/// How a meter's packets reach us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arrival {
    /// On a stream: each counter is above the one before.
    InOrder,
    /// As datagrams, which overtake each other: a counter may come late, once, as long as fewer
    /// than [`CounterBook::WINDOW`] higher ones were believed.
    Unordered,
}

/// A counter of ours for one packet outside of any session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// This one; it is never given again.
    Counter(u32),
    /// A session has the counters, or a reservation is being written; ask again after
    /// [`CounterBook::give_back`] or [`CounterBook::handle_committed`].
    Later,
    /// The key is unknown, or its counters are used up: change it.
    Never,
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
    /// How far a datagram may lie behind the highest counter.
    pub const WINDOW: u32 = u64::BITS;

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
            // Nobody knows which ones came before the start.
            late: u64::MAX,
            transmit: Slot::Home(TransmitCounter::resume(bound)),
            is_reserving: false,
        });
    }

    /// Lends the counters of a key to a session; `None` if the key is unknown or they are lent.
    pub fn lend(&mut self, key: KeyId) -> Option<Loan> {
        let entry = self.entries.get_mut(&key)?;
        let receive = entry
            .believed
            .map_or_else(ReceiveCounter::new, ReceiveCounter::after);
        match core::mem::replace(&mut entry.transmit, Slot::Lent) {
            // What is being written for us is not the session's: it starts above it.
            Slot::Home(_) if core::mem::take(&mut entry.is_reserving) => Some(Loan {
                transmit: TransmitCounter::resume(entry.bound),
                receive,
            }),
            Slot::Home(transmit) => Some(Loan { transmit, receive }),
            Slot::Lent => None,
        }
    }

    /// A counter of ours for one packet that belongs to no session: the confirmation of a push.
    pub fn take(&mut self, key: KeyId) -> Taken {
        let Some(entry) = self.entries.get_mut(&key) else {
            return Taken::Never;
        };
        let Slot::Home(transmit) = &mut entry.transmit else {
            return Taken::Later;
        };
        match transmit.next() {
            Ok(counter) => Taken::Counter(counter),
            Err(CounterError::Exhausted | CounterError::Replayed { .. }) => Taken::Never,
            Err(_) => {
                if let Some(upper) = transmit.reservation_due() {
                    entry.bound = upper;
                    entry.is_reserving = true;
                    self.queued.insert((key, Direction::Transmit), upper);
                }
                Taken::Later
            }
        }
    }

    /// Whether a packet outside of any session has a fresh counter. Ask before its tag is
    /// verified, and [`Self::believe`] it after.
    ///
    /// # Errors
    ///
    /// [`CounterError::Replayed`].
    pub fn check(&self, key: KeyId, got: u32, arrival: Arrival) -> Result<(), CounterError> {
        let entry = self.entries.get(&key);
        let Some((last, late)) = entry.and_then(|entry| Some((entry.believed?, entry.late))) else {
            return Ok(());
        };
        let is_fresh = match (last.checked_sub(got), arrival) {
            (None, _) => true,
            (Some(0), _) | (Some(_), Arrival::InOrder) => false,
            (Some(behind), Arrival::Unordered) => {
                behind <= Self::WINDOW && late >> (behind - 1) & 1 == 0
            }
        };
        if is_fresh {
            Ok(())
        } else {
            Err(CounterError::Replayed { last, got })
        }
    }

    /// Believes the counter of a packet whose tag is verified; it is written with the next batch.
    ///
    /// # Panics
    ///
    /// If the key is unknown, or the counter no higher than the last and not within the window.
    pub fn believe(&mut self, key: KeyId, got: u32) {
        let entry = self.entries.get_mut(&key).expect("the key is entered");
        if let Some(behind) = entry.believed.and_then(|last| last.checked_sub(got)) {
            assert!(
                (1..=Self::WINDOW).contains(&behind),
                "only a fresh counter is believed"
            );
            entry.late |= 1 << (behind - 1);
            return;
        }
        let step = entry.believed.map_or(u32::MAX, |last| got - last);
        // What lies between the last one and this one has not come yet.
        entry.late = match (entry.believed, step) {
            (None, _) => u64::MAX,
            (Some(_), 1..Self::WINDOW) => entry.late << step | 1 << (step - 1),
            (Some(_), Self::WINDOW) => 1 << (step - 1),
            (Some(_), _) => 0,
        };
        entry.believed = Some(got);
        self.queued.insert((key, Direction::Receive), got);
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
            // The session does not tell which ones it took.
            entry.late = u64::MAX;
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
        entry.is_reserving = false;
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
        for ((key, direction), value) in &done {
            if let (Direction::Transmit, Some(entry)) = (direction, self.entries.get_mut(key))
                && let (Slot::Home(transmit), true) = (&mut entry.transmit, entry.is_reserving)
                && entry.bound == *value
            {
                transmit.reserved(*value);
                entry.is_reserving = false;
            }
        }
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
    /// Sessions are told nothing: their reservations are still due, and this book sees to them.
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
    fn datagrams_may_come_late_once_and_streams_may_not() {
        let mut book = book(0);
        let takes = |book: &mut CounterBook, got, arrival| {
            let is_fresh = book.check(KEY, got, arrival).is_ok();
            if is_fresh {
                book.believe(KEY, got);
            }
            is_fresh
        };
        let (stream, datagram) = (Arrival::InOrder, Arrival::Unordered);
        for (got, arrival, expected) in [
            (100, datagram, true),
            // What came before the first is not known.
            (99, datagram, false),
            (103, datagram, true),
            (102, stream, false),
            (102, datagram, true),
            (102, datagram, false),
            (101, datagram, true),
            (100, datagram, false),
            (103, datagram, false),
            (104, stream, true),
            (102, datagram, false),
            (168, datagram, true),
            (104, datagram, false),
            (105, datagram, true),
            (105, datagram, false),
            (300, datagram, true),
            (235, datagram, false),
            (236, datagram, true),
            (299, datagram, true),
            (168, datagram, false),
            (u32::MAX, datagram, true),
            (u32::MAX, datagram, false),
        ] {
            let found = takes(&mut book, got, arrival);
            assert_eq!(found, expected, "{got} {arrival:?}");
        }
    }

    #[test]
    fn a_session_closes_the_window_and_a_start_too() {
        let mut book = book(0);
        book.believe(KEY, 10);
        book.believe(KEY, 12);
        let mut loan = book.lend(KEY).unwrap();
        let fresh = loan.receive.check(14).unwrap();
        loan.receive.commit(fresh);
        assert!(book.check(KEY, 11, Arrival::Unordered).is_ok());
        book.give_back(KEY, loan);
        assert!(book.check(KEY, 11, Arrival::Unordered).is_err());
        assert!(book.check(KEY, 13, Arrival::Unordered).is_err());
        // A push during a session counts on top of it.
        let loan = book.lend(KEY).unwrap();
        book.believe(KEY, 20);
        book.give_back(KEY, loan);
        assert!(book.check(KEY, 20, Arrival::InOrder).is_err());
        let rows = [CounterRow {
            key: KeyId(2),
            direction: Direction::Receive,
            title: PEER,
            value: 50,
        }];
        book.enter(KeyId(2), PEER, &rows);
        assert!(book.check(KeyId(2), 49, Arrival::Unordered).is_err());
        assert!(book.check(KeyId(2), 51, Arrival::Unordered).is_ok());
    }

    #[test]
    fn a_counter_outside_of_a_session_is_reserved_and_never_given_twice() {
        let mut book = book(0);
        assert_eq!(book.take(KeyId(9)), Taken::Never);
        assert_eq!(book.take(KEY), Taken::Later, "not durable yet");
        assert_eq!(book.take(KEY), Taken::Later);
        let batch = values(book.next_batch());
        assert_eq!(batch, [(Direction::Transmit, 1_024)]);
        assert_eq!(book.handle_committed(), [], "no session waits");
        assert_eq!(book.take(KEY), Taken::Counter(1));
        assert_eq!(book.take(KEY), Taken::Counter(2));
        let mut loan = book.lend(KEY).unwrap();
        assert_eq!(book.take(KEY), Taken::Later, "lent");
        assert_eq!(loan.transmit.next(), Ok(3));
        book.give_back(KEY, loan);
        assert_eq!(book.take(KEY), Taken::Counter(4));
        // A session that begins while a reservation of ours is being written starts above it.
        while book.take(KEY) != Taken::Later {}
        assert!(book.next_batch().is_some());
        let mut loan = book.lend(KEY).unwrap();
        let upper = loan.transmit.reservation_due().unwrap();
        book.reserve(KEY, upper);
        assert_eq!(book.handle_committed(), [], "it waits for another one");
        assert!(book.next_batch().is_some());
        assert_eq!(book.handle_committed(), [(KEY, upper)]);
        loan.transmit.reserved(upper);
        assert_eq!(loan.transmit.next(), Ok(2_049));
    }

    #[test]
    fn the_end_is_near_before_it_comes() {
        assert_eq!(book(COUNTER_ALARM - 1).near_end().count(), 0);
        assert!(book(COUNTER_ALARM).near_end().eq([KEY]));
    }
}
