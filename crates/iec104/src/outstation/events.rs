//! The event buffer: what the controlling station has not acknowledged yet, in order.

use std::collections::VecDeque;

use crate::asdu::{Asdu, Object, Packing};
use crate::cause::{Cause, ObjectAddress};

#[derive(Debug, Clone)]
struct Event {
    serial: u64,
    cause: Cause,
    object: Object,
}

/// Events in order. A prefix of them is under way: sent on the active connection and not
/// acknowledged.
#[derive(Debug, Clone)]
pub(super) struct EventBuffer {
    events: VecDeque<Event>,
    under_way: usize,
    next_serial: u64,
    lost: u64,
    max: usize,
    /// Objects in one ASDU, so few that k ASDUs carry at most half of the buffer.
    batch_max: usize,
}

impl EventBuffer {
    pub(super) fn new(max: usize, k: u16) -> Self {
        let k = usize::from(k);
        assert!(max >= 2 * k, "the configuration was checked");
        Self {
            events: VecDeque::new(),
            under_way: 0,
            next_serial: 0,
            lost: 0,
            max,
            batch_max: max / (2 * k),
        }
    }

    /// Keeps an event; returns the point whose oldest event was lost for it.
    pub(super) fn push(&mut self, cause: Cause, object: Object) -> Option<ObjectAddress> {
        let mut lost = None;
        if self.events.len() >= self.max {
            // What is under way may have arrived: the next one is the oldest that has not.
            let oldest = self.events.remove(self.under_way);
            lost = oldest.map(|event| event.object.address);
            self.lost += 1;
        }
        self.events.push_back(Event {
            serial: self.next_serial,
            cause,
            object,
        });
        self.next_serial += 1;
        lost
    }

    /// The next events of one type and cause; they are under way now.
    pub(super) fn next_batch(&mut self) -> Option<(Cause, Vec<Object>)> {
        let first = self.events.get(self.under_way)?;
        let (cause, type_id) = (first.cause, first.object.type_id()?);
        let most = Asdu::objects_max(type_id, Packing::Single).min(self.batch_max);
        let objects: Vec<Object> = self
            .events
            .range(self.under_way..)
            .take(most)
            .take_while(|event| event.cause == cause && event.object.type_id() == Some(type_id))
            .map(|event| event.object)
            .collect();
        self.under_way += objects.len();
        Some((cause, objects))
    }

    /// The oldest `count` events have arrived.
    pub(super) fn acknowledge(&mut self, count: usize) {
        assert!(
            count <= self.under_way,
            "only what was sent is acknowledged"
        );
        self.events.drain(..count);
        self.under_way -= count;
    }

    /// The connection is gone: what was under way is sent again.
    pub(super) fn rewind(&mut self) {
        self.under_way = 0;
    }

    /// Forgets what is not under way; returns how many.
    pub(super) fn clear(&mut self) -> usize {
        let forgotten = self.events.len() - self.under_way;
        self.events.truncate(self.under_way);
        forgotten
    }

    /// A number above that of every event so far.
    pub(super) fn mark(&self) -> u64 {
        self.next_serial
    }

    /// Whether every event before `mark` is at least under way.
    pub(super) fn is_sent_up_to(&self, mark: u64) -> bool {
        let next = self.events.get(self.under_way);
        next.is_none_or(|event| event.serial >= mark)
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asdu::Element;
    use crate::value::{Quality, Value};

    fn object(address: u32, value: Value) -> Object {
        Object {
            address: ObjectAddress::new(address).unwrap(),
            element: Element::Point {
                value,
                quality: Quality::GOOD,
            },
            time: None,
        }
    }

    fn addresses(batch: Option<(Cause, Vec<Object>)>) -> Vec<u32> {
        let objects = batch.map(|(_, objects)| objects).unwrap_or_default();
        objects.iter().map(|o| o.address.get()).collect()
    }

    #[test]
    fn batches_keep_the_order_and_go_again_after_a_loss() {
        let mut buffer = EventBuffer::new(100, 12);
        let cases = [
            (1, Cause::Spontaneous, Value::Single(true)),
            (2, Cause::Spontaneous, Value::Single(true)),
            (3, Cause::Spontaneous, Value::Scaled(1)),
            (4, Cause::ReturnRemote, Value::Scaled(1)),
            (5, Cause::Spontaneous, Value::Scaled(1)),
            (6, Cause::Spontaneous, Value::Scaled(1)),
            (7, Cause::Spontaneous, Value::Scaled(1)),
            (8, Cause::Spontaneous, Value::Scaled(1)),
            (9, Cause::Spontaneous, Value::Scaled(1)),
        ];
        for (address, cause, value) in cases {
            assert_eq!(buffer.push(cause, object(address, value)), None);
        }
        let batches: [&[u32]; 6] = [&[1, 2], &[3], &[4], &[5, 6, 7, 8], &[9], &[]];
        for batch in batches {
            assert_eq!(addresses(buffer.next_batch()), batch);
        }
        buffer.acknowledge(3);
        buffer.rewind();
        assert_eq!(addresses(buffer.next_batch()), [4]);
        assert!(buffer.is_sent_up_to(4) && !buffer.is_sent_up_to(5));
        assert_eq!(buffer.clear(), 5);
        assert!(buffer.is_sent_up_to(buffer.mark()));
        buffer.acknowledge(1);
        assert_eq!(buffer.len(), 0);
    }

    #[test]
    fn overflow_loses_the_oldest_that_has_not_left() {
        let mut buffer = EventBuffer::new(4, 2);
        for address in 1..=4 {
            buffer.push(Cause::Spontaneous, object(address, Value::Single(true)));
        }
        assert_eq!(addresses(buffer.next_batch()), [1]);
        let lost = buffer.push(Cause::Spontaneous, object(5, Value::Single(true)));
        assert_eq!(lost, ObjectAddress::new(2));
        assert_eq!((buffer.len(), buffer.lost()), (4, 1));
        buffer.rewind();
        for expected in [1, 3, 4, 5] {
            assert_eq!(addresses(buffer.next_batch()), [expected]);
        }
    }
}
