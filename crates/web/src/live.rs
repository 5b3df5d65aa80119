//! Live clients: one pace for all, and per client only the last state it was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::error::ApiError;
use crate::frame::{Frame, update};
use crate::model::{House, Snapshot};

/// Live clients at a time; one more is answered 503, in words.
pub(crate) const CLIENTS_MAX: usize = 64;

/// Longest message that is read from a client, in bytes; a longer one ends its connection.
pub(crate) const MESSAGE_MAX: usize = 1_024;

/// Frames are at least so far apart.
const FRAME_GAP: Duration = Duration::from_millis(500);

/// The host publishes more often than this, or what it published is called stale.
const FRESH_FOR: Duration = Duration::from_secs(10);

/// How often a client is pinged.
const PING_EVERY: Duration = Duration::from_secs(15);

/// A client that neither answered a ping nor said anything for so long is gone.
const IDLE_MAX: Duration = Duration::from_secs(45);

/// A client that does not take one frame within this is gone.
const SEND_MAX: Duration = Duration::from_secs(10);

/// The snapshots of the host, at the pace of the clients.
#[derive(Clone)]
pub(crate) struct Hub {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    paced: watch::Receiver<Arc<Paced>>,
    places: Arc<Semaphore>,
    fresh: Arc<AtomicBool>,
}

/// One state of the pace, and the text that brings a client there that was told the state before.
struct Paced {
    number: u64,
    snapshot: Arc<Snapshot>,
    step: Utf8Bytes,
}

impl Hub {
    /// The hub, and the task that drives it until `stop` turns true or the host is gone.
    pub(crate) fn new(
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
        stop: watch::Receiver<bool>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let first = Arc::clone(&snapshots.borrow_and_update());
        let (sender, paced) = watch::channel(Arc::new(Paced {
            number: 0,
            step: update(None, &first).encode().into(),
            snapshot: first,
        }));
        let fresh = Arc::new(AtomicBool::new(true));
        let hub = Self {
            snapshots: snapshots.clone(),
            paced,
            places: Arc::new(Semaphore::new(CLIENTS_MAX)),
            fresh: Arc::clone(&fresh),
        };
        (hub, pace(snapshots, stop, sender, fresh))
    }

    /// What the host published last.
    pub(crate) fn latest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Whether the host still publishes.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh.load(Ordering::Relaxed)
    }

    /// Live clients now.
    pub(crate) fn clients(&self) -> usize {
        CLIENTS_MAX - self.places.available_permits()
    }

    /// A place for one live client, held until it is dropped.
    pub(crate) fn enter(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| ApiError::Full { max: CLIENTS_MAX })
    }

    /// Serves one client until it leaves, falls silent, or the hub stops.
    pub(crate) async fn converse(mut self, mut socket: WebSocket, place: OwnedSemaphorePermit) {
        let reason = match self.conversation(&mut socket).await {
            Ok(End::Left) => None,
            Ok(End::Stopped) => Some((close_code::AWAY, "the console is shutting down")),
            Ok(End::Silent) => Some((close_code::AWAY, "no answer to pings")),
            Ok(End::Nonsense) => Some((
                close_code::POLICY,
                "a message is {\"watch\": house id or null}",
            )),
            Err(error) => {
                tracing::debug!(%error, "a live client is gone");
                None
            }
        };
        if let Some((code, reason)) = reason {
            let close = Message::Close(Some(CloseFrame {
                code,
                reason: Utf8Bytes::from_static(reason),
            }));
            // The client may be gone already; there is nobody else to tell.
            let _unheard = tokio::time::timeout(SEND_MAX, socket.send(close)).await;
        }
        drop(place);
    }

    async fn conversation(&mut self, socket: &mut WebSocket) -> Result<End, axum::Error> {
        let mut view = View::default();
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        self.paced.mark_changed();
        loop {
            tokio::select! {
                changed = self.paced.changed() => {
                    if changed.is_err() {
                        return Ok(End::Stopped);
                    }
                    let paced = Arc::clone(&self.paced.borrow_and_update());
                    let step = view.follow(&paced);
                    send(socket, Message::Text(step)).await?;
                    if let Some(house) = view.watched_house() {
                        send(socket, Message::Text(house)).await?;
                    }
                }
                message = socket.recv() => {
                    heard = Instant::now();
                    match message.transpose()? {
                        None | Some(Message::Close(_)) => return Ok(End::Left),
                        Some(Message::Ping(_) | Message::Pong(_)) => {}
                        Some(Message::Binary(_)) => return Ok(End::Nonsense),
                        Some(Message::Text(text)) => {
                            let Ok(Wish { watch }) = serde_json::from_str(&text) else {
                                return Ok(End::Nonsense);
                            };
                            view.watch(watch);
                            if let Some(house) = view.watched_house() {
                                send(socket, Message::Text(house)).await?;
                            }
                        }
                    }
                }
                _ = ping.tick() => {
                    if heard.elapsed() > IDLE_MAX {
                        return Ok(End::Silent);
                    }
                    send(socket, Message::Ping(axum::body::Bytes::new())).await?;
                }
            }
        }
    }
}

