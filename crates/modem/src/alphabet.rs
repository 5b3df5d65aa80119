//! What a text may contain: the GSM 7-bit default alphabet (3GPP TS 23.038 §6.2.1) as far as the
//! AT interface can carry it.
//!
//! Texts travel in the IRA character set, which is ASCII, so a text is ASCII that the default
//! alphabet also has: everything printable but the grave accent. A modem that refuses IRA is
//! driven in the GSM set, where the eight characters behind the escape code cannot be written,
//! because the escape code itself aborts a message.

use core::fmt;

/// Septets in one short message.
pub const PART_SEPTETS_MAX: usize = 160;
/// Messages one text may become. A longer text is refused.
pub const PARTS_MAX: usize = 9;
/// Septets of the `1/2 ` in front of each part of a split text.
const PREFIX_SEPTETS: usize = 4;

const ESCAPE: u8 = 0x1B;

/// The default alphabet in code order; code 0x1B escapes to the extension table.
const DEFAULT: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u{1b}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";

/// The characters of the extension table that ASCII has; each costs two septets.
const EXTENSION_ASCII: &str = "^{}\\[~]|";

/// What [`SmsText::with_replacements`] writes for characters that cannot be sent.
const REPLACEMENTS: &[(char, &str)] = &[
    ('\n', " "),
    ('\r', ""),
    ('\t', " "),
    ('\u{a0}', " "),
    ('\u{202f}', " "),
    ('`', "'"),
    ('\u{2018}', "'"),
    ('\u{2019}', "'"),
    ('\u{201c}', "\""),
    ('\u{201d}', "\""),
    ('\u{201e}', "\""),
    ('\u{2013}', "-"),
    ('\u{2014}', "-"),
    ('\u{2212}', "-"),
    ('…', "..."),
    ('€', "EUR"),
    ('£', "GBP"),
    ('¥', "JPY"),
    ('°', "deg"),
    ('µ', "u"),
    ('²', "2"),
    ('ä', "ae"),
    ('ö', "oe"),
    ('ü', "ue"),
    ('Ä', "Ae"),
    ('Ö', "Oe"),
    ('Ü', "Ue"),
    ('ß', "ss"),
    ('à', "a"),
    ('á', "a"),
    ('â', "a"),
    ('ã', "a"),
    ('å', "aa"),
    ('æ', "ae"),
    ('ç', "c"),
    ('è', "e"),
    ('é', "e"),
    ('ê', "e"),
    ('ë', "e"),
    ('ì', "i"),
    ('í', "i"),
    ('î', "i"),
    ('ï', "i"),
    ('ñ', "n"),
    ('ò', "o"),
    ('ó', "o"),
    ('ô', "o"),
    ('õ', "o"),
    ('ø', "oe"),
    ('ù', "u"),
    ('ú', "u"),
    ('û', "u"),
    ('Å', "Aa"),
    ('Æ', "Ae"),
    ('Ç', "C"),
    ('É', "E"),
    ('Ñ', "N"),
    ('Ø', "Oe"),
];

/// The character set on the wire, chosen with `AT+CSCS` (TS 27.007 §5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// International reference alphabet: ASCII.
    Ira,
    /// The default alphabet, one code per byte.
    Gsm,
}

impl Charset {
    /// The name in `AT+CSCS`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ira => "IRA",
            Self::Gsm => "GSM",
        }
    }

    /// Reads bytes of a received text; what the set does not have becomes U+FFFD.
    pub fn decode(self, bytes: &[u8]) -> String {
        match self {
            Self::Ira => bytes
                .iter()
                .map(|&byte| match byte {
                    b'\n' | b'\r' | b' '..=b'~' => char::from(byte),
                    _ => char::REPLACEMENT_CHARACTER,
                })
                .collect(),
            Self::Gsm => decode_gsm(bytes),
        }
    }
}

fn decode_gsm(bytes: &[u8]) -> String {
    let mut escaped = false;
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte == ESCAPE && !escaped {
            escaped = true;
            continue;
        }
        let character = if escaped {
            extension(byte)
        } else {
            DEFAULT.chars().nth(usize::from(byte))
        };
        escaped = false;
        text.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    if escaped {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    text
}

/// TS 23.038 §6.2.1.1.
fn extension(code: u8) -> Option<char> {
    Some(match code {
        0x14 => '^',
        0x28 => '{',
        0x29 => '}',
        0x2F => '\\',
        0x3C => '[',
        0x3D => '~',
        0x3E => ']',
        0x40 => '|',
        0x65 => '€',
        _ => return None,
    })
}

/// Why a text cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// It says nothing.
    #[error("text: it is empty; give at least one character")]
    Empty,
    /// A character that cannot travel.
    #[error(
        "text: {character:?} at character {position} cannot be sent in {charset}; \
         replace it or send with replacements",
        charset = .charset.name()
    )]
    Character {
        /// Which.
        character: char,
        /// Where, counted in characters from 0.
        position: usize,
        /// In which character set.
        charset: Charset,
    },
    /// Too many septets.
    #[error("text: {septets} septets do not fit {messages} messages; shorten it")]
    TooLong {
        /// How many it has.
        septets: usize,
        /// How many messages it may fill.
        messages: usize,
    },
}

