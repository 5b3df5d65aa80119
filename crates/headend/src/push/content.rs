//! From the plaintext of a notification to intervals and events.

use core::fmt::Write as _;

use gridloom_core::{IntervalReading, MeterId, ObisCode, UtcTime, Watts};
use gridloom_dlms::alert::{ALERT_SETUP, AlertPush};
use gridloom_dlms::apdu::{ApduError, DataNotification, EventNotification, LongInvokeId};
use gridloom_dlms::axdr::{AxdrError, Data};
use gridloom_dlms::push::{BillingStatus, IntervalPush, PUSH_SETUP};
use gridloom_dlms::selection::CaptureObject;

use super::objects::{fits, own_list};
use crate::profile::{
    Column, IntervalMeaning, Nulls, ProfileShape, RowReading, integer_of, intervals_of, rows_of,
};
use crate::template::{Channel, MeterTemplate, PushObject};

/// Events of one push; more are counted as left out by whoever takes them.
pub const EVENTS_PER_PUSH_MAX: usize = 16;

/// Characters of an event's value; a longer one is cut off.
const VALUE_CHARS_MAX: usize = 80;

/// What is known of the meter that pushes.
#[derive(Debug, Clone, Copy)]
pub struct PushMeaning<'a> {
    /// Whose words they are.
    pub meter: MeterId,
    /// What its objects mean.
    pub template: &'a MeterTemplate,
    /// The load profile as a session has seen it: its columns and their scalers.
    pub shape: Option<&'a ProfileShape>,
}

/// What a notification says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PushContent {
    /// By which the meter knows a confirmation; `None` where it wants none.
    pub confirm: Option<LongInvokeId>,
    /// Intervals, oldest first.
    pub readings: Vec<IntervalReading>,
    /// The active power that gridloom's own push states, and its bill.
    pub now: Option<(Watts, BillingStatus)>,
    /// What happened at the meter, at most [`EVENTS_PER_PUSH_MAX`].
    pub events: Vec<PushedEvent>,
    /// Why its profile has to be read for what this push announces.
    pub read_because: Option<String>,
}

/// The state of an object that tells of events: an alarm register, an event code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedEvent {
    /// The object.
    pub object: ObisCode,
    /// When, by the meter; `None` if it does not say.
    pub at: Option<UtcTime>,
    /// Its value in words, at most 80 characters.
    pub value: String,
    /// Whether the value says that something is the matter, and not that it is over.
    pub is_raised: bool,
}

/// Why a notification says nothing that can be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushFault {
    /// Not a notification at all.
    #[error("object: an APDU with tag {0:#04X} came unasked; a meter pushes notifications only")]
    Service(u8),
    /// The APDU.
    #[error(transparent)]
    Apdu(#[from] ApduError),
    /// The body is no A-XDR value.
    #[error("object: the push is no A-XDR value: {0}")]
    Body(#[from] AxdrError),
    /// Nobody says which objects these are.
    #[error(
        "object: a push of {members} values, and template {template} names no push like it; add \
         its push_object_list as [[push]] objects = [...]"
    )]
    UnknownObjects {
        /// Values of the push.
        members: usize,
        /// The meter's template.
        template: String,
    },
}

