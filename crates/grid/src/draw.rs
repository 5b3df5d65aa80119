//! Draws from a seeded generator, with `libm` only, so that they are the same on every machine.

use gridloom_core::Seed;
use rand_core::Rng as _;

/// A generator with the distributions that a household needs.
pub(crate) struct Draw(gridloom_core::seed::Rng);

impl Draw {
    pub(crate) fn new(seed: Seed) -> Self {
        Self(seed.rng())
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0
    }

    /// Uniform in 0..`bound`; `bound` is at least 1.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        // Multiply and shift: the bias is below bound / 2^32.
        let wide = (self.0.next_u64() >> 32) * u64::from(bound);
        u32::try_from(wide >> 32).expect("a product of two u32, shifted, fits u32")
    }

    /// Uniform in `low`..=`high`.
    pub(crate) fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high - low + 1)
    }

    /// Whether an event with a chance of `permille` happens.
    pub(crate) fn chance(&mut self, permille: u32) -> bool {
        self.below(1_000) < permille
    }

    /// Poisson with mean `mean`, by inversion of one uniform draw, at most `max`.
    ///
    /// One draw whatever the mean: a home under another price stays comparable, day by day.
    pub(crate) fn poisson(&mut self, mean: f64, max: u32) -> u32 {
        let u = self.unit();
        let mut term = libm::exp(-mean);
        let mut sum = term;
        let mut count = 0;
        while u >= sum && count < max {
            count += 1;
            term *= mean / f64::from(count);
            sum += term;
        }
        count
    }

    /// An index of `weights`, in proportion to them; `None` if all are zero.
    pub(crate) fn weighted(&mut self, weights: &[f64; 24]) -> Option<u32> {
        let total: f64 = weights.iter().sum();
        let mut left = self.unit() * total;
        let mut last = None;
        for (hour, weight) in (0..).zip(weights) {
            if *weight > 0.0 {
                if left < *weight {
                    return Some(hour);
                }
                left -= weight;
                last = Some(hour);
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_their_means() {
        let mut draw = Draw::new(Seed::new(1));
        for mean in [0.2, 1.0, 6.0] {
            let sum: u32 = (0..20_000).map(|_| draw.poisson(mean, 50)).sum();
            let got = f64::from(sum) / 20_000.0;
            assert!((got - mean).abs() < 0.06 * mean + 0.01, "{mean}: {got}");
        }
        let mut weights = [0.0; 24];
        weights[3] = 1.0;
        weights[7] = 3.0;
        let sevens = (0..10_000)
            .filter(|_| draw.weighted(&weights) == Some(7))
            .count();
        assert!((7_300..7_700).contains(&sevens), "{sevens}");
        assert_eq!(draw.weighted(&[0.0; 24]), None);
        assert_eq!(draw.poisson(1e6, 9), 9);
        assert!((0..1_000).all(|_| (5..=7).contains(&draw.between(5, 7))));
    }
}
