//! Outages: the last words before the supply goes and the first after it is back, with a number,
//! so that whoever hears only one of them knows what is missing.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::UtcTime;

use super::retained::{Keeper, Kept, RetainedError};

const VERSION: u8 = 1;
const OBJECT: &str = "outage";

/// What counts as an outage, and which one is long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutageConfig {
    /// The meter lives on its reserve for so long before it says its last words. Supply that
    /// returns earlier was a dip, not an outage.
    pub last_gasp_after: Duration,
    /// Outages above this are long (EN 50160: three minutes).
    pub long_after: Duration,
}

impl OutageConfig {
    /// Half a second of patience; long after three minutes.
    pub const EN_50160: Self = Self {
        last_gasp_after: Duration::from_millis(500),
        long_after: Duration::from_secs(180),
    };
}

/// Whether an outage was short or long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum OutageClass {
    Short,
    Long,
}

/// What the meter must send and log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageEvent {
    /// Supply is away: send this at once, the reserve is small.
    LastGasp {
        /// The outage's number, from 1.
        sequence: u32,
        /// When supply went.
        at: UtcTime,
    },
    /// Supply is back.
    Restored {
        /// The outage's number.
        sequence: u32,
        /// When supply went.
        since: UtcTime,
        /// When it came back.
        at: UtcTime,
        /// How long it was away.
        duration: Duration,
        /// Short or long.
        class: OutageClass,
    },
}

/// The outages of one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outages {
    config: OutageConfig,
    /// Supply is away since then.
    since: Option<UtcTime>,
    /// Whether this outage has its number and its last words.
    said: bool,
    sequence: u32,
    short: u32,
    long: u32,
    /// Of all outages that are over, in whole seconds.
    seconds: u64,
    last: Option<(UtcTime, Duration)>,
    /// At most two per input.
    events: VecDeque<OutageEvent>,
}

impl Outages {
    /// A meter with supply and no past.
    pub const fn new(config: OutageConfig) -> Self {
        Self {
            config,
            since: None,
            said: false,
            sequence: 0,
            short: 0,
            long: 0,
            seconds: 0,
            last: None,
            events: VecDeque::new(),
        }
    }

    /// Supply goes.
    pub fn handle_power_down(&mut self, at: UtcTime) {
        if self.since.is_none() {
            self.since = Some(at);
            self.said = false;
            self.handle_time(at);
        }
    }

    /// Says the last words when they are due. Make the state durable before they are sent.
    pub fn handle_time(&mut self, at: UtcTime) {
        if let Some(since) = self.since
            && !self.said
            && at >= since + self.config.last_gasp_after
        {
            self.said = true;
            self.sequence = self.sequence.saturating_add(1);
            self.events.push_back(OutageEvent::LastGasp {
                sequence: self.sequence,
                at: since,
            });
        }
    }

    /// Supply is back. A short absence that ended before the last words were due is none.
    pub fn handle_power_up(&mut self, at: UtcTime) {
        self.handle_time(at);
        let Some(since) = self.since.take() else {
            return;
        };
        if !self.said {
            return;
        }
        self.said = false;
        let duration = at.since(since);
        let class = if duration > self.config.long_after {
            self.long = self.long.saturating_add(1);
            OutageClass::Long
        } else {
            self.short = self.short.saturating_add(1);
            OutageClass::Short
        };
        self.seconds = self.seconds.saturating_add(duration.as_secs());
        self.last = Some((at, duration));
        self.events.push_back(OutageEvent::Restored {
            sequence: self.sequence,
            since,
            at,
            duration,
            class,
        });
    }

    /// The meter starts at `at` and was last alive at `alive`. If nobody told that supply went,
    /// it went then.
    pub fn handle_boot(&mut self, alive: UtcTime, at: UtcTime) {
        if self.since.is_none() {
            self.since = Some(alive);
            self.said = false;
        }
        self.handle_power_up(at);
    }

    /// When [`Self::handle_time`] is due, and why.
    pub fn wake(&self) -> Option<(UtcTime, &'static str)> {
        let since = self.since.filter(|_| !self.said)?;
        Some((since + self.config.last_gasp_after, "last gasp"))
    }

    /// What the meter must send and log next.
    pub fn poll_event(&mut self) -> Option<OutageEvent> {
        self.events.pop_front()
    }

    /// Since when supply is away.
    pub const fn since(&self) -> Option<UtcTime> {
        self.since
    }

    /// Outages that are over (0.0.96.7.0.255).
    pub const fn count(&self) -> u32 {
        self.short.saturating_add(self.long)
    }

    /// Of these, the long ones (0.0.96.7.9.255).
    pub const fn long(&self) -> u32 {
        self.long
    }

