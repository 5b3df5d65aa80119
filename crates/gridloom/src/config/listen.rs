//! Where each tier listens: said beside the tier (`[edge] listen`), or with the others (`[listen]
//! edge`).

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::Picker;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawListen {
    pub(super) console: Option<String>,
    pub(super) gateway: Option<String>,
    pub(super) edge: Option<String>,
    pub(super) utility: Option<String>,
    pub(super) archive: Option<String>,
}

/// What the sections of the tiers say.
pub(super) struct Beside {
    pub(super) gateway: Option<String>,
    pub(super) edge: Option<String>,
    pub(super) utility: Option<String>,
    pub(super) archive: Option<String>,
}

/// Where each layer listens.
#[derive(Debug, Clone)]
pub(crate) struct Listen {
    pub(crate) console: String,
    /// Whether somebody named the console's address, or it is the usual one.
    pub(crate) is_console_named: bool,
    pub(crate) gateway: String,
    pub(crate) edge: String,
    pub(crate) utility: String,
    pub(crate) archive: String,
}

impl Listen {
    /// Flags beat the file; every address is checked before anything is opened.
    pub(super) fn resolve(
        flags: RawListen,
        file: RawListen,
        beside: Beside,
        p: &mut Picker,
    ) -> anyhow::Result<Self> {
        let console = file.console;
        let usual = "127.0.0.1:8790";
        let mut tier = |tier: &str, flag, beside, with_others, usual| {
            let file = one_of(tier, beside, with_others)?;
            address(p, &format!("{tier}.listen"), flag, file, usual)
        };
        let gateway = tier(
            "gateway",
            flags.gateway,
            beside.gateway,
            file.gateway,
            "127.0.0.1:4059",
        )?;
        let edge = tier("edge", flags.edge, beside.edge, file.edge, "127.0.0.1:4060")?;
        let utility = tier(
            "utility",
            flags.utility,
            beside.utility,
            file.utility,
            "127.0.0.1:4061",
        )?;
        let archive = tier(
            "archive",
            flags.archive,
            beside.archive,
            file.archive,
            "127.0.0.1:4062",
        )?;
        Ok(Self {
            is_console_named: flags.console.is_some() || console.is_some(),
            console: address(p, "listen.console", flags.console, console, usual)?,
            gateway,
            edge,
            utility,
            archive,
        })
    }
}

pub(super) fn address(
    p: &mut Picker,
    key: &str,
    flag: Option<String>,
    file: Option<String>,
    usual: &str,
) -> anyhow::Result<String> {
    let text = p.pick(key, flag, file, usual.to_owned(), String::clone);
    text.parse::<SocketAddr>().with_context(|| {
        format!("{key} = {text:?} is no address to listen on: write IP:PORT, such as {usual}")
    })?;
    Ok(text)
}

fn one_of(
    tier: &str,
    beside: Option<String>,
    with_others: Option<String>,
) -> anyhow::Result<Option<String>> {
    if let (Some(one), Some(other)) = (&beside, &with_others) {
        ensure!(
            one == other,
            "{tier}.listen = {one:?} and listen.{tier} = {other:?}: keep one of the two"
        );
    }
    Ok(beside.or(with_others))
}
