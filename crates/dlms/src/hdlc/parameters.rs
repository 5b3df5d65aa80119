//! What the two ends agree on in SNRM and UA (IEC 62056-46 §6.4.4.4.3.2).

use gridloom_core::bytes::Reader;

use super::frame::INFO_MAX;

/// Bytes of the shortest information field that this stack agrees to; a peer that wants less is
/// refused, since it would turn one APDU into thousands of frames.
pub const INFO_MIN: u16 = 32;

/// Frames that may be on their way without an acknowledgement, with sequence numbers modulo 8.
pub const WINDOW_MAX: u8 = 7;

const FORMAT: u8 = 0x81;
const GROUP: u8 = 0x80;
const INFO_TRANSMIT: u8 = 5;
const INFO_RECEIVE: u8 = 6;
const WINDOW_TRANSMIT: u8 = 7;
const WINDOW_RECEIVE: u8 = 8;

/// Why the parameters of a SNRM or UA are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// The field is not as the standard lays it out.
    #[error("frame: the HDLC parameters are malformed; the peer is no IEC 62056-46 station")]
    Malformed,
    /// An information field shorter than [`INFO_MIN`].
    #[error("frame: HDLC information field of {got} bytes proposed, at least {INFO_MIN} wanted")]
    InfoTooShort {
        /// Bytes proposed.
        got: u32,
    },
    /// A window of no frame.
    #[error("frame: HDLC window of 0 frames proposed, at least 1 wanted")]
    NoWindow,
}

/// Limits as the end that states them sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// Longest information field it sends, in bytes.
    pub info_transmit: u16,
    /// Longest information field it receives, in bytes.
    pub info_receive: u16,
    /// Frames it sends before it wants an acknowledgement.
    pub window_transmit: u8,
    /// Frames it receives before it acknowledges.
    pub window_receive: u8,
}

impl Default for Parameters {
    /// What holds where nothing is said: 128 bytes, one frame.
    fn default() -> Self {
        Self {
            info_transmit: 128,
            info_receive: 128,
            window_transmit: 1,
            window_receive: 1,
        }
    }
}

impl Parameters {
    /// The same both ways.
    ///
    /// # Panics
    ///
    /// If `info` is not [`INFO_MIN`] to [`INFO_MAX`] or `window` not 1 to [`WINDOW_MAX`].
    pub const fn symmetric(info: u16, window: u8) -> Self {
        assert!(
            info >= INFO_MIN && info <= INFO_MAX,
            "an information field is within its bounds"
        );
        assert!(
            window >= 1 && window <= WINDOW_MAX,
            "a window is within its bounds"
        );
        Self {
            info_transmit: info,
            info_receive: info,
            window_transmit: window,
            window_receive: window,
        }
    }

    /// What this end may use when the other states `peer`.
    pub fn agree(self, peer: Self) -> Self {
        Self {
            info_transmit: self.info_transmit.min(peer.info_receive),
            info_receive: self.info_receive.min(peer.info_transmit),
            window_transmit: self.window_transmit.min(peer.window_receive),
            window_receive: self.window_receive.min(peer.window_transmit),
        }
    }

    /// The information field of a SNRM or UA.
    pub fn encode(self) -> Vec<u8> {
        let mut out = vec![FORMAT, GROUP, 0];
        for (id, info) in [
            (INFO_TRANSMIT, self.info_transmit),
            (INFO_RECEIVE, self.info_receive),
        ] {
            match u8::try_from(info) {
                Ok(short) => out.extend([id, 1, short]),
                Err(_) => {
                    out.extend([id, 2]);
                    out.extend(info.to_be_bytes());
                }
            }
        }
        for (id, window) in [
            (WINDOW_TRANSMIT, self.window_transmit),
            (WINDOW_RECEIVE, self.window_receive),
        ] {
            out.extend([id, 4, 0, 0, 0, window]);
        }
        out[2] = u8::try_from(out.len() - 3).expect("four short parameters");
        out
    }

