//! The routes below `/api/v1/security`: what they take, who may, and how long it may last.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Query, Request, State};
use axum::http::Uri;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::desk::{ANSWER_MAX, Answer, DeskError};
use crate::error::ApiError;
use crate::headend::{BODIES_MAX, Faults, PathText, operator, other_method, read};
use crate::screening::{
    CertificatesView, Decision, DecisionAbout, DecisionView, IncidentView, QueuePage, SecurityDesk,
    TrustKind, TrustPage,
};
use crate::token::OperatorToken;

/// Longest decision that is read, in bytes; a longer one is refused with 413.
pub(crate) const DECISION_MAX: usize = 4_096;

/// Where incidents are listed.
const INCIDENTS: &str = "/api/v1/security/incidents";

/// The way to one edge, if this console has one.
pub(crate) struct Guardroom {
    desk: Option<Arc<dyn SecurityDesk>>,
    token: Option<OperatorToken>,
    bodies: Semaphore,
}

impl Guardroom {
    pub(crate) fn new(desk: Option<Arc<dyn SecurityDesk>>, token: Option<OperatorToken>) -> Self {
        Self {
            desk,
            token,
            bodies: Semaphore::new(BODIES_MAX),
        }
    }

    fn desk(&self) -> Result<&dyn SecurityDesk, ApiError> {
        self.desk.as_deref().ok_or(ApiError::NoEdge)
    }
}

/// The routes, complete.
pub(crate) fn routes(guardroom: Guardroom) -> Router {
    let body = || DefaultBodyLimit::max(DECISION_MAX);
    Router::new()
        .route("/api/v1/security/status", get(status))
        .route("/api/v1/security/incidents", get(incidents))
        .route("/api/v1/security/incidents/{id}", get(incident))
        .route("/api/v1/security/quarantine", get(quarantine))
        .route("/api/v1/security/quarantine/{id}", get(packet))
        .route(
            "/api/v1/security/quarantine/{id}/release",
            post(release).layer(body()),
        )
        .route(
            "/api/v1/security/quarantine/{id}/reject",
            post(reject).layer(body()),
        )
        .route(
            "/api/v1/security/incidents/{id}/release",
            post(release_all).layer(body()),
        )
        .route(
            "/api/v1/security/incidents/{id}/reject",
            post(reject_all).layer(body()),
        )
        .route("/api/v1/security/decisions", get(decisions))
        .route("/api/v1/security/trust", get(trust))
        .route("/api/v1/security/certificates", get(certificates))
        .method_not_allowed_fallback(other_method)
        .with_state(Arc::new(guardroom))
}

type GuardroomState = State<Arc<Guardroom>>;
type AnyQuery<T> = Result<Query<T>, QueryRejection>;

async fn status(State(room): GuardroomState) -> Result<Response, ApiError> {
    answer(room.desk()?.status()).await
}

async fn incidents(State(room): GuardroomState) -> Result<Response, ApiError> {
    let mut incidents = settle(room.desk()?.incidents()).await?;
    incidents.truncate(IncidentView::INCIDENTS_MAX);
    Ok(Json(incidents).into_response())
}

async fn incident(
    State(room): GuardroomState,
    id: PathText,
    uri: Uri,
) -> Result<Response, ApiError> {
    let desk = room.desk()?;
    let id = number(id, &uri, "incident", INCIDENTS)?;
    answer(desk.incident(id)).await
}

/// What is not named here is refused, so that a slip does not select all packets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQueuePage {
    after: Option<u64>,
    limit: Option<u16>,
    incident: Option<u64>,
}

async fn quarantine(
    State(room): GuardroomState,
    query: AnyQuery<RawQueuePage>,
) -> Result<Response, ApiError> {
    let desk = room.desk()?;
    let raw = taken(query, "after, limit, incident")?;
    let page = QueuePage {
        after: raw.after.unwrap_or(0),
        limit: limit(raw.limit, QueuePage::LIMIT, QueuePage::LIMIT_MAX)?,
        incident: raw.incident,
    };
    let packets = settle(desk.quarantine(page)).await?;
    assert!(
        packets.len() <= usize::from(page.limit),
        "a desk keeps to the page's limit"
    );
    Ok(Json(packets).into_response())
}

async fn packet(State(room): GuardroomState, id: PathText, uri: Uri) -> Result<Response, ApiError> {
    let desk = room.desk()?;
    answer(desk.packet(held(id, &uri)?)).await
}

async fn release(
    state: GuardroomState,
    by: Analyst,
    id: PathText,
    uri: Uri,
    request: Request,
) -> Result<Response, ApiError> {
    let about = DecisionAbout::Packet(held(id, &uri)?);
    decide(state, by, about, Decision::Release, request).await
}

async fn reject(
    state: GuardroomState,
    by: Analyst,
    id: PathText,
    uri: Uri,
    request: Request,
) -> Result<Response, ApiError> {
    let about = DecisionAbout::Packet(held(id, &uri)?);
    decide(state, by, about, Decision::Reject, request).await
}

async fn release_all(
    state: GuardroomState,
    by: Analyst,
    id: PathText,
    uri: Uri,
    request: Request,
) -> Result<Response, ApiError> {
    let about = DecisionAbout::Incident(number(id, &uri, "incident", INCIDENTS)?);
    decide(state, by, about, Decision::Release, request).await
}

