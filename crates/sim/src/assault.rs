//! The assaults that the network is put to: one attacker each among honest meters.

mod outcome;
mod study;

use std::time::Duration;

use gridloom_core::UtcTime;
use gridloom_field::attack::{Excess, Kind, Lie, Meddling, Theft, Window};

use crate::attack::{AttackPlan, Beside, LoadLie, OnLine, Stand};

pub use outcome::{AttackError, AttackOutcome, Deeds, Refusal};
pub use study::{AttackRow, AttackStudy};

/// Whose attack it is, which decides what may be asked of the defence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Has no keys: nothing of it may be stored, and no honest reading may be lost.
    Outsider,
    /// Has a meter's keys, or its load: judged by whether and when it is found.
    Insider,
    /// Has a gateway: alters nothing that is stored, but may hold everything up.
    Carrier,
}

impl Class {
    /// The class in a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outsider => "outsider",
            Self::Insider => "insider",
            Self::Carrier => "carrier",
        }
    }
}

/// One assault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "`Assault::words` says what each is")]
pub enum Assault {
    Eavesdrop,
    Replay,
    ReplayOnPath,
    Spoof,
    Tamper,
    Flood,
    Slowloris,
    Malformed,
    KeyGuess,
    Intruder,
    H1,
    H2,
    H3,
    H4,
    H5,
    H6,
    Ramp,
    Swap,
    SwapFar,
    Accomplices,
    Blamed,
    Rollback,
    Scaled,
    Clone,
    FloodInside,
    Requests,
    Gateway,
    SilentGateway,
}

impl Assault {
    /// Every assault, outsiders first.
    pub const ALL: [Self; 28] = [
        Self::Eavesdrop,
        Self::Replay,
        Self::ReplayOnPath,
        Self::Spoof,
        Self::Tamper,
        Self::Flood,
        Self::Slowloris,
        Self::Malformed,
        Self::KeyGuess,
        Self::Intruder,
        Self::H1,
        Self::H2,
        Self::H3,
        Self::H4,
        Self::H5,
        Self::H6,
        Self::Ramp,
        Self::Swap,
        Self::SwapFar,
        Self::Accomplices,
        Self::Blamed,
        Self::Rollback,
        Self::Scaled,
        Self::Clone,
        Self::FloodInside,
        Self::Requests,
        Self::Gateway,
        Self::SilentGateway,
    ];

    /// Houses of a town whose meters lie about consumption, with two transformers.
    pub const HOUSES: u32 = 6;

    /// Houses below each of those transformers.
    pub const HOUSES_EACH: usize = 3;

    /// Houses of any other town.
    pub const HOUSES_FEW: u32 = 3;

    /// The first thief, spy or liar, by house.
    pub(crate) const FIRST: usize = 0;

    /// His neighbour below the same transformer.
    const NEIGHBOUR: usize = 1;

    /// A house below the other transformer.
    const FAR: usize = 3;

