//! Configuration: a TOML file becomes `RawConfig`, flags override it, and only a checked
//! [`Config`] goes on. Every error names the key and the remedy.

mod buffers;
mod headend;
mod listen;
mod standby;
mod tiers;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use gridloom_billing::{SigmoidParameters, SigmoidTariff};
use gridloom_core::{Currency, Day, Period, Price, Watts};
use gridloom_host::Speed;
use serde::Deserialize;

use crate::{profiles, table};
use listen::{Beside, RawListen};
use tiers::{RawArchive, RawEdge, RawGateway, RawHeadEnd, RawServe, RawTiers};

pub(crate) use buffers::Buffers;
pub(crate) use headend::HeadEndSettings;
pub(crate) use listen::Listen;
pub(crate) use standby::StandbySettings;
pub(crate) use tiers::{GatewayBackup, Role, Tiers, Upper};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Default,
    File,
    Flag,
}

/// What the file may say. Unknown keys are refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    utility: RawUtility,
    tariff: RawTariff,
    listen: RawListen,
    serve: RawServe,
    gateway: RawGateway,
    edge: RawEdge,
    headend: RawHeadEnd,
    archive: RawArchive,
    standby: Option<standby::RawStandby>,
    demo: RawDemo,
    sms: RawSms,
    pki: RawPki,
    vault: RawVault,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawUtility {
    name: Option<String>,
    currency: Option<String>,
    minor_digits: Option<u8>,
    period_minutes: Option<u32>,
    cutoff_seconds: Option<u64>,
    grace_hours: Option<u64>,
    seal_after_minutes: Option<u64>,
    listen: Option<String>,
    archive: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTariff {
    p_min: Option<String>,
    p_max: Option<String>,
    x0_watts: Option<i64>,
    k_per_watt: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawDemo {
    data: Option<PathBuf>,
    houses: Option<u32>,
    load: Option<String>,
    feeder: Option<String>,
    response: Option<bool>,
    speed: Option<u32>,
    start: Option<String>,
    seed: Option<u64>,
    tls: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawPki {
    directory: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSms {
    device: Option<PathBuf>,
    to: Option<Vec<String>>,
    pin: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawVault {
    command: Option<Vec<String>>,
    timeout_seconds: Option<u64>,
}

/// What flags of the command line say instead of the file.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) data: Option<PathBuf>,
    pub(crate) houses: Option<u32>,
    pub(crate) load: Option<LoadKind>,
    /// A shipped feeder's name, or the path of an OpenDSS file.
    pub(crate) feeder: Option<String>,
    pub(crate) response: Option<bool>,
    pub(crate) speed: Option<Speed>,
    pub(crate) realtime: bool,
    pub(crate) seed: Option<u64>,
    pub(crate) console: Option<String>,
    pub(crate) gateway: Option<String>,
    pub(crate) edge: Option<String>,
    pub(crate) utility: Option<String>,
    pub(crate) archive: Option<String>,
    pub(crate) period_minutes: Option<u32>,
    pub(crate) defaults: Defaults,
    pub(crate) roles: Vec<Role>,
    pub(crate) modem: Option<PathBuf>,
    pub(crate) sms_to: Vec<String>,
    /// The directory of certificates.
    pub(crate) pki: Option<PathBuf>,
    /// The demo's tiers talk in the clear.
    pub(crate) no_tls: bool,
}

/// Whose usual values hold where neither file nor flag says one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Defaults {
    /// Modelled houses that push at once.
    #[default]
    Demo,
    /// Real meters: quarter hours, and readings that come when a session has brought them.
    Serve,
}

/// Where houses' loads come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LoadKind {
    /// People and their appliances
    Household,
    /// Measured homes (Low Carbon London)
    Lcl,
}

/// How time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Realtime,
    Accelerated(Speed),
}

/// Everything the program needs to know, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) currency: Currency,
    pub(crate) period: Period,
    pub(crate) cutoff: std::time::Duration,
    pub(crate) grace: std::time::Duration,
    pub(crate) seal_after: std::time::Duration,
    pub(crate) tariff: TariffConfig,
    pub(crate) listen: Listen,
    /// What `gridloom serve` runs in this process; nothing of it in a demo.
    pub(crate) tiers: Option<Tiers>,
    pub(crate) head_end: HeadEndSettings,
    pub(crate) buffers: Buffers,
    /// Where `gridloom serve` keeps what it keeps, if anything says so.
    pub(crate) serve_data: Option<PathBuf>,
    pub(crate) data: PathBuf,
    pub(crate) houses: u32,
    pub(crate) load: LoadKind,
    /// The feeder that the demo's houses are on, if they are on one.
    pub(crate) feeder: Option<String>,
    pub(crate) response: bool,
    pub(crate) pace: Pace,
    pub(crate) start: Day,
    pub(crate) seed: u64,
    pub(crate) sms: Option<SmsConfig>,
    /// Where the nodes' certificates are, if the configuration names a directory.
    pub(crate) pki: Option<PathBuf>,
    /// Whether the tiers of the demo talk over TLS.
    pub(crate) demo_tls: bool,
    pub(crate) vault: VaultConfig,
    /// The head-end pair that a process of `gridloom serve` is a member of.
    pub(crate) standby: Option<StandbySettings>,
    /// Every effective value and where it comes from, in the order of the file.
    origins: Vec<(String, String, Origin)>,
}

