//! What a kind of meter can do and how it wants to be asked: quirks as data, not as branches.
//!
//! The files are `profiles/*.toml`; the configuration reads them, this module checks what they
//! say ([`MeterTemplate::check`]). A session asks the template and nothing else.

mod pushes;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use gridloom_core::{ObisCode, Period};

pub use pushes::{PUSH_OBJECTS_MAX, PushList, PushObject};

/// Bytes of a template's name; a longer one is refused.
pub const TEMPLATE_NAME_BYTES_MAX: usize = 60;

/// The smallest negotiated PDU that carries any request of ours, bytes.
pub const PDU_MIN: u16 = 64;

/// The phases that a meter measures.
pub const PHASES: RangeInclusive<u8> = 1..=3;

/// The fuses that a service can have, in amperes; the largest is behind current transformers.
pub const FUSES_A: RangeInclusive<u16> = 1..=6_000;

/// The nominal voltages between phase and neutral, in volts, up to the end of low voltage
/// (IEC 60038).
pub const VOLTAGES_V: RangeInclusive<u16> = 50..=1_000;

/// One kind of meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterTemplate {
    /// What registry rows call it, such as `is15959-three-phase`.
    pub name: String,
    /// The largest APDU to propose, bytes: [`PDU_MIN`] and more.
    pub max_pdu: u16,
    /// How requests are protected.
    pub ciphering: CipheringForm,
    /// How associations end.
    pub release: ReleaseForm,
    /// How range reads state the deviation from UTC.
    pub deviation: DeviationRule,
    /// What the meter's profiles and services can do.
    pub supports: Support,
    /// Where scalers and units of profile columns are read.
    pub scaler_source: ScalerSource,
    /// The capture period of the load profile.
    pub capture_period: Period,
    /// The load profile (class 7), such as 1-0:99.1.0.255.
    pub load_profile: ObisCode,
    /// What each column of the load profile means to the ledger.
    pub channels: BTreeMap<Channel, ChannelSource>,
    /// Where the public client reads the invocation counter of a security setup.
    pub invocation_counter: ObisCode,
    /// How long to wait for an answer before it counts as lost.
    pub answer_timeout: Duration,
    /// How many connections the meter serves at a time; most serve one.
    pub connections: u8,
    /// What it pushes, beside pushes that name their own objects; at most [`PUSHES_MAX`].
    pub pushes: Vec<PushList>,
    /// Measured phases of a meter whose row does not say them: [`PHASES`].
    pub phases: u8,
    /// Its fuse of each phase, in amperes: [`FUSES_A`].
    pub fuse_a: u16,
    /// Its nominal voltage between phase and neutral, in volts: [`VOLTAGES_V`].
    pub voltage_v: u16,
}

/// Kinds of pushes of one template; more are refused.
pub const PUSHES_MAX: usize = 16;

/// How requests of a ciphered association are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CipheringForm {
    /// Plain: only for meters whose associations are not ciphered.
    None,
    /// Service-specific global ciphering: glo-get-request and its like.
    ServiceGlobal,
    /// Service-specific dedicated ciphering: ded-get-request and its like.
    ServiceDedicated,
    /// general-glo-ciphering (tag 0xDB).
    GeneralGlobal,
    /// general-ded-ciphering (tag 0xDC).
    GeneralDedicated,
}

impl CipheringForm {
    /// Whether the association hands over a dedicated key.
    pub const fn uses_dedicated_key(self) -> bool {
        matches!(self, Self::ServiceDedicated | Self::GeneralDedicated)
    }
}

/// How an association ends. Some meters refuse an RLRQ that carries user information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReleaseForm {
    /// RLRQ with a ciphered InitiateRequest as user information.
    Full,
    /// RLRQ with a reason only: `6203800100`.
    Bare,
    /// No RLRQ: the link is closed.
    Disconnect,
}

/// How a date-time in a range read states the deviation from UTC. Meter and head-end must mean
/// the same, or the range is an hour off or empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviationRule {
    /// 0x8000, "not specified": the date-time is the meter's local time.
    Unspecified,
    /// The meter's own deviation, as its clock object states it; the date-time is local.
    MetersOwn,
    /// Deviation 0: the date-time is UTC.
    Utc,
}

/// What a kind of meter can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Support {
    /// Profiles by time (selective access 1).
    pub range_access: bool,
    /// Profiles by entry numbers (selective access 2).
    pub entry_access: bool,
    /// Several attributes in one GET.
    pub lists: bool,
    /// Answers in blocks; without them an answer ends at the negotiated PDU.
    pub blocks: bool,
    /// Profile rows with null-data for what follows from the row before.
    pub compressed_profiles: bool,
}

/// Where the scaler and unit of a profile column are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScalerSource {
    /// Attribute 3 of each captured register.
    Registers,
    /// A scaler profile (class 7), such as 1-0:94.91.4.255 beside an Indian load profile.
    Profile(ObisCode),
    /// Every energy is in Wh, varh and VAh, every voltage in V: no scaler is read.
    Unity,
}

