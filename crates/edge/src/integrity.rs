//! The third step: tag, counter, content, clock. All or nothing.

use std::time::Duration;

use gridloom_core::{Period, UtcTime};
use gridloom_dlms::apdu::{Apdu, DataAccessResult, DataNotification, InvokeId};
use gridloom_dlms::counter::{FreshCounter, ReceiveCounter};
use gridloom_dlms::push::IntervalPush;
use gridloom_dlms::security::{CipherContext, CipheredApdu, Policy};

use crate::reason::Reason;

/// The tag of a `DataNotification`.
const DATA_NOTIFICATION: u8 = 0x0F;

/// What a verified packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// An interval. Boxes nothing: it lives for one packet.
    Push(IntervalPush),
    /// The answer to a SET.
    SetAnswer { invoke_id: InvokeId, accepted: bool },
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
    context: &CipherContext,
    packet: &CipheredApdu<'_>,
    plain: &'p mut Vec<u8>,
) -> Result<&'p [u8], Reason> {
    context
        .open(packet, Policy::AuthenticatedEncryption, plain)
        .map_err(|_| Reason::BadTag)
}

/// What the plaintext says, if it is something that this meter may say now.
pub(crate) fn read(
    plain: &[u8],
    period: Period,
    clock_ahead: Duration,
    now: UtcTime,
) -> Result<Said, Reason> {
    // Nearly everything is a push, and its decoder alone is cheaper than that of every service.
    if plain.first() == Some(&DATA_NOTIFICATION) {
        let notification = DataNotification::decode(plain).map_err(|_| Reason::Malformed)?;
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
        Ok(_) => Err(Reason::Unexpected),
        Err(_) => Err(Reason::Malformed),
    }
}
