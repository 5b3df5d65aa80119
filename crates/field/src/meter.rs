//! The meter: one machine over measured time, frames of one link, and its memory.

mod alert;
mod clients;
mod deeds;
mod measure;
mod price;
mod pushes;
mod remember;
mod serve;
mod start;
mod survey;
mod talk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use gridloom_core::{Day, Instant, Now, Price, UtcTime, Wake};
use gridloom_dlms::apdu::ApduError;
use gridloom_dlms::server::Server;

pub use clients::{ConnectionId, Entropy};
pub use pushes::PushTransport;
pub use start::StartError;

use crate::alerts::Alerts;
use crate::bill::Bill;
use crate::billing_period::BillingPeriods;
use crate::clock::{Clock, ClockStep};
use crate::config::MeterConfig;
use crate::delivery::Schedule;
use crate::display::{self, Readings};
use crate::features::{FeatureEvent, Features};
use crate::fittings::{Fittings, Pushes};
use crate::keeper::{Keeper, Urgency};
use crate::link::{FrameError, Link};
use crate::load::{DayPrices, Load};
use crate::logs::Logs;
use crate::memory::LOGS_CELL;
use crate::metrology::{Means, Metrology};
use crate::objects::communication_setup::HdlcSetup;
use crate::objects::image_transfer::ImageEvent;
use crate::objects::power_quality::PowerQualityEvent;
use crate::objects::tamper::TamperEvent;
use crate::profile::{Delivery, Entry, Profile};
use crate::protection::Protection;
use crate::status::{Counters, MeterStatus, MonthBill, SupplyState};
use crate::supervision::Supervision;
use crate::survey::Survey;
use crate::upgrade::Upgrade;

/// What the meter wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send one APDU on the link.
    Send {
        /// The APDU, without transport framing.
        frame: Vec<u8>,
    },
    /// Keep `bytes` under `cell`, replacing what was there. Requests are carried out in order,
    /// each answered by [`Meter::handle_remembered`] once it is durable or has failed.
    Remember {
        /// Comes back in the answer.
        ticket: u64,
        /// The name of the memory cell.
        cell: &'static str,
        /// Its new content.
        bytes: Vec<u8>,
    },
    /// Send one APDU to the client at SAP `client` of a connection.
    Answer {
        /// Which connection.
        connection: ConnectionId,
        /// The client's SAP: the wrapper's destination, from the server at 1.
        client: u16,
        /// The APDU, without transport framing.
        apdu: Vec<u8>,
    },
    /// Close a client's connection: too many stand, or the meter has no supply.
    Disconnect {
        /// Which.
        connection: ConnectionId,
    },
    /// Send a push to the destination that a client has set; answered by
    /// [`Meter::handle_push_outcome`].
    Push {
        /// Which push setup wants it.
        push: Pushes,
        /// Where to.
        to: SocketAddr,
        /// How.
        transport: PushTransport,
        /// The ciphered APDU, without transport framing.
        apdu: Vec<u8>,
    },
    /// Something an operator may want to know.
    Event(Event),
}

/// What is worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A full profile dropped an interval that nobody had.
    LostAtSource {
        /// Its end.
        end: UtcTime,
    },
    /// A month is over and all its intervals are priced.
    MonthClosed(MonthBill),
    /// A frame was not believed.
    FrameRefused(FrameError),
    /// A believed frame held nothing the meter understands.
    RequestRefused(ApduError),
    /// A client set the clock by more than [`ClockStep::SHIFT_LIMIT`].
    ClockSet(ClockStep),
    /// The switch, the limiter or the tariffs.
    Feature(FeatureEvent),
    /// Somebody tampers with the meter, or has stopped.
    Tamper(TamperEvent),
    /// The voltage is out of bounds, or within them again.
    PowerQuality(PowerQualityEvent),
    /// The firmware.
    Firmware(ImageEvent),
    /// A write failed; it is repeated.
    MemoryFailed(String),
}

