//! `--browse`: everything that a client sees in a meter.

use std::io::{IsTerminal, Write};

use gridloom_dlms::axdr::Data;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::objects::{ObjectEntry, ObjectList};
use super::{has_scaler, scaler_of};
use crate::client::MeterSession;
use crate::obis_names;
use crate::show::{self, ScalerUnit};
use crate::table::listing;

/// Characters of a value that are shown in the table.
const VALUE_CHARS_MAX: usize = 40;

/// Classes whose attribute 2 is long or says nothing to people.
const NOT_SHOWN: [u16; 2] = [7, 15];

/// An object with what was read of it.
pub(crate) struct Seen {
    object: ObjectEntry,
    value: Result<Option<Data>, String>,
    scaling: Option<ScalerUnit>,
}

/// Reads the object list, and every value that is short.
pub(crate) async fn read(meter: &mut MeterSession) -> anyhow::Result<Vec<Seen>> {
    let list = ObjectList::read(meter).await?;
    let bar = if std::io::stderr().is_terminal() {
        let style = ProgressStyle::with_template("reading objects {bar:40} {pos}/{len}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(list.entries.len() as u64).with_style(style)
    } else {
        ProgressBar::hidden()
    };
    let mut seen = Vec::with_capacity(list.entries.len());
    for object in list.entries {
        bar.inc(1);
        let wanted = object.may_read(2) && !NOT_SHOWN.contains(&object.class_id);
        let value = if wanted {
            match meter.value(object.class_id, object.instance, 2).await {
                Ok(data) => Ok(Some(data)),
                // One object's refusal is shown in its row; a lost association ends it all.
                Err(error) if meter.is_open() => Err(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        } else {
            Ok(None)
        };
        let scaling = if wanted && has_scaler(object.class_id, 2) {
            scaler_of(meter, object.class_id, object.instance).await
        } else {
            None
        };
        seen.push(Seen {
            object,
            value,
            scaling,
        });
    }
    bar.finish_and_clear();
    Ok(seen)
}

/// Prints what was read.
pub(crate) fn print(seen: &[Seen], json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        let objects: Value = seen.iter().map(Seen::to_json).collect();
        writeln!(out, "{objects}")?;
        return Ok(());
    }
    let headings = ["OBIS", "Class", "Name", "Value", "Unit", "Rights"];
    let table = listing(&headings, &[3], seen.iter().map(Seen::cells));
    writeln!(out, "{table}")?;
    Ok(())
}

impl Seen {
    fn class(&self) -> String {
        let class_id = self.object.class_id;
        obis_names::class(class_id).map_or_else(|| format!("class {class_id}"), str::to_owned)
    }

    fn unit(&self) -> String {
        self.scaling
            .map_or_else(String::new, |scaling| obis_names::unit(scaling.unit))
    }

    fn cells(&self) -> Vec<String> {
        let value = match &self.value {
            Ok(Some(data)) => show::scaled_text(data, self.scaling),
            Ok(None) => String::new(),
            Err(_) => "refused".into(),
        };
        let shown = if value.chars().count() > VALUE_CHARS_MAX {
            let start: String = value.chars().take(VALUE_CHARS_MAX - 1).collect();
            format!("{start}…")
        } else {
            value
        };
        vec![
            self.object.instance.to_string(),
            self.class(),
            obis_names::object(self.object.instance).unwrap_or_default(),
            shown,
            self.unit(),
            self.object.rights(),
        ]
    }

    fn to_json(&self) -> Value {
        let (value, error) = match &self.value {
            Ok(value) => (value.as_ref().map(show::value), None),
            Err(error) => (None, Some(error)),
        };
        json!({
            "obis": self.object.instance.to_string(),
            "class": self.object.class_id,
            "version": self.object.version,
            "name": obis_names::object(self.object.instance),
            "value": value,
            "scaled": match (&self.value, self.scaling) {
                (Ok(Some(data)), Some(_)) => Some(show::scaled_text(data, self.scaling)),
                (_, _) => None,
            },
            "unit": self.scaling.map(|scaling| obis_names::unit(scaling.unit)),
            "error": error,
        })
    }
}
