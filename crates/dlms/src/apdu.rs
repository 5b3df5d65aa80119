//! The xDLMS APDUs (IEC 62056-5-3, clause 8) in plaintext: push, GET, SET, ACTION, exceptions.
//!
//! Ciphered ones are opened by [`crate::security`] first. Block transfer and lists are refused
//! with a name, as is every tag that is not spoken here.

mod action;
mod error;
mod exception;
mod field;
mod get;
mod notification;
mod set;

use crate::axdr::Decoder;

pub use action::{ActionRequestNormal, ActionResponseNormal};
pub use error::ApduError;
pub use exception::{ExceptionResponse, ServiceError, StateError};
pub use field::{
    ActionResult, AttributeDescriptor, DataAccessResult, InvokeId, LongInvokeId, MethodDescriptor,
    SelectiveAccess,
};
pub use get::{GetRequestNormal, GetResponseNormal};
pub use notification::{DataNotification, DataNotificationConfirm};
pub use set::{SetRequestNormal, SetResponseNormal};

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
                "C0 02 C1 00000001",
                ApduError::UnsupportedChoice {
                    tag: 0xC0,
                    choice: 2,
                },
            ),
            (
                "C4 02 C1 00 00000001",
                ApduError::UnsupportedChoice {
                    tag: 0xC4,
                    choice: 2,
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
