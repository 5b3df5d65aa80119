//! Frames of format type 3 (IEC 62056-46 §6.4): what they say, and their bytes.

use gridloom_core::bytes::Reader;

use super::address::Address;
use super::checksum::checksum;

/// What surrounds a frame.
pub const FLAG: u8 = 0x7E;

/// Bytes of the longest frame between its flags: the length field has 11 bits.
pub const FRAME_MAX: usize = 0x7FF;

/// Bytes of the longest information field that the standard lets two ends agree on.
pub const INFO_MAX: u16 = 2_030;

const FORMAT_TYPE_3: u16 = 0xA000;
const SEGMENTED: u16 = 0x0800;
const FORMAT_LEN: usize = 2;
const CHECK_LEN: usize = 2;

/// A sequence number, modulo 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sequence(u8);

impl Sequence {
    /// `number` modulo 8.
    pub const fn new(number: u8) -> Self {
        Self(number & 7)
    }

    /// The number, 0 to 7.
    pub const fn get(self) -> u8 {
        self.0
    }

    pub(super) const fn next(self) -> Self {
        self.plus(1)
    }

    pub(super) const fn plus(self, count: u8) -> Self {
        Self::new(self.0.wrapping_add(count))
    }

    /// How many steps lead from `earlier` to `self`, 0 to 7.
    pub(super) const fn steps_from(self, earlier: Self) -> u8 {
        self.0.wrapping_sub(earlier.0) & 7
    }
}

/// What a frame asks or answers. `poll` is the poll bit of a command and the final bit of a
/// response: with it the right to send goes to the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// I: a numbered segment.
    Information {
        /// Number of this frame.
        send: Sequence,
        /// Number of the frame wanted next: all before it have arrived.
        receive: Sequence,
        /// Poll or final.
        poll: bool,
    },
    /// RR: ready for more.
    ReceiveReady {
        /// Number of the frame wanted next.
        receive: Sequence,
        /// Poll or final.
        poll: bool,
    },
    /// RNR: not ready for more.
    ReceiveNotReady {
        /// Number of the frame wanted next.
        receive: Sequence,
        /// Poll or final.
        poll: bool,
    },
    /// REJ: everything from this number again.
    Reject {
        /// Number of the frame wanted next.
        receive: Sequence,
        /// Poll or final.
        poll: bool,
    },
    /// SNRM: connect.
    SetNormalResponseMode {
        /// Poll.
        poll: bool,
    },
    /// DISC: disconnect.
    Disconnect {
        /// Poll.
        poll: bool,
    },
    /// UA: done.
    UnnumberedAcknowledge {
        /// Final.
        poll: bool,
    },
    /// DM: there is no connection.
    DisconnectedMode {
        /// Final.
        poll: bool,
    },
    /// FRMR: a frame that no repetition will mend.
    FrameReject {
        /// Final.
        poll: bool,
    },
    /// UI: a payload outside the numbering, such as a push.
    UnnumberedInformation {
        /// Poll or final.
        poll: bool,
    },
    /// A control field that the standard does not list.
    Unknown(u8),
}

impl Control {
    /// Bit 4.
    pub const fn poll(self) -> bool {
        match self {
            Self::Information { poll, .. }
            | Self::ReceiveReady { poll, .. }
            | Self::ReceiveNotReady { poll, .. }
            | Self::Reject { poll, .. }
            | Self::SetNormalResponseMode { poll }
            | Self::Disconnect { poll }
            | Self::UnnumberedAcknowledge { poll }
            | Self::DisconnectedMode { poll }
            | Self::FrameReject { poll }
            | Self::UnnumberedInformation { poll } => poll,
            Self::Unknown(byte) => byte & 0x10 != 0,
        }
    }

    /// The control field.
    pub const fn to_byte(self) -> u8 {
        let poll = (self.poll() as u8) << 4;
        match self {
            Self::Information { send, receive, .. } => receive.0 << 5 | poll | send.0 << 1,
            Self::ReceiveReady { receive, .. } => receive.0 << 5 | poll | 0x01,
            Self::ReceiveNotReady { receive, .. } => receive.0 << 5 | poll | 0x05,
            Self::Reject { receive, .. } => receive.0 << 5 | poll | 0x09,
            Self::SetNormalResponseMode { .. } => 0x83 | poll,
            Self::Disconnect { .. } => 0x43 | poll,
            Self::UnnumberedAcknowledge { .. } => 0x63 | poll,
            Self::DisconnectedMode { .. } => 0x0F | poll,
            Self::FrameReject { .. } => 0x87 | poll,
            Self::UnnumberedInformation { .. } => 0x03 | poll,
            Self::Unknown(byte) => byte,
        }
    }

