//! The content of the cells: the state, the profile by day, the prices the house was told.

use std::collections::{BTreeMap, VecDeque};

use gridloom_core::{
    Charge, Day, MilliwattHours, Month, Period, Price, ReadingStatus, SystemTitle, UtcTime,
};
use gridloom_dlms::server::DeviceSecurity;

use super::{Cell, MemoryError, Writer, open};
use crate::access::RetainedSecurity;
use crate::bill::{Bill, MonthAccount};
use crate::billing_period::BillingPeriods;
use crate::clock::Clock;
use crate::features::Features;
use crate::fittings::Fittings;
use crate::load::DayPrices;
use crate::logs::Logs;
use crate::metrology::{Accumulator, CHANNELS, Sums};
use crate::objects::image_transfer::{SEGMENT_BYTES, SEGMENTS_MAX};
use crate::objects::power_quality::PowerQualityConfig;
use crate::profile::{Delivery, Entry};
use crate::protection::Protection;
use crate::supervision::Supervision;
use crate::upgrade::Upgrade;

/// Everything but the profile, and the profile's latest changes.
pub(crate) const STATE_CELL: &str = "meter";
/// The prices the house was told for the last days.
pub(crate) const PRICES_CELL: &str = "house-prices";
/// Every entry whose day's number modulo the number of cells is the cell's place.
pub(crate) const PROFILE_CELLS: [&str; 40] = [
    "profile-00",
    "profile-01",
    "profile-02",
    "profile-03",
    "profile-04",
    "profile-05",
    "profile-06",
    "profile-07",
    "profile-08",
    "profile-09",
    "profile-10",
    "profile-11",
    "profile-12",
    "profile-13",
    "profile-14",
    "profile-15",
    "profile-16",
    "profile-17",
    "profile-18",
    "profile-19",
    "profile-20",
    "profile-21",
    "profile-22",
    "profile-23",
    "profile-24",
    "profile-25",
    "profile-26",
    "profile-27",
    "profile-28",
    "profile-29",
    "profile-30",
    "profile-31",
    "profile-32",
    "profile-33",
    "profile-34",
    "profile-35",
    "profile-36",
    "profile-37",
    "profile-38",
    "profile-39",
];

/// The features: switch, limiter, tariffs.
pub(crate) const FEATURES_CELL: &str = "features";

/// Schedules and setups that clients changed.
pub(crate) const FITTINGS_CELL: &str = "fittings";

/// Tampering and alarms.
pub(crate) const SUPERVISION_CELL: &str = "supervision";

/// The state of the image transfer.
pub(crate) const IMAGE_CELL: &str = "image";

static SEGMENT_NAMES: [[u8; 9]; SEGMENTS_MAX] = {
    let mut names = [*b"image-000"; SEGMENTS_MAX];
    let mut number = 0;
    let mut digits = *b"000";
    while number < SEGMENTS_MAX {
        [names[number][6], names[number][7], names[number][8]] = digits;
        // Counts on: a carry from each nine.
        let mut place = 2;
        while digits[place] == b'9' {
            digits[place] = b'0';
            place -= 1;
        }
        digits[place] += 1;
        number += 1;
    }
    names
};

/// The segments of the image that is transferred.
pub(crate) static SEGMENT_CELLS: [&str; SEGMENTS_MAX] = {
    let mut cells = [""; SEGMENTS_MAX];
    let mut number = 0;
    while number < SEGMENTS_MAX {
        cells[number] = match core::str::from_utf8(&SEGMENT_NAMES[number]) {
            Ok(name) => name,
            Err(_) => panic!("a cell's name is ASCII"),
        };
        number += 1;
    }
    cells
};

/// Certificates, policy, key pairs and changed secrets.
pub(crate) const SECURITY_CELL: &str = "security";

/// The event logs and the outages.
pub(crate) const LOGS_CELL: &str = "logs";

const STATE_KIND: u8 = 1;
const PROFILE_KIND: u8 = 2;
const PRICES_KIND: u8 = 3;
const FEATURES_KIND: u8 = 4;
const LOGS_KIND: u8 = 5;
const FITTINGS_KIND: u8 = 6;
const IMAGE_KIND: u8 = 7;
const SEGMENT_KIND: u8 = 8;
const SUPERVISION_KIND: u8 = 9;
const SECURITY_KIND: u8 = 12;

