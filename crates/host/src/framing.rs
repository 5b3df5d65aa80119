//! Cuts a byte stream into frames, and puts frames onto one.

use gridloom_dlms::wrapper::{self, WrapperError};

/// Bytes in front of an envelope: its length, big-endian.
const ENVELOPE_HEADER_LEN: usize = 4;

/// An empty receive buffer larger than this is given back.
const BUFFER_KEPT_MAX: usize = 64 * 1024;

/// How frames lie in a byte stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The wrapper of IEC 62056-47, between meters and gateways. A frame is a wrapped APDU with its
    /// header, because its ports say who speaks to whom.
    DlmsWrapper,
    /// A 32-bit big-endian length and the frame, between our own tiers.
    Envelope,
    /// No frames: pieces of the stream as they come, for a node that cuts them itself.
    Bytes,
}

impl Framing {
    /// The longest frame, in bytes. A longer one from a peer closes the link; sending one is a
    /// mistake of ours and panics.
    pub const fn frame_max(self) -> usize {
        match self {
            Self::DlmsWrapper => wrapper::HEADER_LEN + wrapper::APDU_MAX as usize,
            Self::Envelope | Self::Bytes => ENVELOPE_MAX,
        }
    }

    /// Checks a frame that a node wants sent.
    ///
    /// # Panics
    ///
    /// If it is empty or longer than [`Self::frame_max`], or not one wrapped APDU where that is
    /// what the link carries: nodes bound and wrap what they send.
    pub(crate) fn assert_sendable(self, frame: &[u8]) {
        assert!(
            !frame.is_empty() && frame.len() <= self.frame_max(),
            "a node sends frames of 1 to {} bytes in {self:?}, not {}",
            self.frame_max(),
            frame.len()
        );
        if self == Self::DlmsWrapper {
            wrapper::Frame::decode(frame).expect("a node wraps what it sends to a meter");
        }
    }

    /// Appends `frame` to `stream`.
    ///
    /// # Panics
    ///
    /// If [`Self::frame_max`] or the link's kind does not allow it.
    pub fn encode(self, frame: &[u8], stream: &mut Vec<u8>) {
        self.assert_sendable(frame);
        match self {
            Self::DlmsWrapper | Self::Bytes => stream.extend_from_slice(frame),
            Self::Envelope => {
                let length = u32::try_from(frame.len()).expect("ENVELOPE_MAX fits 32 bits");
                stream.extend(length.to_be_bytes());
                stream.extend_from_slice(frame);
            }
        }
    }
}

/// The longest envelope, in bytes.
pub const ENVELOPE_MAX: usize = 1024 * 1024;

/// A byte stream is no sequence of frames. It has lost its boundaries: close the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The wrapper is wrong.
    #[error(transparent)]
    Wrapper(#[from] WrapperError),
    /// An envelope announces more than [`ENVELOPE_MAX`].
    #[error(
        "frame: envelope of {got} bytes announced, at most {ENVELOPE_MAX} accepted; is the peer of our kind?"
    )]
    EnvelopeTooLong {
        /// The length announced.
        got: u32,
    },
    /// An envelope announces nothing.
    #[error("frame: empty envelope announced; the peer must reconnect")]
    EnvelopeEmpty,
}

/// Cuts a byte stream into frames. Holds no more than one longest frame and one push.
#[derive(Debug)]
pub struct Deframer {
    cutter: Cutter,
    /// Bytes pushed that belong to no frame pulled.
    waiting: usize,
}

#[derive(Debug)]
enum Cutter {
    Wrapper(wrapper::Deframer),
    Envelope { buffer: Vec<u8>, taken: usize },
    Bytes(Vec<u8>),
}

impl Deframer {
    /// A deframer at the start of a stream.
    pub fn new(framing: Framing) -> Self {
        let cutter = match framing {
            Framing::DlmsWrapper => Cutter::Wrapper(wrapper::Deframer::default()),
            Framing::Envelope => Cutter::Envelope {
                buffer: Vec::new(),
                taken: 0,
            },
            Framing::Bytes => Cutter::Bytes(Vec::new()),
        };
        Self { cutter, waiting: 0 }
    }