/// The tariff's shape; what is not said follows the size of the area.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TariffConfig {
    pub(crate) p_min: Price,
    pub(crate) p_max: Price,
    pub(crate) x0_watts: Option<Watts>,
    pub(crate) k_per_watt: Option<f64>,
}

impl TariffConfig {
    /// The area's standard tariff with what the configuration says over it.
    pub(crate) fn over(self, standard: SigmoidTariff) -> anyhow::Result<SigmoidTariff> {
        let parameters = *standard.parameters();
        SigmoidTariff::new(SigmoidParameters {
            p_min: self.p_min,
            p_max: self.p_max,
            x0: self.x0_watts.unwrap_or(parameters.x0),
            k_per_watt: self.k_per_watt.unwrap_or(parameters.k_per_watt),
            ..parameters
        })
        .context("tariff")
    }
}

/// How long the program that holds the master key may take for one answer, unless the file says
/// otherwise.
pub(crate) const ANSWER_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// The program that holds the master key, if one does.
#[derive(Debug, Clone)]
pub(crate) struct VaultConfig {
    /// Its path and its arguments; empty if there is none.
    pub(crate) command: Vec<String>,
    /// How long it may take for one answer.
    pub(crate) answer_within: std::time::Duration,
}

/// Whom the modem tells.
#[derive(Debug, Clone)]
pub(crate) struct SmsConfig {
    pub(crate) device: PathBuf,
    pub(crate) to: Vec<String>,
    pub(crate) pin: Option<String>,
}

/// The most houses of one demo: a concentrator's worth.
const HOUSES_MAX: u32 = 10_000;

struct Picker(Vec<(String, String, Origin)>);

impl Picker {
    /// Flag before file before default, remembered for `config check`.
    fn pick<T>(
        &mut self,
        key: &str,
        flag: Option<T>,
        file: Option<T>,
        default: T,
        show: impl Fn(&T) -> String,
    ) -> T {
        let (value, origin) = match (flag, file) {
            (Some(value), _) => (value, Origin::Flag),
            (None, Some(value)) => (value, Origin::File),
            (None, None) => (default, Origin::Default),
        };
        self.0.push((key.to_owned(), show(&value), origin));
        value
    }
}

