//! The machine in the middle: between a meter and its gateway, or inside the gateway itself.
//!
//! It has no keys. It hears every frame and passes it on, or flips, cuts, edits, drops, delays or
//! repeats it. What it lets out is a wrapped APDU again, as a competent attacker's frame is.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, Now, Seed, Wake, seed};
use gridloom_dlms::wrapper;
use rand_core::Rng as _;

use super::forge::below;
use super::{Act, Attack, AttackLog, Deed, Kind, Line, Way, Window};

/// How often what happens to a frame, in thousandths; together at most 1 000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meddling {
    /// One to eight bits change.
    pub flip: u16,
    /// The APDU loses its end.
    pub cut: u16,
    /// Title, counter, security control or a port changes on purpose.
    pub edit: u16,
    /// The frame is withheld.
    pub withhold: u16,
    /// It is passed on later, so that others overtake it.
    pub delay: u16,
    /// It is passed on twice.
    pub repeat: u16,
    /// It is passed on, and an older one is sent behind it.
    pub replay: u16,
    /// The longest delay.
    pub delay_max: Duration,
    /// Whether what comes down to the meter is treated in the same way.
    pub both_ways: bool,
}

impl Meddling {
    /// Passes everything and reads along.
    pub const LISTEN: Self = Self {
        flip: 0,
        cut: 0,
        edit: 0,
        withhold: 0,
        delay: 0,
        repeat: 0,
        replay: 0,
        delay_max: Duration::ZERO,
        both_ways: false,
    };

    /// Changes three frames in four, either way.
    pub const TAMPER: Self = Self {
        flip: 300,
        cut: 200,
        edit: 250,
        both_ways: true,
        ..Self::LISTEN
    };

    /// Sends an older frame behind every second.
    pub const REPLAY: Self = Self {
        replay: 500,
        ..Self::LISTEN
    };

    /// A gateway under somebody's control.
    pub const GATEWAY: Self = Self {
        flip: 50,
        cut: 50,
        edit: 50,
        withhold: 200,
        delay: 250,
        repeat: 150,
        delay_max: Duration::from_secs(120),
        both_ways: true,
        ..Self::LISTEN
    };

    fn total(&self) -> u32 {
        [
            self.flip,
            self.cut,
            self.edit,
            self.withhold,
            self.delay,
            self.repeat,
            self.replay,
        ]
        .map(u32::from)
        .iter()
        .sum()
    }
}

/// The attacker on the path.
#[derive(Debug)]
pub struct Middle {
    meddling: Meddling,
    window: Window,
    rng: seed::Rng,
    log: AttackLog,
    /// Frames that went up, for a replay.
    past: VecDeque<Vec<u8>>,
    delayed: BTreeMap<(Instant, u64), (Line, Way, Vec<u8>)>,
    sequence: u64,
    outbox: VecDeque<Act>,
}

impl Middle {
    /// Frames kept for a replay; beyond it the oldest is forgotten.
    pub const PAST_MAX: usize = 256;

    /// Frames held back at once; beyond it they are passed on without delay.
    pub const DELAYED_MAX: usize = 1_024;

    /// An attacker that meddles within a window.
    ///
    /// # Panics
    ///
    /// If the thousandths add up to more than 1 000.
    pub fn new(kind: Kind, meddling: Meddling, window: Window, seed: Seed) -> Self {
        assert!(
            meddling.total() <= 1_000,
            "{meddling:?} does more than always"
        );
        Self {
            meddling,
            window,
            rng: seed.child("middle").rng(),
            log: AttackLog::new(kind),
            past: VecDeque::new(),
            delayed: BTreeMap::new(),
            sequence: 0,
            outbox: VecDeque::new(),
        }
    }

    fn pass(&mut self, line: Line, way: Way, frame: Vec<u8>) {
        self.outbox.push_back(Act::Send { line, way, frame });
    }

