//! A member's seat: wins the lease of an epoch from a majority of the witnesses, keeps it, and
//! knows when it is over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_core::Instant;

use crate::envelope::pair::{Ask, Epoch, History, Place, Verdict, Vote, Wanted};

/// Who votes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Voter {
    /// The member itself.
    Own,
    /// The other member.
    Peer,
    /// An edge, by name.
    Edge(String),
}

/// What a seat wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeatOutput {
    /// Ask a witness.
    Ask(Voter, Ask),
    /// Give the lease back to every witness.
    GiveBack(Epoch),
    /// Keep the history; [`Seat::handle_kept`] answers.
    Keep(History),
}

/// Whether this member goes on without the other.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Alone {
    /// The other member holds everything that is acknowledged.
    No,
    /// Its own history is being kept.
    Keeping(History),
    /// The witnesses are told.
    Telling {
        history: History,
        told: BTreeSet<Voter>,
    },
    /// A majority knows: the other member cannot win with what it has.
    Yes,
}

#[derive(Debug)]
enum State {
    /// Not before this time does it ask.
    Waiting { until: Instant },
    /// Asking for an opinion, or for the lease itself.
    Asking {
        epoch: Epoch,
        what: Wanted,
        round: u64,
        since: Instant,
        granted: BTreeMap<Voter, Instant>,
    },
    Holding {
        epoch: Epoch,
        until: BTreeMap<Voter, Instant>,
        rounds: VecDeque<Round>,
        ask_at: Instant,
        alone: Alone,
        /// Times it went alone in this epoch.
        times: u32,
    },
    /// It held an epoch, and this process never holds one again.
    Over { why: &'static str },
}

#[derive(Debug)]
struct Round {
    nonce: u64,
    asked_at: Instant,
    /// With what history it was told that this member is alone.
    alone: Option<History>,
}

/// The seat of one member.
#[derive(Debug)]
pub struct Seat {
    place: Place,
    voters: BTreeSet<Voter>,
    history: History,
    /// The highest epoch it has heard of.
    highest: Epoch,
    state: State,
    nonce: u64,
    outbox: VecDeque<SeatOutput>,
}

impl Seat {
    /// How long a grant counts for its holder, from when it asked: a fifth less than for the
    /// witness, so that clocks may differ by a tenth each.
    pub const HOLD: Duration = Duration::from_millis(1_600);

    /// How often a holder asks for more.
    pub const ASK_EVERY: Duration = Duration::from_millis(300);

    /// How long a candidate waits for votes.
    pub const VOTES_WITHIN: Duration = Duration::from_millis(500);

    /// How long a candidate waits after a vote that it did not win.
    pub const PAUSE: Duration = Duration::from_millis(200);

    /// Edges that may be witnesses of a pair; a configuration with more is refused.
    pub const EDGES_MAX: usize = 31;

    /// Rounds of questions whose answers still count.
    const ROUNDS_MAX: usize = 8;

    /// A seat that holds nothing. `promised` is the highest epoch that this member has promised
    /// or had, so that it never has one twice.
    ///
    /// # Panics
    ///
    /// If there are more than [`Self::EDGES_MAX`] edges.
    pub fn new(
        place: Place,
        edges: impl IntoIterator<Item = String>,
        history: History,
        promised: Epoch,
        now: Instant,
    ) -> Self {
        let mut voters: BTreeSet<Voter> = edges.into_iter().map(Voter::Edge).collect();
        assert!(voters.len() <= Self::EDGES_MAX, "the configuration says so");
        voters.extend([Voter::Own, Voter::Peer]);
        Self {
            place,
            voters,
            history,
            highest: promised,
            state: State::Waiting { until: now },
            nonce: 0,
            outbox: VecDeque::new(),
        }
    }

    /// Votes that win.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Who votes.
    pub fn voters(&self) -> impl Iterator<Item = &Voter> {
        self.voters.iter()
    }

    /// What its data is known to hold.
    pub const fn history(&self) -> History {
        self.history
    }

    /// The epoch that it holds at `now`.
    pub fn epoch(&self, now: Instant) -> Option<Epoch> {
        match &self.state {
            State::Holding { epoch, .. } if self.lease_end().is_some_and(|end| now < end) => {
                Some(*epoch)
            }
            State::Holding { .. }
            | State::Waiting { .. }
            | State::Asking { .. }
            | State::Over { .. } => None,
        }
    }

    /// When what it holds ends, unless more is granted.
    pub fn lease_end(&self) -> Option<Instant> {
        let State::Holding { until, .. } = &self.state else {
            return None;
        };
        let mut ends: Vec<Instant> = until.values().copied().collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        ends.get(self.majority() - 1).copied()
    }

