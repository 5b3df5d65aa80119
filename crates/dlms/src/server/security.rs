//! One meter's keys, secrets and counters.

use std::collections::BTreeMap;

use gridloom_core::SystemTitle;

use crate::apdu::ActionResult;
use crate::association::Secret;
use crate::axdr::Data;
use crate::counter::{CounterError, ReceiveCounter, TransmitCounter};
use crate::security::{
    CipherContext, CipheredApdu, KeyEncryptionKey, KeyId, KeyTransfer, KeyUse, Keys, Policy,
    PrivateKey, PublicKey, SecuritySuite, SymmetricKey,
};

/// Peers whose counters are kept. A further one is refused, though its tag verifies: whoever
/// holds the keys must not be able to fill the memory with titles.
pub const PEERS_MAX: usize = 32;

/// Clients with a secret or a public key of their own.
pub const SECRETS_MAX: usize = 16;

/// Counters that one request can take at most: for a GMAC proof and for the answer around it.
const ANSWER_COUNTERS: u32 = 2;

/// Which global key a counter counts under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// The global unicast encryption key.
    Unicast,
    /// The global broadcast encryption key.
    Broadcast,
}

/// Why a ciphered request is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotBelieved {
    /// It does not verify, or is protected less than it must be.
    Deciphering,
    /// It verifies, but its counter is used.
    Counter {
        /// The lowest counter that would do.
        expected: u32,
    },
}

/// One meter's keys, secrets and counters: durable, shared by all its connections and by the
/// pushes that the meter makes itself.
///
/// Whenever [`Self::revision`] has changed, the meter persists what is in here before it lets
/// an answer leave.
#[derive(Debug, Clone)]
pub struct DeviceSecurity {
    title: SystemTitle,
    suite: SecuritySuite,
    keys: Keys,
    master: Option<KeyEncryptionKey>,
    secrets: BTreeMap<u16, Secret>,
    signing: Option<Box<PrivateKey>>,
    clients: BTreeMap<u16, PublicKey>,
    transmit: TransmitCounter,
    receive: BTreeMap<(SystemTitle, KeyKind), ReceiveCounter>,
    staged: Vec<(KeyId, SymmetricKey)>,
    revision: u64,
}

impl DeviceSecurity {
    /// A meter with these keys that has never heard of any client; suite 2 if they have 32
    /// bytes, else suite 0.
    pub fn new(title: SystemTitle, keys: Keys, transmit: TransmitCounter) -> Self {
        let suite = CipherContext::new(&keys).suite();
        Self {
            title,
            suite,
            keys,
            master: None,
            secrets: BTreeMap::new(),
            signing: None,
            clients: BTreeMap::new(),
            transmit,
            receive: BTreeMap::new(),
            staged: Vec::new(),
            revision: 0,
        }
    }

