//! Expressions over points: derived values, interlocks, suppression by design.
//!
//! ```text
//! sqrt(North.P * North.P + North.Q * North.Q) / North.rated
//! North.CB.position == open and not [North.F3-CB.remote] or North.U < 0.9 * 20 kV
//! if(good(North.P), North.P, South.P + 10 kW)
//! ```
//!
//! - Names are tags of points; one that holds `-` stands in brackets.
//! - A number may carry a unit (`20 kV`, `5 %`, `10 min`); a bare one is a pure number. Zero fits
//!   every unit.
//! - `+ - * /` (and `− × ÷`), `< <= > >= == !=` (and `≤ ≥ ≠`), `and`, `or`, `not`, brackets.
//! - `min max abs sqrt`, `if(condition, then, else)`, `value(x, instead)` for a value that is
//!   bad, and on a point `good bad old substituted blocked`.
//! - `true false`, and the positions `open closed intermediate faulty`.
//!
//! Units are checked when the expression is read: what is added or compared measures the same.
//! Inside, numbers are exact decimals with nine digits behind the point in base units (volt,
//! ampere, second); products, quotients and roots round to the nearest, halves away from zero.
//!
//! A result is no better than the operands that it depends on. `and` with a trusted false, and
//! `or` with a trusted true, depend on nothing else.

mod compile;
mod evaluate;
mod lexer;

pub use compile::{DEPTH_MAX, ExpressionError};
pub use evaluate::{Outcome, Scratch};

use crate::point::PointId;
use crate::unit::Dimension;
use compile::Node;

/// What an expression gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A number of this dimension.
    Number(Dimension),
    /// Yes or no.
    Boolean,
    /// A two-bit position.
    Position,
}

/// An expression that has been read and checked.
#[derive(Debug, Clone)]
pub struct Expression {
    text: Box<str>,
    /// Operands come before what uses them; the last is the result.
    nodes: Box<[Node]>,
    kind: Type,
    /// The terms of an outermost `and`, or the whole.
    conjuncts: Box<[Conjunct]>,
}

/// A part that must hold for the whole to hold.
#[derive(Debug, Clone, Copy)]
struct Conjunct {
    /// Bytes of the text.
    from: usize,
    to: usize,
    /// Nodes: the last is its result.
    first: usize,
    last: usize,
}

impl Expression {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it gives.
    pub const fn kind(&self) -> Type {
        self.kind
    }

    /// The points it reads, each as often as it is named.
    pub fn points(&self) -> impl Iterator<Item = PointId> + '_ {
        self.nodes.iter().filter_map(|node| node.point())
    }
}
