//! Starting: from nothing, or from what the memory holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Month, Now, UtcTime};

use super::{Boot, Meter};
use crate::access;
use crate::bill::Bill;
use crate::billing_period::BillingPeriods;
use crate::clock::{Clock, ClockConfig};
use crate::config::{ConfigError, MeterConfig};
use crate::delivery::Schedule;
use crate::features::Features;
use crate::fittings::Fittings;
use crate::keeper::{Keeper, Urgency};
use crate::link::Link;
use crate::load::Load;
use crate::logs::Logs;
use crate::memory::{
    Change, FEATURES_CELL, FITTINGS_CELL, IMAGE_CELL, LOGS_CELL, MemoryError, PRICES_CELL,
    PROFILE_CELLS, SECURITY_CELL, SEGMENT_CELLS, STATE_CELL, SUPERVISION_CELL, SURVEY_CELL,
    SURVEY_CELLS, State, decode_features, decode_fittings, decode_logs, decode_prices,
    decode_profile, decode_rows, decode_supervision, decode_survey, is_survey_cell, restore_image,
    restore_security,
};
use crate::metrology::Metrology;
use crate::profile::{Delivery, Entry, Profile};
use crate::protection::Protection;
use crate::status::Counters;
use crate::supervision::Supervision;
use crate::upgrade::Upgrade;

