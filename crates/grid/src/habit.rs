//! When people use what: assumptions, stated as tables.
//!
//! No public source gives start probabilities per appliance with a licence we may ship. The shapes
//! below follow the daily rhythm of meals, work and darkness; the totals are set so that homes of
//! two to four persons use 2 500 to 4 500 kWh a year and the mean day follows that of 60 measured
//! London homes (Low Carbon London, 2013).

use crate::season::Season;

/// How the people of a home spend their weekdays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lifestyle {
    /// Out at work.
    Worker,
    /// Home most of the day.
    Retired,
    /// Children: somebody is back by the afternoon.
    Family,
}

/// How one kind of appliance is used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habit {
    /// The catalogue's key.
    pub(crate) key: &'static str,
    /// Homes that own one, in thousandths.
    pub(crate) owned_permille: u32,
    /// What switches it on.
    pub(crate) trigger: Trigger,
}

/// What switches an appliance on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trigger {
    /// It is never switched off.
    Always,
    /// People start it.
    People {
        /// Starts a day by anybody, in thousandths.
        home_milli: u32,
        /// Further starts a day for each person, in thousandths.
        person_milli: u32,
        /// When.
        rhythm: Rhythm,
    },
    /// A night tariff's clock: charges from midnight, for so many minutes per kelvin below the
    /// heating base.
    Night {
        /// Minutes of charging for each kelvin.
        minutes_per_kelvin: u32,
    },
    /// A thermostat with the share of time that it is on, in thousandths, and where heat or cold
    /// outside changes it, per kelvin beyond a base temperature.
    Thermostat {
        /// Share without weather.
        base_permille: u32,
        /// Added for each kelvin.
        per_kelvin_permille: u32,
        /// Which kelvins.
        degrees: Degrees,
    },
}

/// The kelvins that move a thermostat.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Degrees {
    /// None: a refrigerator in a kitchen.
    Indoor,
    /// Below 15.5 °C outside, the usual heating base.
    Heating,
    /// Above 18 °C outside, as a daily mean.
    Cooling,
}

impl Degrees {
    /// The kelvins of a day, at least 0.
    pub(crate) fn on(self, season: &Season) -> f64 {
        match self {
            Self::Indoor => 0.0,
            Self::Heating => (15.5 - season.temperature).max(0.0),
            Self::Cooling => (season.temperature - 18.0).max(0.0),
        }
    }
}

/// The daily shape of a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rhythm {
    /// Around getting up.
    Morning,
    /// Breakfast, lunch and dinner, dinner most.
    Meals,
    /// Dinner, and Sunday lunch.
    Dinner,
    /// Whenever somebody is awake at home, more in the evening.
    Evening,
    /// Housework by day.
    Day,
    /// Whenever somebody is awake at home.
    Awake,
    /// Awake at home and dark outside.
    Dark,
    /// Late, before bed.
    Late,
    /// Dry summer afternoons.
    Garden,
    /// Cold evenings.
    Cold,
}

impl Rhythm {
    /// Weights of the hours 0–23 for people who are at home and awake.
    pub(crate) const fn weights(self) -> [u8; 24] {
        match self {
            //                 0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16 17 18 19 20 21 22 23
            Self::Morning => [
                0, 0, 0, 0, 0, 3, 9, 12, 9, 5, 3, 1, 1, 1, 0, 0, 1, 2, 2, 2, 2, 3, 2, 1,
            ],
            Self::Meals => [
                1, 0, 0, 0, 0, 2, 6, 9, 8, 5, 5, 6, 8, 6, 4, 5, 7, 9, 9, 7, 5, 4, 3, 1,
            ],
            Self::Dinner => [
                0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 5, 7, 4, 1, 2, 7, 13, 14, 9, 3, 1, 0, 0,
            ],
            Self::Evening => [
                2, 0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 3, 3, 3, 4, 6, 9, 12, 14, 12, 8, 3, 2,
            ],
            Self::Day => [
                0, 0, 0, 0, 0, 0, 1, 4, 8, 11, 11, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0,
            ],
            Self::Awake => [
                4, 2, 1, 1, 1, 2, 4, 7, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 7, 6,
            ],
            Self::Dark => [
                4, 2, 1, 1, 1, 3, 6, 7, 5, 3, 2, 2, 2, 2, 2, 4, 7, 9, 10, 10, 9, 8, 6, 5,
            ],
            Self::Late => [
                5, 2, 0, 0, 0, 0, 2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 5, 7, 10, 12, 9,
            ],
            Self::Garden => [
                0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 6, 7, 5, 6, 8, 8, 7, 5, 4, 1, 0, 0, 0, 0,
            ],
            Self::Cold => [
                1, 0, 0, 0, 0, 1, 3, 4, 3, 2, 1, 1, 1, 1, 1, 2, 3, 5, 7, 7, 7, 6, 4, 2,
            ],
        }
    }
}

