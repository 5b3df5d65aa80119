//! What a transformer delivers against what the meters below it report, interval by interval.
//!
//! Per interval, because a thief who shifts energy within the day keeps a daily balance.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, MeterId, Period, UtcTime};

use crate::registry::{LossLimit, Placement, Registry, TransformerId};

/// Which way a balance is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImbalanceKind {
    /// The transformer delivered more than meters and losses explain: somebody consumes what no
    /// meter reports.
    Missing,
    /// The meters report more than was delivered: a meter invents, or is wired elsewhere.
    Surplus,
}

/// A meter that behaved unlike itself in an interval that does not balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect {
    /// Which.
    pub meter: MeterId,
    /// Its distance from its own usual interval, in sixteenths of its usual deviation.
    pub deviation: i32,
}

/// An interval of a transformer that does not balance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imbalance {
    /// Which transformer.
    pub transformer: TransformerId,
    /// The interval's length.
    pub period: Period,
    /// The interval's end.
    pub end: UtcTime,
    /// Which way.
    pub kind: ImbalanceKind,
    /// What the transformer's meter measured, in watt-hours.
    pub delivered_wh: i64,
    /// What the meters below it reported, in watt-hours.
    pub reported_wh: i64,
    /// Who moved the way the balance did, most suspect first; at most [`Self::SUSPECTS_MAX`].
    pub suspects: Vec<Suspect>,
}

impl Imbalance {
    /// Suspects of one interval; lesser ones are not named.
    pub const SUSPECTS_MAX: usize = 8;
}

/// One meter's word on an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) meter: MeterId,
    pub(crate) period: Period,
    pub(crate) end: UtcTime,
    /// Import less export.
    pub(crate) net_wh: i64,
    pub(crate) deviation: i32,
}

/// What becomes of the intervals that were watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BalanceCounters {
    /// They balanced.
    pub balanced: u64,
    /// They did not.
    pub broken: u64,
    /// A meter stayed silent until the cutoff, so nothing can be said.
    pub incomplete: u64,
    /// Readings not watched because [`BalanceCounters::OPEN_MAX`] intervals were open.
    pub unwatched: u64,
}

impl BalanceCounters {
    /// Intervals that may be open at once, 300 bytes each.
    pub const OPEN_MAX: usize = 65_536;
}

type Key = (TransformerId, u32, UtcTime);

#[derive(Debug, Default)]
struct Open {
    below: u32,
    reported_wh: i64,
    delivered_wh: Option<i64>,
    /// The most below their own habits, and the most above.
    low: Vec<Suspect>,
    high: Vec<Suspect>,
}

/// Watches the transformers that have a meter of their own.
#[derive(Debug)]
pub(crate) struct Balances {
    /// Meters below each watched transformer.
    members: BTreeMap<TransformerId, u32>,
    /// What their circuits may lose, where a model says it.
    limits: BTreeMap<TransformerId, LossLimit>,
    open: BTreeMap<Key, Open>,
    cutoffs: VecDeque<(Instant, Key)>,
    losses_milli_max: i64,
    cutoff: Duration,
    counters: BalanceCounters,
}

impl Balances {
    pub(crate) fn new(registry: &Registry, losses_milli_max: u16, cutoff: Duration) -> Self {
        let mut members = BTreeMap::new();
        let placements = || {
            registry
                .devices()
                .filter_map(|device| registry.site(device).transformer)
        };
        for placement in placements() {
            if let Placement::At(transformer) = placement {
                members.insert(transformer, 0);
            }
        }
        for placement in placements() {
            if let Placement::Below(transformer) = placement
                && let Some(count) = members.get_mut(&transformer)
            {
                *count += 1;
            }
        }
        let limits = members
            .keys()
            .filter_map(|transformer| Some((*transformer, registry.losses(*transformer)?)))
            .collect();
        Self {
            members,
            limits,
            open: BTreeMap::new(),
            cutoffs: VecDeque::new(),
            losses_milli_max: losses_milli_max.into(),
            cutoff,
            counters: BalanceCounters::default(),
        }
    }

    pub(crate) fn counters(&self) -> BalanceCounters {
        self.counters
    }

