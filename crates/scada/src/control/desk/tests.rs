use std::time::Duration;

use super::*;
use crate::control::{Interlock, Sequence, SheddingBlock, SheddingMeans, Step};
use crate::fixed::Fixed;
use crate::point::{Definition, Kind, Quality, Reason, Update};
use crate::unit::Unit;

const SECOND: Duration = Duration::from_secs(1);
const OPEN: Value = Value::Double(Position::Open);
const CLOSED: Value = Value::Double(Position::Closed);

fn at(second: u32) -> Now {
    Now {
        instant: Instant::ZERO + SECOND * second,
        utc: UtcTime::from_secs(1_000_000 + i64::from(second)),
    }
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

fn person(name: &str) -> Actor {
    Actor::Person(name.into())
}

/// Three breakers with their loads, an earthing switch, a tap changer, a setpoint.
struct Room {
    image: Image,
    controls: Controls,
    second: u32,
}

impl Room {
    fn new(change: impl FnOnce(&mut Vec<Device>)) -> Self {
        let unit = |symbol| Kind::Measured(Unit::parse(symbol).unwrap());
        let points = [
            ("CB1", Kind::Double, CLOSED),
            ("CB2", Kind::Double, CLOSED),
            ("CB3", Kind::Double, OPEN),
            ("ES", Kind::Double, OPEN),
            ("tap", Kind::Step, Value::Step(0)),
            ("U", unit("kV"), Value::Number(Fixed::whole(20))),
            ("P1", unit("kW"), Value::Number(Fixed::whole(300))),
            ("P2", unit("MW"), Value::Number(Fixed::whole(2))),
        ];
        let mut catalogue = Catalogue::default();
        for (name, kind, _) in &points {
            catalogue
                .add(Definition::new(tag(name), kind.clone()))
                .unwrap();
        }
        let mut devices: Vec<Device> = ["CB1", "CB2", "CB3", "tap", "U"]
            .into_iter()
            .map(|name| Device::new(tag(name), catalogue.find(name).unwrap()))
            .collect();
        devices[1].selecting = Selecting::Here;
        devices[2].interlocks.push(Interlock {
            value: Some(CLOSED),
            expression: "ES == open and U > 15 kV".into(),
            reason: "feeder must be free of earth".into(),
        });
        devices[4].range = Some((Fixed::whole(19), Fixed::whole(22)));
        devices[4].tolerance = Fixed::whole(1);
        change(&mut devices);
        let controls = Controls::new(devices, &catalogue).unwrap();
        let mut room = Self {
            image: Image::new(catalogue).unwrap(),
            controls,
            second: 0,
        };
        for (name, _, value) in points {
            room.report(name, value);
        }
        room
    }

    fn report(&mut self, name: &str, value: Value) -> Vec<String> {
        self.report_as(name, value, Quality::GOOD)
    }

    fn report_as(&mut self, name: &str, value: Value, quality: Quality) -> Vec<String> {
        let update = Update {
            point: self.image.catalogue().find(name).unwrap(),
            value,
            quality,
            source_time: None,
        };
        self.image.apply(&update, at(self.second)).unwrap();
        self.image.cycle(at(self.second));
        self.controls.look(&self.image, at(self.second));
        self.effects()
    }

    fn request(&self, name: &str, value: Value, who: &str) -> Request {
        Request {
            device: self.controls.find(name).unwrap(),
            value,
            actor: person(who),
            issued_at: at(self.second).utc,
            caution_read: false,
        }
    }

    fn select(&mut self, name: &str, value: Value, who: &str) -> Result<CommandId, ControlError> {
        let request = self.request(name, value, who);
        self.controls.select(request, &self.image, at(self.second))
    }

    fn operate(&mut self, command: CommandId, who: &str) -> Result<(), ControlError> {
        let now = at(self.second);
        self.controls
            .operate(command, &person(who), now.utc, &self.image, now)
    }

    fn answer(&mut self, command: CommandId, answer: Answer) -> Vec<String> {
        let now = at(self.second);
        self.controls
            .handle_answer(command, answer, &self.image, now);
        self.effects()
    }

    fn pass(&mut self, seconds: u32) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..seconds {
            self.second += 1;
            if self.controls.wake().is_due(at(self.second)) {
                self.controls.handle_timeout(&self.image, at(self.second));
                lines.extend(self.effects());
            }
        }
        lines
    }

    /// What the host would carry out; audit records without their time.
    fn effects(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(effect) = self.controls.poll_effect() {
            lines.push(match effect {
                Effect::Audit(record) => record.to_string()[21..].to_owned(),
                Effect::Select(id, device, value) => format!("> select {} {device} {value}", id.0),
                Effect::Operate(id, device, value) => {
                    format!("> operate {} {device} {value}", id.0)
                }
                Effect::Cancel(id, device, value) => format!("> cancel {} {device} {value}", id.0),
                Effect::LimitMeters(group, limit) => format!("> limit {group} {limit:?}"),
                Effect::Ended(id, end) => format!("{} ended: {end:?}", id.0),
                Effect::RunEnded(_, end) => format!("run ended: {end:?}"),
            });
        }
        lines
    }
}

