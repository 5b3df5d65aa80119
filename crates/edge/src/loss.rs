//! Which share of the frames that a gateway's meters numbered never came: what is lost or withheld
//! below it stands out against its own past and against the other gateways.
//!
//! A meter gives every frame the next invocation counter, and repeats under a new one what nobody
//! confirmed. So between two believed frames that came one after the other by one and the same line
//! each counter that is missing is a frame that was sent and did not arrive. That is evidence and no
//! guess: a line that keeps its order and loses nothing has no gaps at all. A line that came up
//! anew, by which a meter was not heard last, proves nothing and is not counted.
//!
//! One meter whose frames are lost has a bad line; a gateway is named when the losses of a stretch
//! are shared by several of its meters.
//!
//! What did come and was refused, overtaken or carried on for somebody else is no loss: it is
//! taken off what is missing. Whoever withholds may hide so behind frames that are refused, and is
//! found by those.

use std::collections::BTreeMap;

use gridloom_core::UtcTime;

use crate::registry::{DeviceIndex, GatewayId};

/// A stretch of frames in which more was lost below a gateway than is usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// The gateway by which the frames came.
    pub gateway: GatewayId,
    /// When its first gap was seen.
    pub since: UtcTime,
    /// When its last one was.
    pub until: UtcTime,
    /// Frames that its meters had numbered.
    pub sent: u32,
    /// Those of them that never came.
    pub lost: u32,
    /// The share that is usually lost, here or at the other gateways, in thousandths.
    pub usual_milli: u32,
}

/// Frames that were numbered, and those that never came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tally {
    sent: u32,
    lost: u32,
}

/// What is known of one gateway.
#[derive(Debug, Clone, Default)]
struct Habit {
    /// Of stretches that were nothing unusual; halved at [`Losses::PAST_MAX`].
    past: Tally,
    /// Since [`Self::sum`] was zero.
    run: Tally,
    /// Whose frames were lost in it, and how many.
    losers: BTreeMap<DeviceIndex, u32>,
    since: UtcTime,
    /// Page's sum of lost frames above what is usual and half the shift, in thousandths of one.
    sum: i64,
    /// The window of the last frame, and the sum at its beginning.
    window: (i64, i64),
    /// Frames that came otherwise before their gap was seen.
    excused: u32,
    /// The frames of this window, and of those before.
    recent: [Tally; 3],
}

/// Watches the gateways that have a number.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    habits: BTreeMap<GatewayId, Habit>,
}

impl Losses {
    /// A wider gap says nothing: a meter skips what it had reserved when it starts again, or has
    /// talked to somebody else by another way.
    pub(crate) const GAP_MAX: u32 = 16;

    /// Frames from which a gateway's habit is learnt before it is judged.
    const LEARNT_AFTER: u32 = 16;

    /// Frames of the past that weigh. With as many both counts are halved.
    const PAST_MAX: u32 = 8_192;

    /// The past of a gateway that has none yet: two frames lost of twenty.
    const PRIOR: Tally = Tally { sent: 20, lost: 2 };

    /// Frames of a stretch. A longer one, in which one meter's line is bad all the time, is a habit.
    const RUN_MAX: u32 = 512;

    /// Meters of a stretch that are told apart; the losses of further ones are nobody's.
    const LOSERS_MAX: usize = 16;

    /// Half the shift that is looked for, in thousandths: four frames in ten.
    const HALF_SHIFT_MILLI: i64 = 200;

    /// A stretch of frames that stands out goes through so many windows of so many seconds.
    const WINDOWS_MIN: i64 = 3;
    const WINDOW_S: i64 = 900;

    /// Frames of other gateways, within these windows, from which their share counts.
    const OTHERS_MIN: u32 = 16;

    /// Frames that came otherwise are kept against so many gaps at most.
    const EXCUSED_MAX: u32 = 16;

