//! Houses on a feeder: where they hang, and meters at its transformers.

use gridloom_core::{MeterId, SystemTitle, UtcTime};
use gridloom_dlms::security::Keys;
use gridloom_edge::{LossLimit, Placement, TransformerId};
use gridloom_field::{Connection, MeterConfig, SharedStreet};
use gridloom_grid::Household;
use gridloom_grid::opendss::{Circuit, Shipped};
use gridloom_grid::quasi_static::Operation;
use gridloom_grid::street::{Placement as Places, Street};
use gridloom_nodes::Purpose;

use super::{FUSE_AMPS, Home, House, Town, TownError};

impl Town {
    /// Places the households on a feeder, drawn from the town's seed, and gives each of its
    /// transformers a meter of its own behind the houses' meters: it pushes like any other, but
    /// enters no total and is not billed. From then on the meters' voltages, and what the
    /// transformers deliver, come from the network.
    ///
    /// # Errors
    ///
    /// [`TownError`], when the town has no households to place, or the feeder does not take them.
    pub fn on_feeder(
        mut self,
        circuit: Circuit,
        mut keys: impl FnMut(MeterId) -> Keys,
    ) -> Result<Self, TownError> {
        let homes: Result<Vec<Household>, TownError> = self
            .houses
            .iter()
            .map(|house| match (&house.home, house.placement) {
                (Home::Household(household), None) => Ok((**household).clone()),
                _ => Err(TownError::Placed {
                    house: house.name.clone(),
                }),
            })
            .collect();
        let places = Places {
            seed: self.plan.seed.child("street"),
        };
        let street =
            Street::new(circuit.network, circuit.controls, homes?, places).map_err(refused)?;
        let bounds = street.loss_bounds().map_err(refused)?;
        let numbers = || (1..).map(TransformerId);
        self.losses = numbers()
            .zip(bounds)
            .map(|(transformer, bound)| {
                let limit = LossLimit {
                    fixed_watts: bound.fixed_watts,
                    nanos: bound.nanos,
                };
                (transformer, limit)
            })
            .collect();
        let feedings: Vec<(String, usize)> = street
            .feedings()
            .iter()
            .map(|feeding| (feeding.name.clone(), feeding.homes))
            .collect();
        let above: Vec<usize> = street.points().iter().map(|point| point.feeding).collect();
        let street = SharedStreet::new(street);
        for (at, (house, feeding)) in self.houses.iter_mut().zip(above).enumerate() {
            house.placement = numbers().nth(feeding).map(Placement::Below);
            if let Home::Household(household) = &house.home {
                house.home = Home::Placed(household.clone(), street.clone(), at);
            }
        }
        for (at, (transformer, (name, homes))) in numbers().zip(feedings).enumerate() {
            let meter = MeterId(u32::try_from(self.houses.len() + 1).unwrap_or(u32::MAX));
            let title = SystemTitle::new(*b"GLM", u64::from(meter.0));
            let mut config = MeterConfig::new(
                meter,
                title,
                self.edge_title,
                keys(meter),
                self.plan.currency,
                self.plan.seed.child("meter").nth(u64::from(meter.0)),
            );
            config.period = self.plan.period;
            config.connection = Connection::ThreePhase;
            self.houses.push(House {
                name: format!("Transformer {name}"),
                config,
                home: Home::Feeding(street.clone(), at),
                placement: Some(Placement::At(transformer)),
                fuse_amps: FUSE_AMPS * u32::try_from(homes).unwrap_or(u32::MAX),
                purpose: Purpose::Balance,
            });
        }
        self.street = Some(street);
        Ok(self)
    }

    /// Which transformer and phase each house's meter hangs at, as CSV: the registry's view of
    /// the feeder. `None` without a feeder.
    pub fn connections_csv(&self) -> Option<String> {
        let street = self.street()?;
        let mut text = String::from("meter,name,transformer,transformer_name,phase,bus\n");
        street.look(|street| {
            for (house, point) in self.houses.iter().zip(street.points()) {
                text += &format!(
                    "{},{},{},{},{},{}\n",
                    house.meter(),
                    house.name,
                    point.feeding + 1,
                    street.feedings()[point.feeding].name,
                    point.phase_text(),
                    point.bus
                );
            }
        });
        Some(text)
    }
}

/// A feeder that ships with the program.
///
/// # Errors
///
/// [`TownError::Feeder`] if there is none of that name.
pub fn shipped(name: &str) -> Result<Circuit, TownError> {
    let path = Shipped::path(name).ok_or_else(|| TownError::Feeder {
        cause: format!(
            "no feeder {name:?} ships; there are {}",
            Shipped::NAMES.join(" and ")
        ),
    })?;
    Circuit::read(&mut Shipped, path).map_err(|error| TownError::Feeder {
        cause: error.to_string(),
    })
}