#[test]
fn select_operate_feedback() {
    let mut room = Room::new(|_| {});
    let command = room.select("CB1", OPEN, "anna").unwrap();
    assert_eq!(
        room.effects(),
        [
            "> select 1 device 0 open",
            "anna: command of CB1 to open selected [1]: done"
        ]
    );
    assert!(
        matches!(
            room.operate(command, "anna"),
            Err(ControlError::Stage { .. })
        ),
        "no answer yet"
    );
    let held = room.select("CB1", OPEN, "bert").unwrap_err().to_string();
    assert_eq!(
        held,
        "CB1 is held by anna until 1970-01-12T13:47:10Z: wait, or ask"
    );
    assert_eq!(
        room.effects(),
        [format!("bert: command of CB1 to open: refused, {held}")]
    );
    assert!(room.answer(command, Answer::Selected).is_empty());
    assert!(matches!(
        room.operate(command, "bert"),
        Err(ControlError::WrongPerson { .. })
    ));
    room.operate(command, "anna").unwrap();
    assert_eq!(
        room.effects(),
        [
            "> operate 1 device 0 open",
            "anna: command of CB1 to open sent [1]: done"
        ]
    );
    assert!(matches!(
        room.controls.cancel(command, &person("anna"), at(0)),
        Err(ControlError::Stage { .. })
    ));
    assert!(room.answer(command, Answer::Accepted).is_empty());
    assert_eq!(
        room.controls.standing().next().unwrap().stage,
        Stage::Accepted
    );
    assert!(
        room.report("CB1", Value::Double(Position::Intermediate))
            .is_empty()
    );
    assert!(
        room.report_as("CB1", OPEN, Quality::uncertain(Reason::ClockSuspect))
            .is_empty()
    );
    assert_eq!(
        room.report("CB1", OPEN),
        [
            "anna: command of CB1 to open verified [1]: done",
            "1 ended: Done"
        ]
    );
    assert_eq!(room.controls.wake(), Wake::default());
    assert_eq!(
        room.operate(command, "anna"),
        Err(ControlError::UnknownCommand(command))
    );
}

