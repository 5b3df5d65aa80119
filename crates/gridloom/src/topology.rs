//! The network as the console draws it: the nodes of this process, what they hear of, and changes
//! of the ways in use as they are seen from picture to picture.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_core::UtcTime;
use gridloom_nodes::{EdgeNode, EdgeTrust, PathsConfig, PathsStatus, Rank};
use gridloom_web::{
    FailoverView, Network, NetworkNode, NetworkWay, NodeState, PathsView, Topology, WayState,
};

/// What the tiers of this process say of their neighbours; what does not run says nothing.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    pub(crate) gateway: Option<GatewayPlace>,
    pub(crate) edge: Option<EdgePlace>,
    /// Edges that are connected to the utility of this process.
    pub(crate) edges: Option<usize>,
    /// The gateways of each of those edges, as far as they have told.
    pub(crate) gateways: Vec<Vec<String>>,
    /// Whether the head-end of this process reaches its utility.
    pub(crate) head_end: Option<bool>,
    pub(crate) archive: Option<ArchivePlace>,
}

/// The archive of this process, or that of its utility.
#[derive(Debug, Clone)]
pub(crate) struct ArchivePlace {
    /// Its name, or else its address.
    pub(crate) name: String,
    pub(crate) is_here: bool,
    /// Whether the utility of this process reaches it.
    pub(crate) is_connected: bool,
}

/// A gateway of this process.
#[derive(Debug)]
pub(crate) struct GatewayPlace {
    pub(crate) name: String,
    /// Meters that are linked to it.
    pub(crate) meters: usize,
    pub(crate) is_connected: bool,
    /// The edge that it dials: its name, or else its address.
    pub(crate) edge: Option<String>,
    /// The one that it dials as well, and how patient it is.
    pub(crate) backup: Option<(String, PathsConfig)>,
    pub(crate) paths: PathsStatus,
}

/// An edge of this process.
#[derive(Debug)]
pub(crate) struct EdgePlace {
    pub(crate) name: String,
    /// Its gateways whose meters are here, by name.
    pub(crate) gateways: Vec<String>,
    /// Those without a name.
    pub(crate) unnamed: usize,
    /// Whether it reaches its utility.
    pub(crate) is_connected: bool,
}

/// What the utility is called in a picture.
const UTILITY: &str = "utility";

#[derive(Default)]
struct Drawing {
    topology: Topology,
    /// Places of the nodes, by name.
    at: BTreeMap<String, usize>,
    /// Places of the ends of each way: one way between two nodes is enough.
    ends: BTreeSet<(usize, usize)>,
}

impl Drawing {
    fn node(&mut self, tier: &'static str, name: &str, is_here: bool, state: Option<NodeState>) {
        if self.at.contains_key(name) {
            return;
        }
        let nodes = &mut self.topology.nodes;
        if nodes.len() >= Topology::NODES_MAX {
            self.topology.left_off += 1;
            return;
        }
        self.at.insert(name.to_owned(), nodes.len());
        nodes.push(NetworkNode {
            name: name.to_owned(),
            tier,
            is_here,
            state,
            meters: None,
        });
    }

    fn way(&mut self, from: &str, to: &str, rank: &'static str, state: WayState) {
        let (Some(lower), Some(upper)) = (self.at.get(from), self.at.get(to)) else {
            return;
        };
        let has_room = self.topology.ways.len() < Topology::WAYS_MAX;
        if has_room && self.ends.insert((*lower, *upper)) {
            self.topology.ways.push(NetworkWay {
                from: from.to_owned(),
                to: to.to_owned(),
                rank,
                state,
            });
        }
    }
}

const fn only(is_connected: bool) -> WayState {
    match is_connected {
        true => WayState::InUse,
        false => WayState::Down,
    }
}

const fn here(is_connected: bool) -> Option<NodeState> {
    match is_connected {
        true => Some(NodeState::Up),
        false => Some(NodeState::Degraded),
    }
}

