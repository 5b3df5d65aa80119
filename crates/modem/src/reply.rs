//! One line of a modem, understood.

use crate::cause::{Cause, CmeCause, CmsCause};
use crate::number::Sender;

/// Registration with the network: `<stat>` of `+CREG` (TS 27.007 §7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// 0: not registered and not searching.
    Idle,
    /// 1, or 9 without preferred fallback: in the home network.
    Home,
    /// 2: searching.
    Searching,
    /// 3: the network refused.
    Denied,
    /// 4: out of coverage.
    Unknown,
    /// 5, or 10 without preferred fallback: in a foreign network.
    Roaming,
    /// 6 and 7: registered, for texts only.
    SmsOnly,
    /// 8: emergency calls only.
    EmergencyOnly,
}

impl Registration {
    /// By number; `None` for a number the standard does not have.
    pub const fn from_stat(stat: u32) -> Option<Self> {
        Some(match stat {
            0 => Self::Idle,
            1 | 9 => Self::Home,
            2 => Self::Searching,
            3 => Self::Denied,
            4 => Self::Unknown,
            5 | 10 => Self::Roaming,
            6 | 7 => Self::SmsOnly,
            8 => Self::EmergencyOnly,
            _ => return None,
        })
    }

    /// Whether texts can be sent.
    pub const fn is_registered(self) -> bool {
        match self {
            Self::Home | Self::Roaming | Self::SmsOnly => true,
            Self::Idle | Self::Searching | Self::Denied | Self::Unknown | Self::EmergencyOnly => {
                false
            }
        }
    }
}

/// Signal quality of `+CSQ` (TS 27.007 §8.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// 0–31 in steps of 2 dB from −113 dBm; 99 if unknown.
    pub rssi: u8,
    /// Bit error class 0–7; 99 if unknown.
    pub ber: u8,
}

impl Signal {
    /// Received power in dBm; the ends of the scale mean "or less" and "or more".
    pub const fn dbm(self) -> Option<i16> {
        if self.rssi <= 31 {
            Some(-113 + 2 * self.rssi as i16)
        } else {
            None
        }
    }
}

/// What the SIM waits for: `+CPIN` (TS 27.007 §8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PinStatus {
    /// Nothing.
    Ready,
    /// Its PIN.
    SimPin,
    /// Its PUK: three wrong PINs were given.
    SimPuk,
    /// Another code, in the modem's words.
    Other(String),
}

/// The head of one message in a `+CMGL` listing (TS 27.005 §3.4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListHead {
    /// Its place in the modem's memory.
    pub(crate) index: u16,
    /// Whether it was received, and not stored for sending.
    pub(crate) received: bool,
    /// Who sent it.
    pub(crate) sender: Sender,
    /// The service centre's time stamp as it came, `yy/MM/dd,hh:mm:ss±zz`; may be empty.
    pub(crate) sent_at: String,
    /// Characters of the body, where the modem tells (`AT+CSDH=1`).
    pub(crate) length: Option<usize>,
}

/// A line of a modem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The command is done.
    Ok,
    /// The command is refused.
    Refused(Cause),
    /// The SIM's state.
    Pin(PinStatus),
    /// The registration, and whether the line answers `AT+CREG?` or came by itself.
    Registered {
        /// The state.
        registration: Registration,
        /// Two numbers: an answer.
        answer: bool,
    },
    /// Signal quality.
    Signal(Signal),
    /// The network took a message and gave it this reference.
    Reference(u8),
    /// The head of a listed message.
    ListHead(ListHead),
    /// A message came in.
    NewMessage,
    /// Somebody calls.
    Ring,
    /// Anything else: names of the modem, results of other commands, noise.
    Other,
}

impl Reply {
    /// Reads a line. Never fails: a line that is not understood is [`Reply::Other`].
    pub(crate) fn decode(line: &[u8]) -> Self {
        match core::str::from_utf8(line) {
            Ok(text) => decode(text),
            // A sender in the GSM character set may break UTF-8; nothing that matters to the
            // conversation sits outside ASCII.
            Err(_) => decode(&String::from_utf8_lossy(line)),
        }
        .unwrap_or(Self::Other)
    }
}

