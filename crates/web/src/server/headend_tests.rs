//! The head-end's routes over real sockets, with a desk that keeps meters and orders in memory.

mod bodies;
mod campaigns;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tower::ServiceExt;

use super::*;
use crate::desk::{
    Answer, CampaignAction, CampaignView, DeskError, Fault, HeadEndView, ImportReport, LaneCounts,
    MeterFault, MeterView, NewCampaign, NewOrder, OrderState, OrderView, Page, PartState, PartView,
    Previous, PushesView,
};
use crate::headend::{BODIES_MAX, IMPORT_MAX, ORDER_MAX};
use crate::sample;

const SECRET: &str = "7f3c9a1e55d04b62a8e0c4d9b1f26e37";

/// How the head-end behind the desk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Health {
    #[default]
    Well,
    Down,
    Hanging,
}

#[derive(Debug, Default)]
struct Memory {
    health: Health,
    meters: BTreeMap<u32, MeterView>,
    orders: BTreeMap<u64, OrderView>,
    /// Who did what.
    audit: Vec<String>,
}

/// A small head-end: names in, meters and orders out.
#[derive(Debug, Default)]
struct SmallDesk(Mutex<Memory>);

impl SmallDesk {
    fn with_meters(count: u32) -> Arc<Self> {
        let desk = Self::default();
        for _ in 0..count {
            desk.memory().add("Preview Street");
        }
        Arc::new(desk)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.0.lock().unwrap()
    }

    fn answer<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Memory) -> Result<T, DeskError>,
    ) -> Answer<T> {
        let mut memory = self.memory();
        let answer = match memory.health {
            Health::Well => ask(&mut memory),
            Health::Down => Err(DeskError::Down(
                "the head-end stopped; start `gridloom serve` again".to_owned(),
            )),
            Health::Hanging => return Box::pin(std::future::pending()),
        };
        Box::pin(std::future::ready(answer))
    }
}

impl Memory {
    fn add(&mut self, name: &str) {
        let id = self.meters.last_key_value().map_or(1, |(id, _)| id + 1);
        let meter = MeterView {
            id,
            title: format!("47524C00{id:08X}"),
            serial: format!("S{id}"),
            name: format!("{name} {id}"),
            address: format!("192.0.2.7:{}", 4_000 + id),
            transport: "tcp-wrapper".to_owned(),
            template: "gridloom".to_owned(),
            groups: if id.is_multiple_of(2) {
                vec!["even".to_owned()]
            } else {
                Vec::new()
            },
            state: "active".to_owned(),
            collected_through: None,
            last_error: (id == 1).then(|| MeterFault {
                layer: "key".to_owned(),
                text: "the tag does not fit; check the meter's keys".to_owned(),
                at: "2026-11-21T12:00:00Z".to_owned(),
            }),
        };
        self.meters.insert(id, meter);
    }

    fn order(&mut self, id: u64) -> Result<&mut OrderView, DeskError> {
        self.orders
            .get_mut(&id)
            .ok_or_else(|| DeskError::Unknown(format!("no order has the number {id}")))
    }

    fn step(
        &mut self,
        id: u64,
        by: &str,
        to: OrderState,
        verb: &str,
    ) -> Result<OrderView, DeskError> {
        let order = self.order(id)?;
        if order.state != OrderState::Selected {
            return Err(DeskError::Refused(format!(
                "order {id} does not wait; give a new one"
            )));
        }
        order.state = to;
        let order = order.clone();
        self.audit.push(format!("{by} {verb} {id}"));
        Ok(order)
    }
}

impl Desk for SmallDesk {
    fn meters(&self, page: Page) -> Answer<Vec<MeterView>> {
        self.answer(|memory| {
            Ok(memory
                .meters
                .range(page.after + 1..)
                .map(|(_, meter)| meter)
                .filter(|it| {
                    page.group
                        .as_ref()
                        .is_none_or(|group| it.groups.contains(group))
                })
                .filter(|it| page.text.as_ref().is_none_or(|text| it.name.contains(text)))
                .take(usize::from(page.limit))
                .cloned()
                .collect())
        })
    }