/// Version 1 had no clock, no clients and no billing periods, version 2 no backup edge. A meter that
/// never heard of one still writes version 2.
const STATE_VERSION: u8 = 3;
const PROFILE_VERSION: u8 = 1;
const PRICES_VERSION: u8 = 1;
const FEATURES_VERSION: u8 = 1;
const LOGS_VERSION: u8 = 1;
const FITTINGS_VERSION: u8 = 1;
const IMAGE_VERSION: u8 = 1;
const SUPERVISION_VERSION: u8 = 1;
const SECURITY_VERSION: u8 = 1;

const ENTRY_LEN: usize = 56;

/// No energy register gets there in a thousand years.
const WATT_HOURS_MAX: u64 = 1_000_000_000_000;
/// No month costs so much: 10¹² units.
const PICO_MAX: u128 = 1_000_000_000_000_000_000_000_000;
/// Prices that may wait for their interval.
pub(crate) const AHEAD_MAX: usize = 400;
/// Days whose prices the house still lives by: the day that is measured, the one before it, and
/// one that had begun when the state was last written.
pub(crate) const PRICE_DAYS: usize = 3;

/// The place in [`PROFILE_CELLS`] of the interval that ends at `end`.
pub(crate) fn profile_cell(period: Period, end: UtcTime) -> usize {
    let day = period.day_of(end).epoch_days();
    usize::try_from(day.rem_euclid(40)).expect("a remainder of 40")
}

/// An entry as the state cell carries it over its profile cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is so now.
    Entry(Entry),
    /// It fell out of the profile.
    Gone(UtcTime),
}

/// The content of the state cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) title: SystemTitle,
    pub(crate) period: Period,
    pub(crate) cursor: UtcTime,
    pub(crate) interval_end: UtcTime,
    pub(crate) off_since: Option<UtcTime>,
    pub(crate) energy: [Accumulator; CHANNELS],
    pub(crate) at_start: [u64; CHANNELS],
    pub(crate) sums: Sums,
    pub(crate) transmit_bound: u32,
    pub(crate) received: Option<u32>,
    pub(crate) captured: u64,
    pub(crate) lost: u64,
    pub(crate) last_ack: Option<UtcTime>,
    pub(crate) ahead: BTreeMap<UtcTime, Price>,
    pub(crate) bill: Bill,
    pub(crate) changes: Vec<Change>,
    /// `None` in a cell of version 1.
    pub(crate) since_2: Option<SinceVersion2>,
    /// The last counter believed of the backup edge; needs [`Self::since_2`].
    pub(crate) received_of_backup: Option<u32>,
}

/// What version 2 added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SinceVersion2 {
    pub(crate) clock: Clock,
    /// The clock was stepped in the running interval.
    pub(crate) stepped: bool,
    pub(crate) periods: BillingPeriods,
    /// Intervals up to here were reset away for clients.
    pub(crate) block_reset: Option<UtcTime>,
    pub(crate) security: RetainedSecurity,
}

