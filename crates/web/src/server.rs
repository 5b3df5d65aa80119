//! The listener and its routes.

use std::io;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::model::Snapshot;

/// What an operator may configure about the console's listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Names by which browsers may address the console, beside `localhost` and IP addresses.
    pub host_names: Vec<String>,
}

/// Serves the console to browsers that address it as `localhost` or by IP address,
/// until `shutdown` completes.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_with(listener, snapshots, Options::default(), shutdown).await
}

/// Serves the console with `options` until `shutdown` completes.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve_with(
    listener: TcpListener,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    _options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let app = Router::new()
        .route("/api/v1/snapshot", get(snapshot))
        .route("/api/v1/houses/{id}", get(house))
        .with_state(snapshots);
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown)
        .await
}

async fn snapshot(State(snapshots): State<watch::Receiver<Arc<Snapshot>>>) -> Response {
    let snapshot = Arc::clone(&snapshots.borrow());
    Json(snapshot.as_ref()).into_response()
}

async fn house(
    State(snapshots): State<watch::Receiver<Arc<Snapshot>>>,
    Path(id): Path<String>,
) -> Response {
    let snapshot = Arc::clone(&snapshots.borrow());
    match snapshot.house(&id) {
        Some(house) => Json(house).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