const fn heard(is_connected: bool) -> Option<NodeState> {
    match is_connected {
        true => Some(NodeState::Up),
        false => None,
    }
}

/// The picture of what they say.
pub(crate) fn draw(from: &Neighbours) -> Topology {
    let mut drawing = Drawing::default();
    if let Some(gateway) = &from.gateway {
        gateway_and_meters(&mut drawing, gateway);
    }
    if let Some(edge) = &from.edge {
        drawing.node("edge", &edge.name, true, here(edge.is_connected));
    }
    if let Some(gateway) = &from.gateway {
        gateway_ways(&mut drawing, gateway);
    }
    if let Some(edge) = &from.edge {
        for gateway in &edge.gateways {
            drawing.node("gateway", gateway, false, heard(true));
            drawing.way(gateway, &edge.name, "only", WayState::InUse);
        }
        // A gateway of this process stands in the picture by the name that it has itself.
        let own = from.gateway.as_ref().is_some_and(|it| it.is_connected);
        let unnamed = edge
            .unnamed
            .saturating_sub(usize::from(own && edge.gateways.is_empty()));
        drawing.topology.left_off += u64::try_from(unnamed).unwrap_or(u64::MAX);
    }
    let named = usize::from(from.edge.as_ref().is_some_and(|edge| edge.is_connected));
    let utility_here = from.edges.is_some();
    let reached = from.edge.as_ref().map(|edge| edge.is_connected);
    if utility_here || reached.is_some() || from.head_end.is_some() {
        let state = match utility_here {
            true => Some(NodeState::Up),
            false => heard(reached == Some(true) || from.head_end == Some(true)),
        };
        drawing.node("utility", UTILITY, utility_here, state);
    }
    if let Some(edge) = &from.edge {
        drawing.way(&edge.name, UTILITY, "only", only(edge.is_connected));
    }
    // A utility knows of edges elsewhere that they are there, and not yet their names.
    let further = from.edges.unwrap_or(0).saturating_sub(named);
    for number in 1..=further {
        let name = format!("edge, link {number}");
        drawing.node("edge", &name, false, heard(true));
        // Which of them is the edge of this process nobody tells, so none are told apart then.
        let told = from
            .gateways
            .get(number - 1)
            .filter(|_| from.edge.is_none());
        for gateway in told.into_iter().flatten() {
            drawing.node("gateway", gateway, false, heard(true));
            drawing.way(gateway, &name, "only", WayState::InUse);
        }
        drawing.way(&name, UTILITY, "only", WayState::InUse);
    }
    if let Some(is_connected) = from.head_end {
        let name = crate::headend::NODE;
        drawing.node("headend", name, true, here(is_connected));
        drawing.way(name, UTILITY, "only", only(is_connected));
    }
    if let Some(archive) = &from.archive {
        let is_up = archive.is_here || archive.is_connected;
        drawing.node("archive", &archive.name, archive.is_here, heard(is_up));
        if utility_here {
            let state = only(archive.is_connected);
            drawing.way(UTILITY, &archive.name, "only", state);
        }
    }
    drawing.topology
}

fn gateway_and_meters(drawing: &mut Drawing, gateway: &GatewayPlace) {
    let meters = format!("meters of {}", gateway.name);
    let count = u64::try_from(gateway.meters).unwrap_or(u64::MAX);
    drawing.node("meters", &meters, false, None);
    drawing.node("gateway", &gateway.name, true, here(gateway.is_connected));
    for node in &mut drawing.topology.nodes {
        node.meters = Some(count);
    }
    // No meter may be linked because none is there.
    let state = match gateway.meters {
        0 => WayState::Ready,
        _ => WayState::InUse,
    };
    drawing.way(&meters, &gateway.name, "only", state);
}

