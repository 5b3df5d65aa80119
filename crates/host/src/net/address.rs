//! Where to listen and where to dial, as the operator wrote it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// A host name has at most this many characters (RFC 1035 §2.3.4); a longer one is refused.
pub const HOST_NAME_MAX: usize = 253;

/// Listening or dialling cannot be set up. Every message names the key to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The text is no address to listen on.
    #[error("{key} = {text:?} is no address to listen on: write IP:PORT, such as 127.0.0.1:7001")]
    BadListenAddress {
        /// The option or configuration key.
        key: String,
        /// Its value.
        text: String,
    },
    /// The text is no address to dial.
    #[error("{key} = {text:?} is no address to dial: write HOST:PORT, such as 127.0.0.1:7001")]
    BadDialAddress {
        /// The option or configuration key.
        key: String,
        /// Its value.
        text: String,
    },
    /// Another program listens there.
    #[error(
        "port {port} is in use on {ip}: choose another with {key} or stop the program that holds it",
        port = address.port(),
        ip = address.ip()
    )]
    InUse {
        /// The option or configuration key.
        key: String,
        /// The address.
        address: SocketAddr,
    },
    /// The system forbids it.
    #[error(
        "this user may not listen on port {port}: choose one from 1024 up with {key}",
        port = address.port()
    )]
    Forbidden {
        /// The option or configuration key.
        key: String,
        /// The address.
        address: SocketAddr,
    },
    /// No interface of this machine has the address.
    #[error(
        "{ip} is no address of this machine: choose one with {key}, such as 127.0.0.1 or 0.0.0.0",
        ip = address.ip()
    )]
    NotOurs {
        /// The option or configuration key.
        key: String,
        /// The address.
        address: SocketAddr,
    },
    /// Listening failed in another way.
    #[error("listening on {address} ({key}) failed: {cause}")]
    Listen {
        /// The option or configuration key.
        key: String,
        /// The address.
        address: SocketAddr,
        /// The system's words.
        cause: String,
    },
}

/// A bound TCP listener that nobody serves yet.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `text` (`IP:PORT`, port 0 for any free one); `key` is the option or configuration
    /// key that errors name.
    ///
    /// # Errors
    ///
    /// A [`NetError`] that says what to change.
    pub async fn bind(key: &str, text: &str) -> Result<Self, NetError> {
        let wanted = listen_address(key, text)?;
        let refused = |error: io::Error| bind_error(key, wanted, &error);
        let socket = TcpListener::bind(wanted).await.map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        Ok(Self { socket, address })
    }

    /// The bare socket, for a server that frames its connections itself.
    pub fn into_socket(self) -> TcpListener {
        self.socket
    }

    /// Where it listens, with the port that the system chose.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds a UDP socket, as [`Listener::bind`] does for TCP.
pub(crate) async fn bind_udp(key: &str, text: &str) -> Result<(UdpSocket, SocketAddr), NetError> {
    let wanted = listen_address(key, text)?;
    let refused = |error: io::Error| bind_error(key, wanted, &error);
    let socket = UdpSocket::bind(wanted).await.map_err(refused)?;
    let address = socket.local_addr().map_err(refused)?;
    Ok((socket, address))
}

fn listen_address(key: &str, text: &str) -> Result<SocketAddr, NetError> {
    text.parse().map_err(|_| NetError::BadListenAddress {
        key: key.to_owned(),
        text: text.to_owned(),
    })
}

fn bind_error(key: &str, address: SocketAddr, error: &io::Error) -> NetError {
    let key = key.to_owned();
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "ErrorKind is non-exhaustive and has forty kinds"
    )]
    match error.kind() {
        ErrorKind::AddrInUse => NetError::InUse { key, address },
        ErrorKind::PermissionDenied => NetError::Forbidden { key, address },
        ErrorKind::AddrNotAvailable => NetError::NotOurs { key, address },
        _ => NetError::Listen {
            key,
            address,
            cause: error.to_string(),
        },
    }
}

/// A neighbour to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialAddress {
    target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Address(SocketAddr),
    /// Resolved anew at every attempt, so that a moved neighbour is found.
    Name {
        host: String,
        port: u16,
    },
}

