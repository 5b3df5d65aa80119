//! A head-end above the utility: which meters it knows, by which keys, and how it starts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridloom_core::{MeterId, Now, ObisCode, Period, Seed, SystemTitle};
use gridloom_dlms::security::KeyEncryptionKey;
use gridloom_headend::schedule::Recurrence;
use gridloom_headend::template::{ChannelSource, ColumnKind};
use gridloom_headend::vault::{LocalMasterKeys, MasterKey, NewKey};
use gridloom_headend::{Channel, EdgeKey, MeterTemplate, Secret, Vault};
use gridloom_nodes::envelope::Message;
use gridloom_nodes::{HeadEndConfig, HeadEndMemory, HeadEndNode};
use gridloom_store::{
    Batch, Change, ClientRole, DeviceLink, DeviceRow, DeviceState, KeyId, KeyKind, KeyState,
    OperationsStore, Transport,
};
use rand_core::Rng;

use crate::disk::Disk;
use crate::town::{House, Town};

const TEMPLATE: &str = "town";

/// Its own system title.
const TITLE: SystemTitle = SystemTitle(*b"GLH00001");

/// When the head-end reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadEndPlan {
    /// Every profile, on these times.
    pub reading: Recurrence,
}

impl HeadEndPlan {
    /// Reads every profile once in every hour, each within ten minutes.
    pub fn hourly() -> Self {
        let minutes = Duration::from_mins;
        let reading = Recurrence::new(minutes(60), minutes(5), minutes(50), minutes(10));
        Self {
            reading: reading.expect("the times fit into the hour"),
        }
    }
}

fn master() -> LocalMasterKeys {
    LocalMasterKeys::single(MasterKey::Aes256([0x4D; 32]))
}

/// What head-end and edge share.
pub(crate) fn edge_key() -> EdgeKey {
    EdgeKey::new(&[0x45; 32]).expect("32 bytes are a key")
}

/// Under which keys of a meter are transferred: drawn from the town's seed.
fn kek(town: &Town, house: &House) -> [u8; 16] {
    let seed = town
        .plan()
        .seed
        .child("kek")
        .nth(u64::from(house.meter().0));
    let mut key = [0; 16];
    seed.rng().fill_bytes(&mut key);
    key
}

/// The meter's side of [`kek`].
pub(crate) fn meter_master(town: &Town, house: &House) -> KeyEncryptionKey {
    KeyEncryptionKey::new(kek(town, house))
}

/// A meter of the town, as sessions see it: the profile has all that a push has.
fn template(period: Period) -> MeterTemplate {
    let mut template = MeterTemplate::standard(TEMPLATE);
    template.capture_period = period;
    template.answer_timeout = Duration::from_secs(10);
    let interval = |code: [u8; 6]| ChannelSource {
        obis: ObisCode(code),
        attribute: 2,
        kind: ColumnKind::Interval,
    };
    for (channel, code) in [
        (Channel::ReactiveQ1, [1, 0, 5, 29, 0, 255]),
        (Channel::ReactiveQ2, [1, 0, 6, 29, 0, 255]),
        (Channel::ReactiveQ3, [1, 0, 7, 29, 0, 255]),
        (Channel::ReactiveQ4, [1, 0, 8, 29, 0, 255]),
        (Channel::Apparent, [1, 0, 9, 29, 0, 255]),
        (Channel::Voltage, [1, 0, 32, 27, 0, 255]),
    ] {
        template.channels.insert(channel, interval(code));
    }
    template
}

/// Puts the town's meters and their keys into the head-end's tables.
pub(crate) fn enrol(town: &Town, disk: &mut Disk, now: Now) {
    let (mut vault, mut changes) =
        Vault::open(Box::new(master()), &[], &[], now.utc).expect("an empty vault opens");
    let mut number = 0;
    for house in town.houses() {
        let meter = house.meter();
        let keys = &house.config().keys;
        changes.push(Change::Device(DeviceRow {
            meter,
            title: house.config().title,
            serial: format!("S{}", meter.0),
            name: house.name().to_owned(),
            state: DeviceState::Enrolled,
            link: DeviceLink {
                transport: Transport::Gateway,
                address: format!("house-{}", meter.0),
                server: 1,
                physical: 0,
            },
            roles: vec![ClientRole {
                client: 1,
                mechanism: 5,
                suite: Some(0),
            }],
            template: TEMPLATE.to_owned(),
            groups: BTreeSet::new(),
            service_point: house.name().to_owned(),
            phases: 1,
            fuse_a: 100,
            voltage_v: 230,
            retired_at: None,
        }));
        let kek = kek(town, house);
        for (kind, bytes) in [
            (KeyKind::UnicastEncryption, keys.encryption().as_bytes()),
            (KeyKind::Authentication, keys.authentication().as_bytes()),
            (KeyKind::KeyEncryption, &kek),
        ] {
            number += 1;
            let new = NewKey {
                key: KeyId(number),
                meter,
                kind,
                client: 0,
                state: KeyState::Current,
                made_at: now.utc,
            };
            let row = vault.seal(new, &Secret::new(bytes));
            changes.push(Change::Key(row.expect("a key of 16 bytes is wrapped")));
        }
    }
    let answers = disk.operations_mut().commit(&[Batch::new(changes)]);
    assert_eq!(
        answers,
        Ok(vec![Ok(())]),
        "a town gives every meter its own"
    );
}

