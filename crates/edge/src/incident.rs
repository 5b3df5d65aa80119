//! Groups what was refused, held or found into incidents: an alarm per subject and window, never
//! per packet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use gridloom_core::{SystemTitle, UtcTime};

use crate::balance::{Imbalance, ImbalanceKind};
use crate::identity::Path;
use crate::line::{ClosedLine, LineFault};
use crate::loss::Loss;
use crate::reason::Reason;
use crate::registry::TransformerId;
use crate::silence::Silence;

/// Whom an incident is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A meter whose packets verify.
    Device(SystemTitle),
    /// A path whose packets do not: whose they are nobody knows.
    Path(Path),
    /// A gateway's link.
    Gateway(u64),
    /// An address from which lines came; nothing proves it.
    Address {
        /// The gateway's link; `None` if they came to the edge itself.
        gateway: Option<u64>,
        /// The address.
        address: IpAddr,
    },
    /// A transformer.
    Transformer(TransformerId),
    /// This edge as a whole.
    Edge,
}

/// What an incident is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IncidentKind {
    /// Packets with this reason.
    Packets(Reason),
    /// More packets than usual.
    Shift,
    /// Intervals that do not balance.
    Imbalance(ImbalanceKind),
    /// Lines that a gateway's host closed for this.
    Line(LineFault),
    /// More of a gateway's meters are missing than of the others', and than ever before: it
    /// withholds what it should carry, or they are cut off from it.
    Silence,
    /// More of the frames that a gateway's meters numbered never came than of the others', and than
    /// ever before: they are lost or withheld below it.
    Loss,
}

/// An incident's number, counted from the edge's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncidentId(pub u64);

/// What happened, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// The start of a packet, and the path by which it came.
    Packet {
        /// By which path.
        path: Path,
        /// Its first [`Incident::EVIDENCE_BYTES_MAX`] bytes.
        bytes: Vec<u8>,
    },
    /// An interval that does not balance.
    Imbalance(Imbalance),
    /// A line that was closed.
    Line {
        /// By which path its frames would have come; `None` if it came to the edge itself.
        path: Option<Path>,
        /// Why, and whose it was.
        line: ClosedLine,
    },
    /// An interval in which meters were missing.
    Silence(Silence),
    /// A stretch of frames of which too many never came.
    Loss(Loss),
}

/// Related events of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Its number.
    pub id: IncidentId,
    /// Whom it is about.
    pub subject: Subject,
    /// What it is about.
    pub kind: IncidentKind,
    /// The name of the gateway that it is about, or by which its first packet came, if that told
    /// one.
    pub gateway: Option<String>,
    /// When it began.
    pub first: UtcTime,
    /// When it was seen last.
    pub last: UtcTime,
    /// How often.
    pub count: u64,
    /// Of its packets, how many are held in the quarantine.
    pub held: u32,
    /// The first and the last events; at most [`Self::EVIDENCE_MAX`].
    pub evidence: Vec<Evidence>,
    /// When people were told last.
    told: UtcTime,
}

impl Incident {
    /// The link of the gateway that it is about, or by which its first packet came.
    pub(crate) fn link(&self) -> Option<u64> {
        match (&self.subject, self.evidence.first()) {
            (Subject::Gateway(link), _) => Some(*link),
            (Subject::Address { gateway, .. }, _) => *gateway,
            (Subject::Path(path), _)
            | (Subject::Device(_) | Subject::Edge, Some(Evidence::Packet { path, .. })) => {
                Some(path.gateway)
            }
            (Subject::Device(_) | Subject::Transformer(_) | Subject::Edge, _) => None,
        }
    }

    /// Events kept of one incident: the first ones, and in the last place the newest.
    pub const EVIDENCE_MAX: usize = 4;
    /// Bytes kept of a packet.
    pub const EVIDENCE_BYTES_MAX: usize = 512;
    /// An incident that goes on is told again after this long.
    pub const TOLD_EVERY: Duration = Duration::from_secs(900);
    /// An incident without held packets that was silent for so long is over; what comes later is
    /// another one.
    pub const SILENT_MAX: Duration = Duration::from_secs(86_400);
}

