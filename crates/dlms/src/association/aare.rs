//! A server answers who asked for an association.

use core::fmt;

use gridloom_core::SystemTitle;

use super::ber;
use super::error::AcseError;
use super::head::{self, Fields, ProofTags};
use super::name::{ApplicationContext, Mechanism};
use super::secret::Secret;

/// Whether there is an association now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AssociationResult {
    /// There is; with high level security, once the challenges are answered.
    Accepted = 0,
    /// No, and asking again will not help.
    RejectedPermanent = 1,
    /// No, not now.
    RejectedTransient = 2,
}

/// Why, as an ACSE user (0–14) or as the ACSE provider itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Diagnostic {
    /// Nothing to say.
    Null,
    /// No reason given.
    NoReasonGiven,
    /// The application context is not spoken.
    ContextNotSupported,
    /// The client or its system title is not known.
    CallingTitleNotRecognized,
    /// The client's user or certificate is not known.
    CallingQualifierNotRecognized,
    /// The authentication mechanism is not spoken with this client.
    MechanismNotRecognized,
    /// A mechanism must be named.
    MechanismRequired,
    /// The proof is wrong.
    AuthenticationFailure,
    /// A proof must be given; with high level security, this is how the server goes on.
    AuthenticationRequired,
    /// Another one of the user's.
    User(u8),
    /// One of the provider's: 1 no reason given, 2 no common version.
    Provider(u8),
}

impl Diagnostic {
    const fn encode(self) -> (u8, u8) {
        match self {
            Self::Null => (USER, 0),
            Self::NoReasonGiven => (USER, 1),
            Self::ContextNotSupported => (USER, 2),
            Self::CallingTitleNotRecognized => (USER, 3),
            Self::CallingQualifierNotRecognized => (USER, 5),
            Self::MechanismNotRecognized => (USER, 11),
            Self::MechanismRequired => (USER, 12),
            Self::AuthenticationFailure => (USER, 13),
            Self::AuthenticationRequired => (USER, 14),
            Self::User(code) => (USER, code),
            Self::Provider(code) => (PROVIDER, code),
        }
    }

    fn decode(content: &[u8]) -> Result<Self, AcseError> {
        let field = "result-source-diagnostic";
        let (tag, content) = match content.split_first() {
            Some((&tag @ (USER | PROVIDER), _)) => (tag, ber::inner(field, tag, content)?),
            Some(_) | None => return Err(AcseError::Malformed { field }),
        };
        let code = ber::integer(field, content)?;
        if tag == PROVIDER {
            return Ok(Self::Provider(code));
        }
        Ok(match code {
            0 => Self::Null,
            1 => Self::NoReasonGiven,
            2 => Self::ContextNotSupported,
            3 => Self::CallingTitleNotRecognized,
            5 => Self::CallingQualifierNotRecognized,
            11 => Self::MechanismNotRecognized,
            12 => Self::MechanismRequired,
            13 => Self::AuthenticationFailure,
            14 => Self::AuthenticationRequired,
            code => Self::User(code),
        })
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "nothing said",
            Self::NoReasonGiven => "no reason given",
            Self::ContextNotSupported => "the application context is not supported",
            Self::CallingTitleNotRecognized => "the client or its title is not recognized",
            Self::CallingQualifierNotRecognized => "the user or certificate is not recognized",
            Self::MechanismNotRecognized => "the authentication mechanism is not recognized",
            Self::MechanismRequired => "an authentication mechanism must be named",
            Self::AuthenticationFailure => "authentication failed: the secret is wrong",
            Self::AuthenticationRequired => "authentication is required",
            Self::User(code) => return write!(f, "diagnostic {code}"),
            Self::Provider(code) => return write!(f, "ACSE provider diagnostic {code}"),
        })
    }
}

/// A server answers who asked for an association (A-ASSOCIATE response).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aare {
    /// The context asked for.
    pub context: ApplicationContext,
    /// Whether there is an association.
    pub result: AssociationResult,
    /// Why.
    pub diagnostic: Diagnostic,
    /// The server's system title.
    pub responding_title: Option<SystemTitle>,
    /// The server's certificate in suites 1 and 2.
    pub responding_qualifier: Option<Vec<u8>>,
    /// The mechanism, if the server names it. [`Mechanism::None`] is left out of the APDU.
    pub mechanism: Mechanism,
    /// The server's challenge.
    pub authentication_value: Option<Secret>,
    /// The InitiateResponse, plain or ciphered, or a plain ConfirmedServiceError; empty if there
    /// is none.
    pub user_information: Vec<u8>,
}

