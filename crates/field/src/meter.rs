//! The meter: one machine over measured time, frames of one link, and its memory.

mod price;
mod start;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gridloom_core::{
    Day, MilliwattHours, Money, Month, Now, Price, UtcTime, Wake, Watts,
};
use gridloom_dlms::apdu::{
    Apdu, ApduError, DataNotificationConfirm, ExceptionResponse, ServiceError, SetResponseNormal,
    StateError,
};
use gridloom_dlms::push::{BillingStatus, ClosedMonth, IntervalPush};
use gridloom_dlms::security::SecurityError;

pub use start::StartError;

use crate::bill::Bill;
use crate::config::MeterConfig;
use crate::delivery::Schedule;
use crate::display::{self, Readings};
use crate::keeper::{Job, Keeper, Urgency};
use crate::link::{FrameError, Link};
use crate::load::{DayPrices, Load};
use crate::memory::{
    Change, PRICE_DAYS, PRICES_CELL, PROFILE_CELLS, STATE_CELL, State, encode_prices, encode_profile,
    profile_cell,
};
use crate::metrology::{Means, Metrology};
use crate::profile::{Delivery, Entry, Profile};
use crate::status::{Counters, MeterStatus, MonthBill, SupplyState};

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
    Answer(Vec<u8>),
    Reservation(u32),
}

