//! How a home answers a price: less discretionary use where it is dear, and shiftable appliances
//! in cheap hours of the curve that is known when the day is planned.

use gridloom_core::{Period, Price};

use crate::load::MS_PER_DAY;

/// The prices that a home knows for a day when it plans it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceSignal {
    slot_ms: u32,
    /// Empty when no price is known; else one per slot.
    prices: Vec<Price>,
}

/// Why a price curve was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// Not one price per interval of the day.
    #[error("price signal: {got} prices for {expected} intervals a day; give one for each")]
    Length {
        /// How many there are.
        got: usize,
        /// How many a day needs.
        expected: u32,
    },
}

impl PriceSignal {
    /// No price is known: nobody responds.
    pub const fn unknown() -> Self {
        Self {
            slot_ms: MS_PER_DAY,
            prices: Vec::new(),
        }
    }

    /// One price all day.
    pub fn flat(price: Price) -> Self {
        Self {
            slot_ms: MS_PER_DAY,
            prices: vec![price],
        }
    }

    /// One price per interval of the day, from midnight UTC.
    ///
    /// # Errors
    ///
    /// [`SignalError::Length`] unless there is exactly one for each.
    pub fn new(period: Period, prices: Vec<Price>) -> Result<Self, SignalError> {
        if u32::try_from(prices.len()) != Ok(period.per_day()) {
            return Err(SignalError::Length {
                got: prices.len(),
                expected: period.per_day(),
            });
        }
        Ok(Self {
            slot_ms: period.as_secs() * 1_000,
            prices,
        })
    }

    /// The price at a time of the day. The next day is taken to cost the same.
    pub fn at(&self, ms: u32) -> Option<Price> {
        let slot = ms % MS_PER_DAY / self.slot_ms;
        self.prices.get(usize::try_from(slot).ok()?).copied()
    }
}

/// Whether and how a home responds to prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// Prices change nothing.
    Off,
    /// Prices change how much is used, and when.
    On(Elasticity),
}

/// A consumer who uses more or less by a constant elasticity around a reference price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elasticity {
    epsilon_milli: i16,
    reference: Price,
}

/// Why an elasticity was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElasticityError {
    /// Outside −1…0.
    #[error("own-price elasticity is {got_milli}/1000; expected -1000 to 0")]
    Range {
        /// What was given.
        got_milli: i16,
    },
    /// The reference price divides: it must be above zero.
    #[error("reference price is {got} per kWh; expected more than zero")]
    Reference {
        /// What was given.
        got: Price,
    },
}

impl Elasticity {
    /// The default own-price elasticity: −0.1, between daily values (−0.02…−0.07, as
    /// SMUD measured in 2012) and the short-run values of the literature (about −0.13).
    pub const DEFAULT_EPSILON_MILLI: i16 = -100;
    /// Discretionary use never falls below this share of what it is at the reference price.
    pub const MULTIPLIER_MIN: f64 = 0.5;
    /// Discretionary use never rises above this share; a price of zero or less means this one.
    pub const MULTIPLIER_MAX: f64 = 1.5;

    /// An elasticity in thousandths, and the price at which use is what it would be anyway.
    ///
    /// # Errors
    ///
    /// [`ElasticityError`] unless −1000 ≤ ε ≤ 0 and the reference is positive.
    pub fn new(epsilon_milli: i16, reference: Price) -> Result<Self, ElasticityError> {
        if !(-1_000..=0).contains(&epsilon_milli) {
            return Err(ElasticityError::Range {
                got_milli: epsilon_milli,
            });
        }
        if reference.micro_per_kwh() <= 0 {
            return Err(ElasticityError::Reference { got: reference });
        }
        Ok(Self {
            epsilon_milli,
            reference,
        })
    }

    /// The factor on discretionary use at `price`: (p / p₀)^ε, clamped to
    /// [`Self::MULTIPLIER_MIN`]…[`Self::MULTIPLIER_MAX`].
    pub fn multiplier(&self, price: Price) -> f64 {
        if price == self.reference || self.epsilon_milli == 0 {
            return 1.0;
        }
        if price.micro_per_kwh() <= 0 {
            return Self::MULTIPLIER_MAX;
        }
        let ratio = price.micro_per_kwh() as f64 / self.reference.micro_per_kwh() as f64;
        libm::pow(ratio, f64::from(self.epsilon_milli) / 1_000.0)
            .clamp(Self::MULTIPLIER_MIN, Self::MULTIPLIER_MAX)
    }
}

impl Response {
    /// The factors on discretionary use for the hours of a day.
    pub(crate) fn hourly_multipliers(self, signal: &PriceSignal) -> [f64; 24] {
        const MS_PER_HOUR: u32 = 3_600_000;
        let Self::On(elasticity) = self else {
            return [1.0; 24];
        };
        let step_ms = signal.slot_ms.min(MS_PER_HOUR);
        let steps = MS_PER_HOUR / step_ms;
        let mut last = (elasticity.reference, 1.0);
        let mut hour_start = 0;
        [(); 24].map(|()| {
            let mut sum = 0.0;
            for step in 0..steps {
                if let Some(price) = signal.at(hour_start + step * step_ms) {
                    if price != last.0 {
                        last = (price, elasticity.multiplier(price));
                    }
                    sum += last.1;
                } else {
                    sum += 1.0;
                }
            }
            hour_start += MS_PER_HOUR;
            sum / f64::from(steps)
        })
    }