    /// Takes received bytes. Pull until `None` before the next push.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if the stream has failed before.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        match &mut self.cutter {
            Cutter::Wrapper(deframer) => deframer.push(bytes)?,
            Cutter::Envelope { buffer, taken } => {
                buffer.drain(..*taken);
                *taken = 0;
                if buffer.is_empty() && buffer.capacity() > BUFFER_KEPT_MAX {
                    *buffer = Vec::new();
                }
                buffer.extend_from_slice(bytes);
            }
            Cutter::Bytes(waiting) => waiting.extend_from_slice(bytes),
        }
        self.waiting += bytes.len();
        Ok(())
    }

    /// The next whole frame, or `None` until more bytes are pushed.
    ///
    /// # Errors
    ///
    /// [`FrameError`] for anything but a frame; the connection must be closed.
    pub fn pull(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let (frame, header_len) = match &mut self.cutter {
            Cutter::Wrapper(deframer) => (deframer.pull()?.map(|frame| frame.to_bytes()), 0),
            Cutter::Envelope { buffer, taken } => {
                (pull_envelope(buffer, taken)?, ENVELOPE_HEADER_LEN)
            }
            Cutter::Bytes(waiting) => {
                let piece = std::mem::take(waiting);
                ((!piece.is_empty()).then_some(piece), 0)
            }
        };
        if let Some(frame) = &frame {
            self.waiting -= header_len + frame.len();
        }
        Ok(frame)
    }

    /// Whether a frame has begun and not ended, once [`Self::pull`] has returned `None`.
    pub const fn is_partial(&self) -> bool {
        self.waiting > 0
    }
}

