//! A client in conversation with a bench's meter: the real protocol on both sides.

use std::time::Duration;

use super::{Bench, METER, Restless, config, keys, time};
use gridloom_core::{ObisCode, Period, Seed, SystemTitle, UtcTime};
use gridloom_dlms::apdu::{
    AttributeDescriptor, DataAccessResult, MethodDescriptor, SelectiveAccess,
};
use gridloom_dlms::association::{Conformance, Secret};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{
    Authentication, Ciphering, Client, ClientConfig, ClientError, ClientOutput, ReleaseForm,
    Request, Response, ServiceForm,
};
use gridloom_dlms::counter::{ReceiveCounter, TransmitCounter};
use gridloom_dlms::datetime::CosemDateTime;
use gridloom_dlms::security::{KeyEncryptionKey, Keys, Policy, SecurityControl, SecuritySuite};
use gridloom_dlms::selection::{CaptureObject, RangeDescriptor};
use gridloom_field::Client as Role;
use gridloom_field::meter::ConnectionId;
use gridloom_field::{ClientAccess, MeterConfig};

pub(crate) const PERIOD: Period = Period::QUARTER_HOUR;
pub(crate) const HEAD_END: SystemTitle = SystemTitle(*b"GLMhead1");
pub(crate) const PASSWORD: &[u8] = b"a-reader";
pub(crate) const LINE: ConnectionId = ConnectionId(7);

pub(crate) const CLOCK: (u16, [u8; 6]) = (8, [0, 0, 1, 0, 0, 255]);
pub(crate) const COUNTER: (u16, [u8; 6]) = (1, [0, 0, 43, 1, 0, 255]);
pub(crate) const NAME: (u16, [u8; 6]) = (1, [0, 0, 42, 0, 0, 255]);
pub(crate) const ASSOCIATION: (u16, [u8; 6]) = (15, [0, 0, 40, 0, 0, 255]);
pub(crate) const IMPORT: (u16, [u8; 6]) = (3, [1, 0, 1, 8, 0, 255]);
pub(crate) const BLOCK: (u16, [u8; 6]) = (7, [1, 0, 99, 1, 0, 255]);
pub(crate) const DAILY: (u16, [u8; 6]) = (7, [1, 0, 99, 2, 0, 255]);
pub(crate) const BILLING: (u16, [u8; 6]) = (7, [1, 0, 98, 1, 0, 255]);
pub(crate) const SWITCH: (u16, [u8; 6]) = (70, [0, 0, 96, 3, 10, 255]);
pub(crate) const SWITCH_SCRIPTS: (u16, [u8; 6]) = (9, [0, 0, 10, 0, 106, 255]);
pub(crate) const LIMITER: (u16, [u8; 6]) = (71, [0, 0, 17, 0, 0, 255]);
pub(crate) const CALENDAR: (u16, [u8; 6]) = (20, [0, 0, 13, 0, 0, 255]);
pub(crate) const SECURITY: (u16, [u8; 6]) = (64, [0, 0, 43, 0, 0, 255]);

pub(crate) fn configured() -> MeterConfig {
    MeterConfig {
        access: ClientAccess {
            master: Some(KeyEncryptionKey::new([0x77; 16])),
            ..ClientAccess::default()
        }
        .with_password(Role::Reader, PASSWORD),
        ..config(1, PERIOD)
    }
}

pub(crate) fn load() -> Box<Restless> {
    Box::new(Restless(Seed::new(1)))
}

/// A meter that has run from New Year to `until`.
pub(crate) fn bench(until: &str) -> Bench {
    let mut bench = Bench::new(configured(), load(), "2013-01-01T00:00:00Z");
    bench.settle();
    bench.run_until(time(until));
    bench
}

pub(crate) fn attribute((class_id, name): (u16, [u8; 6]), attribute: i8) -> AttributeDescriptor {
    AttributeDescriptor {
        class_id,
        instance: ObisCode(name),
        attribute,
    }
}

/// A client's counters, which outlive its sessions.
pub(crate) struct Counters {
    pub(crate) transmit: TransmitCounter,
    pub(crate) receive: ReceiveCounter,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            transmit: TransmitCounter::new(),
            receive: ReceiveCounter::new(),
        }
    }
}

pub(crate) fn client_config(role: Role) -> ClientConfig {
    client_config_with(role, keys())
}

pub(crate) fn client_config_with(role: Role, keys: Keys) -> ClientConfig {
    ClientConfig {
        client: role.sap(),
        server: 1,
        authentication: match role {
            Role::Public => Authentication::None,
            Role::Reader => Authentication::Lls(Secret::new(PASSWORD)),
            Role::Management => Authentication::Gmac,
        },
        ciphering: (role == Role::Management).then(|| Ciphering {
            suite: SecuritySuite::Suite0,
            keys,
            title: HEAD_END,
            server_title: Some(METER),
            dedicated_key: None,
            form: ServiceForm::Service,
            control: SecurityControl::AUTHENTICATED_ENCRYPTED,
            policy: Policy::AuthenticatedEncryption,
        }),
        max_pdu: 512,
        conformance: Conformance::STANDARD,
        release: ReleaseForm::Full,
        answer_timeout: Duration::from_secs(10),
        attempts: 1,
    }
}

/// One client on one connection to a bench's meter.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) sap: u16,
    /// APDUs the client sent.
    pub(crate) sent: usize,
    /// The APDUs themselves.
    pub(crate) said: Vec<Vec<u8>>,
    pub(crate) ended: Vec<ClientOutput>,
    /// What the meter said unasked, believed.
    pub(crate) notified: Vec<Vec<u8>>,
}