impl Config {
    /// The file, if one is named, with the flags over it.
    pub(crate) fn read(file: Option<&Path>, flags: Overrides) -> anyhow::Result<Self> {
        let raw: RawConfig = match file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("configuration: failed to read {}", path.display()))?;
                toml::from_str(&text)
                    .with_context(|| format!("configuration: {}", path.display()))?
            }
            None => RawConfig::default(),
        };
        Self::resolve(raw, flags)
    }

    fn vault(raw: RawVault, p: &mut Picker) -> anyhow::Result<VaultConfig> {
        let command = p.pick("vault.command", None, raw.command, Vec::new(), |words| {
            words.join(" ")
        });
        let seconds = p.pick(
            "vault.timeout_seconds",
            None,
            raw.timeout_seconds,
            ANSWER_WITHIN.as_secs(),
            u64::to_string,
        );
        ensure!(
            command.first().is_none_or(|program| !program.is_empty()),
            "vault.command begins with an empty word; give the program's path and its arguments"
        );
        ensure!(
            (1..=60).contains(&seconds),
            "vault.timeout_seconds = {seconds}: give 1 to 60"
        );
        Ok(VaultConfig {
            command,
            answer_within: std::time::Duration::from_secs(seconds),
        })
    }

    fn resolve(mut raw: RawConfig, flags: Overrides) -> anyhow::Result<Self> {
        let mut p = Picker(Vec::new());
        let (usual_minutes, usual_cutoff) = match flags.defaults {
            Defaults::Demo => (30, 5),
            Defaults::Serve => (15, 300),
        };
        let text = |value: &String| value.clone();
        let number = |value: &u64| value.to_string();
        let name = p.pick(
            "utility.name",
            None,
            raw.utility.name,
            "Elm Valley Power".into(),
            text,
        );
        ensure!(
            !name.trim().is_empty() && name.len() <= 80,
            "utility.name has {} bytes; give it 1 to 80",
            name.len()
        );
        let code = p.pick(
            "utility.currency",
            None,
            raw.utility.currency,
            "EUR".into(),
            text,
        );
        let digits = p.pick(
            "utility.minor_digits",
            None,
            raw.utility.minor_digits,
            2,
            u8::to_string,
        );
        let currency = Currency::new(&code, digits).with_context(|| {
            format!("utility.currency = {code:?}, utility.minor_digits = {digits}: give an ISO 4217 code such as \"EUR\" and at most {} digits", Currency::MINOR_DIGITS_MAX)
        })?;
        let minutes = p.pick(
            "utility.period_minutes",
            flags.period_minutes,
            raw.utility.period_minutes,
            usual_minutes,
            u32::to_string,
        );
        let period = minutes
            .checked_mul(60)
            .and_then(Period::from_secs)
            .with_context(|| {
                format!(
                    "utility.period_minutes = {minutes}: give a divisor of 60, usually 15, 30 or 60"
                )
            })?;
        let cutoff = p.pick(
            "utility.cutoff_seconds",
            None,
            raw.utility.cutoff_seconds,
            usual_cutoff,
            number,
        );
        let grace = p.pick(
            "utility.grace_hours",
            None,
            raw.utility.grace_hours,
            24,
            number,
        );
        let seal_after = p.pick(
            "utility.seal_after_minutes",
            None,
            raw.utility.seal_after_minutes,
            120,
            number,
        );
        for (key, value, max) in [
            ("utility.cutoff_seconds", cutoff, 3_600),
            ("utility.grace_hours", grace, 24 * 27),
            ("utility.seal_after_minutes", seal_after, 60 * 24 * 7),
        ] {
            ensure!(
                (1..=max).contains(&value),
                "{key} = {value}: give 1 to {max}"
            );
        }
        let vault = Self::vault(raw.vault, &mut p)?;
        let price = |key: &str, text: String| {
            Price::parse(&text).with_context(|| {
                format!("{key} = {text:?}: give a price per kWh such as \"0.0800\"")
            })
        };
        let p_min = p.pick(
            "tariff.p_min",
            None,
            raw.tariff.p_min,
            "0.0800".into(),
            text,
        );
        let p_max = p.pick(
            "tariff.p_max",
            None,
            raw.tariff.p_max,
            "0.4200".into(),
            text,
        );
        let by_size = || "by the area's size".to_owned();
        let x0_watts = p.pick(
            "tariff.x0_watts",
            None,
            raw.tariff.x0_watts.map(Some),
            None,
            |value| value.map_or_else(by_size, |value| value.to_string()),
        );
        let k_per_watt = p.pick(
            "tariff.k_per_watt",
            None,
            raw.tariff.k_per_watt.map(Some),
            None,
            |value| value.map_or_else(by_size, |value| value.to_string()),
        );
        let tariff = TariffConfig {
            p_min: price("tariff.p_min", p_min)?,
            p_max: price("tariff.p_max", p_max)?,
            x0_watts: x0_watts.map(Watts::new),
            k_per_watt,
        };
        let beside = Beside {
            gateway: raw.gateway.listen.take(),
            edge: raw.edge.listen.take(),
            utility: raw.utility.listen.take(),
            archive: raw.archive.listen.take(),
        };
        let said = RawListen {
            console: flags.console,
            gateway: flags.gateway,
            edge: flags.edge,
            utility: flags.utility,
            archive: flags.archive,
        };
        let listen = Listen::resolve(said, raw.listen, beside, &mut p)?;
        let push = std::mem::take(&mut raw.headend.push);
        let head_end = HeadEndSettings::resolve(raw.headend.history_days, push, &mut p)?;
        let buffers = Buffers::resolve(
            raw.gateway.buffer_mib,
            raw.edge.buffer_mib,
            raw.gateway.delay_one_in,
            &mut p,
        )?;
        let tiers = match flags.defaults {
            Defaults::Demo => None,
            Defaults::Serve => {
                let said = RawTiers {
                    roles: raw.serve.take_roles(),
                    gateway: raw.gateway,
                    edge: raw.edge,
                    utility_archive: raw.utility.archive,
                    archive: raw.archive,
                    headend: raw.headend,
                };
                Some(Tiers::resolve(said, flags.roles, &mut p)?)
            }
        };
        let standby = match (raw.standby.take(), &tiers) {
            (Some(raw), Some(tiers)) => Some(StandbySettings::resolve(raw, tiers, &mut p)?),
            (Some(_), None) | (None, _) => None,
        };
        let path = |value: &PathBuf| value.display().to_string();
        let serve_data = match flags.defaults {
            Defaults::Demo => None,
            Defaults::Serve => p.pick(
                "serve.data",
                flags.data.clone().map(Some),
                raw.serve.data.map(Some),
                None,
                |data| {
                    data.as_ref().map_or_else(
                        || "none".into(),
                        |data: &PathBuf| data.display().to_string(),
                    )
                },
            ),
        };
        let data = p.pick(
            "demo.data",
            flags.data,
            raw.demo.data,
            "data/demo".into(),
            path,
        );
        let feeder = p.pick(
            "demo.feeder",
            flags.feeder.map(Some),
            raw.demo.feeder.map(Some),
            None,
            |feeder| feeder.clone().unwrap_or_else(|| "none".into()),
        );
        let houses = p.pick(
            "demo.houses",
            flags.houses,
            raw.demo.houses,
            if feeder.is_some() { 55 } else { 3 },
            u32::to_string,
        );
        ensure!(
            (1..=HOUSES_MAX).contains(&houses),
            "demo.houses = {houses}: give 1 to {HOUSES_MAX}"
        );
        let file_load = raw.demo.load.map(|text| match text.as_str() {
            "household" => Ok(LoadKind::Household),
            "lcl" => Ok(LoadKind::Lcl),
            other => bail!("demo.load = {other:?}: give \"household\" or \"lcl\""),
        });
        let load = p.pick(
            "demo.load",
            flags.load,
            file_load.transpose()?,
            LoadKind::Household,
            |kind| match kind {
                LoadKind::Household => "household".into(),
                LoadKind::Lcl => "lcl".into(),
            },
        );
        let response = p.pick(
            "demo.response",
            flags.response,
            raw.demo.response,
            true,
            bool::to_string,
        );
        let file_speed = raw
            .demo
            .speed
            .map(Speed::new)
            .transpose()
            .context("demo.speed")?;
        let default_speed = Speed::new(7_200).expect("7 200 is a speed");
        let pace = if flags.realtime {
            p.pick(
                "demo.speed",
                Some(Pace::Realtime),
                None,
                Pace::Realtime,
                |_| "1 (realtime)".into(),
            )
        } else {
            let speed = p.pick(
                "demo.speed",
                flags.speed,
                file_speed,
                default_speed,
                Speed::to_string,
            );
            Pace::Accelerated(speed)
        };
        let default_start = match load {
            LoadKind::Household => "2026-04-01",
            LoadKind::Lcl => "2013-01-01",
        };
        let start = p.pick(
            "demo.start",
            None,
            raw.demo.start,
            default_start.into(),
            text,
        );
        let start = Day::parse(&start).with_context(|| {
            format!("demo.start = {start:?}: give a day such as \"2026-04-01\"")
        })?;
        let seed = p.pick("demo.seed", flags.seed, raw.demo.seed, 7, number);
        let demo_tls = p.pick(
            "demo.tls",
            flags.no_tls.then_some(false),
            raw.demo.tls,
            true,
            bool::to_string,
        );
        let pki = p.pick(
            "pki.directory",
            flags.pki.map(Some),
            raw.pki.directory.map(Some),
            None,
            |value| {
                value
                    .as_ref()
                    .map_or_else(|| "none".to_owned(), |path| path.display().to_string())
            },
        );
        let device = flags.modem.or(raw.sms.device);
        let to = if flags.sms_to.is_empty() {
            raw.sms.to.unwrap_or_default()
        } else {
            flags.sms_to
        };
        let sms = match device {
            Some(device) => {
                ensure!(
                    !to.is_empty(),
                    "sms.to is empty: name at least one number for {}",
                    device.display()
                );
                Some(SmsConfig {
                    device,
                    to,
                    pin: raw.sms.pin,
                })
            }
            None => {
                ensure!(
                    to.is_empty(),
                    "sms.to names a number, but sms.device names no modem: give its serial device"
                );
                None
            }
        };
        Ok(Self {
            name,
            currency,
            period,
            cutoff: std::time::Duration::from_secs(cutoff),
            grace: std::time::Duration::from_secs(grace * 3_600),
            seal_after: std::time::Duration::from_secs(seal_after * 60),
            tariff,
            listen,
            tiers,
            head_end,
            buffers,
            serve_data,
            data,
            houses,
            load,
            feeder,
            response,
            pace,
            start,
            seed,
            sms,
            pki,
            demo_tls,
            vault,
            standby,
            origins: p.0,
        })
    }
}

