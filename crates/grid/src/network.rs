//! A three-phase distribution network and its power flow.
//!
//! A [`Network`] is buses and the elements between them. [`PowerFlow`] solves it; [`Topology`]
//! says what feeds what; [`balance`] adds up what each transformer passes and loses.
//!
//! ```
//! use gridloom_grid::network::{
//!     Connection, Kind, Law, Line, Load, Matrix, Network, Options, Phasor, PowerFlow, Source,
//!     VoltageLimits,
//! };
//!
//! let mut network = Network::new();
//! let ends = network.terminal("head", &[1]);
//! let stiff = Phasor::new(0.0, 1e-6);
//! let source = Source::symmetrical(1, 230.0, 0.0, stiff, stiff);
//! network.add("source.grid", Kind::Source(source), ends.clone()).unwrap();
//! let far = network.terminal("house", &[1]);
//! let line = Line {
//!     impedance: Matrix::balanced(1, Phasor::new(0.5, 0.0), Phasor::new(0.0, 0.0)),
//!     shunt: Matrix::zeros(1),
//!     rating_amperes: Some(100.0),
//! };
//! network.add("line.service", Kind::Line(line), [ends, far.clone()].concat()).unwrap();
//! let load = Load {
//!     power: Load::shared(4.6, 0.0, 1),
//!     kv: 0.23,
//!     connection: Connection::Wye,
//!     law: Law::Impedance,
//!     limits: VoltageLimits::NONE,
//! };
//! let node = far[0].unwrap();
//! network.add("load.house", Kind::Load(load), vec![far[0], None]).unwrap();
//! let mut flow = PowerFlow::new(network, Options::default()).unwrap();
//! flow.solve().unwrap();
//! // 11.5 Ω behind 0.5 Ω.
//! assert!((flow.voltage(node).re - 230.0 * 11.5 / 12.0).abs() < 1e-3);
//! ```

pub mod balance;
mod bus;
mod capacitor;
pub mod complex;
mod connection;
pub(crate) mod control;
mod element;
mod error;
mod factor;
mod line;
mod load;
mod matrix;
mod meter_point;
mod model;
mod plan;
mod power_flow;
mod regulator;
mod sequence_branch;
mod source;
mod switch;
mod tap_changer;
mod topology;
mod transformer;
mod voltage_regulator;

pub use bus::{BUSES_MAX, BusId, Buses, Node, NodeId, Terminal};
pub use capacitor::Capacitor;
pub use complex::Phasor;
pub use connection::Connection;
pub use element::{Element, ElementId, Kind};
pub use error::NetworkError;
pub use line::{Line, LineCode};
pub use load::{Generator, Law, Load, Plant, VoltageLimits};
pub use matrix::{Matrix, ORDER_MAX};
pub use meter_point::{MeterPoint, PhaseValues};
pub use model::{ELEMENTS_MAX, Network};
pub use power_flow::{
    Controls, Convergence, ITERATIONS_MAX, Options, PowerFlow, assign_voltage_bases, unloaded_volts,
};
pub use regulator::{CONTROL_STEPS_MAX, CapacitorControl, CapacitorLaw, Regulator, Watched};
pub use sequence_branch::SequenceBranch;
pub use source::Source;
pub use switch::{CLOSED_OHMS, switch};
pub use tap_changer::{POSITIONS_MAX, TURNS_MAX, TapChanger, TapStrategy};
pub use topology::{Attachment, Step, Topology};
pub use transformer::{Displacement, Transformer, WINDINGS_MAX, Winding, short_circuit_impedance};
pub use voltage_regulator::{CORRECTIONS_MAX, VoltageRegulator};
