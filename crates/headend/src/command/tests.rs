//! Named transitions, and crashes at every point against meters that count what they execute.

use super::*;
use crate::session::{ControlState, Supply};
use gridloom_core::ObisCode;
use gridloom_core::seed::Rng;
use gridloom_dlms::apdu::AttributeDescriptor;
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::ClientError;
use rand_core::{Rng as _, SeedableRng as _};

const MINUTE: Duration = Duration::from_secs(60);

fn config() -> CommandConfig {
    CommandConfig {
        outstanding_max: 2,
        selection_timeout: MINUTE * 5,
        wait: MINUTE,
        looking_max: MINUTE * 600,
    }
}

fn at(minutes: i64) -> UtcTime {
    UtcTime::from_secs(minutes * 60)
}

fn command(id: u64, order: Order, meters: impl IntoIterator<Item = u32>) -> Command {
    Command {
        id: CommandId(id),
        author: "anna".to_owned(),
        reason: "unpaid".to_owned(),
        order,
        targets: meters.into_iter().map(MeterId).collect(),
        expires: at(60),
    }
}

fn drain(book: &mut CommandBook) -> Vec<Output> {
    std::iter::from_fn(|| book.poll_output()).collect()
}

/// Drains, makes every entry durable, and returns what else came.
fn settle(book: &mut CommandBook, now: UtcTime) -> Vec<Output> {
    let mut rest = Vec::new();
    loop {
        let mut last = None;
        for output in drain(book) {
            match output {
                Output::Journal { seq, .. } => last = Some(seq),
                Output::Audit(_) => {}
                Output::Submit { .. } | Output::Withdraw { .. } | Output::Run { .. } => {
                    rest.push(output);
                }
            }
        }
        match last {
            Some(seq) => book.handle_journaled(seq, now),
            None => return rest,
        }
    }
}

fn confirmed(command: Command) -> (CommandBook, Vec<Output>) {
    let mut book = CommandBook::new(config());
    let id = command.id;
    book.select(command, at(0)).unwrap();
    assert_eq!(settle(&mut book, at(0)), [], "a selection sends nothing");
    book.confirm(id, "bert", at(1)).unwrap();
    let outputs = settle(&mut book, at(1));
    (book, outputs)
}

fn submissions(outputs: &[Output]) -> Vec<(u64, u32)> {
    let submissions = outputs.iter().filter_map(|output| {
        if let Output::Submit { command, meter, .. } = output {
            Some((command.0, meter.0))
        } else {
            None
        }
    });
    submissions.collect()
}

const ONE: CommandId = CommandId(1);

fn off() -> Vec<Result<StepValue, StepError>> {
    vec![Ok(StepValue::Supply(Supply {
        output: false,
        control: ControlState::Disconnected,
    }))]
}

fn on() -> Vec<Result<StepValue, StepError>> {
    vec![Ok(StepValue::Supply(Supply {
        output: true,
        control: ControlState::Connected,
    }))]
}

fn lost() -> Vec<Result<StepValue, StepError>> {
    vec![Err(StepError::OutcomeUnknown(ClientError::Disconnected))]
}

/// Starts a part whose session was granted; the steps that it runs.
fn start(book: &mut CommandBook, id: CommandId, meter: u32, now: UtcTime) -> Vec<Output> {
    assert!(book.handle_started(id, MeterId(meter)));
    settle(book, now)
}

fn results(
    book: &mut CommandBook,
    meter: u32,
    results: &[Result<StepValue, StepError>],
    now: UtcTime,
) -> Vec<Output> {
    book.handle_results(ONE, MeterId(meter), results, &Ok(()), now);
    settle(book, now)
}

