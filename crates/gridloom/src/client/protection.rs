//! The options of general-ciphering, general-signing and public keys.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use gridloom_core::SystemTitle;
use gridloom_dlms::association::Secret;
use gridloom_dlms::client::{ClientKeys, ServiceForm, Signing, SigningPair};
use gridloom_dlms::security::{
    Certificate, CertificateType, Curve, GeneralKey, KeyEncryptionKey, OwnKeys, PeerKeys,
    PrivateKey, PublicKey, SecuritySuite, SymmetricKey,
};

use super::options::SecretsFile;
use crate::hex;

/// Bytes of the longest file of a key or certificate.
const FILE_BYTES_MAX: u64 = 16 * 1_024;

/// How general-ciphering tells its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyChoice {
    /// By name: the global unicast encryption key
    Unicast,
    /// A fresh key for each request, wrapped under the master key
    Wrapped,
    /// Agreed on for each request: an ephemeral key of ours, C(1e, 1s)
    OnePass,
    /// Agreed on for each transaction: static keys of both, C(0e, 2s)
    Static,
}

impl KeyChoice {
    const fn key(self) -> GeneralKey {
        match self {
            Self::Unicast => GeneralKey::Unicast,
            Self::Wrapped => GeneralKey::Wrapped,
            Self::OnePass => GeneralKey::OnePass,
            Self::Static => GeneralKey::Static,
        }
    }
}

/// Suite, public keys, and what is done with them
#[derive(clap::Args)]
pub(crate) struct ProtectionOptions {
    /// Security suite of the meter; by default that of the keys and of what else is asked
    #[arg(long, value_parser = suite_of, value_name = "0|1|2")]
    suite: Option<SecuritySuite>,
    /// Master key (KEK) in hexadecimal, for --general-ciphering wrapped
    #[arg(long, value_name = "HEX")]
    kek: Option<String>,
    /// Our signing key: hexadecimal, or a file that holds it
    #[arg(long, value_name = "HEX|FILE")]
    signing_key: Option<String>,
    /// Our key agreement key: hexadecimal, or a file that holds it
    #[arg(long, value_name = "HEX|FILE")]
    agreement_key: Option<String>,
    /// The meter's certificate in DER or PEM; once for signatures, once for key agreement
    #[arg(long, value_name = "FILE")]
    meter_certificate: Vec<PathBuf>,
    /// The meter's public signature key (x and y) in hexadecimal, where it has no certificate
    #[arg(long, value_name = "HEX")]
    meter_public_key: Option<String>,
    /// The meter's public key agreement key in hexadecimal, where it has no certificate
    #[arg(long, value_name = "HEX")]
    meter_agreement_key: Option<String>,
    /// Ask in general-ciphering, which tells its key in this way
    #[arg(long, value_enum, value_name = "KEY", conflicts_with_all = ["general", "dedicated"])]
    general_ciphering: Option<KeyChoice>,
    /// Sign requests
    #[arg(long)]
    sign: bool,
    /// Sign requests, and believe no answer without a signature
    #[arg(long)]
    demand_signed: bool,
}

/// The key pairs and keys that the options name.
pub(crate) struct Protection {
    pub(crate) keys: Option<ClientKeys>,
    pub(crate) form: Option<ServiceForm>,
}

impl ProtectionOptions {
    /// The suite that is asked for, for keys of `bytes`.
    pub(crate) fn suite(&self, bytes: usize, by_ecdsa: bool) -> anyhow::Result<SecuritySuite> {
        let agrees = matches!(
            self.general_ciphering,
            Some(KeyChoice::OnePass | KeyChoice::Static)
        );
        let suite = match self.suite {
            Some(suite) => suite,
            None if bytes == SecuritySuite::Suite2.key_len() => SecuritySuite::Suite2,
            None if by_ecdsa || agrees || self.signs() => SecuritySuite::Suite1,
            None => SecuritySuite::Suite0,
        };
        ensure!(
            suite.key_len() == bytes,
            "key: suite {suite} has keys of {} bytes, --ek has {bytes}; give other keys, or another \
             --suite",
            suite.key_len()
        );
        ensure!(
            suite.curve().is_some() || !(by_ecdsa || agrees || self.signs()),
            "key: suite 0 has no public keys; give --suite 1 or 2"
        );
        Ok(suite)
    }

