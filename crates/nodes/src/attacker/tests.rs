use gridloom_core::{Period, Seed, SystemTitle};
use gridloom_dlms::security::Keys;
use gridloom_field::attack::{Deed, Kind, Meddling, Middle, Outsider, OutsiderPlan, Window, forge};

use super::*;
use crate::gateway::GatewayNode;

const METER: LinkId = LinkId(1);
const ONWARD: LinkId = LinkId(2);
const OWN: LinkId = LinkId(3);

fn now(millis: u64) -> Now {
    Now {
        instant: Instant::from_nanos(millis * 1_000_000),
        utc: UtcTime::from_secs(1_777_593_600) + Duration::from_millis(millis),
    }
}

fn frame() -> Vec<u8> {
    let push = forge::push(Period::HALF_HOUR, now(0).utc, 1, 1);
    forge::seal(
        &Keys::new([1; 16], [2; 16]),
        SystemTitle(*b"GLMmetr1"),
        1,
        &push,
    )
}

fn listener() -> Box<dyn Attack> {
    let seed = Seed::new(1);
    Box::new(Middle::new(
        Kind::Eavesdrop,
        Meddling::LISTEN,
        Window::ALWAYS,
        seed,
    ))
}

fn give(node: &mut impl Node, input: Input, at: u64) -> Vec<Output> {
    node.handle(input, now(at));
    std::iter::from_fn(|| node.poll_output()).collect()
}

fn up(link: LinkId, port: Port) -> Input {
    Input::LinkUp { link, port }
}

fn bytes(link: LinkId, frame: &[u8]) -> Input {
    Input::Frame {
        link,
        frame: frame.to_vec(),
    }
}

fn target(lines: usize) -> Target {
    Target {
        address: "127.0.0.1:4059".to_owned(),
        lines,
    }
}

fn dialled(outputs: &[Output]) -> Vec<DialId> {
    outputs
        .iter()
        .filter_map(|output| {
            let Output::Dial { dial, .. } = output else {
                return None;
            };
            Some(*dial)
        })
        .collect()
}

#[test]
fn a_victim_is_led_on_to_the_target_and_nothing_of_it_is_lost() {
    let mut node = AttackerNode::dialling(listener(), target(0));
    node.keep_traffic(8);
    let dials = dialled(&give(&mut node, up(METER, Port::Down), 0));
    assert_eq!(dials.len(), 1);
    // Before the way on stands, and cut anywhere.
    let whole = frame();
    assert_eq!(give(&mut node, bytes(METER, &whole[..5]), 1), []);
    assert_eq!(give(&mut node, bytes(METER, &whole[5..]), 2), []);
    let sent = |link, frame: &[u8]| Output::Send {
        link,
        frame: frame.to_vec(),
    };
    let out = give(&mut node, up(ONWARD, Port::Dialled(dials[0])), 3);
    assert_eq!(out, [sent(ONWARD, &whole)]);
    assert_eq!(
        give(&mut node, bytes(ONWARD, &whole), 4),
        [sent(METER, &whole)]
    );
    assert_eq!(node.log().count(Deed::Overheard), 1);
    assert_eq!(node.take_traffic().0.len(), 5);
    // One end goes, and the other with it.
    let out = give(&mut node, Input::LinkDown { link: ONWARD }, 5);
    assert!(matches!(out[..], [Output::Close { link: METER, .. }]));
}

#[test]
fn a_victim_that_speaks_no_wrapper_or_waits_too_long_is_let_go() {
    let mut node = AttackerNode::dialling(listener(), target(0));
    let dials = dialled(&give(&mut node, up(METER, Port::Down), 0));
    for _ in 0..=AttackerNode::WAITING_MAX {
        give(&mut node, bytes(METER, &[9]), 1);
    }
    assert_eq!(node.counters().stranded, 1);
    let out = give(&mut node, up(ONWARD, Port::Dialled(dials[0])), 2);
    let closed: Vec<_> = out
        .iter()
        .filter(|output| matches!(output, Output::Close { .. }))
        .collect();
    assert_eq!(closed.len(), 2, "{out:?}");

    let dials = dialled(&give(&mut node, up(LinkId(9), Port::Down), 3));
    let reason = "nobody there".to_owned();
    let failed = Input::DialFailed {
        dial: dials[0],
        reason,
    };
    assert!(matches!(
        give(&mut node, failed, 4)[..],
        [Output::Close {
            link: LinkId(9),
            ..
        }]
    ));
    assert_eq!(node.counters().refused, 1);
}

#[test]
fn own_lines_are_dialled_again_and_carry_what_it_sends() {
    let outsider = Outsider::new(OutsiderPlan {
        kind: Kind::Spoof,
        victims: Vec::new(),
        cloned: None,
        period: Period::HALF_HOUR,
        gap: Duration::from_millis(10),
        frames_max: 1_000,
        window: Window::ALWAYS,
        seed: Seed::new(2),
    });
    let mut node = AttackerNode::dialling(Box::new(outsider), target(2));
    let dials = dialled(&give(&mut node, Input::Timeout, 0));
    assert_eq!(dials.len(), 2);
    give(&mut node, up(OWN, Port::Dialled(dials[0])), 0);
    let reason = "refused".to_owned();
    let failed = Input::DialFailed {
        dial: dials[1],
        reason,
    };
    give(&mut node, failed, 0);
    let out = give(&mut node, Input::Timeout, 100);
    assert_eq!(out.len(), 11);
    assert!(
        out.iter()
            .all(|it| matches!(it, Output::Send { link: OWN, .. }))
    );
    // The refused line, once more, and the lost one too.
    give(&mut node, Input::LinkDown { link: OWN }, 101);
    let later = u64::try_from(AttackerNode::REDIAL.as_millis()).unwrap() + 1;
    assert_eq!(dialled(&give(&mut node, Input::Timeout, later)).len(), 2);
    let counters = node.counters();
    assert_eq!(
        (counters.opened, counters.refused, counters.closed),
        (1, 1, 1)
    );
}

#[test]
fn a_taken_gateway_carries_only_what_its_taker_lets_through() {
    let cases = [
        (Meddling::LISTEN, 1),
        (
            Meddling {
                withhold: 1_000,
                ..Meddling::LISTEN
            },
            0,
        ),
        (
            Meddling {
                repeat: 1_000,
                ..Meddling::LISTEN
            },
            2,
        ),
    ];
    for (meddling, expected) in cases {
        let attack = Middle::new(Kind::Gateway, meddling, Window::ALWAYS, Seed::new(3));
        let gateway = GatewayNode::new("gateway-1".into());
        let mut node = Compromised::new(gateway, Tap::Down, Box::new(attack));
        give(&mut node, up(METER, Port::Down), 0);
        give(&mut node, up(ONWARD, Port::Up), 0);
        let out = give(&mut node, bytes(METER, &frame()), 1);
        assert_eq!(out.len(), expected, "{meddling:?}");
        assert_eq!(node.node().counters().carried_up, expected as u64);
    }
}
