//! The catalogue of household appliances: what each draws, for how long, and how willing its
//! owner is to move it. The figures are data (`data/appliances.csv`), with their sources.

use core::fmt;

/// One catalogue row: an appliance as it could stand in any home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appliance {
    /// Stable name, for code and logs.
    pub key: String,
    /// Name for people.
    pub label: String,
    /// Active power at 100 %, in milliwatts.
    pub active_mw: i64,
    /// Reactive power at 100 %, in millivars: positive lagging (inductive), negative leading.
    ///
    /// Rounded once, when the catalogue is read, to the nearest millivar.
    pub reactive_mvar: i64,
    /// cos φ in thousandths, 1–1000.
    pub cos_phi_milli: u16,
    /// Active power while OFF, in milliwatts.
    pub standby_mw: i64,
    /// The programme it runs when it is switched ON.
    pub stages: Vec<Stage>,
    /// How willing its owner is to move it.
    pub flexibility: Flexibility,
    /// Identifier in LoadProfileGenerator's device table; `None` for typical values.
    pub device: Option<u32>,
    /// How the figures were derived.
    pub source: String,
}

impl Appliance {
    /// The programme's length, in seconds.
    pub fn duration_s(&self) -> u32 {
        self.stages.iter().map(|stage| stage.seconds).sum()
    }

    /// The programme's active energy, in millijoules (milliwatt-seconds), rounded towards zero
    /// once per stage.
    pub fn energy_mj(&self) -> i64 {
        self.stages
            .iter()
            .map(|stage| self.active_mw * i64::from(stage.percent) / 100 * i64::from(stage.seconds))
            .sum()
    }
}

/// One stretch of constant power in an appliance's programme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Share of the appliance's full power, 0–100.
    pub percent: u8,
    /// Length in seconds, at least 1.
    pub seconds: u32,
}

/// How willing people are to use an appliance at another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flexibility {
    /// Used when wanted; a high price may prevent a use but does not move it.
    Fixed,
    /// May start anywhere in a window of its day.
    Shiftable {
        /// First hour in which it may start, 0–23.
        first_hour: u8,
        /// Hour before which it must start; above 24 means the next morning. At most 36.
        end_hour: u8,
    },
    /// Switched by a thermostat.
    Thermostatic,
}

/// An appliance's place in the [`Catalogue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApplianceId(u8);

impl ApplianceId {
    /// The place as an index, below [`Catalogue::APPLIANCES_MAX`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ApplianceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a{}", self.0)
    }
}

/// A set of appliances, iterated in catalogue order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ApplianceSet(u64);

impl ApplianceSet {
    /// No appliance.
    pub const EMPTY: Self = Self(0);

    /// Whether `id` is in the set.
    pub const fn contains(self, id: ApplianceId) -> bool {
        self.0 >> id.0 & 1 == 1
    }

    /// The set with `id`.
    #[must_use]
    pub const fn with(self, id: ApplianceId) -> Self {
        Self(self.0 | 1 << id.0)
    }

    /// The set without `id`.
    #[must_use]
    pub const fn without(self, id: ApplianceId) -> Self {
        Self(self.0 & !(1 << id.0))
    }

    /// Number of appliances.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The appliances, in catalogue order.
    pub fn iter(self) -> impl Iterator<Item = ApplianceId> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let next = u8::try_from(left.trailing_zeros()).expect("64 fits a byte");
            // Clears the lowest bit; an empty set ends the walk.
            left &= left.checked_sub(1)?;
            Some(ApplianceId(next))
        })
    }
}

/// The appliances a household may own, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    appliances: Vec<Appliance>,
}

