//! Selective access to a profile generic (IEC 62056-6-2, class 7, attribute 2): rows by the
//! range of a captured value, or rows and columns by their numbers.

use gridloom_core::{ObisCode, UtcTime};

use crate::apdu::SelectiveAccess;
use crate::axdr::{Data, Tag};
use crate::datetime::{CosemDateTime, DateTimeError};

/// Columns that a range may select; more are refused when read, and a bug when written.
pub const SELECTED_MAX: usize = 64;

/// Why a selective access selects nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// A profile has selectors 1 and 2 only, and each reader wants its own.
    #[error("selection: selector {found}, {wanted} wanted; use 1 for ranges, 2 for entries")]
    WrongSelector {
        /// The selector wanted.
        wanted: u8,
        /// The selector found.
        found: u8,
    },
    /// A parameter of another type than the selector has.
    #[error("selection: {field} is {found:?}, {wanted:?} wanted")]
    WrongType {
        /// Which parameter.
        field: &'static str,
        /// Its type.
        wanted: Tag,
        /// The type that stands there.
        found: Tag,
    },
    /// A structure or string of another length than the selector has.
    #[error("selection: {field} has {found} elements or bytes, {wanted} wanted")]
    WrongLength {
        /// Which parameter.
        field: &'static str,
        /// Its length.
        wanted: usize,
        /// The length that stands there.
        found: usize,
    },
    /// More columns than [`SELECTED_MAX`].
    #[error("selection: {found} columns, at most {SELECTED_MAX} are allowed; leave the list empty")]
    TooManyColumns {
        /// How many.
        found: usize,
    },
    /// A bound that is no point in time.
    #[error("selection: {field}: {error}")]
    NoTime {
        /// Which bound.
        field: &'static str,
        /// Why.
        error: DateTimeError,
    },
}

/// One column of a profile: an attribute of an object, or one element of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaptureObject {
    /// The interface class.
    pub class_id: u16,
    /// The object's logical name.
    pub instance: ObisCode,
    /// The attribute's number; 0 for all.
    pub attribute: i8,
    /// Which element of the attribute, from 1; 0 for the whole attribute.
    pub data_index: u16,
}

impl CaptureObject {
    /// The time of a clock: the column by which profiles are read.
    pub const CLOCK: Self = Self {
        class_id: 8,
        instance: ObisCode([0, 0, 1, 0, 0, 255]),
        attribute: 2,
        data_index: 0,
    };

    /// The definition as a value, as it stands in `capture_objects` as well.
    pub fn to_data(self) -> Data {
        Data::Structure(vec![
            Data::LongUnsigned(self.class_id),
            Data::OctetString(self.instance.0.to_vec()),
            Data::Integer(self.attribute),
            Data::LongUnsigned(self.data_index),
        ])
    }

    /// Reads a definition.
    ///
    /// # Errors
    ///
    /// Any other type or length.
    pub fn from_data(data: &Data) -> Result<Self, SelectionError> {
        let [class_id, instance, attribute, data_index] = structure("capture object", data)?;
        let Data::OctetString(name) = instance else {
            return Err(wrong_type("logical name", Tag::OctetString, instance));
        };
        let name = name[..]
            .try_into()
            .map_err(|_| SelectionError::WrongLength {
                field: "logical name",
                wanted: 6,
                found: name.len(),
            })?;
        let Data::Integer(attribute) = *attribute else {
            return Err(wrong_type("attribute index", Tag::Integer, attribute));
        };
        Ok(Self {
            class_id: long_unsigned("class id", class_id)?,
            instance: ObisCode(name),
            attribute,
            data_index: long_unsigned("data index", data_index)?,
        })
    }
}

/// Rows whose captured value lies in a range (selector 1). Both bounds belong to the range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeDescriptor {
    /// The column that decides.
    pub restricting: CaptureObject,
    /// The least value, of the column's type.
    pub from: Data,
    /// The greatest value, of the column's type.
    pub to: Data,
    /// The columns to return; all if empty.
    pub selected: Vec<CaptureObject>,
}

impl RangeDescriptor {
    /// The selector's number.
    pub const SELECTOR: u8 = 1;

    /// All columns of the rows captured from `from` to `to`.
    ///
    /// The times go out as they are: take them from the meter's own deviation, or leave it
    /// [open](CosemDateTime::DEVIATION_OPEN) for meters that compare local times only.
    pub fn by_clock(from: CosemDateTime, to: CosemDateTime) -> Self {
        Self {
            restricting: CaptureObject::CLOCK,
            from: Data::OctetString(from.to_bytes().to_vec()),
            to: Data::OctetString(to.to_bytes().to_vec()),
            selected: Vec::new(),
        }
    }

