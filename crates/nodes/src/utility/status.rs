//! What an operator sees of a utility.

use gridloom_billing::{RunningAccount, SigmoidTariff};
use gridloom_core::{
    Currency, Day, MeterId, Millivolts, MilliwattHours, Money, Month, Now, Period, UtcTime, Watts,
};
use gridloom_edge::{GatewayStatus, LinkQuality, Path, ReasonCounters, Reasons, Scores};
use gridloom_grid::station::{Dispatch, Station};
use gridloom_headend::Presence;
use gridloom_mdm::Exception;
use gridloom_store::{BillRow, PricePoint};

use super::UtilityNode;

/// What a utility counted since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UtilityCounters {
    /// Readings taken into the journal, redeliveries included.
    pub received: u64,
    /// Readings acknowledged to an edge.
    pub acknowledged: u64,
    /// Readings that were in the database already.
    pub duplicates: u64,
    /// Readings that contradict an earlier one; kept as evidence.
    pub conflicts: u64,
    /// Readings that validation refused; stored, never billed.
    pub exceptions: u64,
    /// Readings of meters that are not in the registry, or stand there under another title.
    pub unregistered: u64,
    /// Records that the journal refused; their meters push again.
    pub journal_refused: u64,
    /// Effects that the disk refused.
    pub disk_failures: u64,
    /// Queries that failed.
    pub queries_failed: u64,
    /// Bills that could not be made.
    pub bills_failed: u64,
    /// Bills that contradict one that was issued.
    pub bills_refused: u64,
    /// Alarms that found no head-end; their edges send them again.
    pub alarms_waiting: u64,
    /// Envelopes that could not be read.
    pub malformed: u64,
    /// What edges refused over links that are gone.
    pub past_refusals: ReasonCounters,
}

/// A closed month's bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedBill {
    /// Whose.
    pub meter: MeterId,
    /// Of which month.
    pub month: Month,
    /// What the utility bills.
    pub amount: Money,
    /// What the meter reckoned, once it said so.
    pub meter_amount: Option<Money>,
    /// Intervals of the month that were not measured.
    pub gaps: u32,
}

impl ClosedBill {
    pub(super) fn from_row(row: &BillRow) -> Self {
        Self {
            meter: row.meter,
            month: row.month,
            amount: row.amount(),
            meter_amount: None,
            gaps: row.gaps,
        }
    }
}

/// How far a packet of a meter was trusted by its edge, and how it was carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadingTrust {
    /// P_t and its parts.
    pub scores: Scores,
    /// What was odd about it.
    pub reasons: Reasons,
    /// By which path it came; the numbers are those of the edge's run.
    pub path: Path,
    /// What the link knew.
    pub link: LinkQuality,
}

/// The smoothed trust of an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeTrust {
    /// Of all its packets.
    pub edge: Scores,
    /// By gateway.
    pub gateways: Vec<GatewayStatus>,
}

/// One meter as the utility sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterStanding {
    /// Its number.
    pub meter: MeterId,
    /// What people call the house.
    pub name: String,
    /// How its communication stands.
    pub presence: Presence,
    /// The end of its newest interval.
    pub newest: Option<UtcTime>,
    /// Active power when it last pushed.
    pub power: Option<Watts>,
    /// Mean voltage of its newest interval.
    pub voltage: Option<Millivolts>,
    /// Its import register.
    pub import_register: Option<MilliwattHours>,
    /// The month that its running account is for.
    pub month: Month,
    /// What it owes so far, by the utility's account.
    pub account: RunningAccount,
    /// That account as money, rounded as a bill would be.
    pub bill: Money,
    /// What it owes so far by its own account, and intervals it has no price for.
    pub own_bill: Option<(Money, u16)>,
    /// Mean power of the last day's intervals in watts, oldest first; `None` is a gap.
    pub day: Vec<Option<i64>>,
    /// How far its newest packet was trusted; `None` of a meter that no edge has brought.
    pub trust: Option<ReadingTrust>,
}

/// A utility as its operator sees it.
#[derive(Debug, Clone)]
pub struct UtilityStatus {
    /// Its name.
    pub name: String,
    /// The currency of its bills.
    pub currency: Currency,
    /// The priced period.
    pub period: Period,
    /// Its tariff.
    pub tariff: SigmoidTariff,
    /// Its stations in merit order.
    pub stations: Vec<Station>,
    /// What they do for the newest total.
    pub dispatch: Option<Dispatch>,
    /// The newest decided price.
    pub price: Option<PricePoint>,
    /// Decided prices of the last day, in order.
    pub trend: Vec<PricePoint>,
    /// Every meter in service.
    pub meters: Vec<MeterStanding>,
    /// Closed months, newest first.
    pub bills: Vec<ClosedBill>,
    /// The last readings that validation refused.
    pub exceptions: Vec<Exception>,
    /// What was counted.
    pub counters: UtilityCounters,
    /// What edges refused, all together.
    pub refusals: ReasonCounters,
    /// Readings in the store, in open and in sealed days.
    pub stored: u64,
    /// Readings that wait in the open days.
    pub open_readings: usize,
    /// Edges that are connected.
    pub edges: usize,
    /// The smoothed trust of each of them, as far as it has told.
    pub trust: Vec<EdgeTrust>,
    /// Whether the archive is connected.
    pub archive: bool,
    /// Days before this one are in the archive.
    pub archived_before: Day,
    /// Why the journal refuses writes, if it does.
    pub poisoned: Option<String>,
}

