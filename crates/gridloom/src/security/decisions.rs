//! Decisions about held packets: what each is about, and how it stands until its outcome is known.
//!
//! A released reading may wait for a utility that is away, across restarts. The audit log says then
//! that the outcome is unknown, and the quarantine says what became of the packets: so both
//! together always give the outcome, and it is written down when it is known.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gridloom_core::{MeterId, UtcTime};
use gridloom_edge::{HeldState, PacketId, QuarantineError};
use gridloom_headend::AuditRecord;
use gridloom_headend::audit::{Action, AuditOutcome, Target};
use gridloom_nodes::EdgeNode;
use gridloom_web::{Decision, DecisionAbout, DecisionView, DeskError};

use super::{refused, views};

/// The packets that a decision is about.
pub(super) struct Wanted {
    pub(super) meter: MeterId,
    pub(super) words: String,
    pub(super) packets: BTreeSet<u64>,
}

/// What a decision would be about, if all of it waits.
pub(super) fn wanted(node: &EdgeNode, about: DecisionAbout) -> Result<Wanted, DeskError> {
    let is_open = |held: &&gridloom_edge::Held| held.state == HeldState::Open;
    match about {
        DecisionAbout::Packet(id) => {
            let packet = PacketId(id);
            let held = node.quarantine().packet(packet);
            let held = held.ok_or_else(|| refused(&QuarantineError::Unknown(packet)))?;
            if !is_open(&held) {
                let state = held.state.word();
                return Err(refused(&QuarantineError::Decided { id: packet, state }));
            }
            let reasons: Vec<_> = held.reasons.iter().map(|reason| reason.text()).collect();
            let (end, trust) = (held.said.reading.end, held.scores.p);
            let reasons = reasons.join(", ");
            Ok(Wanted {
                meter: held.said.reading.meter,
                words: format!("held packet {id}, interval to {end}, trust {trust}: {reasons}"),
                packets: BTreeSet::from([id]),
            })
        }
        DecisionAbout::Incident(id) => {
            let incident = node.incidents().find(|it| it.id.0 == id).ok_or_else(|| {
                DeskError::Unknown(format!("incident {id} is not kept; list the incidents"))
            })?;
            let its = (incident.subject, incident.kind);
            let held = node.quarantine().packets().filter(is_open);
            let held: Vec<_> = held.filter(|held| views::belongs_to(held) == its).collect();
            let Some(first) = held.first() else {
                let words = format!("incident {id}: none of its packets waits for a decision");
                return Err(DeskError::Refused(words));
            };
            let packets: BTreeSet<u64> = held.iter().map(|held| held.id.0).collect();
            Ok(Wanted {
                meter: first.said.reading.meter,
                words: format!(
                    "incident {id}, {} held packets {}",
                    packets.len(),
                    ranges(&packets)
                ),
                packets,
            })
        }
    }
}

/// How a packet stands that was decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It left the quarantine as it was decided.
    Gone,
    /// It is decided, and waits for the utility or the disk.
    Decided,
    /// It waits for a decision: the edge stopped before the last one was durable.
    Open,
}

pub(super) fn standings(node: &EdgeNode, packets: BTreeSet<u64>) -> BTreeMap<u64, Standing> {
    let standing = |id: &u64| match node.quarantine().packet(PacketId(*id)) {
        None => Standing::Gone,
        Some(held) if held.state == HeldState::Open => Standing::Open,
        Some(_) => Standing::Decided,
    };
    packets.into_iter().map(|id| (id, standing(&id))).collect()
}

/// A decision, and the packets for which it is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) about: DecisionAbout,
    pub(super) decision: Decision,
    pub(super) reason: String,
    pub(super) by: String,
    pub(super) at: UtcTime,
    pub(super) meter: MeterId,
    /// What the audit log says of what it is about.
    pub(super) before: String,
    pub(super) packets: BTreeSet<u64>,
    pub(super) left: BTreeSet<u64>,
    /// Packets that wait for a decision again.
    pub(super) undecided: usize,
}

const BECAUSE: &str = ", because: ";

impl Decided {
    pub(super) fn note(&mut self, now: BTreeMap<u64, Standing>) {
        for (id, standing) in now {
            match standing {
                Standing::Decided => continue,
                Standing::Gone => {}
                Standing::Open => self.undecided += 1,
            }
            self.left.remove(&id);
        }
    }

    pub(super) fn outcome(&self) -> AuditOutcome {
        if !self.left.is_empty() {
            AuditOutcome::Unknown(self.detail())
        } else if self.undecided > 0 {
            AuditOutcome::Failed(self.detail())
        } else {
            AuditOutcome::Done
        }
    }

