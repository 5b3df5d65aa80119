use super::*;
use gridloom_core::UtcTime;
use gridloom_edge::LineFault;

const NOW: Now = Now {
    instant: Instant::ZERO,
    utc: UtcTime::from_secs(0),
};
const METER: LinkId = LinkId(7);
const EDGE: LinkId = LinkId(9);

fn drain(node: &mut GatewayNode) -> Vec<Output> {
    std::iter::from_fn(|| node.poll_output()).collect()
}

fn give(node: &mut GatewayNode, input: Input) -> Vec<Output> {
    node.handle(input, NOW);
    drain(node)
}

fn up(link: LinkId, port: Port) -> Input {
    Input::LinkUp { link, port }
}

fn push(byte: u8) -> Vec<u8> {
    wrapper::Frame {
        source: WPort::MANAGEMENT,
        destination: WPort::PRE_ESTABLISHED_CLIENT,
        apdu: &[byte],
    }
    .to_bytes()
}

fn from_meter(byte: u8) -> Input {
    Input::Frame {
        link: METER,
        frame: push(byte),
    }
}

/// What goes up to be kept: the number of the first, and the frames.
fn spooled(outputs: &[Output]) -> Vec<(u64, Vec<Vec<u8>>)> {
    let mut spooled = Vec::new();
    for output in outputs {
        if let Output::Send { link: EDGE, frame } = output
            && let Ok(Message::Spooled { first, uplinks }) = Message::decode(frame)
        {
            assert!(uplinks.iter().all(|uplink| uplink.path == METER.0));
            let frames = uplinks.into_iter().map(|uplink| uplink.frame);
            spooled.push((first, frames.collect()));
        }
    }
    spooled
}

fn taken(first: u64, count: u16) -> Input {
    Input::Frame {
        link: EDGE,
        frame: Message::Taken { first, count }.encode(),
    }
}

#[test]
fn pushes_wait_for_an_edge_keep_their_order_and_come_again_until_they_are_taken() {
    let mut node = GatewayNode::new("gw-1".into());
    give(&mut node, up(METER, Port::Down));
    for byte in 0..3 {
        assert_eq!(give(&mut node, from_meter(byte)), []);
    }
    let sent = give(&mut node, up(EDGE, Port::Up));
    let first = (1, (0..3).map(push).collect::<Vec<_>>());
    assert_eq!(spooled(&sent), [first]);
    let sent = give(&mut node, from_meter(3));
    assert_eq!(spooled(&sent), [(4, vec![push(3)])]);
    give(&mut node, taken(1, 2));
    give(&mut node, taken(4, 1));
    give(&mut node, Input::LinkDown { link: EDGE });
    let sent = give(&mut node, up(EDGE, Port::Up));
    assert_eq!(spooled(&sent), [(3, vec![push(2)])]);
    assert_eq!(node.counters().carried_up, 5);
}

#[test]
fn a_push_goes_to_the_disk_too_and_an_answer_does_not() {
    let (spool, _) = Spool::recover(SpoolConfig::default(), Vec::new());
    let mut node = GatewayNode::with_spool("gw-1".into(), spool);
    give(&mut node, up(METER, Port::Down));
    assert!(matches!(
        give(&mut node, from_meter(1))[..],
        [Output::Disk(DiskRequest::Spool(_))]
    ));
    let answer = wrapper::Frame {
        source: WPort::MANAGEMENT,
        destination: WPort::PUBLIC_CLIENT,
        apdu: &[1],
    };
    let answer = Input::Frame {
        link: METER,
        frame: answer.to_bytes(),
    };
    assert_eq!(give(&mut node, answer), []);
    assert_eq!(node.counters().strayed, 1);
}

#[test]
fn a_full_backlog_gives_up_its_oldest_and_counts_it() {
    let mut node = GatewayNode::new("gw-1".into());
    give(&mut node, up(METER, Port::Down));
    let mut pushed = 0;
    while node.counters().backlog_dropped == 0 {
        give(&mut node, from_meter(1));
        pushed += 1;
        assert!(pushed < 1_000_000, "there is a bound");
    }
    // The gap's name lies there too, and displaced another one.
    assert!(node.gaps().0 == 1 && node.spool().waiting < pushed);
    assert!(node.spool().bytes <= GatewayNode::MEMORY.bytes_max);
    let sent = spooled(&give(&mut node, up(EDGE, Port::Up)));
    let count: usize = sent.iter().map(|(_, frames)| frames.len()).sum();
    assert_eq!(count, GatewayNode::MEMORY.in_flight_max);
    assert!(sent[0].0 > 1, "the oldest is gone");
}

