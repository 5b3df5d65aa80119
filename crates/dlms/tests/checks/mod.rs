//! What holds for any bytes, one function per decoder. The fuzz targets and the corpus replay
//! run the same ones.

use std::time::Duration;

use gridloom_core::{Instant, SystemTitle};
use gridloom_dlms::apdu::{Apdu, GeneralBlockTransfer, InvokeId, SelectiveAccess};
use gridloom_dlms::axdr::{Data, ELEMENTS_MAX};
use gridloom_dlms::charge::{ChargeTable, ENTRIES_MAX};
use gridloom_dlms::datetime::CosemDateTime;
use gridloom_dlms::gbt::{Confirmation, GbtNumbers, GbtReceived, GbtReceiver, GbtSender};
use gridloom_dlms::hdlc::{
    self, Address, ClientLink, ClientLinkConfig, ClientLinkOutput, ServerLink, ServerLinkConfig,
    ServerLinkOutput,
};
use gridloom_dlms::push::IntervalPush;
use gridloom_dlms::security::{
    AgreementScheme, Certificate, CertificateRequest, CipherContext, CipheredApdu, Curve,
    GeneralCiphering, GeneralSigning, KeyEncryptionKey, KeyInfo, Keys, Parties, Policy, PrivateKey,
    Protection, SecurityError, SecuritySuite, SymmetricKey,
};
use gridloom_dlms::selection::{EntryDescriptor, RangeDescriptor};
use gridloom_dlms::wrapper::Deframer;

/// Whatever decodes is bounded, and is the same after encoding and decoding again.
pub(crate) fn axdr(bytes: &[u8]) {
    if let Ok(value) = Data::decode(bytes) {
        assert!(count(&value) <= ELEMENTS_MAX);
        assert_eq!(Data::decode(&value.encode()), Ok(value));
    }
}

fn count(value: &Data) -> usize {
    let inner = if let Data::Array(values) | Data::Structure(values) = value {
        values
    } else if let Data::CompactArray(array) = value {
        array.elements()
    } else {
        return 1;
    };
    1 + inner.iter().map(count).sum::<usize>()
}

/// Whatever decodes is the same after encoding and decoding again; prices convert exactly.
pub(crate) fn apdu(bytes: &[u8]) {
    let Ok(apdu) = Apdu::decode(bytes) else {
        return;
    };
    let mut out = Vec::new();
    apdu.encode(&mut out);
    assert_eq!(Apdu::decode(&out).as_ref(), Ok(&apdu));
    if let Apdu::DataNotification(notification) = &apdu {
        axdr(notification.body);
    }
    if let Apdu::GetRequestNormal(request) = &apdu
        && let Some(access) = &request.access
    {
        selection(access);
    }
    if let Apdu::SetRequestNormal(request) = &apdu
        && let Ok(table) = ChargeTable::from_set_request(request)
    {
        assert!((1..=ENTRIES_MAX).contains(&table.entries.len()));
        let again = table
            .to_set_request(InvokeId::confirmed(0))
            .expect("what is read can be written");
        assert_eq!(ChargeTable::from_set_request(&again), Ok(table));
    }
}

/// What selects here is the same when written again, and never selects what is not there.
fn selection(access: &SelectiveAccess) {
    if let Ok(range) = RangeDescriptor::from_access(access) {
        assert_eq!(range.to_access(), *access);
        let _ = range.times(CosemDateTime::DEVIATION_MAX);
    }
    if let Ok(entries) = EntryDescriptor::from_access(access) {
        assert_eq!(entries.to_access(), *access);
        for count in [0, 1, 1_000] {
            assert!(entries.row_range(count).end <= count);
            assert!(entries.column_range(count).end <= count);
        }
    }
}

/// The frames and the final error do not depend on how the stream is cut.
pub(crate) fn wrapper(bytes: &[u8]) {
    let chunk = 1 + usize::from(bytes.first().copied().unwrap_or(0)) % 64;
    let frames = |chunk: usize| {
        let mut deframer = Deframer::new(1_024);
        let mut frames = Vec::new();
        for piece in bytes.chunks(chunk) {
            if deframer.push(piece).is_err() {
                break;
            }
            while let Ok(Some(frame)) = deframer.pull() {
                assert!(!frame.apdu.is_empty() && frame.apdu.len() <= 1_024);
                frames.push((frame.source, frame.destination, frame.apdu.to_vec()));
            }
        }
        (frames, deframer.pull().map(|_| ()))
    };
    assert_eq!(frames(chunk), frames(bytes.len().max(1)));
}

