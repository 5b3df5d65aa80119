//! Theft at the meter: a load that is measured as less, later, or somebody else's.
//!
//! The first six patterns are those of the literature on a day x₁…x_n: h1 a share of all, h2
//! nothing for some hours, h3 a new share of each interval, h4 a new share of the mean, h5 the
//! mean, h6 the day turned round. The meter's registers follow the lie, so its pushes contradict
//! nothing that it ever said; only a neighbour's measurement can.

use std::ops::Range;

use gridloom_core::{Day, MeterId, Period, Seed, UtcTime, seed};
use rand_core::Rng as _;

use super::Window;
use crate::load::{ApplianceState, DayPrices, Load, Power, Stretch};

/// How a day is falsified. Shares are in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theft {
    /// h1: α·x, α from 100 to 800.
    Share {
        /// α.
        permille: u16,
    },
    /// h2: nothing in a window of the day, as hours from midnight UTC.
    Hours {
        /// The first hour, 0–23.
        from: u8,
        /// The hour after the last, up to 24.
        until: u8,
    },
    /// h3: γₜ·x, γ drawn anew for each interval from 100 to 800.
    RandomShare,
    /// h4: γₜ·mean(x), γ drawn anew for each interval from 100 to 800.
    RandomMean,
    /// h5: mean(x).
    Mean,
    /// h6: the day reversed.
    Reversed,
    /// A share that sinks by so much each day after the window's start, down to a floor.
    Ramp {
        /// Less per day.
        daily: u16,
        /// Never below.
        floor: u16,
    },
}

impl Theft {
    /// The six published patterns, with a parameter in the middle of its range.
    pub const PUBLISHED: [(&'static str, Self); 6] = [
        ("h1", Self::Share { permille: 400 }),
        (
            "h2",
            Self::Hours {
                from: 16,
                until: 22,
            },
        ),
        ("h3", Self::RandomShare),
        ("h4", Self::RandomMean),
        ("h5", Self::Mean),
        ("h6", Self::Reversed),
    ];

    /// γ of h3 and h4, in thousandths.
    pub const GAMMA: Range<u64> = 100..801;

    /// The day as the meter shall see it: mean power of each interval. `days` have passed since
    /// the theft began.
    fn apply(self, day: &[Power], days: i64, rng: &mut seed::Rng) -> Vec<Power> {
        let n = day.len();
        let gammas = |rng: &mut seed::Rng| {
            let span = Self::GAMMA.end - Self::GAMMA.start;
            i64::try_from(Self::GAMMA.start + rng.next_u64() % span).expect("a share fits")
        };
        match self {
            Self::Share { permille } => day.iter().map(|x| scale(x, permille.into())).collect(),
            Self::Hours { from, until } => (0..n)
                .map(|slot| {
                    let inside =
                        (usize::from(from) * n..usize::from(until) * n).contains(&(slot * 24));
                    if inside { Power::default() } else { day[slot] }
                })
                .collect(),
            Self::RandomShare => day.iter().map(|x| scale(x, gammas(rng))).collect(),
            Self::RandomMean => {
                let mean = mean(day);
                day.iter().map(|_| scale(&mean, gammas(rng))).collect()
            }
            Self::Mean => vec![mean(day); n],
            Self::Reversed => day.iter().rev().copied().collect(),
            Self::Ramp { daily, floor } => {
                let sunk = i64::from(daily).saturating_mul(days + 1);
                let share = (1_000 - sunk).max(floor.into());
                day.iter().map(|x| scale(x, share)).collect()
            }
        }
    }
}

/// A load that a thief has put in front of his meter.
pub struct FalseLoad {
    real: Box<dyn Load>,
    falsehood: Falsehood,
    period: Period,
    window: Window,
    seed: Seed,
    /// The day that is falsified, with its intervals as they are and as they shall be.
    today: Option<(Day, Vec<Power>, Vec<Power>)>,
}

enum Falsehood {
    /// A pattern of its own day.
    Pattern(Theft),
    /// Measures what another house draws: the two meters were exchanged.
    Other(Box<dyn Load>),
    /// Besides its own, takes over what another meter hides by this pattern.
    Blamed {
        thief: Box<dyn Load>,
        theft: Theft,
        seed: Seed,
    },
}

impl FalseLoad {
    /// Falsifies by a pattern. The day's intervals are those of `period`; where the pattern draws,
    /// it draws from `seed`.
    pub fn stolen(
        real: Box<dyn Load>,
        theft: Theft,
        period: Period,
        window: Window,
        seed: Seed,
    ) -> Self {
        Self::new(real, Falsehood::Pattern(theft), period, window, seed)
    }

