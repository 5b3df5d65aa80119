//! The object list of an association (class 15, attribute 2).

use anyhow::{Context, ensure};
use gridloom_core::ObisCode;
use gridloom_dlms::axdr::Data;

use crate::client::MeterSession;

/// The current association.
const CURRENT_ASSOCIATION: ObisCode = ObisCode([0, 0, 40, 0, 0, 255]);

/// Objects that are listed; a meter has a few hundred.
const OBJECTS_MAX: usize = 10_000;

/// What this client may do with the objects of a meter.
#[derive(Debug, Clone)]
pub(crate) struct ObjectList {
    pub(crate) entries: Vec<ObjectEntry>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectEntry {
    pub(crate) class_id: u16,
    pub(crate) version: u8,
    pub(crate) instance: ObisCode,
    /// Attribute and access mode.
    pub(crate) attributes: Vec<(i8, u8)>,
    /// Method and access mode.
    pub(crate) methods: Vec<(i8, u8)>,
}

impl ObjectEntry {
    /// Whether this client may read an attribute. Modes 1 and 3 read; 4 to 6 need
    /// authentication and read with it where the low bits say so.
    pub(crate) fn may_read(&self, attribute: i8) -> bool {
        self.attributes
            .iter()
            .any(|(id, mode)| *id == attribute && is_readable(*mode))
    }

    /// How many attributes can be read, written, and methods invoked.
    pub(crate) fn rights(&self) -> String {
        let count = |list: &[(i8, u8)], may: fn(u8) -> bool| {
            list.iter().filter(|(_, mode)| may(*mode)).count()
        };
        let read = count(&self.attributes, is_readable);
        let write = count(&self.attributes, is_writable);
        let invoke = count(&self.methods, |mode| mode != 0);
        format!("{read}r {write}w {invoke}x")
    }
}

/// Versions 0 to 2 name modes 1 (read), 3 (both), 4 and 6 (with authentication).
const fn is_readable(mode: u8) -> bool {
    matches!(mode, 1 | 3 | 4 | 6)
}

const fn is_writable(mode: u8) -> bool {
    matches!(mode, 2 | 3 | 5 | 6)
}

impl ObjectList {
    /// Reads it from a meter.
    pub(crate) async fn read(meter: &mut MeterSession) -> anyhow::Result<Self> {
        let data = meter.value(15, CURRENT_ASSOCIATION, 2).await?;
        Self::from_data(&data)
    }

    fn from_data(data: &Data) -> anyhow::Result<Self> {
        let Data::Array(elements) = data else {
            anyhow::bail!("object: the object list is no array");
        };
        ensure!(
            elements.len() <= OBJECTS_MAX,
            "object: {} objects are listed, at most {OBJECTS_MAX} are taken",
            elements.len()
        );
        let entries = elements
            .iter()
            .map(|element| {
                entry(element).with_context(|| {
                    format!(
                        "object: no entry of an object list: {}",
                        crate::show::text(element)
                    )
                })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { entries })
    }

    /// The object of that name; the first one if several classes share it.
    pub(crate) fn find(&self, instance: ObisCode) -> Option<&ObjectEntry> {
        self.entries.iter().find(|entry| entry.instance == instance)
    }
}

fn entry(data: &Data) -> Option<ObjectEntry> {
    let Data::Structure(parts) = data else {
        return None;
    };
    let [
        Data::LongUnsigned(class_id),
        Data::Unsigned(version),
        Data::OctetString(name),
        Data::Structure(rights),
    ] = parts.as_slice()
    else {
        return None;
    };
    let [Data::Array(attributes), Data::Array(methods)] = rights.as_slice() else {
        return None;
    };
    Some(ObjectEntry {
        class_id: *class_id,
        version: *version,
        instance: ObisCode(name.as_slice().try_into().ok()?),
        attributes: attributes.iter().map(access).collect::<Option<_>>()?,
        methods: methods.iter().map(access).collect::<Option<_>>()?,
    })
}

/// The number and the mode of an attribute or method. Version 0 of the class says of a method
/// only whether it may be invoked.
fn access(data: &Data) -> Option<(i8, u8)> {
    let Data::Structure(parts) = data else {
        return None;
    };
    let [Data::Integer(id), mode, ..] = parts.as_slice() else {
        return None;
    };
    let mode = if let Data::Boolean(may) = mode {
        u8::from(*may)
    } else {
        u8::try_from(crate::show::integer(mode)?).ok()?
    };
    Some((*id, mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &[u8]) -> Data {
        let right =
            |id, mode| Data::Structure(vec![Data::Integer(id), Data::Enum(mode), Data::Null]);
        Data::Structure(vec![
            Data::LongUnsigned(3),
            Data::Unsigned(0),
            Data::OctetString(name.to_vec()),
            Data::Structure(vec![
                Data::Array(vec![right(1, 1), right(2, 3), right(3, 0)]),
                Data::Array(vec![Data::Structure(vec![
                    Data::Integer(1),
                    Data::Boolean(true),
                ])]),
            ]),
        ])
    }

    #[test]
    fn object_lists_are_read() {
        let list = Data::Array(vec![object(&[1, 0, 1, 8, 0, 255])]);
        let list = ObjectList::from_data(&list).unwrap();
        let entry = list.find(ObisCode([1, 0, 1, 8, 0, 255])).unwrap();
        assert_eq!((entry.class_id, entry.version), (3, 0));
        assert!(entry.may_read(2) && !entry.may_read(3) && !entry.may_read(9));
        assert_eq!(entry.rights(), "2r 1w 1x");
        assert_eq!(list.find(ObisCode([1, 0, 1, 8, 1, 255])), None);
    }

    #[test]
    fn what_is_no_object_list() {
        let cases = [
            Data::Null,
            Data::Array(vec![Data::Null]),
            Data::Array(vec![object(&[1, 0, 1])]),
        ];
        for data in cases {
            let error = ObjectList::from_data(&data).unwrap_err().to_string();
            assert!(error.starts_with("object: "), "{error}");
        }
    }
}
