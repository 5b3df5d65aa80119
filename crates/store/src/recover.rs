//! Reading a journal back after a stop, clean or not.

use std::collections::VecDeque;

use crate::effect::Checkpoint;
use crate::head::{Head, Offered, Openness, Window};
use crate::journal::{
    Damage, Flaw, HEADER_BYTES, Scanner, Segment, decode_header, later_write_follows,
};
use crate::record::{Lsn, place_of};

/// Why a journal cannot be recovered without an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// Something that was durable is not what was written.
    #[error(
        "journal segment {segment}, byte {offset}: {flaw}; \
         restore this file from a backup or a replica"
    )]
    Damaged {
        /// In which segment.
        segment: u64,
        /// Where the header or record starts.
        offset: u64,
        /// What is wrong.
        flaw: Flaw,
    },
    /// A segment file is missing.
    #[error("journal segment {missing} is missing; restore its file from a backup or a replica")]
    MissingSegment {
        /// Its number.
        missing: u64,
    },
    /// The journal does not reach back to where the database ends, or does not continue.
    #[error(
        "journal segment {segment} starts at record {found}, but {expected} was expected; \
         restore the files before it"
    )]
    MissingRecords {
        /// The segment.
        segment: u64,
        /// What it should start with.
        expected: Lsn,
        /// What it starts with.
        found: Lsn,
    },
    /// The database has seen records that the journal does not have.
    #[error(
        "journal ends at record {ends}, but the database was given record {known}; \
         this is not the journal of this database, or its end is lost"
    )]
    BehindDatabase {
        /// The last record of the journal.
        ends: Lsn,
        /// The last record that the database knows of.
        known: Lsn,
    },
}

/// The unfinished end of the last segment, left by a crash while it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornTail {
    /// In which segment.
    pub segment: u64,
    /// Where the last whole record ends.
    pub offset: u64,
    /// Bytes after that. None of them was ever acknowledged.
    pub bytes: u64,
}

/// What recovery found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Records that are open again.
    pub records: u64,
    /// Records that the database already had.
    pub covered: u64,
    /// Records about an interval that an earlier open record is about already.
    pub repeated: u64,
    /// Segments that were not read because the database has all of them.
    pub segments_covered: u64,
    /// The unfinished last write, if there was one. The ledger's first effect cuts it off.
    pub torn: Option<TornTail>,
}

/// A journal in memory again.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) head: Head,
    pub(crate) window: Window,
    /// Empty if there is no journal yet.
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) recovery: Recovery,
}

/// Reads every segment that the database does not cover.
pub(crate) fn recover(
    checkpoint: Checkpoint,
    mut files: Vec<(u64, Vec<u8>)>,
) -> Result<Recovered, RecoverError> {
    files.sort_by_key(|(number, _)| *number);
    assert!(
        files.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "a segment has one file"
    );
    let base = checkpoint.through.next();
    let mut reading = Reading {
        checkpoint,
        expected: None,
        recovered: Recovered {
            head: Head::default(),
            window: Window::new(base),
            segments: VecDeque::new(),
            recovery: Recovery::default(),
        },
    };
    let start = first_needed(base, &files);
    reading.recovered.recovery.segments_covered = start as u64;
    let last = files.len().saturating_sub(1);
    for (index, (number, bytes)) in files.iter().enumerate().skip(start) {
        reading.segment(*number, bytes, index == last)?;
    }
    reading.finish()
}

/// The last segment that starts at or before `base`: those before it hold nothing that is needed,
/// and may be damaged.
fn first_needed(base: Lsn, files: &[(u64, Vec<u8>)]) -> usize {
    files
        .iter()
        .rposition(|(number, bytes)| decode_header(*number, bytes).is_ok_and(|first| first <= base))
        .unwrap_or(0)
}

struct Reading {
    checkpoint: Checkpoint,
    /// The next record; `None` before the first segment.
    expected: Option<Lsn>,
    recovered: Recovered,
}

impl Reading {
    fn segment(&mut self, number: u64, bytes: &[u8], is_last: bool) -> Result<(), RecoverError> {
        if let Some(before) = self.recovered.segments.back() {
            let missing = before.number + 1;
            if number != missing {
                return Err(RecoverError::MissingSegment { missing });
            }
        }
        let base = self.checkpoint.through.next();
        let expected = self.expected.unwrap_or(base);
        let first = match decode_header(number, bytes) {
            Ok(first) => first,
            Err(flaw) => {
                let torn = matches!(flaw, Flaw::Short | Flaw::Checksum)
                    && !later_write_follows(bytes, 0, expected);
                let damage = Damage {
                    offset: 0,
                    flaw,
                    torn,
                };
                self.tear(number, bytes, is_last, damage)?;
                self.push_segment(number, expected, 0);
                self.expected = Some(expected);
                return Ok(());
            }
        };
        let continues = match self.expected {
            Some(expected) => first == expected,
            None => first <= base,
        };
        if !continues {
            return Err(RecoverError::MissingRecords {
                segment: number,
                expected,
                found: first,
            });
        }
        let mut scanner = Scanner::new(bytes, first);
        while let Some(step) = scanner.next_record() {
            let (lsn, record) = match step {
                Ok(read) => read,
                Err(damage) => {
                    self.tear(number, bytes, is_last, damage)?;
                    break;
                }
            };
            let (day, _) =
                place_of(record.period(), record.end()).expect("a decoded record is on its grid");
            if self.checkpoint.covers(lsn, day) {
                self.recovered.recovery.covered += 1;
                if lsn >= base {
                    self.recovered.window.push(Openness::Closed);
                }
                continue;
            }
            let openness = match self.recovered.head.offer(lsn, &record, usize::MAX) {
                Offered::New | Offered::Conflict => {
                    self.recovered.recovery.records += 1;
                    Openness::Open
                }
                // It was appended after an earlier one of the same interval had been committed,
                // in a commit that ended before its checkpoint reached that one. So the database
                // has the earlier one, and this one says nothing new.
                Offered::Same(_) | Offered::PriceDecided(_) | Offered::ConflictsFull => {
                    self.recovered.recovery.repeated += 1;
                    Openness::Closed
                }
            };
            self.recovered.window.push(openness);
        }
        self.expected = Some(scanner.expected());
        self.push_segment(number, first, scanner.offset().max(HEADER_BYTES));
        Ok(())
    }

    fn push_segment(&mut self, number: u64, first: Lsn, bytes: usize) {
        self.recovered.segments.push_back(Segment {
            number,
            first,
            bytes: bytes as u64,
        });
    }

    /// Accepts the end of the last segment as unfinished, or names the damage.
    fn tear(
        &mut self,
        segment: u64,
        bytes: &[u8],
        is_last: bool,
        damage: Damage,
    ) -> Result<(), RecoverError> {
        let offset = damage.offset as u64;
        if !(is_last && damage.torn) {
            return Err(RecoverError::Damaged {
                segment,
                offset,
                flaw: damage.flaw,
            });
        }
        // An empty file is what a crash leaves between creating and writing it.
        if bytes.len() > damage.offset {
            self.recovered.recovery.torn = Some(TornTail {
                segment,
                offset,
                bytes: (bytes.len() - damage.offset) as u64,
            });
        }
        Ok(())
    }

    fn finish(self) -> Result<Recovered, RecoverError> {
        let known = self.checkpoint.known();
        let ends = Lsn(self.expected.map_or(0, |next| next.0 - 1));
        if ends < known {
            return Err(RecoverError::BehindDatabase { ends, known });
        }
        Ok(self.recovered)
    }
}
