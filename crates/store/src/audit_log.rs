//! The chain of the audit log: every entry's hash covers its number, its bytes and the hash
//! before it, so that a change anywhere shows everywhere after it.
//!
//! A chain cannot show that its last entries were cut off. An [`AuditHead`] kept elsewhere (on
//! paper, in an export, at the auditor's) does: [`Verifier::finish`] compares with it.

use core::fmt;

use sha2::{Digest, Sha256};

/// Bytes of one entry's record; a longer one is refused.
pub const AUDIT_RECORD_BYTES_MAX: usize = 8_192;

/// Entries that one read may return; a larger limit is taken as this one.
pub const AUDIT_READ_MAX: usize = 10_000;

/// What every hash begins with, so that no other use of SHA-256 yields the same one.
const DOMAIN: &[u8] = b"gridloom audit 1";

/// A SHA-256 hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditHash(pub [u8; 32]);

impl fmt::Display for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditHash({self})")
    }
}

/// The end of a chain: how many entries there are, and the hash of the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditHead {
    /// The number of the last entry; entries count from 1.
    pub number: u64,
    /// Its hash.
    pub hash: AuditHash,
}

impl AuditHead {
    /// An empty chain.
    pub const EMPTY: Self = Self {
        number: 0,
        hash: AuditHash([0; 32]),
    };

    /// The chain with one more record.
    pub fn append(self, record: Vec<u8>) -> AuditEntry {
        let number = self.number + 1;
        let mut hasher = Sha256::new();
        hasher.update(DOMAIN);
        hasher.update(number.to_be_bytes());
        hasher.update(self.hash.0);
        hasher.update(&record);
        AuditEntry {
            number,
            record,
            hash: AuditHash(hasher.finalize().into()),
        }
    }
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number, from 1, without gaps.
    pub number: u64,
    /// What happened, encoded.
    pub record: Vec<u8>,
    /// The hash over number, record and the hash before.
    pub hash: AuditHash,
}

impl AuditEntry {
    /// The chain that ends with this entry.
    pub const fn head(&self) -> AuditHead {
        AuditHead {
            number: self.number,
            hash: self.hash,
        }
    }
}

/// The first fault of a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditFault {
    /// Entries are missing, or stand in the wrong order.
    #[error("audit log: entry {expected} is missing, entry {found} stands in its place")]
    Missing {
        /// The number that comes next.
        expected: u64,
        /// The one that is there.
        found: u64,
    },
    /// An entry, or the link to the one before it, was changed.
    #[error(
        "audit log: entry {number} is not what was written: its hash is {found}, its content \
         and the entry before it give {computed}; compare with a backup from here on"
    )]
    Broken {
        /// The first such entry.
        number: u64,
        /// The stored hash.
        found: AuditHash,
        /// The computed hash.
        computed: AuditHash,
    },
    /// The log ends before the head that was kept elsewhere.
    #[error(
        "audit log: it ends at entry {found}, but entry {kept} was witnessed; entries were cut off"
    )]
    CutOff {
        /// Where it ends.
        found: u64,
        /// The number of the witnessed head.
        kept: u64,
    },
    /// The log was rewritten as a whole: its hashes agree, but not with the witnessed one.
    #[error(
        "audit log: entry {number} has hash {found}, but {kept} was witnessed; the log was rewritten"
    )]
    Rewritten {
        /// The number of the witnessed head.
        number: u64,
        /// The hash in the log.
        found: AuditHash,
        /// The witnessed one.
        kept: AuditHash,
    },
}

/// Checks a chain entry by entry, in constant memory.
#[derive(Debug, Clone)]
pub struct Verifier {
    head: AuditHead,
    witnessed: Option<AuditHead>,
}

impl Verifier {
    /// A verifier from the first entry on. `witnessed` is a head that was kept elsewhere.
    pub const fn new(witnessed: Option<AuditHead>) -> Self {
        Self {
            head: AuditHead::EMPTY,
            witnessed,
        }
    }

