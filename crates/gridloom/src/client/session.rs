//! One association with one meter, with its counters kept.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::Context;
use gridloom_core::{Instant, ObisCode, SystemTitle};
use gridloom_dlms::apdu::{AttributeDescriptor, MethodDescriptor, SelectiveAccess};
use gridloom_dlms::association::{Conformance, Secret};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{
    Authentication, Client, ClientConfig, ClientError, ClientKeys, Request, Response,
};
use gridloom_dlms::counter::{ReceiveCounter, TransmitCounter};
use gridloom_host::{ClientRoute, ClientSession, ClientTransport, Clock, SessionError, entropy};

use super::counters::CounterFile;
use super::options::{MeterOptions, Plan};
use crate::usage::usage;

/// Bytes of a challenge: enough for every mechanism.
const CHALLENGE_LEN: usize = 32;

/// The invocation counters that meters show the public client, in the order in which they are
/// tried: makers number them by key or by client.
const COUNTERS: [[u8; 6]; 2] = [[0, 0, 43, 1, 0, 255], [0, 0, 43, 1, 1, 255]];

type Reserve = Box<dyn FnMut(u32) -> Result<(), String>>;

/// An association that stands.
pub(crate) struct MeterSession {
    session: ClientSession<Reserve>,
    counters: Option<Rc<RefCell<CounterFile>>>,
    meter: Option<SystemTitle>,
    clock: Clock,
}

/// Runs `work` on an association with the meter that `options` describe, and releases it.
pub(crate) fn run_on<T>(
    options: &MeterOptions,
    work: impl AsyncFnOnce(&mut MeterSession) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let plan = usage(options.plan())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(async {
        let mut meter = MeterSession::open(options, &plan).await?;
        let worked = tokio::select! {
            worked = work(&mut meter) => worked,
            signal = tokio::signal::ctrl_c() => {
                Err(signal.map_or_else(Into::into, |()| anyhow::anyhow!("interrupted")))
            }
        };
        let kept = meter.close().await;
        let value = worked?;
        kept?;
        Ok(value)
    })
}

impl MeterSession {
    /// Connects and associates. A counter that the meter refuses is healed once, if the meter
    /// shows it to the public client.
    async fn open(options: &MeterOptions, plan: &Plan) -> anyhow::Result<Self> {
        let clock = Clock::realtime();
        let counters = match &plan.config.ciphering {
            Some(ciphering) => {
                let path = match &plan.counter_file {
                    Some(path) => path.clone(),
                    None => CounterFile::default_path(ciphering.title, &ciphering.keys)?,
                };
                Some(Rc::new(RefCell::new(CounterFile::open(&path)?)))
            }
            None => None,
        };
        match Self::attempt(plan, counters.clone(), clock.clone()).await {
            Ok(session) => Ok(session),
            Err(error) => {
                let refused = matches!(error.client(), Some(ClientError::Counter { .. }));
                let Some(counters) = counters.filter(|_| refused) else {
                    return Err(error.into());
                };
                eprintln!("gridloom: {error}");
                if !heal(options, &counters, clock.clone()).await? {
                    return Err(error.into());
                }
                Ok(Self::attempt(plan, Some(counters), clock).await?)
            }
        }
    }

    async fn attempt(
        plan: &Plan,
        counters: Option<Rc<RefCell<CounterFile>>>,
        clock: Clock,
    ) -> Result<Self, SessionError> {
        let mut config = plan.config.clone();
        let mut meter = None;
        if let Some(ciphering) = &mut config.ciphering {
            meter = ciphering.server_title;
            if plan.dedicated {
                let mut key = vec![0; ciphering.keys.key_len()];
                fill(&mut key)?;
                ciphering.dedicated_key = Some(Secret::new(key));
            }
        }
        let (transmit, receive) = match &counters {
            Some(counters) => (
                counters.borrow().transmit(),
                counters.borrow().receive(meter),
            ),
            None => (TransmitCounter::new(), ReceiveCounter::new()),
        };
        let keeper = counters.clone();
        let reserve: Reserve = Box::new(move |upper| match &keeper {
            Some(counters) => {
                (counters.borrow_mut().reserve(upper)).map_err(|error| format!("{error:#}"))
            }
            None => Ok(()),
        });
        let transport = ClientTransport::connect(&plan.route, clock.clone()).await?;
        let mut client = Client::new(config, transmit, receive);
        if let Some(keys) = &plan.keys {
            let mut seed = vec![0; ClientKeys::SEED_LEN];
            fill(&mut seed)?;
            client = client.with_keys(ClientKeys {
                seed: Secret::new(seed),
                ..keys.clone()
            });
        }
        let mut session = ClientSession::new(transport, client, clock.clone(), reserve);
        let mut challenge = [0; CHALLENGE_LEN];
        fill(&mut challenge)?;
        match session.open(&challenge).await {
            Ok(opened) => Ok(Self {
                session,
                counters,
                meter: opened.server_title.or(meter),
                clock,
            }),
            Err(error) => {
                // Some meters keep half an association until they are told.
                session.release().await;
                Err(error)
            }
        }
    }

