//! Where attackers stand in a simulated town, and how each is made.

use std::time::Duration;

use gridloom_core::{MeterId, Seed, SystemTitle};
use gridloom_field::Load;
use gridloom_field::attack::{
    Attack, Excess, FalseLoad, Identity, Insider, InsiderPlan, Kind, Lie, Meddling, Middle,
    Outsider, OutsiderPlan, Theft, Window,
};
use gridloom_nodes::attacker::{Intruder, IntruderPlan, IntruderRole};

use crate::town::{House, Town};

/// The attackers of a run, all at work in one window.
#[derive(Debug, Clone)]
pub struct AttackPlan {
    /// When.
    pub window: Window,
    /// Where, and what.
    pub stands: Vec<Stand>,
}

impl AttackPlan {
    /// Nobody attacks.
    pub const PEACE: Self = Self {
        window: Window::ALWAYS,
        stands: Vec::new(),
    };
}

/// One attacker's place. Houses are counted from 0, gateways from 1.
#[derive(Debug, Clone)]
pub enum Stand {
    /// In front of a meter: it measures something else.
    Load {
        /// Whose.
        house: usize,
        /// What.
        lie: LoadLie,
    },
    /// On the line between a meter and its gateway, or in the meter.
    Line {
        /// Whose.
        house: usize,
        /// Who.
        attacker: OnLine,
    },
    /// In a gateway.
    Gateway {
        /// Which.
        number: usize,
        /// What it does to frames.
        meddling: Meddling,
    },
    /// With lines of its own.
    Beside(Beside),
}

/// What a meter is made to measure.
#[derive(Debug, Clone, Copy)]
pub enum LoadLie {
    /// A pattern of theft.
    Theft(Theft),
    /// What another house draws.
    Swapped {
        /// Which.
        with: usize,
    },
    /// Its own, and what an accomplice hides.
    Blamed {
        /// Who hides.
        thief: usize,
        /// By which pattern.
        theft: Theft,
    },
}

/// Who stands on a line.
#[derive(Debug, Clone, Copy)]
pub enum OnLine {
    /// Somebody without keys.
    Middle {
        /// What for.
        kind: Kind,
        /// What it does to frames.
        meddling: Meddling,
    },
    /// The meter itself.
    Insider {
        /// What for.
        kind: Kind,
        /// What it changes.
        lie: Option<Lie>,
        /// What it adds.
        excess: Excess,
        /// The time between two of those.
        gap: Duration,
    },
}

/// An attacker with lines of its own.
#[derive(Debug, Clone)]
pub struct Beside {
    /// What for.
    pub kind: Kind,
    /// The gateway that its lines lead to; an intruder's lead to the edge.
    pub gateway: usize,
    /// How many lines.
    pub lines: usize,
    /// The time between two frames.
    pub gap: Duration,
    /// Frames in all.
    pub frames_max: u64,
    /// Houses whose titles it knows, and whose lines it hears. A clone is the first one's.
    pub victims: Vec<usize>,
}

impl AttackPlan {
    /// The load of a house, as its meter sees it.
    pub(crate) fn load_of(&self, town: &Town, house: usize) -> Box<dyn Load> {
        let houses = town.houses();
        let real = houses[house].load();
        let lie = self.stands.iter().find_map(|stand| match stand {
            Stand::Load { house: whose, lie } if *whose == house => Some(*lie),
            Stand::Load { .. } | Stand::Line { .. } | Stand::Gateway { .. } | Stand::Beside(_) => {
                None
            }
        });
        let seed = |house: usize| FalseLoad::seed_of(town.plan().seed, houses[house].meter());
        let (period, window) = (town.plan().period, self.window);
        match lie {
            None => real,
            Some(LoadLie::Theft(theft)) => {
                Box::new(FalseLoad::stolen(real, theft, period, window, seed(house)))
            }
            Some(LoadLie::Swapped { with }) => Box::new(FalseLoad::swapped(
                real,
                houses[with].load(),
                period,
                window,
            )),
            Some(LoadLie::Blamed { thief, theft }) => Box::new(FalseLoad::blamed(
                real,
                houses[thief].load(),
                theft,
                period,
                window,
                seed(thief),
            )),
        }
    }

