//! What every request must satisfy before a route sees it, and what every answer carries.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// Longest path and query that is read, in bytes; longer ones are refused with 414.
pub(crate) const URI_MAX: usize = 2_048;

/// Below this path something can be changed, with POST and the operator's token.
const CHANGING: &str = "/api/v1/headend/";

/// Here too, and each such request says why.
const DECIDING: [&str; 2] = [
    "/api/v1/security/quarantine/",
    "/api/v1/security/incidents/",
];

/// And here the active member of a head-end pair hands over.
const FAIL_OVER: &str = "/api/v1/pair/failover";

/// Of those, the requests that carry something; the route bounds it.
const WITH_BODY: [&str; 3] = [
    "/api/v1/headend/meters/import",
    "/api/v1/headend/orders",
    "/api/v1/headend/campaigns",
];

/// Below this path a roll-back carries its image, too.
const CAMPAIGNS: &str = "/api/v1/headend/campaigns/";

/// Only what the binary itself serves may load, run or connect.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'";

const ANSWER_HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Refuses what no route takes; adds the security headers to every answer.
pub(crate) async fn guard(
    State(host_names): State<Arc<[String]>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match admit(&request, &host_names) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in ANSWER_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn admit(request: &Request, host_names: &[String]) -> Result<(), ApiError> {
    let host = host_of(request.uri(), request.headers())?;
    if !is_ours(host, host_names) {
        return Err(ApiError::ForeignHost(host.chars().take(100).collect()));
    }
    let path = request.uri().path();
    let is_change = *request.method() == Method::POST
        && (path.starts_with(CHANGING) || is_deciding(path) || path == FAIL_OVER);
    if is_change {
        check_origin(request.uri(), request.headers())?;
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(ApiError::Method(
            request.method().as_str().chars().take(20).collect(),
        ));
    }
    let len = request
        .uri()
        .path_and_query()
        .map_or(0, |it| it.as_str().len());
    if len > URI_MAX {
        return Err(ApiError::LongUri { len, max: URI_MAX });
    }
    let has_body = request.headers().contains_key(header::TRANSFER_ENCODING)
        || request
            .headers()
            .get(header::CONTENT_LENGTH)
            .is_some_and(|length| length.as_bytes() != b"0");
    if has_body && !(is_change && takes_body(path)) {
        return Err(ApiError::Body);
    }
    Ok(())
}

fn is_deciding(path: &str) -> bool {
    DECIDING.iter().any(|it| path.starts_with(it))
}

fn takes_body(path: &str) -> bool {
    let is_roll_back = || path.starts_with(CAMPAIGNS) && path.ends_with("/rollback");
    WITH_BODY.contains(&path) || is_deciding(path) || is_roll_back()
}

/// The authority that the client meant: of an absolute request target, else the one `Host` header
/// (RFC 9112 §3.2).
fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, ApiError> {
    if let Some(authority) = uri.authority() {
        return Ok(authority.as_str());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host
            .to_str()
            .map_err(|_| ApiError::ForeignHost("not ASCII".to_owned())),
        (None, _) | (Some(_), Some(_)) => Err(ApiError::NoHost),
    }
}

/// Whether a browser may address the console so.
///
/// A page that rebinds its own DNS name to our address still sends its own name. It cannot send
/// `localhost` or an IP address, so these are safe whatever the listener is bound to.
fn is_ours(host: &str, host_names: &[String]) -> bool {
    let name = without_port(host);
    let address = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok()
        || host_names
            .iter()
            .any(|ours| ours.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// Refuses a live connection or a change that a page of another origin asks for: browsers let any
/// page do that.
/// A client that is no browser sends no `Origin`.
pub(crate) fn check_origin(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let host = host_of(uri, headers)?;
    let origin = origin.to_str().unwrap_or("not ASCII");
    let same = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))
        .is_some_and(|authority| authority.eq_ignore_ascii_case(host));
    if same {
        Ok(())
    } else {
        Err(ApiError::ForeignOrigin(origin.chars().take(100).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_served() {
        let configured = ["console.example".to_owned()];
        let cases = [
            ("localhost", true),
            ("LocalHost:8080", true),
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("[::1]", true),
            ("192.0.2.7", true),
            ("console.example", true),
            ("Console.Example:443", true),
            ("evil.example", false),
            ("evil.example:8080", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("console.example.evil.example", false),
            ("", false),
            (":80", false),
        ];
        for (host, served) in cases {
            assert_eq!(is_ours(host, &configured), served, "{host}");
        }
    }

    #[test]
    fn a_live_connection_needs_the_same_origin() {
        let cases = [
            (None, true),
            (Some("http://localhost:8080"), true),
            (Some("https://localhost:8080"), true),
            (Some("http://localhost:8081"), false),
            (Some("http://evil.example"), false),
            (Some("null"), false),
            (Some("http://localhost:8080.evil.example"), false),
        ];
        for (origin, admitted) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:8080"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            let uri = Uri::from_static("/api/v1/live");
            assert_eq!(check_origin(&uri, &headers).is_ok(), admitted, "{origin:?}");
        }
    }
}
