//! The edge's routes, with a desk that keeps what it was asked.

use std::sync::Mutex;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::desk::{Answer, DeskError};
use crate::sample;
use crate::screening::{
    CertificatesView, Decision, DecisionAbout, DecisionView, HeldDetail, HeldView, IncidentDetail,
    IncidentView, QueuePage, SecurityView, TrustPage, TrustView,
};
use crate::security::DECISION_MAX;

const SECRET: &str = "7f3c9a1e55d04b62a8e0c4d9b1f26e37";

/// What the desk was asked, word by word.
#[derive(Default)]
struct SmallEdge(Mutex<Vec<String>>);

impl SmallEdge {
    fn answer<T: Send + 'static>(&self, asked: String, answer: Result<T, DeskError>) -> Answer<T> {
        self.0.lock().unwrap().push(asked);
        Box::pin(std::future::ready(answer))
    }

    fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn unknown<T>(id: u64) -> Result<T, DeskError> {
    Err(DeskError::Unknown(format!("{id} is not there")))
}

impl SecurityDesk for SmallEdge {
    fn status(&self) -> Answer<SecurityView> {
        self.answer("status".to_owned(), Ok(sample::security::status()))
    }

    fn incidents(&self) -> Answer<Vec<IncidentView>> {
        let one = sample::security::incidents().remove(0).incident;
        let many = vec![one; IncidentView::INCIDENTS_MAX + 5];
        self.answer("incidents".to_owned(), Ok(many))
    }

    fn incident(&self, id: u64) -> Answer<IncidentDetail> {
        let found = sample::security::incidents()
            .into_iter()
            .find(|it| it.incident.id == id);
        let found = found.map_or_else(|| unknown(id), Ok);
        self.answer(format!("incident {id}"), found)
    }

    fn quarantine(&self, page: QueuePage) -> Answer<Vec<HeldView>> {
        let packets = sample::security::packets().into_iter();
        let packets = packets
            .map(|it| it.packet)
            .take(page.limit.into())
            .collect();
        self.answer(format!("{page:?}"), Ok(packets))
    }

    fn packet(&self, id: u64) -> Answer<HeldDetail> {
        let found = sample::security::packets()
            .into_iter()
            .find(|it| it.packet.id == id);
        let found = found.map_or_else(|| unknown(id), Ok);
        self.answer(format!("packet {id}"), found)
    }

    fn decide(
        &self,
        about: DecisionAbout,
        decision: Decision,
        reason: String,
        by: String,
    ) -> Answer<DecisionView> {
        let [release, _] = sample::security::decisions();
        let (id, what) = match about {
            DecisionAbout::Packet(id) => (id, ""),
            DecisionAbout::Incident(id) => (id, "all of "),
        };
        let answer = match id {
            1 => Ok(DecisionView {
                decision,
                ..release
            }),
            2 => Err(DeskError::Refused(
                "packet 2 is released already".to_owned(),
            )),
            _ => unknown(id),
        };
        let word = decision.word();
        self.answer(format!("{by} {word} {what}{id}: {reason}"), answer)
    }

    fn decisions(&self) -> Answer<Vec<DecisionView>> {
        let [one, _] = sample::security::decisions();
        let many = vec![one; DecisionView::DECISIONS_MAX + 5];
        self.answer("decisions".to_owned(), Ok(many))
    }

    fn trust(&self, page: TrustPage) -> Answer<Vec<TrustView>> {
        let some = sample::security::trust().into_iter();
        let some = some.take(page.limit.into()).collect();
        self.answer(format!("{page:?}"), Ok(some))
    }

    fn certificates(&self) -> Answer<CertificatesView> {
        self.answer(
            "certificates".to_owned(),
            Ok(sample::security::certificates()),
        )
    }
}

