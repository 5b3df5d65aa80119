//! An attacker with a meter's valid keys: a meter whose program was changed, or a computer that
//! took its place.
//!
//! On the path it opens what the meter pushes, changes what it says and seals it anew under a
//! counter of its own, so that nothing but the content can give it away. On a line of its own it
//! speaks in the meter's name. Either way it may send more than a meter has to say.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::{Instant, MilliwattHours, Now, Period, Seed, Wake, seed};
use gridloom_dlms::apdu::DataNotification;
use gridloom_dlms::push::IntervalPush;
use gridloom_dlms::security::{CipherContext, CipheredApdu, Policy};
use gridloom_dlms::wrapper::{self, WPort};

use super::forge::{self, Identity, below};
use super::record::counter_of;
use super::{Act, Attack, AttackLog, Deed, Kind, Line, Way, Window};

/// What it makes of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// The register is set back by so many watt-hours; the energies stay.
    Rollback {
        /// By how much.
        watt_hours: u32,
    },
    /// The energies shrink to a share in thousandths; whoever did it forgot the register.
    Scaled {
        /// The share.
        permille: u16,
    },
    /// The energies shrink, and the register grows by no more than they say.
    Share {
        /// The share in thousandths.
        permille: u16,
    },
}

/// What it sends besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Nothing.
    None,
    /// Requests to the edge, which asked for none.
    Requests,
    /// Pushes of old intervals, again and again.
    Pushes,
}

/// What an insider is told.
#[derive(Debug, Clone)]
pub struct InsiderPlan {
    /// Which kind its deeds are recorded as.
    pub kind: Kind,
    /// Whose keys it has. On the path its counter follows what the meter used.
    pub identity: Identity,
    /// The meter's capture period.
    pub period: Period,
    /// What it changes, on the path.
    pub lie: Option<Lie>,
    /// What it adds.
    pub excess: Excess,
    /// The time between two of those, at least [`Insider::GAP_MIN`].
    pub gap: Duration,
    /// When.
    pub window: Window,
    /// What it draws from.
    pub seed: Seed,
}

/// The attacker.
#[derive(Debug)]
pub struct Insider {
    plan: InsiderPlan,
    rng: seed::Rng,
    log: AttackLog,
    line: Option<Line>,
    due: Option<Instant>,
    sent: u64,
    /// Energy that it has hidden so far, by what it has said of the newest intervals; a retry says
    /// the same again.
    said: VecDeque<IntervalPush>,
    hidden_wh: u64,
    register_wh: u32,
    outbox: VecDeque<Act>,
}

impl Insider {
    /// The least time between two frames that it adds.
    pub const GAP_MIN: Duration = Duration::from_micros(10);

    /// What it sends at one moment, if it was woken late; the rest is never made up for.
    pub const BURST_MAX: u32 = 256;

    /// Intervals whose lie it remembers; of an older one it tells the truth.
    pub const SAID_MAX: usize = 512;

    /// An insider.
    ///
    /// # Panics
    ///
    /// If the plan's gap is below [`Self::GAP_MIN`].
    pub fn new(plan: InsiderPlan) -> Self {
        assert!(
            plan.gap >= Self::GAP_MIN,
            "an insider sends a frame in {:?} at most",
            Self::GAP_MIN
        );
        Self {
            rng: plan.seed.child("insider").rng(),
            log: AttackLog::new(plan.kind),
            plan,
            line: None,
            due: None,
            sent: 0,
            said: VecDeque::new(),
            hidden_wh: 0,
            register_wh: 0,
            outbox: VecDeque::new(),
        }
    }

    fn start(&mut self, line: Line, now: Now) {
        self.line = Some(line);
        if self.plan.excess != Excess::None && self.due.is_none() {
            self.due = Some(now.instant);
        }
    }

    /// The APDU in a frame of this meter, if it is one that its keys open.
    fn open(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let whole = wrapper::Frame::decode(frame).ok()?;
        if whole.destination != WPort::PRE_ESTABLISHED_CLIENT {
            return None;
        }
        let apdu = CipheredApdu::decode(whole.apdu).ok()?;
        if apdu.title != self.plan.identity.title {
            return None;
        }
        let mut plain = Vec::new();
        CipherContext::new(&self.plan.identity.keys)
            .open(&apdu, Policy::AuthenticatedEncryption, &mut plain)
            .ok()?;
        Some(plain)
    }

    /// What the meter shall have said instead; `None` if it is no push, or stays as it is.
    fn falsified(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        let lie = self.plan.lie?;
        let notification = DataNotification::decode(plain).ok()?;
        let mut push = IntervalPush::decode(notification.body).ok()?;
        if let Some(before) = self.said.iter().find(|said| said.end == push.end) {
            // Energy and register as they were said; the bill and the prices move on.
            push.values = before.values;
            push.import_register = before.import_register;
        } else {
            self.lie_about(&mut push, lie);
            if self.said.len() == Self::SAID_MAX {
                self.said.pop_front();
            }
            self.said.push_back(push);
        }
        let mut out = Vec::new();
        push.encode_notification(&mut out).ok()?;
        Some(out)
    }

