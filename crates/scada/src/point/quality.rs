//! How far a value may be believed, and why not further.

use core::fmt;

/// How far a value may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Validity {
    /// As measured.
    Good,
    /// Perhaps right.
    Uncertain,
    /// Not to be used.
    Bad,
}

/// Why a value is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing is wrong.
    None,
    /// No value ever came.
    NeverReported,
    /// The link to the station is down.
    LinkDown,
    /// The station says that the value is invalid.
    Invalid,
    /// The station or its sensor reports a fault.
    Fault,
    /// The measurement overflowed.
    Overflow,
    /// The value lies outside the point's range.
    OutOfRange,
    /// The value is older than its point allows.
    Stale,
    /// The source's clock is not synchronised or far from ours.
    ClockSuspect,
    /// A division by zero, a root of a negative number, or a result out of range.
    Arithmetic,
    /// A counter was reset or rolled over unnoticed.
    CounterAdjusted,
}

impl Reason {
    const ALL: [(Self, &'static str); 11] = [
        (Self::None, ""),
        (Self::NeverReported, "never reported"),
        (Self::LinkDown, "link down"),
        (Self::Invalid, "declared invalid by the station"),
        (Self::Fault, "fault of the station or its sensor"),
        (Self::Overflow, "overflow"),
        (Self::OutOfRange, "out of range"),
        (Self::Stale, "stale"),
        (Self::ClockSuspect, "clock suspect"),
        (Self::Arithmetic, "arithmetic"),
        (Self::CounterAdjusted, "counter adjusted"),
    ];
}

/// Validity, its reason, and what else is to be known of a value (IEC 60870-5-101 §7.2.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quality {
    validity: Validity,
    reason: Reason,
    flags: u8,
}

const SUBSTITUTED: u8 = 1;
const BLOCKED: u8 = 2;
const OLD: u8 = 4;

impl Quality {
    /// As measured.
    pub const GOOD: Self = Self {
        validity: Validity::Good,
        reason: Reason::None,
        flags: 0,
    };
    /// Nothing has come yet.
    pub const NEVER_REPORTED: Self = Self::bad(Reason::NeverReported);

    /// Perhaps right.
    pub const fn uncertain(reason: Reason) -> Self {
        Self {
            validity: Validity::Uncertain,
            reason,
            flags: 0,
        }
    }

    /// Not to be used.
    pub const fn bad(reason: Reason) -> Self {
        Self {
            validity: Validity::Bad,
            reason,
            flags: 0,
        }
    }

    /// How far the value may be believed.
    pub const fn validity(self) -> Validity {
        self.validity
    }

    /// Why not further.
    pub const fn reason(self) -> Reason {
        self.reason
    }

    /// Whether a person put the value in by hand.
    pub const fn is_substituted(self) -> bool {
        self.flags & SUBSTITUTED != 0
    }

    /// Whether acquisition is blocked: the value is the one from before.
    pub const fn is_blocked(self) -> bool {
        self.flags & BLOCKED != 0
    }

    /// Whether the value is older than its point allows (not topical).
    pub const fn is_old(self) -> bool {
        self.flags & OLD != 0
    }

    /// Good, of now, and not blocked: what an interlock may rely on.
    pub const fn is_trusted(self) -> bool {
        matches!(self.validity, Validity::Good) && self.flags & (BLOCKED | OLD) == 0
    }

    /// The same, put in by hand.
    #[must_use]
    pub const fn substituted(self) -> Self {
        self.with(SUBSTITUTED)
    }

    /// The same, with acquisition blocked.
    #[must_use]
    pub const fn blocked(self) -> Self {
        self.with(BLOCKED)
    }

    /// The same, not topical.
    #[must_use]
    pub const fn old(self) -> Self {
        self.with(OLD)
    }

    /// The same, with acquisition no longer blocked.
    #[must_use]
    pub(crate) const fn unblocked(self) -> Self {
        Self {
            flags: self.flags & !BLOCKED,
            ..self
        }
    }

