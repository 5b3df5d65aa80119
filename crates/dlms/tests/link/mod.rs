//! A client and a server on one link without loss, and what a test may do to it.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod ring;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Instant, ObisCode, SystemTitle};
use gridloom_dlms::apdu::{
    ActionResult, AttributeDescriptor, DataAccessResult, MethodDescriptor, SelectiveAccess,
};
use gridloom_dlms::association::{Conformance, Mechanism, Secret};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{
    Authentication, Ciphering, Client, ClientConfig, ClientError, ClientOutput, ReleaseForm,
    Request, Response, ServiceForm,
};
use gridloom_dlms::counter::{ReceiveCounter, TransmitCounter};
use gridloom_dlms::security::{
    CertificateType, CipherContext, CipheredForm, KeyEncryptionKey, Keys, Policy, PolicyBits,
    SecurityControl, SecuritySuite,
};
use gridloom_dlms::server::{
    AssociationPolicy, Caller, DeviceSecurity, KeyKind, LogicalDevice, SecurityDesk, Server,
    ServerConfig,
};

pub(crate) const METER: SystemTitle = SystemTitle(*b"MMM\0\0\xBCaN");
pub(crate) const HEAD_END: SystemTitle = SystemTitle(*b"GLM\0\0\0\0\x01");
pub(crate) const GUEK: [u8; 16] = [0x11; 16];
pub(crate) const GAK: [u8; 16] = [0xA7; 16];
pub(crate) const MASTER: [u8; 16] = [0x4D; 16];
pub(crate) const DEDICATED: [u8; 16] = [0xDE; 16];
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) const PUBLIC: u16 = 16;
pub(crate) const READER: u16 = 32;
pub(crate) const MANAGER: u16 = 1;
/// Admitted by SHA-256.
pub(crate) const HASHER: u16 = 2;

/// The register that every test reads: 1 kWh.
pub(crate) const ENERGY: AttributeDescriptor = attribute(3, [1, 0, 1, 8, 0, 255], 2);
/// An octet string as long as the test wants.
pub(crate) const LONG: AttributeDescriptor = attribute(1, [0, 0, 96, 1, 0, 255], 2);
/// Nobody may touch it.
pub(crate) const SECRET: AttributeDescriptor = attribute(1, [0, 0, 96, 99, 0, 255], 2);
/// Gives its parameters back.
pub(crate) const ECHO: MethodDescriptor = MethodDescriptor {
    class_id: 9,
    instance: ObisCode([0, 0, 10, 0, 0, 255]),
    method: 1,
};
pub(crate) const KEY_TRANSFER: MethodDescriptor = MethodDescriptor {
    class_id: 64,
    instance: ObisCode([0, 0, 43, 0, 0, 255]),
    method: 2,
};

/// A method of the security setup.
pub(crate) const fn security_setup(method: i8) -> MethodDescriptor {
    MethodDescriptor {
        class_id: 64,
        instance: ObisCode([0, 0, 43, 0, 0, 255]),
        method,
    }
}
pub(crate) const KEY_AGREEMENT: MethodDescriptor = security_setup(3);

pub(crate) const fn attribute(class_id: u16, obis: [u8; 6], attribute: i8) -> AttributeDescriptor {
    AttributeDescriptor {
        class_id,
        instance: ObisCode(obis),
        attribute,
    }
}

/// A meter of a few attributes.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) values: BTreeMap<AttributeDescriptor, Data>,
    pub(crate) callers: Vec<Caller>,
    pub(crate) accesses: Vec<SelectiveAccess>,
}

impl Device {
    pub(crate) fn new() -> Self {
        Self {
            values: BTreeMap::from([
                (ENERGY, Data::DoubleLongUnsigned(1_000)),
                (LONG, Data::OctetString(octets(3_000))),
            ]),
            callers: Vec::new(),
            accesses: Vec::new(),
        }
    }
}

pub(crate) fn octets(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from(i % 251).expect("below 251"))
        .collect()
}

