//! A scenario and a seed: everything fails for a while, then everything heals, and what must hold
//! is checked in both phases.

mod file;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Currency, Day, MeterId, Period, Seed, UtcTime};
use gridloom_grid::Response;
use gridloom_store::{LedgerConfig, SpoolConfig};
use serde::Serialize;

use crate::alternates::Alternates;
use crate::assault::Assault;
use crate::attack::AttackPlan;
use crate::checkers::{Account, Checker, Violation};
use crate::delays::Delays;
use crate::disk::Trouble;
use crate::faults::FaultPlan;
use crate::head_end::HeadEndPlan;
use crate::hosted::Role;
use crate::link::LinkModel;
use crate::sabotage::Sabotage;
use crate::town::{
    Homes, Town, TownError, TownPlan, interrupt, seeded_keys, shipped, standard_response,
};
use crate::world::{
    CableIndex, Counters, Fault, Happened, NodeIndex, Way, World, WorldError, WorldPlan,
};

pub use file::FileError;

/// A scenario, as a file says it or a test makes it.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What it is called.
    pub name: String,
    /// What it is about, in a sentence.
    pub about: String,
    /// Houses.
    pub houses: u32,
    /// Meters on each gateway.
    pub meters_per_gateway: usize,
    /// The capture period.
    pub period: Period,
    /// The first day.
    pub start: Day,
    /// How people answer prices.
    pub response: Response,
    /// The shipped feeder that the houses are on, if they are on one.
    pub feeder: Option<String>,
    /// Whether a head-end stands above the utility, and reads every hour.
    pub has_head_end: bool,
    /// Whether there is a second edge, and a second way up for every gateway and meter.
    pub has_alternates: bool,
    /// Bytes of a journal segment: so few that some are finished, dropped and torn within a day.
    pub segment_bytes: u64,
    /// Bytes of the spool of each gateway and edge.
    pub spool_bytes: u64,
    /// Links between meters and gateways as they are laid.
    pub field: LinkModel,
    /// All other links as they are laid.
    pub wide_area: LinkModel,
    /// What goes wrong by chance.
    pub faults: FaultPlan,
    /// Who attacks.
    pub assault: Option<Assault>,
    /// What happens at its time.
    pub schedule: Vec<Incident>,
    /// What is opened on the feeder.
    pub outages: Vec<Outage>,
    /// How long faults happen.
    pub faults_for: Duration,
    /// How long a healed world has to settle: past the next seal of a day, and far beyond the
    /// longest backoff of a meter.
    pub settle_for: Duration,
}

/// An element of the feeder that is opened for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// When, after the start; rounded up to a minute.
    pub after: Duration,
    /// How long.
    pub lasts: Duration,
    /// Class and name, such as `line.650632`.
    pub element: String,
}

/// A fault at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incident {
    /// When, after the start.
    pub after: Duration,
    /// How long.
    pub lasts: Duration,
    /// At which node, or at which node's cable upwards.
    pub role: Role,
    /// What.
    pub mishap: Mishap,
}

/// What can happen at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// The node is down.
    Crash,
    /// The node crashes while it writes next, and is down.
    CrashWriting,
    /// Its disk has no room.
    DiskFull,
    /// Its disk refuses writes.
    DiskFails,
    /// A bit of its journal flips.
    Rot,
    /// Its clock is ahead by so many milliseconds.
    ClockStep(i64),
    /// Its cable is cut.
    Cut,
    /// Its cable carries nothing in one direction.
    OneWay(Way),
    /// Its cable is another.
    Degrade(LinkModel),
}

/// What a run found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// The town.
    #[error(transparent)]
    Town(#[from] TownError),
    /// A node does not go on.
    #[error("{error}")]
    World {
        /// Why.
        error: WorldError,
        /// The last events of every node above the gateways, if they were kept.
        timeline: Vec<String>,
    },
    /// The scenario names a node that its town does not have.
    #[error("scenario: there is no {0} in this town; give more houses, or another node")]
    NoNode(String),
    /// Something that must hold does not.
    #[error("at {at}, {when}: {violation}")]
    Violated {
        /// When it was found.
        at: UtcTime,
        /// In which phase.
        when: &'static str,
        /// What.
        violation: Violation,
        /// The last events of the nodes involved, if they were kept.
        timeline: Vec<String>,
    },
}

impl TrialError {
    /// What happened before, if it was kept.
    pub fn timeline(&self) -> &[String] {
        match self {
            Self::World { timeline, .. } | Self::Violated { timeline, .. } => timeline,
            Self::Town(_) | Self::NoNode(_) => &[],
        }
    }
}

/// A healed world in which everything held, and its checker.
#[derive(Debug)]
pub struct Settled {
    /// The world.
    pub world: World,
    /// The checker, with what it saw.
    pub checker: Checker,
    /// Where every interval is.
    pub account: Account,
}

impl Settled {
    /// What happened on the way.
    pub fn counters(&self) -> Counters {
        self.world.counters()
    }

