//! The text of a scenario: TOML, unknown keys refused, each value checked and named.

use std::str::FromStr;
use std::time::Duration;

use gridloom_core::{Day, Period};
use gridloom_grid::Response;
use gridloom_grid::opendss::Shipped;
use serde::Deserialize;

use super::{Incident, Mishap, Outage, Trial, shipped, standard_response};
use crate::assault::Assault;
use crate::faults::FaultPlan;
use crate::hosted::Role;
use crate::link::{Bursts, LinkModel, Transport};
use crate::technology::Technology;
use crate::world::Way;

/// Why a text is no scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It is no TOML, or has a key that nobody knows.
    #[error("scenario: {0}")]
    Text(String),
    /// A value is out of its range.
    #[error("scenario: {key} is {value}; give {expected}")]
    Value {
        /// Where.
        key: String,
        /// What stands there.
        value: String,
        /// What may.
        expected: String,
    },
}

fn value<T>(key: &str, value: impl ToString, expected: impl ToString) -> Result<T, FileError> {
    Err(FileError::Value {
        key: key.to_owned(),
        value: value.to_string(),
        expected: expected.to_string(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrial {
    name: String,
    about: String,
    town: RawTown,
    #[serde(default)]
    links: RawLinks,
    time: RawTime,
    #[serde(default)]
    faults: RawFaults,
    attack: Option<RawAttack>,
    #[serde(default)]
    schedule: Vec<RawIncident>,
    #[serde(default)]
    outage: Vec<RawOutage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOutage {
    at_minutes: u64,
    for_minutes: u64,
    element: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTown {
    houses: u32,
    meters_per_gateway: usize,
    #[serde(default = "half_hour")]
    period_minutes: u32,
    start: String,
    #[serde(default)]
    answers_prices: bool,
    #[serde(default)]
    feeder: Option<String>,
    #[serde(default)]
    head_end: bool,
    #[serde(default)]
    alternates: bool,
    #[serde(default = "small_segment")]
    segment_bytes: u64,
    #[serde(default = "small_spool")]
    spool_bytes: u64,
}

const fn half_hour() -> u32 {
    30
}

const fn small_segment() -> u64 {
    4_096
}

const fn small_spool() -> u64 {
    262_144
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTime {
    faults_minutes: u64,
    settle_minutes: u64,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLinks {
    field: Option<RawLink>,
    wide_area: Option<RawLink>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLink {
    technology: String,
    hops: Option<u8>,
    transport: Option<String>,
    mean_ms: Option<u64>,
    median_ms: Option<u64>,
    p95_ms: Option<u64>,
    rate_bps: Option<u32>,
    mtu: Option<u16>,
    loss_permille: Option<u16>,
    duplicate_permille: Option<u16>,
    bursts: Option<RawBursts>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBursts {
    begin_permille: u16,
    end_permille: u16,
    loss_permille: u16,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawFaults {
    field: Option<RawLink>,
    wide_area: Option<RawLink>,
    crashes_max: u64,
    down_minutes_max: u64,
    cuts_max: u64,
    one_way_max: u64,
    cut_minutes_max: u64,
    disks_max: u64,
    disk_minutes_max: u64,
    rots_max: u64,
    clock_steps_max: u64,
    clock_step_seconds_max: u64,
    clock_drift_ppm_max: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAttack {
    assault: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIncident {
    at_minutes: u64,
    #[serde(default)]
    for_minutes: u64,
    node: String,
    fault: String,
    by_seconds: Option<i64>,
    link: Option<RawLink>,
}

impl Trial {
    /// The longest phase, in minutes: a year.
    pub const MINUTES_MAX: u64 = 366 * 1_440;

    /// The most of any fault that is drawn for one node or cable.
    pub const FAULTS_MAX: u64 = 1_000;

    /// The most houses of a scenario: every check looks at each reading.
    pub const HOUSES_MAX: u32 = 10_000;

    /// The furthest jump of a clock, in seconds. An edge takes no reading from a meter that is
    /// further ahead of its own clock than five minutes.
    pub const STEP_SECONDS_MAX: u64 = 3_600;
}

impl FromStr for Trial {
    type Err = FileError;

    fn from_str(text: &str) -> Result<Self, FileError> {
        let raw: RawTrial =
            toml::from_str(text).map_err(|error| FileError::Text(error.to_string()))?;
        let town = &raw.town;
        within(
            "town.houses",
            town.houses.into(),
            1,
            Self::HOUSES_MAX.into(),
        )?;
        within(
            "town.meters_per_gateway",
            town.meters_per_gateway as u64,
            1,
            Self::HOUSES_MAX.into(),
        )?;
        within("town.segment_bytes", town.segment_bytes, 1_024, 64 << 20)?;
        if let Some(feeder) = &town.feeder
            && !Shipped::NAMES.contains(&feeder.as_str())
        {
            let expected = format!("one of {}", Shipped::NAMES.join(", "));
            return value("town.feeder", feeder, expected);
        }
        within("town.spool_bytes", town.spool_bytes, 8 * 1_024, 1 << 30)?;
        let minutes = |key, minutes, least| {
            within(key, minutes, least, Self::MINUTES_MAX)?;
            Ok(Duration::from_mins(minutes))
        };
        let Some(period) = town
            .period_minutes
            .checked_mul(60)
            .and_then(Period::from_secs)
        else {
            let expected = "15, 20, 30 or 60";
            return value("town.period_minutes", town.period_minutes, expected);
        };
        // Beyond the grace of a check.
        within("town.period_minutes", town.period_minutes.into(), 15, 60)?;
        let Some(start) = Day::parse(&town.start) else {
            return value("town.start", &town.start, "a day such as 2026-04-30");
        };
        let laid = |link: &Option<RawLink>, key: &str, default| match link {
            Some(link) => link.model(key),
            None => Ok(default),
        };
        let field = laid(&raw.links.field, "links.field", LinkModel::FIELD)?;
        let wide_area = laid(
            &raw.links.wide_area,
            "links.wide_area",
            LinkModel::WIDE_AREA,
        )?;
        let assault = match &raw.attack {
            None => None,
            Some(RawAttack { assault }) => match Assault::parse(assault) {
                Some(assault) => Some(assault),
                None => {
                    let names = Assault::ALL.map(Assault::name).join(", ");
                    return value("attack.assault", assault, format!("one of {names}"));
                }
            },
        };
        let faults = raw.faults.plan(field, wide_area)?;
        let faults_for = minutes("time.faults_minutes", raw.time.faults_minutes, 1)?;
        let settle_for = minutes("time.settle_minutes", raw.time.settle_minutes, 1)?;
        if let Some(assault) = assault {
            // Its people and lines must be there.
            let least = Assault::HOUSES.max(Assault::HOUSES_FEW);
            if town.houses < least {
                let expected = format!("at least {least} with {}", assault.name());
                return value("town.houses", town.houses, expected);
            }
        }
        Ok(Self {
            houses: town.houses,
            meters_per_gateway: town.meters_per_gateway,
            period,
            start,
            response: if town.answers_prices {
                standard_response()
            } else {
                Response::Off
            },
            feeder: town.feeder.clone(),
            has_head_end: town.head_end,
            has_alternates: town.alternates,
            segment_bytes: town.segment_bytes,
            spool_bytes: town.spool_bytes,
            field,
            wide_area,
            faults,
            assault,
            schedule: raw
                .schedule
                .iter()
                .enumerate()
                .map(|(number, incident)| incident.checked(number))
                .collect::<Result<_, _>>()?,
            outages: raw
                .outage
                .iter()
                .enumerate()
                .map(|(number, outage)| outage.checked(number, town.feeder.as_deref()))
                .collect::<Result<_, _>>()?,
            faults_for,
            settle_for,
            name: raw.name,
            about: raw.about,
        })
    }
}

fn within(key: &str, got: u64, least: u64, most: u64) -> Result<(), FileError> {
    if (least..=most).contains(&got) {
        return Ok(());
    }
    value(key, got, format!("{least} to {most}"))
}

impl RawLink {
    fn model(&self, key: &str) -> Result<LinkModel, FileError> {
        let Some(technology) = Technology::parse(&self.technology) else {
            let names = Technology::ALL.map(Technology::name).join(", ");
            let key = format!("{key}.technology");
            return value(&key, &self.technology, format!("one of {names}"));
        };
        let hops = self.hops.unwrap_or(1);
        let hops_max = if technology.has_hops() {
            Technology::HOPS_MAX
        } else {
            1
        };
        within(&format!("{key}.hops"), hops.into(), 1, hops_max.into())?;
        let mut link = technology.link(hops);
        if let Some(transport) = &self.transport {
            link.transport = match transport.as_str() {
                "datagram" => Transport::Datagram,
                "stream" => Transport::Stream,
                _ => {
                    let key = format!("{key}.transport");
                    return value(&key, transport, "datagram or stream");
                }
            };
        }
        link = self.delayed(link, key)?;
        if let Some(rate_bps) = self.rate_bps {
            link.rate_bps = rate_bps;
        }
        if let Some(mtu) = self.mtu {
            link.mtu = mtu;
        }
        let permille = |name: &str, got: u16| {
            within(&format!("{key}.{name}"), got.into(), 0, 1_000)?;
            Ok::<u16, FileError>(got)
        };
        if let Some(loss) = self.loss_permille {
            link.loss_permille = permille("loss_permille", loss)?;
        }
        if let Some(twice) = self.duplicate_permille {
            link.duplicate_permille = permille("duplicate_permille", twice)?;
        }
        if let Some(bursts) = &self.bursts {
            link.bursts = Some(Bursts {
                begin_permille: permille("bursts.begin_permille", bursts.begin_permille)?,
                end_permille: permille("bursts.end_permille", bursts.end_permille)?,
                loss_permille: permille("bursts.loss_permille", bursts.loss_permille)?,
            });
        }
        Ok(link)
    }

    fn delayed(&self, link: LinkModel, key: &str) -> Result<LinkModel, FileError> {
        let ms = Duration::from_millis;
        let longest = u64::try_from(LinkModel::DELAY_MAX.as_millis()).unwrap_or(u64::MAX);
        for (name, got) in [
            ("mean_ms", self.mean_ms),
            ("median_ms", self.median_ms),
            ("p95_ms", self.p95_ms),
        ] {
            if let Some(got) = got {
                within(&format!("{key}.{name}"), got, 1, longest)?;
            }
        }
        match (self.mean_ms, self.median_ms, self.p95_ms) {
            (None, None, None) => Ok(link),
            (None, Some(median), Some(p95)) if p95 >= median => {
                Ok(link.with_median(ms(median), ms(p95)))
            }
            (Some(mean), None, Some(p95)) => match link.with_mean(ms(mean), ms(p95)) {
                Some(link) => Ok(link),
                None => {
                    let most = f64::from(LinkModel::P95_TO_MEAN_MAX_PERCENT) / 100.0;
                    let expected = format!(
                        "1 to {most} times mean_ms, which is what a lognormal can have, or \
                         median_ms instead of the mean"
                    );
                    value(&format!("{key}.p95_ms"), p95, expected)
                }
            },
            (mean, median, p95) => {
                let got = format!("mean {mean:?}, median {median:?}, 95 % {p95:?}");
                let expected = "mean_ms or median_ms, and a p95_ms that is not below it";
                value(&format!("{key}.p95_ms"), got, expected)
            }
        }
    }
}

impl RawFaults {
    fn plan(&self, field: LinkModel, wide_area: LinkModel) -> Result<FaultPlan, FileError> {
        let most = Trial::FAULTS_MAX;
        for (key, got) in [
            ("crashes_max", self.crashes_max),
            ("cuts_max", self.cuts_max),
            ("one_way_max", self.one_way_max),
            ("disks_max", self.disks_max),
            ("rots_max", self.rots_max),
            ("clock_steps_max", self.clock_steps_max),
        ] {
            within(&format!("faults.{key}"), got, 0, most)?;
        }
        for (key, got) in [
            ("down_minutes_max", self.down_minutes_max),
            ("cut_minutes_max", self.cut_minutes_max),
            ("disk_minutes_max", self.disk_minutes_max),
        ] {
            within(&format!("faults.{key}"), got, 0, Trial::MINUTES_MAX)?;
        }
        let seconds = self.clock_step_seconds_max;
        within(
            "faults.clock_step_seconds_max",
            seconds,
            0,
            Trial::STEP_SECONDS_MAX,
        )?;
        let worse = |link: &Option<RawLink>, key, default| match link {
            Some(link) => link.model(key),
            None => Ok(default),
        };
        Ok(FaultPlan {
            field: worse(&self.field, "faults.field", field)?,
            wide_area: worse(&self.wide_area, "faults.wide_area", wide_area)?,
            crashes_max: self.crashes_max,
            down_max: Duration::from_mins(self.down_minutes_max),
            cuts_max: self.cuts_max,
            cut_max: Duration::from_mins(self.cut_minutes_max),
            one_way_max: self.one_way_max,
            disks_max: self.disks_max,
            disk_max: Duration::from_mins(self.disk_minutes_max),
            rots_max: self.rots_max,
            steps_max: self.clock_steps_max,
            step_max: Duration::from_secs(seconds),
            drift_ppm_max: self.clock_drift_ppm_max,
        })
    }
}

impl RawOutage {
    fn checked(&self, number: usize, feeder: Option<&str>) -> Result<Outage, FileError> {
        let key = |name: &str| format!("outage[{number}].{name}");
        within(&key("at_minutes"), self.at_minutes, 0, Trial::MINUTES_MAX)?;
        within(&key("for_minutes"), self.for_minutes, 1, Trial::MINUTES_MAX)?;
        let known = feeder
            .and_then(|feeder| shipped(feeder).ok())
            .is_some_and(|circuit| circuit.network.find(&self.element).is_some());
        if !known {
            let expected = "an element of town.feeder, such as line.650632";
            return value(&key("element"), &self.element, expected);
        }
        Ok(Outage {
            after: Duration::from_mins(self.at_minutes),
            lasts: Duration::from_mins(self.for_minutes),
            element: self.element.clone(),
        })
    }
}

impl RawIncident {
    const FAULTS: [&'static str; 10] = [
        "crash",
        "crash-writing",
        "disk-full",
        "disk-fails",
        "rot",
        "clock-step",
        "cut",
        "deaf-up",
        "deaf-down",
        "degrade",
    ];

    fn checked(&self, number: usize) -> Result<Incident, FileError> {
        let key = |name: &str| format!("schedule[{number}].{name}");
        within(&key("at_minutes"), self.at_minutes, 0, Trial::MINUTES_MAX)?;
        within(&key("for_minutes"), self.for_minutes, 0, Trial::MINUTES_MAX)?;
        let Some(role) = Role::parse(&self.node) else {
            let expected = "utility, edge, archive, head-end, gateway-N or meter-N";
            return value(&key("node"), &self.node, expected);
        };
        let mishap = match self.fault.as_str() {
            "crash" => Mishap::Crash,
            "crash-writing" => Mishap::CrashWriting,
            "disk-full" => Mishap::DiskFull,
            "disk-fails" => Mishap::DiskFails,
            "rot" => Mishap::Rot,
            "clock-step" => {
                let by = self.by_seconds.unwrap_or(0);
                let most = Trial::STEP_SECONDS_MAX;
                within(&key("by_seconds"), by.unsigned_abs(), 1, most)?;
                if matches!(role, Role::Meter(_)) {
                    let expected = "another node: a meter has a clock of its own";
                    return value(&key("node"), &self.node, expected);
                }
                Mishap::ClockStep(by * 1_000)
            }
            "cut" => Mishap::Cut,
            "deaf-up" => Mishap::OneWay(Way::Up),
            "deaf-down" => Mishap::OneWay(Way::Down),
            "degrade" => match &self.link {
                Some(link) => Mishap::Degrade(link.model(&key("link"))?),
                None => return value(&key("link"), "absent", "the link that it becomes"),
            },
            _ => {
                let expected = format!("one of {}", Self::FAULTS.join(", "));
                return value(&key("fault"), &self.fault, expected);
            }
        };
        Ok(Incident {
            after: Duration::from_mins(self.at_minutes),
            lasts: Duration::from_mins(self.for_minutes),
            role,
            mishap,
        })
    }
}
