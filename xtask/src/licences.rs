//! Refuses a dependency whose licence `deny.toml` does not allow.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Checks every package that the workspace links, on any platform.
pub(crate) fn run(root: &Path) -> Result<()> {
    let allowed = allowed(root)?;
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .context("failed to start cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?;
    let mut refused = Vec::new();
    for package in packages {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let licence = text("license");
        if !is_allowed(&licence, &allowed) {
            refused.push(format!("{} {}: {licence:?}", text("name"), text("version")));
        }
    }
    if !refused.is_empty() {
        bail!(
            "licences that deny.toml does not allow; choose another crate or argue the licence:\n  {}",
            refused.join("\n  ")
        );
    }
    eprintln!("licences: {} packages, all allowed", packages.len());
    Ok(())
}

fn allowed(root: &Path) -> Result<BTreeSet<String>> {
    let text =
        std::fs::read_to_string(root.join("deny.toml")).context("failed to read deny.toml")?;
    let deny: toml::Table = text.parse().context("deny.toml is not TOML")?;
    deny.get("licenses")
        .and_then(|table| table.get("allow"))
        .and_then(toml::Value::as_array)
        .context("deny.toml has no licenses.allow")?
        .iter()
        .map(|name| {
            name.as_str()
                .map(str::to_owned)
                .context("licenses.allow holds a non-string")
        })
        .collect()
}

/// Whether an SPDX expression can be met with allowed licences only.
///
/// `AND` binds tighter than `OR`; the old `A/B` means `A OR B`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut tokens = spaced.split_whitespace().peekable();
    let met = any_of(&mut tokens, allowed);
    met == Some(true) && tokens.next().is_none()
}

type Tokens<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(tokens: &mut Tokens<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = all_of(tokens, allowed)?;
    while tokens.next_if_eq(&"OR").is_some() {
        met |= all_of(tokens, allowed)?;
    }
    Some(met)
}

fn all_of(tokens: &mut Tokens<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = one(tokens, allowed)?;
    while tokens.next_if_eq(&"AND").is_some() {
        met &= one(tokens, allowed)?;
    }
    Some(met)
}

fn one(tokens: &mut Tokens<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    match tokens.next()? {
        "(" => {
            let met = any_of(tokens, allowed)?;
            (tokens.next()? == ")").then_some(met)
        }
        name => {
            let mut licence = name.to_owned();
            if tokens.next_if_eq(&"WITH").is_some() {
                licence = format!("{name} WITH {}", tokens.next()?);
            }
            Some(allowed.contains(&licence))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let allowed: BTreeSet<String> = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
            .map(str::to_owned)
            .into();
        let cases = [
            ("MIT", true),
            ("MIT/GPL-2.0", true),
            ("GPL-2.0 OR MIT", true),
            ("GPL-2.0 AND MIT", false),
            ("(GPL-2.0 OR Apache-2.0) AND MIT", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT WITH LLVM-exception", false),
            ("MIT OR", false),
            ("(MIT", false),
            ("", false),
        ];
        for (expression, expected) in cases {
            assert_eq!(is_allowed(expression, &allowed), expected, "{expression:?}");
        }
    }
}
