//! The xDLMS APDUs (IEC 62056-5-3, clause 8) in plaintext: push, GET, SET, ACTION, exceptions.
//!
//! Ciphered ones are opened by [`crate::security`] first. Block transfer and lists are refused
//! with a name, as is every tag that is not spoken here.

mod error;
mod exception;
mod field;
mod notification;
mod request;
mod response;

use crate::axdr::Decoder;

pub use error::ApduError;
pub use exception::{ExceptionResponse, ServiceError, StateError};
pub use field::{
    ActionResult, AttributeDescriptor, DataAccessResult, InvokeId, LongInvokeId, MethodDescriptor,
    SelectiveAccess,
};
pub use notification::{DataNotification, DataNotificationConfirm};
pub use request::{ActionRequestNormal, GetRequestNormal, SetRequestNormal};
pub use response::{ActionResponseNormal, GetResponseNormal, SetResponseNormal};

/// Any plaintext APDU that is spoken here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Apdu<'a> {
    /// A meter pushes.
    DataNotification(DataNotification<'a>),
    /// A push has arrived for good.
    DataNotificationConfirm(DataNotificationConfirm),
    /// A client reads one attribute.
    GetRequestNormal(GetRequestNormal),
    /// What it reads.
    GetResponseNormal(GetResponseNormal),
    /// A client writes one attribute.
    SetRequestNormal(SetRequestNormal),
    /// Whether that worked.
    SetResponseNormal(SetResponseNormal),
    /// A client invokes one method.
    ActionRequestNormal(ActionRequestNormal),
    /// Whether that worked, and what came of it.
    ActionResponseNormal(ActionResponseNormal),
    /// The server cannot even answer the service.
    ExceptionResponse(ExceptionResponse),
}

impl<'a> Apdu<'a> {
    /// Reads exactly one APDU from all of `bytes`.
    ///
    /// # Errors
    ///
    /// Anything else, each kind by its name.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, ApduError> {
        let tag = Decoder::new(bytes).byte()?;
        Ok(match tag {
            DataNotification::TAG => Self::DataNotification(DataNotification::decode(bytes)?),
            DataNotificationConfirm::TAG => {
                Self::DataNotificationConfirm(DataNotificationConfirm::decode(bytes)?)
            }
            GetRequestNormal::TAG => Self::GetRequestNormal(GetRequestNormal::decode(bytes)?),
            GetResponseNormal::TAG => Self::GetResponseNormal(GetResponseNormal::decode(bytes)?),
            SetRequestNormal::TAG => Self::SetRequestNormal(SetRequestNormal::decode(bytes)?),
            SetResponseNormal::TAG => Self::SetResponseNormal(SetResponseNormal::decode(bytes)?),
            ActionRequestNormal::TAG => {
                Self::ActionRequestNormal(ActionRequestNormal::decode(bytes)?)
            }
            ActionResponseNormal::TAG => {
                Self::ActionResponseNormal(ActionResponseNormal::decode(bytes)?)
            }
            ExceptionResponse::TAG => Self::ExceptionResponse(ExceptionResponse::decode(bytes)?),
            _ => return Err(ApduError::unexpected(tag)),
        })
    }

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::DataNotification(apdu) => apdu.encode(out),
            Self::DataNotificationConfirm(apdu) => apdu.encode(out),
            Self::GetRequestNormal(apdu) => apdu.encode(out),
            Self::GetResponseNormal(apdu) => apdu.encode(out),
            Self::SetRequestNormal(apdu) => apdu.encode(out),
            Self::SetResponseNormal(apdu) => apdu.encode(out),
            Self::ActionRequestNormal(apdu) => apdu.encode(out),
            Self::ActionResponseNormal(apdu) => apdu.encode(out),
            Self::ExceptionResponse(apdu) => apdu.encode(out),
        }
    }
}
