//! Single action schedule (class 22, version 0): runs a script at set times, such as the end of
//! billing, the activation of firmware or a push.

use std::collections::VecDeque;

use gridloom_core::UtcTime;
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::Data;

use super::InterfaceObject;
use super::recurrence::{DatePattern, Recurrence, TimePattern};
use super::retained::{Keeper, Kept, RetainedError};
use super::script_table::ScriptName;
use super::shape::{self, Unfit};

/// Execution times of one schedule; a longer list is refused.
pub const EXECUTION_TIMES_MAX: usize = 32;

const VERSION: u8 = 1;
const OBJECT: &str = "single-action-schedule";
const OPEN: u8 = 0xFF;

/// How the execution times relate (attribute 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ScheduleType {
    /// One time; its date may be open.
    One = 1,
    /// Several dates without open fields, all at the same time of day.
    SameTime = 2,
    /// Several dates that may be open, all at the same time of day.
    SameTimeOpenDates = 3,
    /// Several dates without open fields at times of their own.
    AnyTime = 4,
    /// Several dates that may be open at times of their own.
    AnyTimeOpenDates = 5,
}

impl ScheduleType {
    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::One),
            2 => Some(Self::SameTime),
            3 => Some(Self::SameTimeOpenDates),
            4 => Some(Self::AnyTime),
            5 => Some(Self::AnyTimeOpenDates),
            _ => None,
        }
    }

    fn allows(self, times: &[Recurrence]) -> bool {
        let same = times.windows(2).all(|pair| pair[0].time == pair[1].time);
        let fixed = times.iter().all(|time| !time.date.is_open());
        match self {
            Self::One => times.len() <= 1,
            Self::SameTime => same && fixed,
            Self::SameTimeOpenDates => same,
            Self::AnyTime => fixed,
            Self::AnyTimeOpenDates => true,
        }
    }
}

/// A script is due: run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleEvent {
    /// When it was due.
    pub due: UtcTime,
    /// What to run.
    pub script: ScriptName,
}

/// One schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SingleActionSchedule {
    script: ScriptName,
    kind: ScheduleType,
    times: Vec<Recurrence>,
    /// What was due until here has run.
    done_until: UtcTime,
    /// The earliest time after that.
    next: Option<UtcTime>,
    /// At most one for each execution time.
    events: VecDeque<ScheduleEvent>,
}

impl SingleActionSchedule {
    /// A schedule that runs `script` at `times` after `at`.
    ///
    /// # Panics
    ///
    /// If `times` do not suit `kind` or are too many: the maker's schedule is wrong.
    pub fn new(
        script: ScriptName,
        kind: ScheduleType,
        times: Vec<Recurrence>,
        at: UtcTime,
    ) -> Self {
        assert!(
            times.len() <= EXECUTION_TIMES_MAX && kind.allows(&times),
            "a maker's schedule suits its type"
        );
        let mut schedule = Self {
            script,
            kind,
            times,
            done_until: at,
            next: None,
            events: VecDeque::new(),
        };
        schedule.plan();
        schedule
    }

    /// The script that is run.
    pub const fn script(&self) -> ScriptName {
        self.script
    }

    /// Reports what has fallen due by `at`. After a time without power, an execution time that
    /// came several times is made up for once. A clock set back repeats nothing.
    pub fn handle_time(&mut self, at: UtcTime) {
        if self.next.is_none_or(|next| at < next) {
            return;
        }
        let mut due: Vec<UtcTime> = self
            .times
            .iter()
            .filter_map(|time| time.last_until(at))
            .filter(|due| *due > self.done_until)
            .collect();
        due.sort_unstable();
        due.dedup();
        let script = self.script;
        if !script.is_none() {
            self.events
                .extend(due.into_iter().map(|due| ScheduleEvent { due, script }));
        }
        self.done_until = at;
        self.plan();
    }

    /// When [`Self::handle_time`] is due, and why.
    pub fn wake(&self) -> Option<(UtcTime, &'static str)> {
        self.next.map(|next| (next, "single action schedule"))
    }

    /// What is to run next.
    pub fn poll_event(&mut self) -> Option<ScheduleEvent> {
        self.events.pop_front()
    }

    fn plan(&mut self) {
        self.next = self
            .times
            .iter()
            .filter_map(|time| time.next_after(self.done_until))
            .min();
    }

