//! The objects of a push, as the template names them or as the push itself does.

use gridloom_core::ObisCode;
use gridloom_dlms::axdr::Data;

use crate::profile::integer_of;
use crate::template::{PUSH_OBJECTS_MAX, PushList, PushObject};

/// Whether a structure may be of this list: as many members, and the right setup object where
/// its name is among them.
pub(super) fn fits(list: &PushList, members: &[Data]) -> bool {
    list.0.len() == members.len()
        && list.0.iter().zip(members).all(|(object, value)| {
            !object.is_setup_name()
                || matches!(value, Data::OctetString(name) if name[..] == object.instance.0)
        })
}

/// The list that stands in a push as its first member; `None` if that is something else.
pub(super) fn own_list(data: &Data) -> Option<PushList> {
    let Data::Array(entries) = data else {
        return None;
    };
    if entries.is_empty() || entries.len() > PUSH_OBJECTS_MAX {
        return None;
    }
    let objects = entries.iter().map(|entry| {
        let Data::Structure(fields) = entry else {
            return None;
        };
        let [class_id, Data::OctetString(name), attribute, _, ..] = &fields[..] else {
            return None;
        };
        Some(PushObject {
            class_id: integer_of(class_id)?.try_into().ok()?,
            instance: ObisCode(name.as_slice().try_into().ok()?),
            attribute: integer_of(attribute)?.try_into().ok()?,
        })
    });
    objects.collect::<Option<Vec<_>>>().map(PushList)
}
