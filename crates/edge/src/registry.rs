//! The meters an edge serves, in few bytes each: a million of them stay in memory.

use std::collections::BTreeMap;

use gridloom_core::{MeterId, Millivolts, Period, SystemTitle, Watts};
use gridloom_dlms::security::{Keys, RawKeys};
use zeroize::Zeroize;

use crate::index::{HashKey, SlotTable};

/// A gateway's number. Its links come and go; its number and name stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayId(pub u16);

/// A transformer's number in the utility's network model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransformerId(pub u32);

/// What a meter is to a transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Placement {
    /// It measures a customer whom the transformer supplies.
    Below(TransformerId),
    /// It measures what the transformer delivers.
    At(TransformerId),
}

/// What a transformer's circuit may lose, from a model of its network: at most
/// `fixed_watts + nanos × W² / 10⁹` watts while the transformer delivers W watts on the mean of an
/// interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LossLimit {
    /// Without any consumption, in watts.
    pub fixed_watts: u64,
    /// Nanowatts of losses per watt squared.
    pub nanos: u64,
}

impl LossLimit {
    /// The most of an interval, in watt-hours, rounded down.
    pub fn watt_hours(self, delivered_wh: i64, period: Period) -> i64 {
        let seconds = i128::from(period.as_secs());
        let watts = i128::from(delivered_wh) * 3_600 / seconds;
        let lost = watts * watts * i128::from(self.nanos) / 1_000_000_000;
        let lost = (lost + i128::from(self.fixed_watts)) * seconds / 3_600;
        i64::try_from(lost).unwrap_or(i64::MAX)
    }
}

/// How many phases a connection has: how its apparent power adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phases {
    /// One: P, Q and S are the sides of one triangle.
    One,
    /// Three: S is the vector sum or, with most meters, the arithmetic one of the phases' own.
    Three,
}

/// Where a meter stands, and what its connection can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// The gateway that carries it; `None` learns it from the first packet that is believed.
    pub home: Option<GatewayId>,
    /// Its transformer, if its balance is watched.
    pub transformer: Option<Placement>,
    /// The most power that its fuse lets through, at the upper end of the voltage band, whole
    /// watts below 2³².
    pub power_max: Watts,
    /// Nominal phase voltage, in whole tenths of a volt below 6 553.6 V.
    pub voltage: Millivolts,
    /// How many phases it has.
    pub phases: Phases,
}

impl Default for Site {
    /// Three phases of 100 A at 230 V + 10 %, home learnt, no transformer.
    fn default() -> Self {
        Self {
            home: None,
            transformer: None,
            power_max: Watts::new(3 * 100 * 253),
            voltage: Millivolts::new(230_000),
            phases: Phases::Three,
        }
    }
}

/// A meter as it was enrolled.
pub struct Registration {
    /// Its number at the utility.
    pub meter: MeterId,
    /// Its system title.
    pub title: SystemTitle,
    /// Its keys.
    pub keys: Keys,
    /// The capture period it was set to.
    pub period: Period,
    /// Where it stands.
    pub site: Site,
}

/// Why a registry cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two meters claim one title.
    #[error("registry: system title {0} stands twice; enrol one of the two under its own title")]
    TitleTwice(SystemTitle),
    /// Two titles claim one meter number.
    #[error("registry: meter {0} stands twice; retire the old device before its successor")]
    MeterTwice(MeterId),
    /// More meters than one edge takes.
    #[error("registry: more than {most} meters; divide them among several edges")]
    Full {
        /// The most there may be.
        most: usize,
    },
    /// A connection that the registry cannot hold.
    #[error("registry: meter {meter}: {field} is {got}; give it from 1 to {most}")]
    Site {
        /// Whose.
        meter: MeterId,
        /// Which field.
        field: &'static str,
        /// Its value.
        got: i64,
        /// The most it may be.
        most: i64,
    },
}

/// A device's place in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceIndex(pub(crate) u32);

impl DeviceIndex {
    pub(crate) fn at(self) -> usize {
        usize::try_from(self.0).expect("32 bits fit")
    }
}

