//! The options of every command that talks to a meter.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use gridloom_core::SystemTitle;
use gridloom_dlms::association::{Conformance, Secret};
use gridloom_dlms::client::{
    Authentication, Ciphering, ClientConfig, ClientKeys, ReleaseForm, ServiceForm,
};
use gridloom_dlms::hdlc::{Address, ClientLinkConfig};
use gridloom_dlms::security::{Keys, Policy, SecurityControl, SymmetricKey};
use gridloom_dlms::wrapper::WPort;
use gridloom_host::{ClientRoute, DialAddress};
use serde::Deserialize;

use super::protection::{ProtectionOptions, signing_pair};
use crate::hex;
use crate::transport::Transport;

/// The most that a file of secrets may hold.
const SECRETS_BYTES_MAX: u64 = 64 * 1024;

/// How the client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Proof {
    /// Not at all
    None,
    /// By a password (low level security)
    Lls,
    /// By GMAC under the keys (HLS 5)
    Gmac,
    /// By SHA-256 over a shared secret (HLS 6)
    Sha256,
    /// By ECDSA (HLS 7)
    Ecdsa,
}

/// Which meter, as which client, with which keys
#[derive(clap::Args)]
pub(crate) struct MeterOptions {
    /// Where the meter listens; left out with --serial
    #[arg(value_name = "HOST:PORT", required_unless_present = "serial")]
    address: Option<String>,
    /// Server: the wrapper port or the HDLC logical device
    #[arg(long, default_value_t = 1)]
    server: u16,
    /// HDLC physical device, where several share the line
    #[arg(long)]
    physical: Option<u16>,
    /// Client: 16 public, 17 reader, 1 management
    #[arg(long, default_value_t = 16)]
    client: u16,
    /// How the client proves who it is
    #[arg(long, value_enum, default_value_t = Proof::None)]
    auth: Proof,
    /// Password or shared secret; visible to other users of this machine
    #[arg(long, conflicts_with = "password_file")]
    password: Option<String>,
    /// File that holds the password or shared secret
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Global unicast encryption key in hexadecimal; services are then ciphered
    #[arg(long, value_name = "HEX", requires = "ak", conflicts_with = "keys")]
    ek: Option<String>,
    /// Authentication key in hexadecimal
    #[arg(long, value_name = "HEX", requires = "ek", conflicts_with = "keys")]
    ak: Option<String>,
    /// TOML file with ek, ak and perhaps password, meter_title, kek, signing_key, agreement_key,
    /// meter_public_key, meter_agreement_key
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Our own system title, 16 hexadecimal digits
    #[arg(long, value_name = "HEX", default_value = "474C480000000001")]
    title: String,
    /// The meter's system title; whoever has another is not believed
    #[arg(long, value_name = "HEX")]
    meter_title: Option<String>,
    /// Use a key of this association alone
    #[arg(long)]
    dedicated: bool,
    /// Use general-glo-ciphering instead of a tag per service
    #[arg(long)]
    general: bool,
    #[command(flatten)]
    protection: ProtectionOptions,
    /// Release the association without user information, for meters that refuse it
    #[arg(long)]
    bare_release: bool,
    /// How frames lie on the wire
    #[arg(long, value_enum, default_value_t = Transport::Wrapper)]
    transport: Transport,
    /// Serial device to speak HDLC on
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["address", "transport"])]
    serial: Option<PathBuf>,
    /// Speed of the serial line
    #[arg(long, default_value_t = 9_600)]
    baud: u32,
    /// File to keep our invocation counter in
    #[arg(long, value_name = "FILE")]
    counter_file: Option<PathBuf>,
    /// Seconds that an answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
}

/// A TOML file of secrets.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretsFile {
    ek: Option<String>,
    ak: Option<String>,
    password: Option<String>,
    meter_title: Option<String>,
    pub(super) kek: Option<String>,
    pub(super) signing_key: Option<String>,
    pub(super) agreement_key: Option<String>,
    pub(super) meter_public_key: Option<String>,
    pub(super) meter_agreement_key: Option<String>,
}

