//! Information elements in the control direction: commands, set points and the qualifiers of
//! system commands and parameters (IEC 60870-5-101, 7.2.6.15 to 7.2.6.39).

use crate::cause::CounterGroup;
use crate::value::Normalized;

/// S/E: whether a command chooses its object or moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// S/E = 1.
    Select,
    /// S/E = 0: carries out, after a selection or directly.
    Execute,
}

/// The direction of a regulating step command (RCS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepDirection {
    /// 1: next step lower.
    Lower,
    /// 2: next step higher.
    Higher,
}

/// What a command asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Command {
    /// SCS (types 45, 58): off or on.
    Single(bool),
    /// DCS (types 46, 59): off (1) or on (2).
    Double(bool),
    /// RCS (types 47, 60).
    Step(StepDirection),
    /// NVA (types 48, 61).
    Normalized(Normalized),
    /// SVA (types 49, 62).
    Scaled(i16),
    /// R32 (types 50, 63). A peer can send a NaN or an infinity.
    Float(f32),
    /// BSI (types 51, 64); it has no qualifier, so it cannot be selected.
    Bits(u32),
}

/// The type of a [`Command`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of Command")]
pub enum CommandKind {
    Single,
    Double,
    Step,
    Normalized,
    Scaled,
    Float,
    Bits,
}

impl CommandKind {
    /// Octets of the element with its qualifier.
    pub(crate) const fn octets(self) -> usize {
        match self {
            Self::Single | Self::Double | Self::Step => 1,
            Self::Normalized | Self::Scaled => 3,
            Self::Bits => 4,
            Self::Float => 5,
        }
    }

    /// The highest qualifier: QU has five bits, QL seven, a bit string none.
    pub(crate) const fn qualifier_max(self) -> u8 {
        match self {
            Self::Single | Self::Double | Self::Step => 31,
            Self::Normalized | Self::Scaled | Self::Float => 127,
            Self::Bits => 0,
        }
    }
}

impl Command {
    /// The type of the command.
    pub const fn kind(self) -> CommandKind {
        match self {
            Self::Single(_) => CommandKind::Single,
            Self::Double(_) => CommandKind::Double,
            Self::Step(_) => CommandKind::Step,
            Self::Normalized(_) => CommandKind::Normalized,
            Self::Scaled(_) => CommandKind::Scaled,
            Self::Float(_) => CommandKind::Float,
            Self::Bits(_) => CommandKind::Bits,
        }
    }

    /// Whether both are the same on the wire.
    pub fn same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (a, b) => a == b,
        }
    }

    /// Writes the element: the state or value, the qualifier and S/E.
    pub(crate) fn encode(self, qualifier: u8, stage: Stage, out: &mut Vec<u8>) {
        let select = match stage {
            Stage::Select => 0x80,
            Stage::Execute => 0,
        };
        let command = |state: u8| state | (qualifier & 0x1F) << 2 | select;
        let set_point = qualifier & 0x7F | select;
        match self {
            Self::Single(on) => out.push(command(u8::from(on))),
            Self::Double(on) => out.push(command(1 + u8::from(on))),
            Self::Step(StepDirection::Lower) => out.push(command(1)),
            Self::Step(StepDirection::Higher) => out.push(command(2)),
            Self::Normalized(Normalized(value)) | Self::Scaled(value) => {
                out.extend(value.to_le_bytes());
                out.push(set_point);
            }
            Self::Float(value) => {
                out.extend(value.to_le_bytes());
                out.push(set_point);
            }
            Self::Bits(bits) => out.extend(bits.to_le_bytes()),
        }
    }

    /// Reads an element of a known kind; `None` for the states 0 and 3, which are not permitted.
    pub(crate) fn decode(kind: CommandKind, octets: &[u8]) -> Option<(Self, u8, Stage)> {
        let at = |index: usize| octets.get(index).copied().unwrap_or(0);
        let last = octets.last().copied().unwrap_or(0);
        let stage = match last & 0x80 {
            0 => Stage::Execute,
            _ => Stage::Select,
        };
        let short = i16::from_le_bytes([at(0), at(1)]);
        let long = [at(0), at(1), at(2), at(3)];
        let (qu, ql) = (last >> 2 & 0x1F, last & 0x7F);
        Some(match (kind, last & 3) {
            (CommandKind::Single, state) => (Self::Single(state & 1 != 0), qu, stage),
            (CommandKind::Double, 1) => (Self::Double(false), qu, stage),
            (CommandKind::Double, 2) => (Self::Double(true), qu, stage),
            (CommandKind::Step, 1) => (Self::Step(StepDirection::Lower), qu, stage),
            (CommandKind::Step, 2) => (Self::Step(StepDirection::Higher), qu, stage),
            (CommandKind::Double | CommandKind::Step, _) => return None,
            (CommandKind::Normalized, _) => (Self::Normalized(Normalized(short)), ql, stage),
            (CommandKind::Scaled, _) => (Self::Scaled(short), ql, stage),
            (CommandKind::Float, _) => (Self::Float(f32::from_le_bytes(long)), ql, stage),
            (CommandKind::Bits, _) => (Self::Bits(u32::from_le_bytes(long)), 0, Stage::Execute),
        })
    }
}

