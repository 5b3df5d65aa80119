//! Image transfer (class 18, version 0): takes a firmware image in blocks, verifies the maker's
//! signature, runs it on trial and keeps the old one until the new one has proved itself.
//!
//! What is kept survives a crash at any step: a block counts once its segment is durable, so the
//! meter writes what [`ImageEvent::StoreSegment`] names, then the state, then answers.

mod blocks;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::UtcTime;
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::{BitString, Data};

use super::InterfaceObject;
use super::firmware::{ImageFault, ImageInfo, ImageVerifier};
use super::retained::{Keeper, Kept, RetainedError};
use super::shape;
use blocks::Blocks;

pub use blocks::{IMAGE_BYTES_MAX, SEGMENT_BYTES, SEGMENTS_MAX};

/// Bytes of an image's identifier; a longer one is refused.
pub const IDENTIFIER_MAX: usize = 64;
/// Restarts of an image on trial; one more, and the old one returns.
pub const TRIAL_BOOTS_MAX: u8 = 3;

const VERSION: u8 = 1;
const OBJECT: &str = "image-transfer";
const SIGNATURE_MAX: usize = 256;

/// Image transfer status (attribute 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ImageStatus {
    /// No image has been announced.
    NotInitiated = 0,
    /// Blocks are taken.
    Initiated = 1,
    /// Verification is going on; ours is over before anybody can ask.
    VerificationInitiated = 2,
    /// The image is the maker's.
    VerificationSuccessful = 3,
    /// The image is not taken.
    VerificationFailed = 4,
    /// The image runs on trial.
    ActivationInitiated = 5,
    /// The image has proved itself.
    ActivationSuccessful = 6,
    /// The old image has returned.
    ActivationFailed = 7,
}

impl ImageStatus {
    const ALL: [Self; 8] = [
        Self::NotInitiated,
        Self::Initiated,
        Self::VerificationInitiated,
        Self::VerificationSuccessful,
        Self::VerificationFailed,
        Self::ActivationInitiated,
        Self::ActivationSuccessful,
        Self::ActivationFailed,
    ];
}

/// A firmware that runs or ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningImage {
    /// Its version.
    pub version: u32,
    /// What the client called it, at most [`IDENTIFIER_MAX`] bytes.
    pub identifier: Vec<u8>,
}

/// What the meter must know or do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageEvent {
    /// Make [`ImageTransfer::encode_segment`] of this segment durable before the answer leaves.
    StoreSegment(usize),
    /// The segments are no longer wanted; they may be removed, and do no harm if they stay.
    ForgetSegments,
    /// The image is the maker's: log it.
    Verified {
        /// Its version.
        version: u32,
    },
    /// The image is not taken: log it.
    VerificationFailed(ImageFault),
    /// Restart after the answer has left; the image on trial runs then.
    Restart,
    /// The new image has proved itself: log it.
    Activated {
        /// Its version.
        version: u32,
    },
    /// The old image has returned and must be started: log it, restart.
    RolledBack {
        /// The version that failed.
        from: u32,
        /// The version that runs again.
        to: u32,
    },
}

/// What an image transfer begins with.
#[derive(Debug, Clone)]
pub struct ImageConfig {
    /// Bytes of a block: a power of two, 64 to [`SEGMENT_BYTES`].
    pub block_size: u32,
    /// What runs from the factory.
    pub running: RunningImage,
    /// Decides what is taken.
    pub verifier: Arc<dyn ImageVerifier>,
    /// A new image must prove itself within this time.
    pub trial: Duration,
}

/// A new image on trial.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trial {
    previous: RunningImage,
    boots: u8,
    until: UtcTime,
}

/// One image transfer.
#[derive(Debug, Clone)]
pub struct ImageTransfer {
    verifier: Arc<dyn ImageVerifier>,
    trial_time: Duration,
    enabled: bool,
    status: ImageStatus,
    /// What the client calls the image that it sends.
    identifier: Vec<u8>,
    blocks: Blocks,
    /// What the verified image says of itself.
    info: Option<ImageInfo>,
    running: RunningImage,
    trial: Option<Trial>,
    /// At most three per input.
    events: VecDeque<ImageEvent>,
}

