//! Why a client gets no answer.

use core::fmt;
use core::time::Duration;

use gridloom_core::SystemTitle;

use crate::apdu::{
    ActionResult, ApduError, AttributeDescriptor, DataAccessResult, ExceptionResponse,
    MethodDescriptor,
};
use crate::association::{
    AcseError, AssociationResult, ConfirmedServiceError, Diagnostic, Mechanism,
};
use crate::axdr::AxdrError;
use crate::security::{Policy, SecurityControl};

/// The layer that failed, so that an operator knows where to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// No connection, or no answer.
    Link,
    /// Bytes that are no APDU.
    Frame,
    /// The association was refused or is not there.
    Association,
    /// An invocation counter is not above the last one.
    Counter,
    /// An authentication tag does not verify.
    Tag,
    /// The server cannot open what we ciphered, or we have no key for what it sent.
    Key,
    /// An object, attribute or method does not do what was asked.
    Object,
    /// The client may not do what was asked.
    Access,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "link",
            Self::Frame => "frame",
            Self::Association => "association",
            Self::Counter => "counter",
            Self::Tag => "tag",
            Self::Key => "key",
            Self::Object => "object",
            Self::Access => "access",
        })
    }
}

/// Why a client gets no answer, or no association.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// An APDU is unreadable, or is not one that belongs here.
    #[error("frame: {0}")]
    Frame(#[from] ApduError),
    /// An association APDU is unreadable.
    #[error("frame: {0}")]
    Acse(#[from] AcseError),
    /// What blocks carried is no value.
    #[error("frame: blocks do not make a value: {0}")]
    Value(#[from] AxdrError),
    /// A ciphered APDU has a form, title or length that does not belong here.
    #[error("frame: unexpected ciphered APDU of tag {tag:#04X}; compare form and titles")]
    Form {
        /// Its tag.
        tag: u8,
    },
    /// An answer that does not fit the question.
    #[error("frame: the server answered {what}, which is no answer to the question")]
    Unexpected {
        /// What came.
        what: &'static str,
    },
    /// Blocks out of order, too many, or too large.
    #[error("frame: block transfer broke off: {what}")]
    Blocks {
        /// What was wrong.
        what: &'static str,
    },
    /// The server refused the association.
    #[error("association: refused ({result:?}): {diagnostic}; check client, mechanism and secret")]
    Association {
        /// For how long.
        result: AssociationResult,
        /// Why.
        diagnostic: Diagnostic,
        /// The xDLMS error, if the proposal was the reason.
        error: Option<ConfirmedServiceError>,
    },
    /// The server answers to the initiate proposal with what cannot be worked with.
    #[error("association: the server agrees to {what}, which cannot be used")]
    Negotiation {
        /// To what.
        what: &'static str,
    },
    /// The server does not accept our proof, though it took the first steps.
    #[error("association: the server refused our proof by {mechanism}: {result}; check the keys")]
    ProofRefused {
        /// The mechanism.
        mechanism: Mechanism,
        /// What it answered.
        result: ActionResult,
    },
    /// The server's proof is wrong: it does not hold the secret.
    #[error("tag: the server's proof by {mechanism} is wrong; it does not hold the key or secret")]
    ProofWrong {
        /// The mechanism.
        mechanism: Mechanism,
    },
    /// The server sent our own challenge back.
    #[error("association: the server reflected our challenge; something answers in its place")]
    Reflected,
    /// A high level mechanism without a challenge from the server.
    #[error("association: the server gave no challenge of 8 to 64 bytes")]
    NoChallenge,
    /// Another server than the one that belongs to the keys.
    #[error("association: server title {found:?}, {expected} expected; another meter answers")]
    Title {
        /// The title configured or first seen.
        expected: SystemTitle,
        /// The title that came.
        found: Option<SystemTitle>,
    },
    /// The server says that our counter is not above its last one. Anybody could say so: it is
    /// a hint.
    #[error("counter: the server refuses our invocation counter, expects {expected:?}")]
    Counter {
        /// The counter that it expects, if it says.
        expected: Option<u32>,
    },
    /// The server's counter is not above the last one believed.
    #[error(
        "counter: the server sent {got}, not above {last}; a replay, or the meter lost its counter"
    )]
    Replayed {
        /// The last one believed.
        last: u32,
        /// The one that came.
        got: u32,
    },
    /// All our counters under this key are used.
    #[error("counter: all 2^32 invocation counters are used; change the key")]
    Exhausted,
    /// Answers came, but their tags do not verify.
    #[error(
        "tag: {count} APDUs did not verify, the last from {title} with counter {counter}; forged, \
         damaged, or ciphered with another key"
    )]
    Tag {
        /// How many.
        count: u8,
        /// Who the last one claims to be from.
        title: SystemTitle,
        /// Its counter.
        counter: u32,
    },
    /// The server cannot open what we ciphered. Anybody could say so: it is a hint.
    #[error("key: the server cannot decipher our APDU; check keys, suite and security policy")]
    Key,
    /// What came is ciphered with a key or suite that we do not have.
    #[error("key: the server used {what}, for which there is no key here")]
    NoKey {
        /// What it used.
        what: &'static str,
    },
    /// Plaintext where services are ciphered.
    #[error("tag: plaintext APDU of tag {tag:#04X} in a ciphered association; not believed")]
    Unprotected {
        /// Its tag.
        tag: u8,
    },
    /// An answer with less protection than the policy demands.
    #[error("tag: security control {got} does not satisfy {wanted}; not believed")]
    Downgraded {
        /// How it came.
        got: SecurityControl,
        /// What is demanded.
        wanted: Policy,
    },
    /// An answer without the signature that is demanded.
    #[error(
        "tag: APDU of tag {tag:#04X} without a signature; not believed: set bit 7 of the meter's \
         security policy, or demand none"
    )]
    Unsigned {
        /// Its tag.
        tag: u8,
    },
    /// A signature that does not verify.
    #[error(
        "tag: the signature of {title} does not verify; forged, damaged, or made with another \
         key: compare the meter's certificate"
    )]
    Signature {
        /// Whose it claims to be.
        title: SystemTitle,
    },
    /// An answer to another request, perhaps of long ago.
    #[error(
        "association: the answer is of another transaction than the request; a replay, or the \
         meter does not repeat transaction identifiers"
    )]
    Transaction,
    /// An answer for somebody else.
    #[error("association: the answer is for {found}; compare the client's system title")]
    Recipient {
        /// Whom it is for.
        found: SystemTitle,
    },
    /// The server cannot answer the service.
    #[error("association: the server cannot answer: {:?}, {:?}", .0.state, .0.service)]
    Exception(ExceptionResponse),
    /// The server answers with an error of old.
    #[error("association: the server answers {0:?}")]
    Service(ConfirmedServiceError),
    /// An attribute cannot be read or written.
    #[error(
        "{}: the meter answers {} to attribute {} of {} (class {}); browse the meter for what this \
         client may see",
        self.layer(), .0, .1.attribute, .1.instance, .1.class_id
    )]
    Object(DataAccessResult, AttributeDescriptor),
    /// A method cannot be invoked.
    #[error(
        "{}: the meter answers {} to method {} of {} (class {}); browse the meter for what this \
         client may do",
        self.layer(), .0, .1.method, .1.instance, .1.class_id
    )]
    Method(ActionResult, MethodDescriptor),
    /// A method has run, but what it returned cannot be had.
    #[error("object: method {} of {} (class {}) has run, but its result: {}", .1.method, .1.instance, .1.class_id, .0)]
    Returned(DataAccessResult, MethodDescriptor),
    /// A service that both sides did not agree on.
    #[error("association: {service} was not negotiated; the server does not speak it")]
    NotNegotiated {
        /// Which.
        service: &'static str,
    },
    /// The request does not fit into what the server takes.
    #[error("frame: the request has {bytes} bytes, the server takes {max} and no blocks")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest one.
        max: usize,
    },
    /// No answer in time.
    #[error("link: no answer within {after:?}; the meter or its link is away")]
    TimedOut {
        /// After how long.
        after: Duration,
    },
    /// The association was released before the answer came.
    #[error("association: released before the answer came")]
    Abandoned,
    /// The connection is gone.
    #[error("link: the connection was lost")]
    Disconnected,
}

