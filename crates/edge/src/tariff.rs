//! Which prices each meter still needs: the edge keeps the decided prices and hands every meter
//! those it has not confirmed, a few intervals at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{Instant, Period, Price, UtcTime};

/// Decided prices, by period and interval end.
#[derive(Debug, Default)]
pub struct PriceCache {
    prices: BTreeMap<(Period, UtcTime), Price>,
}

impl PriceCache {
    /// Prices kept: more than five weeks of quarter hours. Beyond it the oldest fall out; a meter
    /// that was away for longer gets them from the utility's rebilling, not from the edge.
    pub const PRICES_MAX: usize = 4_096;

    /// Takes a decided price.
    pub fn insert(&mut self, period: Period, end: UtcTime, price: Price) {
        self.prices.insert((period, end), price);
        while self.prices.len() > Self::PRICES_MAX {
            self.prices.pop_first();
        }
    }

    /// Up to `count` prices after `after`, oldest first.
    pub fn after(
        &self,
        period: Period,
        after: Option<UtcTime>,
        count: usize,
    ) -> Vec<(UtcTime, Price)> {
        let from = after.map_or(UtcTime::from_millis(i64::MIN), |end| {
            end + Duration::from_millis(1)
        });
        self.prices
            .range((period, from)..=(period, UtcTime::from_millis(i64::MAX)))
            .take(count)
            .map(|((_, end), price)| (*end, *price))
            .collect()
    }

    /// The newest price of a period.
    pub fn newest(&self, period: Period) -> Option<(UtcTime, Price)> {
        self.prices
            .range(
                (period, UtcTime::from_millis(i64::MIN))..=(period, UtcTime::from_millis(i64::MAX)),
            )
            .next_back()
            .map(|((_, end), price)| (*end, *price))
    }
}

/// How far one meter has confirmed its prices, in 16 bytes: interval ends are whole seconds, kept
/// until 2106.
#[derive(Debug, Default)]
pub struct PriceDelivery {
    /// Every price of an end before this second is in the meter; 0 before its first packet.
    lacks_from_s: u32,
    /// The end of the last price of the SET that waits for its answer.
    through_s: u32,
    /// When that was sent, in milliseconds that wrap.
    at_ms: u32,
    /// Its number; 0 if none waits.
    invoke_id: u8,
    /// SETs without an answer since the meter was last believed.
    unanswered: u8,
}

impl PriceDelivery {
    /// Intervals in one SET; an APDU of about half a kilobyte, which every link carries.
    pub const PRICES_PER_SET_MAX: usize = 24;

    /// A SET without an answer is sent again after this long, the next after twice that, and so
    /// on: a meter that is not there, or whose answers are not believed, costs little.
    pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

    /// The longest such wait is [`Self::ANSWER_TIMEOUT`] doubled so often: 43 minutes.
    pub const DOUBLINGS_MAX: u8 = 9;

    /// The meter was heard, and says which of its intervals is the oldest without a price. It knows
    /// better than the answers that came back: one may be lost, and the meter may have lost its
    /// memory.
    pub fn meter_lacks(&mut self, oldest_unpriced: Option<UtcTime>) {
        self.unanswered = 0;
        if let Some(oldest) = oldest_unpriced {
            self.lacks_from_s = seconds(oldest);
        }
    }

    /// What to SET now, if anything: not while an earlier one waits for its answer.
    pub fn due(
        &mut self,
        cache: &PriceCache,
        period: Period,
        now: Instant,
    ) -> Option<(u8, Vec<(UtcTime, Price)>)> {
        let now_ms = millis(now);
        let waits = Duration::from_millis(now_ms.wrapping_sub(self.at_ms).into());
        let is_waiting = self.invoke_id != 0;
        if is_waiting && waits < self.patience() {
            return None;
        }
        // Before its first packet nobody knows what a meter lacks; that packet will say.
        if self.lacks_from_s == 0 {
            return None;
        }
        let confirmed = UtcTime::from_secs(self.lacks_from_s.into()) - Duration::from_millis(1);
        let prices = cache.after(period, Some(confirmed), Self::PRICES_PER_SET_MAX);
        let (through, _) = *prices.last()?;
        self.invoke_id = self.invoke_id % 15 + 1;
        self.through_s = seconds(through);
        self.at_ms = now_ms;
        if is_waiting {
            self.unanswered = (self.unanswered + 1).min(Self::DOUBLINGS_MAX);
        }
        Some((self.invoke_id, prices))
    }

    /// How long the SET that was sent last waits for its answer.
    pub fn patience(&self) -> Duration {
        Self::ANSWER_TIMEOUT * (1 << self.unanswered)
    }

    /// The meter took the prices of a SET. An answer to an older one is ignored.
    pub fn answered(&mut self, invoke_id: u8) {
        if self.invoke_id != 0 && self.invoke_id == invoke_id {
            self.lacks_from_s = self.lacks_from_s.max(self.through_s.saturating_add(1));
            self.invoke_id = 0;
            self.unanswered = 0;
        }
    }
}

