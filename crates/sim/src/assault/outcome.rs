//! One assault on one town: what became of the attacker's frames, of the honest readings, and
//! whether anybody noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Currency, Day, MeterId, Period, Seed, SystemTitle, UtcTime};
use gridloom_edge::{Evidence, Incident, Reason, Subject};
use gridloom_field::attack::Deed;
use gridloom_field::profile;
use gridloom_grid::Response;
use serde::Serialize;

use super::{Assault, Class};
use crate::attack::Stand;
use crate::checkers::{Checker, Violation};
use crate::town::{Homes, Town, TownError, TownPlan, seeded_keys};
use crate::world::{World, WorldError, WorldPlan};

/// Why an assault has no outcome: always a defect, found by this seed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttackError {
    /// The town.
    #[error(transparent)]
    Town(#[from] TownError),
    /// A node does not go on.
    #[error(transparent)]
    World(#[from] WorldError),
    /// Something that must hold does not: what an outsider sent is stored, or an honest reading is
    /// lost.
    #[error("{assault}, seed {seed}: {violation}")]
    Violated {
        /// Under which assault.
        assault: &'static str,
        /// With which seed.
        seed: u64,
        /// What.
        violation: Violation,
    },
    /// Frames came to the edge of which nobody knows what became of them.
    #[error(
        "{assault}, seed {seed}: {carried} frames came to the edge, which accounts for {judged}"
    )]
    Unaccounted {
        /// Under which assault.
        assault: &'static str,
        /// With which seed.
        seed: u64,
        /// Frames that gateways, and who speaks as one, carried to the edge.
        carried: u64,
        /// Frames that the edge forwarded, quarantined or dropped, or that were for others.
        judged: u64,
    },
}

/// What the attackers of a run did, in frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Deeds {
    /// Read in passing.
    pub overheard: u64,
    /// Made and sent.
    pub sent: u64,
    /// Changed on their way.
    pub altered: u64,
    /// Not passed on.
    pub withheld: u64,
    /// Passed on late.
    pub delayed: u64,
    /// Sent again.
    pub repeated: u64,
}

impl Deeds {
    /// Frames that reached somebody who should not believe them.
    pub const fn hostile(&self) -> u64 {
        self.sent + self.altered + self.repeated
    }

    /// Adds another run's.
    pub const fn add(&mut self, other: &Self) {
        self.overheard += other.overheard;
        self.sent += other.sent;
        self.altered += other.altered;
        self.withheld += other.withheld;
        self.delayed += other.delayed;
        self.repeated += other.repeated;
    }
}

/// Packets with one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The reason in words.
    pub reason: &'static str,
    /// Packets.
    pub packets: u64,
}

/// What became of one assault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttackOutcome {
    /// Which.
    pub assault: &'static str,
    /// With which seed.
    pub seed: u64,
    /// What was done.
    pub deeds: Deeds,
    /// Packets that the edge forwarded, be they honest or not.
    pub forwarded: u64,
    /// Packets that it quarantined.
    pub quarantined: u64,
    /// Packets that it dropped.
    pub dropped: u64,
    /// Frames for other clients than the edge, from where no believed meter is.
    pub strayed: u64,
    /// Frames for other clients, handed up as what the meter last believed on that path said.
    pub tunnelled: u64,
    /// Why, by reason; a packet may have several.
    pub reasons: Vec<Refusal>,
    /// Honest readings of intervals that were over a minute before the attack ended.
    pub honest_due: u64,
    /// Of those, acknowledged when the attack ended.
    pub honest_in_time: u64,
    /// Honest readings in the end; all of them are in the store.
    pub honest_stored: u64,
    /// Seconds from the first deed to the first incident; `None` if there was none.
    pub detected_after_s: Option<u64>,
    /// Whether the first incident that names somebody named a culprit; `None` if none did.
    pub named_right: Option<bool>,
    /// Incidents before the attack began, and incidents that name an honest meter and no culprit.
    pub false_alarms: u64,
}

/// An honest reading is late if it is not acknowledged a minute after its interval.
const IN_TIME: Duration = Duration::from_secs(60);

/// After an attack everybody has so long to say what they owe: beyond the longest backoff, twice.
const SETTLING: Duration = Duration::from_secs(67 * 60);

