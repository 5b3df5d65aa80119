//! One meter's keys, secrets and counters.

use std::collections::BTreeMap;

use gridloom_core::SystemTitle;

use crate::association::Secret;
use crate::counter::{CounterError, ReceiveCounter, TransmitCounter};
use crate::security::{CipherContext, KeyEncryptionKey, Keys};

/// Peers whose counters are kept. A further one is refused, though its tag verifies: whoever
/// holds the keys must not be able to fill the memory with titles.
pub const PEERS_MAX: usize = 32;

/// Clients with a secret of their own.
pub const SECRETS_MAX: usize = 16;

/// Which global key a counter counts under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// The global unicast encryption key.
    Unicast,
    /// The global broadcast encryption key.
    Broadcast,
}

/// Which key a transfer replaces (class 64, key_id).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TransferredKey {
    /// The global unicast encryption key.
    Unicast = 0,
    /// The global broadcast encryption key.
    Broadcast = 1,
    /// The authentication key.
    Authentication = 2,
    /// The master key.
    Master = 3,
}

/// Why transferred keys are not installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyTransferError {
    /// The parameters are not an array of {key_id, wrapped key} without repeats.
    #[error("object: key transfer data has another type, an unknown or a repeated key id")]
    Malformed,
    /// The meter has no master key.
    #[error("key: the meter has no master key; keys can only be set when it is made")]
    NoMasterKey,
    /// A key does not unwrap.
    #[error("key: the wrapped key does not unwrap; it was wrapped with another master key")]
    Unwrap,
}

/// One meter's keys, secrets and counters: durable, shared by all its connections and by the
/// pushes that the meter makes itself.
///
/// Whenever [`Self::revision`] has changed, the meter persists what is in here before it lets
/// an answer leave.
#[derive(Debug, Clone)]
pub struct DeviceSecurity {
    title: SystemTitle,
    keys: Keys,
    master: Option<KeyEncryptionKey>,
    secrets: BTreeMap<u16, Secret>,
    transmit: TransmitCounter,
    receive: BTreeMap<(SystemTitle, KeyKind), ReceiveCounter>,
    revision: u64,
}

impl DeviceSecurity {
    /// A meter with these keys that has never heard of any client.
    pub const fn new(title: SystemTitle, keys: Keys, transmit: TransmitCounter) -> Self {
        Self {
            title,
            keys,
            master: None,
            secrets: BTreeMap::new(),
            transmit,
            receive: BTreeMap::new(),
            revision: 0,
        }
    }

    /// With the master key under which others are transferred.
    #[must_use]
    pub fn with_master(mut self, master: KeyEncryptionKey) -> Self {
        self.master = Some(master);
        self
    }

    /// With the password (or shared HLS secret) of one client.
    ///
    /// # Panics
    ///
    /// With more than [`SECRETS_MAX`] clients.
    #[must_use]
    pub fn with_secret(mut self, client: u16, secret: Secret) -> Self {
        self.set_secret(client, secret);
        self
    }

    /// With the counter last believed from a peer, as it was persisted.
    ///
    /// # Panics
    ///
    /// With more than [`PEERS_MAX`] peers.
    #[must_use]
    pub fn with_receive_counter(
        mut self,
        peer: SystemTitle,
        kind: KeyKind,
        counter: ReceiveCounter,
    ) -> Self {
        self.receive.insert((peer, kind), counter);
        assert!(
            self.receive.len() <= PEERS_MAX,
            "a meter keeps the counters of {PEERS_MAX} peers"
        );
        self
    }

    /// Changes one client's secret (class 15 attribute 7 or method 2).
    ///
    /// # Panics
    ///
    /// With more than [`SECRETS_MAX`] clients: they come from the configuration.
    pub fn set_secret(&mut self, client: u16, secret: Secret) {
        self.secrets.insert(client, secret);
        assert!(
            self.secrets.len() <= SECRETS_MAX,
            "a meter keeps the secrets of {SECRETS_MAX} clients"
        );
        self.revision += 1;
    }

    /// The meter's own system title.
    pub const fn title(&self) -> SystemTitle {
        self.title
    }

    /// The keys in force.
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The master key.
    pub const fn master(&self) -> Option<&KeyEncryptionKey> {
        self.master.as_ref()
    }

    /// Every client's secret, by SAP.
    pub fn secrets(&self) -> impl Iterator<Item = (u16, &Secret)> {
        self.secrets
            .iter()
            .map(|(client, secret)| (*client, secret))
    }

    /// The keys in force, expanded.
    pub fn context(&self) -> CipherContext {
        CipherContext::new(&self.keys)
    }

    /// Replaces the keys at once. The receive counters start anew where the encryption key
    /// changes; the transmit counter goes on, which is always safe.
    pub fn install_keys(&mut self, keys: Keys) {
        if keys != self.keys {
            self.receive.clear();
        }
        self.keys = keys;
        self.revision += 1;
    }

    /// Counts every change of what must be durable, but for the transmit counter, whose
    /// reservations are.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The counters last believed, for persistence.
    pub fn receive_counters(&self) -> impl Iterator<Item = (SystemTitle, KeyKind, ReceiveCounter)> {
        self.receive
            .iter()
            .map(|((title, kind), counter)| (*title, *kind, *counter))
    }

    /// The meter's own counter, for looking at.
    pub const fn transmit_counter(&self) -> &TransmitCounter {
        &self.transmit
    }

    /// A counter for a push that the meter makes itself.
    ///
    /// # Errors
    ///
    /// As [`TransmitCounter::next`].
    pub const fn next_counter(&mut self) -> Result<u32, CounterError> {
        self.transmit.next()
    }

    /// As [`TransmitCounter::reservation_due`].
    pub fn reservation_due(&mut self) -> Option<u32> {
        self.transmit.reservation_due()
    }

    /// As [`TransmitCounter::reserved`].
    ///
    /// # Panics
    ///
    /// If this bound was not asked for.
    pub fn reserved(&mut self, upper: u32) {
        self.transmit.reserved(upper);
    }

    /// As [`TransmitCounter::reservation_failed`].
    pub const fn reservation_failed(&mut self) {
        self.transmit.reservation_failed();
    }
}