impl State {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let version = match (&self.since_2, self.received_of_backup) {
            (Some(_), Some(_)) => STATE_VERSION,
            (Some(_), None) => 2,
            (None, _) => 1,
        };
        let mut writer = Writer::new(
            STATE_KIND,
            version,
            768 + self.changes.len() * (ENTRY_LEN + 1),
        );
        writer.put(self.title.0);
        writer.put(self.period.as_secs().to_be_bytes());
        put_time(&mut writer, self.cursor);
        put_time(&mut writer, self.interval_end);
        put_time_option(&mut writer, self.off_since);
        for (register, start) in self.energy.iter().zip(self.at_start) {
            writer.put(register.watt_hours.to_be_bytes());
            writer.put(register.rest_uj.to_be_bytes());
            writer.put(start.to_be_bytes());
        }
        put_sums(&mut writer, &self.sums);
        writer.put(self.transmit_bound.to_be_bytes());
        writer.put([u8::from(self.received.is_some())]);
        writer.put(self.received.unwrap_or(0).to_be_bytes());
        writer.put(self.captured.to_be_bytes());
        writer.put(self.lost.to_be_bytes());
        put_time_option(&mut writer, self.last_ack);
        writer.count(self.ahead.len());
        for (end, price) in &self.ahead {
            put_time(&mut writer, *end);
            put_price(&mut writer, Some(*price));
        }
        for months in [&self.bill.open, &self.bill.closed] {
            writer.count(months.len());
            for account in months {
                put_account(&mut writer, account);
            }
        }
        writer.count(self.changes.len());
        for change in &self.changes {
            match change {
                Change::Entry(entry) => {
                    writer.put([1]);
                    put_entry(&mut writer, entry);
                }
                Change::Gone(end) => {
                    writer.put([0]);
                    put_time(&mut writer, *end);
                }
            }
        }
        if let Some(since) = &self.since_2 {
            writer.extend(|out| since.clock.encode(out));
            writer.put([u8::from(since.stepped)]);
            put_time_option(&mut writer, since.block_reset);
            writer.extend(|out| since.periods.encode(out));
            writer.extend(|out| since.security.encode(out));
            if let Some(last) = self.received_of_backup {
                writer.put(last.to_be_bytes());
            }
        }
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, MemoryError> {
        let mut cell = open(STATE_CELL, STATE_KIND, STATE_VERSION, bytes)?;
        let title = SystemTitle(cell.array()?);
        let period = Period::from_secs(cell.u32()?).ok_or_else(|| cell.impossible("period"))?;
        let cursor = time(&mut cell, "cursor")?;
        let interval_end = time(&mut cell, "interval end")?;
        cell.require(period.slot_of(interval_end).is_some(), "interval end")?;
        let off_since = time_option(&mut cell, "off since")?;
        let mut energy = [Accumulator::default(); CHANNELS];
        let mut at_start = [0; CHANNELS];
        for (register, start) in energy.iter_mut().zip(&mut at_start) {
            register.watt_hours = cell.u64()?;
            register.rest_uj = cell.u64()?;
            *start = cell.u64()?;
            // The energy of an interval must fit its 32 bits, with room to go on.
            let in_interval = register.watt_hours.checked_sub(*start);
            cell.require(
                register.is_valid()
                    && register.watt_hours <= WATT_HOURS_MAX
                    && in_interval.is_some_and(|wh| wh <= u64::from(u32::MAX / 2)),
                "energy register",
            )?;
        }
        let sums = sums(&mut cell, period)?;
        let transmit_bound = cell.u32()?;
        let received = match (cell.u8()?, cell.u32()?) {
            (0, 0) => None,
            (1, last) => Some(last),
            _ => return Err(cell.impossible("receive counter")),
        };
        let captured = cell.u64()?;
        let lost = cell.u64()?;
        cell.require(
            captured <= 1 << 40 && lost <= captured,
            "count of intervals",
        )?;
        let last_ack = time_option(&mut cell, "last acknowledgement")?;
        let count = cell.count()?;
        cell.require(count <= AHEAD_MAX, "count of prices")?;
        let mut ahead = BTreeMap::new();
        for _ in 0..count {
            let end = end_on_grid(&mut cell, period)?;
            let price = price(&mut cell)?.ok_or_else(|| cell.impossible("price"))?;
            ahead.insert(end, price);
        }
        let open = accounts(&mut cell, Bill::OPEN_MAX)?;
        let closed = accounts(&mut cell, Bill::CLOSED_MAX)?;
        let count = cell.count()?;
        let mut changes = Vec::new();
        for _ in 0..count {
            changes.push(match cell.u8()? {
                1 => Change::Entry(entry(&mut cell, period)?),
                0 => Change::Gone(end_on_grid(&mut cell, period)?),
                _ => return Err(cell.impossible("change")),
            });
        }
        let since_2 = if cell.version() >= 2 {
            Some(SinceVersion2::decode(&mut cell)?)
        } else {
            None
        };
        let received_of_backup = if cell.version() >= 3 {
            Some(cell.u32()?)
        } else {
            None
        };
        let boundary = since_2
            .as_ref()
            .map_or(interval_end, |since| since.clock.truly_at(interval_end));
        let running = boundary.as_millis() - cursor.as_millis();
        cell.require(
            (1..=interval_millis_max(period)).contains(&running.unsigned_abs()) && running > 0,
            "interval end",
        )?;
        cell.finish()?;
        Ok(Self {
            title,
            period,
            cursor,
            interval_end,
            off_since,
            energy,
            at_start,
            sums,
            transmit_bound,
            received,
            captured,
            lost,
            last_ack,
            ahead,
            bill: Bill { open, closed },
            changes,
            since_2,
            received_of_backup,
        })
    }
}

