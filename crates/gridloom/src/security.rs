//! The API's desk of an edge: what its node holds and finds becomes views, and what an analyst
//! decides becomes an entry of the audit log and then a decision of the node.

mod decisions;
mod log;
mod views;

use std::time::Duration;

use gridloom_core::Now;
use gridloom_edge::{PacketId, QuarantineError, ScreeningConfig, ScreeningSettings};
use gridloom_headend::audit::AuditOutcome;
use gridloom_host::{DataDirectory, Handle, NodeIndex, Stopped};
use gridloom_nodes::EdgeNode;
use gridloom_web::{
    Answer, CertificateView, CertificatesView, Decision, DecisionAbout, DecisionView, DeskError,
    HeldDetail, HeldView, IncidentDetail, IncidentView, QueuePage, SecurityDesk, SecurityView,
    TrustPage, TrustView,
};

use crate::links::Links;
use crate::pki::CertificateRow;
use decisions::{Decided, Followed};
use log::DecisionLog;

const ONLY: NodeIndex = NodeIndex(0);

/// How often it is looked whether a decision is carried out.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How often it is looked whether a late one is.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// How long an answer waits for that. A released reading needs the utility, a rejected one the
/// edge's disk.
const CARRIED_OUT_WITHIN: Duration = Duration::from_secs(5);

/// A way from the API to an edge.
#[derive(Clone)]
pub(crate) struct EdgeDesk {
    edge: Handle<EdgeNode>,
    name: String,
    settings: ScreeningSettings,
    links: Links,
    log: DecisionLog,
    followed: Followed,
}

impl EdgeDesk {
    /// A desk of the edge called `name`; decisions go into the audit log of `directory`. Outcomes that
    /// this does not know yet are followed up. Within a runtime only.
    pub(crate) fn open(
        edge: Handle<EdgeNode>,
        name: &str,
        screening: &ScreeningConfig,
        links: Links,
        directory: &DataDirectory,
    ) -> anyhow::Result<Self> {
        let log = DecisionLog::open(directory)?;
        let desk = Self {
            edge,
            name: name.to_owned(),
            settings: *screening.settings(),
            links,
            followed: Followed::resume(log.recent()?),
            log,
        };
        tokio::spawn(desk.clone().follow());
        Ok(desk)
    }

