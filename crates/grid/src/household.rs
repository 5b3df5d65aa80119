//! A home: who lives there, what they own, and what they switch on and off on a given day.
//!
//! Everything is a pure function of the world's seed, the home's number, the day and the prices
//! known for it. Nothing is carried from call to call, so any day can be planned in any order,
//! again after a restart, and always comes out the same.

use gridloom_core::{Day, Seed};

use crate::appliance::{ApplianceId, ApplianceSet, Catalogue, Flexibility};
use crate::draw::Draw;
use crate::habit::{Degrees, HABITS, Habit, Lifestyle, Rhythm, Trigger, presence};
use crate::load::{DayLoad, DayPlan, MS_PER_DAY, Rating, Run};
use crate::response::{PriceSignal, Response};
use crate::season::Season;

const MS_PER_HOUR: u32 = 3_600_000;
const MS_PER_MINUTE: f64 = 60_000.0;
const HOUR_LAST: u32 = 23;

/// Night-tariff clocks switch within this time after midnight, so that no street jumps at once.
const NIGHT_SPREAD_MS: u32 = 600_000;

/// Of a thousand runs that could wait for a cheap hour, those for which somebody minds the price.
/// An assumption: people do not plan every wash, and a street that did would meet in one hour.
const SHIFTED_PERMILLE: u32 = 400;

/// How a home is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Supply {
    /// All on L1.
    SinglePhase,
    /// Appliances are spread over L1, L2 and L3, one phase each.
    ThreePhase,
}

/// What is known about a home beforehand; the rest is drawn from its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HouseholdOptions {
    /// How it is connected.
    pub supply: Supply,
    /// Persons, 1 to [`Household::PERSONS_MAX`]; values outside are clamped. `None`: drawn.
    pub persons: Option<u8>,
    /// How they spend their weekdays. `None`: drawn.
    pub lifestyle: Option<Lifestyle>,
    /// How they answer prices.
    pub response: Response,
}

impl Default for HouseholdOptions {
    /// Single-phase, everything drawn, no response to prices.
    fn default() -> Self {
        Self {
            supply: Supply::SinglePhase,
            persons: None,
            lifestyle: None,
            response: Response::Off,
        }
    }
}

/// One home.
#[derive(Debug, Clone)]
pub struct Household {
    world: Seed,
    seed: Seed,
    persons: u8,
    lifestyle: Lifestyle,
    response: Response,
    /// Weekday and weekend.
    presence: [[f64; 24]; 2],
    /// What it owns, in catalogue order.
    owned: Vec<Owned>,
    set: ApplianceSet,
    /// By catalogue index.
    labels: Vec<String>,
}

/// One appliance in its home.
#[derive(Debug, Clone)]
struct Owned {
    rating: Rating,
    habit: Habit,
    flexibility: Flexibility,
    /// This home's use of it against the average home's.
    liking: f64,
}

impl Household {
    /// The most persons of a home.
    pub const PERSONS_MAX: u8 = 5;
    /// The most starts of one appliance on one day; further ones do not happen.
    pub const STARTS_MAX: u32 = 24;

    /// Home number `index` of the world, with the shipped catalogue.
    pub fn new(world: Seed, index: u64, options: HouseholdOptions) -> Self {
        Self::with_catalogue(world, index, options, &Catalogue::builtin())
    }

