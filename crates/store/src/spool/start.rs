//! A spool comes back from what its files hold. Little of them is read for it.

use super::effect::SegmentFile;
use super::entry::Lane;
use super::segment::{Ending, scan};
use super::{Keeping, Log, Segment, Spool, SpoolConfig};

/// The unfinished end of a lane's last segment. Nobody was answered for any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornSegment {
    /// Of which lane.
    pub lane: Lane,
    /// The number of its first entry.
    pub segment: u64,
    /// Where its last whole record ends.
    pub offset: u64,
    /// Bytes after that, which are cut off.
    pub bytes: u64,
}

/// What a spool found on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpoolRecovery {
    /// Segments.
    pub segments: usize,
    /// Records that nobody answered for, marks among them.
    pub waiting: u64,
    /// Unfinished last writes.
    pub torn: Vec<TornSegment>,
    /// Places in the last segments that do not hold what was written. What they held is named
    /// when it is its turn.
    pub flaws: u64,
}

impl Spool {
    /// The spool whose files these are. Everything that was not acknowledged goes out again; of
    /// what was, [`super::MARK_AFTER`] at most goes out twice.
    ///
    /// # Panics
    ///
    /// If the bounds leave no room.
    pub fn recover(config: SpoolConfig, mut files: Vec<SegmentFile>) -> (Self, SpoolRecovery) {
        files.sort_by_key(|file| (file.lane, file.segment));
        let mut recovery = SpoolRecovery {
            segments: files.len(),
            ..SpoolRecovery::default()
        };
        let logs = Lane::ALL.map(|lane| {
            let of_lane: Vec<&SegmentFile> =
                files.iter().filter(|file| file.lane == lane).collect();
            recover_log(lane, &of_lane, &mut recovery)
        });
        let mut spool = Self::with(config, Keeping::Disk, logs);
        let segments = spool.logs.iter().flat_map(|log| &log.segments);
        spool.bytes = segments.map(|segment| segment.bytes).sum();
        recovery.waiting = spool.status().waiting;
        for torn in &recovery.torn {
            spool
                .to_truncate
                .push_back((torn.lane, torn.segment, torn.offset));
        }
        (spool, recovery)
    }
}

fn recover_log(lane: Lane, files: &[&SegmentFile], recovery: &mut SpoolRecovery) -> Log {
    let mut acknowledged = files
        .first()
        .map_or(0, |file| file.segment.saturating_sub(1));
    let mut next = 1;
    let mut segments = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let is_last = index + 1 == files.len();
        next = file.segment.max(next);
        let mut segment = Segment {
            first: file.segment,
            last: match files.get(index + 1) {
                Some(after) => after.segment - 1,
                None => file.segment.saturating_sub(1),
            },
            bytes: file.length,
        };
        if let Some(bytes) = &file.bytes {
            let ending = match is_last {
                true => Ending::MayBeTorn,
                false => Ending::Durable,
            };
            let found = scan(lane, file.segment, bytes, ending);
            acknowledged = acknowledged.max(found.acknowledged);
            recovery.flaws += found.flaws;
            if is_last && let Some(last) = found.items.last() {
                segment.last = last.number;
                next = last.number + 1;
            }
            if let Some(offset) = found.torn {
                let offset = offset as u64;
                recovery.torn.push(TornSegment {
                    lane,
                    segment: file.segment,
                    offset,
                    bytes: file.length - offset,
                });
                segment.bytes = offset;
            }
        }
        if segment.bytes > 0 {
            segments.push(segment);
        }
    }
    let mut log = Log::new(next.max(acknowledged + 1), acknowledged);
    log.segments = segments.into();
    log
}