/// The incidents of an edge.
#[derive(Debug, Default)]
pub(crate) struct Incidents {
    by_id: BTreeMap<IncidentId, Incident>,
    open: BTreeMap<(Subject, IncidentKind), IncidentId>,
    next: u64,
    /// The minute in which incidents were opened last, and how many.
    opened: (i64, u32),
    /// Events of incidents for which there was no room.
    lost: u64,
}

impl Incidents {
    /// Incidents kept. Beyond it the one without held packets that was silent longest makes room;
    /// if there is none the new one is only counted.
    pub(crate) const INCIDENTS_MAX: usize = 1_024;

    /// Incidents opened in one minute. What comes beyond goes to one incident of the whole edge
    /// per kind, so that neither work nor alarms grow with the number of forged paths.
    pub(crate) const OPENED_PER_MINUTE_MAX: u32 = 64;

    /// Something happened. The incident if people should be told now.
    pub(crate) fn note(
        &mut self,
        subject: Subject,
        kind: IncidentKind,
        now: UtcTime,
        evidence: impl FnOnce() -> Evidence,
    ) -> Option<&mut Incident> {
        let id = self
            .find(subject, kind, now)
            .or_else(|| self.open_within_minute(subject, kind, now))?;
        let incident = self.by_id.get_mut(&id)?;
        incident.count += 1;
        incident.last = now;
        if incident.evidence.len() < Incident::EVIDENCE_MAX {
            incident.evidence.push(evidence());
        } else if incident.count.is_power_of_two() {
            // The newest at ever rarer times: a flood costs no copies.
            incident.evidence.pop();
            incident.evidence.push(evidence());
        }
        let is_due = incident.count == 1 || now.since(incident.told) >= Incident::TOLD_EVERY;
        if is_due {
            incident.told = now;
        }
        is_due.then_some(incident)
    }

    /// The running incident of a subject.
    fn find(&mut self, subject: Subject, kind: IncidentKind, now: UtcTime) -> Option<IncidentId> {
        let id = self.open.get(&(subject, kind)).copied()?;
        let incident = &self.by_id[&id];
        if incident.held > 0 || now.since(incident.last) <= Incident::SILENT_MAX {
            return Some(id);
        }
        self.open.remove(&(subject, kind));
        None
    }

    fn open_within_minute(
        &mut self,
        subject: Subject,
        kind: IncidentKind,
        now: UtcTime,
    ) -> Option<IncidentId> {
        let minute = now.as_secs() / 60;
        if self.opened.0 != minute {
            self.opened = (minute, 0);
        }
        if self.opened.1 < Self::OPENED_PER_MINUTE_MAX {
            self.opened.1 += 1;
            return self.open(subject, kind, now);
        }
        self.find(Subject::Edge, kind, now)
            .or_else(|| self.open(Subject::Edge, kind, now))
    }

    fn open(&mut self, subject: Subject, kind: IncidentKind, now: UtcTime) -> Option<IncidentId> {
        if self.by_id.len() >= Self::INCIDENTS_MAX && !self.forget_one() {
            self.lost += 1;
            return None;
        }
        self.next += 1;
        let id = IncidentId(self.next);
        self.open.insert((subject, kind), id);
        self.by_id.insert(
            id,
            Incident {
                id,
                subject,
                kind,
                gateway: None,
                first: now,
                last: now,
                count: 0,
                held: 0,
                evidence: Vec::new(),
                told: now,
            },
        );
        Some(id)
    }

