//! Buses and their nodes: a bus is a place, a node one conductor there.

use std::collections::BTreeMap;

/// Most buses a network may have; one more is refused with [`super::NetworkError::TooLarge`].
pub const BUSES_MAX: usize = 200_000;

/// A place in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BusId(pub(crate) usize);

/// One conductor at a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub(crate) usize);

/// Where a conductor of an element ends; `None` is earth.
pub type Terminal = Option<NodeId>;

/// One conductor at a bus: phases are 1, 2, 3; neutrals and secondaries what their file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// The bus.
    pub bus: BusId,
    /// The number within the bus, one or more.
    pub number: u8,
}

/// All buses of a network, by number and by name.
#[derive(Debug, Clone, Default)]
pub struct Buses {
    names: Vec<String>,
    by_name: BTreeMap<String, BusId>,
    nodes: Vec<Node>,
    by_place: BTreeMap<(BusId, u8), NodeId>,
    base_volts: BTreeMap<BusId, f64>,
}

impl Buses {
    /// The bus of that name, made if it is new. Names do not differ by case.
    pub fn bus(&mut self, name: &str) -> BusId {
        let name = name.to_ascii_lowercase();
        if let Some(id) = self.by_name.get(&name) {
            return *id;
        }
        let id = BusId(self.names.len());
        self.names.push(name.clone());
        self.by_name.insert(name, id);
        id
    }

    /// The node of that number at a bus, made if it is new; number 0 is earth.
    pub fn node(&mut self, bus: BusId, number: u8) -> Terminal {
        if number == 0 {
            return None;
        }
        if let Some(id) = self.by_place.get(&(bus, number)) {
            return Some(*id);
        }
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node { bus, number });
        self.by_place.insert((bus, number), id);
        Some(id)
    }

    /// The bus of that name, if there is one.
    pub fn find(&self, name: &str) -> Option<BusId> {
        self.by_name.get(&name.to_ascii_lowercase()).copied()
    }

    /// The node of that number at a bus, if there is one.
    pub fn find_node(&self, bus: BusId, number: u8) -> Option<NodeId> {
        self.by_place.get(&(bus, number)).copied()
    }

    /// The name of a bus, in lower case.
    pub fn name(&self, bus: BusId) -> &str {
        &self.names[bus.0]
    }

    /// What a node is.
    pub fn place(&self, node: NodeId) -> Node {
        self.nodes[node.0]
    }

    /// A node as people write it, such as `671.3`.
    pub fn label(&self, node: NodeId) -> String {
        let place = self.place(node);
        format!("{}.{}", self.name(place.bus), place.number)
    }

    /// How many buses.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// No bus at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Every bus, in the order of their making.
    pub fn ids(&self) -> impl Iterator<Item = BusId> + use<> {
        (0..self.names.len()).map(BusId)
    }

    /// Every node, in the order of their making.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, Node)> + '_ {
        self.nodes
            .iter()
            .enumerate()
            .map(|(at, node)| (NodeId(at), *node))
    }

    /// The nominal voltage of a bus, phase to earth, in volts; `None` until it is known.
    pub fn base_volts(&self, bus: BusId) -> Option<f64> {
        self.base_volts.get(&bus).copied()
    }

    /// Sets the nominal voltage of a bus, phase to earth, in volts.
    pub fn set_base_volts(&mut self, bus: BusId, volts: f64) {
        self.base_volts.insert(bus, volts);
    }
}
