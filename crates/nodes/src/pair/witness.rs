//! A witness: grants one member of a pair at a time the right to be active.

use std::time::Duration;

use gridloom_core::{Instant, bytes::Reader};

use crate::envelope::pair::{Ask, Epoch, History, Verdict, Vote, Wanted};

/// What a witness keeps durably. An answer leaves only after it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WitnessRecord {
    /// The highest epoch that was promised, or seen in force.
    pub promised: Epoch,
    /// Nobody whose history is below is granted.
    pub needed: History,
}

impl WitnessRecord {
    /// Of a witness that has never been asked.
    pub const NEW: Self = Self {
        promised: Epoch::NONE,
        needed: History::FOUNDING,
    };

    const BYTES: usize = 8 + 8 + 4;

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::BYTES);
        bytes.extend(self.promised.0.to_be_bytes());
        bytes.extend(self.needed.epoch.0.to_be_bytes());
        bytes.extend(self.needed.alone.to_be_bytes());
        bytes
    }

    /// Reads it back; `None` if it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let record = Self {
            promised: Epoch(from.u64().ok()?),
            needed: History {
                epoch: Epoch(from.u64().ok()?),
                alone: from.u32().ok()?,
            },
        };
        from.is_empty().then_some(record)
    }
}

/// One witness: an edge, or a member itself.
///
/// A lease counts on the witness's own clock, from when it grants; its holder counts less, from
/// when it asked. So clocks may run a tenth too fast or too slow.
#[derive(Debug)]
pub struct Witness {
    record: WitnessRecord,
    leased_until: Option<Instant>,
    /// Until then a lease may run that was granted before a restart.
    began: Instant,
}

impl Witness {
    /// How long a grant counts here.
    pub const TERM: Duration = Duration::from_secs(2);

    /// A witness with what it kept.
    pub const fn new(record: WitnessRecord, now: Instant) -> Self {
        Self {
            record,
            leased_until: None,
            began: now,
        }
    }

    /// What has to be durable before an answer given so far leaves.
    pub const fn record(&self) -> WitnessRecord {
        self.record
    }

    /// The highest epoch that counts here.
    pub const fn promised(&self) -> Epoch {
        self.record.promised
    }

    /// Answers a question. The answer may leave once [`Self::record`] is durable.
    pub fn handle(&mut self, ask: Ask, now: Instant) -> Vote {
        let verdict = self.judge(ask, now);
        if verdict == Verdict::Granted && ask.what != Wanted::Opinion {
            self.record.promised = ask.epoch;
            self.leased_until = Some(now + Self::TERM);
            if ask.what == Wanted::LeaseAlone {
                self.record.needed = self.record.needed.max(ask.history);
            }
        }
        Vote {
            nonce: ask.nonce,
            promised: self.record.promised,
            verdict,
        }
    }

    fn judge(&self, ask: Ask, now: Instant) -> Verdict {
        let promised = self.record.promised;
        let Some(place) = ask.epoch.place() else {
            return Verdict::Outbid;
        };
        if ask.epoch < promised {
            return Verdict::Outbid;
        }
        if ask.history < self.record.needed {
            return Verdict::Behind;
        }
        // A member never competes with itself: it runs once, and began anew if it asks for more.
        if promised == Epoch::NONE || promised.place() == Some(place) {
            return Verdict::Granted;
        }
        if self.leased_until.is_some_and(|until| now < until) {
            return Verdict::Leased;
        }
        if self.leased_until.is_none() && now < self.began + Self::TERM {
            return Verdict::TooEarly;
        }
        Verdict::Granted
    }

    /// A lease is given back before its end.
    pub fn give_back(&mut self, epoch: Epoch, now: Instant) {
        if epoch == self.record.promised {
            self.leased_until = Some(now);
        }
    }

    /// This epoch is in force: a majority has granted it.
    pub fn note(&mut self, epoch: Epoch) {
        self.record.promised = self.record.promised.max(epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn ask(epoch: u64, history: History, what: Wanted) -> Ask {
        Ask {
            nonce: 1,
            epoch: Epoch(epoch),
            history,
            what,
        }
    }

    const fn history(epoch: u64, alone: u32) -> History {
        History {
            epoch: Epoch(epoch),
            alone,
        }
    }

    #[test]
    fn one_lease_at_a_time_and_never_a_lower_epoch() {
        use Verdict::{Behind, Granted, Leased, Outbid};
        use Wanted::{Lease, LeaseAlone, Opinion};
        let founding = History::FOUNDING;
        let mut witness = Witness::new(WitnessRecord::NEW, at(0));
        // When, what is asked, the answer. The witness lives through all of it in order.
        let cases = [
            (0, ask(0, founding, Lease), Outbid),
            (0, ask(2, History::NONE, Lease), Behind),
            (0, ask(2, founding, Opinion), Granted),
            (0, ask(1, founding, Lease), Granted),
            (1_999, ask(2, founding, Lease), Leased),
            (1_999, ask(1, founding, Lease), Granted),
            (3_998, ask(2, founding, Opinion), Leased),
            (3_999, ask(2, founding, Opinion), Granted),
            (3_999, ask(1, history(1, 1), LeaseAlone), Granted),
            (9_000, ask(2, founding, Lease), Behind),
            (9_000, ask(2, history(1, 1), Lease), Granted),
            (9_001, ask(1, history(1, 1), Lease), Outbid),
            // A lease of the same member, begun anew.
            (9_001, ask(4, history(1, 1), Lease), Granted),
            (9_001, ask(5, history(1, 1), Lease), Leased),
        ];
        for (millis, ask, verdict) in cases {
            let vote = witness.handle(ask, at(millis));
            assert_eq!(vote.verdict, verdict, "{millis}: {ask:?}");
        }
        witness.give_back(Epoch(2), at(9_002));
        let next = ask(5, history(1, 1), Lease);
        assert_eq!(witness.handle(next, at(9_003)).verdict, Leased);
        witness.give_back(Epoch(4), at(9_003));
        assert_eq!(witness.handle(next, at(9_003)).verdict, Granted);
    }

    #[test]
    fn a_witness_that_began_anew_waits_for_leases_it_forgot() {
        let record = WitnessRecord {
            promised: Epoch(3),
            needed: history(3, 1),
        };
        assert_eq!(WitnessRecord::decode(&record.encode()), Some(record));
        assert_eq!(WitnessRecord::decode(&record.encode()[1..]), None);
        let mut witness = Witness::new(record, at(0));
        let other = ask(4, history(3, 1), Wanted::Lease);
        let early = witness.handle(other, at(0) + SECOND);
        assert_eq!(early.verdict, Verdict::TooEarly);
        let same = witness.handle(ask(3, history(3, 1), Wanted::Lease), at(0) + SECOND);
        assert_eq!(same.verdict, Verdict::Granted);
        let late = witness.handle(other, at(0) + 3 * SECOND);
        assert_eq!(late.verdict, Verdict::Granted);
    }

    #[test]
    fn an_epoch_in_force_outbids_what_is_below() {
        let mut witness = Witness::new(WitnessRecord::NEW, at(0));
        witness.note(Epoch(4));
        witness.note(Epoch(3));
        let vote = witness.handle(ask(3, History::FOUNDING, Wanted::Lease), at(9_000));
        assert_eq!((vote.verdict, vote.promised), (Verdict::Outbid, Epoch(4)));
    }
}
