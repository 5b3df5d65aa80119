//! Limiter (class 71, version 0): compares one value with a threshold and runs a script when it
//! has stayed above, or come back below, for long enough.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::{ObisCode, UtcTime};
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::{Data, Tag};
use gridloom_dlms::datetime::CosemDateTime;

use super::InterfaceObject;
use super::retained::{Keeper, Kept, RetainedError};
use super::script_table::ScriptName;
use super::shape::{self, Unfit};

/// Emergency groups that a meter may belong to; a longer list is refused.
pub const EMERGENCY_GROUPS_MAX: usize = 32;

const VERSION: u8 = 1;
const OBJECT: &str = "limiter";

/// The type of the monitored value, and so of the thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThresholdType {
    /// `long-unsigned`.
    LongUnsigned,
    /// `double-long`.
    DoubleLong,
    /// `double-long-unsigned`.
    DoubleLongUnsigned,
}

impl ThresholdType {
    fn value(self, raw: i64) -> Data {
        let fits = "thresholds are checked against their type when they come in";
        match self {
            Self::LongUnsigned => Data::LongUnsigned(raw.try_into().expect(fits)),
            Self::DoubleLong => Data::DoubleLong(raw.try_into().expect(fits)),
            Self::DoubleLongUnsigned => Data::DoubleLongUnsigned(raw.try_into().expect(fits)),
        }
    }

    fn raw(self, value: &Data) -> Result<i64, Unfit> {
        match (self, value) {
            (Self::LongUnsigned, Data::LongUnsigned(raw)) => Ok(i64::from(*raw)),
            (Self::DoubleLong, Data::DoubleLong(raw)) => Ok(i64::from(*raw)),
            (Self::DoubleLongUnsigned, Data::DoubleLongUnsigned(raw)) => Ok(i64::from(*raw)),
            (Self::LongUnsigned | Self::DoubleLong | Self::DoubleLongUnsigned, _) => {
                Err(Unfit::Type)
            }
        }
    }

    fn holds(self, raw: i64) -> bool {
        match self {
            Self::LongUnsigned => u16::try_from(raw).is_ok(),
            Self::DoubleLong => i32::try_from(raw).is_ok(),
            Self::DoubleLongUnsigned => u32::try_from(raw).is_ok(),
        }
    }

    /// The A-XDR type.
    pub const fn tag(self) -> Tag {
        match self {
            Self::LongUnsigned => Tag::LongUnsigned,
            Self::DoubleLong => Tag::DoubleLong,
            Self::DoubleLongUnsigned => Tag::DoubleLongUnsigned,
        }
    }
}

/// The attribute that the limiter watches (the standard's `value_definition`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonitoredValue {
    /// The object's class.
    pub class_id: u16,
    /// The object.
    pub instance: ObisCode,
    /// The attribute.
    pub attribute: i8,
}

/// What a limiter begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimiterConfig {
    /// What is watched.
    pub monitored: MonitoredValue,
    /// Its type.
    pub threshold_type: ThresholdType,
    /// The normal threshold, in the monitored value's own unit and scaler.
    pub threshold_normal: i64,
    /// The threshold of an emergency, likewise.
    pub threshold_emergency: i64,
    /// The value must stay above for so many seconds before the script runs.
    pub min_over_s: u32,
    /// The value must stay at or below for so many seconds before the other script runs.
    pub min_under_s: u32,
    /// Runs when the value has stayed above; usually local disconnection.
    pub action_over: ScriptName,
    /// Runs when it has come back; often local reconnection.
    pub action_under: ScriptName,
}

/// A time in which the emergency threshold holds, for meters of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmergencyProfile {
    /// The group it is meant for.
    pub id: u16,
    /// Its start; with open fields it never starts.
    pub activation: CosemDateTime,
    /// Its length in seconds.
    pub duration_s: u32,
}

