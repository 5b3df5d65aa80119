//! The xDLMS APDUs (IEC 62056-5-3, clause 8) in plaintext: push, events, GET, SET, ACTION in
//! every variant, general block transfer, exceptions.
//!
//! Ciphered ones are opened by [`crate::security`] first. Every tag that is not spoken here is
//! refused with a name.

mod action;
mod error;
mod event;
mod exception;
mod field;
mod general_block;
mod get;
mod notification;
mod payload;
mod service;
mod set;
#[cfg(test)]
mod vectors;

use crate::axdr::Decoder;

pub use action::{
    ActionRequestNextPblock, ActionRequestNormal, ActionRequestWithFirstPblock,
    ActionRequestWithList, ActionRequestWithListAndFirstPblock, ActionRequestWithPblock,
    ActionResponseNextPblock, ActionResponseNormal, ActionResponseWithList,
    ActionResponseWithPblock,
};
pub use error::ApduError;
pub use event::EventNotification;
pub use exception::{ExceptionResponse, ServiceError, StateError};
pub use field::{
    ActionResult, AttributeDescriptor, DataAccessResult, InvokeId, LongInvokeId, MethodDescriptor,
    SelectiveAccess,
};
pub use general_block::GeneralBlockTransfer;
pub use get::{
    GetRequestNext, GetRequestNormal, GetRequestWithList, GetResponseNormal,
    GetResponseWithDatablock, GetResponseWithList,
};
pub use notification::{DataNotification, DataNotificationConfirm};
pub use payload::{
    Outcome, decode_outcome, decode_outcomes, decode_results, decode_values, encode_outcome,
    encode_outcomes, encode_results, encode_values,
};
pub use service::{DataBlock, LIST_MAX};
pub use set::{
    SetRequestNormal, SetRequestWithDatablock, SetRequestWithFirstDatablock, SetRequestWithList,
    SetRequestWithListAndFirstDatablock, SetResponseDatablock, SetResponseLastDatablock,
    SetResponseLastDatablockWithList, SetResponseNormal, SetResponseWithList,
};

