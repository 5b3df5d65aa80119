//! Where meters push to: wrapped APDUs on TCP and in datagrams, opened with the keys given.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::SystemTitle;
use gridloom_dlms::counter::ReceiveCounter;
use gridloom_dlms::security::{CipherContext, CipheredApdu, GENERAL_GLO, Keys, Policy};
use gridloom_dlms::wrapper::{Deframer, Frame};
use gridloom_host::{Listener, NetError};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

/// Meters that may be connected; one more waits.
const CONNECTIONS_MAX: usize = 64;

/// Pushes that wait to be printed; above it, sockets are not read.
const PUSHES_MAX: usize = 256;

/// Titles whose counters are remembered; pushes of more are refused.
const TITLES_MAX: usize = 10_000;

/// The longest datagram.
const DATAGRAM_MAX: usize = 65_535;

/// A meter that says nothing for this long is hung up on.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// Listens for pushes.
pub(super) struct PushListener {
    address: SocketAddr,
    pushes: mpsc::Receiver<Vec<u8>>,
    context: Option<CipherContext>,
    counters: BTreeMap<SystemTitle, ReceiveCounter>,
}

impl PushListener {
    /// Listens at `text`; ciphered pushes are opened with `keys`.
    pub(super) async fn bind(text: &str, keys: Option<&Keys>) -> Result<Self, NetError> {
        let listener = Listener::bind("--listen", text).await?;
        let address = listener.address();
        let socket = listener.into_socket();
        let (sender, pushes) = mpsc::channel(PUSHES_MAX);
        // Where the port is taken for datagrams, streams are served all the same.
        if let Ok(datagrams) = UdpSocket::bind(address).await {
            tokio::spawn(take_datagrams(datagrams, sender.clone()));
        }
        tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
            while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                // A connection that fails before it stands is that meter's affair.
                let Ok((stream, _)) = socket.accept().await else {
                    continue;
                };
                let sender = sender.clone();
                tokio::spawn(async move {
                    take(stream, &sender).await;
                    drop(place);
                });
            }
        });
        Ok(Self {
            address,
            pushes,
            context: keys.map(CipherContext::new),
            counters: BTreeMap::new(),
        })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next push that has come: who sent it, and its plain APDU or why it is not believed.
    pub(super) fn next(&mut self) -> Option<(String, Result<Vec<u8>, String>)> {
        let apdu = self.pushes.try_recv().ok()?;
        if apdu.first() != Some(&GENERAL_GLO) {
            return Some(("plain".into(), Ok(apdu)));
        }
        let (title, opened) = match CipheredApdu::decode(&apdu) {
            Ok(ciphered) => (ciphered.title.to_string(), self.open(&ciphered)),
            Err(error) => ("unknown".into(), Err(error.to_string())),
        };
        Some((title, opened))
    }

    fn open(&mut self, ciphered: &CipheredApdu<'_>) -> Result<Vec<u8>, String> {
        let Some(context) = &self.context else {
            return Err("key: ciphered; give --ek and --ak to open it".into());
        };
        if self.counters.len() >= TITLES_MAX && !self.counters.contains_key(&ciphered.title) {
            return Err(format!("counter: {TITLES_MAX} meters are known already"));
        }
        let known = self.counters.get(&ciphered.title).copied();
        let mut counter = known.unwrap_or_default();
        let fresh = (counter.check(ciphered.counter)).map_err(|error| error.to_string())?;
        let mut plain = Vec::new();
        let opened = context
            .open(ciphered, Policy::AuthenticatedEncryption, &mut plain)
            .map_err(|error| error.to_string())?
            .to_vec();
        // Only after the tag: a forged counter must not shut the true meter out.
        counter.commit(fresh);
        self.counters.insert(ciphered.title, counter);
        Ok(opened)
    }
}

async fn take_datagrams(socket: UdpSocket, sender: mpsc::Sender<Vec<u8>>) {
    let mut datagram = vec![0; DATAGRAM_MAX];
    while let Ok(length) = socket.recv(&mut datagram).await {
        if let Ok(frame) = Frame::decode(&datagram[..length])
            && sender.send(frame.apdu.to_vec()).await.is_err()
        {
            return;
        }
    }
}

async fn take(mut stream: TcpStream, sender: &mpsc::Sender<Vec<u8>>) {
    let mut deframer = Deframer::default();
    let mut chunk = [0; 4_096];
    loop {
        let Ok(Ok(length @ 1..)) = timeout(SILENCE_MAX, stream.read(&mut chunk)).await else {
            return;
        };
        if deframer.push(&chunk[..length]).is_err() {
            return;
        }
        loop {
            match deframer.pull() {
                Ok(Some(frame)) => {
                    if sender.send(frame.apdu.to_vec()).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}
