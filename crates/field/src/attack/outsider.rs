//! An attacker with lines of its own and no place on the path: whatever it knows it has overheard,
//! guessed or, if it is a clone, copied.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, Now, Period, Seed, SystemTitle, Wake, seed};
use rand_core::Rng as _;

use super::forge::{self, Identity, below};
use super::record::{counter_of, title_of};
use super::{Act, Attack, AttackLog, Deed, Kind, Line, Way, Window};

/// What an outsider is told.
#[derive(Debug, Clone)]
pub struct OutsiderPlan {
    /// What it does: one of [`Outsider::KINDS`].
    pub kind: Kind,
    /// Titles that it knows: they travel in clear.
    pub victims: Vec<SystemTitle>,
    /// Of a clone: whom it copied.
    pub cloned: Option<Identity>,
    /// The capture period that its forged pushes claim.
    pub period: Period,
    /// The time between two frames over all lines, at least [`Outsider::GAP_MIN`].
    pub gap: Duration,
    /// Frames in all; then it is done.
    pub frames_max: u64,
    /// When.
    pub window: Window,
    /// What it draws from.
    pub seed: Seed,
}

/// The attacker.
#[derive(Debug)]
pub struct Outsider {
    plan: OutsiderPlan,
    rng: seed::Rng,
    log: AttackLog,
    /// Its lines, with what each has still to say byte by byte.
    lines: BTreeMap<Line, usize>,
    /// The line that is served last.
    turn: Option<Line>,
    overheard: VecDeque<Vec<u8>>,
    /// The highest counter overheard of each title.
    counters: BTreeMap<SystemTitle, u32>,
    register_wh: u32,
    due: Option<Instant>,
    sent: u64,
    outbox: VecDeque<Act>,
}

impl Outsider {
    /// What an outsider can do.
    pub const KINDS: [Kind; 7] = [
        Kind::Replay,
        Kind::Spoof,
        Kind::Clone,
        Kind::Flood,
        Kind::Slowloris,
        Kind::Malformed,
        Kind::KeyGuess,
    ];

    /// The least time between two frames.
    pub const GAP_MIN: Duration = Duration::from_micros(10);

    /// What it sends at one moment, if it was woken late; the rest is never made up for.
    pub const BURST_MAX: u32 = 256;

    /// Frames that it keeps of those it overheard; beyond it the oldest is forgotten.
    pub const OVERHEARD_MAX: usize = 256;

    /// Titles whose counters it follows; of further ones it knows nothing.
    pub const TITLES_MAX: usize = 4_096;

    /// An outsider.
    ///
    /// # Panics
    ///
    /// If the kind is not one of [`Self::KINDS`], the rate is out of range, or a clone has nobody
    /// to be.
    pub fn new(plan: OutsiderPlan) -> Self {
        assert!(
            Self::KINDS.contains(&plan.kind),
            "{} is no outsider",
            plan.kind
        );
        assert!(
            plan.gap >= Self::GAP_MIN,
            "an outsider sends a frame in {:?} at most",
            Self::GAP_MIN
        );
        assert!(
            plan.cloned.is_some() || plan.kind != Kind::Clone,
            "a clone is somebody's"
        );
        Self {
            rng: plan.seed.child("outsider").rng(),
            log: AttackLog::new(plan.kind),
            lines: BTreeMap::new(),
            turn: None,
            overheard: VecDeque::new(),
            counters: BTreeMap::new(),
            register_wh: 0,
            due: None,
            sent: 0,
            outbox: VecDeque::new(),
            plan,
        }
    }

    /// Whether it has sent all that it may.
    pub fn is_done(&self) -> bool {
        self.sent >= self.plan.frames_max
    }

    fn victim(&mut self) -> SystemTitle {
        let at = below(&mut self.rng, self.plan.victims.len());
        match self.plan.victims.get(at) {
            Some(title) => *title,
            None => self.stranger(),
        }
    }

    fn stranger(&mut self) -> SystemTitle {
        SystemTitle::new(*b"XXA", self.rng.next_u64() >> 24)
    }

