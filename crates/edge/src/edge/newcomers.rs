//! Meters that were heard on another path than theirs, which has not proved itself yet.

use std::collections::{BTreeMap, BTreeSet};

use crate::identity::Path;
use crate::registry::DeviceIndex;

/// A path by which a meter was heard that is known on another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newcomer {
    pub(super) path: Path,
    /// Fresh packets by it since the meter's own path was heard.
    pub(super) packets: u8,
}

/// Newcomers by device and by path, so that a path that goes costs no look at all the others.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    by_device: BTreeMap<DeviceIndex, Newcomer>,
    by_path: BTreeSet<(Path, DeviceIndex)>,
}

impl Newcomers {
    pub(super) fn len(&self) -> usize {
        self.by_device.len()
    }

    pub(super) fn get(&self, device: DeviceIndex) -> Option<Newcomer> {
        self.by_device.get(&device).copied()
    }

    pub(super) fn insert(&mut self, device: DeviceIndex, newcomer: Newcomer) {
        self.remove(device);
        self.by_device.insert(device, newcomer);
        self.by_path.insert((newcomer.path, device));
    }

    pub(super) fn remove(&mut self, device: DeviceIndex) {
        if let Some(newcomer) = self.by_device.remove(&device) {
            self.by_path.remove(&(newcomer.path, device));
        }
    }

    /// The meter's own path was heard: the other one has to prove itself anew.
    pub(super) fn doubt(&mut self, device: DeviceIndex) {
        if let Some(newcomer) = self.by_device.get_mut(&device) {
            newcomer.packets = 0;
        }
    }

    /// A path is gone.
    pub(super) fn forget_path(&mut self, path: Path) {
        self.forget_between(path, path);
    }

    /// All paths of a gateway's link are gone.
    pub(super) fn forget_gateway(&mut self, gateway: u64) {
        let end = |down| Path { gateway, down };
        self.forget_between(end(0), end(u64::MAX));
    }

    fn forget_between(&mut self, first: Path, last: Path) {
        let range = (first, DeviceIndex(0))..=(last, DeviceIndex(u32::MAX));
        while let Some(next) = self.by_path.range(range.clone()).next().copied() {
            self.by_path.remove(&next);
            self.by_device.remove(&next.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_takes_its_own_and_no_others() {
        let path = |gateway, down| Path { gateway, down };
        let mut newcomers = Newcomers::default();
        let mut put = |device, path| {
            newcomers.insert(DeviceIndex(device), Newcomer { path, packets: 1 });
        };
        put(1, path(1, 1));
        put(2, path(1, 1));
        put(3, path(1, 2));
        put(4, path(2, 1));
        put(5, path(1, u64::MAX));
        // Heard again elsewhere: it is there.
        put(4, path(1, 3));
        put(4, path(2, 2));
        let here = |newcomers: &Newcomers| -> Vec<u32> {
            let devices = newcomers.by_device.keys().map(|device| device.0);
            assert_eq!(newcomers.by_path.len(), newcomers.by_device.len());
            devices.collect()
        };
        newcomers.forget_path(path(1, 1));
        assert_eq!(here(&newcomers), [3, 4, 5]);
        newcomers.forget_path(path(1, 3));
        assert_eq!(here(&newcomers), [3, 4, 5]);
        newcomers.doubt(DeviceIndex(3));
        assert_eq!(newcomers.get(DeviceIndex(3)).unwrap().packets, 0);
        newcomers.forget_gateway(1);
        assert_eq!(here(&newcomers), [4]);
        newcomers.remove(DeviceIndex(4));
        assert_eq!((newcomers.len(), here(&newcomers)), (0, vec![]));
    }
}
