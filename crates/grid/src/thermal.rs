//! How warm a transformer is: top oil and hot spot after IEC 60076-7, by difference equations.

use std::time::Duration;

/// Thermal constants of a transformer (IEC 60076-7, table of characteristics).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThermalData {
    /// Ratio of load losses at rated current to no-load losses.
    pub loss_ratio: f64,
    /// Top-oil rise at rated losses, in kelvins.
    pub oil_rise: f64,
    /// Hot-spot rise over top oil at rated current, in kelvins.
    pub winding_rise: f64,
    /// Oil exponent x.
    pub oil_exponent: f64,
    /// Winding exponent y.
    pub winding_exponent: f64,
    /// k₁₁, k₂₁ and k₂₂.
    pub k: [f64; 3],
    /// Time constant of the oil, in minutes.
    pub oil_minutes: f64,
    /// Time constant of the winding, in minutes.
    pub winding_minutes: f64,
}

impl ThermalData {
    /// A distribution transformer with natural cooling (ONAN).
    pub const DISTRIBUTION: Self = Self {
        loss_ratio: 5.0,
        oil_rise: 55.0,
        winding_rise: 23.0,
        oil_exponent: 0.8,
        winding_exponent: 1.6,
        k: [1.0, 1.0, 2.0],
        oil_minutes: 180.0,
        winding_minutes: 4.0,
    };

    /// A power transformer of medium size with natural cooling (ONAN).
    pub const MEDIUM: Self = Self {
        loss_ratio: 6.0,
        oil_rise: 52.0,
        winding_rise: 26.0,
        oil_exponent: 0.8,
        winding_exponent: 1.3,
        k: [0.5, 2.0, 2.0],
        oil_minutes: 210.0,
        winding_minutes: 10.0,
    };

    /// Rated power above which a transformer is not one of the distribution class, in kVA
    /// (IEC 60076-7: 2 500 kVA for three phases).
    pub const DISTRIBUTION_KVA_MAX: f64 = 2_500.0;

    /// The usual constants of that rating.
    pub fn of_rating(kva: f64) -> Self {
        if kva > Self::DISTRIBUTION_KVA_MAX {
            Self::MEDIUM
        } else {
            Self::DISTRIBUTION
        }
    }

    /// Top-oil rise in the long run at a load, as a share of the rated current.
    fn final_oil_rise(&self, load: f64) -> f64 {
        let losses = (1.0 + load * load * self.loss_ratio) / (1.0 + self.loss_ratio);
        self.oil_rise * libm::pow(losses, self.oil_exponent)
    }

    /// Hot-spot rise over the oil in the long run.
    fn final_winding_rise(&self, load: f64) -> f64 {
        self.winding_rise * libm::pow(load, self.winding_exponent)
    }
}

/// A transformer's temperatures, in degrees Celsius, and what they have cost it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warmth {
    data: ThermalData,
    oil: f64,
    /// The two parts of the hot spot's rise over the oil.
    parts: [f64; 2],
    aged_minutes: f64,
}

impl Warmth {
    /// Steps of the difference equations are at most half the winding's time constant.
    const STEP_SHARE: f64 = 0.5;

    /// A transformer that has carried this load for long, as a share of its rated current.
    pub fn settled(data: ThermalData, load: f64, ambient: f64) -> Self {
        let rise = data.final_winding_rise(load);
        let [_, k21, _] = data.k;
        Self {
            data,
            oil: ambient + data.final_oil_rise(load),
            parts: [k21 * rise, (k21 - 1.0) * rise],
            aged_minutes: 0.0,
        }
    }

    /// Time passes at a load and an ambient temperature.
    pub fn pass(&mut self, time: Duration, load: f64, ambient: f64) {
        let minutes = time.as_secs_f64() / 60.0;
        let steps = libm::ceil(minutes / (self.data.winding_minutes * Self::STEP_SHARE)).max(1.0);
        let step = minutes / steps;
        let [k11, k21, k22] = self.data.k;
        let (oil_rise, rise) = (
            self.data.final_oil_rise(load),
            self.data.final_winding_rise(load),
        );
        let mut done = 0.0;
        while done < steps {
            self.oil += step / (k11 * self.data.oil_minutes) * (oil_rise - (self.oil - ambient));
            self.parts[0] +=
                step / (k22 * self.data.winding_minutes) * (k21 * rise - self.parts[0]);
            self.parts[1] +=
                step * k22 / self.data.oil_minutes * ((k21 - 1.0) * rise - self.parts[1]);
            self.aged_minutes += step * libm::exp2((self.hot_spot() - 98.0) / 6.0);
            done += 1.0;
        }
    }

    /// Top oil, in °C.
    pub fn oil(&self) -> f64 {
        self.oil
    }

    /// Hot spot, in °C.
    pub fn hot_spot(&self) -> f64 {
        self.oil + self.parts[0] - self.parts[1]
    }

    /// Life used so far, in minutes at 98 °C (paper that is not thermally upgraded).
    pub fn aged_minutes(&self) -> f64 {
        self.aged_minutes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_run_is_what_the_equations_settle_at() {
        for data in [ThermalData::DISTRIBUTION, ThermalData::MEDIUM] {
            for (load, oil) in [(1.0, data.oil_rise), (0.0, 0.0)] {
                let mut warmth = Warmth::settled(data, 0.4, 20.0);
                warmth.pass(Duration::from_secs(3 * 86_400), load, 20.0);
                let settled = Warmth::settled(data, load, 20.0);
                assert!((warmth.oil() - settled.oil()).abs() < 0.01, "{load}");
                assert!(
                    (warmth.hot_spot() - settled.hot_spot()).abs() < 0.01,
                    "{load}"
                );
                if oil > 0.0 {
                    let expected = 20.0 + oil + data.winding_rise;
                    assert!((settled.hot_spot() - expected).abs() < 1e-9);
                }
            }
        }
    }

    #[test]
    fn oil_follows_by_its_time_constant_and_age_doubles_every_six_kelvins() {
        let data = ThermalData::DISTRIBUTION;
        let mut warmth = Warmth::settled(data, 0.0, 20.0);
        let cold = warmth.oil();
        let hot = Warmth::settled(data, 1.0, 20.0).oil();
        for _ in 0..180 {
            warmth.pass(Duration::from_secs(60), 1.0, 20.0);
        }
        let share = (warmth.oil() - cold) / (hot - cold);
        assert!((share - 0.632).abs() < 0.002, "{share}");
        // The winding is through long before the oil.
        assert!((warmth.hot_spot() - warmth.oil() - 23.0).abs() < 1e-6);
        let hour_at = |ambient| {
            let mut warmth = Warmth::settled(data, 1.0, ambient);
            warmth.pass(Duration::from_secs(3_600), 1.0, ambient);
            warmth.aged_minutes()
        };
        // 98 °C at 20 °C outside.
        assert!((hour_at(20.0) - 60.0).abs() < 1e-6);
        assert!((hour_at(26.0) - 120.0).abs() < 1e-6);
    }
}
