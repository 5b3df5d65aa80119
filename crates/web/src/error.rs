//! What the API answers when it cannot answer.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::desk::{DeskError, Fault};

/// Why a request was refused. The text goes to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("no such page or resource: {0}")]
    UnknownPath(String),
    #[error("no house has the id {0:?}; see /api/v1/snapshot for those there are")]
    UnknownHouse(String),
    #[error("method {0} is not allowed: everything here is read with GET or HEAD")]
    Method(String),
    #[error("method {0} is not allowed here; the Allow header names those that are")]
    MethodHere(String),
    #[error("the request's path and query have {len} bytes, at most {max} are read")]
    LongUri { len: usize, max: usize },
    #[error("this request takes no body")]
    Body,
    #[error("the body is too long, at most {max} bytes are read; send it in parts")]
    LongBody { max: usize },
    #[error("the body was not complete after {seconds} s; send it again over a better line")]
    SlowBody { seconds: u64 },
    #[error("the body broke off: {0}")]
    BrokenBody(String),
    #[error("the body must be {0}; say so in Content-Type")]
    MediaType(&'static str),
    #[error("the body is not the JSON that this takes: {0}")]
    Json(String),
    #[error("the query is not one that this takes: {0}; it has after, limit, group, text")]
    Query(String),
    #[error("the query is not one that this takes: {error}; it has {fields}")]
    SecurityQuery { error: String, fields: &'static str },
    #[error(
        "the query is not one that this takes: {0}; it has version, identifier, meters, groups, \
         stages, success, concurrency, activate_at, signature"
    )]
    CampaignQuery(String),
    #[error("the request has no Host header")]
    NoHost,
    #[error(
        "host name {0:?} is not one of this console's: use localhost or an IP address, \
         or add the name to the console's host names"
    )]
    ForeignHost(String),
    #[error("a page from {0:?} may neither open a live connection nor change anything here")]
    ForeignOrigin(String),
    #[error("/api/v1/live speaks WebSocket: {0}")]
    NotWebSocket(String),
    #[error("all {max} live connections are in use; close a console window and try again")]
    Full { max: usize },
    #[error("{max} uploads are under way already; wait for one to end and try again")]
    Busy { max: usize },
    #[error("this console has no head-end; ask the one that `gridloom serve` runs")]
    NoDesk,
    #[error("this console has no edge: what it holds and finds is shown where the edge runs")]
    NoEdge,
    #[error("this console's process is no member of a head-end pair; see [standby]")]
    NoPair,
    #[error("this console has no feeder: its houses have no network; gridloom demo --feeder has")]
    NoFeeder,
    #[error("nothing can be changed here: no operator token is configured; start with one")]
    NoOperator,
    #[error("show the operator token: one header `Authorization: Bearer TOKEN`")]
    NoToken,
    #[error(
        "this is not the operator token; take it from the file that the head-end named at start"
    )]
    WrongToken,
    #[error(transparent)]
    Desk(#[from] DeskError),
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPath(_)
            | Self::UnknownHouse(_)
            | Self::NoDesk
            | Self::NoEdge
            | Self::NoPair
            | Self::NoFeeder => StatusCode::NOT_FOUND,
            Self::Method(_) | Self::MethodHere(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::LongUri { .. } => StatusCode::URI_TOO_LONG,
            Self::Body | Self::LongBody { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NoHost
            | Self::NotWebSocket(_)
            | Self::BrokenBody(_)
            | Self::Json(_)
            | Self::Query(_)
            | Self::CampaignQuery(_)
            | Self::SecurityQuery { .. } => StatusCode::BAD_REQUEST,
            Self::ForeignHost(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::ForeignOrigin(_) | Self::NoOperator => StatusCode::FORBIDDEN,
            Self::NoToken | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::Full { .. } | Self::Busy { .. } | Self::Desk(DeskError::Down(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Desk(DeskError::Unknown(_)) => StatusCode::NOT_FOUND,
            Self::Desk(DeskError::Refused(_)) => StatusCode::CONFLICT,
            Self::Desk(DeskError::Invalid(_)) => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::UnknownPath(_) => "unknown_path",
            Self::UnknownHouse(_) => "unknown_house",
            Self::Method(_) | Self::MethodHere(_) => "method_not_allowed",
            Self::LongUri { .. } => "uri_too_long",
            Self::Body => "body_not_allowed",
            Self::LongBody { .. } => "body_too_long",
            Self::SlowBody { .. } => "body_too_slow",
            Self::BrokenBody(_) => "body_broken",
            Self::MediaType(_) => "media_type",
            Self::Json(_) => "bad_json",
            Self::Query(_) | Self::CampaignQuery(_) | Self::SecurityQuery { .. } => "bad_query",
            Self::NoHost => "no_host",
            Self::ForeignHost(_) => "foreign_host",
            Self::ForeignOrigin(_) => "foreign_origin",
            Self::NotWebSocket(_) => "not_websocket",
            Self::Full { .. } => "full",
            Self::Busy { .. } => "busy",
            Self::NoDesk => "no_headend",
            Self::NoEdge => "no_edge",
            Self::NoPair => "no_pair",
            Self::NoFeeder => "no_feeder",
            Self::NoOperator => "no_operator",
            Self::NoToken => "no_token",
            Self::WrongToken => "wrong_token",
            Self::Desk(DeskError::Unknown(_)) => "unknown",
            Self::Desk(DeskError::Refused(_)) => "refused",
            Self::Desk(DeskError::Invalid(_)) => "invalid",
            Self::Desk(DeskError::Down(_)) => "down",
        }
    }

    /// The header that tells a program the remedy.
    fn header(&self) -> Option<(HeaderName, &'static str)> {
        match self {
            Self::Method(_) => Some((header::ALLOW, "GET, HEAD")),
            Self::Full { .. } | Self::Busy { .. } | Self::Desk(DeskError::Down(_)) => {
                Some((header::RETRY_AFTER, "10"))
            }
            Self::NoToken | Self::WrongToken => Some((header::WWW_AUTHENTICATE, "Bearer")),
            // The unread body would be taken for the next request.
            Self::Body | Self::LongBody { .. } | Self::SlowBody { .. } | Self::BrokenBody(_) => {
                Some((header::CONNECTION, "close"))
            }
            // The router knows the methods of each path, and sets Allow.
            Self::MethodHere(_)
            | Self::UnknownPath(_)
            | Self::UnknownHouse(_)
            | Self::LongUri { .. }
            | Self::MediaType(_)
            | Self::Json(_)
            | Self::Query(_)
            | Self::SecurityQuery { .. }
            | Self::CampaignQuery(_)
            | Self::NoHost
            | Self::ForeignHost(_)
            | Self::ForeignOrigin(_)
            | Self::NotWebSocket(_)
            | Self::NoDesk
            | Self::NoEdge
            | Self::NoPair
            | Self::NoFeeder
            | Self::NoOperator
            | Self::Desk(DeskError::Unknown(_) | DeskError::Refused(_) | DeskError::Invalid(_)) => {
                None
            }
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'static str,
    error: String,
    /// The first [`Fault::FAULTS_MAX`] places that are wrong; absent where it is not about places.
    #[serde(skip_serializing_if = "Option::is_none")]
    faults: Option<&'a [Fault]>,
    /// All of them, also those that are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    faults_total: Option<usize>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let faults = if let Self::Desk(DeskError::Invalid(faults)) = &self {
            Some(faults.as_slice())
        } else {
            None
        };
        let body = Body {
            code: self.code(),
            error: self.to_string(),
            faults: faults.map(|all| &all[..all.len().min(Fault::FAULTS_MAX)]),
            faults_total: faults.map(<[Fault]>::len),
        };
        let mut response = (self.status(), Json(body)).into_response();
        if let Some((name, value)) = self.header() {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }
}
