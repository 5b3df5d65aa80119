//! The head-end pair that this process is a member of.

use std::collections::BTreeSet;

use anyhow::ensure;
use gridloom_host::DialAddress;
use gridloom_nodes::envelope::pair::Place;
use gridloom_nodes::pair::Seat;
use serde::Deserialize;

use super::listen::address;
use super::{Picker, Role, Tiers};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStandby {
    place: Option<u8>,
    listen: Option<String>,
    peer: Option<String>,
    edges: Option<Vec<String>>,
}

/// A member of a head-end pair.
#[derive(Debug, Clone)]
pub(crate) struct StandbySettings {
    /// Which member.
    pub(crate) place: Place,
    /// Where the keeper listens.
    pub(crate) listen: String,
    /// Where the other member's keeper listens.
    pub(crate) peer: DialAddress,
    /// The edges that witness, by name.
    pub(crate) edges: BTreeSet<String>,
}

impl StandbySettings {
    pub(super) fn resolve(raw: RawStandby, tiers: &Tiers, p: &mut Picker) -> anyhow::Result<Self> {
        ensure!(
            tiers.has(Role::Utility)
                && tiers.has(Role::Headend)
                && !tiers.has_any(&[Role::Gateway, Role::Edge, Role::Archive]),
            "[standby] is for a process of the roles utility and headend alone: give --role \
             utility,headend, or leave the section out"
        );
        let place = p.pick("standby.place", None, raw.place, 0, u8::to_string);
        let place = match place {
            1 => Place::First,
            2 => Place::Second,
            other => anyhow::bail!(
                "standby.place = {other}: give 1 to the member whose data founds the pair, and 2 \
                 to the other"
            ),
        };
        let listen = address(p, "standby.listen", None, raw.listen, "127.0.0.1:4064")?;
        let peer = p.pick("standby.peer", None, raw.peer, String::new(), String::clone);
        let edges = raw.edges.unwrap_or_default();
        let shown = Some(edges.join(" "));
        p.pick("standby.edges", None, shown, String::new(), String::clone);
        ensure!(
            !edges.is_empty() && edges.len() <= Seat::EDGES_MAX,
            "standby.edges names {} edges; name 1 to {} that witness, the same on both members: \
             without a third vote two members cannot tell who is gone",
            edges.len(),
            Seat::EDGES_MAX
        );
        Ok(Self {
            place,
            listen,
            peer: DialAddress::parse("standby.peer", &peer)?,
            edges: edges.into_iter().collect(),
        })
    }
}