impl Session {
    pub(crate) fn new(config: ClientConfig, counters: Counters) -> Self {
        Self {
            sap: config.client,
            client: Client::new(config, counters.transmit, counters.receive),
            sent: 0,
            said: Vec::new(),
            ended: Vec::new(),
            notified: Vec::new(),
        }
    }

    /// Opens the association, or says why it did not stand.
    pub(crate) fn open(
        bench: &mut Bench,
        config: ClientConfig,
        counters: Counters,
    ) -> Result<Self, ClientError> {
        let mut session = Self::new(config, counters);
        session.client.open(&[0x5A; 16], bench.now.instant);
        session.talk(bench);
        match session.ended.pop() {
            Some(ClientOutput::Opened { .. }) => Ok(session),
            Some(ClientOutput::Failed(error)) => Err(error),
            other => panic!("neither open nor failed: {other:?}"),
        }
    }

    pub(crate) fn role(bench: &mut Bench, role: Role) -> Self {
        Self::open(bench, client_config(role), Counters::new()).expect("an association")
    }

    /// Carries APDUs to and fro until nothing moves.
    pub(crate) fn talk(&mut self, bench: &mut Bench) {
        loop {
            let Some(output) = self.client.poll_output() else {
                let Some((connection, client, apdu)) = bench.answers.pop_front() else {
                    return;
                };
                assert_eq!((connection, client), (LINE, self.sap));
                self.client.handle_apdu(&apdu, bench.now.instant);
                continue;
            };
            match output {
                ClientOutput::Send(apdu) => {
                    self.sent += 1;
                    self.said.push(apdu.clone());
                    bench
                        .meter
                        .handle_client_apdu(LINE, self.sap, &apdu, bench.now);
                    bench.settle();
                }
                ClientOutput::Reserve(upper) => self.client.handle_reserved(upper),
                ClientOutput::Progress { .. } => {}
                ClientOutput::Notified(apdu) => self.notified.push(apdu),
                other @ (ClientOutput::Opened { .. }
                | ClientOutput::Answered(_)
                | ClientOutput::Released
                | ClientOutput::Failed(_)) => self.ended.push(other),
            }
        }
    }

    pub(crate) fn ask(
        &mut self,
        bench: &mut Bench,
        request: Request,
    ) -> Result<Response, ClientError> {
        self.client.request(request, bench.now.instant);
        self.talk(bench);
        match self.ended.pop() {
            Some(ClientOutput::Answered(answer)) => answer,
            other => panic!("no answer but {other:?}"),
        }
    }

    pub(crate) fn get(
        &mut self,
        bench: &mut Bench,
        asked: AttributeDescriptor,
    ) -> Result<Data, ClientError> {
        self.get_part(bench, asked, None)
    }

    pub(crate) fn get_part(
        &mut self,
        bench: &mut Bench,
        asked: AttributeDescriptor,
        access: Option<SelectiveAccess>,
    ) -> Result<Data, ClientError> {
        let request = Request::Get {
            attribute: asked,
            access,
        };
        let answer = self.ask(bench, request)?;
        let Response::Value(value) = answer else {
            panic!("no value but {answer:?}");
        };
        Ok(value)
    }

    pub(crate) fn set(
        &mut self,
        bench: &mut Bench,
        asked: AttributeDescriptor,
        value: Data,
    ) -> Result<Response, ClientError> {
        let request = Request::Set {
            attribute: asked,
            access: None,
            value,
        };
        self.ask(bench, request)
    }

    pub(crate) fn invoke(
        &mut self,
        bench: &mut Bench,
        (class_id, name): (u16, [u8; 6]),
        method: i8,
        parameters: Data,
    ) -> Result<Response, ClientError> {
        let method = MethodDescriptor {
            class_id,
            instance: ObisCode(name),
            method,
        };
        let parameters = Some(parameters);
        self.ask(bench, Request::Invoke { method, parameters })
    }

    pub(crate) fn release(mut self, bench: &mut Bench) -> Counters {
        self.client.release(bench.now.instant);
        self.talk(bench);
        assert!(
            matches!(self.ended.pop(), Some(ClientOutput::Released)),
            "released"
        );
        let (transmit, receive) = self.client.counters();
        Counters {
            transmit: transmit.clone(),
            receive: *receive,
        }
    }
}

pub(crate) fn rows(data: Data) -> Vec<Vec<Data>> {
    let Data::Array(rows) = data else {
        panic!("no array: {data:?}");
    };
    rows.into_iter()
        .map(|row| {
            let Data::Structure(values) = row else {
                panic!("no row: {row:?}");
            };
            values
        })
        .collect()
}

pub(crate) fn moment(value: &Data) -> UtcTime {
    let Data::OctetString(bytes) = value else {
        panic!("no time: {value:?}");
    };
    let written = CosemDateTime::decode(bytes).expect("twelve bytes");
    written.to_utc().expect("a moment")
}

pub(crate) fn date_time(text: &str) -> Data {
    let written = CosemDateTime::from_utc(time(text)).expect("a whole time");
    Data::OctetString(written.to_bytes().to_vec())
}

pub(crate) fn by_time(from: &str, to: &str, selected: Vec<CaptureObject>) -> SelectiveAccess {
    RangeDescriptor {
        restricting: capture(CLOCK, 2),
        from: date_time(from),
        to: date_time(to),
        selected,
    }
    .to_access()
}

pub(crate) fn capture((class_id, name): (u16, [u8; 6]), attribute: i8) -> CaptureObject {
    CaptureObject {
        class_id,
        instance: ObisCode(name),
        attribute,
        data_index: 0,
    }
}

pub(crate) fn refused(answer: Result<impl std::fmt::Debug, ClientError>) -> DataAccessResult {
    match answer {
        Err(ClientError::Object(result, _)) => result,
        other => panic!("not refused: {other:?}"),
    }
}