    /// In another suite than the keys' length tells: 1 for 16-byte keys.
    ///
    /// # Panics
    ///
    /// If the suite's keys have another length.
    #[must_use]
    pub fn with_suite(mut self, suite: SecuritySuite) -> Self {
        assert_eq!(
            suite.key_len(),
            self.keys.key_len(),
            "suite {suite} has keys of another length"
        );
        self.suite = suite;
        self
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

    /// With the meter's own signing key and the public key of one client, for challenges by
    /// ECDSA.
    ///
    /// # Panics
    ///
    /// With more than [`SECRETS_MAX`] clients.
    #[must_use]
    pub fn with_signatures(mut self, own: PrivateKey, client: u16, key: PublicKey) -> Self {
        self.signing = Some(Box::new(own));
        self.clients.insert(client, key);
        assert!(
            self.clients.len() <= SECRETS_MAX,
            "a meter keeps the public keys of {SECRETS_MAX} clients"
        );
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

    /// The suite that the meter speaks.
    pub const fn suite(&self) -> SecuritySuite {
        self.suite
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

    /// One client's secret.
    pub(super) fn secret(&self, client: u16) -> Option<&Secret> {
        self.secrets.get(&client)
    }

    /// The meter's signing key and one client's public key.
    pub(super) fn signatures(&self, client: u16) -> Option<(&PrivateKey, &PublicKey)> {
        Some((self.signing.as_deref()?, self.clients.get(&client)?))
    }

    /// The keys in force, expanded.
    pub fn context(&self) -> CipherContext {
        CipherContext::with_suite(&self.keys, self.suite)
            .expect("keys and suite fit: checked where either is set")
    }

    /// Replaces the keys at once. The receive counters start anew where their encryption key
    /// changes; the transmit counter goes on, which is always safe.
    ///
    /// # Panics
    ///
    /// If the keys have another length than the suite wants.
    pub fn install_keys(&mut self, keys: Keys) {
        assert_eq!(
            self.suite.key_len(),
            keys.key_len(),
            "suite {} has keys of another length",
            self.suite
        );
        let unicast_changed = keys.encryption() != self.keys.encryption();
        let broadcast_changed = keys.broadcast() != self.keys.broadcast();
        self.receive.retain(|(_, kind), _| match kind {
            KeyKind::Unicast => !unicast_changed,
            KeyKind::Broadcast => !broadcast_changed,
        });
        self.keys = keys;
        self.revision += 1;
    }

    /// Unwraps the keys of a key transfer (class 64 method 2): all of them, or none. They are
    /// in force after the answer has been made, which still goes out under the old ones.
    ///
    /// # Errors
    ///
    /// What the method answers.
    pub(super) fn stage_keys(&mut self, parameters: &Data) -> Result<(), ActionResult> {
        let transfer =
            KeyTransfer::from_data(parameters).map_err(|_| ActionResult::TypeUnmatched)?;
        let master = self
            .master
            .as_ref()
            .ok_or(ActionResult::ObjectUnavailable)?;
        self.staged = transfer
            .unwrap(master, self.suite)
            .map_err(|_| ActionResult::OtherReason)?;
        Ok(())
    }

    /// Puts the staged keys in force: the answer has been made.
    pub(super) fn apply_staged(&mut self) {
        if self.staged.is_empty() {
            return;
        }
        let mut encryption = self.keys.encryption().clone();
        let mut authentication = self.keys.authentication().clone();
        let mut broadcast = self.keys.broadcast().cloned();
        for (id, key) in core::mem::take(&mut self.staged) {
            match id {
                KeyId::Unicast => encryption = key,
                KeyId::Broadcast => broadcast = Some(key),
                KeyId::Authentication => authentication = key,
                KeyId::Master => self.master = Some(key.into()),
            }
        }
        let mut keys = Keys::pair(encryption, authentication).expect("lengths were checked");
        if let Some(broadcast) = broadcast {
            keys = keys
                .with_broadcast(broadcast)
                .expect("lengths were checked");
        }
        self.install_keys(keys);
    }

    /// Opens a request under a global key: the tag first, so that a wrong key is never taken
    /// for a wrong counter; then the counter, which is committed.
    pub(super) fn open(
        &mut self,
        apdu: &CipheredApdu<'_>,
        policy: Policy,
    ) -> Result<Vec<u8>, NotBelieved> {
        let kind = match apdu.key() {
            KeyUse::Unicast => KeyKind::Unicast,
            KeyUse::Broadcast => KeyKind::Broadcast,
            KeyUse::Dedicated | KeyUse::OneTime => return Err(NotBelieved::Deciphering),
        };
        let mut plain = Vec::new();
        self.context()
            .open(apdu, policy, &mut plain)
            .map_err(|_| NotBelieved::Deciphering)?;
        let peer = (apdu.title, kind);
        if !self.receive.contains_key(&peer) && self.receive.len() >= PEERS_MAX {
            return Err(NotBelieved::Deciphering);
        }
        let counter = self.receive.entry(peer).or_default();
        commit(counter, apdu.counter)?;
        self.revision += 1;
        Ok(plain)
    }

    /// Whether there are counters for a ciphered answer.
    pub(super) fn can_answer(&self) -> bool {
        self.transmit.available() >= ANSWER_COUNTERS
    }

    /// Remembers the counter of a GMAC answer, if it is above the last one.
    ///
    /// It need not be: the challenge that it answers was fresh, so it cannot be a replay, and
    /// peers exist that count it before the APDU around it.
    pub(super) fn saw(&mut self, peer: SystemTitle, got: u32) {
        if !self.receive.contains_key(&(peer, KeyKind::Unicast)) && self.receive.len() >= PEERS_MAX
        {
            return;
        }
        let counter = self.receive.entry((peer, KeyKind::Unicast)).or_default();
        if commit(counter, got).is_ok() {
            self.revision += 1;
        }
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

/// Believes a counter whose tag has verified.
pub(super) fn commit(counter: &mut ReceiveCounter, got: u32) -> Result<(), NotBelieved> {
    match counter.check(got) {
        Ok(fresh) => {
            counter.commit(fresh);
            Ok(())
        }
        Err(_) => Err(NotBelieved::Counter {
            expected: counter.last().map_or(0, |last| last.saturating_add(1)),
        }),
    }
}
