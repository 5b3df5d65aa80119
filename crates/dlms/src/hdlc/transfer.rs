//! The numbered transfer of one connection, the same at both ends: segments with sequence
//! numbers, windows, acknowledgements, and repetition from the first segment that is missing.

use std::collections::VecDeque;

use super::address::Address;
use super::frame::{Control, Frame, Sequence};
use super::parameters::Parameters;

/// Bytes of the longest APDU, either way. A longer one from the peer ends the connection; sending
/// one is our mistake and panics.
pub const APDU_MAX: usize = 65_535;

/// APDUs that may wait to be sent on one connection; one more is refused.
pub(super) const APDUS_MAX: usize = 8;

/// The LLC header (IEC 62056-46 §5.3) of what a client sends.
pub(super) const LLC_COMMAND: [u8; 3] = [0xE6, 0xE6, 0x00];

/// The LLC header of what a server sends.
pub(super) const LLC_RESPONSE: [u8; 3] = [0xE6, 0xE7, 0x00];

/// Which end of the link this is: it decides the LLC headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
}

impl End {
    const fn llc_sent(self) -> [u8; 3] {
        match self {
            Self::Client => LLC_COMMAND,
            Self::Server => LLC_RESPONSE,
        }
    }

    /// The APDU behind the other end's LLC header; `None` if it is another protocol.
    pub(super) fn strip_llc(self, payload: &[u8]) -> Option<&[u8]> {
        let llc = match self {
            Self::Client => LLC_RESPONSE,
            Self::Server => LLC_COMMAND,
        };
        payload.strip_prefix(&llc).filter(|apdu| !apdu.is_empty())
    }

    /// An APDU behind this end's LLC header.
    pub(super) fn add_llc(self, apdu: &[u8]) -> Vec<u8> {
        assert!(
            (1..=APDU_MAX).contains(&apdu.len()),
            "an APDU has 1 to {APDU_MAX} bytes, not {}",
            apdu.len()
        );
        let mut payload = Vec::with_capacity(LLC_COMMAND.len() + apdu.len());
        payload.extend(self.llc_sent());
        payload.extend_from_slice(apdu);
        payload
    }
}

/// What a numbered frame brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A segment that was here before.
    Duplicate,
    /// A segment after one that is missing.
    Gap,
    /// A segment of an APDU that goes on.
    Partial,
    /// The end of an APDU.
    Complete(Vec<u8>),
    /// A payload that is no APDU; it is dropped.
    NoApdu,
    /// More than [`APDU_MAX`].
    TooLong,
}

/// An acknowledgement of what was never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NeverSent;

#[derive(Debug)]
struct Segment {
    info: Vec<u8>,
    last: bool,
}

#[derive(Debug)]
pub(super) struct Transfer {
    end: End,
    local: Address,
    remote: Address,
    parameters: Parameters,
    /// Oldest first. The first `sent` are on their way.
    waiting: VecDeque<Segment>,
    apdus: usize,
    sent: u8,
    /// Number of the oldest that waits.
    oldest: Sequence,
    /// Number of the frame wanted next.
    expected: Sequence,
    collected: Vec<u8>,
}

impl Transfer {
    pub(super) fn new(end: End, local: Address, remote: Address, parameters: Parameters) -> Self {
        Self {
            end,
            local,
            remote,
            parameters,
            waiting: VecDeque::new(),
            apdus: 0,
            sent: 0,
            oldest: Sequence::default(),
            expected: Sequence::default(),
            collected: Vec::new(),
        }
    }

    pub(super) const fn parameters(&self) -> Parameters {
        self.parameters
    }

    pub(super) const fn expected(&self) -> Sequence {
        self.expected
    }

    pub(super) const fn next_send(&self) -> Sequence {
        self.oldest.plus(self.sent)
    }

    /// Whether another APDU may be queued.
    pub(super) const fn has_room(&self) -> bool {
        self.apdus < APDUS_MAX
    }

    /// Whether an APDU has begun to arrive and has not ended.
    pub(super) const fn is_collecting(&self) -> bool {
        !self.collected.is_empty()
    }

    pub(super) fn queue(&mut self, apdu: &[u8]) {
        assert!(self.has_room(), "the caller has asked for room");
        let payload = self.end.add_llc(apdu);
        let mut segments = payload
            .chunks(self.parameters.info_transmit.into())
            .peekable();
        while let Some(info) = segments.next() {
            self.waiting.push_back(Segment {
                info: info.to_vec(),
                last: segments.peek().is_none(),
            });
        }
        self.apdus += 1;
    }

    /// Forgets what has arrived; whether anything did.
    pub(super) fn acknowledge(&mut self, wanted: Sequence) -> Result<bool, NeverSent> {
        let arrived = wanted.steps_from(self.oldest);
        if arrived > self.sent {
            return Err(NeverSent);
        }
        for _ in 0..arrived {
            let segment = self.waiting.pop_front().expect("what is sent waits");
            self.apdus -= usize::from(segment.last);
        }
        self.sent -= arrived;
        self.oldest = wanted;
        Ok(arrived > 0)
    }

    /// Whether some of what is on its way has not been acknowledged.
    pub(super) const fn has_unacknowledged(&self) -> bool {
        self.sent > 0
    }

