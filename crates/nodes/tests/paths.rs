//! Which way up is used, as a table of what happens and what is done about it.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use std::time::Duration;

use gridloom_core::Instant;
use gridloom_nodes::{LinkId, PathAct, Paths, PathsConfig, PathsError, Port, Rank};

const P: LinkId = LinkId(1);
const B: LinkId = LinkId(2);
const P2: LinkId = LinkId(3);

#[derive(Debug, Clone, Copy)]
enum Do {
    Up(Rank, LinkId),
    Down(LinkId),
    /// Only time passes.
    Wait,
}

fn at(secs: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(secs)
}

/// Wakes it up to `until`, and answers its heartbeats on these links.
fn live(paths: &mut Paths, until: Instant, answering: &[LinkId]) -> Vec<PathAct> {
    let mut moves = Vec::new();
    loop {
        let due = paths.wake().instant.filter(|(at, _)| *at <= until);
        if let Some((now, _)) = due {
            paths.handle_timeout(now);
        }
        while let Some(act) = paths.poll_act() {
            match act {
                PathAct::Heartbeat { link, .. } if answering.contains(&link) => {
                    paths.handle_alive(link, due.map_or(until, |(now, _)| now));
                }
                PathAct::Heartbeat { .. } => {}
                act @ (PathAct::Close { .. } | PathAct::Moved { .. }) => moves.push(act),
            }
        }
        if due.is_none() {
            return moves;
        }
    }
}

fn moved(from: Option<LinkId>, to: Option<LinkId>) -> PathAct {
    PathAct::Moved { from, to }
}

#[test]
fn the_way_follows_what_happens() {
    use Do::{Down, Up, Wait};
    use Rank::{Backup, Primary};
    type Step = (u64, Do, Vec<PathAct>);
    let cases: Vec<(&str, Vec<Step>)> = vec![
        (
            "the primary is used, and the backup stands by",
            vec![
                (0, Up(Primary, P), vec![moved(None, Some(P))]),
                (1, Up(Backup, B), vec![]),
                (600, Wait, vec![]),
            ],
        ),
        (
            "after a start the backup waits for the primary",
            vec![
                (0, Up(Backup, B), vec![]),
                (2, Wait, vec![]),
                (2, Up(Primary, P), vec![moved(None, Some(P))]),
            ],
        ),
        (
            "but not for ever",
            vec![
                (0, Up(Backup, B), vec![]),
                (5, Wait, vec![moved(None, Some(B))]),
            ],
        ),
        (
            "a lost primary is left at once, and taken up when it has been well for a minute",
            vec![
                (0, Up(Primary, P), vec![moved(None, Some(P))]),
                (0, Up(Backup, B), vec![]),
                (9, Down(P), vec![moved(None, Some(B))]),
                (20, Up(Primary, P2), vec![]),
                (79, Wait, vec![]),
                (80, Wait, vec![moved(Some(B), Some(P2))]),
            ],
        ),
        (
            "in its probation it is taken up if nothing else stands",
            vec![
                (0, Up(Primary, P), vec![moved(None, Some(P))]),
                (0, Up(Backup, B), vec![]),
                (9, Down(P), vec![moved(None, Some(B))]),
                (20, Up(Primary, P2), vec![]),
                (21, Down(B), vec![moved(None, Some(P2))]),
            ],
        ),
        (
            "with nothing left there is no way, and the first to come is one",
            vec![
                (0, Up(Primary, P), vec![moved(None, Some(P))]),
                (9, Down(P), vec![moved(None, None)]),
                (10, Up(Backup, B), vec![moved(None, Some(B))]),
            ],
        ),
        (
            "a link that replaces another is a new one",
            vec![
                (0, Up(Primary, P), vec![moved(None, Some(P))]),
                (
                    1,
                    Up(Primary, P2),
                    vec![moved(None, None), moved(None, Some(P2))],
                ),
                (2, Down(P), vec![]),
            ],
        ),
    ];
    for (name, steps) in cases {
        let mut paths = Paths::new(PathsConfig::TIERS);
        for (secs, what, expected) in steps {
            let all = [P, B, P2];
            let mut acts = live(&mut paths, at(secs), &all);
            match what {
                Up(rank, link) => paths.handle_up(rank, link, at(secs)),
                Down(link) => paths.handle_down(link, at(secs)),
                Wait => {}
            }
            acts.extend(live(&mut paths, at(secs), &all));
            assert_eq!(acts, expected, "{name}, at {secs} s: {what:?}");
        }
    }
}

#[test]
fn a_link_that_answers_nothing_is_given_up_within_two_seconds() {
    let mut paths = Paths::new(PathsConfig::TIERS);
    paths.handle_up(Rank::Primary, P, at(0));
    paths.handle_up(Rank::Backup, B, at(0));
    live(&mut paths, at(30), &[P, B]);
    let acts = live(&mut paths, at(32), &[B]);
    assert_eq!(acts, [PathAct::Close { link: P }, moved(None, Some(B))]);
    assert!(!paths.knows(P));
    assert_eq!(paths.status().silences, 1);
    // The host says so too, later.
    paths.handle_down(P, at(33));
    assert_eq!(paths.poll_act(), None);
}

#[test]
fn homecomings_grow_rare_and_are_bounded() {
    let mut paths = Paths::new(PathsConfig::TIERS);
    paths.handle_up(Rank::Primary, P, at(0));
    paths.handle_up(Rank::Backup, B, at(0));
    let mut gaps = Vec::new();
    let mut now = 0;
    for number in 10..20 {
        let link = LinkId(number);
        paths.handle_down(paths.link().unwrap(), at(now));
        paths.handle_up(Rank::Primary, link, at(now));
        let before = now;
        while paths.link() != Some(link) {
            now += 1;
            assert!(now < before + 8_000, "it comes home at last");
            live(&mut paths, at(now), &[B, link]);
        }
        gaps.push(now - before);
    }
    assert_eq!(gaps[..4], [60, 120, 240, 480]);
    let hour = |from: usize| gaps[from..].iter().take(4).sum::<u64>();
    for from in 0..6 {
        // The fifth of an hour comes after it.
        assert!(hour(from) + gaps[from + 4] >= 3_600, "{gaps:?} from {from}");
    }
}

#[test]
fn a_configuration_is_refused_by_field() {
    let good = PathsConfig::TIERS;
    let ms = Duration::from_millis;
    let cases = [
        (
            PathsConfig {
                heartbeat_every: Some(ms(1)),
                ..good
            },
            "heartbeat",
        ),
        (
            PathsConfig {
                first_wait: ms(61_000),
                ..good
            },
            "first_wait",
        ),
        (
            PathsConfig {
                home_after: ms(10),
                ..good
            },
            "home_after",
        ),
        (PathsConfig { misses: 1, ..good }, "misses"),
        (
            PathsConfig {
                homecomings_max: 0,
                ..good
            },
            "homecomings_max",
        ),
    ];
    for (config, field) in cases {
        let error: PathsError = config.check().unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
    }
    assert_eq!(good.check(), Ok(()));
    assert_eq!(Rank::of(Port::Backup), Some(Rank::Backup));
    assert_eq!(Rank::of(Port::Down), None);
}
