use std::time::Duration;

use super::*;
use crate::alarm::{
    AlarmDefinition, Channel, Condition, Escalation, EscalationStep, Latching, SHELF_MAX, Selection,
};
use crate::fixed::Fixed;
use crate::point::{Definition, Kind, Position, Quality, Reason, Shape, Update, Value};
use crate::unit::Unit;

const SECOND: Duration = Duration::from_secs(1);

/// An image and a book on it, run second by second.
struct Desk {
    image: Image,
    book: AlarmBook,
    second: u32,
}

fn at(second: u32) -> Now {
    Now {
        instant: Instant::ZERO + SECOND * second,
        utc: UtcTime::from_secs(1_000_000 + i64::from(second)),
    }
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

fn anna() -> Actor {
    Actor::Person("anna".into())
}

/// Points: `N.U` and `N.I` in V and A, `N.CB` double, `N.work` single, `N.dead` derived from the
/// breaker.
fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::default();
    let unit = |symbol| Kind::Measured(Unit::parse(symbol).unwrap());
    let dead = Kind::Derived {
        shape: Shape::Single,
        expression: "N.CB == open".into(),
    };
    for (name, kind) in [
        ("N.U", unit("V")),
        ("N.I", unit("A")),
        ("N.CB", Kind::Double),
        ("N.work", Kind::Single),
        ("N.dead", dead),
    ] {
        catalogue.add(Definition::new(tag(name), kind)).unwrap();
    }
    catalogue
}

fn alarm(name: &str, point: &str, condition: Condition) -> AlarmDefinition {
    let point = catalogue().find(point).unwrap();
    AlarmDefinition::new(tag(name), point, condition, Priority::High)
}

fn above(limit: i32) -> Condition {
    Condition::Above(Fixed::whole(limit))
}

fn volts(number: i32) -> Value {
    Value::Number(Fixed::whole(number))
}

impl Desk {
    fn new(alarms: Vec<AlarmDefinition>) -> Self {
        let book = AlarmBook::new(alarms, &catalogue()).unwrap();
        Self {
            image: Image::new(catalogue()).unwrap(),
            book,
            second: 0,
        }
    }

    /// Reports a value; what came of it.
    fn report(&mut self, point: &str, value: Value) -> Vec<String> {
        self.report_as(point, value, Quality::GOOD, None)
    }

    fn report_as(
        &mut self,
        point: &str,
        value: Value,
        quality: Quality,
        source_second: Option<u32>,
    ) -> Vec<String> {
        let update = Update {
            point: self.image.catalogue().find(point).unwrap(),
            value,
            quality,
            source_time: source_second.map(|second| at(second).utc),
        };
        self.image.apply(&update, at(self.second)).unwrap();
        self.image.cycle(at(self.second));
        self.book.scan(&self.image, at(self.second));
        self.effects()
    }

    /// Lets seconds pass; what came of it.
    fn pass(&mut self, seconds: u32) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..seconds {
            self.second += 1;
            if self.book.wake().is_due(at(self.second)) {
                self.book.handle_timeout(&self.image, at(self.second));
                lines.extend(self.effects());
            }
        }
        lines
    }

    fn id(&self, name: &str) -> AlarmId {
        self.book.find(name).unwrap()
    }

    fn acknowledge(&mut self, name: &str) -> usize {
        let alarm = self.id(name);
        let now = at(self.second);
        let selection = Selection::One(alarm);
        let count = self
            .book
            .acknowledge(selection, &anna(), "", &self.image, now)
            .unwrap();
        self.effects();
        count
    }

    fn effects(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(effect) = self.book.poll_effect() {
            lines.push(match effect {
                Effect::Record(record) => {
                    let first = if record.first_out { " first" } else { "" };
                    format!("{}: {} -> {}{first}", record.name, record.event, record.to)
                }
                Effect::Notify(notification) => {
                    format!(
                        "{:?} {}: {}",
                        notification.channel, notification.to, notification.text
                    )
                }
                Effect::Audit(record) => format!("audit {record}"),
                other @ (Effect::FloodBegan
                | Effect::FloodEnded
                | Effect::ChatteringBegan(_)
                | Effect::ChatteringEnded(_)) => format!("{other:?}"),
            });
        }
        lines
    }
}