    /// Reads the information field of a SNRM or UA. An empty field means the defaults; so does a
    /// parameter left out. Unknown parameters are skipped, and what is larger than the standard
    /// allows counts as the largest.
    ///
    /// # Errors
    ///
    /// [`ParameterError`].
    pub fn decode(info: &[u8]) -> Result<Self, ParameterError> {
        let mut found = Self::default();
        if info.is_empty() {
            return Ok(found);
        }
        let malformed = |_| ParameterError::Malformed;
        let mut reader = Reader::new(info);
        if reader.array().map_err(malformed)? != [FORMAT, GROUP] {
            return Err(ParameterError::Malformed);
        }
        let length = reader.u8().map_err(malformed)?;
        let group = reader.take(length.into()).map_err(malformed)?;
        let mut reader = Reader::new(group);
        while !reader.is_empty() {
            let id = reader.u8().map_err(malformed)?;
            let length = reader.u8().map_err(malformed)?;
            let bytes = reader.take(length.into()).map_err(malformed)?;
            if !(INFO_TRANSMIT..=WINDOW_RECEIVE).contains(&id) {
                continue;
            }
            if !(1..=4).contains(&bytes.len()) {
                return Err(ParameterError::Malformed);
            }
            let value = bytes
                .iter()
                .fold(0, |value, byte| value << 8 | u32::from(*byte));
            match id {
                INFO_TRANSMIT => found.info_transmit = info_of(value)?,
                INFO_RECEIVE => found.info_receive = info_of(value)?,
                WINDOW_TRANSMIT => found.window_transmit = window_of(value)?,
                _ => found.window_receive = window_of(value)?,
            }
        }
        Ok(found)
    }
}

fn info_of(value: u32) -> Result<u16, ParameterError> {
    if value < u32::from(INFO_MIN) {
        return Err(ParameterError::InfoTooShort { got: value });
    }
    Ok(u16::try_from(value).map_or(INFO_MAX, |info| info.min(INFO_MAX)))
}

fn window_of(value: u32) -> Result<u8, ParameterError> {
    if value == 0 {
        return Err(ParameterError::NoWindow);
    }
    Ok(u8::try_from(value).map_or(WINDOW_MAX, |window| window.min(WINDOW_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn parameters_on_the_line() {
        let cases = [
            (
                "81801205019A06019A070400000001080400000001",
                Parameters::symmetric(154, 1),
            ),
            (
                "8180140502 07EE 0602 07EE 070400000007 080400000007",
                Parameters::symmetric(2_030, 7),
            ),
        ];
        for (text, parameters) in cases {
            let bytes = hex::bytes(text);
            assert_eq!(Parameters::decode(&bytes), Ok(parameters), "{text}");
            assert_eq!(parameters.encode(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_left_out_is_the_default_and_what_is_wrong_is_refused() {
        let default = Parameters::default();
        let cases = [
            ("", Ok(default)),
            ("818000", Ok(default)),
            ("818003 0901AA", Ok(default)),
            (
                "81800A 0502 FFFF 0704 000000FF",
                Ok(Parameters {
                    info_transmit: 2_030,
                    window_transmit: 7,
                    ..default
                }),
            ),
            ("81", Err(ParameterError::Malformed)),
            ("828000", Err(ParameterError::Malformed)),
            ("818003 0502 00", Err(ParameterError::Malformed)),
            ("818002 0500", Err(ParameterError::Malformed)),
            (
                "818003 05011F",
                Err(ParameterError::InfoTooShort { got: 31 }),
            ),
            ("818003 080100", Err(ParameterError::NoWindow)),
        ];
        for (text, expected) in cases {
            assert_eq!(Parameters::decode(&hex::bytes(text)), expected, "{text}");
        }
    }

    #[test]
    fn each_end_takes_the_smaller() {
        let client = Parameters {
            info_transmit: 128,
            info_receive: 2_030,
            window_transmit: 1,
            window_receive: 7,
        };
        let server = Parameters::symmetric(512, 3);
        let agreed = Parameters {
            info_transmit: 512,
            info_receive: 128,
            window_transmit: 3,
            window_receive: 1,
        };
        assert_eq!(server.agree(client), agreed);
        assert_eq!(
            client.agree(agreed),
            Parameters {
                info_transmit: 128,
                info_receive: 512,
                window_transmit: 1,
                window_receive: 3,
            }
        );
    }
}
