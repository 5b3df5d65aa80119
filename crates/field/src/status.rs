//! A meter as the console shows it.

use gridloom_core::{MeterId, Money, Month, Price, SystemTitle, UtcTime};

use crate::display::Item;
use crate::load::ApplianceState;
use crate::metrology::{Instantaneous, Means, Registers};

/// Whether the meter has supply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupplyState {
    /// It measures.
    On,
    /// It is dark.
    Off {
        /// Since when.
        since: UtcTime,
    },
}

/// What happened on the link since start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Pushes sent, repetitions included.
    pub pushes: u64,
    /// Intervals acknowledged.
    pub acknowledged: u64,
    /// Acknowledgements of intervals that were acknowledged or had left the profile already.
    pub acknowledged_again: u64,
    /// Intervals priced.
    pub priced: u64,
    /// Prices of intervals that this meter does not have, or had priced the same before.
    pub prices_without_effect: u64,
    /// SET requests refused.
    pub sets_refused: u64,
    /// Believed requests for services that the meter does not offer.
    pub unsupported: u64,
    /// Frames from another title than the edge's.
    pub wrong_title: u64,
    /// Alerts sent to the edge, repetitions included.
    pub alerts: u64,
    /// Pushes that left for the destination that a client has set, repetitions included.
    pub pushes_to_destination: u64,
    /// Of these, given up after their last retry.
    pub pushes_given_up: u64,
    /// Frames whose tag does not verify.
    pub bad_tag: u64,
    /// Frames with a counter used before.
    pub replayed: u64,
    /// Frames that are not ciphered as demanded, or no frames at all.
    pub malformed: u64,
    /// Answers that never left: the link had gone, or counters were not reserved in time.
    pub answers_dropped: u64,
}

/// A month's bill as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonthBill {
    /// The month.
    pub month: Month,
    /// The amount, rounded once.
    pub amount: Money,
}

/// A snapshot of one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterStatus {
    /// Its number.
    pub id: MeterId,
    /// Its system title.
    pub title: SystemTitle,
    /// The time of the snapshot.
    pub at: UtcTime,
    /// Whether it has supply.
    pub supply: SupplyState,
    /// Whether its link is up.
    pub linked: bool,
    /// The terminals.
    pub instantaneous: Instantaneous,
    /// The means of the last interval captured since start.
    pub last_means: Option<Means>,
    /// The energy registers.
    pub registers: Registers,
    /// The newest price that is known.
    pub price: Option<Price>,
    /// The running month.
    pub bill: MonthBill,
    /// The last month that is over and priced.
    pub last_bill: Option<MonthBill>,
    /// Intervals that wait for their price.
    pub unpriced: u32,
    /// The end of the oldest of them.
    pub oldest_unpriced: Option<UtcTime>,
    /// What runs in the house; empty where the load has no appliances.
    pub appliances: Vec<ApplianceState>,
    /// The pages of the display.
    pub display: Vec<Item>,
    /// The end of the last interval captured.
    pub last_captured: Option<UtcTime>,
    /// The end of the newest interval that was acknowledged.
    pub last_acknowledged: Option<UtcTime>,
    /// Intervals in the profile without acknowledgement.
    pub unacknowledged: usize,
    /// Of these, pushed and waiting for it.
    pub in_flight: usize,
    /// Alerts without acknowledgement.
    pub alerts_waiting: usize,
    /// Alerts that made room for newer ones before anybody had them.
    pub alerts_lost: u64,
    /// Intervals captured since the meter was installed.
    pub captured: u64,
    /// Of these, dropped from a full profile before anybody had them.
    pub lost: u64,
    /// The link's counters.
    pub counters: Counters,
    /// Invocation counters run out: the keys should be changed.
    pub counters_near_end: bool,
    /// Writes of the memory that failed since start.
    pub memory_failures: u64,
    /// The newest of them in the system's words, until a write succeeds.
    pub memory_failure: Option<String>,
}
