//! What must hold in every world: nothing acknowledged is lost, nothing is stored twice, a price
//! stays, both sides bill the same, and energy is conserved.
//!
//! Safety is checked while faults happen, completeness once they are over. The truth on the
//! utility's side is what its disk holds, never what its node says.

use std::collections::{BTreeMap, BTreeSet};

use gridloom_core::{
    Charge, Currency, Day, IntervalReading, IntervalValues, MeterId, MilliwattHours, Month, Period,
    Price, UtcTime,
};
use gridloom_edge::{Edge, EdgeMemory, HeldState};
use gridloom_field::{DayPrices, Meter, profile};
use gridloom_headend::audit::{Action, AuditRecord, Target};
use gridloom_nodes::Purpose;
use gridloom_store::audit_log::{AUDIT_READ_MAX, Verifier};
use gridloom_store::{OperationsStore, PricePoint};
use serde::Serialize;

use crate::disk::DiskError;
use crate::role::Role;
use crate::store_view::StoreView;
use crate::town::House;
use crate::world::World;

/// What does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The store cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A node is down, though every fault is over.
    #[error("{0} does not run")]
    Down(String),
    /// A meter was told that the utility has an interval, and the utility has it not.
    #[error("{meter}: the interval ending {end} was acknowledged and is not in the store")]
    AcknowledgedLost {
        /// Whose.
        meter: MeterId,
        /// Its end.
        end: UtcTime,
    },
    /// An interval was captured and is not in the store.
    #[error("{meter}: the interval ending {end} was captured and is not in the store")]
    Missing {
        /// Whose.
        meter: MeterId,
        /// Its end.
        end: UtcTime,
    },
    /// An interval is in the store twice.
    #[error("{meter}: the interval ending {end} is in the store twice")]
    Twice {
        /// Whose.
        meter: MeterId,
        /// Its end.
        end: UtcTime,
    },
    /// An interval is in the store that its meter never captured.
    #[error("{meter}: the interval ending {end} is in the store and was never captured")]
    Invented {
        /// Whose.
        meter: MeterId,
        /// Its end.
        end: UtcTime,
    },
    /// The store has other values than the meter.
    #[error("{meter}: the interval ending {end} has other values in the store")]
    Differs {
        /// Whose.
        meter: MeterId,
        /// Its end.
        end: UtcTime,
    },
    /// Readings that contradict others are kept as evidence, though nobody forged any.
    #[error("{meter}: {count} readings contradict others")]
    Contradiction {
        /// Whose.
        meter: MeterId,
        /// How many.
        count: usize,
    },
    /// A meter of a house that always has supply skipped an interval, or dropped it.
    #[error("{meter}: the interval ending {end} is not in its profile")]
    NotCaptured {
        /// Whose.
        meter: MeterId,
        /// Its end.
        end: UtcTime,
    },
    /// A meter knows a price that is not, or no longer, the interval's price in the store.
    #[error("{meter}: told {told} for the interval ending {end}, where the store has {stored:?}")]
    PriceChanged {
        /// Who was told.
        meter: MeterId,
        /// The interval's end.
        end: UtcTime,
        /// What it was told, now or earlier.
        told: Price,
        /// The durable price.
        stored: Option<Price>,
    },
    /// A captured interval has no price.
    #[error("{meter}: the interval ending {end} has no price")]
    Unpriced {
        /// Whose.
        meter: MeterId,
        /// Its end.
        end: UtcTime,
    },
    /// The charges of a month differ between two reckonings.
    #[error("{meter}, {month}: {what} says {got}, the intervals come to {expected}")]
    Charge {
        /// Whose.
        meter: MeterId,
        /// Of which month.
        month: Month,
        /// Who reckoned.
        what: &'static str,
        /// Its charge.
        got: Charge,
        /// The sum over the intervals in the store.
        expected: Charge,
    },
    /// The bill of a month that is over is missing or another amount.
    #[error("{meter}, {month}: billed {got:?} minor units, the intervals come to {expected}")]
    Bill {
        /// Whose.
        meter: MeterId,
        /// Of which month.
        month: Month,
        /// The bill.
        got: Option<i64>,
        /// What it should be.
        expected: i128,
    },
    /// The intervals that were produced are not those that can be found.
    #[error("the account does not balance: {0}")]
    Account(Account),
    /// A meter was asked to do something that nobody ordered.
    #[error("{meter}: {heard} orders went out, the audit log has {audited} commands")]
    OrderByNobody {
        /// Whose.
        meter: MeterId,
        /// Orders that went out.
        heard: u64,
        /// Commands in the audit log.
        audited: u64,
    },
    /// The audit log is damaged.
    #[error("audit log: {0}")]
    AuditLog(String),
    /// Something grew beyond its bound.
    #[error("{node}: {got} {what}, at most {most}")]
    Unbounded {
        /// Whose.
        node: String,
        /// What.
        what: &'static str,
        /// How much.
        got: usize,
        /// Its bound.
        most: usize,
    },
    /// Packets as meters sent them went up from their edge.
    #[error("{0} packets left their edge as they came")]
    Leaked(u64),
    /// Energy appeared or vanished.
    #[error("{meter}: {what} is {got}, expected {expected}")]
    Energy {
        /// Whose.
        meter: MeterId,
        /// What was compared.
        what: &'static str,
        /// What it is.
        got: MilliwattHours,
        /// What it should be.
        expected: MilliwattHours,
    },
}