/// Looks at the configuration.
#[derive(clap::Args)]
pub(crate) struct ConfigCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Checks a file and prints every effective value with its origin
    Check {
        /// The file
        file: PathBuf,
        /// As `gridloom serve` reads it; otherwise as `gridloom demo` does
        #[arg(long)]
        serve: bool,
        /// As a process of these roles reads it
        #[arg(long, value_delimiter = ',', requires = "serve")]
        role: Vec<Role>,
    },
    /// Checks the meter templates of a folder and lists them
    Profiles {
        /// The folder
        #[arg(default_value = "profiles")]
        folder: PathBuf,
    },
}

impl ConfigCommand {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let (file, defaults, roles) = match self.action {
            Action::Check { file, serve, role } => {
                let defaults = if serve {
                    Defaults::Serve
                } else {
                    Defaults::Demo
                };
                (file, defaults, role)
            }
            Action::Profiles { folder } => return profiles::list(&folder, out),
        };
        let flags = Overrides {
            realtime: defaults == Defaults::Serve,
            defaults,
            roles,
            ..Overrides::default()
        };
        let mut config = Config::read(Some(&file), flags)?;
        if defaults == Defaults::Serve {
            config.origins.retain(|(key, ..)| !key.starts_with("demo."));
        }
        let rows = config.origins.into_iter().map(|(key, value, origin)| {
            let origin = match origin {
                Origin::Default => "default",
                Origin::File => "file",
                Origin::Flag => "flag",
            };
            vec![key, value, origin.to_owned()]
        });
        writeln!(out, "{}", table::figures(&["key", "value", "from"], rows))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> anyhow::Result<Config> {
        Config::resolve(toml::from_str(text)?, Overrides::default())
    }