    /// A meter reports an interval; the caller lets each meter report each interval once.
    pub(crate) fn report(
        &mut self,
        placement: Placement,
        report: Report,
        now: Instant,
    ) -> Option<Imbalance> {
        let (Placement::Below(transformer) | Placement::At(transformer)) = placement;
        let members = *self.members.get(&transformer)?;
        let key = (transformer, report.period.as_secs(), report.end);
        if !self.open.contains_key(&key) {
            // A cutoff outlives an interval that was complete before it.
            if self.open.len() >= BalanceCounters::OPEN_MAX
                || self.cutoffs.len() >= 4 * BalanceCounters::OPEN_MAX
            {
                self.counters.unwatched += 1;
                return None;
            }
            self.cutoffs.push_back((now + self.cutoff, key));
        }
        let open = self.open.entry(key).or_default();
        match placement {
            Placement::At(_) => open.delivered_wh = Some(report.net_wh),
            Placement::Below(_) => {
                open.below += 1;
                open.reported_wh = open.reported_wh.saturating_add(report.net_wh);
                open.suspect(Suspect {
                    meter: report.meter,
                    deviation: report.deviation,
                });
            }
        }
        if open.below < members {
            return None;
        }
        let delivered_wh = open.delivered_wh?;
        let open = self.open.remove(&key)?;
        self.judge(transformer, report, delivered_wh, members, open)
    }

    /// An interval balances if 0 ≤ delivered − reported ≤ losses, give or take two steps for each
    /// meter: each net energy is the difference of two channels in whole watt-hours.
    fn judge(
        &mut self,
        transformer: TransformerId,
        last: Report,
        delivered_wh: i64,
        members: u32,
        open: Open,
    ) -> Option<Imbalance> {
        let steps = 2 * (i64::from(members) + 1);
        let losses = match self.limits.get(&transformer) {
            Some(limit) => limit.watt_hours(delivered_wh, last.period),
            None => delivered_wh.abs().saturating_mul(self.losses_milli_max) / 1_000,
        };
        let losses = losses.saturating_add(1);
        let missing = delivered_wh.saturating_sub(open.reported_wh);
        let (kind, suspects) = if missing > losses.saturating_add(steps) {
            (ImbalanceKind::Missing, open.low)
        } else if missing < -steps {
            (ImbalanceKind::Surplus, open.high)
        } else {
            self.counters.balanced += 1;
            return None;
        };
        self.counters.broken += 1;
        Some(Imbalance {
            transformer,
            period: last.period,
            end: last.end,
            kind,
            delivered_wh,
            reported_wh: open.reported_wh,
            suspects,
        })
    }

    /// Gives up on intervals whose last meter stayed silent.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, key)) = self.cutoffs.pop_front_if(|(at, _)| *at <= now) {
            if self.open.remove(&key).is_some() {
                self.counters.incomplete += 1;
            }
        }
    }

    pub(crate) fn wake(&self) -> Option<Instant> {
        self.cutoffs.front().map(|(at, _)| *at)
    }
}

impl Open {
    fn suspect(&mut self, suspect: Suspect) {
        if suspect.deviation < 0 {
            rank(&mut self.low, suspect, |it| i64::from(it.deviation));
        } else if suspect.deviation > 0 {
            rank(&mut self.high, suspect, |it| -i64::from(it.deviation));
        }
    }
}

