//! What a kind of meter pushes.

use gridloom_core::ObisCode;

/// Objects of one push; a longer list is refused.
pub const PUSH_OBJECTS_MAX: usize = 64;

/// One attribute that a push carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PushObject {
    /// The interface class.
    pub class_id: u16,
    /// The object.
    pub instance: ObisCode,
    /// The attribute.
    pub attribute: i8,
}

impl PushObject {
    /// Reads `CLASS OBIS ATTRIBUTE`, such as `8 0-0:1.0.0.255 2`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let object = Self {
            class_id: words.next()?.parse().ok()?,
            instance: ObisCode::parse(words.next()?)?,
            attribute: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(object)
    }

    /// Whether it is the name of the push setup object itself.
    pub(crate) const fn is_setup_name(&self) -> bool {
        self.class_id == 40 && self.attribute == 1
    }
}

/// The objects of one kind of push, in the order of its structure: attribute 2 of the push setup
/// object (class 40).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PushList(pub Vec<PushObject>);