    /// Appends the next window of segments to `out`, from the oldest that is not acknowledged;
    /// the last has the poll or final bit. Returns whether there were any.
    pub(super) fn send_window(&mut self, out: &mut Vec<u8>) -> bool {
        let window = self.parameters.window_transmit.into();
        let count = self.waiting.len().min(window);
        let mut number = self.oldest;
        for (index, segment) in self.waiting.iter().take(count).enumerate() {
            Frame {
                destination: self.remote,
                source: self.local,
                control: Control::Information {
                    send: number,
                    receive: self.expected,
                    poll: index + 1 == count,
                },
                segmented: !segment.last,
                info: &segment.info,
            }
            .encode(out);
            number = number.next();
        }
        self.sent = u8::try_from(count).expect("a window is at most 7");
        count > 0
    }

    /// Appends a frame without information, with the poll or final bit, to `out`.
    pub(super) fn send_ready(&self, out: &mut Vec<u8>) {
        Frame {
            destination: self.remote,
            source: self.local,
            control: Control::ReceiveReady {
                receive: self.expected,
                poll: true,
            },
            segmented: false,
            info: &[],
        }
        .encode(out);
    }

    pub(super) fn receive(&mut self, number: Sequence, segmented: bool, info: &[u8]) -> Received {
        if number != self.expected {
            let ahead = number.steps_from(self.expected);
            return if ahead < self.parameters.window_receive {
                Received::Gap
            } else {
                Received::Duplicate
            };
        }
        self.expected = self.expected.next();
        if self.collected.len() + info.len() > LLC_COMMAND.len() + APDU_MAX {
            self.collected = Vec::new();
            return Received::TooLong;
        }
        self.collected.extend_from_slice(info);
        if segmented {
            return Received::Partial;
        }
        let payload = core::mem::take(&mut self.collected);
        match self.end.strip_llc(&payload) {
            Some(apdu) => Received::Complete(apdu.to_vec()),
            None => Received::NoApdu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::deframer::Deframer;
    use super::*;

    fn transfer(end: End, info: u16, window: u8) -> Transfer {
        let (client, server) = (Address::PUBLIC_CLIENT, Address::MANAGEMENT);
        let (local, remote) = match end {
            End::Client => (client, server),
            End::Server => (server, client),
        };
        Transfer::new(end, local, remote, Parameters::symmetric(info, window))
    }

    /// The numbers of the segments in `bytes`, and what the other end makes of them.
    fn deliver(bytes: &[u8], to: &mut Transfer, lost: &[usize]) -> Vec<Received> {
        let mut deframer = Deframer::new();
        deframer.push(bytes);
        let mut received = Vec::new();
        let mut index = 0;
        while let Some(frame) = deframer.pull() {
            let Control::Information { send, .. } = frame.control else {
                panic!("{frame:?}");
            };
            if !lost.contains(&index) {
                received.push(to.receive(send, frame.segmented, frame.info));
            }
            index += 1;
        }
        received
    }

    #[test]
    fn what_is_missing_is_sent_again_from_there() {
        let (mut client, mut server) = (transfer(End::Client, 32, 7), transfer(End::Server, 32, 7));
        let apdu: Vec<u8> = (0..=255).collect();
        client.queue(&apdu);
        let mut line = Vec::new();
        assert!(client.send_window(&mut line));
        let first = deliver(&line, &mut server, &[2, 4]);
        assert_eq!(
            first,
            [
                Received::Partial,
                Received::Partial,
                Received::Gap,
                Received::Gap,
                Received::Gap
            ]
        );
        assert_eq!(client.acknowledge(server.expected()), Ok(true));
        line.clear();
        client.send_window(&mut line);
        let second = deliver(&line, &mut server, &[]);
        assert_eq!(second.last(), Some(&Received::Complete(apdu)));
        assert_eq!(client.acknowledge(server.expected()), Ok(true));
        assert!(!client.send_window(&mut Vec::new()));
        // The same window again: everything is known.
        let again = deliver(&line, &mut server, &[]);
        assert!(again.ends_with(&[Received::Duplicate]));
        assert!(!again.iter().any(|one| matches!(one, Received::Complete(_))));
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_is_refused() {
        let mut client = transfer(End::Client, 32, 3);
        client.queue(&[1; 200]);
        client.send_window(&mut Vec::new());
        assert_eq!(client.acknowledge(Sequence::new(4)), Err(NeverSent));
        assert_eq!(client.acknowledge(Sequence::new(7)), Err(NeverSent));
        assert_eq!(client.acknowledge(Sequence::new(3)), Ok(true));
        assert_eq!(client.acknowledge(Sequence::new(3)), Ok(false));
    }

    #[test]
    fn an_apdu_without_end_is_refused() {
        let mut server = transfer(End::Server, 2_030, 1);
        let info = [0xE6; 2_030];
        let mut number = Sequence::default();
        for _ in 0..APDU_MAX / 2_030 {
            assert_eq!(server.receive(number, true, &info), Received::Partial);
            number = number.next();
        }
        assert_eq!(server.receive(number, true, &info), Received::TooLong);
    }

    #[test]
    fn another_protocol_is_no_apdu() {
        let cases: [(&[u8], bool); 4] = [
            (&[0xE6, 0xE6, 0x00, 0xC0], true),
            (&[0xE6, 0xE7, 0x00, 0xC0], false),
            (&[0xE6, 0xE6, 0x00], false),
            (&[], false),
        ];
        for (payload, valid) in cases {
            let mut server = transfer(End::Server, 128, 1);
            let received = server.receive(Sequence::default(), false, payload);
            assert_eq!(received != Received::NoApdu, valid, "{payload:02X?}");
        }
    }
}