    async fn ask<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut EdgeNode, Now) -> R + Send + 'static,
    ) -> Result<R, DeskError> {
        self.edge.call(ONLY, call).await.map_err(down)
    }

    /// Decides: written down first, then done, then written down how it went. What takes longer
    /// than an answer waits is followed up until its outcome is known.
    async fn carry_out(
        self,
        about: DecisionAbout,
        decision: Decision,
        reason: String,
        by: String,
    ) -> Result<DecisionView, DeskError> {
        let (wanted, at) = self
            .ask(move |node, now| (decisions::wanted(node, about), now.utc))
            .await?;
        let wanted = wanted?;
        let mut book = Decided {
            about,
            decision,
            reason,
            by,
            at,
            meter: wanted.meter,
            before: wanted.words,
            packets: wanted.packets.clone(),
            left: wanted.packets.clone(),
            undecided: 0,
        };
        let begun = AuditOutcome::Unknown("it is being carried out".to_owned());
        self.log.write(book.record(begun)).await?;
        let (who, packets) = (book.by.clone(), wanted.packets);
        let answers = self
            .ask(move |node, now| {
                packets
                    .into_iter()
                    .map(|id| {
                        let packet = PacketId(id);
                        let answer = match decision {
                            Decision::Release => node.release(packet, &who, now),
                            Decision::Reject => node.reject(packet, &who, now),
                        };
                        (id, answer)
                    })
                    .collect::<Vec<_>>()
            })
            .await?;
        let mut refusal = None;
        for (id, answer) in answers {
            if let Err(error) = answer {
                // Somebody else was faster.
                book.packets.remove(&id);
                book.left.remove(&id);
                refusal = Some(error);
            }
        }
        if let (true, Some(error)) = (book.packets.is_empty(), refusal) {
            let outcome = AuditOutcome::Refused(error.to_string());
            self.log.write(book.record(outcome)).await?;
            return Err(refused(&error));
        }
        let waiting = async {
            while !book.left.is_empty() {
                self.look(&mut book).await?;
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(CARRIED_OUT_WITHIN, waiting).await {
            return Err(error);
        }
        self.log.write(book.record(book.outcome())).await?;
        let view = book.view();
        self.followed.put(book);
        Ok(view)
    }

    /// What became of the packets that a decision still waits for.
    async fn look(&self, decided: &mut Decided) -> Result<(), DeskError> {
        let left = decided.left.clone();
        let now = self
            .ask(move |node, _| decisions::standings(node, left))
            .await?;
        decided.note(now);
        Ok(())
    }

    /// Writes down late outcomes as they become known, for as long as the edge runs.
    async fn follow(self) {
        loop {
            tokio::time::sleep(FOLLOW_EVERY).await;
            for mut decided in self.followed.waiting() {
                if self.look(&mut decided).await.is_err() {
                    return;
                }
                if !decided.left.is_empty() {
                    self.followed.note(&decided);
                    continue;
                }
                // What was not written is tried again.
                if self
                    .log
                    .write(decided.record(decided.outcome()))
                    .await
                    .is_ok()
                {
                    self.followed.note(&decided);
                }
            }
        }
    }
}

fn down(stopped: Stopped) -> DeskError {
    DeskError::Down(format!("{stopped}; start gridloom serve again"))
}

fn refused(error: &QuarantineError) -> DeskError {
    let words = error.to_string();
    if matches!(error, QuarantineError::Unknown(_)) {
        DeskError::Unknown(words)
    } else {
        DeskError::Refused(words)
    }
}

/// A task that failed although nothing stopped it.
fn broken(error: tokio::task::JoinError) -> DeskError {
    DeskError::Down(format!("the desk failed: {error}; look at the log"))
}

impl SecurityDesk for EdgeDesk {
    fn status(&self) -> Answer<SecurityView> {
        let desk = self.clone();
        Box::pin(async move {
            let (name, settings) = (desk.name.clone(), desk.settings);
            desk.ask(move |node, _| views::status(node, name, &settings))
                .await
        })
    }

    fn incidents(&self) -> Answer<Vec<IncidentView>> {
        let desk = self.clone();
        Box::pin(async move { desk.ask(|node, _| views::incidents(node)).await })
    }

    fn incident(&self, id: u64) -> Answer<IncidentDetail> {
        let desk = self.clone();
        Box::pin(async move {
            let found = desk.ask(move |node, _| views::incident(node, id)).await?;
            found.ok_or_else(|| {
                DeskError::Unknown(format!("incident {id} is not kept; list the incidents"))
            })
        })
    }

    fn quarantine(&self, page: QueuePage) -> Answer<Vec<HeldView>> {
        let desk = self.clone();
        Box::pin(async move { desk.ask(move |node, _| views::queue(node, &page)).await })
    }

    fn packet(&self, id: u64) -> Answer<HeldDetail> {
        let desk = self.clone();
        Box::pin(async move {
            let found = desk.ask(move |node, _| views::packet(node, id)).await?;
            found.ok_or_else(|| refused(&QuarantineError::Unknown(PacketId(id))))
        })
    }

    fn decide(
        &self,
        about: DecisionAbout,
        decision: Decision,
        reason: String,
        by: String,
    ) -> Answer<DecisionView> {
        let desk = self.clone();
        Box::pin(async move {
            // A task of its own: a client that hangs up does not leave it half written down.
            let task = tokio::spawn(desk.carry_out(about, decision, reason, by));
            task.await.map_err(broken)?
        })
    }

    fn decisions(&self) -> Answer<Vec<DecisionView>> {
        let views = self.followed.views();
        Box::pin(async move { Ok(views) })
    }

    fn trust(&self, page: TrustPage) -> Answer<Vec<TrustView>> {
        let desk = self.clone();
        Box::pin(async move {
            let name = desk.name.clone();
            desk.ask(move |node, _| views::trust(node, &name, page))
                .await
        })
    }

    fn certificates(&self) -> Answer<CertificatesView> {
        let links = self.links.clone();
        Box::pin(async move {
            // The register is a file.
            let rows = tokio::task::spawn_blocking(move || {
                links
                    .certificates()
                    .map(|rows| (links.is_protected(), rows))
            });
            let (is_protected, rows) = rows.await.map_err(broken)?.map_err(|error| {
                DeskError::Down(format!("the certificates cannot be read: {error:#}"))
            })?;
            Ok(CertificatesView {
                is_protected,
                certificates: rows.into_iter().map(certificate).collect(),
            })
        })
    }
}

fn certificate(row: CertificateRow) -> CertificateView {
    CertificateView {
        role: row.role.to_owned(),
        name: row.name,
        serial: row.serial,
        not_before: row.not_before,
        not_after: row.not_after,
        hosts: row.hosts,
        standing: row.standing.word().to_owned(),
        revoked_at: row.revoked_at,
        reason: row.reason.map(str::to_owned),
        seen_at: row.seen_at,
        seen_from: row.seen_from,
    }
}
