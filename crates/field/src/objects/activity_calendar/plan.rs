//! A whole calendar: seasons name weeks, weeks name days, days name scripts.

use gridloom_core::{Day, UtcTime};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::CosemDateTime;

use crate::objects::recurrence::{Recurrence, TimePattern};
use crate::objects::retained::{Keeper, Kept, RetainedError};
use crate::objects::script_table::ScriptName;
use crate::objects::shape::{self, Unfit};
use crate::objects::special_days::SpecialDays;

/// Bytes of a calendar's, a season's or a week's name; a longer one is refused.
pub const CALENDAR_NAME_MAX: usize = 32;
/// Seasons of a calendar; a longer list is refused.
pub const SEASONS_MAX: usize = 16;
/// Weeks of a calendar; a longer list is refused.
pub const WEEKS_MAX: usize = 16;
/// Day profiles of a calendar; a longer list is refused.
pub const DAYS_MAX: usize = 32;
/// Actions of a day; a longer list is refused.
pub const DAY_ACTIONS_MAX: usize = 24;
/// How many days a script holds on where the days after say nothing.
const CARRY_DAYS_MAX: usize = 7;

/// A part of the year.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Season {
    /// Its name.
    pub name: Vec<u8>,
    /// When it begins; with the year open, every year. It lasts until another one begins.
    pub start: CosemDateTime,
    /// Its week.
    pub week: Vec<u8>,
}

impl Season {
    pub(super) fn value(&self) -> Data {
        Data::Structure(vec![
            Data::OctetString(self.name.clone()),
            shape::date_time_value(self.start),
            Data::OctetString(self.week.clone()),
        ])
    }

    fn from_value(value: &Data) -> Result<Self, Unfit> {
        let [name, start, week] = shape::structure(value)?;
        let start = shape::date_time(start)?;
        Recurrence::from_date_time(start).ok_or(Unfit::Range)?;
        Ok(Self {
            name: shape::octets(name, CALENDAR_NAME_MAX)?.to_vec(),
            start,
            week: shape::octets(week, CALENDAR_NAME_MAX)?.to_vec(),
        })
    }
}

/// The day profiles of a week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Week {
    /// Its name.
    pub name: Vec<u8>,
    /// The day profiles from Monday to Sunday.
    pub days: [u8; 7],
}

impl Week {
    fn value(&self) -> Data {
        let name = Data::OctetString(self.name.clone());
        let days = self.days.map(Data::Unsigned);
        Data::Structure([name].into_iter().chain(days).collect())
    }

    fn from_value(value: &Data) -> Result<Self, Unfit> {
        let [name, days @ ..] = shape::structure::<8>(value)?;
        let mut week = Self {
            name: shape::octets(name, CALENDAR_NAME_MAX)?.to_vec(),
            days: [0; 7],
        };
        for (id, day) in week.days.iter_mut().zip(days) {
            *id = shape::unsigned(day)?;
        }
        Ok(week)
    }
}

/// From a time of day on, a script holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedAction {
    /// Second of the day, 0–86 399.
    pub start: u32,
    /// What holds from then on.
    pub script: ScriptName,
}

impl PlannedAction {
    fn value(&self) -> Data {
        let byte = |value: u32| u8::try_from(value).expect("a second of the day was checked");
        let time = [
            byte(self.start / 3_600),
            byte(self.start / 60 % 60),
            byte(self.start % 60),
            0,
        ];
        Data::Structure(vec![
            Data::OctetString(time.to_vec()),
            shape::name_value(self.script.table),
            Data::LongUnsigned(self.script.selector),
        ])
    }

    fn from_value(value: &Data) -> Result<Self, Unfit> {
        let [time, table, selector] = shape::structure(value)?;
        let [hour, minute, second, _] = if let Data::Time(bytes) = time {
            *bytes
        } else {
            shape::octet_array(time)?
        };
        // Open seconds mean the full minute.
        let second = if second == CosemDateTime::OPEN {
            0
        } else {
            second
        };
        let start = TimePattern::from_fields(hour, minute, second)
            .and_then(TimePattern::second_of_day)
            .ok_or(Unfit::Range)?;
        Ok(Self {
            start,
            script: ScriptName {
                table: shape::logical_name(table)?,
                selector: shape::long_unsigned(selector)?,
            },
        })
    }
}