    fn serve(text: &str, roles: &[Role]) -> anyhow::Result<Config> {
        let flags = Overrides {
            defaults: Defaults::Serve,
            roles: roles.to_vec(),
            ..Overrides::default()
        };
        Config::resolve(toml::from_str(text)?, flags)
    }

    #[test]
    fn the_example_of_all_tiers_is_right_for_each() {
        use Role::{Archive, Edge, Gateway, Headend, Utility};
        let text = include_str!("../../../docs/howto/tiers.toml");
        for role in [Gateway, Edge, Utility, Headend, Archive] {
            let tiers = serve(text, &[role]).unwrap().tiers.unwrap();
            for other in [Gateway, Edge, Utility, Headend, Archive] {
                assert_eq!(tiers.has(other), other == role, "{role:?}");
            }
        }
        assert!(serve(text, &[]).is_ok());
    }

    #[test]
    fn a_tier_needs_its_neighbour_here_or_an_address_of_it() {
        use Role::{Archive, Edge, Gateway, Headend, Utility};
        let cases: [(&str, &[Role], Option<&str>); 16] = [
            ("", &[], None),
            ("", &[Gateway], Some("gateway.edge is not set")),
            ("[gateway]\nedge = \"10.0.0.2:4060\"", &[Gateway], None),
            ("", &[Gateway, Edge], Some("edge.utility is not set")),
            ("", &[Gateway, Edge, Utility], None),
            ("", &[Headend], Some("headend.utility is not set")),
            (
                "[headend]\nutility = \"utility.example:4061\"",
                &[Headend],
                None,
            ),
            ("", &[Archive], None),
            (
                "[edge]\nutility = \"nowhere\"",
                &[Edge],
                Some("edge.utility = \"nowhere\""),
            ),
            ("[edge]\nname = \"a b\"", &[], Some("edge.name = \"a b\"")),
            (
                "[edge]\nlisten = \"localhost\"",
                &[],
                Some("edge.listen = \"localhost\""),
            ),
            (
                "[edge]\nlisten = \"127.0.0.1:1\"\n[listen]\nedge = \"127.0.0.1:2\"",
                &[],
                Some("keep one of the two"),
            ),
            (
                "[serve]\nroles = [\"egde\"]",
                &[],
                Some("\"egde\" is no role"),
            ),
            ("[serve]\nroles = []", &[], Some("serve.roles is empty")),
            (
                "[serve]\nroles = [\"gateway\"]",
                &[],
                Some("gateway.edge is not set"),
            ),
            // What is said of tiers that run elsewhere does not matter here.
            ("[gateway]\nedge = \"nowhere\"", &[Archive], None),
        ];
        for (text, roles, fault) in cases {
            let found = serve(text, roles).err().map(|error| format!("{error:#}"));
            match (&found, fault) {
                (None, None) => {}
                (Some(found), Some(fault)) if found.contains(fault) => {}
                (_, _) => panic!("{text:?} as {roles:?}: {found:?}"),
            }
        }
        let tiers = serve("[edge]\nutility = \"10.0.0.3:4061\"", &[]).unwrap();
        let tiers = tiers.tiers.unwrap();
        // An address that is said counts, even where the tier runs here.
        assert!(matches!(tiers.edge_to_utility, Upper::At(_)));
        assert_eq!(tiers.gateway_to_edge, Upper::Here);
        assert!(resolve("").unwrap().tiers.is_none());
    }