/// The HDLC frames do not depend on how the stream is cut, and are the same after encoding and
/// decoding again; neither end of a link panics, answers without bound or delivers too much.
pub(crate) fn hdlc(bytes: &[u8]) {
    let chunk = 1 + usize::from(bytes.first().copied().unwrap_or(0)) % 64;
    let frames = |chunk: usize| {
        let mut deframer = hdlc::Deframer::new();
        let mut frames = Vec::new();
        for piece in bytes.chunks(chunk) {
            deframer.push(piece);
            while let Some(frame) = deframer.pull() {
                let mut out = Vec::new();
                frame.encode(&mut out);
                assert_eq!(hdlc::Frame::decode(&out[1..out.len() - 1]), Ok(frame));
                frames.push(out);
            }
        }
        frames
    };
    let found = frames(chunk);
    assert_eq!(found, frames(bytes.len().max(1)));
    hdlc_server(bytes, chunk, found.len());
    hdlc_client(bytes, chunk);
}

fn hdlc_server(bytes: &[u8], chunk: usize, frames: usize) {
    let mut now = Instant::ZERO;
    let mut server = ServerLink::new(ServerLinkConfig::new(1..=300));
    let mut sent = 0;
    for piece in bytes.chunks(chunk) {
        server.handle_bytes(piece, now);
        let mut asked = Vec::new();
        while let Some(output) = server.poll_output() {
            match output {
                ServerLinkOutput::Apdu { peer, apdu } => asked.push((peer, apdu)),
                ServerLinkOutput::Transmit(_) => sent += 1,
                ServerLinkOutput::Connected(_) | ServerLinkOutput::Disconnected(_) => {}
            }
        }
        for (peer, apdu) in asked {
            assert!(!apdu.is_empty() && apdu.len() <= bytes.len());
            server.answer(peer, &[7; 300]);
            while let Some(output) = server.poll_output() {
                sent += usize::from(matches!(output, ServerLinkOutput::Transmit(_)));
            }
        }
        assert!(server.peers().count() <= hdlc::CLIENTS_MAX);
        now = now + Duration::from_millis(100);
        server.handle_timeout(now);
        while server.poll_output().is_some() {}
    }
    assert!(sent <= 2 * frames, "{sent} answers to {frames} frames");
}

fn hdlc_client(bytes: &[u8], chunk: usize) {
    let mut now = Instant::ZERO;
    let config = ClientLinkConfig::new(Address::PUBLIC_CLIENT, Address::MANAGEMENT);
    let mut client = ClientLink::new(config);
    client.connect(now);
    for piece in bytes.chunks(chunk) {
        client.handle_bytes(piece, now);
        let mut connected = false;
        while let Some(output) = client.poll_output() {
            match output {
                ClientLinkOutput::Connected(_) => connected = true,
                ClientLinkOutput::Apdu(apdu) | ClientLinkOutput::Notification(apdu) => {
                    assert!(!apdu.is_empty() && apdu.len() <= bytes.len());
                }
                ClientLinkOutput::Transmit(_) | ClientLinkOutput::Disconnected(_) => {}
            }
        }
        if connected && client.send(&[1; 300], now).is_ok() {
            while client.poll_output().is_some() {}
        }
        if let Some((at, _)) = client.wake() {
            now = now.max(at);
            client.handle_timeout(now);
            while client.poll_output().is_some() {}
        }
    }
}

/// The keys and title under which the corpus is sealed.
pub(crate) fn sealing() -> (CipherContext, SystemTitle) {
    let keys = Keys::new(*b"fuzzed unicast k", *b"fuzzed authent k");
    (CipherContext::new(&keys), SystemTitle(*b"GLM\0\0\0\0\x01"))
}

