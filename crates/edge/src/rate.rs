//! The fourth step: how much may come from where. What an outsider sends spends budgets of the
//! path and gateway that carried it, never one of the meter whose title he uses.

use gridloom_core::Instant;

use crate::identity::Path;
use crate::index::HashKey;
use crate::reason::Reason;

/// A moment in sixteenths of a second since the edge's start. It wraps after 68 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tick(u16);

impl Tick {
    const PER_SECOND: u32 = 16;
    const NANOS: u64 = 1_000_000_000 / Self::PER_SECOND as u64;

    pub(crate) fn at(now: Instant) -> Self {
        let ticks = now.as_nanos() / Self::NANOS % (1 << 16);
        Self(u16::try_from(ticks).expect("a remainder of 2^16 fits"))
    }
}

/// A token bucket in four bytes. After 68 silent minutes its clock has gone round and it may get
/// less than it earned, never more than its burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bucket {
    at: Tick,
    tokens: u16,
}

/// How a bucket fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refill {
    pub(crate) burst: u16,
    pub(crate) per_second: u16,
}

impl Bucket {
    pub(crate) const fn full(refill: Refill) -> Self {
        Self {
            at: Tick(0),
            tokens: refill.burst,
        }
    }

    /// Whether a token is there.
    pub(crate) fn has(&mut self, refill: Refill, now: Tick) -> bool {
        if self.tokens < refill.burst {
            let passed = u32::from(now.0.wrapping_sub(self.at.0));
            let earned = passed * u32::from(refill.per_second) / Tick::PER_SECOND;
            if earned > 0 {
                // Only the time of whole tokens is spent.
                let spent = earned * Tick::PER_SECOND / u32::from(refill.per_second);
                let spent = u16::try_from(spent).expect("no more than has passed");
                self.at = Tick(self.at.0.wrapping_add(spent));
                let tokens = u32::from(self.tokens) + earned;
                self.tokens = u16::try_from(tokens).map_or(refill.burst, |it| it.min(refill.burst));
            }
        }
        if self.tokens == refill.burst {
            self.at = now;
        }
        self.tokens > 0
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self) {
        self.tokens = self.tokens.saturating_sub(1);
    }
}

/// What one device may cost, in 12 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceBudget {
    /// Believed packets.
    pub(crate) sent: Bucket,
    /// Forgeries under its title by its own path. Only somebody who sits on that very path can
    /// spend it, and then each honest packet has its share of a generous refill.
    pub(crate) forged_here: Bucket,
    /// Forgeries under its title by other paths. While it is spent the meter cannot roam; by its
    /// own path it is heard all the same.
    pub(crate) forged_elsewhere: Bucket,
}

impl DeviceBudget {
    /// Tag checks for forgeries by the device's own path.
    pub(crate) const HERE: Refill = Refill {
        burst: 256,
        per_second: 64,
    };
    /// Tag checks for forgeries by other paths.
    pub(crate) const ELSEWHERE: Refill = Refill {
        burst: 32,
        per_second: 2,
    };

    pub(crate) const fn full(sent: Refill) -> Self {
        Self {
            sent: Bucket::full(sent),
            forged_here: Bucket::full(Self::HERE),
            forged_elsewhere: Bucket::full(Self::ELSEWHERE),
        }
    }
}

/// What refused packets may cost, by path and by gateway: two fixed tables under a keyed hash, so
/// that any number of paths needs the same memory. Paths that fall together share a bucket, and a
/// stranger cannot choose with whom.
#[derive(Debug)]
pub(crate) struct Budgets {
    key: HashKey,
    paths: Vec<Bucket>,
    path: Refill,
    gateways: Vec<Bucket>,
    gateway: Refill,
}

/// Where a path's buckets are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lanes {
    path: usize,
    gateway: usize,
}

impl Budgets {
    /// Buckets of paths: 64 KiB.
    const PATHS: usize = 1 << 14;
    /// Buckets of gateways: 4 KiB.
    const GATEWAYS: usize = 1 << 10;

    pub(crate) fn new(key: HashKey, path: Refill, gateway: Refill) -> Self {
        Self {
            key,
            paths: vec![Bucket::full(path); Self::PATHS],
            path,
            gateways: vec![Bucket::full(gateway); Self::GATEWAYS],
            gateway,
        }
    }

    pub(crate) fn lanes(&self, path: Path) -> Lanes {
        let lane = |words: &[u64], lanes: usize| {
            usize::try_from(self.key.hash(words) >> 32).expect("32 bits fit") % lanes
        };
        Lanes {
            path: lane(&[path.gateway, path.down], Self::PATHS),
            gateway: lane(&[path.gateway], Self::GATEWAYS),
        }
    }

    /// Whether a packet by this path may cost more than a look at its title.
    pub(crate) fn admit(&mut self, lanes: Lanes, now: Tick) -> Result<(), Reason> {
        if !self.paths[lanes.path].has(self.path, now) {
            Err(Reason::PathFlooded)
        } else if !self.gateways[lanes.gateway].has(self.gateway, now) {
            Err(Reason::GatewayFlooded)
        } else {
            Ok(())
        }
    }

    /// A packet by this path was refused.
    pub(crate) fn charge(&mut self, lanes: Lanes) {
        self.paths[lanes.path].take();
        self.gateways[lanes.gateway].take();
    }
}

