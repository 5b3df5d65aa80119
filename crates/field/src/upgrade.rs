//! The firmware of a meter: which version runs, and the transfer of a new one.

use std::sync::Arc;
use std::time::Duration;

use gridloom_core::UtcTime;
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::Data;

use crate::objects::InterfaceObject as _;
use crate::objects::firmware::ImageVerifier;
use crate::objects::image_transfer::{ImageConfig, ImageEvent, ImageTransfer, RunningImage};
use crate::objects::retained::RetainedError;

/// Bytes of a block: one fits an APDU of 512 bytes with its protection.
const BLOCK_BYTES: u32 = 256;

/// A new image proves itself within this time, or the old one returns.
pub const TRIAL: Duration = Duration::from_secs(24 * 3_600);

/// The version that a meter leaves the factory with: major, minor (8 bits each), patch (16).
pub const FACTORY_VERSION: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) << 24
    | number(env!("CARGO_PKG_VERSION_MINOR")) << 16
    | number(env!("CARGO_PKG_VERSION_PATCH"));

const fn number(text: &str) -> u32 {
    match u32::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("a package's version has numbers"),
    }
}

/// The firmware of one meter.
#[derive(Debug)]
pub(crate) struct Upgrade {
    verifier: Arc<dyn ImageVerifier>,
    /// `None` until a client has touched it.
    transfer: Option<Box<ImageTransfer>>,
}

impl Upgrade {
    /// The factory's.
    pub(crate) const fn new(verifier: Arc<dyn ImageVerifier>) -> Self {
        Self {
            verifier,
            transfer: None,
        }
    }

    /// What runs: major.minor.patch.
    pub(crate) fn version(&self) -> String {
        let version = match &self.transfer {
            Some(transfer) => transfer.running().version,
            None => FACTORY_VERSION,
        };
        format!(
            "{}.{}.{}",
            version >> 24,
            version >> 16 & 0xFF,
            version & 0xFFFF
        )
    }

    fn made(&self) -> ImageTransfer {
        ImageTransfer::new(self.config())
    }

    fn config(&self) -> ImageConfig {
        ImageConfig {
            block_size: BLOCK_BYTES,
            running: RunningImage {
                version: FACTORY_VERSION,
                identifier: Vec::new(),
            },
            verifier: Arc::clone(&self.verifier),
            trial: TRIAL,
        }
    }

    fn transfer_mut(&mut self) -> &mut ImageTransfer {
        let made = match self.transfer.take() {
            Some(transfer) => transfer,
            None => Box::new(self.made()),
        };
        self.transfer.insert(made)
    }

    /// An attribute of the image transfer object.
    pub(crate) fn get(&self, attribute: i8, at: UtcTime) -> Result<Data, DataAccessResult> {
        match &self.transfer {
            Some(transfer) => transfer.get(attribute, at),
            None => self.made().get(attribute, at),
        }
    }

    /// A client writes an attribute.
    pub(crate) fn set(
        &mut self,
        attribute: i8,
        value: &Data,
        at: UtcTime,
    ) -> Result<(), DataAccessResult> {
        self.transfer_mut().set(attribute, value, at)
    }

    /// A client or a script invokes a method.
    pub(crate) fn invoke(
        &mut self,
        method: i8,
        parameters: Option<&Data>,
        at: UtcTime,
    ) -> Result<Option<Data>, ActionResult> {
        self.transfer_mut().invoke(method, parameters, at)
    }

    /// Whether the image that runs has yet to prove itself.
    pub(crate) fn is_on_trial(&self) -> bool {
        self.transfer
            .as_ref()
            .is_some_and(|transfer| transfer.is_on_trial())
    }

    /// The meter has started.
    pub(crate) fn handle_boot(&mut self, at: UtcTime) {
        if let Some(transfer) = &mut self.transfer {
            transfer.handle_boot(at);
        }
    }

    /// A client that proved itself was served.
    pub(crate) fn handle_confirmed(&mut self) {
        if let Some(transfer) = &mut self.transfer {
            transfer.handle_confirmed();
        }
    }

    /// Gives up a trial that has lasted too long.
    pub(crate) fn handle_time(&mut self, at: UtcTime) {
        if let Some(transfer) = &mut self.transfer {
            transfer.handle_time(at);
        }
    }

    /// When [`Self::handle_time`] has something to do, by the meter's clock.
    pub(crate) fn due(&self) -> Option<UtcTime> {
        Some(self.transfer.as_ref()?.wake()?.0)
    }

    pub(crate) fn poll_event(&mut self) -> Option<ImageEvent> {
        self.transfer.as_mut()?.poll_event()
    }

    /// Appends the state.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match &self.transfer {
            Some(transfer) => transfer.encode(out),
            None => self.made().encode(out),
        }
    }

    /// Appends a segment.
    pub(crate) fn encode_segment(&self, segment: usize, out: &mut Vec<u8>) {
        match &self.transfer {
            Some(transfer) => transfer.encode_segment(segment, out),
            None => self.made().encode_segment(segment, out),
        }
    }

    /// Takes over the state that [`Self::encode`] wrote.
    pub(crate) fn restore(&mut self, bytes: &[u8]) -> Result<(), RetainedError> {
        self.transfer = Some(Box::new(ImageTransfer::decode(self.config(), bytes)?));
        Ok(())
    }

    /// Takes over a segment, after the state; without one, it belongs to nothing.
    pub(crate) fn restore_segment(&mut self, bytes: &[u8]) -> Result<(), RetainedError> {
        match &mut self.transfer {
            Some(transfer) => transfer.restore_segment(bytes),
            None => self.made().restore_segment(bytes),
        }
    }
}
