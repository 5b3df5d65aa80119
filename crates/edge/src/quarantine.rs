//! The alert queue: readings that verified but are not trusted wait here, whole and durable, for
//! an analyst.
//!
//! A meter is told that its reading is kept once its page is durable, so it may forget it: the
//! quarantine is one of the three places where a reading may be. Until then, and when there is no
//! room, it is not told and pushes again; nothing that is held ever falls out.

mod page;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gridloom_core::{MeterId, SystemTitle, UtcTime};

use crate::identity::Path;
use crate::quality::LinkQuality;
use crate::reading::{AcceptedReading, ScreenedReading};
use crate::reason::{Reason, Reasons, Step};
use crate::score::Scores;

pub(crate) use page::{decode, encode};

/// A held packet's number; never used again, not after a restart either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(pub u64);

/// Where a held packet stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldState {
    /// It waits for an analyst.
    Open,
    /// Somebody released it; it stays until the utility has it durable.
    Released {
        /// Who.
        who: String,
        /// When.
        at: UtcTime,
    },
    /// Somebody rejected it; it stays until that is durable.
    Rejected {
        /// Who.
        who: String,
        /// When.
        at: UtcTime,
    },
}

impl HeldState {
    /// The state in one word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Released { .. } => "released",
            Self::Rejected { .. } => "rejected",
        }
    }
}

/// A packet in the quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub id: PacketId,
    /// By which path it came; the numbers are those of the edge's run in which it came.
    pub path: Path,
    /// When it came.
    pub received: UtcTime,
    /// What is wrong with it.
    pub reasons: Reasons,
    /// Its scores.
    pub scores: Scores,
    /// The packet as it came, ciphered: what anybody with the meter's keys can verify.
    pub frame: Vec<u8>,
    /// The APDU in it, deciphered.
    pub plain: Vec<u8>,
    /// What that says.
    pub said: AcceptedReading,
    /// Where it stands.
    pub state: HeldState,
}

impl Held {
    fn bytes(&self) -> usize {
        self.frame.len() + self.plain.len()
    }

    /// The reading as it goes up once it is released. What its link knew is not kept.
    pub(crate) fn released(&self) -> ScreenedReading {
        ScreenedReading {
            accepted: self.said.clone(),
            scores: self.scores,
            reasons: self.reasons,
            path: self.path,
            link: LinkQuality::default(),
        }
    }

    /// The reason that names its incident: a clone before a lie, a lie before a low score.
    pub fn main_reason(&self) -> Reason {
        main_reason(self.reasons)
    }
}

/// Of all reasons of a held packet the one that names its incident.
pub(crate) fn main_reason(reasons: Reasons) -> Reason {
    if reasons.contains(Reason::Cloned) {
        return Reason::Cloned;
    }
    reasons
        .iter()
        .find(|reason| reason.step() == Step::Behaviour)
        .unwrap_or(Reason::LowTrust)
}

/// What an analyst did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// The reading continues as if it had been forwarded.
    Release,
    /// The reading is given up; its interval is a gap.
    Reject,
}

/// A line for the audit log. After a crash the same line may come twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When.
    pub at: UtcTime,
    /// Who.
    pub who: String,
    /// What.
    pub decision: Decision,
    /// About which packet.
    pub packet: PacketId,
    /// Whose packet it is.
    pub meter: MeterId,
    /// Its title.
    pub title: SystemTitle,
    /// The end of its interval.
    pub end: UtcTime,
    /// What was wrong with it.
    pub reasons: Reasons,
}

/// Why a decision is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuarantineError {
    /// There is no such packet.
    #[error("quarantine: packet {} is not held; list the held ones", .0.0)]
    Unknown(PacketId),
    /// It is decided.
    #[error("quarantine: packet {} is {state} already", id.0)]
    Decided {
        /// Which packet.
        id: PacketId,
        /// Its state.
        state: &'static str,
    },
    /// Nobody, or somebody with too long a name.
    #[error("quarantine: the analyst's name has {bytes} bytes; give 1 to {most}")]
    Who {
        /// Bytes of the name.
        bytes: usize,
        /// The most it may have.
        most: usize,
    },
}

