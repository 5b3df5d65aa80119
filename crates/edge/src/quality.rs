//! The sixth step: how well the link carried a packet.

use gridloom_core::UtcTime;

use crate::reason::{Reason, Reasons};
use crate::score::Score;

/// What the link knew about a packet. What it does not know counts for nobody and against nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkQuality {
    /// When the gateway had it.
    pub received: Option<UtcTime>,
    /// Packets lost of the last hundred.
    pub lost_percent: Option<u8>,
    /// How often this packet was sent again.
    pub retransmissions: Option<u8>,
    /// How long the meter took to answer, in milliseconds.
    pub response_ms: Option<u32>,
    /// Received signal strength, in dBm.
    pub signal_dbm: Option<i16>,
}

/// Below this a link is called poor.
const POOR: u16 = 5_000;
/// A response up to here costs nothing: the slowest p95 of our links (power line, `PRIME`).
const RESPONSE_MS_MAX: u32 = 4_000;
/// A signal from here on costs nothing; sensitivity of sub-GHz mesh radios is near −105 dBm.
const SIGNAL_DBM_MIN: i16 = -100;

/// Q, and a reason if it is poor.
///
/// One per cent lost costs 1 %, a repetition 8 %, each second of delay beyond four 5 %, each dB
/// below −100 dBm 2 %.
pub(crate) fn judge(link: &LinkQuality) -> (Score, Reasons) {
    let late_s = link
        .response_ms
        .unwrap_or(0)
        .saturating_sub(RESPONSE_MS_MAX)
        / 1_000;
    let weak_db = SIGNAL_DBM_MIN
        .saturating_sub(link.signal_dbm.unwrap_or(SIGNAL_DBM_MIN))
        .max(0)
        .unsigned_abs();
    let cost = u32::from(link.lost_percent.unwrap_or(0)) * 100
        + u32::from(link.retransmissions.unwrap_or(0)) * 800
        + late_s.min(20) * 500
        + u32::from(weak_db.min(50)) * 200;
    let score = Score::FULL.less(u16::try_from(cost).unwrap_or(u16::MAX));
    let reasons = if score.get() < POOR {
        Reasons::of(Reason::PoorLink)
    } else {
        Reasons::NONE
    };
    (score, reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_costs_what_it_loses_repeats_delays_and_weakens() {
        let cases = [
            ((None, None, None, None), 10_000),
            ((Some(5), None, None, None), 9_500),
            ((None, Some(2), None, None), 8_400),
            ((None, None, Some(4_999), Some(-100)), 10_000),
            ((None, None, Some(7_000), Some(-110)), 6_500),
            ((Some(30), Some(3), None, None), 4_600),
            ((Some(255), Some(255), Some(u32::MAX), Some(i16::MIN)), 0),
        ];
        for ((lost_percent, retransmissions, response_ms, signal_dbm), score) in cases {
            let link = LinkQuality {
                lost_percent,
                retransmissions,
                response_ms,
                signal_dbm,
                ..LinkQuality::default()
            };
            let (found, reasons) = judge(&link);
            assert_eq!(found.get(), score, "{link:?}");
            assert_eq!(reasons.is_empty(), score >= POOR, "{link:?}");
        }
    }
}
