//! Ways in which a world breaks what must hold, once, so that its checkers can be seen to fire.
//!
//! No node does any of this: the world changes what it carries between them.

use std::time::Duration;

use gridloom_core::{MilliwattHours, Price};
use gridloom_headend::ReadingKey;
use gridloom_nodes::DiskRequest;
use gridloom_nodes::envelope::Message;
use gridloom_store::Effect;

use crate::link::LinkModel;

/// What the world does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A reading is lost between edge and utility, and acknowledged all the same (invariant 1).
    AcknowledgeTheLost,
    /// A reading is changed between edge and utility, where nobody verifies it (invariant 2).
    ForgeAReading,
    /// A price is changed between utility and edge (invariant 3).
    ForgeAPrice,
    /// A bill is written with another amount than its intervals come to (invariant 3).
    ForgeABill,
    /// An order that nobody gave goes out in the head-end's name (invariant 4).
    OrderByNobody,
    /// A frame is longer than any host carries (invariant 5).
    BloatAFrame,
    /// A packet as it came from a meter goes up from its edge (invariant 6).
    LeakAPacket,
}

impl Sabotage {
    /// It waits so long, until there is something to break.
    pub const AFTER: Duration = Duration::from_secs(6 * 3_600);

    /// Changes what goes up from the edge. Answers what the edge is told at once.
    pub(crate) fn above_edge(self, frame: &mut Vec<u8>) -> Option<Vec<u8>> {
        let Ok(Message::Screened(mut readings)) = Message::decode(frame) else {
            return None;
        };
        let mut answer = Vec::new();
        match self {
            Self::AcknowledgeTheLost => {
                let lost = readings.pop()?.accepted.reading;
                let key = ReadingKey {
                    meter: lost.meter,
                    period: lost.period,
                    end: lost.end,
                };
                answer = Message::Stored(vec![key]).encode();
            }
            Self::ForgeAReading => {
                let reading = &mut readings.first_mut()?.accepted.reading;
                reading.values.import += MilliwattHours::new(1_000);
            }
            Self::BloatAFrame => {
                frame.resize(LinkModel::FRAME_MAX + 1, 0);
                return Some(answer);
            }
            Self::ForgeAPrice | Self::ForgeABill | Self::OrderByNobody | Self::LeakAPacket => {
                return None;
            }
        }
        *frame = Message::Screened(readings).encode();
        Some(answer)
    }

    /// Changes what the utility tells its edge. Whether it did.
    pub(crate) fn below_utility(self, frame: &mut Vec<u8>) -> bool {
        let Ok(Message::Prices(mut points)) = Message::decode(frame) else {
            return false;
        };
        let Some(point) = points.first_mut().filter(|_| self == Self::ForgeAPrice) else {
            return false;
        };
        let dearer = Price::from_micro_per_kwh(point.price.micro_per_kwh() + 100);
        point.price = dearer.expect("a hundred more is a price");
        *frame = Message::Prices(points).encode();
        true
    }

    /// Changes what the utility writes. Whether it did.
    pub(crate) fn at_disk(self, request: &mut DiskRequest) -> bool {
        match request {
            DiskRequest::Ledger(Effect::Commit(batch)) if self == Self::ForgeABill => {
                let Some(bill) = batch.bills.first_mut() else {
                    return false;
                };
                bill.amount_minor += 1;
                true
            }
            DiskRequest::Ledger(_)
            | DiskRequest::Remember { .. }
            | DiskRequest::Query { .. }
            | DiskRequest::Spool(_)
            | DiskRequest::Archive { .. }
            | DiskRequest::Operations { .. }
            | DiskRequest::Pair(_) => false,
        }
    }
}