/// What the options mean.
pub(crate) struct Plan {
    pub(crate) route: ClientRoute,
    /// Without the dedicated key, which is fresh for each association.
    pub(crate) config: ClientConfig,
    /// Without their seed, which is fresh too.
    pub(crate) keys: Option<ClientKeys>,
    pub(crate) dedicated: bool,
    pub(crate) counter_file: Option<PathBuf>,
}

impl MeterOptions {
    /// Checks the options against each other and reads the files they name.
    pub(crate) fn plan(&self) -> anyhow::Result<Plan> {
        ensure!(
            (1..=600).contains(&self.timeout),
            "--timeout {}: give 1 to 600 seconds",
            self.timeout
        );
        let secrets = match &self.keys {
            Some(path) => toml::from_str(&read_secret(path)?)
                .with_context(|| format!("--keys {}", path.display()))?,
            None => SecretsFile::default(),
        };
        let mut ciphering = self.ciphering(&secrets)?;
        let mut keys = None;
        match &mut ciphering {
            Some(one) => {
                let (suite, meter) = (one.suite, one.server_title);
                let found = self.protection.protection(suite, &secrets, meter)?;
                one.form = found.form.unwrap_or(one.form);
                keys = found.keys;
            }
            None => ensure!(
                !self.protection.is_asked(),
                "--general-ciphering and --sign protect ciphered services: give --ek and --ak, or \
                 --keys"
            ),
        }
        let config = ClientConfig {
            client: self.client,
            server: self.server,
            authentication: self.authentication(&secrets, ciphering.as_ref(), keys.as_ref())?,
            ciphering,
            max_pdu: 0xFFFF,
            conformance: Conformance::STANDARD,
            release: if self.bare_release {
                ReleaseForm::Bare
            } else {
                ReleaseForm::Full
            },
            answer_timeout: Duration::from_secs(self.timeout),
            attempts: 3,
        };
        Ok(Plan {
            route: self.route(self.client)?,
            dedicated: self.dedicated,
            counter_file: self.counter_file.clone(),
            keys,
            config,
        })
    }

    /// The keys that open pushes.
    pub(crate) fn push_keys(&self) -> anyhow::Result<Option<Keys>> {
        Ok(self
            .plan()?
            .config
            .ciphering
            .map(|ciphering| ciphering.keys))
    }

    /// The way to the meter for the public client, who may read counters.
    pub(crate) fn public_route(&self) -> anyhow::Result<ClientRoute> {
        self.route(WPort::PUBLIC_CLIENT.0)
    }

    fn route(&self, client: u16) -> anyhow::Result<ClientRoute> {
        let link = || -> anyhow::Result<ClientLinkConfig> {
            let client = Address::one(client).context("--client")?;
            let server = Address::fitting(self.server, self.physical).context("--server")?;
            Ok(ClientLinkConfig::new(client, server))
        };
        if let Some(device) = &self.serial {
            return Ok(ClientRoute::HdlcSerial {
                device: device.clone(),
                baud: self.baud,
                link: link()?,
            });
        }
        let text = self
            .address
            .as_deref()
            .context("name the meter's address")?;
        let address = DialAddress::parse("HOST:PORT", text)?;
        let (client, server) = (WPort(client), WPort(self.server));
        Ok(match self.transport {
            Transport::Wrapper => ClientRoute::Tcp {
                address,
                client,
                server,
            },
            Transport::Udp => ClientRoute::Udp {
                address,
                client,
                server,
            },
            Transport::Hdlc => ClientRoute::HdlcTcp {
                address,
                link: link()?,
            },
        })
    }

