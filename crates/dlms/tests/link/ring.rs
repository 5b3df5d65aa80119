//! Clients and meters that have all keys of each other: key pairs by number, in every suite.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use std::collections::BTreeMap;

use gridloom_dlms::association::{Mechanism, Secret};
use gridloom_dlms::client::{
    Authentication, Ciphering, ClientConfig, ClientKeys, ServiceForm, Signing,
};
use gridloom_dlms::counter::TransmitCounter;
use gridloom_dlms::security::{
    Curve, KeyEncryptionKey, Keys, OwnKeys, PeerKeys, PrivateKey, SecuritySuite,
};
use gridloom_dlms::server::DeviceSecurity;

use super::{HEAD_END, Link, MANAGER, METER, ciphering, config, policy};

/// A private key by its number.
pub(crate) fn private(curve: Curve, number: u8) -> PrivateKey {
    PrivateKey::from_bytes(curve, &vec![number; curve.field_len()]).unwrap()
}

pub(crate) fn own(curve: Curve, number: u8) -> OwnKeys {
    OwnKeys {
        signing: Some(Box::new(private(curve, number))),
        agreement: Some(Box::new(private(curve, number + 1))),
        tls: None,
    }
}

pub(crate) fn public(curve: Curve, number: u8) -> PeerKeys {
    PeerKeys {
        signing: Some(Box::new(private(curve, number).public_key())),
        agreement: Some(Box::new(private(curve, number + 1).public_key())),
    }
}

pub(crate) const CLIENT: u8 = 0x21;
pub(crate) const SERVER: u8 = 0x31;
pub(crate) const STRANGER: u8 = 0x41;

pub(crate) fn keys_of(suite: SecuritySuite) -> (Keys, KeyEncryptionKey) {
    if suite == SecuritySuite::Suite2 {
        (
            Keys::long([0x12; 32], [0xA8; 32]),
            KeyEncryptionKey::long([0x4D; 32]),
        )
    } else {
        (
            Keys::new([0x11; 16], [0xA7; 16]),
            KeyEncryptionKey::new([0x4D; 16]),
        )
    }
}

pub(crate) fn client_keys(suite: SecuritySuite, signing: Signing) -> ClientKeys {
    let curve = suite.curve().unwrap_or(Curve::P256);
    ClientKeys {
        master: Some(keys_of(suite).1),
        own: own(curve, CLIENT),
        server: public(curve, SERVER),
        signing,
        seed: Secret::new([0x5E; 32]),
    }
}

pub(crate) fn configured(
    suite: SecuritySuite,
    form: ServiceForm,
    authentication: Authentication,
) -> ClientConfig {
    ClientConfig {
        ciphering: Some(Ciphering {
            keys: keys_of(suite).0,
            suite,
            form,
            ..ciphering()
        }),
        ..config(MANAGER, authentication)
    }
}

/// A manager and a meter that have all keys of each other.
pub(crate) fn link_of(suite: SecuritySuite, form: ServiceForm, signing: Signing) -> Link {
    link_with(
        configured(suite, form, Authentication::Gmac),
        Mechanism::Gmac,
        client_keys(suite, signing),
    )
}

pub(crate) fn link_with(config: ClientConfig, mechanism: Mechanism, client: ClientKeys) -> Link {
    let suite = config.ciphering.as_ref().unwrap().suite;
    let curve = suite.curve().unwrap_or(Curve::P256);
    let (keys, master) = keys_of(suite);
    let mut link = Link::new(config, vec![policy(MANAGER, mechanism, true)], 1_024);
    link.client = link.client.with_keys(client);
    link.security = DeviceSecurity::new(METER, keys, TransmitCounter::new())
        .with_suite(suite)
        .with_master(master)
        .with_own_keys(own(curve, SERVER))
        .with_peers(BTreeMap::from([(HEAD_END, public(curve, CLIENT))]));
    link
}
