//! What a meter is given when it is installed.

use std::net::Ipv4Addr;
use std::sync::Arc;

use gridloom_core::{Currency, MeterId, Period, Seed, SystemTitle};
use gridloom_dlms::security::{Keys, SecuritySuite};

use crate::access::ClientAccess;
use crate::clock::ClockConfig;
use crate::delivery::RetryPolicy;
use crate::metrology::Connection;
use crate::objects::firmware::{ImageVerifier, NoMaker};
use crate::objects::power_quality::PowerQualityConfig;
use crate::objects::push_setup::Destination;
use crate::profile::Profile;
use crate::supply::Supply;

/// The connection of a meter that stands alone, as its host made it. A meter behind a gateway
/// has none of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// The port that its clients connect to, shown in 0.0.25.0.0.
    pub port: Option<u16>,
    /// Its address, shown in 0.0.25.1.0.
    pub address: Option<Ipv4Addr>,
    /// How frames lie on it.
    pub line: Line,
    /// Where clients may let it push to.
    pub pushes: PushReach,
}

/// How frames lie on a meter's own connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Line {
    /// The wrapper, over TCP or UDP.
    #[default]
    Wrapper,
    /// HDLC; its host applies [`crate::Meter::hdlc_setup`] to each new connection.
    Hdlc,
}

/// Where clients may let a meter push to. A destination beyond it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PushReach {
    /// Nowhere but to its edge: it has no connection of its own.
    #[default]
    Edge,
    /// To the machine that it runs on.
    Loopback,
    /// To any address.
    Anywhere,
}

impl Reach {
    /// Whether a client may set this destination.
    pub(crate) fn allows(&self, destination: &Destination) -> bool {
        destination.socket().is_some_and(|to| match self.pushes {
            PushReach::Edge => false,
            PushReach::Loopback => to.ip().is_loopback(),
            PushReach::Anywhere => true,
        })
    }
}

/// The configuration of one meter.
#[derive(Debug, Clone)]
pub struct MeterConfig {
    /// Its number in the registry; shown, never sent.
    pub id: MeterId,
    /// Its own system title.
    pub title: SystemTitle,
    /// The system title of the edge it reports to; no other peer is believed.
    pub edge_title: SystemTitle,
    /// But for the backup edge, which has a title and counters of its own. Two edges must never
    /// share a title: under one key they would use the same nonces.
    pub backup_edge_title: Option<SystemTitle>,
    /// The keys it shares with that edge.
    pub keys: Keys,
    /// The capture period.
    pub period: Period,
    /// Days of intervals the profile holds, [`Profile::DAYS_MIN`] to [`Profile::DAYS_MAX`].
    pub profile_days: u16,
    /// The currency of the bill.
    pub currency: Currency,
    /// How it is connected.
    pub connection: Connection,
    /// The voltage at its terminals.
    pub supply: Supply,
    /// Its clock.
    pub clock: ClockConfig,
    /// Its own connection.
    pub reach: Reach,
    /// Who reads and manages it.
    pub access: ClientAccess,
    /// Which firmware it takes. By default none; give it its maker's key.
    pub firmware: Arc<dyn ImageVerifier>,
    /// How it repeats what is not acknowledged.
    pub retry: RetryPolicy,
    /// Of its noise and its jitter.
    pub seed: Seed,
}

/// Why a configuration is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Both sides would use the same nonces under one key.
    #[error("meter: its system title {0} is also its edge's; give each its own")]
    SameTitle(SystemTitle),
    /// Two edges would use the same nonces under one key.
    #[error("meter: the title {0} is both of its edges'; give each edge its own")]
    SameEdgeTitle(SystemTitle),
    /// A profile of too few or too many days.
    #[error(
        "meter: profile_days is {0}; set {min} to {max}",
        min = Profile::DAYS_MIN,
        max = Profile::DAYS_MAX
    )]
    ProfileDays(u16),
    /// A capture period below a minute: the noise of the supply would show its steps.
    #[error("meter: a capture period of {} s; set 60 s or more", .0.as_secs())]
    Period(Period),
    /// A security suite of keys of another length.
    #[error(
        "meter: keys of {bytes} bytes in security suite {suite}; give keys of {} bytes",
        suite.key_len()
    )]
    Suite {
        /// The suite.
        suite: SecuritySuite,
        /// The length of the keys.
        bytes: usize,
    },
    /// A clock that is none.
    #[error("meter: clock {field} is {value}; set {min} to {max}")]
    Clock {
        /// Which field of [`ClockConfig`].
        field: &'static str,
        /// Its value.
        value: i32,
        /// The smallest that is accepted.
        min: i32,
        /// The largest that is accepted.
        max: i32,
    },
    /// A supply that is none.
    #[error("meter: nominal voltage of {0} mV; set 50 V to 1 kV")]
    Voltage(i64),
    /// A service impedance or noise beyond what the voltage model can carry.
    #[error("meter: {field} is {value}; set 0 to {max}")]
    Supply {
        /// Which field of [`Supply`].
        field: &'static str,
        /// Its value.
        value: i64,
        /// The largest that is accepted.
        max: i64,
    },
}