macro_rules! apdus {
    (
        tagged: { $($(#[$tagged_doc:meta])* $tagged:ident,)* }
        variants: { $($(#[$variant_doc:meta])* $variant:ident,)* }
    ) => {
        /// Any plaintext APDU that is spoken here.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Apdu<'a> {
            /// A meter pushes.
            DataNotification(DataNotification<'a>),
            $($(#[$tagged_doc])* $tagged($tagged),)*
            $($(#[$variant_doc])* $variant($variant),)*
        }

        impl<'a> Apdu<'a> {
            /// Reads exactly one APDU from all of `bytes`.
            ///
            /// # Errors
            ///
            /// Anything else, each kind by its name.
            pub fn decode(bytes: &'a [u8]) -> Result<Self, ApduError> {
                let mut head = Decoder::new(bytes);
                let tag = head.byte()?;
                match tag {
                    DataNotification::TAG => {
                        return Ok(Self::DataNotification(DataNotification::decode(bytes)?));
                    }
                    $($tagged::TAG => return Ok(Self::$tagged($tagged::decode(bytes)?)),)*
                    GetRequestNormal::TAG
                    | GetResponseNormal::TAG
                    | SetRequestNormal::TAG
                    | SetResponseNormal::TAG
                    | ActionRequestNormal::TAG
                    | ActionResponseNormal::TAG => {}
                    _ => return Err(ApduError::unexpected(tag)),
                }
                match (tag, head.byte()?) {
                    $(($variant::TAG, $variant::CHOICE) => {
                        Ok(Self::$variant($variant::decode(bytes)?))
                    })*
                    (_, choice) => Err(ApduError::UnsupportedChoice { tag, choice }),
                }
            }

            /// Whether a client asks for a service: a server owes it an answer, if it is confirmed.
            pub const fn is_request(&self) -> bool {
                match self {
                    $(Self::$variant(_) => is_request_tag($variant::TAG),)*
                    Self::DataNotification(_) => false,
                    $(Self::$tagged(_) => false,)*
                }
            }

            /// Appends the APDU to `out`.
            ///
            /// # Panics
            ///
            /// If a list is longer than [`LIST_MAX`], a window wider than
            /// [`GeneralBlockTransfer::WINDOW_MAX`], or a value deeper than
            /// [`DEPTH_MAX`](crate::axdr::DEPTH_MAX).
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    Self::DataNotification(apdu) => apdu.encode(out),
                    $(Self::$tagged(apdu) => apdu.encode(out),)*
                    $(Self::$variant(apdu) => apdu.encode(out),)*
                }
            }
        }
    };
}

apdus! {
    tagged: {
        /// A server tells an attribute unasked.
        EventNotification,
        /// A push has arrived for good.
        DataNotificationConfirm,
        /// A part of any APDU.
        GeneralBlockTransfer,
        /// The server cannot even answer the service.
        ExceptionResponse,
    }
    variants: {
        /// A client reads one attribute.
        GetRequestNormal,
        /// A client asks for the next block.
        GetRequestNext,
        /// A client reads several attributes.
        GetRequestWithList,
        /// What it reads.
        GetResponseNormal,
        /// A part of what it reads.
        GetResponseWithDatablock,
        /// What it reads of each.
        GetResponseWithList,
        /// A client writes one attribute.
        SetRequestNormal,
        /// A client begins to write one attribute in blocks.
        SetRequestWithFirstDatablock,
        /// A client goes on writing in blocks.
        SetRequestWithDatablock,
        /// A client writes several attributes.
        SetRequestWithList,
        /// A client begins to write several attributes in blocks.
        SetRequestWithListAndFirstDatablock,
        /// Whether that worked.
        SetResponseNormal,
        /// The server waits for the next block.
        SetResponseDatablock,
        /// Whether writing in blocks worked.
        SetResponseLastDatablock,
        /// Which writes in blocks worked.
        SetResponseLastDatablockWithList,
        /// Which writes worked.
        SetResponseWithList,
        /// A client invokes one method.
        ActionRequestNormal,
        /// A client asks for the next block.
        ActionRequestNextPblock,
        /// A client invokes several methods.
        ActionRequestWithList,
        /// A client begins to send one method's parameters in blocks.
        ActionRequestWithFirstPblock,
        /// A client begins to send several methods' parameters in blocks.
        ActionRequestWithListAndFirstPblock,
        /// A client goes on sending parameters.
        ActionRequestWithPblock,
        /// Whether that worked, and what came of it.
        ActionResponseNormal,
        /// A part of what came of it.
        ActionResponseWithPblock,
        /// Which methods worked, and what came of each.
        ActionResponseWithList,
        /// The server waits for the next block.
        ActionResponseNextPblock,
    }
}

const fn is_request_tag(tag: u8) -> bool {
    matches!(
        tag,
        GetRequestNormal::TAG | SetRequestNormal::TAG | ActionRequestNormal::TAG
    )
}

#[cfg(test)]
mod tests {
    use gridloom_core::{ObisCode, Period, UtcTime};

    use super::*;
    use crate::axdr::{AxdrError, Data};
    use crate::datetime::{CosemDateTime, DateTimeError};
    use crate::hex;

    const CLOCK: AttributeDescriptor = AttributeDescriptor {
        class_id: 8,
        instance: ObisCode([0, 0, 1, 0, 0, 255]),
        attribute: 2,
    };

    #[test]
    fn apdus_read_and_write_alike() {
        let reply_to_hls = MethodDescriptor {
            class_id: 15,
            instance: ObisCode([0, 0, 40, 0, 0, 255]),
            method: 1,
        };
        let action_response = |result, returned| {
            Apdu::ActionResponseNormal(ActionResponseNormal {
                invoke_id: InvokeId(0xC0),
                result,
                returned,
            })
        };
        let exception = |service| {
            Apdu::ExceptionResponse(ExceptionResponse {
                state: StateError::ServiceUnknown,
                service,
            })
        };
        let cases = [
            (
                "0F 000001DB 00 09022212",
                Apdu::DataNotification(DataNotification {
                    invoke_id: LongInvokeId(0x1DB),
                    time: None,
                    body: &[9, 2, 0x22, 0x12],
                }),
            ),
            (
                "0F 40000000 0C 07E1081003100005FF800000 00",
                Apdu::DataNotification(DataNotification {
                    invoke_id: LongInvokeId::confirmed(0),
                    time: Some(CosemDateTime {
                        year: 2017,
                        month: 8,
                        day: 16,
                        weekday: 3,
                        hour: 16,
                        minute: 0,
                        second: 5,
                        hundredths: 0xFF,
                        deviation: CosemDateTime::DEVIATION_OPEN,
                        status: crate::datetime::ClockStatus::GOOD,
                    }),
                    body: &[0],
                }),
            ),
            (
                "10 400B86BF 00",
                Apdu::DataNotificationConfirm(DataNotificationConfirm {
                    invoke_id: LongInvokeId::confirmed(755_391),
                    time: None,
                }),
            ),
            (
                "C0 01 C1 0008 0000010000FF 02 00",
                Apdu::GetRequestNormal(GetRequestNormal {
                    invoke_id: InvokeId(0xC1),
                    attribute: CLOCK,
                    access: None,
                }),
            ),
            (
                "C0 01 41 0008 0000010000FF 02 01 01 0600000001",
                Apdu::GetRequestNormal(GetRequestNormal {
                    invoke_id: InvokeId::confirmed(1),
                    attribute: CLOCK,
                    access: Some(SelectiveAccess {
                        selector: 1,
                        parameters: Data::DoubleLongUnsigned(1),
                    }),
                }),
            ),
            (
                "C4 01 C1 00 0600001391",
                Apdu::GetResponseNormal(GetResponseNormal {
                    invoke_id: InvokeId(0xC1),
                    result: Ok(Data::DoubleLongUnsigned(0x1391)),
                }),
            ),
            (
                "C4 01 C1 01 04",
                Apdu::GetResponseNormal(GetResponseNormal {
                    invoke_id: InvokeId(0xC1),
                    result: Err(DataAccessResult::ObjectUndefined),
                }),
            ),
            (
                "C1 01 C1 0008 0000010000FF 02 00 1101",
                Apdu::SetRequestNormal(SetRequestNormal {
                    invoke_id: InvokeId(0xC1),
                    attribute: CLOCK,
                    access: None,
                    value: Data::Unsigned(1),
                }),
            ),
            (
                "C5 01 C1 03",
                Apdu::SetResponseNormal(SetResponseNormal {
                    invoke_id: InvokeId(0xC1),
                    result: DataAccessResult::ReadWriteDenied,
                }),
            ),
            (
                "C3 01 C0 000F 0000280000FF 01 01 0901AA",
                Apdu::ActionRequestNormal(ActionRequestNormal {
                    invoke_id: InvokeId(0xC0),
                    method: reply_to_hls,
                    parameters: Some(Data::OctetString(vec![0xAA])),
                }),
            ),
            (
                "C3 01 C0 000F 0000280000FF 01 00",
                Apdu::ActionRequestNormal(ActionRequestNormal {
                    invoke_id: InvokeId(0xC0),
                    method: reply_to_hls,
                    parameters: None,
                }),
            ),
            (
                "C7 01 C0 00 00",
                action_response(ActionResult::Success, None),
            ),
            (
                "C7 01 C0 00 01 00 0901AA",
                action_response(
                    ActionResult::Success,
                    Some(Ok(Data::OctetString(vec![0xAA]))),
                ),
            ),
            (
                "C7 01 C0 00 01 01 FA",
                action_response(
                    ActionResult::Success,
                    Some(Err(DataAccessResult::OtherReason)),
                ),
            ),
            (
                "C7 01 C0 0F 00",
                action_response(ActionResult::LongActionAborted, None),
            ),
            ("D8 02 05", exception(ServiceError::DecipheringError)),
            (
                "D8 02 06 00000101",
                exception(ServiceError::InvocationCounterError { expected: 257 }),
            ),
        ];
        for (text, apdu) in cases {
            let bytes = hex::bytes(text);
            assert_eq!(Apdu::decode(&bytes).as_ref(), Ok(&apdu), "{text}");
            let mut out = Vec::new();
            apdu.encode(&mut out);
            assert_eq!(out, bytes, "{text}");
            // The body of a notification is not looked at, so cutting it is not noticed here.
            let body = if let Apdu::DataNotification(notification) = &apdu {
                notification.body.len()
            } else {
                0
            };
            for cut in 0..bytes.len() - body {
                assert!(Apdu::decode(&bytes[..cut]).is_err(), "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_tagged_date_time_reads_like_the_standard_one() {
        let standard = hex::bytes("0F 40000000 0C 07E40119060D091EFF800000 00");
        let tagged = hex::bytes("0F 40000000 090C 07E40119060D091EFF800000 00");
        assert_eq!(Apdu::decode(&standard), Apdu::decode(&tagged));
    }

    #[test]
    fn what_is_not_spoken_is_named() {
        let unknown = |field, code| ApduError::UnknownCode { field, code };
        let cases = [
            ("DB 08", ApduError::Ciphered { tag: 0xDB }),
            ("C8 1E", ApduError::Ciphered { tag: 0xC8 }),
            ("60 1D", ApduError::UnknownTag { tag: 0x60 }),
            (
                "C0 04 C1 00000001",
                ApduError::UnsupportedChoice {
                    tag: 0xC0,
                    choice: 4,
                },
            ),
            (
                "C4 00 C1 00 00000001",
                ApduError::UnsupportedChoice {
                    tag: 0xC4,
                    choice: 0,
                },
            ),
            ("C5 01 C1 05", unknown("data-access-result", 5)),
            ("C4 01 C1 02", unknown("get-data-result", 2)),
            ("C7 01 C1 05 00", unknown("action-result", 5)),
            ("C7 01 C1 00 02", unknown("return-parameters", 2)),
            ("D8 03 01", unknown("state-error", 3)),
            ("D8 01 07", unknown("service-error", 7)),
            (
                "10 00000000 00 00",
                ApduError::Axdr(AxdrError::TrailingBytes {
                    bytes: 1,
                    offset: 6,
                }),
            ),
            (
                "0F 00000000 01 FF",
                ApduError::DateTime(DateTimeError::WrongLength { bytes: 1 }),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Apdu::decode(&hex::bytes(text)), Err(expected), "{text}");
        }
        assert_eq!(
            SetResponseNormal::decode(&hex::bytes("C4 01")),
            Err(ApduError::WrongTag {
                wanted: 0xC5,
                found: 0xC4
            })
        );
    }

    #[test]
    fn an_interval_number_identifies_its_interval() {
        let end = |secs| UtcTime::from_secs(secs);
        let cases = [
            (Period::QUARTER_HOUR, 0, 0),
            (Period::QUARTER_HOUR, 900, 1),
            (Period::HOUR, 3_600 * 500_000, 500_000),
            (Period::from_secs(1).unwrap(), 1 << 24, 0),
            (Period::QUARTER_HOUR, -900, 0xFF_FFFF),
        ];
        for (period, secs, number) in cases {
            let id = LongInvokeId::of_interval(period, end(secs));
            assert_eq!(id.number(), number);
            assert_eq!(id, LongInvokeId::confirmed(number));
        }
    }
}