    fn lie_about(&mut self, push: &mut IntervalPush, lie: Lie) {
        let register = push.import_register.get();
        let lowered = |wh: u64| {
            let milli = i64::try_from(wh).unwrap_or(i64::MAX).saturating_mul(1_000);
            MilliwattHours::new((register - milli).max(0))
        };
        match lie {
            Lie::Rollback { watt_hours } => push.import_register = lowered(watt_hours.into()),
            Lie::Scaled { permille } => {
                shrink(push, permille);
            }
            Lie::Share { permille } => {
                self.hidden_wh += shrink(push, permille);
                push.import_register = lowered(self.hidden_wh);
            }
        }
    }

    fn send(&mut self, plain: &[u8], now: Now) {
        let Some(line) = self.line else { return };
        let frame = self.plan.identity.seal(plain);
        self.log.note(Deed::Sent, &frame, now.utc);
        self.sent += 1;
        self.outbox.push_back(Act::Send {
            line,
            way: Way::Up,
            frame,
        });
    }

    fn send_more(&mut self, now: Now) {
        match self.plan.excess {
            Excess::None => {}
            Excess::Requests => self.send(&forge::request(self.sent), now),
            Excess::Pushes => {
                // Intervals of the last ten days.
                let back = u32::try_from(below(&mut self.rng, 480)).unwrap_or(0);
                let end = now.utc - self.plan.period.duration() * back;
                let energy = u32::try_from(below(&mut self.rng, 900)).unwrap_or(0);
                self.register_wh = self.register_wh.saturating_add(energy);
                let push = forge::push(self.plan.period, end, energy, self.register_wh);
                self.send(&push, now);
            }
        }
    }
}

/// Shrinks the energies to a share; how many watt-hours of import are gone.
fn shrink(push: &mut IntervalPush, permille: u16) -> u64 {
    let share = |milli: i64| milli / 1_000 * i64::from(permille) / 1_000 * 1_000;
    let before = push.values.import.get();
    let mut channels = push.values.to_array();
    let last = channels.len() - 1;
    for channel in &mut channels[..last] {
        *channel = share(*channel);
    }
    push.values = gridloom_core::IntervalValues::from_array(channels);
    u64::try_from((before - push.values.import.get()) / 1_000).unwrap_or(0)
}

impl Attack for Insider {
    fn handle_line_up(&mut self, line: Line, now: Now) {
        self.start(line, now);
    }

    fn handle_line_down(&mut self, line: Line, _: Now) {
        if self.line == Some(line) {
            self.line = None;
        }
    }

    fn handle_frame(&mut self, line: Line, way: Way, frame: Vec<u8>, now: Now) {
        if way == Way::Down {
            self.outbox.push_back(Act::Send { line, way, frame });
            return;
        }
        self.start(line, now);
        let own = &mut self.plan.identity;
        if let Some(counter) = counter_of(&frame) {
            own.counter = own.counter.max(counter.saturating_sub(1));
        }
        // Once it has used a counter of its own, everything must be sealed anew.
        let frame = match self.open(&frame) {
            Some(plain) => {
                let falsified = if self.plan.window.contains(now.utc) {
                    self.falsified(&plain)
                } else {
                    None
                };
                let is_false = falsified.is_some();
                let frame = self.plan.identity.seal(&falsified.unwrap_or(plain));
                if is_false {
                    self.log.note(Deed::Altered, &frame, now.utc);
                }
                frame
            }
            None => frame,
        };
        self.outbox.push_back(Act::Send { line, way, frame });
    }

    fn handle_overheard(&mut self, _: &[u8], _: Now) {}

    fn handle_timeout(&mut self, now: Now) {
        let mut left = Self::BURST_MAX;
        while let Some(due) = self.due.filter(|due| *due <= now.instant) {
            if left == 0 {
                self.due = Some(now.instant + self.plan.gap);
                break;
            }
            left -= 1;
            self.due = Some(due + self.plan.gap);
            if now.utc >= self.plan.window.until {
                self.due = None;
            } else if self.plan.window.contains(now.utc) {
                self.send_more(now);
            } else {
                // Nothing to make up for when the window opens.
                self.due = Some(now.instant + self.plan.gap.max(Duration::from_secs(60)));
                break;
            }
        }
    }

    fn poll_output(&mut self) -> Option<Act> {
        self.outbox.pop_front()
    }