fn gateway_ways(drawing: &mut Drawing, gateway: &GatewayPlace) {
    let status = gateway.paths;
    let way = |rank, stands| match (status.in_use == Some(rank), stands) {
        (true, _) => WayState::InUse,
        (false, true) => WayState::Ready,
        (false, false) => WayState::Down,
    };
    let Some(edge) = &gateway.edge else {
        return;
    };
    let Some((backup, _)) = &gateway.backup else {
        drawing.node("edge", edge, false, heard(gateway.is_connected));
        drawing.way(&gateway.name, edge, "only", only(gateway.is_connected));
        return;
    };
    for (name, rank, word, stands) in [
        (edge, Rank::Primary, "primary", status.primary_stands),
        (backup, Rank::Backup, "backup", status.backup_stands),
    ] {
        drawing.node("edge", name, false, heard(stands));
        drawing.way(&gateway.name, name, word, way(rank, stands));
    }
}

/// The counters of those that have two ways.
pub(crate) fn paths(from: &Neighbours) -> Vec<PathsView> {
    let view = |gateway: &GatewayPlace| {
        let (_, config) = gateway.backup.as_ref()?;
        let status = gateway.paths;
        Some(PathsView {
            node: gateway.name.clone(),
            in_use: status.in_use.map(|rank| match rank {
                Rank::Primary => "primary",
                Rank::Backup => "backup",
            }),
            switches: status.switches,
            homecomings: status.homecomings,
            silences: status.silences,
            heartbeat_ms: config.heartbeat_every.map(millis),
            silence_max_ms: config.silence_max().map(millis),
            home_after_ms: millis(config.home_after),
        })
    };
    from.gateway.iter().filter_map(view).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The changes of ways that a process has seen.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// What was seen last, by node.
    seen: BTreeMap<String, Seen>,
    /// Newest first.
    changes: VecDeque<FailoverView>,
}

#[derive(Debug, Default)]
struct Seen {
    to: Option<String>,
    /// Since when there is no way, where there was one.
    lost: Option<UtcTime>,
    silences: u64,
    homecomings: u64,
}

impl Timeline {
    /// Compares a picture with the one before, and adds the changes so far to it. `speed` is how
    /// many times faster than time itself the picture's clock runs.
    pub(crate) fn look_at(&mut self, at: UtcTime, speed: u32, network: &mut Network) {
        let mut ways: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        for way in network
            .topology
            .ways
            .iter()
            .filter(|it| is_watched(network, it))
        {
            let in_use = ways.entry(&way.from).or_default();
            if way.state == WayState::InUse {
                *in_use = Some(&way.to);
            }
        }
        let gone: Vec<String> = self.seen.keys().cloned().collect();
        for node in &gone {
            ways.entry(node).or_default();
        }
        for (node, to) in ways {
            let counted = network.paths.iter().find(|it| it.node == node);
            let counted = counted.map_or((0, 0), |it| (it.silences, it.homecomings));
            let Some(seen) = self.seen.get_mut(node) else {
                let seen = Seen {
                    to: to.map(str::to_owned),
                    lost: None,
                    silences: counted.0,
                    homecomings: counted.1,
                };
                self.seen.insert(node.to_owned(), seen);
                continue;
            };
            if let Some(change) = seen.change(node, to, counted, at, speed) {
                self.changes.push_front(change);
            }
        }
        if self.seen.len() > Topology::NODES_MAX {
            self.seen.retain(|_, seen| seen.to.is_some());
        }
        self.changes.truncate(FailoverView::KEPT_MAX);
        network.failovers = self.changes.iter().cloned().collect();
    }
}

/// Meters come and go by themselves; their links are not ways between tiers.
fn is_watched(network: &Network, way: &NetworkWay) -> bool {
    let nodes = &network.topology.nodes;
    !nodes
        .iter()
        .any(|it| it.name == way.from && it.tier == "meters")
}

