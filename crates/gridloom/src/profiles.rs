//! Meter templates from `profiles/*.toml`: a file says what differs from a meter that does
//! everything the standard's way. The file's name is the template's.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use gridloom_core::{ObisCode, Period};
use gridloom_headend::Templates;
use gridloom_headend::template::{
    Channel, ChannelSource, CipheringForm, ColumnKind, DeviationRule, MeterTemplate, PushList,
    PushObject, ReleaseForm, ScalerSource,
};
use serde::Deserialize;

use crate::table;

/// Templates of one folder; more are refused.
const TEMPLATES_MAX: usize = 1_000;

/// The templates that the program carries, so that it works without their folder.
const SHIPPED: [(&str, &str); 4] = [
    ("gridloom", include_str!("../../../profiles/gridloom.toml")),
    ("idis", include_str!("../../../profiles/idis.toml")),
    ("is15959", include_str!("../../../profiles/is15959.toml")),
    ("standard", include_str!("../../../profiles/standard.toml")),
];

/// What a file may say. Unknown keys are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTemplate {
    max_pdu: Option<u16>,
    ciphering: Option<String>,
    release: Option<String>,
    deviation: Option<String>,
    range_access: Option<bool>,
    entry_access: Option<bool>,
    lists: Option<bool>,
    blocks: Option<bool>,
    compressed_profiles: Option<bool>,
    scaler_source: Option<String>,
    capture_period_minutes: Option<u32>,
    load_profile: Option<String>,
    invocation_counter: Option<String>,
    answer_timeout_seconds: Option<u64>,
    connections: Option<u8>,
    phases: Option<u8>,
    fuse_a: Option<u16>,
    voltage_v: Option<u16>,
    channels: Option<BTreeMap<String, RawSource>>,
    push: Option<Vec<RawPush>>,
}

/// One kind of push: its push_object_list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPush {
    objects: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    obis: String,
    attribute: Option<i8>,
    kind: String,
}

/// Prints the templates of a folder.
pub(crate) fn list(folder: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let templates = read_folder(folder)?;
    let rows = templates.values().map(|template| {
        vec![
            template.name.clone(),
            template.load_profile.to_string(),
            (template.capture_period.as_secs() / 60).to_string(),
            template.max_pdu.to_string(),
            format!("{:?}", template.ciphering),
            template.channels.len().to_string(),
        ]
    });
    let headings = [
        "template",
        "load profile",
        "minutes",
        "max pdu",
        "ciphering",
        "channels",
    ];
    writeln!(out, "{}", table::figures(&headings, rows))?;
    Ok(())
}

/// The shipped templates, with those of a folder over them.
pub(crate) fn read_all(folder: Option<&Path>) -> anyhow::Result<Templates> {
    let mut templates = Templates::new();
    for (name, text) in SHIPPED {
        let template = parse(name, text).with_context(|| format!("shipped template {name}"))?;
        templates.insert(name.to_owned(), template);
    }
    if let Some(folder) = folder {
        templates.extend(read_folder(folder)?);
    }
    Ok(templates)
}

/// Every template of a folder, by name.
pub(crate) fn read_folder(folder: &Path) -> anyhow::Result<Templates> {
    let context = || format!("failed to list {}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            paths.push(path);
        }
    }
    let count = paths.len();
    ensure!(
        count <= TEMPLATES_MAX,
        "{}: {count} templates, at most {TEMPLATES_MAX}",
        folder.display()
    );
    paths.sort();
    let mut templates = Templates::new();
    for path in paths {
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let name = name.with_context(|| format!("{} has no usable name", path.display()))?;
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let template = parse(name, &text).with_context(|| path.display().to_string())?;
        templates.insert(name.to_owned(), template);
    }
    Ok(templates)
}

