//! What a client is asked to do, and what comes of it.

use gridloom_core::SystemTitle;

use super::error::ClientError;
use crate::apdu::{AttributeDescriptor, DataAccessResult, MethodDescriptor, SelectiveAccess};
use crate::association::Conformance;
use crate::axdr::Data;

/// One question. How it is cut into APDUs is the client's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Read one attribute.
    Get {
        /// What to read.
        attribute: AttributeDescriptor,
        /// Which part of it.
        access: Option<SelectiveAccess>,
    },
    /// Read several attributes at once, at most [`crate::apdu::LIST_MAX`].
    GetList(Vec<(AttributeDescriptor, Option<SelectiveAccess>)>),
    /// Write one attribute.
    Set {
        /// What to write.
        attribute: AttributeDescriptor,
        /// Which part of it.
        access: Option<SelectiveAccess>,
        /// The new value.
        value: Data,
    },
    /// Write several attributes at once, at most [`crate::apdu::LIST_MAX`].
    SetList(Vec<(AttributeDescriptor, Option<SelectiveAccess>, Data)>),
    /// Invoke one method.
    Invoke {
        /// What to invoke.
        method: MethodDescriptor,
        /// With what.
        parameters: Option<Data>,
    },
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// To [`Request::Get`].
    Value(Data),
    /// To [`Request::GetList`], one for each attribute.
    Values(Vec<Result<Data, DataAccessResult>>),
    /// To [`Request::Set`].
    Written,
    /// To [`Request::SetList`], one for each attribute.
    WrittenList(Vec<DataAccessResult>),
    /// To [`Request::Invoke`], with what the method gave back.
    Invoked(Option<Data>),
}

/// What a client wants of its host, or tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientOutput {
    /// Send this APDU to the server.
    Send(Vec<u8>),
    /// Make the transmit reservation up to this counter durable, then call
    /// [`super::Client::handle_reserved`]. What waits for it is sent afterwards.
    Reserve(u32),
    /// The association stands, and the server has proved who it is as far as its mechanism can.
    Opened {
        /// The server's title, if it gave one.
        server_title: Option<SystemTitle>,
        /// The services that both speak.
        conformance: Conformance,
        /// The longest APDU that the server takes, in bytes; 0 for no limit.
        max_pdu: u16,
    },
    /// A block has come or gone.
    Progress {
        /// Bytes of the value so far.
        bytes: usize,
    },
    /// A request has ended: exactly one for each.
    Answered(Result<Response, ClientError>),
    /// An unsolicited DataNotification or EventNotification, verified where services are
    /// ciphered, in plaintext.
    Notified(Vec<u8>),
    /// The association has been released, or the server did not answer to that: it is over.
    Released,
    /// The association is over, or did not come about.
    Failed(ClientError),
}