impl ImageTransfer {
    /// A meter that runs its factory image and takes no other until it is enabled.
    ///
    /// # Panics
    ///
    /// If the block size is none, or the identifier too long.
    pub fn new(config: ImageConfig) -> Self {
        assert!(
            config.running.identifier.len() <= IDENTIFIER_MAX,
            "an image's identifier has at most {IDENTIFIER_MAX} bytes"
        );
        Self {
            verifier: config.verifier,
            trial_time: config.trial,
            enabled: false,
            status: ImageStatus::NotInitiated,
            identifier: Vec::new(),
            blocks: Blocks::new(config.block_size),
            info: None,
            running: config.running,
            trial: None,
            events: VecDeque::new(),
        }
    }

    /// What runs.
    pub const fn running(&self) -> &RunningImage {
        &self.running
    }

    /// Where the transfer stands (attribute 6).
    pub const fn status(&self) -> ImageStatus {
        self.status
    }

    /// Whether the image that runs has yet to prove itself.
    pub const fn is_on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// The meter has started. An image on trial that starts too often makes way for the old one.
    pub fn handle_boot(&mut self, at: UtcTime) {
        if let Some(trial) = &mut self.trial {
            trial.boots = trial.boots.saturating_add(1);
            if trial.boots > TRIAL_BOOTS_MAX {
                self.roll_back();
            } else {
                self.handle_time(at);
            }
        }
    }

    /// The image on trial works: it measures, and somebody who proved who he is has talked to it.
    pub fn handle_confirmed(&mut self) {
        if self.trial.take().is_some() {
            self.status = ImageStatus::ActivationSuccessful;
            self.forget();
            let version = self.running.version;
            self.events.push_back(ImageEvent::Activated { version });
        }
    }

    /// Gives up a trial that has lasted too long.
    pub fn handle_time(&mut self, at: UtcTime) {
        if self.trial.as_ref().is_some_and(|trial| at >= trial.until) {
            self.roll_back();
        }
    }

    /// When [`Self::handle_time`] is due, and why.
    pub fn wake(&self) -> Option<(UtcTime, &'static str)> {
        let trial = self.trial.as_ref()?;
        Some((trial.until, "firmware trial"))
    }

    /// What the meter must know or do next.
    pub fn poll_event(&mut self) -> Option<ImageEvent> {
        self.events.pop_front()
    }

    /// Announces an image of `size` bytes (method 1). Blocks of another one are dropped.
    fn initiate(&mut self, identifier: &[u8], size: u32) -> Result<(), ActionResult> {
        self.require_free()?;
        if !self.blocks.begin(size) {
            return Err(ActionResult::OtherReason);
        }
        self.identifier = identifier.to_vec();
        self.info = None;
        self.status = ImageStatus::Initiated;
        self.events.push_back(ImageEvent::ForgetSegments);
        Ok(())
    }

    fn take_block(&mut self, number: u32, bytes: &[u8]) -> Result<(), ActionResult> {
        self.require_free()?;
        if self.status != ImageStatus::Initiated {
            return Err(ActionResult::OtherReason);
        }
        let segment = self
            .blocks
            .take(number, bytes)
            .ok_or(ActionResult::OtherReason)?;
        self.events.push_back(ImageEvent::StoreSegment(segment));
        Ok(())
    }