#[test]
fn every_other_end() {
    // (what happens after the selection, seconds that pass, how it ends)
    type Deed = fn(&mut Room, CommandId) -> Vec<String>;
    let cancel: Deed = |room, command| {
        room.controls
            .cancel(command, &person("bert"), at(room.second))
            .unwrap();
        room.effects()
    };
    let refuse: Deed = |room, command| room.answer(command, Answer::Refused("local".into()));
    let sent: Deed = |room, command| {
        room.answer(command, Answer::Selected);
        room.operate(command, "anna").unwrap();
        room.effects();
        Vec::new()
    };
    let sent_and_refused: Deed = |room, command| {
        room.answer(command, Answer::Selected);
        room.operate(command, "anna").unwrap();
        room.effects();
        room.answer(command, Answer::Refused("blocked".into()))
    };
    let nothing: Deed = |_, _| Vec::new();
    let cases: [(Deed, u32, &[&str]); 5] = [
        (
            cancel,
            0,
            &[
                "> cancel 1 device 0 open",
                "anna: command of CB1 to open cancelled [1]: refused, by bert",
                "1 ended: Cancelled(\"by bert\")",
            ],
        ),
        (
            refuse,
            0,
            &[
                "anna: command of CB1 to open refused [1]: failed, station: local",
                "1 ended: Refused(\"local\")",
            ],
        ),
        (
            nothing,
            30,
            &[
                "> cancel 1 device 0 open",
                "anna: command of CB1 to open expired [1]: refused, the selection was not used in time",
                "1 ended: Expired",
            ],
        ),
        (
            sent,
            10,
            &[
                "anna: command of CB1 to open sent [1]: outcome unknown, no feedback in time: check on site",
                "1 ended: Unknown",
            ],
        ),
        (
            sent_and_refused,
            0,
            &[
                "anna: command of CB1 to open refused [1]: failed, station: blocked",
                "1 ended: Refused(\"blocked\")",
            ],
        ),
    ];
    for (deed, seconds, expected) in cases {
        let mut room = Room::new(|_| {});
        let command = room.select("CB1", OPEN, "anna").unwrap();
        room.effects();
        let mut lines = deed(&mut room, command);
        lines.extend(room.pass(seconds));
        assert_eq!(lines, expected);
        assert_eq!(room.controls.standing().count(), 0);
        assert!(room.select("CB1", OPEN, "bert").is_ok(), "it is free again");
    }
}

#[test]
fn refusals_say_why() {
    let mut room = Room::new(|_| {});
    let now = at(room.second);
    let number = |text| Value::Number(Fixed::parse(text).unwrap());
    room.report("ES", CLOSED);
    room.report_as("CB2", CLOSED, Quality::GOOD.old());
    let late = |request: &mut Request| request.issued_at = at(0).utc - SECOND * 11;
    let early = |request: &mut Request| request.issued_at = at(6).utc;
    let robot = |request: &mut Request| request.actor = Actor::Automation("vvc".into());
    let same: fn(&mut Request) = |_| {};
    type Case = (&'static str, Value, fn(&mut Request), &'static str);
    let cases: [Case; 11] = [
        ("CB1", OPEN, late, "the command is 11s old, 10s is allowed"),
        ("CB1", OPEN, early, "6s ahead of our clock"),
        ("CB1", CLOSED, same, "CB1 is closed already"),
        (
            "CB1",
            Value::Single(true),
            same,
            "command what its feedback shows",
        ),
        (
            "CB1",
            Value::Double(Position::Faulty),
            same,
            "command open or closed",
        ),
        ("U", number("22.1"), same, "stay within its range"),
        (
            "CB2",
            OPEN,
            same,
            "CB2: the state is good, old: check on site first",
        ),
        (
            "CB3",
            CLOSED,
            same,
            "CB3 is interlocked: feeder must be free of earth, not: ES == open (ES is closed)",
        ),
        ("CB1", OPEN, robot, ""),
        ("tap", Value::Step(1), same, ""),
        ("U", number("21"), same, ""),
    ];
    for (name, value, change, words) in cases {
        let mut request = room.request(name, value, "anna");
        change(&mut request);
        match room.controls.try_request(&request, &room.image, now) {
            Ok(()) => assert_eq!(words, "", "{name}"),
            Err(error) => {
                assert!(
                    !words.is_empty() && error.to_string().contains(words),
                    "{error}"
                );
            }
        }
    }
    assert_eq!(room.controls.standing().count(), 0, "nothing was reserved");
}

#[test]
fn what_changed_since_the_selection_counts() {
    let mut room = Room::new(|devices| devices[2].selecting = Selecting::Here);
    let command = room.select("CB3", CLOSED, "anna").unwrap();
    room.effects();
    room.report("ES", CLOSED);
    let error = room.operate(command, "anna").unwrap_err().to_string();
    assert!(error.contains("feeder must be free of earth"), "{error}");
    let lines = room.effects();
    assert!(
        lines.last().unwrap().starts_with("1 ended: Cancelled"),
        "{lines:?}"
    );

    room.report("ES", OPEN);
    let command = room.select("CB3", CLOSED, "anna").unwrap();
    room.effects();
    room.second = 20;
    let old = at(9).utc;
    let late = room
        .controls
        .operate(command, &person("anna"), old, &room.image, at(20));
    assert!(matches!(late, Err(ControlError::TooOld { .. })));
}

