//! What holds for any bytes, one function per decoder. The fuzz targets and the corpus replay
//! run the same ones.

use std::time::Duration;

use gridloom_core::{Instant, SystemTitle};
use gridloom_dlms::apdu::{Apdu, InvokeId};
use gridloom_dlms::axdr::{Data, ELEMENTS_MAX};
use gridloom_dlms::charge::{ChargeTable, ENTRIES_MAX};
use gridloom_dlms::hdlc::{
    self, Address, ClientLink, ClientLinkConfig, ClientLinkOutput, ServerLink, ServerLinkConfig,
    ServerLinkOutput,
};
use gridloom_dlms::push::IntervalPush;
use gridloom_dlms::security::{CipherContext, CipheredApdu, Keys, Policy, Protection};
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

/// Whatever decodes can be written, and is the same when read again.
pub(crate) fn push(bytes: &[u8]) {
    if let Ok(push) = IntervalPush::decode(bytes) {
        let mut out = Vec::new();
        push.encode(&mut out).expect("what is read can be written");
        assert_eq!(IntervalPush::decode(&out), Ok(push));
    }
}
