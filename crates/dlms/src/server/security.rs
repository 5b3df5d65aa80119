//! One meter's keys, secrets and counters.

use std::collections::BTreeMap;

use gridloom_core::SystemTitle;

use crate::apdu::ActionResult;
use crate::association::Secret;
use crate::axdr::Data;
use crate::counter::{CounterError, ReceiveCounter, TransmitCounter};
use crate::security::{
    CipherContext, CipheredApdu, GeneralCiphering, KeyEncryptionKey, KeyId, KeyRing, KeyTransfer,
    KeyUse, Keys, OwnKeys, PeerKeys, Policy, PolicyBits, PrivateKey, PublicKey, SecuritySuite,
    SymmetricKey,
};

/// Peers whose counters are kept. A further one is refused, though its tag verifies: whoever
/// holds the keys must not be able to fill the memory with titles.
pub const PEERS_MAX: usize = 32;

/// Clients with a secret or a public key of their own.
pub const SECRETS_MAX: usize = 16;

/// Counters that one request can take at most: for a GMAC proof and for the answer around it.
const ANSWER_COUNTERS: u32 = 2;

/// Which key a counter counts under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// The global unicast encryption key.
    Unicast,
    /// The global broadcast encryption key.
    Broadcast,
    /// The keys that general-ciphering wraps or agrees on, all of them together: each is for one
    /// APDU, so it could be replayed if its counter began anew.
    OneTime,
}

