//! Entropy, from the operating system.

/// The operating system gave no entropy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the operating system gives no entropy ({cause}): without it no key or challenge is safe; \
     make its random device readable to this process"
)]
pub struct EntropyError {
    /// The system's words.
    pub cause: String,
}

/// `N` bytes fit for keys and challenges.
///
/// # Errors
///
/// [`EntropyError`] if the operating system refuses.
pub fn bytes<const N: usize>() -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// Fills `bytes`, fit for keys and challenges.
///
/// # Errors
///
/// [`EntropyError`] if the operating system refuses.
pub fn fill(bytes: &mut [u8]) -> Result<(), EntropyError> {
    getrandom::fill(bytes).map_err(|error| EntropyError {
        cause: error.to_string(),
    })
}

/// A seed for choices that need no secrecy, such as jitter.
///
/// # Errors
///
/// [`EntropyError`] if the operating system refuses.
pub fn seed() -> Result<gridloom_core::Seed, EntropyError> {
    bytes()
        .map(u64::from_le_bytes)
        .map(gridloom_core::Seed::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        let (a, b) = (bytes::<16>().unwrap(), bytes::<16>().unwrap());
        assert_ne!(a, b);
        assert_ne!(a, [0; 16]);
    }
}
