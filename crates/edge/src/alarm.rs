//! What meters tell unasked besides their readings: alerts of the alert push setup, and
//! EventNotifications. Both go up as alarms, before any reading, until somebody has them durable.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, MeterId, SystemTitle, UtcTime};
use gridloom_dlms::alert::AlertPush;
use gridloom_dlms::apdu::{DataNotification, EventNotification, LongInvokeId};

use crate::reason::Reasons;
use crate::score::Scores;

/// The identity of an alarm: what is sent twice under it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlarmKey {
    /// Whose.
    pub meter: MeterId,
    /// How it came, and under which number.
    pub number: AlarmNumber,
    /// When it was raised, by the meter's clock; of an event without a time, when it came.
    pub time: UtcTime,
}

/// The number of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmNumber {
    /// An alert: the meter repeats it under this long-invoke-id until that is confirmed.
    Alert(LongInvokeId),
    /// An EventNotification: the invocation counter of its packet. Nobody confirms it, and the
    /// meter sends it once.
    Event(u32),
}

/// A verified alarm of a meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterAlarm {
    /// Its identity.
    pub key: AlarmKey,
    /// Who signed it.
    pub title: SystemTitle,
    /// The invocation counter of the packet that brought it first.
    pub counter: u32,
    /// When that came.
    pub received: UtcTime,
    /// How far that packet was trusted.
    pub scores: Scores,
    /// What was odd about it all the same.
    pub reasons: Reasons,
    /// The APDU as the meter wrote it, deciphered; at most [`Self::APDU_MAX`] bytes.
    pub apdu: Vec<u8>,
}

/// What an alarm says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlarmBody {
    /// An alert of the push setup 0-4:25.9.0.
    Alert(AlertPush),
    /// The value of an attribute.
    Event(EventNotification),
}

impl MeterAlarm {
    /// Bytes of its APDU; a longer one is dropped as malformed.
    pub const APDU_MAX: usize = 1_024;

    /// What it says; `None` if its APDU is no alarm, which only a peer's mistake makes.
    pub fn body(&self) -> Option<AlarmBody> {
        AlarmBody::decode(&self.apdu)
    }
}

impl AlarmBody {
    /// The alarm in a plain APDU.
    pub fn decode(apdu: &[u8]) -> Option<Self> {
        if apdu.first() == Some(&EventNotification::TAG) {
            return EventNotification::decode(apdu).ok().map(Self::Event);
        }
        let notification = DataNotification::decode(apdu).ok()?;
        AlertPush::decode(notification.body).ok().map(Self::Alert)
    }

    /// Whether it tells that a meter lost its supply.
    pub fn is_last_gasp(&self) -> bool {
        match self {
            Self::Alert(alert) => alert
                .conditions()
                .any(|bit| bit == gridloom_dlms::companion::StatusBit::LastGasp),
            Self::Event(_) => false,
        }
    }
}

/// How alarms fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AlarmCounters {
    /// Alarms that came, repetitions left out.
    pub received: u64,
    /// Alarms that came again.
    pub repeated: u64,
    /// Alarms that are durable above.
    pub stored: u64,
    /// Alarms refused because [`Alarms::WAITING_MAX`] waited; their meters repeat alerts.
    pub refused: u64,
    /// Alarms that wait to be durable.
    pub waiting: usize,
}

/// Alarms on their way up.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    waiting: BTreeMap<AlarmKey, MeterAlarm>,
    /// When each is handed up again, in the order of time. An entry whose alarm is stored stays
    /// until then.
    again: VecDeque<(Instant, AlarmKey)>,
    /// The last ones that are durable, so that a repetition is confirmed at once.
    stored: VecDeque<AlarmKey>,
    counters: AlarmCounters,
}

/// What becomes of an alarm that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It goes up.
    New,
    /// It is on its way.
    Waits,
    /// It is durable above already.
    Stored,
    /// There is no room.
    Full,
}

impl Alarms {
    /// Alarms that wait; a further one is refused and counted, and its meter repeats it.
    pub(crate) const WAITING_MAX: usize = 16_384;
    /// Alarms remembered as durable; beyond it the oldest are forgotten, and a repetition goes up
    /// once more, to whoever has it durable.
    pub(crate) const STORED_MAX: usize = 4_096;
    /// An alarm that nobody has durable is handed up again after this long.
    pub(crate) const AGAIN_AFTER: Duration = Duration::from_secs(30);

