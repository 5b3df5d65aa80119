//! Conversations of a client and a server: every way to open, ask, and release.

mod link;

use gridloom_dlms::apdu::{ActionResult, DataAccessResult, SelectiveAccess};
use gridloom_dlms::association::{
    AssociationResult, ConfirmedServiceError, Conformance, Diagnostic, InitiateError, Mechanism,
    Secret,
};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{
    Authentication, Ciphering, ClientConfig, ClientError, ClientOutput, Layer, ReleaseForm,
    Request, Response, ServiceForm, SigningPair,
};
use gridloom_dlms::counter::TransmitCounter;
use gridloom_dlms::security::{
    CipheredForm, Curve, KeyEncryptionKey, Keys, Policy, PrivateKey, SecurityControl, SecuritySuite,
};
use gridloom_dlms::server::{DeviceSecurity, Server, ServerConfig};

use link::*;

/// Every kind of client, and the first byte of its GET requests and of their answers.
fn kinds() -> Vec<(&'static str, ClientConfig, u8, u8)> {
    let hasher = ClientConfig {
        ciphering: Some(ciphering()),
        ..config(
            HASHER,
            Authentication::Sha256(Secret::new(*b"a shared secret")),
        )
    };
    vec![
        ("public", public(), 0xC0, 0xC4),
        ("reader", reader(), 0xC0, 0xC4),
        ("ciphered reader", ciphered_reader(), 0xC8, 0xCC),
        ("manager", manager(), 0xC8, 0xCC),
        (
            "dedicated",
            manager_with(ServiceForm::Service, true),
            0xD0,
            0xD4,
        ),
        (
            "general",
            manager_with(ServiceForm::General, false),
            0xDB,
            0xDB,
        ),
        (
            "general dedicated",
            manager_with(ServiceForm::General, true),
            0xDC,
            0xDC,
        ),
        ("hasher", hasher, 0xC8, 0xCC),
    ]
}

#[test]
fn every_kind_of_client_opens_asks_and_releases() {
    for (name, config, request_tag, response_tag) in kinds() {
        for release in [ReleaseForm::Full, ReleaseForm::Bare] {
            let mut link = Link::of(ClientConfig {
                release,
                ..config.clone()
            });
            let is_ciphered = config.ciphering.is_some();
            let events = link.open();
            assert_eq!(
                events,
                [ClientOutput::Opened {
                    server_title: is_ciphered.then_some(METER),
                    conformance: Conformance::STANDARD,
                    max_pdu: 1_024,
                }],
                "{name}"
            );
            assert!(link.server.is_associated(config.client), "{name}");
            assert_eq!(
                link.get(ENERGY),
                Ok(Response::Value(Data::DoubleLongUnsigned(1_000))),
                "{name}"
            );
            assert_eq!(link.asked.last().unwrap()[0], request_tag, "{name}");
            assert_eq!(link.last_answer()[0], response_tag, "{name}");
            let caller = link.device.callers[0];
            assert_eq!(caller.client, config.client);
            assert_eq!(caller.authentication, config.authentication.mechanism());
            assert_eq!(caller.title, is_ciphered.then_some(HEAD_END), "{name}");
            assert_eq!(
                caller.protection,
                is_ciphered.then_some(SecurityControl::AUTHENTICATED_ENCRYPTED)
            );
            // An error of an object ends the request alone.
            assert_eq!(
                link.get(SECRET),
                Err(ClientError::Object(
                    DataAccessResult::ReadWriteDenied,
                    SECRET
                ))
            );
            let value = Data::DoubleLongUnsigned(7);
            assert_eq!(
                link.request(Request::Set {
                    attribute: ENERGY,
                    access: None,
                    value: value.clone()
                }),
                Ok(Response::Written)
            );
            assert_eq!(link.get(ENERGY), Ok(Response::Value(value.clone())));
            assert_eq!(
                link.request(Request::Invoke {
                    method: ECHO,
                    parameters: Some(value.clone())
                }),
                Ok(Response::Invoked(Some(value)))
            );
            assert_eq!(link.release(), [ClientOutput::Released], "{name}");
            assert!(!link.server.is_associated(config.client), "{name}");
            assert_eq!(link.client.wake(), None, "nothing is awaited");
            // And once more over the same connection.
            assert!(is_opened(&link.open()), "{name}");
        }
    }
}

