//! Which objects a meter has, and what each client may do with them. Shared by all meters of a
//! kind: a meter owns none of it.

use gridloom_core::ObisCode;
use gridloom_dlms::apdu::{ActionResult, AttributeDescriptor, DataAccessResult, MethodDescriptor};
use gridloom_dlms::axdr::Data;

use super::rows;
use crate::metrology::Connection;

/// The clients that a meter admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Client {
    /// SAP 16: no authentication; time, name and counters.
    Public,
    /// SAP 17: by password; registers and profiles.
    Reader,
    /// SAP 1: by high level security; everything.
    Management,
}

impl Client {
    /// The three of them.
    pub const ALL: [Self; 3] = [Self::Public, Self::Reader, Self::Management];

    /// The client behind a service access point.
    pub const fn from_sap(sap: u16) -> Option<Self> {
        match sap {
            16 => Some(Self::Public),
            17 => Some(Self::Reader),
            1 => Some(Self::Management),
            _ => None,
        }
    }

    /// Its service access point.
    pub const fn sap(self) -> u16 {
        match self {
            Self::Public => 16,
            Self::Reader => 17,
            Self::Management => 1,
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Public => 1,
            Self::Reader => 2,
            Self::Management => 4,
        }
    }
}

/// A set of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clients(u8);

impl Clients {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const MANAGEMENT: Self = Self(Client::Management.bit());
    pub(crate) const READERS: Self = Self(Client::Reader.bit() | Client::Management.bit());
    pub(crate) const ALL: Self = Self(7);

    pub(crate) const fn has(self, client: Client) -> bool {
        self.0 & client.bit() != 0
    }
}

/// What clients may do with an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) id: i8,
    pub(crate) read: Clients,
    pub(crate) write: Clients,
    /// Of selective access.
    pub(crate) selectors: &'static [u8],
}

impl Attribute {
    pub(crate) const fn read(id: i8, read: Clients) -> Self {
        Self {
            id,
            read,
            write: Clients::NONE,
            selectors: &[],
        }
    }

    pub(crate) const fn write(id: i8, read: Clients) -> Self {
        Self {
            write: Clients::MANAGEMENT,
            ..Self::read(id, read)
        }
    }
}

/// What clients may do with a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Method {
    pub(crate) id: i8,
    pub(crate) invoke: Clients,
}

impl Method {
    pub(crate) const fn new(id: i8, invoke: Clients) -> Self {
        Self { id, invoke }
    }
}

/// The rights on the objects of a class that share them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) class_id: u16,
    pub(crate) version: u8,
    /// Begins with the logical name.
    pub(crate) attributes: &'static [Attribute],
    pub(crate) methods: &'static [Method],
}

/// One object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: ObisCode,
    pub(crate) shape: &'static Shape,
    pub(crate) kind: rows::Kind,
}

impl Row {
    pub(crate) const fn new(name: [u8; 5], shape: &'static Shape, kind: rows::Kind) -> Self {
        let [a, b, c, d, e] = name;
        Self {
            name: ObisCode([a, b, c, d, e, 255]),
            shape,
            kind,
        }
    }

    fn is_visible(&self, client: Client) -> bool {
        let attributes = self.shape.attributes.iter();
        let methods = self.shape.methods.iter();
        attributes
            .map(|attribute| attribute.read)
            .chain(methods.map(|method| method.invoke))
            .any(|clients| clients.has(client))
    }

    /// Class, version, name and the rights of `client` (class 15 version 1).
    fn describe(&self, client: Client) -> Data {
        let shape = self.shape;
        let attributes = shape.attributes.iter().map(|attribute| {
            let mode = match (attribute.read.has(client), attribute.write.has(client)) {
                (false, false) => 0,
                (true, false) => 1,
                (false, true) => 2,
                (true, true) => 3,
            };
            let selectors = if attribute.selectors.is_empty() {
                Data::Null
            } else {
                let selectors = attribute.selectors.iter();
                Data::Array(
                    selectors
                        .map(|number| Data::Integer(number.cast_signed()))
                        .collect(),
                )
            };
            Data::Structure(vec![
                Data::Integer(attribute.id),
                Data::Enum(mode),
                selectors,
            ])
        });
        let methods = shape.methods.iter().map(|method| {
            Data::Structure(vec![
                Data::Integer(method.id),
                Data::Enum(u8::from(method.invoke.has(client))),
            ])
        });
        Data::Structure(vec![
            Data::LongUnsigned(shape.class_id),
            Data::Unsigned(shape.version),
            Data::OctetString(self.name.0.to_vec()),
            Data::Structure(vec![
                Data::Array(attributes.collect()),
                Data::Array(methods.collect()),
            ]),
        ])
    }
}

