//! Certificate signing requests (PKCS #10): a device asks for a certificate of a key that never
//! leaves it (class 64, method 5).

use gridloom_core::SystemTitle;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Any, BitString, ObjectIdentifier, SetOfVec, Utf8StringRef};
use x509_cert::der::{self, Decode as _, Encode as _};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::request::{CertReq, CertReqInfo, Version};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::certificate::{
    CERTIFICATE_LEN_MAX, CertificateError, common_name, key_algorithm, public_key,
    signature_algorithm, signed_part, title, verify_signature,
};
use super::curve::{PrivateKey, PublicKey};

/// A request that proves that the device with this title holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    /// Who asks.
    pub title: SystemTitle,
    /// For which key.
    pub public_key: PublicKey,
}

impl CertificateRequest {
    /// A request in DER, signed by the key that it is about.
    pub fn sign(title: SystemTitle, key: &PrivateKey) -> Vec<u8> {
        encode(title, key).expect("a title, a key and a signature fit into DER")
    }

    /// Reads a request in DER and verifies that whoever signed it holds the key.
    ///
    /// # Errors
    ///
    /// Bytes that are too many or no request, another kind of key, a common name that is no
    /// title, or a signature that does not verify.
    pub fn from_der(bytes: &[u8]) -> Result<Self, CertificateError> {
        if bytes.len() > CERTIFICATE_LEN_MAX {
            return Err(CertificateError::TooLong { bytes: bytes.len() });
        }
        let request = CertReq::from_der(bytes)?;
        let public_key = public_key(&request.info.public_key)?;
        verify_signature(
            &public_key,
            request.algorithm.oid,
            &bytes[signed_part(bytes)?],
            request.signature.raw_bytes(),
        )?;
        Ok(Self {
            title: title(&common_name(&request.info.subject)?)?,
            public_key,
        })
    }
}

fn encode(title: SystemTitle, key: &PrivateKey) -> Result<Vec<u8>, der::Error> {
    let public_key = key.public_key();
    let info = CertReqInfo {
        version: Version::V1,
        subject: subject(title)?,
        public_key: SubjectPublicKeyInfoOwned {
            algorithm: key_algorithm(key.curve()),
            subject_public_key: BitString::from_bytes(&public_key.to_sec1())?,
        },
        attributes: SetOfVec::new(),
    };
    let signature = key.sign_der(&info.to_der()?);
    CertReq {
        info,
        algorithm: AlgorithmIdentifierOwned {
            oid: signature_algorithm(key.curve()),
            parameters: None,
        },
        signature: BitString::from_bytes(&signature)?,
    }
    .to_der()
}

/// A distinguished name of nothing but the common name: the title in hexadecimal digits.
fn subject(title: SystemTitle) -> Result<Name, der::Error> {
    let text = title.to_string();
    let common_name = AttributeTypeAndValue {
        oid: COMMON_NAME,
        value: Any::from(Utf8StringRef::new(&text)?),
    };
    let mut relative = RelativeDistinguishedName::default();
    relative.insert(common_name)?;
    let mut names = RdnSequence::default();
    names.push(relative);
    Name::from_der(&names.to_der()?)
}

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
