//! Sealing what goes to the server, opening what comes from it: titles, keys, counters.

use std::borrow::Cow;

use gridloom_core::SystemTitle;

use super::config::{Ciphering, ClientKeys, ServiceForm, Signing};
use super::draws::Draws;
use super::error::ClientError;
use crate::apdu::{DataNotification, EventNotification};
use crate::association::Aare;
use crate::counter::{CounterError, ReceiveCounter, TransmitCounter};
use crate::security::{
    CipherContext, CipheredApdu, CipheredForm, GENERAL_SIGNING, GeneralCiphering, GeneralSigning,
    HEADER_LEN, HEADER_OVERHEAD_MAX, KeyRing, KeyUse, Policy, Protection, SIGNING_OVERHEAD_MAX,
    SecurityError, SymmetricKey, TAG_LEN,
};

/// Bytes of a transaction identifier.
const TRANSACTION_LEN: usize = 8;

/// Under which key an APDU goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Under {
    /// The global key: what belongs to the association itself.
    Global,
    /// The dedicated key, if there is one.
    Service,
}

/// One association's keys and counters.
#[derive(Debug)]
pub(super) struct Channel {
    ciphering: Option<Box<Lock>>,
    server_title: Option<SystemTitle>,
    pub(super) transmit: TransmitCounter,
    pub(super) receive: ReceiveCounter,
    /// The server's counter before the last APDU that came.
    before: ReceiveCounter,
}

#[derive(Debug)]
struct Lock {
    global: CipherContext,
    /// The dedicated key's, and the last counter under it.
    dedicated: Option<(CipherContext, ReceiveCounter)>,
    settings: Ciphering,
    equipment: Option<Equipment>,
}

/// What general-ciphering and general-signing need.
#[derive(Debug)]
struct Equipment {
    keys: ClientKeys,
    draws: Draws,
    /// Of the last request.
    transaction: Option<[u8; TRANSACTION_LEN]>,
    /// The last counter under a key of one APDU. It need not outlive the client: an answer also
    /// repeats the transaction, which was never used before.
    receive: ReceiveCounter,
}

impl Channel {
    /// # Panics
    ///
    /// If the keys do not fit the suite.
    pub(super) fn new(
        ciphering: Option<&Ciphering>,
        mut transmit: TransmitCounter,
        receive: ReceiveCounter,
    ) -> Self {
        // Whoever asked for a reservation before has not told us: it is due again.
        transmit.reservation_failed();
        Self {
            server_title: ciphering.and_then(|ciphering| ciphering.server_title),
            ciphering: ciphering.map(|ciphering| {
                let global = CipherContext::with_suite(&ciphering.keys, ciphering.suite)
                    .expect("the keys of a client fit its suite");
                Box::new(Lock {
                    global,
                    dedicated: None,
                    settings: ciphering.clone(),
                    equipment: None,
                })
            }),
            transmit,
            before: receive,
            receive,
        }
    }

    /// A new association begins: a dedicated key starts to count anew.
    pub(super) fn begin(&mut self) {
        let Some(lock) = &mut self.ciphering else {
            return;
        };
        lock.dedicated = lock.settings.dedicated_key.as_ref().map(|key| {
            let context = SymmetricKey::from_bytes(key.bytes())
                .and_then(|key| lock.global.dedicated(&key))
                .expect("a dedicated key is as long as the global ones");
            (context, ReceiveCounter::new())
        });
    }

    /// # Panics
    ///
    /// If services are not ciphered, or the seed is too short.
    pub(super) fn equip(&mut self, keys: ClientKeys) {
        assert!(
            keys.seed.bytes().len() >= ClientKeys::SEED_LEN,
            "keys cannot be drawn from a seed of {} bytes",
            keys.seed.bytes().len()
        );
        let lock = self
            .ciphering
            .as_mut()
            .expect("keys are for ciphered services");
        lock.equipment = Some(Equipment {
            draws: Draws::new(keys.seed.clone()),
            keys,
            transaction: None,
            receive: ReceiveCounter::new(),
        });
    }

    /// Whether there are keys for everything that the settings ask.
    ///
    /// # Errors
    ///
    /// [`SecurityError::MissingKey`] and its kin.
    pub(super) fn check_keys(&self) -> Result<(), SecurityError> {
        let Some(lock) = &self.ciphering else {
            return Ok(());
        };
        match (lock.settings.form, &lock.equipment) {
            (ServiceForm::Ciphering(_), None) => Err(SecurityError::MissingKey {
                what: "the client's bundle of keys",
            }),
            (ServiceForm::Ciphering(key), Some(equipment)) => {
                equipment.check_signing()?;
                let server = SystemTitle([0; 8]);
                equipment
                    .ring(&lock.global, lock.settings.title, server)
                    .can_seal(key)
            }
            (_, Some(equipment)) => equipment.check_signing(),
            (_, None) => Ok(()),
        }
    }

