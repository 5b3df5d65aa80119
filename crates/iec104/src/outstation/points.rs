//! The controlled station's points: what each says, how it is delivered, and its counters.

use std::collections::BTreeMap;

use crate::asdu::{Element, Object};
use crate::cause::{Cause, ObjectAddress, Qoi};
use crate::command::{Freeze, Qcc};
use crate::value::{CounterReading, Quality, Value};

use super::config::OutstationError;

/// Points that a station holds; [`add_point`](super::Outstation::add_point) refuses more.
pub const POINTS_MAX: usize = 100_000;

/// Groups that a point belongs to: 1–16 for interrogations, 1–4 for counter interrogations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Groups(u16);

impl Groups {
    /// No group: the point answers station interrogations alone.
    pub const NONE: Self = Self(0);

    /// The same groups and `group`; `None` outside 1–16.
    pub const fn with(self, group: u8) -> Option<Self> {
        match group {
            1..=16 => Some(Self(self.0 | 1 << (group - 1))),
            _ => None,
        }
    }

    /// Whether `group` is one of them.
    pub const fn contains(self, group: u8) -> bool {
        matches!(group, 1..=16) && self.0 & 1 << (group - 1) != 0
    }
}

/// When a point is sent without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivery {
    /// Each change goes through the event buffer. For a counter: each frozen reading.
    pub spontaneous: bool,
    /// Its value goes out every [`cyclic`](super::OutstationConfig::cyclic). Not for counters.
    pub cyclic: bool,
    /// Its value goes out every [`background`](super::OutstationConfig::background). Not for
    /// counters.
    pub background: bool,
}

impl Delivery {
    /// Changes only: what switches, alarms and measured values with a deadband want.
    pub const SPONTANEOUS: Self = Self {
        spontaneous: true,
        cyclic: false,
        background: false,
    };
}

/// A monitored point as it is configured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Its first value, which decides its type for good; invalid until it is updated.
    pub initial: Value,
    /// When it is sent without being asked for.
    pub delivery: Delivery,
    /// Its groups.
    pub groups: Groups,
}

#[derive(Debug, Clone)]
struct State {
    point: Point,
    value: Value,
    quality: Quality,
    counter: Counter,
}

/// What a counter remembers beside its running count.
#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    /// The running count at the last reset.
    zero: i32,
    frozen: Option<(CounterReading, Quality)>,
    sequence: u8,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Points {
    map: BTreeMap<ObjectAddress, State>,
}

/// Whether an update said something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Changed,
}

impl Points {
    pub(super) fn add(
        &mut self,
        address: ObjectAddress,
        point: Point,
    ) -> Result<(), OutstationError> {
        if address == ObjectAddress::NONE || self.map.contains_key(&address) {
            return Err(OutstationError::Address(address));
        }
        if self.map.len() >= POINTS_MAX {
            return Err(OutstationError::TooManyPoints);
        }
        let state = State {
            point,
            value: point.initial,
            quality: Quality::INVALID,
            counter: Counter::default(),
        };
        self.map.insert(address, state);
        Ok(())
    }

    pub(super) fn point(&self, address: ObjectAddress) -> Option<Point> {
        self.map.get(&address).map(|state| state.point)
    }

    /// Takes a value; refuses an unknown point and a value of another type.
    pub(super) fn set(
        &mut self,
        address: ObjectAddress,
        value: Value,
        quality: Quality,
    ) -> Result<Change, OutstationError> {
        let state = self.map.get_mut(&address);
        let state = state.ok_or(OutstationError::UnknownPoint(address))?;
        if state.value.kind() != value.kind() {
            return Err(OutstationError::Kind {
                address,
                wanted: state.value.kind(),
                got: value.kind(),
            });
        }
        let changed = !state.value.same(value) || state.quality != quality;
        (state.value, state.quality) = (value, quality);
        Ok(if changed {
            Change::Changed
        } else {
            Change::None
        })
    }

    /// Freezes or resets; returns the counters whose frozen reading is to be sent.
    pub(super) fn freeze(&mut self, qcc: Qcc) -> Vec<(ObjectAddress, Value, Quality)> {
        let mut frozen = Vec::new();
        for (&address, state) in &mut self.map {
            let Value::Counter(running) = state.value else {
                continue;
            };
            if !in_counter_group(state.point.groups, qcc.counters.group()) {
                continue;
            }
            if matches!(qcc.freeze, Freeze::Freeze | Freeze::FreezeAndReset) {
                state.counter.sequence = (state.counter.sequence + 1) % 32;
                let reading = CounterReading {
                    count: running.count.wrapping_sub(state.counter.zero),
                    sequence: state.counter.sequence,
                    ..running
                };
                state.counter.frozen = Some((reading, state.quality));
                // CY and CA speak of the time since the last reading.
                state.value = Value::Counter(CounterReading {
                    carry: false,
                    adjusted: false,
                    ..running
                });
                if state.point.delivery.spontaneous {
                    frozen.push((address, Value::Counter(reading), state.quality));
                }
            }
            if matches!(qcc.freeze, Freeze::FreezeAndReset | Freeze::Reset) {
                state.counter.zero = running.count;
            }
        }
        frozen
    }

    /// The object as an interrogation or a read command reports it, without time.
    pub(super) fn object(&self, address: ObjectAddress) -> Option<Object> {
        self.map.get(&address).map(|state| state.object(address))
    }

    /// The first objects from `from` on that belong to `cause`, up to the end of the table.
    pub(super) fn belonging_to(
        &self,
        cause: Cause,
        from: ObjectAddress,
    ) -> impl Iterator<Item = Object> {
        self.map
            .range(from..)
            .filter(move |(_, state)| state.belongs_to(cause))
            .map(|(&address, state)| state.object(address))
    }
}

impl State {
    fn object(&self, address: ObjectAddress) -> Object {
        let (value, quality) = match (self.value, self.counter.frozen) {
            (Value::Counter(_), Some((reading, quality))) => (Value::Counter(reading), quality),
            (Value::Counter(running), None) => (
                Value::Counter(CounterReading {
                    count: running.count.wrapping_sub(self.counter.zero),
                    ..running
                }),
                self.quality,
            ),
            (value, _) => (value, self.quality),
        };
        Object {
            address,
            element: Element::Point { value, quality },
            time: None,
        }
    }

    fn belongs_to(&self, cause: Cause) -> bool {
        let is_counter = matches!(self.value, Value::Counter(_));
        match cause {
            Cause::Interrogated(Qoi::STATION) => !is_counter,
            Cause::Interrogated(qoi) => {
                !is_counter && self.point.groups.contains(qoi.code() - Qoi::STATION.code())
            }
            Cause::CountersRequested(group) => {
                is_counter && in_counter_group(self.point.groups, group.group())
            }
            Cause::Periodic => !is_counter && self.point.delivery.cyclic,
            Cause::Background => !is_counter && self.point.delivery.background,
            Cause::Spontaneous
            | Cause::Initialized
            | Cause::Request
            | Cause::Activation
            | Cause::ActivationCon
            | Cause::Deactivation
            | Cause::DeactivationCon
            | Cause::ActivationTermination
            | Cause::ReturnRemote
            | Cause::ReturnLocal
            | Cause::File
            | Cause::UnknownType
            | Cause::UnknownCause
            | Cause::UnknownCommonAddress
            | Cause::UnknownObjectAddress => false,
        }
    }
}

fn in_counter_group(groups: Groups, group: u8) -> bool {
    group == 0 || groups.contains(group)
}
