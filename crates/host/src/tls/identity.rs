//! Who a certificate says its owner is.

use std::fmt;
use std::str::FromStr;

use gridloom_core::UtcTime;
use gridloom_nodes::envelope::Role;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::fault::TlsFault;

/// Bytes of a node's name; a longer one is refused.
pub const NAME_BYTES_MAX: usize = 64;

/// What a URI in subjectAltName begins with.
const SCHEME: &str = "gridloom:";

/// Every role, as it is written.
const ROLES: [(&str, Role); 5] = [
    ("gateway", Role::Gateway),
    ("edge", Role::Edge),
    ("utility", Role::Utility),
    ("archive", Role::Archive),
    ("headend", Role::HeadEnd),
];

/// The word for a role.
pub(super) fn word(role: Role) -> &'static str {
    ROLES
        .iter()
        .find(|(_, known)| *known == role)
        .map_or("unknown", |(word, _)| word)
}

/// The words for roles, for people.
pub(super) fn words(roles: &[Role]) -> String {
    let words: Vec<&str> = roles.iter().map(|role| word(*role)).collect();
    words.join(", ")
}

/// A node, as certificates and operators name it: `edge/edge-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName {
    role: Role,
    name: String,
}

/// A text names no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is no such role.
    #[error("role {text:?} is unknown: give gateway, edge, utility, archive or headend")]
    Role {
        /// What was given.
        text: String,
    },
    /// The name is empty, too long, or has other characters.
    #[error(
        "name {text:?} is no node's name: give 1 to {NAME_BYTES_MAX} letters, digits, dots, \
         hyphens or underscores"
    )]
    Name {
        /// What was given.
        text: String,
    },
}

impl NodeName {
    /// A node's name.
    ///
    /// # Errors
    ///
    /// [`NameError::Name`] unless it has 1 to [`NAME_BYTES_MAX`] letters, digits, dots, hyphens
    /// and underscores.
    pub fn new(role: Role, name: &str) -> Result<Self, NameError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if name.is_empty()
            || name.len() > NAME_BYTES_MAX
            || name.starts_with('.')
            || !name.bytes().all(is_plain)
        {
            return Err(NameError::Name {
                text: name.chars().take(NAME_BYTES_MAX).collect(),
            });
        }
        Ok(Self {
            role,
            name: name.to_owned(),
        })
    }

    /// What it does.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The word for its role, as certificates write it.
    pub fn role_word(&self) -> &'static str {
        word(self.role)
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URI that its certificate carries.
    pub fn uri(&self) -> String {
        format!("{SCHEME}{self}")
    }

    fn from_uri(uri: &str) -> Option<Self> {
        uri.strip_prefix(SCHEME)?.parse().ok()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.role_word(), self.name)
    }
}

impl FromStr for NodeName {
    type Err = NameError;

    /// Reads `ROLE/NAME`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (role, name) = text.split_once('/').unwrap_or((text, ""));
        let role = ROLES
            .iter()
            .find(|(word, _)| *word == role)
            .map(|(_, role)| *role)
            .ok_or_else(|| NameError::Role {
                text: role.chars().take(NAME_BYTES_MAX).collect(),
            })?;
        Self::new(role, name)
    }
}

/// A certificate's serial number, unique under its authority (RFC 5280 §4.1.2.2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// Bytes of the longest serial number.
    pub const BYTES_MAX: usize = 20;

    /// From its big-endian bytes; leading zeros do not count. `None` if it is zero or too long.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let start = bytes.iter().position(|byte| *byte != 0)?;
        let bytes = &bytes[start..];
        (bytes.len() <= Self::BYTES_MAX).then(|| Self(bytes.to_vec()))
    }

    /// Its big-endian bytes, without leading zeros.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads hexadecimal digits; `None` if it is no serial number.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > 2 * Self::BYTES_MAX || !text.is_ascii() {
            return None;
        }
        let padded = if text.len() % 2 == 1 {
            format!("0{text}")
        } else {
            text.to_owned()
        };
        let bytes: Option<Vec<u8>> = padded
            .as_bytes()
            .chunks_exact(2)
            .map(|pair| {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
            })
            .collect();
        Self::new(&bytes?)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