impl Assault {
    /// Runs the assault on a town of its own.
    ///
    /// # Errors
    ///
    /// [`AttackError`]: what does not hold.
    pub fn run(self, seed: u64) -> Result<AttackOutcome, AttackError> {
        let start = Day::from_ymd(2026, 5, 4).expect("a date").start();
        let mut world = self.world(Seed::new(seed), start)?;
        let window = self.window(start);
        world.run_until(window.until + IN_TIME, |_, _| {})?;
        let (honest_due, honest_in_time) = self.delivery(&world, window.until);
        world.run_until(window.until + SETTLING, |_, _| {})?;
        let mut checker = Checker::but_for(self.meters(&world, self.liars()));
        checker
            .check_settled(&world)
            .map_err(|violation| AttackError::Violated {
                assault: self.name(),
                seed,
                violation,
            })?;
        self.account(&world, seed)?;
        Ok(self.outcome(&world, seed, window.from, honest_due, honest_in_time))
    }

    fn world(self, seed: Seed, start: UtcTime) -> Result<World, AttackError> {
        // Every window ends with an interval.
        let (count, gateway, period) = if self.is_about_consumption() {
            (Self::HOUSES, Self::HOUSES_EACH + 1, Period::HALF_HOUR)
        } else {
            (Self::HOUSES_FEW, 2, Period::QUARTER_HOUR)
        };
        let mut town = Town::new(
            TownPlan {
                seed,
                period,
                start,
                currency: Currency::new("EUR", 2).expect("a currency"),
                homes: Homes::Households {
                    count,
                    response: Response::Off,
                },
            },
            seeded_keys(seed),
        )?;
        if self.is_about_consumption() {
            town = town.with_transformers(Self::HOUSES_EACH, seeded_keys(seed));
        }
        let plan = WorldPlan {
            meters_per_gateway: gateway,
            ..WorldPlan::default()
        };
        let attack = self.plan(start);
        Ok(World::under_attack(seed, Arc::new(town), plan, attack)?)
    }

    fn meters(self, world: &World, houses: &[usize]) -> BTreeSet<MeterId> {
        let of = world.town().houses();
        houses.iter().map(|house| of[*house].meter()).collect()
    }

    /// Intervals of honest meters until a moment, and how many of them are acknowledged.
    fn delivery(self, world: &World, until: UtcTime) -> (u64, u64) {
        let liars = self.meters(world, self.liars());
        let (mut due, mut in_time) = (0, 0);
        for (_, node) in world.meters() {
            let meter = node.meter();
            if liars.contains(&meter.config().id) {
                continue;
            }
            for entry in meter.profile().iter().filter(|entry| entry.end() <= until) {
                due += 1;
                in_time += u64::from(entry.delivery() == profile::Delivery::Acknowledged);
            }
        }
        (due, in_time)
    }

    /// Every frame that came to the edge was forwarded, quarantined or dropped, or was not for it.
    fn account(self, world: &World, seed: u64) -> Result<(), AttackError> {
        let edge = world.edge().expect("no assault crashes a node");
        let verdicts = edge.status().verdicts;
        let tunnel = edge.tunnel();
        let judged = verdicts.forwarded + verdicts.quarantined + verdicts.dropped;
        let judged = judged + tunnel.carried + tunnel.strayed;
        let by_gateways: u64 = world
            .gateways()
            .map(|node| node.counters().carried_up)
            .sum();
        let intruders = world
            .attack_logs()
            .filter(|(_, log)| log.kind() == gridloom_field::attack::Kind::Intruder);
        // Its first message on its line is a greeting.
        let by_intruders: u64 = intruders
            .map(|(_, log)| log.count(Deed::Sent).saturating_sub(1))
            .sum();
        let carried = by_gateways + by_intruders;
        if carried == judged {
            return Ok(());
        }
        Err(AttackError::Unaccounted {
            assault: self.name(),
            seed,
            carried,
            judged,
        })
    }

