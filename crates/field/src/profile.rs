//! The load profile: every captured interval until it is delivered, and long after.

use std::collections::VecDeque;

use gridloom_core::{
    Charge, IntervalValues, MillivarHours, MillivoltAmpereHours, Millivolts, MilliwattHours,
    Period, Price, ReadingStatus, UtcTime, Watts,
};
use gridloom_dlms::apdu::LongInvokeId;

/// Whether the utility has confirmed an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Not yet: it is pushed until it is.
    Unacknowledged,
    /// It is durable at the utility.
    Acknowledged,
}

/// One interval in the load profile. Kept narrow: a meter holds thousands of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub(crate) end: UtcTime,
    /// Import, export, QI–QIV, apparent, of the interval, in whole Wh, varh, VAh.
    pub(crate) energies: [u32; 7],
    /// Mean voltage of L1 in 0.1 V.
    pub(crate) voltage_dv: u16,
    pub(crate) status: ReadingStatus,
    pub(crate) delivery: Delivery,
    /// The active import register at the end, in Wh.
    pub(crate) register_wh: u64,
    /// Active power just before the end, in whole watts.
    pub(crate) power_w: i32,
    /// Millionths per kWh; the bound of [`Price`] fits.
    pub(crate) price_micro: Option<i32>,
}

impl Entry {
    /// An interval as captured, neither delivered nor priced.
    ///
    /// # Panics
    ///
    /// If an energy is no whole number below 2³² of its unit, which the metrology guarantees.
    pub fn new(
        end: UtcTime,
        status: ReadingStatus,
        values: &IntervalValues,
        register: MilliwattHours,
        power: Watts,
    ) -> Self {
        let [energies @ .., voltage] = values.to_array();
        Self {
            end,
            energies: energies.map(|milli| {
                assert!(milli % 1_000 == 0, "intervals are whole watt-hours");
                u32::try_from(milli / 1_000).expect("a phase's bound keeps an interval small")
            }),
            voltage_dv: u16::try_from(voltage / 100).expect("a meter's voltage is below 6 kV"),
            status,
            delivery: Delivery::Unacknowledged,
            register_wh: register
                .exact_watt_hours()
                .and_then(|wh| u64::try_from(wh).ok())
                .expect("a register holds whole watt-hours"),
            power_w: i32::try_from(power.get()).expect("three phases carry at most 3 MW"),
            price_micro: None,
        }
    }

    /// The end of the interval.
    pub fn end(&self) -> UtcTime {
        self.end
    }

    /// What was measured.
    pub fn values(&self) -> IntervalValues {
        let [import, export, q1, q2, q3, q4, apparent] =
            self.energies.map(|unit| i64::from(unit) * 1_000);
        IntervalValues {
            import: MilliwattHours::new(import),
            export: MilliwattHours::new(export),
            reactive: [q1, q2, q3, q4].map(MillivarHours::new),
            apparent: MillivoltAmpereHours::new(apparent),
            voltage: Millivolts::new(i64::from(self.voltage_dv) * 100),
        }
    }

    /// The meter's flags.
    pub fn status(&self) -> ReadingStatus {
        self.status
    }

    /// The active import register at the end.
    pub fn import_register(&self) -> MilliwattHours {
        let wh = i64::try_from(self.register_wh).expect("a register fits i64");
        MilliwattHours::new(wh * 1_000)
    }

    /// Active power just before the end; negative is export.
    pub fn power(&self) -> Watts {
        Watts::new(i64::from(self.power_w))
    }

    /// Whether the utility has it.
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// The price of the interval, once it is known.
    pub fn price(&self) -> Option<Price> {
        self.price_micro
            .and_then(|micro| Price::from_micro_per_kwh(i64::from(micro)))
    }

    /// Price × import, exact, once the price is known.
    pub fn charge(&self) -> Option<Charge> {
        Some(self.price()?.charge(self.values().import))
    }