    pub(crate) fn take(&mut self, alarm: MeterAlarm, now: Instant) -> Taken {
        let key = alarm.key;
        let known = if self.waiting.contains_key(&key) {
            Taken::Waits
        } else if self.stored.contains(&key) {
            Taken::Stored
        } else if self.waiting.len() >= Self::WAITING_MAX {
            self.counters.refused += 1;
            return Taken::Full;
        } else {
            self.counters.received += 1;
            self.waiting.insert(key, alarm);
            self.again.push_back((now + Self::AGAIN_AFTER, key));
            return Taken::New;
        };
        self.counters.repeated += 1;
        known
    }

    /// Somebody above has it durable; whether that is news.
    pub(crate) fn handle_stored(&mut self, key: AlarmKey) -> bool {
        if self.waiting.remove(&key).is_none() {
            return false;
        }
        self.counters.stored += 1;
        if self.stored.len() >= Self::STORED_MAX {
            self.stored.pop_front();
        }
        self.stored.push_back(key);
        true
    }

    /// The alarms that are due to be handed up again.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<MeterAlarm> {
        let mut due = Vec::new();
        while let Some((_, key)) = self.again.pop_front_if(|(at, _)| *at <= now) {
            if let Some(alarm) = self.waiting.get(&key) {
                self.again.push_back((now + Self::AGAIN_AFTER, key));
                due.push(alarm.clone());
            }
        }
        due
    }

    /// Every alarm that waits, oldest key first: whoever was to have them is back.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &MeterAlarm> {
        self.waiting.values()
    }

    pub(crate) fn wake(&self) -> Option<Instant> {
        self.again.front().map(|(at, _)| *at)
    }

    pub(crate) fn counters(&self) -> AlarmCounters {
        AlarmCounters {
            waiting: self.waiting.len(),
            ..self.counters
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(number: u32) -> MeterAlarm {
        MeterAlarm {
            key: AlarmKey {
                meter: MeterId(1),
                number: AlarmNumber::Event(number),
                time: UtcTime::from_secs(7),
            },
            title: SystemTitle(*b"GLM00001"),
            counter: number,
            received: UtcTime::from_secs(7),
            scores: Scores::FULL,
            reasons: Reasons::NONE,
            apdu: vec![0xC2],
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn an_alarm_goes_up_until_it_is_durable_and_is_one_however_often_it_comes() {
        let mut alarms = Alarms::default();
        assert_eq!(alarms.take(alarm(1), at(0)), Taken::New);
        assert_eq!(alarms.take(alarm(1), at(5)), Taken::Waits);
        assert_eq!(alarms.due(at(29)), []);
        assert_eq!(alarms.due(at(30)), [alarm(1)]);
        assert_eq!(alarms.due(at(31)), [], "once per turn");
        assert_eq!(alarms.waiting().count(), 1);
        assert!(alarms.handle_stored(alarm(1).key));
        assert!(!alarms.handle_stored(alarm(1).key), "told once");
        assert_eq!(alarms.due(at(60)), []);
        assert_eq!(alarms.wake(), None);
        assert_eq!(alarms.take(alarm(1), at(61)), Taken::Stored);
        let counters = alarms.counters();
        assert_eq!(
            (counters.received, counters.repeated, counters.stored),
            (1, 2, 1)
        );
    }

    #[test]
    fn alarms_are_bounded() {
        let mut alarms = Alarms::default();
        let most = u32::try_from(Alarms::WAITING_MAX).unwrap();
        for number in 0..most {
            assert_eq!(alarms.take(alarm(number), at(0)), Taken::New);
        }
        assert_eq!(alarms.take(alarm(most), at(0)), Taken::Full);
        for number in 0..most {
            alarms.handle_stored(alarm(number).key);
        }
        assert_eq!(alarms.stored.len(), Alarms::STORED_MAX);
        assert_eq!(alarms.take(alarm(most), at(0)), Taken::New);
        let counters = alarms.counters();
        assert_eq!((counters.refused, counters.waiting), (1, 1));
    }
}