/// Why a catalogue was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// The first line is not the expected header.
    #[error("appliance catalogue: the header is {got:?}; expected {HEADER:?}")]
    Header {
        /// What stands there.
        got: String,
    },
    /// A line has too few or too many fields.
    #[error("appliance catalogue line {line}: {got} fields, expected 10")]
    Fields {
        /// Line number, from 1.
        line: usize,
        /// How many there are.
        got: usize,
    },
    /// A field does not hold what it should.
    #[error("appliance catalogue line {line}: {field} is {got:?}; expected {expected}")]
    Field {
        /// Line number, from 1.
        line: usize,
        /// The column.
        field: &'static str,
        /// What stands there.
        got: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// Two rows have the same key.
    #[error("appliance catalogue line {line}: key {key:?} stands there already; rename one")]
    Duplicate {
        /// Line number of the second.
        line: usize,
        /// The key.
        key: String,
    },
    /// More rows than a set can hold.
    #[error("appliance catalogue line {line}: more than {max} appliances", max = Catalogue::APPLIANCES_MAX)]
    TooMany {
        /// Line number of the first too many.
        line: usize,
    },
}

const HEADER: &str =
    "key,label,active_w,cos_phi_milli,sense,standby_mw,stages,flexibility,device,source";

impl Catalogue {
    /// The most appliances a catalogue may hold; more are refused.
    pub const APPLIANCES_MAX: usize = 64;
    /// The highest wattage accepted: above it a single appliance would blow a house's fuse.
    pub const ACTIVE_W_MAX: i64 = 25_000;
    /// The most stages of a programme.
    pub const STAGES_MAX: usize = 8;

    /// The catalogue that ships with the program.
    ///
    /// # Panics
    ///
    /// If the shipped file is broken, which a test rules out.
    pub fn builtin() -> Self {
        Self::parse(include_str!("../data/appliances.csv")).expect("the shipped catalogue is valid")
    }

    /// Reads a catalogue, strictly: ten comma-separated fields a line, no quoting, no empty lines.
    ///
    /// # Errors
    ///
    /// [`CatalogueError`], naming the line and the field.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        if header != HEADER {
            return Err(CatalogueError::Header {
                got: header.to_owned(),
            });
        }
        let mut appliances: Vec<Appliance> = Vec::new();
        for (index, text) in lines.enumerate() {
            let line = index + 2;
            let appliance = parse_row(line, text)?;
            if appliances.iter().any(|other| other.key == appliance.key) {
                return Err(CatalogueError::Duplicate {
                    line,
                    key: appliance.key,
                });
            }
            if appliances.len() == Self::APPLIANCES_MAX {
                return Err(CatalogueError::TooMany { line });
            }
            appliances.push(appliance);
        }
        Ok(Self { appliances })
    }

    /// The appliance called `key`.
    pub fn find(&self, key: &str) -> Option<ApplianceId> {
        let index = self.appliances.iter().position(|a| a.key == key)?;
        u8::try_from(index).ok().map(ApplianceId)
    }

    /// One appliance.
    ///
    /// # Panics
    ///
    /// If `id` comes from a longer catalogue.
    pub fn get(&self, id: ApplianceId) -> &Appliance {
        &self.appliances[id.index()]
    }

    /// Every appliance, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (ApplianceId, &Appliance)> {
        (0_u8..).map(ApplianceId).zip(&self.appliances)
    }

    /// Number of appliances.
    pub fn len(&self) -> usize {
        self.appliances.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.appliances.is_empty()
    }
}