    /// Home number `index` of the world. Reading the catalogue once serves many homes.
    pub fn with_catalogue(
        world: Seed,
        index: u64,
        options: HouseholdOptions,
        catalogue: &Catalogue,
    ) -> Self {
        let seed = world.child("household").nth(index);
        let mut draw = Draw::new(seed.child("people"));
        let persons = draw_persons(&mut draw);
        let persons = options
            .persons
            .map_or(persons, |given| given.clamp(1, Self::PERSONS_MAX));
        let lifestyle = draw_lifestyle(&mut draw, persons);
        let lifestyle = options.lifestyle.unwrap_or(lifestyle);
        let (early, late) = match lifestyle {
            Lifestyle::Worker | Lifestyle::Family => (5.5, 7.5),
            Lifestyle::Retired => (6.0, 8.5),
        };
        let wake = early + (late - early) * draw.unit();
        let sleep = 22.0 + 2.75 * draw.unit();
        let owned: Vec<Owned> = catalogue
            .iter()
            .filter_map(|(id, appliance)| {
                let habit = *HABITS.iter().find(|habit| habit.key == appliance.key)?;
                let mut draw = Draw::new(seed.child("owned").nth(id.index() as u64));
                if !draw.chance(habit.owned_permille) {
                    return None;
                }
                // No two models are alike: four fifths to six fifths of the catalogue's power.
                let scale_permille = i64::from(draw.between(800, 1_200));
                let liking = 0.5 + draw.unit();
                let phase = match options.supply {
                    Supply::SinglePhase => 0,
                    Supply::ThreePhase => draw.below(3) as usize,
                };
                Some(Owned {
                    rating: Rating::new(id, appliance, scale_permille, phase),
                    habit,
                    flexibility: appliance.flexibility,
                    liking,
                })
            })
            .collect();
        Self {
            world,
            seed,
            persons,
            lifestyle,
            response: options.response,
            presence: [false, true].map(|weekend| {
                presence(
                    lifestyle,
                    weekend,
                    wake + f64::from(u8::from(weekend)),
                    sleep,
                )
            }),
            set: owned.iter().fold(ApplianceSet::EMPTY, |set, owned| {
                set.with(owned.rating.id())
            }),
            owned,
            labels: catalogue.iter().map(|(_, a)| a.label.clone()).collect(),
        }
    }

    /// Persons living there.
    pub const fn persons(&self) -> u8 {
        self.persons
    }

    /// How they spend their weekdays.
    pub const fn lifestyle(&self) -> Lifestyle {
        self.lifestyle
    }

    /// How they answer prices.
    pub const fn response(&self) -> Response {
        self.response
    }

    /// What they own.
    pub const fn appliances(&self) -> ApplianceSet {
        self.set
    }

    /// The name of an appliance for people; empty for an id of another catalogue.
    pub fn label(&self, id: ApplianceId) -> &str {
        self.labels.get(id.index()).map_or("", String::as_str)
    }

    /// What an appliance draws here; `None` if the home has none.
    pub fn rating(&self, id: ApplianceId) -> Option<&Rating> {
        self.owned
            .iter()
            .map(|owned| &owned.rating)
            .find(|rating| rating.id() == id)
    }

    /// What the people switch on on `day`, knowing `signal`. A run belongs to the day on which it
    /// was decided, even where it starts or ends after midnight.
    pub fn plan_day(&self, day: Day, signal: &PriceSignal) -> DayPlan {
        let number = u64::from(day.epoch_days().cast_unsigned());
        let seed = self.seed.child("day").nth(number);
        let season = Season::on(self.world, day);
        let away = self.is_on_holiday(day, season.day_of_year);
        let presence = &self.presence[usize::from(day.weekday().is_weekend())];
        let multipliers = self.response.hourly_multipliers(signal);
        let mut runs = Vec::with_capacity(128);
        for owned in &self.owned {
            let mut draw = Draw::new(seed.nth(owned.rating.id().index() as u64));
            match owned.habit.trigger {
                Trigger::Always => runs.push(Run::new(owned.rating.id(), 0, MS_PER_DAY)),
                Trigger::Night { minutes_per_kelvin } => {
                    let kelvins = Degrees::Heating.on(&season);
                    let minutes = kelvins * f64::from(minutes_per_kelvin) * owned.liking;
                    let charge = crate::load::round_to_ms(minutes * MS_PER_MINUTE)
                        .min(owned.rating.drawn_duration_ms(1_000));
                    if charge > 0 {
                        runs.push(Run::new(
                            owned.rating.id(),
                            draw.below(NIGHT_SPREAD_MS),
                            charge,
                        ));
                    }
                }
                Trigger::Thermostat {
                    base_permille,
                    per_kelvin_permille,
                    degrees,
                } => {
                    let kelvins = degrees.on(&season);
                    let duty = (f64::from(base_permille)
                        + kelvins * f64::from(per_kelvin_permille))
                        / 1_000.0;
                    cycle(
                        &mut runs,
                        &mut draw,
                        owned,
                        duty * (0.4 + 0.6 * owned.liking),
                    );
                }
                Trigger::People {
                    home_milli,
                    person_milli,
                    rhythm,
                } => {
                    if away {
                        continue;
                    }
                    let mean = f64::from(home_milli + person_milli * u32::from(self.persons))
                        / 1_000.0
                        * owned.liking;
                    let weights = hour_weights(rhythm, presence, &season);
                    self.start_runs(
                        &mut runs,
                        &mut draw,
                        owned,
                        mean,
                        &weights,
                        &multipliers,
                        signal,
                    );
                }
            }
        }
        DayPlan::new(day, runs)
    }

