//! The ASDU: data unit identifier and information objects (IEC 60870-5-101, 7.2 and 7.3).

use crate::cause::{CommonAddress, ObjectAddress, Transmission};
use crate::command::{Command, Initialization, Qcc, Qpa, Qpm, Reset, Stage};
use crate::frame::ASDU_MAX;
use crate::time::Cp56Time2a;
use crate::type_id::{ParameterFormat, Shape, Tag, TypeId};
use crate::value::{Normalized, Quality, Value};

use crate::cause::Qoi;

const HEADER_OCTETS: usize = 6;
const ADDRESS_OCTETS: usize = 3;

/// Objects that one ASDU can count.
pub const OBJECTS_MAX: usize = 127;

/// Why octets, or objects put together, are no ASDU of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AsduError {
    /// Shorter than its identifier.
    #[error("ASDU: {0} octets, the identifier alone has 6")]
    Short(usize),
    /// A type that this profile does not have.
    #[error("ASDU: type {0} is not in the profile; take it out of the peer's point list")]
    UnknownType(u8),
    /// A reserved cause of transmission.
    #[error("ASDU: cause of transmission {0} is reserved")]
    UnknownCause(u8),
    /// Common address 0.
    #[error("ASDU: common address 0 is not used; give the station one from 1 to 65534")]
    NoCommonAddress,
    /// None, more than the identifier can count, or more than one in the control direction.
    #[error("ASDU: {count} objects of {type_id:?}")]
    Count {
        /// The type.
        type_id: TypeId,
        /// How many.
        count: usize,
    },
    /// The objects do not fill the ASDU exactly.
    #[error("ASDU: {got} octets of {type_id:?} objects where {wanted} belong")]
    Length {
        /// The type.
        type_id: TypeId,
        /// Octets that the identifier promises.
        wanted: usize,
        /// Octets there are, or the most that an I-frame carries.
        got: usize,
    },
    /// SQ = 1 with a type that forbids it, or addresses that do not follow each other.
    #[error("ASDU: {0:?} cannot be a sequence here")]
    Sequence(TypeId),
    /// An element has a value that the standard does not permit.
    #[error("ASDU: {type_id:?} at object {address}: element {octet:02X}h is not permitted")]
    Element {
        /// The type.
        type_id: TypeId,
        /// The object.
        address: ObjectAddress,
        /// The qualifier, or the state.
        octet: u8,
    },
    /// An element and a time that no type has together, or objects of different types.
    #[error("ASDU: no type carries this element {}", if *.time { "with a time" } else { "without a time, or beside the others" })]
    NoType {
        /// Whether a time was given.
        time: bool,
    },
}

/// One information element, or what stands for it in a system command.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Element {
    /// A point (types 1–15, 30–37).
    Point {
        /// What it says.
        value: Value,
        /// How far to believe it.
        quality: Quality,
    },
    /// A command or set point (types 45–51, 58–64).
    Command {
        /// What to do.
        command: Command,
        /// QU (0–31) or QL (0–127): 0 leaves it to the station, 1 short pulse, 2 long pulse,
        /// 3 persistent output.
        qualifier: u8,
        /// Select or execute.
        stage: Stage,
    },
    /// M_EI_NA_1 (type 70).
    EndOfInitialization(Initialization),
    /// C_IC_NA_1 (type 100).
    Interrogation(Qoi),
    /// C_CI_NA_1 (type 101).
    CounterInterrogation(Qcc),
    /// C_RD_NA_1 (type 102).
    Read,
    /// C_CS_NA_1 (type 103); the time is the object's.
    Clock,
    /// C_RP_NA_1 (type 105).
    Reset(Reset),
    /// C_TS_TA_1 (type 107): a counter that comes back.
    Test(u16),
    /// P_ME_NA_1 to P_ME_NC_1 (types 110–112).
    Parameter {
        /// The parameter.
        value: ParameterValue,
        /// Which one it is.
        qualifier: Qpm,
    },
    /// P_AC_NA_1 (type 113).
    ParameterActivation(Qpa),
}

/// The value of a parameter, in the format of its measured value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParameterValue {
    /// Type 110.
    Normalized(Normalized),
    /// Type 111.
    Scaled(i16),
    /// Type 112.
    Float(f32),
}

