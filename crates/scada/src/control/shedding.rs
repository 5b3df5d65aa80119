//! Load shedding: the least needed load off first, by feeder breakers and by the limiters of
//! meters, and the same blocks not twice in a row.

use std::collections::BTreeMap;

use gridloom_core::{Now, UtcTime};

use super::definition::{ControlError, DeviceId};
use super::desk::{Controls, Effect};
use crate::audit::{Action, Actor, AuditOutcome};
use crate::fixed::{MILLIONTHS, divide_rounded};
use crate::image::Image;
use crate::point::{Catalogue, PointId, Position, Shape, Tag, Value};
use crate::unit::Unit;

/// Blocks that can be shed; more are refused.
pub const BLOCKS_MAX: usize = 4_096;

/// How a block is shed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SheddingMeans {
    /// Its feeder's breaker is opened.
    Feeder(DeviceId),
    /// Its meters limit what they let through.
    Meters {
        /// The group of meters, as the head-end knows it.
        group: String,
        /// The limit for each, in watts.
        limit_watts: u32,
        /// How much of the load the limit takes away, in percent, 1 to 100.
        relief_percent: u8,
    },
}

/// Load that can be shed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheddingBlock {
    /// Its name.
    pub name: Tag,
    /// The smallest is shed first.
    pub rank: u8,
    /// The point that measures its load, in a unit of power.
    pub load: PointId,
    /// How it is shed.
    pub means: SheddingMeans,
}

/// What was shed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shed {
    /// The blocks, in the order they were taken.
    pub blocks: Vec<Tag>,
    /// How much load they carried, in watts.
    pub relief_watts: u64,
    /// How much is still wanted because nothing more can be shed, in watts.
    pub missing_watts: u64,
}

#[derive(Debug)]
struct Block {
    definition: SheddingBlock,
    unit: Unit,
    is_shed: bool,
    last: Option<UtcTime>,
}

#[derive(Debug, Default)]
pub(super) struct Blocks(BTreeMap<Tag, Block>);

impl Blocks {
    /// A breaker was not switched after all.
    pub(super) fn undo(&mut self, name: &Tag) {
        if let Some(block) = self.0.get_mut(name) {
            block.is_shed = !block.is_shed;
        }
    }
}

impl Controls {
    /// Takes a block that can be shed.
    ///
    /// # Errors
    ///
    /// [`ControlError`] names the block, the field and the remedy.
    pub fn add_block(
        &mut self,
        block: SheddingBlock,
        catalogue: &Catalogue,
    ) -> Result<(), ControlError> {
        let fault = |field, got: String, remedy| ControlError::Field {
            name: block.name.clone(),
            field,
            got,
            remedy,
        };
        if self.blocks.0.contains_key(&block.name) {
            return Err(ControlError::Twice(block.name));
        }
        if self.blocks.0.len() >= BLOCKS_MAX {
            return Err(ControlError::Full {
                what: "shedding blocks",
                max: BLOCKS_MAX,
            });
        }
        let watt = Unit::parse("W").expect("the watt is known").dimension();
        let known = block.load.index() < catalogue.len();
        let shape = known.then(|| catalogue.get(block.load).kind.shape());
        let Some(Shape::Number(unit)) =
            shape.filter(|shape| matches!(shape, Shape::Number(unit) if unit.dimension() == watt))
        else {
            let remedy = "name a point that measures power, in W, kW or MW";
            return Err(fault("load", block.load.to_string(), remedy));
        };
        match &block.means {
            SheddingMeans::Feeder(device) => {
                let feedback = self.device(*device)?.feedback;
                if !matches!(catalogue.get(feedback).kind.shape(), Shape::Double) {
                    let remedy = "name a breaker with a two-bit position";
                    return Err(fault("feeder", device.to_string(), remedy));
                }
            }
            SheddingMeans::Meters { relief_percent, .. } => {
                if !(1..=100).contains(relief_percent) {
                    let got = relief_percent.to_string();
                    return Err(fault("relief_percent", got, "give 1 to 100"));
                }
            }
        }
        let name = block.name.clone();
        let entry = Block {
            definition: block,
            unit,
            is_shed: false,
            last: None,
        };
        self.blocks.0.insert(name, entry);
        Ok(())
    }