/// Why the meter starts, which decides what becomes of the time that it did not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// The program was restarted while the house went on: what it drew meanwhile is measured
    /// now, for at most as many days as the profile holds.
    Reset,
    /// Supply was away: the time is not measured, and the running interval says so.
    SupplyReturned,
}

/// What waits until a change is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owed {
    Push(UtcTime),
    Alert(u32),
    Answer(Vec<u8>),
    ClientAnswer {
        connection: ConnectionId,
        client: u16,
        apdu: Vec<u8>,
    },
    Reservation(u32),
}

/// An emulated smart meter.
///
/// One input, then [`Self::poll_output`] until it is empty, then the next input.
pub struct Meter {
    config: MeterConfig,
    load: Box<dyn Load>,
    metrology: Metrology,
    clock: Clock,
    /// The end of the running interval, by the meter's clock.
    interval_end: UtcTime,
    /// The clock was stepped in the running interval.
    stepped: bool,
    features: Features,
    logs: Logs,
    fittings: Fittings,
    protection: Box<Protection>,
    upgrade: Upgrade,
    /// Another image runs once every client has its answer.
    restarting: bool,
    supervision: Supervision,
    survey: Box<Survey>,
    /// Nobody has heard of the latest alarm.
    alert_due: bool,
    /// While the limiter watches: when the load changes next, in true time.
    load_changes: Option<UtcTime>,
    periods: BillingPeriods,
    /// Intervals up to here were reset away for clients; they are delivered all the same.
    block_reset: Option<UtcTime>,
    off_since: Option<UtcTime>,
    last_means: Option<Means>,
    /// The prices that the house was told, and the last day that it was told.
    told: BTreeMap<Day, DayPrices>,
    begun: Option<Day>,
    profile: Profile,
    bill: Bill,
    /// Captured, in the profile, without a price.
    unpriced: BTreeSet<UtcTime>,
    /// Prices of intervals that are not over.
    ahead: BTreeMap<UtcTime, Price>,
    captured: u64,
    lost: u64,
    last_ack: Option<UtcTime>,
    link: Link,
    /// With the time at which a client was last heard on each.
    connections: BTreeMap<ConnectionId, (Server, Instant)>,
    entropy: Option<Entropy>,
    /// Drawn so far from the seed.
    challenges: u64,
    schedule: Schedule,
    keeper: Keeper,
    /// In the order of their changes.
    owed: VecDeque<(u64, Owed)>,
    counters: Counters,
    seen: Now,
    outbox: VecDeque<Output>,
}

impl Meter {
    /// Intervals captured in one input; a meter that is further behind asks to be woken at once.
    pub const CAPTURES_MAX: usize = 96;

    /// Answers that wait for their effect to become durable; beyond it a SET is answered with a
    /// temporary failure, at once and without effect.
    pub const ANSWERS_MAX: usize = 16;

    /// The link to the edge stands.
    pub fn handle_link_up(&mut self, now: Now) {
        self.begin(now);
        if self.off_since.is_none() {
            self.schedule.link_up(now.instant);
            if let Some(alerts) = self.supervision.alerts_mut() {
                alerts.link_up();
            }
        }
        self.settle(now);
    }

    /// The link is gone; what was in flight is pushed again on the next one.
    pub fn handle_link_down(&mut self, now: Now) {
        self.begin(now);
        self.drop_link();
        self.settle(now);
    }

    /// A frame arrived, without transport framing, not trusted in any way.
    pub fn handle_frame(&mut self, frame: &[u8], now: Now) {
        self.begin(now);
        if self.off_since.is_none() && self.schedule.is_linked() {
            match self.link.open(frame) {
                Ok(plain) => {
                    // The counter was believed.
                    self.keeper.touch(Urgency::Soon, now);
                    self.request(&plain, now);
                }
                Err(error) => self.refuse_frame(error),
            }
        }
        self.settle(now);
    }

