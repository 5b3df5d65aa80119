//! What a campaign is to do, and how it is kept.

use std::collections::BTreeSet;

use gridloom_core::bytes::{Reader, Truncated};
use gridloom_core::{MeterId, UtcTime};

/// Meters of one campaign; more are refused.
pub const TARGETS_MAX: usize = 100_000;

/// Stages of one campaign; more are refused.
pub const STAGES_MAX: usize = 16;

/// Meters that may be worked on at a time; more are refused.
pub const CONCURRENCY_MAX: usize = 4_096;

/// Bytes of an image; a larger one is refused.
pub const IMAGE_BYTES_MAX: u32 = 64 << 20;

/// Bytes of an image's identifier, version or signature; a longer one is refused.
pub const IMAGE_TEXT_BYTES_MAX: usize = 512;

const VERSION: u8 = 1;

/// An image of firmware. Its bytes stay with the host, found by their hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What `image_transfer_initiate` calls it.
    pub identifier: Vec<u8>,
    /// Its bytes.
    pub size: u32,
    /// SHA-256 over them.
    pub digest: [u8; 32],
    /// The maker's signature; meters check it, and the host checks it before a campaign begins.
    pub signature: Vec<u8>,
    /// What a meter that runs it says in its firmware version object.
    pub version: String,
}

/// One stage: how many of the meters, and how many of them must succeed before the next stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagePlan {
    /// How many meters the campaign covers by the end of this stage.
    pub reach: Reach,
    /// Of the meters of this stage, this many in a hundred must succeed.
    pub success_percent: u8,
}

/// How many meters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// So many: the canaries.
    Meters(u32),
    /// So many in a hundred, rounded up.
    Percent(u8),
}

impl Reach {
    /// How many of `all` meters.
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Meters(count) => all.min(count as usize),
            Self::Percent(percent) => (all * usize::from(percent)).div_ceil(100),
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignPlan {
    /// The number of this work.
    pub number: u64,
    /// What to install.
    pub image: Image,
    /// Where.
    pub targets: BTreeSet<MeterId>,
    /// In which stages; the last one reaches every meter.
    pub stages: Vec<StagePlan>,
    /// How many meters at a time.
    pub concurrency: usize,
    /// Not to be activated before.
    pub activate_at: Option<UtcTime>,
    /// Who wants it, for the audit log.
    pub actor: String,
}

/// What is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No meter, or too many.
    #[error("campaign: {0} meters; give 1 to {TARGETS_MAX}")]
    Targets(usize),
    /// No stage, or too many.
    #[error("campaign: {0} stages; give 1 to {STAGES_MAX}")]
    Stages(usize),
    /// The stages do not grow, or do not reach every meter.
    #[error(
        "campaign: stage {stage} reaches {reaches} of {all} meters; each stage reaches more than \
         the one before, the last one all"
    )]
    Reach {
        /// From 1.
        stage: usize,
        /// What it reaches.
        reaches: usize,
        /// How many there are.
        all: usize,
    },
    /// A threshold above a hundred.
    #[error("campaign: stage {stage} asks for {percent} percent; give 0 to 100")]
    Percent {
        /// From 1.
        stage: usize,
        /// What it says.
        percent: u8,
    },
    /// The concurrency is out of range.
    #[error("campaign: concurrency = {0}; give 1 to {CONCURRENCY_MAX}")]
    Concurrency(usize),
    /// The image makes no sense.
    #[error("campaign: image {field} has {got} bytes; give 1 to {max}")]
    Image {
        /// Which field.
        field: &'static str,
        /// Its bytes.
        got: usize,
        /// The bound.
        max: usize,
    },
}

