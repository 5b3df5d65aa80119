//! The third step: tag, counter, content, clock. All or nothing.
//!
//! An alert passes with an implausible clock: that may be what it is about. It is marked.

use std::time::Duration;

use gridloom_core::{Period, UtcTime};
use gridloom_dlms::alert::AlertPush;
use gridloom_dlms::apdu::{Apdu, DataAccessResult, DataNotification, EventNotification, InvokeId};
use gridloom_dlms::counter::{FreshCounter, ReceiveCounter};
use gridloom_dlms::push::IntervalPush;
use gridloom_dlms::security::{CipherContext, CipheredApdu, Policy};

use crate::alarm::{AlarmNumber, MeterAlarm};
use crate::reason::Reason;
use crate::registry::{DeviceIndex, Registry};

/// The tag of a `DataNotification`.
const DATA_NOTIFICATION: u8 = 0x0F;

/// What a verified packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// An interval. Boxes nothing: it lives for one packet.
    Push(IntervalPush),
    /// The answer to a SET.
    SetAnswer { invoke_id: InvokeId, accepted: bool },
    /// An alarm; its APDU is the plaintext. An event may have no time of its own.
    Alarm {
        number: AlarmNumber,
        time: Option<UtcTime>,
        is_ahead: bool,
    },
    /// Nothing that is listened to.
    Nothing,
}

/// Checked before the tag because it is cheap, committed after it because a forged frame with a
/// high counter must not lock the true meter out.
pub(crate) fn fresh(
    believed: &ReceiveCounter,
    packet: &CipheredApdu<'_>,
) -> Result<FreshCounter, Reason> {
    believed.check(packet.counter).map_err(|_| Reason::Replayed)
}

/// The plaintext, if the tag verifies.
pub(crate) fn open<'p>(
    registry: &Registry,
    device: DeviceIndex,
    packet: &CipheredApdu<'_>,
    plain: &'p mut Vec<u8>,
) -> Result<&'p [u8], Reason> {
    let policy = Policy::AuthenticatedEncryption;
    match registry.raw_keys(device) {
        Some(keys) => keys.open(packet, policy, plain),
        None => CipherContext::new(&registry.keys(device)).open(packet, policy, plain),
    }
    .map_err(|_| Reason::BadTag)
}

/// What the plaintext says, if it is something that this meter may say now.
pub(crate) fn read(
    plain: &[u8],
    counter: u32,
    period: Period,
    clock_ahead: Duration,
    now: UtcTime,
) -> Result<Said, Reason> {
    // Nearly everything is a push, and its decoder alone is cheaper than that of every service.
    if plain.first() == Some(&DATA_NOTIFICATION) {
        let notification = DataNotification::decode(plain).map_err(|_| Reason::Malformed)?;
        if AlertPush::is_alert(notification.invoke_id) {
            let alert = AlertPush::decode(notification.body).map_err(|_| Reason::Malformed)?;
            let number = AlarmNumber::Alert(notification.invoke_id);
            return alarm(plain, number, Some(alert.time), now + clock_ahead);
        }
        let push = IntervalPush::decode(notification.body).map_err(|_| Reason::Malformed)?;
        if push.period != period {
            return Err(Reason::WrongPeriod);
        }
        if push.end > now + clock_ahead {
            return Err(Reason::ClockAhead);
        }
        return Ok(Said::Push(push));
    }
    match Apdu::decode(plain) {
        Ok(Apdu::SetResponseNormal(response)) => Ok(Said::SetAnswer {
            invoke_id: response.invoke_id,
            accepted: response.result == DataAccessResult::Success,
        }),
        Ok(Apdu::EventNotification(EventNotification { time, .. })) => {
            // A time that is none is no reason to lose the event.
            let time = time.and_then(|time| time.to_utc().ok());
            alarm(plain, AlarmNumber::Event(counter), time, now + clock_ahead)
        }
        Ok(_) => Err(Reason::Unexpected),
        Err(_) => Err(Reason::Malformed),
    }
}

/// The interval in a plaintext, if it is one.
pub(crate) fn interval(plain: &[u8]) -> Option<IntervalPush> {
    let notification = DataNotification::decode(plain).ok()?;
    IntervalPush::decode(notification.body).ok()
}

fn alarm(
    plain: &[u8],
    number: AlarmNumber,
    time: Option<UtcTime>,
    latest: UtcTime,
) -> Result<Said, Reason> {
    if plain.len() > MeterAlarm::APDU_MAX {
        return Err(Reason::Malformed);
    }
    Ok(Said::Alarm {
        number,
        time,
        is_ahead: time.is_some_and(|time| time > latest),
    })
}
