//! Bulk commands: selected, confirmed, sent once, verified by reading.
//!
//! A meter is sent an order only after a journal entry says so durably. When the answer is lost,
//! or the program between entry and answer, the meter's state is read; the order goes out again
//! only if it shows that the first one had no effect. By then it cannot have one any more: the
//! reading used a higher invocation counter, so the meter takes the old order for a replay.

mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_core::{MeterId, UtcTime, Wake};

pub use words::{
    Command, CommandError, CommandEvent, CommandId, End, Entry, Happened, Order, Output, Progress,
};

use crate::session::{SessionError, StepError, StepValue};
use words::Judgement;

/// How commands are paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandConfig {
    /// Meters of one command that are submitted at once.
    pub outstanding_max: usize,
    /// How long a selection waits for its confirmation.
    pub selection_timeout: Duration,
    /// The wait before an order is sent or looked for again; it doubles each time.
    pub wait: Duration,
    /// How long it is tried to find out what came of an order.
    pub looking_max: Duration,
}

/// Where a meter's part of a command stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Its turn has not come.
    Queued,
    /// Its turn came while an earlier command for the meter was under way.
    Blocked,
    /// The schedule was asked for a session.
    Submitted,
    /// The journal entry is being written.
    Journaling,
    /// The session runs.
    Sending,
    /// It was sent, nobody knows with what outcome; the schedule was asked for a look.
    Doubtful {
        until: UtcTime,
    },
    /// The look runs.
    Looking {
        until: UtcTime,
    },
    Settled(End),
}

/// What an entry that became durable lets happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Begin(CommandId),
    Run(CommandId, MeterId),
    Nothing,
}

/// One meter's part.
#[derive(Debug)]
struct Target {
    part: Part,
    /// Sessions that were to send the order.
    sends: u8,
    /// Sessions that did not settle it.
    fruitless: u8,
}

/// Whether further targets may be submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The confirmation is not durable yet.
    Confirming,
    Running,
    /// Expired or taken back.
    Ending,
}

#[derive(Debug)]
struct Open {
    command: Command,
    phase: Phase,
    targets: BTreeMap<MeterId, Target>,
    /// Targets before this place had their turn.
    cursor: usize,
    outstanding: usize,
    progress: Progress,
}

/// All bulk commands that are selected or under way.
#[derive(Debug)]
pub struct CommandBook {
    config: CommandConfig,
    selected: BTreeMap<CommandId, (Command, UtcTime)>,
    open: BTreeMap<CommandId, Open>,
    /// The commands of each meter in the order of their confirmation; only the first one acts.
    by_meter: BTreeMap<MeterId, VecDeque<CommandId>>,
    timers: BTreeSet<(UtcTime, CommandId)>,
    next_seq: u64,
    journaling: BTreeMap<u64, Then>,
    outbox: VecDeque<Output>,
}

impl CommandBook {
    /// Commands selected or under way; one more is refused.
    pub const COMMANDS_MAX: usize = 1_024;
    /// Meters of one command; more are refused.
    pub const TARGETS_MAX: usize = 262_144;
    /// Commands that wait for one meter; one more is refused.
    pub const PER_METER_MAX: usize = 16;
    /// How often one meter is sent one order; then it failed.
    pub const ATTEMPTS_MAX: u8 = 3;

    /// No commands.
    ///
    /// # Panics
    ///
    /// If none may be outstanding.
    pub const fn new(config: CommandConfig) -> Self {
        assert!(config.outstanding_max > 0, "a command needs sessions");
        Self {
            config,
            selected: BTreeMap::new(),
            open: BTreeMap::new(),
            by_meter: BTreeMap::new(),
            timers: BTreeSet::new(),
            next_seq: 1,
            journaling: BTreeMap::new(),
            outbox: VecDeque::new(),
        }
    }