    /// How long all of them lasted, in whole seconds (0.0.94.91.8.255 in minutes).
    pub const fn seconds(&self) -> u64 {
        self.seconds
    }

    /// When the last one ended and how long it was (0.0.96.7.19.255).
    pub const fn last(&self) -> Option<(UtcTime, Duration)> {
        self.last
    }

    /// Appends what the outages keep.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.option(self.since, Keeper::time);
        keeper.flag(self.said);
        keeper.put(self.sequence.to_be_bytes());
        keeper.put(self.short.to_be_bytes());
        keeper.put(self.long.to_be_bytes());
        keeper.put(self.seconds.to_be_bytes());
        keeper.option(self.last, |keeper, (at, duration)| {
            keeper.time(at);
            let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            keeper.put(millis.to_be_bytes());
        });
    }

    /// Takes over what the outages kept.
    ///
    /// # Errors
    ///
    /// Bytes that no outages wrote.
    pub fn decode(config: OutageConfig, bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let outages = Self {
            config,
            since: kept.option("outage", Kept::time)?,
            said: kept.flag("last gasp")?,
            sequence: kept.u32()?,
            short: kept.u32()?,
            long: kept.u32()?,
            seconds: kept.u64()?,
            last: kept.option("last outage", |kept| {
                Ok((kept.time()?, Duration::from_millis(kept.u64()?)))
            })?,
            events: VecDeque::new(),
        };
        kept.require(!outages.said || outages.since.is_some(), "last gasp")?;
        kept.finish()?;
        Ok(outages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::retained::assert_survives;

    fn at(millis: i64) -> UtcTime {
        UtcTime::from_millis(1_700_000_000_000 + millis)
    }

    fn events(outages: &mut Outages) -> Vec<OutageEvent> {
        std::iter::from_fn(|| outages.poll_event()).collect()
    }

    fn gasp(sequence: u32, millis: i64) -> OutageEvent {
        OutageEvent::LastGasp {
            sequence,
            at: at(millis),
        }
    }

    fn restored(sequence: u32, since: i64, until: i64, class: OutageClass) -> OutageEvent {
        OutageEvent::Restored {
            sequence,
            since: at(since),
            at: at(until),
            duration: Duration::from_millis(until.abs_diff(since)),
            class,
        }
    }

    #[test]
    fn outages_are_numbered_classed_and_counted() {
        use OutageClass::{Long, Short};
        let mut outages = Outages::new(OutageConfig::EN_50160);
        // A dip.
        outages.handle_power_down(at(0));
        assert_eq!(outages.wake(), Some((at(500), "last gasp")));
        outages.handle_power_up(at(499));
        assert_eq!((events(&mut outages), outages.count()), (vec![], 0));
        outages.handle_power_down(at(1_000));
        outages.handle_power_down(at(1_200));
        outages.handle_time(at(1_500));
        assert_eq!(events(&mut outages), [gasp(1, 1_000)]);
        assert_eq!(outages.wake(), None);
        outages.handle_power_up(at(181_000));
        assert_eq!(events(&mut outages), [restored(1, 1_000, 181_000, Short)]);
        outages.handle_power_down(at(200_000));
        // Nobody looked in between.
        outages.handle_power_up(at(380_001));
        assert_eq!(
            events(&mut outages),
            [gasp(2, 200_000), restored(2, 200_000, 380_001, Long)]
        );
        assert_eq!((outages.count(), outages.long()), (2, 1));
        assert_eq!(outages.seconds(), 360);
        assert_eq!(
            outages.last(),
            Some((at(380_001), Duration::from_millis(180_001)))
        );
    }

    #[test]
    fn a_meter_that_died_knows_when_it_starts() {
        let mut outages = Outages::new(OutageConfig::EN_50160);
        outages.handle_boot(at(0), at(60_000));
        assert_eq!(
            events(&mut outages),
            [gasp(1, 0), restored(1, 0, 60_000, OutageClass::Short)]
        );
        // It had said its last words before.
        outages.handle_power_down(at(100_000));
        outages.handle_time(at(100_500));
        events(&mut outages);
        let decode = |bytes: &[u8]| Outages::decode(OutageConfig::EN_50160, bytes);
        assert_survives(&outages, Outages::encode, decode);
        let mut bytes = Vec::new();
        outages.encode(&mut bytes);
        let mut restarted = decode(&bytes).unwrap();
        restarted.handle_boot(at(100_900), at(130_000));
        assert_eq!(
            events(&mut restarted),
            [restored(2, 100_000, 130_000, OutageClass::Short)]
        );
    }
}
