//! The states of an alarm and every move between them (ISA-18.2-2016 §5, IEC 62682).

use core::fmt;

/// Where an alarm stands, with the standard's letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// A: nothing is wrong.
    Normal,
    /// B: active, and nobody has acknowledged it.
    Unacknowledged,
    /// C: active and acknowledged.
    Acknowledged,
    /// D: returned to normal before anybody acknowledged it.
    ReturnedUnacknowledged,
    /// E: returned, latched, not acknowledged.
    LatchedUnacknowledged,
    /// F: returned, latched, acknowledged: waits for its reset.
    LatchedAcknowledged,
    /// G: an operator put it aside for a time.
    Shelved,
    /// H: logic says that it means nothing in this situation.
    Suppressed,
    /// I: in maintenance.
    OutOfService,
}

impl State {
    /// Every state, with its letter and its words.
    pub const ALL: [(Self, char, &'static str); 9] = [
        (Self::Normal, 'A', "normal"),
        (Self::Unacknowledged, 'B', "unacknowledged"),
        (Self::Acknowledged, 'C', "acknowledged"),
        (
            Self::ReturnedUnacknowledged,
            'D',
            "returned, unacknowledged",
        ),
        (Self::LatchedUnacknowledged, 'E', "latched, unacknowledged"),
        (Self::LatchedAcknowledged, 'F', "latched, acknowledged"),
        (Self::Shelved, 'G', "shelved"),
        (Self::Suppressed, 'H', "suppressed by design"),
        (Self::OutOfService, 'I', "out of service"),
    ];

    /// Whether somebody has to look at it.
    pub const fn wants_acknowledgement(self) -> bool {
        matches!(
            self,
            Self::Unacknowledged | Self::ReturnedUnacknowledged | Self::LatchedUnacknowledged
        )
    }

    /// Whether it stands in the list of alarms.
    pub const fn is_listed(self) -> bool {
        !matches!(
            self,
            Self::Normal | Self::Shelved | Self::Suppressed | Self::OutOfService
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(state, ..)| state == self);
        f.write_str(found.map_or("", |(_, _, words)| words))
    }
}

/// What happens to an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// The condition has held for the on-delay.
    Alarm,
    /// The condition has been gone, by the deadband, for the off-delay.
    Return,
    /// An operator acknowledges.
    Acknowledge,
    /// An operator resets a latched alarm.
    Reset,
    /// An acknowledged alarm has stood too long and is announced again.
    Reannunciate,
    /// An operator puts it aside.
    Shelve,
    /// An operator takes it from the shelf, or its time is over.
    Unshelve,
    /// Logic suppresses it.
    Suppress,
    /// Logic lets it go.
    Unsuppress,
    /// Maintenance takes it out of service.
    Remove,
    /// Maintenance puts it back into service.
    PutBack,
}

impl Event {
    /// Every event, with its words.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Alarm, "alarm"),
        (Self::Return, "return"),
        (Self::Acknowledge, "acknowledge"),
        (Self::Reset, "reset"),
        (Self::Reannunciate, "announce again"),
        (Self::Shelve, "shelve"),
        (Self::Unshelve, "unshelve"),
        (Self::Suppress, "suppress"),
        (Self::Unsuppress, "unsuppress"),
        (Self::Remove, "take out of service"),
        (Self::PutBack, "put back into service"),
    ];
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(event, _)| event == self);
        f.write_str(found.map_or("", |(_, words)| words))
    }
}

/// Whether an alarm stays until it is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latching {
    /// It goes when its condition goes.
    No,
    /// It waits for a reset.
    Yes,
}

/// One alarm's state, and what lies beneath a shelf, a suppression or a maintenance.
///
/// The three may hold at once: the one that needs most to undo is the state (out of service,
/// then suppressed, then shelved). When the last one ends, the alarm is evaluated anew: announced
/// if its condition holds, normal if not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// A to F; A while anything covers it.
    shown: State,
    active: bool,
    shelved: bool,
    suppressed: bool,
    out_of_service: bool,
}

impl Machine {
    /// State A.
    pub const NORMAL: Self = Self {
        shown: State::Normal,
        active: false,
        shelved: false,
        suppressed: false,
        out_of_service: false,
    };

    /// The state.
    pub const fn state(self) -> State {
        if self.out_of_service {
            State::OutOfService
        } else if self.suppressed {
            State::Suppressed
        } else if self.shelved {
            State::Shelved
        } else {
            self.shown
        }
    }

    /// Whether the condition holds, whatever covers it.
    pub const fn is_active(self) -> bool {
        self.active
    }

    /// Whether it is on the shelf, whatever else covers it.
    pub const fn is_shelved(self) -> bool {
        self.shelved
    }

    /// Whether logic suppresses it, whatever else covers it.
    pub const fn is_suppressed(self) -> bool {
        self.suppressed
    }

