//! Which believed counters changed since they were written, and how they become durable soon
//! although there are very many.
//!
//! Counters are divided into parts of neighbouring devices, a memory cell each. While few parts
//! change between two writes, they are written, and that is all. Otherwise the devices that were
//! heard are written into one of a ring of small cells, the recent ones, at once, and the parts
//! follow at their leisure. A recent cell is used again when every part that had changed when it
//! was written is durable.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::memory::EdgeMemory;

/// A part on its way to the disk: which, and the change that it brings there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShardWrite {
    pub(crate) shard: usize,
    change: u64,
}

/// The parts of the counters. A change marks its part; parts are written in the order in which
/// they were marked.
#[derive(Debug)]
pub(crate) struct Shards {
    devices: usize,
    /// Devices of one part.
    of_one: usize,
    /// The mark of each part that waits to be written.
    marked: Vec<Option<u64>>,
    order: VecDeque<usize>,
    /// Marks that are not durable, and whose they are.
    undurable: BTreeMap<u64, usize>,
    marks: u64,
    /// Devices that were heard since the last write, some perhaps twice.
    heard: Vec<u32>,
    /// Until which mark each recent cell is needed.
    recent: [u64; EdgeMemory::RECENT_CELLS],
    next_recent: usize,
}

impl Shards {
    /// Devices of one part, at least: a cell of 12 KiB.
    const OF_ONE_MIN: usize = 1_024;

    /// Parts that are written at once: 400 KB.
    pub(crate) const AT_ONCE: usize = 32;

    /// Devices of one recent cell: 400 KB. When so many were heard it is time to write; whatever
    /// comes before that is done becomes durable with its part.
    pub(crate) const HEARD_MAX: usize = 32_768;

    pub(crate) fn new(devices: usize) -> Self {
        let of_one = devices
            .div_ceil(EdgeMemory::SHARDS_MAX)
            .max(Self::OF_ONE_MIN);
        let count = devices.div_ceil(of_one);
        Self {
            devices,
            of_one,
            marked: vec![None; count],
            order: VecDeque::with_capacity(count),
            undurable: BTreeMap::new(),
            marks: 0,
            heard: Vec::new(),
            recent: [0; EdgeMemory::RECENT_CELLS],
            next_recent: 0,
        }
    }

    /// The part of a device.
    pub(crate) fn of_device(&self, device: usize) -> usize {
        device / self.of_one
    }

    /// Number of parts.
    pub(crate) fn count(&self) -> usize {
        self.marked.len()
    }

    /// The devices of a part.
    pub(crate) fn range(&self, shard: usize) -> Range<usize> {
        let start = shard * self.of_one;
        start..(start + self.of_one).min(self.devices)
    }

    /// A device's counter changed.
    pub(crate) fn mark_device(&mut self, device: u32) {
        let shard = self.of_device(usize::try_from(device).expect("32 bits fit"));
        self.mark(shard);
        if self.heard.len() < Self::HEARD_MAX {
            self.heard.push(device);
        }
    }

    /// Whether a further device would find no room among those that were heard.
    pub(crate) fn is_full(&self) -> bool {
        self.heard.len() >= Self::HEARD_MAX
    }

    fn mark(&mut self, shard: usize) {
        if self.marked[shard].is_none() {
            self.marks += 1;
            self.marked[shard] = Some(self.marks);
            self.undurable.insert(self.marks, shard);
            self.order.push_back(shard);
        }
    }

    /// The recent cell to write now, and the devices in it, if the parts alone would take more
    /// than one turn. `None` too while every recent cell is needed.
    pub(crate) fn next_recent(&mut self) -> Option<(usize, Vec<u32>)> {
        if self.order.len() <= Self::AT_ONCE {
            self.heard.clear();
            return None;
        }
        let oldest = self.undurable.keys().next().copied().unwrap_or(u64::MAX);
        if self.heard.is_empty() || self.recent[self.next_recent] >= oldest {
            return None;
        }
        let cell = self.next_recent;
        self.next_recent = (cell + 1) % EdgeMemory::RECENT_CELLS;
        self.recent[cell] = self.marks;
        let mut heard = std::mem::take(&mut self.heard);
        heard.sort_unstable();
        heard.dedup();
        Some((cell, heard))
    }

