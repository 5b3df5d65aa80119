//! Hierarchical names.

use core::fmt;

/// Bytes of a tag; a longer one is refused.
pub const TAG_BYTES_MAX: usize = 120;
/// Parts of a tag; more are refused.
pub const TAG_LEVELS_MAX: usize = 10;

/// A name with dots between its levels, from the area down: `North.F3-CB.position`.
///
/// Each level holds letters, digits, `_` and `-`, and at least one of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Box<str>);

/// Why a text is no tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// It is too long or has too many levels.
    #[error(
        "tag {0:?} is longer than {TAG_BYTES_MAX} bytes or {TAG_LEVELS_MAX} levels: shorten it"
    )]
    TooLong(String),
    /// A level is empty or holds a foreign character.
    #[error(
        "tag {tag:?}: level {level} is empty or holds something else than A-Z a-z 0-9 _ -: rename it"
    )]
    Level {
        /// The text, cut off where it is too long.
        tag: String,
        /// The level, from 1.
        level: usize,
    },
}

impl Tag {
    /// Reads a tag.
    ///
    /// # Errors
    ///
    /// [`TagError`] says which level is wrong.
    pub fn parse(text: &str) -> Result<Self, TagError> {
        let shown = || text[..text.floor_char_boundary(TAG_BYTES_MAX)].to_owned();
        if text.len() > TAG_BYTES_MAX || text.split('.').count() > TAG_LEVELS_MAX {
            return Err(TagError::TooLong(shown()));
        }
        let plain = |part: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            !part.is_empty() && part.bytes().all(fits)
        };
        match text.split('.').position(|part| !plain(part)) {
            None => Ok(Self(text.into())),
            Some(level) => Err(TagError::Level {
                tag: shown(),
                level: level + 1,
            }),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `group` or stands below it.
    pub fn is_within(&self, group: &Tag) -> bool {
        self.0
            .strip_prefix(&*group.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        let level = |tag: &str, level| {
            Err(TagError::Level {
                tag: tag.into(),
                level,
            })
        };
        let long = "a".repeat(TAG_BYTES_MAX + 1);
        let deep = ["a"; TAG_LEVELS_MAX + 1].join(".");
        let cases = [
            ("North.F3-CB.position", Ok(())),
            ("a", Ok(())),
            ("", level("", 1)),
            ("a..b", level("a..b", 2)),
            ("a.b ", level("a.b ", 2)),
            ("a.ü", level("a.ü", 2)),
            (&long, Err(TagError::TooLong("a".repeat(TAG_BYTES_MAX)))),
            (&deep, Err(TagError::TooLong(deep.clone()))),
        ];
        for (text, expected) in cases {
            assert_eq!(Tag::parse(text).map(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn a_group_holds_what_is_below_it_and_no_namesake() {
        let tag = |text| Tag::parse(text).unwrap();
        assert!(tag("North.F3.CB").is_within(&tag("North.F3")));
        assert!(tag("North.F3").is_within(&tag("North.F3")));
        assert!(!tag("North.F31").is_within(&tag("North.F3")));
        assert!(!tag("North").is_within(&tag("North.F3")));
    }
}
