//! What happened on the links, counted.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gridloom_core::{Seed, UtcTime};
use gridloom_nodes::{LineFault, LinkId};

use crate::clock::Clock;
use crate::framing::FrameError;
use crate::throttle::LogThrottle;
use crate::tls::TlsFault;

/// Refusals that are kept for people to look at; the oldest makes way for one more.
pub const REFUSALS_MAX: usize = 64;

/// A peer that TLS kept out or cut off, or that refused us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsRefusal {
    /// When, by the system's clock.
    pub at: UtcTime,
    /// The peer's address, while it was known.
    pub peer: Option<SocketAddr>,
    /// Why.
    pub fault: TlsFault,
}

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The node or its host wanted it.
    Ours,
    /// The peer closed it.
    Theirs,
    /// The network broke it.
    Broken(std::io::ErrorKind),
    /// The peer sent what is no frame.
    Malformed(FrameError),
    /// A frame did not complete in time.
    PartialFrame,
    /// Nothing was heard in the idle bound.
    Idle,
    /// The peer reads too slowly: its queue is full.
    SlowReader,
    /// The peer is not who it says it is, or not to be trusted any more.
    Untrusted(TlsFault),
    /// The peer does not trust us.
    RefusedByPeer(TlsFault),
}

impl Ending {
    /// What a gateway tells its edge about a line that ended so; `None` if it was nobody's fault.
    pub(crate) const fn fault(&self) -> Option<LineFault> {
        match self {
            Self::PartialFrame => Some(LineFault::PartialFrame),
            Self::Malformed(_) => Some(LineFault::NoFrame),
            Self::SlowReader => Some(LineFault::SlowReader),
            // A meter has nothing to say between two intervals.
            Self::Idle
            | Self::Ours
            | Self::Theirs
            | Self::Broken(_)
            | Self::Untrusted(_)
            | Self::RefusedByPeer(_) => None,
        }
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        /// What happened on the links of a [`Net`] since the start.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct NetCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            fn read(&self) -> NetCounts {
                NetCounts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Connections accepted and served.
    accepted,
    /// Connections closed at once because their listener was full.
    refused,
    /// Accepting failed, for want of file descriptors for example.
    accept_failures,
    /// Connections dialled and served.
    dialled,
    /// Attempts to dial that failed.
    dial_failures,
    /// Links that ended, for any reason.
    ended,
    /// Links closed because the peer sent what is no frame.
    malformed,
    /// Links closed because a frame did not complete in time.
    partial_frames,
    /// Links closed because nothing was heard in the idle bound.
    idle,
    /// Links closed because the peer read too slowly.
    slow_readers,
    /// Handshakes that made a peer known.
    handshakes,
    /// Peers refused in the handshake, for any reason but time.
    tls_refused,
    /// Peers closed because the handshake took too long, or the oldest of too many made way.
    tls_silent,
    /// Links closed because their peer's certificate was revoked or ended, or is not that of
    /// whom the peer calls itself.
    untrusted,
    /// Links closed by a peer that refuses our certificate.
    refused_by_peer,
    /// Whole frames received.
    frames_in,
    /// Frames handed to the network.
    frames_out,
    /// Bytes received.
    bytes_in,
    /// Bytes handed to the network.
    bytes_out,
}

/// What all links of a process share: the clock, link numbers, counters, and a bound on log lines.
#[derive(Debug, Clone)]
pub struct Net {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    seed: Seed,
    next_link: AtomicU64,
    counters: Counters,
    refused_log: LogThrottle,
    ended_log: LogThrottle,
    dial_log: LogThrottle,
    tls_log: LogThrottle,
    refusals: Mutex<VecDeque<TlsRefusal>>,
}

impl Net {
    /// A network whose jitter is drawn from `seed`.
    pub fn new(clock: Clock, seed: Seed) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                seed: seed.child("net"),
                next_link: AtomicU64::new(1),
                counters: Counters::default(),
                refused_log: LogThrottle::default(),
                ended_log: LogThrottle::default(),
                dial_log: LogThrottle::default(),
                tls_log: LogThrottle::default(),
                refusals: Mutex::default(),
            }),
        }
    }

    /// What happened since the start.
    pub fn counts(&self) -> NetCounts {
        self.shared.counters.read()
    }

    /// The latest peers that TLS kept out or cut off, oldest first, at most [`REFUSALS_MAX`].
    pub fn tls_refusals(&self) -> Vec<TlsRefusal> {
        let refusals = self.shared.refusals.lock();
        let refusals = refusals.unwrap_or_else(PoisonError::into_inner);
        refusals.iter().cloned().collect()
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// A new link number and the seed of that link.
    pub(crate) fn next_link(&self) -> LinkId {
        LinkId(self.shared.next_link.fetch_add(1, Ordering::Relaxed))
    }

    /// A seed for the jitter of one dialer.
    pub(crate) fn dialer_seed(&self) -> Seed {
        self.shared.seed.nth(self.next_link().0)
    }

    pub(crate) fn note_refused(&self, address: SocketAddr, connections_max: usize) {
        count(&self.shared.counters.refused);
        if let Some(left_out) = self.shared.refused_log.admit(self.clock().now().instant) {
            tracing::warn!(
                %address, connections_max, left_out,
                "closed a new connection: the listener serves as many as it may"
            );
        }
    }

    pub(crate) fn note_accept_failure(&self, address: SocketAddr, error: &std::io::Error) {
        count(&self.shared.counters.accept_failures);
        if let Some(left_out) = self.shared.refused_log.admit(self.clock().now().instant) {
            tracing::warn!(
                %address, %error, left_out,
                "accepting a connection failed: raise the limit of open files if it is reached"
            );
        }
    }

    pub(crate) fn note_dial_failure(&self, target: &dyn std::fmt::Display, error: &str) {
        count(&self.shared.counters.dial_failures);
        if let Some(left_out) = self.shared.dial_log.admit(self.clock().now().instant) {
            tracing::info!(%target, error, left_out, "dialling failed, will try again");
        }
    }

    /// A handshake failed.
    pub(crate) fn note_tls_fault(&self, peer: Option<SocketAddr>, fault: &TlsFault) {
        let counters = self.counters();
        let is_silent = matches!(fault, TlsFault::TimedOut | TlsFault::CrowdedOut);
        count(if is_silent {
            &counters.tls_silent
        } else {
            &counters.tls_refused
        });
        self.tell_of_tls(peer, fault, "refused a peer");
    }

    fn tell_of_tls(&self, peer: Option<SocketAddr>, reason: &TlsFault, what: &str) {
        {
            let refusals = self.shared.refusals.lock();
            let mut refusals = refusals.unwrap_or_else(PoisonError::into_inner);
            if refusals.len() == REFUSALS_MAX {
                refusals.pop_front();
            }
            refusals.push_back(TlsRefusal {
                at: self.clock().wall(),
                peer,
                fault: reason.clone(),
            });
        }
        if let Some(left_out) = self.shared.tls_log.admit(self.clock().now().instant) {
            let peer = peer.map(tracing::field::display);
            tracing::warn!(peer, %reason, left_out, "{what}");
        }
    }

    pub(crate) fn note_ending(&self, link: LinkId, peer: Option<SocketAddr>, ending: &Ending) {
        let counters = self.counters();
        count(&counters.ended);
        let fault = match ending {
            Ending::Ours | Ending::Theirs | Ending::Broken(_) => None,
            Ending::Malformed(_) => Some(&counters.malformed),
            Ending::PartialFrame => Some(&counters.partial_frames),
            Ending::Idle => Some(&counters.idle),
            Ending::SlowReader => Some(&counters.slow_readers),
            Ending::Untrusted(reason) => {
                count(&counters.untrusted);
                self.tell_of_tls(peer, reason, "closed a link");
                return;
            }
            Ending::RefusedByPeer(reason) => {
                count(&counters.refused_by_peer);
                self.tell_of_tls(peer, reason, "a peer closed a link");
                return;
            }
        };
        let Some(fault) = fault else {
            tracing::debug!(link = link.0, ?peer, ?ending, "link ended");
            return;
        };
        count(fault);
        if let Some(left_out) = self.shared.ended_log.admit(self.clock().now().instant) {
            tracing::warn!(link = link.0, ?peer, ?ending, left_out, "closed a link");
        }
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Adds `amount`.
pub(crate) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Ordering::Relaxed);
}