/// A day profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedDay {
    /// Its number, by which weeks and special days name it.
    pub id: u8,
    /// What holds from when on.
    pub actions: Vec<PlannedAction>,
}

impl PlannedDay {
    fn value(&self) -> Data {
        Data::Structure(vec![
            Data::Unsigned(self.id),
            shape::array_value(&self.actions, PlannedAction::value),
        ])
    }

    fn from_value(value: &Data) -> Result<Self, Unfit> {
        let [id, actions] = shape::structure(value)?;
        Ok(Self {
            id: shape::unsigned(id)?,
            actions: shape::list(actions, DAY_ACTIONS_MAX, PlannedAction::from_value)?,
        })
    }
}

/// A calendar's content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Its name, at most [`CALENDAR_NAME_MAX`] bytes.
    pub name: Vec<u8>,
    /// At most [`SEASONS_MAX`].
    pub seasons: Vec<Season>,
    /// At most [`WEEKS_MAX`].
    pub weeks: Vec<Week>,
    /// At most [`DAYS_MAX`].
    pub days: Vec<PlannedDay>,
}

impl Plan {
    /// Whether nothing is planned.
    pub fn is_empty(&self) -> bool {
        self.seasons.is_empty() && self.weeks.is_empty() && self.days.is_empty()
    }

    /// Whether every list is within its bound, every season's week and every week's day are
    /// there, and no name is used twice.
    pub fn is_consistent(&self) -> bool {
        let bounded = self.name.len() <= CALENDAR_NAME_MAX
            && self.seasons.len() <= SEASONS_MAX
            && self.weeks.len() <= WEEKS_MAX
            && self.days.len() <= DAYS_MAX;
        let seasons = self.seasons.iter().all(|season| {
            season.name.len() <= CALENDAR_NAME_MAX
                && Recurrence::from_date_time(season.start).is_some()
                && self.week(&season.week).is_some()
        });
        let weeks = self.weeks.iter().enumerate().all(|(place, week)| {
            week.name.len() <= CALENDAR_NAME_MAX
                && week.days.iter().all(|id| self.day(*id).is_some())
                && self.weeks[..place]
                    .iter()
                    .all(|other| other.name != week.name)
        });
        let days = self.days.iter().enumerate().all(|(place, day)| {
            day.actions.len() <= DAY_ACTIONS_MAX
                && day.actions.iter().all(|action| action.start < 86_400)
                && self.days[..place].iter().all(|other| other.id != day.id)
        });
        bounded && seasons && weeks && days
    }

    /// The script that holds at `at` and since when. Where a day says nothing before that time,
    /// the day before goes on, up to a week back.
    pub(super) fn script_at(
        &self,
        at: UtcTime,
        special: &SpecialDays,
    ) -> Option<(UtcTime, ScriptName)> {
        let mut day = at.day();
        for _ in 0..=CARRY_DAYS_MAX {
            let actions = self.actions(day, special);
            let holding = actions
                .iter()
                .map(|action| (moment(day, action.start), action.script))
                .filter(|(start, _)| *start <= at)
                .max_by_key(|(start, _)| *start);
            if holding.is_some() {
                return holding;
            }
            day = day.previous();
        }
        None
    }

    /// The next start of an action after `at`, or the next midnight, at which days, weeks and
    /// seasons may change.
    pub(super) fn next_change(&self, at: UtcTime, special: &SpecialDays) -> Option<UtcTime> {
        if self.is_empty() {
            return None;
        }
        let day = at.day();
        self.actions(day, special)
            .iter()
            .map(|action| moment(day, action.start))
            .filter(|start| *start > at)
            .min()
            .or(Some(day.next().start()))
    }

    /// The day profile of a day: a special day's, or the week's of the season.
    pub(super) fn day_id(&self, day: Day, special: &SpecialDays) -> Option<u8> {
        // A special day whose profile this calendar does not have is an ordinary day.
        let special = special.day_id(day).filter(|id| self.day(*id).is_some());
        special.or_else(|| {
            let week = self.week(&self.season(day)?.week)?;
            Some(week.days[day.weekday() as usize])
        })
    }