impl Violation {
    /// The meter that it is about, if it is about one.
    pub fn meter(&self) -> Option<MeterId> {
        match self {
            Self::AcknowledgedLost { meter, .. }
            | Self::Missing { meter, .. }
            | Self::Twice { meter, .. }
            | Self::Invented { meter, .. }
            | Self::Differs { meter, .. }
            | Self::Contradiction { meter, .. }
            | Self::NotCaptured { meter, .. }
            | Self::PriceChanged { meter, .. }
            | Self::Unpriced { meter, .. }
            | Self::Charge { meter, .. }
            | Self::Bill { meter, .. }
            | Self::OrderByNobody { meter, .. }
            | Self::Energy { meter, .. } => Some(*meter),
            Self::Disk(_)
            | Self::Down(_)
            | Self::Account(_)
            | Self::AuditLog(_)
            | Self::Unbounded { .. }
            | Self::Leaked(_) => None,
        }
    }
}

/// Where every interval is that the clock says was produced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Account {
    /// Intervals that are over, of all meters.
    pub produced: u64,
    /// In the store.
    pub stored: u64,
    /// Held in the quarantine, for an analyst.
    pub quarantined: u64,
    /// Of a meter in an attacker's hands, and refused by the edge.
    pub hostile: u64,
    /// Given up by name: an analyst rejected it.
    pub gaps: u64,
    /// Not acknowledged: its meter pushes it again.
    pub waiting: u64,
}

impl Account {
    /// Whether every interval is somewhere, and nowhere twice.
    pub const fn balances(&self) -> bool {
        let found = self.stored + self.quarantined + self.hostile + self.gaps + self.waiting;
        self.produced == found
    }
}

impl std::ops::AddAssign for Account {
    fn add_assign(&mut self, other: Self) {
        self.produced += other.produced;
        self.stored += other.stored;
        self.quarantined += other.quarantined;
        self.hostile += other.hostile;
        self.gaps += other.gaps;
        self.waiting += other.waiting;
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} produced, {} stored, {} quarantined, {} dropped as hostile, {} named gaps, \
             {} waiting",
            self.produced, self.stored, self.quarantined, self.hostile, self.gaps, self.waiting
        )
    }
}

