//! Talking: pushes, acknowledgements, requests, and frames that are not believed.

use gridloom_core::{MilliwattHours, Money, Now, UtcTime};
use gridloom_dlms::alert::AlertPush;
use gridloom_dlms::apdu::{
    Apdu, ApduError, DataAccessResult, DataNotificationConfirm, ExceptionResponse, ServiceError,
    SetResponseNormal, StateError,
};
use gridloom_dlms::push::{BillingStatus, ClosedMonth, IntervalPush};
use gridloom_dlms::security::SecurityError;

use super::{Event, Meter, Output, Owed};
use crate::keeper::Urgency;
use crate::link::FrameError;

impl Meter {
    /// The push of an interval, with the bill as it stands now.
    pub(super) fn push_of(&self, end: UtcTime) -> Vec<u8> {
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
    pub(super) fn answer(&mut self, plain: &[u8]) {
        match self.link.seal(plain) {
            Ok(frame) => self.outbox.push_back(Output::Send { frame }),
            Err(_) => self.counters.answers_dropped += 1,
        }
    }

    pub(super) fn answer_apdu(&mut self, apdu: &Apdu<'_>) {
        let mut plain = Vec::new();
        apdu.encode(&mut plain);
        self.answer(&plain);
    }

    /// An APDU of the edge.
    pub(super) fn request(&mut self, plain: &[u8], now: Now) {
        match Apdu::decode(plain) {
            Ok(Apdu::DataNotificationConfirm(confirm)) => self.confirmed(confirm, now),
            Ok(Apdu::SetRequestNormal(request)) => {
                let result = self.set(&request, now);
                let response = Apdu::SetResponseNormal(SetResponseNormal {
                    invoke_id: request.invoke_id,
                    result,
                });
                if result == DataAccessResult::Success {
                    let mut plain = Vec::new();
                    response.encode(&mut plain);
                    self.keeper.touch(Urgency::Now, now);
                    self.owe(Owed::Answer(plain));
                } else {
                    self.counters.sets_refused += 1;
                    self.answer_apdu(&response);
                }
            }
            Ok(apdu) if apdu.is_request() => {
                self.refuse_service(
                    StateError::ServiceNotAllowed,
                    ServiceError::ServiceNotSupported,
                );
            }
            // Not requests: nobody waits for an answer.
            Ok(_) => self.counters.unsupported += 1,
            Err(error) => {
                let unknown = matches!(
                    error,
                    ApduError::UnknownTag { .. } | ApduError::UnsupportedChoice { .. }
                );
                let service = if unknown {
                    ServiceError::ServiceNotSupported
                } else {
                    ServiceError::OtherReason
                };
                self.refuse_service(StateError::ServiceUnknown, service);
                self.outbox
                    .push_back(Output::Event(Event::RequestRefused(error)));
            }
        }
    }

    pub(super) fn refuse_service(&mut self, state: StateError, service: ServiceError) {
        self.counters.unsupported += 1;
        self.answer_apdu(&Apdu::ExceptionResponse(ExceptionResponse {
            state,
            service,
        }));
    }

    /// The utility has an interval, or an alert.
    pub(super) fn confirmed(&mut self, confirm: DataNotificationConfirm, now: Now) {
        if AlertPush::is_alert(confirm.invoke_id) {
            self.confirmed_alert(confirm.invoke_id.number(), now);
            return;
        }
        let end = self.profile.end_of_invoke_id(confirm.invoke_id);
        if let Some(end) = end {
            // Also a push that was asked for again.
            self.schedule.remove(end);
        }
        match end.filter(|end| self.profile.acknowledge(*end)) {
            Some(end) => {
                self.counters.acknowledged += 1;
                self.last_ack = self.last_ack.max(Some(end));
                self.keeper.touch_entry(end, Urgency::Soon, now);
            }
            None => self.counters.acknowledged_again += 1,
        }
    }

    pub(super) fn refuse_frame(&mut self, error: FrameError) {
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
