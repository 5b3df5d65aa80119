//! Unpredictable bytes for challenges and keys, stretched from what the host gives at each start.

use core::fmt;

use chacha20::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// A generator that the host seeds anew at every start.
pub(super) struct Entropy(ChaCha20Rng);

impl Entropy {
    /// Stretches 32 bytes of the system's entropy; a simulation derives them from its seed.
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy(redacted)")
    }
}
