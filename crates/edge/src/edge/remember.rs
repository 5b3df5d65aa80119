//! What an edge writes into its memory, when, and in what order.

use std::ops::Range;

use gridloom_core::{Instant, Now, UtcTime};

use super::{Edge, Effect};
use crate::memory::EdgeMemory;
use crate::registry::DeviceIndex;
use crate::shards::{ShardWrite, Shards};
use crate::snapshot::{Snapshots, Urgency};

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
            (Writing::Shard(write), _) => self.believed.handle_written(write, stored),
            (Writing::Recent(_) | Writing::State(_) | Writing::Gateways, true) => {}
            (Writing::Recent(cell), false) => self.believed.recent_failed(cell),
            (Writing::State(shard), false) => {
                self.states.mark(shard, Urgency::Now, now.instant);
            }
            (Writing::Gateways, false) => self.states.mark_gateways(),
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

    pub(super) fn write_memory(&mut self, now: Now) {
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
        if self.writing.len() < Self::CELLS_AT_ONCE_MAX
            && let Some((cell, devices)) = self.believed.next_recent()
        {
            let bytes = self.encode_believed(devices.into_iter().map(DeviceIndex));
            self.remember(Writing::Recent(cell), EdgeMemory::recent_cell(cell), bytes);
        }
        let mut parts = 0;
        while parts < Shards::AT_ONCE
            && self.writing.len() < Self::CELLS_AT_ONCE_MAX
            && let Some(write) = self.believed.next_write()
        {
            parts += 1;
            let bytes = self.encode_believed(devices_in(self.believed.range(write.shard)));
            let cell = EdgeMemory::believed_cell(write.shard);
            self.remember(Writing::Shard(write), cell, bytes);
        }
        self.write_states(now.utc);
        if self.believed.is_dirty() || self.states.is_due() {
            self.remember_soon(now.instant);
        }
    }

    fn encode_believed(&self, devices: impl Iterator<Item = DeviceIndex>) -> Vec<u8> {
        let registry = self.screen.registry();
        EdgeMemory::encode_believed(devices.filter_map(|device| {
            let last = self.screen.believed(device)?;
            Some((registry.title(device), last))
        }))
    }

    /// Gateways first: what is known of devices names them, and the disk keeps the order.
    fn write_states(&mut self, at: UtcTime) {
        if self.states.take_gateways() {
            let gateways = self.screen.named_gateways();
            let bytes = EdgeMemory::encode_gateways(self.screen.trust(), gateways);
            self.remember(Writing::Gateways, EdgeMemory::GATEWAYS, bytes);
        }
        let mut parts = 0;
        while parts < Snapshots::AT_ONCE
            && self.writing.len() < Self::CELLS_AT_ONCE_MAX
            && let Some(shard) = self.states.next_write()
        {
            parts += 1;
            let registry = self.screen.registry();
            let states = devices_in(self.believed.range(shard)).filter_map(|device| {
                let state = self.screen.state_of(device, at)?;
                Some((registry.title(device), state))
            });
            let bytes = EdgeMemory::encode_devices(at, states);
            self.remember(
                Writing::State(shard),
                EdgeMemory::devices_cell(shard),
                bytes,
            );
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
    Shard(ShardWrite),
    Recent(usize),
    State(usize),
    Gateways,
    Page(usize),
}

fn devices_in(range: Range<usize>) -> impl Iterator<Item = DeviceIndex> {
    range.map(|at| DeviceIndex(u32::try_from(at).expect("numbers of devices have 24 bits")))
}