    /// After a restart: the journal's entries in their order. Orders that were being sent are
    /// looked for, not sent again.
    pub fn restore(
        config: CommandConfig,
        entries: impl IntoIterator<Item = Entry>,
        now: UtcTime,
    ) -> Self {
        let mut book = Self::new(config);
        let mut begun: Vec<CommandId> = Vec::new();
        let mut cancelled: BTreeSet<CommandId> = BTreeSet::new();
        for entry in entries {
            match entry {
                Entry::Confirmed(command) => {
                    begun.push(command.id);
                    book.enlist(command);
                }
                Entry::Sending(id, meter) => {
                    if let Some(open) = book.open.get_mut(&id) {
                        let until = now + config.looking_max;
                        open.change(meter, Part::Doubtful { until });
                    }
                }
                Entry::Settled(id, meter, end) => {
                    if let Some(open) = book.open.get_mut(&id) {
                        open.change(meter, Part::Settled(end));
                    }
                }
                Entry::Cancelled(id) => {
                    cancelled.insert(id);
                }
            }
        }
        for id in &begun {
            let settled: Vec<MeterId> = book.open[id]
                .meters(|part| matches!(part, Part::Settled(_)))
                .collect();
            for meter in settled {
                book.leave_queue(*id, meter);
            }
        }
        book.open.retain(|_, open| !open.progress.is_closed());
        for id in begun {
            let Some(open) = book.open.get(&id) else {
                continue;
            };
            let over = open.command.expires <= now;
            let doubtful: Vec<MeterId> = open
                .meters(|part| matches!(part, Part::Doubtful { .. }))
                .collect();
            for meter in doubtful {
                book.submit_look(id, meter, now);
            }
            if cancelled.contains(&id) {
                book.withdraw_unsent(id, &End::Cancelled, now);
            } else if over {
                book.withdraw_unsent(id, &End::Expired, now);
            } else {
                book.begin(id, now);
            }
        }
        let open: BTreeSet<CommandId> = book.open.keys().copied().collect();
        book.timers.retain(|(_, id)| open.contains(id));
        book
    }

    /// Step one: an operator selects a command. Nothing is sent.
    ///
    /// # Errors
    ///
    /// A command that cannot be carried out; see [`CommandError`].
    pub fn select(&mut self, command: Command, now: UtcTime) -> Result<(), CommandError> {
        self.expect_drained();
        let id = command.id;
        if self.selected.contains_key(&id) || self.open.contains_key(&id) {
            return Err(CommandError::Known(id));
        }
        if self.selected.len() + self.open.len() >= Self::COMMANDS_MAX {
            return Err(CommandError::Full(id));
        }
        let targets = command.targets.len();
        let distinct: BTreeSet<&MeterId> = command.targets.iter().collect();
        if targets == 0 || targets > Self::TARGETS_MAX || distinct.len() != targets {
            let max = Self::TARGETS_MAX;
            return Err(CommandError::Targets { id, targets, max });
        }
        if command.expires <= now {
            let expires = command.expires;
            return Err(CommandError::Expired { id, expires });
        }
        self.audit(
            now,
            id,
            None,
            Happened::Selected {
                by: command.author.clone(),
                reason: command.reason.clone(),
                targets,
            },
        );
        let until = now + self.config.selection_timeout;
        self.timers.insert((until, id));
        self.selected.insert(id, (command, until));
        Ok(())
    }

    /// Step two: an operator confirms what was selected. It is sent once that is durable.
    ///
    /// # Errors
    ///
    /// No such selection, a command that expired meanwhile, or a meter with too many.
    pub fn confirm(&mut self, id: CommandId, by: &str, now: UtcTime) -> Result<(), CommandError> {
        self.expect_drained();
        let Some((command, until)) = self.selected.get(&id) else {
            return Err(CommandError::Unknown(id));
        };
        let until = *until;
        if now >= until {
            return Err(CommandError::Unknown(id));
        }
        if command.expires <= now {
            let expires = command.expires;
            return Err(CommandError::Expired { id, expires });
        }
        let full = command.targets.iter().find(|meter| {
            let waiting = self.by_meter.get(meter);
            waiting.is_some_and(|waiting| waiting.len() >= Self::PER_METER_MAX)
        });
        if let Some(&meter) = full {
            return Err(CommandError::MeterFull { id, meter });
        }
        let (command, _) = self.selected.remove(&id).expect("it was just seen");
        self.timers.remove(&(until, id));
        let happened = Happened::Confirmed { by: by.to_owned() };
        self.audit(now, id, None, happened);
        self.journal(Entry::Confirmed(command.clone()), Then::Begin(id));
        self.enlist(command);
        Ok(())
    }

    /// Takes a selection or a command back. What was sent is still followed to its end.
    ///
    /// # Errors
    ///
    /// No such command.
    pub fn cancel(&mut self, id: CommandId, by: &str, now: UtcTime) -> Result<(), CommandError> {
        self.expect_drained();
        let happened = Happened::Cancelled { by: by.to_owned() };
        if let Some((_, until)) = self.selected.remove(&id) {
            self.timers.remove(&(until, id));
            self.audit(now, id, None, happened);
            return Ok(());
        }
        if !self.open.contains_key(&id) {
            return Err(CommandError::Unknown(id));
        }
        self.audit(now, id, None, happened);
        self.journal(Entry::Cancelled(id), Then::Nothing);
        self.withdraw_unsent(id, &End::Cancelled, now);
        Ok(())
    }