async fn reject_all(
    state: GuardroomState,
    by: Analyst,
    id: PathText,
    uri: Uri,
    request: Request,
) -> Result<Response, ApiError> {
    let about = DecisionAbout::Incident(number(id, &uri, "incident", INCIDENTS)?);
    decide(state, by, about, Decision::Reject, request).await
}

async fn decisions(State(room): GuardroomState) -> Result<Response, ApiError> {
    let mut decisions = settle(room.desk()?.decisions()).await?;
    decisions.truncate(DecisionView::DECISIONS_MAX);
    Ok(Json(decisions).into_response())
}

/// Why somebody decides as they do. Fields that are not named here are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDecision {
    reason: String,
}

async fn decide(
    State(room): GuardroomState,
    Analyst(by): Analyst,
    about: DecisionAbout,
    decision: Decision,
    request: Request,
) -> Result<Response, ApiError> {
    let desk = room.desk()?;
    let raw: RawDecision = {
        let _place = room
            .bodies
            .try_acquire()
            .map_err(|_| ApiError::Busy { max: BODIES_MAX })?;
        let bytes = read(request, "application/json", DECISION_MAX).await?;
        serde_json::from_slice(&bytes).map_err(|error| ApiError::Json(error.to_string()))?
    };
    let reason = raw.reason.trim();
    let mut faults = Faults::default();
    if reason.is_empty() {
        let problem = "is empty; say in words why, for the audit log".to_owned();
        faults.add("reason", problem);
    }
    if reason.chars().any(char::is_control) {
        let problem = "has control characters; write it on one line".to_owned();
        faults.add("reason", problem);
    }
    faults.check_len("reason", Some(reason), Decision::REASON_MAX);
    faults.none()?;
    answer(desk.decide(about, decision, reason.to_owned(), by)).await
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawTrustKind {
    Device,
    Gateway,
    Edge,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrustPage {
    kind: RawTrustKind,
    skip: Option<u32>,
    limit: Option<u16>,
}

async fn trust(
    State(room): GuardroomState,
    query: AnyQuery<RawTrustPage>,
) -> Result<Response, ApiError> {
    let desk = room.desk()?;
    let raw = taken(query, "kind (device, gateway or edge), skip, limit")?;
    let page = TrustPage {
        kind: match raw.kind {
            RawTrustKind::Device => TrustKind::Device,
            RawTrustKind::Gateway => TrustKind::Gateway,
            RawTrustKind::Edge => TrustKind::Edge,
        },
        skip: raw.skip.unwrap_or(0),
        limit: limit(raw.limit, TrustPage::LIMIT, TrustPage::LIMIT_MAX)?,
    };
    let subjects = settle(desk.trust(page)).await?;
    assert!(
        subjects.len() <= usize::from(page.limit),
        "a desk keeps to the page's limit"
    );
    Ok(Json(subjects).into_response())
}

async fn certificates(State(room): GuardroomState) -> Result<Response, ApiError> {
    let mut view = settle(room.desk()?.certificates()).await?;
    view.certificates
        .truncate(CertificatesView::CERTIFICATES_MAX);
    Ok(Json(view).into_response())
}

/// The name of the token that the client showed; without it nothing is decided, and the body stays
/// unread.
struct Analyst(String);

impl FromRequestParts<Arc<Guardroom>> for Analyst {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        room: &Arc<Guardroom>,
    ) -> Result<Self, ApiError> {
        room.desk()?;
        operator(room.token.as_ref(), parts).map(Self)
    }
}

fn taken<T>(query: AnyQuery<T>, fields: &'static str) -> Result<T, ApiError> {
    query
        .map(|Query(raw)| raw)
        .map_err(|error| ApiError::SecurityQuery {
            error: error.body_text(),
            fields,
        })
}

fn limit(asked: Option<u16>, usual: u16, most: u16) -> Result<u16, ApiError> {
    let limit = asked.unwrap_or(usual);
    let mut faults = Faults::default();
    if !(1..=most).contains(&limit) {
        faults.add("limit", format!("{limit}; ask for 1 to {most}"));
    }
    faults.none().map(|()| limit)
}

fn held(id: PathText, uri: &Uri) -> Result<u64, ApiError> {
    number(id, uri, "held packet", "/api/v1/security/quarantine")
}

/// The number in a path, written the one way that we write it.
fn number(id: PathText, uri: &Uri, what: &str, list: &str) -> Result<u64, ApiError> {
    let Path(text) = id.map_err(|_| ApiError::UnknownPath(uri.path().to_owned()))?;
    text.parse::<u64>()
        .ok()
        .filter(|number| number.to_string() == text)
        .ok_or_else(|| {
            let words = format!("no {what} has the number {text:?}; see {list}");
            ApiError::Desk(DeskError::Unknown(words))
        })
}

async fn answer<T: Serialize>(answer: Answer<T>) -> Result<Response, ApiError> {
    Ok(Json(settle(answer).await?).into_response())
}

async fn settle<T>(answer: Answer<T>) -> Result<T, ApiError> {
    match timeout(ANSWER_MAX, answer).await {
        Ok(answered) => Ok(answered?),
        Err(_) => Err(ApiError::Desk(DeskError::Down(format!(
            "the edge did not answer within {} s; look whether it was done before you ask again",
            ANSWER_MAX.as_secs()
        )))),
    }
}