#[test]
fn who_is_not_admitted_is_told_why() {
    let refused = |diagnostic| ClientError::Association {
        result: AssociationResult::RejectedPermanent,
        diagnostic,
        error: None,
    };
    let proposal = |error| ClientError::Association {
        result: AssociationResult::RejectedPermanent,
        diagnostic: Diagnostic::NoReasonGiven,
        error: Some(ConfirmedServiceError::Initiate(error)),
    };
    let with = |keys: Keys| ClientConfig {
        ciphering: Some(Ciphering {
            keys,
            ..ciphering()
        }),
        ..manager()
    };
    let reader_with = |secret: &[u8]| config(READER, Authentication::Lls(Secret::new(secret)));
    let cases = [
        (
            "an unknown client",
            config(99, Authentication::None),
            refused(Diagnostic::CallingTitleNotRecognized),
        ),
        (
            "ciphering with a client that has none",
            ClientConfig {
                ciphering: Some(ciphering()),
                ..public()
            },
            refused(Diagnostic::ContextNotSupported),
        ),
        (
            "no ciphering where there must be some",
            config(MANAGER, Authentication::None),
            refused(Diagnostic::ContextNotSupported),
        ),
        (
            "no proof",
            config(READER, Authentication::None),
            refused(Diagnostic::AuthenticationRequired),
        ),
        (
            "another mechanism",
            config(PUBLIC, Authentication::Lls(Secret::new(*b"12345678"))),
            refused(Diagnostic::MechanismNotRecognized),
        ),
        (
            "a wrong password",
            reader_with(b"12345679"),
            refused(Diagnostic::AuthenticationFailure),
        ),
        (
            "a longer password",
            reader_with(b"123456780"),
            refused(Diagnostic::AuthenticationFailure),
        ),
        (
            "an empty password",
            reader_with(b""),
            refused(Diagnostic::AuthenticationFailure),
        ),
        (
            "APDUs too short",
            ClientConfig {
                max_pdu: 11,
                ..public()
            },
            proposal(InitiateError::PduSizeTooShort),
        ),
        (
            "APDUs too short to cipher",
            ClientConfig {
                max_pdu: 63,
                ..manager()
            },
            proposal(InitiateError::PduSizeTooShort),
        ),
        (
            "nothing in common",
            ClientConfig {
                conformance: Conformance::ACCESS,
                ..public()
            },
            proposal(InitiateError::IncompatibleConformance),
        ),
        (
            "a wrong encryption key",
            with(Keys::new([0; 16], GAK)),
            ClientError::Key,
        ),
        (
            "a wrong authentication key",
            with(Keys::new(GUEK, [0; 16])),
            ClientError::Key,
        ),
    ];
    for (name, config, expected) in cases {
        let mut link = Link::of(config.clone());
        let events = link.open();
        assert_eq!(events, [ClientOutput::Failed(expected)], "{name}");
        assert!(!link.server.is_associated(config.client), "{name}");
        assert_eq!(link.client.wake(), None, "{name}");
    }
    assert_eq!(ClientError::Key.layer(), Layer::Key);
}

#[test]
fn what_both_speak_is_what_both_proposed() {
    let mut policies = policies();
    policies[0].conformance = Conformance::GET | Conformance::ACTION;
    let config = ClientConfig {
        conformance: Conformance::GET | Conformance::SET,
        ..public()
    };
    let mut link = Link::new(config, policies, 500);
    assert_eq!(
        link.open(),
        [ClientOutput::Opened {
            server_title: None,
            conformance: Conformance::GET,
            max_pdu: 500
        }]
    );
    let not_negotiated = |service| Err(ClientError::NotNegotiated { service });
    let access = Some(SelectiveAccess {
        selector: 1,
        parameters: Data::Null,
    });
    let set = Request::Set {
        attribute: ENERGY,
        access: None,
        value: Data::Null,
    };
    let invoke = Request::Invoke {
        method: ECHO,
        parameters: None,
    };
    let selective = Request::Get {
        attribute: ENERGY,
        access,
    };
    let list = Request::GetList(vec![(ENERGY, None)]);
    for (request, service) in [
        (set, "SET"),
        (invoke, "ACTION"),
        (selective, "selective access"),
        (list, "a list"),
    ] {
        assert_eq!(link.request(request), not_negotiated(service));
    }
    // The server does not take the client's word for it.
    let set = b"\xC1\x01\x41\x00\x03\x01\x00\x01\x08\x00\xFF\x02\x00\x00";
    assert_eq!(link.ask(set).unwrap(), b"\xD8\x01\x02");
    assert!(link.device.callers.is_empty());
}