fn parse_row(line: usize, text: &str) -> Result<Appliance, CatalogueError> {
    let fields: Vec<&str> = text.split(',').collect();
    let &[
        key,
        label,
        active,
        cos_phi,
        sense,
        standby,
        stages,
        flexibility,
        device,
        source,
    ] = fields.as_slice()
    else {
        return Err(CatalogueError::Fields {
            line,
            got: fields.len(),
        });
    };
    let refuse = |field, got: &str, expected| CatalogueError::Field {
        line,
        field,
        got: got.to_owned(),
        expected,
    };
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
        return Err(refuse("key", key, "lower-case letters and underscores"));
    }
    if label.is_empty() {
        return Err(refuse("label", label, "a name for people"));
    }
    let active_w = number(active)
        .filter(|w| (1..=Catalogue::ACTIVE_W_MAX).contains(w))
        .ok_or_else(|| refuse("active_w", active, "whole watts, 1-25000"))?;
    let cos_phi_milli = number(cos_phi)
        .and_then(|milli| u16::try_from(milli).ok())
        .filter(|milli| (1..=1000).contains(milli))
        .ok_or_else(|| refuse("cos_phi_milli", cos_phi, "thousandths, 1-1000"))?;
    let sign = match (sense, cos_phi_milli) {
        ("none", 1000) => 0,
        ("lagging", ..1000) => 1,
        ("leading", ..1000) => -1,
        _ => {
            return Err(refuse(
                "sense",
                sense,
                "lagging or leading, and none where cos phi is 1",
            ));
        }
    };
    let standby_mw = number(standby)
        .filter(|mw| *mw <= active_w * 1_000)
        .ok_or_else(|| refuse("standby_mw", standby, "milliwatts, at most the full power"))?;
    let active_mw = active_w * 1_000;
    Ok(Appliance {
        key: key.to_owned(),
        label: label.to_owned(),
        active_mw,
        reactive_mvar: sign * reactive_magnitude(active_mw, cos_phi_milli),
        cos_phi_milli,
        standby_mw,
        stages: parse_stages(stages).ok_or_else(|| {
            refuse(
                "stages",
                stages,
                "1-8 of PERCENTxSECONDS joined by semicolons",
            )
        })?,
        flexibility: parse_flexibility(flexibility).ok_or_else(|| {
            refuse(
                "flexibility",
                flexibility,
                "fixed, thermostatic or shiftable:FIRST-END",
            )
        })?,
        device: match device {
            "" => None,
            digits => Some(
                number(digits)
                    .and_then(|id| u32::try_from(id).ok())
                    .ok_or_else(|| refuse("device", device, "a device number, or nothing"))?,
            ),
        },
        source: source.to_owned(),
    })
}

/// |Q| = P · tan(arccos cos φ), to the nearest millivar.
fn reactive_magnitude(active_mw: i64, cos_phi_milli: u16) -> i64 {
    let cos_phi = f64::from(cos_phi_milli) / 1_000.0;
    let tan_phi = libm::sqrt(1.0 - cos_phi * cos_phi) / cos_phi;
    crate::power::round_to_i64(active_mw as f64 * tan_phi)
}

fn parse_stages(text: &str) -> Option<Vec<Stage>> {
    let stages: Option<Vec<Stage>> = text
        .split(';')
        .map(|part| {
            let (percent, seconds) = part.split_once('x')?;
            let percent = u8::try_from(number(percent)?).ok()?;
            let seconds = u32::try_from(number(seconds)?).ok()?;
            (percent <= 100 && (1..=86_400).contains(&seconds))
                .then_some(Stage { percent, seconds })
        })
        .collect();
    stages.filter(|stages| stages.len() <= Catalogue::STAGES_MAX)
}

fn parse_flexibility(text: &str) -> Option<Flexibility> {
    match text {
        "fixed" => Some(Flexibility::Fixed),
        "thermostatic" => Some(Flexibility::Thermostatic),
        _ => {
            let (first, end) = text.strip_prefix("shiftable:")?.split_once('-')?;
            let first_hour = u8::try_from(number(first)?).ok()?;
            let end_hour = u8::try_from(number(end)?).ok()?;
            (first_hour < 24 && first_hour < end_hour && end_hour <= 36).then_some(
                Flexibility::Shiftable {
                    first_hour,
                    end_hour,
                },
            )
        }
    }
}

