//! Spools against a disk that fails, tears, rots and fills up.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, MeterId, Seed, UtcTime, seed};
use gridloom_store::spool::{
    About, Gap, GapCause, Lane, RESEND_AFTER, SegmentFile, Spool, SpoolConfig, SpoolEffect,
    SpoolError, SpoolOutcome, TRIES_MAX, Whose,
};
use rand_core::Rng as _;

const NOW: Instant = Instant::ZERO;
const SMALL: SpoolConfig = SpoolConfig {
    bytes_max: 16 * 512,
    segment_bytes: 512,
    in_flight_max: 8,
};

fn about(meter: u32, minute: i64) -> About {
    About {
        whose: Whose::Meter(MeterId(meter)),
        time: UtcTime::from_secs(minute * 60),
    }
}

fn meter_of(gap: &Gap) -> u32 {
    match gap.whose {
        Whose::Meter(meter) => meter.0,
        other @ (Whose::Unknown | Whose::Title(_)) => panic!("{other:?}"),
    }
}

fn below(rng: &mut seed::Rng, end: usize) -> usize {
    usize::try_from(rng.next_u64() % end as u64).unwrap()
}

/// Files, and what is under way to them.
#[derive(Default, Clone)]
struct Disk {
    files: BTreeMap<(Lane, u64), Vec<u8>>,
    waiting: VecDeque<SpoolEffect>,
    bytes_seen_max: usize,
}

impl Disk {
    fn take_from(&mut self, spool: &mut Spool, now: Instant) {
        self.waiting
            .extend(std::iter::from_fn(|| spool.poll_effect(now)));
    }

    fn carry_out(&mut self, effect: SpoolEffect) -> SpoolOutcome {
        let outcome = match effect {
            SpoolEffect::Write(writes) => {
                for write in writes {
                    let file = self.files.entry((write.lane, write.segment)).or_default();
                    assert_eq!(file.len() as u64, write.offset, "it goes on at the end");
                    file.extend(write.bytes);
                }
                SpoolOutcome::Written
            }
            SpoolEffect::Truncate {
                lane,
                segment,
                length,
            } => {
                let file = self.files.entry((lane, segment)).or_default();
                file.truncate(usize::try_from(length).unwrap());
                SpoolOutcome::Truncated
            }
            SpoolEffect::Read { lane, segment } => {
                SpoolOutcome::Read(self.files.get(&(lane, segment)).unwrap().clone())
            }
            SpoolEffect::Drop { lane, segment } => {
                self.files.remove(&(lane, segment));
                SpoolOutcome::Dropped
            }
        };
        self.bytes_seen_max = self.bytes_seen_max.max(self.bytes());
        outcome
    }

    fn bytes(&self) -> usize {
        self.files.values().map(Vec::len).sum()
    }

    fn step(&mut self, spool: &mut Spool, now: Instant) -> bool {
        self.take_from(spool, now);
        let Some(effect) = self.waiting.pop_front() else {
            return false;
        };
        let outcome = self.carry_out(effect);
        spool.handle(outcome, now);
        true
    }

    fn settle(&mut self, spool: &mut Spool) {
        while self.step(spool, NOW) {}
    }

    /// A power failure: a first part is carried out, of the next the writes are cut anywhere.
    fn crash(&mut self, rng: &mut seed::Rng) {
        let whole = below(rng, self.waiting.len() + 1);
        for _ in 0..whole {
            let effect = self.waiting.pop_front().unwrap();
            self.carry_out(effect);
        }
        if let Some(SpoolEffect::Write(writes)) = self.waiting.pop_front() {
            let count = below(rng, writes.len() + 1);
            for (index, write) in writes.into_iter().enumerate().take(count + 1) {
                let cut = match index == count {
                    true => below(rng, write.bytes.len() + 1),
                    false => write.bytes.len(),
                };
                let file = self.files.entry((write.lane, write.segment)).or_default();
                file.extend(&write.bytes[..cut]);
                if below(rng, 4) == 0 {
                    file.resize(file.len() + write.bytes.len() - cut, 0);
                    break;
                }
            }
        }
        self.waiting.clear();
    }

