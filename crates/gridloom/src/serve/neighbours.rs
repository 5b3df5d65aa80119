//! Whom a tier dials: what the configuration says, or the tier of the same process.

use std::net::SocketAddr;

use gridloom_host::DialAddress;

use crate::config::Upper;

/// Where to dial; `here` is where the upper tier of this process listens.
pub(super) fn dial_address(upper: &Upper, here: Option<SocketAddr>) -> Option<DialAddress> {
    match upper {
        Upper::Here => here.map(DialAddress::from),
        Upper::At(address) => Some(address.clone()),
        Upper::Absent => None,
    }
}

/// What a picture calls it: its name where it is of this process, or else where it is dialled.
pub(super) fn upper_name(upper: &Upper, here: &str) -> Option<String> {
    match upper {
        Upper::Here => Some(here.to_owned()),
        Upper::At(address) => Some(address.to_string()),
        Upper::Absent => None,
    }
}
