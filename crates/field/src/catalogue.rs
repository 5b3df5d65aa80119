//! The objects that a meter shows to clients: their names, the rights on them, and the values of
//! those that are no machines of their own.

pub(crate) mod buffer;
pub(crate) mod demand;
pub(crate) mod register;
pub(crate) mod rows;
pub(crate) mod table;

pub use buffer::ROWS_MAX;
pub use table::{Client, ObjectTable};