#[test]
fn nothing_is_sent_before_it_is_confirmed_and_durable() {
    let mut book = CommandBook::new(config());
    book.select(command(1, Order::Disconnect, [1, 2, 3]), at(0))
        .unwrap();
    drain(&mut book);
    assert!(book.confirm(CommandId(9), "bert", at(1)).is_err());
    book.confirm(ONE, "bert", at(1)).unwrap();
    let outputs = drain(&mut book);
    assert_eq!(submissions(&outputs), [], "not durable yet");
    book.handle_journaled(1, at(1));
    let outputs = drain(&mut book);
    assert_eq!(submissions(&outputs), [(1, 1), (1, 2)], "as pace allows");
    assert!(book.handle_started(ONE, MeterId(1)));
    let outputs = drain(&mut book);
    let [Output::Journal { seq, entry }] = &outputs[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(*entry, Entry::Sending(ONE, MeterId(1)));
    book.handle_journaled(*seq, at(1));
    let outputs = drain(&mut book);
    assert!(matches!(
        outputs[..],
        [
            Output::Audit(CommandEvent {
                what: Happened::Sending,
                ..
            }),
            Output::Run { .. }
        ]
    ));
    let outputs = results(&mut book, 1, &off(), at(2));
    assert_eq!(submissions(&outputs), [(1, 3)]);
    let progress = book.progress(ONE).unwrap();
    assert_eq!((progress.verified, progress.queued), (1, 2));
}

#[test]
fn a_selection_lapses() {
    let mut book = CommandBook::new(config());
    book.select(command(1, Order::Connect, [1]), at(0)).unwrap();
    drain(&mut book);
    assert_eq!(book.wake().utc, Some((at(5), "a command's age")));
    book.handle_timeout(at(5));
    assert!(matches!(
        drain(&mut book)[..],
        [Output::Audit(CommandEvent {
            what: Happened::SelectionLapsed,
            ..
        })]
    ));
    let refused = book.confirm(ONE, "bert", at(5));
    assert_eq!(refused, Err(CommandError::Unknown(ONE)));
}

#[test]
fn what_cannot_be_commanded_is_refused() {
    let mut book = CommandBook::new(config());
    let mut refused = |command| book.select(command, at(0)).is_err();
    assert!(refused(command(1, Order::Connect, [])));
    assert!(refused(command(1, Order::Connect, [1, 1])));
    let mut old = command(1, Order::Connect, [1]);
    old.expires = at(0);
    assert!(refused(old));
    for id in 0..20 {
        book.select(command(id, Order::Connect, [1]), at(0))
            .unwrap();
        drain(&mut book);
        let result = book.confirm(CommandId(id), "bert", at(0));
        let order_blocks = id >= CommandBook::PER_METER_MAX as u64;
        assert_eq!(result.is_err(), order_blocks, "{id}");
        drain(&mut book);
    }
}

#[test]
fn a_lost_answer_is_looked_for_and_not_repeated() {
    let (mut book, _) = confirmed(command(1, Order::Disconnect, [1]));
    start(&mut book, ONE, 1, at(1));
    let outputs = results(&mut book, 1, &lost(), at(2));
    assert_eq!(submissions(&outputs), [(1, 1)]);
    let outputs = start(&mut book, ONE, 1, at(3));
    let [Output::Run { steps, .. }] = &outputs[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(steps[..], [crate::session::Step::ReadSupply]);
    assert_eq!(book.progress(ONE).unwrap().doubtful, 1);
    results(&mut book, 1, &off(), at(4));
    assert_eq!(book.progress(ONE), None, "verified, so closed");
}

#[test]
fn an_order_without_effect_goes_out_again_a_few_times() {
    let (mut book, _) = confirmed(command(1, Order::Disconnect, [1]));
    for attempt in 1..=CommandBook::ATTEMPTS_MAX {
        start(&mut book, ONE, 1, at(1));
        results(&mut book, 1, &lost(), at(2));
        let outputs = start(&mut book, ONE, 1, at(3));
        assert!(matches!(outputs[..], [Output::Run { .. }]));
        book.handle_results(ONE, MeterId(1), &on(), &Ok(()), at(4));
        let failed = drain(&mut book).into_iter().any(|output| {
            matches!(
                output,
                Output::Audit(CommandEvent {
                    what: Happened::Settled(End::Failed(_)),
                    ..
                })
            )
        });
        assert_eq!(failed, attempt == CommandBook::ATTEMPTS_MAX);
    }
    assert_eq!(book.progress(ONE), None);
}

#[test]
fn results_end_a_part_by_name() {
    let attribute = AttributeDescriptor {
        class_id: 1,
        instance: ObisCode([0, 0, 96, 1, 0, 255]),
        attribute: 2,
    };
    let set = Order::Set {
        attribute,
        value: Data::Unsigned(5),
    };
    let read = |value| Ok(StepValue::Data(Data::Unsigned(value)));
    let wrong_key = crate::session::SessionError::Client(ClientError::Key);
    let skipped = || vec![Err(StepError::Skipped)];
    let away = ClientError::TimedOut { after: MINUTE };
    type Case = (
        Order,
        Vec<Result<StepValue, StepError>>,
        Result<(), SessionError>,
        &'static str,
    );
    let cases: [Case; 8] = [
        (Order::Disconnect, off(), Ok(()), "verified"),
        (
            set.clone(),
            vec![Ok(StepValue::Written), read(5)],
            Ok(()),
            "verified",
        ),
        (
            set.clone(),
            vec![Ok(StepValue::Written), read(6)],
            Ok(()),
            "reads otherwise",
        ),
        (
            set,
            vec![Ok(StepValue::Written), Err(StepError::Skipped)],
            Ok(()),
            "doubtful",
        ),
        (Order::Disconnect, lost(), Ok(()), "doubtful"),
        (
            Order::Disconnect,
            skipped(),
            Err(wrong_key),
            "key: the server cannot decipher",
        ),
        (Order::Disconnect, skipped(), Err(away.into()), "again"),
        (
            Order::Disconnect,
            vec![Err(StepError::Client(ClientError::Object(
                gridloom_dlms::apdu::DataAccessResult::ReadWriteDenied,
                attribute,
            )))],
            Ok(()),
            "access",
        ),
    ];
    for (order, results, ended, expected) in cases {
        let (mut book, _) = confirmed(command(1, order, [1]));
        start(&mut book, ONE, 1, at(1));
        book.handle_results(ONE, MeterId(1), &results, &ended, at(2));
        let what = drain(&mut book).into_iter().find_map(|output| {
            let Output::Audit(event) = output else {
                return None;
            };
            event.meter?;
            Some(if let Happened::Settled(End::Failed(why)) = event.what {
                why
            } else {
                format!("{:?}", event.what).to_lowercase()
            })
        });
        let what = what.unwrap();
        assert!(what.contains(expected), "{what}, not {expected}");
    }
}

#[test]
fn age_and_cancellation_end_what_was_not_sent() {
    type End = fn(&mut CommandBook);
    let cases: [(End, &str); 2] = [
        (|book| book.handle_timeout(at(60)), "expired"),
        (
            |book| book.cancel(ONE, "carl", at(60)).unwrap(),
            "cancelled",
        ),
    ];
    for (end, case) in cases {
        let (mut book, _) = confirmed(command(1, Order::Disconnect, [1, 2, 3, 4]));
        start(&mut book, ONE, 1, at(1));
        end(&mut book);
        let outputs = settle(&mut book, at(60));
        let withdrawn: Vec<_> = outputs
            .iter()
            .map(|output| {
                let Output::Withdraw { meter, .. } = output else {
                    panic!("{case}: {output:?}");
                };
                meter.0
            })
            .collect();
        assert_eq!(withdrawn, [2], "{case}: 3 and 4 were never submitted");
        let progress = book.progress(ONE).unwrap();
        assert_eq!(progress.expired + progress.cancelled, 3, "{case}");
        assert_eq!(progress.sending, 1, "{case}");
        assert!(!book.handle_started(ONE, MeterId(2)), "{case}");
        results(&mut book, 1, &off(), at(61));
        assert_eq!(book.progress(ONE), None, "{case}");
        assert!(book.open.is_empty() && book.by_meter.is_empty(), "{case}");
        assert_eq!(book.wake(), Wake::default(), "{case}");
    }
}

#[test]
fn a_later_switch_voids_an_earlier_one_that_was_not_sent() {
    let (mut book, _) = confirmed(command(1, Order::Disconnect, [1, 2]));
    start(&mut book, ONE, 1, at(1));
    book.select(command(2, Order::Connect, [1, 2]), at(2))
        .unwrap();
    settle(&mut book, at(2));
    book.confirm(CommandId(2), "bert", at(2)).unwrap();
    let outputs = settle(&mut book, at(2));
    assert_eq!(
        outputs[0],
        Output::Withdraw {
            command: ONE,
            meter: MeterId(2)
        }
    );
    assert_eq!(submissions(&outputs), [(2, 2)], "meter 1 is being switched");
    let outputs = results(&mut book, 1, &off(), at(3));
    assert_eq!(submissions(&outputs), [(2, 1)], "now it may");
}

/// A meter that counts what it executes.
#[derive(Default)]
struct Meter {
    is_off: bool,
    executed: u32,
}

/// The world outside the book: what is durable, what was asked of the schedule, the meters.
struct World {
    rng: Rng,
    journal: Vec<Entry>,
    /// Written but not durable yet.
    writing: VecDeque<(u64, Entry)>,
    submitted: Vec<(MeterId, UtcTime, UtcTime)>,
    running: Vec<(MeterId, bool)>,
    meters: BTreeMap<MeterId, Meter>,
    ends: BTreeMap<MeterId, End>,
}

impl World {
    fn draw(&mut self, below: u64) -> usize {
        usize::try_from(self.rng.next_u64() % below).unwrap()
    }

    fn carry_out(&mut self, book: &mut CommandBook) {
        while let Some(output) = book.poll_output() {
            match output {
                Output::Journal { seq, entry } => self.writing.push_back((seq, entry)),
                Output::Submit {
                    meter,
                    not_before,
                    deadline,
                    ..
                } => {
                    assert!(self.submitted.iter().all(|(other, ..)| *other != meter));
                    self.submitted.push((meter, not_before, deadline));
                }
                Output::Withdraw { meter, .. } => {
                    self.submitted.retain(|(other, ..)| *other != meter);
                }
                Output::Run { meter, steps, .. } => {
                    self.running.push((meter, steps[0].is_order()));
                }
                Output::Audit(event) => {
                    if let (Some(meter), Happened::Settled(end)) = (event.meter, event.what) {
                        self.ends.insert(meter, end);
                    }
                }
            }
        }
    }

    /// One session, with luck or without; what it reports.
    fn session(&mut self, meter: MeterId, orders: bool) -> Vec<Result<StepValue, StepError>> {
        let luck = self.draw(4);
        let state = self.meters.entry(meter).or_default();
        match (orders, luck) {
            (_, 0) => vec![Err(StepError::Skipped)],
            (true, 1) => lost(),
            (true, luck) => {
                state.executed += 1;
                state.is_off = true;
                if luck == 2 { lost() } else { off() }
            }
            (false, _) if state.is_off => off(),
            (false, _) => on(),
        }
    }
}

#[test]
fn no_crash_makes_a_meter_execute_twice() {
    let mut crashes = 0;
    let mut verified = 0;
    for seed in 0..300 {
        let mut world = World {
            rng: Rng::seed_from_u64(seed),
            journal: Vec::new(),
            writing: VecDeque::new(),
            submitted: Vec::new(),
            running: Vec::new(),
            meters: BTreeMap::new(),
            ends: BTreeMap::new(),
        };
        let mut book = CommandBook::new(config());
        let mut now = at(0);
        book.select(command(1, Order::Disconnect, 0..5), now)
            .unwrap();
        world.carry_out(&mut book);
        book.confirm(ONE, "bert", now).unwrap();
        world.carry_out(&mut book);
        let mut steps = 0;
        while book.progress(ONE).is_some() || !world.writing.is_empty() {
            steps += 1;
            assert!(steps < 5_000, "seed {seed}: it ends");
            match world.draw(if steps < 300 { 12 } else { 11 }) {
                0..=3 => {
                    if let Some((seq, entry)) = world.writing.pop_front() {
                        world.journal.push(entry);
                        book.handle_journaled(seq, now);
                    }
                }
                4..=6 => {
                    let ready = world.submitted.iter().position(|(_, from, _)| *from <= now);
                    if let Some(nth) = ready {
                        let (meter, _, deadline) = world.submitted.swap_remove(nth);
                        if now < deadline {
                            assert!(book.handle_started(ONE, meter));
                        } else {
                            book.handle_not_started(ONE, meter, now);
                        }
                    }
                }
                7..=9 => {
                    if let Some((meter, orders)) = world.running.pop() {
                        let results = world.session(meter, orders);
                        book.handle_results(ONE, meter, &results, &Ok(()), now);
                    }
                }
                10 => {
                    now = now + MINUTE;
                    book.handle_timeout(now);
                }
                _ => {
                    // Sessions under way run to their end without anybody hearing of it, or not.
                    for (meter, orders) in std::mem::take(&mut world.running) {
                        if world.draw(2) == 0 {
                            world.session(meter, orders);
                        }
                    }
                    crashes += 1;
                    world.writing.clear();
                    world.submitted.clear();
                    book = CommandBook::restore(config(), world.journal.clone(), now);
                    if world.journal.is_empty() {
                        break; // Never durably confirmed: nothing was sent either.
                    }
                }
            }
            world.carry_out(&mut book);
        }
        for (meter, state) in &world.meters {
            assert!(state.executed <= 1, "seed {seed}: {meter} executed twice");
            match world.ends.get(meter) {
                Some(End::Verified) => assert_eq!(state.executed, 1, "seed {seed}: {meter}"),
                Some(End::Expired) => assert_eq!(state.executed, 0, "seed {seed}: {meter}"),
                Some(_) | None => {}
            }
            verified += u32::from(world.ends.get(meter) == Some(&End::Verified));
        }
        if !world.journal.is_empty() {
            assert_eq!(world.ends.len(), 5, "seed {seed}: every part ends");
        }
    }
    assert!(crashes > 300 && verified > 600, "{crashes} {verified}");
}
