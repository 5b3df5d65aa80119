//! Closing a month: seal its days, bill meter after meter from the store, keep the bills.

use std::collections::VecDeque;

use gridloom_billing::bill_month;
use gridloom_core::{IntervalReading, MeterId, Month, Now, UtcTime};
use gridloom_mdm::{ValidatedInterval, Validator};
use gridloom_store::BillRow;

use super::status::ClosedBill;
use super::{Purpose, UtilityNode};
use crate::node::Query;

/// A month that is being closed.
#[derive(Debug)]
pub(super) struct Closing {
    month: Month,
    /// Meters that have no bill yet.
    left: VecDeque<MeterId>,
    /// The query for the first of them, once it is asked.
    ticket: Option<u64>,
    /// Bills that left for the database in the commit under way.
    leaving: usize,
    /// Bills that are not durable yet.
    owed: usize,
}

impl Closing {
    /// A commit with this many bills is on its way.
    pub(super) fn bills_leave(&mut self, count: usize) {
        self.leaving = count;
    }

    /// The commit under way is durable.
    pub(super) fn bills_committed(&mut self) {
        self.owed -= std::mem::take(&mut self.leaving);
    }
}

impl UtilityNode {
    /// When the wall clock may make a month due.
    pub(super) fn close_deadline(&self) -> Option<(UtcTime, &'static str)> {
        let month_end = self.cycle.next_month().next().first_day().start();
        let at = [month_end, month_end + self.config.grace];
        at.into_iter()
            .find(|at| *at > self.seen)
            .map(|at| (at, "close a month"))
    }

    /// Starts closing a month that is due, goes on with it, and ends it.
    pub(super) fn close_if_due(&mut self, now: Now) {
        if self.closing.is_none()
            && let Some(month) = self.cycle.due(now.utc)
        {
            self.seal(self.sealed_before.max(month.next().first_day()));
            self.closing = Some(Closing {
                month,
                left: self.in_service(month),
                ticket: None,
                leaving: 0,
                owed: 0,
            });
        }
        let Some(closing) = &self.closing else {
            return;
        };
        let month = closing.month;
        if closing.left.is_empty() && closing.owed == 0 {
            self.closing = None;
            self.cycle.closed(month);
            tracing::info!(%month, "month closed");
            return;
        }
        let sealed = self.all_sealed_before(month.next().first_day());
        if sealed && closing.ticket.is_none() {
            self.ask_next(month);
        }
    }

    /// The meters that have a bill of `month`: retired ones their last.
    fn in_service(&self, month: Month) -> VecDeque<MeterId> {
        let period = self.config.period;
        self.meters
            .values()
            .filter(|served| served.purpose == Purpose::Customer)
            .filter(|served| served.span.intervals_in(month, period) > 0)
            .map(|served| served.meter)
            .collect()
    }

    fn ask_next(&mut self, month: Month) {
        let Some(meter) = self.closing.as_ref().and_then(|c| c.left.front().copied()) else {
            return;
        };
        let ticket = self.query(Query::Readings {
            meter,
            period: self.config.period,
            first: month.first_day(),
            last: month.next().first_day().previous(),
        });
        if let Some(closing) = &mut self.closing {
            closing.ticket = Some(ticket);
        }
    }

    /// The readings of the next meter are here: its bill, if the answer is to our question.
    pub(super) fn bill_next(&mut self, answered: u64, readings: &[IntervalReading]) {
        let Some(closing) = &mut self.closing else {
            return;
        };
        if closing.ticket != Some(answered) {
            return;
        }
        let Some(meter) = closing.left.pop_front() else {
            return;
        };
        closing.ticket = None;
        let month = closing.month;
        let served = self.meters[&meter].clone();
        let intervals: Vec<ValidatedInterval> = readings
            .iter()
            // What was measured before or after service is nobody's to pay.
            .filter(|reading| served.span.covers(reading.end, reading.period))
            .filter_map(|reading| Validator::validate_stored(reading.into(), &served.limits).ok())
            .collect();
        let bill = match bill_month(
            meter,
            month,
            self.config.period,
            served.span,
            &intervals,
            &self.book,
            self.config.currency,
        ) {
            Ok(bill) => bill,
            Err(error) => {
                // The other meters are billed all the same; this one needs an operator.
                tracing::error!(%meter, %month, %error, "a bill could not be made");
                self.counters.bills_failed += 1;
                return;
            }
        };
        let row = BillRow {
            meter,
            month,
            version: 0,
            currency: self.config.currency,
            amount_minor: bill.amount.minor(),
            energy: bill.energy,
            intervals: bill.intervals,
            gaps: bill.missing(),
            charge: bill.charge,
            // Not the moment of writing: the same bill again must be the same row.
            issued_at: month.next().first_day().start(),
        };
        match self.ledger.queue_bill(row) {
            Ok(()) => {
                if let Some(closing) = &mut self.closing {
                    closing.owed += 1;
                }
                self.show_bill(ClosedBill::from_row(&row));
            }
            Err(error) => {
                self.note_append_error(&error);
                // Later: the ledger's bound is free again when its commit is through.
                if let Some(closing) = &mut self.closing {
                    closing.left.push_back(meter);
                }
            }
        }
    }

    /// A query failed; if it was for a bill, it is asked again.
    pub(super) fn close_again(&mut self, failed: u64) {
        if let Some(closing) = &mut self.closing
            && closing.ticket == Some(failed)
        {
            closing.ticket = None;
        }
    }

    pub(super) fn show_bill(&mut self, bill: ClosedBill) {
        self.bills.insert((bill.month, bill.meter), bill);
        while self.bills.len() > Self::BILLS_MAX {
            self.bills.pop_first();
        }
    }
}