impl CampaignPlan {
    /// Refuses what no campaign could carry out.
    ///
    /// # Errors
    ///
    /// The first fault.
    pub fn check(&self) -> Result<(), PlanError> {
        let all = self.targets.len();
        if all == 0 || all > TARGETS_MAX {
            return Err(PlanError::Targets(all));
        }
        if self.stages.is_empty() || self.stages.len() > STAGES_MAX {
            return Err(PlanError::Stages(self.stages.len()));
        }
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            return Err(PlanError::Concurrency(self.concurrency));
        }
        let image = &self.image;
        let size = image.size as usize;
        for (field, got, max) in [
            ("identifier", image.identifier.len(), IMAGE_TEXT_BYTES_MAX),
            ("signature", image.signature.len(), IMAGE_TEXT_BYTES_MAX),
            ("version", image.version.len(), IMAGE_TEXT_BYTES_MAX),
            ("size", size, IMAGE_BYTES_MAX as usize),
        ] {
            if got == 0 || got > max {
                return Err(PlanError::Image { field, got, max });
            }
        }
        let mut before = 0;
        for (stage, plan) in (1..).zip(&self.stages) {
            let reaches = plan.reach.of(all).min(all);
            let percent = plan.success_percent;
            if percent > 100 {
                return Err(PlanError::Percent { stage, percent });
            }
            let is_last = stage == self.stages.len();
            if reaches <= before || (is_last && reaches < all) {
                return Err(PlanError::Reach {
                    stage,
                    reaches,
                    all,
                });
            }
            before = reaches;
        }
        Ok(())
    }

    /// Appends its bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_bytes(out, &self.image.identifier);
        out.extend(self.image.size.to_be_bytes());
        out.extend(self.image.digest);
        put_bytes(out, &self.image.signature);
        put_bytes(out, self.image.version.as_bytes());
        put_length(out, self.targets.len());
        for meter in &self.targets {
            out.extend(meter.0.to_be_bytes());
        }
        put_length(out, self.stages.len());
        for stage in &self.stages {
            let (kind, count) = match stage.reach {
                Reach::Meters(count) => (0, count),
                Reach::Percent(percent) => (1, u32::from(percent)),
            };
            out.push(kind);
            out.extend(count.to_be_bytes());
            out.push(stage.success_percent);
        }
        put_length(out, self.concurrency);
        match self.activate_at {
            Some(at) => {
                out.push(1);
                out.extend(at.as_millis().to_be_bytes());
            }
            None => out.push(0),
        }
        put_bytes(out, self.actor.as_bytes());
    }

    pub(super) fn decode(number: u64, reader: &mut Reader<'_>) -> Result<Self, Damage> {
        if reader.u8()? != VERSION {
            return Err(Damage("its version"));
        }
        let image = Image {
            identifier: get_bytes(reader)?.to_vec(),
            size: reader.u32()?,
            digest: reader.array()?,
            signature: get_bytes(reader)?.to_vec(),
            version: get_text(reader)?,
        };
        let count = reader.u32()?;
        let mut targets = BTreeSet::new();
        for _ in 0..count {
            targets.insert(MeterId(reader.u32()?));
        }
        let mut stages = Vec::new();
        for _ in 0..reader.u32()? {
            let (kind, count) = (reader.u8()?, reader.u32()?);
            stages.push(StagePlan {
                reach: match kind {
                    0 => Reach::Meters(count),
                    1 => Reach::Percent(u8::try_from(count).map_err(|_| Damage("a percentage"))?),
                    _ => return Err(Damage("a stage")),
                },
                success_percent: reader.u8()?,
            });
        }
        let plan = Self {
            number,
            image,
            targets,
            stages,
            concurrency: reader.u32()? as usize,
            activate_at: match reader.u8()? {
                0 => None,
                _ => Some(UtcTime::from_millis(reader.i64()?)),
            },
            actor: get_text(reader)?,
        };
        plan.check().map_err(|_| Damage("the plan"))?;
        Ok(plan)
    }
}

/// What of a stored state is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage(pub(super) &'static str);

impl From<Truncated> for Damage {
    fn from(_: Truncated) -> Self {
        Self("its length")
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("every length here is bounded");
    out.extend(length.to_be_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend(bytes);
}

fn get_bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Damage> {
    let length = reader.u32()? as usize;
    Ok(reader.take(length)?)
}

pub(super) fn get_text(reader: &mut Reader<'_>) -> Result<String, Damage> {
    let bytes = get_bytes(reader)?;
    let text = core::str::from_utf8(bytes).map_err(|_| Damage("a text"))?;
    Ok(text.to_owned())
}
