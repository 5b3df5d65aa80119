//! What an edge writes into its memory, when, and in what order.

use gridloom_core::{Instant, Now};

use super::{Edge, Effect};
use crate::memory::EdgeMemory;

impl Edge {
    /// A memory cell is durable, or not.
    pub fn handle_remembered(&mut self, ticket: u64, stored: bool, now: Now) {
        let Some(writing) = self.writing.remove(&ticket) else {
            return;
        };
        match (writing, stored) {
            (Writing::Reservation(upper), true) => {
                self.transmit.reserved(upper);
                for (device, path, apdu) in std::mem::take(&mut self.waiting) {
                    self.send(device, path, apdu);
                }
            }
            (Writing::Reservation(upper), false) => self.reserve_again = Some(upper),
            (Writing::Shard(_), true) => {}
            (Writing::Shard(shard), false) => self.believed.mark(shard),
            (Writing::Page(page), _) => {
                self.quarantine.handle_written(page, stored);
                self.take_news(now.instant);
            }
        }
        if !stored {
            self.status.memory_failures += 1;
        }
        if !stored || self.believed.is_dirty() || self.quarantine.is_dirty() {
            self.remember_soon(now.instant);
        }
    }

    pub(super) fn write_memory(&mut self, now: Instant) {
        if let Some(upper) = self.reserve_again.take() {
            self.request_reservation(upper);
        }
        // What is held is acknowledged only when it is durable: its pages go first.
        while self.writing.len() < Self::CELLS_AT_ONCE_MAX
            && let Some((page, content)) = self.quarantine.next_write()
        {
            let cell = EdgeMemory::quarantine_cell(page);
            let bytes = EdgeMemory::encode_page(&content);
            self.remember(Writing::Page(page), cell, bytes);
        }
        while self.writing.len() < Self::CELLS_AT_ONCE_MAX
            && let Some((shard, devices)) = self.believed.next_write()
        {
            let registry = self.screen.registry();
            let believed = registry
                .devices()
                .skip(devices.start)
                .take(devices.len())
                .filter_map(|device| {
                    let last = self.screen.believed(device)?;
                    Some((registry.title(device), last))
                });
            let bytes = EdgeMemory::encode_believed(believed);
            let cell = EdgeMemory::believed_cell(shard);
            self.remember(Writing::Shard(shard), cell, bytes);
        }
        if self.believed.is_dirty() {
            self.remember_soon(now);
        }
    }

    pub(super) fn reserve_counters(&mut self) {
        if let Some(upper) = self.transmit.reservation_due() {
            self.request_reservation(upper);
        }
    }

    pub(super) fn request_reservation(&mut self, upper: u32) {
        let bytes = EdgeMemory::encode_reserved(upper);
        self.remember(Writing::Reservation(upper), EdgeMemory::RESERVED, bytes);
    }

    pub(super) fn remember_soon(&mut self, now: Instant) {
        self.remember_at = self.remember_at.or(Some(now + Self::REMEMBER_EVERY));
    }

    pub(super) fn remember(&mut self, writing: Writing, cell: &'static str, bytes: Vec<u8>) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.writing.insert(ticket, writing);
        self.outbox.push_back(Effect::Remember {
            ticket,
            cell,
            bytes,
        });
    }
}

/// What a memory ticket stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    Reservation(u32),
    Shard(usize),
    Page(usize),
}
