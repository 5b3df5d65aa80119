//! A client asks for an association.

use gridloom_core::SystemTitle;

use super::ber;
use super::error::AcseError;
use super::head::{self, Fields, ProofTags};
use super::name::{ApplicationContext, Mechanism};
use super::secret::Secret;

/// A client asks for an association (A-ASSOCIATE request).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aarq {
    /// How objects are named, and whether services are ciphered.
    pub context: ApplicationContext,
    /// The client's system title.
    pub calling_title: Option<SystemTitle>,
    /// The client's certificate in suites 1 and 2.
    pub calling_qualifier: Option<Vec<u8>>,
    /// The number of the client's user.
    pub calling_user: Option<u8>,
    /// How the client will prove who it is. [`Mechanism::None`] is left out of the APDU.
    pub mechanism: Mechanism,
    /// The password, or the client's challenge.
    pub authentication_value: Option<Secret>,
    /// The InitiateRequest, plain or ciphered; empty if there is none.
    pub user_information: Vec<u8>,
}

impl Aarq {
    /// The APDU's tag.
    pub const TAG: u8 = 0x60;

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(64 + self.user_information.len());
        head::put_context(&mut body, self.context);
        if let Some(title) = self.calling_title {
            ber::put_nested(&mut body, CALLING_TITLE, ber::OCTET_STRING, &title.0);
        }
        if let Some(qualifier) = &self.calling_qualifier {
            ber::put_nested(&mut body, CALLING_QUALIFIER, ber::OCTET_STRING, qualifier);
        }
        if let Some(user) = self.calling_user {
            ber::put_nested(&mut body, CALLING_USER, ber::INTEGER, &[user]);
        }
        let value = self.authentication_value.as_ref();
        PROOF.put(self.mechanism, value, &self.user_information, &mut body);
        ber::put(out, Self::TAG, &body);
    }

    /// Reads exactly one request.
    ///
    /// Fields that tell nothing here (called titles, invocation ids, implementation information)
    /// are skipped.
    ///
    /// # Errors
    ///
    /// Anything else, also fields out of order.
    pub fn decode(bytes: &[u8]) -> Result<Self, AcseError> {
        let mut fields = Fields::of(Self::TAG, bytes)?;
        let mut context = None;
        let mut request = Self {
            context: ApplicationContext::LogicalName,
            calling_title: None,
            calling_qualifier: None,
            calling_user: None,
            mechanism: Mechanism::None,
            authentication_value: None,
            user_information: Vec::new(),
        };
        while let Some((tag, content)) = fields.next()? {
            match tag {
                head::CONTEXT => context = Some(head::context(content)?),
                CALLING_TITLE => request.calling_title = Some(ber::title(content)?),
                CALLING_QUALIFIER => {
                    let qualifier = ber::inner("calling-AE-qualifier", ber::OCTET_STRING, content)?;
                    request.calling_qualifier = Some(qualifier.to_vec());
                }
                CALLING_USER => {
                    request.calling_user = Some(ber::integer("calling-AE-invocation-id", content)?);
                }
                MECHANISM => request.mechanism = Mechanism::from_name(content)?,
                CALLING_VALUE => request.authentication_value = Some(ber::secret(content)?),
                ber::USER_INFORMATION => {
                    request.user_information = head::user_information(content)?;
                }
                SENDER_REQUIREMENTS | PROTOCOL_VERSION | IMPLEMENTATION => {}
                tag if CALLED.contains(&tag) => {}
                tag => return Err(AcseError::UnexpectedField { tag }),
            }
        }
        request.context = context.ok_or(AcseError::Missing {
            field: "application-context-name",
        })?;
        Ok(request)
    }
}

const PROTOCOL_VERSION: u8 = 0x80;
/// Called titles and qualifiers 2–5, and the calling AP invocation id 8.
const CALLED: [u8; 5] = [0xA2, 0xA3, 0xA4, 0xA5, 0xA8];
const CALLING_TITLE: u8 = 0xA6;
const CALLING_QUALIFIER: u8 = 0xA7;
const CALLING_USER: u8 = 0xA9;
const SENDER_REQUIREMENTS: u8 = 0x8A;
const MECHANISM: u8 = 0x8B;
const CALLING_VALUE: u8 = 0xAC;
const IMPLEMENTATION: u8 = 0xBD;
const PROOF: ProofTags = ProofTags {
    requirements: SENDER_REQUIREMENTS,
    mechanism: MECHANISM,
    value: CALLING_VALUE,
};
