//! Finds a device by a keyed hash in a handful of bytes per device, and never iterates in hash
//! order.

use core::fmt;
use core::hash::Hasher as _;

use siphasher::sip::SipHasher13;

/// The secret of the hashes that strangers can feed: tables of paths and unknown titles. A host
/// draws it from its entropy, a simulation from its seed; it is never stored.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct HashKey([u64; 2]);

impl HashKey {
    /// A key of two drawn numbers.
    pub const fn new(words: [u64; 2]) -> Self {
        Self(words)
    }

    /// The hash of some words: SipHash-1-3, so that whoever feeds the tables, and even sees how
    /// long an answer takes, cannot find words that collide without the secret.
    pub(crate) fn hash(self, words: &[u64]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0[0], self.0[1]);
        for word in words {
            hasher.write_u64(*word);
        }
        hasher.finish()
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(redacted)")
    }
}

/// An open-addressing table of small numbers with linear probing. Each slot has four bytes: the
/// number, and eight bits of its hash, so that a stranger's title rarely costs a look at a record.
#[derive(Debug, Default)]
pub(crate) struct SlotTable {
    /// Zero is empty; otherwise fingerprint in the top byte, number + 1 below.
    slots: Vec<u32>,
}

impl SlotTable {
    /// Numbers are below this; the table of a network's edge that has more is several edges.
    pub(crate) const NUMBERS_MAX: usize = (1 << 24) - 1;

    /// A table for so many numbers, never more than half full.
    pub(crate) fn for_count(count: usize) -> Self {
        assert!(count <= Self::NUMBERS_MAX, "the caller has checked");
        Self {
            slots: vec![0; (count * 2).max(2).next_power_of_two()],
        }
    }

    /// The number with this hash for which `is_it` holds.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let slot = *self.slots.get(at)?;
            if slot == 0 {
                return None;
            }
            let number = (slot & NUMBER) - 1;
            if slot & !NUMBER == fingerprint(hash) && is_it(number) {
                return Some(number);
            }
            at = self.after(at);
        }
    }

    /// Adds a number that is not in the table.
    pub(crate) fn insert(&mut self, hash: u64, number: u32) {
        let mut at = self.home(hash);
        while self.slots[at] != 0 {
            at = self.after(at);
        }
        self.slots[at] = fingerprint(hash) | (number + 1);
    }

    /// Takes a number out. `hash_of` tells the hash of every number that stays.
    pub(crate) fn remove(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        let mut hole = self.home(hash);
        while self.slots[hole] & NUMBER != number + 1 {
            if self.slots[hole] == 0 {
                return;
            }
            hole = self.after(hole);
        }
        // Moves back whatever a search would no longer reach across the hole.
        let mask = self.slots.len() - 1;
        let mut at = hole;
        loop {
            at = self.after(at);
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            let home = self.home(hash_of((slot & NUMBER) - 1));
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = 0;
    }

    fn home(&self, hash: u64) -> usize {
        let mask = self.slots.len().saturating_sub(1);
        usize::try_from(hash & 0xFFFF_FFFF).expect("32 bits fit") & mask
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }
}

const NUMBER: u32 = 0x00FF_FFFF;

fn fingerprint(hash: u64) -> u32 {
    u32::try_from(hash >> 56).expect("8 bits fit") << 24
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_core::Seed;
    use rand_core::Rng as _;
    use std::collections::BTreeMap;

    #[test]
    fn a_table_agrees_with_an_ordered_map() {
        let mut rng = Seed::new(4).child("slots").rng();
        let key = HashKey::new([1, 2]);
        // Few distinct hashes, so that runs of slots collide and wrap around the end.
        let hash = |number: u32| key.hash(&[u64::from(number / 5)]);
        let (mut table, mut map) = (SlotTable::for_count(60), BTreeMap::new());
        for _ in 0..20_000 {
            let number = rng.next_u32() % 60;
            if map.remove(&number).is_some() {
                table.remove(hash(number), number, hash);
            } else {
                map.insert(number, ());
                table.insert(hash(number), number);
            }
            for number in 0..60 {
                let found = table.find(hash(number), |it| it == number);
                assert_eq!(found.is_some(), map.contains_key(&number), "{number}");
            }
        }
    }

    #[test]
    fn the_key_moves_every_hash() {
        let (one, other) = (HashKey::new([1, 2]), HashKey::new([1, 3]));
        assert_ne!(one.hash(&[7]), other.hash(&[7]));
        assert_eq!(one.hash(&[7]), one.hash(&[7]));
        assert_eq!(format!("{one:?}"), "HashKey(redacted)");
        // The reference's own vector for a key of 0 to 15 and the bytes 0 to 7 (SipHash-1-3).
        let reference = HashKey::new([0x0706_0504_0302_0100, 0x0F0E_0D0C_0B0A_0908]);
        assert_eq!(
            reference.hash(&[0x0706_0504_0302_0100]),
            0x3690_9511_8D29_9A8E
        );
        // Neighbouring numbers fill every eighth of both halves evenly, under any key.
        for key in [one, HashKey::default()] {
            let mut eighths = [[0_u32; 8]; 2];
            for word in 0..8_000 {
                let hash = key.hash(&[7, word]);
                eighths[0][(hash & 7) as usize] += 1;
                eighths[1][(hash >> 61) as usize] += 1;
            }
            let even = eighths
                .iter()
                .flatten()
                .all(|count| (850..1_150).contains(count));
            assert!(even, "{eighths:?}");
        }
        assert_eq!(SlotTable::default().find(3, |_| true), None);
    }
}