/// One meter in one cache line. `u16::MAX` and `u32::MAX` mean "none".
#[repr(align(64))]
struct Record {
    title: SystemTitle,
    encryption: [u8; 16],
    authentication: [u8; 16],
    meter: u32,
    transformer: u32,
    power_max: u32,
    period: u16,
    home: u16,
    decivolts: u16,
    /// The transformer's own meter.
    at_transformer: bool,
    single_phase: bool,
    /// Its keys are in [`Registry::others`].
    other_keys: bool,
}

/// The meters an edge serves.
#[derive(Default)]
pub struct Registry {
    /// By meter number.
    records: Vec<Record>,
    titles: SlotTable,
    key: HashKey,
    /// Keys that are not a pair of 16 bytes each: suite 2, or with a broadcast key.
    others: BTreeMap<u32, Keys>,
    /// Of transformers whose network is modelled.
    losses: BTreeMap<TransformerId, LossLimit>,
}

impl Registry {
    /// The most meters of one edge; more are refused.
    pub const METERS_MAX: usize = SlotTable::NUMBERS_MAX;

    /// A registry of these meters.
    ///
    /// # Errors
    ///
    /// If a title or a meter number occurs twice, if there are more than [`Self::METERS_MAX`], or
    /// a site is out of its range.
    pub fn new(meters: impl IntoIterator<Item = Registration>) -> Result<Self, RegistryError> {
        let mut records = Vec::new();
        let mut with_others = BTreeMap::new();
        for registration in meters {
            if records.len() == Self::METERS_MAX {
                return Err(RegistryError::Full {
                    most: Self::METERS_MAX,
                });
            }
            let record = Record::of(&registration)?;
            if record.other_keys {
                with_others.insert(registration.title, registration.keys);
            }
            records.push(record);
        }
        records.shrink_to_fit();
        records.sort_by_key(|record| record.meter);
        if let Some(twin) = records.windows(2).find(|w| w[0].meter == w[1].meter) {
            return Err(RegistryError::MeterTwice(MeterId(twin[0].meter)));
        }
        let mut registry = Self {
            records,
            ..Self::default()
        };
        registry.rekey(HashKey::default())?;
        for (title, keys) in with_others {
            let index = registry.find(title).expect("it was just put there");
            registry.others.insert(index.0, keys);
        }
        Ok(registry)
    }

    /// The same, with what a model of the network says about transformers' losses. A transformer
    /// without a limit here has that of the screening's settings.
    #[must_use]
    pub fn with_losses(
        mut self,
        losses: impl IntoIterator<Item = (TransformerId, LossLimit)>,
    ) -> Self {
        self.losses = losses.into_iter().collect();
        self
    }

    /// What a transformer's circuit may lose, if its network is modelled.
    pub fn losses(&self, transformer: TransformerId) -> Option<LossLimit> {
        self.losses.get(&transformer).copied()
    }

    /// Builds the table of titles anew under a secret.
    pub(crate) fn rekey(&mut self, key: HashKey) -> Result<(), RegistryError> {
        self.key = key;
        self.titles = SlotTable::for_count(self.records.len());
        for (number, record) in (0..).zip(&self.records) {
            let hash = key.hash(&[word(record.title)]);
            let twin = |other: u32| self.records[DeviceIndex(other).at()].title == record.title;
            if self.titles.find(hash, twin).is_some() {
                return Err(RegistryError::TitleTwice(record.title));
            }
            self.titles.insert(hash, number);
        }
        Ok(())
    }

    /// The place of the meter with this title.
    pub fn find(&self, title: SystemTitle) -> Option<DeviceIndex> {
        let hash = self.key.hash(&[word(title)]);
        self.titles
            .find(hash, |number| {
                self.records[DeviceIndex(number).at()].title == title
            })
            .map(DeviceIndex)
    }

    /// The place of the meter with this number.
    pub fn find_meter(&self, meter: MeterId) -> Option<DeviceIndex> {
        // Numbers mostly follow each other, so the distance from the first is mostly the place.
        let first = self.records.first()?.meter;
        let guess = usize::try_from(meter.0.checked_sub(first)?).ok()?;
        let at = match self.records.get(guess) {
            Some(record) if record.meter == meter.0 => guess,
            Some(_) | None => self
                .records
                .binary_search_by_key(&meter.0, |record| record.meter)
                .ok()?,
        };
        u32::try_from(at).ok().map(DeviceIndex)
    }