/// The objects of one kind of meter.
#[derive(Debug, Clone, Copy)]
pub struct ObjectTable {
    /// Each in the order of names.
    parts: [&'static [Row]; 2],
}

impl ObjectTable {
    /// The table of meters that are connected so.
    pub const fn of(connection: Connection) -> Self {
        Self {
            parts: match connection {
                Connection::SinglePhase => [rows::COMMON, rows::SINGLE_PHASE],
                Connection::ThreePhase => [rows::COMMON, rows::THREE_PHASE],
            },
        }
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Whether it is empty; it never is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The list of objects that `client` can do anything with, and its rights (class 15,
    /// attribute 2).
    pub fn object_list(&self, client: Client) -> Data {
        let visible = self.rows().filter(|row| row.is_visible(client));
        Data::Array(visible.map(|row| row.describe(client)).collect())
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &'static Row> {
        self.parts.into_iter().flatten()
    }

    /// The object of that name.
    pub(crate) fn find(&self, name: ObisCode) -> Option<&'static Row> {
        self.parts.iter().find_map(|part| {
            let place = part.binary_search_by_key(&name, |row| row.name).ok()?;
            part.get(place)
        })
    }

    /// The object whose attribute `client` may read.
    pub(crate) fn readable(
        &self,
        client: Client,
        asked: AttributeDescriptor,
    ) -> Result<(&'static Row, &'static Attribute), DataAccessResult> {
        let (row, attribute) = self.attribute(asked)?;
        if attribute.read.has(client) {
            Ok((row, attribute))
        } else {
            Err(DataAccessResult::ReadWriteDenied)
        }
    }

    /// The object whose attribute `client` may write.
    pub(crate) fn writable(
        &self,
        client: Client,
        asked: AttributeDescriptor,
    ) -> Result<&'static Row, DataAccessResult> {
        let (row, attribute) = self.attribute(asked)?;
        if attribute.write.has(client) {
            Ok(row)
        } else {
            Err(DataAccessResult::ReadWriteDenied)
        }
    }

    /// The object whose method `client` may invoke.
    pub(crate) fn invocable(
        &self,
        client: Client,
        asked: MethodDescriptor,
    ) -> Result<&'static Row, ActionResult> {
        let row = self
            .find(asked.instance)
            .ok_or(ActionResult::ObjectUndefined)?;
        if row.shape.class_id != asked.class_id {
            return Err(ActionResult::ObjectClassInconsistent);
        }
        let mut methods = row.shape.methods.iter();
        match methods.find(|method| method.id == asked.method) {
            Some(method) if method.invoke.has(client) => Ok(row),
            Some(_) | None => Err(ActionResult::ReadWriteDenied),
        }
    }

