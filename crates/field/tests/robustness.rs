//! No byte of a peer or of a damaged memory panics the meter: a corpus and seeded mutations.
//!
//! `GRIDLOOM_BLESS=1` writes the corpus anew from a short run.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use gridloom_core::{Period, Price, Seed, seed};
use gridloom_field::{Boot, Load, Meter};
use rand_core::Rng as _;
use support::session::{self, Session};
use support::{Bench, EDGE, HeadEnd, Restless, config, time};

const PERIOD: Period = Period::HALF_HOUR;
const START: &str = "2013-01-30T00:00:00Z";

fn load() -> Box<dyn Load> {
    Box::new(Restless(Seed::new(1)))
}

/// A meter with a past: intervals priced, unpriced, ahead, acknowledged and not; two months.
fn lived() -> (Bench, HeadEnd) {
    let mut bench = Bench::new(config(1, PERIOD), load(), START);
    bench.settle();
    bench.link_up();
    let mut head_end = HeadEnd::new();
    for half_hour in 1..=120_u32 {
        let end = time(START) + PERIOD.duration() * half_hour;
        bench.run_until(end);
        if half_hour % 10 < 8 {
            bench.serve(&mut head_end);
        }
        if half_hour % 5 != 0 {
            let price = Price::from_micro_per_kwh(i64::from(half_hour) * 100).unwrap();
            let frame = head_end.prices(&[(end, price), (end + PERIOD.duration() * 400, price)]);
            bench.give(&frame);
        }
    }
    (bench, head_end)
}

/// The corpus of `target`: name and bytes, in the order of the names.
fn corpus(target: &str, fresh: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let folder = PathBuf::from("fuzz-corpus").join(target);
    if std::env::var_os("GRIDLOOM_BLESS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in fresh {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
    std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            (name, std::fs::read(file.path()).unwrap())
        })
        .collect()
}

fn below(rng: &mut seed::Rng, bound: usize) -> usize {
    usize::try_from(rng.next_u64() % bound as u64).unwrap()
}

fn mutate(rng: &mut seed::Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=below(rng, 3) {
        let at = below(rng, bytes.len().max(1));
        match below(rng, 6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), 0xFF),
            2 => bytes.extend_from_within(..at.min(bytes.len())),
            3 if !bytes.is_empty() => bytes[at] = [0, 0x7F, 0x80, 0xFF][below(rng, 4)],
            _ if !bytes.is_empty() => bytes[at] ^= 1 << below(rng, 8),
            _ => {}
        }
    }
}

/// Puts the right CRC under damaged content, so that the damage gets further.
fn seal_crc(bytes: &mut [u8]) {
    if let Some((content, crc)) = bytes.split_last_chunk_mut::<4>() {
        *crc = crc32fast::hash(content).to_be_bytes();
    }
}

/// Starts from the cells and, where that works, lives on for a while.
fn try_memory(cells: &BTreeMap<String, Vec<u8>>, bench: &mut Bench) -> bool {
    match Meter::start(config(1, PERIOD), load(), cells, Boot::Reset, bench.now) {
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
        Ok(meter) => {
            bench.meter = meter;
            bench.disk.waiting.clear();
            bench.settle();
            bench.link_up();
            bench.run_until(bench.now.utc + Duration::from_secs(4_000));
            bench.sent.clear();
            bench.meter.status(bench.now);
            true
        }
    }
}

#[test]
fn damaged_memories() {
    let (mut bench, _) = lived();
    let cells = corpus("memory", &bench.disk.cells.clone());
    let now = bench.now;
    assert!(try_memory(&cells, &mut bench), "the corpus itself is whole");
    let mut rng = Seed::new(42).child("memory").rng();
    let names: Vec<&String> = cells.keys().collect();
    let (mut taken, mut refused) = (0, 0);
    for round in 0..1_500 {
        let name = names[below(&mut rng, names.len())];
        let mut damaged = cells.clone();
        let bytes = damaged.get_mut(name).unwrap();
        mutate(&mut rng, bytes);
        if round % 8 != 0 {
            seal_crc(bytes);
        }
        bench.now = now;
        match try_memory(&damaged, &mut bench) {
            true => taken += 1,
            false => refused += 1,
        }
    }
    assert!(
        taken > 50 && refused > 500,
        "{taken} taken, {refused} refused"
    );
}

