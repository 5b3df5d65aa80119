//! Why a circuit file is refused: always with file and line.

use core::fmt;

use crate::network::NetworkError;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file's path as it was asked for.
    pub file: String,
    /// The line, from one.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What is wrong with a circuit file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CircuitError {
    /// A file that cannot be had.
    #[error("{origin}: file {path}: {reason}")]
    File {
        /// Where it is asked for.
        origin: Origin,
        /// Its path.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A command that is not known.
    #[error("{origin}: command {command:?} is not known; take the line out if it draws no circuit")]
    Command {
        /// Where it stands.
        origin: Origin,
        /// The command.
        command: String,
    },
    /// An option that is not known.
    #[error("{origin}: set {option}: this option is not known; take it out if it draws no circuit")]
    Option {
        /// Where it stands.
        origin: Origin,
        /// The option.
        option: String,
    },
    /// A class that is not modelled.
    #[error(
        "{origin}: elements of class {class:?} are not modelled; take them out or replace them"
    )]
    Class {
        /// Where it stands.
        origin: Origin,
        /// The class.
        class: String,
    },
    /// A property that is not known, or not modelled.
    #[error("{origin}: {object}: property {property:?} is not modelled; leave it out")]
    Property {
        /// Where it stands.
        origin: Origin,
        /// Class and name.
        object: String,
        /// The property.
        property: String,
    },
    /// A value that does not fit its property.
    #[error("{origin}: {object}: {property}={value}: expected {expected}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// Class and name.
        object: String,
        /// The property.
        property: String,
        /// The value as written.
        value: String,
        /// What would fit.
        expected: &'static str,
    },
    /// A reference to something that is not there.
    #[error("{origin}: {object}: there is no {what}; define it before, or correct the name")]
    Missing {
        /// Where it stands.
        origin: Origin,
        /// Class and name.
        object: String,
        /// What is missed.
        what: String,
    },
    /// Two objects of one name.
    #[error("{origin}: {object} is there already; use edit, or another name")]
    Duplicate {
        /// Where it stands.
        origin: Origin,
        /// Class and name.
        object: String,
    },
    /// Files that are too long or too deep.
    #[error("{origin}: {what} above {max}; split the circuit")]
    TooLarge {
        /// Where it was too much.
        origin: Origin,
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The network refuses an element.
    #[error("{origin}: {error}")]
    Network {
        /// Where the element is defined.
        origin: Origin,
        /// Why.
        error: NetworkError,
    },
}
