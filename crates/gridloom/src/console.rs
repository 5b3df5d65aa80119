//! The console and its API at work: one listener, one picture of everything, an end on request.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use gridloom_host::{Listener, NetError};
use gridloom_web::{Desks, OperatorToken, Options, Snapshot};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::headend::operator_token;
use crate::topology::Timeline;

/// A bound port that nobody serves yet.
pub(crate) struct ConsolePort(Listener);

impl ConsolePort {
    /// Binds it.
    pub(crate) async fn bind(address: &str) -> Result<Self, NetError> {
        Listener::bind("--console", address).await.map(Self)
    }

    /// Where it is.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

/// The operator's token of a data directory, and where it lies.
pub(crate) struct Token {
    secret: OperatorToken,
    /// The file that holds it.
    pub(crate) path: PathBuf,
}

impl Token {
    /// Reads the token, or makes one.
    pub(crate) fn of(data: &Path) -> anyhow::Result<Self> {
        let (secret, path) = operator_token(data)?;
        Ok(Self { secret, path })
    }
}

/// A console that is being served.
pub(crate) struct Console {
    publish: watch::Sender<Arc<Snapshot>>,
    stop: watch::Sender<bool>,
    web: JoinHandle<std::io::Result<()>>,
    timeline: Timeline,
}

impl Console {
    /// Serves the console, beginning with the picture `first`; the part of the API that has no
    /// desk is answered 404.
    pub(crate) fn start(port: ConsolePort, token: Token, desks: Desks, first: Snapshot) -> Self {
        let (publish, snapshots) = watch::channel(Arc::new(first));
        let (stop, mut stopped) = watch::channel(false);
        let until = async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let options = Options {
            operator_token: Some(token.secret),
            ..Options::default()
        };
        let socket = port.0.into_socket();
        let web = tokio::spawn(gridloom_web::serve_desks(
            socket, snapshots, options, desks, until,
        ));
        Self {
            publish,
            stop,
            web,
            timeline: Timeline::default(),
        }
    }

    /// Shows a newer picture.
    pub(crate) fn show(&mut self, mut snapshot: Snapshot) {
        let (at, speed) = (snapshot.now, snapshot.speed);
        self.timeline.look_at(at, speed, &mut snapshot.network);
        self.publish.send_replace(Arc::new(snapshot));
    }

    /// Waits until the console has stopped by itself, and says why.
    pub(crate) async fn failed(&mut self) -> anyhow::Result<()> {
        (&mut self.web)
            .await
            .context("the console's task failed")??;
        bail!("the console has stopped by itself")
    }

    /// Ends it; what is under way is answered.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let _ = self.stop.send(true);
        self.web.await.context("the console's task failed")??;
        Ok(())
    }
}