    /// Reads a control field.
    pub const fn from_byte(byte: u8) -> Self {
        let poll = byte & 0x10 != 0;
        let receive = Sequence(byte >> 5);
        if byte & 1 == 0 {
            return Self::Information {
                send: Sequence::new(byte >> 1),
                receive,
                poll,
            };
        }
        match byte & 0x0F {
            0x01 => return Self::ReceiveReady { receive, poll },
            0x05 => return Self::ReceiveNotReady { receive, poll },
            0x09 => return Self::Reject { receive, poll },
            _ => {}
        }
        match byte & 0xEF {
            0x83 => Self::SetNormalResponseMode { poll },
            0x43 => Self::Disconnect { poll },
            0x63 => Self::UnnumberedAcknowledge { poll },
            0x0F => Self::DisconnectedMode { poll },
            0x87 => Self::FrameReject { poll },
            0x03 => Self::UnnumberedInformation { poll },
            _ => Self::Unknown(byte),
        }
    }
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Not format type 3.
    #[error("frame: HDLC format {got:#06X} is not type 3; is the line another protocol?")]
    Format {
        /// The format field.
        got: u16,
    },
    /// The length field and the bytes disagree.
    #[error("frame: HDLC length {announced} announced, {got} bytes there; check the line")]
    Length {
        /// What the length field says.
        announced: usize,
        /// The bytes there are.
        got: usize,
    },
    /// An address of no known width.
    #[error("frame: HDLC address is not 1, 2 or 4 bytes long; check the line")]
    Address,
    /// The header check is wrong.
    #[error("frame: HDLC header check is wrong; check the line")]
    HeaderCheck,
    /// The frame check is wrong.
    #[error("frame: HDLC frame check is wrong; check the line")]
    FrameCheck,
}

/// One frame, without its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// To whom.
    pub destination: Address,
    /// From whom.
    pub source: Address,
    /// What it asks or answers.
    pub control: Control,
    /// Whether the payload continues in the next frame.
    pub segmented: bool,
    /// The information field.
    pub info: &'a [u8],
}

/// A header whose check is right.
pub(super) struct Header {
    destination: Address,
    source: Address,
    control: Control,
    segmented: bool,
    /// Bytes of the whole frame.
    pub(super) length: usize,
    /// Where the information field starts.
    info_at: usize,
}

impl Header {
    /// Reads the front of a frame; `None` until there is enough of it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let mut reader = Reader::new(bytes);
        let Ok(format) = reader.u16() else {
            // The type is known from the first byte: a stream of another kind is not waited for.
            return match reader.peek() {
                Some(byte) if byte & 0xF0 != 0xA0 => Err(FrameError::Format {
                    got: u16::from(byte) << 8,
                }),
                Some(_) | None => Ok(None),
            };
        };
        if format & 0xF000 != FORMAT_TYPE_3 {
            return Err(FrameError::Format { got: format });
        }
        let length = usize::from(format) & FRAME_MAX;
        let end_of_bytes = |reader: &Reader<'_>| {
            // Four bytes without an end are no address, however many follow.
            if reader.rest().len() < 4 {
                Ok(None)
            } else {
                Err(FrameError::Address)
            }
        };
        let before = reader.clone();
        let Some(destination) = Address::decode(&mut reader) else {
            return end_of_bytes(&before);
        };
        let before = reader.clone();
        let Some(source) = Address::decode(&mut reader) else {
            return end_of_bytes(&before);
        };
        let Ok(control) = reader.u8() else {
            return Ok(None);
        };
        let mut info_at = reader.offset();
        let wrong_length = FrameError::Length {
            announced: length,
            got: info_at,
        };
        // Without an information field the frame check is the header check.
        let Some(rest) = length
            .checked_sub(info_at)
            .filter(|rest| *rest == CHECK_LEN || *rest >= 2 * CHECK_LEN)
        else {
            return Err(wrong_length);
        };
        let header = &bytes[..info_at];
        let Ok(check) = reader.array::<CHECK_LEN>() else {
            return Ok(None);
        };
        if check != checksum(header) {
            return Err(FrameError::HeaderCheck);
        }
        if rest > CHECK_LEN {
            info_at += CHECK_LEN;
        }
        Ok(Some(Self {
            destination,
            source,
            control: Control::from_byte(control),
            segmented: format & SEGMENTED != 0,
            length,
            info_at,
        }))
    }

    /// The frame, from all of its bytes.
    pub(super) fn frame(self, bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
        let (checked, check) = bytes.split_at(self.length - CHECK_LEN);
        if check != checksum(checked) {
            return Err(FrameError::FrameCheck);
        }
        Ok(Frame {
            destination: self.destination,
            source: self.source,
            control: self.control,
            segmented: self.segmented,
            info: &checked[self.info_at..],
        })
    }
}

