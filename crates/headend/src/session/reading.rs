//! Reading a profile: its columns, their scalers, the meter's deviation, then the rows.

use std::time::Duration;

use gridloom_core::{ObisCode, UtcTime};
use gridloom_dlms::apdu::{AttributeDescriptor, DataAccessResult, SelectiveAccess};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{ClientError, Request, Response};
use gridloom_dlms::datetime::CosemDateTime;
use gridloom_dlms::selection::{CaptureObject, EntryDescriptor, RangeDescriptor};

use super::plan::{EventRow, ProfileRead, Selection, StepError, StepValue};
use super::run::{Answer, Context, ListRun, Next, clock_of, get, value_of};
use crate::profile::{
    Column, Nulls, ProfileRow, ProfileShape, RowReading, ScalerUnit, capture_objects_of,
    integer_of, rows_of,
};
use crate::template::{DeviationRule, ScalerSource};

const PROFILE: u16 = 7;
const CLOCK: ObisCode = ObisCode([0, 0, 1, 0, 0, 255]);
const CLOCK_TIME: CaptureObject = CaptureObject {
    class_id: 8,
    instance: CLOCK,
    attribute: 2,
    data_index: 0,
};

/// In which form the rows are wanted.
#[derive(Debug)]
pub(super) enum Wanted {
    /// These columns, all of them if empty.
    Rows(Vec<CaptureObject>),
    /// Events.
    Events,
}

/// A profile that is being read.
#[derive(Debug)]
pub(super) struct ProfileRun {
    profile: ObisCode,
    selection: Selection,
    wanted: Wanted,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Columns,
    Period {
        columns: Vec<CaptureObject>,
    },
    Scalers {
        shape: ProfileShape,
        list: ListRun,
        asked: Vec<usize>,
    },
    ScalerColumns {
        shape: ProfileShape,
    },
    ScalerRow {
        shape: ProfileShape,
        columns: Vec<CaptureObject>,
    },
    ClockTime {
        shape: ProfileShape,
    },
    TimeZone {
        shape: ProfileShape,
    },
    Buffer {
        shape: ProfileShape,
    },
    Over,
}

impl ProfileRun {
    pub(super) fn begin(
        profile: ObisCode,
        selection: Selection,
        wanted: Wanted,
        context: &mut Context<'_>,
    ) -> (Self, Next) {
        let mut run = Self {
            profile,
            selection,
            wanted,
            stage: Stage::Over,
        };
        let next = match context.memory.shapes.get(&profile).cloned() {
            Some(shape) => run.ask_deviation(shape, context),
            None => {
                run.stage = Stage::Columns;
                get(PROFILE, profile, 3)
            }
        };
        (run, next)
    }

    pub(super) fn answer(&mut self, answer: Answer, context: &mut Context<'_>) -> Next {
        self.advance(answer, context)
            .unwrap_or_else(|error| Next::Done(Err(error)))
    }