impl SinceVersion2 {
    fn decode(cell: &mut Cell<'_>) -> Result<Self, MemoryError> {
        let clock = cell.part("clock", Clock::decode)?;
        let stepped = match cell.u8()? {
            0 => false,
            1 => true,
            _ => return Err(cell.impossible("clock step")),
        };
        let block_reset = time_option(cell, "reset of the profile")?;
        Ok(Self {
            clock,
            stepped,
            block_reset,
            periods: cell.part("billing periods", BillingPeriods::decode)?,
            security: cell.part("keys and counters", RetainedSecurity::decode)?,
        })
    }
}

/// The most true milliseconds of one interval: a clock that is set back makes the running one
/// longer, and a slow one makes all of them a little so.
fn interval_millis_max(period: Period) -> u64 {
    let back = u64::try_from(Clock::BACK_MAX.as_millis()).expect("a week fits");
    2_000 * u64::from(period.as_secs()) + back
}

/// A profile cell.
pub(crate) fn encode_profile<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<u8> {
    let entries: Vec<&Entry> = entries.collect();
    let mut writer = Writer::new(PROFILE_KIND, PROFILE_VERSION, 2 + entries.len() * ENTRY_LEN);
    writer.count(entries.len());
    for entry in entries {
        put_entry(&mut writer, entry);
    }
    writer.finish()
}

/// The entries of the profile cell at `place`.
pub(crate) fn decode_profile(
    place: usize,
    period: Period,
    bytes: &[u8],
) -> Result<Vec<Entry>, MemoryError> {
    let mut cell = open(PROFILE_CELLS[place], PROFILE_KIND, PROFILE_VERSION, bytes)?;
    let count = cell.count()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let entry = entry(&mut cell, period)?;
        cell.require(profile_cell(period, entry.end) == place, "interval end")?;
        entries.push(entry);
    }
    cell.finish()?;
    Ok(entries)
}

/// The cell of the prices the house was told, by day.
pub(crate) fn encode_prices(period: Period, days: &BTreeMap<Day, DayPrices>) -> Vec<u8> {
    let mut writer = Writer::new(PRICES_KIND, PRICES_VERSION, 1_200);
    writer.put(period.as_secs().to_be_bytes());
    writer.count(days.len());
    for (day, prices) in days {
        writer.put(day.epoch_days().to_be_bytes());
        writer.count(prices.by_slot.len());
        for price in &prices.by_slot {
            put_price(&mut writer, *price);
        }
    }
    writer.finish()
}

/// What [`encode_prices`] wrote.
pub(crate) fn decode_prices(
    period: Period,
    bytes: &[u8],
) -> Result<BTreeMap<Day, DayPrices>, MemoryError> {
    let mut cell = open(PRICES_CELL, PRICES_KIND, PRICES_VERSION, bytes)?;
    let found = cell.u32()?;
    cell.require(found == period.as_secs(), "period")?;
    let count = cell.count()?;
    cell.require(count <= PRICE_DAYS, "count of days")?;
    let mut days = BTreeMap::new();
    for _ in 0..count {
        let day = Day::from_epoch_days(cell.i32()?);
        let slots = cell.u32()?;
        cell.require(slots == period.per_day(), "count of prices")?;
        let by_slot = (0..slots)
            .map(|_| price(&mut cell))
            .collect::<Result<Vec<_>, _>>()?;
        days.insert(day, DayPrices { period, by_slot });
    }
    cell.finish()?;
    Ok(days)
}

/// The cell of the features.
pub(crate) fn encode_features(features: &Features) -> Vec<u8> {
    let mut writer = Writer::new(FEATURES_KIND, FEATURES_VERSION, 512);
    writer.extend(|out| features.encode(out));
    writer.finish()
}

