//! The one place where links between our own tiers are made: what frames them, what bounds them,
//! and what would protect them.

use std::time::Duration;

use gridloom_host::{
    DialAddress, DialOptions, Framing, LinkLimits, ListenOptions, Listener, NodeIndex, Runner,
};
use gridloom_nodes::Node;

/// The first dial of a process comes within this time, so that tiers that start together do not
/// all dial at once.
const FIRST_DIAL_WITHIN: Duration = Duration::from_millis(100);

/// How tiers reach each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links;

impl Links {
    /// Lets a tier's lower neighbours in.
    pub(crate) fn listen<N: Node + Send + 'static>(
        &self,
        runner: &mut Runner<N>,
        node: NodeIndex,
        listener: Listener,
    ) {
        let options = ListenOptions {
            limits: LinkLimits::trunk(),
            ..ListenOptions::new(Framing::Envelope)
        };
        runner.listen(node, listener, options);
    }

    /// Keeps a tier connected to its upper neighbour.
    pub(crate) fn dial<N: Node + Send + 'static>(
        &self,
        runner: &mut Runner<N>,
        node: NodeIndex,
        neighbour: DialAddress,
    ) {
        let options = DialOptions {
            limits: LinkLimits::trunk(),
            first_within: FIRST_DIAL_WITHIN,
            ..DialOptions::new(Framing::Envelope)
        };
        runner.dial(node, neighbour, options);
    }
}