/// Watches one world through its faults.
#[derive(Debug, Default)]
pub struct Checker {
    /// Every price that a meter was seen to know.
    told: BTreeMap<(MeterId, UtcTime), Price>,
    /// Meters whose word is worth nothing: somebody else has their keys or their load.
    liars: BTreeSet<MeterId>,
}

/// Everything that the store has of one run.
struct Stored {
    sealed: BTreeMap<MeterId, Vec<IntervalReading>>,
    open: BTreeMap<MeterId, Vec<IntervalReading>>,
    prices: BTreeMap<UtcTime, PricePoint>,
}

impl Checker {
    /// A checker that asks nothing of these meters, and of all others the same as ever.
    pub fn but_for(liars: BTreeSet<MeterId>) -> Self {
        Self {
            liars,
            ..Self::default()
        }
    }

    /// What must hold at every moment: nothing that a meter holds as acknowledged is missing from
    /// the store, and a price that a meter knows is durable and stays.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check_safety(&mut self, world: &World) -> Result<(), Violation> {
        check_breaches(world)?;
        check_orders(world)?;
        let stored = Stored::read(world)?;
        let held = held(world)?;
        for (_, node) in world.meters() {
            let meter = node.meter();
            let id = meter.config().id;
            if self.liars.contains(&id) {
                continue;
            }
            let values = stored.values(id);
            for entry in meter.profile().iter() {
                let end = entry.end();
                if entry.delivery() == profile::Delivery::Acknowledged {
                    match values.get(&end) {
                        None if held.contains_key(&(id, end)) => {}
                        None => return Err(Violation::AcknowledgedLost { meter: id, end }),
                        Some(got) if *got != entry.values() => {
                            return Err(Violation::Differs { meter: id, end });
                        }
                        Some(_) => {}
                    }
                }
                if let Some(price) = entry.price() {
                    let told = *self.told.entry((id, end)).or_insert(price);
                    let stored = stored.prices.get(&end).map(|point| point.price);
                    if told != price || stored != Some(price) {
                        return Err(Violation::PriceChanged {
                            meter: id,
                            end,
                            told,
                            stored,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// What must hold once every fault is over and everybody had time to say what they owe.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check_settled(&mut self, world: &World) -> Result<(), Violation> {
        self.check_safety(world)?;
        let stored = Stored::read(world)?;
        let meters: BTreeMap<usize, &Meter> = world
            .meters()
            .map(|(house, node)| (house, node.meter()))
            .collect();
        for (index, house) in world.town().houses().iter().enumerate() {
            if self.liars.contains(&house.meter()) {
                continue;
            }
            let role = Role::Meter(index);
            let meter = meters
                .get(&index)
                .ok_or_else(|| Violation::Down(role.name()))?;
            check_profile(house, meter, world.town().plan().start, world.now().utc)?;
            check_readings(meter, &stored)?;
            check_energy(house, meter, world.town().plan().start)?;
            if house.purpose() == Purpose::Customer {
                check_charges(world, meter, &stored)?;
            }
        }
        let view = view(world)?;
        let (first, last) = days(world);
        for house in world.town().houses() {
            let meter = house.meter();
            let count = view.contradictions(meter, first, last)?;
            if count > 0 && !self.liars.contains(&meter) {
                return Err(Violation::Contradiction { meter, count });
            }
        }
        Ok(())
    }

    /// Where every interval is that ended so far: produced = stored + quarantined + dropped as
    /// hostile + named gap + still with its meter. Of the meters that do not run nothing is said.
    ///
    /// # Errors
    ///
    /// [`Violation::Account`] if it does not balance.
    pub fn account(&self, world: &World) -> Result<Account, Violation> {
        let stored = Stored::read(world)?;
        let held = held(world)?;
        let mut account = Account::default();
        let (start, now) = (world.town().plan().start, world.now().utc);
        for (_, node) in world.meters() {
            let meter = node.meter();
            let id = meter.config().id;
            let period = meter.config().period;
            // By the clock, not by what the meter says.
            account.produced += now.since(start).as_secs() / u64::from(period.as_secs());
            let values = stored.values(id);
            for entry in meter.profile().iter() {
                let waits = entry.delivery() == profile::Delivery::Unacknowledged;
                let place = match held.get(&(id, entry.end())) {
                    _ if values.contains_key(&entry.end()) => &mut account.stored,
                    Some(Holding::Given) => &mut account.gaps,
                    Some(Holding::Held) => &mut account.quarantined,
                    None if waits && self.liars.contains(&id) => &mut account.hostile,
                    None if waits => &mut account.waiting,
                    None => continue,
                };
                *place += 1;
            }
        }
        if account.balances() {
            Ok(account)
        } else {
            Err(Violation::Account(account))
        }
    }

    /// Prices seen in meters so far.
    pub fn prices_seen(&self) -> usize {
        self.told.len()
    }
}

impl Stored {
    fn read(world: &World) -> Result<Self, Violation> {
        let view = view(world)?;
        let (first, last) = days(world);
        let mut stored = Self {
            sealed: BTreeMap::new(),
            open: BTreeMap::new(),
            prices: view.prices(first, last)?,
        };
        for house in world.town().houses() {
            let meter = house.meter();
            stored
                .sealed
                .insert(meter, view.sealed(meter, first, last)?);
            stored.open.insert(meter, view.open(meter, first, last));
        }
        Ok(stored)
    }

    fn readings(&self, meter: MeterId) -> impl Iterator<Item = &IntervalReading> {
        let sealed = self.sealed.get(&meter).into_iter().flatten();
        sealed.chain(self.open.get(&meter).into_iter().flatten())
    }

    fn values(&self, meter: MeterId) -> BTreeMap<UtcTime, IntervalValues> {
        self.readings(meter)
            .map(|reading| (reading.end, reading.values))
            .collect()
    }
}

/// Where the quarantine has an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holding {
    Held,
    /// Given up by an analyst.
    Given,
}

/// What the quarantines hold, as their disks have it.
fn held(world: &World) -> Result<BTreeMap<(MeterId, UtcTime), Holding>, Violation> {
    let town = world.town();
    let mut held = BTreeMap::new();
    for (role, config) in [
        (Role::Edge, town.edge()),
        (Role::BackupEdge, town.backup_edge()),
    ] {
        let Some(disk) = world.disk(role) else {
            continue;
        };
        let cell = |cell: &'static str| disk.cells().get(cell).map(Vec::as_slice);
        let memory = EdgeMemory::read(cell).map_err(|error| Violation::Down(error.to_string()))?;
        let edge = Edge::new(config, town.registry(), &memory);
        for packet in edge.quarantine().packets() {
            let reading = &packet.said.reading;
            let holding = match packet.state {
                HeldState::Open | HeldState::Released { .. } => Holding::Held,
                HeldState::Rejected { .. } => Holding::Given,
            };
            held.entry((reading.meter, reading.end)).or_insert(holding);
        }
    }
    Ok(held)
}

/// Bounds, and what may leave an edge, as the cables show it.
fn check_breaches(world: &World) -> Result<(), Violation> {
    let breaches = world.breaches();
    if breaches.leaked > 0 {
        return Err(Violation::Leaked(breaches.leaked));
    }
    match breaches.unbounded {
        Some((role, what, got, most)) => Err(Violation::Unbounded {
            node: role.name(),
            what,
            got,
            most,
        }),
        None => Ok(()),
    }
}

/// The audit log is whole, and no meter was asked to do what is not in it.
fn check_orders(world: &World) -> Result<(), Violation> {
    let Some(disk) = world.disk(Role::HeadEnd) else {
        return Ok(());
    };
    let broken = |error: &dyn std::fmt::Display| Violation::AuditLog(error.to_string());
    let mut audited: BTreeMap<MeterId, u64> = BTreeMap::new();
    let (mut verifier, mut after) = (Verifier::new(None), 0);
    loop {
        let entries = disk.operations().audit_log(after, AUDIT_READ_MAX);
        let entries = entries.map_err(|error| broken(&error))?;
        let Some(last) = entries.last() else {
            break;
        };
        after = last.number;
        for entry in &entries {
            verifier.check(entry).map_err(|fault| broken(&fault))?;
            let record = AuditRecord::decode(&entry.record).map_err(|error| broken(&error))?;
            let asks = matches!(
                record.action,
                Action::Command | Action::KeyChange | Action::Campaign
            );
            if let (true, Target::Meter(meter)) = (asks, record.target) {
                *audited.entry(meter).or_default() += 1;
            }
        }
    }
    for house in world.town().houses() {
        let meter = house.meter();
        let heard = u64::from(world.heard().orders(meter));
        let audited = audited.get(&meter).copied().unwrap_or(0);
        if heard > audited {
            return Err(Violation::OrderByNobody {
                meter,
                heard,
                audited,
            });
        }
    }
    Ok(())
}

fn view(world: &World) -> Result<StoreView<'_>, Violation> {
    let disk = world
        .disk(Role::Utility)
        .expect("every world has a utility");
    let period = world.town().plan().period;
    Ok(StoreView::read(disk, world.ledger_config(), period)?)
}

/// Every day that a reading of the run can be of.
fn days(world: &World) -> (Day, Day) {
    (world.town().plan().start.day(), world.now().utc.day())
}

/// A household captures every interval since its meter was installed, crashes or not.
pub(crate) fn check_profile(
    house: &House,
    meter: &Meter,
    start: UtcTime,
    now: UtcTime,
) -> Result<(), Violation> {
    let period = meter.config().period;
    let ends = std::iter::successors(Some(period.next_end(start)), |at| {
        Some(period.next_end(*at))
    });
    let mut ends = ends
        .take_while(|end| *end <= now)
        .filter(|end| house.had_supply(*end - period.duration(), *end));
    match ends.find(|end| meter.profile().get(*end).is_none()) {
        Some(end) if house.household().is_some() => Err(Violation::NotCaptured {
            meter: house.meter(),
            end,
        }),
        Some(_) | None => Ok(()),
    }
}

fn check_readings(meter: &Meter, stored: &Stored) -> Result<(), Violation> {
    let id = meter.config().id;
    let mut seen = BTreeSet::new();
    for reading in stored.readings(id) {
        let end = reading.end;
        if !seen.insert(end) {
            return Err(Violation::Twice { meter: id, end });
        }
        match meter.profile().get(end) {
            None => return Err(Violation::Invented { meter: id, end }),
            Some(entry) if entry.values() != reading.values => {
                return Err(Violation::Differs { meter: id, end });
            }
            Some(_) => {}
        }
    }
    match meter
        .profile()
        .iter()
        .find(|entry| !seen.contains(&entry.end()))
    {
        Some(entry) => Err(Violation::Missing {
            meter: id,
            end: entry.end(),
        }),
        None => Ok(()),
    }
}

/// Sum of the intervals = difference of the registers = integral of the load.
pub(crate) fn check_energy(house: &House, meter: &Meter, start: UtcTime) -> Result<(), Violation> {
    let id = house.meter();
    let mut entries = meter.profile().iter();
    let (Some(first), Some(last)) = (entries.next(), entries.next_back()) else {
        return Ok(());
    };
    let sum: MilliwattHours = meter
        .profile()
        .iter()
        .map(|entry| entry.values().import)
        .sum();
    let before = first.import_register() - first.values().import;
    let registers = last.import_register() - before;
    let integral = integral(house, meter.config().period, start, last.end());
    let claims = [
        ("the sum of intervals", sum, registers),
        ("the import register", last.import_register(), integral),
    ];
    for (what, got, expected) in claims {
        if got != expected {
            return Err(Violation::Energy {
                meter: id,
                what,
                got,
                expected,
            });
        }
    }
    Ok(())
}

/// What a house that does not respond to prices drew, in whole watt-hours, cut.
fn integral(house: &House, period: Period, from: UtcTime, to: UtcTime) -> MilliwattHours {
    let mut load = house.load();
    let mut microjoules: i128 = 0;
    let mut at = from;
    while at < to {
        let day = at.day();
        load.begin_day(day, &DayPrices::unknown(period));
        let end = day.next().start().min(to);
        while at < end {
            let stretch = load.power_at(at);
            let until = stretch.until.min(end);
            let watts = stretch.power.map_or(0, |power| power.total_mw());
            microjoules += i128::from(watts) * i128::from(until.as_millis() - at.as_millis());
            at = until;
        }
    }
    let watt_hours = i64::try_from(microjoules / 3_600_000_000).expect("a town's energy fits");
    MilliwattHours::new(watt_hours * 1_000)
}

/// Every interval has its price, and three reckonings agree on what a month comes to.
fn check_charges(world: &World, meter: &Meter, stored: &Stored) -> Result<(), Violation> {
    let id = meter.config().id;
    let period = meter.config().period;
    let currency = meter.config().currency;
    let now = world.now();
    let mut months: BTreeMap<Month, i128> = BTreeMap::new();
    for reading in stored.readings(id) {
        let end = reading.end;
        let point = stored.prices.get(&end);
        let known = meter.profile().get(end).and_then(profile::Entry::price);
        let (Some(point), Some(_)) = (point, known) else {
            return Err(Violation::Unpriced { meter: id, end });
        };
        // Millionths per kWh times millionths of a kWh.
        let pico =
            i128::from(reading.values.import.get()) * i128::from(point.price.micro_per_kwh());
        *months.entry(period.day_of(end).month()).or_default() += pico;
    }
    let view = view(world)?;
    let utility = world
        .utility()
        .ok_or_else(|| Violation::Down(Role::Utility.name()))?;
    let status = utility.status(now);
    for (month, pico) in months {
        let expected = Charge::from_pico(pico);
        let own = meter.bill().month(month).map(|account| account.charge);
        let charge = |what, got| Violation::Charge {
            meter: id,
            month,
            what,
            got,
            expected,
        };
        if own != Some(expected) {
            return Err(charge("the meter", own.unwrap_or_default()));
        }
        if month.next().first_day().start() <= now.utc {
            let bill = view.bills(month)?.get(&id).copied();
            let amount = bill.map(|bill| bill.amount_minor);
            let due = round_half_away(pico, currency);
            if amount.map(i128::from) != Some(due) {
                return Err(Violation::Bill {
                    meter: id,
                    month,
                    got: amount,
                    expected: due,
                });
            }
            let row_charge = bill.map_or(Charge::ZERO, |bill| bill.charge);
            if row_charge != expected {
                return Err(charge("the bill", row_charge));
            }
        } else {
            let standing = status.meters.iter().find(|standing| standing.meter == id);
            let account = standing.map_or(Charge::ZERO, |standing| standing.account.charge);
            if account != expected {
                return Err(charge("the utility's running account", account));
            }
        }
    }
    Ok(())
}

/// The rounding of a bill, written a second time.
fn round_half_away(pico: i128, currency: Currency) -> i128 {
    let step = 10_i128.pow(12 - u32::from(currency.minor_digits()));
    let magnitude = (2 * pico.abs() + step) / (2 * step);
    magnitude * pico.signum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_that_is_nowhere_or_twice_unbalances_the_account() {
        let account = Account {
            produced: 10,
            stored: 5,
            quarantined: 1,
            hostile: 2,
            gaps: 1,
            waiting: 1,
        };
        assert!(account.balances());
        for wrong in [
            Account {
                stored: 4,
                ..account
            },
            Account {
                waiting: 2,
                ..account
            },
        ] {
            assert!(!wrong.balances(), "{wrong}");
        }
    }
}
