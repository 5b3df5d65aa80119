//! What holds for any bytes, one function per decoder. The fuzz targets and the corpus replay
//! run the same ones.

use gridloom_core::SystemTitle;
use gridloom_dlms::apdu::{Apdu, InvokeId};
use gridloom_dlms::axdr::{Data, ELEMENTS_MAX};
use gridloom_dlms::charge::{ChargeTable, ENTRIES_MAX};
use gridloom_dlms::push::IntervalPush;
use gridloom_dlms::security::{
    AgreementScheme, Certificate, CertificateRequest, CipherContext, CipheredApdu, Curve,
    GeneralCiphering, GeneralSigning, KeyEncryptionKey, KeyInfo, Keys, Parties, Policy, PrivateKey,
    Protection, SecurityError, SecuritySuite, SymmetricKey,
};
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
