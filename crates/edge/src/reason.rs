//! Why a packet was dropped or quarantined: stable numbers, stable texts, and counters of them.

use core::fmt;

/// A step of the screening, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A bounded look at the outside of the packet.
    Frame,
    /// Whose title it carries, and by which way it came.
    Identity,
    /// Tag, counter, content and clock.
    Integrity,
    /// How much comes from where.
    Rate,
    /// Whether the values can be true.
    Behaviour,
    /// How well the link carried it.
    Quality,
    /// All scores weighed together.
    Trust,
}

impl Step {
    /// Number of steps.
    pub const COUNT: usize = 7;

    /// Every step, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Frame,
        Self::Identity,
        Self::Integrity,
        Self::Rate,
        Self::Behaviour,
        Self::Quality,
        Self::Trust,
    ];

    /// The step's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::Identity => "identity",
            Self::Integrity => "integrity",
            Self::Rate => "rate",
            Self::Behaviour => "behaviour",
            Self::Quality => "quality",
            Self::Trust => "trust",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $step:ident, $text:literal;)+) => {
        /// What is wrong with a packet. The numbers are the order of this list and never change;
        /// new reasons go to its end.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of their numbers.
            pub const ALL: [Self; ReasonCounters::KINDS] = [$(Self::$name,)+];

            /// The step that finds it.
            pub const fn step(self) -> Step {
                match self {
                    $(Self::$name => Step::$step,)+
                }
            }

            /// The reason in words, for people and for metric labels.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }

        impl ReasonCounters {
            /// Number of reasons.
            pub const KINDS: usize = [$($text,)+].len();
        }
    };
}

reasons! {
    /// It is no general-glo-ciphering APDU, or its verified content cannot be read.
    Malformed = Frame, "malformed";
    /// Its system title is not in the registry.
    UnknownTitle = Identity, "unknown title";
    /// Its tag does not verify, or it is protected less than the policy demands.
    BadTag = Integrity, "bad tag";
    /// Its invocation counter was used before.
    Replayed = Integrity, "replayed counter";
    /// Its interval ends in the future.
    ClockAhead = Integrity, "clock ahead";
    /// It is of another capture period than the meter was set to.
    WrongPeriod = Integrity, "wrong capture period";
    /// It is a verified APDU that nobody asked this meter for.
    Unexpected = Integrity, "unexpected APDU";
    /// Its title was revoked.
    Revoked = Identity, "revoked title";
    /// It came by another gateway than the meter's own. It lowers I and drops nothing by itself.
    NeighbourPath = Identity, "neighbour's path";
    /// The same title speaks on two paths at once.
    Cloned = Identity, "cloned identity";
    /// Its path has spent what it may cost in refused packets.
    PathFlooded = Rate, "path flooded";
    /// Its gateway has spent what it may cost in refused packets.
    GatewayFlooded = Rate, "gateway flooded";
    /// Too many forged packets carry this title; it is looked at again a little later.
    TitleFlooded = Rate, "title flooded by forgeries";
    /// The meter itself sends more than its bucket allows.
    DeviceRate = Rate, "device above its rate";
    /// The import register runs backwards.
    RegisterBackwards = Behaviour, "register runs backwards";
    /// The import register does not grow by the energy of its interval.
    RegisterMismatch = Behaviour, "register against interval energy";
    /// The import register grew by more than the fuse lets through.
    RegisterJump = Behaviour, "register jumps above the fuse";
    /// An interval was reported twice with different values.
    Conflict = Behaviour, "two versions of one interval";
    /// More energy than the fuse lets through.
    EnergyAboveFuse = Behaviour, "energy above the fuse";
    /// More power than the fuse lets through.
    PowerAboveFuse = Behaviour, "power above the fuse";
    /// P² + Q² exceeds S².
    PowerTriangle = Behaviour, "power triangle";
    /// The voltage is outside its band.
    VoltageBand = Behaviour, "voltage outside its band";
    /// No energy flows although the power is high.
    EnergyAgainstPower = Behaviour, "no energy at high power";
    /// The interval is older than a meter's own load profile.
    Stale = Behaviour, "older than a load profile";
    /// The learnt model finds it odd.
    Model = Behaviour, "learnt model";
    /// The link lost, repeated or delayed it more than usual.
    PoorLink = Quality, "poor link";
    /// Its weighed score is below the threshold.
    LowTrust = Trust, "trust below the threshold";
    /// It belongs into the quarantine, which has no room for it.
    QuarantineFull = Trust, "quarantine full";
}

impl Reason {
    /// Its number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// All that is wrong with one packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Reasons(u32);

impl Reasons {
    /// Nothing is wrong.
    pub const NONE: Self = Self(0);

    /// One thing.
    pub const fn of(reason: Reason) -> Self {
        Self(1 << reason.code())
    }