    /// A cell is durable, or why not.
    ///
    /// # Panics
    ///
    /// If nothing was to be remembered under `ticket`.
    pub fn handle_remembered(&mut self, ticket: u64, result: Result<(), String>, now: Now) {
        self.begin(now);
        if let Err(words) = &result {
            let event = Event::MemoryFailed(words.clone());
            self.outbox.push_back(Output::Event(event));
        }
        self.keeper.handle_done(ticket, result, now);
        let durable = self.keeper.durable();
        while let Some((_, owed)) = self.owed.pop_front_if(|(change, _)| *change <= durable) {
            match owed {
                Owed::Push(end) => {
                    let waits = self
                        .profile
                        .get(end)
                        .is_some_and(|entry| entry.delivery == Delivery::Unacknowledged);
                    if waits {
                        self.push_interval(end, now);
                    }
                }
                Owed::Alert(number) => self.supervision.release(number),
                Owed::Answer(plain) => self.answer(&plain),
                Owed::ClientAnswer {
                    connection,
                    client,
                    apdu,
                } => self.outbox.push_back(Output::Answer {
                    connection,
                    client,
                    apdu,
                }),
                Owed::Reservation(bound) => self.link.reserved(bound),
            }
        }
        self.settle(now);
    }

    /// A deadline of [`Self::wake`] has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.begin(now);
        self.measure(now);
        self.follow(now);
        self.schedule.handle_timeout(now.instant);
        self.close_silent(now);
        let patience = self.patience(Pushes::Alert);
        if let Some(alerts) = self.supervision.alerts_mut() {
            alerts.handle_timeout(now.instant, patience);
        }
        self.settle(now);
    }

    /// Supply fails: the meter notes the time with its last energy and goes dark. It forgets its
    /// link; one that stands while the meter is dark must come up again after supply returned.
    pub fn handle_power_off(&mut self, now: Now) {
        self.begin(now);
        if self.off_since.is_none() {
            while self.is_over(now) {
                self.capture_next(now);
            }
            self.integrate_to(now.utc);
            self.off_since = Some(self.metrology.cursor());
            self.logs.supply_gone(self.clock.time_at(now.utc));
            self.keeper.touch_cell(LOGS_CELL, now);
            self.last_gasp(now);
            self.drop_link();
            self.drop_clients();
            self.keeper.touch(Urgency::Now, now);
        }
        self.settle(now);
    }

    /// Supply is back. Nothing was measured meanwhile; energy drawn before the failure, in an
    /// interval that could not be captured, belongs to the interval that runs now.
    pub fn handle_power_on(&mut self, now: Now) {
        self.begin(now);
        if self.off_since.take().is_some() {
            self.resume_after_outage(now);
        }
        self.settle(now);
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// When to come with [`Self::handle_timeout`].
    pub fn wake(&self) -> Wake {
        // A memory that is behind wakes the meter by its answer.
        let captures = self.off_since.is_none() && !self.keeper.is_behind();
        Wake {
            instant: self.schedule.wake(self.seen.instant),
            utc: captures.then(|| self.next_measurement()),
        }
        .earliest(Wake {
            instant: self.keeper.wake(),
            utc: None,
        })
        .earliest(Wake {
            instant: self.alert_due_at(),
            utc: None,
        })
        .earliest(Wake {
            instant: self.silence_due(),
            utc: None,
        })
    }

    /// The meter as it stands at `now`; measures up to there, but captures nothing.
    pub fn status(&mut self, now: Now) -> MeterStatus {
        let on = self.off_since.is_none();
        if on {
            // The next interval belongs to `handle_timeout`.
            let last = UtcTime::from_millis(self.boundary().as_millis() - 1);
            self.integrate_to(now.utc.min(last));
            self.begin_day();
        }
        let at = self.metrology.cursor();
        let instantaneous = if on {
            self.instantaneous(at)
        } else {
            Default::default()
        };
        let month = self.config.period.day_of(self.interval_end).month();
        let bill = MonthBill {
            month,
            amount: self.bill_so_far(month),
        };
        let last_bill = self.last_bill();
        let readings = Readings {
            registers: self.metrology.registers(),
            instantaneous,
            price: self.profile.iter().rev().find_map(Entry::price),
            bill: bill.amount,
            last_bill: last_bill.map(|bill| bill.amount),
            time: self.clock.time_at(now.utc),
        };
        MeterStatus {
            id: self.config.id,
            title: self.config.title,
            at: now.utc,
            supply: self
                .off_since
                .map_or(SupplyState::On, |since| SupplyState::Off { since }),
            linked: self.schedule.is_linked(),
            instantaneous,
            last_means: self.last_means,
            registers: readings.registers,
            price: readings.price,
            bill,
            last_bill,
            unpriced: self.bill.unpriced(),
            oldest_unpriced: self.unpriced.first().copied(),
            appliances: if on {
                self.switched().appliances_at(at)
            } else {
                Vec::new()
            },
            display: display::items(&readings),
            last_captured: self.profile.newest().map(Entry::end),
            last_acknowledged: self.last_ack,
            unacknowledged: self.profile.unacknowledged(),
            in_flight: self.schedule.in_flight(),
            alerts_waiting: self.supervision.alerts().map_or(0, Alerts::len),
            alerts_lost: self.supervision.alerts().map_or(0, Alerts::lost),
            captured: self.captured,
            lost: self.lost,
            counters: self.counters,
            counters_near_end: self.link.is_near_end(),
            memory_failures: self.keeper.failures(),
            memory_failure: self.keeper.last_failure().map(str::to_owned),
        }
    }

    /// Intervals up to `until` that are not acknowledged, or have no price.
    pub fn owes_before(&self, until: UtcTime) -> usize {
        self.profile
            .iter()
            .filter(|entry| entry.end() <= until)
            .filter(|entry| entry.delivery() != Delivery::Acknowledged || entry.price().is_none())
            .count()
    }

    /// The load profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The accounts.
    pub fn bill(&self) -> &Bill {
        &self.bill
    }

    /// The setup of HDLC (0.0.22.0.0), for whoever hosts the meter behind it.
    pub fn hdlc_setup(&self) -> &HdlcSetup {
        self.fittings.hdlc()
    }

    /// The measuring part.
    pub fn metrology(&self) -> &Metrology {
        &self.metrology
    }

    /// The meter's own clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The configuration.
    pub fn config(&self) -> &MeterConfig {
        &self.config
    }

    /// Every input starts here.
    fn begin(&mut self, now: Now) {
        assert!(
            self.outbox.is_empty(),
            "host must drain outputs between inputs"
        );
        self.seen = now;
    }

    /// Every input ends here: what changed is written, and what may be pushed is.
    fn settle(&mut self, now: Now) {
        if let Some(bound) = self.link.reserve() {
            self.keeper.touch(Urgency::Now, now);
            self.owe(Owed::Reservation(bound));
        }
        self.restart_if_due(now);
        while let Some(event) = self.features.poll_event() {
            if let Some(code) = event.code() {
                self.note(code, now);
            }
            self.outbox.push_back(Output::Event(Event::Feature(event)));
        }
        self.send_alert(now);
        while let Some(job) = self.keeper.next_job(now) {
            self.write(job);
        }
        if self.off_since.is_none() {
            self.send_to_edge(now);
        }
    }

    fn owe(&mut self, owed: Owed) {
        self.owed.push_back((self.keeper.generation(), owed));
    }

    fn drop_link(&mut self) {
        self.schedule.link_down();
        if let Some(alerts) = self.supervision.alerts_mut() {
            alerts.link_down();
        }
        let before = self.owed.len();
        self.owed
            .retain(|(_, owed)| !matches!(owed, Owed::Answer(_)));
        self.counters.answers_dropped += (before - self.owed.len()) as u64;
    }
}