const fn people(home_milli: u32, person_milli: u32, rhythm: Rhythm) -> Trigger {
    Trigger::People {
        home_milli,
        person_milli,
        rhythm,
    }
}

const fn thermostat(base_permille: u32, per_kelvin_permille: u32, degrees: Degrees) -> Trigger {
    Trigger::Thermostat {
        base_permille,
        per_kelvin_permille,
        degrees,
    }
}

const fn habit(key: &'static str, owned_permille: u32, trigger: Trigger) -> Habit {
    Habit {
        key,
        owned_permille,
        trigger,
    }
}

/// Every habit. Appliances of the catalogue without a habit are owned by nobody.
pub(crate) const HABITS: [Habit; 40] = [
    habit("fridge_freezer", 990, thermostat(480, 0, Degrees::Indoor)),
    habit("freezer", 450, thermostat(400, 0, Degrees::Indoor)),
    habit("router", 900, Trigger::Always),
    habit("cordless_phone", 600, Trigger::Always),
    habit("home_server", 400, Trigger::Always),
    habit("dehumidifier", 200, thermostat(200, 0, Degrees::Indoor)),
    habit("heating_pump", 850, thermostat(60, 45, Degrees::Heating)),
    habit("kettle", 970, people(2_000, 2_000, Rhythm::Meals)),
    habit("coffee_machine", 350, people(400, 500, Rhythm::Morning)),
    habit("toaster", 850, people(300, 500, Rhythm::Morning)),
    habit("microwave", 900, people(900, 700, Rhythm::Meals)),
    habit("hob", 500, people(1_500, 600, Rhythm::Meals)),
    habit("oven", 650, people(350, 160, Rhythm::Dinner)),
    habit("cooker_hood", 600, people(250, 60, Rhythm::Dinner)),
    habit("dishwasher", 420, people(250, 250, Rhythm::Late)),
    habit("washing_machine", 970, people(180, 330, Rhythm::Day)),
    habit("dryer", 500, people(80, 240, Rhythm::Day)),
    habit("iron", 900, people(100, 110, Rhythm::Day)),
    habit("vacuum", 950, people(250, 60, Rhythm::Day)),
    habit("hair_dryer", 700, people(0, 320, Rhythm::Morning)),
    habit("electric_shower", 400, people(0, 700, Rhythm::Morning)),
    habit("television", 960, people(2_000, 900, Rhythm::Awake)),
    habit("set_top_box", 700, people(2_000, 900, Rhythm::Awake)),
    habit("hifi", 500, people(700, 300, Rhythm::Awake)),
    habit("games_console", 350, people(200, 350, Rhythm::Evening)),
    habit("desktop_pc", 450, people(900, 600, Rhythm::Awake)),
    habit("monitor", 450, people(900, 600, Rhythm::Awake)),
    habit("laptop", 750, people(700, 900, Rhythm::Awake)),
    habit("phone_charger", 950, people(0, 900, Rhythm::Late)),
    habit("light_living", 1_000, people(1_500, 400, Rhythm::Dark)),
    habit("light_kitchen", 1_000, people(2_000, 600, Rhythm::Dark)),
    habit("light_bedroom", 1_000, people(1_000, 800, Rhythm::Dark)),
    habit("light_bathroom", 1_000, people(1_500, 2_200, Rhythm::Dark)),
    habit("lawn_mower", 350, people(170, 0, Rhythm::Garden)),
    habit("fan_heater", 250, people(1_000, 200, Rhythm::Cold)),
    habit("air_conditioner", 20, thermostat(0, 70, Degrees::Cooling)),
    habit("heat_pump", 30, thermostat(40, 35, Degrees::Heating)),
    habit(
        "storage_heater",
        65,
        Trigger::Night {
            minutes_per_kelvin: 35,
        },
    ),
    habit("water_heater", 120, people(450, 200, Rhythm::Late)),
    habit("ev_charger", 30, people(450, 0, Rhythm::Evening)),
];