    /// The load of `day`: what was planned on it and what still runs of the day before.
    ///
    /// # Panics
    ///
    /// If the plans are not of consecutive days.
    pub fn load(&self, yesterday: &DayPlan, today: &DayPlan) -> DayLoad {
        let mut ratings = self.owned.iter().map(|owned| &owned.rating);
        DayLoad::new(&mut ratings, yesterday, today)
    }

    /// Plans both days and returns the load of `day`, for who keeps no plans.
    pub fn load_on(&self, day: Day, known_yesterday: &PriceSignal, known: &PriceSignal) -> DayLoad {
        let yesterday = self.plan_day(day.previous(), known_yesterday);
        self.load(&yesterday, &self.plan_day(day, known))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the draws of one appliance on one day, nowhere else"
    )]
    fn start_runs(
        &self,
        runs: &mut Vec<Run>,
        draw: &mut Draw,
        owned: &Owned,
        mean: f64,
        weights: &Weights,
        multipliers: &[f64; 24],
        signal: &PriceSignal,
    ) {
        let id = owned.rating.id();
        match owned.flexibility {
            Flexibility::Fixed | Flexibility::Thermostatic => {
                // A dear hour loses uses; it does not send them elsewhere.
                let mut priced = weights.hours;
                for (weight, multiplier) in priced.iter_mut().zip(multipliers) {
                    *weight *= multiplier;
                }
                let mean = mean * priced.iter().sum::<f64>() / weights.full;
                for _ in 0..draw.poisson(mean, Self::STARTS_MAX) {
                    let Some(hour) = draw.weighted(&priced) else {
                        return;
                    };
                    let start = hour * MS_PER_HOUR + draw.below(MS_PER_HOUR);
                    let duration = owned.rating.drawn_duration_ms(draw.between(500, 1_500));
                    runs.push(Run::new(id, start, duration));
                }
            }
            Flexibility::Shiftable {
                first_hour,
                end_hour,
            } => {
                let (first, end) = (
                    u32::from(first_hour) * MS_PER_HOUR,
                    u32::from(end_hour) * MS_PER_HOUR,
                );
                let mean = mean * weights.hours.iter().sum::<f64>() / weights.full;
                for _ in 0..draw.poisson(mean, Self::STARTS_MAX) {
                    let hour = draw.weighted(&weights.hours).unwrap_or(HOUR_LAST);
                    let wanted = hour * MS_PER_HOUR + draw.below(MS_PER_HOUR);
                    // Wanted outside the window: the same minute in its nearest hour.
                    let wanted = match wanted {
                        early if early < first => first + early % MS_PER_HOUR,
                        late if late >= end => end - MS_PER_HOUR + late % MS_PER_HOUR,
                        inside => inside,
                    };
                    let duration = owned.rating.drawn_duration_ms(draw.between(500, 1_500));
                    // Drawn whether or not anybody responds, so that both runs stay comparable.
                    let minds_the_price = draw.chance(SHIFTED_PERMILLE);
                    let start = if minds_the_price {
                        self.response
                            .shifted_start(signal, wanted, first, end, duration)
                    } else {
                        wanted
                    };
                    runs.push(Run::new(id, start, duration));
                }
            }
        }
    }

    /// Two absences a year: a long one in summer, a short one anywhere.
    fn is_on_holiday(&self, day: Day, day_of_year: u16) -> bool {
        let (year, _, _) = day.ymd();
        let mut draw = Draw::new(
            self.seed
                .child("holiday")
                .nth(u64::from(year.cast_unsigned())),
        );
        let summer = (draw.between(165, 235), draw.between(5, 14));
        let other = (draw.between(0, 350), draw.between(2, 7));
        [summer, other]
            .iter()
            .any(|(first, length)| (*first..first + length).contains(&u32::from(day_of_year)))
    }
}