    /// A recent cell was not written: what it held becomes durable with its parts.
    pub(crate) fn recent_failed(&mut self, cell: usize) {
        self.recent[cell] = 0;
    }

    /// The part that waits longest.
    pub(crate) fn next_write(&mut self) -> Option<ShardWrite> {
        let shard = self.order.pop_front()?;
        let change = self.marked[shard]
            .take()
            .expect("what is in order is marked");
        Some(ShardWrite { shard, change })
    }

    /// A part is durable, or not.
    pub(crate) fn handle_written(&mut self, write: ShardWrite, stored: bool) {
        if stored {
            // Whatever failed before is in this write too.
            self.undurable
                .retain(|mark, shard| *shard != write.shard || *mark > write.change);
        } else {
            self.mark(write.shard);
        }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_written_once_and_in_order() {
        let cases = [
            (3, 1_024, vec![(0, 0..3)]),
            (2_000, 1_024, vec![(1, 1_024..2_000), (0, 0..1_024)]),
            (
                3_000_000,
                2_930,
                vec![(682, 1_998_260..2_001_190), (0, 0..2_930)],
            ),
        ];
        for (devices, of_one, expected) in cases {
            let mut shards = Shards::new(devices);
            assert_eq!(shards.of_one, of_one);
            let last = u32::try_from(devices * 2 / 3).unwrap();
            for device in [last, 0, 1, last] {
                shards.mark_device(device);
            }
            assert_eq!(shards.next_recent(), None, "the parts go in one turn");
            let mut found = Vec::new();
            while let Some(write) = shards.next_write() {
                found.push((write.shard, shards.range(write.shard)));
            }
            assert_eq!(found, expected);
            assert!(!shards.is_dirty());
            assert!(shards.count() <= EdgeMemory::SHARDS_MAX);
        }
        assert_eq!(Shards::new(0).next_write(), None);
    }

    /// Devices 0, 1 024, 2 048 and so on, one of each part.
    fn all_parts(shards: &mut Shards) {
        for shard in 0..shards.count() {
            shards.mark_device(u32::try_from(shard * 1_024).unwrap());
        }
    }

    #[test]
    fn a_recent_cell_is_needed_until_its_parts_are_durable() {
        let mut shards = Shards::new(100 * 1_024);
        all_parts(&mut shards);
        let (cell, heard) = shards.next_recent().unwrap();
        assert_eq!((cell, heard.len()), (0, 100));
        assert_eq!(shards.next_recent(), None, "nobody was heard since");
        for cell in 1..EdgeMemory::RECENT_CELLS {
            shards.mark_device(7);
            shards.mark_device(7);
            assert_eq!(shards.next_recent(), Some((cell, vec![7])));
        }
        shards.mark_device(8);
        assert_eq!(shards.next_recent(), None, "every cell is needed");
        let mut writes = Vec::new();
        while let Some(write) = shards.next_write() {
            writes.push(write);
        }
        let failed = writes.pop().unwrap();
        for write in writes {
            shards.handle_written(write, true);
        }
        shards.handle_written(failed, false);
        all_parts(&mut shards);
        assert_eq!(shards.next_recent(), None, "one part failed");
        while let Some(write) = shards.next_write() {
            shards.handle_written(write, true);
        }
        assert!(shards.undurable.is_empty());
        all_parts(&mut shards);
        assert_eq!(shards.next_recent().unwrap().0, 0, "the ring goes round");
    }

    #[test]
    fn those_that_were_heard_are_bounded() {
        let mut shards = Shards::new(40_000);
        for device in 0..40_000 {
            assert_eq!(shards.is_full(), device >= 32_768);
            shards.mark_device(device);
        }
        assert_eq!(shards.next_recent().unwrap().1.len(), Shards::HEARD_MAX);
    }
}
