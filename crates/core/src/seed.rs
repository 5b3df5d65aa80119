//! Reproducible randomness: one seed for a world, a child for each thing in it.

use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// The generator behind every simulated choice. Not for keys or challenges.
pub type Rng = Xoshiro256PlusPlus;

/// A seed from which generators are derived by name, so that a new draw in one place
/// disturbs nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(u64);

impl Seed {
    /// The seed of a world.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed's number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The seed of the part called `name`.
    pub fn child(self, name: &str) -> Self {
        // FNV-1a over the name, started from the mixed parent: stable for all time,
        // which is what replaying a seed needs.
        let hash = name
            .bytes()
            .fold(mix(self.0 ^ 0xCBF2_9CE4_8422_2325), |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
            });
        Self(mix(hash))
    }

    /// The seed of the part with number `index`.
    pub fn nth(self, index: u64) -> Self {
        Self(mix(mix(self.0).wrapping_add(index)))
    }

    /// A generator started from this seed.
    pub fn rng(self) -> Rng {
        Rng::seed_from_u64(self.0)
    }
}

/// The finalizer of SplitMix64: a bijection that spreads neighbouring numbers.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::Rng as _;

    #[test]
    fn children_differ_and_repeat() {
        let world = Seed::new(7);
        let draw = |seed: Seed| seed.rng().next_u64();
        assert_eq!(draw(world.child("house")), draw(world.child("house")));
        assert_ne!(draw(world.child("house")), draw(world.child("link")));
        assert_ne!(draw(world.nth(0)), draw(world.nth(1)));
        assert_ne!(draw(world.nth(0)), draw(Seed::new(8).nth(0)));
    }
}
