//! The control room's kernel: what is measured becomes points, points become alarms, commands
//! and history, and every deed is somebody's.
//!
//! Invariants:
//!
//! - Numbers, limits and error bounds are exact decimals ([`Fixed`]); no float decides anything.
//! - A value is no better than its quality says, and a derived value no better than its operands.
//! - Nothing here reads a clock, a file or a socket: effects come out, and the host carries them
//!   out.

pub mod alarm;
pub mod audit;
pub mod control;
pub mod expression;
pub mod fixed;
pub mod historian;
pub mod image;
pub mod point;
pub mod unit;

pub use alarm::AlarmBook;
pub use audit::{Action, Actor, AuditOutcome, AuditRecord};
pub use control::Controls;
pub use expression::Expression;
pub use fixed::Fixed;
pub use historian::Archive;
pub use image::Image;
pub use point::{Catalogue, Definition, Kind, PointId, Position, Quality, Tag, Update, Value};
pub use unit::Unit;