#[test]
fn limits_have_delays_and_a_deadband() {
    let mut definition = alarm("high", "N.U", above(250));
    definition.deadband = Fixed::whole(5);
    definition.on_delay = SECOND * 3;
    definition.off_delay = SECOND * 2;
    let mut desk = Desk::new(vec![definition]);
    // (seconds that pass, a value then, what comes of both)
    let steps: [(u32, Option<i32>, &[&str]); 12] = [
        (1, Some(250), &[]),
        (1, Some(251), &[]),
        (2, Some(250), &[]), // Gone before its delay.
        (5, Some(260), &[]),
        (2, Some(270), &[]),
        (1, None, &["high: alarm -> unacknowledged"]),
        (1, Some(246), &[]), // Below the limit, within the deadband.
        (9, Some(245), &[]),
        (1, Some(246), &[]), // Back before the off-delay.
        (9, Some(245), &[]),
        (1, Some(200), &[]),
        (1, None, &["high: return -> returned, unacknowledged"]),
    ];
    for (step, (seconds, value, expected)) in steps.into_iter().enumerate() {
        let mut lines = desk.pass(seconds);
        if let Some(value) = value {
            lines.extend(desk.report("N.U", volts(value)));
        }
        assert_eq!(lines, expected, "step {step}");
    }
    assert_eq!(desk.acknowledge("high"), 1);
    assert_eq!(desk.acknowledge("high"), 0);
    assert_eq!(desk.book.occurrences().count(), 0);
}

#[test]
fn conditions_hold_on_their_kinds_and_bad_values_decide_nothing() {
    let mut unusable = alarm("lost", "N.U", Condition::Unusable);
    unusable.priority = Priority::Low;
    let mut desk = Desk::new(vec![
        alarm("low", "N.U", Condition::Below(Fixed::whole(200))),
        unusable,
        alarm("open", "N.CB", Condition::Is(Value::Double(Position::Open))),
        alarm(
            "odd",
            "N.CB",
            Condition::IsNot(Value::Double(Position::Closed)),
        ),
        alarm("dead", "N.dead", Condition::Is(Value::Single(true))),
    ]);
    let good = Quality::GOOD;
    let bad = Quality::bad(Reason::Fault);
    let double = Value::Double;
    let cases: [(&str, Value, Quality, &[&str]); 7] = [
        ("N.U", volts(100), bad, &["lost: alarm -> unacknowledged"]),
        (
            "N.U",
            volts(199),
            good,
            &[
                "low: alarm -> unacknowledged",
                "lost: return -> returned, unacknowledged",
            ],
        ),
        ("N.U", volts(300), bad, &["lost: alarm -> unacknowledged"]),
        (
            "N.U",
            volts(200),
            good,
            &[
                "low: return -> returned, unacknowledged",
                "lost: return -> returned, unacknowledged",
            ],
        ),
        ("N.CB", double(Position::Closed), good, &[]),
        (
            "N.CB",
            double(Position::Intermediate),
            good,
            &["odd: alarm -> unacknowledged"],
        ),
        (
            "N.CB",
            double(Position::Open),
            good,
            &[
                "open: alarm -> unacknowledged",
                "dead: alarm -> unacknowledged",
            ],
        ),
    ];
    for (point, value, quality, expected) in cases {
        assert_eq!(
            desk.report_as(point, value, quality, None),
            expected,
            "{value}"
        );
    }
}

#[test]
fn acknowledgement_goes_by_one_by_page_and_by_group() {
    let names = ["N.a", "N.b", "N.b2", "S.c"];
    let alarms = names.map(|name| alarm(name, "N.U", above(1)));
    let mut desk = Desk::new(alarms.into());
    desk.report("N.U", volts(2));
    let ids = names.map(|name| desk.id(name));
    assert_eq!(desk.book.banner(3), ids[..3]);
    let now = at(0);
    let (group, unknown) = (tag("N.b"), AlarmId(9));
    let too_many = [ids[0]; 501];
    let mut acknowledge = |selection| {
        let done = desk
            .book
            .acknowledge(selection, &anna(), "seen", &desk.image, now);
        let lines = desk.effects();
        done.map(|count| (count, lines.last().cloned().unwrap_or_default()))
    };
    let stamp = "audit 1970-01-12T13:46:40Z anna: acknowledgement of";
    assert_eq!(
        acknowledge(Selection::Group(&group)),
        Ok((1, format!("{stamp} N.b to N.b (seen): done")))
    );
    assert_eq!(
        acknowledge(Selection::Page(&ids)),
        Ok((
            3,
            format!("{stamp} page to 3 alarms: N.a N.b2 S.c (seen): done")
        ))
    );
    assert_eq!(
        acknowledge(Selection::Page(&[])),
        Err(AlarmError::Selection(0))
    );
    assert_eq!(
        acknowledge(Selection::Page(&too_many)),
        Err(AlarmError::Selection(501))
    );
    assert_eq!(
        acknowledge(Selection::One(unknown)),
        Err(AlarmError::Unknown(unknown))
    );
    assert!(
        ids.iter()
            .all(|id| desk.book.state(*id) == Ok(State::Acknowledged))
    );
    let acknowledged_by = desk
        .book
        .occurrences()
        .next()
        .unwrap()
        .2
        .acknowledged_by
        .clone();
    assert_eq!(acknowledged_by, Some(anna()));
}

