//! The second way up that gateways and meters may have.

use std::time::Duration;

use gridloom_nodes::PathsConfig;

/// A second way up for whoever has one. Every other gateway has the second edge for its primary
/// one; the alternate of a meter is the gateway after its own, the first after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alternates {
    /// How patient gateways are with their edges.
    pub gateway: PathsConfig,
    /// How patient meters are with their gateways.
    pub meter: PathsConfig,
    /// After so long both ends of a meter's line notice that it carries nothing in one direction.
    pub keepalive: Duration,
    /// How long a gateway that has no edge keeps its meters.
    pub release_after: Duration,
}

impl Alternates {
    /// As deployed, but with a heartbeat each ten seconds: for runs of days, of which heartbeats
    /// would be most.
    pub fn unhurried() -> Self {
        let usual = Self::default();
        Self {
            gateway: PathsConfig {
                heartbeat_every: Some(Duration::from_secs(10)),
                ..usual.gateway
            },
            ..usual
        }
    }
}

impl Default for Alternates {
    fn default() -> Self {
        Self {
            gateway: PathsConfig::TIERS,
            meter: PathsConfig::METER,
            keepalive: Duration::from_millis(1_500),
            release_after: Duration::from_secs(1),
        }
    }
}