    fn meddle(&mut self, line: Line, way: Way, frame: Vec<u8>, now: Now) {
        let m = self.meddling;
        let mut drawn = u16::try_from(below(&mut self.rng, 1_000)).expect("below a thousand");
        let mut is = |share: u16| {
            let hit = drawn < share;
            drawn = if hit { u16::MAX } else { drawn - share };
            hit
        };
        if is(m.flip) {
            let altered = self.altered(&frame, Self::flip);
            self.pass_altered(line, way, frame, altered, now);
        } else if is(m.cut) {
            let altered = self.altered(&frame, Self::cut);
            self.pass_altered(line, way, frame, altered, now);
        } else if is(m.edit) {
            let altered = self.altered(&frame, Self::edit);
            self.pass_altered(line, way, frame, altered, now);
        } else if is(m.withhold) {
            self.log.note(Deed::Withheld, &frame, now.utc);
        } else if is(m.delay) && self.delayed.len() < Self::DELAYED_MAX {
            self.log.note(Deed::Delayed, &frame, now.utc);
            let most = usize::try_from(m.delay_max.as_millis()).unwrap_or(usize::MAX);
            let millis = 1 + u64::try_from(below(&mut self.rng, most)).unwrap_or(0);
            self.sequence += 1;
            let key = (now.instant + Duration::from_millis(millis), self.sequence);
            self.delayed.insert(key, (line, way, frame));
        } else if is(m.repeat) {
            self.log.note(Deed::Repeated, &frame, now.utc);
            self.pass(line, way, frame.clone());
            self.pass(line, way, frame);
        } else if is(m.replay) && !self.past.is_empty() {
            self.pass(line, way, frame);
            let at = below(&mut self.rng, self.past.len());
            let old = self.past[at].clone();
            self.log.note(Deed::Repeated, &old, now.utc);
            self.pass(line, Way::Up, old);
        } else {
            self.log.note(Deed::Overheard, &frame, now.utc);
            self.pass(line, way, frame);
        }
    }

    fn pass_altered(
        &mut self,
        line: Line,
        way: Way,
        frame: Vec<u8>,
        altered: Option<Vec<u8>>,
        now: Now,
    ) {
        match altered {
            Some(altered) => {
                self.log.note(Deed::Altered, &altered, now.utc);
                self.pass(line, way, altered);
            }
            None => self.pass(line, way, frame),
        }
    }

    /// The frame with a changed APDU, as far as the change keeps it, in a header that fits; `None` if it is no frame, or the
    /// change changed nothing.
    fn altered(
        &mut self,
        frame: &[u8],
        change: fn(&mut Self, &mut [u8]) -> usize,
    ) -> Option<Vec<u8>> {
        let whole = wrapper::Frame::decode(frame).ok()?;
        let mut apdu = whole.apdu.to_vec();
        let kept = change(self, &mut apdu);
        apdu.truncate(kept);
        let altered = wrapper::Frame {
            apdu: &apdu,
            ..whole
        }
        .to_bytes();
        (altered != frame).then_some(altered)
    }

    fn flip(&mut self, apdu: &mut [u8]) -> usize {
        for _ in 0..=below(&mut self.rng, 8) {
            let at = below(&mut self.rng, apdu.len());
            apdu[at] ^= 1 << below(&mut self.rng, 8);
        }
        apdu.len()
    }

    fn cut(&mut self, apdu: &mut [u8]) -> usize {
        1 + below(&mut self.rng, apdu.len().saturating_sub(1))
    }

    /// Edits the header of a general-glo-ciphering APDU: tag, length, title (2–9), length, control,
    /// counter. In anything else, some byte.
    fn edit(&mut self, apdu: &mut [u8]) -> usize {
        const GENERAL_GLO: u8 = 0xDB;
        let control = match apdu.get(10) {
            Some(long) if *long > 0x80 => 11 + usize::from(long & 0x7F),
            Some(_) | None => 11,
        };
        let is_ciphered = apdu.first() == Some(&GENERAL_GLO) && apdu.len() > control + 5;
        match self.rng.next_u64() % 4 {
            _ if !is_ciphered => {
                let at = below(&mut self.rng, apdu.len());
                apdu[at] = apdu[at].wrapping_add(1);
            }
            // A neighbour's title.
            0 => apdu[9] = apdu[9].wrapping_add(1),
            // A fresh counter.
            1 => apdu[control + 4] = apdu[control + 4].wrapping_add(1),
            // "It was never authenticated."
            2 => apdu[control] = 0x20,
            // "It was never ciphered."
            _ => apdu[control] = 0x00,
        }
        apdu.len()
    }
}

impl Attack for Middle {
    fn handle_line_up(&mut self, _: Line, _: Now) {}

    fn handle_line_down(&mut self, line: Line, _: Now) {
        self.delayed.retain(|_, (of, _, _)| *of != line);
    }

    fn handle_frame(&mut self, line: Line, way: Way, frame: Vec<u8>, now: Now) {
        if !self.window.contains(now.utc) || (way == Way::Down && !self.meddling.both_ways) {
            self.pass(line, way, frame);
            return;
        }
        if way == Way::Up && self.meddling.replay > 0 {
            if self.past.len() == Self::PAST_MAX {
                self.past.pop_front();
            }
            self.past.push_back(frame.clone());
        }
        self.meddle(line, way, frame, now);
    }

    fn handle_overheard(&mut self, frame: &[u8], now: Now) {
        self.log.note(Deed::Overheard, frame, now.utc);
    }

