//! A gate that shuts by itself: what a node says goes out only until a lease ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gridloom_core::Instant;

/// A gate, shut until it is opened.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<AtomicU64>);

impl Gate {
    /// Open until `end`, whatever it was before.
    pub fn open_until(&self, end: Instant) {
        self.0.store(end.as_nanos(), Ordering::SeqCst);
    }

    /// Shut.
    pub fn shut(&self) {
        self.0.store(0, Ordering::SeqCst);
    }

    pub(crate) fn is_open(&self, now: Instant) -> bool {
        now.as_nanos() < self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_shuts_when_its_time_is_over() {
        let gate = Gate::default();
        assert!(!gate.is_open(Instant::ZERO));
        let end = Instant::from_nanos(5);
        gate.clone().open_until(end);
        assert!(gate.is_open(Instant::from_nanos(4)));
        assert!(!gate.is_open(end));
        gate.shut();
        assert!(!gate.is_open(Instant::from_nanos(4)));
    }
}