/// Why a meter does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl Meter {
    /// Starts a meter with the cells of its memory; none for one that was just installed.
    /// Like an input, it leaves outputs to drain.
    ///
    /// # Errors
    ///
    /// An impossible configuration, or a memory that is damaged or belongs to another meter.
    pub fn start(
        config: MeterConfig,
        load: Box<dyn Load>,
        cells: &BTreeMap<String, Vec<u8>>,
        boot: Boot,
        now: Now,
    ) -> Result<Self, StartError> {
        config.check()?;
        for name in cells.keys() {
            if !known_cell(name) {
                return Err(MemoryError::UnknownCell(name.clone()).into());
            }
        }
        let mut meter = match cells.get(STATE_CELL) {
            Some(bytes) => Self::restore(config, load, cells, State::decode(bytes)?, now)?,
            // The prices are written before the first state.
            None if cells.keys().all(|name| name == PRICES_CELL) => {
                Self::install(config, load, now)
            }
            None => return Err(MemoryError::NoState.into()),
        };
        let days = u64::from(meter.config.profile_days);
        let unseen = now.utc.since(meter.metrology.cursor());
        let dark = meter.off_since.take().is_some()
            || boot == Boot::SupplyReturned
            || unseen > Duration::from_secs(days * 86_400);
        if dark && now.utc > meter.metrology.cursor() {
            meter.resume_after_outage(now);
        }
        meter.boot_image(now);
        meter.keeper.touch(Urgency::Now, now);
        meter.measure(now);
        meter.settle(now);
        Ok(meter)
    }

    fn install(config: MeterConfig, load: Box<dyn Load>, now: Now) -> Self {
        let clock = Clock::new(config.clock, now.utc);
        let interval_end = config.period.next_end(clock.time_at(now.utc));
        let mut metrology = Metrology::new(
            config.connection,
            config.supply,
            config.seed.child("supply"),
            now.utc,
        );
        // Its first interval is whole only where it was installed at its start.
        let started = clock.truly_at(interval_end - config.period.duration());
        metrology.sums.interrupted = started != now.utc;
        let security = access::security(config.title, &config.keys, &config.access, 0, None);
        let link = Link::new(security, config.edge_title, 0, None)
            .with_backup(config.backup_edge_title, None);
        let mut meter = Self::assemble(config, load, metrology, clock, interval_end, link, now);
        let peers = meter.protection.peers(clock.time_at(now.utc));
        meter.link.security_mut().set_peers(peers);
        meter
    }

    fn restore(
        config: MeterConfig,
        load: Box<dyn Load>,
        cells: &BTreeMap<String, Vec<u8>>,
        state: State,
        now: Now,
    ) -> Result<Self, MemoryError> {
        if state.title != config.title {
            return Err(MemoryError::WrongMeter {
                found: state.title,
                wanted: config.title,
            });
        }
        if state.period != config.period {
            return Err(MemoryError::WrongPeriod {
                found: state.period,
                wanted: config.period,
            });
        }
        let mut entries: BTreeMap<UtcTime, Entry> = BTreeMap::new();
        for (place, name) in PROFILE_CELLS.iter().enumerate() {
            if let Some(bytes) = cells.get(*name) {
                for entry in decode_profile(place, config.period, bytes)? {
                    entries.insert(entry.end, entry);
                }
            }
        }
        let mut carried = BTreeSet::new();
        for change in &state.changes {
            match change {
                Change::Entry(entry) => {
                    carried.insert(entry.end);
                    entries.insert(entry.end, *entry);
                }
                Change::Gone(end) => {
                    carried.insert(*end);
                    entries.remove(end);
                }
            }
        }
        check(&config, &state, &entries)?;
        let told = match cells.get(PRICES_CELL) {
            Some(bytes) => decode_prices(config.period, bytes)?,
            None => BTreeMap::new(),
        };

        let mut metrology = Metrology::new(
            config.connection,
            config.supply,
            config.seed.child("supply"),
            state.cursor,
        );
        metrology.energy = state.energy;
        metrology.at_start = state.at_start;
        metrology.sums = state.sums;
        let since = state.since_2;
        let security = access::security(
            config.title,
            &config.keys,
            &config.access,
            state.transmit_bound,
            since.as_ref().map(|since| &since.security),
        );
        let link = Link::new(
            security,
            config.edge_title,
            state.transmit_bound,
            state.received,
        )
        .with_backup(config.backup_edge_title, state.received_of_backup);
        let exact = ClockConfig {
            offset_ms: 0,
            ..config.clock
        };
        // A memory of version 1 is of a meter whose clock was true.
        let clock = since
            .as_ref()
            .map_or_else(|| Clock::new(exact, state.cursor), |since| since.clock);
        let mut meter = Self::assemble(
            config,
            load,
            metrology,
            clock,
            state.interval_end,
            link,
            now,
        );
        if let Some(since) = since {
            meter.stepped = since.stepped;
            meter.periods = since.periods;
            meter.block_reset = since.block_reset;
        }
        let shown = meter.clock.time_at(state.cursor);
        if let Some(bytes) = cells.get(FEATURES_CELL) {
            meter.features = decode_features(bytes, shown)?;
        }
        if let Some(bytes) = cells.get(LOGS_CELL) {
            meter.logs = decode_logs(bytes)?;
        }
        if let Some(bytes) = cells.get(FITTINGS_CELL) {
            meter.fittings = decode_fittings(bytes)?;
        }
        if let Some(bytes) = cells.get(SUPERVISION_CELL) {
            meter.supervision = decode_supervision(bytes, &meter.config.quality())?;
        }
        if let Some(bytes) = cells.get(SURVEY_CELL) {
            meter.survey = Box::new(decode_survey(bytes, meter.config.profile_days)?);
            let mut rows = Vec::new();
            for (place, name) in SURVEY_CELLS.iter().enumerate() {
                if let Some(bytes) = cells.get(*name) {
                    rows.extend(decode_rows(place, bytes)?);
                }
            }
            meter.survey.restore(rows);
            meter.survey.catch_up(shown);
        }
        meter.follow_push_setups();
        restore_image(&mut meter.upgrade, cells)?;
        if let Some(bytes) = cells.get(SECURITY_CELL) {
            restore_security(&mut meter.protection, bytes, meter.link.security_mut())?;
        }
        let peers = meter.protection.peers(shown);
        meter.link.security_mut().set_peers(peers);
        // What was just read need not be written again.
        meter.link.has_changed();
        let totals = meter.metrology.totals();
        meter.features.handle_time(shown, &totals);
        meter.off_since = state.off_since;
        meter.told = told;
        meter.bill = state.bill;
        meter.ahead = state.ahead;
        meter.captured = state.captured;
        meter.lost = state.lost;
        meter.last_ack = state.last_ack;
        meter.keeper.carry(carried);
        for entry in entries.into_values() {
            if entry.delivery == Delivery::Unacknowledged {
                meter.schedule.add(entry.end);
            }
            if entry.price_micro.is_none() {
                meter.unpriced.insert(entry.end);
            }
            meter.profile.restore(entry);
        }
        Ok(meter)
    }

    fn assemble(
        config: MeterConfig,
        load: Box<dyn Load>,
        metrology: Metrology,
        clock: Clock,
        interval_end: UtcTime,
        link: Link,
        now: Now,
    ) -> Self {
        let protection = Box::new(Protection::new(&config, link.security()));
        // Another jitter after each restart, and the same one in each replay.
        let jitter = config
            .seed
            .child("retry")
            .nth(now.utc.as_millis().unsigned_abs());
        Self {
            profile: Profile::new(config.period, config.profile_days),
            schedule: Schedule::new(config.retry, jitter),
            upgrade: Upgrade::new(Arc::clone(&config.firmware)),
            config,
            load,
            metrology,
            clock,
            interval_end,
            stepped: false,
            features: Features::new(),
            logs: Logs::new(),
            fittings: Fittings::default(),
            protection,
            restarting: false,
            supervision: Supervision::default(),
            survey: Box::default(),
            alert_due: false,
            load_changes: None,
            periods: BillingPeriods::default(),
            block_reset: None,
            off_since: None,
            last_means: None,
            told: BTreeMap::new(),
            begun: None,
            bill: Bill::default(),
            unpriced: BTreeSet::new(),
            ahead: BTreeMap::new(),
            captured: 0,
            lost: 0,
            last_ack: None,
            link,
            connections: BTreeMap::new(),
            entropy: None,
            challenges: 0,
            keeper: Keeper::default(),
            owed: VecDeque::new(),
            counters: Counters::default(),
            seen: now,
            outbox: VecDeque::new(),
        }
    }
}

