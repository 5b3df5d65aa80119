//! No key of a meter is in the log of a simulated day, in what nodes show of themselves, or in the
//! clear in what they keep.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gridloom_core::{Currency, Day, MeterId, Period, Seed};
use gridloom_grid::response::Response;
use gridloom_headend::Vault;
use gridloom_headend::vault::{LocalMasterKeys, MasterKey};
use gridloom_nodes::headend::Order;
use gridloom_sim::hosted::Role;
use gridloom_sim::town::seeded_keys;
use gridloom_sim::{HeadEndPlan, Homes, Town, TownPlan, World, WorldPlan};
use gridloom_store::{KeyKind, KeyState, OperationsStore};
use tracing_subscriber::fmt::MakeWriter;

/// Where log lines go.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    /// Runs with every event of every level written here.
    fn of(run: impl FnOnce()) -> Vec<u8> {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, run);
        std::mem::take(&mut *log.0.lock().unwrap())
    }
}

/// A secret as it might be shown: raw, as digits, as a list of bytes.
fn disguises(secret: &[u8]) -> Vec<Vec<u8>> {
    let upper: String = secret.iter().map(|byte| format!("{byte:02X}")).collect();
    let list = |text: String| text.trim_matches(['[', ']']).as_bytes().to_vec();
    vec![
        secret.to_vec(),
        upper.to_lowercase().into_bytes(),
        upper.into_bytes(),
        list(format!("{secret:?}")),
        list(format!("{secret:02x?}")),
        list(format!("{secret:02X?}")),
    ]
}

fn shows(bytes: &[u8], secret: &[u8]) -> bool {
    let disguises = disguises(secret);
    // A long text is searched the fast way; bytes that are none cannot be in it.
    if let Ok(text) = std::str::from_utf8(bytes) {
        let mut needles = disguises
            .iter()
            .filter_map(|it| std::str::from_utf8(it).ok());
        return needles.any(|needle| text.contains(needle));
    }
    disguises
        .iter()
        .any(|needle| bytes.windows(needle.len()).any(|window| window == needle))
}

#[test]
fn a_day_with_changed_keys_shows_none_of_them() {
    let seed = Seed::new(77);
    let start = Day::from_ymd(2026, 4, 30).unwrap().start();
    let plan = TownPlan {
        seed,
        period: Period::QUARTER_HOUR,
        start,
        currency: Currency::new("EUR", 2).unwrap(),
        homes: Homes::Households {
            count: 3,
            response: Response::Off,
        },
    };
    let town = Arc::new(Town::new(plan, seeded_keys(seed)).unwrap());
    let plan = WorldPlan {
        head_end: Some(HeadEndPlan::hourly()),
        ..WorldPlan::default()
    };
    let mut world = World::new(seed, Arc::clone(&town), plan).unwrap();
    let mut shown = Vec::new();
    let log = Log::of(|| {
        for hour in 1..=24 {
            world
                .run_until(start + Duration::from_hours(hour), |_, _| {})
                .unwrap();
            if hour % 8 != 1 {
                continue;
            }
            for meter in (1..=3).map(MeterId) {
                let kinds = BTreeSet::from([
                    KeyKind::UnicastEncryption,
                    KeyKind::Authentication,
                    KeyKind::BroadcastEncryption,
                    KeyKind::KeyEncryption,
                ]);
                let order = Order::ChangeKeys { meter, kinds };
                let taken = world.operate(|node, now| node.submit(order, "anna", now));
                taken.unwrap().unwrap().unwrap();
            }
            // In the middle of it, what the nodes would show a debugger.
            let soon = world.now().utc + Duration::from_millis(300);
            world.run_until(soon, |_, _| {}).unwrap();
            shown.extend(format!("{:?}", world.head_end().unwrap()).into_bytes());
            shown.extend(format!("{:?}", world.edge().unwrap()).into_bytes());
        }
    });
    assert!(!log.is_empty(), "a day leaves a log");
    let store = world.disk(Role::HeadEnd).unwrap().operations();
    let rows = store.keys(None).unwrap();
    let master = LocalMasterKeys::single(MasterKey::Aes256([0x4D; 32]));
    let masters = store.masters().unwrap();
    let (mut vault, _) = Vault::open(Box::new(master), &masters, &rows, world.now().utc).unwrap();
    let held = rows.iter().filter(|row| row.state != KeyState::Retired);
    let mut secrets: BTreeMap<String, Vec<u8>> = held
        .map(|row| {
            let secret = vault.unseal(row).unwrap();
            (
                format!("{} {}", row.kind, row.key),
                secret.expose().to_vec(),
            )
        })
        .collect();
    // Ten of each meter's three first ones and of its changed ones, the last round's among them.
    assert!(secrets.len() >= 3 * 10, "{}", secrets.len());
    secrets.insert("edge key".to_owned(), vec![0x45; 32]);
    secrets.insert("master key".to_owned(), vec![0x4D; 32]);
    let edge = world.disk(Role::Edge).unwrap().cells();
    for (name, secret) in &secrets {
        assert!(!shows(&log, secret), "{name} is in the log");
        assert!(!shows(&shown, secret), "{name} is in what a node shows");
        for (cell, bytes) in edge {
            assert!(!shows(bytes, secret), "{name} is in the edge's cell {cell}");
        }
        for row in &rows {
            assert!(!shows(&row.wrapped, secret), "{name} lies in the clear");
        }
    }
}

#[test]
fn a_key_that_is_logged_is_found() {
    let secret: [u8; 16] = *b"\x01\xF2\x03\xE4\x05\xD6\x07\xC8\x09\xBA\x0B\xAC\x0D\x9E\x0F\x80";
    for log in [
        Log::of(|| tracing::trace!(key = ?secret, "made")),
        Log::of(|| tracing::warn!("key {}", format!("{secret:02x?}"))),
        Log::of(|| {
            let digits: String = secret.iter().map(|byte| format!("{byte:02X}")).collect();
            tracing::debug!(%digits);
        }),
    ] {
        assert!(shows(&log, &secret), "{}", String::from_utf8_lossy(&log));
    }
    assert!(!shows(&Log::of(|| tracing::trace!("nothing")), &secret));
}
