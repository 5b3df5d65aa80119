//! Which clients a meter admits and by which secrets, and what of it is kept in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use gridloom_core::SystemTitle;
use gridloom_core::bytes::{Reader, Truncated};
use gridloom_dlms::association::{Conformance, Mechanism, Secret};
use gridloom_dlms::counter::{ReceiveCounter, TransmitCounter};
use gridloom_dlms::security::{
    Certificate, KeyEncryptionKey, Keys, OwnKeys, PeerKeys, Policy, PolicyBits, SecuritySuite,
    SymmetricKey,
};
use gridloom_dlms::server::{AssociationPolicy, DeviceSecurity, KeyKind, PEERS_MAX, ServerConfig};

use crate::catalogue::Client;

/// How clients get in. By default the public client does, and whoever proves the global keys.
#[derive(Debug, Clone)]
pub struct ClientAccess {
    /// The associations; meters of a kind share one.
    pub server: Arc<ServerConfig>,
    /// Passwords by client SAP.
    pub secrets: Vec<(u16, Secret)>,
    /// The master key under which other keys are transferred; without it they cannot be.
    pub master: Option<KeyEncryptionKey>,
    /// Suite, policy, certificates and key pairs that it left the factory with.
    pub factory: Arc<FactorySecurity>,
}

/// What a meter's security setup begins with. Meters of a kind may share one.
#[derive(Debug, Clone)]
pub struct FactorySecurity {
    /// The suite; by the keys' length 0 or 2, if `None`.
    pub suite: Option<SecuritySuite>,
    /// The least protection of ciphered associations.
    pub policy: PolicyBits,
    /// Authorities that no client removes.
    pub trusted: Vec<Certificate>,
    /// Other certificates, of clients and of the meter itself.
    pub certificates: Vec<Certificate>,
    /// The meter's own key pairs.
    pub own: OwnKeys,
    /// Public keys of clients that have no certificate; at most
    /// [`FactorySecurity::PEERS_MAX`], further ones are not known.
    pub peers: BTreeMap<SystemTitle, PeerKeys>,
}

impl FactorySecurity {
    /// Clients whose public keys are given without certificates.
    pub const PEERS_MAX: usize = 16;
}

impl Default for FactorySecurity {
    fn default() -> Self {
        Self {
            suite: None,
            policy: PolicyBits::AUTHENTICATED_ENCRYPTION,
            trusted: Vec::new(),
            certificates: Vec::new(),
            own: OwnKeys::default(),
            peers: BTreeMap::new(),
        }
    }
}

impl Default for ClientAccess {
    fn default() -> Self {
        Self {
            server: Arc::clone(&STANDARD),
            secrets: Vec::new(),
            master: None,
            factory: Arc::clone(&FACTORY),
        }
    }
}

static FACTORY: LazyLock<Arc<FactorySecurity>> = LazyLock::new(Arc::default);

impl ClientAccess {
    /// With the password of a client.
    #[must_use]
    pub fn with_password(mut self, client: Client, password: &[u8]) -> Self {
        self.secrets.push((client.sap(), Secret::new(password)));
        self
    }

    /// With management that proves itself by `mechanism` alone, instead of by GMAC.
    #[must_use]
    pub fn with_management(mut self, mechanism: Mechanism) -> Self {
        let mut server = ServerConfig::clone(&self.server);
        for policy in &mut server.associations {
            if policy.client == Client::Management.sap() {
                policy.mechanism = mechanism;
            }
        }
        self.server = Arc::new(server);
        self
    }
}

/// Bytes of the longest APDU that a meter takes.
const PDU_MAX: u16 = 1_024;