/// Why a packet is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoRoom {
    /// [`Quarantine::PACKETS_MAX`] are held.
    Packets,
    /// [`Quarantine::BYTES_MAX`] are held.
    Bytes,
    /// [`Quarantine::OF_ONE_DEVICE_MAX`] of this device are held.
    Device,
}

/// A packet on its way into the quarantine.
pub(crate) struct Arrival<'a> {
    pub(crate) path: Path,
    pub(crate) frame: &'a [u8],
    pub(crate) plain: &'a [u8],
    pub(crate) said: AcceptedReading,
    pub(crate) received: UtcTime,
    pub(crate) reasons: Reasons,
    pub(crate) scores: Scores,
}

/// How a packet is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It went in.
    New,
    /// Its reading is in already.
    Already,
}

/// What the quarantine wants done once a page is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// The meter may forget the reading.
    Kept { path: Path, said: AcceptedReading },
    /// It was released.
    Released {
        audit: AuditRecord,
        reading: Box<ScreenedReading>,
    },
    /// It was rejected.
    Rejected { audit: AuditRecord },
    /// A packet is no longer held.
    Left {
        title: SystemTitle,
        reasons: Reasons,
    },
}

/// How full the quarantine is, and what did not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuarantineStatus {
    /// Packets held.
    pub packets: usize,
    /// Bytes held.
    pub bytes: usize,
    /// Packets that were not kept because too many were held.
    pub full_packets: u64,
    /// Packets that were not kept because too many bytes were held.
    pub full_bytes: u64,
    /// Packets that were not kept because too many of their device were held.
    pub full_device: u64,
}

#[derive(Debug, Default)]
struct Page {
    packets: BTreeSet<PacketId>,
    /// Counts changes.
    version: u64,
    /// The version that is being written.
    writing: Option<u64>,
    /// The version that is durable.
    durable: u64,
}

#[derive(Debug)]
struct Entry {
    held: Held,
    page: usize,
    /// The page's version with the newest change of this packet.
    version: u64,
    /// Whether that change was announced.
    announced: bool,
}

/// Readings that wait for an analyst.
#[derive(Debug)]
pub struct Quarantine {
    entries: BTreeMap<PacketId, Entry>,
    of_device: BTreeMap<SystemTitle, BTreeSet<PacketId>>,
    pages: Vec<Page>,
    next: u64,
    status: QuarantineStatus,
    news: VecDeque<News>,
}

impl Quarantine {
    /// Packets held; further ones are not kept, not acknowledged and counted.
    pub const PACKETS_MAX: usize = Self::PAGES * Self::OF_ONE_PAGE;
    /// Bytes of packets held; further ones are not kept, not acknowledged and counted.
    pub const BYTES_MAX: usize = 4 << 20;
    /// Packets held of one device, so that one cannot shut out the others: more than a day of
    /// quarter hours.
    pub const OF_ONE_DEVICE_MAX: usize = 128;
    /// Bytes of an analyst's name.
    pub const WHO_BYTES_MAX: usize = 64;
    /// Memory cells it is kept in.
    pub(crate) const PAGES: usize = 64;
    /// Packets of one cell: a change writes about 20 KiB.
    const OF_ONE_PAGE: usize = 64;

    /// The quarantine as its pages were left.
    pub(crate) fn resume(next: u64, pages: &BTreeMap<usize, Vec<Held>>) -> Self {
        let mut quarantine = Self {
            entries: BTreeMap::new(),
            of_device: BTreeMap::new(),
            pages: (0..Self::PAGES).map(|_| Page::default()).collect(),
            next,
            status: QuarantineStatus::default(),
            news: VecDeque::new(),
        };
        for (page, packets) in pages {
            for held in packets {
                quarantine.next = quarantine.next.max(held.id.0);
                quarantine.enter(held.clone(), *page);
            }
        }
        // What was decided but not finished is told once more.
        for number in 0..Self::PAGES {
            quarantine.announce(number);
        }
        quarantine
    }