    /// What an event makes of it; `None` if the event means nothing in its state.
    #[must_use]
    pub fn after(self, event: Event, latching: Latching) -> Option<Self> {
        let mut next = self;
        match event {
            Event::Alarm if !self.active => next.active = true,
            Event::Return if self.active => next.active = false,
            Event::Shelve if !self.shelved => next.shelved = true,
            Event::Unshelve if self.shelved => next.shelved = false,
            Event::Suppress if !self.suppressed => next.suppressed = true,
            Event::Unsuppress if self.suppressed => next.suppressed = false,
            Event::Remove if !self.out_of_service => next.out_of_service = true,
            Event::PutBack if self.out_of_service => next.out_of_service = false,
            Event::Acknowledge | Event::Reset | Event::Reannunciate => {}
            Event::Alarm
            | Event::Return
            | Event::Shelve
            | Event::Unshelve
            | Event::Suppress
            | Event::Unsuppress
            | Event::Remove
            | Event::PutBack => return None,
        }
        next.shown = match (self.is_covered(), next.is_covered()) {
            (false, false) => shown_after(self.shown, event, latching)?,
            (_, true)
                if matches!(
                    event,
                    Event::Acknowledge | Event::Reset | Event::Reannunciate
                ) =>
            {
                return None;
            }
            (_, true) => State::Normal,
            (true, false) if next.active => State::Unacknowledged,
            (true, false) => State::Normal,
        };
        Some(next)
    }

    const fn is_covered(self) -> bool {
        self.shelved || self.suppressed || self.out_of_service
    }
}

/// The moves among A to F.
const fn shown_after(shown: State, event: Event, latching: Latching) -> Option<State> {
    match (shown, event) {
        (
            State::Normal
            | State::ReturnedUnacknowledged
            | State::LatchedUnacknowledged
            | State::LatchedAcknowledged,
            Event::Alarm,
        )
        | (State::Acknowledged, Event::Reannunciate) => Some(State::Unacknowledged),
        (State::Unacknowledged, Event::Acknowledge) => Some(State::Acknowledged),
        (State::Unacknowledged, Event::Return) => Some(match latching {
            Latching::No => State::ReturnedUnacknowledged,
            Latching::Yes => State::LatchedUnacknowledged,
        }),
        (State::Acknowledged, Event::Return) => Some(match latching {
            Latching::No => State::Normal,
            Latching::Yes => State::LatchedAcknowledged,
        }),
        (State::LatchedUnacknowledged, Event::Acknowledge) => Some(State::LatchedAcknowledged),
        (State::ReturnedUnacknowledged, Event::Acknowledge)
        | (State::LatchedAcknowledged, Event::Reset) => Some(State::Normal),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Event as E;

    fn letter(machine: Machine) -> char {
        let found = State::ALL
            .iter()
            .find(|(state, ..)| *state == machine.state());
        found.unwrap().1
    }

    /// The machine in each state, by the shortest way there.
    fn ways(latching: Latching) -> Vec<(char, Machine)> {
        let ways: [(char, Latching, &[Event]); 13] = [
            ('A', latching, &[]),
            ('B', latching, &[E::Alarm]),
            ('C', latching, &[E::Alarm, E::Acknowledge]),
            ('D', Latching::No, &[E::Alarm, E::Return]),
            ('E', Latching::Yes, &[E::Alarm, E::Return]),
            ('F', Latching::Yes, &[E::Alarm, E::Acknowledge, E::Return]),
            ('G', latching, &[E::Shelve]),
            ('H', latching, &[E::Suppress]),
            ('I', latching, &[E::Remove]),
            // The same, with the condition holding beneath.
            ('g', latching, &[E::Alarm, E::Shelve]),
            ('h', latching, &[E::Suppress, E::Alarm]),
            ('i', latching, &[E::Alarm, E::Acknowledge, E::Remove]),
            // Everything at once.
            (
                '*',
                latching,
                &[E::Alarm, E::Shelve, E::Suppress, E::Remove],
            ),
        ];
        let reached = ways.into_iter().filter(|(_, needs, _)| *needs == latching);
        reached
            .map(|(name, _, events)| {
                let machine = events.iter().fold(Machine::NORMAL, |machine, event| {
                    machine.after(*event, latching).unwrap()
                });
                (name, machine)
            })
            .collect()
    }

    /// Each row: a state, and what each event makes of it, in the order of [`Event::ALL`].
    #[test]
    fn every_event_in_every_state() {
        // Alarm Return Acknowledge Reset Reannunciate Shelve Unshelve Suppress Unsuppress Remove
        // PutBack
        let plain = [
            ('A', "B----G-H-I-"),
            ('B', "-DC--G-H-I-"),
            ('C', "-A--BG-H-I-"),
            ('D', "B-A--G-H-I-"),
            ('G', "G-----AH-I-"),
            ('H', "H----H--AI-"),
            ('I', "I----I-I--A"),
            ('g', "-G----BH-I-"),
            ('h', "-H---H--BI-"),
            ('i', "-I---I-I--B"),
            ('*', "-I----I-I-H"),
        ];
        let latching = [
            ('A', "B----G-H-I-"),
            ('B', "-EC--G-H-I-"),
            ('C', "-F--BG-H-I-"),
            ('E', "B-F--G-H-I-"),
            ('F', "B--A-G-H-I-"),
            ('G', "G-----AH-I-"),
            ('H', "H----H--AI-"),
            ('I', "I----I-I--A"),
            ('g', "-G----BH-I-"),
            ('h', "-H---H--BI-"),
            ('i', "-I---I-I--B"),
            ('*', "-I----I-I-H"),
        ];
        for (kind, table) in [
            (Latching::No, plain.as_slice()),
            (Latching::Yes, latching.as_slice()),
        ] {
            let ways = ways(kind);
            assert_eq!(ways.len(), table.len());
            for ((name, machine), (row, expected)) in ways.into_iter().zip(table) {
                assert_eq!(name, *row);
                let got: String = Event::ALL
                    .into_iter()
                    .map(|(event, _)| machine.after(event, kind).map_or('-', letter))
                    .collect();
                assert_eq!(got, *expected, "{kind:?} from {name}");
            }
        }
    }
}
