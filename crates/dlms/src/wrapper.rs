//! The wrapper of IEC 62056-47: eight bytes in front of each APDU on TCP.

use gridloom_core::bytes::Reader;

/// The only version there is.
pub const VERSION: u16 = 1;

/// Bytes of a header.
pub const HEADER_LEN: usize = 8;

/// The longest APDU that the header's length field can announce.
pub const APDU_MAX: u16 = u16::MAX;

/// The standard's TCP port for the wrapper.
pub const TCP_PORT: u16 = 4059;

/// Bytes that [`Deframer`] holds; a caller that pushes more without pulling gets
/// [`WrapperError::Backlog`].
pub const BACKLOG_MAX: usize = 4 * (HEADER_LEN + APDU_MAX as usize);

/// A wrapper port: which client or server on a host an APDU is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WPort(pub u16);

impl WPort {
    /// The management logical device of a server, and the target of its answers.
    pub const MANAGEMENT: Self = Self(1);
    /// The public client.
    pub const PUBLIC_CLIENT: Self = Self(16);
    /// The pre-established client, to whom a meter pushes and who confirms.
    pub const PRE_ESTABLISHED_CLIENT: Self = Self(102);
}

/// Why a byte stream is no sequence of wrapped APDUs. The stream has lost its frame boundaries:
/// close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrapperError {
    /// The stream does not start with version 1: another protocol, or lost synchronism.
    #[error("frame: wrapper version {got}, {VERSION} wanted; the peer must reconnect")]
    Version {
        /// The version found.
        got: u16,
    },
    /// An APDU longer than this end accepts.
    #[error("frame: APDU of {got} bytes announced, at most {max} accepted; check the PDU size")]
    TooLong {
        /// The length announced.
        got: u16,
        /// The limit configured.
        max: u16,
    },
    /// An APDU without any byte.
    #[error("frame: empty APDU announced; the peer must reconnect")]
    Empty,
    /// One frame was expected, and its header does not announce exactly these bytes.
    #[error("frame: {bytes} bytes are not one wrapped APDU; its header announces another length")]
    Length {
        /// How many there are.
        bytes: usize,
    },
    /// More bytes were pushed than [`BACKLOG_MAX`] without pulling frames.
    #[error("frame: {bytes} bytes are waiting, at most {BACKLOG_MAX}; pull frames after a push")]
    Backlog {
        /// How many there would be.
        bytes: usize,
    },
}

/// One wrapped APDU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// From whom.
    pub source: WPort,
    /// To whom.
    pub destination: WPort,
    /// The APDU, not yet trusted in any way.
    pub apdu: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads exactly one frame from all of `bytes`.
    ///
    /// # Errors
    ///
    /// Anything else; what follows a whole frame is [`WrapperError::Length`] too.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WrapperError> {
        let mut header = Reader::new(bytes);
        let mut field = || header.u16();
        let wrong = WrapperError::Length { bytes: bytes.len() };
        let (Ok(version), Ok(source), Ok(destination), Ok(length)) =
            (field(), field(), field(), field())
        else {
            return Err(wrong);
        };
        if version != VERSION {
            return Err(WrapperError::Version { got: version });
        }
        let apdu = header.rest();
        if apdu.is_empty() {
            return Err(WrapperError::Empty);
        }
        if apdu.len() != usize::from(length) {
            return Err(wrong);
        }
        Ok(Self {
            source: WPort(source),
            destination: WPort(destination),
            apdu,
        })
    }

    /// The bytes of the frame.
    ///
    /// # Panics
    ///
    /// As [`Self::encode`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN + self.apdu.len());
        self.encode(&mut out);
        out
    }

    /// Appends the frame to `out`.
    ///
    /// # Panics
    ///
    /// If the APDU is empty or longer than [`APDU_MAX`]: block transfer is for those.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(!self.apdu.is_empty(), "a frame carries an APDU");
        let length = u16::try_from(self.apdu.len()).expect("an APDU fits the header's length");
        for field in [VERSION, self.source.0, self.destination.0, length] {
            out.extend(field.to_be_bytes());
        }
        out.extend_from_slice(self.apdu);
    }
}

/// Cuts a byte stream into frames.
///
/// After an error it refuses everything: the stream cannot be resynchronised.
#[derive(Debug, Clone)]
pub struct Deframer {
    apdu_max: u16,
    buffer: Vec<u8>,
    taken: usize,
    failed: Option<WrapperError>,
}

impl Deframer {
    /// A deframer for APDUs up to `apdu_max` bytes.
    pub const fn new(apdu_max: u16) -> Self {
        Self {
            apdu_max,
            buffer: Vec::new(),
            taken: 0,
            failed: None,
        }
    }