async fn ask(desk: Option<&Arc<SmallEdge>>, request: Request<Body>) -> (u16, Value) {
    let (_host, snapshots) = watch::channel(Arc::new(sample::full()));
    let (_stop, stopped) = watch::channel(false);
    let (hub, _pace) = Hub::new(snapshots, stopped);
    let desks = Desks {
        head_end: None,
        pair: None,
        security: desk.map(|desk| Arc::clone(desk) as Arc<dyn SecurityDesk>),
        feeder: None,
    };
    let options = Options {
        host_names: Vec::new(),
        operator_token: Some(OperatorToken::new("night shift", SECRET.to_owned()).unwrap()),
    };
    let response = routes(hub, desks, options).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 4 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

fn get_of(path: &str) -> Request<Body> {
    Request::get(format!("/api/v1/security/{path}"))
        .header("host", "localhost")
        .body(Body::empty())
        .unwrap()
}

fn post_to(path: &str, secret: &str, body: &str) -> Request<Body> {
    Request::post(format!("/api/v1/security/{path}"))
        .header("host", "localhost")
        .header("authorization", format!("Bearer {secret}"))
        .header("content-type", "application/json")
        .header("content-length", body.len())
        .body(Body::from(body.to_owned()))
        .unwrap()
}

#[tokio::test]
async fn what_is_asked_reaches_the_desk() {
    let usual = "QueuePage { after: 0, limit: 100, incident: None }";
    let cases = [
        ("status", 200, "status"),
        ("incidents/5", 200, "incident 5"),
        ("incidents/6", 404, "incident 6"),
        ("incidents/05", 404, ""),
        ("quarantine", 200, usual),
        (
            "quarantine?after=7&limit=2&incident=3",
            200,
            "QueuePage { after: 7, limit: 2, incident: Some(3) }",
        ),
        ("quarantine?limit=501", 422, ""),
        ("quarantine?limit=0", 422, ""),
        ("quarantine?incidents=3", 400, ""),
        ("quarantine/3", 200, "packet 3"),
        ("quarantine/4", 404, "packet 4"),
        ("quarantine/x", 404, ""),
        (
            "trust?kind=gateway&skip=1&limit=1",
            200,
            "TrustPage { kind: Gateway, skip: 1, limit: 1 }",
        ),
        ("trust", 400, ""),
        ("trust?kind=meter", 400, ""),
        ("trust?kind=edge&limit=1001", 422, ""),
        ("certificates", 200, "certificates"),
        ("nothing", 404, ""),
    ];
    for (path, status, asked) in cases {
        let desk = Arc::new(SmallEdge::default());
        let (found, body) = ask(Some(&desk), get_of(path)).await;
        assert_eq!(found, status, "{path}: {body}");
        let wanted: Vec<_> = Some(asked.to_owned())
            .filter(|it| !it.is_empty())
            .into_iter()
            .collect();
        assert_eq!(desk.asked(), wanted, "{path}");
    }
}

#[tokio::test]
async fn lists_are_bounded() {
    let desk = Arc::new(SmallEdge::default());
    let (_, incidents) = ask(Some(&desk), get_of("incidents")).await;
    let count = incidents.as_array().map(Vec::len);
    assert_eq!(count, Some(IncidentView::INCIDENTS_MAX));
    let (_, decisions) = ask(Some(&desk), get_of("decisions")).await;
    let count = decisions.as_array().map(Vec::len);
    assert_eq!(count, Some(DecisionView::DECISIONS_MAX));
}

#[tokio::test]
async fn a_decision_needs_a_token_and_a_reason() {
    let good = json!({ "reason": "  the fitter swapped it " }).to_string();
    let long = json!({ "reason": "x".repeat(Decision::REASON_MAX + 1) }).to_string();
    let huge = json!({ "reason": "x".repeat(DECISION_MAX) }).to_string();
    let cases = [
        (
            "quarantine/1/release",
            SECRET,
            good.as_str(),
            200,
            "release 1",
        ),
        ("quarantine/1/reject", SECRET, &good, 200, "reject 1"),
        (
            "incidents/1/release",
            SECRET,
            &good,
            200,
            "release all of 1",
        ),
        ("incidents/1/reject", SECRET, &good, 200, "reject all of 1"),
        ("incidents/9/reject", SECRET, &good, 404, "reject all of 9"),
        ("incidents/1/release", "0123", &good, 401, ""),
        ("incidents/1/release", SECRET, r#"{"reason":" "}"#, 422, ""),
        ("incidents/1", SECRET, &good, 405, ""),
        ("quarantine/2/reject", SECRET, &good, 409, "reject 2"),
        ("quarantine/9/release", SECRET, &good, 404, "release 9"),
        ("quarantine/1/release", "0123", &good, 401, ""),
        ("quarantine/1/release", SECRET, r#"{"reason":" "}"#, 422, ""),
        (
            "quarantine/1/release",
            SECRET,
            r#"{"reason":"a\nb"}"#,
            422,
            "",
        ),
        ("quarantine/1/release", SECRET, &long, 422, ""),
        ("quarantine/1/release", SECRET, &huge, 413, ""),
        ("quarantine/1/release", SECRET, r#"{"why":"x"}"#, 400, ""),
        ("quarantine/1/release", SECRET, "", 400, ""),
        ("quarantine/1", SECRET, &good, 405, ""),
        ("quarantine/1/forget", SECRET, &good, 404, ""),
        ("incidents", SECRET, &good, 405, ""),
    ];
    for (path, secret, body, status, done) in cases {
        let desk = Arc::new(SmallEdge::default());
        let (found, said) = ask(Some(&desk), post_to(path, secret, body)).await;
        assert_eq!(found, status, "{path} {body:.40}: {said}");
        let wanted: Vec<_> = Some(done)
            .filter(|it| !it.is_empty())
            .map(|done| format!("night shift {done}: the fitter swapped it"))
            .into_iter()
            .collect();
        assert_eq!(desk.asked(), wanted, "{path} {body:.40}");
    }
}

#[tokio::test]
async fn no_foreign_page_decides() {
    let desk = Arc::new(SmallEdge::default());
    let mut request = post_to("quarantine/1/release", SECRET, r#"{"reason":"x"}"#);
    let origin = "http://evil.example".parse().unwrap();
    request.headers_mut().insert("origin", origin);
    let (status, body) = ask(Some(&desk), request).await;
    assert_eq!(
        (status, body["code"].as_str()),
        (403, Some("foreign_origin"))
    );
    assert!(desk.asked().is_empty());
}

#[tokio::test]
async fn without_an_edge_every_route_says_so() {
    let body = r#"{"reason":"x"}"#;
    for request in [
        get_of("status"),
        get_of("quarantine"),
        post_to("quarantine/1/reject", SECRET, body),
    ] {
        let (status, body) = ask(None, request).await;
        assert_eq!((status, body["code"].as_str()), (404, Some("no_edge")));
    }
}