/// One kind of replacement that [`SmsText::with_replacements`] made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replaced {
    /// The character of the original.
    pub character: char,
    /// What stands in its place.
    pub by: &'static str,
}

/// A text that can be sent as it stands: printable ASCII of the default alphabet, not empty,
/// at most [`PARTS_MAX`] messages long.
///
/// `Debug` shows the length only: texts carry customers' readings and bills.
#[derive(Clone, PartialEq, Eq)]
pub struct SmsText {
    text: String,
}

impl SmsText {
    /// Checks a text; refuses what would have to change.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        for (position, character) in text.chars().enumerate() {
            if septets_of(character).is_none() {
                return Err(TextError::Character {
                    character,
                    position,
                    charset: Charset::Ira,
                });
            }
        }
        if text.is_empty() {
            return Err(TextError::Empty);
        }
        let sms = Self {
            text: text.to_owned(),
        };
        if sms.septets() > PART_SEPTETS_MAX && sms.chunks().len() > PARTS_MAX {
            return Err(TextError::TooLong {
                septets: sms.septets(),
                messages: PARTS_MAX,
            });
        }
        Ok(sms)
    }

    /// Replaces characters by the fixed table (`ä` by `ae`, `€` by `EUR`, a line break by a
    /// space) and says which, in order of the alphabet; refuses what the table does not have.
    pub fn with_replacements(text: &str) -> Result<(Self, Vec<Replaced>), TextError> {
        let mut sendable = String::with_capacity(text.len());
        let mut replaced = Vec::new();
        for character in text.chars() {
            match REPLACEMENTS.iter().find(|(from, _)| *from == character) {
                Some(&(character, by)) => {
                    sendable.push_str(by);
                    replaced.push(Replaced { character, by });
                }
                None => sendable.push(character),
            }
        }
        replaced.sort_unstable();
        replaced.dedup();
        Self::parse(&sendable).map(|sms| (sms, replaced))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its length in septets: one per character, two for `^{}\[~]|`.
    pub fn septets(&self) -> usize {
        self.text
            .chars()
            .map(|c| septets_of(c).expect("a text was checked when it was made"))
            .sum()
    }

    /// The text as messages of at most [`PART_SEPTETS_MAX`] septets. More than one are marked
    /// `1/2 `, `2/2 `, so that a reader can order them; no user-data header is needed.
    pub fn parts(&self) -> Vec<Self> {
        if self.septets() <= PART_SEPTETS_MAX {
            return vec![self.clone()];
        }
        let chunks = self.chunks();
        let count = chunks.len();
        chunks
            .into_iter()
            .enumerate()
            .map(|(index, chunk)| Self {
                text: format!("{}/{count} {chunk}", index + 1),
            })
            .collect()
    }

    fn chunks(&self) -> Vec<String> {
        let mut chunks = vec![String::new()];
        let mut used = 0;
        for character in self.text.chars() {
            let septets = septets_of(character).expect("a text was checked when it was made");
            if used + septets > PART_SEPTETS_MAX - PREFIX_SEPTETS {
                chunks.push(String::new());
                used = 0;
            }
            used += septets;
            chunks
                .last_mut()
                .expect("there is always a chunk")
                .push(character);
        }
        chunks
    }

    /// The bytes on the wire.
    ///
    /// # Errors
    ///
    /// [`TextError::Character`] for `^{}\[~]|` in [`Charset::Gsm`].
    pub fn encode(&self, charset: Charset) -> Result<Vec<u8>, TextError> {
        match charset {
            Charset::Ira => Ok(self.text.clone().into_bytes()),
            Charset::Gsm => self
                .text
                .chars()
                .enumerate()
                .map(|(position, character)| {
                    DEFAULT
                        .chars()
                        .position(|c| c == character)
                        .and_then(|code| u8::try_from(code).ok())
                        .ok_or(TextError::Character {
                            character,
                            position,
                            charset,
                        })
                })
                .collect(),
        }
    }
}

impl fmt::Display for SmsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SmsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmsText({} septets)", self.septets())
    }
}

