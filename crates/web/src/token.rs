//! The operator's token: who may change something over the API.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Admits whoever shows its secret as `Authorization: Bearer SECRET` to all that changes something.
///
/// Its name goes into the audit, its secret nowhere: `Debug` leaves it out.
#[derive(Clone)]
pub struct OperatorToken {
    name: Arc<str>,
    secret: Arc<Zeroizing<String>>,
}

impl OperatorToken {
    /// Shortest secret in bytes: 128 bits in hexadecimal digits.
    pub const SECRET_MIN: usize = 32;
    /// Longest secret, in bytes.
    pub const SECRET_MAX: usize = 256;
    /// Longest name, in bytes.
    pub const NAME_MAX: usize = 60;

    /// A token of that name and secret.
    ///
    /// # Errors
    ///
    /// [`TokenError`] if the name does not fit the audit or the secret not a header.
    pub fn new(name: &str, secret: String) -> Result<Self, TokenError> {
        let secret = Zeroizing::new(secret);
        let is_name = !name.is_empty()
            && name.len() <= Self::NAME_MAX
            && name.chars().all(|it| !it.is_control());
        if !is_name {
            return Err(TokenError::Name);
        }
        if !(Self::SECRET_MIN..=Self::SECRET_MAX).contains(&secret.len()) {
            return Err(TokenError::Length(secret.len()));
        }
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Character);
        }
        Ok(Self {
            name: name.into(),
            secret: Arc::new(secret),
        })
    }

    /// Who acts with it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `shown` is the secret. How long that takes tells only whether the lengths are equal.
    pub(crate) fn admits(&self, shown: &[u8]) -> bool {
        self.secret.as_bytes().ct_eq(shown).into()
    }
}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorToken")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Why a token cannot be used. Never quotes the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The name is unusable.
    #[error(
        "operator token: the name needs 1 to {max} bytes without control characters",
        max = OperatorToken::NAME_MAX
    )]
    Name,
    /// The secret is too short or too long.
    #[error(
        "operator token: the secret has {0} bytes; use {min} to {max}, best random hexadecimal digits",
        min = OperatorToken::SECRET_MIN,
        max = OperatorToken::SECRET_MAX
    )]
    Length(usize),
    /// The secret has a character that no header carries.
    #[error("operator token: the secret may have visible ASCII characters only, and no spaces")]
    Character,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_secrets_are_checked() {
        let good = "0123456789abcdef0123456789abcdef";
        let cases = [
            ("operator", good.to_owned(), None),
            ("operator", "x".repeat(31), Some(TokenError::Length(31))),
            ("operator", "x".repeat(257), Some(TokenError::Length(257))),
            ("operator", "x ".repeat(20), Some(TokenError::Character)),
            ("operator", "é".repeat(20), Some(TokenError::Character)),
            ("", good.to_owned(), Some(TokenError::Name)),
            ("a\nb", good.to_owned(), Some(TokenError::Name)),
        ];
        for (name, secret, error) in cases {
            let found = OperatorToken::new(name, secret.clone()).err();
            assert_eq!(found, error, "{name:?} {secret:?}");
        }
    }

    #[test]
    fn only_the_whole_secret_is_admitted_and_none_is_shown() {
        let secret = "0123456789abcdef0123456789abcdef";
        let token = OperatorToken::new("night shift", secret.to_owned()).unwrap();
        let cases = [
            (secret.as_bytes().to_vec(), true),
            (secret.as_bytes()[..31].to_vec(), false),
            ([secret.as_bytes(), b"0"].concat(), false),
            (secret.to_uppercase().into_bytes(), false),
            (Vec::new(), false),
        ];
        for (shown, admitted) in cases {
            assert_eq!(token.admits(&shown), admitted, "{shown:?}");
        }
        let debug = format!("{token:?}");
        assert!(
            debug.contains("night shift") && !debug.contains("0123"),
            "{debug}"
        );
    }
}