impl<'a> Frame<'a> {
    /// Appends the frame to `out`, between flags.
    ///
    /// # Panics
    ///
    /// If the frame would be longer than [`FRAME_MAX`]; an information field up to [`INFO_MAX`]
    /// fits with every address.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let header_len =
            FORMAT_LEN + self.destination.encoded_len() + self.source.encoded_len() + 1;
        let length = header_len
            + CHECK_LEN
            + if self.info.is_empty() {
                0
            } else {
                self.info.len() + CHECK_LEN
            };
        assert!(length <= FRAME_MAX, "an information field fits a frame");
        let length = u16::try_from(length).expect("FRAME_MAX fits 16 bits");
        out.push(FLAG);
        let start = out.len();
        let segmented = if self.segmented { SEGMENTED } else { 0 };
        out.extend((FORMAT_TYPE_3 | segmented | length).to_be_bytes());
        self.destination.encode(out);
        self.source.encode(out);
        out.push(self.control.to_byte());
        out.extend(checksum(&out[start..]));
        if !self.info.is_empty() {
            out.extend_from_slice(self.info);
            out.extend(checksum(&out[start..]));
        }
        out.push(FLAG);
    }

    /// Reads the bytes of one frame, without its flags.
    ///
    /// # Errors
    ///
    /// [`FrameError`] for anything but exactly one frame.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let wrong_length = |announced| FrameError::Length {
            announced,
            got: bytes.len(),
        };
        let header = Header::decode(bytes)?.ok_or(wrong_length(0))?;
        if header.length != bytes.len() {
            return Err(wrong_length(header.length));
        }
        header.frame(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn controls_keep_their_byte() {
        for byte in 0..=u8::MAX {
            let control = Control::from_byte(byte);
            assert_eq!(control.to_byte(), byte, "{control:?}");
            assert_eq!(control.poll(), byte & 0x10 != 0, "{control:?}");
        }
        let cases = [
            (0x93, Control::SetNormalResponseMode { poll: true }),
            (0x73, Control::UnnumberedAcknowledge { poll: true }),
            (0x53, Control::Disconnect { poll: true }),
            (0x1F, Control::DisconnectedMode { poll: true }),
            (0x97, Control::FrameReject { poll: true }),
            (0x13, Control::UnnumberedInformation { poll: true }),
            (0x2D, Control::Unknown(0x2D)),
        ];
        for (byte, control) in cases {
            assert_eq!(Control::from_byte(byte), control);
        }
    }

    #[test]
    fn known_frames_decode_and_encode() {
        let cases = [
            ("A008 02 23 21 93 BD64", 0x93, 0),
            (
                "A01F 21 0223 73 E6C7 81801205019A06019A070400000001080400000001 CCA2",
                0x73,
                21,
            ),
            ("A008 01 0201 10 378D", 0x10, 0),
            ("A00C 01 0201 10 27A0 0201 E7DE", 0x10, 2),
        ];
        for (text, control, info) in cases {
            let bytes = hex::bytes(text);
            let frame = Frame::decode(&bytes).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(frame.control.to_byte(), control, "{text}");
            assert_eq!(frame.info.len(), info, "{text}");
            let mut out = Vec::new();
            frame.encode(&mut out);
            assert_eq!(out[1..out.len() - 1], bytes, "{text}");
        }
    }

    #[test]
    fn every_damaged_byte_is_seen() {
        let bytes = hex::bytes("A00C 01 0201 10 27A0 0201 E7DE");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(Frame::decode(&damaged).is_err(), "bit {bit} of byte {at}");
            }
        }
        for length in 0..bytes.len() {
            assert!(Frame::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn the_longest_information_field_fits_with_the_longest_addresses() {
        let info = vec![0x7E; usize::from(INFO_MAX)];
        let frame = Frame {
            destination: Address::four(300, 300).unwrap(),
            source: Address::one(16).unwrap(),
            control: Control::UnnumberedInformation { poll: false },
            segmented: true,
            info: &info,
        };
        let mut out = Vec::new();
        frame.encode(&mut out);
        assert_eq!(Frame::decode(&out[1..out.len() - 1]), Ok(frame));
    }
}