    /// At most as good as uncertain for `reason`; a worse one keeps its own.
    #[must_use]
    pub fn at_most_uncertain(self, reason: Reason) -> Self {
        match self.validity {
            Validity::Good => Self {
                validity: Validity::Uncertain,
                reason,
                flags: self.flags,
            },
            Validity::Uncertain | Validity::Bad => self,
        }
    }

    /// The quality of what is computed from both: the worse validity, the flags of both.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        let worse = if other.validity > self.validity {
            other
        } else {
            self
        };
        Self {
            flags: self.flags | other.flags,
            ..worse
        }
    }

    const fn with(self, flag: u8) -> Self {
        Self {
            flags: self.flags | flag,
            ..self
        }
    }

    /// Two bytes for an archive.
    pub(crate) fn to_bytes(self) -> [u8; 2] {
        let reasons = (0_u8..).zip(Reason::ALL);
        let reason = reasons
            .into_iter()
            .find_map(|(code, (reason, _))| (reason == self.reason).then_some(code));
        let validity = match self.validity {
            Validity::Good => 0,
            Validity::Uncertain => 1,
            Validity::Bad => 2,
        };
        let reason = reason.expect("every reason stands in its table");
        [validity << 4 | self.flags, reason]
    }

    /// From the bytes of an archive; `None` if they say something unknown.
    pub(crate) fn from_bytes([first, reason]: [u8; 2]) -> Option<Self> {
        let validity = match first >> 4 {
            0 => Validity::Good,
            1 => Validity::Uncertain,
            2 => Validity::Bad,
            _ => return None,
        };
        let flags = first & 0xF;
        if flags & !(SUBSTITUTED | BLOCKED | OLD) != 0 {
            return None;
        }
        let (reason, _) = *Reason::ALL.get(usize::from(reason))?;
        Some(Self {
            validity,
            reason,
            flags,
        })
    }
}

impl fmt::Display for Quality {
    /// `bad (link down), old`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.validity {
            Validity::Good => "good",
            Validity::Uncertain => "uncertain",
            Validity::Bad => "bad",
        })?;
        if let Some((_, name)) = Reason::ALL
            .iter()
            .find(|(reason, _)| *reason == self.reason)
            && !name.is_empty()
        {
            write!(f, " ({name})")?;
        }
        for (flag, name) in [
            (SUBSTITUTED, "substituted"),
            (BLOCKED, "blocked"),
            (OLD, "old"),
        ] {
            if self.flags & flag != 0 {
                write!(f, ", {name}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_computed_is_no_better_than_its_operands() {
        let good = Quality::GOOD;
        let doubtful = Quality::uncertain(Reason::ClockSuspect);
        let bad = Quality::bad(Reason::LinkDown);
        let cases = [
            (good, good, "good"),
            (good, doubtful, "uncertain (clock suspect)"),
            (bad, doubtful, "bad (link down)"),
            (good.old(), doubtful, "uncertain (clock suspect), old"),
            (
                good.substituted(),
                bad.blocked(),
                "bad (link down), substituted, blocked",
            ),
        ];
        for (a, b, expected) in cases {
            assert_eq!(a.worst(b).to_string(), expected);
            assert_eq!(b.worst(a).to_string(), expected);
        }
    }

    #[test]
    fn only_good_topical_values_are_trusted() {
        let cases = [
            (Quality::GOOD, true),
            (Quality::GOOD.substituted(), true),
            (Quality::GOOD.old(), false),
            (Quality::GOOD.blocked(), false),
            (Quality::uncertain(Reason::OutOfRange), false),
            (Quality::NEVER_REPORTED, false),
        ];
        for (quality, trusted) in cases {
            assert_eq!(quality.is_trusted(), trusted, "{quality}");
        }
    }

    #[test]
    fn qualities_survive_their_bytes() {
        for (reason, _) in Reason::ALL {
            for quality in [
                Quality::uncertain(reason).old(),
                Quality::bad(reason).blocked(),
            ] {
                assert_eq!(Quality::from_bytes(quality.to_bytes()), Some(quality));
            }
        }
        for damaged in [[0x30, 0], [0x08, 0], [0, 11]] {
            assert_eq!(Quality::from_bytes(damaged), None);
        }
    }
}
