//! Which of two ways up a node uses: its primary one, or its backup while the primary is not well.
//!
//! A way is well while its link stands and its heartbeats are answered, where it has any. A way
//! that is lost is left at once; the primary is taken up again only when it has been well for a
//! while, which doubles with each time that this turned out to be too early.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::{Instant, Wake};

use crate::node::{LinkId, Port};

/// Which of a node's ways up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// The one that it uses while it is well.
    Primary,
    /// The one that it uses meanwhile.
    Backup,
}

impl Rank {
    const BOTH: [Self; 2] = [Self::Primary, Self::Backup];

    /// The way that a link on this port is; `None` if it leads elsewhere.
    pub const fn of(port: Port) -> Option<Self> {
        match port {
            Port::Up => Some(Self::Primary),
            Port::Backup => Some(Self::Backup),
            Port::Down | Port::Dialled(_) | Port::Push(_) => None,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Primary => Self::Backup,
            Self::Backup => Self::Primary,
        }
    }
}

/// How patient a node is with its ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathsConfig {
    /// How often each standing link is asked whether it carries both ways; `None` where the
    /// transport alone has to notice, as below a meter, which speaks no language of ours.
    pub heartbeat_every: Option<Duration>,
    /// A link whose heartbeats are not answered for so many intervals is given up.
    pub misses: u8,
    /// After a start the backup waits so long for the primary.
    pub first_wait: Duration,
    /// The primary is taken up again when it has been well for so long. Doubled for each time
    /// that happened within [`Paths::MEMORY`].
    pub home_after: Duration,
    /// How often that may happen within [`Paths::MEMORY`]. With it switches are bounded: each
    /// leaves a way that is lost, or is one of these.
    pub homecomings_max: u8,
}

impl PathsConfig {
    /// Between our own tiers: a dead link is noticed within 1.5 s.
    pub const TIERS: Self = Self {
        heartbeat_every: Some(Duration::from_millis(500)),
        misses: 3,
        first_wait: Duration::from_secs(3),
        home_after: Duration::from_secs(60),
        homecomings_max: 4,
    };

    /// Of a meter: the transport notices dead links.
    pub const METER: Self = Self {
        heartbeat_every: None,
        ..Self::TIERS
    };

    /// For how long a link may leave heartbeats unanswered.
    pub fn silence_max(&self) -> Option<Duration> {
        Some(self.heartbeat_every? * u32::from(self.misses))
    }

    /// Checks what no type says.
    ///
    /// # Errors
    ///
    /// Names the field that is out of its range.
    pub fn check(&self) -> Result<(), PathsError> {
        let within = |field, got: Duration, least: Duration, most: Duration| {
            if (least..=most).contains(&got) {
                Ok(())
            } else {
                Err(PathsError::Duration {
                    field,
                    got,
                    least,
                    most,
                })
            }
        };
        let (second, minute) = (Duration::from_secs(1), Duration::from_mins(1));
        if let Some(every) = self.heartbeat_every {
            within("heartbeat", every, Duration::from_millis(50), minute)?;
        }
        if !(2..=20).contains(&self.misses) {
            return Err(PathsError::Misses(self.misses));
        }
        within("first_wait", self.first_wait, Duration::ZERO, minute)?;
        within("home_after", self.home_after, second, Paths::MEMORY)?;
        if !(1..=60).contains(&self.homecomings_max) {
            return Err(PathsError::Homecomings(self.homecomings_max));
        }
        Ok(())
    }
}

/// Why a configuration of ways is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathsError {
    /// A time out of its range.
    #[error("paths: {field} is {got:?}; set {least:?} to {most:?}")]
    Duration {
        /// Which field of [`PathsConfig`].
        field: &'static str,
        /// Its value.
        got: Duration,
        /// The least that is accepted.
        least: Duration,
        /// The most that is accepted.
        most: Duration,
    },
    /// One missed heartbeat is none, and with many nobody notices anything.
    #[error("paths: misses is {0}; set 2 to 20")]
    Misses(u8),
    /// A bound that is none.
    #[error("paths: homecomings_max is {0}; set 1 to 60 an hour")]
    Homecomings(u8),
}

