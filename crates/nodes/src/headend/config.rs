//! What a head-end is told once, and what it finds in its tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Seed, SystemTitle, UtcTime};
use gridloom_headend::backfill::BackfillConfig;
use gridloom_headend::command::{CommandConfig, CommandId, Entry};
use gridloom_headend::registry::Templates;
use gridloom_headend::schedule::{Recurrence, RetryPolicy, ScheduleConfig};
use gridloom_headend::vault::{KeyWrapper, Vault};
use gridloom_headend::{EdgeKey, VaultError, campaign};
use gridloom_store::{
    CounterRow, DeviceRow, KeyId, KeyRow, MasterRow, OperationsStore, StoreError, WhichWork,
    WorkKind, WorkRow,
};

use super::push::PushAddresses;
use super::rows::{Collected, RowDamage, decode_command, decode_part};

/// What a head-end is told once.
#[derive(Debug, Clone)]
pub struct HeadEndConfig {
    /// Its name.
    pub name: String,
    /// Its own system title; counters of all its sessions run under it.
    pub title: SystemTitle,
    /// The kinds of meters that it can read.
    pub templates: Templates,
    /// When load profiles are read.
    pub reading: Recurrence,
    /// When those of meters behind our own gateways are, which push by themselves; like the
    /// others if `None`.
    pub reading_of_pushers: Option<Recurrence>,
    /// How far back a meter is read that was never read before, as far as its profile goes.
    pub history: Duration,
    /// A meter that was never read is read at a moment of its own within this time, and not only
    /// when its next read is due; `None` waits for that.
    pub first_read_within: Option<Duration>,
    /// From where registered meters may push.
    pub push_addresses: PushAddresses,
    /// How many sessions at once, and how they are repeated.
    pub schedule: ScheduleConfig,
    /// How gaps are read.
    pub backfill: BackfillConfig,
    /// How commands are paced.
    pub command: CommandConfig,
    /// How long a link may take to come up.
    pub link_timeout: Duration,
    /// How long a session may take at most.
    pub session_timeout: Duration,
    /// How long a dialled connection stays that no session needs.
    pub link_idle: Duration,
    /// How long readings wait for the utility before their meter is read again.
    pub delivery_timeout: Duration,
    /// What this head-end shares with the edges that verify its meters' pushes; without it edges
    /// are not told of changed keys.
    pub edge_key: Option<EdgeKey>,
    /// Firmware images, by their SHA-256: those of campaigns under way must be among them.
    pub images: BTreeMap<[u8; 32], Arc<[u8]>>,
    /// Of jitter and of the order of campaigns; the same after every start.
    pub seed: Seed,
}

impl HeadEndConfig {
    /// Standard times and limits; `reading` says when profiles are read.
    pub fn new(name: &str, title: SystemTitle, templates: Templates, reading: Recurrence) -> Self {
        Self {
            name: name.to_owned(),
            title,
            templates,
            reading,
            reading_of_pushers: None,
            history: Duration::from_hours(24),
            first_read_within: None,
            push_addresses: PushAddresses::Registered,
            schedule: ScheduleConfig {
                sessions_max: 256,
                sessions_per_link_max: 8,
                retry: RetryPolicy {
                    first: Duration::from_secs(20),
                    max: Duration::from_mins(10),
                    attempts_max: 5,
                },
            },
            backfill: BackfillConfig {
                intervals_max: 96,
                reads_max: 64,
                wait_first: Duration::from_mins(1),
                wait_max: Duration::from_hours(6),
            },
            command: CommandConfig {
                outstanding_max: 64,
                selection_timeout: Duration::from_mins(5),
                wait: Duration::from_secs(30),
                looking_max: Duration::from_hours(24),
            },
            link_timeout: Duration::from_secs(30),
            session_timeout: Duration::from_mins(10),
            link_idle: Duration::from_secs(30),
            delivery_timeout: Duration::from_mins(2),
            edge_key: None,
            images: BTreeMap::new(),
            seed: Seed::new(0),
        }
    }
}

