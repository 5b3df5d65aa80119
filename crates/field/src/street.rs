//! Meters on a feeder: what a home's and a transformer's meter see of one street, which all of
//! them share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gridloom_core::{Day, UtcTime};
use gridloom_grid::PriceSignal;
use gridloom_grid::network::NetworkError;
use gridloom_grid::quasi_static::Operation;
use gridloom_grid::street::{FeedingValues, HOME_VOLTS, Street, StreetDay};

use crate::house::{HouseholdLoad, signal};
use crate::load::{ApplianceState, DayPrices, Load, Power, Stretch};

/// One street for all the meters that measure at it. What one of them has asked is kept for the
/// others.
///
/// Each meter asks for the street as it is if everybody knew the prices that it knows, so that
/// its own readings stay a pure function of time and of what it was told. Meters that know the
/// same share one solution.
#[derive(Clone)]
pub struct SharedStreet(Arc<Mutex<Book>>);

struct Book {
    street: Street,
    /// The last asked first.
    days: VecDeque<(Known, StreetDay)>,
    /// Days that could not begin, and why.
    failed: Option<(Day, NetworkError)>,
}

/// What a day of the street depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    day: Day,
    yesterday: PriceSignal,
    today: PriceSignal,
}

impl SharedStreet {
    /// Days, and views of a day by meters that know other prices, that are kept at once. One
    /// more, and the one that was not asked for longest is solved anew when it is asked again.
    pub const DAYS_MAX: usize = 6;

    /// Shares a street.
    pub fn new(street: Street) -> Self {
        Self(Arc::new(Mutex::new(Book {
            street,
            days: VecDeque::new(),
            failed: None,
        })))
    }

    /// Looks at the street.
    pub fn look<T>(&self, look: impl FnOnce(&Street) -> T) -> T {
        look(&self.book().street)
    }

    /// Looks at the day that was asked last, solved up to the minute that was asked last; `None`
    /// before anybody asked.
    pub fn look_at_newest<T>(&self, look: impl FnOnce(&Street, &StreetDay) -> T) -> Option<T> {
        let book = self.book();
        let (_, newest) = book.days.iter().max_by_key(|(known, _)| known.day)?;
        Some(look(&book.street, newest))
    }

    /// Does something to the network, from the next whole minute on.
    ///
    /// # Errors
    ///
    /// [`NetworkError`] as [`Street::operate`].
    pub fn operate(&self, at: UtcTime, operation: Operation) -> Result<(), NetworkError> {
        let mut book = self.book();
        book.street.operate(at, operation)?;
        // Solved again up to here it is the same, and from here on it is another.
        book.days.retain(|(known, _)| known.day < at.day());
        Ok(())
    }

    /// Why the network had no solution last, and on which day; meters then see what they saw
    /// before.
    pub fn failure(&self) -> Option<(Day, NetworkError)> {
        let book = self.book();
        let running = book
            .days
            .iter()
            .find_map(|(known, day)| Some((known.day, day.failure()?.clone())));
        running.or_else(|| book.failed.clone())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A meter that panicked has not half-written anything: days are added whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SharedStreet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let book = self.book();
        f.debug_struct("SharedStreet")
            .field("homes", &book.street.homes().len())
            .field("days", &book.days.len())
            .finish()
    }
}

impl Book {
    /// The day as it is for who knows that; `None` if it has no solution.
    fn day(&mut self, known: &Known) -> Option<&mut StreetDay> {
        match self.days.iter().position(|(other, _)| other == known) {
            Some(0) => {}
            Some(at) => {
                let found = self.days.remove(at)?;
                self.days.push_front(found);
            }
            None => match self.street.day(known.day, &known.yesterday, &known.today) {
                Ok(day) => {
                    self.days.push_front((known.clone(), day));
                    self.days.truncate(SharedStreet::DAYS_MAX);
                }
                Err(error) => {
                    self.failed = Some((known.day, error));
                    return None;
                }
            },
        }
        self.days.front_mut().map(|(_, day)| day)
    }
}

/// What a meter knows of prices, day by day.
#[derive(Debug, Clone, Default)]
struct Knowledge(Option<Known>);

impl Knowledge {
    fn begin_day(&mut self, street: &SharedStreet, day: Day, prices: &DayPrices) {
        let today = if street.look(Street::answers_prices) {
            signal(prices)
        } else {
            // Prices change nothing here: what meters know differently is the same day.
            PriceSignal::unknown()
        };
        let yesterday = match self.0.take() {
            Some(before) if before.day == day.previous() => before.today,
            // The first day, or the meter was off for a while: the house went on unwatched.
            Some(_) | None => PriceSignal::unknown(),
        };
        self.0 = Some(Known {
            day,
            yesterday,
            today,
        });
    }

