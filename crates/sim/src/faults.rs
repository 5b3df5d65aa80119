//! What goes wrong in a world: bad links, cut cables, crashes, all drawn from a seed.

use std::time::Duration;

use gridloom_core::{Seed, UtcTime, seed};

use crate::hosted::Role;
use crate::link::{LinkModel, below, nanos};
use crate::world::{Fault, World};

/// How much goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultPlan {
    /// Between meters and gateways.
    pub field: LinkModel,
    /// Between all others.
    pub wide_area: LinkModel,
    /// Crashes of each node: 0 to this many.
    pub crashes_max: u64,
    /// How long a node stays down at most.
    pub down_max: Duration,
    /// Cuts of each cable: 0 to this many.
    pub cuts_max: u64,
    /// How long a cable stays cut at most.
    pub cut_max: Duration,
}

impl FaultPlan {
    /// A bad mesh, a bad network behind it, and every node crashes now and then.
    pub const LOSSY_FEEDER: Self = Self {
        field: LinkModel::BAD_MESH,
        wide_area: LinkModel::BAD_WIDE_AREA,
        crashes_max: 3,
        down_max: Duration::from_secs(40 * 60),
        cuts_max: 3,
        cut_max: Duration::from_secs(3 * 3_600),
    };

    /// Makes the links bad now, and lets cuts and crashes happen until `until`, when the last
    /// cable is mended and the last node runs again.
    pub fn schedule(&self, world: &mut World, seed: Seed, until: UtcTime) {
        let now = world.now().utc;
        let span = nanos(until.since(now));
        let cables: Vec<_> = world.cables().collect();
        for (number, (cable, lower)) in (0..).zip(cables) {
            let model = match lower {
                Role::Meter(_) => self.field,
                Role::Gateway(_)
                | Role::Edge
                | Role::Utility
                | Role::Archive
                | Role::HeadEnd
                | Role::Attacker(_) => self.wide_area,
            };
            world.set_model(cable, model);
            let mut rng = seed.child("cut").nth(number).rng();
            for _ in 0..below(&mut rng, self.cuts_max + 1) {
                let (from, to) = stretch(&mut rng, now, span, self.cut_max);
                world.schedule(from, Fault::Cut(cable));
                world.schedule(to, Fault::Mend(cable));
            }
        }
        let nodes: Vec<_> = world.nodes().collect();
        for (number, (node, _)) in (0..).zip(nodes) {
            let mut rng = seed.child("crash").nth(number).rng();
            for _ in 0..below(&mut rng, self.crashes_max + 1) {
                let (from, to) = stretch(&mut rng, now, span, self.down_max);
                let crash = match below(&mut rng, 4) {
                    0 => Fault::Crash(node),
                    _ => Fault::CrashWriting(node),
                };
                world.schedule(from, crash);
                world.schedule(to, Fault::Boot(node));
            }
        }
    }
}

/// A stretch of at most `longest` within `span` from `now` on.
fn stretch(rng: &mut seed::Rng, now: UtcTime, span: u64, longest: Duration) -> (UtcTime, UtcTime) {
    let from = below(rng, span.max(1));
    let to = (from + below(rng, nanos(longest).max(1))).min(span);
    (
        now + Duration::from_nanos(from),
        now + Duration::from_nanos(to),
    )
}