    /// The title of a meter.
    pub fn title_of(&self, meter: MeterId) -> Option<SystemTitle> {
        self.find_meter(meter).map(|device| self.title(device))
    }

    /// The title at a place.
    pub fn title(&self, device: DeviceIndex) -> SystemTitle {
        self.records[device.at()].title
    }

    /// The meter at a place.
    pub fn meter(&self, device: DeviceIndex) -> MeterId {
        MeterId(self.records[device.at()].meter)
    }

    /// The capture period of the meter at a place.
    pub fn period(&self, device: DeviceIndex) -> Period {
        Period::from_secs(self.records[device.at()].period.into())
            .expect("it was a period when it came")
    }

    /// The keys of the meter at a place.
    pub fn keys(&self, device: DeviceIndex) -> Keys {
        let record = &self.records[device.at()];
        if record.other_keys {
            self.others[&device.0].clone()
        } else {
            Keys::new(record.encryption, record.authentication)
        }
    }

    /// Puts other keys in the place of a meter's, and gives back those that were there.
    pub(crate) fn replace_keys(&mut self, device: DeviceIndex, keys: Keys) -> Keys {
        let old = self.keys(device);
        let record = &mut self.records[device.at()];
        match Record::short_keys(&keys) {
            Some((encryption, authentication)) => {
                (record.encryption, record.authentication) = (encryption, authentication);
                record.other_keys = false;
                self.others.remove(&device.0);
            }
            None => {
                (record.encryption, record.authentication) = ([0; 16], [0; 16]);
                record.other_keys = true;
                self.others.insert(device.0, keys);
            }
        }
        old
    }

    /// The keys of the meter at a place, where they lie; `None` if they are not a pair of 16 bytes.
    pub(crate) fn raw_keys(&self, device: DeviceIndex) -> Option<RawKeys<'_>> {
        let record = &self.records[device.at()];
        (!record.other_keys).then_some(RawKeys {
            encryption: &record.encryption,
            authentication: &record.authentication,
        })
    }

    /// The place that a title most likely has, without a look at its record.
    pub(crate) fn guess(&self, title: SystemTitle) -> Option<DeviceIndex> {
        let hash = self.key.hash(&[word(title)]);
        self.titles.find(hash, |_| true).map(DeviceIndex)
    }

    /// Reads the beginning of a record; for nothing but to have it in the cache.
    pub(crate) fn touch(&self, device: DeviceIndex) -> u32 {
        self.records[device.at()].meter
    }

    /// Where the meter at a place stands.
    pub fn site(&self, device: DeviceIndex) -> Site {
        let record = &self.records[device.at()];
        Site {
            home: (record.home != u16::MAX).then_some(GatewayId(record.home)),
            transformer: (record.transformer != u32::MAX).then(|| {
                let transformer = TransformerId(record.transformer);
                if record.at_transformer {
                    Placement::At(transformer)
                } else {
                    Placement::Below(transformer)
                }
            }),
            power_max: Watts::new(record.power_max.into()),
            voltage: Millivolts::new(i64::from(record.decivolts) * 100),
            phases: if record.single_phase {
                Phases::One
            } else {
                Phases::Three
            },
        }
    }

    /// Every place, by meter number.
    pub fn devices(&self) -> impl Iterator<Item = DeviceIndex> + use<> {
        (0..u32::try_from(self.records.len()).unwrap_or(u32::MAX)).map(DeviceIndex)
    }

    /// Number of meters.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl Record {
    /// The two keys, where the record itself has room for all that there are.
    fn short_keys(keys: &Keys) -> Option<([u8; 16], [u8; 16])> {
        let encryption = keys.encryption().as_bytes().try_into().ok()?;
        let authentication = keys.authentication().as_bytes().try_into().ok()?;
        keys.broadcast()
            .is_none()
            .then_some((encryption, authentication))
    }

    fn of(registration: &Registration) -> Result<Self, RegistryError> {
        let site = &registration.site;
        let meter = registration.meter;
        let bounded = |field, got: i64, most: i64| {
            if (1..=most).contains(&got) {
                Ok(got)
            } else {
                Err(RegistryError::Site {
                    meter,
                    field,
                    got,
                    most,
                })
            }
        };
        let power_max = bounded("power_max", site.power_max.get(), u32::MAX.into())?;
        let decivolts = bounded("voltage", site.voltage.get() / 100, u16::MAX.into())?;
        let short = Self::short_keys(&registration.keys);
        let other_keys = short.is_none();
        let (encryption, authentication) = short.unwrap_or_default();
        let (transformer, at_transformer) = match site.transformer {
            None => (u32::MAX, false),
            Some(Placement::Below(transformer)) => (transformer.0, false),
            Some(Placement::At(transformer)) => (transformer.0, true),
        };
        Ok(Self {
            title: registration.title,
            encryption,
            authentication,
            meter: meter.0,
            transformer,
            power_max: u32::try_from(power_max).expect("bounded above"),
            period: u16::try_from(registration.period.as_secs()).expect("an hour at most"),
            home: site.home.map_or(u16::MAX, |home| home.0),
            decivolts: u16::try_from(decivolts).expect("bounded above"),
            at_transformer,
            single_phase: site.phases == Phases::One,
            other_keys,
        })
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.encryption.zeroize();
        self.authentication.zeroize();
    }
}

