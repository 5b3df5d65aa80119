//! The COSEM objects of a meter: small machines per interface class.
//!
//! An object answers for its own attributes and methods; who may ask at all is not its concern.

pub mod activity_calendar;
pub mod alarm;
pub mod communication_setup;
pub mod debounce;
pub mod demand_register;
pub mod disconnect_control;
pub mod event_log;
mod event_naming;
pub mod firmware;
pub mod image_transfer;
pub mod limiter;
pub mod maximum_demand;
pub mod outage;
pub mod power_quality;
pub mod push_setup;
pub mod recurrence;
pub mod retained;
pub mod script_table;
pub mod security_setup;
pub(crate) mod selection;
pub(crate) mod shape;
pub mod single_action_schedule;
pub mod special_days;
pub mod tamper;
pub mod terminals;

use gridloom_core::UtcTime;
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::Data;

/// One object of an interface class (IEC 62056-6-2), as the meter that holds it sees it.
///
/// Attribute 1, the logical name, is answered by whoever mounts the object: an object does not
/// know its name. Selective access is not offered here; profiles are not objects of this kind.
pub trait InterfaceObject {
    /// The value of `attribute` (2 upwards) at `at`, in the meter's time.
    ///
    /// # Errors
    ///
    /// [`DataAccessResult::ObjectUndefined`] for an attribute that the class does not have.
    fn get(&self, attribute: i8, at: UtcTime) -> Result<Data, DataAccessResult>;

    /// Writes `attribute`, wholly or not at all.
    ///
    /// # Errors
    ///
    /// [`DataAccessResult::TypeUnmatched`] for a value of another type,
    /// [`DataAccessResult::OtherReason`] for one out of range,
    /// [`DataAccessResult::ReadWriteDenied`] for an attribute that nobody may write.
    fn set(&mut self, attribute: i8, value: &Data, at: UtcTime) -> Result<(), DataAccessResult>;

    /// Invokes `method` (1 upwards) and returns what it gives back.
    ///
    /// # Errors
    ///
    /// [`ActionResult::ObjectUndefined`] for a method that the class does not have,
    /// [`ActionResult::TypeUnmatched`] for parameters of another type, or what the class says.
    fn invoke(
        &mut self,
        method: i8,
        parameters: Option<&Data>,
        at: UtcTime,
    ) -> Result<Option<Data>, ActionResult>;
}