    /// Takes received bytes. Pull until `None` afterwards.
    ///
    /// # Errors
    ///
    /// [`WrapperError::Backlog`], or the error that has failed the stream before.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), WrapperError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let waiting = self.buffer.len() + bytes.len();
        if waiting > BACKLOG_MAX {
            return self.fail(WrapperError::Backlog { bytes: waiting });
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole frame, or `None` until more bytes are pushed.
    ///
    /// # Errors
    ///
    /// Anything but a frame in the stream; the connection must be closed.
    pub fn pull(&mut self) -> Result<Option<Frame<'_>>, WrapperError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut header = Reader::new(&self.buffer[self.taken..]);
        let mut field = || header.u16();
        // A bad version is known before the header is whole, so a foreign peer is not waited for.
        let Ok(version) = field() else {
            return Ok(None);
        };
        if version != VERSION {
            return self.fail(WrapperError::Version { got: version });
        }
        let (Ok(source), Ok(destination), Ok(length)) = (field(), field(), field()) else {
            return Ok(None);
        };
        if length == 0 {
            return self.fail(WrapperError::Empty);
        }
        if length > self.apdu_max {
            return self.fail(WrapperError::TooLong {
                got: length,
                max: self.apdu_max,
            });
        }
        let start = self.taken + HEADER_LEN;
        let end = start + usize::from(length);
        if self.buffer.len() < end {
            return Ok(None);
        }
        self.taken = end;
        Ok(Some(Frame {
            source: WPort(source),
            destination: WPort(destination),
            apdu: &self.buffer[start..end],
        }))
    }

    /// Whether a frame has begun and not ended, once [`Self::pull`] has returned `None`.
    pub const fn is_partial(&self) -> bool {
        self.buffer.len() > self.taken
    }

    fn fail<T>(&mut self, error: WrapperError) -> Result<T, WrapperError> {
        self.failed = Some(error);
        self.buffer = Vec::new();
        self.taken = 0;
        Err(error)
    }
}

impl Default for Deframer {
    fn default() -> Self {
        Self::new(APDU_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(source: u16, apdu: &[u8]) -> Vec<u8> {
        Frame {
            source: WPort(source),
            destination: WPort(1),
            apdu,
        }
        .to_bytes()
    }

    #[test]
    fn one_frame_is_exactly_its_bytes() {
        let bytes = frame(102, b"apdu");
        let whole = Frame::decode(&bytes).unwrap();
        assert_eq!((whole.source, whole.apdu), (WPort(102), &b"apdu"[..]));
        let mut long = bytes.clone();
        long.push(0);
        let length = |bytes| Err(WrapperError::Length { bytes });
        assert_eq!(Frame::decode(&long), length(13));
        for cut in (0..8).chain(9..12) {
            assert_eq!(Frame::decode(&bytes[..cut]), length(cut), "cut at {cut}");
        }
        assert_eq!(Frame::decode(&bytes[..8]), Err(WrapperError::Empty));
        let foreign = [&[0, 2], &bytes[2..]].concat();
        assert_eq!(
            Frame::decode(&foreign),
            Err(WrapperError::Version { got: 2 })
        );
    }

    #[test]
    fn a_header_is_eight_bytes() {
        assert_eq!(
            frame(0x10, &[0xC0, 0x01]),
            [0, 1, 0, 0x10, 0, 1, 0, 2, 0xC0, 0x01]
        );
    }

    #[test]
    fn frames_come_out_however_the_stream_is_cut() {
        let mut stream = frame(1, b"first");
        stream.extend(frame(2, &[7; 300]));
        stream.extend(frame(3, b"x"));
        for chunk in [1, 2, 7, 8, 9, 100, stream.len()] {
            let mut deframer = Deframer::default();
            let mut found = Vec::new();
            for bytes in stream.chunks(chunk) {
                deframer.push(bytes).unwrap();
                while let Some(frame) = deframer.pull().unwrap() {
                    found.push((frame.source.0, frame.apdu.to_vec()));
                }
            }
            let expected = [
                (1, b"first".to_vec()),
                (2, vec![7; 300]),
                (3, b"x".to_vec()),
            ];
            assert_eq!(found, expected, "chunks of {chunk}");
        }
    }

    #[test]
    fn a_failed_stream_stays_failed() {
        let cases: [(&[u8], WrapperError); 4] = [
            (b"GET / HTTP/1.1", WrapperError::Version { got: 0x4745 }),
            (&[0, 2], WrapperError::Version { got: 2 }),
            (&[0, 1, 0, 1, 0, 1, 0, 0], WrapperError::Empty),
            (
                &[0, 1, 0, 1, 0, 1, 2, 1],
                WrapperError::TooLong { got: 513, max: 512 },
            ),
        ];
        for (bytes, expected) in cases {
            let mut deframer = Deframer::new(512);
            deframer.push(bytes).unwrap();
            assert_eq!(deframer.pull(), Err(expected), "{bytes:02X?}");
            assert_eq!(deframer.push(&frame(1, b"ok")), Err(expected));
            assert_eq!(deframer.pull(), Err(expected));
        }
    }

    #[test]
    fn a_backlog_is_bounded() {
        let mut deframer = Deframer::default();
        deframer.push(&vec![0; BACKLOG_MAX]).unwrap();
        let error = WrapperError::Backlog {
            bytes: BACKLOG_MAX + 1,
        };
        assert_eq!(deframer.push(&[0]), Err(error));
        assert_eq!(deframer.pull(), Err(error));
    }
}
