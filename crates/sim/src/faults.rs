//! What goes wrong in a world: bad links, cut cables, crashes, disks, clocks, all drawn from a seed.

use std::time::Duration;

use gridloom_core::{Seed, UtcTime, seed};

use crate::disk::Trouble;
use crate::hosted::Role;
use crate::link::{LinkModel, below, nanos};
use crate::world::{CableIndex, Fault, NodeIndex, Way, World};

/// How much goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultPlan {
    /// Between meters and gateways, while faults happen.
    pub field: LinkModel,
    /// Between all others.
    pub wide_area: LinkModel,
    /// Crashes of each node: 0 to this many.
    pub crashes_max: u64,
    /// How long a node stays down at most.
    pub down_max: Duration,
    /// Cuts of each cable: 0 to this many.
    pub cuts_max: u64,
    /// How long a cable stays cut at most, in one direction or both.
    pub cut_max: Duration,
    /// Times that a cable carries nothing in one direction: 0 to this many.
    pub one_way_max: u64,
    /// Times that each disk refuses writes, because it is full or because it fails: 0 to this
    /// many.
    pub disks_max: u64,
    /// How long it refuses them at most.
    pub disk_max: Duration,
    /// Bits of the utility's journal that flip: 0 to this many.
    pub rots_max: u64,
    /// Jumps of each clock but the meters': 0 to this many.
    pub steps_max: u64,
    /// How far a clock jumps at most, to both sides.
    pub step_max: Duration,
    /// How far a clock drifts at most, to both sides, in millionths. A meter drifts by itself.
    pub drift_ppm_max: u16,
}

impl FaultPlan {
    /// Nothing goes wrong on healthy links.
    pub const NONE: Self = Self {
        field: LinkModel::FIELD,
        wide_area: LinkModel::WIDE_AREA,
        crashes_max: 0,
        down_max: Duration::ZERO,
        cuts_max: 0,
        cut_max: Duration::ZERO,
        one_way_max: 0,
        disks_max: 0,
        disk_max: Duration::ZERO,
        rots_max: 0,
        steps_max: 0,
        step_max: Duration::ZERO,
        drift_ppm_max: 0,
    };

    /// A bad mesh, a bad network behind it, and every node crashes now and then.
    pub const LOSSY_FEEDER: Self = Self {
        field: LinkModel::BAD_MESH,
        wide_area: LinkModel::BAD_WIDE_AREA,
        crashes_max: 3,
        down_max: Duration::from_secs(40 * 60),
        cuts_max: 3,
        cut_max: Duration::from_secs(3 * 3_600),
        ..Self::NONE
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
                | Role::BackupEdge
                | Role::Utility
                | Role::Archive
                | Role::HeadEnd
                | Role::Attacker(_) => self.wide_area,
            };
            world.set_model(cable, model);
            self.cut(world, seed, number, cable, now, span);
        }
        let nodes: Vec<_> = world.nodes().collect();
        for (number, (node, role)) in (0..).zip(nodes) {
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
            self.hurt_disk(world, seed, number, node, now, span);
            if role == Role::Utility {
                let mut rng = seed.child("rot").rng();
                for _ in 0..below(&mut rng, self.rots_max + 1) {
                    let (at, _) = stretch(&mut rng, now, span, self.disk_max);
                    world.schedule(at, Fault::Rot(node));
                }
            }
            if !matches!(role, Role::Meter(_) | Role::Attacker(_)) {
                self.shift_clock(world, seed, number, node, now, span);
            }
        }
    }

    fn cut(
        &self,
        world: &mut World,
        seed: Seed,
        number: u64,
        cable: CableIndex,
        now: UtcTime,
        span: u64,
    ) {
        let mut rng = seed.child("cut").nth(number).rng();
        for _ in 0..below(&mut rng, self.cuts_max + 1) {
            let (from, to) = stretch(&mut rng, now, span, self.cut_max);
            world.schedule(from, Fault::Cut(cable));
            world.schedule(to, Fault::Mend(cable));
        }
        let mut rng = seed.child("one way").nth(number).rng();
        for _ in 0..below(&mut rng, self.one_way_max + 1) {
            let (from, to) = stretch(&mut rng, now, span, self.cut_max);
            let way = if below(&mut rng, 2) == 0 {
                Way::Up
            } else {
                Way::Down
            };
            world.schedule(from, Fault::Mute(cable, way));
            world.schedule(to, Fault::Unmute(cable));
        }
    }

    fn hurt_disk(
        &self,
        world: &mut World,
        seed: Seed,
        number: u64,
        node: NodeIndex,
        now: UtcTime,
        span: u64,
    ) {
        let mut rng = seed.child("disk").nth(number).rng();
        for _ in 0..below(&mut rng, self.disks_max + 1) {
            let (from, to) = stretch(&mut rng, now, span, self.disk_max);
            let trouble = if below(&mut rng, 2) == 0 {
                Trouble::Full
            } else {
                Trouble::Failing
            };
            world.schedule(from, Fault::Disk(node, trouble));
            world.schedule(to, Fault::Room(node));
        }
    }

    fn shift_clock(
        &self,
        world: &mut World,
        seed: Seed,
        number: u64,
        node: NodeIndex,
        now: UtcTime,
        span: u64,
    ) {
        let mut rng = seed.child("clock").nth(number).rng();
        for _ in 0..below(&mut rng, self.steps_max + 1) {
            let (at, _) = stretch(&mut rng, now, span, self.step_max);
            world.schedule(at, Fault::Step(node, either_way(&mut rng, self.step_max)));
        }
        if self.drift_ppm_max > 0 {
            let most = u64::from(self.drift_ppm_max);
            let ppm = below(&mut rng, 2 * most + 1);
            let ppm = i32::try_from(ppm).unwrap_or(0) - i32::from(self.drift_ppm_max);
            world.schedule(now, Fault::Drift(node, ppm));
        }
    }
}

/// Milliseconds, up to `most` to both sides.
fn either_way(rng: &mut seed::Rng, most: Duration) -> i64 {
    let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX >> 2);
    let drawn = below(rng, 2 * most + 1);
    i64::try_from(drawn).unwrap_or(0) - i64::try_from(most).unwrap_or(0)
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
