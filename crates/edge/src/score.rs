//! Scores in ten-thousandths, and how they move over time.

use core::fmt;

/// How far something deserves belief, in ten-thousandths: 0 not at all, 10 000 wholly.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Score(u16);

impl Score {
    /// Not at all.
    pub const NONE: Self = Self(0);
    /// Half: what a known meter on a neighbour's path gets for its identity.
    pub const HALF: Self = Self(5_000);
    /// Wholly.
    pub const FULL: Self = Self(10_000);

    /// A score of so many ten-thousandths; `None` above 10 000.
    pub const fn new(ten_thousandths: u16) -> Option<Self> {
        if ten_thousandths <= Self::FULL.0 {
            Some(Self(ten_thousandths))
        } else {
            None
        }
    }

    /// A score of so many ten-thousandths; what is above 10 000 is 10 000.
    pub const fn saturating(ten_thousandths: u16) -> Self {
        if ten_thousandths <= Self::FULL.0 {
            Self(ten_thousandths)
        } else {
            Self::FULL
        }
    }

    /// In ten-thousandths.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Less so many ten-thousandths, not below nothing.
    pub const fn less(self, ten_thousandths: u16) -> Self {
        Self(self.0.saturating_sub(ten_thousandths))
    }

    /// Moves a sixteenth of the way to `new`, rounded to the nearest.
    fn approach(&mut self, new: Self) {
        let moved = (u32::from(self.0) * 15 + u32::from(new.0) + 8) / 16;
        self.0 = u16::try_from(moved).expect("a mean of two scores is a score");
    }
}

impl fmt::Debug for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:04}", self.0 / 10_000, self.0 % 10_000)
    }
}

/// The scores of one packet, or smoothed ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scores {
    /// Identity.
    pub i: Score,
    /// Integrity: all or nothing.
    pub h: Score,
    /// Behaviour.
    pub b: Score,
    /// Communication quality.
    pub q: Score,
    /// Trust: the weighed sum of the others.
    pub p: Score,
}

impl Scores {
    /// Nothing is known against anybody.
    pub const FULL: Self = Self {
        i: Score::FULL,
        h: Score::FULL,
        b: Score::FULL,
        q: Score::FULL,
        p: Score::FULL,
    };

    /// The scores in their order, for files.
    pub const fn to_array(self) -> [u16; 5] {
        [self.i.0, self.h.0, self.b.0, self.q.0, self.p.0]
    }

    /// The scores from their order; `None` if one is above 10 000.
    pub fn from_array(scores: [u16; 5]) -> Option<Self> {
        let [i, h, b, q, p] = scores.map(Score::new);
        Some(Self {
            i: i?,
            h: h?,
            b: b?,
            q: q?,
            p: p?,
        })
    }
}

/// Scores that follow the packets of a device, a gateway or an edge: each packet moves them a
/// sixteenth of the way (an exponentially weighted mean of about the last 16 packets).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Smoothed(Scores);

impl Default for Smoothed {
    fn default() -> Self {
        Self(Scores::FULL)
    }
}

impl Smoothed {
    /// Scores that go on from where they stood.
    pub const fn resume(scores: Scores) -> Self {
        Self(scores)
    }

    /// A packet had these scores.
    pub fn follow(&mut self, scores: Scores) {
        self.0.i.approach(scores.i);
        self.0.h.approach(scores.h);
        self.0.b.approach(scores.b);
        self.0.q.approach(scores.q);
        self.0.p.approach(scores.p);
    }

    /// Where they stand.
    pub const fn scores(self) -> Scores {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_stay_in_their_range() {
        let cases = [(0, Some(0)), (10_000, Some(10_000)), (10_001, None)];
        for (raw, kept) in cases {
            assert_eq!(Score::new(raw).map(Score::get), kept);
        }
        assert_eq!(Score::HALF.less(6_000), Score::NONE);
        assert_eq!(Score::saturating(12_000), Score::FULL);
        assert_eq!(Score::saturating(6_543).to_string(), "0.6543");
        assert_eq!(Scores::from_array([0, 0, 0, 0, 10_001]), None);
        assert_eq!(
            Scores::from_array(Scores::FULL.to_array()),
            Some(Scores::FULL)
        );
    }

    #[test]
    fn trust_falls_and_returns_by_sixteenths() {
        let mut smoothed = Smoothed::default();
        smoothed.follow(Scores::default());
        assert_eq!(smoothed.scores().p.get(), 9_375);
        for _ in 0..200 {
            smoothed.follow(Scores::default());
        }
        assert!(smoothed.scores().p.get() < 10, "{smoothed:?}");
        for _ in 0..200 {
            smoothed.follow(Scores::FULL);
        }
        assert!(smoothed.scores().p.get() > 9_990, "{smoothed:?}");
    }
}
