//! IEC 60870-5-104 without any IO, both sides of the wire.

mod asdu;
mod cause;
mod command;
mod frame;
mod link;
mod master;
mod outstation;
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
pub use master::{
    CommandTime, Event, JOBS_MAX, LINKS_MAX, LinkId, LinkStatus, Master, MasterConfig, MasterError,
    Order, Outcome, Output as MasterOutput, RequestId, Routine, Task, Update,
};
pub use outstation::{
    Answer, CONNECTIONS_MAX, ClockPolicy, ConnectionId, Control, ControlMode, Delivery, EVENTS_MAX,
    EventTime, Groups, Notice, Origin, Output as OutstationOutput, Outstation, OutstationConfig,
    OutstationError, POINTS_MAX, Point, REPLIES_MAX, REQUESTS_MAX, Request, SCANS_MAX,
    SelectionEnd, Token,
};
pub use time::Cp56Time2a;
pub use type_id::TypeId;
pub use value::{CounterReading, DoublePoint, Normalized, Quality, Value, ValueKind};