    fn wake(&self) -> Wake {
        Wake {
            instant: self.due.map(|at| (at, "send in excess")),
            utc: None,
        }
    }

    fn log(&self) -> &AttackLog {
        &self.log
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_core::{SystemTitle, UtcTime};
    use gridloom_dlms::security::Keys;

    const TITLE: SystemTitle = SystemTitle(*b"GLMmetr1");
    const LINE: Line = Line(4);
    const PERIOD: Period = Period::HALF_HOUR;

    fn keys() -> Keys {
        Keys::new([1; 16], [2; 16])
    }

    fn now(seconds: u64) -> Now {
        Now {
            instant: Instant::from_nanos(seconds * 1_000_000_000),
            utc: UtcTime::from_secs(1_777_593_600) + Duration::from_secs(seconds),
        }
    }

    fn insider(lie: Option<Lie>, excess: Excess, window: Window) -> Insider {
        Insider::new(InsiderPlan {
            kind: Kind::Inject,
            identity: Identity {
                title: TITLE,
                keys: keys(),
                counter: 0,
            },
            period: PERIOD,
            lie,
            excess,
            gap: Duration::from_millis(100),
            window,
            seed: Seed::new(1),
        })
    }

    /// What comes out when the meter pushes interval `n` of 100 Wh under a counter.
    fn through(insider: &mut Insider, n: u32, counter: u32) -> (u32, IntervalPush) {
        let end = now(0).utc + PERIOD.duration() * n;
        let push = forge::push(PERIOD, end, 100, 100 * n);
        let frame = forge::seal(&keys(), TITLE, counter, &push);
        insider.handle_frame(LINE, Way::Up, frame, now(0));
        let Some(Act::Send {
            line: LINE,
            way: Way::Up,
            frame,
        }) = insider.poll_output()
        else {
            panic!("nothing came out")
        };
        let plain = insider.open(&frame).unwrap();
        let body = DataNotification::decode(&plain).unwrap().body.to_vec();
        (
            counter_of(&frame).unwrap(),
            IntervalPush::decode(&body).unwrap(),
        )
    }

    #[test]
    fn each_lie_says_what_it_is_meant_to_and_says_it_again() {
        // Energy and register of the first, the second, and the second again.
        let cases = [
            (None, [(100, 100), (100, 200), (100, 200)]),
            (
                Some(Lie::Rollback { watt_hours: 50 }),
                [(100, 50), (100, 150), (100, 150)],
            ),
            (
                Some(Lie::Scaled { permille: 300 }),
                [(30, 100), (30, 200), (30, 200)],
            ),
            (
                Some(Lie::Share { permille: 300 }),
                [(30, 30), (30, 60), (30, 60)],
            ),
        ];
        for (lie, expected) in cases {
            let mut insider = insider(lie, Excess::None, Window::ALWAYS);
            let mut last = 0;
            for ((n, counter), (energy, register)) in
                [(1, 7), (2, 8), (2, 9)].into_iter().zip(expected)
            {
                let (used, push) = through(&mut insider, n, counter);
                let got = (
                    push.values.import.get() / 1_000,
                    push.import_register.get() / 1_000,
                );
                assert_eq!(got, (energy, register), "{lie:?}, interval {n}");
                assert!(used > last, "{lie:?}");
                last = used;
            }
            let altered = if lie.is_some() { 3 } else { 0 };
            assert_eq!(insider.log().count(Deed::Altered), altered);
        }
    }

    #[test]
    fn it_sends_at_its_rate_and_its_meter_goes_on_above_its_counters() {
        for excess in [Excess::Requests, Excess::Pushes] {
            let mut insider = insider(None, excess, Window::ALWAYS);
            insider.handle_line_up(LINE, now(0));
            insider.handle_timeout(now(1));
            let frames: Vec<_> = std::iter::from_fn(|| insider.poll_output()).collect();
            assert_eq!(frames.len(), 11);
            for act in &frames {
                let Act::Send { frame, .. } = act;
                assert!(insider.open(frame).is_some(), "its keys are valid");
            }
            let (used, _) = through(&mut insider, 1, 3);
            assert_eq!(used, 12);
        }
    }

    #[test]
    fn late_it_makes_up_for_a_burst_at_most_and_after_its_window_it_is_silent() {
        let window = Window {
            from: now(0).utc,
            until: now(1_000).utc,
        };
        let mut insider = insider(None, Excess::Requests, window);
        insider.handle_line_up(LINE, now(0));
        insider.handle_timeout(now(900));
        let sent = std::iter::from_fn(|| insider.poll_output()).count();
        assert_eq!(sent, usize::try_from(Insider::BURST_MAX).unwrap());
        insider.handle_timeout(now(1_000));
        assert_eq!(
            (insider.poll_output(), insider.wake()),
            (None, Wake::default())
        );
    }
}