    pub(crate) fn set_price(&mut self, price: Price) {
        let micro = i32::try_from(price.micro_per_kwh()).expect("a price is at most 10⁹");
        self.price_micro = Some(micro);
    }
}

/// The captured intervals in order of time, bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    period: Period,
    capacity: usize,
    entries: VecDeque<Entry>,
    unacknowledged: usize,
}

impl Profile {
    /// The fewest days a profile holds.
    pub const DAYS_MIN: u16 = 35;

    /// The most days a profile holds.
    pub const DAYS_MAX: u16 = 80;

    /// An empty profile that holds `days` of intervals.
    ///
    /// # Panics
    ///
    /// If `days` is outside [`Self::DAYS_MIN`] to [`Self::DAYS_MAX`].
    pub fn new(period: Period, days: u16) -> Self {
        assert!(
            (Self::DAYS_MIN..=Self::DAYS_MAX).contains(&days),
            "the configuration was checked"
        );
        let per_day = usize::try_from(period.per_day()).expect("a day's intervals fit usize");
        Self {
            period,
            capacity: usize::from(days) * per_day,
            entries: VecDeque::new(),
            unacknowledged: 0,
        }
    }

    /// Appends an interval. A full profile first drops its oldest acknowledged entry, or, where
    /// there is none, its oldest: that one is returned, and it is lost if it was unacknowledged.
    ///
    /// # Panics
    ///
    /// If `entry` is not later than every other.
    pub fn push(&mut self, entry: Entry) -> Option<Entry> {
        assert!(
            self.entries.back().is_none_or(|last| last.end < entry.end),
            "intervals are captured in order"
        );
        let dropped = (self.entries.len() == self.capacity).then(|| {
            let oldest = if self.unacknowledged == self.entries.len() {
                0
            } else {
                self.entries
                    .iter()
                    .position(|entry| entry.delivery == Delivery::Acknowledged)
                    .expect("one of them is acknowledged")
            };
            self.entries.remove(oldest).expect("the place exists")
        });
        for (entry, step) in dropped.iter().map(|e| (e, -1)).chain([(&entry, 1)]) {
            if entry.delivery == Delivery::Unacknowledged {
                self.unacknowledged = self.unacknowledged.saturating_add_signed(step);
            }
        }
        self.entries.push_back(entry);
        dropped
    }

    /// The interval that ends at `end`.
    pub fn get(&self, end: UtcTime) -> Option<&Entry> {
        self.place(end).map(|place| &self.entries[place])
    }

    /// Notes that the utility has the interval; false if it is not here or was noted before.
    pub fn acknowledge(&mut self, end: UtcTime) -> bool {
        let Some(place) = self.place(end) else {
            return false;
        };
        let entry = &mut self.entries[place];
        if entry.delivery == Delivery::Acknowledged {
            return false;
        }
        entry.delivery = Delivery::Acknowledged;
        self.unacknowledged -= 1;
        true
    }

    /// Notes the price of the interval, which must be here and unpriced; returns it as it is now.
    pub(crate) fn set_price(&mut self, end: UtcTime, price: Price) -> Entry {
        let place = self.place(end).expect("the caller has looked");
        let entry = &mut self.entries[place];
        assert!(entry.price_micro.is_none(), "the first price stands");
        entry.set_price(price);
        *entry
    }

    /// Puts back an entry that was remembered; entries come in order.
    pub(crate) fn restore(&mut self, entry: Entry) {
        self.unacknowledged += usize::from(entry.delivery == Delivery::Unacknowledged);
        self.entries.push_back(entry);
    }

    /// Every entry, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The entries that end from `from` to `to`, both included, oldest first.
    pub fn between(&self, from: UtcTime, to: UtcTime) -> impl DoubleEndedIterator<Item = &Entry> {
        let first = self.entries.partition_point(|entry| entry.end < from);
        let after = self.entries.partition_point(|entry| entry.end <= to);
        self.entries.range(first..after.max(first))
    }