/// Plain digits only: no sign, no blank.
fn number(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_catalogue_is_whole() {
        let catalogue = Catalogue::builtin();
        assert!((20..=40).contains(&catalogue.len()), "{}", catalogue.len());
        for (id, appliance) in catalogue.iter() {
            assert_eq!(catalogue.find(&appliance.key), Some(id));
            assert!(appliance.source.contains("typical") || appliance.device.is_some());
        }
    }

    #[test]
    fn reactive_power_follows_from_cos_phi() {
        let catalogue = Catalogue::builtin();
        let cases = [
            ("kettle", 0),
            // LoadProfileGenerator gives device 428 82 W and 26 var.
            ("fridge_freezer", 26_000),
            // Leading: negative.
            ("phone_charger", -2_000),
        ];
        for (key, expected) in cases {
            let got = catalogue.get(catalogue.find(key).unwrap()).reactive_mvar;
            assert!((got - expected).abs() < 150, "{key}: {got}");
        }
    }

    #[test]
    fn programmes_have_an_energy() {
        let catalogue = Catalogue::builtin();
        // Watt-hours of one run, from the measured profiles.
        let cases = [
            ("kettle", 112..118),
            ("washing_machine", 650..690),
            ("dishwasher", 950..1_000),
        ];
        for (key, expected) in cases {
            let wh = catalogue.get(catalogue.find(key).unwrap()).energy_mj() / 3_600_000;
            assert!(expected.contains(&wh), "{key}: {wh}");
        }
    }

    #[test]
    fn broken_rows_are_named() {
        let cases = [
            ("kettle,Kettle,2000,1000,none,0,100x60,fixed,1,x", None),
            (
                "kettle,Kettle,2000,1000,none,0,100x60,fixed,1",
                Some("9 fields"),
            ),
            (
                "Kettle,Kettle,2000,1000,none,0,100x60,fixed,1,x",
                Some("key"),
            ),
            (
                "kettle,Kettle,-1,1000,none,0,100x60,fixed,1,x",
                Some("active_w"),
            ),
            (
                "kettle,Kettle,99999,1000,none,0,100x60,fixed,1,x",
                Some("active_w"),
            ),
            (
                "kettle,Kettle,2000,1001,none,0,100x60,fixed,1,x",
                Some("cos_phi_milli"),
            ),
            (
                "kettle,Kettle,2000,900,none,0,100x60,fixed,1,x",
                Some("sense"),
            ),
            (
                "kettle,Kettle,2000,1000,lagging,0,100x60,fixed,1,x",
                Some("sense"),
            ),
            (
                "kettle,Kettle,2000,1000,none,2000001,100x60,fixed,1,x",
                Some("standby_mw"),
            ),
            (
                "kettle,Kettle,2000,1000,none,0,101x60,fixed,1,x",
                Some("stages"),
            ),
            ("kettle,Kettle,2000,1000,none,0,,fixed,1,x", Some("stages")),
            (
                "kettle,Kettle,2000,1000,none,0,1x1,shiftable:9-9,1,x",
                Some("flexibility"),
            ),
            (
                "kettle,Kettle,2000,1000,none,0,1x1,fixed,x,x",
                Some("device"),
            ),
        ];
        for (row, expected) in cases {
            let got = Catalogue::parse(&format!("{HEADER}\n{row}\n")).map_err(|e| e.to_string());
            match expected {
                None => assert!(got.is_ok(), "{row}: {got:?}"),
                Some(words) => assert!(got.unwrap_err().contains(words), "{row}"),
            }
        }
        let row = "kettle,Kettle,2000,1000,none,0,100x60,fixed,1,x";
        assert!(matches!(
            Catalogue::parse(&format!("{HEADER}\n{row}\n{row}\n")),
            Err(CatalogueError::Duplicate { line: 3, .. })
        ));
        assert!(matches!(
            Catalogue::parse("a,b\n"),
            Err(CatalogueError::Header { .. })
        ));
    }

    #[test]
    fn sets_iterate_in_order() {
        let ids = [ApplianceId(63), ApplianceId(0), ApplianceId(5)];
        let set = ids
            .into_iter()
            .fold(ApplianceSet::EMPTY, ApplianceSet::with);
        assert_eq!(
            set.iter().map(ApplianceId::index).collect::<Vec<_>>(),
            [0, 5, 63]
        );
        assert_eq!(set.len(), 3);
        assert!(!set.without(ApplianceId(5)).contains(ApplianceId(5)));
        assert_eq!(ApplianceSet::EMPTY.iter().count(), 0);
    }
}