impl Element {
    fn shape(&self) -> Shape {
        match self {
            Self::Point { value, .. } => Shape::Point(value.kind()),
            Self::Command { command, .. } => Shape::Command(command.kind()),
            Self::EndOfInitialization(_) => Shape::EndOfInitialization,
            Self::Interrogation(_) => Shape::Interrogation,
            Self::CounterInterrogation(_) => Shape::CounterInterrogation,
            Self::Read => Shape::Read,
            Self::Clock => Shape::Clock,
            Self::Reset(_) => Shape::Reset,
            Self::Test(_) => Shape::Test,
            Self::Parameter { value, .. } => Shape::Parameter(match value {
                ParameterValue::Normalized(_) => ParameterFormat::Normalized,
                ParameterValue::Scaled(_) => ParameterFormat::Scaled,
                ParameterValue::Float(_) => ParameterFormat::Float,
            }),
            Self::ParameterActivation(_) => Shape::ParameterActivation,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Point { value, quality } => value.encode(*quality, out),
            Self::Command {
                command,
                qualifier,
                stage,
            } => command.encode(*qualifier, *stage, out),
            Self::EndOfInitialization(cause) => out.push(cause.encode()),
            Self::Interrogation(qoi) => out.push(qoi.code()),
            Self::CounterInterrogation(qcc) => out.push(qcc.encode()),
            Self::Read | Self::Clock => {}
            Self::Reset(reset) => out.push(reset.encode()),
            Self::Test(counter) => out.extend(counter.to_le_bytes()),
            Self::Parameter { value, qualifier } => {
                match value {
                    ParameterValue::Normalized(Normalized(value))
                    | ParameterValue::Scaled(value) => out.extend(value.to_le_bytes()),
                    ParameterValue::Float(value) => out.extend(value.to_le_bytes()),
                }
                out.push(qualifier.encode());
            }
            Self::ParameterActivation(qpa) => out.push(qpa.encode()),
        }
    }

    /// `octets` are exactly those of the shape; `None` if the standard does not permit them.
    fn decode(shape: Shape, octets: &[u8]) -> Option<Self> {
        let at = |index: usize| octets.get(index).copied().unwrap_or(0);
        let last = octets.last().copied().unwrap_or(0);
        let short = i16::from_le_bytes([at(0), at(1)]);
        Some(match shape {
            Shape::Point(kind) => {
                let (value, quality) = Value::decode(kind, octets);
                Self::Point { value, quality }
            }
            Shape::Command(kind) => {
                let (command, qualifier, stage) = Command::decode(kind, octets)?;
                Self::Command {
                    command,
                    qualifier,
                    stage,
                }
            }
            Shape::EndOfInitialization => Self::EndOfInitialization(Initialization::decode(last)),
            Shape::Interrogation => Self::Interrogation(Qoi::from_code(last)?),
            Shape::CounterInterrogation => Self::CounterInterrogation(Qcc::decode(last)?),
            Shape::Read => Self::Read,
            Shape::Clock => Self::Clock,
            Shape::Reset => Self::Reset(Reset::decode(last)?),
            Shape::Test => Self::Test(u16::from_le_bytes([at(0), at(1)])),
            Shape::Parameter(format) => Self::Parameter {
                value: match format {
                    ParameterFormat::Normalized => ParameterValue::Normalized(Normalized(short)),
                    ParameterFormat::Scaled => ParameterValue::Scaled(short),
                    ParameterFormat::Float => {
                        ParameterValue::Float(f32::from_le_bytes([at(0), at(1), at(2), at(3)]))
                    }
                },
                qualifier: Qpm::decode(last)?,
            },
            Shape::ParameterActivation => Self::ParameterActivation(Qpa::decode(last)?),
        })
    }

    /// Whether the qualifier fits its bits and the stage can be said.
    fn is_sound(&self) -> bool {
        match self {
            Self::Command {
                command,
                qualifier,
                stage,
            } => {
                *qualifier <= command.kind().qualifier_max()
                    && (*stage == Stage::Execute || !matches!(command, Command::Bits(_)))
            }
            Self::Point { .. }
            | Self::EndOfInitialization(_)
            | Self::Interrogation(_)
            | Self::CounterInterrogation(_)
            | Self::Read
            | Self::Clock
            | Self::Reset(_)
            | Self::Test(_)
            | Self::Parameter { .. }
            | Self::ParameterActivation(_) => true,
        }
    }
}

/// One information object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Object {
    /// Its address; [`ObjectAddress::NONE`] in system commands.
    pub address: ObjectAddress,
    /// What it says.
    pub element: Element,
    /// Its time tag. With the element it decides the type.
    pub time: Option<Cp56Time2a>,
}

