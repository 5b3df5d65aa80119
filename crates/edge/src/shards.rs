//! Which parts of the believed counters changed since they were written.

use std::collections::VecDeque;
use std::ops::Range;

use crate::memory::EdgeMemory;

/// The parts of the counters, each a run of neighbouring devices. A change marks its part; parts
/// are written in the order in which they were marked.
#[derive(Debug)]
pub(crate) struct Shards {
    devices: usize,
    /// Devices of one part.
    of_one: usize,
    marked: Vec<bool>,
    order: VecDeque<usize>,
}

impl Shards {
    /// Devices of one part, at least: a cell of 12 KiB.
    const OF_ONE_MIN: usize = 1_024;

    pub(crate) fn new(devices: usize) -> Self {
        let of_one = devices
            .div_ceil(EdgeMemory::SHARDS_MAX)
            .max(Self::OF_ONE_MIN);
        let count = devices.div_ceil(of_one);
        Self {
            devices,
            of_one,
            marked: vec![false; count],
            order: VecDeque::with_capacity(count),
        }
    }

    /// A device's counter changed.
    pub(crate) fn mark_device(&mut self, device: usize) {
        self.mark(device / self.of_one);
    }

    /// A part is to be written, again perhaps.
    pub(crate) fn mark(&mut self, shard: usize) {
        if !self.marked[shard] {
            self.marked[shard] = true;
            self.order.push_back(shard);
        }
    }

    /// The part that waits longest, and its devices.
    pub(crate) fn next_write(&mut self) -> Option<(usize, Range<usize>)> {
        let shard = self.order.pop_front()?;
        self.marked[shard] = false;
        let start = shard * self.of_one;
        Some((shard, start..(start + self.of_one).min(self.devices)))
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
            for device in [devices * 2 / 3, 0, 1, devices * 2 / 3] {
                shards.mark_device(device);
            }
            let mut found = Vec::new();
            while let Some(part) = shards.next_write() {
                found.push(part);
            }
            assert_eq!(found, expected);
            assert!(!shards.is_dirty());
            assert!(shards.marked.len() <= EdgeMemory::SHARDS_MAX);
        }
        assert_eq!(Shards::new(0).next_write(), None);
    }
}
