//! Associations (IEC 62056-5-3, clauses 7 and 9.4.2): the ACSE APDUs in BER, and the xDLMS
//! initiate services that travel inside them.
//!
//! Logical-name referencing only, plain (context 1) and ciphered (context 3). What is inside
//! user-information is kept as bytes: the peer's machine opens it with its keys.

mod aare;
mod aarq;
mod ber;
mod conformance;
mod error;
mod head;
mod initiate;
mod name;
mod release;
mod secret;

pub use aare::{Aare, AssociationResult, Diagnostic};
pub use aarq::Aarq;
pub use conformance::Conformance;
pub use error::AcseError;
pub use initiate::{
    ConfirmedServiceError, DLMS_VERSION, InitiateError, InitiateRequest, InitiateResponse,
    PDU_LEN_MIN, VAA_LOGICAL_NAMES,
};
pub use name::{ApplicationContext, Mechanism};
pub use release::{ReleaseReason, Rlre, Rlrq};
pub use secret::{DedicatedKey, SECRET_LEN_MAX, Secret};
#[cfg(test)]
mod tests {
    use gridloom_core::SystemTitle;

    use super::*;
    use crate::hex;
    use crate::security::{CipherContext, CipheredApdu, CipheredForm, Keys, Policy};

    const METER: SystemTitle = SystemTitle([0x4D, 0x4D, 0x4D, 0, 0, 0xBC, 0x61, 0x4E]);

    fn aarq(mechanism: Mechanism, value: Option<&[u8]>, information: &str) -> Aarq {
        Aarq {
            context: ApplicationContext::LogicalName,
            calling_title: None,
            calling_qualifier: None,
            calling_user: None,
            mechanism,
            authentication_value: value.map(Secret::new),
            user_information: hex::bytes(information),
        }
    }

    const PROPOSAL: &str = "01 00 00 00 06 5F1F0400 007E1F 04B0";
    const AGREEMENT: &str = "08 00 06 5F1F0400 00501F 01F4 0007";

    /// The AARQs of the standard's examples: no security, a password, and challenges under
    /// ciphering.
    #[test]
    fn requests_read_and_write_alike() {
        let ciphered = "21303001234567801302FF8A7874133D414CED25B42534D28DB0047720606B175BD52211\
                        BE6841DB204D39EE6FDB8E356855";
        let cases = [
            (
                format!("601D A109060760857405080101 BE10040E {PROPOSAL}"),
                aarq(Mechanism::None, None, PROPOSAL),
            ),
            (
                format!(
                    "6036 A109060760857405080101 8A020780 8B0760857405080201 \
                     AC0A80083132333435363738 BE10040E {PROPOSAL}"
                ),
                aarq(Mechanism::Lls, Some(b"12345678"), PROPOSAL),
            ),
            (
                format!(
                    "6066 A109060760857405080103 A60A04084D4D4D0000000001 8A020780 \
                     8B0760857405080205 AC0A80084B35366956616759 BE340432 {ciphered}"
                ),
                Aarq {
                    context: ApplicationContext::LogicalNameCiphered,
                    calling_title: Some(SystemTitle([0x4D, 0x4D, 0x4D, 0, 0, 0, 0, 1])),
                    ..aarq(Mechanism::Gmac, Some(b"K56iVagY"), ciphered)
                },
            ),
        ];
        for (text, request) in cases {
            let bytes = hex::bytes(&text);
            assert_eq!(Aarq::decode(&bytes).as_ref(), Ok(&request), "{text}");
            let mut out = Vec::new();
            request.encode(&mut out);
            assert_eq!(out, bytes, "{text}");
            for cut in 0..bytes.len() {
                assert!(Aarq::decode(&bytes[..cut]).is_err(), "{text} cut at {cut}");
            }
        }
        let users = Aarq {
            calling_qualifier: Some(vec![0xAA, 0xBB]),
            calling_user: Some(7),
            ..aarq(Mechanism::None, None, PROPOSAL)
        };
        let mut out = Vec::new();
        users.encode(&mut out);
        assert_eq!(Aarq::decode(&out), Ok(users));
    }