    /// Checks the next entry.
    ///
    /// # Errors
    ///
    /// The first fault; the verifier stays before it.
    pub fn check(&mut self, entry: &AuditEntry) -> Result<(), AuditFault> {
        let expected = self.head.number + 1;
        if entry.number != expected {
            return Err(AuditFault::Missing {
                expected,
                found: entry.number,
            });
        }
        let computed = self.head.append(entry.record.clone()).hash;
        if computed != entry.hash {
            return Err(AuditFault::Broken {
                number: entry.number,
                found: entry.hash,
                computed,
            });
        }
        if let Some(kept) = self.witnessed
            && kept.number == entry.number
            && kept.hash != entry.hash
        {
            return Err(AuditFault::Rewritten {
                number: entry.number,
                found: entry.hash,
                kept: kept.hash,
            });
        }
        self.head = entry.head();
        Ok(())
    }

    /// Where the chain ends.
    ///
    /// # Errors
    ///
    /// [`AuditFault::CutOff`] if the witnessed head lies beyond.
    pub const fn finish(self) -> Result<AuditHead, AuditFault> {
        match self.witnessed {
            Some(kept) if kept.number > self.head.number => Err(AuditFault::CutOff {
                found: self.head.number,
                kept: kept.number,
            }),
            Some(_) | None => Ok(self.head),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(records: &[&[u8]]) -> Vec<AuditEntry> {
        let mut head = AuditHead::EMPTY;
        records
            .iter()
            .map(|record| {
                let entry = head.append(record.to_vec());
                head = entry.head();
                entry
            })
            .collect()
    }

    fn verify(entries: &[AuditEntry], kept: Option<AuditHead>) -> Result<AuditHead, AuditFault> {
        let mut verifier = Verifier::new(kept);
        for entry in entries {
            verifier.check(entry)?;
        }
        verifier.finish()
    }

    /// Recomputed with `openssl dgst -sha256` over the bytes as documented.
    #[test]
    fn the_hash_is_fixed_for_all_time() {
        let entry = AuditHead::EMPTY.append(b"first".to_vec());
        assert_eq!(entry.hash.to_string(), FIRST_HASH);
    }

    const FIRST_HASH: &str = "d739cf3e363d03cf638bbe9094ccdfb0dc66ff4183bfe50bb928fc211624dd9f";

    #[test]
    fn the_first_fault_is_named() {
        let whole = chain(&[b"a", b"b", b"c", b"d"]);
        let head = whole[3].head();
        assert_eq!(verify(&whole, Some(head)), Ok(head));
        assert_eq!(verify(&[], None), Ok(AuditHead::EMPTY));

        let mut changed = whole.clone();
        changed[1].record = b"B".to_vec();
        assert!(matches!(
            verify(&changed, None),
            Err(AuditFault::Broken { number: 2, .. })
        ));

        // Its own hash recomputed: the next link breaks.
        let mut relinked = whole.clone();
        relinked[1] = whole[0].head().append(b"B".to_vec());
        assert!(matches!(
            verify(&relinked, None),
            Err(AuditFault::Broken { number: 3, .. })
        ));

        let gap = [whole[0].clone(), whole[2].clone()];
        let missing = AuditFault::Missing {
            expected: 2,
            found: 3,
        };
        assert_eq!(verify(&gap, None), Err(missing));

        let cut = AuditFault::CutOff { found: 3, kept: 4 };
        assert_eq!(verify(&whole[..3], None), Ok(whole[2].head()));
        assert_eq!(verify(&whole[..3], Some(head)), Err(cut));

        let rewritten = chain(&[b"a", b"B", b"c", b"d", b"e"]);
        assert!(verify(&rewritten, None).is_ok());
        assert!(matches!(
            verify(&rewritten, Some(head)),
            Err(AuditFault::Rewritten { number: 4, .. })
        ));
    }
}