/// Starts a head-end from its tables. Its entropy is drawn from the seed and the time, so that no
/// two lives draw the same.
pub(crate) fn boot(
    plan: HeadEndPlan,
    town: &Town,
    disk: &Disk,
    name: &str,
    now: Now,
) -> Result<HeadEndNode, String> {
    let memory = HeadEndMemory::read(disk.operations()).map_err(|error| error.to_string())?;
    let templates = BTreeMap::from([(TEMPLATE.to_owned(), template(town.plan().period))]);
    let mut config = HeadEndConfig::new(name, TITLE, templates, plan.reading);
    let seed: Seed = town.plan().seed.child("head-end");
    config.seed = seed;
    config.edge_key = Some(edge_key());
    let mut entropy = [0; 32];
    let mut rng = seed.child("entropy").nth(now.instant.as_nanos()).rng();
    rng.fill_bytes(&mut entropy);
    HeadEndNode::new(config, memory, Box::new(master()), entropy, now)
        .map_err(|error| error.to_string())
}

/// Invocation counters that were heard on the head-end's link. Its tables begin with one key for
/// each meter; where keys change, their counters begin anew and are not told apart here.
#[derive(Debug, Default)]
pub struct Heard {
    counters: BTreeMap<MeterId, BTreeMap<u32, Vec<u8>>>,
    repeated: u64,
    /// Ciphered ACTIONs of the association under way: the first one proves who we are.
    actions: BTreeMap<MeterId, u32>,
    orders: BTreeMap<MeterId, u32>,
}

impl Heard {
    /// APDUs with a counter that another APDU to the same meter had.
    pub const fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Counters that were used with a meter.
    pub fn used(&self, meter: MeterId) -> usize {
        self.counters.get(&meter).map_or(0, BTreeMap::len)
    }

    /// Methods that a meter was asked to invoke, the proofs of associations aside.
    pub fn orders(&self, meter: MeterId) -> u32 {
        self.orders.get(&meter).copied().unwrap_or(0)
    }

    pub(crate) fn listen(&mut self, frame: &[u8]) {
        let Ok(Message::ToMeter { meter, apdu, .. }) = Message::decode(frame) else {
            return;
        };
        let actions = self.actions.entry(meter).or_default();
        match apdu.first() {
            Some(0x60) => *actions = 0,
            // glo-action-request.
            Some(0xCB) => {
                *actions += 1;
                if *actions > 1 {
                    *self.orders.entry(meter).or_default() += 1;
                }
            }
            _ => {}
        }
        let Some(counter) = counter_of(&apdu) else {
            return;
        };
        let counters = self.counters.entry(meter).or_default();
        // The same bytes again are a repetition of one APDU, and no danger to its key.
        let first = counters.entry(counter).or_insert_with(|| apdu.clone());
        self.repeated += u64::from(*first != apdu);
    }
}

/// The counter of a service-specific ciphered APDU (tags C8 to CF), or of the InitiateRequest in
/// an AARQ: both stand after length and security control (IEC 62056-5-3, clause 9.2.7.2.4).
fn counter_of(apdu: &[u8]) -> Option<u32> {
    let sealed = match apdu.first()? {
        0xC8..=0xCF => apdu.get(1..)?,
        0x60 => {
            let at = apdu.windows(2).position(|pair| pair == [0xBE, pair[1]])?;
            // BE, length, 04, length, 21 (glo-initiate-request).
            apdu.get(at + 4..)?.strip_prefix(&[0x21])?
        }
        _ => return None,
    };
    let header = match sealed.first()? {
        0x81 => sealed.get(2..)?,
        0x82 => sealed.get(3..)?,
        _ => sealed.get(1..)?,
    };
    let counter = header.get(1..5)?.try_into().ok()?;
    Some(u32::from_be_bytes(counter))
}
