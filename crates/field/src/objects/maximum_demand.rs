//! Maximum demand: an extended register (class 4, version 0) that keeps the highest period of a
//! billing period with its time, and what goes with its reset.

use gridloom_core::UtcTime;
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::Data;

use super::InterfaceObject;
use super::demand_register::{DemandPeriod, ScalerUnit, time_value};
use super::retained::{Keeper, Kept, RetainedError};
use super::shape;

const VERSION: u8 = 1;
const OBJECT: &str = "maximum-demand";
/// Status bit: a part of the highest period had no supply.
const INTERRUPTED: u8 = 0x02;

/// The highest demand of one billing period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peak {
    /// In the register's unit; 0 where no period has ended.
    pub value: u32,
    /// The end of that period.
    pub at: Option<UtcTime>,
    /// Whether a part of it had no supply.
    pub interrupted: bool,
}

/// One maximum demand register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaximumDemand {
    scaler_unit: ScalerUnit,
    peak: Peak,
    /// The sum of all peaks that were reset (1.0.1.2.0.255). It stays at its end.
    cumulative: u64,
    /// How often it was reset (0.0.0.1.0.255).
    resets: u32,
    last_reset: Option<UtcTime>,
}

impl MaximumDemand {
    /// A register without any period.
    pub const fn new(scaler_unit: ScalerUnit) -> Self {
        Self {
            scaler_unit,
            peak: Peak {
                value: 0,
                at: None,
                interrupted: false,
            },
            cumulative: 0,
            resets: 0,
            last_reset: None,
        }
    }

    /// A demand period has ended; of equal ones the first counts.
    pub fn handle_period(&mut self, period: DemandPeriod) {
        if self.peak.at.is_none() || period.average > self.peak.value {
            self.peak = Peak {
                value: period.average,
                at: Some(period.end),
                interrupted: !period.is_complete,
            };
        }
    }

    /// The billing period ends: returns its peak, and starts the next one.
    pub fn handle_billing(&mut self, at: UtcTime) -> Peak {
        self.cumulative = self.cumulative.saturating_add(u64::from(self.peak.value));
        self.resets = self.resets.saturating_add(1);
        self.last_reset = Some(at);
        core::mem::take(&mut self.peak)
    }

    /// The highest period so far.
    pub const fn peak(&self) -> Peak {
        self.peak
    }

    /// The sum of the peaks of all billing periods that are over.
    pub const fn cumulative(&self) -> u64 {
        self.cumulative
    }

    /// How many billing periods are over.
    pub const fn resets(&self) -> u32 {
        self.resets
    }

    /// When the last one ended (0.0.0.1.2.255).
    pub const fn last_reset(&self) -> Option<UtcTime> {
        self.last_reset
    }

    /// Appends what the register keeps.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.put(self.peak.value.to_be_bytes());
        keeper.option(self.peak.at, Keeper::time);
        keeper.flag(self.peak.interrupted);
        keeper.put(self.cumulative.to_be_bytes());
        keeper.put(self.resets.to_be_bytes());
        keeper.option(self.last_reset, Keeper::time);
    }

    /// Takes over what a register of the same unit kept.
    ///
    /// # Errors
    ///
    /// Bytes that no register wrote.
    pub fn decode(scaler_unit: ScalerUnit, bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let register = Self {
            scaler_unit,
            peak: Peak {
                value: kept.u32()?,
                at: kept.option("peak", Kept::time)?,
                interrupted: kept.flag("interrupted")?,
            },
            cumulative: kept.u64()?,
            resets: kept.u32()?,
            last_reset: kept.option("reset", Kept::time)?,
        };
        kept.finish()?;
        Ok(register)
    }
}

impl InterfaceObject for MaximumDemand {
    fn get(&self, attribute: i8, _: UtcTime) -> Result<Data, DataAccessResult> {
        Ok(match attribute {
            2 => Data::DoubleLongUnsigned(self.peak.value),
            3 => self.scaler_unit.value(),
            4 if self.peak.interrupted => Data::Unsigned(INTERRUPTED),
            4 => Data::Unsigned(0),
            5 => time_value(self.peak.at),
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    fn set(&mut self, attribute: i8, _: &Data, _: UtcTime) -> Result<(), DataAccessResult> {
        match attribute {
            2..=5 => Err(DataAccessResult::ReadWriteDenied),
            _ => Err(DataAccessResult::ObjectUndefined),
        }
    }

    /// Method 1 resets the register as the end of a billing period does.
    fn invoke(
        &mut self,
        method: i8,
        parameters: Option<&Data>,
        at: UtcTime,
    ) -> Result<Option<Data>, ActionResult> {
        if method != 1 {
            return Err(ActionResult::ObjectUndefined);
        }
        shape::nothing(parameters)?;
        self.handle_billing(at);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::retained::assert_survives;

    const WATTS: ScalerUnit = ScalerUnit {
        scaler: 0,
        unit: 27,
    };

    fn period(second: i64, average: u32, is_complete: bool) -> DemandPeriod {
        DemandPeriod {
            end: UtcTime::from_secs(second),
            average,
            is_complete,
        }
    }

    #[test]
    fn the_first_highest_period_counts_until_billing() {
        let mut maximum = MaximumDemand::new(WATTS);
        let at = UtcTime::from_secs(9_000);
        assert_eq!(maximum.get(5, at), Ok(Data::OctetString(vec![0xFF; 12])));
        for demand in [
            period(900, 0, true),
            period(1_800, 500, false),
            period(2_700, 500, true),
            period(3_600, 499, true),
        ] {
            maximum.handle_period(demand);
        }
        let peak = Peak {
            value: 500,
            at: Some(UtcTime::from_secs(1_800)),
            interrupted: true,
        };
        assert_eq!(maximum.peak(), peak);
        assert_eq!(maximum.get(4, at), Ok(Data::Unsigned(INTERRUPTED)));
        assert_survives(&maximum, MaximumDemand::encode, |bytes| {
            MaximumDemand::decode(WATTS, bytes)
        });
        assert_eq!(maximum.handle_billing(at), peak);
        assert_eq!(maximum.peak(), Peak::default());
        maximum.handle_period(period(4_500, 20, true));
        assert_eq!(maximum.invoke(1, Some(&Data::Integer(0)), at), Ok(None));
        assert_eq!((maximum.cumulative(), maximum.resets()), (520, 2));
        assert_eq!(maximum.last_reset(), Some(at));
        assert_eq!(maximum.get(2, at), Ok(Data::DoubleLongUnsigned(0)));
    }
}