    /// Everything journaled up to `seq` is durable.
    pub fn handle_journaled(&mut self, seq: u64, now: UtcTime) {
        self.expect_drained();
        let later = self.journaling.split_off(&(seq + 1));
        let durable = std::mem::replace(&mut self.journaling, later);
        for then in durable.into_values() {
            match then {
                Then::Nothing => {}
                Then::Begin(id) => self.begin(id, now),
                Then::Run(command, meter) => {
                    let open = self.open.get_mut(&command).expect("it is being sent");
                    open.change(meter, Part::Sending);
                    let steps = open.command.order.steps();
                    self.audit(now, command, Some(meter), Happened::Sending);
                    self.outbox.push_back(Output::Run {
                        command,
                        meter,
                        steps,
                    });
                }
            }
        }
    }

    /// The schedule grants a session. `false` if nobody wants it any more.
    pub fn handle_started(&mut self, command: CommandId, meter: MeterId) -> bool {
        self.expect_drained();
        let Some(open) = self.open.get_mut(&command) else {
            return false;
        };
        match open.part(meter) {
            Some(Part::Submitted) => {
                open.change(meter, Part::Journaling);
                self.journal(Entry::Sending(command, meter), Then::Run(command, meter));
                true
            }
            Some(&Part::Doubtful { until }) => {
                open.change(meter, Part::Looking { until });
                let steps = open.command.order.looking_steps();
                self.outbox.push_back(Output::Run {
                    command,
                    meter,
                    steps,
                });
                true
            }
            Some(_) | None => false,
        }
    }

    /// The schedule gives up: no session in time.
    pub fn handle_not_started(&mut self, command: CommandId, meter: MeterId, now: UtcTime) {
        self.expect_drained();
        match self.open.get(&command).and_then(|open| open.part(meter)) {
            Some(Part::Submitted) => self.settle(command, meter, End::Expired, now),
            Some(Part::Doubtful { .. }) => {
                let why = "outcome unknown: the meter could not be reached to look";
                self.settle(command, meter, End::Failed(why.to_owned()), now);
            }
            Some(_) | None => {}
        }
    }

    /// The session of [`Output::Run`] ended, with the results of its steps in order, and how it
    /// ended as a whole.
    ///
    /// # Panics
    ///
    /// If nothing was to be run.
    pub fn handle_results(
        &mut self,
        command: CommandId,
        meter: MeterId,
        results: &[Result<StepValue, StepError>],
        ended: &Result<(), SessionError>,
        now: UtcTime,
    ) {
        self.expect_drained();
        let open = self.open.get_mut(&command).expect("it runs");
        let target = open.targets.get_mut(&meter).expect("it runs");
        let looks = match target.part {
            Part::Sending => None,
            Part::Looking { until } => Some(until),
            Part::Queued
            | Part::Blocked
            | Part::Submitted
            | Part::Journaling
            | Part::Doubtful { .. }
            | Part::Settled(_) => panic!("only a running part has results"),
        };
        target.sends += u8::from(looks.is_none());
        target.fruitless = target.fruitless.saturating_add(1);
        let sends = target.sends;
        let doublings = u32::from(target.fruitless - 1).min(16);
        let wait = self.config.wait.saturating_mul(1 << doublings);
        let judgement = match looks {
            None => open.command.order.judge(results, ended),
            Some(_) => open.command.order.judge_look(results, ended),
        };
        match judgement {
            Judgement::Verified => self.settle(command, meter, End::Verified, now),
            Judgement::Refused(why) => self.settle(command, meter, End::Failed(why), now),
            Judgement::Doubtful(why) => {
                let until = looks.unwrap_or(now + self.config.looking_max);
                if now + wait >= until {
                    let why = format!("outcome unknown: {why}");
                    return self.settle(command, meter, End::Failed(why), now);
                }
                open.change(meter, Part::Doubtful { until });
                self.audit(now, command, Some(meter), Happened::Doubtful { why });
                self.submit_look(command, meter, now + wait);
            }
            Judgement::NotDone(why) => {
                let expires = open.command.expires;
                if now + wait >= expires {
                    self.settle(command, meter, End::Expired, now);
                } else if sends >= Self::ATTEMPTS_MAX {
                    self.settle(command, meter, End::Failed(why), now);
                } else {
                    open.change(meter, Part::Submitted);
                    self.audit(now, command, Some(meter), Happened::Again { why });
                    self.submit(command, meter, now + wait);
                }
            }
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: UtcTime) {
        self.expect_drained();
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.remove(&(at, id));
            if self.selected.remove(&id).is_some() {
                self.audit(now, id, None, Happened::SelectionLapsed);
            } else {
                self.withdraw_unsent(id, &End::Expired, now);
            }
        }
    }