    /// Whether services must be ciphered for what is asked.
    pub(crate) const fn is_asked(&self) -> bool {
        self.general_ciphering.is_some() || self.signs()
    }

    const fn signs(&self) -> bool {
        self.sign || self.demand_signed
    }

    /// What the options name, checked against what they ask; without its seed, which is fresh for
    /// each association. `meter` is its title, if it is known.
    pub(super) fn protection(
        &self,
        suite: SecuritySuite,
        secrets: &SecretsFile,
        meter: Option<SystemTitle>,
    ) -> anyhow::Result<Protection> {
        let form = self
            .general_ciphering
            .map(|choice| ServiceForm::Ciphering(choice.key()));
        let keys = match suite.curve() {
            Some(curve) => self.public_keys(curve, secrets, meter)?,
            None => (OwnKeys::default(), PeerKeys::default()),
        };
        let (own, server) = keys;
        let kek = self.kek.as_ref().or(secrets.kek.as_ref());
        let master = kek
            .map(|text| {
                let key = SymmetricKey::from_bytes(&hex::bytes("--kek", text)?).context("--kek")?;
                anyhow::ensure!(
                    key.as_bytes().len() == suite.key_len(),
                    "--kek: suite {suite} wants {} bytes",
                    suite.key_len()
                );
                Ok(KeyEncryptionKey::from(key))
            })
            .transpose()?;
        let wanted = |there: bool, by: &str, what: &str| {
            ensure!(there, "key: {by} needs {what}");
            Ok(())
        };
        let meter_agreement =
            "the meter's key agreement key: give --meter-certificate or --meter-agreement-key";
        match self.general_ciphering {
            None | Some(KeyChoice::Unicast) => {}
            Some(KeyChoice::Wrapped) => wanted(
                master.is_some(),
                "--general-ciphering wrapped",
                "the master key: give --kek",
            )?,
            Some(KeyChoice::OnePass) => {
                let by = "--general-ciphering one-pass";
                wanted(
                    own.signing.is_some(),
                    by,
                    "our signing key: give --signing-key",
                )?;
                wanted(
                    own.agreement.is_some(),
                    by,
                    "our own key: give --agreement-key",
                )?;
                wanted(server.agreement.is_some(), by, meter_agreement)?;
                wanted(server.signing.is_some(), by, METER_SIGNING)?;
            }
            Some(KeyChoice::Static) => {
                let by = "--general-ciphering static";
                wanted(
                    own.agreement.is_some(),
                    by,
                    "our own key: give --agreement-key",
                )?;
                wanted(server.agreement.is_some(), by, meter_agreement)?;
            }
        }
        if self.signs() {
            let what = "our signing key: give --signing-key";
            wanted(own.signing.is_some(), "--sign", what)?;
        }
        if self.demand_signed {
            wanted(server.signing.is_some(), "--demand-signed", METER_SIGNING)?;
        }
        let signing = match (self.demand_signed, self.sign) {
            (true, _) => Signing::Both,
            (false, true) => Signing::Requests,
            (false, false) => Signing::None,
        };
        let is_used = form.is_some()
            || signing != Signing::None
            || own.signing.is_some()
            || server.signing.is_some();
        Ok(Protection {
            keys: is_used.then(|| ClientKeys {
                master,
                own,
                server,
                signing,
                seed: Secret::new([]),
            }),
            form,
        })
    }