    /// A frame was believed that came as its meter's last one did, after so many that are missing.
    /// The stretch that stands out, if one does; the next begins after it.
    pub(crate) fn heard(
        &mut self,
        gateway: GatewayId,
        device: DeviceIndex,
        gap: u32,
        now: UtcTime,
    ) -> Option<Loss> {
        if gap > Self::GAP_MAX {
            return None;
        }
        let habit = self.habits.entry(gateway).or_default();
        let excused = gap.min(habit.excused);
        habit.excused -= excused;
        let lost = gap - excused;
        habit.note(device, lost, now)?;
        let others = self.share_of_others(gateway, now);
        self.habits.get_mut(&gateway)?.end_run(gateway, others, now)
    }

    /// A frame of some meter came by this gateway, and was refused, overtaken or not for the edge.
    pub(crate) fn came_otherwise(&mut self, gateway: GatewayId) {
        let Some(habit) = self.habits.get_mut(&gateway) else {
            return;
        };
        if habit.run.lost > 0 {
            habit.run.lost -= 1;
            habit.sum = (habit.sum - 1_000).max(0);
        } else {
            habit.excused = (habit.excused + 1).min(Self::EXCUSED_MAX);
        }
    }

    /// What the other gateways lost in this window and the last two, in thousandths; `None` if they
    /// carried too little to say.
    fn share_of_others(&self, gateway: GatewayId, now: UtcTime) -> Option<i64> {
        let others = self.habits.iter().filter(|(id, _)| **id != gateway);
        let sum = others.fold(Tally::default(), |sum, (_, habit)| {
            habit
                .recently(window(now))
                .iter()
                .fold(sum, |sum, it| Tally {
                    sent: sum.sent.saturating_add(it.sent),
                    lost: sum.lost.saturating_add(it.lost),
                })
        });
        (sum.sent >= Self::OTHERS_MIN).then(|| sum.share_milli())
    }
}

fn window(now: UtcTime) -> i64 {
    now.as_secs().div_euclid(Losses::WINDOW_S)
}

impl Tally {
    fn share_milli(self) -> i64 {
        i64::from(self.lost) * 1_000 / i64::from(self.sent.max(1))
    }

    fn add(&mut self, more: Self) {
        self.sent = self.sent.saturating_add(more.sent);
        self.lost = self.lost.saturating_add(more.lost);
    }
}

impl Habit {
    /// Takes a frame and the gap before it; something if the run may stand out.
    ///
    /// S ← S + lost − (lost + 1) · (usual + δ/2), alarm at S ≥ h, as for missing meters
    /// ([`crate::silence`]). Within one window it rises by a third of h at most: noise on a power
    /// line takes frames in bursts, and is over in the next.
    fn note(&mut self, device: DeviceIndex, lost: u32, now: UtcTime) -> Option<()> {
        let frames = Tally {
            sent: lost + 1,
            lost,
        };
        let window = window(now);
        if self.window.0 != window {
            self.recent = self.recently(window);
            self.window = (window, self.sum);
        }
        self.recent[0].add(frames);
        if self.past.sent < Losses::LEARNT_AFTER {
            self.past.add(frames);
            return None;
        }
        if self.run == Tally::default() {
            self.since = now;
        }
        self.run.add(frames);
        if lost > 0 && (self.losers.len() < Losses::LOSERS_MAX || self.losers.contains_key(&device))
        {
            *self.losers.entry(device).or_default() += lost;
        }
        let usual = self.usual_milli();
        let rise =
            i64::from(lost) * 1_000 - i64::from(frames.sent) * (usual + Losses::HALF_SHIFT_MILLI);
        let most = self.window.1 + threshold(usual) / Losses::WINDOWS_MIN + 1;
        self.sum = (self.sum + rise).clamp(0, most.min(threshold(usual)));
        if self.sum == 0 || self.run.sent >= Losses::RUN_MAX {
            self.sum = 0;
            self.losers.clear();
            self.past.add(std::mem::take(&mut self.run));
            if self.past.sent >= Losses::PAST_MAX {
                self.past = Tally {
                    sent: self.past.sent / 2,
                    lost: self.past.lost / 2,
                };
            }
        }
        (self.sum >= threshold(usual) && !self.is_of_one_line()).then_some(())
    }

