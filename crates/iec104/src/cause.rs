//! Causes of transmission and the addresses of a station and of its objects
//! (IEC 60870-5-101, 7.2.3 to 7.2.5).

use core::fmt;

/// Why an ASDU was sent: six bits of its third octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// 1: periodic, cyclic.
    Periodic,
    /// 2: background scan.
    Background,
    /// 3: spontaneous.
    Spontaneous,
    /// 4: initialised.
    Initialized,
    /// 5: request, or requested.
    Request,
    /// 6: activation.
    Activation,
    /// 7: activation confirmation.
    ActivationCon,
    /// 8: deactivation.
    Deactivation,
    /// 9: deactivation confirmation.
    DeactivationCon,
    /// 10: activation termination.
    ActivationTermination,
    /// 11: return information caused by a remote command.
    ReturnRemote,
    /// 12: return information caused by a local command.
    ReturnLocal,
    /// 13: file transfer; no type of ours uses it.
    File,
    /// 20–36: interrogated by station or group.
    Interrogated(Qoi),
    /// 37–41: requested by a counter interrogation, general or of a group.
    CountersRequested(CounterGroup),
    /// 44: unknown type identification.
    UnknownType,
    /// 45: unknown cause of transmission.
    UnknownCause,
    /// 46: unknown common address.
    UnknownCommonAddress,
    /// 47: unknown information object address.
    UnknownObjectAddress,
}

impl Cause {
    /// The six bits.
    pub const fn code(self) -> u8 {
        match self {
            Self::Periodic => 1,
            Self::Background => 2,
            Self::Spontaneous => 3,
            Self::Initialized => 4,
            Self::Request => 5,
            Self::Activation => 6,
            Self::ActivationCon => 7,
            Self::Deactivation => 8,
            Self::DeactivationCon => 9,
            Self::ActivationTermination => 10,
            Self::ReturnRemote => 11,
            Self::ReturnLocal => 12,
            Self::File => 13,
            Self::Interrogated(qoi) => qoi.code(),
            Self::CountersRequested(group) => 37 + group.group(),
            Self::UnknownType => 44,
            Self::UnknownCause => 45,
            Self::UnknownCommonAddress => 46,
            Self::UnknownObjectAddress => 47,
        }
    }

    /// The cause of a code; `None` for one that the standard reserves.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Periodic,
            2 => Self::Background,
            3 => Self::Spontaneous,
            4 => Self::Initialized,
            5 => Self::Request,
            6 => Self::Activation,
            7 => Self::ActivationCon,
            8 => Self::Deactivation,
            9 => Self::DeactivationCon,
            10 => Self::ActivationTermination,
            11 => Self::ReturnRemote,
            12 => Self::ReturnLocal,
            13 => Self::File,
            20..=36 => Self::Interrogated(Qoi(code)),
            37..=41 => Self::CountersRequested(CounterGroup(code - 37)),
            44 => Self::UnknownType,
            45 => Self::UnknownCause,
            46 => Self::UnknownCommonAddress,
            47 => Self::UnknownObjectAddress,
            _ => return None,
        })
    }
}

/// A qualifier of interrogation: the whole station, or one of sixteen groups.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Qoi(u8);

impl Qoi {
    /// 20: the station.
    pub const STATION: Self = Self(20);

    /// 21–36: group 1–16; `None` for another.
    pub const fn group(group: u8) -> Option<Self> {
        match group {
            1..=16 => Some(Self(20 + group)),
            _ => None,
        }
    }

    /// The octet, 20–36.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// The qualifier of an octet; `None` outside 20–36.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            20..=36 => Some(Self(code)),
            _ => None,
        }
    }
}

impl fmt::Debug for Qoi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            20 => f.write_str("Station"),
            code => write!(f, "Group{}", code - 20),
        }
    }
}

/// Which counters: all, or one of four groups.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CounterGroup(u8);

impl CounterGroup {
    /// All counters (RQT 5).
    pub const GENERAL: Self = Self(0);

    /// Group 1–4; `None` for another.
    pub const fn of(group: u8) -> Option<Self> {
        match group {
            1..=4 => Some(Self(group)),
            _ => None,
        }
    }

    /// 0 for all, else the group, 1–4.
    pub const fn group(self) -> u8 {
        self.0
    }
}

impl fmt::Debug for CounterGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("General"),
            group => write!(f, "Group{group}"),
        }
    }
}

