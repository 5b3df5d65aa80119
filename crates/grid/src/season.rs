//! Daylight and outdoor temperature of a temperate place, about 51.5° north.

use gridloom_core::{Day, Seed};

use crate::draw::Draw;

/// What the sky does to the homes on one day; the same for every home of a world.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Season {
    /// Day of the year, 0–365.
    pub(crate) day_of_year: u16,
    /// Mean outdoor temperature in °C.
    pub(crate) temperature: f64,
    /// How dark each UTC hour is: 0 full daylight, 1 night.
    pub(crate) darkness: [f64; 24],
}

impl Season {
    /// Assumed, roughly London's climate: annual mean 11.8 °C, amplitude 6.7 K, coldest in the
    /// third week of January, with up to ±4 K from day to day.
    pub(crate) fn on(world: Seed, day: Day) -> Self {
        let (year, _, _) = day.ymd();
        let january = Day::from_ymd(year, 1, 1).map_or(0, Day::epoch_days);
        let day_of_year = u16::try_from(day.epoch_days() - january).unwrap_or(0);
        let turn = |peak: f64| {
            libm::cos(2.0 * core::f64::consts::PI * (f64::from(day_of_year) - peak) / 365.25)
        };
        let number = u64::from(day.epoch_days().cast_unsigned());
        let mut draw = Draw::new(world.child("weather").nth(number));
        let noise = 4.0 * (draw.unit() + draw.unit() - 1.0);
        // Sixteen and a half hours of daylight at midsummer, eight at midwinter.
        let daylight = 12.25 + 4.25 * turn(171.0);
        let (rise, set) = (12.0 - daylight / 2.0, 12.0 + daylight / 2.0);
        let mut hour = -0.5;
        let darkness = [(); 24].map(|()| {
            hour += 1.0;
            // Dusk and dawn last an hour.
            let into_day = f64::min(hour - rise, set - hour);
            (0.5 - into_day).clamp(0.0, 1.0)
        });
        Self {
            day_of_year,
            temperature: 11.8 - 6.7 * turn(20.0) + noise,
            darkness,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn winters_are_dark_and_cold() {
        let world = Seed::new(3);
        let mean = |month: u8| {
            (1..=28)
                .map(|d| Season::on(world, Day::from_ymd(2013, month, d).unwrap()).temperature)
                .sum::<f64>()
                / 28.0
        };
        assert!(mean(1) < 6.0 && mean(7) > 15.0, "{} {}", mean(1), mean(7));
        let on = |month, d| Season::on(world, Day::from_ymd(2013, month, d).unwrap());
        let (winter, summer) = (on(12, 21), on(6, 21));
        assert_eq!((winter.darkness[17], summer.darkness[17]), (1.0, 0.0));
        assert_eq!((winter.darkness[12], summer.darkness[0]), (0.0, 1.0));
        assert_eq!(winter.day_of_year, 354);
        assert_eq!(
            Season::on(world, Day::from_epoch_days(i32::MAX))
                .darkness
                .len(),
            24
        );
    }
}
