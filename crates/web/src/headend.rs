//! The routes below `/api/v1/headend`: what they take, who may, and how long it may last.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::desk::{
    ANSWER_MAX, Answer, Desk, DeskError, Fault, NewOrder, OrderKind, OrderView, Page,
};
use crate::error::ApiError;
use crate::token::OperatorToken;

/// Longest import that is read, in bytes; a longer one is refused with 413.
pub(crate) const IMPORT_MAX: usize = 8 << 20;

/// Longest order that is read, in bytes; a longer one is refused with 413. The most meters and
/// groups that an order may name fit.
pub(crate) const ORDER_MAX: usize = 2 << 20;

/// Bodies that are read at a time, because each lies in memory; one more is answered 503.
pub(crate) const BODIES_MAX: usize = 4;

/// Kinds of keys that one order names.
const KEYS_MAX: usize = 4;

/// A body that is not here after so long is given up with 408.
const BODY_WAIT_MAX: Duration = Duration::from_secs(60);

/// The way to one head-end, if this console has one.
pub(crate) struct Office {
    desk: Option<Arc<dyn Desk>>,
    token: Option<OperatorToken>,
    bodies: Semaphore,
}

impl Office {
    pub(crate) fn new(desk: Option<Arc<dyn Desk>>, token: Option<OperatorToken>) -> Self {
        Self {
            desk,
            token,
            bodies: Semaphore::new(BODIES_MAX),
        }
    }

    pub(crate) fn desk(&self) -> Result<&dyn Desk, ApiError> {
        self.desk.as_deref().ok_or(ApiError::NoDesk)
    }

    pub(crate) fn place_for_body(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.bodies
            .try_acquire()
            .map_err(|_| ApiError::Busy { max: BODIES_MAX })
    }
}

/// The head-end's routes, complete.
pub(crate) fn routes(office: Arc<Office>) -> Router {
    Router::new()
        .route("/api/v1/headend/status", get(status))
        .route("/api/v1/headend/meters", get(meters))
        .route("/api/v1/headend/meters/{id}", get(meter))
        .route(
            "/api/v1/headend/meters/import",
            post(import).layer(DefaultBodyLimit::max(IMPORT_MAX)),
        )
        .route(
            "/api/v1/headend/orders",
            get(orders)
                .post(submit)
                .layer(DefaultBodyLimit::max(ORDER_MAX)),
        )
        .route("/api/v1/headend/orders/{id}", get(order))
        .route("/api/v1/headend/orders/{id}/confirm", post(confirm))
        .route("/api/v1/headend/orders/{id}/cancel", post(cancel))
        .method_not_allowed_fallback(other_method)
        .with_state(office)
}

pub(crate) type OfficeState = State<Arc<Office>>;
pub(crate) type PathText = Result<Path<String>, PathRejection>;

async fn status(State(office): OfficeState) -> Result<Response, ApiError> {
    answer(office.desk()?.status()).await
}

/// A page's query. What is not named here is refused, so that a slip does not select all meters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPage {
    after: Option<u32>,
    limit: Option<u16>,
    group: Option<String>,
    text: Option<String>,
}

async fn meters(
    State(office): OfficeState,
    query: Result<Query<RawPage>, QueryRejection>,
) -> Result<Response, ApiError> {
    let desk = office.desk()?;
    let Query(raw) = query.map_err(|error| ApiError::Query(error.body_text()))?;
    let page = page(raw)?;
    let limit = page.limit;
    let meters = settle(desk.meters(page)).await?;
    assert!(
        meters.len() <= usize::from(limit),
        "a desk keeps to the page's limit"
    );
    Ok(Json(meters).into_response())
}

fn page(raw: RawPage) -> Result<Page, ApiError> {
    let page = Page {
        after: raw.after.unwrap_or(0),
        limit: raw.limit.unwrap_or(Page::LIMIT),
        group: raw.group.filter(|it| !it.is_empty()),
        text: raw.text.filter(|it| !it.is_empty()),
    };
    let mut faults = Faults::default();
    if !(1..=Page::LIMIT_MAX).contains(&page.limit) {
        let problem = format!("{} meters; ask for 1 to {}", page.limit, Page::LIMIT_MAX);
        faults.add("limit", problem);
    }
    for (field, text) in [("group", &page.group), ("text", &page.text)] {
        faults.check_len(field, text.as_deref(), Page::TEXT_MAX);
    }
    faults.none().map(|()| page)
}

