//! What the screening is told: weights, threshold, budgets, bands. Checked once, at start.

use std::time::Duration;

use crate::score::Score;

/// λ₁ to λ₄ in ten-thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    /// λ₁, of identity.
    pub identity: u16,
    /// λ₂, of integrity.
    pub integrity: u16,
    /// λ₃, of behaviour.
    pub behaviour: u16,
    /// λ₄, of communication quality.
    pub quality: u16,
}

impl Weights {
    const SUM: u32 = 10_000;

    /// All four together.
    fn sum(self) -> u32 {
        [self.identity, self.integrity, self.behaviour, self.quality]
            .map(u32::from)
            .iter()
            .sum()
    }
}

/// The settings of a screening, as an operator writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScreeningSettings {
    /// λ₁ to λ₄; they add up to exactly 10 000.
    pub weights: Weights,
    /// The least P_t that is forwarded, in ten-thousandths, 1–10 000.
    pub threshold: u16,
    /// The least B that is forwarded whatever P_t says, in ten-thousandths. Under the default
    /// weights an impossible payload from the meter's own path reaches exactly the threshold, so
    /// without this floor an insider's lies about physics would pass.
    pub behaviour_floor: u16,
    /// Packets a meter may send at once, 1–60 000: at least the load profile that it sends again
    /// after an outage.
    pub device_burst: u16,
    /// Packets a meter may send per second in the long run, 1–60 000.
    pub device_per_second: u16,
    /// Refused packets that one path may cost at once, 1–60 000.
    pub path_burst: u16,
    /// Refused packets that one path may cost per second, 1–60 000.
    pub path_per_second: u16,
    /// Refused packets that one gateway may cost at once, 1–60 000.
    pub gateway_burst: u16,
    /// Refused packets that one gateway may cost per second, 1–60 000.
    pub gateway_per_second: u16,
    /// Two paths of one title within this time are "at once". Up to a day.
    pub clone_window: Duration,
    /// How often a title must have changed between two paths within the window to be called
    /// cloned, 2–200. A meter that roams changes once, and once back.
    pub clone_changes: u8,
    /// How far a meter's clock may be ahead of ours. Up to an hour.
    pub clock_ahead: Duration,
    /// Half the width of the voltage band, in thousandths of the nominal voltage, 1–500
    /// (EN 50160 §4.2.2: 100).
    pub voltage_band_milli: u16,
    /// The technical losses of a transformer's circuit, in thousandths of what it delivered: what
    /// is above is missing. 0–500.
    pub losses_milli_max: u16,
    /// How long a transformer's interval waits for its last meter, one minute to a week.
    pub balance_cutoff: Duration,
    /// Packets per second, of one gateway and of all, above which a shift is looked for; at least
    /// 1. The shift δ that is to be found is the same number again.
    pub packets_per_second: u32,
    /// Seconds that shall pass on average between two false alarms about a shift, at least 1 000.
    pub false_alarm_seconds: u64,
}

impl Default for ScreeningSettings {
    fn default() -> Self {
        Self {
            weights: Weights {
                identity: 3_500,
                integrity: 3_500,
                behaviour: 2_000,
                quality: 1_000,
            },
            threshold: 7_000,
            behaviour_floor: 2_500,
            device_burst: 8_192,
            device_per_second: 64,
            path_burst: 64,
            path_per_second: 8,
            gateway_burst: 4_096,
            gateway_per_second: 512,
            clone_window: Duration::from_secs(900),
            clone_changes: 3,
            clock_ahead: Duration::from_secs(300),
            voltage_band_milli: 100,
            losses_milli_max: 80,
            balance_cutoff: Duration::from_secs(2 * 3_600),
            packets_per_second: 20_000,
            false_alarm_seconds: 10_000_000,
        }
    }
}

