//! What a data directory was made for, kept in its `demo.toml`.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, ensure};
use gridloom_core::Day;
use serde::{Deserialize, Serialize};

use crate::config::{Config, LoadKind, Overrides};

/// What a data directory was made for; it must not change under its readings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Founding {
    pub(crate) houses: u32,
    pub(crate) load: String,
    pub(crate) seed: u64,
    pub(crate) period_seconds: u32,
    pub(crate) currency: String,
    pub(crate) minor_digits: u8,
    pub(crate) began: String,
    /// Absent from directories that were made without one.
    #[serde(default)]
    pub(crate) feeder: Option<String>,
}

impl Founding {
    const FILE: &'static str = "demo.toml";

    pub(crate) fn of(config: &Config, began: Day) -> Self {
        Self {
            houses: config.houses,
            load: match config.load {
                LoadKind::Household => "household".into(),
                LoadKind::Lcl => "lcl".into(),
            },
            seed: config.seed,
            period_seconds: config.period.as_secs(),
            currency: config.currency.code().to_owned(),
            minor_digits: config.currency.minor_digits(),
            began: began.to_string(),
            feeder: config.feeder.clone(),
        }
    }

    /// Whether a demo has made this directory.
    pub(crate) fn is_in(data: &Path) -> bool {
        data.join(Self::FILE).is_file()
    }

    /// What a data directory was made for.
    pub(crate) fn read(data: &Path) -> anyhow::Result<Option<Self>> {
        let path = data.join(Self::FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                Ok(Some(toml::from_str(&text).with_context(|| {
                    format!("{} is damaged", path.display())
                })?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
    }

    pub(crate) fn write(&self, data: &Path) -> anyhow::Result<()> {
        let mut text = format!(
            "# What this directory was made for. Changing it loses the connection to its readings.\n\
             houses = {}\nload = {:?}\nseed = {}\nperiod_seconds = {}\ncurrency = {:?}\n\
             minor_digits = {}\nbegan = {:?}\n",
            self.houses,
            self.load,
            self.seed,
            self.period_seconds,
            self.currency,
            self.minor_digits,
            self.began
        );
        if let Some(feeder) = &self.feeder {
            text += &format!("feeder = {feeder:?}\n");
        }
        write_durably(&data.join(Self::FILE), text.as_bytes())
    }

    /// The first day of service.
    pub(crate) fn began(&self) -> anyhow::Result<Day> {
        Day::parse(&self.began)
            .with_context(|| format!("{}: began = {:?} is no day", Self::FILE, self.began))
    }

    /// The flags that describe it.
    pub(crate) fn overrides(&self) -> anyhow::Result<Overrides> {
        let load = match self.load.as_str() {
            "household" => LoadKind::Household,
            "lcl" => LoadKind::Lcl,
            other => anyhow::bail!("{}: load = {other:?} is unknown", Self::FILE),
        };
        Ok(Overrides {
            houses: Some(self.houses),
            load: Some(load),
            seed: Some(self.seed),
            feeder: self.feeder.clone(),
            ..Overrides::default()
        })
    }

    /// Refuses to run a directory as something that it is not.
    pub(crate) fn check(&self, config: &Config, data: &Path) -> anyhow::Result<()> {
        let wanted = Self::of(config, self.began()?);
        ensure!(
            *self == wanted,
            "{} was made for {} houses of load {:?} on {}, seed {}, {} s intervals and {}; \
             start it that way, or choose another directory with --data",
            data.display(),
            self.houses,
            self.load,
            self.feeder
                .as_ref()
                .map_or("no feeder".to_owned(), |feeder| format!(
                    "feeder {feeder:?}"
                )),
            self.seed,
            self.period_seconds,
            self.currency
        );
        Ok(())
    }
}

/// Writes a small file so that it is whole or absent after a crash, readable by its owner only.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;

    let context = || format!("failed to write {}", path.display());
    let part = path.with_extension("part");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .with_context(context)?;
    file.write_all(bytes).with_context(context)?;
    file.sync_all().with_context(context)?;
    std::fs::rename(&part, path).with_context(context)?;
    // A bare file name lies in the working directory.
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    std::fs::File::open(folder.unwrap_or(Path::new(".")))
        .and_then(|folder| folder.sync_all())
        .with_context(context)
}