/// An emulated smart meter.
///
/// One input, then [`Self::poll_output`] until it is empty, then the next input.
pub struct Meter {
    config: MeterConfig,
    load: Box<dyn Load>,
    metrology: Metrology,
    /// The end of the running interval.
    interval_end: UtcTime,
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
                        self.schedule.add(end);
                    }
                }
                Owed::Answer(plain) => self.answer(&plain),
                Owed::Reservation(bound) => self.link.reserved(bound),
            }
        }
        self.settle(now);
    }

    /// A deadline of [`Self::wake`] has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.begin(now);
        self.measure(now);
        self.schedule.handle_timeout(now.instant);
        self.settle(now);
    }

    /// Supply fails: the meter notes the time with its last energy and goes dark.
    pub fn handle_power_off(&mut self, now: Now) {
        self.begin(now);
        if self.off_since.is_none() {
            while now.utc >= self.interval_end {
                self.capture_next(now);
            }
            self.integrate_to(now.utc);
            self.off_since = Some(self.metrology.cursor());
            self.drop_link();
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
            utc: captures.then_some((self.interval_end, "capture")),
        }
        .earliest(Wake {
            instant: self.keeper.wake(),
            utc: None,
        })
    }

    /// The meter as it stands at `now`; measures up to there, but captures nothing.
    pub fn status(&mut self, now: Now) -> MeterStatus {
        let on = self.off_since.is_none();
        if on {
            // The next interval belongs to `handle_timeout`.
            let last = UtcTime::from_millis(self.interval_end.as_millis() - 1);
            self.integrate_to(now.utc.min(last));
        }
        let at = self.metrology.cursor();
        let instantaneous = if on {
            self.metrology.instantaneous(&mut *self.load, at)
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
            time: now.utc,
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
                self.load.appliances_at(at)
            } else {
                Vec::new()
            },
            display: display::items(&readings),
            last_captured: self.profile.newest().map(Entry::end),
            last_acknowledged: self.last_ack,
            unacknowledged: self.profile.unacknowledged(),
            in_flight: self.schedule.in_flight(),
            captured: self.captured,
            lost: self.lost,
            counters: self.counters,
            counters_near_end: self.link.is_near_end(),
            memory_failures: self.keeper.failures(),
            memory_failure: self.keeper.last_failure().map(str::to_owned),
        }
    }

    /// The load profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The accounts.
    pub fn bill(&self) -> &Bill {
        &self.bill
    }

    /// The measuring part.
    pub fn metrology(&self) -> &Metrology {
        &self.metrology
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
        while let Some(job) = self.keeper.next_job(now) {
            self.write(job);
        }
        while let Some(end) = self.schedule.next_push(now.instant) {
            let apdu = self.push_of(end);
            let Ok(frame) = self.link.seal(&apdu) else {
                self.schedule.put_back(end);
                break;
            };
            self.counters.pushes += 1;
            self.outbox.push_back(Output::Send { frame });
        }
    }

    fn owe(&mut self, owed: Owed) {
        self.owed.push_back((self.keeper.generation(), owed));
    }

    fn drop_link(&mut self) {
        self.schedule.link_down();
        let before = self.owed.len();
        self.owed
            .retain(|(_, owed)| !matches!(owed, Owed::Answer(_)));
        self.counters.answers_dropped += (before - self.owed.len()) as u64;
    }

    // Measuring.

    fn measure(&mut self, now: Now) {
        for _ in 0..Self::CAPTURES_MAX {
            let due = self.off_since.is_none() && now.utc >= self.interval_end;
            if !due || self.keeper.is_behind() {
                return;
            }
            self.capture_next(now);
        }
    }

    /// Integrates within the running interval, which never passes midnight.
    fn integrate_to(&mut self, until: UtcTime) {
        if until > self.metrology.cursor() {
            self.begin_day();
            self.metrology.advance(&mut *self.load, until);
        }
    }

    /// Tells the house the prices of the day that the cursor is in, once.
    fn begin_day(&mut self) {
        let day = self.metrology.cursor().day();
        if self.begun == Some(day) {
            return;
        }
        if self.begun.is_none()
            && let Some(prices) = self.told.get(&day.previous())
        {
            self.load.begin_day(day.previous(), prices);
        }
        if !self.told.contains_key(&day) {
            let prices = self.known_prices(day);
            self.told.insert(day, prices);
            while self.told.len() > PRICE_DAYS {
                self.told.pop_first();
            }
            self.keeper.touch_prices();
        }
        self.load.begin_day(day, &self.told[&day]);
        self.begun = Some(day);
    }

    /// What each interval of the day cost the day before, or two days before.
    fn known_prices(&self, day: Day) -> DayPrices {
        let period = self.config.period;
        let mut prices = DayPrices::unknown(period);
        for (slot, price) in (0_u16..).zip(&mut prices.by_slot) {
            *price = [day.previous(), day.previous().previous()]
                .into_iter()
                .find_map(|day| self.profile.get(period.end_of_slot(day, slot))?.price());
        }
        prices
    }

    /// Closes the running interval.
    fn capture_next(&mut self, now: Now) {
        let end = self.interval_end;
        self.integrate_to(end);
        self.interval_end = end + self.config.period.duration();
        if self.metrology.has_measured() {
            let last = UtcTime::from_millis(end.as_millis() - 1);
            let power_mw = self
                .metrology
                .instantaneous(&mut *self.load, last)
                .active_mw;
            let captured = self.metrology.capture();
            self.last_means = Some(captured.means);
            let entry = Entry::new(
                end,
                captured.status,
                &captured.values,
                captured.import_register,
                Watts::new(power_mw / 1_000),
            );
            if let Some(dropped) = self.profile.push(entry) {
                self.dropped(&dropped, now);
            }
            self.captured += 1;
            self.unpriced.insert(end);
            let month = self.config.period.day_of(end).month();
            self.bill.captured(month, captured.values.import);
            self.keeper.touch_entry(end, Urgency::Now, now);
            self.owe(Owed::Push(end));
            if let Some(price) = self.ahead.get(&end).copied() {
                self.apply_price(end, price, now);
            }
        } else {
            self.metrology.discard_interval();
            self.keeper.touch(Urgency::Soon, now);
        }
        self.ahead.retain(|waiting, _| *waiting > end);
        self.close_months();
    }

    /// An entry fell out of a full profile.
    fn dropped(&mut self, entry: &Entry, now: Now) {
        let end = entry.end;
        self.keeper.touch_entry(end, Urgency::Soon, now);
        if self.unpriced.remove(&end) {
            let month = self.config.period.day_of(end).month();
            self.bill.dropped_unpriced(month);
        }
        if entry.delivery == Delivery::Unacknowledged {
            self.schedule.remove(end);
            self.lost += 1;
            self.outbox
                .push_back(Output::Event(Event::LostAtSource { end }));
        }
    }

    fn resume_after_outage(&mut self, now: Now) {
        self.metrology.skip_to(now.utc);
        self.interval_end = self
            .interval_end
            .max(self.config.period.next_end(self.metrology.cursor()));
        let end = self.interval_end;
        let start = UtcTime::from_millis(
            end.as_millis() - i64::from(self.config.period.as_secs()) * 1_000,
        );
        self.ahead.retain(|waiting, _| *waiting > start);
        self.close_months();
        self.keeper.touch(Urgency::Now, now);
    }

    fn close_months(&mut self) {
        let before = self.bill.last_closed().map(|account| account.month);
        self.bill
            .close_months(self.interval_end - self.config.period.duration());
        let newly: Vec<MonthBill> = self
            .bill
            .closed()
            .filter(|account| before.is_none_or(|before| account.month > before))
            .map(|account| MonthBill {
                month: account.month,
                amount: account.amount(self.config.currency),
            })
            .collect();
        for bill in newly {
            self.outbox
                .push_back(Output::Event(Event::MonthClosed(bill)));
        }
    }

    fn bill_so_far(&self, month: Month) -> Money {
        self.bill.month(month).map_or(
            Money::from_minor(0, self.config.currency),
            |account| account.amount(self.config.currency),
        )
    }

    fn last_bill(&self) -> Option<MonthBill> {
        self.bill.last_closed().map(|account| MonthBill {
            month: account.month,
            amount: account.amount(self.config.currency),
        })
    }

    // Talking.

    /// The push of an interval, with the bill as it stands now.
    fn push_of(&self, end: UtcTime) -> Vec<u8> {
        let entry = self
            .profile
            .get(end)
            .expect("what is scheduled is in the profile");
        let month = self.config.period.day_of(self.interval_end).month();
        let push = IntervalPush {
            period: self.config.period,
            end,
            status: entry.status(),
            values: entry.values(),
            import_register: rolled_over(entry.import_register()),
            power: entry.power(),
            billing: BillingStatus {
                running_minor: minor_units(self.bill_so_far(month)),
                unpriced: u16::try_from(self.unpriced.len()).unwrap_or(u16::MAX),
                oldest_unpriced: self.unpriced.first().copied(),
                closed: self
                    .last_bill()
                    .filter(|bill| bill.month.year() <= 5_460)
                    .map(|bill| ClosedMonth {
                        month: bill.month,
                        minor: minor_units(bill.amount),
                    }),
            },
        };
        let mut apdu = Vec::with_capacity(160);
        push.encode_notification(&mut apdu)
            .expect("what was captured fits its registers");
        apdu
    }

    /// Ciphers and sends an answer.
    fn answer(&mut self, plain: &[u8]) {
        match self.link.seal(plain) {
            Ok(frame) => self.outbox.push_back(Output::Send { frame }),
            Err(_) => self.counters.answers_dropped += 1,
        }
    }

    fn answer_apdu(&mut self, apdu: &Apdu<'_>) {
        let mut plain = Vec::new();
        apdu.encode(&mut plain);
        self.answer(&plain);
    }

    /// An APDU of the edge.
    fn request(&mut self, plain: &[u8], now: Now) {
        match Apdu::decode(plain) {
            Ok(Apdu::DataNotificationConfirm(confirm)) => self.confirmed(confirm, now),
            Ok(Apdu::SetRequestNormal(request)) => {
                let result = self.set(&request, now);
                let response = Apdu::SetResponseNormal(SetResponseNormal {
                    invoke_id: request.invoke_id,
                    result,
                });
                if result == gridloom_dlms::apdu::DataAccessResult::Success {
                    let mut plain = Vec::new();
                    response.encode(&mut plain);
                    self.keeper.touch(Urgency::Now, now);
                    self.owe(Owed::Answer(plain));
                } else {
                    self.counters.sets_refused += 1;
                    self.answer_apdu(&response);
                }
            }
            Ok(Apdu::GetRequestNormal(_) | Apdu::ActionRequestNormal(_)) => {
                self.refuse_service(StateError::ServiceNotAllowed, ServiceError::ServiceNotSupported);
            }
            // Not requests: nobody waits for an answer.
            Ok(
                Apdu::DataNotification(_)
                | Apdu::GetResponseNormal(_)
                | Apdu::SetResponseNormal(_)
                | Apdu::ActionResponseNormal(_)
                | Apdu::ExceptionResponse(_),
            ) => self.counters.unsupported += 1,
            Err(error) => {
                let service = match error {
                    ApduError::UnknownTag { .. } | ApduError::UnsupportedChoice { .. } => {
                        ServiceError::ServiceNotSupported
                    }
                    _ => ServiceError::OtherReason,
                };
                self.refuse_service(StateError::ServiceUnknown, service);
                self.outbox
                    .push_back(Output::Event(Event::RequestRefused(error)));
            }
        }
    }

    fn refuse_service(&mut self, state: StateError, service: ServiceError) {
        self.counters.unsupported += 1;
        self.answer_apdu(&Apdu::ExceptionResponse(ExceptionResponse { state, service }));
    }

    /// The utility has an interval.
    fn confirmed(&mut self, confirm: DataNotificationConfirm, now: Now) {
        let end = self.profile.end_of_invoke_id(confirm.invoke_id);
        match end.filter(|end| self.profile.acknowledge(*end)) {
            Some(end) => {
                self.schedule.remove(end);
                self.counters.acknowledged += 1;
                self.last_ack = self.last_ack.max(Some(end));
                self.keeper.touch_entry(end, Urgency::Soon, now);
            }
            None => self.counters.acknowledged_again += 1,
        }
    }

    fn refuse_frame(&mut self, error: FrameError) {
        let counter = match &error {
            FrameError::WrongTitle { .. } => &mut self.counters.wrong_title,
            FrameError::Counter(_) => &mut self.counters.replayed,
            FrameError::Security(SecurityError::BadTag { .. }) => &mut self.counters.bad_tag,
            FrameError::Security(_) => &mut self.counters.malformed,
        };
        *counter += 1;
        if let Some(exception) = error.answer() {
            let mut frame = Vec::new();
            exception.encode(&mut frame);
            self.outbox.push_back(Output::Send { frame });
        }
        self.outbox
            .push_back(Output::Event(Event::FrameRefused(error)));
    }

    // Remembering.

    fn write(&mut self, job: Job) {
        match job {
            Job::Prices { ticket } => {
                let bytes = encode_prices(self.config.period, &self.told);
                self.remember(ticket, PRICES_CELL, bytes);
            }
            Job::State { ticket } => {
                let bytes = self.state().encode();
                self.remember(ticket, STATE_CELL, bytes);
            }
            Job::Profile { ends } => {
                let period = self.config.period;
                let cells: BTreeSet<usize> =
                    ends.iter().map(|end| profile_cell(period, *end)).collect();
                for place in cells {
                    let entries = self
                        .profile
                        .iter()
                        .filter(|entry| profile_cell(period, entry.end) == place);
                    let bytes = encode_profile(entries);
                    let ticket = self.keeper.ticket();
                    self.keeper.folding_under(ticket);
                    self.remember(ticket, PROFILE_CELLS[place], bytes);
                }
            }
        }
    }

    fn remember(&mut self, ticket: u64, cell: &'static str, bytes: Vec<u8>) {
        self.outbox.push_back(Output::Remember {
            ticket,
            cell,
            bytes,
        });
    }

    fn state(&self) -> State {
        let metrology = &self.metrology;
        State {
            title: self.config.title,
            period: self.config.period,
            cursor: metrology.cursor,
            interval_end: self.interval_end,
            off_since: self.off_since,
            energy: metrology.energy,
            at_start: metrology.at_start,
            sums: metrology.sums,
            transmit_bound: self.link.transmit_bound(),
            received: self.link.received(),
            captured: self.captured,
            lost: self.lost,
            last_ack: self.last_ack,
            ahead: self.ahead.clone(),
            bill: self.bill.clone(),
            changes: self
                .keeper
                .carried()
                .map(|end| match self.profile.get(end) {
                    Some(entry) => Change::Entry(*entry),
                    None => Change::Gone(end),
                })
                .collect(),
        }
    }
}

/// A register of 32 bits of Wh, as COSEM has it, starts again from zero.
fn rolled_over(register: MilliwattHours) -> MilliwattHours {
    MilliwattHours::new(register.get() % ((i64::from(u32::MAX) + 1) * 1_000))
}

/// Bills beyond 32 bits of minor units show the largest that fits; the meter's own stay exact.
fn minor_units(amount: Money) -> i32 {
    i32::try_from(amount.minor()).unwrap_or(if amount.minor() < 0 {
        i32::MIN
    } else {
        i32::MAX
    })
}