/// Reads the plaintext of a notification.
///
/// # Errors
///
/// Anything but a notification of objects that are known.
pub fn content_of(plain: &[u8], meaning: PushMeaning<'_>) -> Result<PushContent, PushFault> {
    let mut content = PushContent::default();
    match plain.first().copied() {
        Some(DataNotification::TAG) => {
            let notification = DataNotification::decode(plain)?;
            let wants_answer = notification.invoke_id.0 & CONFIRMED != 0;
            content.confirm = wants_answer.then_some(notification.invoke_id);
            if let Ok(alert) = AlertPush::decode(notification.body) {
                content.events = alarms_of(&alert);
                return Ok(content);
            }
            if let Ok(push) = IntervalPush::decode(notification.body) {
                content.readings.push(push.reading(meaning.meter));
                content.now = Some((push.power, push.billing));
                return Ok(content);
            }
            let at = notification.time.and_then(|time| time.to_utc().ok());
            take_body(notification.data()?, at, meaning, &mut content)?;
        }
        Some(EventNotification::TAG) => {
            let event = EventNotification::decode(plain)?;
            let at = event.time.and_then(|time| time.to_utc().ok());
            let object = PushObject {
                class_id: event.attribute.class_id,
                instance: event.attribute.instance,
                attribute: event.attribute.attribute,
            };
            let value = event.value;
            if meaning.is_profile(&object) {
                take_members(&[object], &[value], at, meaning, &mut content);
            } else {
                // Whatever a meter tells by this service is an event.
                content.events.push(event_of(&object, &value, at));
            }
        }
        other => return Err(PushFault::Service(other.unwrap_or_default())),
    }
    Ok(content)
}

/// Bit 30 of a long-invoke-id: the service is confirmed.
const CONFIRMED: u32 = 0x4000_0000;

fn take_body(
    body: Data,
    at: Option<UtcTime>,
    meaning: PushMeaning<'_>,
    content: &mut PushContent,
) -> Result<(), PushFault> {
    let members = if let Data::Structure(members) = body {
        members
    } else {
        vec![body]
    };
    let own = members.first().and_then(own_list);
    let own = own.filter(|list| list.0.len() == members.len());
    let mut named = meaning.template.pushes.iter();
    let list = own
        .as_ref()
        .or_else(|| named.find(|list| fits(list, &members)));
    let Some(list) = list else {
        return Err(PushFault::UnknownObjects {
            members: members.len(),
            template: meaning.template.name.clone(),
        });
    };
    take_members(&list.0, &members, at, meaning, content);
    Ok(())
}

fn take_members(
    objects: &[PushObject],
    members: &[Data],
    at: Option<UtcTime>,
    meaning: PushMeaning<'_>,
    content: &mut PushContent,
) {
    let mut row: Vec<(Column, Data)> = Vec::new();
    for (object, value) in objects.iter().zip(members) {
        if meaning.is_profile(object) {
            match meaning.shape {
                Some(shape) => take_rows(shape, value, meaning, content),
                None => {
                    content.read_because = Some(
                        "it pushes rows of its profile, whose columns no session has read yet"
                            .to_owned(),
                    );
                }
            }
        } else if meaning.is_column(object) {
            row.push((meaning.column(object), value.clone()));
        } else if tells_events(object) && content.events.len() < EVENTS_PER_PUSH_MAX {
            content.events.push(event_of(object, value, at));
        }
    }
    let has_import = meaning
        .template
        .channels
        .get(&Channel::Import)
        .is_some_and(|source| {
            row.iter().any(|(column, _)| {
                (column.object.instance, column.object.attribute) == (source.obis, source.attribute)
            })
        });
    if has_import {
        let (columns, values) = row.into_iter().unzip();
        let shape = ProfileShape {
            columns,
            period: Some(meaning.template.capture_period.duration()),
        };
        let buffer = Data::Array(vec![Data::Structure(values)]);
        take_rows(&shape, &buffer, meaning, content);
    }
}

/// Rows become intervals; those that cannot be are read from the profile instead.
fn take_rows(
    shape: &ProfileShape,
    buffer: &Data,
    meaning: PushMeaning<'_>,
    content: &mut PushContent,
) {
    let reading = RowReading {
        nulls: if meaning.template.supports.compressed_profiles {
            Nulls::RowBefore
        } else {
            Nulls::Absent
        },
        // A push has no session that would know the meter's own: 0 as for every row without one.
        deviation: 0,
    };
    let rows = match rows_of(buffer, shape, reading) {
        Ok(rows) => rows,
        Err(error) => {
            content.read_because = Some(error.to_string());
            return;
        }
    };
    let of = IntervalMeaning {
        meter: meaning.meter,
        template: meaning.template,
        after: None,
        anchor: None,
    };
    match intervals_of(shape, &rows, of) {
        Ok(intervals) => {
            if let Some(row) = intervals.exceptions.first() {
                content.read_because = Some(row.fault.to_string());
            }
            content.readings.extend(intervals.readings);
        }
        Err(error) => content.read_because = Some(error.to_string()),
    }
}

