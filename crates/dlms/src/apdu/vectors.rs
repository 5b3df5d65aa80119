//! Every variant of every service, byte for byte.

use gridloom_core::ObisCode;

use super::*;
use crate::axdr::{AxdrError, Data};
use crate::datetime::CosemDateTime;
use crate::hex;

const ID: InvokeId = InvokeId(0xC1);

const REGISTER: AttributeDescriptor = AttributeDescriptor {
    class_id: 3,
    instance: ObisCode([1, 0, 1, 8, 0, 255]),
    attribute: 2,
};
const REGISTER_BYTES: &str = "0003 0100010800FF 02";

const RESET: MethodDescriptor = MethodDescriptor {
    class_id: 3,
    instance: ObisCode([1, 0, 1, 8, 0, 255]),
    method: 1,
};
const RESET_BYTES: &str = "0003 0100010800FF 01";

fn block(last: bool, number: u32, raw: &str) -> DataBlock {
    DataBlock {
        last,
        number,
        raw: hex::bytes(raw),
    }
}

/// Each variant, with its bytes.
fn vectors() -> Vec<(String, Apdu<'static>)> {
    let access = SelectiveAccess {
        selector: 2,
        parameters: Data::DoubleLongUnsigned(1),
    };
    let attributes = vec![(REGISTER, None), (REGISTER, Some(access.clone()))];
    let attributes_bytes = format!("02 {REGISTER_BYTES} 00 {REGISTER_BYTES} 01 02 0600000001");
    vec![
        (
            "C0 02 C1 00000001".into(),
            Apdu::GetRequestNext(GetRequestNext {
                invoke_id: ID,
                block: 1,
            }),
        ),
        (
            format!("C0 03 C1 {attributes_bytes}"),
            Apdu::GetRequestWithList(GetRequestWithList {
                invoke_id: ID,
                attributes: attributes.clone(),
            }),
        ),
        (
            "C4 02 C1 00 00000001 00 03 090401".into(),
            Apdu::GetResponseWithDatablock(GetResponseWithDatablock {
                invoke_id: ID,
                last: false,
                block: 1,
                result: Ok(vec![9, 4, 1]),
            }),
        ),
        (
            "C4 02 C1 01 00000002 01 13".into(),
            Apdu::GetResponseWithDatablock(GetResponseWithDatablock {
                invoke_id: ID,
                last: true,
                block: 2,
                result: Err(DataAccessResult::DataBlockNumberInvalid),
            }),
        ),
        (
            "C4 03 C1 02 00 0600001391 01 04".into(),
            Apdu::GetResponseWithList(GetResponseWithList {
                invoke_id: ID,
                results: vec![
                    Ok(Data::DoubleLongUnsigned(0x1391)),
                    Err(DataAccessResult::ObjectUndefined),
                ],
            }),
        ),
        (
            format!("C1 02 C1 {REGISTER_BYTES} 00 00 00000001 02 0904"),
            Apdu::SetRequestWithFirstDatablock(SetRequestWithFirstDatablock {
                invoke_id: ID,
                attribute: REGISTER,
                access: None,
                block: block(false, 1, "0904"),
            }),
        ),
        (
            "C1 03 C1 01 00000002 04 01020304".into(),
            Apdu::SetRequestWithDatablock(SetRequestWithDatablock {
                invoke_id: ID,
                block: block(true, 2, "01020304"),
            }),
        ),
        (
            format!("C1 04 C1 {attributes_bytes} 02 1105 00"),
            Apdu::SetRequestWithList(SetRequestWithList {
                invoke_id: ID,
                writes: vec![
                    (REGISTER, None, Data::Unsigned(5)),
                    (REGISTER, Some(access), Data::Null),
                ],
            }),
        ),
        (
            format!("C1 05 C1 {attributes_bytes} 00 00000001 01 02"),
            Apdu::SetRequestWithListAndFirstDatablock(SetRequestWithListAndFirstDatablock {
                invoke_id: ID,
                attributes,
                block: block(false, 1, "02"),
            }),
        ),
        (
            "C5 02 C1 00000001".into(),
            Apdu::SetResponseDatablock(SetResponseDatablock {
                invoke_id: ID,
                block: 1,
            }),
        ),
        (
            "C5 03 C1 00 00000002".into(),
            Apdu::SetResponseLastDatablock(SetResponseLastDatablock {
                invoke_id: ID,
                result: DataAccessResult::Success,
                block: 2,
            }),
        ),
        (
            "C5 04 C1 02 00 0C 00000003".into(),
            Apdu::SetResponseLastDatablockWithList(SetResponseLastDatablockWithList {
                invoke_id: ID,
                results: vec![DataAccessResult::Success, DataAccessResult::TypeUnmatched],
                block: 3,
            }),
        ),
        (
            "C5 05 C1 02 03 00".into(),
            Apdu::SetResponseWithList(SetResponseWithList {
                invoke_id: ID,
                results: vec![DataAccessResult::ReadWriteDenied, DataAccessResult::Success],
            }),
        ),
        (
            "C3 02 C1 00000001".into(),
            Apdu::ActionRequestNextPblock(ActionRequestNextPblock {
                invoke_id: ID,
                block: 1,
            }),
        ),
        (
            format!("C3 03 C1 02 {RESET_BYTES} {RESET_BYTES} 02 0F00 00"),
            Apdu::ActionRequestWithList(ActionRequestWithList {
                invoke_id: ID,
                invocations: vec![(RESET, Data::Integer(0)), (RESET, Data::Null)],
            }),
        ),
        (
            format!("C3 04 C1 {RESET_BYTES} 00 00000001 01 09"),
            Apdu::ActionRequestWithFirstPblock(ActionRequestWithFirstPblock {
                invoke_id: ID,
                method: RESET,
                block: block(false, 1, "09"),
            }),
        ),
        (
            format!("C3 05 C1 01 {RESET_BYTES} 00 00000001 01 01"),
            Apdu::ActionRequestWithListAndFirstPblock(ActionRequestWithListAndFirstPblock {
                invoke_id: ID,
                methods: vec![RESET],
                block: block(false, 1, "01"),
            }),
        ),
        (
            "C3 06 C1 01 00000002 01 AA".into(),
            Apdu::ActionRequestWithPblock(ActionRequestWithPblock {
                invoke_id: ID,
                block: block(true, 2, "AA"),
            }),
        ),
        (
            "C7 02 C1 00 00000001 02 0001".into(),
            Apdu::ActionResponseWithPblock(ActionResponseWithPblock {
                invoke_id: ID,
                block: block(false, 1, "0001"),
            }),
        ),
        (
            "C7 03 C1 03 00 00 00 01 00 1105 04 01 01 0B".into(),
            Apdu::ActionResponseWithList(ActionResponseWithList {
                invoke_id: ID,
                outcomes: outcomes(),
            }),
        ),
        (
            "C7 04 C1 00000001".into(),
            Apdu::ActionResponseNextPblock(ActionResponseNextPblock {
                invoke_id: ID,
                block: 1,
            }),
        ),
        (
            format!("C2 00 {REGISTER_BYTES} 0600000001"),
            Apdu::EventNotification(EventNotification {
                time: None,
                attribute: REGISTER,
                value: Data::DoubleLongUnsigned(1),
            }),
        ),
        (
            format!("C2 01 0C 07E40119060D091EFF800000 {REGISTER_BYTES} 00"),
            Apdu::EventNotification(EventNotification {
                time: Some(CosemDateTime::decode(&hex::bytes("07E40119060D091EFF800000")).unwrap()),
                attribute: REGISTER,
                value: Data::Null,
            }),
        ),
        (
            "E0 45 0002 0001 03 C40101".into(),
            Apdu::GeneralBlockTransfer(GeneralBlockTransfer {
                last: false,
                streaming: true,
                window: 5,
                number: 2,
                acknowledged: 1,
                data: vec![0xC4, 1, 1],
            }),
        ),
        (
            "E0 BF 0102 0304 00".into(),
            Apdu::GeneralBlockTransfer(GeneralBlockTransfer {
                last: true,
                streaming: false,
                window: 63,
                number: 0x102,
                acknowledged: 0x304,
                data: vec![],
            }),
        ),
    ]
}