    /// The newest entry.
    pub fn newest(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// Entries kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was captured yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries the utility has not confirmed.
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }

    /// The capture period.
    pub fn period(&self) -> Period {
        self.period
    }

    /// The most entries it holds.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The end of the newest interval, up to the newest captured one, that `invoke_id` can mean.
    pub fn end_of_invoke_id(&self, invoke_id: LongInvokeId) -> Option<UtcTime> {
        let newest = self.number(self.newest()?.end);
        let number = newest - (newest - i64::from(invoke_id.number())).rem_euclid(INVOKE_IDS);
        Some(UtcTime::from_secs(
            number * i64::from(self.period.as_secs()),
        ))
    }

    fn number(&self, end: UtcTime) -> i64 {
        end.as_secs().div_euclid(i64::from(self.period.as_secs()))
    }

    fn place(&self, end: UtcTime) -> Option<usize> {
        self.entries.binary_search_by_key(&end, Entry::end).ok()
    }
}

/// A long-invoke-id has 24 bits.
const INVOKE_IDS: i64 = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn end(number: i64) -> UtcTime {
        UtcTime::from_secs(number * 1_800)
    }

    fn entry(number: i64) -> Entry {
        Entry::new(
            end(number),
            ReadingStatus::GOOD,
            &IntervalValues {
                import: MilliwattHours::new(number * 1_000),
                voltage: Millivolts::new(230_100),
                ..IntervalValues::default()
            },
            MilliwattHours::new(9_000),
            Watts::new(-7),
        )
    }

    fn full() -> Profile {
        let mut profile = Profile::new(Period::HALF_HOUR, Profile::DAYS_MIN);
        for number in 0..35 * 48 {
            assert_eq!(profile.push(entry(number)), None);
        }
        profile
    }

    #[test]
    fn acknowledged_entries_fall_out_first() {
        let mut profile = full();
        assert!(profile.acknowledge(end(3)));
        assert!(!profile.acknowledge(end(3)), "only once");
        assert!(!profile.acknowledge(end(-1)), "never captured");
        let dropped = profile.push(entry(2_000)).unwrap();
        assert_eq!(
            (dropped.end, dropped.delivery),
            (end(3), Delivery::Acknowledged)
        );
        let dropped = profile.push(entry(2_001)).unwrap();
        assert_eq!(dropped.end, end(0));
        assert_eq!(dropped.delivery, Delivery::Unacknowledged, "lost");
        assert_eq!(profile.len(), profile.capacity());
        assert_eq!(profile.unacknowledged(), profile.capacity());
    }

    #[test]
    fn an_invoke_id_names_one_interval() {
        let mut profile = Profile::new(Period::HALF_HOUR, 35);
        assert_eq!(profile.end_of_invoke_id(LongInvokeId(7)), None);
        let newest = (1 << 24) + 2; // A little past the wrap.
        profile.push(entry(newest));
        for number in [newest, newest - 2, newest - 3, newest - 5_000] {
            let id = LongInvokeId::of_interval(Period::HALF_HOUR, end(number));
            assert_eq!(profile.end_of_invoke_id(id), Some(end(number)), "{number}");
        }
    }

    #[test]
    fn entries_give_back_what_was_captured() {
        let captured = entry(42);
        assert_eq!(captured.values().import, MilliwattHours::new(42_000));
        assert_eq!(captured.values().voltage, Millivolts::new(230_100));
        assert_eq!(captured.import_register(), MilliwattHours::new(9_000));
        assert_eq!(captured.charge(), None);
        let mut profile = full();
        let price = Price::parse("-0.05").unwrap();
        let priced = profile.set_price(end(40), price);
        assert_eq!(
            priced.charge(),
            Some(price.charge(MilliwattHours::new(40_000)))
        );
        assert_eq!(profile.get(end(40)), Some(&priced));
    }
}
