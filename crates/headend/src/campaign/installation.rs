//! One meter of a campaign: from the first look to the proof that it runs the new version.
//!
//! Only what the meter says counts: which blocks are missing, whether it verified the image, and
//! in the end its version. After a crash it is asked again; nothing is assumed.

use std::time::Duration;

use gridloom_core::bytes::Reader;
use gridloom_core::{Instant, Now};

use super::plan::{CampaignPlan, Damage, get_text, put_bytes};

/// Failures in a row after which a meter counts as failed.
pub const ATTEMPTS_MAX: u32 = 10;

/// Looks at a verification or an activation under way before the meter counts as failed.
pub const CONFIRMATIONS_MAX: u32 = 30;

/// Blocks that one request sends; between requests the meter is asked what is missing.
pub const BLOCKS_PER_REQUEST_MAX: u32 = 256;

/// Rounds of sending blocks that bring nothing new before the meter counts as failed.
pub const STALLS_MAX: u32 = 10;

/// Times that a transfer is begun or verified anew before the meter counts as failed.
pub const LAPS_MAX: u32 = 5;

const RETRY_FIRST: Duration = Duration::from_secs(30);
const RETRY_LONGEST: Duration = Duration::from_hours(2);
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What the campaign asks of one meter; each is one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageRequest {
    /// Read the firmware version object.
    ReadVersion,
    /// Read attributes 2, 4, 5 and 6 of the image transfer object (class 18).
    ReadStatus,
    /// Write attribute 5 of the image transfer object: transfers are allowed.
    Enable,
    /// Method 1, `image_transfer_initiate`.
    Initiate,
    /// Method 2, `image_block_transfer`, for these blocks.
    SendBlocks {
        /// The first block's number, from 0.
        first: u32,
        /// How many.
        count: u32,
        /// Bytes of a block, as the meter says.
        block_size: u32,
    },
    /// Method 3, `image_verify`.
    Verify,
    /// Method 4, `image_activate`.
    Activate,
}

/// What the meter said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageAnswer {
    /// Its firmware version.
    Version(String),
    /// Its image transfer object.
    Status(ImageStatus),
    /// The method succeeded.
    Done,
    /// The method is under way (`temporary-failure`): look again later.
    UnderWay,
    /// The meter refused, and the answer verified.
    Refused(String),
    /// No verified answer.
    Unreachable(String),
}

/// The image transfer object of a meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageStatus {
    /// Attribute 2: bytes of a block.
    pub block_size: u32,
    /// Attribute 4: the first block that is missing; all are there if it is beyond the last.
    pub first_missing: u32,
    /// Attribute 5: whether images may be transferred at all.
    pub is_enabled: bool,
    /// Attribute 6.
    pub transfer: TransferStatus,
}

/// Attribute 6 of class 18.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransferStatus {
    /// 0.
    NotInitiated,
    /// 1.
    Initiated,
    /// 2.
    Verifying,
    /// 3.
    Verified,
    /// 4.
    VerificationFailed,
    /// 5.
    Activating,
    /// 6.
    Activated,
    /// 7.
    ActivationFailed,
}

impl TransferStatus {
    /// The value of the enumeration, 0 to 7.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::NotInitiated,
            1 => Self::Initiated,
            2 => Self::Verifying,
            3 => Self::Verified,
            4 => Self::VerificationFailed,
            5 => Self::Activating,
            6 => Self::Activated,
            7 => Self::ActivationFailed,
            _ => return None,
        })
    }
}

/// How far a meter is; this is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Not begun.
    Waiting,
    /// Being looked at; no block of this image was sent.
    Begun,
    /// The meter took our `image_transfer_initiate`: the blocks that it holds are of this image.
    Initiated,
    /// The meter verified the image; its activation waits for its time.
    Verified,
    /// The activation may have been sent.
    Activating,
    /// It runs the new version.
    Succeeded,
    /// It does not, and this is why.
    Failed(String),
    /// The campaign was aborted before the meter activated anything.
    Cancelled,
}

