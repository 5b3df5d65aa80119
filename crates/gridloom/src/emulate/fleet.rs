//! Which meters a directory of emulated meters remembers, kept in its `emulated.toml`: another
//! program finds them again by it.

use std::path::Path;

use anyhow::{Context, ensure};
use gridloom_core::{Currency, Instant, Now, Period, Seed, SystemTitle, UtcTime};
use gridloom_dlms::security::Keys;
use gridloom_field::{Boot, Meter};
use gridloom_host::CellDisk;
use gridloom_sim::town::{Homes, Town, TownPlan};
use serde::Deserialize;

use crate::founding::write_durably;

/// What must not change under the meters' memory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fleet {
    pub(super) meters: u32,
    pub(super) first_title: String,
    pub(super) period_seconds: u32,
    pub(super) seed: u64,
}

impl Fleet {
    const FILE: &'static str = "emulated.toml";

    /// Holds the directory's file against this fleet, or writes it for a new directory.
    pub(super) fn settle(&self, data: &Path) -> anyhow::Result<()> {
        let path = data.join(Self::FILE);
        if path.exists() {
            let found = Self::read(data)?;
            ensure!(
                found == *self,
                "{} remembers {} meters from {} on, {} s intervals, seed {}; start it that way, or \
                 choose another directory with --data",
                data.display(),
                found.meters,
                found.first_title,
                found.period_seconds,
                found.seed
            );
            return Ok(());
        }
        let text = format!(
            "# Whose memory this is. Changing it loses the connection to it.\nmeters = {}\n\
             first_title = {:?}\nperiod_seconds = {}\nseed = {}\n",
            self.meters, self.first_title, self.period_seconds, self.seed
        );
        write_durably(&path, text.as_bytes())
    }

    /// The fleet of a directory.
    pub(crate) fn read(data: &Path) -> anyhow::Result<Self> {
        let path = data.join(Self::FILE);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "{} holds no emulated meters: name what `gridloom emulate meter --data` made",
                data.display()
            )
        })?;
        toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// The meters as their memory has them, under keys that open nothing.
    pub(crate) fn remembered(&self, cells: &CellDisk) -> anyhow::Result<Vec<Meter>> {
        let first = SystemTitle::parse(&self.first_title)
            .with_context(|| format!("{}: first_title", Self::FILE))?;
        let then = Now {
            instant: Instant::ZERO,
            utc: UtcTime::from_secs(0),
        };
        let town = Town::new(
            TownPlan {
                seed: Seed::new(self.seed),
                period: Period::from_secs(self.period_seconds)
                    .with_context(|| format!("{}: period_seconds", Self::FILE))?,
                start: then.utc,
                currency: Currency::new("EUR", 2).context("the currency of the meters")?,
                homes: Homes::Households {
                    count: self.meters,
                    response: gridloom_grid::Response::Off,
                },
            },
            |_| Keys::new([0; 16], [0; 16]),
        )?;
        let base = u64::from_be_bytes(first.0);
        let mut meters = Vec::new();
        for (number, house) in (0..).zip(town.houses()) {
            let memory = cells.all_of(&cell_name(house.meter()))?;
            let mut config = house.config().clone();
            config.title = SystemTitle(base.saturating_add(number).to_be_bytes());
            let meter = Meter::start(config, house.load(), &memory, Boot::Reset, then)
                .with_context(|| format!("the memory of meter {} is damaged", house.meter()))?;
            meters.push(meter);
        }
        Ok(meters)
    }
}

/// The key of an emulated meter's memory cells.
pub(super) fn cell_name(meter: gridloom_core::MeterId) -> String {
    format!("meter-{meter}")
}
