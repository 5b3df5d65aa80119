//! Telephone numbers, senders and PINs: checked, so that none can end a command, and redacted,
//! so that none reaches a log.

use core::fmt;

/// Digits of a number, ITU-T E.164 §6.
const DIGITS_MAX: usize = 15;
/// Short codes of mobile networks have at least three digits.
const DIGITS_MIN: usize = 3;

/// Why a telephone number is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumberError {
    /// Too few or too many digits.
    #[error(
        "telephone number: {0} digits; give {DIGITS_MIN} to {DIGITS_MAX}, with + and the country \
         code if international"
    )]
    Length(usize),
    /// Something that is neither a digit nor a leading plus.
    #[error(
        "telephone number: {character:?} at character {position}; give digits and a leading + only"
    )]
    Character {
        /// Which.
        character: char,
        /// Where, from 0.
        position: usize,
    },
}

/// A telephone number: an optional `+` and 3 to 15 digits. `Debug` shows the last two.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// Reads a number without spaces or punctuation.
    pub fn parse(text: &str) -> Result<Self, NumberError> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let offset = text.len() - digits.len();
        if let Some((position, character)) =
            (digits.chars().enumerate()).find(|(_, c)| !c.is_ascii_digit())
        {
            return Err(NumberError::Character {
                character,
                position: position + offset,
            });
        }
        if !(DIGITS_MIN..=DIGITS_MAX).contains(&digits.len()) {
            return Err(NumberError::Length(digits.len()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The number as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhoneNumber(…{})", &self.0[self.0.len() - 2..])
    }
}

/// Who sent a received text, as the network said: a number or up to eleven letters.
/// Not proof of anything: senders are forged easily. `Debug` shows the length only.
#[derive(Clone, PartialEq, Eq)]
pub struct Sender(pub(crate) String);

impl Sender {
    /// The sender.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({} characters)", self.0.chars().count())
    }
}

/// The PIN is not four to eight digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("SIM PIN: give four to eight digits")]
pub struct PinError;

/// A SIM's PIN, four to eight digits. `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(String);

impl Pin {
    /// Reads a PIN.
    pub fn parse(text: &str) -> Result<Self, PinError> {
        let valid = (4..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        valid.then(|| Self(text.to_owned())).ok_or(PinError)
    }

    /// The digits.
    pub(crate) fn digits(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_cannot_carry_a_command() {
        let bad = |character, position| {
            Err(NumberError::Character {
                character,
                position,
            })
        };
        let cases = [
            ("+491701234567", Ok(())),
            ("0170123456", Ok(())),
            ("110", Ok(())),
            ("+123456789012345", Ok(())),
            ("+1234567890123456", Err(NumberError::Length(16))),
            ("12", Err(NumberError::Length(2))),
            ("", Err(NumberError::Length(0))),
            ("+", Err(NumberError::Length(0))),
            ("++49170", bad('+', 1)),
            ("0170 123", bad(' ', 4)),
            ("123\"", bad('"', 3)),
            ("123\rAT+CMGD=1,4", bad('\r', 3)),
            ("12٣4", bad('٣', 2)),
        ];
        for (text, expected) in cases {
            assert_eq!(PhoneNumber::parse(text).map(|_| ()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_log_never_shows_a_customer() {
        let number = PhoneNumber::parse("+491701234567").unwrap();
        assert_eq!(format!("{number:?}"), "PhoneNumber(…67)");
        let pin = Pin::parse("1234").unwrap();
        assert_eq!(format!("{pin:?}"), "Pin(redacted)");
        assert_eq!(
            format!("{:?}", Sender("+491701234567".into())),
            "Sender(13 characters)"
        );
    }

    #[test]
    fn pins_are_digits() {
        for (text, valid) in [
            ("1234", true),
            ("12345678", true),
            ("123", false),
            ("123456789", false),
            ("12\"4", false),
        ] {
            assert_eq!(Pin::parse(text).is_ok(), valid, "{text}");
        }
    }
}