/// Why a head-end does not start from its tables.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeadEndError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A row.
    #[error("{kind:?} {number}: {damage}")]
    Row {
        /// Of which kind.
        kind: WorkKind,
        /// Of which number.
        number: u64,
        /// What is wrong.
        damage: RowDamage,
    },
    /// A key change.
    #[error(transparent)]
    Rotation(#[from] gridloom_headend::rotation::RotationError),
    /// A campaign.
    #[error(transparent)]
    Campaign(#[from] campaign::CampaignDamage),
}

/// Everything that a head-end finds in its tables when it starts.
#[derive(Debug, Clone)]
pub struct HeadEndMemory {
    pub(super) devices: Vec<DeviceRow>,
    pub(super) keys: Vec<KeyRow>,
    pub(super) next_key: KeyId,
    pub(super) counters: Vec<CounterRow>,
    pub(super) masters: Vec<MasterRow>,
    pub(super) collected: BTreeMap<u64, Collected>,
    pub(super) entries: Vec<Entry>,
    pub(super) rotations: Vec<WorkRow>,
    pub(super) campaigns: Vec<Vec<WorkRow>>,
    pub(super) news: Vec<WorkRow>,
}

impl HeadEndMemory {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// If the database fails or a row is damaged.
    pub fn read(store: &dyn OperationsStore) -> Result<Self, HeadEndError> {
        let mut collected = BTreeMap::new();
        for row in store.work(WorkKind::Collection, WhichWork::Unfinished)? {
            let read = Collected::decode(&row.state).map_err(|damage| damaged(&row, damage))?;
            collected.insert(row.number, read);
        }
        let mut campaigns = Vec::new();
        for number in unfinished(store, WorkKind::Campaign)? {
            campaigns.push(store.work(WorkKind::Campaign, WhichWork::Number(number))?);
        }
        Ok(Self {
            devices: store.devices()?,
            keys: store.keys(None)?,
            next_key: store.next_key()?,
            counters: store.counters(None)?,
            masters: store.masters()?,
            collected,
            entries: entries(store)?,
            rotations: store.work(WorkKind::Rotation, WhichWork::Unfinished)?,
            campaigns,
            news: store.work(WorkKind::KeyNews, WhichWork::Unfinished)?,
        })
    }

    /// The firmware images of campaigns that are under way, by their SHA-256: give them to
    /// [`HeadEndConfig::images`].
    pub fn images_wanted(&self) -> BTreeSet<[u8; 32]> {
        let campaigns = self.campaigns.iter();
        campaigns
            .filter_map(|rows| campaign::Campaign::image_of(rows))
            .collect()
    }

    /// Opens the vault with the holder of the master key. The changes that it wants are for
    /// [`super::HeadEndNode::new`] to write.
    ///
    /// # Errors
    ///
    /// [`VaultError::WrongMasterKey`], or that a version is missing, by name.
    pub fn open_vault(
        &self,
        wrapper: Box<dyn KeyWrapper>,
        now: UtcTime,
    ) -> Result<(Vault, Vec<gridloom_store::Change>), VaultError> {
        Vault::open(wrapper, &self.masters, &self.keys, now)
    }

    /// The highest number of work that is not finished.
    pub(super) fn last_work(&self) -> u64 {
        let commands = self.entries.iter().map(|entry| match entry {
            Entry::Confirmed(command) => command.id.0,
            Entry::Sending(id, _) | Entry::Settled(id, ..) | Entry::Cancelled(id) => id.0,
        });
        let rows = self.rotations.iter().chain(&self.news);
        let rows = rows.chain(self.campaigns.iter().flatten());
        commands
            .chain(rows.map(|row| row.number))
            .max()
            .unwrap_or(0)
    }
}

fn damaged(row: &WorkRow, damage: RowDamage) -> HeadEndError {
    HeadEndError::Row {
        kind: row.kind,
        number: row.number,
        damage,
    }
}

/// The numbers of unfinished work.
fn unfinished(store: &dyn OperationsStore, kind: WorkKind) -> Result<Vec<u64>, StoreError> {
    let rows = store.work(kind, WhichWork::Unfinished)?;
    let mut numbers: Vec<u64> = rows.iter().map(|row| row.number).collect();
    numbers.dedup();
    Ok(numbers)
}

/// The command book's journal: each command, its parts, and that it was taken back.
fn entries(store: &dyn OperationsStore) -> Result<Vec<Entry>, HeadEndError> {
    let mut entries = Vec::new();
    for number in unfinished(store, WorkKind::Command)? {
        let id = CommandId(number);
        let rows = store.work(WorkKind::Command, WhichWork::Number(number))?;
        let mut cancelled = false;
        let mut parts = Vec::new();
        for row in &rows {
            let refused = |damage| damaged(row, damage);
            match row.meter {
                None => {
                    let (command, taken_back) = decode_command(id, &row.state).map_err(refused)?;
                    cancelled = taken_back;
                    entries.push(Entry::Confirmed(command));
                }
                Some(meter) => parts.push(decode_part(id, meter, &row.state).map_err(refused)?),
            }
        }
        entries.extend(parts);
        if cancelled {
            entries.push(Entry::Cancelled(id));
        }
    }
    Ok(entries)
}