/// A channel of the ledger, in the stored order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// Active energy imported.
    Import,
    /// Active energy exported.
    Export,
    /// Reactive energy of quadrant I.
    ReactiveQ1,
    /// Reactive energy of quadrant II.
    ReactiveQ2,
    /// Reactive energy of quadrant III.
    ReactiveQ3,
    /// Reactive energy of quadrant IV.
    ReactiveQ4,
    /// Apparent energy imported.
    Apparent,
    /// Mean voltage of phase L1.
    Voltage,
    /// The active import register, for the sum check.
    ImportRegister,
    /// The profile's status column.
    Status,
}

impl Channel {
    /// Every channel, in order, with the name that template files use.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::Import, "import"),
        (Self::Export, "export"),
        (Self::ReactiveQ1, "reactive_q1"),
        (Self::ReactiveQ2, "reactive_q2"),
        (Self::ReactiveQ3, "reactive_q3"),
        (Self::ReactiveQ4, "reactive_q4"),
        (Self::Apparent, "apparent"),
        (Self::Voltage, "voltage"),
        (Self::ImportRegister, "import_register"),
        (Self::Status, "status"),
    ];

    /// The channel that template files call `name`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find_map(|(channel, known)| (known == name).then_some(channel))
    }
}

/// The column that a channel comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelSource {
    /// The captured object.
    pub obis: ObisCode,
    /// The captured attribute, usually 2.
    pub attribute: i8,
    /// Whether the column grows or belongs to its interval.
    pub kind: ColumnKind,
}

/// How a column's values relate to the interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ColumnKind {
    /// A growing register: the interval's value is the difference to the row before.
    Register,
    /// The value of the interval itself.
    Interval,
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The name is empty, too long or not of letters, digits, `-`, `_` and `.`.
    #[error(
        "template {0:?}: the name must have 1 to {TEMPLATE_NAME_BYTES_MAX} letters, digits, \
         '-', '_' or '.'"
    )]
    Name(String),
    /// The PDU is too small.
    #[error("template {name}: max_pdu = {got}; requests need at least {PDU_MIN}")]
    Pdu {
        /// Which template.
        name: String,
        /// What it says.
        got: u16,
    },
    /// The load profile cannot be read at all.
    #[error(
        "template {0}: neither range_access nor entry_access nor blocks: the load profile can \
         only be read whole, and does not fit one PDU; allow one of them"
    )]
    Unreadable(String),
    /// There is no channel that bills anything.
    #[error("template {0}: channels.import is missing; without it nothing can be billed")]
    NoImport(String),
    /// The same column feeds two channels.
    #[error(
        "template {name}: column {obis} attribute {attribute} feeds two channels; name each once"
    )]
    ColumnTwice {
        /// Which template.
        name: String,
        /// The column.
        obis: ObisCode,
        /// Its attribute.
        attribute: i8,
    },
    /// The meter would never answer in time, or nobody waits for it.
    #[error("template {name}: answer_timeout = {got:?}; give it 1 s to 10 min")]
    Timeout {
        /// Which template.
        name: String,
        /// What it says.
        got: Duration,
    },
    /// A push without objects, or too many.
    #[error(
        "template {name}: push {push} has {got} objects; give 1 to {PUSH_OBJECTS_MAX} to each of \
         at most {PUSHES_MAX}"
    )]
    Push {
        /// Which template.
        name: String,
        /// Which push, from 1.
        push: usize,
        /// Its objects.
        got: usize,
    },
    /// No connection at all.
    #[error("template {0}: connections = 0; a meter that serves nobody cannot be read")]
    NoConnection(String),
    /// No service is like that.
    #[error("template {name}: {field} = {got}; give {least} to {most}")]
    Service {
        /// Which template.
        name: String,
        /// `phases`, `fuse_a` or `voltage_v`.
        field: &'static str,
        /// What it says.
        got: u16,
        /// The least it may say.
        least: u16,
        /// The most.
        most: u16,
    },
}

impl MeterTemplate {
    /// A meter that does everything the standard's way: what a template file starts from.
    pub fn standard(name: &str) -> Self {
        let column = |obis, kind| ChannelSource {
            obis: ObisCode(obis),
            attribute: 2,
            kind,
        };
        Self {
            name: name.to_owned(),
            max_pdu: 1_024,
            ciphering: CipheringForm::ServiceGlobal,
            release: ReleaseForm::Full,
            deviation: DeviationRule::Unspecified,
            supports: Support {
                range_access: true,
                entry_access: true,
                lists: true,
                blocks: true,
                compressed_profiles: true,
            },
            scaler_source: ScalerSource::Registers,
            capture_period: Period::QUARTER_HOUR,
            load_profile: ObisCode([1, 0, 99, 1, 0, 255]),
            channels: BTreeMap::from([
                (
                    Channel::Import,
                    column([1, 0, 1, 29, 0, 255], ColumnKind::Interval),
                ),
                (
                    Channel::Export,
                    column([1, 0, 2, 29, 0, 255], ColumnKind::Interval),
                ),
                (
                    Channel::ImportRegister,
                    column([1, 0, 1, 8, 0, 255], ColumnKind::Register),
                ),
                (
                    Channel::Status,
                    column([0, 0, 96, 10, 1, 255], ColumnKind::Interval),
                ),
            ]),
            invocation_counter: ObisCode([0, 0, 43, 1, 0, 255]),
            answer_timeout: Duration::from_secs(20),
            connections: 1,
            pushes: Vec::new(),
            phases: 1,
            fuse_a: 100,
            voltage_v: 230,
        }
    }