#[test]
fn setpoints_are_reached_within_their_tolerance() {
    let mut room = Room::new(|devices| devices[4].selecting = Selecting::Here);
    let number = |text| Value::Number(Fixed::parse(text).unwrap());
    let command = room.select("U", number("22"), "anna").unwrap();
    room.effects();
    room.operate(command, "anna").unwrap();
    room.effects();
    assert!(room.report("U", number("20.9")).is_empty());
    assert_eq!(
        room.report("U", number("21")).last().unwrap(),
        "1 ended: Done"
    );
}

#[test]
fn two_persons_are_two() {
    let mut room = Room::new(|devices| {
        devices[1].persons = Persons::Two;
    });
    let command = room.select("CB2", OPEN, "anna").unwrap();
    room.effects();
    let error = room.operate(command, "anna").unwrap_err().to_string();
    assert!(
        error.contains("a second person has to agree first"),
        "{error}"
    );
    for nobody in [person("anna"), Actor::Automation("vvc".into())] {
        let refused = room.controls.agree(command, &nobody, at(0));
        assert!(matches!(refused, Err(ControlError::WrongPerson { .. })));
    }
    room.controls
        .agree(command, &person("bert"), at(0))
        .unwrap();
    assert_eq!(
        room.effects(),
        ["bert: command of CB2 to open agreed, with bert [1]: done"]
    );
    room.operate(command, "anna").unwrap();
    assert_eq!(
        room.effects()[1],
        "anna: command of CB2 to open sent, with bert [1]: done"
    );
    let late = room.controls.agree(command, &person("carl"), at(0));
    assert!(matches!(late, Err(ControlError::Stage { .. })));
}

#[test]
fn tags_forbid_what_they_say() {
    let mut room = Room::new(|_| {});
    let device = room.controls.find("CB1").unwrap();
    let (anna, bert) = (person("anna"), person("bert"));
    let robot = Actor::Automation("vvc".into());
    // (kind, who, caution read, refused)
    let authority = || NoteKind::ControlAuthority("bert".into());
    let cases = [
        (NoteKind::Caution, &anna, false, true),
        (NoteKind::Caution, &anna, true, false),
        (NoteKind::Caution, &robot, true, true),
        (NoteKind::ControlInhibit, &anna, true, true),
        (authority(), &anna, true, true),
        (authority(), &bert, false, false),
    ];
    for (kind, actor, caution_read, refused) in cases {
        let shown = format!("{kind:?} {actor}");
        let note = room
            .controls
            .place(device, kind, &bert, "crew at work", at(0))
            .unwrap();
        let mut request = room.request("CB1", OPEN, "");
        (request.actor, request.caution_read) = (actor.clone(), caution_read);
        room.effects();
        let tried = room.controls.try_request(&request, &room.image, at(0));
        assert_eq!(
            matches!(tried, Err(ControlError::Tagged { .. })),
            refused,
            "{shown}"
        );
        room.controls
            .remove(note, &bert, Remover::Owner, "", at(0))
            .unwrap();
        room.effects();
    }
}