/// What [`encode_features`] wrote; `at` is the meter's time.
pub(crate) fn decode_features(bytes: &[u8], at: UtcTime) -> Result<Features, MemoryError> {
    let cell = open(FEATURES_CELL, FEATURES_KIND, FEATURES_VERSION, bytes)?;
    Ok(Features::decode(cell.rest(), at)?)
}

/// The cell of the event logs.
pub(crate) fn encode_logs(logs: &Logs) -> Vec<u8> {
    let mut writer = Writer::new(LOGS_KIND, LOGS_VERSION, 512);
    writer.extend(|out| logs.encode(out));
    writer.finish()
}

/// What [`encode_logs`] wrote.
pub(crate) fn decode_logs(bytes: &[u8]) -> Result<Logs, MemoryError> {
    let cell = open(LOGS_CELL, LOGS_KIND, LOGS_VERSION, bytes)?;
    Ok(Logs::decode(cell.rest())?)
}

/// The cell of the fittings.
pub(crate) fn encode_fittings(fittings: &Fittings) -> Vec<u8> {
    let mut writer = Writer::new(FITTINGS_KIND, FITTINGS_VERSION, 256);
    writer.extend(|out| fittings.encode(out));
    writer.finish()
}

/// What [`encode_fittings`] wrote.
pub(crate) fn decode_fittings(bytes: &[u8]) -> Result<Fittings, MemoryError> {
    let cell = open(FITTINGS_CELL, FITTINGS_KIND, FITTINGS_VERSION, bytes)?;
    Ok(Fittings::decode(cell.rest())?)
}

/// The cell of the supervision.
pub(crate) fn encode_supervision(supervision: &Supervision) -> Vec<u8> {
    let mut writer = Writer::new(SUPERVISION_KIND, SUPERVISION_VERSION, 512);
    writer.extend(|out| supervision.encode(out));
    writer.finish()
}

/// What [`encode_supervision`] wrote.
pub(crate) fn decode_supervision(
    bytes: &[u8],
    limits: &PowerQualityConfig,
) -> Result<Supervision, MemoryError> {
    let cell = open(
        SUPERVISION_CELL,
        SUPERVISION_KIND,
        SUPERVISION_VERSION,
        bytes,
    )?;
    Ok(Supervision::decode(cell.rest(), limits)?)
}

/// The cell of the security setup.
pub(crate) fn encode_security(protection: &Protection, security: &DeviceSecurity) -> Vec<u8> {
    let mut writer = Writer::new(SECURITY_KIND, SECURITY_VERSION, 512);
    writer.extend(|out| protection.encode(security, out));
    writer.finish()
}

/// Gives both what [`encode_security`] wrote.
pub(crate) fn restore_security(
    protection: &mut Protection,
    bytes: &[u8],
    security: &mut DeviceSecurity,
) -> Result<(), MemoryError> {
    let cell = open(SECURITY_CELL, SECURITY_KIND, SECURITY_VERSION, bytes)?;
    Ok(protection.restore(cell.rest(), security)?)
}

/// The cell of the image transfer's state.
pub(crate) fn encode_image(upgrade: &Upgrade) -> Vec<u8> {
    let mut writer = Writer::new(IMAGE_KIND, IMAGE_VERSION, 256);
    writer.extend(|out| upgrade.encode(out));
    writer.finish()
}

/// The cell of a segment of the image.
pub(crate) fn encode_segment(upgrade: &Upgrade, segment: usize) -> Vec<u8> {
    let mut writer = Writer::new(SEGMENT_KIND, IMAGE_VERSION, SEGMENT_BYTES);
    writer.extend(|out| upgrade.encode_segment(segment, out));
    writer.finish()
}

/// Gives `upgrade` what [`encode_image`] and [`encode_segment`] wrote.
pub(crate) fn restore_image(
    upgrade: &mut Upgrade,
    cells: &BTreeMap<String, Vec<u8>>,
) -> Result<(), MemoryError> {
    if let Some(bytes) = cells.get(IMAGE_CELL) {
        let cell = open(IMAGE_CELL, IMAGE_KIND, IMAGE_VERSION, bytes)?;
        upgrade.restore(cell.rest())?;
    }
    for name in SEGMENT_CELLS {
        if let Some(bytes) = cells.get(name) {
            let cell = open(name, SEGMENT_KIND, IMAGE_VERSION, bytes)?;
            upgrade.restore_segment(cell.rest())?;
        }
    }
    Ok(())
}