    /// Reads one attribute.
    pub(crate) async fn get(
        &mut self,
        attribute: AttributeDescriptor,
        access: Option<SelectiveAccess>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Data, SessionError> {
        let request = Request::Get { attribute, access };
        match self.session.request(request, progress).await? {
            Response::Value(value) => Ok(value),
            other @ (Response::Values(_)
            | Response::Written
            | Response::WrittenList(_)
            | Response::Invoked(_)) => Err(unexpected(&other)),
        }
    }

    /// Reads one attribute in full, without anybody watching.
    pub(crate) async fn value(
        &mut self,
        class_id: u16,
        instance: ObisCode,
        attribute: i8,
    ) -> Result<Data, SessionError> {
        let attribute = AttributeDescriptor {
            class_id,
            instance,
            attribute,
        };
        self.get(attribute, None, &mut |_| ()).await
    }

    /// Writes one attribute.
    pub(crate) async fn set(
        &mut self,
        attribute: AttributeDescriptor,
        value: Data,
    ) -> Result<(), SessionError> {
        let request = Request::Set {
            attribute,
            access: None,
            value,
        };
        match self.session.request(request, &mut |_| ()).await? {
            Response::Written => Ok(()),
            other @ (Response::Value(_)
            | Response::Values(_)
            | Response::WrittenList(_)
            | Response::Invoked(_)) => Err(unexpected(&other)),
        }
    }

    /// Invokes one method.
    pub(crate) async fn invoke(
        &mut self,
        method: MethodDescriptor,
        parameters: Option<Data>,
    ) -> Result<Option<Data>, SessionError> {
        let request = Request::Invoke { method, parameters };
        match self.session.request(request, &mut |_| ()).await? {
            Response::Invoked(data) => Ok(data),
            other @ (Response::Value(_)
            | Response::Values(_)
            | Response::Written
            | Response::WrittenList(_)) => Err(unexpected(&other)),
        }
    }

    /// The next notification within `wait`.
    pub(crate) async fn notification(
        &mut self,
        wait: std::time::Duration,
    ) -> Result<Option<Vec<u8>>, SessionError> {
        let until: Instant = self.clock.now().instant + wait;
        self.session.notification(until).await
    }

    /// Whether more can be asked after an error.
    pub(crate) const fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// The time here.
    pub(crate) fn now(&self) -> gridloom_core::UtcTime {
        self.clock.now().utc
    }

    async fn close(self) -> anyhow::Result<()> {
        let last = self.session.client().counters().1.last();
        self.session.release().await;
        if let (Some(counters), Some(meter), Some(last)) = (self.counters, self.meter, last) {
            counters.borrow_mut().believe(meter, last)?;
        }
        Ok(())
    }
}

fn unexpected(response: &Response) -> SessionError {
    let what = match response {
        Response::Value(_) => "a value",
        Response::Values(_) => "a list of values",
        Response::Written => "a confirmation",
        Response::WrittenList(_) => "a list of confirmations",
        Response::Invoked(_) => "the result of a method",
    };
    ClientError::Unexpected { what }.into()
}

fn fill(bytes: &mut [u8]) -> Result<(), SessionError> {
    entropy::fill(bytes).map_err(|error| SessionError::Reservation(error.to_string()))
}

/// Reads the meter's counter as public client and goes above it. What is read so is not
/// authenticated; it can only raise our counter, and not to where a key ends.
async fn heal(
    options: &MeterOptions,
    counters: &Rc<RefCell<CounterFile>>,
    clock: Clock,
) -> anyhow::Result<bool> {
    let route = options.public_route()?;
    let Some(heard) = read_counter(&route, clock).await else {
        eprintln!("gridloom: the meter shows its counter to no public client");
        return Ok(false);
    };
    let mut counters = counters.borrow_mut();
    let healed = counters.heal(heard)?;
    if healed {
        eprintln!(
            "gridloom: counter: the meter has heard {heard}, read from 0.0.43.1.0.255 as public \
             client; {} goes on above it",
            counters.path().display()
        );
    } else {
        eprintln!(
            "gridloom: counter: the meter has heard {heard}, which is not above ours or too \
             high to follow"
        );
    }
    Ok(healed)
}

async fn read_counter(route: &ClientRoute, clock: Clock) -> Option<u32> {
    let config = ClientConfig {
        client: 16,
        server: match route {
            ClientRoute::Tcp { server, .. } | ClientRoute::Udp { server, .. } => server.0,
            ClientRoute::HdlcTcp { link, .. } | ClientRoute::HdlcSerial { link, .. } => {
                link.server.upper()
            }
        },
        authentication: Authentication::None,
        ciphering: None,
        max_pdu: 0xFFFF,
        conformance: Conformance::STANDARD,
        release: gridloom_dlms::client::ReleaseForm::Full,
        answer_timeout: std::time::Duration::from_secs(10),
        attempts: 3,
    };
    let transport = ClientTransport::connect(route, clock.clone()).await.ok()?;
    let client = Client::new(config, TransmitCounter::new(), ReceiveCounter::new());
    let reserve: Reserve = Box::new(|_| Ok(()));
    let mut session = ClientSession::new(transport, client, clock, reserve);
    session.open(&[0; CHALLENGE_LEN]).await.ok()?;
    let mut found = None;
    for instance in COUNTERS {
        let attribute = AttributeDescriptor {
            class_id: 1,
            instance: ObisCode(instance),
            attribute: 2,
        };
        let request = Request::Get {
            attribute,
            access: None,
        };
        if let Ok(Response::Value(Data::DoubleLongUnsigned(heard))) =
            session.request(request, &mut |_| ()).await
        {
            found = Some(heard);
            break;
        }
        if !session.is_open() {
            break;
        }
    }
    session.release().await;
    found
}