/// Why a screening cannot start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The weights do not add up.
    #[error("screening: the four weights add up to {sum} ten-thousandths; make them exactly 10000")]
    WeightSum {
        /// What they add up to.
        sum: u32,
    },
    /// A setting is outside its range.
    #[error("screening: {key} is {got}; set it from {least} to {most}")]
    Range {
        /// Which setting.
        key: &'static str,
        /// Its value.
        got: u64,
        /// The least it may be.
        least: u64,
        /// The most it may be.
        most: u64,
    },
}

/// Checked settings of a screening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScreeningConfig(ScreeningSettings);

impl ScreeningConfig {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the setting and its range.
    pub fn new(settings: ScreeningSettings) -> Result<Self, ConfigError> {
        let sum = settings.weights.sum();
        if sum != Weights::SUM {
            return Err(ConfigError::WeightSum { sum });
        }
        let full = u64::from(Score::FULL.get());
        let s = &settings;
        let ranges = [
            ("threshold", s.threshold.into(), 1, full),
            ("behaviour_floor", s.behaviour_floor.into(), 0, full),
            ("device_burst", s.device_burst.into(), 1, 60_000),
            ("device_per_second", s.device_per_second.into(), 1, 60_000),
            ("path_burst", s.path_burst.into(), 1, 60_000),
            ("path_per_second", s.path_per_second.into(), 1, 60_000),
            ("gateway_burst", s.gateway_burst.into(), 1, 60_000),
            ("gateway_per_second", s.gateway_per_second.into(), 1, 60_000),
            ("clone_window", s.clone_window.as_secs(), 1, 86_400),
            ("clone_changes", s.clone_changes.into(), 2, 200),
            ("clock_ahead", s.clock_ahead.as_secs(), 0, 3_600),
            ("voltage_band_milli", s.voltage_band_milli.into(), 1, 500),
            ("losses_milli_max", s.losses_milli_max.into(), 0, 500),
            ("balance_cutoff", s.balance_cutoff.as_secs(), 60, 604_800),
            (
                "packets_per_second",
                s.packets_per_second.into(),
                1,
                10_000_000,
            ),
            (
                "false_alarm_seconds",
                s.false_alarm_seconds,
                1_000,
                100_000_000_000,
            ),
        ];
        match ranges
            .into_iter()
            .find(|&(_, got, least, most)| !(least..=most).contains(&got))
        {
            Some((key, got, least, most)) => Err(ConfigError::Range {
                key,
                got,
                least,
                most,
            }),
            None => Ok(Self(settings)),
        }
    }

    /// The settings, as they were checked.
    pub const fn settings(&self) -> &ScreeningSettings {
        &self.0
    }
}

impl Default for ScreeningConfig {
    fn default() -> Self {
        Self::new(ScreeningSettings::default()).expect("the default settings are within range")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_refused_by_name() {
        type Change = fn(&mut ScreeningSettings);
        let range = |key, got, least, most| ConfigError::Range {
            key,
            got,
            least,
            most,
        };
        let cases: [(Change, ConfigError); 7] = [
            (
                |s| s.weights.quality = 999,
                ConfigError::WeightSum { sum: 9_999 },
            ),
            (
                |s| {
                    s.weights = Weights {
                        identity: 65_535,
                        integrity: 10_001,
                        behaviour: 0,
                        quality: 0,
                    }
                },
                ConfigError::WeightSum { sum: 75_536 },
            ),
            (|s| s.threshold = 0, range("threshold", 0, 1, 10_000)),
            (
                |s| s.threshold = 10_001,
                range("threshold", 10_001, 1, 10_000),
            ),
            (|s| s.device_burst = 0, range("device_burst", 0, 1, 60_000)),
            (|s| s.clone_changes = 1, range("clone_changes", 1, 2, 200)),
            (
                |s| s.voltage_band_milli = 501,
                range("voltage_band_milli", 501, 1, 500),
            ),
        ];
        for (change, error) in cases {
            let mut settings = ScreeningSettings::default();
            change(&mut settings);
            assert_eq!(ScreeningConfig::new(settings), Err(error));
        }
        assert_eq!(
            ScreeningConfig::default().settings(),
            &ScreeningSettings::default()
        );
    }
}