    pub(super) const fn is_ciphered(&self) -> bool {
        self.ciphering.is_some()
    }

    /// The server's title, once it is known.
    pub(super) const fn server_title(&self) -> Option<SystemTitle> {
        self.server_title
    }

    /// Bytes that sealing adds at most.
    pub(super) fn overhead(&self) -> usize {
        let Some(lock) = &self.ciphering else {
            return 0;
        };
        let service = 1 + 3 + HEADER_LEN + TAG_LEN;
        let ciphered = match lock.settings.form {
            ServiceForm::Service => service,
            ServiceForm::General => service + 9,
            ServiceForm::Ciphering(key) => {
                let suite = lock.settings.suite;
                service + HEADER_OVERHEAD_MAX + TRANSACTION_LEN + key.info_len(suite)
            }
        };
        if lock.signing() == Signing::None {
            ciphered
        } else {
            ciphered + SIGNING_OVERHEAD_MAX + TRANSACTION_LEN
        }
    }

    /// Seals one APDU, if services are ciphered, and signs it, if they are signed.
    ///
    /// # Errors
    ///
    /// [`CounterError`], if the caller has not made sure of a counter.
    pub(super) fn seal(&mut self, plain: Vec<u8>, under: Under) -> Result<Vec<u8>, CounterError> {
        let overhead = self.overhead();
        let Some(lock) = &mut self.ciphering else {
            return Ok(plain);
        };
        let settings = &lock.settings;
        let counter = self.transmit.next()?;
        let protection = lock
            .global
            .protection(settings.control, settings.title, counter);
        let mut out = Vec::with_capacity(plain.len() + overhead);
        if let Some(equipment) = &mut lock.equipment {
            let told = equipment.keys.signing != Signing::None
                || matches!(settings.form, ServiceForm::Ciphering(_));
            let mut transaction = [0; TRANSACTION_LEN];
            equipment.draws.fill(&mut transaction);
            equipment.transaction = told.then_some(transaction);
        }
        if let ServiceForm::Ciphering(_) = settings.form {
            let server = self.server_title.expect("an open association knows it");
            lock.seal_general(server, protection, &plain, &mut out);
        } else {
            let (context, form) = match (&lock.dedicated, under, settings.form) {
                (Some((context, _)), Under::Service, ServiceForm::Service) => {
                    (context, CipheredForm::ServiceDedicated)
                }
                (Some((context, _)), Under::Service, _) => {
                    (context, CipheredForm::GeneralDedicated)
                }
                (_, _, ServiceForm::Service) => (&lock.global, CipheredForm::ServiceGlobal),
                (_, _, ServiceForm::General | ServiceForm::Ciphering(_)) => {
                    (&lock.global, CipheredForm::GeneralGlobal)
                }
            };
            context.protect_as(form, protection, &plain, &mut out);
        }
        if lock.signing() == Signing::None {
            return Ok(out);
        }
        let server = self.server_title.expect("an open association knows it");
        Ok(lock.sign(server, &out))
    }

    /// Seals the initiate request inside user-information: always the service's own form.
    pub(super) fn seal_initiate(&mut self, plain: Vec<u8>) -> Result<Vec<u8>, CounterError> {
        let Some(lock) = &self.ciphering else {
            return Ok(plain);
        };
        let settings = &lock.settings;
        let counter = self.transmit.next()?;
        let protection = lock
            .global
            .protection(settings.control, settings.title, counter);
        let mut out = Vec::with_capacity(plain.len() + self.overhead());
        lock.global
            .protect_as(CipheredForm::ServiceGlobal, protection, &plain, &mut out);
        Ok(out)
    }

