//! Why a ciphered APDU or a wrapped key is refused.

use gridloom_core::SystemTitle;
use gridloom_core::bytes::Truncated;

use super::apdu::KeyUse;
use super::control::{Policy, SecurityControl};
use super::setup::KeyId;
use super::suite::{Curve, SecuritySuite};
use crate::axdr::AxdrError;

/// Why a ciphered APDU or a wrapped key is refused; the message names the layer that did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityError {
    /// The bytes end before the security header, payload or tag do.
    #[error("frame: ciphered APDU cut short, {0}")]
    Truncated(#[from] Truncated),
    /// The length field of the APDU is unreadable.
    #[error("frame: ciphered APDU, {0}")]
    Length(#[from] AxdrError),
    /// The APDU is longer or shorter than its length field says.
    #[error("frame: ciphered APDU announces {announced} bytes, {found} follow")]
    WrongLength {
        /// What the length field says.
        announced: usize,
        /// What follows it.
        found: usize,
    },
    /// A tag that no supported ciphering uses, for example a plaintext APDU.
    #[error("frame: tag {tag:#04X} is not a globally ciphered APDU; the policy demands one")]
    NotCiphered {
        /// The first byte.
        tag: u8,
    },
    /// The system title has not eight bytes.
    #[error("frame: system title of {bytes} bytes, 8 wanted; the peer must send its title")]
    TitleLength {
        /// How many there are.
        bytes: usize,
    },
    /// A suite that the standard reserves.
    #[error("key: security suite {suite} is reserved; configure the meter for suite 0, 1 or 2")]
    UnknownSuite {
        /// The suite's number.
        suite: u8,
    },
    /// Another suite than the keys belong to.
    #[error(
        "key: the APDU uses security suite {got}, the keys are of suite {wanted}; set the same \
         suite on both sides"
    )]
    Suite {
        /// The suite of the keys at hand.
        wanted: SecuritySuite,
        /// The suite that the control byte names.
        got: u8,
    },
    /// Ciphered with another key than the one at hand.
    #[error(
        "key: the APDU is ciphered with the {got:?} key, the {wanted:?} key is in use; \
         compare the ciphering that the association agreed on"
    )]
    OtherKey {
        /// The key at hand.
        wanted: KeyUse,
        /// The key that the APDU claims.
        got: KeyUse,
    },
    /// The broadcast key is used, and none is installed for the peer.
    #[error(
        "key: the APDU is ciphered with the broadcast key and none is installed; transfer one, \
         or send with the unicast key"
    )]
    BroadcastKey,
    /// The broadcast bit of the control byte in a form that names its key otherwise.
    #[error(
        "key: security control {control} asks for the broadcast key in a form that has none; \
         clear bit 6"
    )]
    BroadcastBit {
        /// The control byte.
        control: SecurityControl,
    },
    /// The payload is compressed.
    #[error("frame: compressed payloads are not supported; switch compression off")]
    Compressed,
    /// Less or other protection than the policy demands.
    #[error("policy: security control {got} does not satisfy {wanted}; set the security policy")]
    Policy {
        /// What the sender did.
        got: SecurityControl,
        /// What is demanded.
        wanted: Policy,
    },
    /// The tag does not verify: forged, damaged, or another key.
    #[error(
        "tag: APDU of {title} with counter {counter} does not verify; damaged, forged, or \
         ciphered with another key: compare the key's check value"
    )]
    BadTag {
        /// Who claims to have sent it.
        title: SystemTitle,
        /// Its invocation counter.
        counter: u32,
    },
    /// A challenge's answer is not 17 bytes of GMAC.
    #[error("tag: HLS answer of {bytes} bytes, 17 wanted; the peer uses another mechanism")]
    GmacLength {
        /// How many there are.
        bytes: usize,
    },
    /// A wrapped key does not unwrap.
    #[error("key: the wrapped key does not unwrap; it was wrapped with another key")]
    Unwrap,
    /// A symmetric key of a length that no suite has.
    #[error("key: {bytes} bytes, 16 (suites 0 and 1) or 32 (suite 2) wanted")]
    KeyLength {
        /// How many there are.
        bytes: usize,
    },
    /// Keys of one meter that differ in length.
    #[error("key: {found} bytes beside a key of {wanted}; all keys of a meter are of one suite")]
    KeyLengths {
        /// The length of the first key.
        wanted: usize,
        /// The length of the other.
        found: usize,
    },
    /// Keys of another length than the suite demands.
    #[error("key: {bytes} bytes in security suite {suite}, {} wanted", suite.key_len())]
    SuiteKeyLength {
        /// The suite.
        suite: SecuritySuite,
        /// How many there are.
        bytes: usize,
    },
    /// A wrapped key of a length that no key wraps into.
    #[error("key: a wrapped key of {bytes} bytes, 24 or 40 wanted")]
    WrappedLength {
        /// How many there are.
        bytes: usize,
    },
    /// An HLS mechanism whose hash is broken.
    #[error(
        "association: HLS mechanism {mechanism} ({name}) is broken; configure the meter for \
         mechanism 5, 6 or 7"
    )]
    BrokenMechanism {
        /// The mechanism's number.
        mechanism: u8,
        /// Its hash.
        name: &'static str,
    },
    /// A mechanism that is not one of the HLS mechanisms of the standard.
    #[error(
        "association: mechanism {mechanism} is no HLS mechanism of the standard; configure the \
         meter for mechanism 5, 6 or 7"
    )]
    NoHlsMechanism {
        /// The mechanism's number.
        mechanism: u8,
    },
    /// A challenge that is too short to be unguessable, or too long for the standard.
    #[error("association: a challenge of {bytes} bytes, {min} to {max} wanted")]
    ChallengeLength {
        /// How many there are.
        bytes: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// Both challenges are the same: our own answer would satisfy the peer's.
    #[error("association: the peer sent our own challenge back; somebody reflects the exchange")]
    ReflectedChallenge,
    /// An answer to a challenge that does not verify.
    #[error(
        "tag: the HLS answer does not verify; compare the secret, the keys and the system titles"
    )]
    BadAnswer,
    /// An APDU without the signature that is demanded.
    #[error("frame: tag {tag:#04X} is not a signed APDU; the policy demands a signature")]
    NotSigned {
        /// The first byte.
        tag: u8,
    },
    /// A signature that does not verify.
    #[error(
        "tag: the {curve} signature does not verify; damaged, forged, or made with another key: \
         compare the peer's certificate"
    )]
    BadSignature {
        /// The curve.
        curve: Curve,
    },
    /// A signature, key or shared value of another length than the curve has.
    #[error("key: {field} of {bytes} bytes, {wanted} wanted")]
    FieldLength {
        /// Which field.
        field: &'static str,
        /// How many there are.
        bytes: usize,
        /// How many there must be.
        wanted: usize,
    },
    /// A field longer than any sensible peer makes it.
    #[error("frame: {field} of {bytes} bytes, at most {max} are allowed")]
    FieldTooLong {
        /// Which field.
        field: &'static str,
        /// How many there are.
        bytes: usize,
        /// The most.
        max: usize,
    },
    /// A field with a code that the standard does not assign.
    #[error("frame: {field} has no code {code}")]
    UnknownCode {
        /// Which field.
        field: &'static str,
        /// Its value.
        code: u8,
    },
    /// A public key that is no point of its curve.
    #[error("key: the public key is no point of {curve}; compare the peer's certificate")]
    PublicKey {
        /// The curve.
        curve: Curve,
    },
    /// A private key of zero, or not below the order of its curve.
    #[error("key: the private key is no scalar of {curve}; generate it again")]
    PrivateKey {
        /// The curve.
        curve: Curve,
    },
    /// Keys of different curves.
    #[error("key: a key of {found} where one of {wanted} belongs; compare the security suites")]
    Curve {
        /// The curve that belongs there.
        wanted: Curve,
        /// The curve of the key.
        found: Curve,
    },
    /// general-ciphering or general-signing from somebody else than the association's peer.
    #[error(
        "association: the APDU says that it is from {got}, this association is with {wanted}; \
         compare the system titles"
    )]
    Originator {
        /// Who it says has sent it.
        got: SystemTitle,
        /// Who may send.
        wanted: SystemTitle,
    },
    /// general-ciphering or general-signing for somebody else.
    #[error("association: the APDU is for {got}, this is {wanted}; compare the system titles")]
    Recipient {
        /// Whom it is for.
        got: SystemTitle,
        /// Who got it.
        wanted: SystemTitle,
    },
    /// A key that general-ciphering or general-signing needs is not installed.
    #[error("key: {what} is wanted and not installed; install it, or use another protection")]
    MissingKey {
        /// Which.
        what: &'static str,
    },
    /// A transaction identifier that cannot make an agreed key fresh.
    #[error("key: a transaction identifier of {bytes} bytes, 1 to 64 wanted")]
    TransactionId {
        /// How many there are.
        bytes: usize,
    },
    /// Parameters of a class 64 method of another shape than the standard gives them.
    #[error("object: {field} has another type or length than class 64 defines")]
    Payload {
        /// Which parameters.
        field: &'static str,
    },
    /// The same key twice in one transfer or agreement.
    #[error("object: the {id:?} key is there twice; transfer each key once")]
    RepeatedKey {
        /// Which key.
        id: KeyId,
    },
    /// A key agreement answered for other keys than were offered.
    #[error("object: the key agreement was answered for other keys; offer them again")]
    OtherKeys,
}

