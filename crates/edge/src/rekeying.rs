//! Meters whose keys change: two pairs are good for a while, each with its own counter.
//!
//! The pair that a meter last talked under stands in the registry, the other one here. Whichever
//! it is, a packet passes by tag and by the counter of that pair, so a change of keys opens no way
//! for a replay.

use std::collections::BTreeMap;

use gridloom_core::{Instant, Now};
use gridloom_dlms::counter::{FreshCounter, ReceiveCounter};
use gridloom_dlms::security::{CipherContext, CipheredApdu, Keys, Policy};

use crate::integrity;
use crate::registry::DeviceIndex;

/// Devices whose keys may change at a time; a further one is refused and has to be told of again.
pub const KEY_CHANGES_MAX: usize = 65_536;

/// How long the replaced pair stays good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// It is not: this is a start, and the change is over.
    AtOnce(CounterKept),
    /// Until then.
    Later(Instant),
}

/// Whether the counter last believed belongs to the pair that is put in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CounterKept {
    /// It does.
    Yes,
    /// It may be the old pair's, and must not lock the meter out. What is replayed then is a
    /// reading that is stored already, which the store tells by its identity.
    No,
}

#[derive(Debug)]
struct Other {
    keys: Keys,
    believed: ReceiveCounter,
    /// `None` until the change is settled.
    until: Option<Instant>,
}

/// The second pairs.
#[derive(Debug, Default)]
pub(crate) struct Rekeying {
    others: BTreeMap<u32, Other>,
}

impl Rekeying {
    /// A device may talk under these keys, too.
    pub(crate) fn offer(&mut self, device: DeviceIndex, keys: Keys) -> bool {
        if self
            .others
            .get(&device.0)
            .is_some_and(|other| other.keys == keys)
        {
            return true;
        }
        if self.others.len() >= KEY_CHANGES_MAX && !self.others.contains_key(&device.0) {
            return false;
        }
        self.put(device, keys, ReceiveCounter::new());
        true
    }

    pub(crate) fn put(&mut self, device: DeviceIndex, keys: Keys, believed: ReceiveCounter) {
        let until = None;
        let other = Other {
            keys,
            believed,
            until,
        };
        self.others.insert(device.0, other);
    }

    /// The counter under a pair that is here.
    pub(crate) fn believed_under(
        &self,
        device: DeviceIndex,
        keys: &Keys,
    ) -> Option<ReceiveCounter> {
        let other = self.others.get(&device.0);
        other
            .filter(|other| other.keys == *keys)
            .map(|other| other.believed)
    }

    /// The change is over: what stands here is good until then. Others whose time is over go.
    pub(crate) fn settle(&mut self, device: DeviceIndex, now: Now, until: Until) {
        match until {
            Until::AtOnce(_) => {
                self.others.remove(&device.0);
            }
            Until::Later(until) => {
                if let Some(other) = self.others.get_mut(&device.0) {
                    other.until = Some(until);
                }
            }
        }
        let is_good = |other: &Other| other.until.is_none_or(|until| now.instant < until);
        self.others.retain(|_, other| is_good(other));
    }

    /// Tries the second pair. What it was swapped for has to come back by [`Self::swapped`].
    pub(crate) fn try_other(
        &self,
        device: DeviceIndex,
        packet: &CipheredApdu<'_>,
        plain: &mut Vec<u8>,
        now: Now,
    ) -> Option<(FreshCounter, Keys, ReceiveCounter)> {
        let other = self.others.get(&device.0)?;
        if other.until.is_some_and(|until| now.instant >= until) {
            return None;
        }
        let fresh = integrity::fresh(&other.believed, packet).ok()?;
        CipherContext::new(&other.keys)
            .open(packet, Policy::AuthenticatedEncryption, plain)
            .ok()?;
        Some((fresh, other.keys.clone(), other.believed))
    }

    pub(crate) fn swapped(&mut self, device: DeviceIndex, keys: Keys, believed: ReceiveCounter) {
        if let Some(other) = self.others.get_mut(&device.0) {
            (other.keys, other.believed) = (keys, believed);
        }
    }
}