    pub(super) fn record(&self, outcome: AuditOutcome) -> AuditRecord {
        AuditRecord {
            at: self.at,
            actor: self.by.clone(),
            action: Action::Quarantine,
            target: Target::Meter(self.meter),
            before: self.before.clone(),
            after: format!("{}{BECAUSE}{}", done_word(self.decision), self.reason),
            outcome,
        }
    }

    fn detail(&self) -> String {
        let (count, left) = (self.packets.len(), self.left.len());
        let words = match (self.decision, left, count) {
            _ if left == 0 && self.undecided > 0 => {
                return format!(
                    "the edge stopped before {} of {count} decisions were durable; decide again",
                    self.undecided
                );
            }
            (Decision::Release, 0, 1) => "the utility has the reading",
            (Decision::Release, 0, _) => "the utility has the readings",
            (Decision::Reject, 0, 1) => "the reading is given up",
            (Decision::Reject, 0, _) => "the readings are given up",
            (Decision::Release, _, 1) => "released; the utility does not have the reading yet",
            (Decision::Reject, _, 1) => "rejected; the edge's disk has not confirmed it yet",
            (Decision::Release, ..) => {
                return format!("released; the utility does not have {left} of {count} yet");
            }
            (Decision::Reject, ..) => {
                return format!(
                    "rejected; the edge's disk has not confirmed {left} of {count} yet"
                );
            }
        };
        words.to_owned()
    }

    pub(super) fn view(&self) -> DecisionView {
        let (packet, incident) = match self.about {
            DecisionAbout::Packet(id) => (Some(id), None),
            DecisionAbout::Incident(id) => (None, Some(id)),
        };
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let open = self.left.len() + self.undecided;
        DecisionView {
            packet,
            incident,
            packets: count(self.packets.len()),
            done: count(self.packets.len().saturating_sub(open)),
            decision: self.decision,
            at: self.at.to_string(),
            detail: self.detail(),
            by: self.by.clone(),
            reason: self.reason.clone(),
            is_done: open == 0,
        }
    }

    /// A decision as the audit log has it; `None` if this program did not write it so.
    fn of(record: &AuditRecord) -> Option<Self> {
        let Target::Meter(meter) = record.target else {
            return None;
        };
        let (done, reason) = record.after.split_once(BECAUSE)?;
        let decision = [Decision::Release, Decision::Reject]
            .into_iter()
            .find(|it| done_word(*it) == done)?;
        let (about, packets) = match record.before.strip_prefix("incident ") {
            Some(rest) => {
                let (id, rest) = rest.split_once(", ")?;
                let (_, packets) = rest.split_once(" held packets ")?;
                (
                    DecisionAbout::Incident(id.parse().ok()?),
                    parse_ranges(packets)?,
                )
            }
            None => {
                let rest = record.before.strip_prefix("held packet ")?;
                let id = rest.split_once(',')?.0.parse().ok()?;
                (DecisionAbout::Packet(id), BTreeSet::from([id]))
            }
        };
        let left = match record.outcome {
            AuditOutcome::Unknown(_) => packets.clone(),
            AuditOutcome::Done | AuditOutcome::Refused(_) | AuditOutcome::Failed(_) => {
                BTreeSet::new()
            }
        };
        let undecided = match record.outcome {
            AuditOutcome::Refused(_) | AuditOutcome::Failed(_) => packets.len(),
            AuditOutcome::Done | AuditOutcome::Unknown(_) => 0,
        };
        Some(Self {
            about,
            decision,
            reason: reason.to_owned(),
            by: record.actor.clone(),
            at: record.at,
            meter,
            before: record.before.clone(),
            packets,
            left,
            undecided,
        })
    }

    /// Whether both are one decision, told at different times.
    fn is(&self, other: &Self) -> bool {
        (self.at, &self.by, &self.before) == (other.at, &other.by, &other.before)
    }
}

const fn done_word(decision: Decision) -> &'static str {
    match decision {
        Decision::Release => "released",
        Decision::Reject => "rejected",
    }
}

/// Numbers as people write them: `4-9 12`.
fn ranges(numbers: &BTreeSet<u64>) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    let runs = runs.into_iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    runs.collect::<Vec<_>>().join(" ")
}