    fn handle_timeout(&mut self, now: Now) {
        while let Some(entry) = self.delayed.first_entry()
            && entry.key().0 <= now.instant
        {
            let (line, way, frame) = entry.remove();
            self.pass(line, way, frame);
        }
    }

    fn poll_output(&mut self) -> Option<Act> {
        self.outbox.pop_front()
    }

    fn wake(&self) -> Wake {
        Wake {
            instant: self
                .delayed
                .keys()
                .next()
                .map(|(at, _)| (*at, "pass on what was delayed")),
            utc: None,
        }
    }

    fn log(&self) -> &AttackLog {
        &self.log
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge;
    use super::*;
    use gridloom_core::{Period, SystemTitle, UtcTime};
    use gridloom_dlms::security::Keys;

    const NOW: Now = Now {
        instant: Instant::ZERO,
        utc: UtcTime::from_secs(1_777_593_600),
    };
    const LINE: Line = Line(1);

    fn frame(counter: u32) -> Vec<u8> {
        let push = forge::push(Period::HALF_HOUR, NOW.utc, 100, 100 * counter);
        forge::seal(
            &Keys::new([1; 16], [2; 16]),
            SystemTitle(*b"GLMmetr1"),
            counter,
            &push,
        )
    }

    fn run(meddling: Meddling, window: Window, count: u32) -> (Middle, Vec<Vec<u8>>) {
        let mut middle = Middle::new(Kind::Tamper, meddling, window, Seed::new(7));
        let mut out = Vec::new();
        for counter in 1..=count {
            middle.handle_frame(LINE, Way::Up, frame(counter), NOW);
            while let Some(Act::Send { line, way, frame }) = middle.poll_output() {
                assert_eq!((line, way), (LINE, Way::Up));
                wrapper::Frame::decode(&frame).unwrap();
                out.push(frame);
            }
        }
        (middle, out)
    }

    #[test]
    fn what_it_does_is_what_it_says_it_did() {
        let honest: Vec<_> = (1..=1_000).map(frame).collect();
        let (middle, out) = run(Meddling::LISTEN, Window::ALWAYS, 1_000);
        assert_eq!(out, honest);
        assert_eq!(
            (middle.log().count(Deed::Overheard), middle.log().harmful()),
            (1_000, 0)
        );

        let (middle, out) = run(Meddling::TAMPER, Window::ALWAYS, 1_000);
        let changed = out.iter().zip(&honest).filter(|(a, b)| a != b).count() as u64;
        assert_eq!(changed, middle.log().count(Deed::Altered));
        assert!((650..850).contains(&changed), "{changed}");

        let (middle, out) = run(Meddling::REPLAY, Window::ALWAYS, 1_000);
        assert_eq!(out.len() as u64, 1_000 + middle.log().count(Deed::Repeated));

        let (mut middle, out) = run(Meddling::GATEWAY, Window::ALWAYS, 1_000);
        let log = middle.log();
        for deed in [Deed::Altered, Deed::Withheld, Deed::Delayed, Deed::Repeated] {
            assert!(log.count(deed) > 50, "{deed:?}");
        }
        let (late, lost, twice) = (
            log.count(Deed::Delayed),
            log.count(Deed::Withheld),
            log.count(Deed::Repeated),
        );
        assert_eq!(out.len() as u64, 1_000 + twice - late - lost);
        let after = Meddling::GATEWAY.delay_max + Duration::from_millis(1);
        middle.handle_timeout(Now {
            instant: NOW.instant + after,
            ..NOW
        });
        assert_eq!(
            std::iter::from_fn(|| middle.poll_output()).count() as u64,
            late
        );
        assert_eq!(middle.wake(), Wake::default());
    }

    #[test]
    fn outside_its_window_it_is_honest() {
        let window = Window {
            from: NOW.utc + Duration::from_secs(1),
            ..Window::ALWAYS
        };
        let (middle, out) = run(Meddling::TAMPER, window, 100);
        assert_eq!(out, (1..=100).map(frame).collect::<Vec<_>>());
        assert_eq!(middle.log().records(), []);
    }

    #[test]
    fn delayed_frames_are_bounded_and_go_with_their_line() {
        let meddling = Meddling {
            delay: 1_000,
            delay_max: Duration::from_secs(9),
            ..Meddling::LISTEN
        };
        let most = u32::try_from(Middle::DELAYED_MAX).unwrap();
        let (mut middle, out) = run(meddling, Window::ALWAYS, most + 5);
        assert_eq!(out.len(), 5);
        middle.handle_line_down(LINE, NOW);
        assert_eq!(middle.wake(), Wake::default());
    }
}