/// How present people are in each hour: 1 awake at home, less while away or asleep.
pub(crate) fn presence(lifestyle: Lifestyle, weekend: bool, wake: f64, sleep: f64) -> [f64; 24] {
    // Share of the home that is still there in the hours of work or school.
    let home_by_day = match (lifestyle, weekend) {
        (Lifestyle::Worker, false) => 0.45,
        (Lifestyle::Family, false) => 0.60,
        (Lifestyle::Retired, _) => 0.80,
        (Lifestyle::Worker | Lifestyle::Family, true) => 0.75,
    };
    let (leave, back) = match (lifestyle, weekend) {
        (Lifestyle::Worker, false) => (wake + 1.5, 18.0),
        (Lifestyle::Family, false) => (wake + 1.75, 16.0),
        (Lifestyle::Worker | Lifestyle::Family, true) | (Lifestyle::Retired, _) => (10.0, 17.0),
    };
    let mut hour = -0.5;
    [(); 24].map(|()| {
        hour += 1.0;
        // A late sleeper's evening reaches into the next day: both passes of the clock count.
        let awake = overlap(hour, wake, sleep).max(overlap(hour + 24.0, wake, sleep));
        let away = overlap(hour, leave, back);
        let home = 1.0 - away * (1.0 - home_by_day);
        home * (0.03 + 0.97 * awake)
    })
}

/// How much of the hour around `middle` lies within `from`..`to`, 0–1.
fn overlap(middle: f64, from: f64, to: f64) -> f64 {
    (f64::min(middle + 0.5, to) - f64::max(middle - 0.5, from)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::Catalogue;

    #[test]
    fn every_habit_has_its_appliance_and_the_other_way_round() {
        let catalogue = Catalogue::builtin();
        for habit in &HABITS {
            assert!(catalogue.find(habit.key).is_some(), "{}", habit.key);
        }
        for (_, appliance) in catalogue.iter() {
            assert!(
                HABITS.iter().any(|h| h.key == appliance.key),
                "{}",
                appliance.key
            );
        }
    }

    #[test]
    fn workers_are_out_on_weekdays() {
        let cases = [
            // Lifestyle, weekend, hour, at least, at most.
            (Lifestyle::Worker, false, 12, 0.4, 0.5),
            (Lifestyle::Worker, true, 12, 0.7, 0.8),
            (Lifestyle::Retired, false, 12, 0.75, 0.85),
            (Lifestyle::Family, false, 17, 0.9, 1.0),
            (Lifestyle::Worker, false, 20, 0.9, 1.0),
            (Lifestyle::Worker, false, 3, 0.0, 0.05),
            (Lifestyle::Worker, false, 0, 0.4, 0.6),
        ];
        for (lifestyle, weekend, hour, low, high) in cases {
            let got = presence(lifestyle, weekend, 6.5, 24.5)[hour];
            assert!(
                (low..=high).contains(&got),
                "{lifestyle:?} {weekend} {hour}: {got}"
            );
        }
    }
}
