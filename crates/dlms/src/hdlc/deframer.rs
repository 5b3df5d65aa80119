//! Finds frames in what a line delivers.

use super::frame::{FLAG, FRAME_MAX, Frame, FrameError, Header};

/// Bytes that [`Deframer`] holds; pushing more without pulling drops the oldest.
pub const BACKLOG_MAX: usize = 64 * 1024;

/// Cuts a byte stream into frames. Whatever is no frame is skipped and counted: a line that has
/// lost its frame boundaries finds them again at the next flag.
#[derive(Debug, Clone, Default)]
pub struct Deframer {
    buffer: Vec<u8>,
    taken: usize,
    damaged: u64,
    last_error: Option<FrameError>,
}

impl Deframer {
    /// A deframer at the start of a stream.
    pub const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            taken: 0,
            damaged: 0,
            last_error: None,
        }
    }

    /// Takes received bytes. Pull until `None` afterwards.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
        let beyond = self.buffer.len().saturating_sub(BACKLOG_MAX);
        self.buffer.drain(..beyond);
    }

    /// The next whole frame, or `None` until more bytes are pushed.
    pub fn pull(&mut self) -> Option<Frame<'_>> {
        let length = loop {
            let rest = &self.buffer[self.taken..];
            let Some(flag) = rest.iter().position(|byte| *byte == FLAG) else {
                self.taken = self.buffer.len();
                self.give_back();
                return None;
            };
            self.taken += flag;
            let rest = &rest[flag + 1..];
            match scan(rest) {
                Ok(Some(length)) => break length,
                Ok(None) => {
                    self.give_back();
                    return None;
                }
                Err(error) => {
                    // Two flags in a row end one frame and begin another: no damage.
                    if rest.first() != Some(&FLAG) {
                        self.damaged += 1;
                        self.last_error = Some(error);
                    }
                    self.taken += 1;
                }
            }
        };
        let start = self.taken + 1;
        // The closing flag stays: it may open the next frame.
        self.taken = start + length;
        let bytes = &self.buffer[start..start + length];
        Frame::decode(bytes).ok()
    }

    /// Whether a frame may have begun that has not ended, once [`Self::pull`] has returned `None`.
    pub fn is_partial(&self) -> bool {
        self.buffer[self.taken..].iter().any(|byte| *byte != FLAG)
    }

    /// Forgets a frame that has begun, as when the line fell silent in the middle.
    pub fn reset(&mut self) {
        if self.is_partial() {
            self.damaged += 1;
        }
        self.taken = self.buffer.len();
        self.give_back();
    }

    /// Beginnings that turned out to be no frame.
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// What was wrong with the last of them.
    pub const fn last_error(&self) -> Option<FrameError> {
        self.last_error
    }

    /// An idle line costs no buffer, but for the flag that may open the next frame.
    fn give_back(&mut self) {
        let rest = &self.buffer[self.taken..];
        if rest.len() <= 1 && self.buffer.capacity() > 8 {
            self.buffer = rest.to_vec();
            self.taken = 0;
        }
    }
}

/// The length of the frame at the front of `rest`, which follows a flag; `None` until it is whole.
fn scan(rest: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(header) = Header::decode(&rest[..rest.len().min(FRAME_MAX)])? else {
        return Ok(None);
    };
    let length = header.length;
    let Some(bytes) = rest.get(..length) else {
        return Ok(None);
    };
    let frame = header.frame(bytes).map(|_| ());
    match rest.get(length) {
        None => frame.map(|()| None),
        Some(&FLAG) => frame.map(|()| Some(length)),
        Some(_) => Err(FrameError::Length {
            announced: length,
            got: length + 1,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::Address;
    use super::super::frame::Control;
    use super::*;

    fn frame(number: u8, info: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Frame {
            destination: Address::one(u16::from(number)).unwrap(),
            source: Address::four(200, 300).unwrap(),
            control: Control::UnnumberedInformation { poll: false },
            segmented: false,
            info,
        }
        .encode(&mut out);
        out
    }

    fn pull_all(deframer: &mut Deframer) -> Vec<(u16, usize)> {
        let mut found = Vec::new();
        while let Some(frame) = deframer.pull() {
            found.push((frame.destination.upper(), frame.info.len()));
        }
        found
    }

    #[test]
    fn frames_come_out_however_the_stream_is_cut_and_whatever_lies_between() {
        let mut stream = frame(1, &[]);
        stream.extend(frame(2, &[FLAG; 2_030]));
        stream.extend(b"noise\x7E\xA0\x08noise");
        stream.extend(frame(3, b"x"));
        // A frame that shares its opening flag with the one before.
        stream.extend(&frame(4, b"shared")[1..]);
        // A frame cut short, then a whole one.
        stream.extend(&frame(5, &[9; 30])[..20]);
        stream.extend(frame(6, &[]));
        for chunk in [1, 2, 7, 100, 2_048, stream.len()] {
            let mut deframer = Deframer::new();
            let mut found = Vec::new();
            for bytes in stream.chunks(chunk) {
                deframer.push(bytes);
                found.extend(pull_all(&mut deframer));
            }
            // The line stays silent; what looked like a long frame is given up.
            deframer.push(&[0; 64]);
            found.extend(pull_all(&mut deframer));
            assert_eq!(
                found,
                [(1, 0), (2, 2_030), (3, 1), (4, 6), (6, 0)],
                "chunks of {chunk}"
            );
            assert!(deframer.damaged() > 0);
        }
    }

    #[test]
    fn a_partial_frame_is_known_and_can_be_given_up() {
        let bytes = frame(1, b"partial");
        let mut deframer = Deframer::new();
        deframer.push(&bytes[..9]);
        assert!(deframer.pull().is_none());
        assert!(deframer.is_partial());
        deframer.reset();
        assert!(!deframer.is_partial());
        deframer.push(&bytes[9..]);
        assert!(deframer.pull().is_none());
        deframer.push(&bytes);
        assert_eq!(pull_all(&mut deframer), [(1, 7)]);
        assert!(!deframer.is_partial());
    }

    #[test]
    fn a_backlog_is_bounded() {
        let mut deframer = Deframer::new();
        for _ in 0..3 {
            deframer.push(&vec![FLAG; BACKLOG_MAX]);
        }
        deframer.push(&frame(7, &[]));
        assert!(deframer.buffer.len() <= BACKLOG_MAX);
        assert_eq!(pull_all(&mut deframer), [(7, 0)]);
    }
}