impl LogicalDevice for Device {
    fn get(
        &mut self,
        caller: &Caller,
        attribute: AttributeDescriptor,
        access: Option<&SelectiveAccess>,
    ) -> Result<Data, DataAccessResult> {
        self.callers.push(*caller);
        self.accesses.extend(access.cloned());
        if attribute == SECRET {
            return Err(DataAccessResult::ReadWriteDenied);
        }
        self.values
            .get(&attribute)
            .cloned()
            .ok_or(DataAccessResult::ObjectUndefined)
    }

    fn set(
        &mut self,
        caller: &Caller,
        attribute: AttributeDescriptor,
        access: Option<&SelectiveAccess>,
        value: &Data,
    ) -> Result<(), DataAccessResult> {
        self.get(caller, attribute, access)?;
        self.values.insert(attribute, value.clone());
        Ok(())
    }

    fn invoke(
        &mut self,
        caller: &Caller,
        method: MethodDescriptor,
        parameters: Option<&Data>,
    ) -> Result<Option<Data>, ActionResult> {
        self.callers.push(*caller);
        if method == ECHO {
            Ok(parameters.cloned())
        } else {
            Err(ActionResult::ObjectUndefined)
        }
    }

    fn admits_keys(
        &mut self,
        caller: &Caller,
        method: MethodDescriptor,
    ) -> Result<(), ActionResult> {
        if [KEY_TRANSFER, KEY_AGREEMENT].contains(&method) && caller.client == MANAGER {
            Ok(())
        } else {
            Err(ActionResult::ReadWriteDenied)
        }
    }

    fn invoke_security(
        &mut self,
        caller: &Caller,
        method: MethodDescriptor,
        parameters: Option<&Data>,
        desk: &mut SecurityDesk<'_>,
    ) -> Result<Option<Data>, ActionResult> {
        self.callers.push(*caller);
        match (method.class_id, method.method, parameters) {
            (64, 1, Some(Data::Enum(bits))) => {
                let policy = PolicyBits::new(*bits).ok_or(ActionResult::OtherReason)?;
                desk.activate(policy).map(|()| None)
            }
            (64, 4, Some(pair)) => {
                let kind = CertificateType::from_key_pair_data(pair)
                    .map_err(|_| ActionResult::TypeUnmatched)?;
                desk.generate_key_pair(kind).map(|_| None)
            }
            (64, 5, Some(pair)) => {
                let kind = CertificateType::from_key_pair_data(pair)
                    .map_err(|_| ActionResult::TypeUnmatched)?;
                let request = desk.certificate_request(kind)?;
                Ok(Some(Data::OctetString(request)))
            }
            (15, 2, Some(Data::OctetString(secret))) => desk.change_secret(secret).map(|()| None),
            _ => Err(ActionResult::ObjectUndefined),
        }
    }
}

/// Both sides.
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) server: Server,
    pub(crate) device: Device,
    pub(crate) security: DeviceSecurity,
    pub(crate) sap: u16,
    pub(crate) now: Instant,
    /// Every APDU of the client and of the server.
    pub(crate) asked: Vec<Vec<u8>>,
    pub(crate) answered: Vec<Vec<u8>>,
    draws: u8,
}

impl Link {
    pub(crate) fn new(
        config: ClientConfig,
        policies: Vec<AssociationPolicy>,
        max_pdu: u16,
    ) -> Self {
        let sap = config.client;
        Self {
            client: Client::new(config, TransmitCounter::new(), ReceiveCounter::new()),
            server: Server::new(Arc::new(ServerConfig {
                associations: policies,
                max_pdu,
            })),
            device: Device::new(),
            security: DeviceSecurity::new(METER, Keys::new(GUEK, GAK), TransmitCounter::new())
                .with_master(KeyEncryptionKey::new(MASTER))
                .with_secret(READER, Secret::new(*b"12345678"))
                .with_secret(HASHER, Secret::new(*b"a shared secret")),
            sap,
            now: Instant::ZERO,
            asked: Vec::new(),
            answered: Vec::new(),
            draws: 0,
        }
    }