    /// When to come back.
    pub fn wake(&self) -> Wake {
        Wake {
            instant: None,
            utc: self.timers.first().map(|(at, _)| (*at, "a command's age")),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// How a command stands; `None` when it is closed or was never confirmed.
    pub fn progress(&self, id: CommandId) -> Option<Progress> {
        self.open.get(&id).map(|open| open.progress)
    }

    fn expect_drained(&self) {
        assert!(
            self.outbox.is_empty(),
            "host must drain outputs between inputs"
        );
    }

    fn enlist(&mut self, command: Command) {
        let id = command.id;
        self.timers.insert((command.expires, id));
        for meter in &command.targets {
            self.by_meter.entry(*meter).or_default().push_back(id);
        }
        let targets: BTreeMap<MeterId, Target> = command
            .targets
            .iter()
            .map(|meter| {
                let target = Target {
                    part: Part::Queued,
                    sends: 0,
                    fruitless: 0,
                };
                (*meter, target)
            })
            .collect();
        self.open.insert(
            id,
            Open {
                progress: Progress {
                    queued: targets.len(),
                    ..Progress::default()
                },
                command,
                phase: Phase::Confirming,
                targets,
                cursor: 0,
                outstanding: 0,
            },
        );
    }

    /// A confirmed command is durable: earlier ones that switch the same supplies and were not
    /// sent are void, then it goes out as pace allows.
    fn begin(&mut self, id: CommandId, now: UtcTime) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        if open.phase != Phase::Confirming {
            return;
        }
        open.phase = Phase::Running;
        if open.command.order.is_supply() {
            let targets = open.command.targets.clone();
            for meter in targets {
                let earlier: Vec<CommandId> =
                    self.by_meter.get(&meter).map_or_else(Vec::new, |queue| {
                        queue
                            .iter()
                            .copied()
                            .take_while(|other| *other != id)
                            .collect()
                    });
                for other in earlier {
                    let void = self.open.get(&other).is_some_and(|open| {
                        open.command.order.is_supply() && open.is_unsent(meter)
                    });
                    if void {
                        self.end_unsent(other, meter, End::Superseded(id), now);
                    }
                }
            }
        }
        self.advance(id, now);
    }

    /// Submits further targets as far as pace allows.
    fn advance(&mut self, id: CommandId, now: UtcTime) {
        loop {
            let Some(open) = self.open.get_mut(&id) else {
                return;
            };
            if open.phase != Phase::Running || open.outstanding >= self.config.outstanding_max {
                return;
            }
            let Some(&meter) = open.command.targets.get(open.cursor) else {
                return;
            };
            open.cursor += 1;
            self.submit_if_first(id, meter, now);
        }
    }

    /// Submits a target if no earlier command for its meter is under way.
    fn submit_if_first(&mut self, id: CommandId, meter: MeterId, now: UtcTime) {
        let first = self.by_meter.get(&meter).and_then(|queue| queue.front());
        let open = self.open.get_mut(&id).expect("it is under way");
        if !matches!(open.part(meter), Some(Part::Queued | Part::Blocked)) {
            return;
        }
        if first == Some(&id) {
            open.change(meter, Part::Submitted);
            self.submit(id, meter, now);
        } else {
            open.change(meter, Part::Blocked);
        }
    }

    fn submit(&mut self, command: CommandId, meter: MeterId, not_before: UtcTime) {
        let deadline = self.open[&command].command.expires;
        self.outbox.push_back(Output::Submit {
            command,
            meter,
            not_before,
            deadline,
        });
    }

    fn submit_look(&mut self, command: CommandId, meter: MeterId, not_before: UtcTime) {
        if let Some(&Part::Doubtful { until }) = self.open[&command].part(meter) {
            let deadline = until;
            self.outbox.push_back(Output::Submit {
                command,
                meter,
                not_before,
                deadline,
            });
        }
    }

    /// Ends the parts of a command that were not sent.
    fn withdraw_unsent(&mut self, id: CommandId, end: &End, now: UtcTime) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        open.phase = Phase::Ending;
        let unsent: Vec<MeterId> = open.meters(Part::is_unsent).collect();
        for meter in unsent {
            self.end_unsent(id, meter, end.clone(), now);
        }
    }