fn seconds(end: UtcTime) -> u32 {
    u32::try_from(end.as_secs().max(1)).unwrap_or(u32::MAX)
}

fn millis(now: Instant) -> u32 {
    let millis = now.as_nanos() / 1_000_000 % (1 << 32);
    u32::try_from(millis).expect("a remainder of 2^32 fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Period = Period::HALF_HOUR;

    fn end(slot: i64) -> UtcTime {
        UtcTime::from_secs(slot * 1_800)
    }

    fn cache(slots: i64) -> PriceCache {
        let mut cache = PriceCache::default();
        for slot in 1..=slots {
            cache.insert(PERIOD, end(slot), Price::parse("0.2").unwrap());
        }
        cache
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn ends(set: Option<(u8, Vec<(UtcTime, Price)>)>) -> Vec<UtcTime> {
        set.into_iter()
            .flat_map(|(_, prices)| prices)
            .map(|(end, _)| end)
            .collect()
    }

    #[test]
    fn a_meter_gets_what_it_lacks_in_order_and_once() {
        let cache = cache(30);
        let mut delivery = PriceDelivery::default();
        assert_eq!(
            delivery.due(&cache, PERIOD, at(0)),
            None,
            "nothing is known yet"
        );
        delivery.meter_lacks(Some(end(3)));
        let (first_id, first) = delivery.due(&cache, PERIOD, at(0)).unwrap();
        assert_eq!(first.len(), PriceDelivery::PRICES_PER_SET_MAX);
        assert_eq!(first[0].0, end(3));
        assert_eq!(
            delivery.due(&cache, PERIOD, at(1)),
            None,
            "one SET at a time"
        );
        delivery.answered(first_id);
        let (second_id, second) = delivery.due(&cache, PERIOD, at(1)).unwrap();
        assert_eq!(ends(Some((second_id, second))), [27, 28, 29, 30].map(end));
        delivery.answered(second_id);
        assert_eq!(delivery.due(&cache, PERIOD, at(2)), None);
    }

    #[test]
    fn an_unanswered_set_is_sent_again_under_a_new_number() {
        let cache = cache(2);
        let mut delivery = PriceDelivery::default();
        delivery.meter_lacks(Some(end(1)));
        let (first_id, first) = delivery.due(&cache, PERIOD, at(0)).unwrap();
        assert_eq!(delivery.due(&cache, PERIOD, at(4)), None);
        let (second_id, second) = delivery.due(&cache, PERIOD, at(5)).unwrap();
        assert_eq!(first, second);
        assert_ne!(first_id, second_id);
        delivery.answered(first_id); // Too late to count.
        assert_eq!(
            delivery.due(&cache, PERIOD, at(6)),
            None,
            "the second one still waits"
        );
        delivery.answered(second_id);
        assert_eq!(
            delivery.due(&cache, PERIOD, at(20)),
            None,
            "nothing is lacking"
        );
    }

    #[test]
    fn unanswered_sets_become_rare_until_the_meter_is_heard() {
        let cache = cache(2);
        let mut delivery = PriceDelivery::default();
        delivery.meter_lacks(Some(end(1)));
        let sent = |delivery: &mut PriceDelivery, seconds: std::ops::Range<u64>| {
            seconds
                .filter(|second| delivery.due(&cache, PERIOD, at(*second)).is_some())
                .collect::<Vec<_>>()
        };
        let day = sent(&mut delivery, 0..86_400);
        assert_eq!(day[..6], [0, 5, 15, 35, 75, 155]);
        let longest = 5 << PriceDelivery::DOUBLINGS_MAX;
        assert_eq!(day[day.len() - 1] - day[day.len() - 2], longest);
        assert_eq!(day.len(), 9 + 1 + 32, "{day:?}");
        delivery.meter_lacks(Some(end(1)));
        assert_eq!(sent(&mut delivery, 86_400..86_411), [86_400, 86_410]);
    }

    #[test]
    fn a_meter_that_forgot_gets_its_prices_again() {
        let cache = cache(4);
        let mut delivery = PriceDelivery::default();
        delivery.meter_lacks(Some(end(1)));
        let (id, _) = delivery.due(&cache, PERIOD, at(0)).unwrap();
        delivery.answered(id);
        delivery.meter_lacks(Some(end(3)));
        assert_eq!(ends(delivery.due(&cache, PERIOD, at(9))), [3, 4].map(end));
    }

    #[test]
    fn the_cache_forgets_its_oldest() {
        let cache = cache(PriceCache::PRICES_MAX as i64 + 1);
        assert_eq!(cache.after(PERIOD, None, 1)[0].0, end(2));
        assert_eq!(cache.newest(PERIOD).unwrap().0, end(4_097));
    }
}
