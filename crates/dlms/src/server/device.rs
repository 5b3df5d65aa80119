//! What a server asks of the meter behind it.

use gridloom_core::SystemTitle;

use super::desk::SecurityDesk;
use crate::apdu::{
    ActionResult, AttributeDescriptor, DataAccessResult, MethodDescriptor, SelectiveAccess,
};
use crate::association::Mechanism;
use crate::axdr::Data;
use crate::security::SecurityControl;

/// Who asks, as far as the association has proved it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The client's SAP.
    pub client: u16,
    /// How it proved who it is.
    pub authentication: Mechanism,
    /// Its system title, where services are ciphered or challenges use it.
    pub title: Option<SystemTitle>,
    /// How this request was protected; `None` for plaintext.
    pub protection: Option<SecurityControl>,
    /// Whether this request was signed, and the signature has verified.
    pub signed: bool,
}

/// The COSEM objects of one logical device as a server sees them. Rights are checked here.
pub trait LogicalDevice {
    /// Reads an attribute.
    ///
    /// # Errors
    ///
    /// Why it cannot be read; [`DataAccessResult::Success`] is no error and must not be given.
    fn get(
        &mut self,
        caller: &Caller,
        attribute: AttributeDescriptor,
        access: Option<&SelectiveAccess>,
    ) -> Result<Data, DataAccessResult>;

    /// Writes an attribute.
    ///
    /// # Errors
    ///
    /// Why it cannot be written, as for [`Self::get`].
    fn set(
        &mut self,
        caller: &Caller,
        attribute: AttributeDescriptor,
        access: Option<&SelectiveAccess>,
        value: &Data,
    ) -> Result<(), DataAccessResult>;

    /// Invokes a method and returns what it gives back.
    ///
    /// # Errors
    ///
    /// Why it cannot be invoked; [`ActionResult::Success`] is no error and must not be given.
    fn invoke(
        &mut self,
        caller: &Caller,
        method: MethodDescriptor,
        parameters: Option<&Data>,
    ) -> Result<Option<Data>, ActionResult>;

    /// Whether `caller` may transfer keys or agree on them by `method` (class 64 methods 2 and
    /// 3). If so, the server unwraps or agrees and installs them itself, because it alone holds
    /// the keys; the method does not come to [`Self::invoke`].
    ///
    /// # Errors
    ///
    /// Why not. By default there is no such object.
    fn admits_keys(
        &mut self,
        caller: &Caller,
        method: MethodDescriptor,
    ) -> Result<(), ActionResult> {
        let _ = (caller, method);
        Err(ActionResult::ObjectUndefined)
    }

    /// Invokes a method that changes what the server holds: of the security setup (class 64)
    /// any but 2 and 3, and `change_HLS_secret` (class 15 method 2). `desk` does it.
    ///
    /// # Errors
    ///
    /// As [`Self::invoke`], which is asked by default.
    fn invoke_security(
        &mut self,
        caller: &Caller,
        method: MethodDescriptor,
        parameters: Option<&Data>,
        desk: &mut SecurityDesk<'_>,
    ) -> Result<Option<Data>, ActionResult> {
        let _ = desk;
        self.invoke(caller, method, parameters)
    }
}