    fn known(&self) -> &Known {
        self.0.as_ref().expect("a day begins before it is measured")
    }
}

/// A home of the street: its own household's power at the voltage of its place.
#[derive(Debug, Clone)]
pub struct StreetHome {
    household: HouseholdLoad,
    home: usize,
    street: SharedStreet,
    knowledge: Knowledge,
}

impl StreetHome {
    /// The load of a home, by its number on the street from zero.
    ///
    /// # Panics
    ///
    /// If the street has no such home.
    pub fn new(street: SharedStreet, home: usize) -> Self {
        let household = street.look(|street| street.homes()[home].clone());
        Self {
            household: HouseholdLoad::new(household),
            home,
            street,
            knowledge: Knowledge::default(),
        }
    }
}

impl Load for StreetHome {
    fn power_at(&mut self, at: UtcTime) -> Stretch {
        let mut stretch = self.household.power_at(at);
        let (lit, until) = self.street.look(|street| street.supply_at(self.home, at));
        stretch.until = stretch.until.min(until);
        if !lit {
            stretch.power = None;
        }
        stretch
    }

    fn voltage_mv(&mut self, at: UtcTime) -> Option<[i64; 3]> {
        let mut book = self.street.book();
        let day = book.day(self.knowledge.known())?;
        let volts = day.minute(minute_of(at)).volts_mv[self.home];
        Some([i64::from(volts), 0, 0])
    }

    fn appliances_at(&mut self, at: UtcTime) -> Vec<ApplianceState> {
        self.household.appliances_at(at)
    }

    fn begin_day(&mut self, day: Day, prices: &DayPrices) {
        self.household.begin_day(day, prices);
        self.knowledge.begin_day(&self.street, day, prices);
    }
}

/// The secondary side of a transformer that feeds homes: what arrives at them, and what is lost
/// on the way there.
#[derive(Debug, Clone)]
pub struct StreetTransformer {
    feeding: usize,
    street: SharedStreet,
    knowledge: Knowledge,
}

impl StreetTransformer {
    /// The load of a transformer's meter, by the feeding's number on the street from zero.
    pub fn new(street: SharedStreet, feeding: usize) -> Self {
        Self {
            feeding,
            street,
            knowledge: Knowledge::default(),
        }
    }

    fn values_at(&self, at: UtcTime) -> Option<FeedingValues> {
        let mut book = self.street.book();
        let day = book.day(self.knowledge.known())?;
        Some(day.minute(minute_of(at)).feedings[self.feeding])
    }
}

impl Load for StreetTransformer {
    fn power_at(&mut self, at: UtcTime) -> Stretch {
        let values = self.values_at(at);
        let minute = at.as_millis().div_euclid(60_000);
        Stretch {
            until: UtcTime::from_millis((minute + 1) * 60_000),
            power: values
                .filter(|values| values.volts.iter().any(|volts| *volts > 0.0))
                .map(|values| Power {
                    active_mw: values.watts.map(milli),
                    reactive_mvar: values.vars.map(milli),
                }),
        }
    }

    fn voltage_mv(&mut self, at: UtcTime) -> Option<[i64; 3]> {
        let values = self.values_at(at)?;
        Some(values.volts.map(|volts| milli(volts.min(HOME_VOLTS * 4.0))))
    }

    fn appliances_at(&mut self, _: UtcTime) -> Vec<ApplianceState> {
        Vec::new()
    }

    fn begin_day(&mut self, day: Day, prices: &DayPrices) {
        self.knowledge.begin_day(&self.street, day, prices);
    }
}

fn minute_of(at: UtcTime) -> u32 {
    at.second_of_day() / 60
}