    /// Opens one APDU: its signature first, which is outermost. Its counter is committed if, and
    /// only if, its tag verifies.
    pub(super) fn open<'a>(&mut self, apdu: &'a [u8]) -> Result<Cow<'a, [u8]>, ClientError> {
        self.before = self.receive;
        let tag = apdu.first().copied().unwrap_or_default();
        let is_protected = tag == GENERAL_SIGNING || CipheredForm::of_tag(tag).is_some();
        match (is_protected, self.is_ciphered()) {
            (false, false) => return Ok(Cow::Borrowed(apdu)),
            (false, true) => return Err(ClientError::Unprotected { tag }),
            (true, false) => return Err(ClientError::NoKey { what: "ciphering" }),
            (true, true) => {}
        }
        let title = self.server_title.ok_or(ClientError::Form { tag })?;
        let (inside, signed) = self.verify_signature(apdu, title)?;
        let tag = inside.first().copied().unwrap_or_default();
        let form = CipheredForm::of_tag(tag).ok_or(ClientError::Unprotected { tag })?;
        let (plain, told) = if form == CipheredForm::General {
            let general = GeneralCiphering::decode(inside, Some(title))
                .map_err(|_| ClientError::Form { tag })?;
            let plain = self.believe_general(&general, title)?;
            (plain, Some(general.header.transaction_id))
        } else {
            (self.believe(&take_apart(form, inside, title)?)?, None)
        };
        // What nobody asked for belongs to no transaction.
        let is_unasked = matches!(
            plain.first(),
            Some(&(DataNotification::TAG | EventNotification::TAG))
        );
        if !is_unasked {
            self.check_transaction(told)?;
            self.check_transaction(signed)?;
        }
        Ok(Cow::Owned(plain))
    }

    /// Takes the signature off an APDU and verifies it; with it the transaction that it is of.
    fn verify_signature<'a>(
        &self,
        apdu: &'a [u8],
        title: SystemTitle,
    ) -> Result<(&'a [u8], Option<&'a [u8]>), ClientError> {
        let tag = apdu.first().copied().unwrap_or_default();
        let lock = self.ciphering.as_ref();
        if tag != GENERAL_SIGNING {
            return if lock.is_some_and(|lock| lock.signing() == Signing::Both) {
                Err(ClientError::Unsigned { tag })
            } else {
                Ok((apdu, None))
            };
        }
        let what = "a signature";
        let (lock, equipment) = lock
            .and_then(|lock| Some((lock, lock.equipment.as_ref()?)))
            .ok_or(ClientError::NoKey { what })?;
        let signing = GeneralSigning::decode(apdu).map_err(|_| ClientError::Form { tag })?;
        let inside = equipment
            .ring(&lock.global, lock.settings.title, title)
            .verify(&signing)
            .map_err(|error| doubt_key(&error, tag, title))?;
        Ok((inside, Some(signing.header.transaction_id)))
    }

    /// An answer is of the transaction of its request, if that told one. Under the global keys
    /// its counter makes it fresh anyway.
    fn check_transaction(&self, told: Option<&[u8]>) -> Result<(), ClientError> {
        let equipment = self
            .ciphering
            .as_ref()
            .and_then(|lock| lock.equipment.as_ref());
        let asked = equipment.and_then(|equipment| equipment.transaction.as_ref());
        match (told, asked) {
            (Some(told), Some(asked)) if told != asked => Err(ClientError::Transaction),
            (_, _) => Ok(()),
        }
    }

    /// Opens general-ciphering under whatever key it tells.
    fn believe_general(
        &mut self,
        general: &GeneralCiphering<'_>,
        title: SystemTitle,
    ) -> Result<Vec<u8>, ClientError> {
        let lock = self
            .ciphering
            .as_mut()
            .expect("only ciphered associations take ciphered APDUs apart");
        let own = lock.settings.title;
        let what = "general-ciphering";
        let equipment = lock.equipment.as_mut().ok_or(ClientError::NoKey { what })?;
        let one_time = equipment
            .ring(&lock.global, own, title)
            .find(general)
            .map_err(|error| doubt_key(&error, general.apdu.tag, title))?;
        let Some(context) = one_time else {
            return self.believe(&general.apdu);
        };
        let policy = lock.settings.policy;
        let mut plain = Vec::new();
        context
            .open(&general.apdu, policy, &mut plain)
            .map_err(|error| doubt(&error, &general.apdu, policy))?;
        if matches!(
            plain.first(),
            Some(&(DataNotification::TAG | EventNotification::TAG))
        ) {
            // Nothing makes it fresh: the counter is remembered for this connection alone.
            return Err(ClientError::NoKey {
                what: "a key of one APDU for what nobody asked",
            });
        }
        // For the same reason.
        let asked = equipment.transaction.as_ref();
        if asked.is_none_or(|asked| asked != general.header.transaction_id) {
            return Err(ClientError::Transaction);
        }
        believe_counter(&mut equipment.receive, general.apdu.counter)?;
        Ok(plain)
    }

    /// Opens the initiate response inside user-information, and binds the server's title once
    /// it has verified.
    pub(super) fn open_initiate(&mut self, answer: &Aare) -> Result<Vec<u8>, ClientError> {
        let information = &answer.user_information;
        if !self.is_ciphered() {
            self.bind(answer.responding_title)?;
            return Ok(information.clone());
        }
        let tag = information.first().copied().unwrap_or_default();
        let form = match CipheredForm::of_tag(tag) {
            Some(form @ (CipheredForm::ServiceGlobal | CipheredForm::GeneralGlobal)) => form,
            Some(_) => return Err(ClientError::Form { tag }),
            None => return Err(ClientError::Unprotected { tag }),
        };
        let title = match (self.server_title, answer.responding_title) {
            (Some(expected), found @ Some(title)) if title != expected => {
                return Err(ClientError::Title { expected, found });
            }
            (Some(title), _) | (None, Some(title)) => title,
            (None, None) => return Err(ClientError::Form { tag }),
        };
        let ciphered = take_apart(form, information, title)?;
        let plain = self.believe(&ciphered)?;
        self.server_title = Some(title);
        Ok(plain)
    }

    fn bind(&mut self, found: Option<SystemTitle>) -> Result<(), ClientError> {
        match (self.server_title, found) {
            (Some(expected), Some(title)) if title != expected => {
                Err(ClientError::Title { expected, found })
            }
            (None, Some(title)) => {
                self.server_title = Some(title);
                Ok(())
            }
            (_, _) => Ok(()),
        }
    }

    /// The tag first, so that a wrong key is never taken for a wrong counter.
    fn believe(&mut self, ciphered: &CipheredApdu<'_>) -> Result<Vec<u8>, ClientError> {
        let lock = self
            .ciphering
            .as_mut()
            .expect("only ciphered associations take ciphered APDUs apart");
        let (context, counter) = match ciphered.key() {
            KeyUse::Unicast => (&lock.global, &mut self.receive),
            KeyUse::Dedicated => match &mut lock.dedicated {
                Some((context, counter)) => (&*context, counter),
                None => {
                    return Err(ClientError::NoKey {
                        what: "a dedicated key",
                    });
                }
            },
            KeyUse::Broadcast => {
                return Err(ClientError::NoKey {
                    what: "the broadcast key",
                });
            }
            KeyUse::OneTime => {
                return Err(ClientError::NoKey {
                    what: "a key of general-ciphering",
                });
            }
        };
        let mut plain = Vec::new();
        context
            .open(ciphered, lock.settings.policy, &mut plain)
            .map_err(|error| doubt(&error, ciphered, lock.settings.policy))?;
        believe_counter(counter, ciphered.counter)?;
        Ok(plain)
    }

    /// Our own context under the global keys, for proofs by GMAC.
    pub(super) fn proof_context(&self) -> Option<(&CipherContext, SystemTitle)> {
        self.ciphering
            .as_ref()
            .map(|lock| (&lock.global, lock.settings.title))
    }

    /// Believes the counter of the server's GMAC proof, which has verified, like that of any
    /// other tag: it is above all that were believed before the APDU that brought it. Which of
    /// the two the server counts first is left to it; peers exist that give both the same.
    pub(super) fn believe_proof(&mut self, got: u32) -> Result<(), ClientError> {
        let carrier = self.receive.last();
        if let Some(last) = self.before.last().filter(|last| got <= *last) {
            return Err(ClientError::Replayed { last, got });
        }
        if carrier.is_some_and(|last| got <= last) {
            return Ok(());
        }
        believe_counter(&mut self.receive, got)
    }
}

