//! Security suite 0 (IEC 62056-5-3, clause 9.2): AES-128-GCM with a 12-byte tag, HLS 5
//! challenges by GMAC, and key transport by AES key wrap.
//!
//! Reading a ciphered APDU takes three steps, in this order, each by the caller's own will:
//! [`CipheredApdu::decode`] says who claims to send it and with which counter, the peer's
//! [`crate::counter::ReceiveCounter`] says whether the counter is fresh, and
//! [`CipherContext::open`] verifies the tag. Only then is the counter committed and the
//! payload believed.

mod apdu;
mod context;
mod control;
mod error;
mod keys;

pub use apdu::{CipheredApdu, GENERAL_GLO, HEADER_LEN, is_service_glo};
pub use context::{CipherContext, GMAC_LEN, Protection, TAG_LEN};
pub use control::{Policy, SecurityControl};
pub use error::SecurityError;
pub use keys::{KeyEncryptionKey, Keys, WRAPPED_LEN};