impl House {
    /// Whether it had supply at any time of a span; only a feeder's switches take it away.
    pub fn had_supply(&self, from: UtcTime, to: UtcTime) -> bool {
        let Home::Placed(_, street, home) = &self.home else {
            return true;
        };
        street.look(|street| {
            let mut at = from;
            while at < to {
                let (lit, until) = street.supply_at(*home, at);
                if lit {
                    return true;
                }
                at = until;
            }
            false
        })
    }
}

/// Opens a terminal of an element of the town's feeder at a time, and closes it at another.
///
/// # Errors
///
/// [`TownError::Feeder`] if the town is on no feeder, or the feeder has no such element.
pub fn interrupt(
    town: &Town,
    element: &str,
    from: UtcTime,
    until: UtcTime,
) -> Result<(), TownError> {
    let Some(street) = town.street() else {
        return Err(refused("there is no feeder to be switched"));
    };
    let Some(id) = street.look(|street| street.network().find(element)) else {
        let cause = format!("the feeder has no {element}; name class and name, such as line.line7");
        return Err(refused(cause));
    };
    let (element, terminal) = (id, 0);
    street
        .operate(from, Operation::Open { element, terminal })
        .map_err(refused)?;
    street
        .operate(until, Operation::Close { element, terminal })
        .map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> TownError {
    TownError::Feeder {
        cause: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use gridloom_core::{Currency, Day, Period, ReadingStatus, Seed};
    use gridloom_edge::{Evidence, ImbalanceKind, Subject};
    use gridloom_grid::Response;
    use gridloom_grid::opendss::Files;

    use super::*;
    use crate::assault::Assault;
    use crate::attack::AttackPlan;
    use crate::checkers::Checker;
    use crate::town::{Homes, TownPlan, seeded_keys};
    use crate::world::{World, WorldPlan};

    /// Six homes on 300 m of cable behind one transformer.
    const SMALL: &str = "
        clear
        Set DefaultBaseFrequency=50
        New circuit.small basekv=11 pu=1.0 ISC3=3000 ISC1=5
        New LineCode.cable nphases=3 R1=0.446 X1=0.071 R0=1.505 X0=0.083 C1=0 C0=0 Units=km
        New Transformer.t1 Buses=[SourceBus a] Conns=[Delta Wye] kVs=[11 0.4] kVAs=[160 160] XHL=4
        New Line.l1 Bus1=a Bus2=b phases=3 LineCode=cable Length=100 Units=m
        New Line.l2 Bus1=b Bus2=c phases=3 LineCode=cable Length=100 Units=m
        New Line.l3 Bus1=c Bus2=d phases=3 LineCode=cable Length=100 Units=m
        New Load.h1 Phases=1 Bus1=b.1 kV=0.23 kW=1 PF=0.95
        New Load.h2 Phases=1 Bus1=b.2 kV=0.23 kW=1 PF=0.95
        New Load.h3 Phases=1 Bus1=c.3 kV=0.23 kW=1 PF=0.95
        New Load.h4 Phases=1 Bus1=c.1 kV=0.23 kW=1 PF=0.95
        New Load.h5 Phases=1 Bus1=d.2 kV=0.23 kW=1 PF=0.95
        New Load.h6 Phases=1 Bus1=d.3 kV=0.23 kW=1 PF=0.95
        Set voltagebases=[11 .4]
        Calcvoltagebases
    ";

    /// The last interval arrives.
    const IN_TIME: Duration = Duration::from_secs(600);

    struct Text;

    impl Files for Text {
        fn read(&mut self, _: &str) -> Result<Vec<u8>, String> {
            Ok(SMALL.as_bytes().to_vec())
        }
    }

    fn start() -> UtcTime {
        Day::from_ymd(2026, 5, 4).unwrap().start()
    }

    fn town(seed: Seed) -> Town {
        let plan = TownPlan {
            seed,
            period: Period::HALF_HOUR,
            start: start(),
            currency: Currency::new("EUR", 2).unwrap(),
            homes: Homes::Households {
                count: 6,
                response: Response::Off,
            },
        };
        let circuit = Circuit::read(&mut Text, "small.dss").unwrap();
        let town = Town::new(plan, seeded_keys(seed)).unwrap();
        town.on_feeder(circuit, seeded_keys(seed)).unwrap()
    }

    fn hours(hours: u64) -> UtcTime {
        start() + Duration::from_secs(hours * 3_600)
    }

    #[test]
    fn a_thief_is_found_through_the_losses_and_honest_homes_balance() {
        for (assault, seed) in [
            (None, 1),
            (None, 2),
            (Some(Assault::H1), 1),
            (Some(Assault::H1), 2),
        ] {
            let plan = assault.map_or(AttackPlan::PEACE, |assault: Assault| assault.plan(start()));
            let liars = assault.map_or(&[][..], Assault::liars);
            let seed = Seed::new(seed);
            let town = town(seed);
            let liars: BTreeSet<_> = liars
                .iter()
                .map(|house| town.houses()[*house].meter())
                .collect();
            let mut world =
                World::under_attack(seed, Arc::new(town), WorldPlan::default(), plan).unwrap();
            let mut checker = Checker::but_for(liars.clone());
            world.run_until(hours(31) + IN_TIME, |_, _| {}).unwrap();
            checker.check_settled(&world).unwrap();
            check_totals(&world);
            let edge = world.edge().unwrap().edge();
            let balance = edge.status().balance;
            // Six hours before the theft and the day of it; what is stolen is above losses and
            // steps whenever the house draws more than a few hundred watts.
            assert!(balance.balanced + balance.broken >= 60, "{balance:?}");
            assert_eq!(balance.broken > 0, assault.is_some(), "{balance:?}");
            let found: Vec<_> = edge
                .incidents()
                .flat_map(|incident| &incident.evidence)
                .filter_map(|evidence| match evidence {
                    Evidence::Imbalance(imbalance) => Some(imbalance),
                    Evidence::Packet { .. }
                    | Evidence::Line { .. }
                    | Evidence::Silence(_)
                    | Evidence::Loss(_) => None,
                })
                .collect();
            assert_eq!(found.is_empty(), assault.is_none());
            assert!(found.iter().all(|one| one.kind == ImbalanceKind::Missing));
            assert!(
                edge.incidents()
                    .all(|incident| incident.subject == Subject::Transformer(TransformerId(1)))
            );
        }
    }

    /// The total is that of the houses: a transformer's meter is in none, and nobody pays for it.
    fn check_totals(world: &World) {
        let status = world.utility().unwrap().status(world.now());
        assert!(!status.trend.is_empty());
        let meters: Vec<_> = world.meters().map(|(_, node)| node.meter()).collect();
        for point in &status.trend {
            let watts = meters[..6]
                .iter()
                .filter_map(|meter| meter.profile().get(point.end))
                .map(|entry| entry.values().import.get() * 2 / 1_000);
            assert_eq!(point.total.get(), watts.sum::<i64>(), "{}", point.end);
        }
        let accounts = status.meters.iter().map(|meter| meter.account.intervals);
        let billed: Vec<bool> = accounts.map(|intervals| intervals > 0).collect();
        assert_eq!(billed, [true, true, true, true, true, true, false]);
    }

    #[test]
    fn an_open_line_silences_the_meters_behind_it_and_nobody_else() {
        let seed = Seed::new(3);
        let town = town(seed);
        let error = interrupt(&town, "line.l9", hours(1), hours(2)).unwrap_err();
        assert!(error.to_string().contains("line.l9"), "{error}");
        interrupt(&town, "line.l3", hours(3), hours(5)).unwrap();
        let behind: Vec<bool> = town.street().unwrap().look(|street| {
            street
                .points()
                .iter()
                .map(|point| point.bus == "d")
                .collect()
        });
        assert_eq!(behind.iter().filter(|dark| **dark).count(), 2);
        let mut world = World::under_attack(
            seed,
            Arc::new(town),
            WorldPlan::default(),
            AttackPlan::PEACE,
        )
        .unwrap();
        world.run_until(hours(8) + IN_TIME, |_, _| {}).unwrap();
        let mut checker = Checker::but_for(BTreeSet::new());
        checker.check_settled(&world).unwrap();
        for (house, node) in world.meters() {
            let profile = node.meter().profile();
            let is_behind = behind.get(house).copied().unwrap_or(false);
            let captured = profile
                .iter()
                .filter(|entry| entry.end() <= hours(8))
                .count();
            // Two hours of half-hours are missing.
            assert_eq!(captured, if is_behind { 12 } else { 16 }, "{house}");
            let marked = profile
                .iter()
                .any(|entry| entry.status() != ReadingStatus::GOOD);
            assert_eq!(marked, is_behind, "{house}");
        }
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        let run = || {
            let seed = Seed::new(4);
            let mut world = World::under_attack(
                seed,
                Arc::new(town(seed)),
                WorldPlan::default(),
                AttackPlan::PEACE,
            )
            .unwrap();
            world.run_until(hours(4), |_, _| {}).unwrap();
            let entries: Vec<_> = world
                .meters()
                .flat_map(|(house, node)| {
                    node.meter()
                        .profile()
                        .iter()
                        .map(move |entry| (house, entry.end(), entry.values()))
                        .collect::<Vec<_>>()
                })
                .collect();
            (entries, world.counters())
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn connections_are_listed_by_meter() {
        let text = town(Seed::new(5)).connections_csv().unwrap();
        let mut lines = text.lines();
        let head = "meter,name,transformer,transformer_name,phase,bus";
        assert_eq!(lines.next(), Some(head));
        let mut places = BTreeSet::new();
        for line in lines {
            let fields: Vec<&str> = line.split(',').collect();
            assert_eq!(fields[2..4], ["1", "t1"], "{line}");
            places.insert((fields[5].to_owned(), fields[4].to_owned()));
        }
        assert_eq!(places.len(), 6);
    }
}