    fn verify(&mut self) -> Result<(), ActionResult> {
        self.require_free()?;
        match self.status {
            ImageStatus::Initiated
            | ImageStatus::VerificationSuccessful
            | ImageStatus::VerificationFailed => {}
            ImageStatus::NotInitiated
            | ImageStatus::VerificationInitiated
            | ImageStatus::ActivationInitiated
            | ImageStatus::ActivationSuccessful
            | ImageStatus::ActivationFailed => return Err(ActionResult::OtherReason),
        }
        let Some(image) = self.blocks.image() else {
            // Also after a restart that found a segment missing: its blocks are wanted again.
            self.status = ImageStatus::Initiated;
            self.info = None;
            return Err(ActionResult::OtherReason);
        };
        let running = self.running.version;
        let verified = self.verifier.verify(&image).and_then(|info| {
            if info.version > running {
                Ok(info)
            } else {
                Err(ImageFault::NotNewer {
                    found: info.version,
                    running,
                })
            }
        });
        match verified {
            Ok(info) => {
                let version = info.version;
                self.status = ImageStatus::VerificationSuccessful;
                self.info = Some(info);
                self.events.push_back(ImageEvent::Verified { version });
                Ok(())
            }
            Err(fault) => {
                self.status = ImageStatus::VerificationFailed;
                self.info = None;
                self.events.push_back(ImageEvent::VerificationFailed(fault));
                Err(ActionResult::OtherReason)
            }
        }
    }

    /// Verifies, whatever was verified before: what is started is what was checked.
    fn activate(&mut self, at: UtcTime) -> Result<(), ActionResult> {
        self.verify()?;
        let info = self
            .info
            .as_ref()
            .expect("a verified image says what it is");
        let new = RunningImage {
            version: info.version,
            identifier: self.identifier.clone(),
        };
        self.trial = Some(Trial {
            previous: core::mem::replace(&mut self.running, new),
            boots: 0,
            until: at + self.trial_time,
        });
        self.status = ImageStatus::ActivationInitiated;
        self.events.push_back(ImageEvent::Restart);
        Ok(())
    }

    fn roll_back(&mut self) {
        let Some(trial) = self.trial.take() else {
            return;
        };
        let failed = core::mem::replace(&mut self.running, trial.previous);
        self.status = ImageStatus::ActivationFailed;
        self.forget();
        self.events.push_back(ImageEvent::RolledBack {
            from: failed.version,
            to: self.running.version,
        });
    }

    fn forget(&mut self) {
        self.blocks.forget();
        self.info = None;
        self.events.push_back(ImageEvent::ForgetSegments);
    }

    /// Nothing is taken while it is not enabled or while an image is on trial.
    fn require_free(&self) -> Result<(), ActionResult> {
        if !self.enabled {
            Err(ActionResult::ReadWriteDenied)
        } else if self.trial.is_some() {
            Err(ActionResult::TemporaryFailure)
        } else {
            Ok(())
        }
    }

    /// Appends the state; the blocks are in the segments.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.flag(self.enabled);
        keeper.byte(self.status as u8);
        keeper.octets(&self.identifier);
        keeper.put(self.blocks.transfer().to_be_bytes());
        keeper.put(self.blocks.size().to_be_bytes());
        keeper.option(self.info.as_ref(), |keeper, info| {
            keeper.put(info.version.to_be_bytes());
            keeper.octets(&info.signature);
        });
        keep_running(&mut keeper, &self.running);
        keeper.option(self.trial.as_ref(), |keeper, trial| {
            keep_running(keeper, &trial.previous);
            keeper.byte(trial.boots);
            keeper.time(trial.until);
        });
    }

    /// Takes over the state; then give each segment found to [`Self::restore_segment`].
    ///
    /// # Errors
    ///
    /// Bytes that no image transfer wrote.
    pub fn decode(config: ImageConfig, bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let mut transfer = Self::new(config);
        transfer.enabled = kept.flag("enabled")?;
        let status = kept.u8()?;
        transfer.status = ImageStatus::ALL
            .into_iter()
            .find(|known| *known as u8 == status)
            .ok_or_else(|| kept.impossible("status"))?;
        transfer.identifier = kept.octets("identifier", IDENTIFIER_MAX)?.to_vec();
        let (number, size) = (kept.u32()?, kept.u32()?);
        kept.require(transfer.blocks.resume(number, size), "size")?;
        transfer.info = kept.option("info", |kept| {
            Ok(ImageInfo {
                version: kept.u32()?,
                signature: kept.octets("signature", SIGNATURE_MAX)?.to_vec(),
            })
        })?;
        transfer.running = read_running(&mut kept)?;
        transfer.trial = kept.option("trial", |kept| {
            Ok(Trial {
                previous: read_running(kept)?,
                boots: kept.u8()?,
                until: kept.time()?,
            })
        })?;
        let on_trial = transfer.status == ImageStatus::ActivationInitiated;
        kept.require(transfer.trial.is_some() == on_trial, "trial")?;
        kept.finish()?;
        Ok(transfer)
    }

    /// What the cell of a segment, 0 to [`SEGMENTS_MAX`] − 1, holds.
    pub fn encode_segment(&self, segment: usize, out: &mut Vec<u8>) {
        self.blocks.encode_segment(segment, out);
    }

    /// Takes over a segment; one of another transfer is passed over.
    ///
    /// # Errors
    ///
    /// Bytes that no image transfer of this block size wrote.
    pub fn restore_segment(&mut self, bytes: &[u8]) -> Result<(), RetainedError> {
        self.blocks.restore_segment(bytes)
    }
}

