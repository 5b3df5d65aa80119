//! Commands that change a meter: write, invoke, connect, disconnect, sync-clock.

use std::io::Write as IoWrite;

use anyhow::{Context, bail};
use gridloom_core::{ObisCode, UtcTime};
use gridloom_dlms::apdu::{AttributeDescriptor, MethodDescriptor};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::CosemDateTime;
use serde_json::json;

use crate::client::{MeterOptions, MeterSession, run_on};
use crate::read::{class_of, parse_obis};
use crate::show;
use crate::usage::usage;

const CLOCK: ObisCode = ObisCode([0, 0, 1, 0, 0, 255]);
const CLASS_CLOCK: u16 = 8;
const DISCONNECT_CONTROL: ObisCode = ObisCode([0, 0, 96, 3, 10, 255]);
const CLASS_DISCONNECT_CONTROL: u16 = 70;

/// Writes an attribute of a meter
#[derive(clap::Args)]
pub(crate) struct Write {
    #[command(flatten)]
    meter: MeterOptions,
    /// What to write to, such as 1.0.0.8.4.255
    #[arg(long)]
    obis: String,
    /// Interface class; found in the meter's object list if left out
    #[arg(long)]
    class: Option<u16>,
    /// Attribute
    #[arg(long, default_value_t = 2)]
    attribute: i8,
    /// The value as TYPE:VALUE, such as u16:900, octets:00FF, text:abc, null or axdr:HEX
    #[arg(long)]
    value: String,
}

impl Write {
    pub(crate) fn run(self, out: &mut impl IoWrite) -> anyhow::Result<()> {
        let instance = usage(parse_obis(&self.obis))?;
        let value = usage(show::parse_value("--value", &self.value))?;
        run_on(&self.meter, async |meter| {
            let class_id = class_of(meter, self.class, instance).await?;
            let attribute = AttributeDescriptor {
                class_id,
                instance,
                attribute: self.attribute,
            };
            meter.set(attribute, value).await?;
            writeln!(out, "written  {instance} attribute {}", self.attribute)?;
            Ok(())
        })
    }
}

/// Invokes a method of a meter's object
#[derive(clap::Args)]
pub(crate) struct Invoke {
    #[command(flatten)]
    meter: MeterOptions,
    /// Whose method, such as 0.0.10.0.1.255
    #[arg(long)]
    obis: String,
    /// Interface class; found in the meter's object list if left out
    #[arg(long)]
    class: Option<u16>,
    /// Method
    #[arg(long)]
    method: i8,
    /// Its parameter as TYPE:VALUE
    #[arg(long, default_value = "i8:0")]
    value: String,
}

impl Invoke {
    pub(crate) fn run(self, out: &mut impl IoWrite) -> anyhow::Result<()> {
        let instance = usage(parse_obis(&self.obis))?;
        let value = usage(show::parse_value("--value", &self.value))?;
        run_on(&self.meter, async |meter| {
            let class_id = class_of(meter, self.class, instance).await?;
            let method = MethodDescriptor {
                class_id,
                instance,
                method: self.method,
            };
            let given = meter.invoke(method, Some(value)).await?;
            write!(out, "invoked  {instance} method {}", self.method)?;
            if let Some(given) = given {
                write!(out, ": {}", show::text(&given))?;
            }
            writeln!(out)?;
            Ok(())
        })
    }
}

/// Switches a meter's supply
#[derive(clap::Args)]
pub(crate) struct Supply {
    #[command(flatten)]
    meter: MeterOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which way to switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    On,
    Off,
}

impl Supply {
    pub(crate) fn run(self, switch: Switch, out: &mut impl IoWrite) -> anyhow::Result<()> {
        run_on(&self.meter, async |meter| {
            let method = MethodDescriptor {
                class_id: CLASS_DISCONNECT_CONTROL,
                instance: DISCONNECT_CONTROL,
                method: match switch {
                    Switch::Off => 1,
                    Switch::On => 2,
                },
            };
            meter.invoke(method, Some(Data::Integer(0))).await?;
            // The command was taken; what became of it only the meter knows.
            let output = meter
                .value(CLASS_DISCONNECT_CONTROL, DISCONNECT_CONTROL, 2)
                .await?;
            let state = meter
                .value(CLASS_DISCONNECT_CONTROL, DISCONNECT_CONTROL, 3)
                .await?;
            let Data::Boolean(connected) = output else {
                bail!("object: the output state is {}", show::text(&output));
            };
            let state = match show::integer(&state) {
                Some(0) => "disconnected",
                Some(1) => "connected",
                Some(2) => "ready for reconnection",
                Some(_) | None => "unknown",
            };
            if self.json {
                let answer = json!({"supply": connected, "state": state});
                writeln!(out, "{answer}")?;
            } else {
                let supply = if connected { "on" } else { "off" };
                writeln!(out, "supply   {supply} ({state})")?;
            }
            let wanted = matches!(switch, Switch::On);
            if connected != wanted && state != "ready for reconnection" {
                bail!("object: the meter took the command, but its supply has not changed");
            }
            Ok(())
        })
    }
}

/// Sets a meter's clock to the time here
#[derive(clap::Args)]
pub(crate) struct SyncClock {
    #[command(flatten)]
    meter: MeterOptions,
    /// Say how far off the clock is, and leave it
    #[arg(long)]
    dry_run: bool,
}

impl SyncClock {
    pub(crate) fn run(self, out: &mut impl IoWrite) -> anyhow::Result<()> {
        run_on(&self.meter, async |meter| {
            let before = offset(meter).await?;
            writeln!(out, "before   {before}")?;
            if self.dry_run {
                return Ok(());
            }
            let attribute = AttributeDescriptor {
                class_id: CLASS_CLOCK,
                instance: CLOCK,
                attribute: 2,
            };
            let now = meter.now();
            let whole = UtcTime::from_secs(now.as_secs());
            let mut time = CosemDateTime::from_utc(whole).context("the time here")?;
            // Without weekday: some meters refuse a time whose redundant field they count otherwise.
            time.weekday = CosemDateTime::OPEN;
            let value = Data::OctetString(time.to_bytes().to_vec());
            meter.set(attribute, value).await?;
            let after = offset(meter).await?;
            writeln!(out, "after    {after}")?;
            Ok(())
        })
    }
}

/// The meter's time and how far it is from here.
async fn offset(meter: &mut MeterSession) -> anyhow::Result<String> {
    let data = meter.value(CLASS_CLOCK, CLOCK, 2).await?;
    let now = meter.now();
    let bytes = if let Data::OctetString(bytes) = &data {
        bytes.as_slice()
    } else if let Data::DateTime(bytes) = &data {
        bytes.as_slice()
    } else {
        bail!("object: the clock says {}", show::text(&data));
    };
    let time = CosemDateTime::decode(bytes).context("object: the clock")?;
    // A clock that does not say where it is is taken to be in UTC, as it was set.
    let utc = time.to_utc_at(0).context("object: the clock")?;
    let millis = utc.as_millis() - now.as_millis();
    let (sign, millis) = (if millis < 0 { "-" } else { "+" }, millis.unsigned_abs());
    Ok(format!(
        "{utc}  {sign}{}.{:01} s",
        millis / 1_000,
        millis % 1_000 / 100
    ))
}
