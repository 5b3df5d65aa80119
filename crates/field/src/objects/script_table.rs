//! Script table (class 9, version 0): what the meter does when a schedule, a calendar or a
//! limiter names a script.

use std::collections::VecDeque;

use gridloom_core::{ObisCode, UtcTime};
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::Data;

use super::InterfaceObject;
use super::retained::{Keeper, Kept, RetainedError};
use super::shape::{self, Unfit};

/// Scripts in one table; a longer list is refused.
pub const SCRIPTS_MAX: usize = 64;
/// Actions of one script; a longer list is refused.
pub const SCRIPT_ACTIONS_MAX: usize = 16;
/// Bytes of one action's parameter in A-XDR; a longer one is refused.
pub const PARAMETER_BYTES_MAX: usize = 256;
/// Runs that wait to be carried out; further ones are refused as a temporary failure.
pub const RUNS_MAX: usize = 16;

const VERSION: u8 = 1;
const OBJECT: &str = "script-table";

/// A script, named by its table and its number in it (the standard's `action_item`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScriptName {
    /// The script table's logical name.
    pub table: ObisCode,
    /// The script's identifier; 0 names none.
    pub selector: u16,
}

impl ScriptName {
    /// No script: nothing is done.
    pub const NONE: Self = Self {
        table: ObisCode([0; 6]),
        selector: 0,
    };

    /// Whether there is nothing to be done.
    pub const fn is_none(self) -> bool {
        self.selector == 0
    }

    pub(crate) fn value(self) -> Data {
        Data::Structure(vec![
            shape::name_value(self.table),
            Data::LongUnsigned(self.selector),
        ])
    }

    pub(crate) fn from_value(value: &Data) -> Result<Self, Unfit> {
        let [table, selector] = shape::structure(value)?;
        Ok(Self {
            table: shape::logical_name(table)?,
            selector: shape::long_unsigned(selector)?,
        })
    }

    pub(crate) fn keep(self, keeper: &mut Keeper<'_>) {
        keeper.put(self.table.0);
        keeper.put(self.selector.to_be_bytes());
    }

    pub(crate) fn read(kept: &mut Kept<'_>) -> Result<Self, RetainedError> {
        Ok(Self {
            table: kept.name()?,
            selector: kept.u16()?,
        })
    }
}

/// What an action does to its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptService {
    /// Writes the attribute (service 1).
    Write,
    /// Invokes the method (service 2).
    Invoke,
}

/// One step of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptAction {
    /// Write or invoke.
    pub service: ScriptService,
    /// The object's class.
    pub class_id: u16,
    /// The object.
    pub instance: ObisCode,
    /// The attribute or method.
    pub index: i8,
    /// The value written, or the method's parameter.
    pub parameter: Data,
}

impl ScriptAction {
    fn value(&self) -> Data {
        let service = match self.service {
            ScriptService::Write => 1,
            ScriptService::Invoke => 2,
        };
        Data::Structure(vec![
            Data::Enum(service),
            Data::LongUnsigned(self.class_id),
            shape::name_value(self.instance),
            Data::Integer(self.index),
            self.parameter.clone(),
        ])
    }

    fn from_value(value: &Data) -> Result<Self, Unfit> {
        let [service, class_id, instance, index, parameter] = shape::structure(value)?;
        if parameter.encode().len() > PARAMETER_BYTES_MAX {
            return Err(Unfit::Range);
        }
        Ok(Self {
            service: match shape::enumeration(service)? {
                1 => ScriptService::Write,
                2 => ScriptService::Invoke,
                _ => return Err(Unfit::Range),
            },
            class_id: shape::long_unsigned(class_id)?,
            instance: shape::logical_name(instance)?,
            index: shape::integer(index)?,
            parameter: parameter.clone(),
        })
    }
}

/// A numbered list of actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its identifier, 1–65 535.
    pub identifier: u16,
    /// Carried out in order.
    pub actions: Vec<ScriptAction>,
}

impl Script {
    fn value(&self) -> Data {
        Data::Structure(vec![
            Data::LongUnsigned(self.identifier),
            shape::array_value(&self.actions, ScriptAction::value),
        ])
    }

    fn from_value(value: &Data) -> Result<Self, Unfit> {
        let [identifier, actions] = shape::structure(value)?;
        let identifier = shape::long_unsigned(identifier)?;
        if identifier == 0 {
            return Err(Unfit::Range);
        }
        Ok(Self {
            identifier,
            actions: shape::list(actions, SCRIPT_ACTIONS_MAX, ScriptAction::from_value)?,
        })
    }
}

/// One script table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptTable {
    scripts: Vec<Script>,
    runs: VecDeque<u16>,
}

impl ScriptTable {
    /// A table of `scripts`.
    ///
    /// # Panics
    ///
    /// If the bounds of this module are passed or an identifier is 0 or used twice: the maker's
    /// table is wrong.
    pub fn new(scripts: Vec<Script>) -> Self {
        let value = shape::array_value(&scripts, Script::value);
        let read = scripts_from_value(&value);
        assert_eq!(
            read.as_ref(),
            Ok(&scripts),
            "a maker's script table is within bounds"
        );
        Self {
            scripts,
            runs: VecDeque::new(),
        }
    }

    /// The actions of the script `selector`; `None` if the table has no such script.
    pub fn actions(&self, selector: u16) -> Option<&[ScriptAction]> {
        self.scripts
            .iter()
            .find(|script| script.identifier == selector)
            .map(|script| script.actions.as_slice())
    }