impl DialAddress {
    /// Reads `HOST:PORT`; `key` is the option or configuration key that errors name.
    ///
    /// # Errors
    ///
    /// [`NetError::BadDialAddress`] unless it is an address or a host name with a port above 0.
    pub fn parse(key: &str, text: &str) -> Result<Self, NetError> {
        let refused = || NetError::BadDialAddress {
            key: key.to_owned(),
            text: text.to_owned(),
        };
        let target = if let Ok(address) = text.parse::<SocketAddr>() {
            Target::Address(address)
        } else {
            let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
            let host_is_plain = !host.is_empty()
                && host.len() <= HOST_NAME_MAX
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
            if !host_is_plain || !port.bytes().all(|b| b.is_ascii_digit()) {
                return Err(refused());
            }
            Target::Name {
                host: host.to_owned(),
                port: port.parse().map_err(|_| refused())?,
            }
        };
        let port = match &target {
            Target::Address(address) => address.port(),
            Target::Name { port, .. } => *port,
        };
        if port == 0 {
            return Err(refused());
        }
        Ok(Self { target })
    }

    /// The address or host name, as a certificate would name it.
    pub(crate) fn host(&self) -> String {
        match &self.target {
            Target::Address(address) => address.ip().to_string(),
            Target::Name { host, .. } => host.clone(),
        }
    }

    /// A UDP socket that talks to this address alone.
    pub(crate) async fn connect_udp(&self) -> io::Result<UdpSocket> {
        let targets: Vec<SocketAddr> = match &self.target {
            Target::Address(address) => vec![*address],
            Target::Name { host, port } => tokio::net::lookup_host((host.as_str(), *port))
                .await?
                .collect(),
        };
        let target = targets.first().ok_or(ErrorKind::NotFound)?;
        let any: SocketAddr = if target.is_ipv4() {
            (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(target).await?;
        Ok(socket)
    }

    pub(crate) async fn connect(&self) -> io::Result<TcpStream> {
        match &self.target {
            Target::Address(address) => TcpStream::connect(address).await,
            Target::Name { host, port } => TcpStream::connect((host.as_str(), *port)).await,
        }
    }
}

impl From<SocketAddr> for DialAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            target: Target::Address(address),
        }
    }
}

impl fmt::Display for DialAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Address(address) => address.fmt(f),
            Target::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dial_addresses_parse() {
        let cases = [
            ("127.0.0.1:7001", true),
            ("[::1]:7001", true),
            ("gateway-1.example:4059", true),
            ("gateway", false),
            ("gateway:", false),
            (":7001", false),
            ("gateway:70000", false),
            ("gateway:+80", false),
            ("gateway:0", false),
            ("127.0.0.1:0", false),
            ("a b:80", false),
            ("", false),
        ];
        for (text, valid) in cases {
            let parsed = DialAddress::parse("--edge", text);
            assert_eq!(parsed.is_ok(), valid, "{text}");
            if let Ok(address) = parsed {
                assert_eq!(address.to_string(), text);
            }
        }
    }

    #[tokio::test]
    async fn listening_errors_name_key_and_remedy() {
        let first = Listener::bind("--listen", "127.0.0.1:0").await.unwrap();
        let port = first.address().port();
        let taken = format!("127.0.0.1:{port}");
        let cases = [
            (
                taken.as_str(),
                format!(
                    "port {port} is in use on 127.0.0.1: choose another with --listen \
                     or stop the program that holds it"
                ),
            ),
            (
                "localhost",
                "--listen = \"localhost\" is no address to listen on: \
                 write IP:PORT, such as 127.0.0.1:7001"
                    .to_owned(),
            ),
            (
                "192.0.2.1:0",
                "192.0.2.1 is no address of this machine: choose one with --listen, \
                 such as 127.0.0.1 or 0.0.0.0"
                    .to_owned(),
            ),
        ];
        for (text, expected) in cases {
            let error = Listener::bind("--listen", text).await.unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let address = "127.0.0.1:80".parse().unwrap();
        let denied = bind_error("--listen", address, &ErrorKind::PermissionDenied.into());
        assert_eq!(
            denied.to_string(),
            "this user may not listen on port 80: choose one from 1024 up with --listen"
        );
    }
}