impl Phase {
    /// Whether nothing more is done at this meter.
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed(_) | Self::Cancelled)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let (code, reason) = match self {
            Self::Waiting => (0, ""),
            Self::Begun => (1, ""),
            Self::Initiated => (2, ""),
            Self::Verified => (3, ""),
            Self::Activating => (4, ""),
            Self::Succeeded => (5, ""),
            Self::Failed(reason) => (6, &reason[..reason.floor_char_boundary(1_000)]),
            Self::Cancelled => (7, ""),
        };
        let mut out = vec![code];
        put_bytes(&mut out, reason.as_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        let code = reader.u8()?;
        let reason = get_text(&mut reader)?;
        Ok(match code {
            0 => Self::Waiting,
            1 => Self::Begun,
            2 => Self::Initiated,
            3 => Self::Verified,
            4 => Self::Activating,
            5 => Self::Succeeded,
            6 => Self::Failed(reason),
            7 => Self::Cancelled,
            _ => return Err(Damage("a meter's phase")),
        })
    }
}

/// What comes next for a meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask the meter.
    Ask(ImageRequest),
    /// Make this phase durable, then go on.
    Enter(Phase),
    /// Come back later and ask.
    Pause(Instant, ImageRequest),
}

/// The meter's machine between two asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installation {
    pub(super) phase: Phase,
    /// Failures in a row.
    failures: u32,
    /// Looks at what is under way.
    looks: u32,
    /// Times that the transfer was begun or verified anew.
    laps: u32,
    /// Rounds of blocks that brought nothing new.
    stalls: u32,
    /// The first missing block, at its best.
    progress: u32,
}

impl Installation {
    pub(super) const fn new(phase: Phase) -> Self {
        Self {
            phase,
            failures: 0,
            looks: 0,
            laps: 0,
            stalls: 0,
            progress: 0,
        }
    }

    /// What to do in a phase that was just entered, or taken up after a start.
    pub(super) const fn take_up(&self) -> Option<ImageRequest> {
        match self.phase {
            // The version first: it may be installed already, or by now.
            Phase::Begun | Phase::Activating => Some(ImageRequest::ReadVersion),
            Phase::Initiated => Some(ImageRequest::ReadStatus),
            Phase::Waiting
            | Phase::Verified
            | Phase::Succeeded
            | Phase::Failed(_)
            | Phase::Cancelled => None,
        }
    }

    /// What follows from an answer.
    pub(super) fn handle(
        &mut self,
        request: ImageRequest,
        answer: ImageAnswer,
        plan: &CampaignPlan,
        now: Now,
    ) -> Next {
        let answer = match answer {
            ImageAnswer::Unreachable(reason) => return self.retry(request, &reason, now),
            ImageAnswer::Refused(reason) => {
                return fail(format!("the meter refused {request:?}: {reason}"));
            }
            answered @ (ImageAnswer::Version(_)
            | ImageAnswer::Status(_)
            | ImageAnswer::Done
            | ImageAnswer::UnderWay) => answered,
        };
        self.failures = 0;
        match (request, answer) {
            (ImageRequest::ReadVersion, ImageAnswer::Version(version)) => {
                if version == plan.image.version {
                    Next::Enter(Phase::Succeeded)
                } else {
                    self.after_old_version(&version, now)
                }
            }
            (ImageRequest::ReadStatus, ImageAnswer::Status(status)) => {
                self.after_status(status, plan, now)
            }
            (ImageRequest::Initiate, ImageAnswer::Done) => Next::Enter(Phase::Initiated),
            (
                ImageRequest::Enable | ImageRequest::SendBlocks { .. } | ImageRequest::Verify,
                ImageAnswer::Done,
            ) => Next::Ask(ImageRequest::ReadStatus),
            (ImageRequest::Activate, ImageAnswer::Done | ImageAnswer::UnderWay) => {
                self.look_again(ImageRequest::ReadVersion, now)
            }
            (
                ImageRequest::Initiate | ImageRequest::SendBlocks { .. } | ImageRequest::Verify,
                ImageAnswer::UnderWay,
            ) => self.look_again(ImageRequest::ReadStatus, now),
            (request, answer) => fail(format!("{answer:?} does not answer {request:?}")),
        }
    }

    fn after_old_version(&mut self, version: &str, now: Now) -> Next {
        if self.phase != Phase::Activating {
            return Next::Ask(ImageRequest::ReadStatus);
        }
        // Whether it got the activation, and what came of it, is in the status.
        match self.looks {
            0 => Next::Ask(ImageRequest::ReadStatus),
            1..CONFIRMATIONS_MAX => self.look_again(ImageRequest::ReadStatus, now),
            _ => fail(format!("activated, but it still runs version {version}")),
        }
    }