fn put_time(writer: &mut Writer, time: UtcTime) {
    writer.put(time.as_millis().to_be_bytes());
}

fn put_time_option(writer: &mut Writer, time: Option<UtcTime>) {
    writer.put(time.map_or(i64::MIN, UtcTime::as_millis).to_be_bytes());
}

/// Times of the years 1970 to 9999, which is what COSEM date-times and our calendar share.
fn checked_time(millis: i64) -> Option<UtcTime> {
    const MILLIS_MAX: i64 = 253_402_300_799_999;
    (0..=MILLIS_MAX)
        .contains(&millis)
        .then(|| UtcTime::from_millis(millis))
}

fn time(cell: &mut Cell<'_>, field: &'static str) -> Result<UtcTime, MemoryError> {
    checked_time(cell.i64()?).ok_or_else(|| cell.impossible(field))
}

fn time_option(cell: &mut Cell<'_>, field: &'static str) -> Result<Option<UtcTime>, MemoryError> {
    match cell.i64()? {
        i64::MIN => Ok(None),
        millis => checked_time(millis)
            .map(Some)
            .ok_or_else(|| cell.impossible(field)),
    }
}

fn end_on_grid(cell: &mut Cell<'_>, period: Period) -> Result<UtcTime, MemoryError> {
    let end = time(cell, "interval end")?;
    cell.require(period.slot_of(end).is_some(), "interval end")?;
    Ok(end)
}

/// Prices are at most 10⁹, so the least number is free to mean that there is none.
fn put_price(writer: &mut Writer, price: Option<Price>) {
    let micro = price.map_or(i32::MIN, |price| {
        i32::try_from(price.micro_per_kwh()).expect("a price is at most 10⁹")
    });
    writer.put(micro.to_be_bytes());
}

fn price(cell: &mut Cell<'_>) -> Result<Option<Price>, MemoryError> {
    match cell.i32()? {
        i32::MIN => Ok(None),
        micro => Price::from_micro_per_kwh(i64::from(micro))
            .map(Some)
            .ok_or_else(|| cell.impossible("price")),
    }
}

fn put_sums(writer: &mut Writer, sums: &Sums) {
    writer.put(sums.millis.to_be_bytes());
    writer.put([u8::from(sums.interrupted)]);
    for sum in sums.voltage.iter().chain(&sums.current) {
        writer.put(sum.to_be_bytes());
    }
    writer.put(sums.active.to_be_bytes());
    writer.put(sums.reactive.to_be_bytes());
    writer.put(sums.apparent.to_be_bytes());
    writer.put(sums.frequency.to_be_bytes());
}

fn sums(cell: &mut Cell<'_>, period: Period) -> Result<Sums, MemoryError> {
    /// No voltage, power or frequency that a meter sees is above this in its milli-unit.
    const MEAN_MAX: u64 = 6_000_000_000;
    /// 2¹⁶ tenths of a volt.
    const VOLTAGE_MEAN_MAX: u64 = 6_553_500;

    let millis = cell.u64()?;
    cell.require(millis <= interval_millis_max(period), "measured time")?;
    let interrupted = match cell.u8()? {
        0 => false,
        1 => true,
        _ => return Err(cell.impossible("interruption")),
    };
    let mut bounded = |max: u64| -> Result<u64, MemoryError> {
        let sum = cell.u64()?;
        cell.require(sum <= millis * max, "sum over the interval")?;
        Ok(sum)
    };
    let voltage = [
        bounded(VOLTAGE_MEAN_MAX)?,
        bounded(VOLTAGE_MEAN_MAX)?,
        bounded(VOLTAGE_MEAN_MAX)?,
    ];
    let current = [bounded(MEAN_MAX)?, bounded(MEAN_MAX)?, bounded(MEAN_MAX)?];
    let active = cell.i64()?;
    let reactive = cell.i64()?;
    for sum in [active, reactive] {
        cell.require(
            sum.unsigned_abs() <= millis * MEAN_MAX,
            "sum over the interval",
        )?;
    }
    let mut bounded = |max: u64| -> Result<u64, MemoryError> {
        let sum = cell.u64()?;
        cell.require(sum <= millis * max, "sum over the interval")?;
        Ok(sum)
    };
    Ok(Sums {
        millis,
        interrupted,
        voltage,
        current,
        active,
        reactive,
        apparent: bounded(MEAN_MAX)?,
        frequency: bounded(MEAN_MAX)?,
    })
}