    /// Why it holds nothing any more, if it ever did.
    pub const fn over(&self) -> Option<&'static str> {
        match &self.state {
            State::Over { why } => Some(*why),
            State::Waiting { .. } | State::Asking { .. } | State::Holding { .. } => None,
        }
    }

    /// Whether everything may be acknowledged that is durable here alone.
    pub const fn is_alone(&self) -> bool {
        matches!(
            self.state,
            State::Holding {
                alone: Alone::Yes,
                ..
            }
        )
    }

    /// The data holds this from now on: a copy was begun or is complete. Only of a member that
    /// holds no epoch.
    pub fn learn(&mut self, history: History, now: Instant) {
        self.history = history;
        self.outbox.push_back(SeatOutput::Keep(history));
        self.wait(now, Self::PAUSE);
    }

    /// Lets others go first for so long.
    pub fn stand_back(&mut self, now: Instant, pause: Duration) {
        if !matches!(self.state, State::Holding { .. } | State::Over { .. }) {
            self.wait(now, pause);
        }
    }

    /// Asks at once.
    pub fn hurry(&mut self, now: Instant) {
        if let State::Waiting { until } = &mut self.state {
            *until = now;
        }
    }

    /// The other member is away: what is durable here alone is acknowledged once a majority knows.
    pub fn go_alone(&mut self) {
        let State::Holding {
            epoch,
            alone,
            times,
            ..
        } = &mut self.state
        else {
            return;
        };
        if *alone != Alone::No {
            return;
        }
        *times = times.saturating_add(1);
        let history = History {
            epoch: *epoch,
            alone: *times,
        };
        *alone = Alone::Keeping(history);
        self.history = history;
        self.outbox.push_back(SeatOutput::Keep(history));
    }

    /// The history is durable.
    pub fn handle_kept(&mut self, kept: History, now: Instant) {
        if let State::Holding { alone, ask_at, .. } = &mut self.state
            && *alone == Alone::Keeping(kept)
        {
            *alone = Alone::Telling {
                history: kept,
                told: BTreeSet::new(),
            };
            *ask_at = now;
        }
    }

    /// From now on nothing is acknowledged that the other member does not hold.
    pub fn rejoin(&mut self) {
        if let State::Holding { alone, .. } = &mut self.state {
            *alone = Alone::No;
        }
    }

    /// Ends what it holds and gives it back.
    pub fn resign(&mut self, why: &'static str) {
        if let State::Holding { epoch, .. } = &self.state {
            self.outbox.push_back(SeatOutput::GiveBack(*epoch));
            self.state = State::Over { why };
        }
    }