    /// The next script that a client has asked for; carry out its [`Self::actions`].
    pub fn poll_run(&mut self) -> Option<u16> {
        self.runs.pop_front()
    }

    /// Appends what the table keeps.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.list(self.scripts.iter(), |keeper, script| {
            keeper.data(&script.value());
        });
    }

    /// Takes over what a table kept.
    ///
    /// # Errors
    ///
    /// Bytes that no table wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let most = SCRIPT_ACTIONS_MAX * (PARAMETER_BYTES_MAX + 32);
        let values = kept.list("scripts", SCRIPTS_MAX, |kept| kept.data("script", most))?;
        let scripts =
            scripts_from_value(&Data::Array(values)).map_err(|_| kept.impossible("script"))?;
        kept.finish()?;
        Ok(Self {
            scripts,
            runs: VecDeque::new(),
        })
    }
}

fn scripts_from_value(value: &Data) -> Result<Vec<Script>, Unfit> {
    let scripts = shape::list(value, SCRIPTS_MAX, Script::from_value)?;
    let mut identifiers: Vec<u16> = scripts.iter().map(|script| script.identifier).collect();
    identifiers.sort_unstable();
    if identifiers.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Unfit::Range);
    }
    Ok(scripts)
}

impl InterfaceObject for ScriptTable {
    fn get(&self, attribute: i8, _: UtcTime) -> Result<Data, DataAccessResult> {
        match attribute {
            2 => Ok(shape::array_value(&self.scripts, Script::value)),
            _ => Err(DataAccessResult::ObjectUndefined),
        }
    }

    fn set(&mut self, attribute: i8, value: &Data, _: UtcTime) -> Result<(), DataAccessResult> {
        match attribute {
            2 => {
                self.scripts = scripts_from_value(value)?;
                Ok(())
            }
            _ => Err(DataAccessResult::ObjectUndefined),
        }
    }

    fn invoke(
        &mut self,
        method: i8,
        parameters: Option<&Data>,
        _: UtcTime,
    ) -> Result<Option<Data>, ActionResult> {
        if method != 1 {
            return Err(ActionResult::ObjectUndefined);
        }
        let selector = shape::long_unsigned(shape::required(parameters)?)?;
        if self.actions(selector).is_none() {
            return Err(ActionResult::ScopeOfAccessViolated);
        }
        if self.runs.len() == RUNS_MAX {
            return Err(ActionResult::TemporaryFailure);
        }
        self.runs.push_back(selector);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::retained::assert_survives;

    const AT: UtcTime = UtcTime::from_secs(0);

    fn disconnect(identifier: u16) -> Script {
        Script {
            identifier,
            actions: vec![ScriptAction {
                service: ScriptService::Invoke,
                class_id: 70,
                instance: ObisCode([0, 0, 96, 3, 10, 255]),
                index: 1,
                parameter: Data::Integer(0),
            }],
        }
    }

    #[test]
    fn a_written_table_reads_alike_and_survives() {
        let source = ScriptTable::new(vec![disconnect(1), disconnect(2)]);
        let value = source.get(2, AT).unwrap();
        let mut table = ScriptTable::new(vec![]);
        assert_eq!(table.set(2, &value, AT), Ok(()));
        assert_eq!(table, source);
        assert_survives(&table, ScriptTable::encode, ScriptTable::decode);
    }

    #[test]
    fn only_known_scripts_run_and_not_endlessly_many() {
        let mut table = ScriptTable::new(vec![disconnect(7)]);
        let run = |table: &mut ScriptTable, selector| {
            table.invoke(1, Some(&Data::LongUnsigned(selector)), AT)
        };
        assert_eq!(run(&mut table, 8), Err(ActionResult::ScopeOfAccessViolated));
        for _ in 0..RUNS_MAX {
            assert_eq!(run(&mut table, 7), Ok(None));
        }
        assert_eq!(run(&mut table, 7), Err(ActionResult::TemporaryFailure));
        assert_eq!(table.poll_run(), Some(7));
        assert_eq!(table.actions(7).map(<[_]>::len), Some(1));
        assert_eq!(table.invoke(1, None, AT), Err(ActionResult::TypeUnmatched));
        assert_eq!(
            table.invoke(2, None, AT),
            Err(ActionResult::ObjectUndefined)
        );
    }

    #[test]
    fn a_bad_table_is_refused_whole() {
        let double = Data::Array(vec![disconnect(1).value(), disconnect(1).value()]);
        let zero = Data::Array(vec![disconnect(0).value()]);
        let many = Data::Array(vec![disconnect(1).value(); SCRIPTS_MAX + 1]);
        let long = Data::Array(vec![
            Script {
                identifier: 1,
                actions: vec![ScriptAction {
                    parameter: Data::OctetString(vec![0; PARAMETER_BYTES_MAX]),
                    ..disconnect(1).actions.remove(0)
                }],
            }
            .value(),
        ]);
        let other = DataAccessResult::OtherReason;
        let cases = [
            (double, other),
            (zero, other),
            (many, other),
            (long, other),
            (Data::Null, DataAccessResult::TypeUnmatched),
            (
                Data::Array(vec![Data::Null]),
                DataAccessResult::TypeUnmatched,
            ),
        ];
        let mut table = ScriptTable::new(vec![disconnect(9)]);
        for (value, expected) in cases {
            assert_eq!(table.set(2, &value, AT), Err(expected));
        }
        assert_eq!(table, ScriptTable::new(vec![disconnect(9)]));
    }
}