/// What one client was believed before the APDU that brings its proof.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Believed(Option<u32>);

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
    policy: PolicyBits,
    own: OwnKeys,
    clients: BTreeMap<u16, PublicKey>,
    peers: BTreeMap<SystemTitle, PeerKeys>,
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
            policy: PolicyBits::NONE,
            own: OwnKeys::default(),
            clients: BTreeMap::new(),
            peers: BTreeMap::new(),
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
        self.own.signing = Some(Box::new(own));
        self.clients.insert(client, key);
        assert!(
            self.clients.len() <= SECRETS_MAX,
            "a meter keeps the public keys of {SECRETS_MAX} clients"
        );
        self
    }

    /// With the meter's own key pairs.
    #[must_use]
    pub fn with_own_keys(mut self, own: OwnKeys) -> Self {
        self.own = own;
        self
    }

    /// With what every ciphered association demands at least.
    #[must_use]
    pub const fn with_policy(mut self, policy: PolicyBits) -> Self {
        self.policy = policy;
        self
    }

    /// With the public keys of the peers that have certificates, as [`Self::set_peers`].
    #[must_use]
    pub fn with_peers(mut self, peers: BTreeMap<SystemTitle, PeerKeys>) -> Self {
        self.set_peers(peers);
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

    /// Replaces the public keys of peers, by title: those whose certificates are valid now. They
    /// go before a key that [`Self::with_signatures`] gave for a client's SAP.
    ///
    /// # Panics
    ///
    /// With more than [`PEERS_MAX`] peers.
    pub fn set_peers(&mut self, peers: BTreeMap<SystemTitle, PeerKeys>) {
        assert!(
            peers.len() <= PEERS_MAX,
            "a meter keeps the public keys of {PEERS_MAX} peers"
        );
        self.peers = peers;
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

    /// What every ciphered association demands at least.
    pub const fn policy(&self) -> PolicyBits {
        self.policy
    }

    /// Changes what every ciphered association demands at least; whether it may is not asked.
    pub const fn set_policy(&mut self, policy: PolicyBits) {
        self.policy = policy;
        self.revision += 1;
    }

    /// The meter's own key pairs, for persistence.
    pub const fn own_keys(&self) -> &OwnKeys {
        &self.own
    }

    /// Replaces the meter's own key pairs.
    pub fn set_own_keys(&mut self, own: OwnKeys) {
        self.own = own;
        self.revision += 1;
    }

    pub(super) const fn own_keys_mut(&mut self) -> &mut OwnKeys {
        self.revision += 1;
        &mut self.own
    }

    /// What verifies the signatures of a client.
    pub(super) fn peer_signing(&self, client: u16, title: SystemTitle) -> Option<&PublicKey> {
        let certified = self.peers.get(&title);
        certified
            .and_then(|peer| peer.signing.as_deref())
            .or_else(|| self.clients.get(&client))
    }

    /// The meter's signing key and a client's public key.
    pub(super) fn signatures(
        &self,
        client: u16,
        title: SystemTitle,
    ) -> Option<(&PrivateKey, &PublicKey)> {
        Some((
            self.own.signing.as_deref()?,
            self.peer_signing(client, title)?,
        ))
    }

    /// Everything for a conversation with a client under keys that general-ciphering tells.
    /// `context` is that of [`Self::context`].
    pub(super) fn ring<'a>(
        &'a self,
        client: u16,
        title: SystemTitle,
        context: &'a CipherContext,
    ) -> KeyRing<'a> {
        KeyRing {
            title: self.title,
            peer_title: title,
            context,
            master: self.master.as_ref(),
            own: &self.own,
            peer_signing: self.peer_signing(client, title),
            peer_agreement: self
                .peers
                .get(&title)
                .and_then(|peer| peer.agreement.as_deref()),
        }
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
            // They do not depend on the global keys.
            KeyKind::OneTime => true,
        });
        self.keys = keys;
        self.revision += 1;
    }

    /// Stages keys that both sides have agreed on, as [`Self::stage_keys`] does.
    pub(super) fn stage(&mut self, keys: Vec<(KeyId, SymmetricKey)>) {
        self.staged = keys;
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
        self.believe(apdu.title, kind, apdu.counter)?;
        Ok(plain)
    }

    /// Opens a general-ciphering request, under whatever key it tells.
    pub(super) fn open_general(
        &mut self,
        client: u16,
        title: SystemTitle,
        apdu: &GeneralCiphering<'_>,
        policy: Policy,
    ) -> Result<Vec<u8>, NotBelieved> {
        let context = self.context();
        let found = self.ring(client, title, &context).find(apdu);
        let Some(one_time) = found.map_err(|_| NotBelieved::Deciphering)? else {
            return self.open(&apdu.apdu, policy);
        };
        let mut plain = Vec::new();
        one_time
            .open(&apdu.apdu, policy, &mut plain)
            .map_err(|_| NotBelieved::Deciphering)?;
        self.believe(title, KeyKind::OneTime, apdu.apdu.counter)?;
        Ok(plain)
    }

    /// Believes the counter of an APDU whose tag has verified.
    fn believe(&mut self, title: SystemTitle, kind: KeyKind, got: u32) -> Result<(), NotBelieved> {
        let peer = (title, kind);
        if !self.receive.contains_key(&peer) && self.receive.len() >= PEERS_MAX {
            return Err(NotBelieved::Deciphering);
        }
        let counter = self.receive.entry(peer).or_default();
        commit(counter, got)?;
        self.revision += 1;
        Ok(())
    }

    /// Whether there are counters for a ciphered answer.
    pub(super) fn can_answer(&self) -> bool {
        self.transmit.available() >= ANSWER_COUNTERS
    }

    /// The counter last believed of a client under the global key.
    pub(super) fn believed(&self, title: SystemTitle) -> Believed {
        let counter = self.receive.get(&(title, KeyKind::Unicast));
        Believed(counter.and_then(ReceiveCounter::last))
    }

    /// Believes the counter of a GMAC proof that has verified, like that of any other tag: it
    /// is above all that were believed `before` the APDU that brought the proof. Which of the two
    /// a client counts first is left to it; peers exist that give both the same counter.
    pub(super) fn believe_proof(
        &mut self,
        title: SystemTitle,
        before: Believed,
        got: u32,
    ) -> Result<(), NotBelieved> {
        let Believed(carrier) = self.believed(title);
        if before.0.is_some_and(|last| got <= last) {
            return Err(NotBelieved::Counter {
                expected: carrier.map_or(0, |last| last.saturating_add(1)),
            });
        }
        if carrier.is_some_and(|last| got <= last) {
            return Ok(());
        }
        self.believe(title, KeyKind::Unicast, got)
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