#[test]
fn values_of_any_length_pass_at_any_apdu_length() {
    pass_long_values(Conformance::STANDARD);
}

#[test]
fn values_of_any_length_pass_in_general_blocks() {
    pass_long_values(Conformance::STANDARD | Conformance::GENERAL_BLOCK_TRANSFER);
}

fn pass_long_values(conformance: Conformance) {
    for max_pdu in [
        64, 65, 100, 127, 128, 129, 140, 255, 256, 300, 512, 1_024, 0,
    ] {
        let server_max = if max_pdu == 0 { u16::MAX } else { max_pdu };
        for (name, config, ..) in kinds() {
            let mut policies = policies();
            // A proof by a hash must fit.
            if server_max < ServerConfig::PROOF_PDU_MIN {
                policies.retain(|policy| policy.client != HASHER);
                if config.client == HASHER {
                    continue;
                }
            }
            for policy in &mut policies {
                policy.conformance = conformance;
            }
            let config = ClientConfig {
                max_pdu,
                conformance,
                ..config.clone()
            };
            let mut link = Link::new(config, policies, server_max);
            assert!(is_opened(&link.open()), "{name}");
            let long = Data::OctetString(octets(3_000));
            assert_eq!(
                link.get(LONG),
                Ok(Response::Value(long)),
                "{name} {max_pdu}"
            );
            let other = Data::OctetString(octets(2_222));
            let set = Request::Set {
                attribute: LONG,
                access: None,
                value: other.clone(),
            };
            assert_eq!(link.request(set), Ok(Response::Written), "{name} {max_pdu}");
            assert_eq!(link.device.values[&LONG], other);
            let echo = Request::Invoke {
                method: ECHO,
                parameters: Some(other.clone()),
            };
            assert_eq!(
                link.request(echo),
                Ok(Response::Invoked(Some(other.clone()))),
                "{name} {max_pdu}"
            );
            let list = Request::GetList(vec![(LONG, None), (SECRET, None), (ENERGY, None)]);
            assert_eq!(
                link.request(list),
                Ok(Response::Values(vec![
                    Ok(other.clone()),
                    Err(DataAccessResult::ReadWriteDenied),
                    Ok(Data::DoubleLongUnsigned(1_000))
                ])),
                "{name} {max_pdu}"
            );
            let list = Request::SetList(vec![
                (LONG, None, Data::OctetString(octets(700))),
                (SECRET, None, Data::Null),
            ]);
            assert_eq!(
                link.request(list),
                Ok(Response::WrittenList(vec![
                    DataAccessResult::Success,
                    DataAccessResult::ReadWriteDenied
                ])),
                "{name} {max_pdu}"
            );
            let is_general = conformance.contains(Conformance::GENERAL_BLOCK_TRANSFER);
            let blocks = link.answered.iter().filter(|apdu| apdu[0] == 0xE0);
            assert_eq!(blocks.count() > 0, is_general && max_pdu > 0, "{name}");
            if max_pdu > 0 {
                let max = usize::from(max_pdu);
                // Associations may be longer: nothing has been agreed yet.
                let longest = |apdus: &[Vec<u8>]| {
                    let services = apdus.iter().filter(|apdu| apdu[0] & 0xE0 != 0x60);
                    services.map(Vec::len).max().expect("some service")
                };
                assert!(longest(&link.asked) <= max, "{name} {max_pdu}");
                assert!(longest(&link.answered) <= max, "{name} {max_pdu}");
                assert!(
                    longest(&link.answered) >= max - 14,
                    "{name} {max_pdu}: blocks are filled"
                );
            }
        }
    }
}

