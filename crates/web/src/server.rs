//! The listener and its routes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{FromRef, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::assets;
use crate::campaigns;
use crate::desk::Desk;
use crate::error::ApiError;
use crate::feeder::FeederSource;
use crate::guard::{check_origin, guard};
use crate::headend::{self, Office};
use crate::listener::BoundedListener;
use crate::live::{Hub, MESSAGE_MAX};
use crate::metrics::{self, HeadEnd};
use crate::model::Snapshot;
use crate::pair::{self, Lodge, PairDesk};
use crate::screening::SecurityDesk;
use crate::security::{self, Guardroom};
use crate::token::OperatorToken;
use crate::topology::NodeState;

/// Requests under way at shutdown are given up after so long.
const GRACE: Duration = Duration::from_secs(5);

/// The page of metrics waits so long for the head-end, then says that it is down.
const STATUS_WAIT: Duration = Duration::from_secs(2);

/// What an operator may configure about the console's listener.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Names by which browsers may address the console, beside `localhost` and IP addresses.
    pub host_names: Vec<String>,
    /// Who may change something over the API; without it nobody may.
    pub operator_token: Option<OperatorToken>,
}

/// Serves the console to browsers that address it as `localhost` or by IP address,
/// until `shutdown` completes.
///
/// Publish a snapshot at least once a second, also when only the time changed: the page takes five
/// seconds without a frame for a lost link, and `/health` turns 503 after ten.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_with(listener, snapshots, Options::default(), None, shutdown).await
}

/// Whom the API asks.
#[derive(Clone, Default)]
pub struct Desks {
    /// A head-end; without one everything below `/api/v1/headend` is answered 404, in words.
    pub head_end: Option<Arc<dyn Desk>>,
    /// An edge; without one everything below `/api/v1/security` is answered 404, in words.
    pub security: Option<Arc<dyn SecurityDesk>>,
    /// A member of a pair; without one everything below `/api/v1/pair` is answered 404, in words.
    pub pair: Option<Arc<dyn PairDesk>>,
    /// The houses' feeder; without one `/api/v1/feeder` is answered 404, in words.
    pub feeder: Option<Arc<dyn FeederSource>>,
}

/// Serves the console with `options` and, if there is a head-end, its desk; otherwise like [`serve`].
///
/// Without a desk everything below `/api/v1/headend` is answered 404, in words.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve_with(
    listener: TcpListener,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    options: Options,
    desk: Option<Arc<dyn Desk>>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let desks = Desks {
        head_end: desk,
        ..Desks::default()
    };
    serve_desks(listener, snapshots, options, desks, shutdown).await
}

/// Serves the console with `options` and whatever desks there are; otherwise like [`serve`].
///
/// # Errors
///
/// When the listener fails.
pub async fn serve_desks(
    listener: TcpListener,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    options: Options,
    desks: Desks,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let (hub, pace) = Hub::new(snapshots, stopped.clone());
    let server = axum::serve(BoundedListener::new(listener), routes(hub, desks, options))
        .with_graceful_shutdown(stopping(stopped.clone()));

    let pace = tokio::spawn(pace);
    let stop_on_request = tokio::spawn(async move {
        shutdown.await;
        stop.send_replace(true);
        // Dropping the sender would look like a stop too; keep it until the server is done.
        stop.closed().await;
    });
    let result = tokio::select! {
        result = async { server.await } => result,
        () = async {
            stopping(stopped).await;
            tokio::time::sleep(GRACE).await;
        } => Ok(()),
    };
    pace.abort();
    stop_on_request.abort();
    result
}

async fn stopping(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _stopped = stopped.wait_for(|stop| *stop).await;
}

/// What the console's own routes see.
#[derive(Clone)]
struct Sources {
    hub: Hub,
    desk: Option<Arc<dyn Desk>>,
    feeder: Option<Arc<dyn FeederSource>>,
}

impl FromRef<Sources> for Hub {
    fn from_ref(sources: &Sources) -> Self {
        sources.hub.clone()
    }
}