static STANDARD: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let offered = Conformance::STANDARD.without(Conformance::ATTRIBUTE_0_WITH_GET);
    let reading = offered
        .without(Conformance::SET)
        .without(Conformance::BLOCK_TRANSFER_WITH_SET)
        .without(Conformance::BLOCK_TRANSFER_WITH_ACTION);
    let admit = |client: Client, mechanism, ciphered, policy, conformance| AssociationPolicy {
        client: client.sap(),
        mechanism,
        ciphered,
        policy,
        conformance,
    };
    let full = Policy::AuthenticatedEncryption;
    Arc::new(ServerConfig {
        associations: vec![
            admit(Client::Public, Mechanism::None, false, full, reading),
            admit(Client::Reader, Mechanism::Lls, false, full, reading),
            admit(Client::Reader, Mechanism::Lls, true, full, reading),
            admit(Client::Reader, Mechanism::Gmac, true, full, reading),
            admit(Client::Management, Mechanism::Gmac, true, full, offered),
        ],
        max_pdu: PDU_MAX,
    })
});

/// Keys that a client has transferred since the meter was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransferredKeys {
    keys: Keys,
    master: Option<SymmetricKey>,
}

/// What of the keys and counters is kept in memory, but for the transmit counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RetainedSecurity {
    /// `None` while those of the configuration are in force.
    transferred: Option<TransferredKeys>,
    peers: Vec<(SystemTitle, KeyKind, u32)>,
}

impl RetainedSecurity {
    /// Of a meter that was made with `keys` and `access`.
    pub(crate) fn of(security: &DeviceSecurity, keys: &Keys, access: &ClientAccess) -> Self {
        let master = security.master().map(KeyEncryptionKey::key);
        let original_master = access.master.as_ref().map(KeyEncryptionKey::key);
        let original = security.keys() == keys && master == original_master;
        let counters = security.receive_counters();
        Self {
            transferred: (!original).then(|| TransferredKeys {
                keys: security.keys().clone(),
                master: master.cloned(),
            }),
            peers: counters
                .filter_map(|(title, kind, counter)| Some((title, kind, counter.last()?)))
                .collect(),
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let put_key = |key: Option<&SymmetricKey>, out: &mut Vec<u8>| {
            let bytes = key.map_or(&[][..], SymmetricKey::as_bytes);
            out.push(u8::try_from(bytes.len()).expect("a key has at most 32 bytes"));
            out.extend(bytes);
        };
        out.push(u8::from(self.transferred.is_some()));
        if let Some(transferred) = &self.transferred {
            put_key(Some(transferred.keys.encryption()), out);
            put_key(Some(transferred.keys.authentication()), out);
            put_key(transferred.keys.broadcast(), out);
            put_key(transferred.master.as_ref(), out);
        }
        out.push(u8::try_from(self.peers.len()).expect("a few dozen peers"));
        for (title, kind, last) in &self.peers {
            out.extend(title.0);
            out.push(match kind {
                KeyKind::Unicast => 0,
                KeyKind::Broadcast => 1,
                KeyKind::OneTime => 2,
            });
            out.extend(last.to_be_bytes());
        }
    }

    /// What [`Self::encode`] wrote; `Ok(None)` for values that no meter has.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Option<Self>, Truncated> {
        let transferred = match reader.u8()? {
            0 => None,
            1 => {
                let encryption = key(reader)?;
                let authentication = key(reader)?;
                let broadcast = key(reader)?;
                let master = key(reader)?;
                let (Some(encryption), Some(authentication)) = (encryption, authentication) else {
                    return Ok(None);
                };
                let Ok(mut keys) = Keys::pair(encryption, authentication) else {
                    return Ok(None);
                };
                if let Some(broadcast) = broadcast {
                    match keys.with_broadcast(broadcast) {
                        Ok(with) => keys = with,
                        Err(_) => return Ok(None),
                    }
                }
                Some(TransferredKeys { keys, master })
            }
            _ => return Ok(None),
        };
        let count = usize::from(reader.u8()?);
        if count > PEERS_MAX {
            return Ok(None);
        }
        let mut peers = Vec::new();
        for _ in 0..count {
            let title = SystemTitle(reader.array()?);
            let kind = match reader.u8()? {
                0 => KeyKind::Unicast,
                1 => KeyKind::Broadcast,
                2 => KeyKind::OneTime,
                _ => return Ok(None),
            };
            peers.push((title, kind, reader.u32()?));
        }
        Ok(Some(Self { transferred, peers }))
    }
}

