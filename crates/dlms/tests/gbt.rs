//! General block transfer between two machines over a link that loses, doubles and reorders.

use std::collections::VecDeque;

use gridloom_dlms::apdu::GeneralBlockTransfer;
use gridloom_dlms::block::BLOCKS_BYTES_MAX;
use gridloom_dlms::gbt::{
    Confirmation, GbtError, GbtNumbers, GbtReceived, GbtReceiver, GbtSender, REPEATS_MAX, abort,
};

const BLOCK_LEN: usize = 10;

fn apdu(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

/// What the link does to the `at`-th APDU that either side sends.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    Lose { at: usize },
    LoseTwo { at: usize },
    Double { at: usize },
    Swap { at: usize },
    LoseEvery { nth: usize },
}

/// Both directions of the link; every APDU passes the codec.
struct Link {
    fault: Fault,
    sent: usize,
    held_back: Option<Vec<u8>>,
    queue: VecDeque<Vec<u8>>,
}

impl Link {
    fn new(fault: Fault) -> Self {
        Self {
            fault,
            sent: 0,
            held_back: None,
            queue: VecDeque::new(),
        }
    }

    fn send(&mut self, block: &GeneralBlockTransfer) {
        let mut bytes = Vec::new();
        block.encode(&mut bytes);
        let index = self.sent;
        self.sent += 1;
        let late = self.held_back.take();
        match self.fault {
            Fault::Lose { at } if at == index => {}
            Fault::LoseTwo { at } if at == index || at + 1 == index => {}
            Fault::LoseEvery { nth } if index % nth == nth - 1 => {}
            Fault::Double { at } if at == index => {
                self.queue.push_back(bytes.clone());
                self.queue.push_back(bytes);
            }
            Fault::Swap { at } if at == index => self.held_back = Some(bytes),
            Fault::None
            | Fault::Lose { .. }
            | Fault::LoseTwo { .. }
            | Fault::LoseEvery { .. }
            | Fault::Double { .. }
            | Fault::Swap { .. } => self.queue.push_back(bytes),
        }
        self.queue.extend(late);
    }

    fn receive(&mut self) -> Option<GeneralBlockTransfer> {
        let bytes = self.queue.pop_front()?;
        Some(GeneralBlockTransfer::decode(&bytes).expect("our own blocks decode"))
    }

    /// The link falls silent: what it held back comes at last.
    fn settle(&mut self) {
        self.queue.extend(self.held_back.take());
    }
}

fn sender(len: usize, window: u8, numbers: GbtNumbers) -> GbtSender {
    let confirmation = Confirmation::Windows { peer: window };
    GbtSender::new(apdu(len), BLOCK_LEN, confirmation, window, numbers).expect("few blocks")
}

/// One APDU, one way. Returns it and how many APDUs the sender sent. Only one side has a timer,
/// as in the field, where the client asks and the meter answers.
fn transfer(len: usize, window: u8, fault: Fault, timer: Timer) -> (Vec<u8>, usize) {
    let mut sender = sender(len, window, GbtNumbers::default());
    let mut receiver = GbtReceiver::new(window, GbtNumbers::default());
    let (mut forth, mut back) = (Link::new(fault), Link::new(fault));
    let mut whole = None;
    for _ in 0..10_000 {
        while let Some(block) = sender.poll_block() {
            assert!(!block.streaming || !block.last);
            forth.send(&block);
        }
        if let Some(block) = forth.receive() {
            match receiver.handle_block(&block).expect("a sound sender") {
                GbtReceived::Waiting => {}
                GbtReceived::Acknowledge(answer) => back.send(&answer),
                GbtReceived::Whole {
                    apdu,
                    acknowledgement,
                } => {
                    assert_eq!(whole.replace(apdu), None, "whole only once");
                    back.send(&acknowledgement);
                }
            }
        } else if let Some(answer) = back.receive() {
            sender
                .handle_acknowledgement(&answer)
                .expect("a sound receiver");
        } else if forth.held_back.is_some() || back.held_back.is_some() {
            forth.settle();
            back.settle();
        } else if sender.is_finished() || (whole.is_some() && timer == Timer::Receiver) {
            return (whole.expect("a finished sender has delivered"), forth.sent);
        } else {
            match timer {
                Timer::Sender => sender.handle_silence().expect("progress"),
                Timer::Receiver => back.send(&receiver.handle_silence().expect("progress")),
            }
        }
    }
    panic!("{len} bytes, window {window}, {fault:?}, {timer:?}: no end");
}

