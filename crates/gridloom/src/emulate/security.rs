//! What emulated meters hold besides their two keys: suite, master key, certificates, key pairs,
//! and how management proves who it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use gridloom_core::SystemTitle;
use gridloom_dlms::association::{Mechanism, Secret};
use gridloom_dlms::security::{
    Curve, KeyEncryptionKey, Keys, OwnKeys, PeerKeys, PrivateKey, SecuritySuite, SymmetricKey,
};
use gridloom_field::{Client, ClientAccess, FactorySecurity};

use crate::client::protection::{private_key, public_key, read_certificate, suite_of};
use crate::hex;

/// Keys that everybody knows, by the byte that they repeat.
const METER_SIGNING: u8 = 0x11;
const METER_AGREEMENT: u8 = 0x22;
const CLIENT_SIGNING: u8 = 0x33;
const CLIENT_AGREEMENT: u8 = 0x44;

/// The secret of client 1 that everybody knows.
const PUBLISHED_SECRET: &str = "gridloom management";

/// How management proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Proof {
    /// By GMAC under the keys (HLS 5)
    Gmac,
    /// By SHA-256 over a shared secret (HLS 6)
    Sha256,
    /// By ECDSA (HLS 7), in suite 1 or 2
    Ecdsa,
}

impl Proof {
    const fn mechanism(self) -> Mechanism {
        match self {
            Self::Gmac => Mechanism::Gmac,
            Self::Sha256 => Mechanism::Sha256,
            Self::Ecdsa => Mechanism::Ecdsa,
        }
    }
}

/// Suite, master key, key pairs and certificates of the meters
#[derive(clap::Args)]
pub(crate) struct SecurityOptions {
    /// How client 1, management, proves who it is
    #[arg(long, value_enum, default_value_t = Proof::Gmac)]
    mechanism: Proof,
    /// Security suite; by default 0, 1 with --mechanism ecdsa, or 2 with keys of 32 bytes
    #[arg(long, value_parser = suite_of, value_name = "0|1|2")]
    suite: Option<SecuritySuite>,
    /// Master key (KEK) of every meter in hexadecimal; without it no keys are transferred
    #[arg(long, value_name = "HEX")]
    kek: Option<String>,
    /// Secret of client 1 for --mechanism sha256
    #[arg(long, value_name = "TEXT")]
    secret: Option<String>,
    /// Signing key of every meter: hexadecimal, or a file that holds it
    #[arg(long, value_name = "HEX|FILE")]
    signing_key: Option<String>,
    /// Key agreement key of every meter: hexadecimal, or a file that holds it
    #[arg(long, value_name = "HEX|FILE")]
    agreement_key: Option<String>,
    /// System title of the client whose public keys follow
    #[arg(long, value_name = "HEX", default_value = "474C480000000001")]
    client_title: String,
    /// That client's public signature key (x and y) in hexadecimal
    #[arg(long, value_name = "HEX")]
    client_public_key: Option<String>,
    /// That client's public key agreement key in hexadecimal
    #[arg(long, value_name = "HEX")]
    client_agreement_key: Option<String>,
    /// Certificate of a client in DER or PEM; may be repeated
    #[arg(long, value_name = "FILE")]
    client_certificate: Vec<PathBuf>,
    /// Certificate of an authority whose certificates the meters take; may be repeated
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
}

/// What all meters of one run share.
pub(super) struct MeterSecurity {
    pub(super) suite: SecuritySuite,
    pub(super) mechanism: Mechanism,
    access: ClientAccess,
    /// Whether the key pairs are those that everybody knows.
    published_pairs: bool,
    /// The secret, if everybody knows it.
    published_secret: bool,
}

impl SecurityOptions {
    /// The suite that the options mean for a key of `bytes`, if one is given.
    pub(super) fn suite(&self, bytes: Option<usize>) -> SecuritySuite {
        match (self.suite, bytes, self.mechanism) {
            (Some(suite), ..) => suite,
            (None, Some(32), _) => SecuritySuite::Suite2,
            (None, _, Proof::Ecdsa) => SecuritySuite::Suite1,
            (None, _, Proof::Gmac | Proof::Sha256) => SecuritySuite::Suite0,
        }
    }