async fn meter(State(office): OfficeState, id: PathText, uri: Uri) -> Result<Response, ApiError> {
    let desk = office.desk()?;
    let id = number(id, &uri, "meter")?;
    answer(desk.meter(id)).await
}

async fn orders(State(office): OfficeState) -> Result<Response, ApiError> {
    let mut orders = settle(office.desk()?.orders()).await?;
    orders.truncate(OrderView::ORDERS_MAX);
    Ok(Json(orders).into_response())
}

async fn order(State(office): OfficeState, id: PathText, uri: Uri) -> Result<Response, ApiError> {
    let desk = office.desk()?;
    let id = number(id, &uri, "order")?;
    answer(desk.order(id)).await
}

async fn import(
    State(office): OfficeState,
    Operator(by): Operator,
    request: Request,
) -> Result<Response, ApiError> {
    let desk = office.desk()?;
    let place = office.place_for_body()?;
    let bytes = read(request, "text/csv", IMPORT_MAX).await?;
    let csv = String::from_utf8(bytes.into()).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        DeskError::Invalid(vec![Fault {
            line: u32::try_from(line).ok(),
            column: String::new(),
            problem: "this line is not UTF-8; save the file as CSV in UTF-8".to_owned(),
        }])
    })?;
    let report = answer(desk.import(csv, by)).await;
    drop(place);
    report
}

async fn submit(
    State(office): OfficeState,
    Operator(by): Operator,
    request: Request,
) -> Result<Response, ApiError> {
    let desk = office.desk()?;
    let order = {
        let _place = office.place_for_body()?;
        let bytes = read(request, "application/json", ORDER_MAX).await?;
        let order: NewOrder =
            serde_json::from_slice(&bytes).map_err(|error| ApiError::Json(error.to_string()))?;
        order
    };
    check(&order)?;
    let view = settle(desk.submit(order, by)).await?;
    let place = format!("/api/v1/headend/orders/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(view)).into_response())
}

async fn confirm(
    State(office): OfficeState,
    Operator(by): Operator,
    id: PathText,
    uri: Uri,
) -> Result<Response, ApiError> {
    let desk = office.desk()?;
    let id = number(id, &uri, "order")?;
    answer(desk.confirm(id, by)).await
}

async fn cancel(
    State(office): OfficeState,
    Operator(by): Operator,
    id: PathText,
    uri: Uri,
) -> Result<Response, ApiError> {
    let desk = office.desk()?;
    let id = number(id, &uri, "order")?;
    answer(desk.cancel(id, by)).await
}

pub(crate) async fn other_method(method: Method) -> ApiError {
    ApiError::MethodHere(method.as_str().chars().take(20).collect())
}

/// The name of the token that the client showed. Where it is wanted, nothing happens without it,
/// and the body stays unread.
pub(crate) struct Operator(pub(crate) String);

impl FromRequestParts<Arc<Office>> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, office: &Arc<Office>) -> Result<Self, ApiError> {
        office.desk()?;
        operator(office.token.as_ref(), parts).map(Self)
    }
}

/// The name of the token that a request shows, if it is the right one.
pub(crate) fn operator(token: Option<&OperatorToken>, parts: &Parts) -> Result<String, ApiError> {
    let token = token.ok_or(ApiError::NoOperator)?;
    let shown = bearer(&parts.headers).ok_or(ApiError::NoToken)?;
    if !token.admits(shown) {
        tracing::warn!(path = parts.uri.path(), "a wrong operator token was shown");
        return Err(ApiError::WrongToken);
    }
    Ok(token.name().to_owned())
}

/// The credentials of the one `Authorization` header (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, credentials) = value.as_bytes().split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| credentials.trim_ascii())
}

/// Reads a whole body of that media type.
pub(crate) async fn read(
    request: Request,
    media_type: &'static str,
    max: usize,
) -> Result<Bytes, ApiError> {
    let headers = request.headers();
    let is_wanted = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|found| found.trim().eq_ignore_ascii_case(media_type));
    if !is_wanted {
        return Err(ApiError::MediaType(media_type));
    }
    // A length that is too long is refused before a byte of the body is asked for.
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max) {
        return Err(ApiError::LongBody { max });
    }
    timeout(BODY_WAIT_MAX, Bytes::from_request(request, &()))
        .await
        .map_err(|_| ApiError::SlowBody {
            seconds: BODY_WAIT_MAX.as_secs(),
        })?
        .map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::LongBody { max }
            } else {
                ApiError::BrokenBody(rejection.body_text())
            }
        })
}

pub(crate) async fn answer<T: Serialize>(answer: Answer<T>) -> Result<Response, ApiError> {
    Ok(Json(settle(answer).await?).into_response())
}