    fn public_keys(
        &self,
        curve: Curve,
        secrets: &SecretsFile,
        meter: Option<SystemTitle>,
    ) -> anyhow::Result<(OwnKeys, PeerKeys)> {
        let private = |name: &str, option: &Option<String>, kept: &Option<String>| {
            let text = option.as_ref().or(kept.as_ref());
            text.map(|text| private_key(name, text, curve).map(Box::new))
                .transpose()
        };
        let own = OwnKeys {
            signing: private("--signing-key", &self.signing_key, &secrets.signing_key)?,
            agreement: private(
                "--agreement-key",
                &self.agreement_key,
                &secrets.agreement_key,
            )?,
            tls: None,
        };
        let public = |name: &str, option: &Option<String>, kept: &Option<String>| {
            let text = option.as_ref().or(kept.as_ref());
            text.map(|text| public_key(name, text, curve).map(Box::new))
                .transpose()
        };
        let mut server = PeerKeys {
            signing: public(
                "--meter-public-key",
                &self.meter_public_key,
                &secrets.meter_public_key,
            )?,
            agreement: public(
                "--meter-agreement-key",
                &self.meter_agreement_key,
                &secrets.meter_agreement_key,
            )?,
        };
        for path in &self.meter_certificate {
            let certificate = read_certificate("--meter-certificate", path)?;
            let title = certificate.title().context("--meter-certificate")?;
            ensure!(
                meter.is_none_or(|meter| meter == title),
                "--meter-certificate {}: it is of {title}, --meter-title is another",
                path.display()
            );
            let key = certificate.public_key();
            ensure!(
                key.curve() == curve,
                "--meter-certificate {}: a key of {}, the suite has {curve}",
                path.display(),
                key.curve()
            );
            let key = Some(Box::new(key.clone()));
            match CertificateType::of(&certificate) {
                CertificateType::Signature => server.signing = key,
                CertificateType::Agreement => server.agreement = key,
                CertificateType::Tls | CertificateType::Other => bail!(
                    "--meter-certificate {}: neither for signatures nor for key agreement",
                    path.display()
                ),
            }
        }
        Ok((own, server))
    }
}

const METER_SIGNING: &str =
    "the meter's signature key: give --meter-certificate or --meter-public-key";

/// The pair for HLS 7.
pub(crate) fn signing_pair(keys: Option<&ClientKeys>) -> anyhow::Result<SigningPair> {
    let own = keys.and_then(|keys| keys.own.signing.as_deref());
    let server = keys.and_then(|keys| keys.server.signing.as_deref());
    Ok(SigningPair {
        own: own
            .context("key: --auth ecdsa needs our signing key: give --signing-key, or --keys")?
            .clone(),
        server: server
            .context(
                "key: --auth ecdsa needs the meter's signature key: give --meter-certificate, \
                 --meter-public-key, or --keys",
            )?
            .clone(),
    })
}

/// Reads a private key: hexadecimal, or a file that holds it so.
pub(crate) fn private_key(name: &str, text: &str, curve: Curve) -> anyhow::Result<PrivateKey> {
    let is_key =
        text.len() == 2 * curve.field_len() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let scalar = if is_key {
        hex::bytes(name, text)?
    } else {
        let path = Path::new(text);
        let bytes = read_file(name, path)?;
        let kept = String::from_utf8_lossy(&bytes);
        hex::bytes(name, kept.trim()).with_context(|| {
            format!(
                "{name} {text}: give the private key in hexadecimal, or a file that holds it so"
            )
        })?
    };
    PrivateKey::from_bytes(curve, &scalar).with_context(|| name.to_owned())
}

/// Reads a public key, x and y in hexadecimal.
pub(crate) fn public_key(name: &str, text: &str, curve: Curve) -> anyhow::Result<PublicKey> {
    PublicKey::from_bytes(curve, &hex::bytes(name, text)?).with_context(|| name.to_owned())
}

/// Reads a certificate in DER or PEM.
pub(crate) fn read_certificate(name: &str, path: &Path) -> anyhow::Result<Certificate> {
    let bytes = read_file(name, path)?;
    let context = || format!("{name} {}", path.display());
    let der = if bytes.starts_with(b"-----BEGIN") {
        from_pem(&bytes).with_context(context)?
    } else {
        bytes
    };
    Certificate::from_der(&der).with_context(context)
}

fn read_file(name: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read;
    let context = || format!("{name}: failed to read {}", path.display());
    let file = std::fs::File::open(path).with_context(context)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(context)?;
    ensure!(
        bytes.len() as u64 <= FILE_BYTES_MAX,
        "{name} {}: too long for a key or certificate",
        path.display()
    );
    Ok(bytes)
}

/// The bytes between the lines that begin and end a PEM text.
fn from_pem(text: &[u8]) -> anyhow::Result<Vec<u8>> {
    let text = core::str::from_utf8(text).context("certificate: PEM is text")?;
    let mut lines = text.lines().map(str::trim);
    ensure!(
        lines.next() == Some("-----BEGIN CERTIFICATE-----"),
        "certificate: the file holds something else; export the certificate alone"
    );
    let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
    for line in lines.take_while(|line| !line.starts_with('-')) {
        for symbol in line.bytes().take_while(|symbol| *symbol != b'=') {
            let value = match symbol {
                b'A'..=b'Z' => symbol - b'A',
                b'a'..=b'z' => symbol - b'a' + 26,
                b'0'..=b'9' => symbol - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => bail!("certificate: the PEM text is damaged; export it again"),
            };
            bits = bits << 6 | u32::from(value);
            count += 6;
            if count >= 8 {
                count -= 8;
                // What is above the eight bits has gone out before.
                let [.., byte] = (bits >> count).to_be_bytes();
                out.push(byte);
            }
        }
    }
    Ok(out)
}