#[test]
fn what_does_not_fit_and_may_not_go_in_blocks_is_refused() {
    let blocks = Conformance::BLOCK_TRANSFER_WITH_GET
        | Conformance::BLOCK_TRANSFER_WITH_SET
        | Conformance::BLOCK_TRANSFER_WITH_ACTION;
    let mut link = Link::new(
        ClientConfig {
            max_pdu: 100,
            conformance: Conformance::STANDARD.without(blocks),
            ..manager()
        },
        vec![policy(MANAGER, Mechanism::Gmac, true)],
        100,
    );
    assert!(is_opened(&link.open()));
    let unavailable = DataAccessResult::DataBlockUnavailable;
    assert_eq!(link.get(LONG), Err(ClientError::Object(unavailable, LONG)));
    assert_eq!(
        link.request(Request::Set {
            attribute: LONG,
            access: None,
            value: Data::OctetString(octets(100)),
        }),
        Err(ClientError::TooLong {
            bytes: 115,
            max: 79
        })
    );
    assert_eq!(
        link.get(ENERGY),
        Ok(Response::Value(Data::DoubleLongUnsigned(1_000))),
        "the association goes on"
    );
}

#[test]
fn selective_access_reaches_the_object() {
    let mut link = Link::of(manager());
    assert!(is_opened(&link.open()));
    let access = SelectiveAccess {
        selector: 2,
        parameters: Data::Structure(vec![Data::DoubleLongUnsigned(1)]),
    };
    link.request(Request::Get {
        attribute: LONG,
        access: Some(access.clone()),
    })
    .unwrap();
    assert_eq!(link.device.accesses, [access]);
}

#[test]
fn keys_change_after_the_answer() {
    let master = KeyEncryptionKey::new(MASTER);
    let entry = |id, key: &[u8; 16]| {
        Data::Structure(vec![
            Data::Enum(id),
            Data::OctetString(master.wrap(key).to_vec()),
        ])
    };
    let (guek, gak) = ([0x22; 16], [0x33; 16]);
    let transfer = |parameters| Request::Invoke {
        method: KEY_TRANSFER,
        parameters: Some(parameters),
    };
    let mut link = Link::of(manager());
    assert!(is_opened(&link.open()));
    let denied = |result| Err(ClientError::Method(result, KEY_TRANSFER));
    let cases = [
        (Data::Null, ActionResult::TypeUnmatched),
        (Data::Array(vec![]), ActionResult::TypeUnmatched),
        (
            Data::Array(vec![entry(0, &guek), entry(0, &gak)]),
            ActionResult::TypeUnmatched,
        ),
        (
            Data::Array(vec![entry(9, &guek)]),
            ActionResult::TypeUnmatched,
        ),
        (
            // The second one does not unwrap: the first one does not count.
            Data::Array(vec![
                entry(0, &guek),
                Data::Structure(vec![Data::Enum(2), Data::OctetString(vec![0; 24])]),
            ]),
            ActionResult::OtherReason,
        ),
    ];
    for (parameters, result) in cases {
        assert_eq!(link.request(transfer(parameters)), denied(result));
        assert_eq!(link.security.keys(), &Keys::new(GUEK, GAK));
    }
    assert!(link.security.receive_counters().count() > 0);
    let both = Data::Array(vec![entry(0, &guek), entry(2, &gak)]);
    assert_eq!(
        link.request(transfer(both)),
        Ok(Response::Invoked(None)),
        "the answer comes under the old keys"
    );
    assert_eq!(link.security.keys(), &Keys::new(guek, gak));
    assert_eq!(
        link.security.receive_counters().count(),
        0,
        "counters start anew under a new key"
    );
    // The old keys are no good any more, and the error says so.
    assert_eq!(link.get(ENERGY), Err(ClientError::Key));
    let mut fresh = Link::of(ClientConfig {
        ciphering: Some(Ciphering {
            keys: Keys::new(guek, gak),
            ..ciphering()
        }),
        ..manager()
    });
    fresh.security = link.security;
    assert!(is_opened(&fresh.open()));

    // Only the manager may.
    let mut link = Link::of(ciphered_reader());
    assert!(is_opened(&link.open()));
    let one = Data::Array(vec![entry(0, &guek)]);
    assert_eq!(
        link.request(transfer(one)),
        denied(ActionResult::ReadWriteDenied)
    );
}

#[test]
fn a_meter_that_takes_no_user_information_in_a_release_is_released_without() {
    let mut link = Link::of(manager());
    assert!(is_opened(&link.open()));
    link.client.release(link.now);
    let [ClientOutput::Send(full)] = &link.drain()[..] else {
        panic!("one release request wanted")
    };
    assert!(full.len() > 5);
    link.client.handle_apdu(b"\xD8\x01\x02", link.now);
    let [ClientOutput::Send(bare)] = &link.drain()[..] else {
        panic!("a bare release request wanted")
    };
    assert_eq!(bare, b"\x62\x03\x80\x01\x00");
    // And whatever it says to that, it is over.
    link.client.handle_apdu(b"\xD8\x01\x02", link.now);
    assert_eq!(link.drain(), [ClientOutput::Released]);
}