impl Lock {
    fn signing(&self) -> Signing {
        self.equipment
            .as_ref()
            .map_or(Signing::None, |equipment| equipment.keys.signing)
    }

    fn seal_general(
        &mut self,
        server: SystemTitle,
        protection: Protection,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) {
        let ServiceForm::Ciphering(key) = self.settings.form else {
            unreachable!("the caller has looked");
        };
        let equipment = self.equipment.as_mut().expect("checked when it was opened");
        let transaction = equipment.transaction.expect("drawn for this request");
        let Equipment { keys, draws, .. } = equipment;
        keys_ring(keys, &self.global, self.settings.title, server)
            .seal(
                key,
                &transaction,
                protection,
                plain,
                &mut |bytes| draws.fill(bytes),
                out,
            )
            .expect("keys are checked when the association is opened");
    }

    fn sign(&self, server: SystemTitle, content: &[u8]) -> Vec<u8> {
        let equipment = self.equipment.as_ref().expect("it says what is signed");
        let transaction = equipment.transaction.expect("drawn for this request");
        let mut out = Vec::with_capacity(content.len() + SIGNING_OVERHEAD_MAX + TRANSACTION_LEN);
        equipment
            .ring(&self.global, self.settings.title, server)
            .sign(&transaction, content, &mut out)
            .expect("keys are checked when the association is opened");
        out
    }
}