/// Who notices silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    Sender,
    Receiver,
}

#[test]
fn an_apdu_comes_whole_whatever_one_block_suffers() {
    let faults = (0..14).flat_map(|at| {
        [
            Fault::Lose { at },
            Fault::LoseTwo { at },
            Fault::Double { at },
            Fault::Swap { at },
        ]
    });
    let faults: Vec<_> = faults
        .chain([2, 3, 5].map(|nth| Fault::LoseEvery { nth }))
        .chain([Fault::None])
        .collect();
    for window in [1, 2, 3, 5, 63] {
        for len in [0, 1, 10, 11, 95, 100] {
            for fault in &faults {
                for timer in [Timer::Sender, Timer::Receiver] {
                    let (whole, _) = transfer(len, window, *fault, timer);
                    assert_eq!(
                        whole,
                        apdu(len),
                        "{len} bytes, window {window}, {fault:?}, {timer:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn only_what_was_lost_is_sent_again() {
    let sent = |fault| transfer(100, 5, fault, Timer::Receiver).1;
    assert_eq!(sent(Fault::None), 10);
    assert_eq!(sent(Fault::Lose { at: 1 }), 11, "one block in a window");
    assert_eq!(sent(Fault::LoseTwo { at: 1 }), 12, "two blocks in a row");
    assert_eq!(sent(Fault::Double { at: 2 }), 10, "nothing was lost");
    assert_eq!(sent(Fault::Swap { at: 1 }), 10, "nothing was lost");
}

/// A long request and its long response: the response goes on in the numbers of the
/// acknowledgements, one of which may have been lost.
#[test]
fn a_long_request_has_a_long_answer() {
    let faults = (0..20)
        .flat_map(|at| [Fault::Lose { at }, Fault::Double { at }, Fault::Swap { at }])
        .chain([Fault::None]);
    for fault in faults {
        let (mut forth, mut back) = (Link::new(fault), Link::new(fault));
        let mut request = sender(64, 3, GbtNumbers::default());
        let mut server_in = GbtReceiver::new(3, GbtNumbers::default());
        let mut response: Option<GbtSender> = None;
        let mut client_in: Option<GbtReceiver> = None;
        let mut answer = None;
        for _ in 0..1_000 {
            while let Some(block) = request.poll_block() {
                forth.send(&block);
            }
            while let Some(block) = response.as_mut().and_then(GbtSender::poll_block) {
                back.send(&block);
            }
            if let Some(block) = forth.receive() {
                if let Some(response) = &mut response {
                    response.handle_acknowledgement(&block).unwrap();
                    continue;
                }
                match server_in.handle_block(&block).unwrap() {
                    GbtReceived::Waiting => {}
                    GbtReceived::Acknowledge(ack) => back.send(&ack),
                    GbtReceived::Whole { apdu: whole, .. } => {
                        assert_eq!(whole, apdu(64));
                        response = Some(sender(77, 3, server_in.numbers()));
                    }
                }
            } else if let Some(block) = back.receive() {
                request.handle_acknowledgement(&block).unwrap();
                if !request.is_finished() {
                    continue;
                }
                let client =
                    client_in.get_or_insert_with(|| GbtReceiver::new(3, request.numbers()));
                match client.handle_block(&block).unwrap() {
                    GbtReceived::Waiting => {}
                    GbtReceived::Acknowledge(ack) => forth.send(&ack),
                    GbtReceived::Whole { apdu, .. } => answer = Some(apdu),
                }
            } else if forth.held_back.is_some() || back.held_back.is_some() {
                forth.settle();
                back.settle();
            } else if answer.is_some() {
                break;
            } else if let Some(client) = &mut client_in {
                forth.send(&client.handle_silence().unwrap());
            } else {
                request.handle_silence().unwrap();
            }
        }
        assert_eq!(answer, Some(apdu(77)), "{fault:?}");
    }
}

#[test]
fn a_notification_streams_without_an_answer() {
    let blocks = || {
        let mut sender = GbtSender::new(
            apdu(95),
            BLOCK_LEN,
            Confirmation::None,
            0,
            GbtNumbers::default(),
        )
        .unwrap();
        let blocks: Vec<_> = std::iter::from_fn(|| sender.poll_block()).collect();
        assert!(sender.is_finished());
        assert_eq!(blocks.len(), 10);
        blocks
    };
    let receive = |blocks: Vec<GeneralBlockTransfer>| {
        let mut receiver = GbtReceiver::new(1, GbtNumbers::default());
        let mut received = Ok(GbtReceived::Waiting);
        for block in &blocks {
            assert_eq!(block.window, 0);
            received = receiver.handle_block(block);
        }
        received
    };
    assert!(matches!(
        receive(blocks()),
        Ok(GbtReceived::Whole { apdu: whole, .. }) if whole == apdu(95)
    ));
    let mut gap = blocks();
    gap.remove(4);
    assert_eq!(receive(gap), Err(GbtError::Lost { number: 5 }));
}

#[test]
fn silence_is_not_asked_forever() {
    let mut sender = sender(100, 3, GbtNumbers::default());
    let mut receiver = GbtReceiver::new(3, GbtNumbers::default());
    let first = sender.poll_block().unwrap();
    receiver.handle_block(&first).unwrap();
    for _ in 0..REPEATS_MAX {
        sender.handle_silence().unwrap();
        receiver.handle_silence().unwrap();
    }
    let stalled = |number| Err(GbtError::Stalled { number });
    assert_eq!(sender.handle_silence(), stalled(0));
    assert_eq!(receiver.handle_silence().map(|_| ()), stalled(1));
}

#[test]
fn bytes_are_bounded_on_both_sides() {
    let new = |len, block_len, ours| {
        let numbers = GbtNumbers { ours, theirs: 0 };
        let confirmation = Confirmation::Windows { peer: 1 };
        GbtSender::new(apdu(len), block_len, confirmation, 1, numbers).map(|_| ())
    };
    let too_long = |bytes, block_len| Err(GbtError::TooLongToSend { bytes, block_len });
    assert_eq!(new(65_535, 1, 0), Ok(()));
    assert_eq!(new(65_535, 1, 1), too_long(65_535, 1));
    assert_eq!(new(65_536, 1, 0), too_long(65_536, 1));
    assert_eq!(new(BLOCKS_BYTES_MAX, 64, 0), Ok(()));
    assert_eq!(
        new(BLOCKS_BYTES_MAX + 1, 64, 0),
        too_long(BLOCKS_BYTES_MAX + 1, 64)
    );
    assert_eq!(new(1, 0, 0), too_long(1, 0));

    let mut receiver = GbtReceiver::with_max(3, GbtNumbers::default(), 25);
    // Held back blocks count as well.
    for number in [3, 2] {
        receiver.handle_block(&block(number, false)).unwrap();
    }
    assert_eq!(
        receiver.handle_block(&block(1, false)),
        Err(GbtError::TooLong { max: 25 })
    );
}

fn block(number: u16, last: bool) -> GeneralBlockTransfer {
    GeneralBlockTransfer {
        last,
        streaming: true,
        window: 3,
        number,
        acknowledged: 0,
        data: apdu(BLOCK_LEN),
    }
}

#[test]
fn what_no_sound_peer_sends_is_named() {
    let after_last = |number, last| GbtError::AfterLast { number, last };
    let cases: [(&[GeneralBlockTransfer], GbtError); 6] = [
        (&[abort()], GbtError::Aborted),
        (
            &[block(1, false), block(65, false)],
            GbtError::BeyondWindow {
                number: 65,
                received: 1,
            },
        ),
        (&[block(3, true), block(4, false)], after_last(4, 3)),
        (&[block(3, true), block(2, true)], after_last(2, 3)),
        (&[block(3, false), block(2, true)], after_last(2, 2)),
        (
            &[block(1, false), block(2, false), block(1, true)],
            after_last(1, 1),
        ),
    ];
    for (blocks, expected) in cases {
        let mut receiver = GbtReceiver::new(3, GbtNumbers::default());
        let (last, before) = blocks.split_last().unwrap();
        for block in before {
            receiver.handle_block(block).unwrap();
        }
        assert_eq!(receiver.handle_block(last), Err(expected));
    }

    let mut sender = sender(100, 3, GbtNumbers::default());
    while sender.poll_block().is_some() {}
    let acknowledge = |acknowledged| GeneralBlockTransfer {
        acknowledged,
        ..block(1, true)
    };
    assert_eq!(
        sender.handle_acknowledgement(&acknowledge(4)),
        Err(GbtError::AcknowledgesUnsent {
            acknowledged: 4,
            sent: 3
        })
    );
    assert_eq!(
        sender.handle_acknowledgement(&abort()),
        Err(GbtError::Aborted)
    );
    assert_eq!(sender.handle_acknowledgement(&acknowledge(3)), Ok(()));
    assert_eq!(sender.poll_block().map(|block| block.number), Some(4));
}

#[test]
fn a_block_held_back_counts_once_and_stays_what_it_was() {
    let mut receiver = GbtReceiver::with_max(3, GbtNumbers::default(), 2 * BLOCK_LEN);
    let mut forged = block(2, true);
    forged.data = vec![0xEE; BLOCK_LEN];
    for early in [&block(2, true), &forged, &forged] {
        assert_eq!(receiver.handle_block(early), Ok(GbtReceived::Waiting));
    }
    let whole = receiver.handle_block(&block(1, false));
    let twice = apdu(BLOCK_LEN).repeat(2);
    assert!(matches!(whole, Ok(GbtReceived::Whole { apdu, .. }) if apdu == twice));
}

#[test]
fn an_acknowledgement_that_the_link_doubles_is_answered_once() {
    let answer = |number, acknowledged, data: &[u8]| GeneralBlockTransfer {
        last: true,
        streaming: false,
        window: 3,
        number,
        acknowledged,
        data: data.to_vec(),
    };
    let cases = [
        // A peer that numbers its acknowledgements: the same one again is the link's doing.
        ([answer(1, 3, &[]), answer(2, 6, &[]), answer(2, 6, &[])], 0),
        // A new one that says the same asks again.
        ([answer(1, 3, &[]), answer(2, 6, &[]), answer(3, 6, &[])], 3),
        // A peer that does not number them has no other way to ask again.
        ([answer(1, 3, &[]), answer(1, 6, &[]), answer(1, 6, &[])], 3),
        // Data again means that the peer has not heard us.
        (
            [answer(1, 3, &[]), answer(2, 6, &[1]), answer(2, 6, &[1])],
            3,
        ),
        // An older one was overtaken.
        ([answer(1, 3, &[]), answer(3, 6, &[]), answer(2, 3, &[])], 0),
    ];
    for (answers, sent_again) in cases {
        let mut sender = sender(100, 3, GbtNumbers::default());
        let mut sent = 0;
        for answer in &answers {
            while sender.poll_block().is_some() {}
            sender.handle_acknowledgement(answer).unwrap();
            sent = std::iter::from_fn(|| sender.poll_block()).count();
        }
        assert_eq!(sent, sent_again, "{answers:?}");
    }
}
