//! The object list of an association (class 15, attribute 2).

use gridloom_core::ObisCode;
use gridloom_dlms::axdr::Data;

use super::plan::{ObjectEntry, StepError};
use crate::profile::integer_of;

/// Objects of one association; a longer list is refused.
const OBJECTS_MAX: usize = 8_192;

/// Reads an object list.
pub(super) fn objects_of(list: &Data) -> Result<Vec<ObjectEntry>, StepError> {
    let misfit = StepError::Type {
        what: "the object list",
    };
    let Data::Array(entries) = list else {
        return Err(misfit);
    };
    if entries.len() > OBJECTS_MAX {
        return Err(misfit);
    }
    entries
        .iter()
        .map(|entry| object_of(entry).ok_or_else(|| misfit.clone()))
        .collect()
}

fn object_of(entry: &Data) -> Option<ObjectEntry> {
    let [class_id, version, instance, rights] = members(entry)? else {
        return None;
    };
    let Data::OctetString(instance) = instance else {
        return None;
    };
    let [attributes, methods] = members(rights)? else {
        return None;
    };
    Some(ObjectEntry {
        class_id: integer_of(class_id)?.try_into().ok()?,
        version: integer_of(version)?.try_into().ok()?,
        instance: ObisCode(instance.as_slice().try_into().ok()?),
        attributes: modes_of(attributes)?,
        methods: modes_of(methods)?,
    })
}

/// Member and access mode; attributes also list their selectors, which nobody needs here.
fn modes_of(list: &Data) -> Option<Vec<(i8, u8)>> {
    let Data::Array(entries) = list else {
        return None;
    };
    entries
        .iter()
        .map(|entry| {
            let [member, mode, ..] = members(entry)? else {
                return None;
            };
            let mode = match mode {
                // Version 0 of the class only says whether a method may be invoked.
                Data::Boolean(allowed) => u8::from(*allowed),
                mode => integer_of(mode)?.try_into().ok()?,
            };
            Some((integer_of(member)?.try_into().ok()?, mode))
        })
        .collect()
}

fn members(data: &Data) -> Option<&[Data]> {
    match data {
        Data::Structure(members) => Some(members),
        _ => None,
    }
}
