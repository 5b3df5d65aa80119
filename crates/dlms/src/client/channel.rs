//! Sealing what goes to the server, opening what comes from it: titles, keys, counters.

use std::borrow::Cow;

use gridloom_core::SystemTitle;

use super::config::{Ciphering, ServiceForm};
use super::error::ClientError;
use crate::association::Aare;
use crate::counter::{CounterError, ReceiveCounter, TransmitCounter};
use crate::security::{
    CipherContext, CipheredApdu, CipheredForm, HEADER_LEN, KeyUse, Policy, SecurityError,
    SymmetricKey, TAG_LEN,
};

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
}

#[derive(Debug)]
struct Lock {
    global: CipherContext,
    /// The dedicated key's, and the last counter under it.
    dedicated: Option<(CipherContext, ReceiveCounter)>,
    settings: Ciphering,
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
                })
            }),
            transmit,
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

    pub(super) const fn is_ciphered(&self) -> bool {
        self.ciphering.is_some()
    }

    /// The server's title, once it is known.
    pub(super) const fn server_title(&self) -> Option<SystemTitle> {
        self.server_title
    }

    /// Bytes that sealing adds at most.
    pub(super) fn overhead(&self) -> usize {
        let service = 1 + 3 + HEADER_LEN + TAG_LEN;
        match self.ciphering.as_ref().map(|lock| lock.settings.form) {
            None => 0,
            Some(ServiceForm::Service) => service,
            Some(ServiceForm::General) => service + 9,
        }
    }

    /// Seals one APDU, if services are ciphered.
    ///
    /// # Errors
    ///
    /// [`CounterError`], if the caller has not made sure of a counter.
    pub(super) fn seal(&mut self, plain: Vec<u8>, under: Under) -> Result<Vec<u8>, CounterError> {
        let Some(lock) = &self.ciphering else {
            return Ok(plain);
        };
        let settings = &lock.settings;
        let (context, form) = match (&lock.dedicated, under, settings.form) {
            (Some((context, _)), Under::Service, ServiceForm::Service) => {
                (context, CipheredForm::ServiceDedicated)
            }
            (Some((context, _)), Under::Service, ServiceForm::General) => {
                (context, CipheredForm::GeneralDedicated)
            }
            (_, _, ServiceForm::Service) => (&lock.global, CipheredForm::ServiceGlobal),
            (_, _, ServiceForm::General) => (&lock.global, CipheredForm::GeneralGlobal),
        };
        let counter = self.transmit.next()?;
        let protection = context.protection(settings.control, settings.title, counter);
        let mut out = Vec::with_capacity(plain.len() + self.overhead());
        context.protect_as(form, protection, &plain, &mut out);
        Ok(out)
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

    /// Opens one APDU. Its counter is committed if, and only if, its tag verifies.
    pub(super) fn open<'a>(&mut self, apdu: &'a [u8]) -> Result<Cow<'a, [u8]>, ClientError> {
        let tag = apdu.first().copied().unwrap_or_default();
        let form = match (CipheredForm::of_tag(tag), self.is_ciphered()) {
            (None, false) => return Ok(Cow::Borrowed(apdu)),
            (None, true) => return Err(ClientError::Unprotected { tag }),
            (Some(_), false) => return Err(ClientError::NoKey { what: "ciphering" }),
            (Some(form), true) => form,
        };
        let title = self.server_title.ok_or(ClientError::Form { tag })?;
        let ciphered = take_apart(form, apdu, title)?;
        self.believe(&ciphered).map(Cow::Owned)
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

    /// Remembers the counter of the server's GMAC proof if it is above the last one. It need
    /// not be: our challenge was fresh.
    pub(super) fn saw(&mut self, got: u32) {
        let _ = believe_counter(&mut self.receive, got);
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