fn known_cell(name: &str) -> bool {
    [
        STATE_CELL,
        PRICES_CELL,
        FEATURES_CELL,
        FITTINGS_CELL,
        IMAGE_CELL,
        LOGS_CELL,
        SECURITY_CELL,
        SUPERVISION_CELL,
    ]
    .contains(&name)
        || PROFILE_CELLS.contains(&name)
        || SEGMENT_CELLS.contains(&name)
        || is_survey_cell(name)
}

/// What the cells say of each other.
fn check(
    config: &MeterConfig,
    state: &State,
    entries: &BTreeMap<UtcTime, Entry>,
) -> Result<(), MemoryError> {
    let impossible = |field| MemoryError::Value {
        cell: STATE_CELL,
        field,
    };
    let capacity = Profile::new(config.period, config.profile_days).capacity();
    if entries.len() > capacity {
        return Err(impossible(
            "count of intervals; profile_days may have shrunk",
        ));
    }
    if entries
        .last_key_value()
        .is_some_and(|(end, _)| *end >= state.interval_end)
    {
        return Err(impossible("interval that is not over"));
    }
    let month_now = config.period.day_of(state.interval_end).month();
    let months = || state.bill.open.iter().chain(&state.bill.closed);
    if months().any(|account| account.month > month_now) {
        return Err(impossible("month that has not begun"));
    }
    let mut unpriced: BTreeMap<Month, u32> = BTreeMap::new();
    for entry in entries.values().filter(|entry| entry.price_micro.is_none()) {
        let month = config.period.day_of(entry.end).month();
        *unpriced.entry(month).or_default() += 1;
    }
    for account in &state.bill.open {
        if unpriced.get(&account.month).copied().unwrap_or(0) != account.unpriced {
            return Err(impossible("unpriced intervals of a month"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use gridloom_core::{Currency, MeterId, Seed, SystemTitle};
    use gridloom_dlms::security::Keys;

    use super::*;
    use crate::load::{ConstantLoad, Power};
    use crate::meter::Output;

    #[test]
    fn a_memory_of_version_1_still_reads() {
        let mut config = MeterConfig::new(
            MeterId(1),
            SystemTitle(*b"GLMmetr1"),
            SystemTitle(*b"GLMedge1"),
            Keys::new([1; 16], [2; 16]),
            Currency::new("EUR", 2).unwrap(),
            Seed::new(1),
        );
        config.clock.time_zone = -60;
        let load = || {
            Box::new(ConstantLoad {
                power: Power::default(),
            })
        };
        let now = |text: &str| Now {
            instant: gridloom_core::Instant::ZERO,
            utc: UtcTime::parse(text).unwrap(),
        };
        let start = now("2026-01-01T00:00:00Z");
        let none = BTreeMap::new();
        let mut meter = Meter::start(config.clone(), load(), &none, Boot::Reset, start).unwrap();
        let mut cells = BTreeMap::new();
        while let Some(output) = meter.poll_output() {
            if let Output::Remember { cell, bytes, .. } = output {
                cells.insert(cell.to_owned(), bytes);
            }
        }
        let newest = State::decode(&cells[STATE_CELL]).unwrap();
        let first = State {
            since_2: None,
            received_of_backup: None,
            ..newest
        };
        let bytes = first.encode();
        assert_eq!(bytes[3], 1, "the version that had no clock");
        assert_eq!(State::decode(&bytes), Ok(first));
        cells.insert(STATE_CELL.to_owned(), bytes);
        let later = now("2026-01-01T00:20:00Z");
        let meter = Meter::start(config, load(), &cells, Boot::Reset, later).unwrap();
        assert_eq!(meter.clock().time_at(later.utc), later.utc);
        assert_eq!(meter.clock().local(later.utc).deviation, -60);
        assert_eq!(meter.profile().len(), 1);
    }
}
