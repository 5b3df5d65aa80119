//! Unguessable bytes for one client: keys of one APDU and transaction identifiers, from a seed
//! that its host has drawn.

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::association::Secret;

/// A hash in counter mode over a secret seed: no bytes come twice, and none tell the others.
#[derive(Debug)]
pub(super) struct Draws {
    seed: Secret,
    blocks: u64,
}

impl Draws {
    pub(super) const fn new(seed: Secret) -> Self {
        Self { seed, blocks: 0 }
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            self.blocks += 1;
            let mut hash = Sha256::new();
            hash.update(b"gridloom client draws");
            hash.update(self.blocks.to_be_bytes());
            hash.update(self.seed.bytes());
            let block = Zeroizing::new(<[u8; 32]>::from(hash.finalize()));
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drawn_twice() {
        let mut draws = Draws::new(Secret::new([7; 32]));
        let mut seen = std::collections::BTreeSet::new();
        for len in [8, 16, 32, 48, 8] {
            let mut bytes = vec![0; len];
            draws.fill(&mut bytes);
            assert!(seen.insert(bytes[..8].to_vec()), "{len}");
            assert!(len < 40 || bytes[..16] != bytes[32..]);
        }
        let mut other = Draws::new(Secret::new([8; 32]));
        let mut bytes = [0; 8];
        other.fill(&mut bytes);
        assert!(seen.insert(bytes.to_vec()), "another seed");
    }
}
