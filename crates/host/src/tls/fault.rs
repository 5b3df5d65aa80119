//! Why a peer is refused, and why TLS cannot be set up.

use std::io;
use std::path::PathBuf;

use gridloom_core::UtcTime;
use rustls::{CertificateError, PeerIncompatible};

use super::crowd::HANDSHAKES_MAX;
use super::identity::{NodeName, Serial};

/// Why a peer was refused, or refused us. Every message names layer, field and remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// The peer dialled without a certificate.
    #[error(
        "certificate: the peer showed none: enrol it with gridloom pki enrol, and name the \
         directory in its [pki]"
    )]
    NoCertificate,
    /// It cannot be read.
    #[error("certificate: {0}: enrol the node with gridloom pki enrol")]
    Unreadable(&'static str),
    /// It names no node of ours.
    #[error(
        "certificate: subjectAltName has no URI gridloom:ROLE/NAME: enrol the node with \
         gridloom pki enrol"
    )]
    NoName,
    /// It was signed by somebody else.
    #[error(
        "certificate of {node}: its issuer is not the authority of authority.pem: enrol the node \
         under this authority, or give both sides the same authority.pem"
    )]
    ForeignAuthority {
        /// Whose it says it is.
        node: NodeName,
    },
    /// Its time is over.
    #[error(
        "certificate of {node}: notAfter {not_after} has passed: renew it with gridloom pki \
         renew {node}"
    )]
    Expired {
        /// Whose it is.
        node: NodeName,
        /// When it ended.
        not_after: UtcTime,
    },
    /// Its time has not come.
    #[error(
        "certificate of {node}: notBefore {not_before} is ahead of the clock here, {now}: set \
         the clock that is wrong"
    )]
    NotYetValid {
        /// Whose it is.
        node: NodeName,
        /// When it begins.
        not_before: UtcTime,
        /// The time here.
        now: UtcTime,
    },
    /// The authority took it back.
    #[error(
        "certificate of {node}: serial {serial} is revoked: if the node shall come back, enrol it \
         again with gridloom pki enrol"
    )]
    Revoked {
        /// Whose it was.
        node: NodeName,
        /// Its serial number.
        serial: Serial,
    },
    /// Its role is not let in here, or is not whom we look for.
    #[error(
        "certificate of {node}: role {role} is not taken on this link, which is for {allowed}: \
         dial the listener of the right tier, or enrol the node under its role",
        role = node.role_word()
    )]
    WrongRole {
        /// Whose it is.
        node: NodeName,
        /// Which roles are.
        allowed: String,
    },
    /// It is for other hosts than the one that was dialled.
    #[error(
        "certificate of {node}: subjectAltName is for {hosts}, but {dialled} was dialled: dial \
         one of those, or enrol the node with --host {dialled}"
    )]
    WrongHost {
        /// Whose it is.
        node: NodeName,
        /// What was dialled.
        dialled: String,
        /// What it is for.
        hosts: String,
    },
    /// Nobody knows any more which certificates are revoked.
    #[error(
        "certificate: nextUpdate {until} of the revocation list revoked.pem has passed: make a \
         new one with gridloom pki renew, and bring it here"
    )]
    StaleList {
        /// Until when the list counted.
        until: UtcTime,
    },
    /// It fails in another way.
    #[error("certificate of {node}: {what}: enrol the node with gridloom pki enrol")]
    Unfit {
        /// Whose it says it is.
        node: NodeName,
        /// What is wrong.
        what: String,
    },
    /// In its greeting it calls itself something else.
    #[error(
        "certificate of {node}: the peer greets as {role} {name:?}: give it the certificate of \
         that node, or its right name"
    )]
    Impostor {
        /// Whose certificate it is.
        node: NodeName,
        /// The role of the greeting.
        role: &'static str,
        /// The name in the greeting.
        name: String,
    },
    /// What came is no TLS.
    #[error("TLS: the peer does not speak TLS: name a [pki] directory there, or none here")]
    Plaintext,
    /// The peer offers nothing that we speak.
    #[error("TLS: version: the peer does not offer TLS 1.3 ({what}): update it")]
    Version {
        /// What is missing.
        what: String,
    },
    /// The peer refused us.
    #[error(
        "TLS: the peer refuses our certificate or our offer (alert {alert}): its log says why; \
         see gridloom pki list"
    )]
    RefusedByPeer {
        /// Its alert (RFC 8446 §6.2).
        alert: String,
    },
    /// Another violation of the protocol.
    #[error("TLS: the handshake failed: {what}")]
    Handshake {
        /// In the words of the library.
        what: String,
    },
    /// The connection broke meanwhile.
    #[error("TLS: the connection ended in the handshake ({0:?})")]
    Broken(io::ErrorKind),
    /// The handshake took too long.
    #[error("TLS: the handshake took too long: the peer says nothing, or too slowly")]
    TimedOut,
    /// The oldest unfinished handshake makes way when there are too many.
    #[error("TLS: more than {} handshakes were under way", HANDSHAKES_MAX)]
    CrowdedOut,
}