impl EmergencyProfile {
    const NONE: Self = Self {
        id: 0,
        activation: CosemDateTime::from_bytes([0xFF; CosemDateTime::LEN]),
        duration_s: 0,
    };

    fn span(&self) -> Option<(UtcTime, UtcTime)> {
        let start = self.activation.to_utc().ok()?;
        Some((
            start,
            start + Duration::from_secs(u64::from(self.duration_s)),
        ))
    }
}

/// What the meter must know or do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimiterEvent {
    /// The value stayed above the threshold: run the script, log it.
    Exceeded {
        /// When the time was up.
        at: UtcTime,
        /// What to run; nothing if it is none.
        script: ScriptName,
    },
    /// The value came back: run the script, log it.
    Ok {
        /// When the time was up.
        at: UtcTime,
        /// What to run; nothing if it is none.
        script: ScriptName,
    },
    /// Another threshold is active: log it.
    ThresholdChanged {
        /// Since when.
        at: UtcTime,
        /// The threshold.
        threshold: i64,
    },
}

/// On which side of the threshold the value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Under,
    Over,
}

/// One limiter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limiter {
    monitored: MonitoredValue,
    threshold_type: ThresholdType,
    threshold_normal: i64,
    threshold_emergency: i64,
    min_over_s: u32,
    min_under_s: u32,
    emergency: EmergencyProfile,
    groups: Vec<u16>,
    emergency_active: bool,
    action_over: ScriptName,
    action_under: ScriptName,
    /// The last value; `None` before the first one.
    value: Option<i64>,
    /// The side for which the script has run.
    settled: Side,
    /// Since when the value is on the other side.
    crossed: Option<UtcTime>,
    /// Everything before this time is decided.
    seen: UtcTime,
    /// At most one for each crossing of the time between two inputs.
    events: VecDeque<LimiterEvent>,
}

impl Limiter {
    /// A limiter whose value is below.
    ///
    /// # Panics
    ///
    /// If a threshold does not fit its type.
    pub fn new(config: &LimiterConfig) -> Self {
        assert!(
            config.threshold_type.holds(config.threshold_normal)
                && config.threshold_type.holds(config.threshold_emergency),
            "a threshold has the type of what it limits"
        );
        Self {
            monitored: config.monitored,
            threshold_type: config.threshold_type,
            threshold_normal: config.threshold_normal,
            threshold_emergency: config.threshold_emergency,
            min_over_s: config.min_over_s,
            min_under_s: config.min_under_s,
            emergency: EmergencyProfile::NONE,
            groups: Vec::new(),
            emergency_active: false,
            action_over: config.action_over,
            action_under: config.action_under,
            value: None,
            settled: Side::Under,
            crossed: None,
            seen: UtcTime::from_millis(i64::MIN),
            events: VecDeque::new(),
        }
    }

    /// What is watched; the meter feeds its value to [`Self::handle_value`].
    pub const fn monitored(&self) -> MonitoredValue {
        self.monitored
    }

    /// The monitored value is `value` from `at` on. What fell due before is decided first, with
    /// the value that held until then.
    pub fn handle_value(&mut self, value: i64, at: UtcTime) {
        self.handle_time(at);
        self.value = Some(value);
        self.decide(at);
    }

    /// Carries out what is due by `at`, each at its own time.
    pub fn handle_time(&mut self, at: UtcTime) {
        if at < self.seen {
            // The clock was set back: what waits goes on waiting from here.
            self.crossed = self.crossed.map(|since| since.min(at));
        }
        while let Some((due, _)) = self.wake().filter(|(due, _)| *due <= at) {
            self.decide(due);
        }
        self.decide(at);
    }

    /// The next time [`Self::handle_time`] is due, and why.
    pub fn wake(&self) -> Option<(UtcTime, &'static str)> {
        let crossing = self
            .crossed
            .map(|since| (since + self.patience(), "limiter duration"));
        let emergency = self.emergency_span().and_then(|(start, end)| {
            if self.emergency_active {
                Some((end, "limiter emergency ends"))
            } else {
                (start > self.seen).then_some((start, "limiter emergency begins"))
            }
        });
        crossing.into_iter().chain(emergency).min()
    }