fn pull_envelope(buffer: &[u8], taken: &mut usize) -> Result<Option<Vec<u8>>, FrameError> {
    let rest = &buffer[*taken..];
    let Some((length, rest)) = rest.split_first_chunk::<ENVELOPE_HEADER_LEN>() else {
        return Ok(None);
    };
    let got = u32::from_be_bytes(*length);
    let length = got as usize;
    if length == 0 {
        return Err(FrameError::EnvelopeEmpty);
    }
    if length > ENVELOPE_MAX {
        return Err(FrameError::EnvelopeTooLong { got });
    }
    let Some(frame) = rest.get(..length) else {
        return Ok(None);
    };
    *taken += ENVELOPE_HEADER_LEN + length;
    Ok(Some(frame.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_core::Seed;
    use gridloom_dlms::wrapper::WPort;

    /// A frame as a node sends it on such a link.
    fn frame_of(framing: Framing, payload: &[u8]) -> Vec<u8> {
        match framing {
            Framing::DlmsWrapper => wrapper::Frame {
                source: WPort(1),
                destination: WPort(102),
                apdu: payload,
            }
            .to_bytes(),
            Framing::Envelope | Framing::Bytes => payload.to_vec(),
        }
    }

    fn stream_of(framing: Framing, payloads: &[&[u8]]) -> Vec<u8> {
        let mut stream = Vec::new();
        for payload in payloads {
            framing.encode(&frame_of(framing, payload), &mut stream);
        }
        stream
    }

    #[test]
    fn headers_are_as_documented() {
        assert_eq!(
            stream_of(Framing::Envelope, &[b"ab"]),
            [0, 0, 0, 2, b'a', b'b']
        );
        assert_eq!(
            stream_of(Framing::DlmsWrapper, &[b"ab"]),
            [0, 1, 0, 1, 0, 102, 0, 2, b'a', b'b']
        );
    }

    #[test]
    fn frames_come_out_however_the_stream_is_cut() {
        for framing in [Framing::DlmsWrapper, Framing::Envelope] {
            let long = vec![9; 65_535];
            let frames: [&[u8]; 4] = [b"a", &long, b"bc", &[0; 500]];
            let stream = stream_of(framing, &frames);
            for chunk in [1, 3, 4, 5, 9, 4_096, stream.len()] {
                let mut deframer = Deframer::new(framing);
                let mut found = Vec::new();
                for bytes in stream.chunks(chunk) {
                    deframer.push(bytes).unwrap();
                    while let Some(frame) = deframer.pull().unwrap() {
                        found.push(frame);
                    }
                }
                let sent = frames.map(|payload| frame_of(framing, payload));
                assert_eq!(found, sent, "{framing:?} in {chunk}s");
                assert!(!deframer.is_partial());
            }
        }
    }

    #[test]
    fn partial_frames_are_known() {
        for framing in [Framing::DlmsWrapper, Framing::Envelope] {
            let stream = stream_of(framing, &[b"abc"]);
            let mut deframer = Deframer::new(framing);
            assert!(!deframer.is_partial());
            for byte in &stream[..stream.len() - 1] {
                deframer.push(&[*byte]).unwrap();
                assert_eq!(deframer.pull(), Ok(None));
                assert!(deframer.is_partial());
            }
            deframer.push(&stream[stream.len() - 1..]).unwrap();
            assert_eq!(deframer.pull(), Ok(Some(frame_of(framing, b"abc"))));
            assert!(!deframer.is_partial());
        }
    }

    #[test]
    fn bytes_come_as_they_are() {
        let mut deframer = Deframer::new(Framing::Bytes);
        assert_eq!(deframer.pull(), Ok(None));
        deframer.push(b"ab").unwrap();
        assert_eq!(deframer.pull(), Ok(Some(b"ab".to_vec())));
        assert_eq!(deframer.pull(), Ok(None));
        assert!(!deframer.is_partial());
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let cases: [(Framing, &[u8], FrameError); 5] = [
            (Framing::Envelope, &[0, 0, 0, 0], FrameError::EnvelopeEmpty),
            (
                Framing::Envelope,
                &[0, 0x10, 0, 1],
                FrameError::EnvelopeTooLong { got: 0x10_0001 },
            ),
            (
                Framing::Envelope,
                &[0xFF; 4],
                FrameError::EnvelopeTooLong { got: u32::MAX },
            ),
            (
                Framing::DlmsWrapper,
                b"GET / HTTP/1.1\r\n",
                WrapperError::Version { got: 0x4745 }.into(),
            ),
            (
                Framing::DlmsWrapper,
                &[0, 1, 0, 1, 0, 1, 0, 0],
                WrapperError::Empty.into(),
            ),
        ];
        for (framing, bytes, expected) in cases {
            let mut deframer = Deframer::new(framing);
            deframer.push(bytes).unwrap();
            assert_eq!(deframer.pull(), Err(expected), "{bytes:02X?}");
        }
    }

    #[test]
    fn random_bytes_never_panic_and_never_grow_the_buffer() {
        let seed = Seed::new(20_261_121);
        for framing in [Framing::DlmsWrapper, Framing::Envelope] {
            for case in 0..2_000 {
                let draw = |index| seed.nth(case).nth(index).get();
                let mut stream = stream_of(framing, &[b"valid", &[1; 40]]);
                let place = usize::try_from(draw(0)).unwrap() % stream.len();
                stream[place] = draw(1).to_le_bytes()[0];
                stream.truncate(usize::try_from(draw(2)).unwrap() % (stream.len() + 1));
                stream.extend((3..20).flat_map(|index| draw(index).to_le_bytes()));
                let mut deframer = Deframer::new(framing);
                for bytes in stream.chunks(7) {
                    if deframer.push(bytes).is_err() {
                        break;
                    }
                    while let Ok(Some(frame)) = deframer.pull() {
                        assert!(!frame.is_empty() && frame.len() <= framing.frame_max());
                    }
                    assert!(deframer.waiting <= stream.len());
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "a node wraps what it sends to a meter")]
    fn sending_what_is_not_wrapped_is_our_mistake() {
        Framing::DlmsWrapper.encode(b"bare APDU", &mut Vec::new());
    }

    #[test]
    #[should_panic(expected = "a node sends frames of 1 to 65543 bytes in DlmsWrapper, not 65544")]
    fn sending_a_frame_that_is_too_long_is_our_mistake() {
        Framing::DlmsWrapper.encode(&[0; 65_544], &mut Vec::new());
    }
}