/// The hours of a use, and their sum if people were at home and awake all the time.
struct Weights {
    hours: [f64; 24],
    full: f64,
}

fn hour_weights(rhythm: Rhythm, presence: &[f64; 24], season: &Season) -> Weights {
    let base = rhythm.weights();
    let day_factor = match rhythm {
        Rhythm::Garden => ((season.temperature - 6.0) / 10.0).clamp(0.0, 1.0),
        Rhythm::Cold => ((14.0 - season.temperature) / 8.0).clamp(0.0, 2.0),
        Rhythm::Morning
        | Rhythm::Meals
        | Rhythm::Dinner
        | Rhythm::Evening
        | Rhythm::Day
        | Rhythm::Awake
        | Rhythm::Dark
        | Rhythm::Late => 1.0,
    };
    let mut hours = [0.0; 24];
    for (hour, weight) in hours.iter_mut().enumerate() {
        let dark = match rhythm {
            // Some rooms want light by day.
            Rhythm::Dark => 0.08 + 0.92 * season.darkness[hour],
            Rhythm::Morning
            | Rhythm::Meals
            | Rhythm::Dinner
            | Rhythm::Evening
            | Rhythm::Day
            | Rhythm::Awake
            | Rhythm::Late
            | Rhythm::Garden
            | Rhythm::Cold => 1.0,
        };
        *weight = f64::from(base[hour]) * presence[hour] * dark * day_factor;
    }
    Weights {
        hours,
        full: base.iter().map(|w| f64::from(*w)).sum(),
    }
}

/// A thermostat's day: on for the programme's length, off for as long as the duty cycle says.
fn cycle(runs: &mut Vec<Run>, draw: &mut Draw, owned: &Owned, duty: f64) {
    /// Fewer than one run in a hundred periods is none.
    const DUTY_MIN: f64 = 0.01;
    /// A thermostat rests at least a twentieth of the time.
    const DUTY_MAX: f64 = 0.95;
    if duty < DUTY_MIN {
        return;
    }
    let on_ms = owned.rating.drawn_duration_ms(1_000);
    let period = f64::from(on_ms) / duty.min(DUTY_MAX);
    let mut at = draw.unit() * period;
    while at < f64::from(MS_PER_DAY) {
        runs.push(Run::new(
            owned.rating.id(),
            crate::load::round_to_ms(at),
            on_ms,
        ));
        // Nobody opens the door at the same moment every day.
        at += period * (0.9 + 0.2 * draw.unit());
    }
}

fn draw_persons(draw: &mut Draw) -> u8 {
    // About the 2011 census of England and Wales: 30, 34, 16, 13 and 7 % of homes.
    match draw.below(100) {
        0..30 => 1,
        30..64 => 2,
        64..80 => 3,
        80..93 => 4,
        _ => 5,
    }
}

fn draw_lifestyle(draw: &mut Draw, persons: u8) -> Lifestyle {
    let roll = draw.below(100);
    match (persons, roll) {
        (1 | 2, 0..35) => Lifestyle::Retired,
        (3.., 0..80) => Lifestyle::Family,
        _ => Lifestyle::Worker,
    }
}