    fn meter(&self, id: u32) -> Answer<MeterView> {
        self.answer(|memory| {
            let unknown = || DeskError::Unknown(format!("no meter has the number {id}"));
            memory.meters.get(&id).cloned().ok_or_else(unknown)
        })
    }

    fn import(&self, csv: String, by: String) -> Answer<ImportReport> {
        self.answer(|memory| {
            let rows = || (1..).zip(csv.lines()).skip(1);
            let faults: Vec<Fault> = rows()
                .filter(|(_, row)| row.is_empty())
                .map(|(line, _)| Fault {
                    line: Some(line),
                    column: "name".to_owned(),
                    problem: "is empty; write the name".to_owned(),
                })
                .collect();
            if !faults.is_empty() {
                return Err(DeskError::Invalid(faults));
            }
            rows().for_each(|(_, row)| memory.add(row));
            let added = u32::try_from(rows().count()).unwrap();
            memory.audit.push(format!("{by} imported {added}"));
            Ok(ImportReport {
                added,
                changed: 0,
                unchanged: 0,
            })
        })
    }

    fn submit(&self, order: NewOrder, by: String) -> Answer<OrderView> {
        self.answer(|memory| {
            if let Some(id) = order
                .meters
                .iter()
                .find(|id| !memory.meters.contains_key(id))
            {
                return Err(DeskError::Refused(format!(
                    "meters: {id} is not in service; enrol it"
                )));
            }
            let id = memory.orders.last_key_value().map_or(1, |(id, _)| id + 1);
            let parts: Vec<PartView> = order
                .meters
                .iter()
                .map(|meter| PartView {
                    meter: *meter,
                    state: PartState::Queued,
                    detail: String::new(),
                })
                .collect();
            let total = u32::try_from(parts.len()).unwrap();
            let view = OrderView {
                id,
                kind: order.kind,
                by: by.clone(),
                at: "2026-11-21T12:00:00Z".to_owned(),
                state: if order.kind.needs_confirm() {
                    OrderState::Selected
                } else {
                    OrderState::Running
                },
                total,
                queued: total,
                running: 0,
                done: 0,
                failed: 0,
                parts,
            };
            memory.orders.insert(id, view.clone());
            memory.audit.push(format!("{by} ordered {id}"));
            Ok(view)
        })
    }

    fn confirm(&self, id: u64, by: String) -> Answer<OrderView> {
        self.answer(|memory| memory.step(id, &by, OrderState::Running, "confirmed"))
    }

    fn cancel(&self, id: u64, by: String) -> Answer<OrderView> {
        self.answer(|memory| memory.step(id, &by, OrderState::Over, "cancelled"))
    }

    fn orders(&self) -> Answer<Vec<OrderView>> {
        self.answer(|memory| {
            let without_parts = |order: &OrderView| OrderView {
                parts: Vec::new(),
                ..order.clone()
            };
            Ok(memory.orders.values().rev().map(without_parts).collect())
        })
    }

    fn order(&self, id: u64) -> Answer<OrderView> {
        self.answer(|memory| memory.order(id).cloned())
    }

    fn start_campaign(
        &self,
        campaign: NewCampaign,
        image: Vec<u8>,
        by: String,
    ) -> Answer<CampaignView> {
        self.answer(move |memory| {
            memory.audit.push(format!(
                "{by} brings {} of {} bytes to {:?}",
                campaign.version,
                image.len(),
                campaign.meters
            ));
            Ok(campaign_view(&campaign.version, "running"))
        })
    }

    fn campaigns(&self) -> Answer<Vec<CampaignView>> {
        self.answer(|_| Ok(vec![campaign_view("2.0.1", "paused")]))
    }

    fn campaign(&self, id: u64) -> Answer<CampaignView> {
        self.answer(move |_| match id {
            7 => Ok(campaign_view("2.0.1", "paused")),
            _ => Err(DeskError::Unknown(format!("campaign {id}: there is none"))),
        })
    }

    fn change_campaign(&self, id: u64, action: CampaignAction, by: String) -> Answer<CampaignView> {
        self.answer(move |memory| {
            memory.audit.push(format!("{by}: {action:?} {id}"));
            Ok(campaign_view("2.0.1", "aborted"))
        })
    }

