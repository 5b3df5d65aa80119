//! The words of an expression.

use super::compile::ExpressionError;
use crate::fixed::Fixed;
use crate::unit::Unit;

/// One word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word<'a> {
    Number(Fixed, Option<Unit>),
    /// A name without brackets: a tag, a function, a keyword.
    Name(&'a str),
    /// A tag in brackets.
    Bracketed(&'a str),
    Sign(Sign),
    End,
}

/// An operator or a delimiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
    Times,
    Over,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
    Equal,
    NotEqual,
    Open,
    Close,
    Comma,
}

/// Longer spellings before their beginnings.
const SIGNS: [(&str, Sign); 20] = [
    ("<=", Sign::LessOrEqual),
    (">=", Sign::MoreOrEqual),
    ("==", Sign::Equal),
    ("!=", Sign::NotEqual),
    ("≤", Sign::LessOrEqual),
    ("≥", Sign::MoreOrEqual),
    ("≠", Sign::NotEqual),
    ("<", Sign::Less),
    (">", Sign::More),
    ("=", Sign::Equal),
    ("+", Sign::Plus),
    ("-", Sign::Minus),
    ("−", Sign::Minus),
    ("*", Sign::Times),
    ("×", Sign::Times),
    ("/", Sign::Over),
    ("÷", Sign::Over),
    ("(", Sign::Open),
    (")", Sign::Close),
    (",", Sign::Comma),
];

/// A word and where it stands, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) word: Word<'a>,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// The words of a text, with an end after the last.
pub(super) fn words(text: &str) -> Result<Vec<Token<'_>>, ExpressionError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        let Some(first) = trimmed.chars().next() else {
            tokens.push(Token {
                word: Word::End,
                from: at,
                to: at,
            });
            return Ok(tokens);
        };
        let (word, length) = if first.is_ascii_digit() {
            number(text, at)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let name = prefix(trimmed, |c| {
                c.is_ascii_alphanumeric() || c == '_' || c == '.'
            });
            (Word::Name(name), name.len())
        } else if first == '[' {
            let Some((tag, _)) = trimmed[1..].split_once(']') else {
                return Err(ExpressionError::at(text, at, "[ is not closed", "add ]"));
            };
            (Word::Bracketed(tag), tag.len() + 2)
        } else if let Some((spelling, sign)) = SIGNS
            .iter()
            .find(|(spelling, _)| trimmed.starts_with(spelling))
        {
            (Word::Sign(*sign), spelling.len())
        } else {
            let what = format!("{first:?} means nothing here");
            return Err(ExpressionError::at(text, at, what, "remove it"));
        };
        tokens.push(Token {
            word,
            from: at,
            to: at + length,
        });
        at += length;
    }
}

/// A number, and the unit that follows it.
fn number(text: &str, at: usize) -> Result<(Word<'_>, usize), ExpressionError> {
    let digits = prefix(&text[at..], |c| c.is_ascii_digit() || c == '.');
    let number = Fixed::parse(digits).ok_or_else(|| {
        let what = format!("{digits} is no number with up to six decimals");
        ExpressionError::at(text, at, what, "write digits, and a point before decimals")
    })?;
    let after = &text[at + digits.len()..];
    let symbol = after.trim_start();
    let gap = after.len() - symbol.len();
    let symbol = prefix(symbol, |c| {
        c.is_ascii_alphanumeric() || matches!(c, '%' | '/')
    });
    // `m/s` is a unit, `V/2` is a unit and a division: the longest that is one counts.
    let ends = (1..=symbol.len()).rev().filter(|end| {
        let next = symbol[*end..].chars().next();
        symbol[..*end].ends_with('%') || !next.is_some_and(|c| c.is_ascii_alphanumeric())
    });
    let mut candidates = ends.map(|end| &symbol[..end]);
    let found = candidates.find_map(|symbol| {
        let known = !symbol.starts_with(|c: char| c.is_ascii_digit());
        Unit::parse(symbol)
            .filter(|_| known)
            .map(|unit| (unit, symbol.len()))
    });
    Ok(match found {
        Some((unit, length)) => (
            Word::Number(number, Some(unit)),
            digits.len() + gap + length,
        ),
        None => (Word::Number(number, None), digits.len()),
    })
}

fn prefix(text: &str, fits: impl Fn(char) -> bool) -> &str {
    let end = text.find(|c| !fits(c)).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split() {
        let unit = |symbol| Unit::parse(symbol);
        let number = |whole, symbol| Word::Number(Fixed::whole(whole), unit(symbol));
        let plain = |whole| Word::Number(Fixed::whole(whole), None);
        let cases: [(&str, &[Word<'_>]); 8] = [
            (
                "5 kV/2",
                &[number(5, "kV"), Word::Sign(Sign::Over), plain(2)],
            ),
            ("5m/s", &[number(5, "m/s")]),
            ("5 and", &[plain(5), Word::Name("and")]),
            ("5%*2", &[number(5, "%"), Word::Sign(Sign::Times), plain(2)]),
            ("5 %and", &[number(5, "%"), Word::Name("and")]),
            (
                "[a-b]≥a.b",
                &[
                    Word::Bracketed("a-b"),
                    Word::Sign(Sign::MoreOrEqual),
                    Word::Name("a.b"),
                ],
            ),
            (
                "5 min,min",
                &[number(5, "min"), Word::Sign(Sign::Comma), Word::Name("min")],
            ),
            ("  ", &[]),
        ];
        for (text, expected) in cases {
            let mut got: Vec<_> = words(text)
                .unwrap()
                .iter()
                .map(|token| token.word)
                .collect();
            assert_eq!(got.pop(), Some(Word::End));
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn foreign_signs_are_named_with_their_column() {
        for (text, column) in [("a # b", 3), ("ü", 1), ("× [a", 3), ("1.2.3", 1)] {
            assert_eq!(words(text).unwrap_err().column(), column, "{text}");
        }
    }
}