    /// Checks the options against each other, and reads the files that they name.
    pub(super) fn plan(&self, suite: SecuritySuite, keys: &Keys) -> anyhow::Result<MeterSecurity> {
        ensure!(
            keys.key_len() == suite.key_len(),
            "--suite {suite}: --ek and --ak have {} bytes, give {}",
            keys.key_len(),
            suite.key_len()
        );
        ensure!(
            self.mechanism != Proof::Ecdsa || suite.curve().is_some(),
            "--mechanism ecdsa: suite 0 has no public keys; give --suite 1 or 2"
        );
        let mut access = ClientAccess::default().with_management(self.mechanism.mechanism());
        if self.mechanism == Proof::Sha256 {
            let secret = self.secret.as_deref().unwrap_or(PUBLISHED_SECRET);
            ensure!(
                (8..=64).contains(&secret.len()),
                "--secret has {} bytes: give 8 to 64",
                secret.len()
            );
            let client = Client::Management.sap();
            access.secrets.push((client, Secret::new(secret)));
        }
        if let Some(text) = &self.kek {
            let key = SymmetricKey::from_bytes(&hex::bytes("--kek", text)?).context("--kek")?;
            ensure!(
                key.as_bytes().len() == suite.key_len(),
                "--kek: suite {suite} wants {} bytes",
                suite.key_len()
            );
            access.master = Some(KeyEncryptionKey::from(key));
        }
        let is_given = self.signing_key.is_some()
            || self.agreement_key.is_some()
            || self.client_public_key.is_some()
            || self.client_agreement_key.is_some()
            || !self.client_certificate.is_empty()
            || !self.trust.is_empty();
        let published_pairs = !is_given && suite.curve().is_some();
        let mut factory = FactorySecurity {
            suite: Some(suite),
            ..FactorySecurity::default()
        };
        match suite.curve() {
            Some(curve) if published_pairs => {
                let title = hex::title("--client-title", &self.client_title)?;
                factory.own = OwnKeys {
                    signing: Some(Box::new(published(curve, METER_SIGNING)?)),
                    agreement: Some(Box::new(published(curve, METER_AGREEMENT)?)),
                    tls: None,
                };
                let client = PeerKeys {
                    signing: Some(Box::new(published(curve, CLIENT_SIGNING)?.public_key())),
                    agreement: Some(Box::new(published(curve, CLIENT_AGREEMENT)?.public_key())),
                };
                factory.peers = BTreeMap::from([(title, client)]);
            }
            Some(curve) => self.given(curve, &mut factory)?,
            None => ensure!(
                !is_given,
                "--signing-key and certificates: suite 0 has no public keys; give --suite 1 or 2"
            ),
        }
        access.factory = Arc::new(factory);
        Ok(MeterSecurity {
            suite,
            mechanism: self.mechanism.mechanism(),
            access,
            published_pairs,
            published_secret: self.mechanism == Proof::Sha256 && self.secret.is_none(),
        })
    }

