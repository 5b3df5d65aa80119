//! Special days table (class 11, version 0): days whose tariffs follow another day's plan.

use gridloom_core::{Day, UtcTime};
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::Data;

use super::InterfaceObject;
use super::recurrence::DatePattern;
use super::retained::{Keeper, Kept, RetainedError};
use super::shape::{self, Unfit};

/// Days in the table; a longer list, and an insertion into a full table, are refused.
pub const SPECIAL_DAYS_MAX: usize = 100;

const VERSION: u8 = 1;
const OBJECT: &str = "special-days";

/// One entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialDay {
    /// Its number in the table, by which it is replaced and deleted.
    pub index: u16,
    /// Which day or days.
    pub date: DatePattern,
    /// The day profile in the activity calendar that holds on it.
    pub day_id: u8,
}

impl SpecialDay {
    fn value(&self) -> Data {
        Data::Structure(vec![
            Data::LongUnsigned(self.index),
            Data::OctetString(self.date.to_bytes().to_vec()),
            Data::Unsigned(self.day_id),
        ])
    }

    fn from_value(value: &Data) -> Result<Self, Unfit> {
        let [index, date, day_id] = shape::structure(value)?;
        let bytes = if let Data::Date(bytes) = date {
            *bytes
        } else {
            shape::octet_array(date)?
        };
        Ok(Self {
            index: shape::long_unsigned(index)?,
            date: DatePattern::from_bytes(bytes).ok_or(Unfit::Range)?,
            day_id: shape::unsigned(day_id)?,
        })
    }
}

/// One special days table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpecialDays {
    entries: Vec<SpecialDay>,
}

impl SpecialDays {
    /// An empty table.
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// The day profile that holds on `day` instead of the week's; the first entry wins.
    pub fn day_id(&self, day: Day) -> Option<u8> {
        self.entries
            .iter()
            .find(|entry| entry.date.matches(day))
            .map(|entry| entry.day_id)
    }

    /// Appends what the table keeps.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.list(self.entries.iter(), |keeper, entry| {
            keeper.put(entry.index.to_be_bytes());
            keeper.put(entry.date.to_bytes());
            keeper.byte(entry.day_id);
        });
    }

    /// Takes over what a table kept.
    ///
    /// # Errors
    ///
    /// Bytes that no table wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let entries = kept.list("entries", SPECIAL_DAYS_MAX, |kept| {
            Ok(SpecialDay {
                index: kept.u16()?,
                date: DatePattern::from_bytes(kept.array()?)
                    .ok_or_else(|| kept.impossible("date"))?,
                day_id: kept.u8()?,
            })
        })?;
        kept.require(are_distinct(&entries), "index")?;
        kept.finish()?;
        Ok(Self { entries })
    }

    fn insert(&mut self, entry: SpecialDay) -> Result<(), ActionResult> {
        let place = self.entries.iter().position(|old| old.index == entry.index);
        match place {
            Some(place) => self.entries[place] = entry,
            None if self.entries.len() == SPECIAL_DAYS_MAX => {
                return Err(ActionResult::OtherReason);
            }
            None => self.entries.push(entry),
        }
        Ok(())
    }
}

fn are_distinct(entries: &[SpecialDay]) -> bool {
    let mut indices: Vec<u16> = entries.iter().map(|entry| entry.index).collect();
    indices.sort_unstable();
    indices.windows(2).all(|pair| pair[0] != pair[1])
}

impl InterfaceObject for SpecialDays {
    fn get(&self, attribute: i8, _: UtcTime) -> Result<Data, DataAccessResult> {
        match attribute {
            2 => Ok(shape::array_value(&self.entries, SpecialDay::value)),
            _ => Err(DataAccessResult::ObjectUndefined),
        }
    }