/// FRZ: what a counter interrogation does to the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freeze {
    /// 0: send the readings.
    Read,
    /// 1: freeze, and count on.
    Freeze,
    /// 2: freeze, and count from zero.
    FreezeAndReset,
    /// 3: count from zero.
    Reset,
}

/// Qualifier of a counter interrogation (QCC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qcc {
    /// RQT: which counters.
    pub counters: CounterGroup,
    /// FRZ.
    pub freeze: Freeze,
}

impl Qcc {
    pub(crate) const fn encode(self) -> u8 {
        let request = match self.counters.group() {
            0 => 5,
            group => group,
        };
        let freeze = match self.freeze {
            Freeze::Read => 0,
            Freeze::Freeze => 1,
            Freeze::FreezeAndReset => 2,
            Freeze::Reset => 3,
        };
        request | freeze << 6
    }

    pub(crate) const fn decode(octet: u8) -> Option<Self> {
        let counters = match octet & 0x3F {
            5 => CounterGroup::GENERAL,
            group => match CounterGroup::of(group) {
                Some(group) => group,
                None => return None,
            },
        };
        let freeze = match octet >> 6 {
            0 => Freeze::Read,
            1 => Freeze::Freeze,
            2 => Freeze::FreezeAndReset,
            _ => Freeze::Reset,
        };
        Some(Self { counters, freeze })
    }
}

/// Qualifier of a reset process command (QRP).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// 1: the whole process.
    Process,
    /// 2: forget the time-tagged information that waits in the event buffer.
    Events,
}

impl Reset {
    pub(crate) const fn encode(self) -> u8 {
        match self {
            Self::Process => 1,
            Self::Events => 2,
        }
    }

    pub(crate) const fn decode(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Process),
            2 => Some(Self::Events),
            _ => None,
        }
    }
}

/// Cause of initialisation (COI).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Initialization {
    /// What began it.
    pub reason: InitializationReason,
    /// Whether local parameters were changed.
    pub changed_parameters: bool,
}

/// What began an initialisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitializationReason {
    /// 0: the local power was switched on.
    PowerOn,
    /// 1: a reset by hand.
    LocalReset,
    /// 2: a reset from the controlling station.
    RemoteReset,
    /// 3–127: reserved, or of the maker's.
    Other(u8),
}

impl Initialization {
    pub(crate) const fn encode(self) -> u8 {
        let reason = match self.reason {
            InitializationReason::PowerOn => 0,
            InitializationReason::LocalReset => 1,
            InitializationReason::RemoteReset => 2,
            InitializationReason::Other(code) => code & 0x7F,
        };
        reason | (self.changed_parameters as u8) << 7
    }

    pub(crate) const fn decode(octet: u8) -> Self {
        Self {
            reason: match octet & 0x7F {
                0 => InitializationReason::PowerOn,
                1 => InitializationReason::LocalReset,
                2 => InitializationReason::RemoteReset,
                code => InitializationReason::Other(code),
            },
            changed_parameters: octet & 0x80 != 0,
        }
    }
}

/// KPA: which parameter of a measured value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// 1: threshold, the deadband of spontaneous transmission.
    Threshold,
    /// 2: smoothing factor, a filter's time constant.
    Smoothing,
    /// 3: low limit for transmission.
    LowLimit,
    /// 4: high limit for transmission.
    HighLimit,
}

/// Qualifier of a parameter of measured values (QPM).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qpm {
    /// KPA.
    pub kind: ParameterKind,
    /// LPC: a local change of the parameter.
    pub changed_locally: bool,
    /// POP: the parameter is not in operation.
    pub not_in_operation: bool,
}

impl Qpm {
    pub(crate) const fn encode(self) -> u8 {
        let kind = match self.kind {
            ParameterKind::Threshold => 1,
            ParameterKind::Smoothing => 2,
            ParameterKind::LowLimit => 3,
            ParameterKind::HighLimit => 4,
        };
        kind | (self.changed_locally as u8) << 6 | (self.not_in_operation as u8) << 7
    }