/// Reads the number of a suite.
pub(crate) fn suite_of(text: &str) -> Result<SecuritySuite, String> {
    text.parse()
        .ok()
        .and_then(|code| SecuritySuite::from_code(code).ok())
        .ok_or_else(|| "give 0, 1 or 2".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_is_read() {
        let cases: [(&str, Option<&[u8]>); 5] = [
            (
                "-----BEGIN CERTIFICATE-----\nAAECAwQF\n-----END CERTIFICATE-----\n",
                Some(&[0, 1, 2, 3, 4, 5]),
            ),
            (
                "-----BEGIN CERTIFICATE-----\r\nAAEC\r\n/+8=\r\n-----END",
                Some(&[0, 1, 2, 0xFF, 0xEF]),
            ),
            ("-----BEGIN CERTIFICATE-----\n-----END", Some(&[])),
            ("-----BEGIN CERTIFICATE-----\nAA!C\n-----END", None),
            ("-----BEGIN PRIVATE KEY-----\nAAEC\n-----END", None),
        ];
        for (text, expected) in cases {
            assert_eq!(
                from_pem(text.as_bytes()).ok().as_deref(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn suites_follow_from_what_is_asked() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            options: ProtectionOptions,
            #[arg(long)]
            general: bool,
            #[arg(long)]
            dedicated: bool,
        }
        let cases: [(&[&str], usize, bool, Option<u8>); 9] = [
            (&[], 16, false, Some(0)),
            (&[], 32, false, Some(2)),
            (&[], 16, true, Some(1)),
            (&["--sign"], 16, false, Some(1)),
            (&["--general-ciphering", "one-pass"], 16, false, Some(1)),
            (&["--general-ciphering", "wrapped"], 16, false, Some(0)),
            (&["--suite", "1"], 16, false, Some(1)),
            (&["--suite", "2"], 16, false, None),
            (&["--suite", "0", "--sign"], 16, false, None),
        ];
        for (line, bytes, ecdsa, expected) in cases {
            use clap::Parser as _;
            let line: Vec<&str> = [&["read"], line].concat();
            let parsed = Line::try_parse_from(&line).unwrap();
            let suite = parsed.options.suite(bytes, ecdsa);
            assert_eq!(suite.ok().map(SecuritySuite::code), expected, "{line:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let none = || ProtectionOptions {
            suite: None,
            kek: None,
            signing_key: None,
            agreement_key: None,
            meter_certificate: Vec::new(),
            meter_public_key: None,
            meter_agreement_key: None,
            general_ciphering: None,
            sign: false,
            demand_signed: false,
        };
        let asked = |choice| ProtectionOptions {
            general_ciphering: Some(choice),
            ..none()
        };
        let cases = [
            (asked(KeyChoice::Wrapped), "--kek"),
            (asked(KeyChoice::OnePass), "--signing-key"),
            (asked(KeyChoice::Static), "--agreement-key"),
            (
                ProtectionOptions {
                    sign: true,
                    ..none()
                },
                "--signing-key",
            ),
            (
                ProtectionOptions {
                    demand_signed: true,
                    signing_key: Some("11".repeat(32)),
                    ..none()
                },
                "--meter-public-key",
            ),
            (
                ProtectionOptions {
                    signing_key: Some("nowhere".into()),
                    ..none()
                },
                "nowhere",
            ),
            (
                ProtectionOptions {
                    meter_public_key: Some("11".repeat(64)),
                    ..none()
                },
                "no point of P-256",
            ),
            (
                ProtectionOptions {
                    kek: Some("11".repeat(32)),
                    ..none()
                },
                "16 bytes",
            ),
        ];
        for (options, named) in cases {
            let secrets = SecretsFile::default();
            let error = options.protection(SecuritySuite::Suite1, &secrets, None);
            let error = format!("{:#}", error.err().expect(named));
            assert!(error.contains(named), "{error}");
        }
        assert!(signing_pair(None).is_err());
    }
}