    /// As a host lists them: the content of the last two of a lane only.
    fn found(&self) -> Vec<SegmentFile> {
        let all = self.files.iter();
        all.map(|((lane, segment), bytes)| {
            let later = self.files.range((*lane, segment + 1)..=(*lane, u64::MAX));
            SegmentFile {
                lane: *lane,
                segment: *segment,
                length: bytes.len() as u64,
                bytes: (later.count() < 2).then(|| bytes.clone()),
            }
        })
        .collect()
    }

    fn recover(&self, config: SpoolConfig) -> Spool {
        Spool::recover(config, self.found()).0
    }
}

fn fresh(config: SpoolConfig) -> (Spool, Disk) {
    (Spool::recover(config, Vec::new()).0, Disk::default())
}

fn text(number: u32) -> Vec<u8> {
    format!("entry {number} {}", ".".repeat(40)).into_bytes()
}

/// Sends what may be sent and answers for it, until nothing comes; what came, in order.
fn drain(spool: &mut Spool, disk: &mut Disk) -> Vec<Vec<u8>> {
    let mut came = Vec::new();
    loop {
        disk.settle(spool);
        let sent: Vec<_> = Lane::ALL
            .into_iter()
            .flat_map(|lane| std::iter::from_fn(|| spool.next(lane, NOW)).collect::<Vec<_>>())
            .collect();
        if sent.is_empty() {
            return came;
        }
        for delivery in sent {
            spool.acknowledge(delivery.lane, delivery.number, NOW);
            came.push(delivery.bytes.to_vec());
        }
    }
}

#[test]
fn an_entry_goes_out_at_once_and_counts_as_durable_only_when_it_is_written() {
    let (mut spool, mut disk) = fresh(SMALL);
    spool.append(Lane::Readings, about(1, 1), &text(1)).unwrap();
    spool.append(Lane::Alarms, about(1, 2), b"alarm").unwrap();
    assert_eq!((spool.taken(), spool.issued(), spool.durable()), (2, 0, 0));
    assert_eq!(&*spool.next(Lane::Readings, NOW).unwrap().bytes, text(1));
    disk.take_from(&mut spool, NOW);
    assert_eq!((spool.issued(), spool.durable()), (2, 0));
    spool.append(Lane::Alarms, about(1, 3), b"again").unwrap();
    assert!(disk.step(&mut spool, NOW));
    assert_eq!(spool.durable(), 2);
    disk.settle(&mut spool);
    assert_eq!(spool.durable(), 3);
    // Nobody answered: after a restart everything comes again, the alarms first.
    let mut spool = disk.recover(SMALL);
    assert_eq!(
        drain(&mut spool, &mut disk),
        [b"alarm".to_vec(), b"again".to_vec(), text(1)]
    );
}

#[test]
fn what_was_answered_does_not_come_again_once_it_is_marked() {
    let (mut spool, mut disk) = fresh(SMALL);
    for number in 0..20 {
        spool
            .append(Lane::Readings, about(1, 1), &text(number))
            .unwrap();
    }
    assert_eq!(drain(&mut spool, &mut disk).len(), 20);
    spool.handle_timeout(NOW + Duration::from_secs(6));
    disk.settle(&mut spool);
    let mut spool = disk.recover(SMALL);
    assert!(drain(&mut spool, &mut disk).is_empty());
    let last = spool
        .append(Lane::Readings, about(1, 1), &text(20))
        .unwrap();
    assert!(last > 20, "{last}: a number is not used again");
    // Finished segments are gone.
    assert!(disk.files.len() <= 2, "{:?}", disk.files.keys());
}