    /// Whether one meter lost more than three in four of what the run lost.
    fn is_of_one_line(&self) -> bool {
        let most = self.losers.values().max().copied().unwrap_or(0);
        most.saturating_mul(4) > self.run.lost.saturating_mul(3)
    }

    /// Ends a run that is unusual here; it stands out if it is unusual beside the others, too.
    /// What stood out teaches nothing: who goes on withholding stands out again.
    fn end_run(&mut self, gateway: GatewayId, others: Option<i64>, now: UtcTime) -> Option<Loss> {
        let run = std::mem::take(&mut self.run);
        self.losers.clear();
        self.sum = 0;
        self.window.1 = 0;
        let usual = self.usual_milli().max(others.unwrap_or(0));
        let above =
            i64::from(run.lost) * 1_000 - i64::from(run.sent) * (usual + Losses::HALF_SHIFT_MILLI);
        (above >= threshold(usual)).then(|| Loss {
            gateway,
            since: self.since,
            until: now,
            sent: run.sent,
            lost: run.lost,
            usual_milli: u32::try_from(usual).expect("a share"),
        })
    }

    fn usual_milli(&self) -> i64 {
        let mut known = Losses::PRIOR;
        known.add(self.past);
        known.share_milli()
    }

    /// The frames of a window and of the two before, newest first.
    fn recently(&self, window: i64) -> [Tally; 3] {
        let none = Tally::default();
        let [this, last, _] = self.recent;
        match window - self.window.0 {
            0 => self.recent,
            1 => [none, this, last],
            2 => [none, none, this],
            _ => [none; 3],
        }
    }
}

