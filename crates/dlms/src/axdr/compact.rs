//! Compact arrays: one description of the element type, then the elements without tags.

use super::data::Data;
use super::tag::Tag;

/// The type of a compact array's elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeDescription {
    /// A type without inner types.
    Simple(Tag),
    /// A fixed number of elements of one type.
    Array {
        /// How many.
        count: u16,
        /// Of what.
        element: Box<TypeDescription>,
    },
    /// One value of each member type.
    Structure(Vec<TypeDescription>),
}

impl TypeDescription {
    /// Whether a value of this type takes no content byte at all.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Simple(tag) => matches!(tag, Tag::Null | Tag::DontCare),
            Self::Array { count, element } => *count == 0 || element.is_empty(),
            Self::Structure(members) => members.iter().all(Self::is_empty),
        }
    }

    /// Levels, counting this one.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::Simple(_) => 1,
            Self::Array { element, .. } => 1 + element.depth(),
            Self::Structure(members) => 1 + members.iter().map(Self::depth).max().unwrap_or(0),
        }
    }

    fn describes(&self, value: &Data) -> bool {
        match (self, value) {
            (Self::Array { count, element }, Data::Array(values)) => {
                values.len() == usize::from(*count)
                    && values.iter().all(|value| element.describes(value))
            }
            (Self::Structure(members), Data::Structure(values)) => {
                members.len() == values.len()
                    && members
                        .iter()
                        .zip(values)
                        .all(|(member, value)| member.describes(value))
            }
            (Self::Simple(tag), value) => {
                *tag == value.tag()
                    && !matches!(tag, Tag::Array | Tag::Structure | Tag::CompactArray)
            }
            (Self::Array { .. } | Self::Structure(_), _) => false,
        }
    }
}

/// Why a compact array cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompactArrayError {
    /// The number of elements could not be told from the content's length.
    #[error("A-XDR: a compact array of elements without content; describe at least one byte")]
    EmptyElement,
    /// An element has another type than described.
    #[error("A-XDR: element {index} of a compact array does not match its type description")]
    Mismatch {
        /// Which, from 0.
        index: usize,
    },
    /// The description is nested too deeply to be decoded again.
    #[error("A-XDR: compact array description is {depth} levels deep, {max} allowed")]
    TooDeep {
        /// Levels.
        depth: usize,
        /// Levels allowed.
        max: usize,
    },
}

/// Values of one described type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactArray {
    description: TypeDescription,
    elements: Vec<Data>,
}

impl CompactArray {
    /// Levels of a description; deeper ones are refused.
    pub const DEPTH_MAX: usize = 8;

    /// Checks every element against the description.
    ///
    /// # Errors
    ///
    /// An element that is not as described, or a description that none of our decoders takes.
    pub fn new(
        description: TypeDescription,
        elements: Vec<Data>,
    ) -> Result<Self, CompactArrayError> {
        let depth = description.depth();
        if depth > Self::DEPTH_MAX {
            return Err(CompactArrayError::TooDeep {
                depth,
                max: Self::DEPTH_MAX,
            });
        }
        if description.is_empty() {
            return Err(CompactArrayError::EmptyElement);
        }
        match elements
            .iter()
            .position(|element| !description.describes(element))
        {
            Some(index) => Err(CompactArrayError::Mismatch { index }),
            None => Ok(Self {
                description,
                elements,
            }),
        }
    }

    /// What the decoder has built by the description itself.
    pub(super) fn from_decoded(description: TypeDescription, elements: Vec<Data>) -> Self {
        Self {
            description,
            elements,
        }
    }

    /// The type of each element.
    pub const fn description(&self) -> &TypeDescription {
        &self.description
    }

    /// The elements.
    pub fn elements(&self) -> &[Data] {
        &self.elements
    }
}