    fn forged_push(&mut self, now: Now) -> Vec<u8> {
        let energy = u32::try_from(below(&mut self.rng, 900)).unwrap_or(0);
        self.register_wh = self.register_wh.saturating_add(energy);
        // The interval that is over.
        let period = self.plan.period;
        let end = period.end_of_interval_at(now.utc) - period.duration();
        forge::push(period, end, energy, self.register_wh)
    }

    /// A frame under a victim's title and the wrong keys, with a counter that the edge waits for.
    fn forged_for(
        &mut self,
        title: SystemTitle,
        keys: &gridloom_dlms::security::Keys,
        now: Now,
    ) -> Vec<u8> {
        let known = self.counters.get(&title).copied().unwrap_or(0);
        let ahead = u32::try_from(1 + below(&mut self.rng, 1_000)).unwrap_or(1);
        let push = self.forged_push(now);
        forge::seal(keys, title, known.saturating_add(ahead), &push)
    }

    fn spoofed(&mut self, now: Now) -> Vec<u8> {
        let title = if self.rng.next_u64().is_multiple_of(2) {
            self.stranger()
        } else {
            self.victim()
        };
        let keys = forge::random_keys(&mut self.rng);
        self.forged_for(title, &keys, now)
    }

    fn replayed(&mut self) -> Option<Vec<u8>> {
        let at = below(&mut self.rng, self.overheard.len());
        self.overheard.get(at).cloned()
    }

    fn cloned_push(&mut self, now: Now) -> Vec<u8> {
        let push = self.forged_push(now);
        let known = |identity: &Identity| self.counters.get(&identity.title).copied();
        let identity = self.plan.cloned.as_mut().expect("a clone is somebody's");
        let known = known(identity).unwrap_or(0);
        identity.counter = identity.counter.max(known);
        identity.seal(&push)
    }

    /// The next byte of a frame that never ends: it announces 65 000 bytes.
    fn drip(&mut self, line: Line) -> Vec<u8> {
        const HEAD: [u8; 8] = [0, 1, 0, 1, 0, 102, 0xFD, 0xE8];
        let at = self.lines.entry(line).or_insert(0);
        let byte = HEAD.get(*at).copied().unwrap_or(0xDB);
        *at += 1;
        vec![byte]
    }

    fn next_frame(&mut self, line: Line, now: Now) -> Option<(Deed, Vec<u8>)> {
        let sent = |frame| Some((Deed::Sent, frame));
        match self.plan.kind {
            Kind::Replay => Some((Deed::Repeated, self.replayed()?)),
            Kind::Spoof => sent(self.spoofed(now)),
            Kind::Clone => sent(self.cloned_push(now)),
            Kind::Slowloris => sent(self.drip(line)),
            Kind::Malformed => {
                let sample = self.replayed().unwrap_or_default();
                sent(forge::malformed(&sample, &mut self.rng))
            }
            Kind::KeyGuess => {
                let title = self.victim();
                let keys = forge::guess(self.sent, title, &mut self.rng);
                sent(self.forged_for(title, &keys, now))
            }
            Kind::Flood => match self.rng.next_u64() % 4 {
                0 => match self.replayed() {
                    Some(frame) => Some((Deed::Repeated, frame)),
                    None => sent(self.spoofed(now)),
                },
                1 => sent(forge::wrap(&forge::noise(&mut self.rng, 200))),
                _ => sent(self.spoofed(now)),
            },
            Kind::Eavesdrop
            | Kind::Tamper
            | Kind::Inject
            | Kind::FloodInside
            | Kind::Insider
            | Kind::Gateway
            | Kind::Intruder => unreachable!("not made as an outsider"),
        }
    }

    fn send_one(&mut self, now: Now) {
        let after = self
            .turn
            .and_then(|turn| self.lines.range(turn..).map(|(line, _)| *line).nth(1));
        let Some(line) = after.or_else(|| self.lines.keys().next().copied()) else {
            return;
        };
        self.turn = Some(line);
        if let Some((deed, frame)) = self.next_frame(line, now) {
            self.log.note(deed, &frame, now.utc);
            self.sent += 1;
            self.outbox.push_back(Act::Send {
                line,
                way: Way::Up,
                frame,
            });
        }
    }
}