/// Page's CUSUM over packets per second: finds a lasting shift from μ₀ to μ₀ + δ.
///
/// S ← max(0, S + x − μ₀ − k) with k = δ/2, alarm at S > h. For counts with variance μ₀ the
/// threshold that gives a mean time L between false alarms is h = μ₀/δ · ln(1 + L·δ²/(2·μ₀))
/// seconds' worth of packets (the Brownian approximation of Siegmund, 1985), rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cusum {
    second: u32,
    count: u32,
    sum: u64,
    /// The alarm was told and S has not been back at zero since.
    alarmed: bool,
}

/// What a [`Cusum`] looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shift {
    /// μ₀ + k.
    pub(crate) reference: u64,
    /// h.
    pub(crate) threshold: u64,
}

impl Shift {
    /// The shift δ = μ₀.
    pub(crate) fn of(per_second: u32, false_alarm_seconds: u64) -> Self {
        let mean = u64::from(per_second);
        // 1 + L·μ₀/2, and its natural logarithm in thousandths, rounded up.
        let run = u128::from(false_alarm_seconds) * u128::from(mean) / 2 + 1;
        let ln_milli = u64::from(run.ilog2() + 1) * 694;
        Self {
            reference: mean + mean.div_ceil(2),
            // μ₀/δ is one here. At least a second's worth, because whole seconds are counted.
            threshold: ln_milli.div_ceil(1_000).max(mean),
        }
    }
}

impl Cusum {
    pub(crate) const fn new() -> Self {
        Self {
            second: 0,
            count: 0,
            sum: 0,
            alarmed: false,
        }
    }

    /// A packet came; whether that tells a new shift.
    pub(crate) fn count(&mut self, shift: Shift, now_s: u32) -> bool {
        if now_s != self.second {
            let passed = u64::from(now_s.saturating_sub(self.second));
            self.sum = (self.sum + u64::from(self.count))
                .saturating_sub(shift.reference.saturating_mul(passed));
            self.second = now_s;
            self.count = 0;
            self.alarmed &= self.sum > 0;
        }
        self.count = self.count.saturating_add(1);
        // The running second counts as it grows: a flood is named within it.
        let so_far = (self.sum + u64::from(self.count)).saturating_sub(shift.reference);
        if so_far > shift.threshold && !self.alarmed {
            self.alarmed = true;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let refill = Refill {
            burst: 5,
            per_second: 2,
        };
        let mut bucket = Bucket::full(refill);
        let mut taken = |ticks: std::ops::Range<u16>| {
            ticks
                .filter(|tick| {
                    let has = bucket.has(refill, Tick(*tick));
                    if has {
                        bucket.take();
                    }
                    has
                })
                .count()
        };
        assert_eq!(taken(0..7), 5, "the burst");
        assert_eq!(taken(7..168), 20, "ten seconds at two a second");
        // Across the end of the ticks.
        let mut bucket = Bucket::full(refill);
        for _ in 0..5 {
            assert!(bucket.has(refill, Tick(u16::MAX - 2)));
            bucket.take();
        }
        assert!(!bucket.has(refill, Tick(u16::MAX)));
        assert!(bucket.has(refill, Tick(5)), "half a second later");
        assert_eq!(Tick::at(Instant::from_nanos(1_000_000_000)), Tick(16));
    }

    #[test]
    fn a_flooded_path_spends_its_own_budget() {
        let path = |gateway, down| Path { gateway, down };
        let refill = |burst| Refill {
            burst,
            per_second: 1,
        };
        let mut budgets = Budgets::new(HashKey::new([3, 4]), refill(10), refill(25));
        let mut refused = |at: Path, tick: u16| {
            let lanes = budgets.lanes(at);
            let admitted = budgets.admit(lanes, Tick(tick));
            if admitted.is_ok() {
                budgets.charge(lanes);
            }
            admitted
        };
        for _ in 0..10 {
            assert_eq!(refused(path(1, 1), 0), Ok(()));
        }
        assert_eq!(refused(path(1, 1), 0), Err(Reason::PathFlooded));
        // Many paths of one gateway spend the gateway's.
        for down in 2..17 {
            assert_eq!(refused(path(1, down), 0), Ok(()), "{down}");
        }
        assert_eq!(refused(path(1, 18), 0), Err(Reason::GatewayFlooded));
        assert_eq!(refused(path(2, 1), 0), Ok(()), "another gateway");
        assert_eq!(refused(path(1, 1), 16), Ok(()), "a second later");
    }

    #[test]
    fn a_shift_is_found_and_chance_is_not() {
        let shift = Shift::of(1_000, 10_000_000);
        assert_eq!(shift.reference, 1_500);
        assert_eq!(shift.threshold, 1_000);
        let slow = Shift::of(1, 10_000_000);
        assert_eq!(slow.threshold, 16, "ln(5 000 001) is 15.4");
        // Packets per second, and in which second the alarm comes.
        let cases: [(&str, &[u32], Option<usize>); 5] = [
            ("quiet", &[1_000; 500], None),
            ("busy", &[1_490; 500], None),
            ("bursts that pause", &[2_400, 0, 2_400, 0, 2_400, 0], None),
            (
                "the shift itself",
                &[1_000, 2_000, 2_000, 2_000, 2_000],
                Some(3),
            ),
            ("a flood", &[1_000, 20_000], Some(1)),
        ];
        for (name, seconds, alarm) in cases {
            let mut cusum = Cusum::new();
            let mut found = Vec::new();
            for (second, count) in (0..).zip(seconds) {
                for _ in 0..*count {
                    if cusum.count(shift, second) {
                        found.push(usize::try_from(second).unwrap());
                    }
                }
            }
            assert_eq!(found.first().copied(), alarm, "{name}");
            assert!(found.len() <= 1, "{name}: one alarm per shift");
        }
    }
}