    /// The bounds as points in time, as octet strings or date-times.
    ///
    /// `default_deviation` holds where a bound leaves its deviation open, in minutes as in
    /// [`CosemDateTime::deviation`]: it is the meter's own. Taking such a bound for UTC shifts
    /// the range by the meter's time zone, which is how range reads come back empty.
    ///
    /// # Errors
    ///
    /// A bound of another type, or one that is no point in time.
    pub fn times(&self, default_deviation: i16) -> Result<(UtcTime, UtcTime), SelectionError> {
        let time = |field, data: &Data| {
            let time = if let Data::OctetString(bytes) = data {
                CosemDateTime::decode(bytes)
            } else if let Data::DateTime(bytes) = data {
                Ok(CosemDateTime::from_bytes(*bytes))
            } else {
                return Err(wrong_type(field, Tag::OctetString, data));
            };
            time.and_then(|time| time.to_utc_at(default_deviation))
                .map_err(|error| SelectionError::NoTime { field, error })
        };
        Ok((time("from value", &self.from)?, time("to value", &self.to)?))
    }

    /// The access by which a GET asks for this range.
    ///
    /// # Panics
    ///
    /// If more columns are selected than [`SELECTED_MAX`].
    pub fn to_access(&self) -> SelectiveAccess {
        assert!(
            self.selected.len() <= SELECTED_MAX,
            "a range selects at most {SELECTED_MAX} columns, not {}",
            self.selected.len()
        );
        let selected = self.selected.iter().map(|column| column.to_data());
        SelectiveAccess {
            selector: Self::SELECTOR,
            parameters: Data::Structure(vec![
                self.restricting.to_data(),
                self.from.clone(),
                self.to.clone(),
                Data::Array(selected.collect()),
            ]),
        }
    }