/// Why a conversation is over.
enum End {
    Left,
    Silent,
    Nonsense,
    Stopped,
}

/// What a client may say: which house it looks at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    watch: Option<String>,
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), axum::Error> {
    tokio::time::timeout(SEND_MAX, socket.send(message))
        .await
        .map_err(axum::Error::new)?
}

async fn pace(
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    mut stop: watch::Receiver<bool>,
    paced: watch::Sender<Arc<Paced>>,
    fresh: Arc<AtomicBool>,
) {
    loop {
        let changed = tokio::select! {
            changed = tokio::time::timeout(FRESH_FOR, snapshots.changed()) => changed,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match changed {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return fresh.store(false, Ordering::Relaxed),
            Err(_) => {
                fresh.store(false, Ordering::Relaxed);
                continue;
            }
        }
        fresh.store(true, Ordering::Relaxed);
        let next = Arc::clone(&snapshots.borrow_and_update());
        if let Err(error) = next.check() {
            tracing::error!(%error, "snapshot not shown");
        } else {
            let before = Arc::clone(&paced.borrow());
            paced.send_replace(Arc::new(Paced {
                number: before.number + 1,
                step: update(Some(&before.snapshot), &next).encode().into(),
                snapshot: next,
            }));
        }
        tokio::select! {
            () = tokio::time::sleep(FRAME_GAP) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// What one client was told last.
#[derive(Default)]
struct View {
    told: Option<Arc<Paced>>,
    watched: Option<String>,
    told_house: Option<House>,
    told_missing: bool,
}

impl View {
    /// The text that brings the client to `paced`, from wherever it is.
    fn follow(&mut self, paced: &Arc<Paced>) -> Utf8Bytes {
        let step = match &self.told {
            // In step with everybody: the text is already there.
            Some(told) if told.number + 1 == paced.number => paced.step.clone(),
            Some(told) => update(Some(&told.snapshot), &paced.snapshot)
                .encode()
                .into(),
            None => update(None, &paced.snapshot).encode().into(),
        };
        self.told = Some(Arc::clone(paced));
        step
    }

    fn watch(&mut self, id: Option<String>) {
        self.watched = id;
        self.told_house = None;
        self.told_missing = false;
    }

    /// The watched house, if the client does not know it as it is.
    fn watched_house(&mut self) -> Option<Utf8Bytes> {
        let id = self.watched.as_deref()?;
        let snapshot = &self.told.as_ref()?.snapshot;
        let house = snapshot.house(id);
        let known = match (house, &self.told_house) {
            (Some(house), Some(told)) => house == told,
            (None, None) => self.told_missing,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if known {
            return None;
        }
        self.told_missing = house.is_none();
        self.told_house = house.cloned();
        Some(Frame::House { id, house }.encode().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use gridloom_core::UtcTime;

    fn paced(number: u64, seconds: i64) -> Arc<Paced> {
        let mut snapshot = sample::full();
        snapshot.now = UtcTime::from_secs(seconds);
        Arc::new(Paced {
            number,
            snapshot: Arc::new(snapshot),
            step: Utf8Bytes::from_static("the common step"),
        })
    }

    #[test]
    fn a_slow_client_gets_one_frame_for_all_that_it_missed() {
        let mut view = View::default();
        assert!(
            view.follow(&paced(4, 4))
                .starts_with(r#"{"type":"snapshot""#)
        );
        assert_eq!(view.follow(&paced(5, 5)).as_str(), "the common step");
        let skipped = view.follow(&paced(9, 9));
        assert!(skipped.starts_with(r#"{"type":"delta""#), "{skipped}");
        assert!(
            skipped.contains(r#""now":"1970-01-01T00:00:09Z""#),
            "{skipped}"
        );
    }

    #[test]
    fn a_watched_house_is_told_once_until_it_changes() {
        let mut view = View::default();
        assert!(view.watched_house().is_none());
        view.follow(&paced(1, 1));
        view.watch(Some("h1".to_owned()));
        let first = view.watched_house().unwrap();
        assert!(first.contains("Kettle"), "{first}");
        assert!(view.watched_house().is_none());

        let mut changed = sample::full();
        changed.houses[0].detail.appliances[0].on = false;
        view.follow(&Arc::new(Paced {
            number: 2,
            snapshot: Arc::new(changed),
            step: Utf8Bytes::default(),
        }));
        assert!(view.watched_house().unwrap().contains(r#""on":false"#));

        view.watch(Some("nobody".to_owned()));
        assert!(view.watched_house().unwrap().contains(r#""house":null"#));
        assert!(view.watched_house().is_none());
        view.watch(None);
        assert!(view.watched_house().is_none());
    }
}