    /// Its name, as a command line and a table have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eavesdrop => "eavesdrop",
            Self::Replay => "replay",
            Self::ReplayOnPath => "replay-on-path",
            Self::Spoof => "spoof",
            Self::Tamper => "tamper",
            Self::Flood => "flood",
            Self::Slowloris => "slowloris",
            Self::Malformed => "malformed",
            Self::KeyGuess => "key-guess",
            Self::Intruder => "intruder",
            Self::H1 => "h1",
            Self::H2 => "h2",
            Self::H3 => "h3",
            Self::H4 => "h4",
            Self::H5 => "h5",
            Self::H6 => "h6",
            Self::Ramp => "ramp",
            Self::Swap => "swap",
            Self::SwapFar => "swap-far",
            Self::Accomplices => "accomplices",
            Self::Blamed => "blamed",
            Self::Rollback => "rollback",
            Self::Scaled => "scaled",
            Self::Clone => "clone",
            Self::FloodInside => "flood-inside",
            Self::Requests => "requests",
            Self::Gateway => "gateway",
            Self::SilentGateway => "silent-gateway",
        }
    }

    /// The assault with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// What happens, in a sentence.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Eavesdrop => "reads every frame between a meter and its gateway",
            Self::Replay => "sends what it overheard again, by a line of its own",
            Self::ReplayOnPath => "sends what it overheard again, on the meter's own line",
            Self::Spoof => "pushes under foreign titles with wrong keys",
            Self::Tamper => "flips, cuts and edits three frames in four, either way",
            Self::Flood => "forgeries, replays and noise on eight lines, far above the honest load",
            Self::Slowloris => "a byte now and then of a frame that never ends",
            Self::Malformed => "what is no frame, or nearly one",
            Self::KeyGuess => "tries keys under a meter's title",
            Self::Intruder => "speaks to the edge as if it were a gateway",
            Self::H1 => "measures 40 % of all",
            Self::H2 => "measures nothing from 16 to 22 h",
            Self::H3 => "measures a new share of each interval, 10–80 %",
            Self::H4 => "measures a new share of the day's mean, 10–80 %",
            Self::H5 => "measures the day's mean",
            Self::H6 => "measures the day reversed",
            Self::Ramp => "measures 15 % less",
            Self::Swap => "two meters below one transformer measure each other's house",
            Self::SwapFar => "two meters below two transformers measure each other's house",
            Self::Accomplices => "two meters below one transformer measure 80 %",
            Self::Blamed => "measures 40 %, and its neighbour's meter shows the rest",
            Self::Rollback => "reports a register set back by 2 kWh",
            Self::Scaled => "reports 40 % of the energy under an honest register",
            Self::Clone => "a copy of a meter, keys and all, pushes by another gateway",
            Self::FloodInside => "pushes invented intervals under valid keys",
            Self::Requests => "sends GETs, SETs and ACTIONs under valid keys",
            Self::Gateway => "drops, delays, reorders, alters and repeats",
            Self::SilentGateway => "drops half of what it carries, and alters nothing",
        }
    }

    /// Whose attack it is.
    pub const fn class(self) -> Class {
        match self {
            Self::Eavesdrop
            | Self::Replay
            | Self::ReplayOnPath
            | Self::Spoof
            | Self::Tamper
            | Self::Flood
            | Self::Slowloris
            | Self::Malformed
            | Self::KeyGuess
            | Self::Intruder => Class::Outsider,
            Self::H1
            | Self::H2
            | Self::H3
            | Self::H4
            | Self::H5
            | Self::H6
            | Self::Ramp
            | Self::Swap
            | Self::SwapFar
            | Self::Accomplices
            | Self::Blamed
            | Self::Rollback
            | Self::Scaled
            | Self::Clone
            | Self::FloodInside
            | Self::Requests => Class::Insider,
            Self::Gateway | Self::SilentGateway => Class::Carrier,
        }
    }

    /// Whether it falsifies what a meter measures, and not what is sent.
    pub const fn is_about_consumption(self) -> bool {
        match self {
            Self::H1
            | Self::H2
            | Self::H3
            | Self::H4
            | Self::H5
            | Self::H6
            | Self::Ramp
            | Self::Swap
            | Self::SwapFar
            | Self::Accomplices
            | Self::Blamed => true,
            Self::Eavesdrop
            | Self::Replay
            | Self::ReplayOnPath
            | Self::Spoof
            | Self::Tamper
            | Self::Flood
            | Self::Slowloris
            | Self::Malformed
            | Self::KeyGuess
            | Self::Intruder
            | Self::Rollback
            | Self::Scaled
            | Self::Clone
            | Self::FloodInside
            | Self::Requests
            | Self::Gateway
            | Self::SilentGateway => false,
        }
    }

    /// Whether it waits for what meters push by themselves.
    const fn needs_pushes(self) -> bool {
        matches!(
            self,
            Self::Eavesdrop
                | Self::ReplayOnPath
                | Self::Tamper
                | Self::Rollback
                | Self::Scaled
                | Self::Clone
                | Self::Gateway
                | Self::SilentGateway
        )
    }

    /// When it happens in a town that is powered on at `start`: about consumption, for a day after
    /// six honest hours; otherwise after one, for a quarter of an hour, or for two hours if it
    /// needs the meters' own pushes (a clone, which is found at once, for less).
    pub fn window(self, start: UtcTime) -> Window {
        let (before, minutes) = match (self.is_about_consumption(), self.needs_pushes()) {
            (true, _) => (6, 24 * 60),
            (false, true) if matches!(self, Self::Clone) => (1, 45),
            (false, true) => (1, 120),
            (false, false) => (1, 15),
        };
        let from = start + Duration::from_secs(before * 3_600);
        Window {
            from,
            until: from + Duration::from_secs(minutes * 60),
        }
    }

    /// The houses whose meters lie, or are copied: nothing is asked of their readings.
    pub fn liars(self) -> &'static [usize] {
        match self {
            Self::H1
            | Self::H2
            | Self::H3
            | Self::H4
            | Self::H5
            | Self::H6
            | Self::Ramp
            | Self::Rollback
            | Self::Scaled
            | Self::Clone
            | Self::FloodInside
            | Self::Requests => &[Self::FIRST],
            Self::Swap | Self::Accomplices | Self::Blamed => &[Self::FIRST, Self::NEIGHBOUR],
            Self::SwapFar => &[Self::FIRST, Self::FAR],
            Self::Eavesdrop
            | Self::Replay
            | Self::ReplayOnPath
            | Self::Spoof
            | Self::Tamper
            | Self::Flood
            | Self::Slowloris
            | Self::Malformed
            | Self::KeyGuess
            | Self::Intruder
            | Self::Gateway
            | Self::SilentGateway => &[],
        }
    }

    /// Who stands where.
    pub fn plan(self, start: UtcTime) -> AttackPlan {
        let theft = |theft| {
            vec![Stand::Load {
                house: Self::FIRST,
                lie: LoadLie::Theft(theft),
            }]
        };
        let swap = |with| {
            [(Self::FIRST, with), (with, Self::FIRST)]
                .map(|(house, with)| Stand::Load {
                    house,
                    lie: LoadLie::Swapped { with },
                })
                .to_vec()
        };
        let published = |number: usize| theft(Theft::PUBLISHED[number - 1].1);
        let middle = |kind, meddling| {
            vec![Stand::Line {
                house: Self::FIRST,
                attacker: OnLine::Middle { kind, meddling },
            }]
        };
        let inside = |kind, lie, excess| {
            vec![Stand::Line {
                house: Self::FIRST,
                attacker: OnLine::Insider {
                    kind,
                    lie,
                    excess,
                    gap: Duration::from_secs(3),
                },
            }]
        };
        let taken = |meddling| {
            vec![Stand::Gateway {
                number: 1,
                meddling,
            }]
        };
        let stands = match self {
            Self::Eavesdrop => middle(Kind::Eavesdrop, Meddling::LISTEN),
            Self::ReplayOnPath => middle(Kind::Replay, Meddling::REPLAY),
            Self::Tamper => middle(Kind::Tamper, Meddling::TAMPER),
            Self::Replay => beside(Kind::Replay, 1, 2_000, 200),
            Self::Spoof => beside(Kind::Spoof, 1, 2_000, 200),
            Self::Flood => beside(Kind::Flood, 8, 5, 1_000),
            Self::Slowloris => beside(Kind::Slowloris, 8, 2_000, 200),
            Self::Malformed => beside(Kind::Malformed, 1, 2_000, 200),
            Self::KeyGuess => beside(Kind::KeyGuess, 1, 2_000, 200),
            Self::Intruder => beside(Kind::Intruder, 1, 2_000, 200),
            Self::Clone => beside(Kind::Clone, 1, 400_000, 100),
            Self::H1 => published(1),
            Self::H2 => published(2),
            Self::H3 => published(3),
            Self::H4 => published(4),
            Self::H5 => published(5),
            Self::H6 => published(6),
            Self::Ramp => theft(Theft::Ramp {
                daily: 150,
                floor: 100,
            }),
            Self::Swap => swap(Self::NEIGHBOUR),
            Self::SwapFar => swap(Self::FAR),
            Self::Accomplices => [Self::FIRST, Self::NEIGHBOUR]
                .map(|house| Stand::Load {
                    house,
                    lie: LoadLie::Theft(Theft::Share { permille: 800 }),
                })
                .to_vec(),
            Self::Blamed => {
                let share = Theft::Share { permille: 400 };
                vec![
                    Stand::Load {
                        house: Self::FIRST,
                        lie: LoadLie::Theft(share),
                    },
                    Stand::Load {
                        house: Self::NEIGHBOUR,
                        lie: LoadLie::Blamed {
                            thief: Self::FIRST,
                            theft: share,
                        },
                    },
                ]
            }
            Self::Rollback => inside(
                Kind::Inject,
                Some(Lie::Rollback { watt_hours: 2_000 }),
                Excess::None,
            ),
            Self::Scaled => inside(
                Kind::Inject,
                Some(Lie::Scaled { permille: 400 }),
                Excess::None,
            ),
            Self::FloodInside => inside(Kind::FloodInside, None, Excess::Pushes),
            Self::Requests => inside(Kind::Insider, None, Excess::Requests),
            Self::Gateway => taken(Meddling::GATEWAY),
            Self::SilentGateway => taken(Meddling {
                withhold: 500,
                both_ways: true,
                ..Meddling::LISTEN
            }),
        };
        AttackPlan {
            window: self.window(start),
            stands,
        }
    }
}

/// Attackers with lines of their own sit at the second gateway and hear the first houses.
fn beside(kind: Kind, lines: usize, gap_ms: u64, frames_max: u64) -> Vec<Stand> {
    let victims = if kind == Kind::Clone {
        vec![Assault::FIRST]
    } else {
        vec![0, 1, 2]
    };
    vec![Stand::Beside(Beside {
        kind,
        gateway: 2,
        lines,
        gap: Duration::from_millis(gap_ms),
        frames_max,
        victims,
    })]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again_and_every_assault_has_an_attacker() {
        for assault in Assault::ALL {
            assert_eq!(Assault::parse(assault.name()), Some(assault));
            let plan = assault.plan(UtcTime::from_secs(0));
            assert!(!plan.stands.is_empty(), "{}", assault.name());
            let has_liars = !assault.liars().is_empty();
            assert_eq!(
                has_liars,
                assault.class() == Class::Insider,
                "{}",
                assault.name()
            );
        }
        assert_eq!(Assault::parse("h7"), None);
    }
}