impl Aare {
    /// The APDU's tag.
    pub const TAG: u8 = 0x61;

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(64 + self.user_information.len());
        head::put_context(&mut body, self.context);
        ber::put_nested(&mut body, RESULT, ber::INTEGER, &[self.result as u8]);
        let (source, code) = self.diagnostic.encode();
        let mut diagnostic = Vec::with_capacity(5);
        ber::put_nested(&mut diagnostic, source, ber::INTEGER, &[code]);
        ber::put(&mut body, DIAGNOSTIC, &diagnostic);
        if let Some(title) = self.responding_title {
            ber::put_nested(&mut body, RESPONDING_TITLE, ber::OCTET_STRING, &title.0);
        }
        if let Some(qualifier) = &self.responding_qualifier {
            ber::put_nested(
                &mut body,
                RESPONDING_QUALIFIER,
                ber::OCTET_STRING,
                qualifier,
            );
        }
        let value = self.authentication_value.as_ref();
        PROOF.put(self.mechanism, value, &self.user_information, &mut body);
        ber::put(out, Self::TAG, &body);
    }

    /// Reads exactly one answer. Invocation ids and implementation information are skipped.
    ///
    /// # Errors
    ///
    /// Anything else, also fields out of order.
    pub fn decode(bytes: &[u8]) -> Result<Self, AcseError> {
        let mut fields = Fields::of(Self::TAG, bytes)?;
        let (mut context, mut result, mut diagnostic) = (None, None, None);
        let mut responding_title = None;
        let mut responding_qualifier = None;
        let mut mechanism = Mechanism::None;
        let mut authentication_value = None;
        let mut user_information = Vec::new();
        while let Some((tag, content)) = fields.next()? {
            match tag {
                head::CONTEXT => context = Some(head::context(content)?),
                RESULT => {
                    result = Some(match ber::integer("result", content)? {
                        0 => AssociationResult::Accepted,
                        1 => AssociationResult::RejectedPermanent,
                        2 => AssociationResult::RejectedTransient,
                        code => {
                            return Err(AcseError::UnknownCode {
                                field: "result",
                                code,
                            });
                        }
                    });
                }
                DIAGNOSTIC => diagnostic = Some(Diagnostic::decode(content)?),
                // A client without a title may be answered with an empty one.
                RESPONDING_TITLE => {
                    if content != [ber::OCTET_STRING, 0] {
                        responding_title = Some(ber::title(content)?);
                    }
                }
                RESPONDING_QUALIFIER => {
                    let qualifier =
                        ber::inner("responding-AE-qualifier", ber::OCTET_STRING, content)?;
                    responding_qualifier = Some(qualifier.to_vec());
                }
                MECHANISM => mechanism = Mechanism::from_name(content)?,
                RESPONDING_VALUE => authentication_value = Some(ber::secret(content)?),
                ber::USER_INFORMATION => user_information = head::user_information(content)?,
                PROTOCOL_VERSION
                | RESPONDING_AP_ID
                | RESPONDING_AE_ID
                | RESPONDER_REQUIREMENTS
                | IMPLEMENTATION => {}
                tag => return Err(AcseError::UnexpectedField { tag }),
            }
        }
        Ok(Self {
            context: context.ok_or(AcseError::Missing {
                field: "application-context-name",
            })?,
            result: result.ok_or(AcseError::Missing { field: "result" })?,
            diagnostic: diagnostic.ok_or(AcseError::Missing {
                field: "result-source-diagnostic",
            })?,
            responding_title,
            responding_qualifier,
            mechanism,
            authentication_value,
            user_information,
        })
    }
}

const PROTOCOL_VERSION: u8 = 0x80;
const RESULT: u8 = 0xA2;
const DIAGNOSTIC: u8 = 0xA3;
const USER: u8 = 0xA1;
const PROVIDER: u8 = 0xA2;
const RESPONDING_TITLE: u8 = 0xA4;
const RESPONDING_QUALIFIER: u8 = 0xA5;
const RESPONDING_AP_ID: u8 = 0xA6;
const RESPONDING_AE_ID: u8 = 0xA7;
const RESPONDER_REQUIREMENTS: u8 = 0x88;
const MECHANISM: u8 = 0x89;
const RESPONDING_VALUE: u8 = 0xAA;
const IMPLEMENTATION: u8 = 0xBD;
const PROOF: ProofTags = ProofTags {
    requirements: RESPONDER_REQUIREMENTS,
    mechanism: MECHANISM,
    value: RESPONDING_VALUE,
};
