//! Demand register (class 5, version 0): mean power over a block or a sliding window, from an
//! energy register.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::UtcTime;
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::CosemDateTime;

use super::InterfaceObject;
use super::retained::{Keeper, Kept, RetainedError};
use super::shape;

/// Periods of one sliding window; more are refused.
pub const WINDOW_PERIODS_MAX: u16 = 60;

const VERSION: u8 = 1;
const OBJECT: &str = "demand-register";
const DAY_S: u32 = 86_400;
/// Status bit: a part of the window had no supply.
const INTERRUPTED: u8 = 0x02;

/// Scaler and unit of a register (attribute `scaler_unit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScalerUnit {
    /// The value is the raw number times ten to this power.
    pub scaler: i8,
    /// The code of IEC 62056-6-2, table 4: 27 W, 28 VA, 29 var, 30 Wh.
    pub unit: u8,
}

impl ScalerUnit {
    pub(crate) fn value(self) -> Data {
        Data::Structure(vec![Data::Integer(self.scaler), Data::Enum(self.unit)])
    }
}

/// What a demand register begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemandConfig {
    /// The length of a period in seconds; divides a day.
    pub period_s: u32,
    /// Periods of the window, 1 (a block) to [`WINDOW_PERIODS_MAX`].
    pub periods: u16,
    /// Scaler and unit; the scaler is 0, values are whole W, var or VA.
    pub scaler_unit: ScalerUnit,
}

/// A period has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemandPeriod {
    /// When.
    pub end: UtcTime,
    /// The mean over the window that ended, cut to a whole W, var or VA.
    pub average: u32,
    /// Whether supply was there for all of the window.
    pub is_complete: bool,
}

/// One demand register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemandRegister {
    scaler_unit: ScalerUnit,
    period_s: u32,
    periods: u16,
    /// Energies of the closed periods of the window with whether supply was there, oldest first;
    /// one fewer than [`Self::periods`].
    closed: VecDeque<(i64, bool)>,
    /// When the running period began.
    period_start: UtcTime,
    /// The energy register at that time, in thousandths of its unit-hour.
    register_at_start: i64,
    /// The energy register when it was last seen.
    register: i64,
    interrupted: bool,
    last_average: u32,
    last_status: u8,
    capture_time: Option<UtcTime>,
    /// At most two per input.
    events: VecDeque<DemandPeriod>,
}

impl DemandRegister {
    /// Measures from `at` on; `register` is the energy register then, in mWh, mvarh or mVAh.
    ///
    /// # Panics
    ///
    /// If the period does not divide a day or the window is empty or too long.
    pub fn new(config: DemandConfig, register: i64, at: UtcTime) -> Self {
        assert!(
            is_period(config.period_s) && (1..=WINDOW_PERIODS_MAX).contains(&config.periods),
            "a demand period divides a day, a window has 1 to {WINDOW_PERIODS_MAX}"
        );
        Self {
            scaler_unit: config.scaler_unit,
            period_s: config.period_s,
            periods: config.periods,
            closed: VecDeque::new(),
            period_start: at,
            register_at_start: register,
            register,
            interrupted: false,
            last_average: 0,
            last_status: 0,
            capture_time: None,
            events: VecDeque::new(),
        }
    }

    /// The energy register stands at `register` at `at`. Call it at the end of each period, and
    /// before the current average is read.
    ///
    /// If the end of a period has passed unseen, there was no supply: what was counted belongs to
    /// the period that was running, and the window starts again.
    pub fn handle_register(&mut self, register: i64, at: UtcTime) {
        // An energy register never runs backwards; a clock may.
        self.register = register.max(self.register);
        if at < self.period_start {
            self.restart(at);
            return;
        }
        let end = self.period_end();
        if at == end {
            self.close(end);
        } else if at > end {
            self.interrupted = true;
            self.close(end);
            self.restart(at);
        }
    }

    /// There was no supply for a part of the running period.
    pub const fn handle_interruption(&mut self) {
        self.interrupted = true;
    }

    /// When [`Self::handle_register`] is due, and why.
    pub fn wake(&self) -> Option<(UtcTime, &'static str)> {
        Some((self.period_end(), "demand period ends"))
    }

