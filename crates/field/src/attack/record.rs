//! What an attacker did: the labels of an evaluation.

use gridloom_core::{SystemTitle, UtcTime};
use gridloom_dlms::security::CipheredApdu;
use gridloom_dlms::wrapper;

use super::Kind;

/// What was done to one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deed {
    /// It was read in passing.
    Overheard,
    /// The attacker made it and sent it.
    Sent,
    /// It was changed on its way.
    Altered,
    /// It was not passed on.
    Withheld,
    /// It was passed on later, perhaps behind others.
    Delayed,
    /// It was sent once more, as it was.
    Repeated,
}

impl Deed {
    /// Number of deeds.
    pub const COUNT: usize = 6;

    /// Every deed.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Overheard,
        Self::Sent,
        Self::Altered,
        Self::Withheld,
        Self::Delayed,
        Self::Repeated,
    ];

    /// The deed in a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overheard => "overheard",
            Self::Sent => "sent",
            Self::Altered => "altered",
            Self::Withheld => "withheld",
            Self::Delayed => "delayed",
            Self::Repeated => "repeated",
        }
    }
}

/// What tells one frame from another without keeping it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    /// Its length, at most `u32::MAX`.
    pub bytes: u32,
    /// The CRC-32 of its bytes, as they left the attacker.
    pub crc32: u32,
}

impl Digest {
    /// Of a frame.
    pub fn of(frame: &[u8]) -> Self {
        Self {
            bytes: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            crc32: crc32fast::hash(frame),
        }
    }
}

/// One deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttackRecord {
    /// When.
    pub time: UtcTime,
    /// By whom.
    pub kind: Kind,
    /// Under whose title, where the frame has one.
    pub victim: Option<SystemTitle>,
    /// What.
    pub deed: Deed,
    /// To which frame.
    pub digest: Digest,
}

/// Everything that one attacker did.
#[derive(Debug, Clone)]
pub struct AttackLog {
    kind: Kind,
    records: Vec<AttackRecord>,
    tally: [u64; Deed::COUNT],
    bytes: u64,
    first_harm: Option<UtcTime>,
}

impl AttackLog {
    /// Records kept; later deeds are counted and no more.
    pub const RECORDS_MAX: usize = 65_536;

    /// Nothing yet.
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            records: Vec::new(),
            tally: [0; Deed::COUNT],
            bytes: 0,
            first_harm: None,
        }
    }

    /// Whose log it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Notes a deed.
    pub fn note(&mut self, deed: Deed, frame: &[u8], time: UtcTime) {
        self.tally[deed as usize] += 1;
        if deed != Deed::Overheard {
            self.bytes += frame.len() as u64;
            self.first_harm.get_or_insert(time);
        }
        if self.records.len() < Self::RECORDS_MAX {
            self.records.push(AttackRecord {
                time,
                kind: self.kind,
                victim: title_of(frame),
                deed,
                digest: Digest::of(frame),
            });
        }
    }

    /// The first [`Self::RECORDS_MAX`] deeds, in order.
    pub fn records(&self) -> &[AttackRecord] {
        &self.records
    }

    /// How often a deed was done.
    pub const fn count(&self, deed: Deed) -> u64 {
        self.tally[deed as usize]
    }

    /// Everything but listening.
    pub fn harmful(&self) -> u64 {
        Deed::ALL
            .into_iter()
            .filter(|deed| *deed != Deed::Overheard)
            .map(|deed| self.count(deed))
            .sum()
    }

    /// Bytes of everything but listening.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When it first did more than listen.
    pub const fn first_harm(&self) -> Option<UtcTime> {
        self.first_harm
    }
}

/// The title that a wrapped frame carries in clear.
pub(super) fn title_of(frame: &[u8]) -> Option<SystemTitle> {
    let frame = wrapper::Frame::decode(frame).ok()?;
    Some(CipheredApdu::decode(frame.apdu).ok()?.title)
}

/// The invocation counter that a wrapped frame carries in clear.
pub(super) fn counter_of(frame: &[u8]) -> Option<u32> {
    let frame = wrapper::Frame::decode(frame).ok()?;
    Some(CipheredApdu::decode(frame.apdu).ok()?.counter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeds_are_counted_beyond_the_records_that_are_kept() {
        let mut log = AttackLog::new(Kind::Flood);
        log.note(Deed::Overheard, b"abc", UtcTime::from_secs(1));
        assert_eq!((log.harmful(), log.bytes(), log.first_harm()), (0, 0, None));
        for at in 0..=AttackLog::RECORDS_MAX {
            let at = UtcTime::from_secs(i64::try_from(at).unwrap());
            log.note(Deed::Sent, b"xy", at);
        }
        assert_eq!(log.records().len(), AttackLog::RECORDS_MAX);
        assert_eq!(log.count(Deed::Sent), AttackLog::RECORDS_MAX as u64 + 1);
        assert_eq!(log.harmful(), log.count(Deed::Sent));
        assert_eq!(log.first_harm(), Some(UtcTime::from_secs(0)));
        assert_eq!(log.records()[0].digest, Digest::of(b"abc"));
        assert_ne!(Digest::of(b"abc"), Digest::of(b"abd"));
    }
}