impl Seen {
    fn change(
        &mut self,
        node: &str,
        to: Option<&str>,
        (silences, homecomings): (u64, u64),
        at: UtcTime,
        speed: u32,
    ) -> Option<FailoverView> {
        let (was_silent, came_home) = (silences > self.silences, homecomings > self.homecomings);
        (self.silences, self.homecomings) = (silences, homecomings);
        if self.to.as_deref() == to {
            return None;
        }
        let from = std::mem::replace(&mut self.to, to.map(str::to_owned));
        if from.is_none() && self.lost.is_none() {
            // Its first way is no change.
            return None;
        }
        let why = match (&from, came_home, was_silent) {
            (None, _, _) => "found",
            (Some(_), true, _) => "homecoming",
            (Some(_), false, true) => "silence",
            (Some(_), false, false) => "lost",
        };
        let without_ms = match to {
            None => {
                self.lost = Some(at);
                None
            }
            Some(_) => self.lost.take().map(|since| {
                let passed = (at.as_millis() - since.as_millis()).max(0).unsigned_abs();
                passed / u64::from(speed.max(1))
            }),
        };
        Some(FailoverView {
            at,
            node: node.to_owned(),
            from,
            to: self.to.clone(),
            why,
            without_ms,
        })
    }
}

/// The gateways of each edge, as a utility hears of them.
pub(crate) fn gateways_told(trust: &[EdgeTrust]) -> Vec<Vec<String>> {
    let names = |edge: &EdgeTrust| {
        edge.gateways
            .iter()
            .filter_map(|it| it.name.clone())
            .collect()
    };
    trust.iter().map(names).collect()
}