    fn enter(&mut self, held: Held, number: usize) {
        let page = &mut self.pages[number];
        page.packets.insert(held.id);
        self.status.packets += 1;
        self.status.bytes += held.bytes();
        self.of_device
            .entry(held.said.title)
            .or_default()
            .insert(held.id);
        let version = page.version;
        // A meter that does not know yet that its reading is kept asks again.
        let announced = version == 0 && held.state == HeldState::Open;
        self.entries.insert(
            held.id,
            Entry {
                held,
                page: number,
                version,
                announced,
            },
        );
    }

    /// Takes a packet in, unless its reading is held already.
    pub(crate) fn hold(&mut self, arrival: Arrival<'_>) -> Result<Kept, NoRoom> {
        let Arrival {
            path,
            frame,
            plain,
            said,
            received,
            reasons,
            scores,
        } = arrival;
        let of_device = self.of_device.get(&said.title);
        let same = of_device.into_iter().flatten().find(|id| {
            self.entries
                .get(id)
                .is_some_and(|entry| entry.held.said.reading == said.reading)
        });
        if let Some(id) = same.copied() {
            self.repeated(id, path);
            return Ok(Kept::Already);
        }
        if of_device.is_some_and(|held| held.len() >= Self::OF_ONE_DEVICE_MAX) {
            self.status.full_device += 1;
            return Err(NoRoom::Device);
        }
        if self.status.bytes + frame.len() + plain.len() > Self::BYTES_MAX {
            self.status.full_bytes += 1;
            return Err(NoRoom::Bytes);
        }
        let free = |page: &Page| page.packets.len() < Self::OF_ONE_PAGE;
        let Some(number) = self.pages.iter().position(free) else {
            self.status.full_packets += 1;
            return Err(NoRoom::Packets);
        };
        self.next += 1;
        let id = PacketId(self.next);
        self.pages[number].version += 1;
        let held = Held {
            id,
            path,
            received,
            reasons,
            scores,
            frame: frame.to_vec(),
            plain: plain.to_vec(),
            said,
            state: HeldState::Open,
        };
        self.enter(held, number);
        Ok(Kept::New)
    }

