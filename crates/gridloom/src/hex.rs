//! Hexadecimal text on the command line.

use anyhow::{Context, ensure};
use gridloom_core::SystemTitle;

/// Bytes from digits, with white space anywhere; `name` is the option that errors name.
pub(crate) fn bytes(name: &str, text: &str) -> anyhow::Result<Vec<u8>> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    ensure!(
        digits.len().is_multiple_of(2) && digits.bytes().all(|b| b.is_ascii_hexdigit()),
        "{name}: give an even number of hexadecimal digits"
    );
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).context("hexadecimal digits"))
        .collect()
}

/// A key of 16 bytes.
pub(crate) fn key(name: &str, text: &str) -> anyhow::Result<[u8; 16]> {
    let bytes = bytes(name, text)?;
    let length = bytes.len();
    bytes
        .try_into()
        .ok()
        .with_context(|| format!("{name} has {length} bytes, a key has 16"))
}

/// A system title.
pub(crate) fn title(name: &str, text: &str) -> anyhow::Result<SystemTitle> {
    SystemTitle::parse(text).with_context(|| format!("{name} {text:?}: give 16 hexadecimal digits"))
}

/// Digits of bytes.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
