//! IEC 60870-5-104 without any IO, both sides of the wire.

mod asdu;
mod cause;
mod command;
mod frame;
mod link;
mod time;
mod type_id;
mod value;

pub use asdu::{Asdu, AsduError, Element, Header, OBJECTS_MAX, Object, Packing, ParameterValue};
pub use cause::{Cause, CommonAddress, CounterGroup, ObjectAddress, Qoi, Transmission};
pub use command::{
    Command, CommandKind, Freeze, Initialization, InitializationReason, ParameterKind, Qcc, Qpa,
    Qpm, Reset, Stage, StepDirection,
};
pub use frame::{APDU_MAX, ASDU_MAX, Frame, FrameError, Framer, Sequence, Unnumbered};
pub use link::{CloseReason, Link, LinkOutput, Role, Timing, TimingError};
pub use time::Cp56Time2a;
pub use type_id::TypeId;
pub use value::{CounterReading, DoublePoint, Normalized, Quality, Value, ValueKind};