/// Thousandths, rounded, and never more than a phase may carry.
#[expect(
    clippy::cast_possible_truncation,
    reason = "clamped to what a phase may carry, far below 2^63"
)]
fn milli(value: f64) -> i64 {
    let most = Power::PHASE_MILLI_MAX as f64;
    (value * 1_000.0).round().clamp(-most, most) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_core::{Period, Seed};
    use gridloom_grid::household::HouseholdOptions;
    use gridloom_grid::opendss::{Circuit, Shipped};
    use gridloom_grid::street::Placement;
    use gridloom_grid::{Elasticity, Household, Response};

    use crate::metrology::{Connection, Metrology};
    use crate::supply::Supply;
    use gridloom_core::Price;

    fn street(response: Response) -> SharedStreet {
        on("ieee13", response)
    }

    fn on(feeder: &str, response: Response) -> SharedStreet {
        let circuit = Circuit::read(&mut Shipped, Shipped::path(feeder).unwrap()).unwrap();
        let options = HouseholdOptions {
            response,
            ..HouseholdOptions::default()
        };
        let homes = (1..=6)
            .map(|at| Household::new(Seed::new(4), at, options))
            .collect();
        let placement = Placement { seed: Seed::new(4) };
        let street = Street::new(circuit.network, circuit.controls, homes, placement).unwrap();
        SharedStreet::new(street)
    }

    fn day() -> Day {
        Day::from_ymd(2026, 1, 21).unwrap()
    }

    fn measured(load: &mut dyn Load, connection: Connection, minutes: u64) -> Metrology {
        let start = day().start();
        let supply = Supply::LOW_VOLTAGE_50_HZ;
        let mut meter = Metrology::new(connection, supply, Seed::new(1), start);
        load.begin_day(day(), &DayPrices::unknown(Period::HALF_HOUR));
        meter.advance(load, start + std::time::Duration::from_secs(minutes * 60));
        meter
    }

    #[test]
    fn transformers_deliver_what_homes_measure_and_a_little_more() {
        let street = on("eulv", Response::Off);
        let homes: i64 = (0..6)
            .map(|home| {
                let mut load = StreetHome::new(street.clone(), home);
                let meter = measured(&mut load, Connection::SinglePhase, 45);
                meter.registers().import.get()
            })
            .sum();
        let feedings = street.look(|street| street.feedings().len());
        let delivered: i64 = (0..feedings)
            .map(|feeding| {
                let mut load = StreetTransformer::new(street.clone(), feeding);
                let meter = measured(&mut load, Connection::ThreePhase, 45);
                meter.registers().import.get()
            })
            .sum();
        // Registers of whole watt-hours: less than one is missing in each.
        assert!(homes > 100_000, "{homes}");
        assert!(
            (homes - 1_000..homes + 20_000).contains(&delivered),
            "{delivered} mWh for {homes}"
        );
    }

    #[test]
    fn a_meter_shows_the_voltage_of_the_network_in_the_same_minute() {
        let street = street(Response::Off);
        let mut load = StreetHome::new(street.clone(), 2);
        let meter = measured(&mut load, Connection::SinglePhase, 30);
        let at = UtcTime::from_millis(day().start().as_millis() + 7 * 60_000 + 123);
        let seen = meter.instantaneous(&mut load, at);
        let mut other = StreetHome::new(street.clone(), 2);
        other.begin_day(day(), &DayPrices::unknown(Period::HALF_HOUR));
        let solved = other.voltage_mv(at).unwrap();
        assert_eq!(seen.voltage_mv[0], solved[0]);
        assert!((210_000..253_000).contains(&solved[0]), "{solved:?}");
        assert_eq!(street.failure(), None);
    }

    #[test]
    fn a_dark_home_measures_nothing_and_says_so() {
        let street = street(Response::Off);
        let source = street.look(|street| street.network().find("transformer.sub").unwrap());
        let open = Operation::Open {
            element: source,
            terminal: 0,
        };
        let at = UtcTime::from_secs(day().start().as_secs() + 600);
        street.operate(at, open).unwrap();
        let mut load = StreetHome::new(street.clone(), 0);
        let mut meter = measured(&mut load, Connection::SinglePhase, 30);
        let captured = meter.capture();
        let status = gridloom_core::ReadingStatus::POWER_DOWN;
        assert_eq!(captured.status, status);
        assert_eq!(load.power_at(at).power, None);
        let mut transformer = StreetTransformer::new(street, 0);
        transformer.begin_day(day(), &DayPrices::unknown(Period::HALF_HOUR));
        assert_eq!(transformer.power_at(at).power, None);
        let before = UtcTime::from_secs(at.as_secs() - 1);
        assert!(transformer.power_at(before).power.is_some());
    }

    #[test]
    fn who_knows_other_prices_sees_another_street_and_nobody_else_does() {
        let price = |micro| Price::from_micro_per_kwh(micro).unwrap();
        let elasticity = Elasticity::new(-1_000, price(200_000)).unwrap();
        let dear = DayPrices {
            period: Period::HALF_HOUR,
            by_slot: vec![Some(price(400_000)); 48],
        };
        let unknown = DayPrices::unknown(Period::HALF_HOUR);
        for (response, days) in [(Response::Off, 1), (Response::On(elasticity), 2)] {
            let street = street(response);
            for prices in [&unknown, &dear, &unknown] {
                let mut load = StreetHome::new(street.clone(), 0);
                load.begin_day(day(), prices);
                load.voltage_mv(day().start()).unwrap();
            }
            assert_eq!(street.book().days.len(), days, "{response:?}");
        }
    }
}
