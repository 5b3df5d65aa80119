//! The routes as a client sees them, and a few conversations over real sockets.

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use futures_util::{SinkExt, StreamExt};
use gridloom_core::UtcTime;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tower::ServiceExt;

use super::*;
use crate::live::CLIENTS_MAX;
use crate::sample;

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

async fn ask(request: Request<Body>) -> Answer {
    let (_host, snapshots) = watch::channel(Arc::new(sample::full()));
    let (_stop, stopped) = watch::channel(false);
    let (hub, _pace) = Hub::new(snapshots, stopped);
    let options = Options {
        host_names: vec!["console.example".to_owned()],
        operator_token: None,
    };
    let response = routes(hub, Desks::default(), options)
        .oneshot(request)
        .await
        .unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8_lossy(&bytes).into_owned(),
    }
}

fn get_of(path: &str) -> Request<Body> {
    Request::get(path)
        .header("host", "localhost")
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn the_network_says_what_waits_what_is_gone_and_how_long_it_takes() {
    let answer = ask(get_of("/api/v1/network/buffers")).await;
    assert_eq!(answer.status, StatusCode::OK);
    let buffers: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(buffers[0]["node"], "edge-1");
    assert_eq!(buffers[0]["dropped"]["damaged"], 2);
    assert_eq!(buffers[0]["gaps"][0]["meter"], "h1");
    let answer = ask(get_of("/api/v1/network/delay")).await;
    let delay: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(delay["parts"][0]["p95_us"], 1_050_000);
    let cases = [
        ("topology", "/nodes/0/tier", "gateway"),
        ("topology", "/ways/0/state", "in_use"),
        ("topology", "/ways/2/state", "down"),
        ("paths", "/0/in_use", "backup"),
        ("failovers", "/0/why", "silence"),
    ];
    let whole = ask(get_of("/api/v1/network")).await.body;
    let whole: Value = serde_json::from_str(&whole).unwrap();
    for (part, at, expected) in cases {
        let answer = ask(get_of(&format!("/api/v1/network/{part}"))).await;
        assert_eq!(answer.status, StatusCode::OK, "{part}");
        let found: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(found.pointer(at).unwrap(), expected, "{part} {at}");
        assert_eq!(found, whole[part], "{part}");
    }
    let picture = ask(get_of("/api/v1/snapshot")).await.body;
    assert!(!picture.contains("\"network\""), "{picture}");
}

#[tokio::test]
async fn refusals_say_why_in_json() {
    let long = format!("/{}", "a".repeat(crate::guard::URI_MAX));
    let request = |method: Method, path: &str, host: &str| {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", host)
    };
    let get = |path: &str| request(Method::GET, path, "localhost");
    let cases = [
        (get("/api/v1/houses/h99"), 404, "unknown_house"),
        (get("/api/v1/houses/%ff"), 404, "unknown_path"),
        (get("/api/v1/nothing"), 404, "unknown_path"),
        (get("/api/v1/feeder"), 404, "no_feeder"),
        (get("/api"), 404, "unknown_path"),
        (get("/assets/gone.js"), 404, "unknown_path"),
        (get("/../Cargo.toml"), 404, "unknown_path"),
        (
            request(Method::POST, "/api/v1/snapshot", "localhost"),
            405,
            "method_not_allowed",
        ),
        (
            request(Method::DELETE, "/", "localhost"),
            405,
            "method_not_allowed",
        ),
        (get(&long), 414, "uri_too_long"),
        (
            get("/health").header("content-length", "9999999999"),
            413,
            "body_not_allowed",
        ),
        (
            get("/health").header("transfer-encoding", "chunked"),
            413,
            "body_not_allowed",
        ),
        (Request::get("/health"), 400, "no_host"),
        (get("/health").header("host", "localhost"), 400, "no_host"),
        (
            request(Method::GET, "/", "rebound.example"),
            421,
            "foreign_host",
        ),
        (
            Request::get("http://rebound.example/").header("host", "localhost"),
            421,
            "foreign_host",
        ),
        (get("/api/v1/live"), 400, "not_websocket"),
        (
            get("/api/v1/live").header("origin", "http://evil.example"),
            403,
            "foreign_origin",
        ),
    ];
    for (request, status, code) in cases {
        let request = request.body(Body::empty()).unwrap();
        let what = format!("{} {}", request.method(), request.uri().path());
        let answer = ask(request).await;
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer.status.as_u16(), status, "{what}");
        assert_eq!(body["code"], code, "{what}");
        assert!(body["error"].as_str().unwrap().len() > 20, "{what}: {body}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{what}");
    }
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    for path in [
        "/",
        "/health",
        "/metrics",
        "/api/v1/snapshot",
        "/api/v1/gone",
    ] {
        let answer = ask(get_of(path)).await;
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}");
        assert!(!policy.contains("unsafe"), "{path}");
        assert_eq!(
            answer.headers["x-content-type-options"], "nosniff",
            "{path}"
        );
        assert!(
            !answer.headers.contains_key("access-control-allow-origin"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn pages_are_html_and_are_asked_for_again_by_tag() {
    for path in ["/", "/houses/h1", "/anything/deeper"] {
        let answer = ask(get_of(path)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(
            answer.headers["content-type"], "text/html; charset=utf-8",
            "{path}"
        );
        assert_eq!(answer.headers["cache-control"], "no-cache", "{path}");
        assert!(answer.body.contains("<html"), "{path}");

        let mut again = get_of(path);
        let tag = answer.headers["etag"].clone();
        again.headers_mut().insert("if-none-match", tag);
        let answer = ask(again).await;
        assert_eq!(answer.status, StatusCode::NOT_MODIFIED, "{path}");
        assert!(answer.body.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn the_list_is_cheap_and_the_detail_is_whole() {
    let list: Value = serde_json::from_str(&ask(get_of("/api/v1/snapshot")).await.body).unwrap();
    let row = &list["houses"][0];
    assert_eq!(row["id"], "h1");
    assert!(row.get("appliances").is_none() && row.get("display").is_none());
    assert_eq!(list["price_per_kwh"], "0.187500");
    assert_eq!(list["stations"][0]["cost_per_mwh"], "42.350");
    assert_eq!(list["bills"][0]["amount"], "10.00");

    let detail: Value = serde_json::from_str(&ask(get_of("/api/v1/houses/h1")).await.body).unwrap();
    assert_eq!(detail["bill_so_far"], "12.05");
    assert_eq!(detail["voltage_v"], 230.4);
    assert_eq!(detail["appliances"][0]["name"], "Kettle");
    assert_eq!(detail["display"][0]["value"], "001234.567");
}

#[tokio::test]
async fn a_configured_name_is_served() {
    let request = Request::get("/health")
        .header("host", "console.example:8443")
        .body(Body::empty())
        .unwrap();
    let answer = ask(request).await;
    assert_eq!(answer.status, StatusCode::OK);
    let health: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["nodes_down"][0], "archive");
}

/// A server on a real port, and what the test needs to steer it.
struct Running {
    host: watch::Sender<Arc<Snapshot>>,
    address: std::net::SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: tokio::task::JoinHandle<io::Result<()>>,
}

impl Running {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (host, snapshots) = watch::channel(Arc::new(sample::full()));
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _asked = stopped.await;
        };
        let server = tokio::spawn(serve(listener, snapshots, shutdown));
        Self {
            host,
            address,
            stop: Some(stop),
            server,
        }
    }

    async fn live(&self) -> Result<Live, WsError> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (socket, _) =
            client_async(format!("ws://{}/api/v1/live", self.address), stream).await?;
        Ok(Live(socket))
    }

    fn publish(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut next = self.host.borrow().as_ref().clone();
        change(&mut next);
        self.host.send_replace(Arc::new(next));
    }
}

struct Live(tokio_tungstenite::WebSocketStream<TcpStream>);

impl Live {
    /// The next message's content; `None` once the server closed.
    async fn next(&mut self) -> Option<Value> {
        loop {
            match self.0.next().await?.ok()? {
                Message::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
                Message::Close(_) => return None,
                Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
            }
        }
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }
}

#[tokio::test]
async fn a_live_client_is_told_everything_then_changes_then_goodbye() {
    let mut running = Running::start().await;
    let mut live = running.live().await.unwrap();
    let first = live.next().await.unwrap();
    assert_eq!(first["type"], "snapshot");
    assert_eq!(first["snapshot"]["houses"].as_array().unwrap().len(), 3);

    live.say(r#"{"watch":"h2"}"#).await;
    let house = live.next().await.unwrap();
    assert_eq!(house["house"]["appliances"][0]["name"], "Kettle");

    running.publish(|snapshot| {
        snapshot.now = UtcTime::from_secs(0);
        snapshot.houses[1].row.power_w = Some(77);
    });
    let delta = live.next().await.unwrap();
    assert_eq!(delta["type"], "delta");
    assert_eq!(delta["delta"]["now"], "1970-01-01T00:00:00Z");
    assert_eq!(delta["delta"]["houses"][0]["power_w"], 77);
    assert_eq!(delta["delta"]["stations"], Value::Null);
    assert_eq!(live.next().await.unwrap()["house"]["power_w"], 77);

    running.stop.take().unwrap().send(()).unwrap();
    assert_eq!(live.next().await, None);
    running.server.await.unwrap().unwrap();
}

#[tokio::test]
async fn nonsense_ends_the_connection() {
    let running = Running::start().await;
    for nonsense in [
        "hello",
        r#"{"watch":1}"#,
        r#"{"operate":"h1"}"#,
        &"x".repeat(MESSAGE_MAX + 1),
    ] {
        let mut live = running.live().await.unwrap();
        live.next().await.unwrap();
        live.say(nonsense).await;
        assert_eq!(live.next().await, None, "{nonsense:.30}");
    }
}

#[tokio::test]
async fn one_client_too_many_is_told_so() {
    let running = Running::start().await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS_MAX {
        clients.push(running.live().await.unwrap());
    }
    let Err(WsError::Http(answer)) = running.live().await.map(|_| ()) else {
        panic!("the last client was admitted");
    };
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);

    // The place of one that leaves is free again as soon as the server noticed.
    let mut leaving = clients.pop().unwrap();
    leaving.0.close(None).await.unwrap();
    while leaving.next().await.is_some() {}
    while running.live().await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stops_publishing_is_called_stale() {
    let (host, snapshots) = watch::channel(Arc::new(sample::full()));
    let (_stop, stopped) = watch::channel(false);
    let (hub, pace) = Hub::new(snapshots, stopped);
    tokio::spawn(pace);
    let wait = |seconds| tokio::time::sleep(Duration::from_secs(seconds));

    wait(9).await;
    assert!(hub.is_fresh());
    wait(2).await;
    assert!(!hub.is_fresh());
    host.send_replace(Arc::new(sample::full()));
    wait(1).await;
    assert!(hub.is_fresh());
}
