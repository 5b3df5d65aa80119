//! The head-end's own system title, kept in `headend.toml`: drawn once, because two head-ends of
//! one title would use the same counters under the same keys.

use std::path::Path;

use anyhow::Context;
use gridloom_core::SystemTitle;
use gridloom_host::entropy;
use serde::Deserialize;

use crate::founding::write_durably;

const FILE: &str = "headend.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    title: String,
}

/// Reads the title, or draws one. `is_used` tells that counters may have run under one before.
pub(super) fn read(
    data: &Path,
    is_used: bool,
    news: &mut Vec<String>,
) -> anyhow::Result<SystemTitle> {
    let path = data.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return draw(&path, is_used, news);
        }
        Err(error) => {
            return Err(error).with_context(|| format!("failed to read {}", path.display()));
        }
    };
    let raw: Raw =
        toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    SystemTitle::parse(&raw.title).with_context(|| {
        format!(
            "{}: title = {:?}; restore its 16 hexadecimal digits from a backup",
            path.display(),
            raw.title
        )
    })
}

fn draw(path: &Path, is_used: bool, news: &mut Vec<String>) -> anyhow::Result<SystemTitle> {
    let [a, b, c, d, e] = entropy::bytes::<5>()?;
    let title = SystemTitle([b'G', b'L', b'H', a, b, c, d, e]);
    let text = format!(
        "# Under this system title the counters of all sessions run. Never run two head-ends under\n\
         # the same one, and never give it to another.\ntitle = \"{title}\"\n"
    );
    write_durably(path, text.as_bytes())?;
    if !is_used {
        news.push(format!("this head-end is {title} ({})", path.display()));
    }
    Ok(title)
}
