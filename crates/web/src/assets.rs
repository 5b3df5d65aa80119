//! The console's files, from inside the binary.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// Name, content and entity tag of every file, by name.
static FILES: &[(&str, &[u8], &str)] = &include!(concat!(env!("OUT_DIR"), "/files.rs"));

#[derive(Debug, Clone, Copy)]
struct EmbeddedFile {
    content: &'static [u8],
    tag: &'static str,
}

fn get(name: &str) -> Option<EmbeddedFile> {
    let place = FILES
        .binary_search_by(|(file, ..)| (*file).cmp(name))
        .ok()?;
    let (_, content, tag) = FILES[place];
    Some(EmbeddedFile { content, tag })
}

const PAGE: &str = "index.html";

/// Serves a file; any path without a file extension is a page of the console's own router.
pub(crate) async fn asset(uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    let is_page = !path
        .rsplit('/')
        .next()
        .is_some_and(|name| name.contains('.'));
    if is_page && (path == "api" || path.starts_with("api/")) {
        return ApiError::UnknownPath(uri.path().to_owned()).into_response();
    }
    let path = if is_page { PAGE } else { path };
    let accepted = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let Some((file, coding)) = find(path, accepted) else {
        return ApiError::UnknownPath(uri.path().to_owned()).into_response();
    };

    // The build puts a hash of the content into the names of everything below `assets/`.
    let cache = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let tag = format!("\"{}\"", file.tag);
    let unchanged = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(file.content))
    };
    let answer = response.headers_mut();
    answer.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(media_type(path)),
    );
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answer.insert(header::ETAG, tag);
    }
    if let Some(coding) = coding {
        answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    response
}

/// The file in the best coding that the client takes and the build made.
fn find(path: &str, accepted: &str) -> Option<(EmbeddedFile, Option<&'static str>)> {
    for (suffix, coding) in [(".br", "br"), (".gz", "gzip")] {
        if accepts(accepted, coding)
            && let Some(file) = get(&format!("{path}{suffix}"))
        {
            return Some((file, Some(coding)));
        }
    }
    get(path).map(|file| (file, None))
}

/// Whether an `Accept-Encoding` names `coding` with a weight above zero (RFC 9110 §12.5.3).
fn accepts(accepted: &str, coding: &str) -> bool {
    accepted.split(',').any(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case(coding));
        let refused = parts.any(|parameter| {
            parameter
                .strip_prefix("q=")
                .is_some_and(|weight| weight.bytes().all(|byte| matches!(byte, b'0' | b'.')))
        });
        named && !refused
    })
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("html") => "text/html; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        Some("woff2") => "font/woff2",
        Some(_) | None => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_are_taken_by_name_and_weight() {
        let cases = [
            ("gzip, deflate, br, zstd", "br", true),
            ("gzip;q=0.5, br;q=1.0", "br", true),
            ("gzip, br;q=0", "br", false),
            ("gzip, br; q=0.000", "br", false),
            ("brotli", "br", false),
            ("", "gzip", false),
        ];
        for (accepted, coding, taken) in cases {
            assert_eq!(accepts(accepted, coding), taken, "{accepted} / {coding}");
        }
    }

    #[test]
    fn there_is_always_a_page() {
        assert!(get(PAGE).is_some());
    }
}