    fn forget_one(&mut self) -> bool {
        let quietest = self
            .by_id
            .values()
            .filter(|incident| incident.held == 0)
            .min_by_key(|incident| (incident.last, incident.id))
            .map(|incident| (incident.id, (incident.subject, incident.kind)));
        let Some((id, key)) = quietest else {
            return false;
        };
        self.by_id.remove(&id);
        if self.open.get(&key) == Some(&id) {
            self.open.remove(&key);
        }
        true
    }

    /// A packet of this subject went into the quarantine or left it.
    pub(crate) fn held(&mut self, subject: Subject, kind: IncidentKind, into: bool) {
        let id = self.open.get(&(subject, kind));
        if let Some(incident) = id.and_then(|id| self.by_id.get_mut(id)) {
            incident.held = if into {
                incident.held + 1
            } else {
                incident.held.saturating_sub(1)
            };
        }
    }

    /// All of them, oldest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Incident> {
        self.by_id.values()
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: IncidentKind = IncidentKind::Packets(Reason::BadTag);

    fn packet() -> Evidence {
        Evidence::Packet {
            path: Path {
                gateway: 1,
                down: 1,
            },
            bytes: vec![0xDB],
        }
    }

    fn at(seconds: i64) -> UtcTime {
        UtcTime::from_secs(1_359_675_000 + seconds)
    }

    #[test]
    fn an_incident_is_told_once_per_window() {
        let mut incidents = Incidents::default();
        let told: Vec<i64> = (0..2_000)
            .filter(|second| {
                incidents
                    .note(Subject::Edge, KIND, at(*second), packet)
                    .is_some()
            })
            .collect();
        assert_eq!(told, [0, 900, 1_800]);
        let only: Vec<_> = incidents.all().collect();
        assert_eq!(only.len(), 1);
        assert_eq!(
            (only[0].count, only[0].first, only[0].last),
            (2_000, at(0), at(1_999))
        );
        assert_eq!(only[0].evidence.len(), Incident::EVIDENCE_MAX);
        let much_later = at(1_999 + 86_401);
        let again = incidents
            .note(Subject::Edge, KIND, much_later, packet)
            .unwrap();
        assert_eq!(again.id, IncidentId(2), "another incident");
    }

    #[test]
    fn incidents_are_bounded_and_those_with_held_packets_stay() {
        let mut incidents = Incidents::default();
        let max = u64::try_from(Incidents::INCIDENTS_MAX).unwrap();
        for gateway in 0..max + 10 {
            let subject = Subject::Gateway(gateway);
            let minute = i64::try_from(gateway).unwrap() * 60;
            incidents.note(subject, KIND, at(minute), packet);
            if gateway < 5 {
                incidents.held(subject, KIND, true);
            }
        }
        assert_eq!(incidents.all().count(), Incidents::INCIDENTS_MAX);
        let ids: Vec<_> = incidents.all().take(6).map(|it| it.id.0).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5, 16], "ten others made room");
        for gateway in 0..max + 10 {
            incidents.held(Subject::Gateway(gateway), KIND, true);
        }
        assert!(incidents.note(Subject::Edge, KIND, at(0), packet).is_none());
        assert_eq!(incidents.lost(), 1);
    }

    #[test]
    fn many_subjects_at_once_become_one_incident_of_the_edge() {
        let mut incidents = Incidents::default();
        let told = (0..1_000)
            .filter(|gateway| {
                let subject = Subject::Gateway(*gateway);
                incidents.note(subject, KIND, at(0), packet).is_some()
            })
            .count();
        let most = usize::try_from(Incidents::OPENED_PER_MINUTE_MAX).unwrap();
        assert_eq!((told, incidents.all().count()), (most + 1, most + 1));
        let last = incidents.all().last().unwrap();
        assert_eq!(last.subject, Subject::Edge);
        assert_eq!(last.count, 1_000 - u64::try_from(most).unwrap());
        let later = incidents.note(Subject::Gateway(999), KIND, at(60), packet);
        assert_eq!(
            later.unwrap().subject,
            Subject::Gateway(999),
            "the next minute"
        );
    }
}