/// Nothing of an APDU that does not verify comes out; what verifies was sealed under the keys.
pub(crate) fn general_glo(bytes: &[u8]) {
    let Ok(apdu) = CipheredApdu::decode(bytes) else {
        return;
    };
    let (context, _) = sealing();
    let mut plain = vec![0xEE; 8];
    match context.open(&apdu, Policy::Authentication, &mut plain) {
        Err(_) => assert!(plain.is_empty()),
        Ok(opened) => {
            let mut sealed = Vec::new();
            let protection = Protection {
                title: apdu.title,
                counter: apdu.counter,
                control: apdu.control,
            };
            context.protect(protection, opened, &mut sealed);
            assert_eq!(CipheredApdu::decode(&sealed), Ok(apdu));
        }
    }
}

/// Everything that one side of general-ciphering holds; the corpus is made with it.
pub(crate) struct Holder {
    pub(crate) global: CipherContext,
    pub(crate) master: KeyEncryptionKey,
    /// Agrees and signs, on both sides.
    pub(crate) key: PrivateKey,
    pub(crate) parties: Parties,
}

impl Holder {
    pub(crate) fn new() -> Self {
        let keys = Keys::new(*b"fuzzed unicast k", *b"fuzzed authent k")
            .with_broadcast(SymmetricKey::short(*b"fuzzed broadcast"))
            .expect("keys of one length");
        Self {
            global: CipherContext::with_suite(&keys, SecuritySuite::Suite1)
                .expect("keys of 16 bytes"),
            master: KeyEncryptionKey::new(*b"fuzzed master ke"),
            key: PrivateKey::from_bytes(Curve::P256, b"fuzzed private key of 32 bytes..")
                .expect("a scalar"),
            parties: Parties {
                originator: SystemTitle(*b"GLM\0\0\0\0\x01"),
                recipient: SystemTitle(*b"GLM\0\0\0\0\x02"),
            },
        }
    }

    /// The context of the key that an APDU tells.
    pub(crate) fn context(
        &self,
        apdu: &GeneralCiphering<'_>,
    ) -> Result<CipherContext, SecurityError> {
        let public = self.key.public_key();
        let key = match apdu.key_info {
            None | Some(KeyInfo::Identified(_)) => return Ok(self.global.clone()),
            Some(KeyInfo::Wrapped { wrapped }) => self.master.unwrap_key(wrapped)?,
            Some(KeyInfo::Agreed {
                scheme: AgreementScheme::OnePass,
                data,
            }) => self.parties.one_pass_receive(data, &self.key, &public)?,
            Some(KeyInfo::Agreed {
                scheme: AgreementScheme::Static,
                ..
            }) => self
                .parties
                .static_key(&self.key, &public, apdu.header.transaction_id)?,
        };
        self.global.one_time(&key)
    }
}

/// Nothing of an APDU that does not verify comes out, signed or ciphered or one in the other;
/// what verifies is the same after sealing and opening again. Tells whether it came so far.
pub(crate) fn general_ciphering(bytes: &[u8]) -> bool {
    let holder = Holder::new();
    let ciphered = match GeneralSigning::decode(bytes) {
        Ok(apdu) => match apdu.verify(&holder.key.public_key()) {
            Ok(inner) => inner,
            Err(_) => return false,
        },
        Err(_) => bytes,
    };
    let Ok(apdu) = GeneralCiphering::decode(ciphered, Some(holder.parties.originator)) else {
        return false;
    };
    let Ok(context) = holder.context(&apdu) else {
        return false;
    };
    let mut plain = vec![0xEE; 8];
    match context.open(&apdu.apdu, Policy::Authentication, &mut plain) {
        Err(_) => {
            assert!(plain.is_empty());
            false
        }
        Ok(opened) => {
            let protection = Protection {
                title: apdu.apdu.title,
                counter: apdu.apdu.counter,
                control: apdu.apdu.control,
            };
            let mut sealed = Vec::new();
            let key_info = apdu.key_info.as_ref();
            context.protect_general(&apdu.header, key_info, protection, opened, &mut sealed);
            let again = GeneralCiphering::decode(&sealed, Some(holder.parties.originator))
                .expect("what is read can be written");
            assert_eq!((again.header, again.key_info), (apdu.header, apdu.key_info));
            let mut plain = Vec::new();
            let reopened = context.open(&again.apdu, Policy::Authentication, &mut plain);
            assert_eq!(reopened, Ok(opened));
            true
        }
    }
}