    /// Sheds at least so much load, or as much as there is: by rank, then what was shed longest
    /// ago. Blocks whose load is not trusted or not above zero are left out. Breakers go through
    /// select, interlocks and tags like any command, and what is refused relieves nothing.
    ///
    /// # Errors
    ///
    /// [`ControlError::AutomationStopped`], [`ControlError::NoReason`].
    pub fn shed(
        &mut self,
        wanted_watts: u64,
        actor: &Actor,
        reason: &str,
        image: &Image,
        now: Now,
    ) -> Result<Shed, ControlError> {
        self.assert_drained();
        self.automation_runs()?;
        if reason.trim().is_empty() {
            return Err(ControlError::NoReason("load shedding".into()));
        }
        let mut order: Vec<(u8, Option<UtcTime>, Tag, u64)> = self
            .blocks
            .0
            .iter()
            .filter(|(_, block)| !block.is_shed)
            .filter_map(|(name, block)| {
                let relief = relief_watts(block, image)?;
                Some((block.definition.rank, block.last, name.clone(), relief))
            })
            .collect();
        order.sort();
        let mut shed = Shed {
            blocks: Vec::new(),
            relief_watts: 0,
            missing_watts: wanted_watts,
        };
        for (_, _, name, relief) in order {
            if shed.missing_watts == 0 {
                break;
            }
            if self
                .switch(&name, Position::Open, (actor, reason), image, now)
                .is_ok()
            {
                shed.relief_watts = shed.relief_watts.saturating_add(relief);
                shed.missing_watts = wanted_watts.saturating_sub(shed.relief_watts);
                shed.blocks.push(name);
            }
        }
        let outcome = match shed.missing_watts {
            0 => AuditOutcome::Done,
            missing => AuditOutcome::Failed(format!("{missing} W more than there is to shed")),
        };
        let after = format!("{} W in {} blocks", shed.relief_watts, shed.blocks.len());
        let texts = (format!("{wanted_watts} W wanted"), after, reason);
        self.audit(
            (Action::Shedding, "load".into()),
            actor,
            texts,
            outcome,
            now,
        );
        self.go_on(image, now);
        Ok(shed)
    }

    /// Gives a block its load back.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownBlock`] if it is not shed, [`ControlError::AutomationStopped`], or
    /// why its breaker cannot be closed.
    pub fn restore(
        &mut self,
        name: &Tag,
        actor: &Actor,
        reason: &str,
        image: &Image,
        now: Now,
    ) -> Result<(), ControlError> {
        self.assert_drained();
        self.automation_runs()?;
        if !self.blocks.0.get(name).is_some_and(|block| block.is_shed) {
            return Err(ControlError::UnknownBlock(name.clone()));
        }
        self.switch(name, Position::Closed, (actor, reason), image, now)?;
        self.go_on(image, now);
        Ok(())
    }

    /// The blocks that are shed.
    pub fn shed_blocks(&self) -> impl Iterator<Item = &Tag> {
        let blocks = self.blocks.0.iter();
        blocks
            .filter(|(_, block)| block.is_shed)
            .map(|(name, _)| name)
    }

    fn switch(
        &mut self,
        name: &Tag,
        position: Position,
        (actor, reason): (&Actor, &str),
        image: &Image,
        now: Now,
    ) -> Result<(), ControlError> {
        let off = position == Position::Open;
        let Some(block) = self.blocks.0.get(name) else {
            return Err(ControlError::UnknownBlock(name.clone()));
        };
        match block.definition.means.clone() {
            SheddingMeans::Feeder(device) => {
                let value = Value::Double(position);
                let request = super::desk::Request {
                    device,
                    value,
                    actor: actor.clone(),
                    issued_at: now.utc,
                    caution_read: false,
                };
                self.try_request(&request, image, now)?;
                self.start_command(name, (device, value), actor, now)?;
            }
            SheddingMeans::Meters {
                group, limit_watts, ..
            } => {
                let limit = off.then_some(limit_watts);
                self.effects.push_back(Effect::LimitMeters(group, limit));
            }
        }
        if let Some(block) = self.blocks.0.get_mut(name) {
            block.is_shed = off;
            if off {
                block.last = Some(now.utc);
            }
        }
        let words = if off { ("on", "off") } else { ("off", "on") };
        let texts = (words.0.into(), words.1.into(), reason);
        self.audit(
            (Action::Shedding, name.to_string()),
            actor,
            texts,
            AuditOutcome::Done,
            now,
        );
        Ok(())
    }
}

/// What shedding a block takes away now, in watts; `None` if nothing or unknown.
fn relief_watts(block: &Block, image: &Image) -> Option<u64> {
    let (frame, load) = (image.frame(), block.definition.load);
    let Value::Number(number) = frame.value(load) else {
        return None;
    };
    if !frame.quality(load).is_trusted() {
        return None;
    }
    let (numerator, denominator) = block.unit.factor();
    let percent = match &block.definition.means {
        SheddingMeans::Feeder(_) => 100,
        SheddingMeans::Meters { relief_percent, .. } => i128::from(*relief_percent),
    };
    let watts = i128::from(number.millionths()) * numerator * percent;
    let watts = divide_rounded(watts, denominator * i128::from(MILLIONTHS) * 100)?;
    u64::try_from(watts).ok().filter(|watts| *watts > 0)
}