    #[test]
    fn answers_read_and_write_alike() {
        let aare = |result, diagnostic, information| Aare {
            context: ApplicationContext::LogicalName,
            result,
            diagnostic,
            responding_title: None,
            responding_qualifier: None,
            mechanism: Mechanism::None,
            authentication_value: None,
            user_information: hex::bytes(information),
        };
        let rejected = AssociationResult::RejectedPermanent;
        let challenge = "614E A109060760857405080101 A203020100 A305A10302010E \
                         A40A04084D4D4D0000BC614E 88020780 890760857405080205 \
                         AA0A8008503677524A323146 BE10040E 0800065F1F040000501F01F40007";
        let cases = [
            (
                format!(
                    "6129 A109060760857405080101 A203020100 A305A103020100 BE10040E {AGREEMENT}"
                ),
                aare(AssociationResult::Accepted, Diagnostic::Null, AGREEMENT),
            ),
            (
                "6117 A109060760857405080101 A203020101 A305A10302010D".to_owned(),
                aare(rejected, Diagnostic::AuthenticationFailure, ""),
            ),
            (
                "6117 A109060760857405080101 A203020101 A305A203020102".to_owned(),
                aare(rejected, Diagnostic::Provider(2), ""),
            ),
            (
                "611F A109060760857405080101 A203020101 A305A103020101 BE0604040E010603".to_owned(),
                aare(rejected, Diagnostic::NoReasonGiven, "0E010603"),
            ),
            (
                challenge.to_owned(),
                Aare {
                    responding_title: Some(METER),
                    mechanism: Mechanism::Gmac,
                    authentication_value: Some(Secret::new(*b"P6wRJ21F")),
                    ..aare(
                        AssociationResult::Accepted,
                        Diagnostic::AuthenticationRequired,
                        AGREEMENT,
                    )
                },
            ),
        ];
        for (text, answer) in cases {
            let bytes = hex::bytes(&text);
            assert_eq!(Aare::decode(&bytes).as_ref(), Ok(&answer), "{text}");
            let mut out = Vec::new();
            answer.encode(&mut out);
            assert_eq!(out, bytes, "{text}");
            for cut in 0..bytes.len() {
                assert!(Aare::decode(&bytes[..cut]).is_err(), "{text} cut at {cut}");
            }
        }
        assert_eq!(
            ConfirmedServiceError::decode(&hex::bytes("0E010603")),
            Ok(ConfirmedServiceError::Initiate(
                InitiateError::PduSizeTooShort
            ))
        );
    }

