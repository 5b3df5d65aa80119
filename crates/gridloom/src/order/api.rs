//! A small HTTP/1.1 client for the console's API: one request, one connection.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::headend::read_secret;

/// Bytes of an answer; a longer one is given up.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The server gives itself half a minute.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);

const JSON: &str = "application/json";

/// Where the API is, and who asks.
pub(crate) struct Api {
    host: String,
    /// Which part of the API.
    area: Area,
    token: Option<Zeroizing<String>>,
}

/// A part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Area {
    HeadEnd,
    Security,
    Pair,
}

impl Area {
    const fn word(self) -> &'static str {
        match self {
            Self::HeadEnd => "headend",
            Self::Security => "security",
            Self::Pair => "pair",
        }
    }
}

impl Api {
    /// A head-end, and who orders.
    pub(crate) fn new(url: &str, token_file: &Path) -> anyhow::Result<Self> {
        Self::of(url, Area::HeadEnd, Some(token_file))
    }

    /// An edge's screening, and who decides.
    pub(crate) fn of_security(url: &str, token_file: &Path) -> anyhow::Result<Self> {
        Self::of(url, Area::Security, Some(token_file))
    }

    /// An edge's screening, for whoever looks.
    pub(crate) fn reader(url: &str) -> anyhow::Result<Self> {
        Self::of(url, Area::Security, None)
    }

    /// A member of a head-end pair; only who orders something shows a token.
    pub(crate) fn of_pair(url: &str, token_file: Option<&Path>) -> anyhow::Result<Self> {
        Self::of(url, Area::Pair, token_file)
    }

    fn of(url: &str, area: Area, token_file: Option<&Path>) -> anyhow::Result<Self> {
        let host = url
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'));
        let host = host.filter(|host| {
            host.contains(':')
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'/')
        });
        let host = host
            .with_context(|| format!("--url {url:?}: give http://HOST:PORT as serve prints it"))?;
        Ok(Self {
            host: host.to_owned(),
            area,
            token: token_file.map(read_token).transpose()?,
        })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask("GET", path, JSON, b"").await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<T> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        self.ask("POST", path, JSON, body.as_bytes()).await
    }

    pub(crate) async fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &[u8],
    ) -> anyhow::Result<T> {
        self.ask("POST", path, "application/octet-stream", body)
            .await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: &[u8],
    ) -> anyhow::Result<T> {
        let authorization = Zeroizing::new(match &self.token {
            Some(token) => format!("Authorization: Bearer {}\r\n", **token),
            None => String::new(),
        });
        let head = Zeroizing::new(format!(
            "{method} /api/v1/{}/{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             {}Content-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            self.area.word(),
            self.host,
            *authorization,
            body.len()
        ));
        let talk = async {
            let mut stream = TcpStream::connect(&self.host).await?;
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body).await?;
            let mut answer = Vec::new();
            stream
                .take(ANSWER_BYTES_MAX)
                .read_to_end(&mut answer)
                .await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = timeout(ANSWER_WITHIN, talk)
            .await
            .with_context(|| format!("http://{}: no answer in {ANSWER_WITHIN:?}", self.host))?
            .with_context(|| format!("http://{}: is gridloom serve running there?", self.host))?;
        let (status, body) = take_apart(&answer)
            .with_context(|| format!("http://{}: this is no gridloom", self.host))?;
        if (200..300).contains(&status) {
            return serde_json::from_slice(body).with_context(|| {
                format!("http://{}: the answer is of another version", self.host)
            });
        }
        bail!("{status}: {}", words(body))
    }
}

fn read_token(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let token = Zeroizing::new(read_secret(file)?);
    ensure!(
        token.bytes().all(|byte| byte.is_ascii_graphic()),
        "{} holds no operator's token: name the file that gridloom serve prints",
        file.display()
    );
    Ok(token)
}

/// Status and body of a whole answer.
fn take_apart(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head
        .strip_prefix("HTTP/1.1 ")?
        .split(' ')
        .next()?
        .parse()
        .ok()?;
    Some((status, &answer[end + 4..]))
}

/// What a refusal says: its words, and every fault.
fn words(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return String::from_utf8_lossy(body).trim().to_owned();
    };
    let error = value.get("error").unwrap_or(&value);
    let message = error.get("message").unwrap_or(error);
    let mut text = message
        .as_str()
        .map_or_else(|| message.to_string(), str::to_owned);
    let faults = value.get("faults").or_else(|| error.get("faults"));
    for fault in faults.and_then(Value::as_array).into_iter().flatten() {
        let of = |key| fault.get(key).and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!("\n  {}: {}", of("column"), of("problem")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        for (answer, expected) in [
            (
                &b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}"[..],
                Some((200, &b"{}"[..])),
            ),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", Some((404, b""))),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n", None),
            (b"SSH-2.0-x\r\n\r\n", None),
            (b"", None),
        ] {
            assert_eq!(take_apart(answer), expected);
        }
    }

    #[test]
    fn addresses_are_checked_before_anything_is_sent() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a".repeat(64)).unwrap();
        for (url, is_good) in [
            ("http://127.0.0.1:8790/", true),
            ("http://localhost:8790", true),
            ("https://localhost:8790", false),
            ("http://localhost", false),
            ("http://a:1/b", false),
            ("http://a:1\r\nX: y", false),
        ] {
            assert_eq!(Api::new(url, file.path()).is_ok(), is_good, "{url}");
        }
    }
}