    /// Measures `other` instead, interval by interval.
    pub fn swapped(
        real: Box<dyn Load>,
        other: Box<dyn Load>,
        period: Period,
        window: Window,
    ) -> Self {
        Self::new(real, Falsehood::Other(other), period, window, Seed::new(0))
    }

    /// Measures its own and what `thief` hides by `theft` under `seed`: two meters together that
    /// balance.
    pub fn blamed(
        real: Box<dyn Load>,
        thief: Box<dyn Load>,
        theft: Theft,
        period: Period,
        window: Window,
        seed: Seed,
    ) -> Self {
        let falsehood = Falsehood::Blamed { thief, theft, seed };
        Self::new(real, falsehood, period, window, seed)
    }

    /// The seed from which a meter's theft draws, so that an accomplice can draw the same.
    pub fn seed_of(world: Seed, meter: MeterId) -> Seed {
        world.child("theft").nth(u64::from(meter.0))
    }

    fn new(
        real: Box<dyn Load>,
        falsehood: Falsehood,
        period: Period,
        window: Window,
        seed: Seed,
    ) -> Self {
        Self {
            real,
            falsehood,
            period,
            window,
            seed,
            today: None,
        }
    }

    fn days_since(&self, day: Day) -> i64 {
        i64::from(day.epoch_days()) - i64::from(self.window.from.day().epoch_days())
    }
}

impl Load for FalseLoad {
    fn power_at(&mut self, at: UtcTime) -> Stretch {
        if !self.window.contains(at) {
            let mut stretch = self.real.power_at(at);
            if at < self.window.from {
                stretch.until = stretch.until.min(self.window.from);
            }
            return stretch;
        }
        let end = self.period.next_end(at);
        let until = end.min(self.window.until);
        let slot = self.period.slot_of(end).map(usize::from);
        let (_, _, falsified) = self
            .today
            .as_ref()
            .expect("a day begins before it is measured");
        let power = slot.and_then(|slot| falsified.get(slot)).copied();
        Stretch {
            until,
            power: power.or(Some(Power::default())),
        }
    }

    fn voltage_mv(&mut self, at: UtcTime) -> Option<[i64; 3]> {
        self.real.voltage_mv(at)
    }

    fn appliances_at(&mut self, at: UtcTime) -> Vec<ApplianceState> {
        self.real.appliances_at(at)
    }