    /// The run in figures.
    pub fn report(&self, seed: u64) -> TrialReport {
        TrialReport {
            seed,
            account: self.account,
            counters: self.counters(),
            delays: Delays::of(&self.world.delays()),
        }
    }
}

/// A run in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TrialReport {
    /// Its seed.
    pub seed: u64,
    /// Where every interval is.
    pub account: Account,
    /// What happened on the way.
    pub counters: Counters,
    /// How long readings were under way.
    pub delays: Delays,
}

/// How a run is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watch {
    /// As fast as it goes.
    #[default]
    Quiet,
    /// The last events of every node are kept, and explain what is found.
    Explain,
}

impl Trial {
    /// The scenario of a lossy feeder: two days across the end of a month, so that bills are made
    /// while everything fails.
    pub fn lossy_feeder() -> Self {
        Self {
            name: "lossy-feeder".to_owned(),
            about: "a bad mesh, a bad network behind it, and every node crashes".to_owned(),
            houses: 3,
            meters_per_gateway: 2,
            period: Period::HALF_HOUR,
            start: Day::from_ymd(2026, 4, 30).expect("a date"),
            response: Response::Off,
            feeder: None,
            has_head_end: false,
            has_alternates: false,
            segment_bytes: 4_096,
            spool_bytes: 262_144,
            field: LinkModel::FIELD,
            wide_area: LinkModel::WIDE_AREA,
            faults: FaultPlan::LOSSY_FEEDER,
            assault: None,
            schedule: Vec::new(),
            outages: Vec::new(),
            faults_for: Duration::from_secs(42 * 3_600),
            settle_for: Duration::from_secs(8 * 3_600 + 40 * 60),
        }
    }

    /// After the end of an interval nobody asks for its readings and its price for so long.
    pub const GRACE: Duration = Duration::from_mins(10);

    /// Runs one seed through faults and healing. Safety is checked after every crash and restart.
    ///
    /// # Errors
    ///
    /// [`TrialError`]: what does not hold.
    ///
    /// # Panics
    ///
    /// If a node breaks its own contract.
    pub fn run(&self, seed: u64, watch: Watch) -> Result<Settled, TrialError> {
        self.run_sabotaged(seed, watch, None)
    }

    /// The same in a world that breaks what must hold, once: for whoever tests the checkers.
    ///
    /// # Errors
    ///
    /// [`TrialError`]: what does not hold.
    ///
    /// # Panics
    ///
    /// If a node breaks its own contract.
    pub fn run_sabotaged(
        &self,
        seed: u64,
        watch: Watch,
        sabotage: Option<Sabotage>,
    ) -> Result<Settled, TrialError> {
        let (mut world, liars) = self.build(Seed::new(seed))?;
        world.watch_traffic();
        if watch == Watch::Explain {
            world.keep_timeline();
        }
        if let Some(sabotage) = sabotage {
            world.sabotage(sabotage);
        }
        let mut checker = Checker::but_for(liars);
        let faults_end = self.start.start() + self.faults_for;
        self.faults
            .schedule(&mut world, Seed::new(seed).child("faults"), faults_end);
        for incident in &self.schedule {
            incident.schedule(&mut world)?;
        }
        let mut found = None;
        let ran = world.run_until(faults_end, |world, happened| {
            if found.is_none() {
                found = checker.check_safety(world).err().map(|violation| {
                    let when = match happened {
                        Happened::Crashed(_) => "after a crash",
                        Happened::Booted(_) => "after a restart",
                    };
                    violated(world, when, violation)
                });
            }
        });
        if let Some(found) = found {
            return Err(found);
        }
        ran.map_err(|error| stopped(&world, error))?;
        checker
            .check_safety(&world)
            .map_err(|violation| violated(&world, "before the healing", violation))?;
        world.heal().map_err(|error| stopped(&world, error))?;
        world
            .run_until(self.settled_at(), |_, _| {})
            .map_err(|error| stopped(&world, error))?;
        checker
            .check_settled(&world)
            .map_err(|violation| violated(&world, "healed and settled", violation))?;
        let account = checker
            .account(&world)
            .map_err(|violation| violated(&world, "healed and settled", violation))?;
        Ok(Settled {
            world,
            checker,
            account,
        })
    }

    /// When a healed world is judged: what has just been captured had time to arrive.
    fn settled_at(&self) -> UtcTime {
        let at = self.start.start() + self.faults_for + self.settle_for;
        let next = self.period.next_end(at);
        let last = next - self.period.duration();
        at.max(last + Self::GRACE)
    }