    fn advance(&mut self, answer: Answer, context: &mut Context<'_>) -> Result<Next, StepError> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Columns => {
                let columns = capture_objects_of(&value_of(answer?)?)?;
                self.stage = Stage::Period { columns };
                Ok(get(PROFILE, self.profile, 4))
            }
            Stage::Period { columns } => {
                let shape = ProfileShape {
                    columns: columns
                        .into_iter()
                        .map(|object| Column {
                            object,
                            scaler: None,
                        })
                        .collect(),
                    period: period_of(answer)?,
                };
                Ok(self.ask_scalers(shape, context))
            }
            Stage::Scalers {
                mut shape,
                mut list,
                asked,
            } => match list.answer(answer, context) {
                Next::Done(Ok(StepValue::List(values))) => {
                    for (index, value) in asked.into_iter().zip(values) {
                        // A column without a readable scaler stays without: whoever bills
                        // from it names it.
                        shape.columns[index].scaler =
                            value.ok().as_ref().and_then(ScalerUnit::from_data);
                    }
                    Ok(self.learn(shape, context))
                }
                Next::Done(Err(error)) => Err(error),
                Next::Done(Ok(_)) => Err(StepError::Type {
                    what: "the answer to a GET with list",
                }),
                next @ Next::Ask(_) => {
                    self.stage = Stage::Scalers { shape, list, asked };
                    Ok(next)
                }
            },
            Stage::ScalerColumns { shape } => {
                let columns = capture_objects_of(&value_of(answer?)?)?;
                let ScalerSource::Profile(source) = context.template.scaler_source else {
                    return Ok(self.learn(shape, context));
                };
                self.stage = Stage::ScalerRow { shape, columns };
                Ok(get(PROFILE, source, 2))
            }
            Stage::ScalerRow { mut shape, columns } => {
                take_scalers(&mut shape, &columns, &value_of(answer?)?)?;
                Ok(self.learn(shape, context))
            }
            Stage::ClockTime { shape } => {
                let stated = clock_of(&value_of(answer?)?)?;
                if stated.deviation == CosemDateTime::DEVIATION_OPEN {
                    self.stage = Stage::TimeZone { shape };
                    return Ok(get(8, CLOCK, 3));
                }
                context.memory.deviation = Some(stated.deviation);
                self.ask_buffer(shape, context)
            }
            Stage::TimeZone { shape } => {
                context.memory.deviation = Some(time_zone_of(answer)?);
                self.ask_buffer(shape, context)
            }
            Stage::Buffer { shape } => {
                let buffer = value_of(answer?)?;
                self.finish(shape, &buffer, context)
                    .map(|value| Next::Done(Ok(value)))
            }
            Stage::Over => Err(StepError::Type {
                what: "an answer after the last one",
            }),
        }
    }

    fn ask_scalers(&mut self, shape: ProfileShape, context: &mut Context<'_>) -> Next {
        let registers: Vec<usize> = (0..shape.columns.len())
            .filter(|&index| scaler_attribute(&shape.columns[index].object).is_some())
            .collect();
        match context.template.scaler_source {
            _ if registers.is_empty() => self.learn(shape, context),
            ScalerSource::Unity => self.learn(shape, context),
            ScalerSource::Profile(source) => {
                self.stage = Stage::ScalerColumns { shape };
                get(PROFILE, source, 3)
            }
            ScalerSource::Registers => {
                let attributes = registers
                    .iter()
                    .filter_map(|&index| scaler_attribute(&shape.columns[index].object))
                    .collect();
                let mut list = ListRun::new(attributes);
                let next = list.ask(context);
                self.stage = Stage::Scalers {
                    shape,
                    list,
                    asked: registers,
                };
                next
            }
        }
    }

    fn learn(&mut self, shape: ProfileShape, context: &mut Context<'_>) -> Next {
        context.memory.shapes.insert(self.profile, shape.clone());
        self.ask_deviation(shape, context)
    }

    fn ask_deviation(&mut self, shape: ProfileShape, context: &mut Context<'_>) -> Next {
        let local = match context.template.deviation {
            DeviationRule::Unspecified | DeviationRule::MetersOwn => true,
            DeviationRule::Utc => false,
        };
        if local && context.memory.deviation.is_none() {
            self.stage = Stage::ClockTime { shape };
            return get(8, CLOCK, 2);
        }
        self.ask_buffer(shape, context)
            .unwrap_or_else(|error| Next::Done(Err(error)))
    }

    fn ask_buffer(
        &mut self,
        shape: ProfileShape,
        context: &mut Context<'_>,
    ) -> Result<Next, StepError> {
        let supports = context.template.supports;
        let access = match self.selection {
            Selection::Range { from, to } if supports.range_access => {
                Some(self.range(&shape, from, to, context)?)
            }
            Selection::Entries { from, to } if supports.entry_access => Some(
                EntryDescriptor {
                    from,
                    to,
                    from_column: 1,
                    to_column: 0,
                }
                .to_access(),
            ),
            Selection::All | Selection::Range { .. } | Selection::Entries { .. } => None,
        };
        self.stage = Stage::Buffer { shape };
        Ok(Next::Ask(Request::Get {
            attribute: AttributeDescriptor {
                class_id: PROFILE,
                instance: self.profile,
                attribute: 2,
            },
            access,
        }))
    }

    fn range(
        &self,
        shape: &ProfileShape,
        from: UtcTime,
        to: UtcTime,
        context: &Context<'_>,
    ) -> Result<SelectiveAccess, StepError> {
        let restricting = shape
            .columns
            .iter()
            .find(|column| column.is_clock())
            .map_or(CLOCK_TIME, |column| column.object.clone());
        let minutes = context.memory.deviation.unwrap_or(0);
        let written = |time: UtcTime| -> Result<Data, StepError> {
            let (shift, deviation) = match context.template.deviation {
                DeviationRule::Utc => (0, 0),
                DeviationRule::MetersOwn => (minutes, minutes),
                DeviationRule::Unspecified => (minutes, CosemDateTime::DEVIATION_OPEN),
            };
            let local = UtcTime::from_secs(time.as_secs() - i64::from(shift) * 60);
            let date_time = CosemDateTime {
                deviation,
                ..CosemDateTime::from_utc(local)?
            };
            Ok(Data::OctetString(date_time.to_bytes().to_vec()))
        };
        Ok(RangeDescriptor {
            restricting,
            from: written(from)?,
            to: written(to)?,
            // Projected here: fewer meters can do it than say so.
            selected: Vec::new(),
        }
        .to_access())
    }

    fn finish(
        &self,
        shape: ProfileShape,
        buffer: &Data,
        context: &Context<'_>,
    ) -> Result<StepValue, StepError> {
        let supports = context.template.supports;
        let reading = RowReading {
            nulls: if supports.compressed_profiles {
                Nulls::RowBefore
            } else {
                Nulls::Absent
            },
            deviation: context.memory.deviation.unwrap_or(0),
        };
        let mut rows = rows_of(buffer, &shape, reading)?;
        match self.selection {
            Selection::All => {}
            // Also where the meter selected: a meter that ignores the range must not matter.
            Selection::Range { from, to } => {
                rows.retain(|row| row.time.is_none_or(|time| from <= time && time <= to))
            }
            Selection::Entries { .. } if supports.entry_access => {}
            Selection::Entries { from, to } => {
                let first = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
                let last = match to {
                    0 => rows.len(),
                    to => usize::try_from(to).unwrap_or(usize::MAX),
                };
                rows.truncate(last);
                rows.drain(..first.min(rows.len()));
            }
        }
        Ok(match &self.wanted {
            Wanted::Rows(columns) => {
                let (shape, rows) = project(shape, rows, columns)?;
                StepValue::Profile(ProfileRead {
                    profile: self.profile,
                    shape,
                    rows,
                })
            }
            Wanted::Events => {
                StepValue::Events(rows.into_iter().map(|row| event_of(&shape, row)).collect())
            }
        })
    }
}