pub(crate) async fn settle<T>(answer: Answer<T>) -> Result<T, ApiError> {
    match timeout(ANSWER_MAX, answer).await {
        Ok(answered) => Ok(answered?),
        Err(_) => Err(ApiError::Desk(DeskError::Down(format!(
            "the head-end did not answer within {} s; look whether it was done before you ask again",
            ANSWER_MAX.as_secs()
        )))),
    }
}

/// The number in a path, written the one way that we write it.
pub(crate) fn number<T: std::str::FromStr + ToString>(
    id: PathText,
    uri: &Uri,
    what: &str,
) -> Result<T, ApiError> {
    let Path(text) = id.map_err(|_| ApiError::UnknownPath(uri.path().to_owned()))?;
    text.parse::<T>()
        .ok()
        .filter(|number| number.to_string() == text)
        .ok_or_else(|| {
            let words = format!("no {what} has the number {text:?}; see /api/v1/headend/{what}s");
            ApiError::Desk(DeskError::Unknown(words))
        })
}

/// Checks what can be checked without knowing the meters.
fn check(order: &NewOrder) -> Result<(), ApiError> {
    let mut faults = Faults::default();
    if order.meters.is_empty() && order.groups.is_empty() {
        faults.add(
            "meters",
            "nobody is meant; name meters or groups".to_owned(),
        );
    }
    for (field, len, max) in [
        ("meters", order.meters.len(), NewOrder::METERS_MAX),
        ("groups", order.groups.len(), NewOrder::GROUPS_MAX),
    ] {
        if len > max {
            let problem =
                format!("{len} {field}, at most {max} in one order; use a group or two orders");
            faults.add(field, problem);
        }
    }
    for (field, text) in [("obis", &order.obis), ("value", &order.value)] {
        faults.check_len(field, text.as_deref(), NewOrder::TEXT_MAX);
    }
    if order.groups.len() <= NewOrder::GROUPS_MAX {
        for group in &order.groups {
            faults.check_len("groups", Some(group), NewOrder::TEXT_MAX);
        }
    }
    if !(1..=NewOrder::WITHIN_MAX_S).contains(&order.within_s) {
        let problem = format!(
            "{} s; give it 1 to {}",
            order.within_s,
            NewOrder::WITHIN_MAX_S
        );
        faults.add("within_s", problem);
    }
    if !order.keys.is_empty() && order.kind != OrderKind::Rekey {
        let problem = format!("{} changes no keys; leave it out", order.kind.word());
        faults.add("keys", problem);
    } else if order.keys.len() > KEYS_MAX {
        let problem = format!("{} kinds of keys, there are {KEYS_MAX}", order.keys.len());
        faults.add("keys", problem);
    }
    check_object(order, &mut faults);
    faults.none()
}

fn check_object(order: &NewOrder, faults: &mut Faults) {
    let kind = order.kind.word();
    let (takes_object, is_set) = match order.kind {
        OrderKind::Set => (true, true),
        OrderKind::Read => (true, false),
        OrderKind::Connect | OrderKind::Disconnect | OrderKind::SyncClock | OrderKind::Rekey => {
            (false, false)
        }
    };
    for (field, is_given) in [
        ("obis", order.obis.is_some()),
        ("class", order.class.is_some()),
        ("attribute", order.attribute.is_some()),
    ] {
        if is_given && !takes_object {
            faults.add(field, format!("{kind} takes no object; leave it out"));
        } else if is_given && order.obis.is_none() {
            faults.add(
                "obis",
                format!("{field} is given without it; name the object too"),
            );
        }
    }
    if is_set && order.obis.is_none() {
        faults.add("obis", "set writes one object; name it".to_owned());
    }
    match (is_set, order.value.is_some()) {
        (true, false) => faults.add("value", "set needs the new value; give it".to_owned()),
        (false, true) => faults.add("value", format!("{kind} writes no value; leave it out")),
        (true, true) | (false, false) => {}
    }
}

#[derive(Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, field: &str, problem: String) {
        self.0.push(Fault {
            line: None,
            column: field.to_owned(),
            problem,
        });
    }

    pub(crate) fn check_len(&mut self, field: &str, text: Option<&str>, max: usize) {
        let len = text.map_or(0, str::len);
        if len > max {
            self.add(field, format!("{len} bytes; give it at most {max}"));
        }
    }

    pub(crate) fn none(self) -> Result<(), ApiError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ApiError::Desk(DeskError::Invalid(self.0)))
        }
    }
}