    /// What the meter must know or do next.
    pub fn poll_event(&mut self) -> Option<LimiterEvent> {
        self.events.pop_front()
    }

    /// The threshold that holds now (attribute 3).
    pub const fn threshold_active(&self) -> i64 {
        if self.emergency_active {
            self.threshold_emergency
        } else {
            self.threshold_normal
        }
    }

    /// Decides for one moment: a duration that ends here ran with what held before.
    fn decide(&mut self, at: UtcTime) {
        self.fire(at);
        self.seen = at;
        let active = self
            .emergency_span()
            .is_some_and(|(start, end)| (start..end).contains(&at));
        self.change_threshold(at, |limiter| limiter.emergency_active = active);
        let Some(value) = self.value else {
            return;
        };
        let side = if value > self.threshold_active() {
            Side::Over
        } else {
            Side::Under
        };
        if side == self.settled {
            self.crossed = None;
        } else if self.crossed.is_none() {
            self.crossed = Some(at);
        }
        self.fire(at);
    }

    fn fire(&mut self, at: UtcTime) {
        let due = self.crossed.map(|since| since + self.patience());
        let Some(due) = due.filter(|due| *due <= at) else {
            return;
        };
        self.crossed = None;
        let (settled, event) = match self.settled {
            Side::Under => (
                Side::Over,
                LimiterEvent::Exceeded {
                    at: due,
                    script: self.action_over,
                },
            ),
            Side::Over => (
                Side::Under,
                LimiterEvent::Ok {
                    at: due,
                    script: self.action_under,
                },
            ),
        };
        self.settled = settled;
        self.events.push_back(event);
    }

    /// How long the value must stay on the other side.
    fn patience(&self) -> Duration {
        let seconds = match self.settled {
            Side::Under => self.min_over_s,
            Side::Over => self.min_under_s,
        };
        Duration::from_secs(u64::from(seconds))
    }

    fn change_threshold(&mut self, at: UtcTime, change: impl FnOnce(&mut Self)) {
        let before = self.threshold_active();
        change(self);
        let threshold = self.threshold_active();
        if threshold != before {
            self.events
                .push_back(LimiterEvent::ThresholdChanged { at, threshold });
        }
    }

    fn emergency_span(&self) -> Option<(UtcTime, UtcTime)> {
        if self.emergency.duration_s == 0 || !self.groups.contains(&self.emergency.id) {
            return None;
        }
        self.emergency.span()
    }