#[test]
fn latched_alarms_wait_for_their_reset() {
    let mut definition = alarm("trip", "N.U", above(1));
    definition.latching = Latching::Yes;
    let mut desk = Desk::new(vec![definition]);
    desk.report("N.U", volts(2));
    assert_eq!(
        desk.report("N.U", volts(0)),
        ["trip: return -> latched, unacknowledged"]
    );
    let trip = desk.id("trip");
    let refused = desk.book.reset(trip, &anna(), &desk.image, at(0));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "alarm trip is latched, unacknowledged: it cannot reset now"
    );
    desk.acknowledge("trip");
    desk.book.reset(trip, &anna(), &desk.image, at(0)).unwrap();
    assert_eq!(desk.effects()[0], "trip: reset -> normal");
}

#[test]
fn a_shelf_has_a_limit_of_time_and_what_still_holds_comes_back() {
    let mut desk = Desk::new(vec![alarm("high", "N.U", above(250))]);
    let high = desk.id("high");
    let shelve = |desk: &mut Desk, time, reason| {
        let now = at(desk.second);
        desk.book
            .shelve(high, time, &anna(), reason, &desk.image, now)
    };
    for (time, reason, words) in [
        (Duration::ZERO, "x", "give more than zero"),
        (SHELF_MAX + SECOND, "x", "at most a day"),
        (SECOND, " ", "say why"),
    ] {
        let error = shelve(&mut desk, time, reason).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    shelve(&mut desk, SECOND * 10, "known fault").unwrap();
    assert_eq!(
        desk.effects(),
        [
            "high: shelve -> shelved",
            "audit 1970-01-12T13:46:40Z anna: shelving of high from normal to shelved (known fault): done"
        ]
    );
    assert!(matches!(
        shelve(&mut desk, SECOND, "again"),
        Err(AlarmError::State { .. })
    ));
    assert_eq!(desk.report("N.U", volts(300)), Vec::<String>::new());
    assert_eq!(desk.book.kpis(at(0)).standing, 0);
    assert_eq!(desk.pass(10), ["high: unshelve -> unacknowledged"]);
    assert_eq!(desk.book.kpis(at(desk.second)).standing, 1);

    shelve(&mut desk, SECOND * 10, "still").unwrap();
    desk.effects();
    desk.report("N.U", volts(0));
    desk.book
        .unshelve(high, &anna(), &desk.image, at(desk.second))
        .unwrap();
    assert_eq!(desk.effects()[0], "high: unshelve -> normal");
    assert_eq!(
        desk.pass(20),
        Vec::<String>::new(),
        "its time on the shelf is over"
    );
}

#[test]
fn logic_suppresses_only_when_it_is_trusted() {
    let mut definition = alarm("low", "N.U", Condition::Below(Fixed::whole(200)));
    definition.suppressed_by = catalogue().find("N.dead");
    let mut desk = Desk::new(vec![definition]);
    desk.report("N.CB", Value::Double(Position::Closed));
    assert_eq!(
        desk.report("N.U", volts(0)),
        ["low: alarm -> unacknowledged"]
    );
    assert_eq!(
        desk.report("N.CB", Value::Double(Position::Open)),
        ["low: suppress -> suppressed by design"]
    );
    let doubtful = Quality::uncertain(Reason::ClockSuspect);
    assert_eq!(
        desk.report_as("N.CB", Value::Double(Position::Open), doubtful, None),
        ["low: unsuppress -> unacknowledged"]
    );
    desk.report("N.CB", Value::Double(Position::Open));
    desk.report("N.U", volts(230));
    assert_eq!(
        desk.report("N.CB", Value::Double(Position::Closed)),
        ["low: unsuppress -> normal"]
    );
}

#[test]
fn maintenance_needs_a_reason_and_ends_in_a_new_look() {
    let mut desk = Desk::new(vec![alarm("high", "N.U", above(250))]);
    let (high, anna, now) = (desk.id("high"), anna(), at(0));
    let (book, image) = (&mut desk.book, &desk.image);
    assert_eq!(
        book.take_out_of_service(high, &anna, "", image, now),
        Err(AlarmError::NoReason(tag("high")))
    );
    book.take_out_of_service(high, &anna, "sensor exchanged", image, now)
        .unwrap();
    assert_eq!(book.state(high), Ok(State::OutOfService));
    desk.effects();
    assert_eq!(desk.report("N.U", volts(300)), Vec::<String>::new());
    desk.book
        .put_back_into_service(high, &anna, &desk.image, now)
        .unwrap();
    assert_eq!(
        desk.effects()[0],
        "high: put back into service -> unacknowledged"
    );
}

#[test]
fn the_first_of_a_group_is_the_earliest_by_its_own_clock() {
    let mut alarms = ["cause", "effect", "later"]
        .into_iter()
        .zip(["N.U", "N.I", "N.CB"])
        .map(|(name, point)| {
            let condition = match point {
                "N.CB" => Condition::Is(Value::Double(Position::Open)),
                _ => above(1),
            };
            let mut definition = alarm(name, point, condition);
            definition.first_out = Some(7);
            definition
        })
        .collect::<Vec<_>>();
    alarms.push(alarm("other", "N.I", above(1)));
    let mut desk = Desk::new(alarms);
    desk.second = 100;
    let good = Quality::GOOD;
    assert_eq!(
        desk.report_as("N.I", volts(2), good, Some(90)),
        [
            "effect: alarm -> unacknowledged first",
            "other: alarm -> unacknowledged"
        ]
    );
    assert_eq!(
        desk.report_as("N.U", volts(2), good, Some(80)),
        ["cause: alarm -> unacknowledged first"]
    );
    assert_eq!(
        desk.report_as("N.CB", Value::Double(Position::Open), good, Some(85)),
        ["later: alarm -> unacknowledged"]
    );
    let first: Vec<_> = desk
        .book
        .occurrences()
        .filter(|(.., occurrence)| occurrence.first_out)
        .map(|(alarm, ..)| alarm)
        .collect();
    assert_eq!(first, [desk.id("cause")]);
    // When all is over, the next one is a first again.
    for (point, value) in [
        ("N.U", volts(0)),
        ("N.I", volts(0)),
        ("N.CB", Value::Double(Position::Closed)),
    ] {
        desk.report(point, value);
    }
    for name in ["cause", "effect", "later"] {
        desk.acknowledge(name);
    }
    assert_eq!(
        desk.report("N.CB", Value::Double(Position::Open)),
        ["later: alarm -> unacknowledged first"]
    );
}

#[test]
fn who_is_told_when_nobody_acknowledges() {
    let step = |seconds, channel, to: &str| EscalationStep {
        after: SECOND * seconds,
        channel,
        to: to.into(),
    };
    let mut definition = alarm("high", "N.U", above(250));
    definition.message = "overvoltage".into();
    definition.again_after = Some(SECOND * 60);
    definition.escalation = Escalation {
        steps: vec![
            step(10, Channel::Sms, "+491"),
            step(30, Channel::Email, "boss@example.org"),
        ],
    };
    let mut desk = Desk::new(vec![definition]);
    desk.report("N.U", volts(300));
    let text = "high alarm high: overvoltage, unacknowledged since 1970-01-12T13:46:40Z";
    assert_eq!(desk.pass(10), [format!("Sms +491: {text}")]);
    assert_eq!(desk.pass(20), [format!("Email boss@example.org: {text}")]);
    assert_eq!(desk.pass(100), Vec::<String>::new());
    desk.acknowledge("high");
    assert_eq!(desk.pass(59), Vec::<String>::new());
    assert_eq!(desk.pass(1), ["high: announce again -> unacknowledged"]);
    assert!(desk.pass(9).is_empty());
    desk.acknowledge("high");
    assert_eq!(desk.pass(20), Vec::<String>::new(), "acknowledged in time");
    desk.report("N.U", volts(0));
    assert_eq!(desk.pass(100), Vec::<String>::new(), "normal");
    assert_eq!(desk.book.wake(), Wake::default());
}

#[test]
fn the_sound_is_that_of_the_most_urgent_until_it_is_silenced() {
    let mut critical = alarm("critical", "N.I", above(1));
    critical.priority = Priority::Critical;
    let mut desk = Desk::new(vec![alarm("high", "N.U", above(1)), critical]);
    assert_eq!(desk.book.sound(), None);
    desk.report("N.U", volts(2));
    assert_eq!(desk.book.sound(), Some(Priority::High));
    desk.book.silence();
    assert_eq!(desk.book.sound(), None);
    desk.report("N.I", volts(2));
    assert_eq!(desk.book.sound(), Some(Priority::Critical));
    desk.acknowledge("critical");
    assert_eq!(desk.book.sound(), None);
}

#[test]
fn limits_and_delays_change_at_run_time_and_count_at_once() {
    let mut desk = Desk::new(vec![
        alarm("high", "N.U", above(250)),
        alarm("open", "N.CB", Condition::Is(Value::Double(Position::Open))),
    ]);
    desk.report("N.U", volts(240));
    let (high, now) = (desk.id("high"), at(0));
    let pair = (Fixed::whole(230), Fixed::whole(1));
    desk.book
        .set_limit(high, pair, &anna(), "summer", &desk.image, now)
        .unwrap();
    assert_eq!(
        desk.effects(),
        [
            "audit 1970-01-12T13:46:40Z anna: limit change of high from above 250, deadband 0, \
             on-delay 0ns, off-delay 0ns to above 230, deadband 1, on-delay 0ns, off-delay 0ns \
             (summer): done",
            "high: alarm -> unacknowledged",
        ]
    );
    let delays = (SECOND, SECOND * 5);
    desk.book
        .set_delays(high, delays, &anna(), "noise", &desk.image, now)
        .unwrap();
    desk.effects();
    assert_eq!(desk.report("N.U", volts(0)), Vec::<String>::new());
    assert_eq!(desk.pass(5), ["high: return -> returned, unacknowledged"]);
    let long = (Duration::from_secs(90_000), SECOND);
    let negative = (Fixed::ZERO, Fixed::whole(-1));
    let open = desk.id("open");
    let (book, image) = (&mut desk.book, &desk.image);
    let refusals = [
        book.set_delays(high, long, &anna(), "x", image, now),
        book.set_limit(high, negative, &anna(), "x", image, now),
        book.set_limit(open, pair, &anna(), "x", image, now),
        book.set_limit(high, pair, &anna(), "", image, now),
    ];
    let fields = ["on_delay", "deadband", "limit", "say why"];
    for (refusal, field) in refusals.into_iter().zip(fields) {
        let error = refusal.unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn floods_and_chattering_are_announced_and_counted() {
    let mut desk = Desk::new(vec![alarm("high", "N.U", above(1))]);
    let mut lines = Vec::new();
    for _ in 0..10 {
        lines.extend(desk.report("N.U", volts(2)));
        lines.extend(desk.report("N.U", volts(0)));
        desk.second += 1;
    }
    lines.retain(|line| !line.starts_with("high"));
    assert_eq!(lines, ["ChatteringBegan(AlarmId(0))", "FloodBegan"]);
    let kpis = desk.book.kpis(at(desk.second));
    assert!(kpis.flood);
    assert_eq!((kpis.in_ten_minutes, kpis.peak, kpis.flooded), (10, 10, 1));
    assert_eq!(kpis.chattering, [desk.id("high")]);
    assert_eq!(kpis.standing, 1);
    assert_eq!(
        desk.pass(700),
        ["ChatteringEnded(AlarmId(0))", "FloodEnded"]
    );
    assert_eq!(desk.book.kpis(at(90_000)).stale, 1);
}

#[test]
fn impossible_alarms_are_named() {
    let with = |change: fn(&mut AlarmDefinition)| {
        let mut definition = alarm("a", "N.U", above(1));
        change(&mut definition);
        vec![definition]
    };
    let cases = [
        (
            with(|a| a.condition = Condition::Is(Value::Single(true))),
            "condition",
        ),
        (
            with(|a| a.condition = Condition::Is(Value::Number(Fixed::ZERO))),
            "condition",
        ),
        (with(|a| a.deadband = Fixed::whole(-1)), "deadband"),
        (
            with(|a| a.off_delay = Duration::from_secs(86_401)),
            "off_delay",
        ),
        (
            with(|a| a.again_after = Some(Duration::ZERO)),
            "again_after",
        ),
        (with(|a| a.suppressed_by = Some(a.point)), "suppressed_by"),
        (with(|a| a.message = "x".repeat(5_000)), "message"),
        (with(|a| a.point = PointId(99)), "name a point"),
        (
            with(|a| {
                let step = |seconds| EscalationStep {
                    after: SECOND * seconds,
                    channel: Channel::Webhook,
                    to: String::new(),
                };
                a.escalation.steps = vec![step(2), step(1)];
            }),
            "escalation",
        ),
        ([with(|_| {}), with(|_| {})].concat(), "defined twice"),
    ];
    for (alarms, words) in cases {
        let error = AlarmBook::new(alarms, &catalogue())
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{error}");
    }
}
