//! The entries of a lane that are in memory: sent and waiting for an answer, or to be sent next.

use std::collections::VecDeque;
use std::sync::Arc;

use gridloom_core::Instant;

use super::entry::About;

/// Consecutive numbers from `first` on.
#[derive(Debug)]
pub(super) struct Window {
    first: u64,
    slots: VecDeque<Option<Slot>>,
    /// The next number that was never sent on this connection.
    next_send: u64,
    bytes: usize,
    open: usize,
    in_flight: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) about: About,
    pub(super) bytes: Arc<[u8]>,
    pub(super) is_recovered: bool,
    /// When it was sent last on this connection.
    pub(super) sent_at: Option<Instant>,
    /// How often it was sent on this connection, repetitions that were asked for included.
    pub(super) sendings: u32,
    /// How often nobody answered in time on this connection.
    pub(super) unanswered: u32,
    /// It waits to be sent again.
    pub(super) is_due: bool,
}

impl Slot {
    pub(super) fn new(about: About, bytes: Arc<[u8]>, is_recovered: bool) -> Self {
        Self {
            about,
            bytes,
            is_recovered,
            sent_at: None,
            sendings: 0,
            unanswered: 0,
            is_due: false,
        }
    }
}

impl Slot {
    fn sent(&mut self, now: Instant) {
        self.sent_at = Some(now);
        self.sendings += 1;
        self.is_due = false;
    }
}

impl Window {
    /// A window whose next entry is `first`.
    pub(super) const fn new(first: u64) -> Self {
        Self {
            first,
            slots: VecDeque::new(),
            next_send: first,
            bytes: 0,
            open: 0,
            in_flight: 0,
        }
    }

    /// The first number that is not acknowledged.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// The number that is to be loaded next.
    pub(super) fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Entries that are not acknowledged.
    pub(super) const fn open(&self) -> usize {
        self.open
    }

    /// Appends the entry at [`Self::end`]; `None` is a number that nobody waits for.
    pub(super) fn push(&mut self, slot: Option<Slot>) {
        self.bytes += slot.as_ref().map_or(0, |slot| slot.bytes.len());
        self.open += usize::from(slot.is_some());
        self.slots.push_back(slot);
        self.settle();
    }

    /// Numbers below `to` are not to be had: [`Self::end`] becomes at least `to`.
    pub(super) fn skip_to(&mut self, to: u64) {
        if self.slots.is_empty() {
            self.first = self.first.max(to);
            self.next_send = self.next_send.max(to);
        }
        while self.end() < to {
            self.slots.push_back(None);
        }
        self.settle();
    }

    pub(super) fn get(&self, number: u64) -> Option<&Slot> {
        self.slots.get(self.index(number)?)?.as_ref()
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    /// Takes an entry out: it is acknowledged, or given up.
    pub(super) fn remove(&mut self, number: u64) -> Option<Slot> {
        let index = self.index(number)?;
        let slot = self.slots.get_mut(index)?.take()?;
        self.bytes -= slot.bytes.len();
        self.open -= 1;
        self.in_flight -= usize::from(slot.sent_at.is_some());
        self.settle();
        Some(slot)
    }

    fn settle(&mut self) {
        while matches!(self.slots.front(), Some(None)) {
            self.slots.pop_front();
            self.first += 1;
        }
        self.next_send = self.next_send.max(self.first);
    }

    /// The next entry that was never sent on this connection.
    pub(super) fn next_unsent(&mut self, now: Instant) -> Option<(u64, &mut Slot)> {
        while self.next_send < self.end() {
            let number = self.next_send;
            self.next_send += 1;
            if self.get(number).is_some() {
                let index = self.index(number).expect("it was just found");
                let slot = self.slots[index].as_mut().expect("it was just found");
                slot.sent(now);
                self.in_flight += 1;
                return Some((number, slot));
            }
        }
        None
    }

    /// Sends an entry again that was sent.
    pub(super) fn again(&mut self, number: u64, now: Instant) -> Option<&mut Slot> {
        let slot = self.get_mut(number)?;
        slot.sent(now);
        Some(slot)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Slot> {
        let index = self.index(number)?;
        self.slots.get_mut(index)?.as_mut()
    }

    /// A new connection: everything that is not acknowledged goes out again, in order.
    pub(super) fn rewind(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            *slot = Slot::new(slot.about, Arc::clone(&slot.bytes), slot.is_recovered);
        }
        self.next_send = self.first;
        self.in_flight = 0;
    }

    /// The oldest entry.
    pub(super) fn oldest(&self) -> Option<u64> {
        let index = self.slots.iter().position(Option::is_some)?;
        Some(self.first + index as u64)
    }
}