    fn build(&self, seed: Seed) -> Result<(World, BTreeSet<MeterId>), TrialError> {
        let start = self.start.start();
        let mut town = Town::new(
            TownPlan {
                seed,
                period: self.period,
                start,
                currency: Currency::new("EUR", 2).expect("a currency"),
                homes: Homes::Households {
                    count: self.houses,
                    response: self.response,
                },
            },
            seeded_keys(seed),
        )?;
        if let Some(feeder) = &self.feeder {
            town = town.on_feeder(shipped(feeder)?, seeded_keys(seed))?;
            for outage in &self.outages {
                let from = start + outage.after;
                interrupt(&town, &outage.element, from, from + outage.lasts)?;
            }
        }
        let plan = WorldPlan {
            field: self.field,
            wide_area: self.wide_area,
            meters_per_gateway: self.meters_per_gateway,
            ledger: LedgerConfig {
                segment_bytes: self.segment_bytes,
                ..LedgerConfig::default()
            },
            spool: SpoolConfig {
                bytes_max: self.spool_bytes,
                segment_bytes: (self.spool_bytes / 64).max(1_024),
                ..SpoolConfig::default()
            },
            head_end: self.has_head_end.then(HeadEndPlan::hourly),
            alternates: self.has_alternates.then(Alternates::unhurried),
        };
        let meters = town.meters();
        let liars = self.assault.map_or(&[][..], Assault::liars);
        let liars = liars.iter().map(|house| meters[*house]).collect();
        let attack = self
            .assault
            .map_or(AttackPlan::PEACE, |assault| assault.plan(start));
        let world = World::under_attack(seed, Arc::new(town), plan, attack).map_err(|error| {
            TrialError::World {
                error,
                timeline: Vec::new(),
            }
        })?;
        Ok((world, liars))
    }
}

impl Incident {
    fn schedule(&self, world: &mut World) -> Result<(), TrialError> {
        let missing = || TrialError::NoNode(self.role.name());
        let node = world.node(self.role).ok_or_else(missing)?;
        let from = world.town().plan().start + self.after;
        let to = from + self.lasts;
        let node_fault = |node: NodeIndex| match self.mishap {
            Mishap::Crash => Some((Fault::Crash(node), Some(Fault::Boot(node)))),
            Mishap::CrashWriting => Some((Fault::CrashWriting(node), Some(Fault::Boot(node)))),
            Mishap::DiskFull => Some((Fault::Disk(node, Trouble::Full), Some(Fault::Room(node)))),
            Mishap::DiskFails => {
                Some((Fault::Disk(node, Trouble::Failing), Some(Fault::Room(node))))
            }
            Mishap::Rot => Some((Fault::Rot(node), None)),
            Mishap::ClockStep(by) => Some((Fault::Step(node, by), Some(Fault::Step(node, -by)))),
            Mishap::Cut | Mishap::OneWay(_) | Mishap::Degrade(_) => None,
        };
        if let Some((fault, end)) = node_fault(node) {
            world.schedule(from, fault);
            if let Some(end) = end {
                world.schedule(to, end);
            }
            return Ok(());
        }
        let cable = world.cable_above(node).ok_or_else(missing)?;
        let cable_fault = |cable: CableIndex| match self.mishap {
            Mishap::OneWay(way) => (Fault::Mute(cable, way), Fault::Unmute(cable)),
            Mishap::Degrade(model) => (Fault::Degrade(cable, model), Fault::Restore(cable)),
            Mishap::Cut
            | Mishap::Crash
            | Mishap::CrashWriting
            | Mishap::DiskFull
            | Mishap::DiskFails
            | Mishap::Rot
            | Mishap::ClockStep(_) => (Fault::Cut(cable), Fault::Mend(cable)),
        };
        let (fault, end) = cable_fault(cable);
        world.schedule(from, fault);
        world.schedule(to, end);
        Ok(())
    }
}

fn stopped(world: &World, error: WorldError) -> TrialError {
    let nodes = world.involved(None);
    TrialError::World {
        timeline: world.timeline(&nodes),
        error,
    }
}

fn violated(world: &World, when: &'static str, violation: Violation) -> TrialError {
    let nodes = world.involved(violation.meter());
    TrialError::Violated {
        at: world.now().utc,
        when,
        timeline: world.timeline(&nodes),
        violation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::{check_energy, check_profile};

    /// What a store cannot show: the meter against its house, and against the clock.
    #[test]
    fn a_meter_that_measured_another_house_or_missed_an_interval_is_found() {
        let mut trial = Trial::lossy_feeder();
        trial.faults = FaultPlan::NONE;
        let Settled { world, .. } = trial.run(5, Watch::Quiet).unwrap();
        let start = world.town().plan().start;
        let now = world.now().utc;
        let houses = world.town().houses();
        let (_, node) = world.meters().next().unwrap();
        check_energy(&houses[0], node.meter(), start).unwrap();
        let violation = check_energy(&houses[1], node.meter(), start).unwrap_err();
        assert!(matches!(violation, Violation::Energy { .. }), "{violation}");
        check_profile(&houses[0], node.meter(), start, now).unwrap();
        for (from, to) in [
            (start - Duration::from_secs(1_800), now),
            (start, now + Duration::from_secs(1_800)),
        ] {
            let violation = check_profile(&houses[0], node.meter(), from, to).unwrap_err();
            assert!(
                matches!(violation, Violation::NotCaptured { .. }),
                "{violation}"
            );
        }
    }
}
