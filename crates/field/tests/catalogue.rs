//! The companion profile's list of objects, row by row, over associations of the three clients.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod support;

use std::collections::BTreeMap;

use gridloom_core::ObisCode;
use gridloom_dlms::apdu::DataAccessResult;
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::ClientError;
use gridloom_field::{Client as Role, Connection, MeterConfig};
use support::Bench;
use support::session::{ASSOCIATION, Session, attribute, configured, load};

const P: u8 = 1;
const R: u8 = 2;
const M: u8 = 4;
const RM: u8 = R | M;
const PRM: u8 = P | R | M;

/// One kind of object of the list: names, class, attributes read by whom, attributes written by
/// management, methods invoked by management.
struct Wanted {
    names: Vec<[u8; 5]>,
    class_id: u16,
    read: &'static [i8],
    by: u8,
    written: &'static [i8],
    invoked: &'static [i8],
}

/// A row of which management also sees the whole.
fn row(names: &[[u8; 5]], class_id: u16, read: &'static [i8], by: u8) -> Wanted {
    Wanted {
        names: names.to_vec(),
        class_id,
        read,
        by,
        written: &[],
        invoked: &[],
    }
}

impl Wanted {
    fn writes(self, written: &'static [i8]) -> Self {
        Self { written, ..self }
    }

    fn invokes(self, invoked: &'static [i8]) -> Self {
        Self { invoked, ..self }
    }
}

fn counted(from: [u8; 5], count: u8) -> Vec<[u8; 5]> {
    let [a, b, c, d, e] = from;
    (0..count).map(|n| [a, b, c, d, e + n]).collect()
}

