//! The second step: whose title it is, and whether it may come by this way.

use crate::reason::{Reason, Reasons};
use crate::registry::GatewayId;
use crate::score::Score;

/// The way a packet came: the gateway's link here, and the gateway's own name for the meter's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// The gateway's link.
    pub gateway: u64,
    /// The gateway's name for the way down.
    pub down: u64,
}

/// By which paths a title's believed packets came, in 16 bytes. Paths are kept as keyed hashes: a
/// packet that comes back by the path before the last one names that path itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Whereabouts {
    /// The path of the last believed packet; 0 before the first.
    last: u32,
    /// The path before it, if it was another one.
    before: u32,
    /// When the path changed last, or was first known, in seconds since the edge's start.
    changed_at: u32,
    /// The gateway that was learnt as the home; `u16::MAX` is none yet.
    home: u16,
    /// How often the path went back to the one before, each time within the window.
    returns: u8,
}

/// When a title counts as cloned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CloneRule {
    pub(crate) window_s: u32,
    pub(crate) changes: u8,
}

/// What the second step finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) score: Score,
    pub(crate) reasons: Reasons,
}

impl Whereabouts {
    const NOBODY: u16 = u16::MAX;

    /// Goes on with a home that was learnt before.
    pub(crate) fn resume(home: Option<GatewayId>) -> Self {
        Self {
            home: home.map_or(Self::NOBODY, |home| home.0),
            ..Self::default()
        }
    }

    /// The gateway of the learnt home has another number now.
    pub(crate) fn rehome(&mut self, home: GatewayId) {
        self.home = home.0;
    }

    /// Another device was proved to speak under this title: for the window it counts as cloned.
    pub(crate) fn mark_cloned(&mut self, rule: CloneRule, now_s: u32) {
        self.returns = self.returns.max(rule.changes - 1);
        self.changed_at = now_s;
    }

    /// A believed packet came by `path` through `gateway`. `home` is the registry's word; without
    /// one the first believed packet teaches it.
    ///
    /// Only a packet whose tag verified may be told here: who merely uses a title must not make
    /// its owner look cloned.
    pub(crate) fn observe(
        &mut self,
        path: u32,
        gateway: Option<GatewayId>,
        home: Option<GatewayId>,
        rule: CloneRule,
        now_s: u32,
    ) -> Identity {
        let home = home.or_else(|| {
            if self.home == Self::NOBODY {
                self.home = gateway?.0;
            }
            Some(GatewayId(self.home))
        });
        let mut identity = Identity {
            score: Score::FULL,
            reasons: Reasons::NONE,
        };
        // A link without a name is judged only where the registry names a home.
        if home.is_some() && home != gateway && (gateway.is_some() || self.home == Self::NOBODY) {
            identity.score = Score::HALF;
            identity.reasons.add(Reason::NeighbourPath);
        }
        if self.moved_like_two(path, rule, now_s) {
            identity.score = Score::HALF;
            identity.reasons.add(Reason::Cloned);
        }
        identity
    }

    /// Whether the title goes to and fro between two paths: a meter that roams leaves a path and
    /// may come back once; two devices under one title alternate.
    fn moved_like_two(&mut self, path: u32, rule: CloneRule, now_s: u32) -> bool {
        let recent = now_s.wrapping_sub(self.changed_at) <= rule.window_s;
        if self.last != path {
            if self.last != 0 {
                self.returns = match (recent, self.before == path) {
                    (true, true) => self.returns.saturating_add(1),
                    // A third path is no return, and no excuse either.
                    (true, false) => self.returns,
                    (false, _) => 0,
                };
            }
            self.changed_at = now_s;
            self.before = self.last;
            self.last = path;
        } else if !recent {
            self.returns = 0;
        }
        self.returns >= rule.changes - 1
    }

    /// For how long the title has been on its path, in seconds.
    pub(crate) const fn settled_s(&self, now_s: u32) -> u32 {
        now_s.saturating_sub(self.changed_at)
    }

    /// Whether the last believed packet came by this path.
    pub(crate) const fn is_at(&self, path: u32) -> bool {
        self.last == path
    }

    /// Whether no packet was believed yet.
    pub(crate) const fn is_new(&self) -> bool {
        self.last == 0
    }

    /// The home that was learnt.
    pub(crate) fn learnt_home(&self) -> Option<GatewayId> {
        (self.home != Self::NOBODY).then_some(GatewayId(self.home))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: CloneRule = CloneRule {
        window_s: 900,
        changes: 3,
    };
    const ONE: Option<GatewayId> = Some(GatewayId(1));
    const TWO: Option<GatewayId> = Some(GatewayId(2));

    #[test]
    fn a_meter_that_roams_is_half_known_and_one_that_alternates_is_cloned() {
        // Seconds and path of each packet, and whether the last one looks cloned.
        type Case = (&'static str, &'static [(u32, u32)], bool);
        let cases: [Case; 7] = [
            ("at home", &[(0, 1), (900, 1), (1_800, 1)], false),
            ("roams", &[(0, 1), (900, 2), (1_800, 2)], false),
            ("roams and returns", &[(0, 1), (900, 2), (1_800, 1)], false),
            ("alternates", &[(0, 1), (60, 2), (120, 1), (180, 2)], true),
            (
                "alternates slowly",
                &[(0, 1), (1_000, 2), (2_000, 1), (3_000, 2), (4_000, 1)],
                false,
            ),
            (
                "alternated long ago",
                &[(0, 1), (60, 2), (120, 1), (180, 2), (2_000, 2)],
                false,
            ),
            (
                "reconnects under new names",
                &[(0, 1), (60, 2), (120, 3), (180, 4), (240, 5)],
                false,
            ),
        ];
        for (name, packets, cloned) in cases {
            let mut whereabouts = Whereabouts::resume(None);
            let mut last = None;
            for (at, path) in packets {
                last = Some(whereabouts.observe(*path, ONE, None, RULE, *at));
            }
            let found = last.unwrap().reasons.contains(Reason::Cloned);
            assert_eq!(found, cloned, "{name}");
        }
    }

    #[test]
    fn the_home_is_the_registrys_or_the_first_that_was_believed() {
        let half = (Score::HALF, Reasons::of(Reason::NeighbourPath));
        let full = (Score::FULL, Reasons::NONE);
        let cases = [
            ("enrolled, at home", ONE, [ONE, ONE], full),
            ("enrolled, elsewhere", ONE, [ONE, TWO], half),
            ("enrolled, by a nameless link", ONE, [ONE, None], half),
            ("learnt, at home", None, [TWO, TWO], full),
            ("learnt, elsewhere", None, [ONE, TWO], half),
            ("nameless twice", None, [None, None], full),
            ("learnt from the second", None, [None, TWO], full),
        ];
        for (name, home, gateways, expected) in cases {
            let mut whereabouts = Whereabouts::resume(None);
            let mut last = None;
            for gateway in gateways {
                last = Some(whereabouts.observe(7, gateway, home, RULE, 5));
            }
            let found = last.unwrap();
            assert_eq!((found.score, found.reasons), expected, "{name}");
        }
    }
}