    /// A meter sends what is held: its confirmation was lost.
    fn repeated(&mut self, id: PacketId, path: Path) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.held.path = path;
        if self.pages[entry.page].durable >= entry.version {
            self.news.push_back(News::Kept {
                path,
                said: entry.held.said.clone(),
            });
        }
    }

    /// An analyst decides. It takes effect once it is durable.
    ///
    /// # Errors
    ///
    /// [`QuarantineError`]: nothing to decide, or nobody who decides.
    pub(crate) fn decide(
        &mut self,
        id: PacketId,
        decision: Decision,
        who: &str,
        at: UtcTime,
    ) -> Result<(), QuarantineError> {
        if who.is_empty() || who.len() > Self::WHO_BYTES_MAX {
            return Err(QuarantineError::Who {
                bytes: who.len(),
                most: Self::WHO_BYTES_MAX,
            });
        }
        let entry = self
            .entries
            .get_mut(&id)
            .ok_or(QuarantineError::Unknown(id))?;
        if entry.held.state != HeldState::Open {
            return Err(QuarantineError::Decided {
                id,
                state: entry.held.state.word(),
            });
        }
        let who = who.to_owned();
        entry.held.state = match decision {
            Decision::Release => HeldState::Released { who, at },
            Decision::Reject => HeldState::Rejected { who, at },
        };
        entry.announced = false;
        let page = &mut self.pages[entry.page];
        page.version += 1;
        entry.version = page.version;
        Ok(())
    }

    /// The utility has a reading durable: what was released under its identity is done.
    pub(crate) fn handle_stored(
        &mut self,
        title: SystemTitle,
        said: impl Fn(&AcceptedReading) -> bool,
    ) {
        let done: Vec<_> = self
            .of_device
            .get(&title)
            .into_iter()
            .flatten()
            .filter(|id| {
                self.entries.get(id).is_some_and(|entry| {
                    entry.announced
                        && matches!(entry.held.state, HeldState::Released { .. })
                        && said(&entry.held.said)
                })
            })
            .copied()
            .collect();
        for id in done {
            self.leave(id);
        }
    }

    fn leave(&mut self, id: PacketId) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        self.status.packets -= 1;
        self.status.bytes -= entry.held.bytes();
        let title = entry.held.said.title;
        self.news.push_back(News::Left {
            title,
            reasons: entry.held.reasons,
        });
        if let Some(ids) = self.of_device.get_mut(&title) {
            ids.remove(&id);
            if ids.is_empty() {
                self.of_device.remove(&title);
            }
        }
        let page = &mut self.pages[entry.page];
        page.packets.remove(&id);
        page.version += 1;
    }

    /// Whether a page waits to be written.
    pub(crate) fn is_dirty(&self) -> bool {
        self.pages
            .iter()
            .any(|page| page.writing.is_none() && page.version > page.durable)
    }

    /// Whether something that is held is not durable yet.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.pages.iter().any(|page| page.version > page.durable)
    }

    /// The next page to write now, with its content.
    pub(crate) fn next_write(&mut self) -> Option<(usize, Vec<u8>)> {
        let number = self
            .pages
            .iter()
            .position(|page| page.writing.is_none() && page.version > page.durable)?;
        let page = &mut self.pages[number];
        page.writing = Some(page.version);
        let packets = page
            .packets
            .iter()
            .filter_map(|id| self.entries.get(id))
            .map(|entry| &entry.held);
        Some((number, encode(self.next, packets)))
    }

    /// A page is durable, or not.
    pub(crate) fn handle_written(&mut self, number: usize, stored: bool) {
        let page = &mut self.pages[number];
        let version = page.writing.take();
        if let Some(version) = version.filter(|_| stored) {
            page.durable = version;
            self.announce(number);
        }
    }

    /// Tells what a page's durable version has changed.
    fn announce(&mut self, number: usize) {
        let page = &self.pages[number];
        let durable = page.durable;
        let mut gone = Vec::new();
        for id in &page.packets {
            let Some(entry) = self.entries.get_mut(id) else {
                continue;
            };
            if entry.announced || entry.version > durable {
                continue;
            }
            entry.announced = true;
            let held = &entry.held;
            let audit = |who: &String, at: &UtcTime, decision| AuditRecord {
                at: *at,
                who: who.clone(),
                decision,
                packet: held.id,
                meter: held.said.reading.meter,
                title: held.said.title,
                end: held.said.reading.end,
                reasons: held.reasons,
            };
            self.news.push_back(match &held.state {
                HeldState::Open => News::Kept {
                    path: held.path,
                    said: held.said.clone(),
                },
                HeldState::Released { who, at } => News::Released {
                    audit: audit(who, at, Decision::Release),
                    reading: Box::new(held.released()),
                },
                HeldState::Rejected { who, at } => {
                    gone.push(*id);
                    News::Rejected {
                        audit: audit(who, at, Decision::Reject),
                    }
                }
            });
        }
        for id in gone {
            self.leave(id);
        }
    }

    /// The next thing to do.
    pub(crate) fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// Released readings that the utility has not stored yet.
    pub(crate) fn released(&self) -> impl Iterator<Item = &Held> {
        self.entries.values().filter_map(|entry| {
            let released = matches!(entry.held.state, HeldState::Released { .. });
            (released && entry.announced).then_some(&entry.held)
        })
    }

    /// Everything that is held, oldest first.
    pub fn packets(&self) -> impl Iterator<Item = &Held> {
        self.entries.values().map(|entry| &entry.held)
    }

    /// One held packet.
    pub fn packet(&self, id: PacketId) -> Option<&Held> {
        self.entries.get(&id).map(|entry| &entry.held)
    }

    /// How full it is.
    pub fn status(&self) -> QuarantineStatus {
        self.status
    }
}