    fn outcome(
        self,
        world: &World,
        seed: u64,
        from: UtcTime,
        honest_due: u64,
        honest_in_time: u64,
    ) -> AttackOutcome {
        let edge = world.edge().expect("no assault crashes a node");
        let status = edge.status();
        let mut deeds = Deeds::default();
        let mut first_deed = None;
        for (_, log) in world.attack_logs() {
            deeds.add(&Deeds {
                overheard: log.count(Deed::Overheard),
                sent: log.count(Deed::Sent),
                altered: log.count(Deed::Altered),
                withheld: log.count(Deed::Withheld),
                delayed: log.count(Deed::Delayed),
                repeated: log.count(Deed::Repeated),
            });
            first_deed = earlier(first_deed, log.first_harm());
        }
        let plan = self.plan(world.town().plan().start);
        if plan
            .stands
            .iter()
            .any(|stand| matches!(stand, Stand::Load { .. }))
        {
            first_deed = earlier(first_deed, Some(from));
        }
        let began = first_deed.unwrap_or(from);
        let mut incidents: Vec<&Incident> = edge.incidents().collect();
        incidents.sort_by_key(|incident| (incident.first, incident.id.0));
        let culprits = self.culprits(world);
        let named = |incident: &Incident| names(incident, &culprits);
        let since: Vec<_> = incidents.iter().filter(|it| it.first >= began).collect();
        // A balance that is broken is a find, whoever is suspected.
        let accuses =
            |it: &Incident| matches!(it.subject, Subject::Device(_)) && named(it) == Some(false);
        let detected = since.iter().find(|it| !accuses(it));
        let wrong = since.iter().filter(|it| accuses(it));
        let before = incidents.iter().filter(|it| it.first < began);
        AttackOutcome {
            assault: self.name(),
            seed,
            deeds,
            forwarded: status.verdicts.forwarded,
            quarantined: status.verdicts.quarantined,
            dropped: status.verdicts.dropped,
            strayed: edge.tunnel().strayed,
            tunnelled: edge.tunnel().carried,
            reasons: reasons(&status.reasons),
            honest_due,
            honest_in_time,
            honest_stored: self.delivery(world, world.now().utc).1,
            detected_after_s: detected.map(|it| it.first.since(began).as_secs()),
            named_right: since.iter().find_map(|it| named(it)),
            false_alarms: (before.count() + wrong.count()) as u64,
        }
    }

    /// Whom an incident may name rightly.
    fn culprits(self, world: &World) -> BTreeMap<SystemTitle, MeterId> {
        let houses = world.town().houses();
        let liars = self.liars().iter().map(|house| &houses[*house]);
        liars
            .map(|house| (house.config().title, house.meter()))
            .collect()
    }
}

fn earlier(a: Option<UtcTime>, b: Option<UtcTime>) -> Option<UtcTime> {
    a.into_iter().chain(b).min()
}

/// Whether an incident names a culprit first; `None` if it names no meter at all.
fn names(incident: &Incident, culprits: &BTreeMap<SystemTitle, MeterId>) -> Option<bool> {
    match incident.subject {
        Subject::Device(title) => Some(culprits.contains_key(&title)),
        Subject::Transformer(_) => incident
            .evidence
            .iter()
            .find_map(|evidence| match evidence {
                Evidence::Imbalance(imbalance) => {
                    let first = imbalance.suspects.first()?.meter;
                    Some(culprits.values().any(|meter| *meter == first))
                }
                Evidence::Packet { .. }
                | Evidence::Line { .. }
                | Evidence::Silence(_)
                | Evidence::Loss(_) => None,
            }),
        Subject::Path(_) | Subject::Gateway(_) | Subject::Address { .. } | Subject::Edge => None,
    }
}

fn reasons(counters: &gridloom_edge::ReasonCounters) -> Vec<Refusal> {
    let mut found: Vec<Refusal> = Reason::ALL
        .into_iter()
        .map(|reason| Refusal {
            reason: reason.text(),
            packets: counters.get(reason),
        })
        .filter(|refusal| refusal.packets > 0)
        .collect();
    found.sort_by_key(|refusal| std::cmp::Reverse(refusal.packets));
    found
}

impl AttackOutcome {
    /// Whose attack it was.
    pub fn class(&self) -> Option<Class> {
        Assault::parse(self.assault).map(Assault::class)
    }
}