    fn password(&self, secrets: &SecretsFile) -> anyhow::Result<Secret> {
        let text = match (&self.password, &self.password_file, &secrets.password) {
            (Some(text), _, _) => text.clone(),
            (None, Some(path), _) => read_secret(path)?.trim_end_matches(['\r', '\n']).to_owned(),
            (None, None, Some(text)) => text.clone(),
            (None, None, None) => bail!(
                "--auth {} needs a secret: give --password-file, or --password",
                match self.auth {
                    Proof::Sha256 => "sha256",
                    Proof::None | Proof::Lls | Proof::Gmac | Proof::Ecdsa => "lls",
                }
            ),
        };
        ensure!(
            (1..=64).contains(&text.len()),
            "the password has {} bytes: give 1 to 64",
            text.len()
        );
        Ok(Secret::new(text.into_bytes()))
    }

    fn authentication(
        &self,
        secrets: &SecretsFile,
        ciphering: Option<&Ciphering>,
        keys: Option<&ClientKeys>,
    ) -> anyhow::Result<Authentication> {
        let needs_keys = || {
            ensure!(
                ciphering.is_some(),
                "--auth needs the meter's keys here: give --ek and --ak, or --keys"
            );
            Ok(())
        };
        Ok(match self.auth {
            Proof::None => Authentication::None,
            Proof::Lls => Authentication::Lls(self.password(secrets)?),
            Proof::Gmac => {
                needs_keys()?;
                Authentication::Gmac
            }
            Proof::Sha256 => {
                needs_keys()?;
                Authentication::Sha256(self.password(secrets)?)
            }
            Proof::Ecdsa => {
                needs_keys()?;
                Authentication::Ecdsa(Box::new(signing_pair(keys)?))
            }
        })
    }

    fn ciphering(&self, secrets: &SecretsFile) -> anyhow::Result<Option<Ciphering>> {
        let pair = match (&self.ek, &self.ak, &secrets.ek, &secrets.ak) {
            (Some(ek), Some(ak), _, _) | (None, None, Some(ek), Some(ak)) => Some((ek, ak)),
            (_, _, None, None) => None,
            (_, _, _, _) => bail!("--keys: give both ek and ak"),
        };
        let Some((ek, ak)) = pair else {
            ensure!(
                !self.dedicated && !self.general,
                "--dedicated and --general cipher: give --ek and --ak, or --keys"
            );
            return Ok(None);
        };
        let ek = SymmetricKey::from_bytes(&hex::bytes("--ek", ek)?).context("--ek")?;
        let ak = SymmetricKey::from_bytes(&hex::bytes("--ak", ak)?).context("--ak")?;
        let by_ecdsa = self.auth == Proof::Ecdsa;
        let suite = self.protection.suite(ek.as_bytes().len(), by_ecdsa)?;
        let meter = self.meter_title.as_ref().or(secrets.meter_title.as_ref());
        let title: SystemTitle = hex::title("--title", &self.title)?;
        let server_title = meter
            .map(|text| hex::title("--meter-title", text))
            .transpose()?;
        ensure!(
            server_title != Some(title),
            "--title {title} is the meter's too: give this client its own"
        );
        Ok(Some(Ciphering {
            keys: Keys::pair(ek, ak).context("--ek and --ak")?,
            suite,
            title,
            server_title,
            dedicated_key: None,
            form: if self.general {
                ServiceForm::General
            } else {
                ServiceForm::Service
            },
            control: SecurityControl::AUTHENTICATED_ENCRYPTED,
            policy: Policy::AuthenticatedEncryption,
        }))
    }
}

fn read_secret(path: &std::path::Path) -> anyhow::Result<String> {
    use std::io::Read;
    let context = || format!("failed to read {}", path.display());
    let file = std::fs::File::open(path).with_context(context)?;
    let mut text = String::new();
    file.take(SECRETS_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(context)?;
    ensure!(
        text.len() as u64 <= SECRETS_BYTES_MAX,
        "{}: too long for a file of secrets",
        path.display()
    );
    Ok(text)
}
