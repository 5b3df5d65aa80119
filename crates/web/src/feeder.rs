//! The distribution feeder that the houses are on, as its power flow has it.
//!
//! On the wire voltages are volts or per unit of nominal, currents amperes, powers watts, shares
//! 1 for all of a rating. What is not known is `null`.

use gridloom_core::UtcTime;
use serde::{Serialize, Serializer};

/// Who knows the feeder.
pub trait FeederSource: Send + Sync {
    /// The feeder now; `None` before anything was solved.
    fn picture(&self) -> Option<FeederPicture>;
}

/// The feeder at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeederPicture {
    /// The minute that is shown begins here.
    #[serde(serialize_with = "text")]
    pub at: UtcTime,
    /// Why a minute had no solution; what is shown is then what was before it.
    pub failure: Option<String>,
    /// Power from the sources, in watts.
    pub supplied_w: f64,
    /// Power into loads, in watts.
    pub consumed_w: f64,
    /// Power lost in lines and transformers, in watts.
    pub losses_w: f64,
    /// Buses, in the order of the feeder's files; at most [`FeederPicture::BUSES_MAX`].
    pub nodes: Vec<FeederNode>,
    /// Lines, switches, transformers and banks that carry something or are open, in the order of
    /// the files; at most [`FeederPicture::BRANCHES_MAX`].
    pub branches: Vec<FeederBranch>,
    /// Transformers that feed houses.
    pub transformers: Vec<FeederTransformer>,
    /// Houses by meter.
    pub meters: Vec<FeederMeter>,
}

impl FeederPicture {
    /// Buses of one picture; further ones are left off.
    pub const BUSES_MAX: usize = 20_000;
    /// Branches of one picture; further ones are left off.
    pub const BRANCHES_MAX: usize = 20_000;
}

/// A bus.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeederNode {
    /// Its name.
    pub name: String,
    /// Its conductors: 1, 2 and 3 are phases.
    pub phases: Vec<u8>,
    /// Voltage to earth per unit of nominal, by conductor.
    pub volts_pu: Vec<f64>,
    /// Whether all of them have a source.
    pub energised: bool,
}

/// Something between buses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeederBranch {
    /// Class and name.
    pub name: String,
    /// Whether all its terminals are closed.
    pub closed: bool,
    /// The largest current of a conductor, in amperes.
    pub amperes: f64,
    /// Active power into its first terminal, in watts.
    pub watts: f64,
    /// Its largest current as a share of its rating.
    pub loading: Option<f64>,
    /// What it loses, in watts.
    pub losses_w: f64,
    /// A regulator's position, in steps from nominal.
    pub tap: Option<i32>,
    /// Top oil in °C.
    pub oil_c: Option<f64>,
}

/// A transformer that feeds houses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeederTransformer {
    /// Its name.
    pub name: String,
    /// Houses that it is the nearest transformer of.
    pub houses: usize,
    /// Power at its secondary side, without that of transformers behind it, in watts.
    pub delivered_w: f64,
    /// Power of its houses, in watts.
    pub metered_w: f64,
    /// What is lost between, in watts.
    pub losses_w: f64,
}

/// A house's meter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeederMeter {
    /// The meter's number.
    pub meter: u32,
    /// Its transformer's name.
    pub transformer: String,
    /// Its phase, such as `2` or `1-3`.
    pub phase: String,
    /// Its bus.
    pub bus: String,
    /// Its voltage, in volts; zero without supply.
    pub volts: f64,
}

fn text<S: Serializer>(at: &UtcTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}
