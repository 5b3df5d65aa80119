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
            seen: UtcTime::from_secs(0),
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
mod tests;