    #[test]
    fn wrong_keys_are_named() {
        let cases = [
            ("[demo]\nhuses = 3", "huses"),
            ("[demo]\nhouses = 0", "demo.houses"),
            ("[demo]\nhouses = \"three\"", "houses"),
            ("[demo]\nload = \"solar\"", "demo.load"),
            ("[demo]\nspeed = 0", "demo.speed"),
            ("[demo]\nstart = \"yesterday\"", "demo.start"),
            ("[utility]\nperiod_minutes = 7", "utility.period_minutes"),
            ("[utility]\ncurrency = \"euro\"", "utility.currency"),
            ("[utility]\ncutoff_seconds = 0", "utility.cutoff_seconds"),
            ("[tariff]\np_min = \"cheap\"", "tariff.p_min"),
            ("[sms]\nto = [\"+49301234567\"]", "sms.device"),
            ("[sms]\ndevice = \"/dev/ttyUSB0\"", "sms.to"),
            ("[headend]\nhistory_days = 0", "headend.history_days"),
            ("[headend.push]\ntcp = \"here\"", "headend.push.tcp"),
            (
                "[headend.push]\nconnections = 0",
                "headend.push.connections",
            ),
            (
                "[headend.push]\naddresses = \"all\"",
                "headend.push.addresses",
            ),
            ("[gateway]\nbuffer_mib = 1", "gateway.buffer_mib"),
            ("[edge]\nbuffer_mib = 100000", "edge.buffer_mib"),
            ("[lisen]\n", "lisen"),
        ];
        for (text, key) in cases {
            let error = format!("{:#}", resolve(text).unwrap_err());
            assert!(error.contains(key), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn flags_beat_the_file_and_the_file_beats_the_default() {
        let text = "[demo]\nhouses = 5\nseed = 9";
        let flags = Overrides {
            houses: Some(8),
            ..Overrides::default()
        };
        let config = Config::resolve(toml::from_str(text).unwrap(), flags).unwrap();
        assert_eq!(
            (config.houses, config.seed, config.period),
            (8, 9, Period::HALF_HOUR)
        );
        let origin = |key: &str| {
            config
                .origins
                .iter()
                .find(|(name, ..)| name == key)
                .map(|(.., origin)| *origin)
        };
        assert_eq!(origin("demo.houses"), Some(Origin::Flag));
        assert_eq!(origin("demo.seed"), Some(Origin::File));
        assert_eq!(origin("utility.name"), Some(Origin::Default));
    }
}