fn keep_running(keeper: &mut Keeper<'_>, image: &RunningImage) {
    keeper.put(image.version.to_be_bytes());
    keeper.octets(&image.identifier);
}

fn read_running(kept: &mut Kept<'_>) -> Result<RunningImage, RetainedError> {
    Ok(RunningImage {
        version: kept.u32()?,
        identifier: kept.octets("identifier", IDENTIFIER_MAX)?.to_vec(),
    })
}

impl InterfaceObject for ImageTransfer {
    fn get(&self, attribute: i8, _: UtcTime) -> Result<Data, DataAccessResult> {
        Ok(match attribute {
            2 => Data::DoubleLongUnsigned(self.blocks.block_size()),
            3 => {
                let (bits, bytes) = self.blocks.bitmap();
                let bits = BitString::new(bits, bytes).expect("a bitmap has its bits' bytes");
                Data::BitString(bits)
            }
            4 => Data::DoubleLongUnsigned(self.blocks.first_missing()),
            5 => Data::Boolean(self.enabled),
            6 => Data::Enum(self.status as u8),
            7 => Data::Array(
                self.info
                    .iter()
                    .map(|info| {
                        Data::Structure(vec![
                            Data::DoubleLongUnsigned(self.blocks.size()),
                            Data::OctetString(self.identifier.clone()),
                            Data::OctetString(info.signature.clone()),
                        ])
                    })
                    .collect(),
            ),
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    fn set(&mut self, attribute: i8, value: &Data, _: UtcTime) -> Result<(), DataAccessResult> {
        match attribute {
            5 => {
                self.enabled = shape::boolean(value)?;
                Ok(())
            }
            2..=4 | 6 | 7 => Err(DataAccessResult::ReadWriteDenied),
            _ => Err(DataAccessResult::ObjectUndefined),
        }
    }

    fn invoke(
        &mut self,
        method: i8,
        parameters: Option<&Data>,
        at: UtcTime,
    ) -> Result<Option<Data>, ActionResult> {
        match method {
            1 => {
                let [identifier, size] = shape::structure(shape::required(parameters)?)?;
                let identifier = shape::octets(identifier, IDENTIFIER_MAX)?;
                self.initiate(identifier, shape::double_long_unsigned(size)?)?;
            }
            2 => {
                let [number, bytes] = shape::structure(shape::required(parameters)?)?;
                let number = shape::double_long_unsigned(number)?;
                self.take_block(number, shape::octets(bytes, SEGMENT_BYTES)?)?;
            }
            3 => {
                shape::nothing(parameters)?;
                self.verify()?;
            }
            4 => {
                shape::nothing(parameters)?;
                self.activate(at)?;
            }
            _ => return Err(ActionResult::ObjectUndefined),
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