/// A title as a number, for hashing.
pub(crate) const fn word(title: SystemTitle) -> u64 {
    u64::from_be_bytes(title.0)
}

impl std::fmt::Debug for Registry {
    /// How many meters; never their keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("meters", &self.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_dlms::security::SymmetricKey;

    fn registration(meter: u32) -> Registration {
        Registration {
            meter: MeterId(meter),
            title: SystemTitle::new(*b"GLM", u64::from(meter) + 100),
            keys: Keys::new([1; 16], [2; 16]),
            period: Period::HALF_HOUR,
            site: Site::default(),
        }
    }

    #[test]
    fn what_is_enrolled_is_found_by_title_and_by_number() {
        let mut meters: Vec<_> = [9, 3, 4, 5, 70].map(registration).into();
        meters[1].keys = Keys::long([3; 32], [4; 32]);
        meters[2].keys = Keys::new([5; 16], [6; 16])
            .with_broadcast(SymmetricKey::short([7; 16]))
            .unwrap();
        meters[3].site = Site {
            home: Some(GatewayId(0)),
            transformer: Some(Placement::At(TransformerId(8))),
            power_max: Watts::new(u32::MAX.into()),
            voltage: Millivolts::new(6_553_500),
            phases: Phases::One,
        };
        let expected: Vec<_> = meters
            .iter()
            .map(|it| (it.meter, it.title, it.keys.clone(), it.site))
            .collect();
        let mut registry = Registry::new(meters).unwrap();
        registry.rekey(HashKey::new([8, 9])).unwrap();
        for (meter, title, keys, site) in expected {
            let device = registry.find(title).unwrap();
            assert_eq!(registry.find_meter(meter), Some(device));
            assert_eq!(registry.keys(device), keys, "{meter}");
            assert_eq!(registry.site(device), site, "{meter}");
            assert_eq!(registry.period(device), Period::HALF_HOUR);
            assert_eq!(registry.title_of(meter), Some(title));
        }
        for stranger in [0, 6, 71, u32::MAX] {
            assert_eq!(registry.find_meter(MeterId(stranger)), None, "{stranger}");
        }
        assert_eq!(registry.find(SystemTitle(*b"GLM\0\0\0\0\0")), None);
        assert_eq!((registry.len(), registry.is_empty()), (5, false));
        assert_eq!(format!("{registry:?}"), "Registry { meters: 5 }");
    }

    #[test]
    fn a_record_stays_small() {
        assert_eq!(size_of::<Record>(), 64);
    }

    #[test]
    fn sites_out_of_range_are_refused_by_name() {
        let cases = [
            (0, 230_000, "power_max"),
            (1 << 32, 230_000, "power_max"),
            (1, 99, "voltage"),
            (1, 6_553_600, "voltage"),
        ];
        for (watts, millivolts, wanted) in cases {
            let mut meter = registration(1);
            meter.site.power_max = Watts::new(watts);
            meter.site.voltage = Millivolts::new(millivolts);
            let error = Registry::new([meter]).unwrap_err();
            assert!(
                matches!(error, RegistryError::Site { field, .. } if field == wanted),
                "{error}"
            );
        }
    }
}
