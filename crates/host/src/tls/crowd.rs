//! Bounds on unfinished handshakes that silent peers cannot use up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// A handshake must be done within this time: a peer that connects and says nothing is closed.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Handshakes of one listener under way; one more ends the oldest. An honest one is done in
/// milliseconds, so that the oldest are those that say nothing.
pub const HANDSHAKES_MAX: usize = 512;

/// The handshakes under way of one listener.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    places: Arc<Mutex<Places>>,
    most: usize,
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    taken: BTreeMap<u64, oneshot::Sender<()>>,
}

/// One handshake's place; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place {
    crowd: Crowd,
    number: u64,
    pushed_out: oneshot::Receiver<()>,
}

impl Crowd {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            places: Arc::default(),
            most,
        }
    }

    /// A place; the oldest loses its own if there are too many.
    pub(crate) fn enter(&self) -> Place {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.taken.len() >= self.most
            && let Some((_, oldest)) = places.taken.pop_first()
        {
            // It may have just finished.
            let _ = oldest.send(());
        }
        let number = places.next;
        places.next += 1;
        let (push, pushed_out) = oneshot::channel();
        places.taken.insert(number, push);
        Place {
            crowd: self.clone(),
            number,
            pushed_out,
        }
    }
}

impl Place {
    /// Waits until a newer handshake takes this place.
    pub(crate) async fn pushed_out(&mut self) {
        // The sender stays in the crowd for as long as this place is not dropped.
        let _ = (&mut self.pushed_out).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self
            .crowd
            .places
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        places.taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_makes_way() {
        let crowd = Crowd::new(2);
        let mut first = crowd.enter();
        let mut second = crowd.enter();
        let third = crowd.enter();
        first.pushed_out().await;
        assert!(second.pushed_out.try_recv().is_err());
        drop(third);
        let _fourth = crowd.enter();
        assert!(second.pushed_out.try_recv().is_err(), "there was room");
        let _fifth = crowd.enter();
        second.pushed_out().await;
    }
}
