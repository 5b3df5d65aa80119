//! The meters an edge serves, with their keys.

use std::collections::BTreeMap;

use gridloom_core::{MeterId, Period, SystemTitle};
use gridloom_dlms::security::Keys;

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
}

/// The meters an edge serves.
#[derive(Default)]
pub struct Registry {
    by_title: BTreeMap<SystemTitle, Registration>,
    titles: BTreeMap<MeterId, SystemTitle>,
}

impl Registry {
    /// A registry of these meters.
    ///
    /// # Errors
    ///
    /// If a title or a meter number occurs twice.
    pub fn new(meters: impl IntoIterator<Item = Registration>) -> Result<Self, RegistryError> {
        let mut registry = Self::default();
        for registration in meters {
            let (meter, title) = (registration.meter, registration.title);
            if registry.titles.insert(meter, title).is_some() {
                return Err(RegistryError::MeterTwice(meter));
            }
            if registry.by_title.insert(title, registration).is_some() {
                return Err(RegistryError::TitleTwice(title));
            }
        }
        Ok(registry)
    }

    /// The meter with this title.
    pub fn by_title(&self, title: SystemTitle) -> Option<&Registration> {
        self.by_title.get(&title)
    }

    /// The title of a meter.
    pub fn title_of(&self, meter: MeterId) -> Option<SystemTitle> {
        self.titles.get(&meter).copied()
    }

    /// Every title, in order.
    pub fn titles(&self) -> impl Iterator<Item = SystemTitle> {
        self.by_title.keys().copied()
    }

    /// Number of meters.
    pub fn len(&self) -> usize {
        self.by_title.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_title.is_empty()
    }
}

impl std::fmt::Debug for Registry {
    /// How many meters; never their keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("meters", &self.len())
            .finish()
    }
}