#[test]
fn in_flight_is_bounded_and_a_new_connection_resumes_after_the_last_answer() {
    let (mut spool, mut disk) = fresh(SMALL);
    for number in 0..20 {
        spool
            .append(Lane::Readings, about(1, 1), &text(number))
            .unwrap();
    }
    disk.settle(&mut spool);
    let sent: Vec<u64> = std::iter::from_fn(|| spool.next(Lane::Readings, NOW))
        .map(|delivery| delivery.number)
        .collect();
    assert_eq!(sent, (1..=8).collect::<Vec<u64>>());
    // An alarm is not held up by readings.
    spool.append(Lane::Alarms, about(1, 2), b"alarm").unwrap();
    assert!(spool.next(Lane::Alarms, NOW).is_some());
    for number in [1, 2, 4] {
        spool.acknowledge(Lane::Readings, number, NOW);
    }
    let more: Vec<u64> = std::iter::from_fn(|| spool.next(Lane::Readings, NOW))
        .map(|delivery| delivery.number)
        .collect();
    assert_eq!(more, [9, 10, 11]);
    spool.rewind();
    let again: Vec<u64> = std::iter::from_fn(|| spool.next(Lane::Readings, NOW))
        .map(|delivery| delivery.number)
        .collect();
    assert_eq!(again, [3, 5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn what_nobody_answers_is_sent_again_and_in_the_end_named() {
    let mut spool = Spool::in_memory(SMALL);
    spool
        .append(Lane::Readings, about(7, 30), b"poison")
        .unwrap();
    let (mut now, mut sent) = (NOW, 0);
    for _ in 0..2 * TRIES_MAX {
        sent += u32::from(spool.next(Lane::Readings, now).is_some());
        now = now + RESEND_AFTER;
        spool.handle_timeout(now);
    }
    assert_eq!(sent, TRIES_MAX);
    let named = Gap {
        lane: Lane::Readings,
        cause: GapCause::Unanswered,
        whose: Whose::Meter(MeterId(7)),
        from: Some(UtcTime::from_secs(1_800)),
        to: Some(UtcTime::from_secs(1_800)),
        entries: 1,
    };
    assert_eq!(spool.take_gaps(), [named]);
    assert_eq!(spool.status().waiting, 0);
}

/// The bound holds at every moment, the oldest readings go first, alarms stay, and everything that
/// is gone is named.
#[test]
fn a_full_spool_gives_up_the_oldest_of_the_lowest_lane_and_names_it() {
    for (mut spool, mut disk) in [fresh(SMALL), (Spool::in_memory(SMALL), Disk::default())] {
        spool.append(Lane::Alarms, about(9, 0), b"alarm").unwrap();
        for minute in 0..400_u32 {
            let meter = 1 + minute % 3;
            let about = about(meter, i64::from(minute));
            spool.append(Lane::Readings, about, &text(minute)).unwrap();
            disk.settle(&mut spool);
        }
        assert!(disk.bytes_seen_max as u64 <= SMALL.bytes_max);
        assert!(spool.status().bytes <= SMALL.bytes_max);
        let gaps = spool.take_gaps();
        let lost: u64 = gaps.iter().map(|gap| gap.entries).sum();
        assert_eq!(gaps.len(), 3, "{gaps:?}");
        assert_eq!(spool.status().counters.lost_full, lost);
        let came = drain(&mut spool, &mut disk);
        assert_eq!(came[0], b"alarm");
        let first = u32::try_from(lost).unwrap();
        let rest: Vec<Vec<u8>> = (first..400).map(text).collect();
        assert_eq!(came[1..], rest, "{lost} lost");
        // The bound is used: no more than two segments of room is left.
        let bytes: u64 = rest.iter().map(|entry| entry.len() as u64 + 34).sum();
        assert!(
            disk.files.is_empty() || bytes + 1_500 > SMALL.bytes_max,
            "{bytes}"
        );
        for gap in gaps {
            assert_eq!(
                (gap.lane, gap.cause),
                (Lane::Readings, GapCause::Full),
                "{gap:?}"
            );
            let from = i64::from(meter_of(&gap) - 1) * 60;
            assert_eq!(gap.from, Some(UtcTime::from_secs(from)));
            let to = gap.to.unwrap().since(UtcTime::from_secs(0)).as_secs() / 60;
            assert!(to < u64::from(first) && to + 3 >= u64::from(first));
        }
    }
}

#[test]
fn a_less_important_entry_finds_no_room_among_alarms() {
    for (mut spool, mut disk) in [fresh(SMALL), (Spool::in_memory(SMALL), Disk::default())] {
        let mut refused = 0;
        for number in 0..400 {
            let taken = spool.append(Lane::Alarms, about(1, 1), &text(number));
            taken.unwrap();
            disk.settle(&mut spool);
        }
        let lost = spool.status().counters.lost_full;
        assert!(lost > 0, "alarms give up alarms");
        for number in 0..200 {
            match spool.append(Lane::Firmware, about(1, 1), &text(number)) {
                Ok(_) => {}
                Err(SpoolError::Full(Lane::Firmware)) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            disk.settle(&mut spool);
        }
        let counters = spool.status().counters;
        // What came is refused, or given up again; no alarm makes way.
        let firmware = spool
            .take_gaps()
            .into_iter()
            .filter(|gap| gap.lane == Lane::Firmware);
        let firmware: u64 = firmware.map(|gap| gap.entries).sum();
        assert_eq!(counters.lost_full, lost + firmware);
        assert!(firmware >= refused && firmware > 100, "{firmware}");
    }
}

/// Every entry that is hit is counted as lost; every other one comes.
#[test]
fn rot_costs_what_it_hits_and_is_named() {
    let (mut spool, mut disk) = fresh(SMALL);
    for number in 0..40 {
        spool
            .append(Lane::Readings, about(1, 1), &text(number))
            .unwrap();
        disk.settle(&mut spool);
    }
    let mut hits = 0;
    let files: Vec<_> = disk.files.keys().copied().collect();
    for (nth, key) in files.iter().enumerate() {
        for byte in (0..disk.files[key].len()).step_by(7) {
            let mut rotten = disk.clone();
            rotten.files.get_mut(key).unwrap()[byte] ^= 0x10;
            let (mut spool, recovery) = Spool::recover(SMALL, rotten.found());
            // The very last record cannot be told from an unfinished write, and is cut off.
            let cut = recovery.torn.len();
            let came = drain(&mut spool, &mut rotten);
            let gaps = spool.take_gaps();
            let lost: u64 = gaps.iter().map(|gap| gap.entries).sum();
            assert_eq!(
                came.len() + usize::try_from(lost).unwrap() + cut,
                40,
                "segment {nth}, byte {byte}: {gaps:?}"
            );
            assert!(cut == 0 || (nth + 1 == files.len() && lost == 0));
            assert!(gaps.iter().all(|gap| gap.cause == GapCause::Damaged));
            hits += lost;
        }
    }
    assert!(hits > 100, "{hits}");
}

#[test]
fn a_lost_file_is_named_and_the_rest_comes() {
    let (mut spool, mut disk) = fresh(SMALL);
    for number in 0..40 {
        spool
            .append(Lane::Readings, about(1, 1), &text(number))
            .unwrap();
        disk.settle(&mut spool);
    }
    let middle = *disk.files.keys().nth(2).unwrap();
    disk.files.get_mut(&middle).unwrap().clear();
    let mut spool = disk.recover(SMALL);
    let came = drain(&mut spool, &mut disk);
    let gaps = spool.take_gaps();
    let lost: u64 = gaps.iter().map(|gap| gap.entries).sum();
    assert!(lost > 0);
    assert_eq!(came.len() as u64 + lost, 40, "{gaps:?}");
}

/// While the disk refuses, nothing counts as durable, and entries go out all the same.
#[test]
fn a_disk_that_refuses_is_tried_again_and_nothing_is_lost() {
    let (mut spool, mut disk) = fresh(SMALL);
    let mut now = NOW;
    for number in 0..5 {
        spool
            .append(Lane::Readings, about(1, 1), &text(number))
            .unwrap();
        if let Some(effect) = spool.poll_effect(now) {
            if let SpoolEffect::Write(writes) = effect {
                // Half of it stands there.
                let write = &writes[0];
                let half = write.bytes[..write.bytes.len() / 2].to_vec();
                let file = disk.files.entry((write.lane, write.segment)).or_default();
                file.extend(half);
            }
            spool.handle(SpoolOutcome::Failed("disk full".into()), now);
        }
        assert_eq!(spool.durable(), 0);
        assert!(spool.next(Lane::Readings, now).is_some());
        now = now + Duration::from_secs(6);
        spool.handle_timeout(now);
    }
    while disk.step(&mut spool, now) {}
    assert_eq!(spool.durable(), 5);
    let mut spool = disk.recover(SMALL);
    assert_eq!(drain(&mut spool, &mut disk).len(), 5);
}

/// By seed: entries, answers, connections, crashes with torn writes. Whatever was durable and not
/// answered comes, or is named; nothing else ever comes.
#[test]
fn no_crash_loses_what_was_durable() {
    for seed in 0..400 {
        let mut rng = Seed::new(seed).child("spool").rng();
        let (mut spool, mut disk) = fresh(SMALL);
        // Entries by text: taken in this life, and durable once.
        let (mut order, mut durable) = (Vec::new(), BTreeSet::new());
        let mut answered = BTreeSet::new();
        let (mut number, mut lost) = (0, 0);
        let (mut sent, mut known) = (Vec::new(), 0);
        for _ in 0..600 {
            match below(&mut rng, 20) {
                0..8 => {
                    let lane = Lane::ALL[below(&mut rng, 5)];
                    let meter = u32::try_from(below(&mut rng, 3)).unwrap();
                    let entry = text(number);
                    number += 1;
                    if spool
                        .append(lane, about(meter, i64::from(number)), &entry)
                        .is_ok()
                    {
                        order.push(entry);
                    }
                }
                8..12 => {
                    disk.step(&mut spool, NOW);
                }
                12..15 => sent.extend(
                    Lane::ALL
                        .into_iter()
                        .filter_map(|lane| spool.next(lane, NOW)),
                ),
                15..18 if !sent.is_empty() => {
                    let delivery = sent.swap_remove(below(&mut rng, sent.len()));
                    spool.acknowledge(delivery.lane, delivery.number, NOW);
                    answered.insert(delivery.bytes.to_vec());
                }
                18 => {
                    spool.rewind();
                    sent.clear();
                }
                19 if below(&mut rng, 4) == 0 => {
                    lost += spool.take_gaps().iter().map(|gap| gap.entries).sum::<u64>();
                    disk.take_from(&mut spool, NOW);
                    disk.crash(&mut rng);
                    spool = disk.recover(SMALL);
                    sent.clear();
                    order.clear();
                    known = 0;
                }
                _ => {}
            }
            let kept = usize::try_from(spool.durable()).unwrap();
            durable.extend(order.get(known..kept).unwrap_or_default().iter().cloned());
            known = known.max(kept);
            assert!(disk.bytes() as u64 <= SMALL.bytes_max, "seed {seed}");
        }
        spool.rewind();
        let came: BTreeSet<Vec<u8>> = drain(&mut spool, &mut disk).into_iter().collect();
        lost += spool.take_gaps().iter().map(|gap| gap.entries).sum::<u64>();
        let missing = durable
            .iter()
            .filter(|entry| !came.contains(*entry) && !answered.contains(*entry));
        let missing = missing.count() as u64;
        assert!(
            missing <= lost,
            "seed {seed}: {missing} missing, {lost} named"
        );
        if lost == 0 {
            assert_eq!(missing, 0, "seed {seed}");
        }
    }
}

/// What a week of a thousand meters takes, at a reading every quarter of an hour.
#[test]
fn a_week_of_a_thousand_meters_fits_the_standard_bound() {
    let standard = SpoolConfig::default();
    let (mut spool, mut disk) = fresh(standard);
    let entry = vec![0xA5; 260];
    for quarter in 0..12 {
        for meter in 0..1_000 {
            let about = about(meter, quarter * 15);
            spool.append(Lane::Readings, about, &entry).unwrap();
        }
        disk.settle(&mut spool);
    }
    let week = disk.bytes() as u64 * 8 * 7;
    assert!(week < standard.bytes_max, "{week}");
    assert!(week < SpoolConfig::for_week(1_000, 96, 260).bytes_max);
    let (spool, _) = Spool::recover(standard, disk.found());
    assert_eq!(spool.status().waiting, 12_000);
}