    /// The next period that has ended; maximum demand registers want it.
    pub fn poll_event(&mut self) -> Option<DemandPeriod> {
        self.events.pop_front()
    }

    /// The mean so far over the whole window length (attribute 2), cut to a whole unit.
    pub fn current_average(&self) -> u32 {
        let closed: i64 = self.closed.iter().map(|(energy, _)| energy).sum();
        self.average(closed + self.register - self.register_at_start)
    }

    /// The mean of the last window (attribute 3).
    pub const fn last_average(&self) -> u32 {
        self.last_average
    }

    /// The end of the running period: the next multiple of its length.
    fn period_end(&self) -> UtcTime {
        let length = i64::from(self.period_s);
        UtcTime::from_secs((self.period_start.as_secs().div_euclid(length) + 1) * length)
    }

    fn close(&mut self, end: UtcTime) {
        let window_complete =
            !self.interrupted && self.closed.iter().all(|(_, complete)| *complete);
        let full = self.closed.len() + 1 == usize::from(self.periods);
        let is_complete = window_complete && full;
        self.last_average = self.current_average();
        self.last_status = if is_complete { 0 } else { INTERRUPTED };
        self.capture_time = Some(end);
        self.events.push_back(DemandPeriod {
            end,
            average: self.last_average,
            is_complete,
        });
        let energy = self.register - self.register_at_start;
        self.closed.push_back((energy, !self.interrupted));
        while self.closed.len() >= usize::from(self.periods) {
            self.closed.pop_front();
        }
        self.begin(end);
        self.interrupted = false;
    }

    /// Begins a window in which the time before `at` is missing.
    fn restart(&mut self, at: UtcTime) {
        self.closed.clear();
        self.begin(at);
        self.interrupted = true;
    }

    fn begin(&mut self, at: UtcTime) {
        self.period_start = at;
        self.register_at_start = self.register;
    }

    /// The mean power, cut: thousandths of a unit-hour over the length of the window.
    fn average(&self, energy: i64) -> u32 {
        let window_s = i128::from(self.period_s) * i128::from(self.periods);
        let average = i128::from(energy) * 3_600 / (1_000 * window_s);
        u32::try_from(average).unwrap_or(u32::MAX)
    }

    fn window_start(&self) -> UtcTime {
        let closed = u32::try_from(self.closed.len()).expect("a window has at most 60 periods");
        self.period_start - Duration::from_secs(u64::from(self.period_s)) * closed
    }

    /// Appends what the register keeps.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.put(self.period_s.to_be_bytes());
        keeper.put(self.periods.to_be_bytes());
        keeper.list(self.closed.iter(), |keeper, (energy, complete)| {
            keeper.put(energy.to_be_bytes());
            keeper.flag(*complete);
        });
        keeper.time(self.period_start);
        keeper.put(self.register_at_start.to_be_bytes());
        keeper.put(self.register.to_be_bytes());
        keeper.flag(self.interrupted);
        keeper.put(self.last_average.to_be_bytes());
        keeper.byte(self.last_status);
        keeper.option(self.capture_time, Keeper::time);
    }

    /// Takes over what a register of the same unit kept.
    ///
    /// # Errors
    ///
    /// Bytes that no register wrote.
    pub fn decode(scaler_unit: ScalerUnit, bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let period_s = kept.u32()?;
        kept.require(is_period(period_s), "period")?;
        let periods = kept.u16()?;
        kept.require((1..=WINDOW_PERIODS_MAX).contains(&periods), "periods")?;
        let register = Self {
            scaler_unit,
            period_s,
            periods,
            closed: kept
                .list("window", usize::from(periods) - 1, |kept| {
                    Ok((kept.i64()?, kept.flag("complete")?))
                })?
                .into(),
            period_start: kept.time()?,
            register_at_start: kept.i64()?,
            register: kept.i64()?,
            interrupted: kept.flag("interrupted")?,
            last_average: kept.u32()?,
            last_status: kept.u8()?,
            capture_time: kept.option("capture time", Kept::time)?,
            events: VecDeque::new(),
        };
        let energies = register.closed.iter().map(|(energy, _)| energy);
        // No register gets beyond 10¹⁵: sums and differences fit.
        let plausible = 0..=1_000_000_000_000_000;
        kept.require(
            register.register_at_start <= register.register
                && plausible.contains(&register.register_at_start)
                && plausible.contains(&register.register)
                && energies.clone().all(|energy| plausible.contains(energy)),
            "energy",
        )?;
        kept.finish()?;
        Ok(register)
    }
}