#[test]
fn tags_have_owners_and_cancel_what_is_selected() {
    let mut room = Room::new(|_| {});
    let device = room.controls.find("CB1").unwrap();
    let (anna, bert) = (person("anna"), person("bert"));
    room.select("CB1", OPEN, "anna").unwrap();
    room.effects();
    let inhibit = || NoteKind::ControlInhibit;
    let note = room
        .controls
        .place(device, inhibit(), &bert, "crew at work", at(0))
        .unwrap();
    let lines = room.effects();
    assert_eq!(
        lines[0],
        "bert: tag of CB1 to control inhibit (crew at work): done"
    );
    assert_eq!(
        lines.last().unwrap(),
        "1 ended: Cancelled(\"CB1 is tagged control inhibit by bert: crew at work\")"
    );
    let removals = [
        (&anna, Remover::Owner, "x", "its owner or a supervisor"),
        (&anna, Remover::Supervisor, " ", "say why"),
    ];
    for (actor, remover, reason, words) in removals {
        let error = room.controls.remove(note, actor, remover, reason, at(0));
        assert!(error.unwrap_err().to_string().contains(words));
    }
    room.controls
        .remove(note, &anna, Remover::Supervisor, "bert is ill", at(0))
        .unwrap();
    assert_eq!(
        room.effects(),
        ["anna: tag of CB1 from control inhibit of bert: crew at work (bert is ill): done"]
    );
    assert_eq!(
        room.controls.remove(note, &bert, Remover::Owner, "", at(0)),
        Err(ControlError::UnknownNote(note))
    );
    for _ in 0..super::super::NOTES_MAX {
        room.controls
            .place(device, inhibit(), &bert, "x", at(0))
            .unwrap();
        room.effects();
    }
    let full = room.controls.place(device, inhibit(), &bert, "x", at(0));
    assert!(matches!(full, Err(ControlError::Full { .. })));
}

fn isolate(room: &mut Room) -> Tag {
    let device = |name| room.controls.find(name).unwrap();
    let steps = vec![
        Step::Operate(device("CB2"), OPEN),
        Step::Wait(SECOND * 5),
        Step::Until("CB1 == open".into(), SECOND * 20),
        Step::Operate(device("CB3"), CLOSED),
    ];
    let name = tag("isolate");
    let sequence = Sequence {
        name: name.clone(),
        steps,
    };
    room.controls
        .add_sequence(sequence, room.image.catalogue())
        .unwrap();
    name
}

fn start(room: &mut Room, name: &Tag) -> Result<RunId, ControlError> {
    let now = at(room.second);
    room.controls
        .start(name, &person("anna"), None, &room.image, now)
}

#[test]
fn a_sequence_goes_on_when_a_step_has_proved_itself() {
    let mut room = Room::new(|_| {});
    let name = isolate(&mut room);
    start(&mut room, &name).unwrap();
    let lines = room.effects();
    assert_eq!(lines[0], "anna: sequence of isolate to started [0]: done");
    assert!(
        lines.contains(&"> operate 1 device 1 open".to_owned()),
        "{lines:?}"
    );
    assert_eq!(
        room.controls
            .runs()
            .next()
            .map(|(_, _, step, of)| (step, of)),
        Some((1, 4))
    );
    room.report("CB2", OPEN);
    assert_eq!(
        room.controls
            .runs()
            .next()
            .map(|(_, _, step, of)| (step, of)),
        Some((2, 4))
    );
    assert!(room.pass(5).is_empty());
    assert_eq!(
        room.controls
            .runs()
            .next()
            .map(|(_, _, step, of)| (step, of)),
        Some((3, 4))
    );
    assert_eq!(room.report("CB1", OPEN)[0], "> select 2 device 2 closed");
    let lines = room.answer(CommandId(2), Answer::Selected);
    assert_eq!(lines[0], "> operate 2 device 2 closed");
    let lines = room.report("CB3", CLOSED);
    assert_eq!(lines.last().unwrap(), "run ended: Ok(())");
    assert_eq!(room.controls.runs().count(), 0);
}

#[test]
fn a_sequence_stops_where_a_step_fails() {
    type Deed = fn(&mut Room) -> Vec<String>;
    let no_feedback: Deed = |room| room.pass(10);
    let never_open: Deed = |room| {
        room.report("CB2", OPEN);
        room.pass(25)
    };
    let refused: Deed = |room| {
        room.report("CB2", OPEN);
        room.report("ES", CLOSED);
        room.pass(5);
        room.report("CB1", OPEN)
    };
    let aborted: Deed = |room| {
        let (run, ..) = room.controls.runs().next().unwrap();
        room.controls
            .abort(run, &person("bert"), "wrong feeder", at(room.second))
            .unwrap();
        room.effects()
    };
    let stopped: Deed = |room| {
        room.controls
            .stop_automation(&person("bert"), "storm", at(room.second))
            .unwrap();
        room.effects()
    };
    let cases = [
        (no_feedback, "step 1: no feedback, check on site"),
        (
            never_open,
            "step 3: not within 20s, not: CB1 == open (CB1 is closed)",
        ),
        (refused, "step 4: CB3 is interlocked"),
        (aborted, "aborted by bert: wrong feeder"),
        (stopped, "automation stopped"),
    ];
    for (deed, words) in cases {
        let mut room = Room::new(|_| {});
        let name = isolate(&mut room);
        start(&mut room, &name).unwrap();
        room.effects();
        let lines = deed(&mut room);
        let last = lines
            .iter()
            .rfind(|line| line.starts_with("run ended: Err"));
        assert!(last.is_some_and(|line| line.contains(words)), "{lines:?}");
        assert_eq!(room.controls.runs().count(), 0);
    }
}