    fn roll_back(
        &self,
        id: u64,
        previous: Previous,
        image: Vec<u8>,
        by: String,
    ) -> Answer<CampaignView> {
        self.answer(move |memory| {
            let bytes = image.len();
            memory.audit.push(format!(
                "{by} rolls {id} back to {}, {bytes}",
                previous.version
            ));
            Ok(campaign_view(&previous.version, "running"))
        })
    }

    fn status(&self) -> Answer<HeadEndView> {
        self.answer(|memory| {
            Ok(HeadEndView {
                meters: u32::try_from(memory.meters.len()).unwrap(),
                sessions: 0,
                queued_by_lane: LaneCounts::default(),
                read_rate: None,
                alarms: 1,
                orders_open: 0,
                pushes: PushesView::default(),
            })
        })
    }
}

/// A console with a desk on a port of its own.
struct Running {
    address: SocketAddr,
    server: tokio::task::JoinHandle<io::Result<()>>,
    _stop: tokio::sync::oneshot::Sender<()>,
    _host: watch::Sender<Arc<Snapshot>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn options(secret: Option<&str>) -> Options {
    Options {
        host_names: Vec::new(),
        operator_token: secret
            .map(|secret| OperatorToken::new("night shift", secret.to_owned()).unwrap()),
    }
}

async fn start(desk: Option<Arc<SmallDesk>>, secret: Option<&str>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (host, snapshots) = watch::channel(Arc::new(sample::full()));
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let desk = desk.map(|desk| desk as Arc<dyn Desk>);
    let server = tokio::spawn(serve_with(
        listener,
        snapshots,
        options(secret),
        desk,
        async move {
            let _stopped = stopped.await;
        },
    ));
    Running {
        address,
        server,
        _stop: stop,
        _host: host,
    }
}

struct Heard {
    status: u16,
    head: String,
    body: Value,
}

impl Heard {
    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("")
    }
}

impl Running {
    /// Sends these bytes, and reads to the end of what comes back.
    async fn raw(&self, request: &[u8]) -> Heard {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Heard {
            status: head[9..12].parse().unwrap(),
            head: head.to_lowercase(),
            body: serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())),
        }
    }

    async fn get(&self, path: &str) -> Heard {
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        self.raw(head.as_bytes()).await
    }

    /// Posts with the token.
    async fn post(&self, path: &str, media_type: &str, body: &str) -> Heard {
        let headers = format!("authorization: Bearer {SECRET}\r\n");
        self.post_with(path, &headers, media_type, body).await
    }

    async fn post_with(&self, path: &str, headers: &str, media_type: &str, body: &str) -> Heard {
        let kind = if body.is_empty() {
            String::new()
        } else {
            format!("content-type: {media_type}\r\n")
        };
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}{kind}\
             content-length: {length}\r\n\r\n{body}"
        );
        self.raw(request.as_bytes()).await
    }
}

const API: &str = "/api/v1/headend";
const JSON: &str = "application/json";

fn order_of(kind: &str) -> String {
    json!({"kind": kind, "meters": [1, 2], "within_s": 60}).to_string()
}

