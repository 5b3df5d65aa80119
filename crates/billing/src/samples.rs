//! Validated intervals for the tests of this crate, made the only way there is.

use gridloom_core::{
    Currency, IntervalReading, IntervalValues, MeterId, MillivoltAmpereHours, Millivolts,
    MilliwattHours, Period, Price, ReadingStatus, UtcTime,
};
use gridloom_mdm::{MeterLimits, Phases, PowerTriangle, ValidatedInterval, Validator};

pub(crate) fn at(text: &str) -> UtcTime {
    UtcTime::parse(text).unwrap()
}

pub(crate) fn price(text: &str) -> Price {
    Price::parse(text).unwrap()
}

pub(crate) fn euro() -> Currency {
    Currency::new("EUR", 2).unwrap()
}

pub(crate) fn flagged(
    meter: u32,
    period: Period,
    end: UtcTime,
    mwh: i64,
    status: ReadingStatus,
) -> ValidatedInterval {
    let limits = MeterLimits::new(
        100,
        Phases::Three,
        Millivolts::new(230_000),
        PowerTriangle::Captured,
    )
    .unwrap();
    let reading = IntervalReading {
        meter: MeterId(meter),
        period,
        end,
        status,
        values: IntervalValues {
            import: MilliwattHours::new(mwh.max(0)),
            export: MilliwattHours::new((-mwh).max(0)),
            apparent: MillivoltAmpereHours::new(mwh.max(0)),
            voltage: Millivolts::new(230_000),
            ..IntervalValues::default()
        },
        import_register: MilliwattHours::new(mwh.max(0)),
    };
    Validator::new().validate(reading, &limits, end).unwrap()
}

/// A good interval; negative energy is export.
pub(crate) fn interval(meter: u32, period: Period, end: UtcTime, mwh: i64) -> ValidatedInterval {
    flagged(meter, period, end, mwh, ReadingStatus::GOOD)
}