#[test]
fn stopped_automation_leaves_persons_their_commands() {
    let mut room = Room::new(|_| {});
    let (anna, robot) = (person("anna"), Actor::Automation("vvc".into()));
    let mut request = room.request("tap", Value::Step(1), "");
    request.actor = robot;
    room.controls
        .select(request.clone(), &room.image, at(0))
        .unwrap();
    room.effects();
    room.select("CB1", OPEN, "anna").unwrap();
    room.effects();
    assert!(matches!(
        room.controls.stop_automation(&anna, "", at(0)),
        Err(ControlError::NoReason(_))
    ));
    room.controls
        .stop_automation(&anna, "storm", at(0))
        .unwrap();
    let lines = room.effects();
    assert_eq!(
        lines,
        [
            "anna: emergency stop of automation from running to stopped (storm): done",
            "> cancel 1 device 3 1",
            "automation vvc: command of tap to 1 cancelled [1]: refused, automation stopped",
            "1 ended: Cancelled(\"automation stopped\")",
        ]
    );
    assert_eq!(room.controls.standing().count(), 1, "anna's own stands");
    let refused = room.controls.select(request.clone(), &room.image, at(0));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "automation is stopped by anna: storm"
    );
    let name = isolate(&mut room);
    room.effects();
    assert!(matches!(
        start(&mut room, &name),
        Err(ControlError::AutomationStopped { .. })
    ));
    room.controls
        .release_automation(&anna, "over", at(0))
        .unwrap();
    room.effects();
    assert!(room.controls.select(request, &room.image, at(0)).is_ok());
}

fn shedding_room() -> Room {
    let mut room = Room::new(|_| {});
    let load = |name: &str| room.image.catalogue().find(name).unwrap();
    let blocks = [
        (
            "B.meters",
            1,
            "P1",
            SheddingMeans::Meters {
                group: "north".into(),
                limit_watts: 1_000,
                relief_percent: 50,
            },
        ),
        (
            "B.feeder",
            2,
            "P2",
            SheddingMeans::Feeder(room.controls.find("CB2").unwrap()),
        ),
        (
            "B.off",
            0,
            "P1",
            SheddingMeans::Feeder(room.controls.find("CB3").unwrap()),
        ),
    ];
    let blocks = blocks.map(|(name, rank, point, means)| SheddingBlock {
        name: tag(name),
        rank,
        load: load(point),
        means,
    });
    for block in blocks {
        room.controls
            .add_block(block, room.image.catalogue())
            .unwrap();
    }
    room
}

#[test]
fn load_is_shed_by_rank_until_it_is_enough() {
    // (watts wanted, blocks, relief, missing)
    let cases: [(u64, &[&str], u64, u64); 4] = [
        (1, &["B.meters"], 150_000, 0),
        (150_000, &["B.meters"], 150_000, 0),
        (150_001, &["B.meters", "B.feeder"], 2_150_000, 0),
        (9_000_000, &["B.meters", "B.feeder"], 2_150_000, 6_850_000),
    ];
    for (wanted, blocks, relief_watts, missing_watts) in cases {
        // The breaker of `B.off` is open already: it relieves nothing.
        let mut room = shedding_room();
        let shed = room
            .controls
            .shed(wanted, &person("anna"), "frequency", &room.image, at(0))
            .unwrap();
        let names: Vec<_> = shed.blocks.iter().map(Tag::as_str).collect();
        assert_eq!(names, blocks);
        assert_eq!(
            (shed.relief_watts, shed.missing_watts),
            (relief_watts, missing_watts)
        );
        let lines = room.effects();
        assert!(
            lines.contains(&"> limit north Some(1000)".to_owned()),
            "{lines:?}"
        );
        let operated = lines.contains(&"> operate 1 device 1 open".to_owned());
        assert_eq!(operated, blocks.len() == 2, "{lines:?}");
    }
}