#[tokio::test]
async fn meters_are_read_by_page_group_and_text() {
    let running = start(Some(SmallDesk::with_meters(150)), None).await;
    let cases: [(&str, &[u64]); 6] = [
        ("?limit=3", &[1, 2, 3]),
        ("?after=148", &[149, 150]),
        ("?after=140&limit=2&group=even", &[142, 144]),
        ("?text=Street%201&limit=2&after=9", &[10, 11]),
        ("?group=odd", &[]),
        ("?group=&text=&after=149", &[150]),
    ];
    for (query, expected) in cases {
        let heard = running.get(&format!("{API}/meters{query}")).await;
        let ids: Vec<u64> = heard
            .body
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_u64().unwrap())
            .collect();
        assert_eq!(ids, expected, "{query}");
    }
    let all = running.get(&format!("{API}/meters")).await;
    assert_eq!(all.body.as_array().unwrap().len(), usize::from(Page::LIMIT));
    assert_eq!(all.body[0]["last_error"]["layer"], "key");
    assert_eq!(all.body[1]["last_error"], Value::Null);

    let one = running.get(&format!("{API}/meters/2")).await;
    assert_eq!(
        (one.status, &one.body["title"]),
        (200, &json!("47524C0000000002"))
    );
    let status = running.get(&format!("{API}/status")).await;
    assert_eq!(status.body["meters"], 150);
    let metrics = running.get("/metrics").await.body;
    let metrics = metrics.as_str().unwrap();
    assert!(
        metrics.contains("\ngridloom_headend_meters 150\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_is_not_there_or_not_right_is_said_in_words() {
    let running = start(Some(SmallDesk::with_meters(3)), Some(SECRET)).await;
    let cases = [
        ("meters/99", 404, "unknown"),
        ("meters/-1", 404, "unknown"),
        ("meters/+1", 404, "unknown"),
        ("meters/01", 404, "unknown"),
        ("meters/4294967297", 404, "unknown"),
        ("meters/%ff", 404, "unknown_path"),
        ("orders/1", 404, "unknown"),
        ("orders/x", 404, "unknown"),
        ("nothing", 404, "unknown_path"),
        ("meters/import", 405, "method_not_allowed"),
        ("orders/1/confirm", 405, "method_not_allowed"),
        ("meters?limit=0", 422, "invalid"),
        ("meters?limit=501", 422, "invalid"),
        ("meters?limit=99999", 400, "bad_query"),
        ("meters?after=x", 400, "bad_query"),
        ("meters?grup=even", 400, "bad_query"),
    ];
    for (path, status, code) in cases {
        let heard = running.get(&format!("{API}/{path}")).await;
        assert_eq!((heard.status, heard.code()), (status, code), "{path}");
        let words = heard.body["error"].as_str().unwrap();
        assert!(words.len() > 20, "{path}: {words}");
    }
    let long = "x".repeat(Page::TEXT_MAX + 1);
    let heard = running.get(&format!("{API}/meters?text={long}")).await;
    assert_eq!(heard.body["faults"][0]["column"], "text");

    let allowed = running.get(&format!("{API}/meters/import")).await;
    assert!(allowed.head.contains("\r\nallow: post"), "{}", allowed.head);
    for path in ["meters", "meters/1", "status"] {
        let heard = running.post(&format!("{API}/{path}"), JSON, "").await;
        assert_eq!(heard.status, 405, "{path}");
        assert!(heard.head.contains("\r\nallow: get"), "{}", heard.head);
    }
    let heard = running.post(&format!("{API}/nothing"), JSON, "").await;
    assert_eq!((heard.status, heard.code()), (404, "unknown_path"));
}

#[tokio::test]
async fn supply_is_switched_in_two_steps_and_the_audit_has_the_name() {
    let desk = SmallDesk::with_meters(3);
    let running = start(Some(Arc::clone(&desk)), Some(SECRET)).await;
    let orders = format!("{API}/orders");

    let first = running.post(&orders, JSON, &order_of("disconnect")).await;
    assert_eq!(
        (first.status, &first.body["state"]),
        (201, &json!("selected"))
    );
    assert!(
        first
            .head
            .contains("\r\nlocation: /api/v1/headend/orders/1\r\n"),
        "{}",
        first.head
    );
    let second = running
        .post(
            &orders,
            "application/json; charset=utf-8",
            &order_of("read"),
        )
        .await;
    assert_eq!(
        (second.status, &second.body["state"]),
        (201, &json!("running"))
    );

    let confirmed = running.post(&format!("{orders}/1/confirm"), JSON, "").await;
    assert_eq!(
        (confirmed.status, &confirmed.body["state"]),
        (200, &json!("running"))
    );
    let again = running.post(&format!("{orders}/1/confirm"), JSON, "").await;
    assert_eq!((again.status, again.code()), (409, "refused"));
    let late = running.post(&format!("{orders}/1/cancel"), JSON, "").await;
    assert_eq!((late.status, late.code()), (409, "refused"));
    let unknown = running.post(&format!("{orders}/77/cancel"), JSON, "").await;
    assert_eq!((unknown.status, unknown.code()), (404, "unknown"));

    running.post(&orders, JSON, &order_of("connect")).await;
    let cancelled = running.post(&format!("{orders}/3/cancel"), JSON, "").await;
    assert_eq!(cancelled.body["state"], "over");

    let list = running.get(&orders).await;
    let ids: Vec<&Value> = list
        .body
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["id"])
        .collect();
    assert_eq!(ids, [3, 2, 1]);
    assert_eq!(list.body[0]["parts"], json!([]));
    let one = running.get(&format!("{orders}/1")).await;
    assert_eq!(
        one.body["parts"][1],
        json!({"meter": 2, "state": "queued", "detail": ""})
    );
    assert_eq!(one.body["by"], "night shift");
    assert_eq!(
        desk.memory().audit,
        [
            "night shift ordered 1",
            "night shift ordered 2",
            "night shift confirmed 1",
            "night shift ordered 3",
            "night shift cancelled 3",
        ]
    );
}