/// A key; `None` where none was written.
fn key(reader: &mut Reader<'_>) -> Result<Option<SymmetricKey>, Truncated> {
    let length = usize::from(reader.u8()?);
    Ok(SymmetricKey::from_bytes(reader.take(length)?).ok())
}

/// The keys and counters of a meter as it starts.
pub(crate) fn security(
    title: SystemTitle,
    keys: &Keys,
    access: &ClientAccess,
    transmit_bound: u32,
    retained: Option<&RetainedSecurity>,
) -> DeviceSecurity {
    let transferred = retained.and_then(|retained| retained.transferred.as_ref());
    let keys = transferred.map_or(keys, |transferred| &transferred.keys);
    let master = match transferred {
        Some(transferred) => transferred.master.clone().map(KeyEncryptionKey::from),
        None => access.master.clone(),
    };
    let transmit = TransmitCounter::resume(transmit_bound);
    let factory = &access.factory;
    let mut security = DeviceSecurity::new(title, keys.clone(), transmit)
        .with_policy(factory.policy)
        .with_own_keys(factory.own.clone());
    if let Some(suite) = factory.suite {
        security = security.with_suite(suite);
    }
    if let Some(master) = master {
        security = security.with_master(master);
    }
    for (client, secret) in &access.secrets {
        security = security.with_secret(*client, secret.clone());
    }
    for (peer, kind, last) in retained.iter().flat_map(|retained| &retained.peers) {
        security = security.with_receive_counter(*peer, *kind, ReceiveCounter::after(*last));
    }
    security
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_counters_are_remembered() {
        let title = SystemTitle(*b"GLMmetr1");
        let head_end = SystemTitle(*b"GLMhead1");
        let keys = Keys::new([1; 16], [2; 16]);
        let access = ClientAccess {
            master: Some(KeyEncryptionKey::new([3; 16])),
            ..ClientAccess::default()
        }
        .with_password(Client::Reader, b"12345678");
        let new = Keys::new([4; 16], [5; 16])
            .with_broadcast([6; 16].into())
            .unwrap();
        for change in [false, true] {
            let mut before = security(title, &keys, &access, 100, None).with_receive_counter(
                head_end,
                KeyKind::Unicast,
                ReceiveCounter::after(77),
            );
            if change {
                before.install_keys(new.clone());
                before = before.with_receive_counter(
                    head_end,
                    KeyKind::Broadcast,
                    ReceiveCounter::after(78),
                );
                before = before.with_receive_counter(
                    head_end,
                    KeyKind::OneTime,
                    ReceiveCounter::after(79),
                );
            }
            let retained = RetainedSecurity::of(&before, &keys, &access);
            assert_eq!(retained.transferred.is_some(), change);
            let mut bytes = Vec::new();
            retained.encode(&mut bytes);
            let read = RetainedSecurity::decode(&mut Reader::new(&bytes));
            assert_eq!(read, Ok(Some(retained.clone())));
            for cut in 0..bytes.len() {
                assert!(
                    RetainedSecurity::decode(&mut Reader::new(&bytes[..cut]))
                        .is_ok_and(|read| read.is_none())
                        || RetainedSecurity::decode(&mut Reader::new(&bytes[..cut])).is_err()
                );
            }
            let after = security(title, &keys, &access, 100, Some(&retained));
            assert_eq!(after.keys(), before.keys());
            let master = |security: &DeviceSecurity| security.master().map(|key| key.key().clone());
            assert_eq!(master(&after), master(&before));
            assert!(after.receive_counters().eq(before.receive_counters()));
            assert!(after.secrets().eq(before.secrets()));
        }
    }
}
