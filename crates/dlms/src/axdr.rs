//! A-XDR (IEC 61334-6) as COSEM uses it: the `Data` type of IEC 62056-6-2, owned as a tree
//! or read and written value by value without a tree.

mod compact;
mod data;
mod decoder;
mod encoder;
mod tag;

pub use compact::{CompactArray, CompactArrayError, TypeDescription};
pub use data::{BitString, Data};
pub use decoder::{AxdrError, DEPTH_MAX, Decoder, ELEMENTS_MAX};
pub use encoder::Encoder;
pub use tag::Tag;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn values_read_and_write_alike() {
        let cases = [
            ("00", Data::Null),
            ("FF", Data::DontCare),
            ("0100", Data::Array(vec![])),
            (
                "0102 1105 1106",
                Data::Array(vec![Data::Unsigned(5), Data::Unsigned(6)]),
            ),
            (
                "0202 0F FF 1603",
                Data::Structure(vec![Data::Integer(-1), Data::Enum(3)]),
            ),
            ("0301", Data::Boolean(true)),
            (
                "040A FF80",
                Data::BitString(BitString::new(10, vec![0xFF, 0x80]).unwrap()),
            ),
            ("05FFFFFFFE", Data::DoubleLong(-2)),
            ("06FFFFFFFE", Data::DoubleLongUnsigned(0xFFFF_FFFE)),
            ("0903 010203", Data::OctetString(vec![1, 2, 3])),
            ("0A02 4142", Data::VisibleString(b"AB".to_vec())),
            ("0C02 C3A4", Data::Utf8String("ä".to_owned())),
            ("0D42", Data::Bcd(0x42)),
            ("0F80", Data::Integer(-128)),
            ("108000", Data::Long(i16::MIN)),
            ("11FF", Data::Unsigned(255)),
            ("12FFFE", Data::LongUnsigned(0xFFFE)),
            ("14 FFFFFFFFFFFFFFFF", Data::Long64(-1)),
            ("15 8000000000000000", Data::Long64Unsigned(1 << 63)),
            ("1607", Data::Enum(7)),
            ("17 3FC00000", Data::Float32(1.5_f32.to_bits())),
            ("18 BFF8000000000000", Data::Float64((-1.5_f64).to_bits())),
            (
                "19 07DD011F04171E0000000000",
                Data::DateTime([0x07, 0xDD, 1, 31, 4, 23, 30, 0, 0, 0, 0, 0]),
            ),
            ("1A 07DD011F04", Data::Date([0x07, 0xDD, 1, 31, 4])),
            ("1B 171E0000", Data::Time([23, 30, 0, 0])),
            ("1CFF", Data::DeltaInteger(-1)),
            ("1DFFFF", Data::DeltaLong(-1)),
            ("1EFFFFFFFF", Data::DeltaDoubleLong(-1)),
            ("1F01", Data::DeltaUnsigned(1)),
            ("200001", Data::DeltaLongUnsigned(1)),
            ("2100000001", Data::DeltaDoubleLongUnsigned(1)),
            (
                // Three elements of structure {octet-string, array of 2 unsigned}.
                "13 0202 09 010002 11 0A 01AA 0102 00 0304 00 0506",
                Data::CompactArray(
                    CompactArray::new(
                        TypeDescription::Structure(vec![
                            TypeDescription::Simple(Tag::OctetString),
                            TypeDescription::Array {
                                count: 2,
                                element: Box::new(TypeDescription::Simple(Tag::Unsigned)),
                            },
                        ]),
                        [(&[0xAA][..], 1, 2), (&[], 3, 4), (&[], 5, 6)]
                            .map(|(octets, a, b)| {
                                Data::Structure(vec![
                                    Data::OctetString(octets.to_vec()),
                                    Data::Array(vec![Data::Unsigned(a), Data::Unsigned(b)]),
                                ])
                            })
                            .to_vec(),
                    )
                    .unwrap(),
                ),
            ),
        ];
        for (text, value) in cases {
            let bytes = hex::bytes(text);
            assert_eq!(Data::decode(&bytes).as_ref(), Ok(&value), "{text}");
            assert_eq!(value.encode(), bytes, "{text}");
        }
    }

    #[test]
    fn lengths_take_the_shortest_form_and_any_is_read() {
        let cases = [
            (0, "00"),
            (127, "7F"),
            (128, "8180"),
            (255, "81FF"),
            (256, "820100"),
            (65_535, "82FFFF"),
            (65_536, "83010000"),
            (16_777_216, "8401000000"),
        ];
        for (length, text) in cases {
            let mut out = Vec::new();
            Encoder::new(&mut out).length(length);
            assert_eq!(out, hex::bytes(text));
            assert_eq!(Decoder::new(&out).length(), Ok(length));
        }
        for long_form in ["8105", "820005", "8400000005"] {
            assert_eq!(Decoder::new(&hex::bytes(long_form)).length(), Ok(5));
        }
        assert_eq!(
            Decoder::new(&hex::bytes("850000000005")).length(),
            Err(AxdrError::LengthTooLong {
                bytes: 5,
                offset: 0
            })
        );
    }

    #[test]
    fn what_is_no_value_is_named() {
        let depth = |levels: usize| "0101".repeat(levels - 1) + "00";
        assert!(Data::decode(&hex::bytes(&depth(DEPTH_MAX))).is_ok());
        type Check = fn(&AxdrError) -> bool;
        let cases: [(&str, Check); 15] = [
            ("", |e| matches!(e, AxdrError::Truncated(_))),
            ("0600", |e| matches!(e, AxdrError::Truncated(_))),
            ("0203 00", |e| matches!(e, AxdrError::Truncated(_))),
            // Gigabytes announced in six bytes.
            ("0184FFFFFFFF", |e| matches!(e, AxdrError::Truncated(_))),
            ("0984FFFFFFFF", |e| matches!(e, AxdrError::Truncated(_))),
            ("0484FFFFFFFF", |e| matches!(e, AxdrError::Truncated(_))),
            ("1311 84FFFFFFFF", |e| matches!(e, AxdrError::Truncated(_))),
            ("0102 00 08", |e| {
                *e == AxdrError::UnknownTag { tag: 8, offset: 3 }
            }),
            ("0C01 FF", |e| *e == AxdrError::NotUtf8 { offset: 2 }),
            ("0000", |e| {
                *e == AxdrError::TrailingBytes {
                    bytes: 1,
                    offset: 1,
                }
            }),
            ("13 00 01 00", |e| {
                matches!(e, AxdrError::EmptyElement { .. })
            }),
            ("13 0200 01 00", |e| {
                matches!(e, AxdrError::EmptyElement { .. })
            }),
            ("13 13 11 01 00", |e| {
                *e == AxdrError::NestedCompactArray { offset: 1 }
            }),
            // The last element reaches past the announced content.
            ("13 12 03 000102 03", |e| {
                matches!(e, AxdrError::WrongLength { wanted: 6, .. })
            }),
            (&depth(DEPTH_MAX + 1), |e| {
                matches!(e, AxdrError::TooDeep { .. })
            }),
        ];
        for (text, is_expected) in cases {
            let error = Data::decode(&hex::bytes(text)).unwrap_err();
            assert!(is_expected(&error), "{text}: {error:?}");
        }
    }

    #[test]
    fn a_few_bytes_never_become_many_values() {
        // 65 535 arrays of 65 535 nulls each, for one byte of content.
        let cases = [
            "13 0202 11 01FFFF 01FFFF 00 01 00",
            "13 0202 11 01FFFF 00 02 0000",
        ];
        for text in cases {
            let error = Data::decode(&hex::bytes(text)).unwrap_err();
            assert!(
                matches!(error, AxdrError::TooManyElements { .. }),
                "{text}: {error:?}"
            );
        }
        let wide = [&[1, 0x83, 1, 0, 0][..], &vec![0; 65_536]].concat();
        assert!(matches!(
            Data::decode(&wide),
            Err(AxdrError::TooManyElements { .. })
        ));
    }

    #[test]
    fn a_compact_array_is_checked_when_made() {
        let unsigned = TypeDescription::Simple(Tag::Unsigned);
        assert_eq!(
            CompactArray::new(unsigned, vec![Data::Unsigned(1), Data::Integer(1)]),
            Err(CompactArrayError::Mismatch { index: 1 })
        );
        assert_eq!(
            CompactArray::new(TypeDescription::Simple(Tag::Null), vec![]),
            Err(CompactArrayError::EmptyElement)
        );
        let nested = (0..CompactArray::DEPTH_MAX)
            .fold(TypeDescription::Simple(Tag::Unsigned), |inner, _| {
                TypeDescription::Structure(vec![inner])
            });
        assert!(matches!(
            CompactArray::new(nested, vec![]),
            Err(CompactArrayError::TooDeep { depth: 9, .. })
        ));
    }

    #[test]
    fn values_are_read_without_a_tree() {
        let bytes = hex::bytes("0203 0902AABB 12 0102 05FFFFFFFF");
        let mut decoder = Decoder::new(&bytes);
        decoder.structure(3).unwrap();
        assert_eq!(decoder.octet_array(), Ok([0xAA, 0xBB]));
        assert_eq!(
            decoder.clone().unsigned(),
            Err(AxdrError::WrongType {
                wanted: Tag::Unsigned,
                found: Tag::LongUnsigned,
                offset: 6,
            })
        );
        assert_eq!(decoder.long_unsigned(), Ok(0x0102));
        assert_eq!(decoder.double_long(), Ok(-1));
        assert_eq!(decoder.finish(), Ok(()));
        assert_eq!(
            Decoder::new(&bytes).structure(2),
            Err(AxdrError::WrongLength {
                wanted: 2,
                found: 3,
                offset: 1,
            })
        );
    }
}
