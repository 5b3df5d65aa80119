//! What the API answers when it cannot answer.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Why a request was refused. The text goes to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("no such page or resource: {0}")]
    UnknownPath(String),
    #[error("no house has the id {0:?}; see /api/v1/snapshot for those there are")]
    UnknownHouse(String),
    #[error("method {0} is not allowed: everything here is read with GET or HEAD")]
    Method(String),
    #[error("the request's path and query have {len} bytes, at most {max} are read")]
    LongUri { len: usize, max: usize },
    #[error("no request here takes a body")]
    Body,
    #[error("the request has no Host header")]
    NoHost,
    #[error(
        "host name {0:?} is not one of this console's: use localhost or an IP address, \
         or add the name to the console's host names"
    )]
    ForeignHost(String),
    #[error("a page from {0:?} may not open a live connection here")]
    ForeignOrigin(String),
    #[error("/api/v1/live speaks WebSocket: {0}")]
    NotWebSocket(String),
    #[error("all {max} live connections are in use; close a console window and try again")]
    Full { max: usize },
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPath(_) | Self::UnknownHouse(_) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::LongUri { .. } => StatusCode::URI_TOO_LONG,
            Self::Body => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoHost | Self::NotWebSocket(_) => StatusCode::BAD_REQUEST,
            Self::ForeignHost(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::ForeignOrigin(_) => StatusCode::FORBIDDEN,
            Self::Full { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::UnknownPath(_) => "unknown_path",
            Self::UnknownHouse(_) => "unknown_house",
            Self::Method(_) => "method_not_allowed",
            Self::LongUri { .. } => "uri_too_long",
            Self::Body => "body_not_allowed",
            Self::NoHost => "no_host",
            Self::ForeignHost(_) => "foreign_host",
            Self::ForeignOrigin(_) => "foreign_origin",
            Self::NotWebSocket(_) => "not_websocket",
            Self::Full { .. } => "full",
        }
    }
}

#[derive(Serialize)]
struct Body {
    code: &'static str,
    error: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Body {
            code: self.code(),
            error: self.to_string(),
        };
        let mut response = (self.status(), Json(body)).into_response();
        match self {
            Self::Method(_) => {
                let methods = HeaderValue::from_static("GET, HEAD");
                response.headers_mut().insert(header::ALLOW, methods);
            }
            Self::Full { .. } => {
                let seconds = HeaderValue::from_static("10");
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            // The unread body would be taken for the next request.
            Self::Body => {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Self::UnknownPath(_)
            | Self::UnknownHouse(_)
            | Self::LongUri { .. }
            | Self::NoHost
            | Self::ForeignHost(_)
            | Self::ForeignOrigin(_)
            | Self::NotWebSocket(_) => {}
        }
        response
    }
}
