//! Takes readings from edges and owes each an acknowledgement until the ledger has it.

use std::collections::{BTreeMap, VecDeque};

use gridloom_core::{MeterId, Period, UtcTime};
use gridloom_store::Lsn;

/// The edge connection a reading came over; its acknowledgement goes back there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(pub u64);

/// The identity of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadingKey {
    /// Whose reading.
    pub meter: MeterId,
    /// Of which profile.
    pub period: Period,
    /// The end of the interval.
    pub end: UtcTime,
}

/// Readings that are durable and may be acknowledged to one edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The edge.
    pub source: Source,
    /// The readings, oldest first.
    pub readings: Vec<ReadingKey>,
}

/// Why a reading was not taken. Its meter keeps it and pushes it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// [`Collector::AWAITING_MAX`] readings wait for the disk.
    Overloaded,
}

/// Owes acknowledgements.
#[derive(Debug, Default)]
pub struct Collector {
    /// In the order of their numbers.
    awaiting: VecDeque<(Lsn, Source, ReadingKey)>,
    refused: u64,
}

impl Collector {
    /// Readings that may wait for the disk; one more is refused and counted.
    pub const AWAITING_MAX: usize = 262_144;

    /// Whether there is room for one more reading; counts it as refused where there is none.
    pub fn admit(&mut self) -> Result<(), Refusal> {
        if self.awaiting.len() >= Self::AWAITING_MAX {
            self.refused += 1;
            return Err(Refusal::Overloaded);
        }
        Ok(())
    }

    /// A reading stands in the ledger at `lsn`, or was there before.
    ///
    /// A redelivery is owed its acknowledgement too: the first one may have been lost. It has the
    /// number of its first delivery, and may be durable already: ask [`Self::durable`] after it.
    pub fn appended(&mut self, lsn: Lsn, source: Source, key: ReadingKey) {
        let place = self.awaiting.partition_point(|(other, ..)| *other <= lsn);
        self.awaiting.insert(place, (lsn, source, key));
    }

    /// Everything up to `through` is durable: returns what may be acknowledged now, by edge.
    pub fn durable(&mut self, through: Lsn) -> Vec<Acknowledgement> {
        let mut by_source: BTreeMap<Source, Vec<ReadingKey>> = BTreeMap::new();
        while let Some((_, source, key)) = self.awaiting.pop_front_if(|(lsn, ..)| *lsn <= through) {
            by_source.entry(source).or_default().push(key);
        }
        by_source
            .into_iter()
            .map(|(source, readings)| Acknowledgement { source, readings })
            .collect()
    }

    /// An edge connection is gone; what it was owed is forgotten, and its meters ask again.
    pub fn source_gone(&mut self, source: Source) {
        self.awaiting.retain(|(_, owed, _)| *owed != source);
    }

    /// Readings that wait for the disk.
    pub fn awaiting(&self) -> usize {
        self.awaiting.len()
    }

    /// Readings refused since start because too many waited.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(meter: u32, minutes: i64) -> ReadingKey {
        ReadingKey {
            meter: MeterId(meter),
            period: Period::HALF_HOUR,
            end: UtcTime::from_secs(minutes * 60),
        }
    }

    #[test]
    fn nothing_is_acknowledged_before_it_is_durable() {
        let mut collector = Collector::default();
        let (north, south) = (Source(1), Source(2));
        collector.appended(Lsn(1), north, key(1, 30));
        collector.appended(Lsn(2), south, key(2, 30));
        collector.appended(Lsn(2), north, key(1, 30)); // A redelivery.
        collector.appended(Lsn(3), north, key(1, 60));
        assert_eq!(collector.durable(Lsn(0)), []);
        assert_eq!(
            collector.durable(Lsn(2)),
            [
                Acknowledgement {
                    source: north,
                    readings: vec![key(1, 30), key(1, 30)]
                },
                Acknowledgement {
                    source: south,
                    readings: vec![key(2, 30)]
                },
            ]
        );
        collector.source_gone(north);
        assert_eq!(collector.durable(Lsn(9)), []);
    }

    #[test]
    fn a_redelivery_is_owed_by_its_first_number() {
        let mut collector = Collector::default();
        let (north, south) = (Source(1), Source(2));
        collector.appended(Lsn(7), north, key(1, 60));
        // Stored long ago; its meter never heard of it.
        collector.appended(Lsn(3), south, key(2, 30));
        assert_eq!(
            collector.durable(Lsn(6)),
            [Acknowledgement {
                source: south,
                readings: vec![key(2, 30)]
            }]
        );
        assert_eq!(collector.awaiting(), 1);
    }

    #[test]
    fn too_much_waiting_is_refused_and_counted() {
        let mut collector = Collector::default();
        for i in 0..Collector::AWAITING_MAX {
            assert_eq!(collector.admit(), Ok(()));
            collector.appended(Lsn(i as u64), Source(1), key(1, 30));
        }
        assert_eq!(collector.admit(), Err(Refusal::Overloaded));
        assert_eq!(collector.refused(), 1);
        collector.durable(Lsn(0));
        assert_eq!(collector.admit(), Ok(()));
    }
}