impl PushMeaning<'_> {
    fn is_profile(&self, object: &PushObject) -> bool {
        (object.class_id, object.instance, object.attribute) == (7, self.template.load_profile, 2)
    }

    /// Whether it belongs into a row of the profile: the clock, or what a channel comes from.
    fn is_column(&self, object: &PushObject) -> bool {
        let is_clock = (object.class_id, object.attribute) == (8, 2);
        let mut sources = self.template.channels.values();
        is_clock
            || sources.any(|source| {
                (source.obis, source.attribute) == (object.instance, object.attribute)
            })
    }

    /// The column, with the scaler that a session has read.
    fn column(&self, object: &PushObject) -> Column {
        let known = self.shape.and_then(|shape| {
            shape.columns.iter().find(|column| {
                (column.object.instance, column.object.attribute)
                    == (object.instance, object.attribute)
            })
        });
        Column {
            object: CaptureObject {
                class_id: object.class_id,
                instance: object.instance,
                attribute: object.attribute,
                data_index: 0,
            },
            scaler: known.and_then(|column| column.scaler),
        }
    }
}

/// Objects whose value is an event: error and alarm objects 0-b:97.97.x and 97.98.x, event codes
/// 0-b:96.11.x, the event status word 0-b:94.91.18.
fn tells_events(object: &PushObject) -> bool {
    let ObisCode([a, _, c, d, e, _]) = object.instance;
    object.attribute == 2
        && object.instance != PUSH_SETUP
        && a == 0
        && (matches!((c, d), (97, 97 | 98) | (96, 11)) || (c, d, e) == (94, 91, 18))
}

/// The alarms of gridloom's own alert; that none is left is an event too.
fn alarms_of(alert: &AlertPush) -> Vec<PushedEvent> {
    let event = |value: &str, is_raised| PushedEvent {
        object: ALERT_SETUP,
        at: Some(alert.time),
        value: value.to_owned(),
        is_raised,
    };
    let alarms = alert.alarms().map(|alarm| event(alarm.text(), true));
    let mut events: Vec<PushedEvent> = alarms.take(EVENTS_PER_PUSH_MAX).collect();
    if events.is_empty() {
        events.push(event("no alarm is left", false));
    }
    events
}

fn event_of(object: &PushObject, value: &Data, at: Option<UtcTime>) -> PushedEvent {
    let is_raised = if let Data::BitString(bits) = value {
        bits.bytes().iter().any(|byte| *byte != 0)
    } else {
        *value != Data::Null && integer_of(value) != Some(0)
    };
    PushedEvent {
        object: object.instance,
        at,
        value: words_of(value),
        is_raised,
    }
}

/// A value as an operator reads it.
fn words_of(value: &Data) -> String {
    let mut words = String::new();
    let hex = |words: &mut String, bytes: &[u8]| {
        for byte in bytes.iter().take(VALUE_CHARS_MAX / 2) {
            let _ = write!(words, "{byte:02X}");
        }
    };
    match (integer_of(value), value) {
        (Some(number), Data::DoubleLongUnsigned(_) | Data::Long64Unsigned(_)) => {
            let _ = write!(words, "{number} ({number:#010X})");
        }
        (Some(number), _) => words = number.to_string(),
        (None, Data::BitString(bits)) => hex(&mut words, bits.bytes()),
        (None, Data::OctetString(bytes)) => hex(&mut words, bytes),
        (None, other) => words = format!("{other:?}"),
    }
    words.chars().take(VALUE_CHARS_MAX).collect()
}