/// One template; every error names the key and the remedy.
fn parse(name: &str, text: &str) -> anyhow::Result<MeterTemplate> {
    let raw: RawTemplate = toml::from_str(text)?;
    let mut template = MeterTemplate::standard(name);
    put(&mut template.max_pdu, raw.max_pdu);
    put(&mut template.connections, raw.connections);
    put(&mut template.phases, raw.phases);
    put(&mut template.fuse_a, raw.fuse_a);
    put(&mut template.voltage_v, raw.voltage_v);
    let supports = &mut template.supports;
    put(&mut supports.range_access, raw.range_access);
    put(&mut supports.entry_access, raw.entry_access);
    put(&mut supports.lists, raw.lists);
    put(&mut supports.blocks, raw.blocks);
    put(&mut supports.compressed_profiles, raw.compressed_profiles);
    if let Some(text) = raw.ciphering {
        template.ciphering = match text.as_str() {
            "none" => CipheringForm::None,
            "service-global" => CipheringForm::ServiceGlobal,
            "service-dedicated" => CipheringForm::ServiceDedicated,
            "general-global" => CipheringForm::GeneralGlobal,
            "general-dedicated" => CipheringForm::GeneralDedicated,
            other => bail!(
                "ciphering = {other:?}; give none, service-global, service-dedicated, \
                 general-global or general-dedicated"
            ),
        };
    }
    if let Some(text) = raw.release {
        template.release = match text.as_str() {
            "full" => ReleaseForm::Full,
            "bare" => ReleaseForm::Bare,
            "disconnect" => ReleaseForm::Disconnect,
            other => bail!("release = {other:?}; give full, bare or disconnect"),
        };
    }
    if let Some(text) = raw.deviation {
        template.deviation = match text.as_str() {
            "unspecified" => DeviationRule::Unspecified,
            "meters-own" => DeviationRule::MetersOwn,
            "utc" => DeviationRule::Utc,
            other => bail!("deviation = {other:?}; give unspecified, meters-own or utc"),
        };
    }
    if let Some(text) = raw.scaler_source {
        template.scaler_source = match text.as_str() {
            "registers" => ScalerSource::Registers,
            "unity" => ScalerSource::Unity,
            code => ScalerSource::Profile(obis("scaler_source", code)?),
        };
    }
    if let Some(minutes) = raw.capture_period_minutes {
        let period = minutes.checked_mul(60).and_then(Period::from_secs);
        template.capture_period = period.with_context(|| {
            format!("capture_period_minutes = {minutes}; give minutes that divide an hour")
        })?;
    }
    if let Some(code) = raw.load_profile {
        template.load_profile = obis("load_profile", &code)?;
    }
    if let Some(code) = raw.invocation_counter {
        template.invocation_counter = obis("invocation_counter", &code)?;
    }
    if let Some(seconds) = raw.answer_timeout_seconds {
        template.answer_timeout = Duration::from_secs(seconds);
    }
    if let Some(channels) = raw.channels {
        template.channels.clear();
        for (name, source) in channels {
            let channel = Channel::parse(&name).with_context(|| {
                let known: Vec<_> = Channel::ALL.iter().map(|(_, name)| *name).collect();
                format!("channels.{name} is unknown; known are {}", known.join(", "))
            })?;
            let kind = match source.kind.as_str() {
                "register" => ColumnKind::Register,
                "interval" => ColumnKind::Interval,
                other => bail!("channels.{name}.kind = {other:?}; give register or interval"),
            };
            let source = ChannelSource {
                obis: obis(&format!("channels.{name}.obis"), &source.obis)?,
                attribute: source.attribute.unwrap_or(2),
                kind,
            };
            template.channels.insert(channel, source);
        }
    }
    for (index, push) in raw.push.into_iter().flatten().enumerate() {
        let objects = push.objects.iter().map(|text| {
            PushObject::parse(text).with_context(|| {
                format!(
                    "push {}: {text:?}; give class, object and attribute, such as \"8 \
                     0-0:1.0.0.255 2\"",
                    index + 1
                )
            })
        });
        let objects = objects.collect::<anyhow::Result<Vec<_>>>()?;
        template.pushes.push(PushList(objects));
    }
    template.check()?;
    Ok(template)
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn obis(key: &str, text: &str) -> anyhow::Result<ObisCode> {
    ObisCode::parse(text)
        .with_context(|| format!("{key} = {text:?}; give six groups, such as 1-0:1.8.0.255"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profiles_that_are_shipped() {
        let folder = Path::new("../../profiles");
        let templates = read_folder(folder).unwrap();
        let names: Vec<_> = templates.keys().map(String::as_str).collect();
        assert_eq!(names, ["gridloom", "idis", "is15959", "standard"]);
        assert_eq!(read_all(None).unwrap(), templates);
        // The commented file says what an empty one means.
        let standard = &templates["standard"];
        assert_eq!(*standard, MeterTemplate::standard("standard"));
        assert_eq!(*standard, parse("standard", "").unwrap());
        let indian = &templates["is15959"];
        assert_eq!(indian.capture_period, Period::HALF_HOUR);
        assert_eq!(
            indian.scaler_source,
            ScalerSource::Profile(ObisCode([1, 0, 94, 91, 4, 255]))
        );
    }

    #[test]
    fn wrong_values_are_named() {
        let cases = [
            ("max_pud = 1", "max_pud"),
            ("max_pdu = 10", "max_pdu = 10"),
            ("ciphering = \"rot13\"", "ciphering"),
            ("release = \"never\"", "release"),
            ("deviation = \"cest\"", "deviation"),
            ("scaler_source = \"x\"", "scaler_source"),
            ("capture_period_minutes = 7", "capture_period_minutes = 7"),
            ("load_profile = \"1.8.0\"", "load_profile"),
            ("answer_timeout_seconds = 0", "answer_timeout"),
            ("connections = 0", "connections"),
            ("phases = 4", "phases = 4"),
            ("fuse_a = 0", "fuse_a = 0"),
            ("voltage_v = 12", "voltage_v = 12"),
            ("[channels]", "channels.import"),
            (
                "[channels]\nimprot = { obis = \"1-0:1.8.0.255\", kind = \"register\" }",
                "channels.improt",
            ),
            (
                "[channels]\nimport = { obis = \"1-0:1.8.0.255\", kind = \"both\" }",
                "channels.import.kind",
            ),
            (
                "[channels]\nimport = { obis = \"1\", kind = \"register\" }",
                "channels.import.obis",
            ),
        ];
        for (text, fault) in cases {
            let error = format!("{:#}", parse("x", text).unwrap_err());
            assert!(error.contains(fault), "{text}: {error}");
        }
    }
}