impl Object {
    /// A system command: object 0, without time.
    pub const fn system(element: Element) -> Self {
        Self {
            address: ObjectAddress::NONE,
            element,
            time: None,
        }
    }

    /// The type that carries this element with or without its time; `None` if there is none.
    pub fn type_id(&self) -> Option<TypeId> {
        let tag = match self.time {
            Some(_) => Tag::Cp56,
            None => Tag::None,
        };
        TypeId::of(self.element.shape(), tag)
    }
}

/// SQ: how an ASDU addresses its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// SQ = 0: each object has its address.
    Single,
    /// SQ = 1: one address, and the elements of the objects that follow it. Points only; the
    /// standard has it for those without time.
    Sequence,
}

/// What an ASDU says before its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The octet of the type, known or not.
    pub type_code: u8,
    /// The octet with the six bits of the cause, P/N and T.
    pub cause_octet: u8,
    /// The originator address.
    pub originator: u8,
    /// The common address, 0–65 535.
    pub common_address: u16,
}

impl Header {
    /// Reads the identifier alone, so that an ASDU can be refused that cannot be read.
    pub fn decode(octets: &[u8]) -> Result<Self, AsduError> {
        let Some(&[type_code, _, cause_octet, originator, low, high]) =
            octets.first_chunk::<HEADER_OCTETS>()
        else {
            return Err(AsduError::Short(octets.len()));
        };
        Ok(Self {
            type_code,
            cause_octet,
            originator,
            common_address: u16::from_le_bytes([low, high]),
        })
    }
}

/// An application service data unit: one type, one cause, one station, 1–127 objects.
///
/// One that exists can be encoded into an I-frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Asdu {
    type_id: TypeId,
    transmission: Transmission,
    common_address: CommonAddress,
    packing: Packing,
    objects: Vec<Object>,
}

impl Asdu {
    /// Puts objects of one type together.
    pub fn new(
        transmission: Transmission,
        common_address: CommonAddress,
        packing: Packing,
        objects: Vec<Object>,
    ) -> Result<Self, AsduError> {
        let no_type = |object: Option<&Object>| AsduError::NoType {
            time: object.is_some_and(|object| object.time.is_some()),
        };
        let type_id = objects.first().and_then(Object::type_id);
        let type_id = type_id.ok_or(no_type(objects.first()))?;
        if let Some(other) = objects.iter().find(|o| o.type_id() != Some(type_id)) {
            return Err(no_type(Some(other)));
        }
        if let Some(object) = objects.iter().find(|o| !o.element.is_sound()) {
            let mut octets = Vec::new();
            object.element.encode(&mut octets);
            return Err(AsduError::Element {
                type_id,
                address: object.address,
                octet: octets.last().copied().unwrap_or(0),
            });
        }
        let wanted = body_octets(type_id, packing, objects.len())?;
        if HEADER_OCTETS + wanted > ASDU_MAX {
            return Err(AsduError::Length {
                type_id,
                wanted,
                got: ASDU_MAX - HEADER_OCTETS,
            });
        }
        let follows = |pair: &[Object]| pair[1].address.get() == pair[0].address.get() + 1;
        if packing == Packing::Sequence && !objects.windows(2).all(follows) {
            return Err(AsduError::Sequence(type_id));
        }
        Ok(Self {
            type_id,
            transmission,
            common_address,
            packing,
            objects,
        })
    }

    /// The most objects of a type that fit into one ASDU.
    pub fn objects_max(type_id: TypeId, packing: Packing) -> usize {
        let room = ASDU_MAX - HEADER_OCTETS;
        let element = object_octets(type_id);
        let most = match packing {
            Packing::Single => room / (ADDRESS_OCTETS + element),
            Packing::Sequence => (room - ADDRESS_OCTETS) / element.max(1),
        };
        most.min(OBJECTS_MAX)
    }

    /// The type.
    pub fn type_id(&self) -> TypeId {
        self.type_id
    }

    /// Cause, P/N, T and originator.
    pub fn transmission(&self) -> Transmission {
        self.transmission
    }

    /// The station.
    pub fn common_address(&self) -> CommonAddress {
        self.common_address
    }