impl Attack for Outsider {
    fn handle_line_up(&mut self, line: Line, now: Now) {
        self.lines.insert(line, 0);
        if !self.is_done() {
            self.due.get_or_insert(now.instant);
        }
    }

    fn handle_line_down(&mut self, line: Line, _: Now) {
        self.lines.remove(&line);
    }

    /// It stands beside the path; where it is put on it all the same, it listens.
    fn handle_frame(&mut self, line: Line, way: Way, frame: Vec<u8>, now: Now) {
        self.handle_overheard(&frame, now);
        self.outbox.push_back(Act::Send { line, way, frame });
    }

    fn handle_overheard(&mut self, frame: &[u8], now: Now) {
        let (Some(title), Some(counter)) = (title_of(frame), counter_of(frame)) else {
            return;
        };
        self.log.note(Deed::Overheard, frame, now.utc);
        if self.counters.len() < Self::TITLES_MAX || self.counters.contains_key(&title) {
            let known = self.counters.entry(title).or_insert(0);
            *known = counter.max(*known);
        }
        if self.overheard.len() == Self::OVERHEARD_MAX {
            self.overheard.pop_front();
        }
        self.overheard.push_back(frame.to_vec());
    }

    fn handle_timeout(&mut self, now: Now) {
        let mut left = Self::BURST_MAX;
        while let Some(due) = self.due.filter(|due| *due <= now.instant) {
            if self.is_done() || now.utc >= self.plan.window.until {
                self.due = None;
            } else if !self.plan.window.contains(now.utc) || left == 0 || self.lines.is_empty() {
                // Nothing to make up for when the window opens, or a line comes back.
                let pause = if left == 0 {
                    self.plan.gap
                } else {
                    self.plan.gap.max(Self::PATIENCE)
                };
                self.due = Some(now.instant + pause);
            } else {
                left -= 1;
                self.due = Some(due + self.plan.gap);
                self.send_one(now);
            }
        }
    }

    fn poll_output(&mut self) -> Option<Act> {
        self.outbox.pop_front()
    }

    fn wake(&self) -> Wake {
        Wake {
            instant: self.due.map(|at| (at, "send the next frame")),
            utc: None,
        }
    }

    fn log(&self) -> &AttackLog {
        &self.log
    }
}

impl Outsider {
    /// How long it waits before it looks again whether it may begin.
    const PATIENCE: Duration = Duration::from_millis(200);
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_core::UtcTime;
    use gridloom_dlms::security::{CipherContext, CipheredApdu, Keys, Policy};
    use gridloom_dlms::wrapper;

    const VICTIM: SystemTitle = SystemTitle(*b"GLMmetr1");
    const LINES: [Line; 2] = [Line(1), Line(2)];

    fn now(millis: u64) -> Now {
        Now {
            instant: Instant::from_nanos(millis * 1_000_000),
            utc: UtcTime::from_secs(1_777_593_600) + Duration::from_millis(millis),
        }
    }

    fn true_keys() -> Keys {
        Keys::new([0xA1; 16], [0xB2; 16])
    }

    fn honest() -> Vec<u8> {
        forge::seal(
            &true_keys(),
            VICTIM,
            41,
            &forge::push(Period::HALF_HOUR, now(0).utc, 1, 1),
        )
    }

    fn outsider(kind: Kind) -> Outsider {
        let mut outsider = Outsider::new(OutsiderPlan {
            kind,
            victims: vec![VICTIM],
            cloned: Some(Identity {
                title: VICTIM,
                keys: true_keys(),
                counter: 0,
            }),
            period: Period::HALF_HOUR,
            gap: Duration::from_millis(10),
            frames_max: 500,
            window: Window::ALWAYS,
            seed: Seed::new(5),
        });
        outsider.handle_overheard(&honest(), now(0));
        for line in LINES {
            outsider.handle_line_up(line, now(0));
        }
        outsider
    }

