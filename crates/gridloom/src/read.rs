//! `gridloom read`: any object of any meter.

mod browse;
mod objects;
mod profile;

pub(crate) use objects::ObjectList;
pub(crate) use profile::Profile;

use std::io::{IsTerminal, Write};

use anyhow::{Context, bail, ensure};
use gridloom_core::ObisCode;
use gridloom_dlms::apdu::{AttributeDescriptor, SelectiveAccess};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::CosemDateTime;
use gridloom_dlms::selection::{EntryDescriptor, RangeDescriptor};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::client::{MeterOptions, MeterSession, run_on};
use crate::obis_names;
use crate::show::{self, ScalerUnit};
use crate::usage::usage;

const CLASS_PROFILE: u16 = 7;

/// Reads an object of a meter
#[derive(clap::Args)]
pub(crate) struct Read {
    #[command(flatten)]
    meter: MeterOptions,
    /// What to read, such as 1.0.1.8.0.255
    #[arg(long, required_unless_present = "browse")]
    obis: Option<String>,
    /// Interface class; found in the meter's object list if left out
    #[arg(long)]
    class: Option<u16>,
    /// Attribute
    #[arg(long, default_value_t = 2)]
    attribute: i8,
    /// First time of a profile, UTC
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Last time of a profile, UTC; now if left out
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<String>,
    /// Rows of a profile, counted from 1, such as 1..10
    #[arg(long, value_name = "A..B", conflicts_with = "from")]
    entries: Option<String>,
    /// List every object with its value
    #[arg(long, conflicts_with_all = ["obis", "class", "from", "entries"])]
    browse: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Read {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        if self.browse {
            let entries = run_on(&self.meter, async |meter| browse::read(meter).await)?;
            return browse::print(&entries, self.json, out);
        }
        let instance = usage(parse_obis(
            self.obis.as_deref().context("--obis is missing")?,
        ))?;
        usage(self.access(gridloom_core::UtcTime::from_secs(0)))?;
        run_on(&self.meter, async |meter| {
            let class_id = class_of(meter, self.class, instance).await?;
            let access = self.access(meter.now())?;
            if class_id == CLASS_PROFILE && self.attribute == 2 {
                let bar = Progress::new();
                let profile =
                    Profile::read(meter, instance, access, &mut |bytes| bar.show(bytes)).await;
                bar.finish();
                return profile?.print(instance, self.json, out);
            }
            ensure!(
                access.is_none(),
                "--from and --entries select rows of a profile: {instance} attribute {} has none",
                self.attribute
            );
            self.attribute_of(meter, class_id, instance, out).await
        })
    }

    async fn attribute_of(
        &self,
        meter: &mut MeterSession,
        class_id: u16,
        instance: ObisCode,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let bar = Progress::new();
        let attribute = AttributeDescriptor {
            class_id,
            instance,
            attribute: self.attribute,
        };
        let data = meter
            .get(attribute, None, &mut |bytes| bar.show(bytes))
            .await;
        bar.finish();
        let data = data?;
        let scaling = if has_scaler(class_id, self.attribute) {
            scaler_of(meter, class_id, instance).await
        } else {
            None
        };
        let unit = scaling.map_or_else(String::new, |scaling| obis_names::unit(scaling.unit));
        if self.json {
            let answer = json!({
                "obis": instance.to_string(),
                "name": obis_names::object(instance),
                "class": class_id,
                "attribute": self.attribute,
                "value": show::value(&data),
                "scaled": scaling.map(|_| show::scaled_text(&data, scaling)),
                "unit": scaling.map(|_| unit),
            });
            writeln!(out, "{answer}")?;
            return Ok(());
        }
        let name = obis_names::object(instance).unwrap_or_else(|| "unnamed".into());
        let shown = show::scaled_text(&data, scaling);
        writeln!(out, "{instance}  {name}  {shown} {unit}")?;
        Ok(())
    }

    fn access(&self, now: gridloom_core::UtcTime) -> anyhow::Result<Option<SelectiveAccess>> {
        if let Some(text) = &self.entries {
            let wrong =
                || format!("--entries {text:?}: give two rows counted from 1, such as 1..10");
            let (first, last) = text.split_once("..").with_context(wrong)?;
            let (first, last): (u32, u32) = (
                first.parse().with_context(wrong)?,
                last.parse().with_context(wrong)?,
            );
            ensure!(first >= 1 && last >= first, wrong());
            return Ok(Some(EntryDescriptor::rows(first, last).to_access()));
        }
        let Some(from) = &self.from else {
            return Ok(None);
        };
        let from = show::parse_time("--from", from)?;
        let to = match &self.to {
            Some(to) => show::parse_time("--to", to)?,
            // Whole seconds: meters have no use for more.
            None => gridloom_core::UtcTime::from_secs(now.as_secs().max(from.as_secs())),
        };
        ensure!(from <= to, "--from lies behind --to");
        let from = CosemDateTime::from_utc(from).context("--from")?;
        let to = CosemDateTime::from_utc(to).context("--to")?;
        Ok(Some(RangeDescriptor::by_clock(from, to).to_access()))
    }
}

/// An OBIS code of an option.
pub(crate) fn parse_obis(text: &str) -> anyhow::Result<ObisCode> {
    ObisCode::parse(text)
        .with_context(|| format!("--obis {text:?}: give six numbers, such as 1.0.1.8.0.255"))
}

/// The class given, or that of the object list.
pub(crate) async fn class_of(
    meter: &mut MeterSession,
    class: Option<u16>,
    instance: ObisCode,
) -> anyhow::Result<u16> {
    if let Some(class) = class {
        return Ok(class);
    }
    let list = ObjectList::read(meter)
        .await
        .context("the object list, which says the class (or give --class)")?;
    match list.find(instance) {
        Some(entry) => Ok(entry.class_id),
        None => bail!(
            "object: {instance} is not in the object list of this client; another --client may \
             see it, and --browse shows what there is"
        ),
    }
}

/// Whether an attribute of a class has a scaler and a unit of its own.
pub(crate) const fn has_scaler(class_id: u16, attribute: i8) -> bool {
    matches!((class_id, attribute), (3 | 4, 2) | (5, 2 | 3))
}

/// Scaler and unit of a register; `None` where the meter does not give them.
pub(crate) async fn scaler_of(
    meter: &mut MeterSession,
    class_id: u16,
    instance: ObisCode,
) -> Option<ScalerUnit> {
    let attribute = if class_id == 5 { 4 } else { 3 };
    if !meter.is_open() {
        return None;
    }
    let data: Data = meter.value(class_id, instance, attribute).await.ok()?;
    ScalerUnit::from_data(&data)
}

/// Bytes of a long answer, on a terminal.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{spinner} reading {bytes} ({bytes_per_sec})")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::new_spinner().with_style(style)
        } else {
            ProgressBar::hidden()
        };
        Self { bar }
    }

    fn show(&self, bytes: usize) {
        self.bar.set_position(bytes as u64);
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
