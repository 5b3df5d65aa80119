//! Profiles (class 7): their columns by the objects that they capture, and their rows.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, bail};
use gridloom_core::ObisCode;
use gridloom_dlms::apdu::{AttributeDescriptor, SelectiveAccess};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::selection::CaptureObject;
use serde_json::{Value, json};

use super::{CLASS_PROFILE, has_scaler, scaler_of};
use crate::client::MeterSession;
use crate::obis_names;
use crate::show::{self, ScalerUnit};
use crate::table::listing;

/// A profile, or a part of it.
pub(crate) struct Profile {
    columns: Vec<Column>,
    rows: Vec<Vec<Data>>,
}

struct Column {
    object: CaptureObject,
    scaling: Option<ScalerUnit>,
}

impl Column {
    fn heading(&self) -> String {
        let name = obis_names::object(self.object.instance)
            .unwrap_or_else(|| self.object.instance.to_string());
        let name = match self.object.attribute {
            2 => name,
            // Of a maximum demand, when it was.
            5 if self.object.class_id == 4 => format!("{name} at"),
            attribute => format!("{name} #{attribute}"),
        };
        match self.scaling.map(|scaling| obis_names::unit(scaling.unit)) {
            Some(unit) if !unit.is_empty() => format!("{name}\n{unit}"),
            Some(_) | None => name,
        }
    }
}

impl Profile {
    /// Reads columns, scalers and rows.
    pub(crate) async fn read(
        meter: &mut MeterSession,
        instance: ObisCode,
        access: Option<SelectiveAccess>,
        progress: &mut dyn FnMut(usize),
    ) -> anyhow::Result<Self> {
        let captured = meter
            .value(CLASS_PROFILE, instance, 3)
            .await
            .with_context(|| format!("the columns of {instance}"))?;
        let objects = capture_objects(&captured)?;
        let mut scalers = BTreeMap::new();
        let mut columns = Vec::with_capacity(objects.len());
        for object in objects {
            let key = (object.class_id, object.instance);
            let mut scaling = None;
            if has_scaler(object.class_id, object.attribute) {
                scaling = match scalers.get(&key) {
                    Some(known) => *known,
                    None => scaler_of(meter, object.class_id, object.instance).await,
                };
                scalers.insert(key, scaling);
            }
            columns.push(Column { object, scaling });
        }
        let attribute = AttributeDescriptor {
            class_id: CLASS_PROFILE,
            instance,
            attribute: 2,
        };
        let buffer = meter.get(attribute, access, progress).await?;
        Ok(Self {
            columns,
            rows: rows(buffer)?,
        })
    }

    /// Rows with the time in the first column after `last`, as text, and the latest time.
    pub(crate) fn rows_after(&self, last: Option<&str>) -> Vec<(String, String)> {
        self.rows
            .iter()
            .filter_map(|row| {
                let time = show::text(row.first()?);
                if last.is_some_and(|last| time.as_str() <= last) {
                    return None;
                }
                let rest: Vec<String> = row
                    .iter()
                    .zip(&self.columns)
                    .skip(1)
                    .map(|(data, column)| {
                        let heading = column.heading().replace('\n', " ");
                        format!("{heading} {}", show::scaled_text(data, column.scaling))
                    })
                    .collect();
                Some((time, rest.join(", ")))
            })
            .collect()
    }

    /// Prints it.
    pub(crate) fn print(
        &self,
        instance: ObisCode,
        json: bool,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        if json {
            writeln!(out, "{}", self.to_json(instance))?;
            return Ok(());
        }
        let headings: Vec<String> = self.columns.iter().map(Column::heading).collect();
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let cells = self.rows.iter().map(|row| {
            row.iter()
                .enumerate()
                .map(|(index, data)| {
                    let scaling = self.columns.get(index).and_then(|column| column.scaling);
                    show::scaled_text(data, scaling)
                })
                .collect()
        });
        let right: Vec<usize> = (1..headings.len()).collect();
        writeln!(out, "{}", listing(&headings, &right, cells))?;
        let rows = self.rows.len();
        writeln!(out, "{rows} row{}", if rows == 1 { "" } else { "s" })?;
        Ok(())
    }

    fn to_json(&self, instance: ObisCode) -> Value {
        let columns: Value = self
            .columns
            .iter()
            .map(|column| {
                json!({
                    "obis": column.object.instance.to_string(),
                    "class": column.object.class_id,
                    "attribute": column.object.attribute,
                    "name": obis_names::object(column.object.instance),
                    "unit": column.scaling.map(|scaling| obis_names::unit(scaling.unit)),
                })
            })
            .collect();
        let rows: Value = self
            .rows
            .iter()
            .map(|row| -> Value {
                row.iter()
                    .enumerate()
                    .map(|(index, data)| {
                        let column = self.columns.get(index);
                        match column.and_then(|column| column.scaling) {
                            Some(scaling) => json!(show::scaled_text(data, Some(scaling))),
                            None => show::value(data),
                        }
                    })
                    .collect()
            })
            .collect();
        json!({"obis": instance.to_string(), "columns": columns, "rows": rows})
    }
}

fn capture_objects(data: &Data) -> anyhow::Result<Vec<CaptureObject>> {
    let Data::Array(objects) = data else {
        bail!("object: the capture objects are no array");
    };
    objects
        .iter()
        .map(|object| CaptureObject::from_data(object).context("object: a capture object"))
        .collect()
}

fn rows(buffer: Data) -> anyhow::Result<Vec<Vec<Data>>> {
    let rows = if let Data::Array(rows) = buffer {
        rows
    } else if let Data::CompactArray(array) = &buffer {
        array.elements().to_vec()
    } else {
        bail!("object: the buffer is no array: {}", show::text(&buffer));
    };
    rows.into_iter()
        .map(|row| {
            if let Data::Structure(row) = row {
                Ok(row)
            } else {
                bail!("object: a row is no structure: {}", show::text(&row))
            }
        })
        .collect()
}
