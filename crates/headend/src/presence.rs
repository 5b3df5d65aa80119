//! Who was heard, and when: the head-end's picture of each meter's communication.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{MeterId, Period, UtcTime};

/// A meter's communication, judged by the age of its newest interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// Its newest interval ended at most two periods ago.
    Online,
    /// At least one due interval is missing.
    Late,
    /// Nothing for [`PresenceBook::SILENT_PERIODS`] periods, or never heard.
    Silent,
}

/// When each registered meter was last heard.
#[derive(Debug, Default)]
pub struct PresenceBook {
    newest: BTreeMap<MeterId, Option<UtcTime>>,
}

impl PresenceBook {
    /// A meter is silent after this many periods without an interval.
    pub const SILENT_PERIODS: u32 = 8;

    /// Expects a meter.
    pub fn register(&mut self, meter: MeterId) {
        self.newest.entry(meter).or_default();
    }

    /// An interval of a meter arrived; late ones do not make it younger.
    pub fn heard(&mut self, meter: MeterId, end: UtcTime) {
        if let Some(newest) = self.newest.get_mut(&meter) {
            *newest = (*newest).max(Some(end));
        }
    }

    /// The end of the newest interval heard from a meter.
    pub fn newest(&self, meter: MeterId) -> Option<UtcTime> {
        self.newest.get(&meter).copied().flatten()
    }

    /// How a meter's communication stands at `now`.
    pub fn presence(&self, meter: MeterId, period: Period, now: UtcTime) -> Presence {
        let Some(newest) = self.newest(meter) else {
            return Presence::Silent;
        };
        let age: Duration = now.since(newest);
        if age <= period.duration() * 2 {
            Presence::Online
        } else if age < period.duration() * Self::SILENT_PERIODS {
            Presence::Late
        } else {
            Presence::Silent
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_follows_the_age_of_the_newest_interval() {
        let mut book = PresenceBook::default();
        let meter = MeterId(1);
        book.register(meter);
        let at = |minutes: i64| UtcTime::from_secs(minutes * 60);
        let presence =
            |book: &PresenceBook, minutes| book.presence(meter, Period::HALF_HOUR, at(minutes));
        assert_eq!(presence(&book, 0), Presence::Silent);
        book.heard(meter, at(30));
        book.heard(meter, at(0)); // Backfill.
        book.heard(MeterId(9), at(30)); // Not ours.
        let cases = [
            (30, Presence::Online),
            (90, Presence::Online),
            (91, Presence::Late),
            (269, Presence::Late),
            (270, Presence::Silent),
        ];
        for (minutes, expected) in cases {
            assert_eq!(presence(&book, minutes), expected, "{minutes}");
        }
        assert_eq!(book.newest(MeterId(9)), None);
    }
}
