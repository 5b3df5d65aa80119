//! Mutual TLS 1.3 between the tiers, under the utility's own authority.
//!
//! A certificate names one node: `gridloom:ROLE/NAME` as a URI in subjectAltName. Whoever listens
//! says which roles it lets in, whoever dials says which role it looks for, and what a peer calls
//! itself in its greeting must be what its certificate says. There is no TLS 1.2 in this program
//! and no resumption: every connection shows its certificate, so that a revoked one ends here.
//!
//! Validity counts on the system's clock, also where an accelerated clock runs the nodes.

mod authority;
mod crowd;
mod fault;
mod files;
mod identity;
mod node;
mod secured;
mod trust;

pub use authority::{
    Authority, AuthorityError, DAYS_MAX, HOSTS_MAX, Order, Reason, Revoked, Term, key_of_bytes,
};
pub use crowd::{HANDSHAKE_TIMEOUT, HANDSHAKES_MAX};
pub use fault::{TlsError, TlsFault};
pub use files::{FILE_BYTES_MAX, TlsFiles};
pub use identity::{CertificateInfo, NAME_BYTES_MAX, NameError, NodeName, Serial};
pub use node::{Admission, PeerSeen, RELOAD_EVERY, SEEN_MAX, Seeking, Tls};
pub use p256::SecretKey;

pub(crate) use crowd::Crowd;
pub(crate) use fault::refusal_of;
pub(crate) use secured::{Peer, Secured};
