//! The names (object identifiers) of application contexts and authentication mechanisms.

use core::fmt;

use super::error::AcseError;

/// 2.16.756.5.8, all but the last two arcs.
const COSEM: [u8; 5] = [0x60, 0x85, 0x74, 0x05, 0x08];

/// How objects are named in an association, and whether its services are ciphered
/// (2.16.756.5.8.1.x).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApplicationContext {
    /// Logical names, plain services.
    LogicalName,
    /// Short names, plain services. Not spoken here, only named.
    ShortName,
    /// Logical names, ciphered services.
    LogicalNameCiphered,
    /// Short names, ciphered services. Not spoken here, only named.
    ShortNameCiphered,
}

impl ApplicationContext {
    /// The last arc of the name.
    pub const fn arc(self) -> u8 {
        match self {
            Self::LogicalName => 1,
            Self::ShortName => 2,
            Self::LogicalNameCiphered => 3,
            Self::ShortNameCiphered => 4,
        }
    }

    /// Whether services are ciphered.
    pub const fn is_ciphered(self) -> bool {
        matches!(self, Self::LogicalNameCiphered | Self::ShortNameCiphered)
    }

    /// The context of an association by logical names.
    pub const fn of_logical_names(ciphered: bool) -> Self {
        if ciphered {
            Self::LogicalNameCiphered
        } else {
            Self::LogicalName
        }
    }

    pub(super) fn name(self) -> [u8; 7] {
        name(1, self.arc())
    }

    pub(super) fn from_name(bytes: &[u8]) -> Result<Self, AcseError> {
        match last_arc(1, bytes) {
            Some(1) => Ok(Self::LogicalName),
            Some(2) => Ok(Self::ShortName),
            Some(3) => Ok(Self::LogicalNameCiphered),
            Some(4) => Ok(Self::ShortNameCiphered),
            Some(_) | None => Err(AcseError::UnknownContext),
        }
    }
}

/// How a client proves who it is (2.16.756.5.8.2.x).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Mechanism {
    /// Not at all: lowest level security.
    #[default]
    None = 0,
    /// By a password: low level security.
    Lls = 1,
    /// By challenges, a manufacturer's way. Not spoken here, only named.
    Manufacturer = 2,
    /// By challenges and MD5. Broken; never spoken here, only named.
    Md5 = 3,
    /// By challenges and SHA-1. Broken; never spoken here, only named.
    Sha1 = 4,
    /// By challenges and GMAC under the global keys.
    Gmac = 5,
    /// By challenges and SHA-256 over a shared secret.
    Sha256 = 6,
    /// By challenges and ECDSA signatures.
    Ecdsa = 7,
}

impl Mechanism {
    /// The mechanism's number.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The mechanism with a number.
    pub const fn from_id(id: u8) -> Option<Self> {
        Some(match id {
            0 => Self::None,
            1 => Self::Lls,
            2 => Self::Manufacturer,
            3 => Self::Md5,
            4 => Self::Sha1,
            5 => Self::Gmac,
            6 => Self::Sha256,
            7 => Self::Ecdsa,
            _ => return None,
        })
    }

    /// Whether both sides answer a challenge: high level security.
    pub const fn is_high(self) -> bool {
        self.id() >= 2
    }

    pub(super) fn name(self) -> [u8; 7] {
        name(2, self.id())
    }

    pub(super) fn from_name(bytes: &[u8]) -> Result<Self, AcseError> {
        last_arc(2, bytes)
            .and_then(Self::from_id)
            .ok_or(AcseError::UnknownMechanism)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no authentication",
            Self::Lls => "low level security",
            Self::Manufacturer => "the manufacturer's HLS",
            Self::Md5 => "HLS with MD5",
            Self::Sha1 => "HLS with SHA-1",
            Self::Gmac => "HLS with GMAC",
            Self::Sha256 => "HLS with SHA-256",
            Self::Ecdsa => "HLS with ECDSA",
        })
    }
}

fn name(kind: u8, arc: u8) -> [u8; 7] {
    let [a, b, c, d, e] = COSEM;
    [a, b, c, d, e, kind, arc]
}

fn last_arc(kind: u8, bytes: &[u8]) -> Option<u8> {
    match bytes.strip_prefix(&COSEM)? {
        [found, arc] if *found == kind => Some(*arc),
        _ => None,
    }
}