    /// The link of a kind of client to a meter that admits all kinds.
    pub(crate) fn of(config: ClientConfig) -> Self {
        Self::new(config, policies(), 1_024)
    }

    /// Asks for one method.
    pub(crate) fn invoke(
        &mut self,
        method: MethodDescriptor,
        parameters: Data,
    ) -> Result<Response, ClientError> {
        let parameters = Some(parameters);
        self.request(Request::Invoke { method, parameters })
    }

    /// Gives the server one APDU.
    pub(crate) fn ask(&mut self, apdu: &[u8]) -> Option<Vec<u8>> {
        if let Some(upper) = self.security.reservation_due() {
            self.security.reserved(upper);
        }
        self.asked.push(apdu.to_vec());
        let draws = &mut self.draws;
        let answer = self.server.handle_apdu(
            self.sap,
            apdu,
            &mut self.device,
            &mut self.security,
            &mut |challenge| {
                *draws += 1;
                challenge.fill(*draws);
            },
        );
        self.answered.extend(answer.clone());
        answer
    }

    /// Drains the client, all reservations being durable at once.
    pub(crate) fn drain(&mut self) -> Vec<ClientOutput> {
        let mut outputs = Vec::new();
        loop {
            let mut reserve = None;
            while let Some(output) = self.client.poll_output() {
                if let ClientOutput::Reserve(upper) = output {
                    reserve = Some(upper);
                } else {
                    outputs.push(output);
                }
            }
            match reserve {
                Some(upper) => self.client.handle_reserved(upper),
                None => return outputs,
            }
        }
    }

    /// Carries APDUs both ways, `spoil`ing answers, until nobody says anything. `None` loses one.
    pub(crate) fn run_with(
        &mut self,
        spoil: &mut dyn FnMut(Vec<u8>) -> Option<Vec<u8>>,
    ) -> Vec<ClientOutput> {
        let mut events = Vec::new();
        let mut outputs = VecDeque::from(self.drain());
        while let Some(output) = outputs.pop_front() {
            if let ClientOutput::Send(apdu) = output {
                if let Some(answer) = self.ask(&apdu).and_then(&mut *spoil) {
                    self.client.handle_apdu(&answer, self.now);
                    outputs.extend(self.drain());
                }
            } else {
                events.push(output);
            }
        }
        events
    }

    pub(crate) fn run(&mut self) -> Vec<ClientOutput> {
        self.run_with(&mut Some)
    }

    /// Lets time pass until the client has nothing to wait for.
    pub(crate) fn run_out(&mut self) -> Vec<ClientOutput> {
        let mut events = Vec::new();
        while let Some((deadline, _)) = self.client.wake() {
            self.now = deadline;
            self.client.handle_timeout(deadline);
            events.extend(self.run());
        }
        events
    }

    pub(crate) fn open(&mut self) -> Vec<ClientOutput> {
        self.client.open(&[0xC5; 32], self.now);
        self.run()
    }

    pub(crate) fn request(&mut self, request: Request) -> Result<Response, ClientError> {
        self.client.request(request, self.now);
        let mut events = self.run();
        events.retain(|event| !matches!(event, ClientOutput::Progress { .. }));
        match events.as_slice() {
            [ClientOutput::Answered(result)] => result.clone(),
            other => panic!("one answer wanted: {other:?}"),
        }
    }

    pub(crate) fn get(&mut self, attribute: AttributeDescriptor) -> Result<Response, ClientError> {
        self.request(Request::Get {
            attribute,
            access: None,
        })
    }

    pub(crate) fn release(&mut self) -> Vec<ClientOutput> {
        self.client.release(self.now);
        self.run()
    }

    pub(crate) fn last_answer(&self) -> &[u8] {
        self.answered.last().expect("the server has answered")
    }
}

pub(crate) fn policy(client: u16, mechanism: Mechanism, ciphered: bool) -> AssociationPolicy {
    AssociationPolicy {
        client,
        mechanism,
        ciphered,
        policy: Policy::AuthenticatedEncryption,
        conformance: Conformance::STANDARD,
    }
}