    /// Appends what the schedule keeps.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        self.script.keep(&mut keeper);
        keeper.byte(self.kind as u8);
        keeper.list(self.times.iter(), |keeper, time| {
            keeper.put(time.date.to_bytes());
            keeper.put(time.time.to_bytes());
        });
        keeper.time(self.done_until);
    }

    /// Takes over what a schedule kept.
    ///
    /// # Errors
    ///
    /// Bytes that no schedule wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let script = ScriptName::read(&mut kept)?;
        let kind = kept.u8()?;
        let kind = ScheduleType::from_code(kind).ok_or_else(|| kept.impossible("type"))?;
        let times = kept.list("times", EXECUTION_TIMES_MAX, |kept| {
            let date = DatePattern::from_bytes(kept.array()?);
            let [hour, minute, second, _] = kept.array()?;
            let time = TimePattern::from_fields(hour, minute, second);
            date.zip(time)
                .map(|(date, time)| Recurrence { date, time })
                .ok_or_else(|| kept.impossible("time"))
        })?;
        let done_until = kept.time()?;
        kept.require(kind.allows(&times), "type")?;
        kept.finish()?;
        Ok(Self::new(script, kind, times, done_until))
    }
}

fn time_value(time: &Recurrence) -> Data {
    Data::Structure(vec![
        Data::OctetString(time.time.to_bytes().to_vec()),
        Data::OctetString(time.date.to_bytes().to_vec()),
    ])
}

fn time_from_value(value: &Data) -> Result<Recurrence, Unfit> {
    let [time, date] = shape::structure(value)?;
    let [hour, minute, second, _] = if let Data::Time(bytes) = time {
        *bytes
    } else {
        shape::octet_array(time)?
    };
    let date = if let Data::Date(bytes) = date {
        *bytes
    } else {
        shape::octet_array(date)?
    };
    // Open seconds mean the full minute: nobody wants sixty executions.
    let second = if second == OPEN { 0 } else { second };
    Ok(Recurrence {
        date: DatePattern::from_bytes(date).ok_or(Unfit::Range)?,
        time: TimePattern::from_fields(hour, minute, second).ok_or(Unfit::Range)?,
    })
}

impl InterfaceObject for SingleActionSchedule {
    fn get(&self, attribute: i8, _: UtcTime) -> Result<Data, DataAccessResult> {
        match attribute {
            2 => Ok(self.script.value()),
            3 => Ok(Data::Enum(self.kind as u8)),
            4 => Ok(shape::array_value(&self.times, time_value)),
            _ => Err(DataAccessResult::ObjectUndefined),
        }
    }

    /// New times count from `at` on. A type that the present times do not suit empties them: type
    /// and times cannot be written at once.
    fn set(&mut self, attribute: i8, value: &Data, at: UtcTime) -> Result<(), DataAccessResult> {
        match attribute {
            2 => {
                self.script = ScriptName::from_value(value)?;
                return Ok(());
            }
            3 => {
                let code = shape::enumeration(value)?;
                self.kind = ScheduleType::from_code(code).ok_or(DataAccessResult::OtherReason)?;
                if !self.kind.allows(&self.times) {
                    self.times.clear();
                }
            }
            4 => {
                let times = shape::list(value, EXECUTION_TIMES_MAX, time_from_value)?;
                if !self.kind.allows(&times) {
                    return Err(DataAccessResult::OtherReason);
                }
                self.times = times;
                self.done_until = at;
            }
            _ => return Err(DataAccessResult::ObjectUndefined),
        }
        self.plan();
        Ok(())
    }

    fn invoke(
        &mut self,
        _: i8,
        _: Option<&Data>,
        _: UtcTime,
    ) -> Result<Option<Data>, ActionResult> {
        Err(ActionResult::ObjectUndefined)
    }
}

#[cfg(test)]
mod tests {
    use gridloom_core::ObisCode;

    use super::*;
    use crate::objects::retained::assert_survives;

    const BILLING: ScriptName = ScriptName {
        table: ObisCode([0, 0, 10, 0, 1, 255]),
        selector: 1,
    };
    const FIRST: [u8; 5] = [0xFF, 0xFF, 0xFF, 1, 0xFF];

    fn at(text: &str) -> UtcTime {
        UtcTime::parse(text).unwrap()
    }

