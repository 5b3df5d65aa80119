//! A-XDR (IEC 61334-6) as COSEM uses it: the `Data` type of IEC 62056-6-2, owned as a tree
//! or read and written value by value without a tree.

mod compact;
mod data;
mod decoder;
mod encoder;
mod tag;

pub use compact::{CompactArray, CompactArrayError, TypeDescription};
pub use data::{BitString, Data};
pub use decoder::{AxdrError, DEPTH_MAX, Decoder, ELEMENTS_MAX};
pub use encoder::Encoder;
pub use tag::Tag;