#[test]
fn answers_find_their_meter_or_are_counted() {
    let mut node = GatewayNode::new("gw-1".into());
    give(&mut node, up(METER, Port::Down));
    give(&mut node, up(EDGE, Port::Up));
    let down = |path| Input::Frame {
        link: EDGE,
        frame: Message::Downlink {
            path,
            frame: vec![5],
        }
        .encode(),
    };
    assert_eq!(
        give(&mut node, down(METER.0)),
        [Output::Send {
            link: METER,
            frame: vec![5]
        }]
    );
    give(&mut node, Input::LinkDown { link: METER });
    assert_eq!(give(&mut node, down(METER.0)), []);
    assert_eq!(node.counters().undeliverable, 1);
}

#[test]
fn the_edge_hears_of_lines_that_it_knows_and_of_those_that_had_to_be_closed() {
    let closed = ClosedLine {
        fault: LineFault::PartialFrame,
        address: Some([192, 0, 2, 7].into()),
    };
    // Whether it has spoken, what it was closed for, and what the edge hears.
    let cases = [
        (false, None, None),
        (true, None, Some(None)),
        (false, Some(closed), Some(Some(closed))),
        (true, Some(closed), Some(Some(closed))),
    ];
    for (has_spoken, closed, heard) in cases {
        let mut node = GatewayNode::new("gw-1".into());
        give(&mut node, up(EDGE, Port::Up));
        give(&mut node, up(METER, Port::Down));
        if has_spoken {
            give(&mut node, from_meter(1));
        }
        if let Some(closed) = closed {
            let fault = Input::LinkFault {
                link: METER,
                closed,
            };
            assert_eq!(give(&mut node, fault), []);
        }
        let sent = give(&mut node, Input::LinkDown { link: METER });
        let told: Vec<Message> = sent
            .iter()
            .map(|output| {
                let Output::Send { link: EDGE, frame } = output else {
                    panic!("{output:?}");
                };
                Message::decode(frame).unwrap()
            })
            .collect();
        let path = METER.0;
        let expected = heard.map(|closed| Message::LineGone { path, closed });
        assert_eq!(told, Vec::from_iter(expected));
        assert_eq!(node.counters().lines_closed, u64::from(closed.is_some()));
    }
}

#[test]
fn an_edge_that_talks_rubbish_is_hung_up_on() {
    let mut node = GatewayNode::new("gw-1".into());
    give(&mut node, up(EDGE, Port::Up));
    let rubbish = Input::Frame {
        link: EDGE,
        frame: vec![0xFF; 9],
    };
    assert!(matches!(
        give(&mut node, rubbish)[..],
        [Output::Close { link: EDGE, .. }]
    ));
    assert_eq!(node.counters().malformed, 1);
}

const BACKUP: LinkId = LinkId(10);

fn sealed(byte: u8) -> Vec<u8> {
    let mut apdu = Vec::new();
    let title = SystemTitle(*b"GLMmetr1");
    let keys = gridloom_dlms::security::Keys::new([1; 16], [2; 16]);
    let context = gridloom_dlms::security::CipherContext::new(&keys);
    context.protect(
        context.full_protection(title, byte.into()),
        &[byte],
        &mut apdu,
    );
    wrapper::Frame {
        source: WPort::MANAGEMENT,
        destination: WPort::PRE_ESTABLISHED_CLIENT,
        apdu: &apdu,
    }
    .to_bytes()
}

/// What is said on a link, without heartbeats and measurements.
fn said(outputs: &[Output], on: LinkId) -> Vec<Message> {
    let mut said = Vec::new();
    for output in outputs {
        if let Output::Send { link, frame } = output
            && *link == on
            && let Ok(message) = Message::decode(frame)
            && !matches!(message, Message::Heartbeat { .. } | Message::Echo { .. })
        {
            said.push(message);
        }
    }
    said
}

fn frames(messages: &[Message]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for message in messages {
        if let Message::Uplink(uplink) = message {
            frames.push(uplink.frame.clone());
        } else if let Message::Spooled { uplinks, .. } = message {
            frames.extend(uplinks.iter().map(|uplink| uplink.frame.clone()));
        }
    }
    frames
}

fn answer(edge: LinkId) -> Input {
    let frame = wrapper::Frame {
        source: WPort::PRE_ESTABLISHED_CLIENT,
        destination: WPort::MANAGEMENT,
        apdu: &[1],
    }
    .to_bytes();
    let path = METER.0;
    Input::Frame {
        link: edge,
        frame: Message::Downlink { path, frame }.encode(),
    }
}