    fn recurrence(date: [u8; 5], hour: u8) -> Recurrence {
        Recurrence {
            date: DatePattern::from_bytes(date).unwrap(),
            time: TimePattern::from_fields(hour, 0, 0).unwrap(),
        }
    }

    fn monthly() -> SingleActionSchedule {
        SingleActionSchedule::new(
            BILLING,
            ScheduleType::One,
            vec![recurrence(FIRST, 0)],
            at("2026-11-01T00:00:00Z"),
        )
    }

    fn due(schedule: &mut SingleActionSchedule) -> Vec<UtcTime> {
        std::iter::from_fn(|| schedule.poll_event().map(|event| event.due)).collect()
    }

    #[test]
    fn it_runs_when_due_and_makes_up_once() {
        let mut schedule = monthly();
        let december = at("2026-12-01T00:00:00Z");
        assert_eq!(schedule.wake(), Some((december, "single action schedule")));
        schedule.handle_time(at("2026-11-30T23:59:59Z"));
        assert_eq!(due(&mut schedule), []);
        schedule.handle_time(december);
        assert_eq!(due(&mut schedule), [december]);
        schedule.handle_time(december);
        assert_eq!(due(&mut schedule), []);
        // The clock is set back over it: it does not run again.
        schedule.handle_time(at("2026-11-30T12:00:00Z"));
        schedule.handle_time(december);
        assert_eq!(due(&mut schedule), []);
        // Three months without power.
        schedule.handle_time(at("2027-03-15T00:00:00Z"));
        assert_eq!(due(&mut schedule), [at("2027-03-01T00:00:00Z")]);
        assert_eq!(
            schedule.wake().map(|(at, _)| at),
            Some(at("2027-04-01T00:00:00Z"))
        );
    }

    #[test]
    fn types_say_what_the_times_may_be() {
        let fixed = [0x07, 0xEA, 12, 24, 0xFF];
        let cases = [
            (1, vec![recurrence(FIRST, 0)], true),
            (1, vec![recurrence(FIRST, 0); 2], false),
            (2, vec![recurrence(fixed, 0), recurrence(fixed, 0)], true),
            (2, vec![recurrence(fixed, 0), recurrence(fixed, 1)], false),
            (2, vec![recurrence(FIRST, 0)], false),
            (3, vec![recurrence(FIRST, 0), recurrence(fixed, 0)], true),
            (3, vec![recurrence(FIRST, 0), recurrence(fixed, 1)], false),
            (4, vec![recurrence(fixed, 0), recurrence(fixed, 1)], true),
            (4, vec![recurrence(FIRST, 0)], false),
            (5, vec![recurrence(FIRST, 0), recurrence(fixed, 1)], true),
            (
                5,
                vec![recurrence(FIRST, 0); EXECUTION_TIMES_MAX + 1],
                false,
            ),
        ];
        for (kind, times, allowed) in cases {
            let mut schedule = monthly();
            let now = at("2026-11-15T00:00:00Z");
            schedule.set(3, &Data::Enum(kind), now).unwrap();
            let value = shape::array_value(&times, time_value);
            let written = schedule.set(4, &value, now);
            assert_eq!(written.is_ok(), allowed, "{kind} {times:?}");
            if allowed {
                assert_eq!(schedule.get(4, now), Ok(value));
            }
        }
        assert_eq!(
            monthly().set(3, &Data::Enum(6), at("2026-11-15T00:00:00Z")),
            Err(DataAccessResult::OtherReason)
        );
    }

    #[test]
    fn written_times_do_not_reach_back() {
        let mut schedule = monthly();
        let now = at("2026-12-05T10:00:00Z");
        let daily = Data::Array(vec![Data::Structure(vec![
            Data::OctetString(vec![6, 30, 0xFF, 0xFF]),
            Data::OctetString(vec![0xFF; 5]),
        ])]);
        schedule.set(4, &daily, now).unwrap();
        schedule.handle_time(now);
        assert_eq!(due(&mut schedule), []);
        assert_eq!(
            schedule.wake().map(|(at, _)| at),
            Some(at("2026-12-06T06:30:00Z"))
        );
    }

    #[test]
    fn it_survives() {
        assert_survives(
            &monthly(),
            SingleActionSchedule::encode,
            SingleActionSchedule::decode,
        );
    }
}