    fn look_again(&mut self, request: ImageRequest, now: Now) -> Next {
        self.looks += 1;
        if self.looks > CONFIRMATIONS_MAX {
            return fail(format!(
                "nothing changed in {CONFIRMATIONS_MAX} looks at it"
            ));
        }
        Next::Pause(now.instant + LOOK_AGAIN, request)
    }

    /// Begins or verifies, unless that was done too often.
    fn lap(&mut self, request: ImageRequest) -> Next {
        self.laps += 1;
        if self.laps > 2 * LAPS_MAX {
            return fail(format!(
                "it accepts {request:?} again and again without effect"
            ));
        }
        Next::Ask(request)
    }

    fn after_status(&mut self, status: ImageStatus, plan: &CampaignPlan, now: Now) -> Next {
        if status.block_size == 0 {
            return fail("its block size is 0; look at attribute 2 of the image transfer".into());
        }
        if self.phase == Phase::Activating {
            return match status.transfer {
                // It never heard of the activation.
                TransferStatus::Verified => self.lap(ImageRequest::Activate),
                TransferStatus::Activating | TransferStatus::Activated => {
                    self.look_again(ImageRequest::ReadVersion, now)
                }
                TransferStatus::ActivationFailed => fail("its activation failed".into()),
                TransferStatus::NotInitiated
                | TransferStatus::Initiated
                | TransferStatus::Verifying
                | TransferStatus::VerificationFailed => {
                    fail("it went back to its old image after the activation".into())
                }
            };
        }
        // Meters leave the factory with transfers switched off.
        if !status.is_enabled {
            return self.lap(ImageRequest::Enable);
        }
        // What lies there is not known to be of this image.
        if self.phase == Phase::Begun {
            return self.lap(ImageRequest::Initiate);
        }
        let blocks = plan.image.size.div_ceil(status.block_size);
        match status.transfer {
            TransferStatus::Initiated if status.first_missing < blocks => {
                if status.first_missing > self.progress {
                    (self.progress, self.stalls) = (status.first_missing, 0);
                } else {
                    self.stalls += 1;
                }
                if self.stalls > STALLS_MAX {
                    let missing = status.first_missing;
                    return fail(format!(
                        "block {missing} is missing still, however often sent"
                    ));
                }
                Next::Ask(ImageRequest::SendBlocks {
                    first: status.first_missing,
                    count: (blocks - status.first_missing).min(BLOCKS_PER_REQUEST_MAX),
                    block_size: status.block_size,
                })
            }
            TransferStatus::Initiated => self.lap(ImageRequest::Verify),
            TransferStatus::Verifying => self.look_again(ImageRequest::ReadStatus, now),
            TransferStatus::Verified => Next::Enter(Phase::Verified),
            TransferStatus::VerificationFailed => {
                fail("its verification failed: the image or its signature is not for it".into())
            }
            // Somebody or something threw our transfer away.
            TransferStatus::NotInitiated
            | TransferStatus::Activating
            | TransferStatus::Activated
            | TransferStatus::ActivationFailed => self.lap(ImageRequest::Initiate),
        }
    }

    fn retry(&mut self, request: ImageRequest, reason: &str, now: Now) -> Next {
        self.failures += 1;
        if self.failures > ATTEMPTS_MAX {
            return fail(format!("unreachable {ATTEMPTS_MAX} times: {reason}"));
        }
        let pause = RETRY_FIRST.saturating_mul(1 << (self.failures - 1).min(20));
        let until = now.instant + pause.min(RETRY_LONGEST);
        // A request without an answer may have been carried out: look before doing it again.
        let look = match request {
            ImageRequest::Activate => ImageRequest::ReadVersion,
            ImageRequest::Enable | ImageRequest::SendBlocks { .. } | ImageRequest::Verify => {
                ImageRequest::ReadStatus
            }
            ImageRequest::ReadVersion | ImageRequest::ReadStatus | ImageRequest::Initiate => {
                request
            }
        };
        Next::Pause(until, look)
    }
}

const fn fail(reason: String) -> Next {
    Next::Enter(Phase::Failed(reason))
}