/// What is to be done about a node's ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathAct {
    /// Ask whether a link carries both ways.
    Heartbeat {
        /// Which.
        link: LinkId,
        /// Comes back in the answer.
        number: u64,
    },
    /// Close a link: nothing is heard from it. It is not used from now on.
    Close {
        /// Which.
        link: LinkId,
    },
    /// Another link is in use from now on.
    Moved {
        /// The one before, if it still stands.
        from: Option<LinkId>,
        /// The one now; `None` while no way is well.
        to: Option<LinkId>,
    },
}

/// What an operator sees of a node's ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathsStatus {
    /// The way in use.
    pub in_use: Option<Rank>,
    /// Whether the primary's link stands.
    pub primary_stands: bool,
    /// Whether the backup's link stands.
    pub backup_stands: bool,
    /// From one way to the other, since the start.
    pub switches: u64,
    /// Of those, back to a primary that was well again.
    pub homecomings: u64,
    /// Links given up because nothing answered.
    pub silences: u64,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    link: LinkId,
    since: Instant,
    answered: Instant,
    next_heartbeat: Option<Instant>,
}

/// A node's ways up.
#[derive(Debug)]
pub struct Paths {
    config: PathsConfig,
    /// By [`Rank`].
    ways: [Option<Standing>; 2],
    in_use: Option<Rank>,
    /// The way that was used last, if any was.
    last_used: Option<Rank>,
    /// Before the first use: the backup is not taken earlier.
    backup_from: Option<Instant>,
    /// Within [`Self::MEMORY`], oldest first.
    homecomings: VecDeque<Instant>,
    heartbeats: u64,
    status: PathsStatus,
    acts: VecDeque<PathAct>,
}

impl Paths {
    /// Homecomings are counted over this time.
    pub const MEMORY: Duration = Duration::from_hours(1);

    /// No way stands.
    ///
    /// # Panics
    ///
    /// If the configuration does not pass [`PathsConfig::check`].
    pub fn new(config: PathsConfig) -> Self {
        config.check().expect("whoever configures checks");
        Self {
            config,
            ways: [None; 2],
            in_use: None,
            last_used: None,
            backup_from: None,
            homecomings: VecDeque::new(),
            heartbeats: 0,
            status: PathsStatus::default(),
            acts: VecDeque::new(),
        }
    }

    /// How patient it is.
    pub fn config(&self) -> &PathsConfig {
        &self.config
    }

    /// The link in use.
    pub fn link(&self) -> Option<LinkId> {
        Some(self.way(self.in_use?)?.link)
    }

    /// Whether a link is one of the ways.
    pub fn knows(&self, link: LinkId) -> bool {
        self.rank_of(link).is_some()
    }

    /// What an operator sees.
    pub fn status(&self) -> PathsStatus {
        PathsStatus {
            in_use: self.in_use,
            primary_stands: self.way(Rank::Primary).is_some(),
            backup_stands: self.way(Rank::Backup).is_some(),
            ..self.status
        }
    }

    /// A way's link stands.
    pub fn handle_up(&mut self, rank: Rank, link: LinkId, now: Instant) {
        if self.in_use == Some(rank) {
            // Another link of the same way: whoever counted on the old one must hear of it.
            self.lose(rank);
        }
        self.ways[rank as usize] = Some(Standing {
            link,
            since: now,
            answered: now,
            next_heartbeat: self.config.heartbeat_every.map(|_| now),
        });
        if self.last_used.is_none() && self.backup_from.is_none() {
            self.backup_from = Some(now + self.config.first_wait);
        }
        self.beat(now);
        self.choose(now);
    }

    /// A link is gone; nothing happens if it is none of the ways, or was given up before.
    pub fn handle_down(&mut self, link: LinkId, now: Instant) {
        if let Some(rank) = self.rank_of(link) {
            self.lose(rank);
            self.choose(now);
        }
    }

    /// A heartbeat was answered.
    pub fn handle_alive(&mut self, link: LinkId, now: Instant) {
        if let Some(rank) = self.rank_of(link)
            && let Some(way) = &mut self.ways[rank as usize]
        {
            way.answered = now;
        }
    }

