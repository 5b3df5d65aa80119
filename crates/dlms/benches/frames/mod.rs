//! Received frames, and what precedes any look at their payload, for everything that measures.

use gridloom_core::SystemTitle;
use gridloom_dlms::apdu::{DataNotification, LongInvokeId};
use gridloom_dlms::axdr::Encoder;
use gridloom_dlms::counter::ReceiveCounter;
use gridloom_dlms::security::{CipherContext, CipheredApdu, Keys, Policy, Protection};

pub(crate) const TITLE: SystemTitle = SystemTitle(*b"GLM\0\0\0\0\x01");

pub(crate) fn context() -> CipherContext {
    CipherContext::new(&Keys::new([0x5A; 16], [0xA5; 16]))
}

/// One register in a notification, with the date-time of its reading: the peers' 1-entry push.
pub(crate) fn one_entry(time: &[u8; 12]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut encoder = Encoder::new(&mut body);
    encoder.structure(3);
    encoder.octet_string(time);
    encoder.octet_string(&[1, 0, 1, 8, 0, 255]);
    encoder.double_long_unsigned(123_456);
    let mut plain = Vec::new();
    DataNotification {
        invoke_id: LongInvokeId::confirmed(1),
        time: None,
        body: &body,
    }
    .encode(&mut plain);
    plain
}

pub(crate) fn sealed(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    context().protect(Protection::full(TITLE, 7), plain, &mut out);
    out
}

/// Title, counter, tag, commit.
pub(crate) fn accept<'p>(
    context: &CipherContext,
    frame: &[u8],
    plain: &'p mut Vec<u8>,
) -> &'p [u8] {
    let mut counter = ReceiveCounter::after(6);
    let apdu = CipheredApdu::decode(frame).expect("sealed above");
    let fresh = counter.check(apdu.counter).expect("above 6");
    let plain = context
        .open(&apdu, Policy::default(), plain)
        .expect("sealed with these keys");
    counter.commit(fresh);
    plain
}
