//! Who pushes on which link, and what was refused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use gridloom_core::{MeterId, SystemTitle, UtcTime};
use gridloom_dlms::wrapper::WPort;
use gridloom_store::KeyId;

use super::confirm::Confirm;
use crate::node::{LinkId, Pusher};

/// From which addresses a registered meter may push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PushAddresses {
    /// From the one that it is registered with, where that is a number.
    #[default]
    Registered,
    /// From any, because something between translates addresses; the tag proves it alone.
    Any,
}

/// What came of pushed frames since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PushCounts {
    /// Links that are up; on datagrams, senders that were heard lately.
    pub links: u64,
    /// Frames believed and understood.
    pub accepted: u64,
    /// Intervals in them.
    pub readings: u64,
    /// Events in them.
    pub events: u64,
    /// Events beyond what one meter may tell in an hour.
    pub events_left_out: u64,
    /// Confirmations sent.
    pub confirmed: u64,
    /// Believed, but nobody could say what they mean.
    pub unreadable: u64,
    /// Titles that are not registered.
    pub unknown_titles: u64,
    /// Frames in the clear from where no unciphered meter is registered.
    pub plaintext: u64,
    /// Counters that were believed before.
    pub replayed: u64,
    /// Tags that do not verify.
    pub bad_tags: u64,
    /// Everything else that was refused.
    pub others: u64,
}

/// Why a pushed frame is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushRefusal {
    /// No wrapped APDU, or one that does not add up.
    #[error("frame: it is no wrapped notification; check the transport")]
    Malformed,
    /// Another form of APDU.
    #[error(
        "frame: an APDU with tag {0:#04X} is no push; a meter pushes with general-glo-ciphering"
    )]
    Form(u8),
    /// A notification in the clear.
    #[error(
        "frame: a notification in the clear, and no unciphered meter is registered at this \
         address; give the meter keys, or a template with ciphering = \"none\""
    )]
    Plaintext,
    /// The title is not registered.
    #[error("frame: its system title is not registered; import the meter")]
    UnknownTitle,
    /// The meter is suspended or retired.
    #[error("frame: its meter is suspended or retired")]
    NotInService,
    /// Another meter was believed on this link before.
    #[error("frame: another meter was believed on this connection; each has its own wrapper port")]
    OtherTitle,
    /// It comes from where its meter is not.
    #[error(
        "frame: its meter is registered at another address; correct the address, or set \
         headend.push.addresses = \"any\""
    )]
    OtherAddress,
    /// There is no key.
    #[error("key: its meter has no guek or no gak; import them")]
    NoKey,
    /// The counter is not fresh.
    #[error("counter: it was believed before; a replay, or the meter lost its counter")]
    Replayed,
    /// The tag is wrong, or the protection is less than encryption and authentication.
    #[error("tag: it does not verify under the meter's keys; forged, or the keys are others")]
    BadTag,
}

/// A frame that was not believed: nothing in it is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedPush {
    /// When.
    pub at: UtcTime,
    /// Who sent it.
    pub from: IpAddr,
    /// Which title it claimed.
    pub title: Option<SystemTitle>,
    /// Why.
    pub refusal: PushRefusal,
}

#[derive(Debug)]
struct PushLink {
    from: Pusher,
    /// Whose each wrapper port is, once one of its frames was believed.
    bound: BTreeMap<u16, MeterId>,
    refused: u32,
}

/// The events that a meter told in an hour.
#[derive(Debug)]
struct Told {
    since: UtcTime,
    events: u32,
}

#[derive(Debug, Default)]
pub(in crate::headend) struct Pushes {
    links: BTreeMap<LinkId, PushLink>,
    /// Confirmations that wait for a counter.
    pub(super) waiting: BTreeMap<KeyId, VecDeque<Confirm>>,
    unciphered: BTreeMap<(IpAddr, u16), BTreeSet<MeterId>>,
    unciphered_at: BTreeMap<MeterId, (IpAddr, u16)>,
    told: BTreeMap<MeterId, Told>,
    refused: VecDeque<RefusedPush>,
    pub(super) counts: PushCounts,
}

impl Pushes {
    /// Meters on one link, by wrapper port; those of more are checked, but not held to their port.
    const PORTS_MAX: usize = 256;
    /// Frames that may be refused on a stream before it is closed.
    const REFUSED_MAX: u32 = 16;
    /// Refused frames that are kept to be looked at; the oldest falls out.
    const SAMPLES_MAX: usize = 32;
    /// Events of one meter that are taken in an hour; more are counted.
    const EVENTS_MAX: u32 = 120;
    const HOUR: Duration = Duration::from_hours(1);