#[tokio::test]
async fn an_import_is_whole_or_names_its_faults() {
    let desk = SmallDesk::with_meters(0);
    let running = start(Some(Arc::clone(&desk)), Some(SECRET)).await;
    let path = format!("{API}/meters/import");

    let faulty = running
        .post(&path, "text/csv", "name\nMill Lane\n\nHigh Street\n\n")
        .await;
    assert_eq!((faulty.status, faulty.code()), (422, "invalid"));
    assert_eq!(faulty.body["faults_total"], 2);
    let fault = json!({"line": 3, "column": "name", "problem": "is empty; write the name"});
    assert_eq!(faulty.body["faults"][0], fault);
    assert!(desk.memory().meters.is_empty());

    let many = format!("name{}", "\n".repeat(Fault::FAULTS_MAX + 8));
    let many = running.post(&path, "text/csv", &many).await;
    assert_eq!(
        many.body["faults"].as_array().unwrap().len(),
        Fault::FAULTS_MAX
    );
    assert_eq!(many.body["faults_total"], Fault::FAULTS_MAX + 7);

    let good = running
        .post(
            &path,
            "Text/CSV; charset=utf-8",
            "name\nMill Lane\nHigh Street\n",
        )
        .await;
    assert_eq!((good.status, &good.body["added"]), (200, &json!(2)));
    assert_eq!(desk.memory().audit, ["night shift imported 2"]);

    // The longest file fits, one byte more does not.
    let longest = format!("name\n{}", "x".repeat(IMPORT_MAX - 5));
    assert_eq!(running.post(&path, "text/csv", &longest).await.status, 200);
    assert_eq!(desk.memory().meters.len(), 3);
}