    /// The season that began last. The one of the day's beginning holds all day: a season that
    /// starts at another time than midnight starts with the next day.
    fn season(&self, day: Day) -> Option<&Season> {
        self.seasons
            .iter()
            .filter_map(|season| {
                let start = Recurrence::from_date_time(season.start)?.last_until(day.start())?;
                Some((start, season))
            })
            .max_by_key(|(start, _)| *start)
            .map(|(_, season)| season)
    }

    fn week(&self, name: &[u8]) -> Option<&Week> {
        self.weeks.iter().find(|week| week.name == name)
    }

    fn day(&self, id: u8) -> Option<&PlannedDay> {
        self.days.iter().find(|day| day.id == id)
    }

    fn actions(&self, day: Day, special: &SpecialDays) -> &[PlannedAction] {
        self.day_id(day, special)
            .and_then(|id| self.day(id))
            .map_or(&[], |day| day.actions.as_slice())
    }

    pub(super) fn name_value(&self) -> Data {
        Data::OctetString(self.name.clone())
    }

    pub(super) fn seasons_value(&self) -> Data {
        shape::array_value(&self.seasons, Season::value)
    }

    pub(super) fn weeks_value(&self) -> Data {
        shape::array_value(&self.weeks, Week::value)
    }

    pub(super) fn days_value(&self) -> Data {
        shape::array_value(&self.days, PlannedDay::value)
    }

    pub(super) fn set_name(&mut self, value: &Data) -> Result<(), Unfit> {
        self.name = shape::octets(value, CALENDAR_NAME_MAX)?.to_vec();
        Ok(())
    }

    pub(super) fn set_seasons(&mut self, value: &Data) -> Result<(), Unfit> {
        self.seasons = shape::list(value, SEASONS_MAX, Season::from_value)?;
        Ok(())
    }

    pub(super) fn set_weeks(&mut self, value: &Data) -> Result<(), Unfit> {
        self.weeks = shape::list(value, WEEKS_MAX, Week::from_value)?;
        Ok(())
    }

    pub(super) fn set_days(&mut self, value: &Data) -> Result<(), Unfit> {
        self.days = shape::list(value, DAYS_MAX, PlannedDay::from_value)?;
        Ok(())
    }

    pub(super) fn keep(&self, keeper: &mut Keeper<'_>) {
        keeper.octets(&self.name);
        keeper.list(self.seasons.iter(), |keeper, season| {
            keeper.octets(&season.name);
            keeper.put(season.start.to_bytes());
            keeper.octets(&season.week);
        });
        keeper.list(self.weeks.iter(), |keeper, week| {
            keeper.octets(&week.name);
            keeper.put(week.days);
        });
        keeper.list(self.days.iter(), |keeper, day| {
            keeper.byte(day.id);
            keeper.list(day.actions.iter(), |keeper, action| {
                keeper.put(action.start.to_be_bytes());
                action.script.keep(keeper);
            });
        });
    }

    pub(super) fn read(kept: &mut Kept<'_>) -> Result<Self, RetainedError> {
        let name = |kept: &mut Kept<'_>| Ok(kept.octets("name", CALENDAR_NAME_MAX)?.to_vec());
        Ok(Self {
            name: name(kept)?,
            seasons: kept.list("seasons", SEASONS_MAX, |kept| {
                Ok(Season {
                    name: name(kept)?,
                    start: kept.date_time()?,
                    week: name(kept)?,
                })
            })?,
            weeks: kept.list("weeks", WEEKS_MAX, |kept| {
                Ok(Week {
                    name: name(kept)?,
                    days: kept.array()?,
                })
            })?,
            days: kept.list("days", DAYS_MAX, |kept| {
                Ok(PlannedDay {
                    id: kept.u8()?,
                    actions: kept.list("actions", DAY_ACTIONS_MAX, |kept| {
                        let start = kept.u32()?;
                        kept.require(start < 86_400, "start of an action")?;
                        let script = ScriptName::read(kept)?;
                        Ok(PlannedAction { start, script })
                    })?,
                })
            })?,
        })
    }
}

fn moment(day: Day, second: u32) -> UtcTime {
    UtcTime::from_secs(day.start().as_secs() + i64::from(second))
}
