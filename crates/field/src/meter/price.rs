//! Prices: what a SET of the charge object does.

use gridloom_core::{Now, Price, UtcTime};
use gridloom_dlms::apdu::{DataAccessResult, SetRequestNormal};
use gridloom_dlms::charge::{ChargeError, ChargeTable, UNIT_CHARGE_PASSIVE};

use super::Meter;
use crate::keeper::Urgency;
use crate::memory::AHEAD_MAX;

/// What becomes of one price of a table.
enum Fate {
    /// Its interval is captured and unpriced.
    Apply,
    /// Its interval is not over.
    Keep,
    /// The same price is known, or this meter has no such interval and never will.
    Nothing,
}

impl Meter {
    /// Carries out a SET, all of it or nothing.
    pub(super) fn set(&mut self, request: &SetRequestNormal, now: Now) -> DataAccessResult {
        let table = match ChargeTable::from_set_request(request) {
            Ok(table) => table,
            Err(error) => return refusal(&error),
        };
        if self.waiting_answers() >= Self::ANSWERS_MAX || self.keeper.is_behind() {
            return DataAccessResult::TemporaryFailure;
        }
        let mut fates = Vec::with_capacity(table.entries.len());
        let mut room = AHEAD_MAX - self.ahead.len();
        for entry in &table.entries {
            let fate = match self.fate(entry.end, entry.price) {
                Ok(fate) => fate,
                Err(result) => return result,
            };
            if matches!(fate, Fate::Keep) {
                match room.checked_sub(1) {
                    Some(left) => room = left,
                    None => return DataAccessResult::TemporaryFailure,
                }
            }
            fates.push(fate);
        }
        for (entry, fate) in table.entries.iter().zip(fates) {
            match fate {
                Fate::Apply => self.apply_price(entry.end, entry.price, now),
                Fate::Keep => {
                    self.ahead.insert(entry.end, entry.price);
                }
                Fate::Nothing => self.counters.prices_without_effect += 1,
            }
        }
        self.close_months();
        DataAccessResult::Success
    }

    /// A captured interval gets its price and enters the bill.
    pub(super) fn apply_price(&mut self, end: UtcTime, price: Price, now: Now) {
        let entry = self.profile.set_price(end, price);
        let charge = entry.charge().expect("it has a price");
        let month = self.config.period.day_of(end).month();
        self.bill.priced(month, charge);
        self.unpriced.remove(&end);
        self.counters.priced += 1;
        self.keeper.touch_entry(end, Urgency::Now, now);
    }

    fn fate(&self, end: UtcTime, price: Price) -> Result<Fate, DataAccessResult> {
        if self.config.period.slot_of(end).is_none() {
            return Err(DataAccessResult::OtherReason);
        }
        if let Some(entry) = self.profile.get(end) {
            return match entry.price() {
                None => Ok(Fate::Apply),
                Some(known) if known == price => Ok(Fate::Nothing),
                // A price is decided once: a second one is somebody's error.
                Some(_) => Err(DataAccessResult::ReadWriteDenied),
            };
        }
        match self.ahead.get(&end) {
            Some(known) if *known == price => Ok(Fate::Nothing),
            Some(_) => Err(DataAccessResult::ReadWriteDenied),
            None if end >= self.interval_end => Ok(Fate::Keep),
            None => Ok(Fate::Nothing),
        }
    }
}

fn refusal(error: &ChargeError) -> DataAccessResult {
    if let ChargeError::Attribute(asked) = error {
        if asked.instance != UNIT_CHARGE_PASSIVE.instance {
            DataAccessResult::ObjectUndefined
        } else if asked.class_id != UNIT_CHARGE_PASSIVE.class_id {
            DataAccessResult::ObjectClassInconsistent
        } else {
            DataAccessResult::ReadWriteDenied
        }
    } else if matches!(error, ChargeError::Shape { .. }) {
        DataAccessResult::TypeUnmatched
    } else {
        DataAccessResult::OtherReason
    }
}