    /// The key pairs and certificates that the options name.
    fn given(&self, curve: Curve, factory: &mut FactorySecurity) -> anyhow::Result<()> {
        let private = |name: &str, option: &Option<String>| {
            let text = option.as_ref();
            text.map(|text| private_key(name, text, curve).map(Box::new))
                .transpose()
        };
        factory.own.signing = private("--signing-key", &self.signing_key)?;
        factory.own.agreement = private("--agreement-key", &self.agreement_key)?;
        let public = |name: &str, option: &Option<String>| {
            let text = option.as_ref();
            text.map(|text| public_key(name, text, curve).map(Box::new))
                .transpose()
        };
        let client = PeerKeys {
            signing: public("--client-public-key", &self.client_public_key)?,
            agreement: public("--client-agreement-key", &self.client_agreement_key)?,
        };
        let title: SystemTitle = hex::title("--client-title", &self.client_title)?;
        if client != PeerKeys::default() {
            factory.peers = BTreeMap::from([(title, client)]);
        }
        for path in &self.client_certificate {
            let certificate = read_certificate("--client-certificate", path)?;
            certificate.title().context("--client-certificate")?;
            factory.certificates.push(certificate);
        }
        for path in &self.trust {
            let certificate = read_certificate("--trust", path)?;
            ensure!(
                certificate.is_authority(),
                "--trust {}: it is no authority's certificate",
                path.display()
            );
            factory.trusted.push(certificate);
        }
        ensure!(
            self.mechanism != Proof::Ecdsa || factory.own.signing.is_some(),
            "--mechanism ecdsa needs the meters' signing key: give --signing-key"
        );
        ensure!(
            self.mechanism != Proof::Ecdsa
                || !factory.peers.is_empty()
                || !factory.certificates.is_empty(),
            "--mechanism ecdsa needs the client's public key: give --client-certificate, or \
             --client-public-key"
        );
        Ok(())
    }
}

impl MeterSecurity {
    /// Who gets in, without passwords of readers.
    pub(super) fn access(&self) -> ClientAccess {
        self.access.clone()
    }

    /// The mechanism as `read --auth` names it.
    pub(super) const fn auth(&self) -> &'static str {
        match self.mechanism {
            Mechanism::Sha256 => "sha256",
            Mechanism::Ecdsa => "ecdsa",
            Mechanism::Gmac
            | Mechanism::None
            | Mechanism::Lls
            | Mechanism::Manufacturer
            | Mechanism::Md5
            | Mechanism::Sha1 => "gmac",
        }
    }

    /// The HLS number of the mechanism.
    pub(super) const fn hls(&self) -> u8 {
        self.mechanism.id()
    }

    /// The options with which client 1 reads, beyond its keys.
    pub(super) fn client_options(&self) -> anyhow::Result<String> {
        let mut options = format!("--auth {}", self.auth());
        if self.mechanism == Mechanism::Sha256 {
            let secret = if self.published_secret {
                PUBLISHED_SECRET
            } else {
                "…"
            };
            options.push_str(&format!(" --password '{secret}'"));
        }
        if self.suite != SecuritySuite::Suite0 {
            options.push_str(&format!(" --suite {}", self.suite));
        }
        if self.mechanism == Mechanism::Ecdsa {
            let own = match self.suite.curve() {
                Some(curve) if self.published_pairs => {
                    hex::text(&published(curve, CLIENT_SIGNING)?.to_bytes())
                }
                Some(_) | None => "…".to_owned(),
            };
            options.push_str(&format!(" --signing-key {own}"));
            if let Some(key) = self.public_keys().first() {
                options.push_str(&format!(" --meter-public-key {}", key.1));
            }
        }
        Ok(options)
    }

    /// The meters' own public keys, in hexadecimal.
    pub(super) fn public_keys(&self) -> Vec<(&'static str, String)> {
        let own = &self.access.factory.own;
        let shown = |name, key: &Option<Box<PrivateKey>>| {
            let key = key.as_deref()?;
            Some((name, hex::text(&key.public_key().to_bytes())))
        };
        [
            shown("signature", &own.signing),
            shown("agreement", &own.agreement),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The client's key pairs that everybody knows, as options.
    pub(super) fn published_client(&self) -> anyhow::Result<Option<String>> {
        match self.suite.curve() {
            Some(curve) if self.published_pairs => Ok(Some(format!(
                "--signing-key {} --agreement-key {}",
                hex::text(&published(curve, CLIENT_SIGNING)?.to_bytes()),
                hex::text(&published(curve, CLIENT_AGREEMENT)?.to_bytes()),
            ))),
            Some(_) | None => Ok(None),
        }
    }
}

fn published(curve: Curve, byte: u8) -> anyhow::Result<PrivateKey> {
    PrivateKey::from_bytes(curve, &vec![byte; curve.field_len()]).context("a published key")
}