/// Whatever is a certificate or a request says the same when read again.
pub(crate) fn certificate(bytes: &[u8]) {
    if let Ok(certificate) = Certificate::from_der(bytes) {
        assert_eq!(certificate.as_der(), bytes);
        let _ = certificate.title();
        let (from, _) = certificate.validity();
        let _ = certificate.verify(&certificate, from);
    }
    if let Ok(request) = CertificateRequest::from_der(bytes) {
        let curve = request.public_key.curve();
        assert_eq!(request.public_key.to_bytes().len(), curve.pair_len());
    }
}

/// Whatever decodes can be written, and is the same when read again.
pub(crate) fn push(bytes: &[u8]) {
    if let Ok(push) = IntervalPush::decode(bytes) {
        let mut out = Vec::new();
        push.encode(&mut out).expect("what is read can be written");
        assert_eq!(IntervalPush::decode(&out), Ok(push));
    }
}

/// Bytes that a fuzzed receiver takes: few enough that the bound is met.
const GBT_BYTES_MAX: usize = 300;

/// The content of a block, so that any block is the same whenever it comes.
fn gbt_content(number: u16) -> Vec<u8> {
    let [_, low] = number.to_be_bytes();
    vec![low; usize::from(number % 5)]
}

/// Each three bytes are a block near the ones that have arrived, and an acknowledgement.
///
/// A receiver takes no more than its bound, and what comes whole is every block once, in order.
/// A sender ends only when every block has been acknowledged.
pub(crate) fn gbt(bytes: &[u8]) {
    if let Ok(block) = GeneralBlockTransfer::decode(bytes) {
        let mut out = Vec::new();
        block.encode(&mut out);
        assert_eq!(GeneralBlockTransfer::decode(&out), Ok(block));
    }
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let window = 1 + first % GeneralBlockTransfer::WINDOW_MAX;
    let mut receiver = GbtReceiver::with_max(window, GbtNumbers::default(), GBT_BYTES_MAX);
    let mut end = None;
    for step in rest.chunks_exact(3) {
        let near = u16::from(step[1]);
        let number = (receiver.received() + near).saturating_sub(100);
        let block = GeneralBlockTransfer {
            last: step[0] & 0x80 != 0,
            streaming: step[0] & 0x40 != 0,
            window: step[0] & 0x3F,
            number,
            acknowledged: u16::from(step[2]),
            data: gbt_content(number),
        };
        match receiver.handle_block(&block) {
            Err(_) => break,
            Ok(GbtReceived::Waiting) => {}
            Ok(GbtReceived::Acknowledge(answer)) => {
                assert_eq!(answer.acknowledged, receiver.received());
                assert!((1..=window).contains(&answer.window) && answer.number > 0);
            }
            Ok(GbtReceived::Whole { apdu, .. }) => {
                let blocks = 1..=receiver.received();
                assert_eq!(apdu, blocks.flat_map(gbt_content).collect::<Vec<_>>());
                assert_eq!(end.replace(receiver.received()), None, "whole only once");
            }
        }
        assert!(receiver.collected_len() <= GBT_BYTES_MAX);
    }

    let numbers = GbtNumbers {
        ours: u16::from(*first % 3),
        theirs: 0,
    };
    let confirmation = Confirmation::Windows { peer: window };
    let mut sender = GbtSender::new(vec![7; 100], 10, confirmation, window, numbers)
        .expect("ten blocks have numbers");
    let end = numbers.ours + 10;
    let mut highest = numbers.ours;
    for step in rest.chunks_exact(3) {
        let mut window_left = GeneralBlockTransfer::WINDOW_MAX;
        while let Some(block) = sender.poll_block() {
            window_left = window_left.checked_sub(1).expect("a window ends");
            assert!((1..=end).contains(&block.number));
            assert_eq!(block.last, block.number == end);
            highest = highest.max(block.number);
        }
        let answer = GeneralBlockTransfer {
            last: true,
            streaming: false,
            window: step[0] & 0x3F,
            number: u16::from(step[1]),
            acknowledged: u16::from(step[2] % 16),
            data: Vec::new(),
        };
        if sender.handle_acknowledgement(&answer).is_err() {
            return;
        }
        assert!(answer.acknowledged <= highest || sender.is_finished());
        if sender.is_finished() {
            assert_eq!(highest, end);
            assert_eq!(sender.poll_block(), None);
        }
    }
}