impl Equipment {
    fn ring<'a>(
        &'a self,
        context: &'a CipherContext,
        own: SystemTitle,
        server: SystemTitle,
    ) -> KeyRing<'a> {
        keys_ring(&self.keys, context, own, server)
    }

    fn check_signing(&self) -> Result<(), SecurityError> {
        if self.keys.signing != Signing::None && self.keys.own.signing.is_none() {
            let what = "our own signing key";
            return Err(SecurityError::MissingKey { what });
        }
        if self.keys.signing == Signing::Both && self.keys.server.signing.is_none() {
            let what = "the peer's signature certificate";
            return Err(SecurityError::MissingKey { what });
        }
        Ok(())
    }
}

fn keys_ring<'a>(
    keys: &'a ClientKeys,
    context: &'a CipherContext,
    title: SystemTitle,
    peer_title: SystemTitle,
) -> KeyRing<'a> {
    KeyRing {
        title,
        peer_title,
        context,
        master: keys.master.as_ref(),
        own: &keys.own,
        peer_signing: keys.server.signing.as_deref(),
        peer_agreement: keys.server.agreement.as_deref(),
    }
}

fn believe_counter(counter: &mut ReceiveCounter, got: u32) -> Result<(), ClientError> {
    match counter.check(got) {
        Ok(fresh) => {
            counter.commit(fresh);
            Ok(())
        }
        Err(CounterError::Replayed { last, got }) => Err(ClientError::Replayed { last, got }),
        Err(CounterError::NotReserved { .. } | CounterError::Exhausted) => {
            unreachable!("a receive counter reserves nothing")
        }
    }
}

fn take_apart(
    form: CipheredForm,
    apdu: &[u8],
    title: SystemTitle,
) -> Result<CipheredApdu<'_>, ClientError> {
    let tag = apdu.first().copied().unwrap_or_default();
    let malformed = |_| ClientError::Form { tag };
    match form {
        CipheredForm::ServiceGlobal | CipheredForm::ServiceDedicated => {
            CipheredApdu::decode_service(apdu, title).map_err(malformed)
        }
        CipheredForm::GeneralGlobal | CipheredForm::GeneralDedicated => {
            let ciphered = CipheredApdu::decode(apdu).map_err(malformed)?;
            if ciphered.title == title {
                Ok(ciphered)
            } else {
                Err(ClientError::Title {
                    expected: title,
                    found: Some(ciphered.title),
                })
            }
        }
        CipheredForm::General => Err(ClientError::NoKey {
            what: "general-ciphering",
        }),
    }
}

/// Why a key or a signature of general-ciphering or general-signing is not believed.
fn doubt_key(error: &SecurityError, tag: u8, title: SystemTitle) -> ClientError {
    if let SecurityError::BadSignature { .. } = error {
        ClientError::Signature { title }
    } else if let SecurityError::MissingKey { what } = error {
        ClientError::NoKey { what }
    } else if let SecurityError::Originator { got, wanted } = error {
        ClientError::Title {
            expected: *wanted,
            found: Some(*got),
        }
    } else if let SecurityError::Recipient { got, .. } = error {
        ClientError::Recipient { found: *got }
    } else if let SecurityError::Unwrap = error {
        ClientError::NoKey {
            what: "a wrapped key of another master key",
        }
    } else if let SecurityError::Curve { .. } | SecurityError::KeyLengths { .. } = error {
        ClientError::NoKey {
            what: "a key of another security suite",
        }
    } else {
        ClientError::Form { tag }
    }
}

fn doubt(error: &SecurityError, ciphered: &CipheredApdu<'_>, wanted: Policy) -> ClientError {
    if let SecurityError::BadTag { title, counter } = error {
        ClientError::Tag {
            count: 1,
            title: *title,
            counter: *counter,
        }
    } else if let SecurityError::Policy { got, .. } = error {
        ClientError::Downgraded { got: *got, wanted }
    } else if matches!(
        error,
        SecurityError::Suite { .. } | SecurityError::UnknownSuite { .. }
    ) {
        ClientError::NoKey {
            what: "another security suite",
        }
    } else {
        ClientError::Form { tag: ciphered.tag }
    }
}
