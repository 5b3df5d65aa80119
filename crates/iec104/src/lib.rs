//! IEC 60870-5-104 without any IO, both sides of the wire: what a point says arrives once it is
//! known, in order and with its time, and a command is carried out only if it is whole, fresh,
//! selected where it must be, and allowed.
//!
//! [`Outstation`] is the controlled station: a point table, an event buffer, commands, and the
//! connections of one redundancy group. [`Master`] is the controlling station of one controlled
//! station. Both follow the house contract ([`gridloom_core::machine`]): one input with the time,
//! drain `poll_output`, come back at `wake`. Under them lie [`Link`] (one connection: windows and
//! timers), [`Asdu`] (types, causes, elements) and [`Frame`] with [`Framer`] (octets). Whoever needs
//! another arrangement, such as several redundancy groups over one process, builds on those.
//!
//! Standards: IEC 60870-5-104 for the APCI and its procedures, IEC 60870-5-101 for ASDUs and
//! application procedures, IEC 60870-5-4 for elements. The profile: cause of transmission 2 octets,
//! common address 2, object address 3, types 1–15 (odd), 30–37, 45–51, 58–64, 70, 100–103, 105, 107
//! and 110–113. No files, no 24-bit times, no events of protection equipment.
//!
//! Invariants:
//!
//! - An event leaves the buffer only when a controlling station has acknowledged its frame, or
//!   when the buffer is full; then the oldest that is not under way goes, is counted and named.
//!   What was under way on a connection that broke is sent again, so an event may arrive twice.
//! - Events keep their order; a termination never overtakes the return information before it.
//! - One connection of a group transfers data; the others carry TESTFR alone.
//! - A command reaches the user of a station only past type, cause, address, object, age, and
//!   selection, and may be operated only after [`Outstation::answer`] has said yes to it. What is
//!   sent for a test (T) never reaches the user.
//! - One selection at a time; it ends with its time, its execution, its cancellation or its
//!   connection.
//! - A request of a controlling station has exactly one [`Outcome`], and one that was not sent in
//!   time never is.
//! - After a fault in the stream nothing of it is believed: the connection is closed.
//! - No octets panic; every buffer, window and table is bounded, and the bound says what happens.

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