    pub(crate) const fn decode(octet: u8) -> Option<Self> {
        let kind = match octet & 0x3F {
            1 => ParameterKind::Threshold,
            2 => ParameterKind::Smoothing,
            3 => ParameterKind::LowLimit,
            4 => ParameterKind::HighLimit,
            _ => return None,
        };
        Some(Self {
            kind,
            changed_locally: octet & 0x40 != 0,
            not_in_operation: octet & 0x80 != 0,
        })
    }
}

/// Qualifier of a parameter activation (QPA).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qpa {
    /// 1: the parameters loaded before (object address 0).
    Loaded,
    /// 2: the parameter of the addressed object.
    Object,
    /// 3: periodic transmission of the addressed object.
    Periodic,
}

impl Qpa {
    pub(crate) const fn encode(self) -> u8 {
        match self {
            Self::Loaded => 1,
            Self::Object => 2,
            Self::Periodic => 3,
        }
    }

    pub(crate) const fn decode(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Loaded),
            2 => Some(Self::Object),
            3 => Some(Self::Periodic),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_by_hand() {
        use Stage::{Execute, Select};
        let cases: [(Command, u8, Stage, &[u8]); 10] = [
            (Command::Single(true), 0, Execute, &[0x01]),
            (Command::Single(true), 0, Select, &[0x81]),
            (Command::Single(false), 1, Execute, &[0x04]), // Short pulse.
            (Command::Double(false), 0, Select, &[0x81]),
            (Command::Double(true), 3, Execute, &[0x0E]), // Persistent.
            (Command::Step(StepDirection::Higher), 31, Select, &[0xFE]),
            (
                Command::Normalized(Normalized(-1)),
                127,
                Execute,
                &[0xFF, 0xFF, 0x7F],
            ),
            (Command::Scaled(0x1234), 0, Select, &[0x34, 0x12, 0x80]),
            (
                Command::Float(-2.0),
                0,
                Execute,
                &[0x00, 0x00, 0x00, 0xC0, 0x00],
            ),
            (
                Command::Bits(0x8000_0001),
                0,
                Execute,
                &[0x01, 0x00, 0x00, 0x80],
            ),
        ];
        for (command, qualifier, stage, octets) in cases {
            let mut out = Vec::new();
            command.encode(qualifier, stage, &mut out);
            assert_eq!(out, octets, "{command:?}");
            assert_eq!(out.len(), command.kind().octets());
            assert_eq!(
                Command::decode(command.kind(), octets),
                Some((command, qualifier, stage))
            );
        }
        for octet in [0x00, 0x03, 0x80, 0xFF] {
            assert_eq!(Command::decode(CommandKind::Double, &[octet]), None);
            assert_eq!(Command::decode(CommandKind::Step, &[octet]), None);
        }
    }

    #[test]
    fn qualifiers_by_hand() {
        let qcc = |group: Option<u8>, freeze| Qcc {
            counters: group.map_or(CounterGroup::GENERAL, |g| CounterGroup::of(g).unwrap()),
            freeze,
        };
        for (value, octet) in [
            (qcc(None, Freeze::Read), 0x05),
            (qcc(None, Freeze::FreezeAndReset), 0x85),
            (qcc(Some(4), Freeze::Freeze), 0x44),
            (qcc(Some(1), Freeze::Reset), 0xC1),
        ] {
            assert_eq!(value.encode(), octet, "{value:?}");
            assert_eq!(Qcc::decode(octet), Some(value));
        }
        for octet in 0..=u8::MAX {
            if let Some(value) = Qcc::decode(octet) {
                assert_eq!(value.encode(), octet);
            }
            if let Some(value) = Reset::decode(octet) {
                assert_eq!(value.encode(), octet);
            }
            if let Some(value) = Qpm::decode(octet) {
                assert_eq!(value.encode(), octet);
            }
            if let Some(value) = Qpa::decode(octet) {
                assert_eq!(value.encode(), octet);
            }
            assert_eq!(Initialization::decode(octet).encode(), octet);
        }
        let known = |decode: fn(u8) -> bool| (0..=u8::MAX).filter(|&o| decode(o)).count();
        assert_eq!(known(|o| Qcc::decode(o).is_some()), 5 * 4);
        assert_eq!(known(|o| Reset::decode(o).is_some()), 2);
        assert_eq!(known(|o| Qpm::decode(o).is_some()), 4 * 4);
        assert_eq!(known(|o| Qpa::decode(o).is_some()), 3);
    }
}