    /// Where a shiftable run starts: of the candidates whose mean price over the run lies in the
    /// lowest third of all their prices, the one nearest to `preferred_ms`.
    ///
    /// People look for a cheap hour, not for the cheapest: if every home moved to that one, all
    /// would meet there and make a new peak.
    ///
    /// Candidates are `preferred_ms` moved by whole steps of [`SHIFT_STEP_MS`] within
    /// `first_ms..end_ms`. Homes keep their own minute within the step, so they do not all switch
    /// at the same instant.
    pub(crate) fn shifted_start(
        self,
        signal: &PriceSignal,
        preferred_ms: u32,
        first_ms: u32,
        end_ms: u32,
        duration_ms: u32,
    ) -> u32 {
        if self == Self::Off || signal.prices.len() < 2 {
            return preferred_ms;
        }
        let before = (preferred_ms - first_ms) / SHIFT_STEP_MS;
        let earliest = preferred_ms - before * SHIFT_STEP_MS;
        let candidates: Vec<(u32, i128)> = (0..)
            .map(|step: u32| earliest + step * SHIFT_STEP_MS)
            .take_while(|start| *start < end_ms)
            .map(|start| (start, signal.cost_of_run(start, duration_ms)))
            .collect();
        let costs = || candidates.iter().map(|(_, cost)| *cost);
        let (Some(lowest), Some(highest)) = (costs().min(), costs().max()) else {
            return preferred_ms;
        };
        let cheap = lowest + (highest - lowest) / 3;
        candidates
            .iter()
            .filter(|(_, cost)| *cost <= cheap)
            .min_by_key(|(start, _)| start.abs_diff(preferred_ms))
            .map_or(preferred_ms, |(start, _)| *start)
    }
}

/// The grid on which homes consider another time: a half-hour.
pub const SHIFT_STEP_MS: u32 = 1_800_000;

impl PriceSignal {
    /// Σ price × ms over a run: comparable between runs of one length.
    fn cost_of_run(&self, start_ms: u32, duration_ms: u32) -> i128 {
        let end = start_ms + duration_ms;
        let mut at = start_ms;
        let mut cost = 0;
        while at < end {
            let next = (at / self.slot_ms + 1) * self.slot_ms;
            let until = next.min(end);
            let price = self.at(at).map_or(0, Price::micro_per_kwh);
            cost += i128::from(price) * i128::from(until - at);
            at = until;
        }
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str) -> Price {
        Price::parse(text).unwrap()
    }

    fn elastic(epsilon_milli: i16) -> Elasticity {
        Elasticity::new(epsilon_milli, price("0.20")).unwrap()
    }

    #[test]
    fn elasticity_scales_and_is_clamped() {
        let cases = [
            (-100, "0.20", 1.0),
            (-100, "0.40", 0.933_033), // 2^-0.1
            (-100, "0.10", 1.071_773), // 0.5^-0.1
            (-1000, "0.40", 0.5),
            (-1000, "0.80", 0.5), // 0.25, clamped.
            (-1000, "0.05", 1.5), // 4, clamped.
            (-100, "0", 1.5),
            (-100, "-0.10", 1.5),
            (0, "0.80", 1.0),
        ];
        for (epsilon, at, expected) in cases {
            let got = elastic(epsilon).multiplier(price(at));
            assert!((got - expected).abs() < 1e-6, "{epsilon} at {at}: {got}");
        }
        assert!(Elasticity::new(1, price("0.2")).is_err());
        assert!(Elasticity::new(-1_001, price("0.2")).is_err());
        assert!(Elasticity::new(-100, price("0")).is_err());
    }

    #[test]
    fn hours_average_their_intervals() {
        let mut prices = vec![price("0.20"); 48];
        prices[1] = price("0.40");
        let signal = PriceSignal::new(Period::HALF_HOUR, prices).unwrap();
        let hours = Response::On(elastic(-1_000)).hourly_multipliers(&signal);
        assert!(
            (hours[0] - 0.75).abs() < 1e-9 && (hours[1] - 1.0).abs() < 1e-9,
            "{hours:?}"
        );
        assert_eq!(Response::Off.hourly_multipliers(&signal), [1.0; 24]);
        let unknown = PriceSignal::unknown();
        assert_eq!(
            Response::On(elastic(-100)).hourly_multipliers(&unknown),
            [1.0; 24]
        );
        assert!(PriceSignal::new(Period::HOUR, vec![price("1"); 23]).is_err());
    }

    #[test]
    fn shiftable_runs_seek_a_cheap_hour_nearby() {
        const H: u32 = 3_600_000;
        let mut prices = vec![price("0.30"); 24];
        prices[3] = price("0.10");
        prices[13] = price("0.10");
        let signal = PriceSignal::new(Period::HOUR, prices).unwrap();
        let on = Response::On(elastic(-100));
        let flat = PriceSignal::flat(price("0.30"));
        let cases = [
            // Not the very cheapest, but nearer: one minute of it is dear.
            (on, &signal, 19 * H + 60_000, 7, 22, 13 * H + H / 2 + 60_000),
            // Over midnight: 03:00 tomorrow costs what 03:00 today costs.
            (on, &signal, 19 * H, 18, 30, 27 * H),
            (on, &signal, 19 * H, 18, 24, 19 * H),
            (on, &flat, 19 * H, 7, 22, 19 * H),
            (Response::Off, &signal, 19 * H, 7, 22, 19 * H),
        ];
        for (response, signal, preferred, first, end, expected) in cases {
            let got = response.shifted_start(signal, preferred, first * H, end * H, H / 2);
            assert_eq!(got, expected, "{preferred} in {first}-{end}");
        }
    }
}