pub(crate) fn policies() -> Vec<AssociationPolicy> {
    vec![
        policy(PUBLIC, Mechanism::None, false),
        policy(READER, Mechanism::Lls, false),
        policy(READER, Mechanism::Lls, true),
        policy(MANAGER, Mechanism::Gmac, true),
        policy(HASHER, Mechanism::Sha256, true),
    ]
}

pub(crate) fn config(client: u16, authentication: Authentication) -> ClientConfig {
    ClientConfig {
        client,
        server: 1,
        authentication,
        ciphering: None,
        max_pdu: 1_024,
        conformance: Conformance::STANDARD,
        release: ReleaseForm::Full,
        answer_timeout: TIMEOUT,
        attempts: 1,
    }
}

pub(crate) fn public() -> ClientConfig {
    config(PUBLIC, Authentication::None)
}

pub(crate) fn reader() -> ClientConfig {
    config(READER, Authentication::Lls(Secret::new(*b"12345678")))
}

pub(crate) fn ciphering() -> Ciphering {
    Ciphering {
        keys: Keys::new(GUEK, GAK),
        suite: SecuritySuite::Suite0,
        title: HEAD_END,
        server_title: None,
        dedicated_key: None,
        form: ServiceForm::Service,
        control: SecurityControl::AUTHENTICATED_ENCRYPTED,
        policy: Policy::AuthenticatedEncryption,
    }
}

pub(crate) fn ciphered_reader() -> ClientConfig {
    ClientConfig {
        ciphering: Some(ciphering()),
        ..reader()
    }
}

pub(crate) fn manager() -> ClientConfig {
    ClientConfig {
        ciphering: Some(ciphering()),
        ..config(MANAGER, Authentication::Gmac)
    }
}

/// With a dedicated key, or in the general form, or both.
pub(crate) fn manager_with(form: ServiceForm, dedicated: bool) -> ClientConfig {
    ClientConfig {
        ciphering: Some(Ciphering {
            form,
            dedicated_key: dedicated.then(|| Secret::new(DEDICATED)),
            ..ciphering()
        }),
        ..manager()
    }
}

pub(crate) fn is_opened(events: &[ClientOutput]) -> bool {
    matches!(events, [ClientOutput::Opened { .. }])
}

/// Reads [`ENERGY`], in plaintext.
pub(crate) const GET_ENERGY: &[u8] = b"\xC0\x01\x41\x00\x03\x01\x00\x01\x08\x00\xFF\x02\x00";

/// A request or answer as somebody with `keys` seals it.
pub(crate) fn seal(
    keys: &Keys,
    title: SystemTitle,
    counter: u32,
    control: SecurityControl,
    form: CipheredForm,
    plain: &[u8],
) -> Vec<u8> {
    let context = CipherContext::new(keys);
    let protection = context.protection(control, title, counter);
    let mut out = Vec::new();
    context.protect_as(form, protection, plain, &mut out);
    out
}

pub(crate) fn glo(counter: u32, control: SecurityControl, plain: &[u8]) -> Vec<u8> {
    let keys = Keys::new(GUEK, GAK);
    seal(
        &keys,
        HEAD_END,
        counter,
        control,
        CipheredForm::ServiceGlobal,
        plain,
    )
}

pub(crate) fn from_meter(counter: u32, plain: &[u8]) -> Vec<u8> {
    let full = SecurityControl::AUTHENTICATED_ENCRYPTED;
    let keys = Keys::new(GUEK, GAK);
    seal(
        &keys,
        METER,
        counter,
        full,
        CipheredForm::ServiceGlobal,
        plain,
    )
}

pub(crate) fn opened(config: ClientConfig) -> Link {
    let mut link = Link::of(config);
    assert!(is_opened(&link.open()));
    link
}

pub(crate) fn last_counter(security: &DeviceSecurity) -> Option<u32> {
    security
        .receive_counters()
        .find(|(title, kind, _)| (*title, *kind) == (HEAD_END, KeyKind::Unicast))
        .and_then(|(.., counter)| counter.last())
}