#[test]
fn damaged_frames() {
    let (mut bench, mut head_end) = lived();
    let newest = head_end.pushes.last().unwrap().invoke_id();
    let price = Price::parse("0.1").unwrap();
    let end = time(START) + PERIOD.duration() * 5;
    let frames = BTreeMap::from([
        ("ack".to_owned(), head_end.ack(newest)),
        ("prices".to_owned(), head_end.prices(&[(end, price)])),
        ("cut".to_owned(), head_end.seal_plain(EDGE, &[0xC1])),
        (
            "plain-get".to_owned(),
            vec![0xC0, 1, 0x41, 0, 8, 0, 0, 1, 0, 0, 255, 2, 0],
        ),
    ]);
    // An APDU of a SET as the edge writes it, to damage before it is sealed.
    let plains: Vec<Vec<u8>> = vec![vec![0x10, 0x40, 0, 0, 1, 0], {
        use gridloom_dlms::apdu::{Apdu, InvokeId};
        use gridloom_dlms::charge::{ChargeTable, IntervalPrice};
        let table = ChargeTable {
            price_scale: -4,
            entries: vec![IntervalPrice { end, price }],
        };
        let request = table.to_set_request(InvokeId::confirmed(1)).unwrap();
        let mut plain = Vec::new();
        Apdu::SetRequestNormal(request).encode(&mut plain);
        plain
    }];
    let frames = corpus("frame", &frames);
    let mut rng = Seed::new(42).child("frame").rng();
    let names: Vec<&String> = frames.keys().collect();
    for round in 0..6_000 {
        let frame = if round % 2 == 0 {
            let mut frame = frames[names[below(&mut rng, names.len())]].clone();
            mutate(&mut rng, &mut frame);
            frame
        } else {
            let mut plain = plains[below(&mut rng, plains.len())].clone();
            mutate(&mut rng, &mut plain);
            head_end.seal_plain(EDGE, &plain)
        };
        bench.give(&frame);
        assert!(
            bench.sent.len() <= 9,
            "one answer each, and no more pushes than may fly"
        );
        bench.sent.clear();
        bench.events.clear();
    }
    let counters = bench.meter.status(bench.now).counters;
    assert!(
        counters.bad_tag > 100 && counters.malformed > 100 && counters.unsupported > 100,
        "{counters:?}"
    );
    // And it still works.
    bench.run_until(bench.now.utc + Duration::from_secs(1_800));
    bench.serve(&mut head_end);
}

#[test]
fn no_apdu_of_a_client_panics_the_meter() {
    use gridloom_dlms::axdr::Data;
    use gridloom_field::{Client, ConnectionId};

    let mut bench = session::bench("2013-01-01T06:07:00Z");
    let mut said = Vec::new();
    for role in Client::ALL {
        let mut session = Session::role(&mut bench, role);
        let asked = [
            (session::CLOCK, 2),
            (session::ASSOCIATION, 2),
            (session::BLOCK, 2),
            (session::BILLING, 2),
            (session::CALENDAR, 4),
        ];
        for (object, attribute) in asked {
            let _ = session.get(&mut bench, session::attribute(object, attribute));
        }
        let part = session::by_time("2013-01-01T01:00:00Z", "2013-01-01T02:00:00Z", vec![]);
        let block = session::attribute(session::BLOCK, 2);
        let _ = session.get_part(&mut bench, block, Some(part));
        let limit = Data::DoubleLongUnsigned(u32::MAX);
        let limiter = session::attribute(session::LIMITER, 4);
        let _ = session.set(&mut bench, limiter, limit);
        let _ = session.invoke(&mut bench, session::SWITCH, 2, Data::Integer(0));
        said.extend(session.said.iter().map(|apdu| (role.sap(), apdu.clone())));
        bench
            .meter
            .handle_client_disconnected(session::LINE, bench.now);
        bench.settle();
    }
    assert!(said.len() > 40, "{}", said.len());
    let mut rng = Seed::new(11).rng();
    for round in 0..60_u64 {
        // A whole conversation with one byte wrong here and there.
        let connection = ConnectionId(1_000 + round);
        for (sap, apdu) in &said {
            let mut apdu = apdu.clone();
            if rng.next_u32().is_multiple_of(4) {
                let place = rng.next_u32() as usize % apdu.len();
                match rng.next_u32() % 3 {
                    0 => apdu.truncate(place.max(1)),
                    1 => apdu[place] ^= 1 << (rng.next_u32() % 8),
                    _ => apdu[place] = 0xFF,
                }
            }
            bench
                .meter
                .handle_client_apdu(connection, *sap, &apdu, bench.now);
            bench.settle();
            assert!(
                bench
                    .answers
                    .pop_front()
                    .is_none_or(|(_, to, _)| to == *sap)
            );
        }
        bench
            .meter
            .handle_client_disconnected(connection, bench.now);
        bench.settle();
    }
    // It still serves.
    let mut public = Session::role(&mut bench, Client::Public);
    let clock = session::attribute(session::CLOCK, 2);
    assert!(public.get(&mut bench, clock).is_ok());
}