    /// SQ.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// The objects, at least one.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// The octets of an I-frame's ASDU, at most [`ASDU_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let count = u8::try_from(self.objects.len()).expect("at most 127 objects");
        let sequence = match self.packing {
            Packing::Single => 0,
            Packing::Sequence => 0x80,
        };
        let mut out = vec![self.type_id.code(), count | sequence];
        out.extend(self.transmission.encode());
        out.extend(self.common_address.get().to_le_bytes());
        for (index, object) in self.objects.iter().enumerate() {
            if index == 0 || self.packing == Packing::Single {
                out.extend(object.address.encode());
            }
            object.element.encode(&mut out);
            if let Some(time) = object.time {
                out.extend(time.encode());
            }
        }
        assert!(out.len() <= ASDU_MAX, "new() refuses what does not fit");
        out
    }

    /// Reads an ASDU whole. Reserved bits are ignored; octets too few or too many are not.
    pub fn decode(octets: &[u8]) -> Result<Self, AsduError> {
        let header = Header::decode(octets)?;
        let type_id =
            TypeId::from_code(header.type_code).ok_or(AsduError::UnknownType(header.type_code))?;
        let transmission = Transmission::decode([header.cause_octet, header.originator])
            .ok_or(AsduError::UnknownCause(header.cause_octet & 0x3F))?;
        let common_address =
            CommonAddress::new(header.common_address).ok_or(AsduError::NoCommonAddress)?;
        let (packing, count) = match octets[1] {
            single @ 0..=127 => (Packing::Single, usize::from(single)),
            sequence => (Packing::Sequence, usize::from(sequence & 0x7F)),
        };
        let body = &octets[HEADER_OCTETS..];
        let wanted = body_octets(type_id, packing, count)?;
        if body.len() != wanted {
            return Err(AsduError::Length {
                type_id,
                wanted,
                got: body.len(),
            });
        }
        let objects = match packing {
            Packing::Single => body
                .chunks(ADDRESS_OCTETS + object_octets(type_id))
                .map(|chunk| {
                    let (address, rest) = split_address(chunk);
                    decode_object(type_id, address, rest)
                })
                .collect::<Result<Vec<_>, _>>()?,
            Packing::Sequence => {
                let (first, rest) = split_address(body);
                rest.chunks(object_octets(type_id))
                    .zip(first.get()..)
                    .map(|(chunk, address)| {
                        let address =
                            ObjectAddress::new(address).ok_or(AsduError::Sequence(type_id))?;
                        decode_object(type_id, address, chunk)
                    })
                    .collect::<Result<Vec<_>, _>>()?
            }
        };
        Ok(Self {
            type_id,
            transmission,
            common_address,
            packing,
            objects,
        })
    }
}

/// Octets of one object without its address.
fn object_octets(type_id: TypeId) -> usize {
    let tag = match type_id.tag() {
        Tag::None => 0,
        Tag::Cp56 => Cp56Time2a::OCTETS,
    };
    type_id.shape().octets() + tag
}

/// Octets of all objects; refuses a count or a packing that the type does not have.
fn body_octets(type_id: TypeId, packing: Packing, count: usize) -> Result<usize, AsduError> {
    let is_point = matches!(type_id.shape(), Shape::Point(_));
    // The standard has no sequences of tagged points, but stations in the field send them.
    if packing == Packing::Sequence && !is_point {
        return Err(AsduError::Sequence(type_id));
    }
    if count == 0 || count > OBJECTS_MAX || (count > 1 && !is_point) {
        return Err(AsduError::Count { type_id, count });
    }
    Ok(match packing {
        Packing::Single => count * (ADDRESS_OCTETS + object_octets(type_id)),
        Packing::Sequence => ADDRESS_OCTETS + count * object_octets(type_id),
    })
}

fn split_address(octets: &[u8]) -> (ObjectAddress, &[u8]) {
    let (address, rest) = octets
        .split_first_chunk::<ADDRESS_OCTETS>()
        .expect("the length was checked");
    (ObjectAddress::decode(*address), rest)
}

fn decode_object(
    type_id: TypeId,
    address: ObjectAddress,
    octets: &[u8],
) -> Result<Object, AsduError> {
    let (element, time) = octets.split_at(type_id.shape().octets());
    let time = <[u8; Cp56Time2a::OCTETS]>::try_from(time)
        .ok()
        .map(Cp56Time2a::decode);
    let decoded = Element::decode(type_id.shape(), element).ok_or(AsduError::Element {
        type_id,
        address,
        octet: element.last().copied().unwrap_or(0),
    })?;
    Ok(Object {
        address,
        element: decoded,
        time,
    })
}
