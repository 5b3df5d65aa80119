//! The API's desk of an edge: what its node holds and finds becomes views, and what an analyst
//! decides becomes an entry of the audit log and then a decision of the node.

mod log;
mod views;

use std::time::Duration;

use gridloom_core::Now;
use gridloom_edge::{PacketId, QuarantineError, ScreeningConfig, ScreeningSettings};
use gridloom_headend::AuditRecord;
use gridloom_headend::audit::{Action, AuditOutcome, Target};
use gridloom_host::{DataDirectory, Handle, NodeIndex, Stopped};
use gridloom_nodes::EdgeNode;
use gridloom_web::{
    Answer, CertificateView, CertificatesView, Decision, DecisionView, DeskError, HeldDetail,
    HeldView, IncidentDetail, IncidentView, QueuePage, SecurityDesk, SecurityView, TrustPage,
    TrustView,
};

use crate::links::Links;
use crate::pki::CertificateRow;
use log::DecisionLog;

const ONLY: NodeIndex = NodeIndex(0);

/// How often it is looked whether a decision is carried out.
const LOOK_EVERY: Duration = Duration::from_millis(20);

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
}

impl EdgeDesk {
    /// A desk of the edge called `name`; decisions go into the audit log of `directory`.
    pub(crate) fn open(
        edge: Handle<EdgeNode>,
        name: &str,
        screening: &ScreeningConfig,
        links: Links,
        directory: &DataDirectory,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            edge,
            name: name.to_owned(),
            settings: *screening.settings(),
            links,
            log: DecisionLog::open(directory)?,
        })
    }

    async fn ask<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut EdgeNode, Now) -> R + Send + 'static,
    ) -> Result<R, DeskError> {
        self.edge.call(ONLY, call).await.map_err(down)
    }

    /// Decides: written down first, then done, then written down how it went.
    async fn carry_out(
        self,
        id: u64,
        decision: Decision,
        reason: String,
        by: String,
    ) -> Result<DecisionView, DeskError> {
        let packet = PacketId(id);
        let (wanted, at) = self
            .ask(move |node, now| {
                let held = node.quarantine().packet(packet);
                (
                    held.map(|held| (held.state.word(), Held::of(held))),
                    now.utc,
                )
            })
            .await?;
        let held = match wanted {
            None => return Err(refused(&QuarantineError::Unknown(packet))),
            Some(("open", held)) => held,
            Some((state, _)) => {
                return Err(refused(&QuarantineError::Decided { id: packet, state }));
            }
        };
        let line = |outcome| AuditRecord {
            at,
            actor: by.clone(),
            action: Action::Quarantine,
            target: Target::Meter(held.meter),
            before: format!("held packet {id}, {}", held.words),
            after: format!("{}, because: {reason}", done_word(decision)),
            outcome,
        };
        let begun = AuditOutcome::Unknown("it is being carried out".to_owned());
        self.log.write(line(begun)).await?;
        let who = by.clone();
        let answer = self
            .ask(move |node, now| match decision {
                Decision::Release => node.release(packet, &who, now),
                Decision::Reject => node.reject(packet, &who, now),
            })
            .await?;
        if let Err(error) = answer {
            let words = error.to_string();
            self.log.write(line(AuditOutcome::Refused(words))).await?;
            return Err(refused(&error));
        }
        let is_done = self.is_gone(packet).await?;
        let (outcome, detail) = match (is_done, decision) {
            (true, Decision::Release) => (AuditOutcome::Done, "the utility has the reading"),
            (true, Decision::Reject) => (AuditOutcome::Done, "the reading is given up"),
            (false, Decision::Release) => {
                let words = "released; the utility does not have the reading yet";
                (AuditOutcome::Unknown(words.to_owned()), words)
            }
            (false, Decision::Reject) => {
                let words = "rejected; the edge's disk has not confirmed it yet";
                (AuditOutcome::Unknown(words.to_owned()), words)
            }
        };
        self.log.write(line(outcome)).await?;
        Ok(DecisionView {
            packet: id,
            decision,
            at: at.to_string(),
            detail: detail.to_owned(),
            by,
            reason,
            is_done,
        })
    }

    /// Whether a packet leaves the quarantine within the time that an answer waits.
    async fn is_gone(&self, packet: PacketId) -> Result<bool, DeskError> {
        let looking = async {
            loop {
                let is_held = self
                    .ask(move |node, _| node.quarantine().packet(packet).is_some())
                    .await?;
                if !is_held {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        match tokio::time::timeout(CARRIED_OUT_WITHIN, looking).await {
            Ok(gone) => gone.map(|()| true),
            Err(_) => Ok(false),
        }
    }
}

/// What the audit log says of a held packet.
struct Held {
    meter: gridloom_core::MeterId,
    words: String,
}

impl Held {
    fn of(held: &gridloom_edge::Held) -> Self {
        let reasons: Vec<_> = held.reasons.iter().map(|reason| reason.text()).collect();
        Self {
            meter: held.said.reading.meter,
            words: format!(
                "interval to {}, trust {}: {}",
                held.said.reading.end,
                held.scores.p,
                reasons.join(", ")
            ),
        }
    }
}

const fn done_word(decision: Decision) -> &'static str {
    match decision {
        Decision::Release => "released",
        Decision::Reject => "rejected",
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
        id: u64,
        decision: Decision,
        reason: String,
        by: String,
    ) -> Answer<DecisionView> {
        let desk = self.clone();
        Box::pin(async move {
            // A task of its own: a client that hangs up does not leave it half written down.
            let task = tokio::spawn(desk.carry_out(id, decision, reason, by));
            task.await.map_err(broken)?
        })
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