impl ClientError {
    /// The layer that failed.
    pub const fn layer(&self) -> Layer {
        match self {
            Self::TimedOut { .. } | Self::Disconnected => Layer::Link,
            Self::Frame(_)
            | Self::Acse(_)
            | Self::Value(_)
            | Self::Form { .. }
            | Self::Unexpected { .. }
            | Self::Blocks { .. }
            | Self::TooLong { .. } => Layer::Frame,
            Self::Association { .. }
            | Self::Negotiation { .. }
            | Self::ProofRefused { .. }
            | Self::Reflected
            | Self::NoChallenge
            | Self::Title { .. }
            | Self::Exception(_)
            | Self::Service(_)
            | Self::NotNegotiated { .. }
            | Self::Transaction
            | Self::Recipient { .. }
            | Self::Abandoned => Layer::Association,
            Self::Counter { .. } | Self::Replayed { .. } | Self::Exhausted => Layer::Counter,
            Self::Tag { .. }
            | Self::ProofWrong { .. }
            | Self::Unprotected { .. }
            | Self::Unsigned { .. }
            | Self::Signature { .. }
            | Self::Downgraded { .. } => Layer::Tag,
            Self::Key | Self::NoKey { .. } => Layer::Key,
            Self::Object(DataAccessResult::ReadWriteDenied, _)
            | Self::Method(ActionResult::ReadWriteDenied, _) => Layer::Access,
            Self::Object(..) | Self::Method(..) | Self::Returned(..) => Layer::Object,
        }
    }

    /// Whether trying again later can help without an operator.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::TimedOut { .. }
                | Self::Disconnected
                | Self::Blocks { .. }
                | Self::Association {
                    result: AssociationResult::RejectedTransient,
                    ..
                }
                | Self::Object(DataAccessResult::TemporaryFailure, _)
                | Self::Method(ActionResult::TemporaryFailure, _)
        )
    }

    /// The invocation counter that the server says it expects. Nobody has verified it.
    pub const fn counter_expected(&self) -> Option<u32> {
        if let Self::Counter { expected } = self {
            *expected
        } else {
            None
        }
    }
}