    /// Adds one.
    pub const fn add(&mut self, reason: Reason) {
        self.0 |= 1 << reason.code();
    }

    /// The same and one more.
    pub const fn with(mut self, reason: Reason) -> Self {
        self.add(reason);
        self
    }

    /// Both sets.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it is among them.
    pub const fn contains(self, reason: Reason) -> bool {
        self.0 & (1 << reason.code()) != 0
    }

    /// Whether nothing is wrong.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them, by number.
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL
            .into_iter()
            .filter(move |reason| self.contains(*reason))
    }

    /// One bit per number.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The reasons of these bits; `None` if a bit has no reason.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits >> ReasonCounters::KINDS == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }
}

impl fmt::Debug for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Packets since start, by reason. A packet with several reasons counts under each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReasonCounters([u64; Self::KINDS]);

impl Default for ReasonCounters {
    fn default() -> Self {
        Self([0; Self::KINDS])
    }
}

// A set of reasons has 32 bits.
const _: () = assert!(ReasonCounters::KINDS < 32);

impl ReasonCounters {
    /// Counts one more.
    pub const fn count(&mut self, reason: Reason) {
        self.0[reason as usize] += 1;
    }

    /// Counts one more of each.
    pub fn count_all(&mut self, reasons: Reasons) {
        let mut bits = reasons.bits();
        while bits != 0 {
            self.0[bits.trailing_zeros() as usize] += 1;
            bits &= bits - 1;
        }
    }

    /// How many had this reason.
    pub const fn get(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// How many reasons a step gave.
    pub fn of_step(&self, step: Step) -> u64 {
        Reason::ALL
            .into_iter()
            .filter(|reason| reason.step() == step)
            .map(|reason| self.get(reason))
            .sum()
    }

    /// What each step found, in the order of the steps: its reasons that occurred.
    pub fn by_step(&self) -> [(Step, Vec<(Reason, u64)>); Step::COUNT] {
        Step::ALL.map(|step| {
            let of_step = Reason::ALL
                .into_iter()
                .filter(|reason| reason.step() == step && self.get(*reason) > 0)
                .map(|reason| (reason, self.get(reason)));
            (step, of_step.collect())
        })
    }

    /// Adds another screen's counters.
    pub fn add(&mut self, other: &Self) {
        for (own, more) in self.0.iter_mut().zip(other.0) {
            *own += more;
        }
    }

    /// The counters in the order of [`Reason::ALL`].
    pub const fn to_array(self) -> [u64; Self::KINDS] {
        self.0
    }

    /// The counters from the order of [`Reason::ALL`].
    pub const fn from_array(counts: [u64; Self::KINDS]) -> Self {
        Self(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_and_texts_stay() {
        let cases = [
            (0, Reason::Malformed, "malformed"),
            (1, Reason::UnknownTitle, "unknown title"),
            (6, Reason::Unexpected, "unexpected APDU"),
            (9, Reason::Cloned, "cloned identity"),
            (14, Reason::RegisterBackwards, "register runs backwards"),
            (26, Reason::LowTrust, "trust below the threshold"),
            (27, Reason::QuarantineFull, "quarantine full"),
        ];
        for (code, reason, text) in cases {
            assert_eq!((reason.code(), reason.text()), (code, text));
        }
        assert_eq!(ReasonCounters::KINDS, 28);
        for (number, reason) in (0..).zip(Reason::ALL) {
            assert_eq!(Reason::from_code(number), Some(reason));
        }
        assert_eq!(Reason::from_code(28), None);
        let texts: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.text()).collect();
        assert_eq!(texts.len(), ReasonCounters::KINDS, "no text twice");
    }

    #[test]
    fn sets_hold_and_count_each_reason() {
        let set = Reasons::of(Reason::Malformed).with(Reason::QuarantineFull);
        let both: Vec<_> = set.iter().collect();
        assert_eq!(both, [Reason::Malformed, Reason::QuarantineFull]);
        assert_eq!(Reasons::from_bits(set.bits()), Some(set));
        assert_eq!(Reasons::from_bits(1 << 28), None);
        let mut counters = ReasonCounters::default();
        counters.count_all(set);
        counters.count(Reason::Malformed);
        assert_eq!(counters.get(Reason::Malformed), 2);
        assert_eq!(counters.of_step(Step::Trust), 1);
        assert_eq!(counters.of_step(Step::Rate), 0);
        let [frame, identity, .., trust] = counters.by_step();
        assert_eq!(frame, (Step::Frame, vec![(Reason::Malformed, 2)]));
        assert_eq!(identity, (Step::Identity, vec![]));
        assert_eq!(trust, (Step::Trust, vec![(Reason::QuarantineFull, 1)]));
        let mut sum = ReasonCounters::from_array(counters.to_array());
        sum.add(&counters);
        assert_eq!(sum.get(Reason::Malformed), 4);
    }
}