    fn attribute(
        &self,
        asked: AttributeDescriptor,
    ) -> Result<(&'static Row, &'static Attribute), DataAccessResult> {
        let row = self
            .find(asked.instance)
            .ok_or(DataAccessResult::ObjectUndefined)?;
        if row.shape.class_id != asked.class_id {
            return Err(DataAccessResult::ObjectClassInconsistent);
        }
        let mut attributes = row.shape.attributes.iter();
        let attribute = attributes
            .find(|attribute| attribute.id == asked.attribute)
            // The object has no such attribute: nobody has a right to it.
            .ok_or(DataAccessResult::ReadWriteDenied)?;
        Ok((row, attribute))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: [ObjectTable; 2] = [
        ObjectTable::of(Connection::SinglePhase),
        ObjectTable::of(Connection::ThreePhase),
    ];

    /// Objects per client: public, reader, management.
    const LISTED: [[usize; 3]; 2] = [[6, 101, 117], [6, 116, 132]];

    #[test]
    fn tables_are_sorted_and_whole() {
        for table in TABLES {
            let mut names: Vec<ObisCode> = table.rows().map(|row| row.name).collect();
            for part in table.parts {
                assert!(part.is_sorted_by(|a, b| a.name < b.name), "{part:?}");
            }
            names.sort();
            names.dedup();
            assert_eq!(names.len(), table.len(), "each name once");
            for row in table.rows() {
                assert_eq!(table.find(row.name), Some(row));
                let ids = row.shape.attributes.iter().map(|attribute| attribute.id);
                assert!(ids.eq(1..=i8::try_from(row.shape.attributes.len()).unwrap()));
                assert!(
                    row.shape.attributes[0].write == Clients::NONE,
                    "nobody renames an object"
                );
                for attribute in row.shape.attributes {
                    assert_eq!(attribute.write.0 & !Clients::MANAGEMENT.0, 0);
                    assert!(
                        attribute.read.has(Client::Management) || attribute.read == Clients::NONE,
                        "management sees what others see"
                    );
                }
            }
        }
    }

    #[test]
    fn every_access_is_judged() {
        use DataAccessResult as Result;

        let clock = (8, [0, 0, 1, 0, 0, 255]);
        let energy = (3, [1, 0, 1, 8, 0, 255]);
        // Client, object, attribute, to read it, to write it.
        let cases = [
            (
                Client::Public,
                clock,
                2,
                None,
                Some(Result::ReadWriteDenied),
            ),
            (
                Client::Reader,
                clock,
                2,
                None,
                Some(Result::ReadWriteDenied),
            ),
            (Client::Management, clock, 2, None, None),
            (
                Client::Management,
                clock,
                1,
                None,
                Some(Result::ReadWriteDenied),
            ),
            (
                Client::Management,
                clock,
                10,
                Some(Result::ReadWriteDenied),
                Some(Result::ReadWriteDenied),
            ),
            (
                Client::Public,
                energy,
                2,
                Some(Result::ReadWriteDenied),
                Some(Result::ReadWriteDenied),
            ),
            (
                Client::Reader,
                energy,
                2,
                None,
                Some(Result::ReadWriteDenied),
            ),
            (
                Client::Reader,
                (1, energy.1),
                2,
                Some(Result::ObjectClassInconsistent),
                Some(Result::ObjectClassInconsistent),
            ),
            (
                Client::Management,
                (3, [1, 0, 1, 8, 0, 1]),
                2,
                Some(Result::ObjectUndefined),
                Some(Result::ObjectUndefined),
            ),
        ];
        for table in TABLES {
            for (client, (class_id, name), attribute, read, write) in cases {
                let asked = AttributeDescriptor {
                    class_id,
                    instance: ObisCode(name),
                    attribute,
                };
                assert_eq!(
                    table.readable(client, asked).err(),
                    read,
                    "{client:?} {asked:?}"
                );
                assert_eq!(
                    table.writable(client, asked).err(),
                    write,
                    "{client:?} {asked:?}"
                );
            }
            let invoke = |client, class_id, name, method| {
                let asked = MethodDescriptor {
                    class_id,
                    instance: ObisCode(name),
                    method,
                };
                table.invocable(client, asked).err()
            };
            assert_eq!(invoke(Client::Management, 8, clock.1, 6), None);
            let denied = Some(ActionResult::ReadWriteDenied);
            assert_eq!(invoke(Client::Reader, 8, clock.1, 6), denied);
            assert_eq!(invoke(Client::Management, 8, clock.1, 7), denied);
            let other = Some(ActionResult::ObjectClassInconsistent);
            assert_eq!(invoke(Client::Management, 7, clock.1, 1), other);
        }
    }

    #[test]
    fn each_client_has_its_list() {
        for (table, expected) in TABLES.into_iter().zip(LISTED) {
            for (client, expected) in Client::ALL.into_iter().zip(expected) {
                let Data::Array(list) = table.object_list(client) else {
                    panic!("a list");
                };
                assert_eq!(list.len(), expected, "{client:?}");
                assert!(Data::Array(list).encode().len() < 16_000);
            }
            assert_eq!(Client::from_sap(2), None);
            for client in Client::ALL {
                assert_eq!(Client::from_sap(client.sap()), Some(client));
            }
        }
    }
}