/// Puts a suspect at its place in a short list, lowest key first.
fn rank(list: &mut Vec<Suspect>, suspect: Suspect, key: impl Fn(&Suspect) -> i64) {
    let at = list.partition_point(|it| key(it) <= key(&suspect));
    if at < Imbalance::SUSPECTS_MAX {
        list.truncate(Imbalance::SUSPECTS_MAX - 1);
        list.insert(at, suspect);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Registration, Site};
    use gridloom_core::SystemTitle;
    use gridloom_dlms::security::Keys;

    const T: TransformerId = TransformerId(5);
    const CUTOFF: Duration = Duration::from_secs(7_200);

    /// Twenty meters below a transformer, number 99 at it, and one below an unwatched one.
    fn balances() -> Balances {
        let meter = |number: u32, placement| Registration {
            meter: MeterId(number),
            title: SystemTitle::new(*b"GLM", number.into()),
            keys: Keys::new([0; 16], [0; 16]),
            period: Period::QUARTER_HOUR,
            site: Site {
                transformer: Some(placement),
                ..Site::default()
            },
        };
        let below = (1..=20).map(|number| meter(number, Placement::Below(T)));
        let at = meter(99, Placement::At(T));
        let other = meter(98, Placement::Below(TransformerId(6)));
        let registry = Registry::new(below.chain([at, other])).unwrap();
        Balances::new(&registry, 80, CUTOFF)
    }

    fn report(number: u32, net_wh: i64, deviation: i32) -> Report {
        Report {
            meter: MeterId(number),
            period: Period::QUARTER_HOUR,
            end: UtcTime::from_secs(900),
            net_wh,
            deviation,
        }
    }

    #[test]
    fn a_modelled_circuit_may_lose_what_its_model_says() {
        let limit = LossLimit {
            fixed_watts: 40,
            nanos: 2_000,
        };
        // 40 W and 2 µW per W² of 10 kW: 240 W, in an hour, a half and with the energy turned.
        for (period, delivered, most) in [
            (Period::HOUR, 10_000, 240),
            (Period::HALF_HOUR, 5_000, 120),
            (Period::HOUR, -10_000, 240),
            (Period::HOUR, 0, 40),
            (Period::HOUR, i64::MAX, i64::MAX),
        ] {
            assert_eq!(limit.watt_hours(delivered, period), most, "{delivered}");
        }
        // A quarter of an hour: 60 Wh, one for the cut, and 42 steps of rounding are still losses.
        for (missing, found) in [(103, None), (104, Some(ImbalanceKind::Missing))] {
            let mut balances = balances();
            balances.limits.insert(T, limit);
            for number in 1..=20 {
                let each = if number == 1 { 600 - missing } else { 100 };
                let report = report(number, each, 0);
                balances.report(Placement::Below(T), report, Instant::ZERO);
            }
            let report = report(99, 2_500, 0);
            let imbalance = balances.report(Placement::At(T), report, Instant::ZERO);
            assert_eq!(imbalance.map(|it| it.kind), found, "{missing}");
        }
    }

    #[test]
    fn an_interval_balances_within_losses_and_steps_or_names_its_suspects() {
        let (missing, surplus) = (Some(ImbalanceKind::Missing), Some(ImbalanceKind::Surplus));
        // 20 × 300 Wh reported: 42 Wh of steps; 8 % of what was delivered may be lost.
        let cases = [
            (6_000, None),
            (5_958, None),
            (5_957, surplus),
            (6_567, None),
            (6_568, None),
            (6_569, missing),
            (7_000, missing),
            (0, surplus),
        ];
        for (delivered, kind) in cases {
            let mut balances = balances();
            let placement = Placement::Below(T);
            for number in 1..=20 {
                // Meter 7 fell, meter 8 rose, 9 fell a little.
                let deviation = match number {
                    7 => -400,
                    8 => 300,
                    9 => -20,
                    _ => 0,
                };
                let found =
                    balances.report(placement, report(number, 300, deviation), Instant::ZERO);
                assert_eq!(found, None, "the transformer has not spoken");
            }
            let found = balances.report(Placement::At(T), report(99, delivered, 0), Instant::ZERO);
            assert_eq!(found.as_ref().map(|it| it.kind), kind, "{delivered}");
            let suspects: Vec<_> = found
                .iter()
                .flat_map(|it| &it.suspects)
                .map(|it| it.meter.0)
                .collect();
            let expected: &[u32] = match kind {
                Some(ImbalanceKind::Missing) => &[7, 9],
                Some(ImbalanceKind::Surplus) => &[8],
                None => &[],
            };
            assert_eq!(suspects, expected, "{delivered}");
            let counters = balances.counters();
            let expected = (u64::from(kind.is_none()), u64::from(kind.is_some()));
            assert_eq!((counters.balanced, counters.broken), expected);
            assert!(balances.open.is_empty());
        }
    }

    #[test]
    fn a_silent_meter_leaves_its_interval_unjudged() {
        let mut balances = balances();
        for number in 1..20 {
            balances.report(Placement::Below(T), report(number, 0, 0), Instant::ZERO);
        }
        balances.report(Placement::At(T), report(99, 9_000, 0), Instant::ZERO);
        let unwatched = Placement::Below(TransformerId(6));
        assert_eq!(
            balances.report(unwatched, report(98, 1, 0), Instant::ZERO),
            None
        );
        assert_eq!(balances.wake(), Some(Instant::ZERO + CUTOFF));
        balances.handle_timeout(Instant::ZERO + CUTOFF);
        assert_eq!(balances.counters().incomplete, 1);
        assert_eq!((balances.wake(), balances.open.len()), (None, 0));
    }

    #[test]
    fn open_intervals_and_suspects_are_bounded() {
        let mut balances = balances();
        for slot in 0..BalanceCounters::OPEN_MAX + 2 {
            let mut report = report(1, 1, -1);
            report.end = UtcTime::from_secs(900 * i64::try_from(slot).unwrap());
            balances.report(Placement::Below(T), report, Instant::ZERO);
        }
        assert_eq!(balances.open.len(), BalanceCounters::OPEN_MAX);
        assert_eq!(balances.counters().unwatched, 2);
        let mut open = Open::default();
        for deviation in [-5, -9, -1, -7, -3, -8, -2, -6, -4, -10] {
            open.suspect(Suspect {
                meter: MeterId(0),
                deviation,
            });
        }
        let ranked: Vec<_> = open.low.iter().map(|it| it.deviation).collect();
        assert_eq!(ranked, [-10, -9, -8, -7, -6, -5, -4, -3]);
    }
}