fn outcomes() -> Vec<Outcome> {
    vec![
        (ActionResult::Success, None),
        (ActionResult::Success, Some(Ok(Data::Unsigned(5)))),
        (
            ActionResult::ObjectUndefined,
            Some(Err(DataAccessResult::ObjectUnavailable)),
        ),
    ]
}

#[test]
fn every_variant_reads_and_writes_alike() {
    for (text, apdu) in vectors() {
        let bytes = hex::bytes(&text);
        assert_eq!(Apdu::decode(&bytes).as_ref(), Ok(&apdu), "{text}");
        let mut out = Vec::new();
        apdu.encode(&mut out);
        assert_eq!(out, bytes, "{text}");
        for cut in 0..bytes.len() {
            assert!(Apdu::decode(&bytes[..cut]).is_err(), "{text} cut at {cut}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(
            matches!(
                Apdu::decode(&longer),
                Err(ApduError::Axdr(AxdrError::TrailingBytes { bytes: 1, .. }))
            ),
            "{text}"
        );
    }
}

#[test]
fn only_get_set_and_action_requests_ask_for_a_service() {
    for (text, apdu) in vectors() {
        let asks = ["C0", "C1", "C3"].iter().any(|tag| text.starts_with(tag));
        assert_eq!(apdu.is_request(), asks, "{text}");
    }
}

#[test]
fn choices_that_nobody_assigned_are_named() {
    let services = [
        (0xC0, 3),
        (0xC1, 5),
        (0xC3, 6),
        (0xC4, 3),
        (0xC5, 5),
        (0xC7, 4),
    ];
    for (tag, assigned) in services {
        for choice in [0, assigned + 1, 0xFF] {
            assert_eq!(
                Apdu::decode(&[tag, choice, 0xC1]),
                Err(ApduError::UnsupportedChoice { tag, choice })
            );
        }
        let highest = [tag, assigned, 0xC1];
        assert!(!matches!(
            Apdu::decode(&highest),
            Err(ApduError::UnsupportedChoice { .. }) | Ok(_)
        ));
    }
    // A reader of one variant is not deceived by another of the same service.
    assert_eq!(
        GetRequestNext::decode(&hex::bytes("C0 01 C1 00000001")),
        Err(ApduError::UnsupportedChoice {
            tag: 0xC0,
            choice: 1
        })
    );
}

#[test]
fn lists_are_bounded_and_paired() {
    let entry = format!("{REGISTER_BYTES} 00");
    let get = |count: usize| format!("C0 03 C1 {count:02X} {}", entry.repeat(count));
    assert!(Apdu::decode(&hex::bytes(&get(LIST_MAX))).is_ok());
    assert_eq!(
        Apdu::decode(&hex::bytes(&get(LIST_MAX + 1))),
        Err(ApduError::ListTooLong {
            count: 65,
            offset: 3
        })
    );
    let cases = [
        (
            "C0 03 C1 84FFFFFFFF".to_owned(),
            ApduError::ListTooLong {
                count: 0xFFFF_FFFF,
                offset: 3,
            },
        ),
        (
            format!("C1 04 C1 01 {entry} 02 00 00"),
            ApduError::ListsDiffer {
                wanted: 1,
                found: 2,
            },
        ),
        (
            format!("C3 03 C1 02 {RESET_BYTES} {RESET_BYTES} 01 00"),
            ApduError::ListsDiffer {
                wanted: 2,
                found: 1,
            },
        ),
        (
            "C4 02 C1 01 00000002 02 13".to_owned(),
            ApduError::UnknownCode {
                field: "data-block-result",
                code: 2,
            },
        ),
        (
            "C2 02".to_owned(),
            ApduError::UnknownCode {
                field: "time",
                code: 2,
            },
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(Apdu::decode(&hex::bytes(&text)), Err(expected), "{text}");
    }
}

#[test]
#[should_panic(expected = "at most 64 entries, not 65")]
fn a_list_that_nobody_takes_is_never_written() {
    encode_values(&vec![Data::Null; LIST_MAX + 1]);
}

#[test]
fn lists_in_blocks_read_and_write_alike() {
    let values = vec![Data::Unsigned(5), Data::Null];
    assert_eq!(encode_values(&values), hex::bytes("02 1105 00"));
    assert_eq!(decode_values(&hex::bytes("02 1105 00")), Ok(values));

    let results = vec![Ok(Data::Unsigned(5)), Err(DataAccessResult::OtherReason)];
    assert_eq!(encode_results(&results), hex::bytes("02 00 1105 01 FA"));
    assert_eq!(decode_results(&hex::bytes("02 00 1105 01 FA")), Ok(results));

    let bytes = hex::bytes("03 00 00 00 01 00 1105 04 01 01 0B");
    assert_eq!(encode_outcomes(&outcomes()), bytes);
    assert_eq!(decode_outcomes(&bytes), Ok(outcomes()));
    let one = hex::bytes("00 01 00 1105");
    assert_eq!(encode_outcome(&outcomes()[1]), one);
    assert_eq!(decode_outcome(&one).as_ref(), Ok(&outcomes()[1]));
    assert!(decode_outcome(&bytes).is_err());
}
