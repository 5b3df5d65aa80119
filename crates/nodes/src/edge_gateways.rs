//! The gateways that have two edges: which of them have their meters here, and which links have
//! gone silent.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::Instant;

use crate::node::LinkId;

/// Intervals without a heartbeat after which a link is closed that had them: more than a gateway
/// allows itself, which is to notice first.
const SILENT_INTERVALS: u32 = 5;

/// The shortest interval that is believed.
const EVERY_MIN: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// Its meters are behind this edge.
    Active,
    /// They were, and answers to what they sent still go that way.
    Draining { until: Instant },
    /// They are behind another edge.
    Standby,
}

#[derive(Debug)]
struct Seat {
    name: String,
    duty: Duty,
    silent_at: Option<Instant>,
}

/// What an edge's duty for a gateway's meters has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is as it was.
    None,
    /// They are here now; the gateway is called so.
    Taken(String),
    /// They are elsewhere, and never were here.
    Elsewhere,
}

/// The links of gateways that have told their names.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    seats: BTreeMap<LinkId, Seat>,
}

impl Gateways {
    /// How long answers still go to a gateway that went to another edge.
    pub(crate) const DRAIN: Duration = Duration::from_secs(10);

    /// A gateway told its name; its meters are here until it says otherwise.
    pub(crate) fn greeted(&mut self, link: LinkId, name: String) {
        let duty = Duty::Active;
        let silent_at = None;
        let seat = Seat {
            name,
            duty,
            silent_at,
        };
        self.seats.insert(link, seat);
    }

    pub(crate) fn gone(&mut self, link: LinkId) {
        self.seats.remove(&link);
    }

    /// A heartbeat came, and the next one comes after `every_ms`.
    pub(crate) fn beat(&mut self, link: LinkId, every_ms: u32, now: Instant) {
        if let Some(seat) = self.seats.get_mut(&link) {
            let every = Duration::from_millis(every_ms.into()).max(EVERY_MIN);
            seat.silent_at = Some(now + every * SILENT_INTERVALS);
        }
    }

    /// A gateway says whether its meters are here. What it said first comes with its name, so
    /// there is nothing to drain then.
    pub(crate) fn turn(
        &mut self,
        link: LinkId,
        is_active: bool,
        has_way: bool,
        now: Instant,
    ) -> Turn {
        let Some(seat) = self.seats.get_mut(&link) else {
            return Turn::None;
        };
        match (seat.duty, is_active) {
            (Duty::Active, true) | (Duty::Standby | Duty::Draining { .. }, false) => Turn::None,
            (Duty::Draining { .. }, true) => {
                seat.duty = Duty::Active;
                Turn::None
            }
            (Duty::Standby, true) => {
                seat.duty = Duty::Active;
                Turn::Taken(seat.name.clone())
            }
            (Duty::Active, false) if has_way => {
                let until = now + Self::DRAIN;
                seat.duty = Duty::Draining { until };
                Turn::None
            }
            (Duty::Active, false) => {
                seat.duty = Duty::Standby;
                Turn::Elsewhere
            }
        }
    }

    /// Gateways whose answers have all had their time: nothing goes down there any more.
    pub(crate) fn drained(&mut self, now: Instant) -> Vec<LinkId> {
        let mut drained = Vec::new();
        for (link, seat) in &mut self.seats {
            if let Duty::Draining { until } = seat.duty
                && until <= now
            {
                seat.duty = Duty::Standby;
                drained.push(*link);
            }
        }
        drained
    }

    /// Links on which heartbeats have stopped; each is told once.
    pub(crate) fn silent(&mut self, now: Instant) -> Vec<LinkId> {
        let mut silent = Vec::new();
        for (link, seat) in &mut self.seats {
            if seat.silent_at.take_if(|at| *at <= now).is_some() {
                silent.push(*link);
            }
        }
        silent
    }

    pub(crate) fn wake(&self) -> Option<(Instant, &'static str)> {
        let due = self.seats.values().flat_map(|seat| {
            let drained = match seat.duty {
                Duty::Draining { until } => Some((until, "a gateway's answers have gone")),
                Duty::Active | Duty::Standby => None,
            };
            let silent = seat.silent_at.map(|at| (at, "a gateway is silent"));
            [drained, silent]
        });
        due.flatten().min()
    }
}