fn decode(line: &str) -> Option<Reply> {
    let line = line.trim();
    match line {
        "OK" => return Some(Reply::Ok),
        "ERROR" => return Some(Reply::Refused(Cause::Error)),
        "RING" => return Some(Reply::Ring),
        _ => {}
    }
    let (name, rest) = line.split_once(':')?;
    let fields = fields(rest.trim());
    let number = |at: usize| fields.get(at).and_then(|f| f.number());
    match name {
        "+CMS ERROR" => u16::try_from(number(0)?)
            .ok()
            .map(|n| Reply::Refused(Cause::Cms(CmsCause(n)))),
        "+CME ERROR" => u16::try_from(number(0)?)
            .ok()
            .map(|n| Reply::Refused(Cause::Cme(CmeCause(n)))),
        "+CPIN" => Some(Reply::Pin(match rest.trim() {
            "READY" => PinStatus::Ready,
            "SIM PIN" => PinStatus::SimPin,
            "SIM PUK" => PinStatus::SimPuk,
            other => PinStatus::Other(other.chars().take(32).collect()),
        })),
        "+CREG" => {
            let answer = number(1).is_some();
            let registration = Registration::from_stat(number(usize::from(answer))?)?;
            Some(Reply::Registered {
                registration,
                answer,
            })
        }
        "+CSQ" => Some(Reply::Signal(Signal {
            rssi: u8::try_from(number(0)?).ok()?,
            ber: u8::try_from(number(1)?).ok()?,
        })),
        "+CMGS" => u8::try_from(number(0)?).ok().map(Reply::Reference),
        "+CMTI" => number(1).map(|_| Reply::NewMessage),
        "+CMGL" => Some(Reply::ListHead(ListHead {
            index: u16::try_from(number(0)?).ok()?,
            received: fields.get(1)?.text.starts_with("REC "),
            sender: Sender(fields.get(2)?.text.to_owned()),
            sent_at: fields
                .get(4)
                .map_or_else(String::new, |f| f.text.to_owned()),
            length: number(6).and_then(|n| usize::try_from(n).ok()),
        })),
        _ => None,
    }
}

struct Field<'a> {
    text: &'a str,
    quoted: bool,
}

impl Field<'_> {
    fn number(&self) -> Option<u32> {
        let digits = !self.text.is_empty() && self.text.bytes().all(|b| b.is_ascii_digit());
        (digits && !self.quoted)
            .then(|| self.text.parse().ok())
            .flatten()
    }
}

/// Splits at commas outside of quotation marks and takes the marks off.
fn fields(rest: &str) -> Vec<Field<'_>> {
    let mut quoted = false;
    rest.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .map(str::trim)
    .map(|field| {
        let inner = field.strip_prefix('"').and_then(|f| f.strip_suffix('"'));
        Field {
            text: inner.unwrap_or(field),
            quoted: inner.is_some(),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let creg = |registration, answer| Reply::Registered {
            registration,
            answer,
        };
        let cases: &[(&[u8], Reply)] = &[
            (b"OK", Reply::Ok),
            (b"ERROR", Reply::Refused(Cause::Error)),
            (
                b"+CMS ERROR: 500",
                Reply::Refused(Cause::Cms(CmsCause(500))),
            ),
            (b"+CME ERROR:16", Reply::Refused(Cause::Cme(CmeCause(16)))),
            (b"+CME ERROR: SIM busy", Reply::Other), // Verbose errors were not asked for.
            (b"+CMS ERROR: 70000", Reply::Other),
            (b"+CPIN: READY", Reply::Pin(PinStatus::Ready)),
            (b"+CPIN: SIM PUK", Reply::Pin(PinStatus::SimPuk)),
            (
                b"+CPIN: PH-NET PIN",
                Reply::Pin(PinStatus::Other("PH-NET PIN".into())),
            ),
            (b"+CREG: 1,5", creg(Registration::Roaming, true)),
            (b"+CREG: 2", creg(Registration::Searching, false)),
            (
                b"+CREG: 1,\"0012\",\"00AB\"",
                creg(Registration::Home, false),
            ),
            (b"+CREG: 1,11", Reply::Other),
            (b"+CREG:", Reply::Other),
            (b"+CSQ: 20,99", Reply::Signal(Signal { rssi: 20, ber: 99 })),
            (b"+CSQ: 300,0", Reply::Other),
            (b"+CMGS: 12", Reply::Reference(12)),
            (b"+CMGS: 256", Reply::Other),
            (b"+CMTI: \"SM\",3", Reply::NewMessage),
            (b"RING", Reply::Ring),
            (b"RINGING", Reply::Other),
            (b"\xff\xfe", Reply::Other),
        ];
        for (line, expected) in cases {
            assert_eq!(&Reply::decode(line), expected, "{line:?}");
        }
    }

    #[test]
    fn listing_heads_are_understood() {
        let head = |index, received, sender: &str, sent_at: &str, length| {
            Reply::ListHead(ListHead {
                index,
                received,
                sender: Sender(sender.into()),
                sent_at: sent_at.into(),
                length,
            })
        };
        let cases = [
            (
                "+CMGL: 1,\"REC UNREAD\",\"+49170\",,\"26/11/21,12:00:00+04\"",
                head(1, true, "+49170", "26/11/21,12:00:00+04", None),
            ),
            (
                "+CMGL: 2,\"REC READ\",\"+49170\",\"A, B\",\"26/11/21,12:00:00+04\",145,31",
                head(2, true, "+49170", "26/11/21,12:00:00+04", Some(31)),
            ),
            (
                "+CMGL: 3,\"STO UNSENT\",\"110\"",
                head(3, false, "110", "", None),
            ),
            ("+CMGL: 3", Reply::Other),
            ("+CMGL: \"1\",\"REC READ\",\"1\"", Reply::Other),
            ("+CMGL: 70000,\"REC READ\",\"1\"", Reply::Other),
        ];
        for (line, expected) in cases {
            assert_eq!(Reply::decode(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn signal_has_a_power() {
        for (rssi, dbm) in [(0, Some(-113)), (31, Some(-51)), (32, None), (99, None)] {
            assert_eq!(Signal { rssi, ber: 0 }.dbm(), dbm, "{rssi}");
        }
    }
}
