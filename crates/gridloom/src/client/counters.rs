//! The invocation counters under one key, in a state file: reserved before use, never lowered.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gridloom_core::SystemTitle;
use gridloom_dlms::counter::{COUNTER_ALARM, ReceiveCounter, TransmitCounter};
use gridloom_dlms::security::{KeyEncryptionKey, Keys};
use serde::{Deserialize, Serialize};

use crate::founding::write_durably;
use crate::hex;

/// The file of our counter as `own` under one key. While it is open, no other process uses it.
#[derive(Debug)]
pub(crate) struct CounterFile {
    path: PathBuf,
    state: State,
    /// Held until the end: two processes with one counter would repeat it.
    _lock: File,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// The highest counter that may have been used.
    transmit: u32,
    /// The last counter believed, by the meter's title.
    receive: BTreeMap<String, u32>,
}

impl CounterFile {
    /// Opens the file, or starts one that does not exist.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("counter: failed to open {}", path.display());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(context)?;
        }
        let lock_path = path.with_extension("lock");
        let lock = File::create(&lock_path).with_context(context)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "counter: another gridloom uses {}: wait for it, or give this one its own \
                 --title and --counter-file",
                path.display()
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        let state = match std::fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| {
                format!(
                    "counter: {} is damaged; find the meter's counter with \
                     --obis 0.0.43.1.0.255 as public client, and write a higher one",
                    path.display()
                )
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(error).with_context(context),
        };
        Ok(Self {
            path: path.to_owned(),
            state,
            _lock: lock,
        })
    }

    /// The default place: a file for each own title and key.
    pub(crate) fn default_path(own: SystemTitle, keys: &Keys) -> anyhow::Result<PathBuf> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let base = match (variable("XDG_STATE_HOME"), variable("HOME")) {
            (Some(state), _) => PathBuf::from(state),
            (None, Some(home)) => PathBuf::from(home).join(".local/state"),
            (None, None) => bail!(
                "counter: there is no HOME to keep the counter in; name a file with --counter-file"
            ),
        };
        // Names the key without telling it: what a constant is when wrapped under it.
        let wrapped = KeyEncryptionKey::from(keys.encryption().clone()).wrap(b"gridloom counter");
        let name = format!("counter-{own}-{}.json", hex::text(&wrapped[..6]));
        Ok(base.join("gridloom").join(name))
    }

    pub(crate) fn transmit(&self) -> TransmitCounter {
        TransmitCounter::resume(self.state.transmit)
    }

    /// What the meter's counter must be above; any is fresh from a meter without a title.
    pub(crate) fn receive(&self, meter: Option<SystemTitle>) -> ReceiveCounter {
        meter
            .and_then(|title| self.state.receive.get(&title.to_string()))
            .map_or(ReceiveCounter::new(), |last| ReceiveCounter::after(*last))
    }

    /// Makes a reservation durable.
    pub(crate) fn reserve(&mut self, upper: u32) -> anyhow::Result<()> {
        self.state.transmit = self.state.transmit.max(upper);
        self.write()
    }

    /// Goes above what the meter says it has heard; `false` if that is not above already, or so
    /// high that following it would use the key up.
    pub(crate) fn heal(&mut self, heard: u32) -> anyhow::Result<bool> {
        if heard <= self.state.transmit || heard >= COUNTER_ALARM {
            return Ok(false);
        }
        self.state.transmit = heard;
        self.write()?;
        Ok(true)
    }

    /// Keeps the last counter believed from a meter.
    pub(crate) fn believe(&mut self, meter: SystemTitle, last: u32) -> anyhow::Result<()> {
        let entry = self.state.receive.entry(meter.to_string()).or_default();
        if last > *entry {
            *entry = last;
            self.write()?;
        }
        Ok(())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn write(&self) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(&self.state)? + "\n";
        write_durably(&self.path, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_only_rise_and_belong_to_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/counter.json");
        let meter = SystemTitle::new(*b"GLM", 7);
        {
            let mut file = CounterFile::open(&path).unwrap();
            file.reserve(1_024).unwrap();
            assert!(!file.heal(1_000).unwrap());
            assert!(file.heal(5_000).unwrap());
            assert!(!file.heal(COUNTER_ALARM).unwrap());
            file.reserve(2_048).unwrap();
            file.believe(meter, 9).unwrap();
            file.believe(meter, 8).unwrap();
            let error = CounterFile::open(&path).unwrap_err();
            assert!(error.to_string().contains("another gridloom"), "{error}");
        }
        let file = CounterFile::open(&path).unwrap();
        assert_eq!(file.transmit(), TransmitCounter::resume(5_000));
        assert_eq!(file.receive(Some(meter)), ReceiveCounter::after(9));
        assert_eq!(file.receive(None), ReceiveCounter::new());
        drop(file);
        std::fs::write(&path, "{").unwrap();
        let error = CounterFile::open(&path).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }

    #[test]
    fn the_file_name_tells_title_and_key_apart_but_not_the_key() {
        let path = |title, key: u8| {
            let keys = Keys::new([key; 16], [9; 16]);
            let path = CounterFile::default_path(SystemTitle::new(*b"GLH", title), &keys);
            path.unwrap().to_str().unwrap().to_owned()
        };
        assert_ne!(path(1, 1), path(2, 1));
        assert_ne!(path(1, 1), path(1, 2));
        assert_eq!(path(1, 1), path(1, 1));
        assert!(!path(1, 0xAB).contains("ABAB"));
    }
}