    fn begin_day(&mut self, day: Day, prices: &DayPrices) {
        self.real.begin_day(day, prices);
        let real = means_of(&mut *self.real, self.period, day);
        let days = self.days_since(day);
        let draw = |seed: Seed| seed.nth(u64::from(day.epoch_days().unsigned_abs())).rng();
        let falsified = match &mut self.falsehood {
            Falsehood::Pattern(theft) => theft.apply(&real, days, &mut draw(self.seed)),
            Falsehood::Other(other) => {
                other.begin_day(day, prices);
                means_of(&mut **other, self.period, day)
            }
            Falsehood::Blamed { thief, theft, seed } => {
                thief.begin_day(day, prices);
                let drawn = means_of(&mut **thief, self.period, day);
                let shown = theft.apply(&drawn, days, &mut draw(*seed));
                (0..real.len())
                    .map(|slot| plus(&real[slot], &minus(&drawn[slot], &shown[slot])))
                    .collect()
            }
        };
        self.today = Some((day, real, falsified));
    }
}

impl std::fmt::Debug for FalseLoad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FalseLoad")
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

/// The mean power of each interval of a day; what has no supply draws nothing.
fn means_of(load: &mut dyn Load, period: Period, day: Day) -> Vec<Power> {
    let slots = u16::try_from(period.per_day()).expect("a day's intervals fit");
    let length = i64::try_from(period.duration().as_millis()).expect("an hour fits");
    (0..slots)
        .map(|slot| {
            let end = period.end_of_slot(day, slot);
            let mut at = end - period.duration();
            let mut sums = [[0_i128; 3]; 2];
            while at < end {
                let stretch = load.power_at(at);
                let until = stretch.until.min(end);
                let millis = i128::try_from(until.since(at).as_millis()).expect("an hour fits");
                if let Some(power) = stretch.power {
                    let channels = [power.active_mw, power.reactive_mvar];
                    for (sum, power) in sums.iter_mut().flatten().zip(channels.as_flattened()) {
                        *sum += i128::from(*power) * millis;
                    }
                }
                at = until;
            }
            let mean = |sum: i128| i64::try_from(sum / i128::from(length)).expect("a mean fits");
            Power {
                active_mw: sums[0].map(mean),
                reactive_mvar: sums[1].map(mean),
            }
        })
        .collect()
}

fn each(a: &Power, b: &Power, of: impl Fn(i64, i64) -> i64) -> Power {
    let pair = |a: [i64; 3], b: [i64; 3]| core::array::from_fn(|phase| of(a[phase], b[phase]));
    Power {
        active_mw: pair(a.active_mw, b.active_mw),
        reactive_mvar: pair(a.reactive_mvar, b.reactive_mvar),
    }
}

fn plus(a: &Power, b: &Power) -> Power {
    each(a, b, |a, b| a + b)
}

fn minus(a: &Power, b: &Power) -> Power {
    each(a, b, |a, b| a - b)
}

fn scale(power: &Power, permille: i64) -> Power {
    each(power, power, |x, _| x * permille / 1_000)
}

fn mean(day: &[Power]) -> Power {
    let n = i64::try_from(day.len()).unwrap_or(i64::MAX).max(1);
    let sum = day.iter().fold(Power::default(), |sum, x| plus(&sum, x));
    each(&sum, &sum, |x, _| x / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Period = Period::HOUR;

    /// Draws 1 W in the first hour of a day, 2 W in the second, and so on.
    struct Stairs(i64);

    impl Load for Stairs {
        fn power_at(&mut self, at: UtcTime) -> Stretch {
            let watts = (i64::from(at.second_of_day()) / 3_600 + 1) * self.0;
            Stretch {
                until: DAY.next_end(at),
                power: Some(Power {
                    active_mw: [watts * 1_000, 0, 0],
                    reactive_mvar: [500, 0, 0],
                }),
            }
        }

        fn appliances_at(&mut self, _: UtcTime) -> Vec<ApplianceState> {
            Vec::new()
        }

        fn begin_day(&mut self, _: Day, _: &DayPrices) {}
    }

    fn today() -> Day {
        Day::from_ymd(2026, 5, 1).unwrap()
    }

    fn watts(load: &mut FalseLoad, day: Day) -> Vec<i64> {
        load.begin_day(day, &DayPrices::unknown(DAY));
        (0..24)
            .map(|hour| {
                let at = day.start() + std::time::Duration::from_secs(3_600 * hour + 1_800);
                load.power_at(at).power.unwrap().active_mw[0]
            })
            .collect()
    }

    fn stolen(theft: Theft) -> Vec<i64> {
        let window = Window {
            from: today().start(),
            until: UtcTime::from_millis(i64::MAX),
        };
        let mut load = FalseLoad::stolen(Box::new(Stairs(1)), theft, DAY, window, Seed::new(3));
        watts(&mut load, today())
    }

    #[test]
    fn the_published_patterns_are_what_was_published() {
        let truth: Vec<i64> = (1..=24).map(|hour| hour * 1_000).collect();
        let share = stolen(Theft::Share { permille: 400 });
        assert_eq!(
            share,
            truth.iter().map(|x| x * 400 / 1_000).collect::<Vec<_>>()
        );
        let hours = stolen(Theft::Hours {
            from: 16,
            until: 22,
        });
        assert!(hours[16..22].iter().all(|x| *x == 0));
        assert_eq!((&hours[..16], &hours[22..]), (&truth[..16], &truth[22..]));
        assert_eq!(stolen(Theft::Mean), [12_500; 24]);
        let reversed: Vec<i64> = truth.iter().rev().copied().collect();
        assert_eq!(stolen(Theft::Reversed), reversed);
        let within = |shown: &[i64], of: &dyn Fn(usize) -> i64| {
            let shares: Vec<i64> = (0..24).map(|i| shown[i] * 1_000 / of(i)).collect();
            assert!(
                shares.iter().all(|share| (99..=800).contains(share)),
                "{shares:?}"
            );
            assert!(shares.iter().max() > shares.iter().min());
        };
        within(&stolen(Theft::RandomShare), &|i| truth[i]);
        within(&stolen(Theft::RandomMean), &|_| 12_500);
        assert_eq!(stolen(Theft::RandomMean), stolen(Theft::RandomMean));
    }

    #[test]
    fn a_ramp_sinks_from_day_to_day_and_stops_at_its_floor() {
        let window = Window {
            from: today().start(),
            until: UtcTime::from_millis(i64::MAX),
        };
        let theft = Theft::Ramp {
            daily: 300,
            floor: 200,
        };
        let mut load = FalseLoad::stolen(Box::new(Stairs(10)), theft, DAY, window, Seed::new(3));
        let firsts = [
            today(),
            today().next(),
            today().next().next(),
            today().next().next().next(),
        ]
        .map(|day| watts(&mut load, day)[0]);
        assert_eq!(firsts, [7_000, 4_000, 2_000, 2_000]);
    }

    #[test]
    fn outside_its_window_the_truth_is_measured() {
        let window = Window {
            from: today().start() + std::time::Duration::from_secs(5 * 3_600),
            until: today().start() + std::time::Duration::from_secs(7 * 3_600 + 60),
        };
        let theft = Theft::Share { permille: 0 };
        let mut load = FalseLoad::stolen(Box::new(Stairs(1)), theft, DAY, window, Seed::new(3));
        let shown = watts(&mut load, today());
        assert_eq!(
            (shown[4], shown[5], shown[6], shown[7]),
            (5_000, 0, 0, 8_000)
        );
        assert_eq!(
            load.power_at(window.until - std::time::Duration::from_secs(1))
                .until,
            window.until
        );
    }

    #[test]
    fn what_a_thief_hides_his_victim_shows() {
        let window = Window {
            from: today().start(),
            until: UtcTime::from_millis(i64::MAX),
        };
        let theft = Theft::RandomShare;
        let seed = FalseLoad::seed_of(Seed::new(9), MeterId(4));
        let mut thief = FalseLoad::stolen(Box::new(Stairs(7)), theft, DAY, window, seed);
        let mut victim = FalseLoad::blamed(
            Box::new(Stairs(1)),
            Box::new(Stairs(7)),
            theft,
            DAY,
            window,
            seed,
        );
        let (thief, victim) = (watts(&mut thief, today()), watts(&mut victim, today()));
        for hour in 0..24 {
            let truth = 8_000 * i64::try_from(hour + 1).unwrap();
            assert_eq!(thief[hour] + victim[hour], truth);
        }
        let mut one = FalseLoad::swapped(Box::new(Stairs(1)), Box::new(Stairs(7)), DAY, window);
        assert_eq!(watts(&mut one, today())[0], 7_000);
    }
}