    pub(in crate::headend) fn handle_link_up(&mut self, link: LinkId, from: Pusher) {
        let fresh = PushLink {
            from,
            bound: BTreeMap::new(),
            refused: 0,
        };
        self.links.insert(link, fresh);
    }

    /// Whether the link was one of these.
    pub(in crate::headend) fn handle_link_down(&mut self, link: LinkId) -> bool {
        self.links.remove(&link).is_some()
    }

    pub(in crate::headend) fn is_up(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    pub(super) fn pusher(&self, link: LinkId) -> Option<Pusher> {
        self.links.get(&link).map(|link| link.from)
    }

    pub(super) fn bound(&self, link: LinkId, port: WPort) -> Option<MeterId> {
        self.links.get(&link)?.bound.get(&port.0).copied()
    }

    pub(super) fn bind(&mut self, link: LinkId, port: WPort, meter: MeterId) {
        if let Some(link) = self.links.get_mut(&link) {
            link.refused = 0;
            if link.bound.len() < Self::PORTS_MAX {
                link.bound.entry(port.0).or_insert(meter);
            }
        }
    }

    /// Counts and samples a refused frame; says whether its link is to be closed.
    pub(super) fn refuse(&mut self, link: LinkId, refused: RefusedPush) -> bool {
        let counts = &mut self.counts;
        *match refused.refusal {
            PushRefusal::UnknownTitle => &mut counts.unknown_titles,
            PushRefusal::Plaintext => &mut counts.plaintext,
            PushRefusal::Replayed => &mut counts.replayed,
            PushRefusal::BadTag => &mut counts.bad_tags,
            PushRefusal::Malformed
            | PushRefusal::Form(_)
            | PushRefusal::NotInService
            | PushRefusal::OtherTitle
            | PushRefusal::OtherAddress
            | PushRefusal::NoKey => &mut counts.others,
        } += 1;
        if self.refused.len() >= Self::SAMPLES_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back(refused);
        let Some(link) = self.links.get_mut(&link) else {
            return false;
        };
        link.refused += 1;
        link.refused >= Self::REFUSED_MAX
    }

    pub(super) fn refused(&self) -> impl Iterator<Item = &RefusedPush> {
        self.refused.iter()
    }

    pub(super) fn count_accepted(&mut self) {
        self.counts.accepted += 1;
    }

    pub(super) fn count_unreadable(&mut self) {
        self.counts.unreadable += 1;
    }

    pub(super) fn count_readings(&mut self, readings: usize) {
        self.counts.readings += readings as u64;
    }

    /// Counts an event; whether the meter may still tell one in this hour.
    pub(super) fn count_event(&mut self, meter: MeterId, at: UtcTime) -> bool {
        let told = self.told.entry(meter).or_insert(Told {
            since: at,
            events: 0,
        });
        if at >= told.since + Self::HOUR || at < told.since {
            *told = Told {
                since: at,
                events: 0,
            };
        }
        let has_room = told.events < Self::EVENTS_MAX;
        if has_room {
            told.events += 1;
            self.counts.events += 1;
        } else {
            self.counts.events_left_out += 1;
        }
        has_room
    }

    /// The only unciphered meter that is registered at this address with this wrapper port.
    pub(super) fn unciphered(&self, address: IpAddr, port: u16) -> Option<MeterId> {
        let mut there = self.unciphered.get(&(address, port))?.iter();
        match (there.next(), there.next()) {
            (Some(meter), None) => Some(*meter),
            (_, _) => None,
        }
    }

    pub(super) fn place_unciphered(&mut self, meter: MeterId, place: Option<(IpAddr, u16)>) {
        if let Some(before) = self.unciphered_at.remove(&meter)
            && let Some(there) = self.unciphered.get_mut(&before)
        {
            there.remove(&meter);
            if there.is_empty() {
                self.unciphered.remove(&before);
            }
        }
        if let Some(place) = place {
            self.unciphered_at.insert(meter, place);
            self.unciphered.entry(place).or_default().insert(meter);
        }
    }

    pub(in crate::headend) fn counts(&self) -> PushCounts {
        PushCounts {
            links: self.links.len() as u64,
            ..self.counts
        }
    }
}
