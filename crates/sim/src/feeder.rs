//! The scenario of a lossy feeder: a few houses live through a month's end while everything
//! fails, then everything heals, and what must hold is checked.

use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Currency, Day, Period, Seed, UtcTime};
use gridloom_grid::Response;
use gridloom_store::{LedgerConfig, SpoolConfig};

use crate::checkers::{Checker, Violation};
use crate::faults::FaultPlan;
use crate::town::{Homes, Town, TownError, TownPlan, seeded_keys};
use crate::world::{Counters, Happened, World, WorldError, WorldPlan};

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct LossyFeeder {
    /// The seed of houses, links and faults.
    pub seed: u64,
    /// Houses.
    pub houses: u32,
    /// What goes wrong.
    pub faults: FaultPlan,
}

/// What a run found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeederError {
    /// The town.
    #[error(transparent)]
    Town(#[from] TownError),
    /// A node does not go on.
    #[error(transparent)]
    World(#[from] WorldError),
    /// Something that must hold does not.
    #[error("at {at}, {when}: {violation}")]
    Violated {
        /// When it was found.
        at: UtcTime,
        /// In which phase.
        when: &'static str,
        /// What.
        violation: Violation,
    },
}

/// A healed world in which everything held, and its checker.
#[derive(Debug)]
pub struct Settled {
    /// The world.
    pub world: World,
    /// The checker, with what it saw.
    pub checker: Checker,
}

impl Settled {
    /// What happened on the way.
    pub fn counters(&self) -> Counters {
        self.world.counters()
    }
}

impl LossyFeeder {
    /// Faults happen for so long after the start.
    pub const FAULTS: Duration = Duration::from_secs(42 * 3_600);

    /// Healed, a world has so long to settle: past the next seal of a day, and far beyond the
    /// longest backoff of a meter.
    pub const HEALED: Duration = Duration::from_secs(8 * 3_600 + 40 * 60);

    /// Three houses and the standard faults.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            houses: 3,
            faults: FaultPlan::LOSSY_FEEDER,
        }
    }

    /// Runs through faults and healing. Safety is checked after every crash and restart.
    ///
    /// # Errors
    ///
    /// [`FeederError`]: what does not hold.
    ///
    /// # Panics
    ///
    /// If a node breaks its own contract.
    pub fn run(&self) -> Result<Settled, FeederError> {
        let seed = Seed::new(self.seed);
        // Two days across the end of a month, so that bills are made while everything fails.
        let start = Day::from_ymd(2026, 4, 30).expect("a date").start();
        let town = Town::new(
            TownPlan {
                seed,
                period: Period::HALF_HOUR,
                start,
                currency: Currency::new("EUR", 2).expect("a currency"),
                homes: Homes::Households {
                    count: self.houses,
                    response: Response::Off,
                },
            },
            seeded_keys(seed),
        )?;
        let plan = WorldPlan {
            meters_per_gateway: 2,
            // So small that segments are finished, dropped and torn within a day.
            ledger: LedgerConfig {
                segment_bytes: 4_096,
                ..LedgerConfig::default()
            },
            // So small that segments are finished, dropped and torn here too.
            spool: SpoolConfig {
                segment_bytes: 2_048,
                in_flight_max: 64,
                ..SpoolConfig::default()
            },
            ..WorldPlan::default()
        };
        let mut world = World::new(seed, Arc::new(town), plan)?;
        let mut checker = Checker::default();
        let mut found = None;
        let faults_end = start + Self::FAULTS;
        self.faults
            .schedule(&mut world, seed.child("faults"), faults_end);
        world.run_until(faults_end, |world, happened| {
            if found.is_none() {
                found = checker.check_safety(world).err().map(|violation| {
                    let when = match happened {
                        Happened::Crashed(_) => "after a crash",
                        Happened::Booted(_) => "after a restart",
                    };
                    violated(world, when, violation)
                });
            }
        })?;
        if let Some(found) = found {
            return Err(found);
        }
        world.heal()?;
        world.run_until(faults_end + Self::HEALED, |_, _| {})?;
        checker
            .check_settled(&world)
            .map_err(|violation| violated(&world, "healed and settled", violation))?;
        Ok(Settled { world, checker })
    }
}

fn violated(world: &World, when: &'static str, violation: Violation) -> FeederError {
    FeederError::Violated {
        at: world.now().utc,
        when,
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
        let mut scenario = LossyFeeder::new(5);
        scenario.faults.crashes_max = 0;
        scenario.faults.cuts_max = 0;
        let Settled { world, .. } = scenario.run().unwrap();
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