fn routes(hub: Hub, desks: Desks, options: Options) -> Router {
    let Desks {
        head_end: desk,
        security,
        pair,
        feeder,
    } = desks;
    let host_names: Arc<[String]> = options.host_names.into();
    let guardroom = Guardroom::new(security, options.operator_token.clone());
    let lodge = Lodge {
        desk: pair,
        token: options.operator_token.clone(),
    };
    let office = Arc::new(Office::new(desk.clone(), options.operator_token));
    Router::new()
        .route("/api/v1/snapshot", get(snapshot))
        .route("/api/v1/houses/{id}", get(house))
        .route("/api/v1/live", get(live))
        .route("/api/v1/feeder", get(feeder_picture))
        .route("/health", get(health))
        .route("/metrics", get(metrics_page))
        .route("/api/v1/network", get(network))
        .route("/api/v1/network/buffers", get(buffers))
        .route("/api/v1/network/delay", get(delay))
        .route("/api/v1/network/topology", get(topology))
        .route("/api/v1/network/paths", get(paths))
        .route("/api/v1/network/failovers", get(failovers))
        .with_state(Sources { hub, desk, feeder })
        .merge(headend::routes(Arc::clone(&office)))
        .merge(campaigns::routes(office))
        .merge(security::routes(guardroom))
        .merge(pair::routes(lodge))
        .fallback(assets::asset)
        .layer(middleware::from_fn_with_state(host_names, guard))
}

async fn snapshot(State(hub): State<Hub>) -> Response {
    Json(hub.latest().as_ref()).into_response()
}

async fn network(State(hub): State<Hub>) -> Response {
    Json(&hub.latest().network).into_response()
}

async fn buffers(State(hub): State<Hub>) -> Response {
    Json(&hub.latest().network.buffers).into_response()
}

async fn delay(State(hub): State<Hub>) -> Response {
    Json(&hub.latest().network.delay).into_response()
}

async fn topology(State(hub): State<Hub>) -> Response {
    Json(&hub.latest().network.topology).into_response()
}

async fn paths(State(hub): State<Hub>) -> Response {
    Json(&hub.latest().network.paths).into_response()
}

async fn failovers(State(hub): State<Hub>) -> Response {
    Json(&hub.latest().network.failovers).into_response()
}

async fn house(
    State(hub): State<Hub>,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::UnknownPath(uri.path().to_owned()))?;
    match hub.latest().house(&id) {
        Some(house) => Ok(Json(house).into_response()),
        None => Err(ApiError::UnknownHouse(id)),
    }
}

async fn feeder_picture(State(sources): State<Sources>) -> Result<Response, ApiError> {
    let feeder = sources.feeder.ok_or(ApiError::NoFeeder)?;
    // Solving may hold the feeder for a moment; other requests go on meanwhile.
    let picture = tokio::task::spawn_blocking(move || feeder.picture()).await;
    Ok(Json(picture.ok().flatten()).into_response())
}

async fn live(
    State(hub): State<Hub>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    check_origin(&uri, &headers)?;
    // Fullness first: a page whose socket was refused cannot read why, but can ask again by GET.
    let place = hub.enter()?;
    let upgrade = upgrade.map_err(|error| ApiError::NotWebSocket(error.to_string()))?;
    Ok(upgrade
        .max_message_size(MESSAGE_MAX)
        .max_frame_size(MESSAGE_MAX)
        .on_upgrade(move |socket| hub.converse(socket, place)))
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    now: String,
    nodes_down: Vec<String>,
}

async fn health(State(hub): State<Hub>) -> Response {
    let snapshot = hub.latest();
    let (code, status) = if hub.is_fresh() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stale")
    };
    let nodes_down = snapshot
        .layers
        .iter()
        .filter(|node| node.state == NodeState::Down)
        .map(|node| node.node.clone())
        .collect();
    let health = Health {
        status,
        now: snapshot.now.to_string(),
        nodes_down,
    };
    (code, Json(health)).into_response()
}

async fn metrics_page(State(sources): State<Sources>) -> Response {
    let headend = match &sources.desk {
        None => HeadEnd::Absent,
        Some(desk) => match tokio::time::timeout(STATUS_WAIT, desk.status()).await {
            Ok(Ok(view)) => HeadEnd::Up(view),
            Ok(Err(_)) | Err(_) => HeadEnd::Down,
        },
    };
    let page = metrics::render(&sources.hub.latest(), sources.hub.clients(), &headend);
    ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], page).into_response()
}

#[cfg(test)]
mod headend_tests;
#[cfg(test)]
mod security_tests;
#[cfg(test)]
mod tests;