fn put_account(writer: &mut Writer, account: &MonthAccount) {
    let year = u16::try_from(account.month.year()).expect("a month's year is 1 to 9999");
    writer.put(year.to_be_bytes());
    writer.put([account.month.number()]);
    writer.put(account.charge.pico().to_be_bytes());
    writer.put(account.energy.get().to_be_bytes());
    for count in [account.priced, account.unpriced, account.unpriceable] {
        writer.put(count.to_be_bytes());
    }
}

fn accounts(
    cell: &mut Cell<'_>,
    accounts_max: usize,
) -> Result<VecDeque<MonthAccount>, MemoryError> {
    /// More than a month of one-second intervals.
    const INTERVALS_MAX: u32 = 4_000_000;
    const ENERGY_MAX: i64 = 1_000_000_000_000_000;

    let count = cell.count()?;
    cell.require(count <= accounts_max, "count of months")?;
    let mut accounts: VecDeque<MonthAccount> = VecDeque::new();
    for _ in 0..count {
        let year = i32::from(cell.u16()?);
        let month = Month::new(year, cell.u8()?)
            .filter(|_| year < 9_999)
            .ok_or_else(|| cell.impossible("month"))?;
        let charge = cell.i128()?;
        cell.require(charge.unsigned_abs() <= PICO_MAX, "charge")?;
        let energy = cell.i64()?;
        cell.require((0..=ENERGY_MAX).contains(&energy), "energy of a month")?;
        let [priced, unpriced, unpriceable] = [cell.u32()?, cell.u32()?, cell.u32()?];
        cell.require(
            [priced, unpriced, unpriceable]
                .iter()
                .all(|n| *n <= INTERVALS_MAX),
            "intervals of a month",
        )?;
        cell.require(
            accounts.back().is_none_or(|last| last.month < month),
            "order of months",
        )?;
        accounts.push_back(MonthAccount {
            month,
            charge: Charge::from_pico(charge),
            energy: MilliwattHours::new(energy),
            priced,
            unpriced,
            unpriceable,
        });
    }
    Ok(accounts)
}

pub(super) fn put_entry(writer: &mut Writer, entry: &Entry) {
    put_time(writer, entry.end);
    for energy in entry.energies {
        writer.put(energy.to_be_bytes());
    }
    writer.put(entry.voltage_dv.to_be_bytes());
    writer.put([
        entry.status.0,
        u8::from(entry.delivery == Delivery::Acknowledged),
    ]);
    writer.put(entry.register_wh.to_be_bytes());
    writer.put(entry.power_w.to_be_bytes());
    put_price(writer, entry.price());
}

pub(super) fn entry(cell: &mut Cell<'_>, period: Period) -> Result<Entry, MemoryError> {
    let end = end_on_grid(cell, period)?;
    let mut energies = [0; CHANNELS];
    for energy in &mut energies {
        *energy = cell.u32()?;
    }
    let voltage_dv = cell.u16()?;
    let status = ReadingStatus(cell.u8()?);
    let delivery = match cell.u8()? {
        0 => Delivery::Unacknowledged,
        1 => Delivery::Acknowledged,
        _ => return Err(cell.impossible("delivery")),
    };
    let register_wh = cell.u64()?;
    cell.require(register_wh <= WATT_HOURS_MAX, "register of an entry")?;
    let power_w = cell.i32()?;
    let price = price(cell)?;
    Ok(Entry {
        end,
        energies,
        voltage_dv,
        status,
        delivery,
        register_wh,
        power_w,
        price_micro: price
            .map(|price| i32::try_from(price.micro_per_kwh()).expect("a price is at most 10⁹")),
    })
}
