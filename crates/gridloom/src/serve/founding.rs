//! What a utility's data directory was made for, kept in its `serve.toml`.

use std::path::Path;

use anyhow::{Context, ensure};
use gridloom_core::{Currency, Day, Period, UtcTime};
use serde::Deserialize;

use crate::config::Config;
use crate::founding::write_durably;

/// What must not change under readings, prices and bills.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Founding {
    period_seconds: u32,
    currency: String,
    minor_digits: u8,
    began: String,
}

impl Founding {
    const FILE: &'static str = "serve.toml";

    /// Whether `gridloom serve` has made this directory.
    pub(crate) fn is_in(data: &Path) -> bool {
        data.join(Self::FILE).is_file()
    }

    /// What a directory was made for, if serve has made it.
    pub(crate) fn read(data: &Path) -> anyhow::Result<Option<Self>> {
        let path = data.join(Self::FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let found = toml::from_str(&text)
                    .with_context(|| format!("{} is damaged", path.display()))?;
                Ok(Some(found))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
    }

    /// Reads it and holds the configuration against it, or writes it for a new directory.
    ///
    /// Service begins a day before the first start: so far back a meter is read the first time.
    pub(crate) fn open(data: &Path, config: &Config, now: UtcTime) -> anyhow::Result<Self> {
        let path = data.join(Self::FILE);
        let of = |began: String| Self {
            period_seconds: config.period.as_secs(),
            currency: config.currency.code().to_owned(),
            minor_digits: config.currency.minor_digits(),
            began,
        };
        match Self::read(data)? {
            Some(found) => {
                ensure!(
                    found == of(found.began.clone()),
                    "{} was made for {} s intervals and {} with {} digits; start it that way, or \
                     choose another directory with --data",
                    data.display(),
                    found.period_seconds,
                    found.currency,
                    found.minor_digits
                );
                Ok(found)
            }
            None => {
                let began = Day::from_epoch_days(now.day().epoch_days() - 1);
                let founding = of(began.to_string());
                let text = format!(
                    "# What this directory was made for. Changing it loses the connection to its \
                     readings.\nperiod_seconds = {}\ncurrency = {:?}\nminor_digits = {}\n\
                     began = {:?}\n",
                    founding.period_seconds,
                    founding.currency,
                    founding.minor_digits,
                    founding.began
                );
                write_durably(&path, text.as_bytes())?;
                Ok(founding)
            }
        }
    }

    /// The intervals that are billed.
    pub(crate) fn period(&self) -> anyhow::Result<Period> {
        Period::from_secs(self.period_seconds).context("serve.toml: period_seconds")
    }

    /// The currency of its bills.
    pub(crate) fn currency(&self) -> anyhow::Result<Currency> {
        Currency::new(&self.currency, self.minor_digits).context("serve.toml: currency")
    }

    /// The first day of service.
    pub(crate) fn began(&self) -> anyhow::Result<Day> {
        Day::parse(&self.began)
            .with_context(|| format!("{}: began = {:?} is no day", Self::FILE, self.began))
    }
}