impl TlsFault {
    /// What rustls shall tell the peer.
    pub(super) fn for_rustls(&self) -> rustls::Error {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "one alert stands for everything that has none of its own"
        )]
        let error = match self {
            Self::Unreadable(_) => CertificateError::BadEncoding,
            Self::ForeignAuthority { .. } => CertificateError::UnknownIssuer,
            Self::Expired { .. } => CertificateError::Expired,
            Self::NotYetValid { .. } => CertificateError::NotValidYet,
            Self::Revoked { .. } => CertificateError::Revoked,
            Self::StaleList { .. } => CertificateError::ExpiredRevocationList,
            Self::WrongHost { .. } => CertificateError::NotValidForName,
            _ => CertificateError::ApplicationVerificationFailure,
        };
        rustls::Error::InvalidCertificate(error)
    }

    /// What a failed handshake means.
    pub(super) fn of_handshake(error: &io::Error) -> Self {
        let Some(inner) = rustls_error(error) else {
            return Self::Broken(error.kind());
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "rustls has forty errors and adds more"
        )]
        match inner {
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::InvalidMessage(_) => Self::Plaintext,
            rustls::Error::PeerIncompatible(
                what @ (PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled),
            ) => Self::Version {
                what: format!("{what:?}"),
            },
            rustls::Error::AlertReceived(alert) => Self::RefusedByPeer {
                alert: format!("{alert:?}"),
            },
            other => Self::Handshake {
                what: other.to_string(),
            },
        }
    }
}

/// The peer's refusal of us, where a read or write failed for one: in TLS 1.3 the client is done
/// before the server has looked at its certificate.
pub(crate) fn refusal_of(error: &io::Error) -> Option<TlsFault> {
    let is_alert = matches!(rustls_error(error)?, rustls::Error::AlertReceived(_));
    is_alert.then(|| TlsFault::of_handshake(error))
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// TLS cannot be set up from the files of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "certificate: failed to read {path}: {cause}; gridloom pki enrol writes a node's file, \
         gridloom pki init the others",
        path = path.display()
    )]
    File {
        /// Which.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// A file does not hold what it should.
    #[error("certificate: {path}: {what}", path = path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong, and the remedy.
        what: String,
    },
    /// The node's own certificate would be refused everywhere.
    #[error("{path}: {fault}", path = path.display())]
    Own {
        /// Its file.
        path: PathBuf,
        /// Why.
        fault: Box<TlsFault>,
    },
    /// The file belongs to another node.
    #[error(
        "certificate: {path} is of {found}, not of {wanted}: name the right file",
        path = path.display()
    )]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// Whose certificate it holds.
        found: NodeName,
        /// Who wants to use it.
        wanted: NodeName,
    },
}
