//! The APCI: I-, S- and U-frames, and how they are cut out of a stream (IEC 60870-5-104, clause 5).

use core::fmt;

/// The longest APDU on the wire, start and length octet included.
pub const APDU_MAX: usize = 255;

/// The longest ASDU that an I-frame can carry.
pub const ASDU_MAX: usize = APDU_MAX - 6;

const START: u8 = 0x68;
const CONTROL_OCTETS: usize = 4;
const MODULUS: u16 = 32_768;

/// Why received bytes are no frame. After any of these nothing in the stream can be trusted:
/// the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame begins with 68h.
    #[error("frame: starts with {0:02X}h, not 68h: not IEC 104, or the peer lost its place")]
    Start(u8),
    /// The length octet is outside what the frame can have.
    #[error("frame: length {0} is outside 4-253, or wrong for this kind of frame")]
    Length(u8),
    /// The control field is none of I, S and U.
    #[error("frame: control field {0:02X?} is no I-, S- or U-frame")]
    Control([u8; 4]),
}

/// A send or receive sequence number, counted modulo 32 768.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Sequence(u16);

impl Sequence {
    /// The number of the first frame of a connection.
    pub const ZERO: Self = Self(0);

    /// The number `value` modulo 32 768.
    pub const fn new(value: u16) -> Self {
        Self(value % MODULUS)
    }

    /// The plain number, 0–32 767.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::new(self.0 + 1)
    }

    /// How many steps lead from `earlier` to this number, 0–32 767.
    pub const fn since(self, earlier: Self) -> u16 {
        (self.0 + MODULUS - earlier.0) % MODULUS
    }

    const fn to_octets(self) -> [u8; 2] {
        (self.0 << 1).to_le_bytes()
    }

    const fn from_octets(low: u8, high: u8) -> Self {
        Self(u16::from_le_bytes([low, high]) >> 1)
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An unnumbered control function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unnumbered {
    /// STARTDT act: begin data transfer.
    StartAct,
    /// STARTDT con: data transfer has begun.
    StartCon,
    /// STOPDT act: end data transfer.
    StopAct,
    /// STOPDT con: data transfer has ended.
    StopCon,
    /// TESTFR act: are you there?
    TestAct,
    /// TESTFR con: I am.
    TestCon,
}

impl Unnumbered {
    const ALL: [Self; 6] = [
        Self::StartAct,
        Self::StartCon,
        Self::StopAct,
        Self::StopCon,
        Self::TestAct,
        Self::TestCon,
    ];

    const fn octet(self) -> u8 {
        match self {
            Self::StartAct => 0x07,
            Self::StartCon => 0x0B,
            Self::StopAct => 0x13,
            Self::StopCon => 0x23,
            Self::TestAct => 0x43,
            Self::TestCon => 0x83,
        }
    }
}

/// One APDU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// An I-frame: an ASDU with both sequence numbers.
    Information {
        /// N(S), the number of this frame.
        send: Sequence,
        /// N(R), the number expected next from the peer; all before it are acknowledged.
        receive: Sequence,
        /// The ASDU, 1–249 octets, undecoded.
        asdu: Vec<u8>,
    },
    /// An S-frame: an acknowledgement alone.
    Supervisory {
        /// N(R).
        receive: Sequence,
    },
    /// A U-frame.
    Unnumbered(Unnumbered),
}

impl Frame {
    /// The frame's octets.
    ///
    /// # Panics
    ///
    /// If the ASDU is empty or longer than [`ASDU_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let (control, asdu): ([u8; 4], &[u8]) = match self {
            Self::Information {
                send,
                receive,
                asdu,
            } => {
                assert!(
                    (1..=ASDU_MAX).contains(&asdu.len()),
                    "an I-frame carries 1-{ASDU_MAX} octets, not {}",
                    asdu.len()
                );
                let ([s0, s1], [r0, r1]) = (send.to_octets(), receive.to_octets());
                ([s0, s1, r0, r1], asdu)
            }
            Self::Supervisory { receive } => {
                let [r0, r1] = receive.to_octets();
                ([0x01, 0, r0, r1], &[])
            }
            Self::Unnumbered(function) => ([function.octet(), 0, 0, 0], &[]),
        };
        let length = u8::try_from(CONTROL_OCTETS + asdu.len()).expect("at most 253");
        let mut out = Vec::with_capacity(2 + usize::from(length));
        out.extend([START, length]);
        out.extend(control);
        out.extend(asdu);
        out
    }

    /// Reads what follows the length octet.
    fn decode_body(body: &[u8]) -> Result<Self, FrameError> {
        let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
        let Some((&control, asdu)) = body.split_first_chunk::<CONTROL_OCTETS>() else {
            return Err(FrameError::Length(length));
        };
        let [c1, c2, c3, c4] = control;
        let receive = Sequence::from_octets(c3, c4);
        if c1 & 1 == 0 {
            if c3 & 1 != 0 {
                return Err(FrameError::Control(control));
            }
            if asdu.is_empty() {
                return Err(FrameError::Length(length));
            }
            return Ok(Self::Information {
                send: Sequence::from_octets(c1, c2),
                receive,
                asdu: asdu.to_vec(),
            });
        }
        if !asdu.is_empty() {
            return Err(FrameError::Length(length));
        }
        if [c1, c2] == [0x01, 0] && c3 & 1 == 0 {
            return Ok(Self::Supervisory { receive });
        }
        Unnumbered::ALL
            .into_iter()
            .find(|function| control == [function.octet(), 0, 0, 0])
            .map(Self::Unnumbered)
            .ok_or(FrameError::Control(control))
    }
}