/// The cause with what travels beside it: two octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmission {
    /// Why it was sent.
    pub cause: Cause,
    /// P/N: a negative confirmation.
    pub negative: bool,
    /// T: sent for a test, to change no process.
    pub test: bool,
    /// The controlling station's originator address; 0 where none is used.
    pub originator: u8,
}

impl Transmission {
    /// A positive transmission, no test, without originator.
    pub const fn new(cause: Cause) -> Self {
        Self {
            cause,
            negative: false,
            test: false,
            originator: 0,
        }
    }

    /// The two octets.
    pub const fn encode(self) -> [u8; 2] {
        let flags = (self.negative as u8) << 6 | (self.test as u8) << 7;
        [self.cause.code() | flags, self.originator]
    }

    /// Reads two octets; `None` if the cause is reserved.
    pub const fn decode(octets: [u8; 2]) -> Option<Self> {
        let Some(cause) = Cause::from_code(octets[0] & 0x3F) else {
            return None;
        };
        Some(Self {
            cause,
            negative: octets[0] & 0x40 != 0,
            test: octets[0] & 0x80 != 0,
            originator: octets[1],
        })
    }
}

/// The address of a station (of a sector of it): 1–65 534, or all stations at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommonAddress(u16);

impl CommonAddress {
    /// 65 535: every station, for interrogations, clock and reset only.
    pub const GLOBAL: Self = Self(u16::MAX);

    /// The address `value`; `None` for 0, which the standard leaves unused.
    pub const fn new(value: u16) -> Option<Self> {
        match value {
            0 => None,
            value => Some(Self(value)),
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CommonAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An information object address (IOA), 24 bits; 0 where an ASDU concerns no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectAddress(u32);

impl ObjectAddress {
    /// 0: no object.
    pub const NONE: Self = Self(0);
    /// The highest address.
    pub const HIGHEST: Self = Self(0x00FF_FFFF);

    /// The address `value`; `None` above 24 bits.
    pub const fn new(value: u32) -> Option<Self> {
        if value <= Self::HIGHEST.0 {
            Some(Self(value))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    pub(crate) const fn encode(self) -> [u8; 3] {
        let [a, b, c, _] = self.0.to_le_bytes();
        [a, b, c]
    }

    pub(crate) const fn decode([a, b, c]: [u8; 3]) -> Self {
        Self(u32::from_le_bytes([a, b, c, 0]))
    }
}

impl fmt::Display for ObjectAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_code() {
        let known: Vec<u8> = (0..64)
            .filter(|&code| Cause::from_code(code).is_some())
            .collect();
        let expected: Vec<u8> = (1..=13).chain(20..=41).chain(44..=47).collect();
        assert_eq!(known, expected);
        for code in known {
            assert_eq!(Cause::from_code(code).unwrap().code(), code);
        }
        assert_eq!(
            Cause::from_code(36),
            Some(Cause::Interrogated(Qoi::group(16).unwrap()))
        );
        assert_eq!(
            Cause::from_code(38),
            Some(Cause::CountersRequested(CounterGroup::of(1).unwrap()))
        );
    }

    #[test]
    fn flags_stand_above_the_cause() {
        let transmission = Transmission {
            cause: Cause::ActivationCon,
            negative: true,
            test: true,
            originator: 9,
        };
        assert_eq!(transmission.encode(), [0xC7, 9]);
        assert_eq!(Transmission::decode([0xC7, 9]), Some(transmission));
        assert_eq!(Transmission::decode([0, 0]), None);
        assert_eq!(
            Transmission::new(Cause::Spontaneous).encode(),
            [3, 0],
            "nothing set"
        );
    }

    #[test]
    fn addresses_keep_their_range() {
        assert_eq!(CommonAddress::new(0), None);
        assert_eq!(CommonAddress::new(65_535), Some(CommonAddress::GLOBAL));
        assert_eq!(ObjectAddress::new(0x0100_0000), None);
        let address = ObjectAddress::new(0x0001_0203).unwrap();
        assert_eq!(address.encode(), [3, 2, 1]);
        assert_eq!(ObjectAddress::decode([3, 2, 1]), address);
        assert_eq!(Qoi::group(0).or(Qoi::group(17)), None);
        assert_eq!(CounterGroup::of(0).or(CounterGroup::of(5)), None);
    }
}