    /// Appends what the limiter keeps. A crossing that waits goes on after a restart.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.put(self.monitored.class_id.to_be_bytes());
        keeper.put(self.monitored.instance.0);
        keeper.put(self.monitored.attribute.to_be_bytes());
        keeper.put(self.threshold_normal.to_be_bytes());
        keeper.put(self.threshold_emergency.to_be_bytes());
        keeper.put(self.min_over_s.to_be_bytes());
        keeper.put(self.min_under_s.to_be_bytes());
        keeper.put(self.emergency.id.to_be_bytes());
        keeper.put(self.emergency.activation.to_bytes());
        keeper.put(self.emergency.duration_s.to_be_bytes());
        keeper.list(self.groups.iter(), |keeper, group| {
            keeper.put(group.to_be_bytes());
        });
        keeper.flag(self.emergency_active);
        self.action_over.keep(&mut keeper);
        self.action_under.keep(&mut keeper);
        keeper.option(self.value, |keeper, value| keeper.put(value.to_be_bytes()));
        keeper.flag(self.settled == Side::Over);
        keeper.option(self.crossed, Keeper::time);
        keeper.time(self.seen);
    }

    /// Takes over what a limiter of the same monitored type kept.
    ///
    /// # Errors
    ///
    /// Bytes that no such limiter wrote.
    pub fn decode(threshold_type: ThresholdType, bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let limiter = Self {
            monitored: MonitoredValue {
                class_id: kept.u16()?,
                instance: kept.name()?,
                attribute: i8::from_be_bytes(kept.array()?),
            },
            threshold_type,
            threshold_normal: kept.i64()?,
            threshold_emergency: kept.i64()?,
            min_over_s: kept.u32()?,
            min_under_s: kept.u32()?,
            emergency: EmergencyProfile {
                id: kept.u16()?,
                activation: kept.date_time()?,
                duration_s: kept.u32()?,
            },
            groups: kept.list("groups", EMERGENCY_GROUPS_MAX, Kept::u16)?,
            emergency_active: kept.flag("emergency active")?,
            action_over: ScriptName::read(&mut kept)?,
            action_under: ScriptName::read(&mut kept)?,
            value: kept.option("value", Kept::i64)?,
            settled: if kept.flag("side")? {
                Side::Over
            } else {
                Side::Under
            },
            crossed: kept.option("crossing", Kept::time)?,
            seen: kept.time()?,
            events: VecDeque::new(),
        };
        kept.require(
            threshold_type.holds(limiter.threshold_normal)
                && threshold_type.holds(limiter.threshold_emergency),
            "threshold",
        )?;
        kept.finish()?;
        Ok(limiter)
    }
}

