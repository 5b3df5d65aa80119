//! An attacker at a port between our tiers: it speaks the envelope as if it were a tier.
//!
//! Where tiers authenticate each other it never gets past the handshake. Where they do not, what it
//! says as a gateway is still screened; what it says as an edge is not, which is why tiers must.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gridloom_core::{
    Instant, IntervalReading, IntervalValues, MeterId, MillivarHours, MillivoltAmpereHours,
    Millivolts, MilliwattHours, Now, Period, ReadingStatus, Seed, SystemTitle, Wake, Watts, seed,
};
use gridloom_dlms::push::BillingStatus;
use gridloom_dlms::security::Keys;
use gridloom_edge::{AcceptedReading, LinkQuality, Path, Reasons, Scores, ScreenedReading};
use gridloom_field::attack::{Act, Attack, AttackLog, Deed, Kind, Line, Way, Window, forge};
use rand_core::Rng as _;

use crate::envelope::{Message, Role, Uplink};

/// What it pretends to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntruderRole {
    /// A gateway, to an edge.
    Gateway,
    /// An edge, to a utility.
    Edge,
}

/// What an intruder is told.
#[derive(Debug, Clone)]
pub struct IntruderPlan {
    /// What it pretends to be.
    pub role: IntruderRole,
    /// Meters in whose name it speaks.
    pub victims: Vec<(MeterId, SystemTitle)>,
    /// Their capture period.
    pub period: Period,
    /// Whether the envelope's length goes before it: on a byte stream, not in the simulator.
    pub is_framed: bool,
    /// The time between two messages, at least [`Intruder::GAP_MIN`].
    pub gap: Duration,
    /// Messages in all.
    pub messages_max: u64,
    /// When.
    pub window: Window,
    /// What it draws from.
    pub seed: Seed,
}

/// The attacker.
#[derive(Debug)]
pub struct Intruder {
    plan: IntruderPlan,
    rng: seed::Rng,
    log: AttackLog,
    /// Lines, and whether it has greeted on them.
    lines: BTreeMap<Line, bool>,
    due: Option<Instant>,
    sent: u64,
    outbox: VecDeque<Act>,
}

impl Intruder {
    /// The least time between two messages.
    pub const GAP_MIN: Duration = Duration::from_micros(100);

    /// An intruder.
    ///
    /// # Panics
    ///
    /// If the plan's rate is out of range.
    pub fn new(plan: IntruderPlan) -> Self {
        assert!(
            plan.gap >= Self::GAP_MIN,
            "an intruder sends a message in {:?} at most",
            Self::GAP_MIN
        );
        Self {
            rng: plan.seed.child("intruder").rng(),
            log: AttackLog::new(Kind::Intruder),
            lines: BTreeMap::new(),
            due: None,
            sent: 0,
            outbox: VecDeque::new(),
            plan,
        }
    }

    fn say(&mut self, line: Line, message: &Message, now: Now) {
        let body = message.encode();
        let frame = if self.plan.is_framed {
            let length = u32::try_from(body.len()).expect("a short message");
            [&length.to_be_bytes()[..], &body].concat()
        } else {
            body
        };
        self.log.note(Deed::Sent, &frame, now.utc);
        self.outbox.push_back(Act::Send {
            line,
            way: Way::Up,
            frame,
        });
    }

    fn lie(&mut self, now: Now) -> Message {
        let count = u64::try_from(self.plan.victims.len())
            .unwrap_or(u64::MAX)
            .max(1);
        let at = usize::try_from(self.rng.next_u64() % count).unwrap_or(0);
        let (meter, title) = self
            .plan
            .victims
            .get(at)
            .copied()
            .unwrap_or((MeterId(1), SystemTitle(*b"GLM\0\0\0\0\x01")));
        let energy_wh = u32::try_from(self.rng.next_u64() % 900).expect("below 900");
        let counter = u32::MAX / 2 + u32::try_from(self.sent % 1_000_000).expect("below a million");
        match self.plan.role {
            IntruderRole::Gateway => {
                let mut key = || {
                    let mut bytes = [0; 16];
                    self.rng.fill_bytes(&mut bytes);
                    bytes
                };
                let keys = Keys::new(key(), key());
                let push = forge::push(self.plan.period, now.utc, energy_wh, energy_wh);
                Message::Uplink(Uplink {
                    path: self.sent % 64,
                    received: now.utc,
                    link: LinkQuality::default(),
                    frame: forge::seal(&keys, title, counter, &push),
                })
            }
            IntruderRole::Edge => {
                let energy = i64::from(energy_wh) * 1_000;
                let accepted = AcceptedReading {
                    title,
                    counter,
                    reading: IntervalReading {
                        meter,
                        period: self.plan.period,
                        end: self.plan.period.end_of_interval_at(now.utc),
                        status: ReadingStatus::GOOD,
                        values: IntervalValues {
                            import: MilliwattHours::new(energy),
                            export: MilliwattHours::ZERO,
                            reactive: [0; 4].map(MillivarHours::new),
                            apparent: MillivoltAmpereHours::new(energy),
                            voltage: Millivolts::new(230_000),
                        },
                        import_register: MilliwattHours::new(energy),
                    },
                    power: Watts::new(0),
                    billing: BillingStatus::default(),
                };
                Message::Screened(vec![ScreenedReading {
                    accepted,
                    scores: Scores::FULL,
                    reasons: Reasons::NONE,
                    path: Path {
                        gateway: 1,
                        down: 1,
                    },
                    link: LinkQuality::default(),
                }])
            }
        }
    }
}

impl Attack for Intruder {
    fn handle_line_up(&mut self, line: Line, now: Now) {
        self.lines.insert(line, false);
        if self.sent < self.plan.messages_max {
            self.due.get_or_insert(now.instant);
        }
    }

    fn handle_line_down(&mut self, line: Line, _: Now) {
        self.lines.remove(&line);
    }

    fn handle_frame(&mut self, line: Line, way: Way, frame: Vec<u8>, _: Now) {
        self.outbox.push_back(Act::Send { line, way, frame });
    }

    fn handle_overheard(&mut self, _: &[u8], _: Now) {}

    fn handle_timeout(&mut self, now: Now) {
        if self.due.take_if(|due| *due <= now.instant).is_none() {
            return;
        }
        if self.sent >= self.plan.messages_max || now.utc >= self.plan.window.until {
            return;
        }
        self.due = Some(now.instant + self.plan.gap);
        if !self.plan.window.contains(now.utc) {
            self.due = Some(now.instant + self.plan.gap.max(Duration::from_secs(1)));
            return;
        }
        let Some(line) = self.lines.keys().next().copied() else {
            return;
        };
        if !std::mem::replace(self.lines.entry(line).or_default(), true) {
            let hello = match self.plan.role {
                IntruderRole::Gateway => Message::hello(Role::Gateway, "gateway-1"),
                IntruderRole::Edge => Message::hello(Role::Edge, "edge-1"),
            };
            self.say(line, &hello, now);
        }
        self.sent += 1;
        let message = self.lie(now);
        self.say(line, &message, now);
    }

    fn poll_output(&mut self) -> Option<Act> {
        self.outbox.pop_front()
    }

    fn wake(&self) -> Wake {
        Wake {
            instant: self.due.map(|at| (at, "say the next lie")),
            utc: None,
        }
    }

    fn log(&self) -> &AttackLog {
        &self.log
    }
}