/// h, in thousandths of a frame: from 3 frames to 12, growing with what is usual.
fn threshold(usual_milli: i64) -> i64 {
    3_000 + (32 * usual_milli).min(9_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_core::Seed;
    use std::time::Duration;

    use rand_core::Rng as _;

    const METER: DeviceIndex = DeviceIndex(0);
    const START: i64 = 1_777_593_600;

    /// Gateways whose meters send a frame a minute in turn; a frame of this number is lost where
    /// `is_lost` says so of the gateway, the number and a draw of a thousand.
    fn alarms(
        seed: u64,
        (gateways, meters): (u16, u32),
        frames: u32,
        mut is_lost: impl FnMut(u16, u32, u32) -> bool,
    ) -> Vec<(u32, u16)> {
        let mut rng = Seed::new(seed).child("losses").rng();
        let mut losses = Losses::default();
        let mut gaps = BTreeMap::new();
        let mut found = Vec::new();
        for number in 0..frames {
            let now = UtcTime::from_secs(START + i64::from(number) * 60);
            for gateway in 0..gateways {
                let device = number % meters;
                let gap: &mut u32 = gaps.entry((gateway, device)).or_default();
                if is_lost(gateway, number, rng.next_u32() % 1_000) {
                    *gap += 1;
                    continue;
                }
                let loss = losses.heard(
                    GatewayId(gateway),
                    DeviceIndex(device),
                    std::mem::take(gap),
                    now,
                );
                found.extend(loss.map(|it| (number, it.gateway.0)));
            }
        }
        found
    }

    #[test]
    fn a_gateway_that_withholds_stands_out_soon() {
        for seed in 0..100 {
            // From its 40th frame on the second one drops half; mesh and power line lose besides.
            for (usual, latest) in [(0, 170), (50, 250)] {
                let found = alarms(seed, (3, 2), 400, |gateway, number, draw| {
                    draw < if gateway == 1 && number >= 40 {
                        500
                    } else {
                        usual
                    }
                });
                assert!(found.iter().all(|(_, at)| *at == 1), "{seed}: {found:?}");
                let first = found.first().map(|(number, _)| *number);
                assert!(
                    first.is_some_and(|it| (41..latest).contains(&it)),
                    "{seed}, {usual}: {first:?}"
                );
                assert!(found.len() > 1, "it goes on: {found:?}");
            }
        }
    }

    #[test]
    fn what_links_lose_is_no_alarm() {
        type Lost = fn(u16, u32, u32) -> bool;
        let cases: [(&str, Lost); 5] = [
            ("Wi-SUN, five hops", |_, _, draw| draw < 96),
            ("a tenth, and a gateway of TCP", |gateway, _, draw| {
                gateway > 0 && draw < 100
            }),
            ("three in twenty from the start", |_, _, draw| draw < 150),
            ("a storm over all", |_, number, draw| {
                draw < if (500..700).contains(&number) {
                    300
                } else {
                    20
                }
            }),
            (
                "an outage of one, shorter than a gap",
                |gateway, number, _| gateway == 0 && (300..310).contains(&number),
            ),
        ];
        for (name, is_lost) in cases {
            for seed in 0..100 {
                assert_eq!(
                    alarms(seed, (4, 3), 3_000, is_lost),
                    [],
                    "{name}, seed {seed}"
                );
            }
        }
    }

    /// Lanes after Gilbert and Elliott as PRIME has them, one for each meter, for a day.
    #[test]
    fn bursts_of_a_power_line_are_no_alarm() {
        for (lanes, seed) in [5, 10]
            .into_iter()
            .flat_map(|it| (0..100).map(move |s| (it, s)))
        {
            let mut rng = Seed::new(seed).child("bursts").rng();
            let mut is_noisy = [[false; 10]; 4];
            let found = alarms(seed, (4, lanes), 1_440, |gateway, number, draw| {
                let lane = usize::try_from(number % lanes).unwrap();
                let lane = &mut is_noisy[usize::from(gateway)][lane];
                let change = rng.next_u32() % 1_000;
                *lane = if *lane { change >= 133 } else { change < 10 };
                *lane && draw < 500
            });
            assert_eq!(found, [], "{lanes} lanes, seed {seed}");
        }
    }

    #[test]
    fn what_came_otherwise_is_not_lost_and_wide_gaps_say_nothing() {
        let now = UtcTime::from_secs(START);
        for before in [true, false] {
            let mut losses = Losses::default();
            for _ in 0..1_000 {
                if before {
                    losses.came_otherwise(GatewayId(1));
                }
                assert_eq!(losses.heard(GatewayId(1), METER, 1, now), None);
                if !before {
                    losses.came_otherwise(GatewayId(1));
                }
            }
        }
        let mut losses = Losses::default();
        for _ in 0..1_000 {
            let wide = Losses::GAP_MAX + 1;
            assert_eq!(losses.heard(GatewayId(1), METER, wide, now), None);
        }
        for _ in 0..Losses::LEARNT_AFTER {
            assert_eq!(losses.heard(GatewayId(1), METER, 0, now), None);
        }
        // However much is lost at once, two windows are no alarm.
        let at = |window: i64| now + Duration::from_secs(900) * u32::try_from(window).unwrap();
        let gap = Losses::GAP_MAX;
        for window in [0, 0, 0, 1, 1, 1, 1] {
            assert_eq!(losses.heard(GatewayId(1), METER, gap, at(window)), None);
        }
        // And however long it lasts, one meter is none.
        assert_eq!(losses.heard(GatewayId(1), METER, gap, at(2)), None);
        let second = DeviceIndex(1);
        assert_eq!(losses.heard(GatewayId(1), second, gap, at(2)), None);
        assert_eq!(losses.heard(GatewayId(1), second, gap, at(2)), None);
        let loss = losses.heard(GatewayId(1), second, gap, at(2)).unwrap();
        assert_eq!((loss.since, loss.until), (now, at(2)));
        assert_eq!((loss.sent, loss.lost, loss.usual_milli), (187, 176, 55));
    }
}