/// What a node's certificate says, believed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Whose it is.
    pub node: NodeName,
    /// Its serial number.
    pub serial: Serial,
    /// When it begins to be valid.
    pub not_before: UtcTime,
    /// When it ends.
    pub not_after: UtcTime,
    /// Host names and addresses at which the node may be dialled; where there are none, any.
    pub hosts: Vec<String>,
}

impl CertificateInfo {
    /// Reads a certificate (DER) without believing it.
    ///
    /// # Errors
    ///
    /// [`TlsFault::Unreadable`], [`TlsFault::NoName`].
    pub fn read(der: &[u8]) -> Result<Self, TlsFault> {
        let certificate = Certificate::from_der(der)
            .map_err(|_| TlsFault::Unreadable("it is no X.509 certificate"))?;
        let tbs = certificate.tbs_certificate();
        let serial = Serial::new(tbs.serial_number().as_bytes())
            .ok_or(TlsFault::Unreadable("its serialNumber is 0 or too long"))?;
        let time = |time: x509_cert::time::Time| {
            i64::try_from(time.to_unix_duration().as_secs())
                .map(UtcTime::from_secs)
                .map_err(|_| TlsFault::Unreadable("its validity is beyond all time"))
        };
        let names = tbs
            .get_extension::<SubjectAltName>()
            .map_err(|_| TlsFault::Unreadable("its subjectAltName cannot be read"))?
            .map(|(_, names)| names.0)
            .unwrap_or_default();
        let mut node = None;
        let mut hosts = Vec::new();
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "other kinds of names say nothing to us"
        )]
        for name in &names {
            match name {
                GeneralName::UniformResourceIdentifier(uri) => {
                    if let Some(named) = NodeName::from_uri(uri.as_str()) {
                        if node.is_some() {
                            return Err(TlsFault::Unreadable("it names two nodes"));
                        }
                        node = Some(named);
                    }
                }
                GeneralName::DnsName(host) => hosts.push(host.as_str().to_ascii_lowercase()),
                GeneralName::IpAddress(bytes) => hosts.extend(ip_text(bytes.as_bytes())),
                _ => {}
            }
        }
        Ok(Self {
            node: node.ok_or(TlsFault::NoName)?,
            serial,
            not_before: time(tbs.validity().not_before)?,
            not_after: time(tbs.validity().not_after)?,
            hosts,
        })
    }

    /// Whether less than a third of its life is left at `now`: time to renew it.
    pub fn is_due(&self, now: UtcTime) -> bool {
        let life = self.not_after.since(self.not_before);
        self.not_after.since(now) < life / 3
    }
}

fn ip_text(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(sixteen).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_named_by_role_and_name() {
        let cases = [
            ("edge/edge-1", true),
            ("headend/headend-1", true),
            ("gateway/GW_7.north", true),
            ("edge", false),
            ("edge/", false),
            ("edge/..", false),
            ("edge/a/b", false),
            ("edge/a b", false),
            ("meter/m-1", false),
            ("Edge/edge-1", false),
        ];
        for (text, valid) in cases {
            let parsed = text.parse::<NodeName>();
            assert_eq!(parsed.is_ok(), valid, "{text}");
            if let Ok(node) = parsed {
                assert_eq!(node.to_string(), text);
                assert_eq!(NodeName::from_uri(&node.uri()), Some(node));
            }
        }
        let long = format!("edge/{}", "a".repeat(NAME_BYTES_MAX + 1));
        assert!(long.parse::<NodeName>().is_err());
        assert_eq!(NodeName::from_uri("https:edge/edge-1"), None);
    }

    #[test]
    fn serial_numbers_are_hexadecimal() {
        let cases = [
            ("0a", Some("0a")),
            ("A", Some("0a")),
            ("00ff", Some("ff")),
            ("0", None),
            ("", None),
            ("xy", None),
            ("é1", None),
            ("+1", None),
        ];
        for (text, expected) in cases {
            let serial = Serial::parse(text).map(|serial| serial.to_string());
            assert_eq!(serial.as_deref(), expected, "{text}");
        }
        assert_eq!(Serial::new(&[1; Serial::BYTES_MAX + 1]), None);
    }
}
