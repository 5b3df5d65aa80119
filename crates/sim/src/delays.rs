//! How long readings were under way, in figures.

use gridloom_nodes::delay::{DelayHistogram, DelayReport};
use serde::Serialize;

/// The parts of T_e2e = T_m + T_g + T_e + T_u, and the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Delays {
    /// T_m: from the end of the interval to the gateway, with what the meter held back.
    pub meter: Delay,
    /// T_g: at the gateway, and to the edge.
    pub gateway: Delay,
    /// T_e: at the edge, and to the utility.
    pub edge: Delay,
    /// T_u: until it is durable.
    pub utility: Delay,
    /// T_e2e.
    pub whole: Delay,
}

/// One of them, in milliseconds; zero where none was measured. A percentile is at most an eighth
/// too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Delay {
    /// Readings measured.
    pub count: u64,
    /// The median.
    pub p50_ms: u64,
    /// 95 of a hundred were not longer.
    pub p95_ms: u64,
    /// 99 of a hundred were not longer.
    pub p99_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

impl Delays {
    /// The figures of a report.
    pub fn of(report: &DelayReport) -> Self {
        Self {
            meter: Delay::of(&report.meter),
            gateway: Delay::of(&report.gateway),
            edge: Delay::of(&report.edge),
            utility: Delay::of(&report.utility),
            whole: Delay::of(&report.whole),
        }
    }

    /// Each part by its name.
    pub const fn parts(&self) -> [(&'static str, Delay); 5] {
        [
            ("T_m", self.meter),
            ("T_g", self.gateway),
            ("T_e", self.edge),
            ("T_u", self.utility),
            ("T_e2e", self.whole),
        ]
    }
}

impl Delay {
    fn of(histogram: &DelayHistogram) -> Self {
        let millis =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let permille = |share| histogram.permille(share).map_or(0, millis);
        Self {
            count: histogram.count(),
            p50_ms: permille(500),
            p95_ms: permille(950),
            p99_ms: permille(990),
            max_ms: millis(histogram.longest()),
        }
    }
}