impl UtilityNode {
    /// How the utility stands.
    pub fn status(&self, now: Now) -> UtilityStatus {
        let price = self.recent.last_key_value().map(|(_, point)| *point);
        let since = now.utc - self.config.period.duration() * self.config.period.per_day();
        let open_readings = self.ledger.stats().open_readings;
        let mut refusals = self.counters.past_refusals;
        for counters in self.refusals.values() {
            refusals.add(counters);
        }
        UtilityStatus {
            name: self.config.name.clone(),
            currency: self.config.currency,
            period: self.config.period,
            tariff: self.config.tariff,
            stations: self.config.stations.stations().to_vec(),
            dispatch: price.map(|point| self.config.stations.dispatch(point.total)),
            price,
            trend: self
                .recent
                .range(since..)
                .map(|(_, point)| *point)
                .collect(),
            meters: self
                .meters
                .values()
                .filter(|served| served.span.until().is_none_or(|until| until > now.utc))
                .map(|served| self.standing(served.meter, now.utc))
                .collect(),
            bills: self.closed_bills(),
            exceptions: self.exceptions.iter().copied().collect(),
            counters: self.counters,
            refusals,
            stored: self.sealed + open_readings as u64,
            open_readings,
            edges: self.edges.len(),
            trust: self.trust_of_edges.values().cloned().collect(),
            archive: self.archive_link.is_some(),
            archived_before: self.archive.archived_before(),
            poisoned: self.ledger.poisoned().map(str::to_owned),
        }
    }

    /// Readings acknowledged to edges since start.
    pub fn acknowledged(&self) -> u64 {
        self.counters.acknowledged
    }

    /// The month that is closed next; all before it are.
    pub fn next_month(&self) -> Month {
        self.cycle.next_month()
    }

    /// Whether everything that a meter still owes has arrived and is priced: nothing waits for
    /// the disk, and no price is open.
    pub fn is_settled(&self) -> bool {
        self.collector.awaiting() == 0
            && self.undurable.is_empty()
            && self.unjournalled.is_empty()
            && self.settlement.open_intervals() == 0
            && self.closing.is_none()
    }

    fn standing(&self, meter: MeterId, now: UtcTime) -> MeterStanding {
        let newest = self.newest.get(&meter);
        let month = self
            .presence
            .newest(meter)
            .map_or(self.cycle.next_month(), |end| self.cycle.month_of(end));
        let account = self.cycle.account(month, meter);
        let currency = self.config.currency;
        MeterStanding {
            meter,
            name: self.meters[&meter].name.clone(),
            presence: self.presence.presence(meter, self.config.period, now),
            newest: self.presence.newest(meter),
            power: newest.map(|newest| newest.power),
            voltage: newest.map(|newest| newest.voltage),
            import_register: newest.map(|newest| newest.import_register),
            month,
            account,
            bill: account.charge.round_half_away(currency),
            own_bill: newest.map(|newest| {
                let minor = i64::from(newest.billing.running_minor);
                (Money::from_minor(minor, currency), newest.billing.unpriced)
            }),
            day: self.last_day(meter),
            trust: self.trust.get(&meter).copied(),
        }
    }

    fn last_day(&self, meter: MeterId) -> Vec<Option<i64>> {
        let period = self.config.period;
        let (Some(newest), Some(recent)) = (self.presence.newest(meter), self.days.get(&meter))
        else {
            return Vec::new();
        };
        (0..period.per_day())
            .rev()
            .map(|back| {
                let end = newest - period.duration() * back;
                recent.get(&end).map(|watts| watts.get())
            })
            .collect()
    }

    fn closed_bills(&self) -> Vec<ClosedBill> {
        let currency = self.config.currency;
        self.bills
            .iter()
            .rev()
            .map(|(key, bill)| ClosedBill {
                meter_amount: self
                    .meter_closed
                    .get(key)
                    .map(|minor| Money::from_minor(i64::from(*minor), currency)),
                ..*bill
            })
            .collect()
    }
}