    fn end_unsent(&mut self, command: CommandId, meter: MeterId, end: End, now: UtcTime) {
        if self.open[&command].part(meter) == Some(&Part::Submitted) {
            self.outbox.push_back(Output::Withdraw { command, meter });
        }
        self.settle(command, meter, end, now);
    }

    fn settle(&mut self, id: CommandId, meter: MeterId, end: End, now: UtcTime) {
        let open = self.open.get_mut(&id).expect("only open commands settle");
        open.change(meter, Part::Settled(end.clone()));
        self.journal(Entry::Settled(id, meter, end.clone()), Then::Nothing);
        self.audit(now, id, Some(meter), Happened::Settled(end));
        let next = self.leave_queue(id, meter);
        let open = &self.open[&id];
        if open.progress.is_closed() {
            let progress = open.progress;
            self.timers.remove(&(open.command.expires, id));
            self.open.remove(&id);
            self.audit(now, id, None, Happened::Closed(progress));
        } else {
            self.advance(id, now);
        }
        if let Some(next) = next
            && let Some(open) = self.open.get(&next)
            && open.part(meter) == Some(&Part::Blocked)
        {
            self.submit_if_first(next, meter, now);
        }
    }

    /// Removes a command from a meter's queue, and returns who is first now.
    fn leave_queue(&mut self, id: CommandId, meter: MeterId) -> Option<CommandId> {
        let queue = self.by_meter.get_mut(&meter)?;
        queue.retain(|other| *other != id);
        let first = queue.front().copied();
        if first.is_none() {
            self.by_meter.remove(&meter);
        }
        first
    }

    fn journal(&mut self, entry: Entry, then: Then) {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.journaling.insert(seq, then);
        self.outbox.push_back(Output::Journal { seq, entry });
    }

    fn audit(&mut self, at: UtcTime, command: CommandId, meter: Option<MeterId>, what: Happened) {
        self.outbox.push_back(Output::Audit(CommandEvent {
            at,
            command,
            meter,
            what,
        }));
    }
}

impl Part {
    /// Whether the order has not left, so that it can be taken back.
    const fn is_unsent(&self) -> bool {
        matches!(self, Self::Queued | Self::Blocked | Self::Submitted)
    }

    /// Whether it counts towards the pace of its command.
    const fn is_outstanding(&self) -> bool {
        !matches!(self, Self::Queued | Self::Blocked | Self::Settled(_))
    }
}

impl Open {
    fn part(&self, meter: MeterId) -> Option<&Part> {
        self.targets.get(&meter).map(|target| &target.part)
    }

    fn is_unsent(&self, meter: MeterId) -> bool {
        self.part(meter).is_some_and(Part::is_unsent)
    }

    /// The meters whose part stands so.
    fn meters(&self, stands: impl Fn(&Part) -> bool) -> impl Iterator<Item = MeterId> {
        self.targets
            .iter()
            .filter(move |(_, target)| stands(&target.part))
            .map(|(meter, _)| *meter)
    }

    /// Changes a part, and the counts with it.
    fn change(&mut self, meter: MeterId, to: Part) {
        let Some(target) = self.targets.get_mut(&meter) else {
            return;
        };
        let from = std::mem::replace(&mut target.part, to.clone());
        *self.progress.of(&from) -= 1;
        *self.progress.of(&to) += 1;
        self.outstanding += usize::from(to.is_outstanding());
        self.outstanding -= usize::from(from.is_outstanding());
    }
}

impl Progress {
    const fn of(&mut self, part: &Part) -> &mut usize {
        match part {
            Part::Queued | Part::Blocked | Part::Submitted => &mut self.queued,
            Part::Journaling | Part::Sending => &mut self.sending,
            Part::Doubtful { .. } | Part::Looking { .. } => &mut self.doubtful,
            Part::Settled(End::Verified) => &mut self.verified,
            Part::Settled(End::Failed(_)) => &mut self.failed,
            Part::Settled(End::Expired) => &mut self.expired,
            Part::Settled(End::Cancelled) => &mut self.cancelled,
            Part::Settled(End::Superseded(_)) => &mut self.superseded,
        }
    }
}