    fn set(&mut self, attribute: i8, value: &Data, _: UtcTime) -> Result<(), DataAccessResult> {
        if attribute != 2 {
            return Err(DataAccessResult::ObjectUndefined);
        }
        let entries = shape::list(value, SPECIAL_DAYS_MAX, SpecialDay::from_value)?;
        if !are_distinct(&entries) {
            return Err(DataAccessResult::OtherReason);
        }
        self.entries = entries;
        Ok(())
    }

    /// Method 1 inserts an entry or replaces the one of the same index; 2 deletes by index.
    fn invoke(
        &mut self,
        method: i8,
        parameters: Option<&Data>,
        _: UtcTime,
    ) -> Result<Option<Data>, ActionResult> {
        match method {
            1 => self.insert(SpecialDay::from_value(shape::required(parameters)?)?)?,
            2 => {
                let index = shape::long_unsigned(shape::required(parameters)?)?;
                let before = self.entries.len();
                self.entries.retain(|entry| entry.index != index);
                if self.entries.len() == before {
                    return Err(ActionResult::ScopeOfAccessViolated);
                }
            }
            _ => return Err(ActionResult::ObjectUndefined),
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::retained::assert_survives;

    const AT: UtcTime = UtcTime::from_secs(0);

    fn entry(index: u16, date: [u8; 5], day_id: u8) -> SpecialDay {
        SpecialDay {
            index,
            date: DatePattern::from_bytes(date).unwrap(),
            day_id,
        }
    }

    #[test]
    fn days_are_inserted_replaced_deleted() {
        let christmas = entry(1, [0xFF, 0xFF, 12, 25, 0xFF], 9);
        let this_year = entry(2, [0x07, 0xEA, 12, 25, 0xFF], 8);
        let mut table = SpecialDays::new();
        let day = |text| Day::parse(text).unwrap();
        for entry in [christmas, this_year] {
            assert_eq!(table.invoke(1, Some(&entry.value()), AT), Ok(None));
        }
        assert_eq!(table.day_id(day("2026-12-25")), Some(9));
        assert_eq!(table.day_id(day("2026-12-26")), None);
        assert_survives(&table, SpecialDays::encode, SpecialDays::decode);
        assert_eq!(table.invoke(2, Some(&Data::LongUnsigned(1)), AT), Ok(None));
        assert_eq!(table.day_id(day("2026-12-25")), Some(8));
        assert_eq!(table.day_id(day("2027-12-25")), None);
        assert_eq!(
            table.invoke(2, Some(&Data::LongUnsigned(1)), AT),
            Err(ActionResult::ScopeOfAccessViolated)
        );
        let moved = entry(2, [0x07, 0xEB, 1, 1, 0xFF], 7);
        assert_eq!(table.invoke(1, Some(&moved.value()), AT), Ok(None));
        assert_eq!(table.get(2, AT), Ok(Data::Array(vec![moved.value()])));
    }

    #[test]
    fn a_bad_table_is_refused_whole() {
        let one = entry(1, [0xFF, 0xFF, 1, 26, 0xFF], 3).value();
        let month = Data::Structure(vec![
            Data::LongUnsigned(1),
            Data::OctetString(vec![0xFF, 0xFF, 13, 1, 0xFF]),
            Data::Unsigned(1),
        ]);
        let full: Vec<Data> = (0..=u16::try_from(SPECIAL_DAYS_MAX).unwrap())
            .map(|index| entry(index, [0xFF, 0xFF, 1, 26, 0xFF], 3).value())
            .collect();
        let mut table = SpecialDays::new();
        for bad in [vec![one.clone(), one.clone()], vec![month], full.clone()] {
            assert_eq!(
                table.set(2, &Data::Array(bad), AT),
                Err(DataAccessResult::OtherReason)
            );
        }
        assert_eq!(table, SpecialDays::new());
        let (last, most) = full.split_last().unwrap();
        assert_eq!(table.set(2, &Data::Array(most.to_vec()), AT), Ok(()));
        assert_eq!(
            table.invoke(1, Some(last), AT),
            Err(ActionResult::OtherReason)
        );
    }
}
