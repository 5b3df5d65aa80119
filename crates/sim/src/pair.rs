//! Head-end pairs in virtual time: the seats, witnesses, fences and second copies that are
//! deployed, on processes that crash, sleep and wake, with clocks that run apart and links that
//! are cut in one direction or both.
//!
//! What stands on them is a model: a head-end that keeps readings and carries out commands as the
//! real ones do, journalled before they are sent, looked for and never sent blindly again; and
//! meters that count how often they carried out what.

mod disk;
mod edge;
mod head_end;
mod member;
mod world;

use std::time::Duration;

use gridloom_core::Seed;

use world::PairWorld;

/// What goes wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairFaults {
    /// Nothing.
    None,
    /// Crashes, sleeps, cuts and slow clocks, at random.
    Everything,
    /// The active member is killed once, after so long.
    KillActive {
        /// When.
        after: Duration,
    },
    /// The active member sleeps once and wakes believing that it is active.
    SleepActive {
        /// When it falls asleep.
        after: Duration,
        /// For how long.
        length: Duration,
    },
}

/// A part that does not do its duty, to see a checker fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairSabotage {
    /// Edges grant every lease.
    LyingWitness,
    /// Edges listen to every epoch, and meters to every counter.
    DeafFence,
    /// Disks answer before the other member has it.
    HastyDisk,
    /// Commands whose outcome is unknown are sent again without a look.
    BlindRepeat,
}

/// What must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairViolation {
    /// Both members might act at once.
    TwoActive {
        /// When, in milliseconds of the run.
        at_ms: u64,
    },
    /// An edge took something from a reign below one that it had heard of.
    OldReign {
        /// When, in milliseconds of the run.
        at_ms: u64,
        /// Which edge.
        edge: usize,
    },
    /// A meter carried out one command more than once.
    Twice {
        /// When, in milliseconds of the run.
        at_ms: u64,
        /// Which command.
        command: u64,
    },
    /// The active member does not hold a reading that was acknowledged.
    LostReading {
        /// When, in milliseconds of the run.
        at_ms: u64,
        /// Which reading.
        reading: u64,
    },
    /// After everything healed, something is not as it should be.
    Unsettled {
        /// What.
        what: String,
    },
}

/// A run of a pair.
#[derive(Debug, Clone, Copy)]
pub struct PairTrial {
    /// Edges that witness, 1 to 31.
    pub edges: usize,
    /// What goes wrong.
    pub faults: PairFaults,
    /// How long it goes wrong.
    pub storm: Duration,
    /// How long everything is well afterwards.
    pub calm: Duration,
    /// What does not do its duty.
    pub sabotage: Option<PairSabotage>,
}

impl PairTrial {
    /// Two edges and forty seconds of everything at once.
    pub const STORM: Self = Self {
        edges: 2,
        faults: PairFaults::Everything,
        storm: Duration::from_secs(40),
        calm: Duration::from_secs(25),
        sabotage: None,
    };

    /// Runs it.
    pub fn run(&self, seed: u64) -> PairOutcome {
        PairWorld::new(*self, Seed::new(seed)).run()
    }
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PairOutcome {
    /// What must never be, and was.
    pub violations: Vec<PairViolation>,
    /// From the moment that the active member was gone to the moment that an edge heard the next.
    pub takeovers: Vec<Duration>,
    /// Reigns there were.
    pub reigns: u64,
    /// Readings that were acknowledged.
    pub acknowledged: u64,
    /// Commands that were carried out.
    pub carried_out: u64,
    /// Copies that were made.
    pub copies: u64,
    /// Events of the run.
    pub events: u64,
}
