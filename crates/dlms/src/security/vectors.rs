//! Keys and titles of the test vectors.

use gridloom_core::SystemTitle;

use super::curve::PrivateKey;
use super::suite::Curve;
use crate::hex;

pub(super) const CLIENT: SystemTitle = SystemTitle(*b"MMM\x00\x00\x00\x00\x01");
pub(super) const SERVER: SystemTitle = SystemTitle(*b"MMM\x00\x00\xBC\x61\x4E");
pub(super) const TRANSACTION: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF];
pub(super) const CURVES: [Curve; 2] = [Curve::P256, Curve::P384];

/// Of RFC 5903, 8.1 and 8.2, the initiator.
pub(super) fn initiator(curve: Curve) -> PrivateKey {
    key(
        curve,
        match curve {
            Curve::P256 => "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
            Curve::P384 => {
                "099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655\
                 E35B538041E649EE3FAEF896783AB194"
            }
        },
    )
}

/// Of RFC 5903, 8.1 and 8.2, the responder.
pub(super) fn responder(curve: Curve) -> PrivateKey {
    key(
        curve,
        match curve {
            Curve::P256 => "C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53",
            Curve::P384 => {
                "41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060855CC9BDA0AA2942\
                 E0308312916B8ED2960E4BD55A7448FC"
            }
        },
    )
}

/// Of RFC 6979, A.2.5 and A.2.6.
pub(super) fn signer(curve: Curve) -> PrivateKey {
    key(
        curve,
        match curve {
            Curve::P256 => "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721",
            Curve::P384 => {
                "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D8\
                 96D5724E4C70A825F872C9EA60D2EDF5"
            }
        },
    )
}

fn key(curve: Curve, text: &str) -> PrivateKey {
    PrivateKey::from_bytes(curve, &hex::bytes(text)).unwrap()
}
