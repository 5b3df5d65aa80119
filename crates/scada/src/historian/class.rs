//! How points are archived: how exactly, and how long.

use std::time::Duration;

use crate::fixed::Fixed;

/// How a point's values are thinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Every change, exactly; between changes the value holds. For states, steps, counters.
    Exact,
    /// A value that lies further than the error from the last kept one; between, that one holds.
    Deadband,
    /// Straight lines that pass every sample within the error.
    Lines,
}

/// How long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Values.
    pub values: Duration,
    /// Aggregates by bucket.
    pub buckets: Duration,
}

/// How a group of points is archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// How values are thinned.
    pub method: Method,
    /// The largest distance of any sample from what the archive gives for its time, in the unit
    /// of the point. Zero for [`Method::Exact`].
    pub error: Fixed,
    /// The usual distance of samples: what is a multiple of it is written short.
    pub tick: Duration,
    /// The bucket of the aggregates.
    pub bucket: Duration,
    /// How long what is kept.
    pub retention: Retention,
}

/// Why a class is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("archive class {name}: {field} {got}: {remedy}")]
pub struct ClassError {
    /// Which class.
    pub name: String,
    /// Which field.
    pub field: &'static str,
    /// What it says.
    pub got: String,
    /// What to do.
    pub remedy: &'static str,
}

impl Class {
    /// States and steps: every change, for two years; buckets of an hour for ten.
    pub fn states() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            name: "states".into(),
            method: Method::Exact,
            error: Fixed::ZERO,
            tick: Duration::from_secs(1),
            bucket: Duration::from_secs(3_600),
            retention: Retention {
                values: DAY.saturating_mul(730),
                buckets: DAY.saturating_mul(3_650),
            },
        }
    }

    /// Measurements with a largest error: for a year; buckets of a minute for ten.
    pub fn measurements(error: Fixed) -> Self {
        Self {
            name: "measurements".into(),
            method: Method::Lines,
            error,
            bucket: Duration::from_secs(60),
            ..Self::states()
        }
    }

    /// The milliseconds of a duration that [`Class::check`] let pass.
    pub(super) fn millis(time: Duration) -> i64 {
        i64::try_from(time.as_millis()).expect("a checked duration is short")
    }

    pub(super) fn check(&self) -> Result<(), ClassError> {
        let fault = |field, got: String, remedy| ClassError {
            name: self.name.clone(),
            field,
            got,
            remedy,
        };
        let exact = self.method == Method::Exact;
        if self.error < Fixed::ZERO || exact != (self.error == Fixed::ZERO) {
            let remedy = "give zero to the exact method and more than zero to the others";
            return Err(fault("error", self.error.to_string(), remedy));
        }
        let day = Duration::from_secs(86_400);
        let second = Duration::from_secs(1);
        for (field, time, least) in [
            ("tick", self.tick, Duration::from_millis(1)),
            ("bucket", self.bucket, second),
        ] {
            let whole = time.subsec_nanos() % 1_000_000 == 0;
            if !whole || time < least || time > day {
                let remedy = "give whole milliseconds, to a bucket a second at least, up to a day";
                return Err(fault(field, format!("{time:?}"), remedy));
            }
        }
        let century = day.saturating_mul(36_525);
        for (field, time) in [
            ("retention of values", self.retention.values),
            ("retention of buckets", self.retention.buckets),
        ] {
            if time < day || time > century {
                return Err(fault(field, format!("{time:?}"), "give a day to a century"));
            }
        }
        Ok(())
    }
}