    /// A deadline of [`Self::wake`] has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(silence_max) = self.config.silence_max() {
            for rank in Rank::BOTH {
                if let Some(way) = self.way(rank)
                    && now >= way.answered + silence_max
                {
                    self.status.silences += 1;
                    self.lose(rank);
                    self.acts.push_back(PathAct::Close { link: way.link });
                }
            }
        }
        self.beat(now);
        self.choose(now);
    }

    /// The next thing to do, until `None`.
    pub fn poll_act(&mut self) -> Option<PathAct> {
        self.acts.pop_front()
    }

    /// When to come with [`Self::handle_timeout`].
    pub fn wake(&self) -> Wake {
        let silence_max = self.config.silence_max();
        let ways = self.ways.iter().flatten();
        let beats = ways
            .clone()
            .filter_map(|way| Some((way.next_heartbeat?, "heartbeat")));
        let silences =
            ways.filter_map(|way| Some((way.answered + silence_max?, "a link is silent")));
        let waits = self.waits_until().map(|at| (at, "change the way up"));
        Wake {
            instant: beats.chain(silences).chain(waits).min(),
            utc: None,
        }
    }

    fn way(&self, rank: Rank) -> Option<Standing> {
        self.ways[rank as usize]
    }

    fn rank_of(&self, link: LinkId) -> Option<Rank> {
        let is_it = |rank: &Rank| self.way(*rank).is_some_and(|way| way.link == link);
        Rank::BOTH.into_iter().find(is_it)
    }

    fn lose(&mut self, rank: Rank) {
        self.ways[rank as usize] = None;
        if self.in_use == Some(rank) {
            self.in_use = None;
            if self.way(rank.other()).is_none() {
                let (from, to) = (None, None);
                self.acts.push_back(PathAct::Moved { from, to });
            }
        }
    }

    fn beat(&mut self, now: Instant) {
        let Some(every) = self.config.heartbeat_every else {
            return;
        };
        for way in self.ways.iter_mut().flatten() {
            if way.next_heartbeat.is_some_and(|at| at <= now) {
                way.next_heartbeat = Some(now + every);
                self.heartbeats += 1;
                self.acts.push_back(PathAct::Heartbeat {
                    link: way.link,
                    number: self.heartbeats,
                });
            }
        }
    }

    /// When the way changes although no link does.
    fn waits_until(&self) -> Option<Instant> {
        match (self.in_use, self.ways) {
            (Some(Rank::Backup), [Some(primary), _]) => Some(self.home_at(primary.since)),
            (None, [None, Some(_)]) => self.backup_from,
            (Some(_) | None, _) => None,
        }
    }

    /// When the primary is taken up again that is well since then.
    fn home_at(&self, well_since: Instant) -> Instant {
        let often = u32::try_from(self.homecomings.len()).unwrap_or(u32::MAX);
        let patience = self.config.home_after.saturating_mul(1 << often.min(16));
        let at = well_since + patience.min(Self::MEMORY);
        if self.homecomings.len() < usize::from(self.config.homecomings_max) {
            return at;
        }
        let oldest = self.homecomings.front().copied();
        oldest.map_or(at, |oldest| at.max(oldest + Self::MEMORY))
    }

    fn choose(&mut self, now: Instant) {
        while self
            .homecomings
            .pop_front_if(|at| *at + Self::MEMORY <= now)
            .is_some()
        {}
        let [primary, backup] = self.ways;
        let wanted = match (self.in_use, primary, backup) {
            (Some(Rank::Backup), Some(primary), _) if self.home_at(primary.since) <= now => {
                self.homecomings.push_back(now);
                self.status.homecomings += 1;
                Rank::Primary
            }
            (Some(_), _, _) | (None, None, None) => return,
            (None, Some(_), _) => Rank::Primary,
            (None, None, Some(_)) if self.backup_from.is_none_or(|at| at <= now) => Rank::Backup,
            (None, None, Some(_)) => return,
        };
        let from = self.link();
        self.status.switches += u64::from(self.last_used.is_some_and(|last| last != wanted));
        self.in_use = Some(wanted);
        self.last_used = self.in_use;
        self.backup_from = None;
        let to = self.link();
        self.acts.push_back(PathAct::Moved { from, to });
    }
}