    #[test]
    fn every_diagnostic_survives_the_way() {
        for code in 0..=20 {
            let text = format!("6117 A109060760857405080101 A203020101 A305A1030201{code:02X}");
            let bytes = hex::bytes(&text);
            let mut out = Vec::new();
            Aare::decode(&bytes).unwrap().encode(&mut out);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn releases_read_and_write_alike() {
        let normal = Some(ReleaseReason::Normal);
        let cases = [
            ("6203800100", normal, ""),
            ("6200", None, ""),
            ("620380011E", Some(ReleaseReason::UserDefined), ""),
            (
                "6215 800100 BE10040E 01000000065F1F0400007E1F04B0",
                normal,
                PROPOSAL,
            ),
        ];
        for (text, reason, information) in cases {
            let bytes = hex::bytes(text);
            let request = Rlrq {
                reason,
                user_information: hex::bytes(information),
            };
            assert_eq!(Rlrq::decode(&bytes), Ok(request.clone()), "{text}");
            let mut out = Vec::new();
            request.encode(&mut out);
            assert_eq!(out, bytes, "{text}");
            let mut answer = bytes.clone();
            answer[0] = Rlre::TAG;
            let decoded = Rlre::decode(&answer).unwrap();
            let mut out = Vec::new();
            decoded.encode(&mut out);
            assert_eq!(out, answer, "{text}");
            for cut in 0..bytes.len() {
                assert!(Rlrq::decode(&bytes[..cut]).is_err(), "{text} cut at {cut}");
            }
        }
    }

    /// The initiate pair, plain and under the standard's example keys.
    #[test]
    fn initiate_vectors() {
        let key = |text| <[u8; 16]>::try_from(hex::bytes(text)).unwrap();
        let keys = Keys::new(
            key("000102030405060708090A0B0C0D0E0F"),
            key("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"),
        );
        let context = CipherContext::new(&keys);
        let proposal = InitiateRequest {
            dedicated_key: Some(Secret::new(hex::bytes("00112233445566778899AABBCCDDEEFF"))),
            ..InitiateRequest::new(Conformance::from_bits(0x00_7E1F), 0x04B0)
        };
        let agreement = InitiateResponse::new(Conformance::from_bits(0x00_7C1F), 0x0400);
        let mut plain = (Vec::new(), Vec::new());
        proposal.encode(&mut plain.0);
        agreement.encode(&mut plain.1);
        let cases = [
            (
                &plain.0,
                "01011000112233445566778899AABBCCDDEEFF0000065F1F0400007E1F04B0",
                "21303001234567801302FF8A7874133D414CED25B42534D28DB0047720606B175BD52211BE\
                 6841DB204D39EE6FDB8E356855",
            ),
            (
                &plain.1,
                "0800065F1F0400007C1F04000007",
                "281F3001234567891214A0845E475714383F65BC19745CA235906525E4F3E1C893",
            ),
        ];
        for (plain, text, ciphered) in cases {
            assert_eq!(*plain, hex::bytes(text));
            let mut sealed = Vec::new();
            context.protect_as(
                CipheredForm::ServiceGlobal,
                context.full_protection(METER, 0x0123_4567),
                plain,
                &mut sealed,
            );
            assert_eq!(sealed, hex::bytes(ciphered));
            let apdu = CipheredApdu::decode_service(&sealed, METER).unwrap();
            let mut opened = Vec::new();
            let opened = context.open(&apdu, Policy::AuthenticatedEncryption, &mut opened);
            assert_eq!(opened, Ok(&plain[..]));
        }
        assert_eq!(InitiateRequest::decode(&plain.0), Ok(proposal));
        assert_eq!(InitiateResponse::decode(&plain.1), Ok(agreement));
    }

    #[test]
    fn what_is_wrong_with_an_association_apdu_is_named() {
        let cases = [
            (
                "6100",
                AcseError::WrongTag {
                    wanted: 0x60,
                    found: 0x61,
                },
            ),
            (
                "6000",
                AcseError::Missing {
                    field: "application-context-name",
                },
            ),
            ("600B A109060760857405080105", AcseError::UnknownContext),
            ("600B A109060760857405090101", AcseError::UnknownContext),
            (
                "6014 A109060760857405080101 8B0760857405080208",
                AcseError::UnknownMechanism,
            ),
            (
                "6016 A109060760857405080101 A109060760857405080101",
                AcseError::UnexpectedField { tag: 0xA1 },
            ),
            (
                "600D A109060760857405080101 9F00",
                AcseError::UnexpectedField { tag: 0x9F },
            ),
            (
                "6016 A109060760857405080101 A609040701020304050607",
                AcseError::TitleLength { bytes: 7 },
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Aarq::decode(&hex::bytes(text)), Err(expected), "{text}");
        }
        assert!(
            InitiateRequest::decode(&hex::bytes("01 01 03 AABBCC 00 00 06 5F1F0400 007E1F 04B0"))
                .is_err()
        );
        let short_tag = hex::bytes("01 00 00 00 06 5F0400 007E1F 04B0");
        assert!(InitiateRequest::decode(&short_tag).is_ok(), "some peers");
    }

    #[test]
    fn conformance_bits_stand_where_the_standard_puts_them() {
        assert_eq!(Conformance::ACTION.bits(), 1);
        assert_eq!(Conformance::GET.bits(), 0x10);
        assert_eq!(Conformance::GENERAL_BLOCK_TRANSFER.bits(), 0x20_0000);
        assert_eq!(Conformance::GENERAL_PROTECTION.bits(), 0x40_0000);
        let both = Conformance::GET | Conformance::SET;
        assert!(both.contains(Conformance::GET) && !Conformance::GET.contains(both));
        assert_eq!(both.without(Conformance::SET), Conformance::GET);
        assert_eq!(
            format!("{both:?}"),
            "Conformance(000018 GET SET)",
            "an operator reads names"
        );
    }

    #[test]
    fn secrets_print_nothing() {
        let request = aarq(Mechanism::Lls, Some(b"12345678"), PROPOSAL);
        let shown = format!("{request:?}");
        assert!(
            !shown.contains("49") && shown.contains("redacted"),
            "{shown}"
        );
    }
}
