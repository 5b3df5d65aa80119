//! Answers to interrogations and periodic transmissions: one walk over the point table, as fast as
//! the window opens, with the values of that moment.

use crate::asdu::{Asdu, Object, Packing};
use crate::cause::{Cause, ObjectAddress, Transmission};

use super::points::Points;

#[derive(Debug, Clone)]
pub(super) struct Scan {
    /// The cause of every ASDU, which decides the points too.
    pub(super) transmission: Transmission,
    /// Where to go on; `None` at the end of the table.
    next: Option<ObjectAddress>,
    /// What ends it: an ACTTERM, or nothing for a periodic transmission.
    pub(super) finish: Option<Vec<u8>>,
}

impl Scan {
    pub(super) fn new(transmission: Transmission, finish: Option<Vec<u8>>) -> Self {
        Self {
            transmission,
            next: Some(ObjectAddress::NONE),
            finish,
        }
    }

    pub(super) fn cause(&self) -> Cause {
        self.transmission.cause
    }

    /// The next run of points of one type: neighbours as a sequence, others one by one.
    pub(super) fn next_run(&mut self, points: &Points) -> Option<(Packing, Vec<Object>)> {
        let mut rest = points.belonging_to(self.cause(), self.next?).peekable();
        let Some(first) = rest.next() else {
            self.next = None;
            return None;
        };
        let type_id = first.type_id().expect("a point without time has a type");
        let is_neighbour =
            |a: &Object, b: &Object| a.address.get().checked_add(1) == Some(b.address.get());
        let is_alike = |b: &Object| b.type_id() == Some(type_id);
        let packing = match rest.peek() {
            Some(second) if is_alike(second) && is_neighbour(&first, second) => Packing::Sequence,
            _ => Packing::Single,
        };
        let most = Asdu::objects_max(type_id, packing);
        let mut run = vec![first];
        while run.len() < most {
            let last = run[run.len() - 1];
            let fits = |next: &Object| {
                is_alike(next) && (packing == Packing::Single || is_neighbour(&last, next))
            };
            match rest.next_if(fits) {
                Some(next) => run.push(next),
                None => break,
            }
        }
        self.next = rest.next().map(|object| object.address);
        Some((packing, run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::{CounterGroup, Qoi};
    use crate::outstation::points::{Delivery, Groups, Point};
    use crate::value::{CounterReading, Value};

    #[test]
    fn a_scan_packs_neighbours_and_finds_its_points() {
        let mut points = Points::default();
        let add = |points: &mut Points, address, initial, group: Option<u8>, cyclic| {
            let groups = group.map_or(Groups::NONE, |g| Groups::NONE.with(g).unwrap());
            let delivery = Delivery {
                cyclic,
                ..Delivery::default()
            };
            let point = Point {
                initial,
                delivery,
                groups,
            };
            points
                .add(ObjectAddress::new(address).unwrap(), point)
                .unwrap();
        };
        for address in [10, 11, 12, 20, 22, 30] {
            let group = (address == 22).then_some(16);
            add(&mut points, address, Value::Single(true), group, false);
        }
        add(&mut points, 31, Value::Scaled(1), Some(16), true);
        for address in 1_000..1_200 {
            add(&mut points, address, Value::Float(0.0), None, false);
        }
        let counter = Value::Counter(CounterReading::default());
        add(&mut points, 40, counter, Some(4), false);
        add(&mut points, 41, counter, None, true);
        let walk = |cause| {
            let mut scan = Scan::new(Transmission::new(cause), None);
            let mut runs = Vec::new();
            while let Some((packing, run)) = scan.next_run(&points) {
                runs.push((packing, run[0].address.get(), run.len()));
            }
            runs
        };
        use Packing::{Sequence, Single};
        // (249 - 6 - 3) / 5 = 48 floats in a sequence.
        let station = [
            (Sequence, 10, 3),
            (Single, 20, 3),
            (Single, 31, 1),
            (Sequence, 1_000, 48),
            (Sequence, 1_048, 48),
            (Sequence, 1_096, 48),
            (Sequence, 1_144, 48),
            (Sequence, 1_192, 8),
        ];
        assert_eq!(walk(Cause::Interrogated(Qoi::STATION)), station);
        let group = Cause::Interrogated(Qoi::group(16).unwrap());
        assert_eq!(walk(group), [(Single, 22, 1), (Single, 31, 1)]);
        let counters = |group| Cause::CountersRequested(group);
        assert_eq!(walk(counters(CounterGroup::GENERAL)), [(Sequence, 40, 2)]);
        assert_eq!(
            walk(counters(CounterGroup::of(4).unwrap())),
            [(Single, 40, 1)]
        );
        assert_eq!(walk(counters(CounterGroup::of(1).unwrap())), []);
        assert_eq!(walk(Cause::Periodic), [(Single, 31, 1)]);
        assert_eq!(walk(Cause::Background), []);
    }
}