/// The numbers again; `None` if a text was cut, or is none of ours.
fn parse_ranges(text: &str) -> Option<BTreeSet<u64>> {
    let mut numbers = BTreeSet::new();
    for run in text.split(' ') {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        if last < first || last - first >= gridloom_edge::Quarantine::PACKETS_MAX as u64 {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// The last decisions, of which some are followed up.
#[derive(Debug, Clone, Default)]
pub(super) struct Followed(Arc<Mutex<VecDeque<Decided>>>);

impl Followed {
    /// Takes up what the audit log says, oldest first.
    pub(super) fn resume(records: Vec<AuditRecord>) -> Self {
        let followed = Self::default();
        for record in &records {
            if let Some(decided) = Decided::of(record) {
                followed.put(decided);
            }
        }
        followed
    }

    fn all(&self) -> MutexGuard<'_, VecDeque<Decided>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A decision, or its newer standing. Beyond [`DecisionView::DECISIONS_MAX`] the oldest that
    /// is settled is forgotten; what waits is bounded by the quarantine.
    pub(super) fn put(&self, decided: Decided) {
        let mut all = self.all();
        if let Some(known) = all.iter_mut().find(|it| it.is(&decided)) {
            *known = decided;
            return;
        }
        all.push_back(decided);
        while all.len() > DecisionView::DECISIONS_MAX
            && let Some(settled) = all.iter().position(|it| it.left.is_empty())
        {
            all.remove(settled);
        }
    }

    pub(super) fn note(&self, decided: &Decided) {
        self.put(decided.clone());
    }

    /// Those whose outcome is not known.
    pub(super) fn waiting(&self) -> Vec<Decided> {
        let all = self.all();
        all.iter()
            .filter(|it| !it.left.is_empty())
            .cloned()
            .collect()
    }

    /// Newest first.
    pub(super) fn views(&self) -> Vec<DecisionView> {
        let all = self.all();
        let newest = all.iter().rev().take(DecisionView::DECISIONS_MAX);
        newest.map(Decided::view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(about: DecisionAbout, before: &str, packets: &[u64]) -> Decided {
        Decided {
            about,
            decision: Decision::Release,
            reason: "the fitter, because: he was there".to_owned(),
            by: "operator".to_owned(),
            at: UtcTime::from_secs(1_777_593_600),
            meter: MeterId(7),
            before: before.to_owned(),
            packets: packets.iter().copied().collect(),
            left: packets.iter().copied().collect(),
            undecided: 0,
        }
    }

    #[test]
    fn a_decision_is_read_again_as_it_was_written() {
        let cases = [
            decided(
                DecisionAbout::Packet(5),
                "held packet 5, interval to noon, trust 0.6: late, odd",
                &[5],
            ),
            decided(
                DecisionAbout::Incident(3),
                "incident 3, 5 held packets 4-6 9 11",
                &[4, 5, 6, 9, 11],
            ),
        ];
        for case in cases {
            let record = case.record(case.outcome());
            assert_eq!(Decided::of(&record), Some(case.clone()));
            let done = Decided::of(&case.record(AuditOutcome::Done)).unwrap();
            assert!(done.view().is_done && done.is(&case));
            let failed = case.record(AuditOutcome::Failed("no".to_owned()));
            assert!(!Decided::of(&failed).unwrap().view().is_done);
        }
        for before in ["", "held packet x, y", "incident 3, 2 held packets 9-4"] {
            let record = decided(DecisionAbout::Packet(1), before, &[1]).record(AuditOutcome::Done);
            assert_eq!(Decided::of(&record), None, "{before}");
        }
    }

    #[test]
    fn numbers_are_written_in_runs() {
        for (numbers, text) in [(&[7][..], "7"), (&[1, 2, 3, 5, 8, 9], "1-3 5 8-9")] {
            let numbers: BTreeSet<u64> = numbers.iter().copied().collect();
            assert_eq!(ranges(&numbers), text);
            assert_eq!(parse_ranges(text), Some(numbers));
        }
        for text in ["", "1-", "3-1", "0-18446744073709551615", "1 2…"] {
            assert_eq!(parse_ranges(text), None, "{text}");
        }
    }

    #[test]
    fn what_became_of_the_packets_is_the_outcome() {
        let mut it = decided(DecisionAbout::Incident(3), "", &[1, 2, 3]);
        it.note(BTreeMap::from([
            (1, Standing::Gone),
            (2, Standing::Decided),
            (3, Standing::Decided),
        ]));
        assert!(matches!(it.outcome(), AuditOutcome::Unknown(_)));
        let view = it.view();
        assert_eq!((view.packets, view.done, view.is_done), (3, 1, false));
        let followed = Followed::default();
        followed.put(it.clone());
        assert_eq!(followed.waiting().len(), 1);
        let mut lost = it.clone();
        lost.note(BTreeMap::from([(2, Standing::Gone), (3, Standing::Open)]));
        assert!(matches!(lost.outcome(), AuditOutcome::Failed(_)));
        assert_eq!(lost.view().done, 2);
        it.note(BTreeMap::from([(2, Standing::Gone), (3, Standing::Gone)]));
        assert_eq!(it.outcome(), AuditOutcome::Done);
        assert_eq!(it.view().detail, "the utility has the readings");
        followed.note(&it);
        assert!(followed.waiting().is_empty());
        assert_eq!(followed.views().len(), 1, "one decision, told twice");
    }
}