    /// Reads what a GET asks for.
    ///
    /// # Errors
    ///
    /// Another selector, other types or lengths, or too many columns. The bounds may have any
    /// type: only the column knows its own.
    pub fn from_access(access: &SelectiveAccess) -> Result<Self, SelectionError> {
        expect_selector(access, Self::SELECTOR)?;
        let [restricting, from, to, selected] = structure("range descriptor", &access.parameters)?;
        let Data::Array(selected) = selected else {
            return Err(wrong_type("selected values", Tag::Array, selected));
        };
        if selected.len() > SELECTED_MAX {
            return Err(SelectionError::TooManyColumns {
                found: selected.len(),
            });
        }
        Ok(Self {
            restricting: CaptureObject::from_data(restricting)?,
            from: from.clone(),
            to: to.clone(),
            selected: selected
                .iter()
                .map(CaptureObject::from_data)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Rows and columns by their numbers, from 1 (selector 2). Both ends belong to the selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryDescriptor {
    /// The first row.
    pub from: u32,
    /// The last row; 0 for the last one there is.
    pub to: u32,
    /// The first column.
    pub from_column: u16,
    /// The last column; 0 for the last one there is.
    pub to_column: u16,
}

impl EntryDescriptor {
    /// The selector's number.
    pub const SELECTOR: u8 = 2;

    /// All columns of the rows `from` to `to`.
    pub const fn rows(from: u32, to: u32) -> Self {
        Self {
            from,
            to,
            from_column: 1,
            to_column: 0,
        }
    }

    /// The access by which a GET asks for these entries.
    pub fn to_access(self) -> SelectiveAccess {
        SelectiveAccess {
            selector: Self::SELECTOR,
            parameters: Data::Structure(vec![
                Data::DoubleLongUnsigned(self.from),
                Data::DoubleLongUnsigned(self.to),
                Data::LongUnsigned(self.from_column),
                Data::LongUnsigned(self.to_column),
            ]),
        }
    }

    /// Reads what a GET asks for.
    ///
    /// # Errors
    ///
    /// Another selector, or other types or lengths.
    pub fn from_access(access: &SelectiveAccess) -> Result<Self, SelectionError> {
        expect_selector(access, Self::SELECTOR)?;
        let [from, to, from_column, to_column] = structure("entry descriptor", &access.parameters)?;
        let row = |field, data: &Data| {
            if let Data::DoubleLongUnsigned(row) = *data {
                Ok(row)
            } else {
                Err(wrong_type(field, Tag::DoubleLongUnsigned, data))
            }
        };
        Ok(Self {
            from: row("from entry", from)?,
            to: row("to entry", to)?,
            from_column: long_unsigned("from selected value", from_column)?,
            to_column: long_unsigned("to selected value", to_column)?,
        })
    }

    /// The selected rows of `count`, from 0; empty if there are none.
    pub fn row_range(self, count: usize) -> std::ops::Range<usize> {
        range(self.from, self.to, count)
    }

    /// The selected columns of `count`, from 0; empty if there are none.
    pub fn column_range(self, count: usize) -> std::ops::Range<usize> {
        range(self.from_column.into(), self.to_column.into(), count)
    }
}

/// Numbers from 1 as indices from 0. A first number of 0, which the standard does not have,
/// means 1, as clients use it.
fn range(from: u32, to: u32, count: usize) -> std::ops::Range<usize> {
    let index = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let end = if to == 0 { count } else { index(to).min(count) };
    let start = index(from.saturating_sub(1)).min(end);
    start..end
}

fn expect_selector(access: &SelectiveAccess, wanted: u8) -> Result<(), SelectionError> {
    if access.selector == wanted {
        Ok(())
    } else {
        Err(SelectionError::WrongSelector {
            wanted,
            found: access.selector,
        })
    }
}

fn structure<'a, const N: usize>(
    field: &'static str,
    data: &'a Data,
) -> Result<&'a [Data; N], SelectionError> {
    let Data::Structure(members) = data else {
        return Err(wrong_type(field, Tag::Structure, data));
    };
    members[..]
        .try_into()
        .map_err(|_| SelectionError::WrongLength {
            field,
            wanted: N,
            found: members.len(),
        })
}

fn long_unsigned(field: &'static str, data: &Data) -> Result<u16, SelectionError> {
    if let Data::LongUnsigned(value) = *data {
        Ok(value)
    } else {
        Err(wrong_type(field, Tag::LongUnsigned, data))
    }
}

fn wrong_type(field: &'static str, wanted: Tag, found: &Data) -> SelectionError {
    SelectionError::WrongType {
        field,
        wanted,
        found: found.tag(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    const CLOCK: &str = "0204 120008 0906 0000010000FF 0F02 120000";

    fn access(selector: u8, text: &str) -> SelectiveAccess {
        SelectiveAccess {
            selector,
            parameters: Data::decode(&hex::bytes(text)).unwrap(),
        }
    }

    fn time(text: &str) -> CosemDateTime {
        CosemDateTime::decode(&hex::bytes(text)).unwrap()
    }

    #[test]
    fn ranges_read_and_write_alike() {
        let from = "07E80101FF00000000800000";
        let to = "07E80102FF00000000800000";
        let by_clock = RangeDescriptor::by_clock(time(from), time(to));
        let energy = CaptureObject {
            class_id: 3,
            instance: ObisCode([1, 0, 1, 8, 0, 255]),
            attribute: 2,
            data_index: 1,
        };
        let cases = [
            (
                format!("0204 {CLOCK} 090C {from} 090C {to} 0100"),
                by_clock.clone(),
            ),
            (
                format!(
                    "0204 {CLOCK} 0600000001 0600000002 \
                     0102 {CLOCK} 0204 120003 0906 0100010800FF 0F02 120001"
                ),
                RangeDescriptor {
                    from: Data::DoubleLongUnsigned(1),
                    to: Data::DoubleLongUnsigned(2),
                    selected: vec![CaptureObject::CLOCK, energy],
                    ..by_clock
                },
            ),
        ];
        for (text, range) in cases {
            let access = access(1, &text);
            assert_eq!(RangeDescriptor::from_access(&access), Ok(range.clone()));
            assert_eq!(range.to_access(), access, "{text}");
        }
    }

    #[test]
    fn entries_read_and_write_alike() {
        let entries = EntryDescriptor {
            from: 1,
            to: 0x1_0000,
            from_column: 2,
            to_column: 0,
        };
        let access = access(2, "0204 0600000001 0600010000 120002 120000");
        assert_eq!(EntryDescriptor::from_access(&access), Ok(entries));
        assert_eq!(entries.to_access(), access);
        assert_eq!(EntryDescriptor::rows(3, 4).column_range(5), 0..5);
    }

    #[test]
    fn numbers_from_one_become_indices() {
        let cases = [
            ((1, 0), 0..10),
            ((1, 1), 0..1),
            ((3, 5), 2..5),
            ((0, 2), 0..2),
            ((10, 0), 9..10),
            ((11, 0), 10..10),
            ((5, 4), 4..4),
            ((9, 4), 4..4),
            ((u32::MAX, u32::MAX), 10..10),
        ];
        for ((from, to), expected) in cases {
            let rows = EntryDescriptor::rows(from, to);
            assert_eq!(rows.row_range(10), expected, "{from} to {to}");
        }
        assert_eq!(EntryDescriptor::rows(1, 0).row_range(0), 0..0);
    }

    #[test]
    fn an_open_deviation_is_the_meters_own() {
        let at = |text| UtcTime::parse(text).unwrap();
        let open = |from: &str, to: &str| RangeDescriptor::by_clock(time(from), time(to));
        // Midnight to midnight without a deviation, on a meter in India and on one in UTC.
        let local = open("07E80101FF00000000800000", "07E80102FF00000000800000");
        let cases = [
            (&local, -330, "2023-12-31T18:30:00Z", "2024-01-01T18:30:00Z"),
            (&local, 0, "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"),
            (
                // Stated deviations hold, whatever the meter's own is.
                &open("07E80101FF000000000000FF", "07E80101FF00000000FFC4FF"),
                -330,
                "2024-01-01T00:00:00Z",
                "2023-12-31T23:00:00Z",
            ),
        ];
        for (range, deviation, from, to) in cases {
            assert_eq!(range.times(deviation), Ok((at(from), at(to))));
            let tagged = |data: &Data| {
                let Data::OctetString(bytes) = data else {
                    unreachable!("a bound is an octet string")
                };
                Data::DateTime(bytes[..].try_into().unwrap())
            };
            let tagged = RangeDescriptor {
                from: tagged(&range.from),
                to: tagged(&range.to),
                ..range.clone()
            };
            assert_eq!(tagged.times(deviation), range.times(deviation));
        }
        let wild = open("FFFF0101FF00000000800000", "07E80102FF00000000800000");
        assert_eq!(
            wild.times(0),
            Err(SelectionError::NoTime {
                field: "from value",
                error: DateTimeError::Wildcard { field: "year" },
            })
        );
    }

    #[test]
    fn what_selects_nothing_is_named() {
        let wrong_type = |field, wanted, found| SelectionError::WrongType {
            field,
            wanted,
            found,
        };
        let wrong_length = |field, wanted, found| SelectionError::WrongLength {
            field,
            wanted,
            found,
        };
        let column = |text: &str| format!("0204 {text} 00 00 0100");
        let many = format!("0204 {CLOCK} 00 00 0141 {}", CLOCK.repeat(65));
        let ranges = [
            (
                "00".to_owned(),
                wrong_type("range descriptor", Tag::Structure, Tag::Null),
            ),
            ("0201 00".to_owned(), wrong_length("range descriptor", 4, 1)),
            (
                format!("0204 {CLOCK} 00 00 00"),
                wrong_type("selected values", Tag::Array, Tag::Null),
            ),
            (column("0200"), wrong_length("capture object", 4, 0)),
            (
                column("0204 120008 0905 0000010000 0F02 120000"),
                wrong_length("logical name", 6, 5),
            ),
            (
                column("0204 120008 00 0F02 120000"),
                wrong_type("logical name", Tag::OctetString, Tag::Null),
            ),
            (
                column("0204 1108 0906 0000010000FF 0F02 120000"),
                wrong_type("class id", Tag::LongUnsigned, Tag::Unsigned),
            ),
            (
                column("0204 120008 0906 0000010000FF 1102 120000"),
                wrong_type("attribute index", Tag::Integer, Tag::Unsigned),
            ),
            (many, SelectionError::TooManyColumns { found: 65 }),
        ];
        for (text, expected) in ranges {
            let found = RangeDescriptor::from_access(&access(1, &text));
            assert_eq!(found, Err(expected), "{text}");
        }
        let entries = [
            (
                "0204 1101 0600000002 120001 120000",
                wrong_type("from entry", Tag::DoubleLongUnsigned, Tag::Unsigned),
            ),
            (
                "0204 0600000001 0600000002 120001 1100",
                wrong_type("to selected value", Tag::LongUnsigned, Tag::Unsigned),
            ),
        ];
        for (text, expected) in entries {
            let found = EntryDescriptor::from_access(&access(2, text));
            assert_eq!(found, Err(expected), "{text}");
        }
        let wrong_selector = |wanted, found| SelectionError::WrongSelector { wanted, found };
        assert_eq!(
            RangeDescriptor::from_access(&EntryDescriptor::rows(1, 0).to_access()),
            Err(wrong_selector(1, 2))
        );
        assert_eq!(
            EntryDescriptor::from_access(&access(1, "00")),
            Err(wrong_selector(2, 1))
        );
    }
}
