//! The buffers of gateway and edge: opened at a start, and shown.

use std::collections::BTreeMap;

use gridloom_core::Now;
use gridloom_host::{DataDirectory, Disk, DiskParts, SpoolDisk};
use gridloom_store::spool::{Gap, SpoolStatus, Whose};
use gridloom_store::{Spool, SpoolConfig};
use gridloom_web::{BufferDropped, BufferGap, BufferView};

/// A buffer on disk, and what its files are for.
pub(crate) struct Buffer {
    pub(crate) spool: Spool,
    pub(crate) disk: BTreeMap<String, SpoolDisk>,
    /// What the operator should know.
    pub(crate) news: Option<String>,
}

impl Buffer {
    /// Opens the buffer of a node, with what it kept.
    pub(crate) fn open(
        directory: &DataDirectory,
        node: &str,
        config: SpoolConfig,
    ) -> anyhow::Result<Self> {
        let (disk, files) = SpoolDisk::open(directory, node)?;
        let (spool, found) = Spool::recover(config, files);
        if !found.torn.is_empty() {
            tracing::warn!(node, torn = ?found.torn, "an unfinished last write is cut off");
        }
        let news = (found.flaws > 0).then(|| {
            format!(
                "the buffer of {node} is damaged in {} places: what they held is named as a gap \
                 and read from the meters again; look at the disk",
                found.flaws
            )
        });
        Ok(Self {
            spool,
            disk: BTreeMap::from([(node.to_owned(), disk)]),
            news,
        })
    }

    /// A disk of its own for it.
    pub(crate) fn start(name: &str, disk: BTreeMap<String, SpoolDisk>) -> anyhow::Result<Disk> {
        let parts = DiskParts {
            spools: disk,
            ..DiskParts::default()
        };
        Ok(Disk::start(name, parts)?)
    }
}

/// What a node said of its buffer: how it is, gaps that nobody sees to yet, the last ones named.
pub(crate) type BufferStatus = (SpoolStatus, (usize, Vec<Gap>));

/// A buffer as the API shows it.
pub(crate) fn view(node: &str, (status, (untaken, gaps)): &BufferStatus, now: Now) -> BufferView {
    let counters = status.counters;
    BufferView {
        node: node.to_owned(),
        entries: status.waiting,
        in_flight: status.in_flight as u64,
        bytes: status.bytes,
        bytes_max: status.bytes_max,
        oldest: status.oldest,
        oldest_age_s: status
            .oldest
            .map(|at| (now.utc.as_millis() - at.as_millis()).max(0).unsigned_abs() / 1_000),
        taken: counters.taken,
        acknowledged: counters.acknowledged,
        sent_again: counters.sent_again,
        dropped: BufferDropped {
            full: counters.lost_full,
            damaged: counters.lost_damaged,
            unanswered: counters.lost_unanswered,
        },
        disk_failures: counters.disk_failures,
        gaps_untaken: *untaken as u64,
        gaps: gaps.iter().rev().map(gap_view).collect(),
    }
}

fn gap_view(gap: &Gap) -> BufferGap {
    BufferGap {
        lane: gap.lane.name().to_owned(),
        cause: gap.cause.name().to_owned(),
        meter: match gap.whose {
            Whose::Meter(meter) => Some(format!("h{}", meter.0)),
            Whose::Title(title) => Some(title.to_string()),
            Whose::Unknown => None,
        },
        from: gap.from,
        to: gap.to,
        entries: gap.entries,
    }
}