    /// Who stands on a house's line.
    pub(crate) fn on_line_of(&self, town: &Town, house: usize) -> Option<Box<dyn Attack>> {
        let (number, attacker) = self.stands.iter().enumerate().find_map(|it| match it {
            (
                number,
                Stand::Line {
                    house: whose,
                    attacker,
                },
            ) if *whose == house => Some((number, *attacker)),
            (
                _,
                Stand::Load { .. } | Stand::Line { .. } | Stand::Gateway { .. } | Stand::Beside(_),
            ) => None,
        })?;
        let seed = seed_of(town, number);
        Some(match attacker {
            OnLine::Middle { kind, meddling } => {
                Box::new(Middle::new(kind, meddling, self.window, seed))
            }
            OnLine::Insider {
                kind,
                lie,
                excess,
                gap,
            } => Box::new(Insider::new(InsiderPlan {
                kind,
                identity: identity(&town.houses()[house]),
                period: town.plan().period,
                lie,
                excess,
                gap,
                window: self.window,
                seed,
            })),
        })
    }

    /// Who sits in a gateway.
    pub(crate) fn in_gateway(&self, town: &Town, gateway: usize) -> Option<Box<dyn Attack>> {
        self.stands.iter().enumerate().find_map(|it| match it {
            (at, Stand::Gateway { number, meddling }) if *number == gateway => {
                let seed = seed_of(town, at);
                let middle = Middle::new(Kind::Gateway, *meddling, self.window, seed);
                Some(Box::new(middle) as Box<dyn Attack>)
            }
            (
                _,
                Stand::Load { .. } | Stand::Line { .. } | Stand::Gateway { .. } | Stand::Beside(_),
            ) => None,
        })
    }

    /// The attackers with lines of their own, in the order of their numbers.
    pub(crate) fn beside(&self) -> impl Iterator<Item = &Beside> {
        self.stands.iter().filter_map(|stand| match stand {
            Stand::Beside(beside) => Some(beside),
            Stand::Load { .. } | Stand::Line { .. } | Stand::Gateway { .. } => None,
        })
    }

    /// The attacker beside the network with this number.
    pub(crate) fn attacker(&self, town: &Town, number: usize) -> Box<dyn Attack> {
        let beside = self.beside().nth(number).expect("a role is made for each");
        let seed = town.plan().seed.child("beside").nth(number as u64);
        let houses: Vec<&House> = beside
            .victims
            .iter()
            .map(|at| &town.houses()[*at])
            .collect();
        let title = |house: &&House| house.config().title;
        if beside.kind == Kind::Intruder {
            let victims: Vec<(MeterId, SystemTitle)> = houses
                .iter()
                .map(|house| (house.meter(), title(house)))
                .collect();
            return Box::new(Intruder::new(IntruderPlan {
                role: IntruderRole::Gateway,
                victims,
                period: town.plan().period,
                is_framed: false,
                gap: beside.gap,
                messages_max: beside.frames_max,
                window: self.window,
                seed,
            }));
        }
        Box::new(Outsider::new(OutsiderPlan {
            kind: beside.kind,
            victims: houses.iter().map(title).collect(),
            cloned: (beside.kind == Kind::Clone).then(|| identity(houses[0])),
            period: town.plan().period,
            gap: beside.gap,
            frames_max: beside.frames_max,
            window: self.window,
            seed,
        }))
    }
}

fn seed_of(town: &Town, number: usize) -> Seed {
    town.plan().seed.child("attacker").nth(number as u64)
}

fn identity(house: &House) -> Identity {
    Identity {
        title: house.config().title,
        keys: house.config().keys.clone(),
        counter: 0,
    }
}
