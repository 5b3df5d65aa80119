//! How a head-end reads meters for the first time, and where they push to it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use gridloom_nodes::headend::PushAddresses;
use serde::Deserialize;

use super::Picker;

/// What the section says beside whom the head-end dials.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPush {
    tcp: Option<String>,
    udp: Option<String>,
    connections: Option<u32>,
    addresses: Option<String>,
}

/// How a head-end works with its meters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeadEndSettings {
    /// How far back a new meter is read, as far as its profile goes.
    pub(crate) history: Duration,
    pub(crate) push: PushSettings,
}

/// Where meters push to the head-end itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PushSettings {
    /// The wrapper over TCP; `None` is off.
    pub(crate) tcp: Option<String>,
    /// The wrapper over UDP; `None` is off.
    pub(crate) udp: Option<String>,
    /// TCP connections at a time; more are closed at once.
    pub(crate) connections_max: usize,
    pub(crate) addresses: PushAddresses,
}

/// A year and a bit: what a generous load profile holds.
const HISTORY_DAYS_MAX: u32 = 400;

/// As many as a listener serves at all.
const CONNECTIONS_MAX: u32 = 20_000;

impl HeadEndSettings {
    pub(super) fn resolve(
        history_days: Option<u32>,
        push: RawPush,
        p: &mut Picker,
    ) -> anyhow::Result<Self> {
        let key = "headend.history_days";
        let days = p.pick(key, None, history_days, 1, u32::to_string);
        ensure!(
            (1..=HISTORY_DAYS_MAX).contains(&days),
            "{key} = {days}: give 1 to {HISTORY_DAYS_MAX}"
        );
        let tcp = listen(p, "headend.push.tcp", push.tcp)?;
        let udp = listen(p, "headend.push.udp", push.udp)?;
        let key = "headend.push.connections";
        let connections = p.pick(key, None, push.connections, 2_000, u32::to_string);
        ensure!(
            (1..=CONNECTIONS_MAX).contains(&connections),
            "{key} = {connections}: give 1 to {CONNECTIONS_MAX}"
        );
        let key = "headend.push.addresses";
        let usual = "registered".to_owned();
        let addresses = p.pick(key, None, push.addresses, usual, String::clone);
        let addresses = match addresses.as_str() {
            "registered" => PushAddresses::Registered,
            "any" => PushAddresses::Any,
            other => bail!("{key} = {other:?}: give \"registered\" or \"any\""),
        };
        Ok(Self {
            history: Duration::from_hours(24) * days,
            push: PushSettings {
                tcp,
                udp,
                connections_max: connections as usize,
                addresses,
            },
        })
    }
}

/// An address to listen on; nothing or an empty text is off.
fn listen(p: &mut Picker, key: &str, text: Option<String>) -> anyhow::Result<Option<String>> {
    let file = text.map(|text| (!text.is_empty()).then_some(text));
    let show = |text: &Option<String>| text.clone().unwrap_or_else(|| "off".to_owned());
    let text = p.pick(key, None, file, None, show);
    if let Some(text) = &text {
        text.parse::<SocketAddr>().with_context(|| {
            format!(
                "{key} = {text:?} is no address to listen on: write IP:PORT, such as 0.0.0.0:4063"
            )
        })?;
    }
    Ok(text)
}