/// The gateways whose meters an edge has: the names of those that have one, and how many have none.
pub(crate) fn gateways_of(node: &EdgeNode) -> (Vec<String>, usize) {
    let mut names: Vec<String> = node.edge().gateways().filter_map(|it| it.name).collect();
    names.sort_unstable();
    let unnamed = node.edge().gateways().count() - names.len();
    names.dedup();
    (names, unnamed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(in_use: Option<Rank>, primary: bool, backup: bool) -> Neighbours {
        Neighbours {
            gateway: Some(GatewayPlace {
                name: "gateway-1".to_owned(),
                meters: 3,
                is_connected: in_use.is_some(),
                edge: Some("a:1".to_owned()),
                backup: Some(("b:1".to_owned(), PathsConfig::TIERS)),
                paths: PathsStatus {
                    in_use,
                    primary_stands: primary,
                    backup_stands: backup,
                    ..PathsStatus::default()
                },
            }),
            ..Neighbours::default()
        }
    }

    fn ways(from: &Neighbours) -> Vec<String> {
        let word = |way: &NetworkWay| {
            let state = match way.state {
                WayState::InUse => "=",
                WayState::Ready => "-",
                WayState::Down => "x",
            };
            format!("{} {state} {} ({})", way.from, way.to, way.rank)
        };
        draw(from).ways.iter().map(word).collect()
    }

    #[test]
    fn the_way_in_use_and_the_other_one_are_drawn() {
        let cases = [
            (Some(Rank::Primary), true, true, ["=", "-"]),
            (Some(Rank::Backup), true, true, ["-", "="]),
            (Some(Rank::Backup), false, true, ["x", "="]),
            (None, false, false, ["x", "x"]),
        ];
        for (in_use, primary, backup, [first, second]) in cases {
            let from = gateway(in_use, primary, backup);
            let expected = [
                "meters of gateway-1 = gateway-1 (only)".to_owned(),
                format!("gateway-1 {first} a:1 (primary)"),
                format!("gateway-1 {second} b:1 (backup)"),
            ];
            assert_eq!(ways(&from), expected, "{in_use:?} {primary} {backup}");
            let seen = paths(&from);
            assert_eq!(seen[0].silence_max_ms, Some(1_500));
        }
    }

    #[test]
    fn a_whole_utility_is_one_picture() {
        let one_way = Neighbours {
            edge: Some(EdgePlace {
                name: "edge-1".to_owned(),
                gateways: vec!["gateway-1".to_owned(), "gateway-2".to_owned()],
                unnamed: 1,
                is_connected: true,
            }),
            edges: Some(2),
            gateways: vec![vec!["told".to_owned()]],
            head_end: Some(true),
            archive: Some(ArchivePlace {
                name: "archive-1".to_owned(),
                is_here: true,
                is_connected: false,
            }),
            ..gateway(Some(Rank::Primary), true, false)
        };
        let mut all = one_way;
        if let Some(gateway) = &mut all.gateway {
            gateway.backup = None;
            gateway.edge = Some("edge-1".to_owned());
        }
        assert_eq!(
            ways(&all),
            [
                "meters of gateway-1 = gateway-1 (only)",
                "gateway-1 = edge-1 (only)",
                "gateway-2 = edge-1 (only)",
                "edge-1 = utility (only)",
                "edge, link 1 = utility (only)",
                "headend-1 = utility (only)",
                "utility x archive-1 (only)",
            ]
        );
        assert_eq!(draw(&all).left_off, 1);
        assert_eq!(draw(&Neighbours::default()), Topology::default());
    }

    #[test]
    fn more_gateways_than_fit_are_counted() {
        let names = (0..Topology::NODES_MAX).map(|number| format!("gateway-{number}"));
        let crowd = Neighbours {
            edge: Some(EdgePlace {
                name: "edge-1".to_owned(),
                gateways: names.collect(),
                unnamed: 0,
                is_connected: false,
            }),
            ..Neighbours::default()
        };
        let drawn = draw(&crowd);
        assert_eq!(drawn.nodes.len(), Topology::NODES_MAX);
        // One gateway beside the edge, and the utility.
        assert_eq!(drawn.left_off, 2);
    }

    #[test]
    fn changes_say_from_where_to_where_and_why() {
        let (a, b) = (Some(Rank::Primary), Some(Rank::Backup));
        let steps = [
            (None, 0, 0, None),
            (a, 0, 0, None),
            (b, 1, 0, Some("a:1 > b:1 silence None")),
            (a, 1, 1, Some("b:1 > a:1 homecoming None")),
            (None, 1, 1, Some("a:1 > - lost None")),
            (None, 1, 1, None),
            (b, 1, 1, Some("- > b:1 found Some(2000)")),
        ];
        let mut timeline = Timeline::default();
        let mut changes = 0;
        for (second, (in_use, silences, homecomings, expected)) in (0_i64..).zip(steps) {
            let mut from = gateway(in_use, in_use == a, in_use == b);
            if let Some(gateway) = &mut from.gateway {
                gateway.paths.silences = silences;
                gateway.paths.homecomings = homecomings;
            }
            let mut network = Network {
                topology: draw(&from),
                paths: paths(&from),
                ..Network::default()
            };
            timeline.look_at(UtcTime::from_secs(second * 60), 60, &mut network);
            let new = network.failovers.len() > changes;
            changes = network.failovers.len();
            let told = network.failovers.first().filter(|_| new).map(|change| {
                let name = |end: &Option<String>| end.clone().unwrap_or("-".to_owned());
                let (from, to) = (name(&change.from), name(&change.to));
                format!("{from} > {to} {} {:?}", change.why, change.without_ms)
            });
            assert_eq!(told.as_deref(), expected, "step {second}");
        }
    }

    #[test]
    fn a_gateway_that_leaves_is_a_change_and_changes_are_bounded() {
        let mut timeline = Timeline::default();
        for second in 0..600 {
            let gateways = match second % 2 {
                0 => vec!["gateway-1".to_owned()],
                _ => Vec::new(),
            };
            let from = Neighbours {
                edge: Some(EdgePlace {
                    name: "edge-1".to_owned(),
                    gateways,
                    unnamed: 0,
                    is_connected: true,
                }),
                ..Neighbours::default()
            };
            let mut network = Network {
                topology: draw(&from),
                ..Network::default()
            };
            timeline.look_at(UtcTime::from_secs(second), 1, &mut network);
            let kept = usize::try_from(second).unwrap().min(FailoverView::KEPT_MAX);
            assert_eq!(network.failovers.len(), kept);
        }
    }
}