/// The list, in its order. Security objects are the server's and tested there.
fn list(connection: Connection) -> Vec<Wanted> {
    let mut list = vec![
        row(&[[0, 0, 40, 0, 0]], 15, &[2, 3, 4, 5, 6, 8, 9], PRM),
        row(&[[0, 0, 41, 0, 0]], 17, &[2], PRM),
        row(&[[0, 0, 42, 0, 0]], 1, &[2], PRM),
        row(&[[0, 0, 43, 0, 0]], 64, &[2, 3, 4, 5, 6], M).invokes(&[1, 2, 3, 4, 5, 6, 7, 8]),
        row(&counted([0, 0, 43, 1, 0], 2), 1, &[2], PRM),
        row(&[[0, 0, 1, 0, 0]], 8, &[2, 3, 4, 5, 6, 7, 8, 9], PRM).writes(&[2, 3, 5, 6, 7, 8]),
        row(
            &[
                [0, 0, 96, 1, 0],
                [0, 0, 96, 1, 1],
                [0, 0, 96, 1, 4],
                [1, 0, 0, 2, 0],
            ],
            1,
            &[2],
            RM,
        ),
        row(&[[1, 0, 0, 8, 0], [1, 0, 0, 8, 4]], 1, &[2], RM).writes(&[2]),
        row(&counted([1, 0, 1, 8, 0], 9), 3, &[2, 3], RM),
        row(&counted([1, 0, 2, 8, 0], 9), 3, &[2, 3], RM),
        row(
            &[
                [1, 0, 9, 8, 0],
                [1, 0, 5, 8, 0],
                [1, 0, 6, 8, 0],
                [1, 0, 7, 8, 0],
                [1, 0, 8, 8, 0],
                [1, 0, 1, 7, 0],
                [1, 0, 3, 7, 0],
                [1, 0, 9, 7, 0],
                [1, 0, 32, 7, 0],
                [1, 0, 31, 7, 0],
                [1, 0, 91, 7, 0],
                [1, 0, 13, 7, 0],
                [1, 0, 14, 7, 0],
            ],
            3,
            &[2, 3],
            RM,
        ),
        row(
            &[[1, 0, 1, 4, 0], [1, 0, 9, 4, 0]],
            5,
            &[2, 3, 4, 5, 6, 7, 8, 9],
            RM,
        ),
        row(&[[1, 0, 1, 6, 0], [1, 0, 9, 6, 0]], 4, &[2, 3, 4, 5], RM),
        row(
            &[[0, 0, 96, 7, 0], [0, 0, 94, 91, 0], [0, 0, 94, 91, 8]],
            1,
            &[2],
            RM,
        ),
        row(
            &[[1, 0, 99, 1, 0], [1, 0, 99, 2, 0], [1, 0, 98, 1, 0]],
            7,
            &[2, 3, 4, 5, 6, 7, 8],
            RM,
        )
        .invokes(&[1]),
        row(&[[1, 0, 94, 91, 0]], 7, &[2, 3], RM),
        row(&counted([1, 0, 94, 91, 3], 5), 7, &[2, 3], RM),
        row(
            &counted([0, 0, 99, 98, 0], 7),
            7,
            &[2, 3, 4, 5, 6, 7, 8],
            RM,
        ),
        row(&counted([0, 0, 96, 11, 0], 7), 1, &[2], RM),
        row(&[[0, 0, 94, 91, 18]], 1, &[2], RM),
        row(
            &[
                [0, 0, 94, 91, 26],
                [0, 0, 97, 97, 0],
                [0, 0, 97, 98, 0],
                [0, 0, 97, 98, 10],
                [0, 0, 97, 98, 20],
            ],
            1,
            &[2],
            RM,
        )
        .writes(&[2]),
        row(&[[0, 0, 96, 3, 10]], 70, &[2, 3, 4], RM)
            .writes(&[4])
            .invokes(&[1, 2]),
        row(
            &[[0, 0, 17, 0, 0]],
            71,
            &[2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
            M,
        )
        .writes(&[4, 5, 6, 7, 8, 9, 11]),
        row(&[[0, 0, 13, 0, 0]], 20, &[2, 3, 4, 5, 6, 7, 8, 9, 10], M)
            .writes(&[6, 7, 8, 9, 10])
            .invokes(&[1]),
        row(&[[0, 0, 11, 0, 0]], 11, &[2], M)
            .writes(&[2])
            .invokes(&[1, 2]),
        row(
            &[
                [0, 0, 10, 0, 1],
                [0, 0, 10, 0, 100],
                [0, 0, 10, 0, 106],
                [0, 0, 10, 0, 107],
            ],
            9,
            &[2],
            M,
        )
        .invokes(&[1]),
        row(
            &[[0, 0, 15, 0, 0], [0, 0, 15, 0, 2], [0, 0, 15, 0, 4]],
            22,
            &[2, 3, 4],
            M,
        )
        .writes(&[2, 3, 4]),
        row(&[[0, 0, 44, 0, 0]], 18, &[2, 3, 4, 5, 6, 7], M)
            .writes(&[5])
            .invokes(&[1, 2, 3, 4]),
        row(
            &[[0, 0, 25, 9, 0], [0, 4, 25, 9, 0]],
            40,
            &[2, 3, 4, 5, 6, 7],
            M,
        )
        .writes(&[2, 3, 4, 5, 6, 7])
        .invokes(&[1]),
        row(&[[0, 0, 25, 0, 0]], 41, &[2, 3, 4, 5, 6], M).writes(&[5, 6]),
        row(&[[0, 0, 25, 1, 0]], 42, &[2, 3, 4, 5, 6, 7, 8, 9, 10], M),
        row(&[[0, 0, 22, 0, 0]], 23, &[2, 3, 4, 5, 6, 7, 8, 9], M).writes(&[3, 4, 5, 6, 8]),
    ];
    list.push(match connection {
        Connection::SinglePhase => row(&[[1, 0, 12, 7, 0], [1, 0, 11, 7, 0]], 3, &[2, 3], RM),
        Connection::ThreePhase => row(
            &[
                [1, 0, 52, 7, 0],
                [1, 0, 72, 7, 0],
                [1, 0, 51, 7, 0],
                [1, 0, 71, 7, 0],
                [1, 0, 33, 7, 0],
                [1, 0, 53, 7, 0],
                [1, 0, 73, 7, 0],
            ],
            3,
            &[2, 3],
            RM,
        ),
    });
    list
}

/// Class, mode of each attribute and of each method, by name, as the association shows them.
type Shown = BTreeMap<ObisCode, (u16, BTreeMap<i8, u8>, BTreeMap<i8, u8>)>;

fn shown(session: &mut Session, bench: &mut Bench) -> Shown {
    let list = session.get(bench, attribute(ASSOCIATION, 2)).unwrap();
    let Data::Array(objects) = list else {
        panic!("an object list is an array");
    };
    let modes = |rights: &Data| {
        let Data::Array(rights) = rights else {
            panic!("rights are an array");
        };
        rights
            .iter()
            .map(|right| {
                let Data::Structure(members) = right else {
                    panic!("no right: {right:?}");
                };
                let [Data::Integer(id), Data::Enum(mode), ..] = members.as_slice() else {
                    panic!("no right: {members:?}");
                };
                (*id, *mode)
            })
            .collect()
    };
    objects
        .iter()
        .map(|object| {
            let Data::Structure(members) = object else {
                panic!("no object: {object:?}");
            };
            let [
                Data::LongUnsigned(class_id),
                _,
                Data::OctetString(name),
                Data::Structure(rights),
            ] = members.as_slice()
            else {
                panic!("no object: {object:?}");
            };
            let name = ObisCode(name.as_slice().try_into().unwrap());
            (name, (*class_id, modes(&rights[0]), modes(&rights[1])))
        })
        .collect()
}

#[test]
fn every_row_of_the_list_is_there_for_whom_it_is_for() {
    for connection in [Connection::SinglePhase, Connection::ThreePhase] {
        let config = MeterConfig {
            connection,
            ..configured()
        };
        let mut bench = Bench::new(config, load(), "2013-01-01T00:00:00Z");
        bench.settle();
        bench.run_until(support::time("2013-01-01T01:00:00Z"));
        let mut checked = 0;
        for (role, bit) in [(Role::Public, P), (Role::Reader, R), (Role::Management, M)] {
            let mut session = Session::role(&mut bench, role);
            let shown = shown(&mut session, &mut bench);
            for wanted in list(connection) {
                for [a, b, c, d, e] in &wanted.names {
                    let name = [*a, *b, *c, *d, *e, 255];
                    let object = (wanted.class_id, name);
                    let label = format!("{connection:?} {role:?} {}", ObisCode(name));
                    let sees = wanted.by & bit != 0;
                    for number in wanted.read.iter().chain([&1]) {
                        let read = session.get(&mut bench, attribute(object, *number));
                        checked += 1;
                        if sees {
                            let value =
                                read.unwrap_or_else(|why| panic!("{label} {number}: {why}"));
                            if *number == 1 {
                                assert_eq!(value, Data::OctetString(name.to_vec()), "{label}");
                            }
                        } else if role == Role::Public {
                            let denied = DataAccessResult::ReadWriteDenied;
                            assert!(
                                matches!(read, Err(ClientError::Object(why, _)) if why == denied),
                                "{label} {number}: {read:?}"
                            );
                        }
                    }
                    if !sees {
                        continue;
                    }
                    let (class_id, attributes, methods) = shown
                        .get(&ObisCode(name))
                        .unwrap_or_else(|| panic!("{label} is not in the object list"));
                    assert_eq!(*class_id, wanted.class_id, "{label}");
                    for number in wanted.read {
                        let writes = role == Role::Management && wanted.written.contains(number);
                        let mode = if writes { 3 } else { 1 };
                        assert_eq!(attributes.get(number), Some(&mode), "{label} {number}");
                    }
                    for method in wanted.invoked {
                        let may = u8::from(role == Role::Management);
                        assert_eq!(methods.get(method), Some(&may), "{label} method {method}");
                    }
                }
            }
        }
        assert!(checked > 900, "{checked} attributes were read");
    }
}

#[test]
fn nobody_but_management_writes_or_invokes() {
    let mut bench = Bench::new(configured(), load(), "2013-01-01T00:00:00Z");
    bench.settle();
    for role in [Role::Public, Role::Reader] {
        let mut session = Session::role(&mut bench, role);
        for wanted in list(Connection::SinglePhase) {
            let [a, b, c, d, e] = wanted.names[0];
            let object = (wanted.class_id, [a, b, c, d, e, 255]);
            for number in wanted.written {
                let answer = session.set(&mut bench, attribute(object, *number), Data::Null);
                assert!(
                    matches!(
                        answer,
                        Err(ClientError::Object(DataAccessResult::ReadWriteDenied, _)
                            | ClientError::NotNegotiated { .. })
                    ),
                    "{role:?} {object:?} {number}: {answer:?}"
                );
            }
            for method in wanted.invoked {
                let answer = session.invoke(&mut bench, object, *method, Data::Integer(0));
                assert!(answer.is_err(), "{role:?} {object:?} {method}: {answer:?}");
            }
        }
    }
}