impl InterfaceObject for Limiter {
    fn get(&self, attribute: i8, _: UtcTime) -> Result<Data, DataAccessResult> {
        Ok(match attribute {
            2 => Data::Structure(vec![
                Data::LongUnsigned(self.monitored.class_id),
                shape::name_value(self.monitored.instance),
                Data::Integer(self.monitored.attribute),
            ]),
            3 => self.threshold_type.value(self.threshold_active()),
            4 => self.threshold_type.value(self.threshold_normal),
            5 => self.threshold_type.value(self.threshold_emergency),
            6 => Data::DoubleLongUnsigned(self.min_over_s),
            7 => Data::DoubleLongUnsigned(self.min_under_s),
            8 => Data::Structure(vec![
                Data::LongUnsigned(self.emergency.id),
                shape::date_time_value(self.emergency.activation),
                Data::DoubleLongUnsigned(self.emergency.duration_s),
            ]),
            9 => shape::array_value(&self.groups, |group| Data::LongUnsigned(*group)),
            10 => Data::Boolean(self.emergency_active),
            11 => Data::Structure(vec![self.action_over.value(), self.action_under.value()]),
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    /// The monitored value (2) is fixed, because its type is the thresholds'.
    fn set(&mut self, attribute: i8, value: &Data, at: UtcTime) -> Result<(), DataAccessResult> {
        match attribute {
            2 | 3 | 10 => return Err(DataAccessResult::ReadWriteDenied),
            4 => {
                let raw = self.threshold_type.raw(value)?;
                self.handle_time(at);
                self.change_threshold(at, |limiter| limiter.threshold_normal = raw);
            }
            5 => {
                let raw = self.threshold_type.raw(value)?;
                self.handle_time(at);
                self.change_threshold(at, |limiter| limiter.threshold_emergency = raw);
            }
            6 => self.min_over_s = shape::double_long_unsigned(value)?,
            7 => self.min_under_s = shape::double_long_unsigned(value)?,
            8 => {
                let [id, activation, duration_s] = shape::structure(value)?;
                self.emergency = EmergencyProfile {
                    id: shape::long_unsigned(id)?,
                    activation: shape::date_time(activation)?,
                    duration_s: shape::double_long_unsigned(duration_s)?,
                };
            }
            9 => self.groups = shape::list(value, EMERGENCY_GROUPS_MAX, shape::long_unsigned)?,
            11 => {
                let [over, under] = shape::structure(value)?;
                let (over, under) = (
                    ScriptName::from_value(over)?,
                    ScriptName::from_value(under)?,
                );
                (self.action_over, self.action_under) = (over, under);
            }
            _ => return Err(DataAccessResult::ObjectUndefined),
        }
        self.handle_time(at);
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
    use super::*;
    use crate::objects::retained::assert_survives;

    const SCRIPTS: ObisCode = ObisCode([0, 0, 10, 0, 106, 255]);
    const OPEN: ScriptName = ScriptName {
        table: SCRIPTS,
        selector: 1,
    };
    const CLOSE: ScriptName = ScriptName {
        table: SCRIPTS,
        selector: 2,
    };

    fn config() -> LimiterConfig {
        LimiterConfig {
            monitored: MonitoredValue {
                class_id: 3,
                instance: ObisCode([1, 0, 1, 7, 0, 255]),
                attribute: 2,
            },
            threshold_type: ThresholdType::DoubleLongUnsigned,
            threshold_normal: 5_000,
            threshold_emergency: 1_000,
            min_over_s: 60,
            min_under_s: 300,
            action_over: OPEN,
            action_under: CLOSE,
        }
    }

    fn at(second: i64) -> UtcTime {
        UtcTime::from_secs(1_700_000_000 + second)
    }

    fn events(limiter: &mut Limiter) -> Vec<LimiterEvent> {
        std::iter::from_fn(|| limiter.poll_event()).collect()
    }

    fn exceeded(second: i64) -> LimiterEvent {
        LimiterEvent::Exceeded {
            at: at(second),
            script: OPEN,
        }
    }

    fn ok(second: i64) -> LimiterEvent {
        LimiterEvent::Ok {
            at: at(second),
            script: CLOSE,
        }
    }

    #[test]
    fn scripts_run_after_the_exact_duration() {
        // Values by second, then what came of them by the end of second 1000.
        let cases: [(&[(i64, i64)], &[LimiterEvent]); 7] = [
            (&[(0, 5_000)], &[]),
            (&[(0, 5_001)], &[exceeded(60)]),
            // Back under one second early: nothing happened.
            (&[(0, 5_001), (59, 5_000)], &[]),
            // Back at the very end of the duration: it did last for a minute.
            (&[(0, 5_001), (60, 0)], &[exceeded(60), ok(360)]),
            // Above in two parts: each counts by itself.
            (&[(0, 6_000), (40, 0), (50, 6_000), (100, 0)], &[]),
            (
                &[(0, 6_000), (61, 0), (300, 6_000), (301, 0)],
                &[exceeded(60), ok(601)],
            ),
            // Nobody looks for a long time: the times are exact all the same.
            (
                &[(0, 6_000), (500, 0), (900, 6_000)],
                &[exceeded(60), ok(800), exceeded(960)],
            ),
        ];
        for (values, expected) in cases {
            let mut limiter = Limiter::new(&config());
            for (second, value) in values {
                limiter.handle_value(*value, at(*second));
            }
            limiter.handle_time(at(1_000));
            assert_eq!(events(&mut limiter), expected, "{values:?}");
        }
    }

    #[test]
    fn it_names_its_next_deadline() {
        let mut limiter = Limiter::new(&config());
        assert_eq!(limiter.wake(), None);
        limiter.handle_value(9_000, at(10));
        assert_eq!(limiter.wake(), Some((at(70), "limiter duration")));
        limiter.handle_time(at(70));
        assert_eq!(limiter.wake(), None);
        limiter.handle_value(0, at(80));
        assert_eq!(limiter.wake(), Some((at(380), "limiter duration")));
        // The clock is set back: the wait does not grow.
        limiter.handle_time(at(-1_000));
        assert_eq!(limiter.wake(), Some((at(-700), "limiter duration")));
    }

    #[test]
    fn an_emergency_lowers_the_threshold_for_its_group() {
        let profile = |id| {
            let activation = CosemDateTime::from_utc(at(100)).unwrap();
            Data::Structure(vec![
                Data::LongUnsigned(id),
                shape::date_time_value(activation),
                Data::DoubleLongUnsigned(200),
            ])
        };
        let mut limiter = Limiter::new(&config());
        limiter.handle_value(2_000, at(0));
        let groups = Data::Array(vec![Data::LongUnsigned(7)]);
        limiter.set(9, &groups, at(1)).unwrap();
        limiter.set(8, &profile(8), at(2)).unwrap();
        assert_eq!(limiter.wake(), None, "another group's emergency");
        limiter.set(8, &profile(7), at(3)).unwrap();
        assert_eq!(limiter.wake(), Some((at(100), "limiter emergency begins")));
        limiter.handle_time(at(150));
        assert_eq!(limiter.get(10, at(150)), Ok(Data::Boolean(true)));
        assert_eq!(limiter.get(3, at(150)), Ok(Data::DoubleLongUnsigned(1_000)));
        limiter.handle_time(at(1_000));
        let changed = |second, threshold| LimiterEvent::ThresholdChanged {
            at: at(second),
            threshold,
        };
        assert_eq!(
            events(&mut limiter),
            [
                changed(100, 1_000),
                exceeded(160),
                changed(300, 5_000),
                ok(600)
            ]
        );
        assert_eq!(limiter.wake(), None);
    }

    #[test]
    fn a_written_threshold_holds_at_once() {
        let mut limiter = Limiter::new(&config());
        limiter.handle_value(4_000, at(0));
        let set =
            |limiter: &mut Limiter, raw| limiter.set(4, &Data::DoubleLongUnsigned(raw), at(10));
        assert_eq!(set(&mut limiter, 3_999), Ok(()));
        assert_eq!(limiter.wake(), Some((at(70), "limiter duration")));
        assert_eq!(set(&mut limiter, 4_000), Ok(()));
        assert_eq!(limiter.wake(), None);
        assert_eq!(events(&mut limiter).len(), 2);
        assert_eq!(
            limiter.set(4, &Data::LongUnsigned(1), at(10)),
            Err(DataAccessResult::TypeUnmatched)
        );
        assert_eq!(
            limiter.set(3, &Data::DoubleLongUnsigned(1), at(10)),
            Err(DataAccessResult::ReadWriteDenied)
        );
        let many = Data::Array(vec![Data::LongUnsigned(1); EMERGENCY_GROUPS_MAX + 1]);
        assert_eq!(
            limiter.set(9, &many, at(10)),
            Err(DataAccessResult::OtherReason)
        );
    }

    #[test]
    fn every_attribute_reads_as_it_is_written() {
        let mut limiter = Limiter::new(&config());
        for attribute in [4, 5, 6, 7, 8, 9, 11] {
            let value = limiter.get(attribute, at(0)).unwrap();
            assert_eq!(limiter.set(attribute, &value, at(0)), Ok(()));
            assert_eq!(limiter.get(attribute, at(0)), Ok(value));
        }
        assert_eq!(
            limiter.get(12, at(0)),
            Err(DataAccessResult::ObjectUndefined)
        );
    }

    #[test]
    fn it_survives_in_the_middle_of_a_crossing() {
        let mut limiter = Limiter::new(&config());
        limiter.handle_value(9_000, at(0));
        let decode = |bytes: &[u8]| Limiter::decode(ThresholdType::DoubleLongUnsigned, bytes);
        assert_survives(&limiter, Limiter::encode, decode);
        let mut bytes = Vec::new();
        limiter.encode(&mut bytes);
        let mut restarted = decode(&bytes).unwrap();
        restarted.handle_time(at(61));
        assert_eq!(events(&mut restarted), [exceeded(60)]);
        assert!(matches!(
            Limiter::decode(ThresholdType::LongUnsigned, &{
                let mut limiter = limiter.clone();
                limiter.threshold_normal = 70_000;
                let mut bytes = Vec::new();
                limiter.encode(&mut bytes);
                bytes
            }),
            Err(RetainedError::Value { .. })
        ));
    }
}