#[test]
fn blocks_take_turns_and_come_back() {
    let mut room = shedding_room();
    let anna = person("anna");
    let name = tag("B.meters");
    room.controls
        .shed(1, &anna, "test", &room.image, at(0))
        .unwrap();
    room.effects();
    assert_eq!(room.controls.shed_blocks().collect::<Vec<_>>(), [&name]);
    let unshed = tag("B.feeder");
    assert_eq!(
        room.controls
            .restore(&unshed, &anna, "x", &room.image, at(0)),
        Err(ControlError::UnknownBlock(unshed.clone()))
    );
    room.controls
        .restore(&name, &anna, "over", &room.image, at(0))
        .unwrap();
    assert_eq!(
        room.effects(),
        [
            "> limit north None",
            "anna: load shedding of B.meters from off to on (over): done"
        ]
    );
    // A breaker that does not open was not shed.
    room.controls
        .shed(200_000, &anna, "again", &room.image, at(0))
        .unwrap();
    room.effects();
    assert_eq!(room.controls.shed_blocks().count(), 2);
    room.pass(10);
    assert_eq!(room.controls.shed_blocks().collect::<Vec<_>>(), [&name]);
    // A load that nobody knows is not counted on.
    room.report_as(
        "P2",
        Value::Number(Fixed::whole(2)),
        Quality::bad(Reason::LinkDown),
    );
    let shed = room
        .controls
        .shed(1, &anna, "more", &room.image, at(20))
        .unwrap();
    assert_eq!((shed.blocks.len(), shed.missing_watts), (0, 1));
}

#[test]
fn impossible_devices_sequences_and_blocks_are_named() {
    let mut catalogue = Catalogue::default();
    let point = catalogue
        .add(Definition::new(tag("CB"), Kind::Double))
        .unwrap();
    let with = |change: fn(&mut Device)| {
        let mut device = Device::new(tag("CB"), point);
        change(&mut device);
        vec![device]
    };
    let interlock = |expression: &str| Interlock {
        value: None,
        expression: expression.into(),
        reason: String::new(),
    };
    let mut broken = with(|_| {});
    broken[0].interlocks.push(interlock("CB =="));
    let mut number = with(|_| {});
    number[0].interlocks.push(interlock("1 + 1"));
    let cases = [
        (with(|d| d.tolerance = Fixed::whole(1)), "tolerance"),
        (
            with(|d| d.range = Some((Fixed::ZERO, Fixed::ZERO))),
            "range",
        ),
        (with(|d| d.age_max = Duration::ZERO), "age_max"),
        (with(|d| d.feedback_time = SECOND * 3_601), "feedback_time"),
        (broken, "CB: expression, column 6"),
        (number, "give a yes or no"),
        ([with(|_| {}), with(|_| {})].concat(), "defined twice"),
    ];
    for (devices, words) in cases {
        let error = Controls::new(devices, &catalogue).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let mut controls = Controls::new(with(|_| {}), &catalogue).unwrap();
    let device = controls.find("CB").unwrap();
    let cases = [
        (vec![], "give 1 to 256"),
        (vec![Step::Wait(Duration::ZERO)], "time 0ns"),
        (vec![Step::Operate(device, Value::Single(true))], "value on"),
        (vec![Step::Until("CB".into(), SECOND)], "give a yes or no"),
    ];
    for (steps, words) in cases {
        let name = tag("s");
        let error = controls.add_sequence(Sequence { name, steps }, &catalogue);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let block = SheddingBlock {
        name: tag("b"),
        rank: 0,
        load: point,
        means: SheddingMeans::Feeder(device),
    };
    let error = controls
        .add_block(block, &catalogue)
        .unwrap_err()
        .to_string();
    assert!(error.contains("measures power"), "{error}");
}