impl SecurityError {
    /// Whether the frame alone is to blame, so that its content deserves no trust at all;
    /// otherwise configuration is.
    pub const fn is_suspicious(&self) -> bool {
        match self {
            Self::Truncated(_)
            | Self::Length(_)
            | Self::WrongLength { .. }
            | Self::NotCiphered { .. }
            | Self::Policy { .. }
            | Self::BadTag { .. }
            | Self::GmacLength { .. }
            | Self::BroadcastBit { .. }
            | Self::ReflectedChallenge
            | Self::BadAnswer
            | Self::NotSigned { .. }
            | Self::BadSignature { .. }
            | Self::FieldLength { .. }
            | Self::FieldTooLong { .. }
            | Self::UnknownCode { .. }
            | Self::PublicKey { .. }
            | Self::Originator { .. }
            | Self::Recipient { .. }
            | Self::Payload { .. }
            | Self::RepeatedKey { .. }
            | Self::OtherKeys => true,
            Self::TitleLength { .. }
            | Self::UnknownSuite { .. }
            | Self::Suite { .. }
            | Self::OtherKey { .. }
            | Self::BroadcastKey
            | Self::Compressed
            | Self::Unwrap
            | Self::KeyLength { .. }
            | Self::KeyLengths { .. }
            | Self::SuiteKeyLength { .. }
            | Self::WrappedLength { .. }
            | Self::BrokenMechanism { .. }
            | Self::NoHlsMechanism { .. }
            | Self::ChallengeLength { .. }
            | Self::PrivateKey { .. }
            | Self::Curve { .. }
            | Self::MissingKey { .. }
            | Self::TransactionId { .. } => false,
        }
    }
}