#[tokio::test]
async fn nothing_is_changed_without_the_token_and_from_elsewhere() {
    let desk = SmallDesk::with_meters(3);
    let with_token = start(Some(Arc::clone(&desk)), Some(SECRET)).await;
    let without = start(Some(Arc::clone(&desk)), None).await;
    let right = format!("authorization: Bearer {SECRET}\r\n");
    let cases = [
        (&with_token, String::new(), 401, "no_token"),
        (
            &with_token,
            "authorization: Basic b3A6b3A=\r\n".to_owned(),
            401,
            "no_token",
        ),
        (
            &with_token,
            "authorization: Bearer\r\n".to_owned(),
            401,
            "no_token",
        ),
        (
            &with_token,
            format!("authorization: Bearer {}\r\n", &SECRET[1..]),
            401,
            "wrong_token",
        ),
        (
            &with_token,
            format!("authorization: Bearer {}\r\n", SECRET.to_uppercase()),
            401,
            "wrong_token",
        ),
        (&with_token, format!("{right}{right}"), 401, "no_token"),
        (
            &with_token,
            format!("{right}origin: http://evil.example\r\n"),
            403,
            "foreign_origin",
        ),
        (
            &with_token,
            format!("{right}origin: null\r\n"),
            403,
            "foreign_origin",
        ),
        (&without, right.clone(), 403, "no_operator"),
        (&without, String::new(), 403, "no_operator"),
    ];
    let paths = [
        "orders",
        "meters/import",
        "orders/1/confirm",
        "orders/1/cancel",
    ];
    for (running, headers, status, code) in &cases {
        for path in paths {
            let body = if path.contains("/1/") { "" } else { "{}" };
            let heard = running
                .post_with(&format!("{API}/{path}"), headers, JSON, body)
                .await;
            assert_eq!(
                (heard.status, heard.code()),
                (*status, *code),
                "{path} {headers}"
            );
            let asks = heard.head.contains("\r\nwww-authenticate: bearer");
            assert_eq!(asks, *status == 401, "{path} {headers}");
            assert!(!heard.body.to_string().contains(&SECRET[1..]), "{path}");
        }
    }
    assert!(desk.memory().audit.is_empty());

    // Our own page, and any case of the scheme.
    for headers in [
        format!("{right}origin: http://localhost\r\n"),
        format!("authorization: bEARER  {SECRET}\r\n"),
    ] {
        let path = format!("{API}/orders");
        let heard = with_token
            .post_with(&path, &headers, JSON, &order_of("read"))
            .await;
        assert_eq!(heard.status, 201, "{headers}");
    }
    // Other methods and other paths stay closed, whatever the token.
    for (method, path) in [
        ("PUT", "/api/v1/headend/orders"),
        ("POST", "/api/v1/snapshot"),
        ("POST", "/"),
    ] {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{right}connection: close\r\n\r\n"
        );
        assert_eq!(
            with_token.raw(request.as_bytes()).await.status,
            405,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn an_order_is_checked_field_by_field() {
    let desk = SmallDesk::with_meters(3);
    let running = start(Some(Arc::clone(&desk)), Some(SECRET)).await;
    let path = format!("{API}/orders");
    let faulty: [(Value, &[&str]); 10] = [
        (json!({"kind": "read", "within_s": 60}), &["meters"]),
        (
            json!({"kind": "read", "meters": [1], "within_s": 0}),
            &["within_s"],
        ),
        (
            json!({"kind": "read", "meters": [1], "within_s": 604_801}),
            &["within_s"],
        ),
        (
            json!({"kind": "set", "groups": ["even"], "within_s": 60}),
            &["obis", "value"],
        ),
        (
            json!({"kind": "read", "meters": [1], "within_s": 60, "value": "1"}),
            &["value"],
        ),
        (
            json!({"kind": "read", "meters": [1], "within_s": 60, "attribute": 2}),
            &["obis"],
        ),
        (
            json!({"kind": "connect", "meters": [1], "within_s": 60, "obis": "0-0:96.3.10.255"}),
            &["obis"],
        ),
        (
            json!({"kind": "rekey", "meters": [1], "within_s": 60, "obis": "x".repeat(1_025)}),
            &["obis", "obis"],
        ),
        (
            json!({"kind": "read", "meters": vec![1; NewOrder::METERS_MAX + 1], "within_s": 60}),
            &["meters"],
        ),
        (
            json!({"kind": "read", "groups": vec!["g"; NewOrder::GROUPS_MAX + 1], "within_s": 60}),
            &["groups"],
        ),
    ];
    for (order, columns) in faulty {
        let heard = running.post(&path, JSON, &order.to_string()).await;
        let what = order.to_string().chars().take(120).collect::<String>();
        assert_eq!((heard.status, heard.code()), (422, "invalid"), "{what}");
        let found: Vec<&Value> = heard.body["faults"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["column"])
            .collect();
        assert_eq!(found, columns, "{what}");
    }
    for unreadable in [
        "{",
        "[]",
        r#"{"kind":"explode","meters":[1],"within_s":60}"#,
        r#"{"kind":"read","meters":[1]}"#,
        r#"{"kind":"read","meters":[-1],"within_s":60}"#,
        r#"{"kind":"read","meters":[1],"within_s":60,"force":true}"#,
    ] {
        let heard = running.post(&path, JSON, unreadable).await;
        assert_eq!(
            (heard.status, heard.code()),
            (400, "bad_json"),
            "{unreadable}"
        );
    }
    let absent = json!({"kind": "read", "meters": [1, 9], "within_s": 60}).to_string();
    let heard = running.post(&path, JSON, &absent).await;
    assert_eq!((heard.status, heard.code()), (409, "refused"));
    assert!(desk.memory().orders.is_empty());

    let set = json!({"kind": "set", "obis": "0-0:1.0.0.255", "class": 8, "attribute": 3, "value": "60", "meters": [1], "within_s": 60});
    assert_eq!(
        running.post(&path, JSON, &set.to_string()).await.status,
        201
    );
}

#[tokio::test]
async fn a_head_end_that_is_down_or_absent_is_said_so() {
    let desk = SmallDesk::with_meters(3);
    desk.memory().health = Health::Down;
    let down = start(Some(desk), Some(SECRET)).await;
    let absent = start(None, Some(SECRET)).await;
    for path in ["status", "meters", "meters/1", "orders", "orders/1"] {
        let heard = down.get(&format!("{API}/{path}")).await;
        assert_eq!((heard.status, heard.code()), (503, "down"), "{path}");
        assert!(heard.head.contains("\r\nretry-after: 10"), "{path}");
        let heard = absent.get(&format!("{API}/{path}")).await;
        assert_eq!((heard.status, heard.code()), (404, "no_headend"), "{path}");
    }
    for (path, media_type, body) in [
        ("orders", JSON, order_of("read")),
        ("meters/import", "text/csv", "name\n".to_owned()),
        ("orders/1/confirm", JSON, String::new()),
        ("orders/1/cancel", JSON, String::new()),
    ] {
        let path = format!("{API}/{path}");
        let heard = down.post(&path, media_type, &body).await;
        assert_eq!((heard.status, heard.code()), (503, "down"), "{path}");
        let heard = absent.post_with(&path, "", media_type, &body).await;
        assert_eq!((heard.status, heard.code()), (404, "no_headend"), "{path}");
    }
    let metrics = down.get("/metrics").await.body;
    assert!(
        metrics
            .as_str()
            .unwrap()
            .contains("\ngridloom_headend_up 0\n")
    );
    let metrics = absent.get("/metrics").await.body;
    assert!(!metrics.as_str().unwrap().contains("gridloom_headend"));
}

/// The routes without a socket, for tests on paused time.
fn router(desk: Arc<SmallDesk>) -> Router {
    let (_host, snapshots) = watch::channel(Arc::new(sample::full()));
    let (_stop, stopped) = watch::channel(false);
    let (hub, _pace) = Hub::new(snapshots, stopped);
    let desks = Desks {
        head_end: Some(desk),
        ..Desks::default()
    };
    routes(hub, desks, options(Some(SECRET)))
}

async fn ask(router: Router, request: Request<Body>) -> (u16, String) {
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.into()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_head_end_that_hangs_is_given_up() {
    let desk = SmallDesk::with_meters(3);
    desk.memory().health = Health::Hanging;
    let get = |path: &str| {
        Request::get(path)
            .header("host", "localhost")
            .body(Body::empty())
            .unwrap()
    };
    for request in [
        get("/api/v1/headend/meters"),
        post_of("orders", JSON, Body::from(order_of("read"))),
        post_of("meters/import", "text/csv", Body::from("name\nMill Lane\n")),
    ] {
        let asked = tokio::time::Instant::now();
        let (status, body) = ask(router(Arc::clone(&desk)), request).await;
        assert_eq!(status, 503, "{body}");
        assert!(asked.elapsed() <= crate::ANSWER_MAX + Duration::from_millis(1));
        assert!(body.contains("did not answer within 30 s"), "{body}");
    }
    let asked = tokio::time::Instant::now();
    let (status, page) = ask(router(desk), get("/metrics")).await;
    assert!(asked.elapsed() <= STATUS_WAIT + Duration::from_millis(1));
    assert_eq!(status, 200);
    assert!(page.contains("\ngridloom_headend_up 0\n"), "{page}");
}

fn post_of(path: &str, media_type: &str, body: Body) -> Request<Body> {
    Request::post(format!("{API}/{path}"))
        .header("host", "localhost")
        .header("authorization", format!("Bearer {SECRET}"))
        .header("content-type", media_type)
        .body(body)
        .unwrap()
}

fn campaign_view(version: &str, state: &str) -> CampaignView {
    CampaignView {
        id: 7,
        by: "anna".to_owned(),
        at: "2026-03-01T00:00:00Z".to_owned(),
        version: version.to_owned(),
        state: state.to_owned(),
        reason: String::new(),
        stage: 1,
        total: 1,
        waiting: 0,
        under_way: 1,
        succeeded: 0,
        failed: 0,
        cancelled: 0,
        meters: Vec::new(),
    }
}