    fn sent(outsider: &mut Outsider, until: u64) -> Vec<(Line, Vec<u8>)> {
        let mut all = Vec::new();
        for millis in (0..=until).step_by(10) {
            outsider.handle_timeout(now(millis));
            while let Some(Act::Send {
                line,
                way: Way::Up,
                frame,
            }) = outsider.poll_output()
            {
                all.push((line, frame));
            }
        }
        all
    }

    fn opens(frame: &[u8]) -> Option<SystemTitle> {
        let whole = wrapper::Frame::decode(frame).ok()?;
        let apdu = CipheredApdu::decode(whole.apdu).ok()?;
        let context = CipherContext::new(&true_keys());
        let mut plain = Vec::new();
        let opened = context.open(&apdu, Policy::AuthenticatedEncryption, &mut plain);
        opened.is_ok().then_some(apdu.title)
    }

    #[test]
    fn each_kind_keeps_its_rate_its_bound_and_its_lines() {
        for kind in Outsider::KINDS {
            let mut outsider = outsider(kind);
            let first = sent(&mut outsider, 990);
            assert_eq!(first.len(), 100, "{kind}");
            for line in LINES {
                assert_eq!(
                    first.iter().filter(|(on, _)| *on == line).count(),
                    50,
                    "{kind}"
                );
            }
            assert!(first.iter().all(|(_, frame)| !frame.is_empty()), "{kind}");
            let rest = sent(&mut outsider, 20_000);
            assert_eq!(first.len() + rest.len(), 500, "{kind}");
            assert!(outsider.is_done());
            assert_eq!(outsider.wake(), Wake::default());
            assert_eq!(outsider.log().harmful(), 500);
        }
    }

    #[test]
    fn only_a_clone_and_a_replay_carry_a_tag_that_verifies() {
        for kind in Outsider::KINDS {
            let frames = sent(&mut outsider(kind), 4_000);
            let valid = frames
                .iter()
                .filter(|(_, frame)| opens(frame).is_some())
                .count();
            match kind {
                Kind::Clone | Kind::Replay => assert_eq!(valid, frames.len(), "{kind}"),
                // Among other things it replays what it has heard.
                Kind::Flood => {
                    let old = frames
                        .iter()
                        .filter(|(_, frame)| *frame == honest())
                        .count();
                    assert_eq!(valid, old);
                }
                Kind::Spoof
                | Kind::Slowloris
                | Kind::Malformed
                | Kind::KeyGuess
                | Kind::Eavesdrop
                | Kind::Tamper
                | Kind::Inject
                | Kind::FloodInside
                | Kind::Insider
                | Kind::Gateway
                | Kind::Intruder => assert_eq!(valid, 0, "{kind}"),
            }
        }
    }

    #[test]
    fn a_guess_claims_a_counter_that_the_edge_waits_for() {
        let frames = sent(&mut outsider(Kind::KeyGuess), 500);
        assert!(frames.iter().all(|(_, frame)| {
            title_of(frame) == Some(VICTIM) && counter_of(frame).is_some_and(|counter| counter > 41)
        }));
    }

    #[test]
    fn a_slow_line_says_one_byte_at_a_time_and_never_a_whole_frame() {
        let frames = sent(&mut outsider(Kind::Slowloris), 4_000);
        let on_first: Vec<u8> = frames
            .iter()
            .filter(|(line, _)| *line == LINES[0])
            .flat_map(|(_, frame)| frame.clone())
            .collect();
        assert!(frames.iter().all(|(_, frame)| frame.len() == 1));
        let mut deframer = wrapper::Deframer::new(wrapper::APDU_MAX);
        deframer.push(&on_first).unwrap();
        assert_eq!(deframer.pull().unwrap(), None);
    }

    #[test]
    fn without_a_line_it_waits_and_makes_nothing_up() {
        let mut outsider = outsider(Kind::Spoof);
        for line in LINES {
            outsider.handle_line_down(line, now(0));
        }
        assert_eq!(sent(&mut outsider, 3_000), []);
        outsider.handle_line_up(LINES[0], now(3_000));
        outsider.handle_timeout(now(4_000));
        let burst = std::iter::from_fn(|| outsider.poll_output()).count();
        assert!(burst <= 101, "{burst}");
    }
}