#[test]
fn a_policy_of_authentication_takes_plain_text_with_a_tag() {
    let mut policies = policies();
    for policy in &mut policies {
        policy.policy = Policy::Authentication;
    }
    let config = ClientConfig {
        ciphering: Some(Ciphering {
            control: SecurityControl::AUTHENTICATED,
            policy: Policy::Authentication,
            ..ciphering()
        }),
        ..manager()
    };
    let mut link = Link::new(config, policies, 1_024);
    assert!(is_opened(&link.open()));
    assert!(link.get(ENERGY).is_ok());
    assert_eq!(
        CipheredForm::of_tag(link.last_answer()[0]),
        Some(CipheredForm::ServiceGlobal)
    );
    assert_eq!(link.last_answer()[2], 0x10, "as it was asked");
    let protection = link.device.callers[0].protection;
    assert_eq!(protection, Some(SecurityControl::AUTHENTICATED));
}

#[test]
fn an_idle_connection_costs_a_meter_next_to_nothing() {
    assert!(size_of::<Server>() <= 32, "{}", size_of::<Server>());
}

/// Suites 1 and 2: the same conversation, and proofs by signature.
#[test]
fn other_suites_open_too() {
    let meter = |curve, number: u8| {
        PrivateKey::from_bytes(
            curve,
            &vec![number; 32 + 16 * usize::from(curve == Curve::P384)],
        )
    };
    let cases = [
        (
            SecuritySuite::Suite0,
            Keys::new(GUEK, GAK),
            None,
            &DEDICATED[..],
        ),
        (
            SecuritySuite::Suite1,
            Keys::new(GUEK, GAK),
            Some(Curve::P256),
            &DEDICATED[..],
        ),
        (
            SecuritySuite::Suite2,
            Keys::long([0x12; 32], [0xA8; 32]),
            Some(Curve::P384),
            &[0xDE; 32],
        ),
    ];
    for (suite, keys, curve, dedicated) in cases {
        let ciphering = Ciphering {
            keys: keys.clone(),
            suite,
            dedicated_key: Some(Secret::new(dedicated)),
            ..ciphering()
        };
        let mut security =
            DeviceSecurity::new(METER, keys, TransmitCounter::new()).with_suite(suite);
        let mut authentications = vec![Authentication::Gmac];
        if let Some(curve) = curve {
            let (own, client) = (meter(curve, 1).unwrap(), meter(curve, 2).unwrap());
            authentications.push(Authentication::Ecdsa(Box::new(SigningPair {
                own: client.clone(),
                server: own.public_key(),
            })));
            security = security.with_signatures(own, MANAGER, client.public_key());
        }
        for authentication in authentications {
            let mechanism = authentication.mechanism();
            let config = ClientConfig {
                ciphering: Some(ciphering.clone()),
                ..config(MANAGER, authentication)
            };
            let mut link = Link::new(config, vec![policy(MANAGER, mechanism, true)], 1_024);
            link.security = security.clone();
            assert!(is_opened(&link.open()), "{suite} {mechanism}");
            assert!(link.get(LONG).is_ok(), "{suite} {mechanism}");
            let control = SecurityControl::AUTHENTICATED_ENCRYPTED.with_suite(suite);
            assert_eq!(link.device.callers[0].protection, Some(control));
            assert_eq!(link.device.callers[0].authentication, mechanism);
            // A signature by anybody else opens nothing.
            if let Some(curve) = curve {
                let stranger = meter(curve, 3).unwrap();
                link.release();
                link.security = link.security.clone().with_signatures(
                    meter(curve, 1).unwrap(),
                    MANAGER,
                    stranger.public_key(),
                );
                let opened = is_opened(&link.open());
                assert_eq!(opened, mechanism != Mechanism::Ecdsa, "{suite}");
            }
        }
    }
    // The suite itself is checked: both sides must name the same.
    let mut link = Link::of(manager());
    link.security = link.security.with_suite(SecuritySuite::Suite1);
    assert_eq!(link.open(), [ClientOutput::Failed(ClientError::Key)]);
}