/// The attribute with a column's scaler and unit, where its class has one.
fn scaler_attribute(object: &CaptureObject) -> Option<AttributeDescriptor> {
    let attribute = match (object.class_id, object.attribute) {
        // Register and extended register: value; demand register: both averages.
        (3 | 4, 2) => 3,
        (5, 2 | 3) => 4,
        _ => return None,
    };
    Some(AttributeDescriptor {
        class_id: object.class_id,
        instance: object.instance,
        attribute,
    })
}

/// The capture period; zero means that rows are captured by events.
fn period_of(answer: Answer) -> Result<Option<Duration>, StepError> {
    match answer {
        // Some event logs do not show it.
        Err(ClientError::Object(
            DataAccessResult::ReadWriteDenied | DataAccessResult::ObjectUndefined,
            _,
        )) => Ok(None),
        Err(error) => Err(error.into()),
        Ok(response) => {
            let value = value_of(response)?;
            let seconds = integer_of(&value)
                .and_then(|seconds| u64::try_from(seconds).ok())
                .ok_or(StepError::Type {
                    what: "the capture period",
                })?;
            Ok((seconds > 0).then_some(Duration::from_secs(seconds)))
        }
    }
}

/// The clock's time zone in minutes; the meter lives in UTC if it does not show one.
fn time_zone_of(answer: Answer) -> Result<i16, StepError> {
    let value = match answer {
        Ok(Response::Value(value)) => value,
        Ok(_) | Err(ClientError::Object(..)) => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    integer_of(&value)
        .and_then(|minutes| i16::try_from(minutes).ok())
        .filter(|minutes| minutes.unsigned_abs() <= CosemDateTime::DEVIATION_MAX.unsigned_abs())
        .ok_or(StepError::Type {
            what: "the clock's time zone",
        })
}

/// Takes scalers from the one row of a scaler profile.
fn take_scalers(
    shape: &mut ProfileShape,
    columns: &[CaptureObject],
    buffer: &Data,
) -> Result<(), StepError> {
    let misfit = StepError::Type {
        what: "the scaler profile",
    };
    let Data::Array(rows) = buffer else {
        return Err(misfit);
    };
    let Some(Data::Structure(scalers)) = rows.first() else {
        return Err(misfit);
    };
    for column in &mut shape.columns {
        let place = columns
            .iter()
            .position(|other| other.instance == column.object.instance);
        column.scaler = place
            .and_then(|place| scalers.get(place))
            .and_then(ScalerUnit::from_data);
    }
    Ok(())
}

/// Keeps only the columns that are wanted, in their order.
fn project(
    shape: ProfileShape,
    rows: Vec<ProfileRow>,
    columns: &[CaptureObject],
) -> Result<(ProfileShape, Vec<ProfileRow>), StepError> {
    if columns.is_empty() {
        return Ok((shape, rows));
    }
    let places = columns
        .iter()
        .map(|wanted| {
            shape
                .columns
                .iter()
                .position(|column| column.object == *wanted)
                .ok_or(StepError::Type {
                    what: "a column that is not captured",
                })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let kept = ProfileShape {
        columns: places
            .iter()
            .map(|&nth| shape.columns[nth].clone())
            .collect(),
        period: shape.period,
    };
    let rows = rows
        .into_iter()
        .map(|row| ProfileRow {
            values: places.iter().map(|&nth| row.values[nth].clone()).collect(),
            ..row
        })
        .collect();
    Ok((kept, rows))
}

fn event_of(shape: &ProfileShape, row: ProfileRow) -> EventRow {
    let mut event = EventRow {
        time: row.time,
        clock: row.clock,
        code: None,
        values: Vec::new(),
    };
    for (column, value) in shape.columns.iter().zip(row.values) {
        let ObisCode([_, _, c, d, _, _]) = column.object.instance;
        if column.is_clock() {
            continue;
        }
        if (c, d) == (96, 11) && event.code.is_none() {
            event.code = integer_of(&value);
        }
        event.values.push((column.object.clone(), value));
    }
    event
}