/// Cuts a stream of octets into frames; holds at most one unfinished frame.
#[derive(Debug, Clone, Default)]
pub struct Framer {
    /// Octets of the frame that has begun, at most [`APDU_MAX`].
    partial: Vec<u8>,
}

impl Framer {
    /// Takes octets from the front of `input` up to the end of one frame; `None` once all of it
    /// is taken and the frame is not whole. The stream is lost after an error.
    pub fn next_frame(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        while let Some((&octet, rest)) = input.split_first() {
            match self.partial.len() {
                0 if octet != START => return Err(FrameError::Start(octet)),
                1 if !(4..=253).contains(&octet) => return Err(FrameError::Length(octet)),
                0 | 1 => {
                    self.partial.push(octet);
                    *input = rest;
                    continue;
                }
                _ => {}
            }
            let whole = 2 + usize::from(self.partial[1]);
            let taken = (whole - self.partial.len()).min(input.len());
            let (now, later) = input.split_at(taken);
            self.partial.extend(now);
            *input = later;
            if self.partial.len() == whole {
                let frame = Frame::decode_body(&self.partial[2..]);
                self.partial.clear();
                return frame.map(Some);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], cut: usize) -> Result<Vec<Frame>, FrameError> {
        let mut framer = Framer::default();
        let mut frames = Vec::new();
        for piece in bytes.chunks(cut) {
            let mut input = piece;
            while let Some(frame) = framer.next_frame(&mut input)? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn frames_by_hand() {
        let information = Frame::Information {
            send: Sequence::new(0x1234),
            receive: Sequence::new(0x7FFF),
            asdu: vec![0xAA],
        };
        let supervisory = |n| Frame::Supervisory {
            receive: Sequence::new(n),
        };
        use Unnumbered::{StartAct, StartCon, StopAct, StopCon, TestAct, TestCon};
        let cases: [(&[u8], Frame); 9] = [
            (&[0x68, 5, 0x68, 0x24, 0xFE, 0xFF, 0xAA], information),
            (&[0x68, 4, 1, 0, 0, 0], supervisory(0)),
            (&[0x68, 4, 1, 0, 0x10, 0x00], supervisory(8)),
            (&[0x68, 4, 0x07, 0, 0, 0], Frame::Unnumbered(StartAct)),
            (&[0x68, 4, 0x0B, 0, 0, 0], Frame::Unnumbered(StartCon)),
            (&[0x68, 4, 0x13, 0, 0, 0], Frame::Unnumbered(StopAct)),
            (&[0x68, 4, 0x23, 0, 0, 0], Frame::Unnumbered(StopCon)),
            (&[0x68, 4, 0x43, 0, 0, 0], Frame::Unnumbered(TestAct)),
            (&[0x68, 4, 0x83, 0, 0, 0], Frame::Unnumbered(TestCon)),
        ];
        let stream: Vec<u8> = cases.iter().flat_map(|(bytes, _)| bytes.to_vec()).collect();
        let frames: Vec<Frame> = cases.iter().map(|(_, frame)| frame.clone()).collect();
        for (bytes, frame) in &cases {
            assert_eq!(frame.encode(), *bytes, "{frame:?}");
        }
        for cut in 1..=stream.len() {
            assert_eq!(all(&stream, cut).as_ref(), Ok(&frames), "cut at {cut}");
        }
    }

    #[test]
    fn a_stream_that_is_no_iec_104_is_named() {
        let cases: [(&[u8], FrameError); 9] = [
            (b"GET /", FrameError::Start(b'G')),
            (&[0x68, 3, 1, 0, 0], FrameError::Length(3)),
            (&[0x68, 254], FrameError::Length(254)),
            (&[0x68, 4, 0, 0, 0, 0], FrameError::Length(4)), // I without ASDU.
            (&[0x68, 5, 1, 0, 0, 0, 9], FrameError::Length(5)), // S with ASDU.
            (&[0x68, 4, 1, 1, 0, 0], FrameError::Control([1, 1, 0, 0])),
            (
                &[0x68, 4, 0x47, 0, 0, 0],
                FrameError::Control([0x47, 0, 0, 0]),
            ), // Two functions.
            (
                &[0x68, 4, 0x43, 0, 2, 0],
                FrameError::Control([0x43, 0, 2, 0]),
            ),
            (&[0x68, 5, 0, 0, 1, 0, 9], FrameError::Control([0, 0, 1, 0])),
        ];
        for (bytes, error) in cases {
            assert_eq!(all(bytes, 255), Err(error), "{bytes:02X?}");
        }
    }

    #[test]
    fn the_longest_frame_passes() {
        let frame = Frame::Information {
            send: Sequence::ZERO,
            receive: Sequence::ZERO,
            asdu: vec![7; ASDU_MAX],
        };
        let bytes = frame.encode();
        assert_eq!((bytes.len(), bytes[1]), (APDU_MAX, 253));
        assert_eq!(all(&bytes, 100), Ok(vec![frame]));
    }

    #[test]
    fn sequence_numbers_go_round() {
        let last = Sequence::new(32_767);
        assert_eq!(last.next(), Sequence::ZERO);
        assert_eq!(Sequence::new(2).since(last), 3);
        assert_eq!(last.since(Sequence::new(2)), 32_765);
        assert_eq!(last.since(last), 0);
    }
}