fn septets_of(character: char) -> Option<usize> {
    if EXTENSION_ASCII.contains(character) {
        return Some(2);
    }
    (matches!(character, ' '..='~') && character != '`').then_some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_refused_not_changed() {
        let bad = |character, position| {
            Err(TextError::Character {
                character,
                position,
                charset: Charset::Ira,
            })
        };
        let cases = [
            ("bill 12.34 EUR", Ok(14)),
            ("a{b}^[c]~|\\", Ok(19)),
            ("@$_", Ok(3)),
            ("", Err(TextError::Empty)),
            ("grüße", bad('ü', 2)),
            ("12 €", bad('€', 3)),
            ("a`b", bad('`', 1)),
            ("end\u{1a}AT+CMGD=1,4", bad('\u{1a}', 3)),
            ("esc\u{1b}", bad('\u{1b}', 3)),
            ("two\rlines", bad('\r', 3)),
            ("\u{7f}", bad('\u{7f}', 0)),
        ];
        for (text, expected) in cases {
            assert_eq!(
                SmsText::parse(text).map(|t| t.septets()),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn replacements_are_named() {
        let (text, replaced) = SmsText::with_replacements("Grüße\u{a0}ü: 3 €\n").unwrap();
        assert_eq!(text.as_str(), "Gruesse ue: 3 EUR ");
        let characters: Vec<char> = replaced.iter().map(|r| r.character).collect();
        assert_eq!(characters, ['\n', '\u{a0}', 'ß', 'ü', '€']);
        assert!(SmsText::with_replacements("日本").is_err());
        for (from, to) in REPLACEMENTS {
            assert!(
                to.chars().all(|c| septets_of(c).is_some()),
                "{from:?} must become sendable"
            );
            assert!(septets_of(*from).is_none(), "{from:?} needs no replacement");
        }
    }

    #[test]
    fn long_texts_split_by_septets() {
        let cases = [
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(312), 2),
            ("a".repeat(313), 3),
            ("[".repeat(80), 1),
            ("[".repeat(81), 2),
            // An escape pair never splits: 155 + 2 does not fit 156.
            (format!("{}{}", "a".repeat(155), "[".repeat(78)), 2),
            (format!("{}{}", "a".repeat(155), "[".repeat(79)), 3),
            ("a".repeat(9 * 156), 9),
        ];
        for (text, count) in cases {
            let parts = SmsText::parse(&text).unwrap().parts();
            assert_eq!(parts.len(), count, "{} characters", text.len());
            assert!(parts.iter().all(|p| p.septets() <= PART_SEPTETS_MAX));
            if count > 1 {
                let joined: String = parts.iter().map(|p| &p.as_str()[4..]).collect();
                assert_eq!(joined, text);
                assert!(parts[1].as_str().starts_with(&format!("2/{count} ")));
            }
        }
        assert_eq!(
            SmsText::parse(&"a".repeat(9 * 156 + 1)),
            Err(TextError::TooLong {
                septets: 1_405,
                messages: 9
            })
        );
    }

    #[test]
    fn the_default_alphabet_has_its_codes() {
        let codes: Vec<char> = DEFAULT.chars().collect();
        assert_eq!(codes.len(), 128);
        let cases = [
            (0x00, '@'),
            (0x02, '$'),
            (0x11, '_'),
            (0x1B, '\u{1b}'),
            (0x20, ' '),
            (0x24, '¤'),
            (0x3F, '?'),
            (0x40, '¡'),
            (0x41, 'A'),
            (0x5F, '§'),
            (0x61, 'a'),
            (0x7B, 'ä'),
            (0x7F, 'à'),
        ];
        for (code, character) in cases {
            assert_eq!(codes[code], character, "{code:#x}");
        }
    }

    #[test]
    fn both_character_sets_carry_a_text() {
        let text = SmsText::parse("m@x $1_2").unwrap();
        for charset in [Charset::Ira, Charset::Gsm] {
            let bytes = text.encode(charset).unwrap();
            assert_eq!(charset.decode(&bytes), text.as_str());
        }
        assert_eq!(text.encode(Charset::Gsm).unwrap()[1], 0x00);
        assert!(matches!(
            SmsText::parse("a[").unwrap().encode(Charset::Gsm),
            Err(TextError::Character { position: 1, .. })
        ));
        assert_eq!(Charset::Gsm.decode(&[0x1B, 0x65, 0x1B]), "€\u{fffd}");
        assert_eq!(Charset::Ira.decode(b"a\x00\xff"), "a\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_log_never_shows_a_text() {
        let text = SmsText::parse("bill 12.34 EUR").unwrap();
        assert_eq!(format!("{text:?}"), "SmsText(14 septets)");
    }
}