impl MeterConfig {
    /// A single-phase meter on 230 V that captures every quarter of an hour.
    pub fn new(
        id: MeterId,
        title: SystemTitle,
        edge_title: SystemTitle,
        keys: Keys,
        currency: Currency,
        seed: Seed,
    ) -> Self {
        Self {
            id,
            title,
            edge_title,
            backup_edge_title: None,
            keys,
            period: Period::QUARTER_HOUR,
            profile_days: Profile::DAYS_MIN,
            currency,
            connection: Connection::SinglePhase,
            supply: Supply::LOW_VOLTAGE_50_HZ,
            clock: ClockConfig::default(),
            reach: Reach::default(),
            access: ClientAccess::default(),
            firmware: Arc::new(NoMaker),
            retry: RetryPolicy::default(),
            seed,
        }
    }

    /// The limits of its power quality: EN 50160's, around its nominal voltage.
    pub(crate) fn quality(&self) -> PowerQualityConfig {
        PowerQualityConfig {
            phases: match self.connection {
                Connection::SinglePhase => 1,
                Connection::ThreePhase => 3,
            },
            nominal_mv: u32::try_from(self.supply.nominal.get()).unwrap_or(u32::MAX),
            ..PowerQualityConfig::EN_50160
        }
    }

    /// Checks what no type says.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.title == self.edge_title || self.backup_edge_title == Some(self.title) {
            return Err(ConfigError::SameTitle(self.title));
        }
        if self.backup_edge_title == Some(self.edge_title) {
            return Err(ConfigError::SameEdgeTitle(self.edge_title));
        }
        if !(Profile::DAYS_MIN..=Profile::DAYS_MAX).contains(&self.profile_days) {
            return Err(ConfigError::ProfileDays(self.profile_days));
        }
        if self.period.as_secs() < 60 {
            return Err(ConfigError::Period(self.period));
        }
        if let Some(suite) = self.access.factory.suite
            && suite.key_len() != self.keys.key_len()
        {
            let bytes = self.keys.key_len();
            return Err(ConfigError::Suite { suite, bytes });
        }
        let clock = [
            (
                "offset_ms",
                self.clock.offset_ms,
                -ClockConfig::OFFSET_MS_MAX,
                ClockConfig::OFFSET_MS_MAX,
            ),
            (
                "drift_ppb",
                self.clock.drift_ppb,
                -ClockConfig::DRIFT_PPB_MAX,
                ClockConfig::DRIFT_PPB_MAX,
            ),
            ("time_zone", self.clock.time_zone.into(), -720, 840),
        ];
        for (field, value, min, max) in clock {
            if !(min..=max).contains(&value) {
                return Err(ConfigError::Clock {
                    field,
                    value,
                    min,
                    max,
                });
            }
        }
        let nominal = self.supply.nominal.get();
        if !(50_000..=1_000_000).contains(&nominal) {
            return Err(ConfigError::Voltage(nominal));
        }
        let bounded = [
            ("resistance_mohm", self.supply.resistance_mohm, 10_000),
            ("reactance_mohm", self.supply.reactance_mohm, 10_000),
            ("noise", self.supply.noise.get(), nominal / 10),
            ("frequency_mhz", self.supply.frequency_mhz, 1_000_000),
        ];
        for (field, value, max) in bounded {
            if !(0..=max).contains(&value) {
                return Err(ConfigError::Supply { field, value, max });
            }
        }
        Ok(())
    }
}