#[test]
fn the_next_edge_hears_whose_lines_it_has_and_gets_what_nobody_answered() {
    let duty = |is_active| Message::Duty { is_active };
    let mut node = GatewayNode::new("gw-1".into()).with_backup(PathsConfig::TIERS);
    let hello = Message::hello(Role::Gateway, "gw-1");
    let sent = give(&mut node, up(EDGE, Port::Up));
    assert_eq!(said(&sent, EDGE), [hello.clone(), duty(false), duty(true)]);
    let sent = give(&mut node, up(BACKUP, Port::Backup));
    assert_eq!(said(&sent, BACKUP), [hello, duty(false)]);
    give(&mut node, up(METER, Port::Down));
    for byte in 1..=3 {
        let frame = sealed(byte);
        let sent = give(&mut node, Input::Frame { link: METER, frame });
        assert_eq!(frames(&said(&sent, EDGE)), [sealed(byte)]);
        assert_eq!(said(&sent, BACKUP), []);
    }
    // The first is answered, so the edge believes its title.
    assert_eq!(give(&mut node, answer(EDGE)).len(), 1);
    // It has taken two, and answers no more.
    give(&mut node, taken(1, 2));
    let sent = said(&give(&mut node, Input::LinkDown { link: EDGE }), BACKUP);
    let lines = Message::Lines(vec![(METER.0, SystemTitle(*b"GLMmetr1"))]);
    assert_eq!(sent[..2], [duty(true), lines]);
    assert_eq!(frames(&sent), [sealed(2), sealed(3)]);
    assert_eq!(node.counters().sent_again, 1, "the other is in the spool");
    let all = Message::Taken { first: 3, count: 1 }.encode();
    give(
        &mut node,
        Input::Frame {
            link: BACKUP,
            frame: all,
        },
    );
    // And once more the same way back.
    give(&mut node, answer(BACKUP));
    let later = Now {
        instant: Instant::ZERO + Duration::from_secs(70),
        ..NOW
    };
    give(&mut node, up(EDGE, Port::Up));
    let alive = Message::Alive { number: 1 }.encode();
    for link in [EDGE, BACKUP] {
        let frame = alive.clone();
        node.handle(Input::Frame { link, frame }, later);
        drain(&mut node);
    }
    node.handle(Input::Timeout, later);
    let sent = drain(&mut node);
    assert_eq!(said(&sent, BACKUP), [duty(false)]);
    assert_eq!(said(&sent, EDGE)[0], duty(true));
    assert_eq!(frames(&said(&sent, EDGE)), [sealed(3)]);
    // The edge before may still answer.
    assert_eq!(give(&mut node, answer(BACKUP)).len(), 1);
}

#[test]
fn a_title_that_no_edge_answered_is_told_to_nobody() {
    let mut node = GatewayNode::new("gw-1".into()).with_backup(PathsConfig::TIERS);
    give(&mut node, up(EDGE, Port::Up));
    give(&mut node, up(BACKUP, Port::Backup));
    give(&mut node, up(METER, Port::Down));
    give(
        &mut node,
        Input::Frame {
            link: METER,
            frame: sealed(1),
        },
    );
    let sent = said(&give(&mut node, Input::LinkDown { link: EDGE }), BACKUP);
    assert!(
        !sent.iter().any(|it| matches!(it, Message::Lines(_))),
        "{sent:?}"
    );
}

#[test]
fn a_gateway_without_an_edge_lets_its_meters_go_and_takes_none() {
    let after = Duration::from_secs(1);
    let mut node = GatewayNode::new("gw-1".into())
        .with_backup(PathsConfig::TIERS)
        .releasing_after(after);
    give(&mut node, up(EDGE, Port::Up));
    give(&mut node, up(METER, Port::Down));
    assert_eq!(give(&mut node, Input::LinkDown { link: EDGE }), []);
    let (at, _) = node.wake().instant.unwrap();
    assert_eq!(at, Instant::ZERO + after);
    let now = Now { instant: at, ..NOW };
    node.handle(Input::Timeout, now);
    let closed = |link, outputs: &[Output]| matches!(outputs, [Output::Close { link: it, .. }] if *it == link);
    assert!(closed(METER, &drain(&mut node)));
    assert_eq!(node.wake(), Wake::default());
    assert!(closed(
        LinkId(8),
        &give(&mut node, up(LinkId(8), Port::Down))
    ));
    give(&mut node, up(BACKUP, Port::Backup));
    assert_eq!(give(&mut node, up(LinkId(11), Port::Down)), []);
}
