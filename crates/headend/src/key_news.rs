//! A meter's keys on their way to the edge that verifies its pushes.
//!
//! They travel sealed under a key that the head-end and its edges share, whatever the link is:
//! AES key wrap (RFC 3394) over title, number, standing and both keys. A number says which news is
//! newer, so that old news that somebody sends again changes nothing.

use core::fmt;

use gridloom_core::SystemTitle;
use gridloom_core::bytes::Reader;

use crate::vault::{MasterKey, Secret, WrapForm};

/// Bytes of sealed news at most; longer ones are refused unread.
pub const SEALED_BYTES_MAX: usize = 96;

const VERSION: u8 = 1;

/// The key that the head-end and its edges share.
#[derive(Debug, Clone)]
pub struct EdgeKey(MasterKey);

/// Where a meter's keys stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The meter may take them at any time; its present ones are good still.
    Coming,
    /// The meter has proved them.
    Current,
}

/// The keys of one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNews {
    /// Whose.
    pub title: SystemTitle,
    /// Newer news has a higher one.
    pub number: u64,
    /// Where they stand.
    pub standing: Standing,
    /// The global unicast encryption key, 16 or 32 bytes.
    pub encryption: Secret,
    /// The authentication key, as long as the other.
    pub authentication: Secret,
}

/// Why sealed news is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyNewsError {
    /// Another key sealed it, or it is damaged.
    #[error(
        "key: news of a meter's keys does not open; give head-end and edge the same edge key file"
    )]
    DoesNotOpen,
    /// Its content makes no sense.
    #[error("key: news of a meter's keys has an impossible {0}; update the older side")]
    Field(&'static str),
}

impl EdgeKey {
    /// A key of 16 or 32 bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        MasterKey::new(bytes).map(Self)
    }

    /// Seals news.
    ///
    /// # Panics
    ///
    /// If the two keys differ in length, or have neither 16 nor 32 bytes.
    pub fn seal(&self, news: &KeyNews) -> Vec<u8> {
        let (encryption, authentication) = (news.encryption.expose(), news.authentication.expose());
        let length = encryption.len();
        assert!(
            matches!(length, 16 | 32) && authentication.len() == length,
            "the keys of a meter have 16 or 32 bytes each"
        );
        let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(SEALED_BYTES_MAX));
        plain.extend(news.title.0);
        plain.extend(news.number.to_be_bytes());
        let standing = match news.standing {
            Standing::Coming => 0,
            Standing::Current => 1,
        };
        // The wrap takes whole blocks of eight bytes.
        plain.extend([VERSION, standing, 0, 0, 0, 0, 0, 0]);
        plain.extend_from_slice(encryption);
        plain.extend_from_slice(authentication);
        let sealed = self.0.wrap(WrapForm::Key, &plain);
        sealed.expect("whole blocks are wrapped")
    }

    /// Opens sealed news.
    ///
    /// # Errors
    ///
    /// If this key did not seal it, or it makes no sense.
    pub fn open(&self, sealed: &[u8]) -> Result<KeyNews, KeyNewsError> {
        if sealed.len() > SEALED_BYTES_MAX || !sealed.len().is_multiple_of(8) {
            return Err(KeyNewsError::DoesNotOpen);
        }
        let plain = self.0.unwrap(WrapForm::Key, sealed);
        let plain = plain.ok_or(KeyNewsError::DoesNotOpen)?;
        let mut reader = Reader::new(plain.expose());
        let short = |_| KeyNewsError::Field("length");
        let title = SystemTitle(reader.array().map_err(short)?);
        let number = reader.u64().map_err(short)?;
        let [version, standing, rest @ ..] = reader.array::<8>().map_err(short)?;
        if version != VERSION || rest != [0; 6] {
            return Err(KeyNewsError::Field("version"));
        }
        let standing = match standing {
            0 => Standing::Coming,
            1 => Standing::Current,
            _ => return Err(KeyNewsError::Field("standing")),
        };
        let keys = reader.rest();
        let (encryption, authentication) = keys.split_at(keys.len() / 2);
        if !matches!(keys.len(), 32 | 64) {
            return Err(KeyNewsError::Field("length"));
        }
        Ok(KeyNews {
            title,
            number,
            standing,
            encryption: Secret::new(encryption),
            authentication: Secret::new(authentication),
        })
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coming => "coming",
            Self::Current => "current",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(length: usize, standing: Standing) -> KeyNews {
        KeyNews {
            title: SystemTitle(*b"GLM00007"),
            number: 1_700_000_000_123,
            standing,
            encryption: Secret::new(&vec![0xA1; length]),
            authentication: Secret::new(&vec![0xB2; length]),
        }
    }

    #[test]
    fn news_survives_its_seal_and_nothing_else_opens() {
        let key = EdgeKey::new(&[7; 32]).unwrap();
        let other = EdgeKey::new(&[8; 32]).unwrap();
        for (length, standing) in [(16, Standing::Coming), (32, Standing::Current)] {
            let news = news(length, standing);
            let sealed = key.seal(&news);
            assert!(sealed.len() <= SEALED_BYTES_MAX);
            assert_eq!(key.open(&sealed), Ok(news));
            assert_eq!(other.open(&sealed), Err(KeyNewsError::DoesNotOpen));
            for at in 0..sealed.len() {
                assert!(key.open(&sealed[..at]).is_err(), "cut to {at}");
                let mut damaged = sealed.clone();
                damaged[at] ^= 1;
                assert!(key.open(&damaged).is_err(), "flipped at {at}");
            }
            assert!(key.open(&[&sealed[..], &[0; 8]].concat()).is_err());
            // Neither shows a key.
            let shown = format!("{:?} {key:?}", key.open(&sealed));
            assert!(!shown.contains("161") && !shown.contains("0xA1") && !shown.contains("A1A1"));
        }
    }
}