const fn is_period(seconds: u32) -> bool {
    seconds >= 60 && seconds <= DAY_S && DAY_S.is_multiple_of(seconds)
}

/// A time as an attribute; all fields open where there is none yet.
pub(crate) fn time_value(time: Option<UtcTime>) -> Data {
    let whole = time.map(|time| UtcTime::from_secs(time.as_secs()));
    let time = whole.and_then(|time| CosemDateTime::from_utc(time).ok());
    shape::date_time_value(
        time.unwrap_or_else(|| CosemDateTime::from_bytes([0xFF; CosemDateTime::LEN])),
    )
}

impl InterfaceObject for DemandRegister {
    fn get(&self, attribute: i8, _: UtcTime) -> Result<Data, DataAccessResult> {
        Ok(match attribute {
            2 => Data::DoubleLongUnsigned(self.current_average()),
            3 => Data::DoubleLongUnsigned(self.last_average),
            4 => self.scaler_unit.value(),
            5 => Data::Unsigned(self.last_status),
            6 => time_value(self.capture_time),
            7 => time_value(Some(self.window_start())),
            8 => Data::DoubleLongUnsigned(self.period_s),
            9 => Data::LongUnsigned(self.periods),
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    /// Another period or window starts measuring again at `at`.
    fn set(&mut self, attribute: i8, value: &Data, at: UtcTime) -> Result<(), DataAccessResult> {
        match attribute {
            2..=7 => return Err(DataAccessResult::ReadWriteDenied),
            8 => {
                let seconds = shape::double_long_unsigned(value)?;
                if !is_period(seconds) {
                    return Err(DataAccessResult::OtherReason);
                }
                self.period_s = seconds;
            }
            9 => {
                let periods = shape::long_unsigned(value)?;
                if !(1..=WINDOW_PERIODS_MAX).contains(&periods) {
                    return Err(DataAccessResult::OtherReason);
                }
                self.periods = periods;
            }
            _ => return Err(DataAccessResult::ObjectUndefined),
        }
        self.restart(at);
        Ok(())
    }

    /// Method 1 clears the averages and starts again, 2 ends the running period at `at`.
    fn invoke(
        &mut self,
        method: i8,
        parameters: Option<&Data>,
        at: UtcTime,
    ) -> Result<Option<Data>, ActionResult> {
        match method {
            1 => {
                shape::nothing(parameters)?;
                self.restart(at);
                self.last_average = 0;
                self.last_status = 0;
                self.capture_time = Some(at);
            }
            2 => {
                shape::nothing(parameters)?;
                // The period was not a whole one.
                self.interrupted = true;
                self.close(at);
            }
            _ => return Err(ActionResult::ObjectUndefined),
        }
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
    /// In milliwatt-hours, as the energy register counts.
    const KILOWATT_HOUR: i64 = 1_000_000;

    fn register(period_s: u32, periods: u16) -> DemandRegister {
        let config = DemandConfig {
            period_s,
            periods,
            scaler_unit: WATTS,
        };
        DemandRegister::new(config, 0, at(0))
    }

    fn at(second: i64) -> UtcTime {
        UtcTime::from_secs(1_699_920_000 + second) // A midnight.
    }

    fn ended(register: &mut DemandRegister) -> Vec<(i64, u32, bool)> {
        std::iter::from_fn(|| register.poll_event())
            .map(|period| {
                let second = period.end.as_secs() - at(0).as_secs();
                (second, period.average, period.is_complete)
            })
            .collect()
    }

    #[test]
    fn blocks_are_means_of_their_energy() {
        let mut block = register(900, 1);
        // 1 kW, then 3 kW, then 2 kW with something in between.
        for (second, energy) in [
            (900, KILOWATT_HOUR / 4),
            (1_800, KILOWATT_HOUR),
            (2_000, KILOWATT_HOUR + 111_111),
            (2_700, KILOWATT_HOUR * 3 / 2),
        ] {
            block.handle_register(energy, at(second));
        }
        assert_eq!(
            ended(&mut block),
            [
                (900, 1_000, true),
                (1_800, 3_000, true),
                (2_700, 2_000, true)
            ]
        );
        // 1 Wh in a quarter of an hour are 4 W; 0.2 Wh are none.
        block.handle_register(KILOWATT_HOUR * 3 / 2 + 1_000, at(2_800));
        assert_eq!(block.current_average(), 4);
        assert_eq!(block.wake().map(|(at, _)| at), Some(at(3_600)));
    }

    #[test]
    fn a_window_slides_by_periods() {
        let mut sliding = register(300, 3);
        let mut energy = 0;
        for (minute, kilowatts) in [(5, 6), (10, 0), (15, 3), (20, 0), (25, 0)] {
            energy += kilowatts * KILOWATT_HOUR / 12;
            sliding.handle_register(energy, at(minute * 60));
        }
        assert_eq!(
            ended(&mut sliding),
            [
                (300, 2_000, false),
                (600, 2_000, false),
                (900, 3_000, true),
                (1_200, 1_000, true),
                (1_500, 1_000, true)
            ]
        );
        assert_eq!(sliding.get(7, at(1_500)), Ok(time_value(Some(at(900)))));
    }

    #[test]
    fn time_without_supply_starts_the_window_again() {
        let mut block = register(900, 1);
        block.handle_register(1_000, at(100));
        // Power returns after two ends of a period.
        block.handle_register(1_000, at(2_000));
        assert_eq!(ended(&mut block), [(900, 4, false)]);
        assert_eq!(block.get(5, at(2_000)), Ok(Data::Unsigned(INTERRUPTED)));
        block.handle_register(2_000, at(2_700));
        block.handle_register(3_000, at(3_600));
        assert_eq!(ended(&mut block), [(2_700, 4, false), (3_600, 4, true)]);
        // The clock is set back.
        block.handle_register(4_000, at(3_000));
        assert_eq!(block.wake().map(|(at, _)| at), Some(at(3_600)));
        block.handle_register(5_000, at(3_600));
        assert_eq!(ended(&mut block), [(3_600, 4, false)]);
    }

    #[test]
    fn clients_change_the_window_and_end_periods() {
        let mut block = register(900, 1);
        block.handle_register(1_000, at(450));
        assert_eq!(block.invoke(2, Some(&Data::Integer(0)), at(450)), Ok(None));
        assert_eq!(ended(&mut block), [(450, 4, false)]);
        assert_eq!(block.wake().map(|(at, _)| at), Some(at(900)));
        let cases = [
            (8, Data::DoubleLongUnsigned(1_800), Ok(())),
            (
                8,
                Data::DoubleLongUnsigned(7),
                Err(DataAccessResult::OtherReason),
            ),
            (
                8,
                Data::DoubleLongUnsigned(0),
                Err(DataAccessResult::OtherReason),
            ),
            (9, Data::LongUnsigned(0), Err(DataAccessResult::OtherReason)),
            (9, Data::LongUnsigned(2), Ok(())),
            (9, Data::Unsigned(2), Err(DataAccessResult::TypeUnmatched)),
            (
                2,
                Data::DoubleLongUnsigned(2),
                Err(DataAccessResult::ReadWriteDenied),
            ),
        ];
        for (attribute, value, expected) in cases {
            assert_eq!(block.set(attribute, &value, at(500)), expected, "{value:?}");
        }
        assert_eq!(block.wake().map(|(at, _)| at), Some(at(1_800)));
        assert_eq!(block.invoke(1, None, at(600)), Ok(None));
        assert_eq!((block.last_average(), block.current_average()), (0, 0));
    }

    #[test]
    fn it_survives() {
        let mut sliding = register(300, 3);
        sliding.handle_register(1_000, at(300));
        sliding.handle_register(1_500, at(400));
        ended(&mut sliding);
        assert_survives(&sliding, DemandRegister::encode, |bytes| {
            DemandRegister::decode(WATTS, bytes)
        });
    }
}