    /// A witness's answer.
    pub fn handle_vote(&mut self, voter: Voter, vote: Vote, now: Instant) {
        if !self.voters.contains(&voter) {
            return;
        }
        self.highest = self.highest.max(vote.promised);
        let majority = self.majority();
        match &mut self.state {
            State::Asking {
                what,
                round,
                since,
                granted,
                ..
            } if *round == vote.nonce => match vote.verdict {
                Verdict::Granted => {
                    granted.insert(voter, *since + Self::HOLD);
                    let has_own = granted.contains_key(&Voter::Own);
                    match what {
                        Wanted::Opinion if granted.len() >= majority => self.ask_firmly(now),
                        // Its own vote is the last: while others hesitate it stays the active
                        // member's.
                        Wanted::Lease if !has_own && granted.len() + 1 >= majority => {
                            self.ask_own();
                        }
                        Wanted::Lease if has_own && granted.len() >= majority => self.win(now),
                        Wanted::Opinion | Wanted::Lease | Wanted::LeaseAlone => {}
                    }
                }
                Verdict::Outbid | Verdict::Leased | Verdict::TooEarly | Verdict::Behind => {}
            },
            State::Holding {
                epoch,
                until,
                rounds,
                alone,
                ..
            } => {
                if vote.promised > *epoch {
                    self.state = State::Over {
                        why: "another epoch was promised",
                    };
                    return;
                }
                let Some(round) = rounds.iter().find(|round| round.nonce == vote.nonce) else {
                    return;
                };
                if vote.verdict != Verdict::Granted {
                    return;
                }
                let end = round.asked_at + Self::HOLD;
                let known = until.entry(voter.clone()).or_insert(end);
                *known = (*known).max(end);
                if let Alone::Telling { history, told } = alone
                    && round.alone == Some(*history)
                {
                    told.insert(voter);
                    if told.len() >= majority {
                        *alone = Alone::Yes;
                    }
                }
            }
            State::Asking { .. } | State::Waiting { .. } | State::Over { .. } => {}
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.state {
            State::Waiting { until } if *until <= now => {
                let epoch = self.highest.next_of(self.place);
                self.begin(epoch, Wanted::Opinion, now);
                self.ask_all(epoch, Wanted::Opinion);
            }
            State::Asking { since, .. } if *since + Self::VOTES_WITHIN <= now => {
                self.wait(now, Self::PAUSE);
            }
            State::Holding { .. } if self.lease_end().is_none_or(|end| end <= now) => {
                self.state = State::Over {
                    why: "the lease ran out",
                };
            }
            State::Holding { ask_at, .. } if *ask_at <= now => self.ask_for_more(now),
            State::Waiting { .. }
            | State::Asking { .. }
            | State::Holding { .. }
            | State::Over { .. } => {}
        }
    }

    /// When to come back.
    pub fn wake(&self) -> Option<(Instant, &'static str)> {
        match &self.state {
            State::Waiting { until } => Some((*until, "ask for the lease")),
            State::Asking { since, .. } => Some((*since + Self::VOTES_WITHIN, "votes are over")),
            State::Holding { ask_at, .. } => {
                let end = self.lease_end().unwrap_or(*ask_at);
                Some(((*ask_at).min(end), "the lease"))
            }
            State::Over { .. } => None,
        }
    }

    /// What to do next, until nothing.
    pub fn poll_output(&mut self) -> Option<SeatOutput> {
        self.outbox.pop_front()
    }

    fn wait(&mut self, now: Instant, pause: Duration) {
        // The founder comes first where both begin together.
        let behind = match self.place {
            Place::First => Duration::ZERO,
            Place::Second => Self::PAUSE / 2,
        };
        self.state = State::Waiting {
            until: now + pause + behind,
        };
    }

    fn begin(&mut self, epoch: Epoch, what: Wanted, now: Instant) {
        self.nonce += 1;
        self.state = State::Asking {
            epoch,
            what,
            round: self.nonce,
            since: now,
            granted: BTreeMap::new(),
        };
    }

    /// The opinions are good: the same epoch, for good.
    fn ask_firmly(&mut self, now: Instant) {
        let State::Asking { epoch, .. } = self.state else {
            return;
        };
        self.begin(epoch, Wanted::Lease, now);
        for voter in self.voters.clone() {
            if voter != Voter::Own {
                self.ask(voter, epoch, Wanted::Lease);
            }
        }
    }

    fn ask_own(&mut self) {
        if let State::Asking { epoch, .. } = self.state {
            self.ask(Voter::Own, epoch, Wanted::Lease);
        }
    }

    fn win(&mut self, now: Instant) {
        let State::Asking { epoch, granted, .. } = &mut self.state else {
            return;
        };
        let epoch = *epoch;
        self.highest = self.highest.max(epoch);
        self.state = State::Holding {
            epoch,
            until: std::mem::take(granted),
            rounds: VecDeque::new(),
            ask_at: now,
            alone: Alone::No,
            times: 0,
        };
        // Until the other member has shown that it holds everything, this one is alone.
        self.go_alone();
    }

    fn ask_for_more(&mut self, now: Instant) {
        self.nonce += 1;
        let nonce = self.nonce;
        let State::Holding {
            epoch,
            rounds,
            ask_at,
            alone,
            ..
        } = &mut self.state
        else {
            return;
        };
        let what = match alone {
            Alone::Telling { .. } | Alone::Yes => Wanted::LeaseAlone,
            Alone::No | Alone::Keeping(_) => Wanted::Lease,
        };
        *ask_at = now + Self::ASK_EVERY;
        if rounds.len() >= Self::ROUNDS_MAX {
            rounds.pop_front();
        }
        rounds.push_back(Round {
            nonce,
            asked_at: now,
            alone: (what == Wanted::LeaseAlone).then_some(self.history),
        });
        let epoch = *epoch;
        self.ask_all(epoch, what);
    }

    fn ask_all(&mut self, epoch: Epoch, what: Wanted) {
        for voter in self.voters.clone() {
            self.ask(voter, epoch, what);
        }
    }

    fn ask(&mut self, voter: Voter, epoch: Epoch, what: Wanted) {
        let ask = Ask {
            nonce: self.nonce,
            epoch,
            history: self.history,
            what,
        };
        self.outbox.push_back(SeatOutput::Ask(voter, ask));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn edge() -> Voter {
        Voter::Edge("edge-1".to_owned())
    }

    fn seat() -> Seat {
        let edges = ["edge-1".to_owned()];
        Seat::new(Place::First, edges, History::FOUNDING, Epoch::NONE, at(0))
    }

    fn asked(seat: &mut Seat) -> Vec<(Voter, Ask)> {
        let mut asked = Vec::new();
        while let Some(output) = seat.poll_output() {
            match output {
                SeatOutput::Ask(voter, ask) => asked.push((voter, ask)),
                SeatOutput::Keep(history) => seat.handle_kept(history, at(0)),
                SeatOutput::GiveBack(_) => {}
            }
        }
        asked
    }

    /// Everybody named grants what it was asked last.
    fn grant(seat: &mut Seat, from: &[Voter], millis: u64) -> Vec<(Voter, Ask)> {
        let asks = asked(seat);
        for (voter, ask) in &asks {
            if from.contains(voter) {
                let vote = Vote {
                    nonce: ask.nonce,
                    promised: ask.epoch,
                    verdict: Verdict::Granted,
                };
                seat.handle_vote(voter.clone(), vote, at(millis));
            }
        }
        asks
    }

    fn won(from: &[Voter]) -> Seat {
        let mut seat = seat();
        seat.handle_timeout(at(0));
        for _ in 0..4 {
            grant(&mut seat, from, 0);
        }
        seat
    }

    #[test]
    fn a_majority_with_its_own_vote_wins_and_its_own_is_asked_last() {
        let mut seat = seat();
        seat.handle_timeout(at(0));
        let opinions = grant(&mut seat, &[Voter::Own, edge()], 10);
        assert!(opinions.iter().all(|(_, ask)| ask.what == Wanted::Opinion));
        let firm = grant(&mut seat, &[edge()], 20);
        assert!(firm.iter().all(|(voter, ask)| {
            *voter != Voter::Own && ask.what == Wanted::Lease && ask.epoch == Epoch(1)
        }));
        assert_eq!(seat.epoch(at(20)), None);
        let own = grant(&mut seat, &[Voter::Own], 30);
        assert!(matches!(&own[..], [(Voter::Own, _)]), "{own:?}");
        // From when it asked, not from when it was granted.
        assert_eq!(seat.epoch(at(30)), Some(Epoch(1)));
        assert_eq!(seat.lease_end(), Some(at(10) + Seat::HOLD));
        // One vote of three is nothing, its own included.
        assert_eq!(won(&[Voter::Own]).epoch(at(0)), None);
        assert_eq!(won(&[edge(), Voter::Peer]).epoch(at(0)), None);
        assert_eq!(won(&[Voter::Own, Voter::Peer]).epoch(at(0)), Some(Epoch(1)));
    }

    #[test]
    fn it_is_alone_once_a_majority_was_told_of_this_time() {
        let both = [Voter::Own, edge()];
        let mut seat = won(&both);
        assert!(!seat.is_alone(), "nobody was told yet");
        seat.handle_timeout(at(100));
        let told = grant(&mut seat, &both, 110);
        assert!(told.iter().all(|(_, ask)| ask.what == Wanted::LeaseAlone));
        assert!(seat.is_alone());
        let first = seat.history();
        assert_eq!((first.epoch, first.alone), (Epoch(1), 1));
        // In step again, and away again: an answer to the first telling does not count.
        seat.handle_timeout(at(500));
        let late = asked(&mut seat);
        seat.rejoin();
        seat.go_alone();
        asked(&mut seat);
        for (voter, ask) in late {
            let vote = Vote {
                nonce: ask.nonce,
                promised: ask.epoch,
                verdict: Verdict::Granted,
            };
            seat.handle_vote(voter, vote, at(510));
        }
        assert!(!seat.is_alone());
        assert_eq!(seat.history().alone, 2);
    }

    #[test]
    fn a_lease_that_ran_out_or_was_outbid_is_over_for_good() {
        let both = [Voter::Own, edge()];
        let mut seat = won(&both);
        let end = seat.lease_end().unwrap();
        seat.handle_timeout(end);
        assert_eq!(seat.over(), Some("the lease ran out"));
        let mut seat = won(&both);
        let vote = Vote {
            nonce: 0,
            promised: Epoch(2),
            verdict: Verdict::Outbid,
        };
        seat.handle_vote(edge(), vote, at(1));
        assert_eq!(seat.over(), Some("another epoch was promised"));
        assert_eq!((seat.epoch(at(1)), seat.wake()), (None, None));
        // Whoever is no witness of this pair says nothing.
        let mut seat = won(&both);
        seat.handle_vote(Voter::Edge("edge-2".to_owned()), vote, at(1));
        assert_eq!(seat.over(), None);
    }
}