    /// Refuses what no session could work with.
    ///
    /// # Errors
    ///
    /// The first fault, by the field's name in the template file.
    pub fn check(&self) -> Result<(), TemplateError> {
        let name = || self.name.clone();
        if !is_template_name(&self.name) {
            return Err(TemplateError::Name(name()));
        }
        if self.max_pdu < PDU_MIN {
            return Err(TemplateError::Pdu {
                name: name(),
                got: self.max_pdu,
            });
        }
        let supports = self.supports;
        if !(supports.range_access || supports.entry_access || supports.blocks) {
            return Err(TemplateError::Unreadable(name()));
        }
        if !(Duration::from_secs(1)..=Duration::from_mins(10)).contains(&self.answer_timeout) {
            return Err(TemplateError::Timeout {
                name: name(),
                got: self.answer_timeout,
            });
        }
        if self.connections == 0 {
            return Err(TemplateError::NoConnection(name()));
        }
        for (index, push) in self.pushes.iter().enumerate() {
            let got = push.0.len();
            if !(1..=PUSH_OBJECTS_MAX).contains(&got) || index >= PUSHES_MAX {
                return Err(TemplateError::Push {
                    name: name(),
                    push: index + 1,
                    got,
                });
            }
        }
        let mut faults = service_faults(self.phases, self.fuse_a, self.voltage_v);
        if let Some((field, got, range)) = faults.next() {
            return Err(TemplateError::Service {
                name: name(),
                field,
                got,
                least: *range.start(),
                most: *range.end(),
            });
        }
        if !self.channels.contains_key(&Channel::Import) {
            return Err(TemplateError::NoImport(name()));
        }
        let mut columns = BTreeSet::new();
        for source in self.channels.values() {
            if !columns.insert((source.obis, source.attribute)) {
                return Err(TemplateError::ColumnTwice {
                    name: name(),
                    obis: source.obis,
                    attribute: source.attribute,
                });
            }
        }
        Ok(())
    }
}

/// A service's values that no service has: each one's name, the value, its range.
pub(crate) fn service_faults(
    phases: u8,
    fuse_a: u16,
    voltage_v: u16,
) -> impl Iterator<Item = (&'static str, u16, RangeInclusive<u16>)> {
    let phase_range = u16::from(*PHASES.start())..=u16::from(*PHASES.end());
    [
        ("phases", phases.into(), phase_range),
        ("fuse_a", fuse_a, FUSES_A),
        ("voltage_v", voltage_v, VOLTAGES_V),
    ]
    .into_iter()
    .filter(|(_, got, range)| !range.contains(got))
}

/// Whether a text can name a template or a group.
pub fn is_template_name(text: &str) -> bool {
    (1..=TEMPLATE_NAME_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_of_a_template_is_named() {
        type Case = (&'static str, fn(&mut MeterTemplate), Option<&'static str>);
        let cases: [Case; 12] = [
            ("standard", |_| {}, None),
            ("name", |t| t.name = "a b".into(), Some("the name must")),
            ("no name", |t| t.name.clear(), Some("the name must")),
            ("pdu", |t| t.max_pdu = 63, Some("max_pdu = 63")),
            (
                "unreadable",
                |t| t.supports = Support::default(),
                Some("neither range_access"),
            ),
            (
                "timeout",
                |t| t.answer_timeout = Duration::ZERO,
                Some("answer_timeout = 0ns"),
            ),
            (
                "connections",
                |t| t.connections = 0,
                Some("connections = 0"),
            ),
            ("phases", |t| t.phases = 0, Some("phases = 0; give 1 to 3")),
            ("fuse", |t| t.fuse_a = 6_001, Some("fuse_a = 6001")),
            (
                "voltage",
                |t| t.voltage_v = 23,
                Some("voltage_v = 23; give 50 to 1000"),
            ),
            (
                "import",
                |t| {
                    t.channels.remove(&Channel::Import);
                },
                Some("channels.import is missing"),
            ),
            (
                "column twice",
                |t| {
                    let source = t.channels[&Channel::Import];
                    t.channels.insert(Channel::Apparent, source);
                },
                Some("feeds two channels"),
            ),
        ];
        for (case, change, fault) in cases {
            let mut template = MeterTemplate::standard("x");
            change(&mut template);
            let found = template.check().err().map(|error| error.to_string());
            match (found, fault) {
                (None, None) => {}
                (Some(found), Some(fault)) => assert!(found.contains(fault), "{case}: {found}"),
                (found, _) => panic!("{case}: {found:?}"),
            }
        }
        for (channel, name) in Channel::ALL {
            assert_eq!(Channel::parse(name), Some(channel));
        }
        assert_eq!(Channel::parse("Import"), None);
    }
}
