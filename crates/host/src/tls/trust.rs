//! Whom a node trusts, and what it shows of itself: one reading of its files.

use std::path::Path;
use std::sync::Arc;

use gridloom_core::UtcTime;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, TrustAnchor, UnixTime,
};
use rustls::sign::CertifiedKey;
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode as _;
use zeroize::Zeroizing;

use super::fault::{TlsError, TlsFault};
use super::files::{self, TlsFiles};
use super::identity::CertificateInfo;

/// Which end of a connection showed a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Dialler,
    Listener,
}

/// One reading of a node's files.
pub(super) struct Trust {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) own: CertificateInfo,
    /// Until when the revocation list counts.
    pub(super) list_until: UtcTime,
    provider: Arc<CryptoProvider>,
    anchor: TrustAnchor<'static>,
    revoked: CertRevocationList<'static>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

impl Trust {
    /// Reads the files. What is in them may have expired, or be revoked.
    pub(super) fn read(files: &TlsFiles, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let anchor = read_anchor(&files.authority)?;
        let (revoked, list_until) = read_list(&files.revoked)?;
        let path = &files.own;
        let wrong = |what: &str| content(path, what);
        let pem = Zeroizing::new(files::read(path)?);
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|_| wrong("it is no PEM file: enrol the node again"))?;
        let first = chain
            .first()
            .ok_or_else(|| wrong("it holds no CERTIFICATE: enrol the node again"))?;
        let own = CertificateInfo::read(first).map_err(|fault| TlsError::Own {
            path: path.clone(),
            fault: Box::new(fault),
        })?;
        if own.node != files.node {
            return Err(TlsError::OtherNode {
                path: path.clone(),
                found: own.node,
                wanted: files.node.clone(),
            });
        }
        let key = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|_| wrong("it holds no PRIVATE KEY: enrol the node again"))?;
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
            content(
                path,
                &format!("certificate and key do not fit ({error}): enrol the node again"),
            )
        })?;
        Ok(Self {
            certified: Arc::new(certified),
            own,
            list_until,
            provider,
            anchor,
            revoked,
        })
    }

    pub(super) const fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// What the node itself shows.
    pub(super) fn own_chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Whether a chain is good at `now`, and whose it is.
    pub(super) fn check(
        &self,
        chain: &[CertificateDer<'_>],
        end: End,
        now: UtcTime,
    ) -> Result<CertificateInfo, TlsFault> {
        let (first, intermediates) = chain.split_first().ok_or(TlsFault::NoCertificate)?;
        let info = CertificateInfo::read(first)?;
        let certificate = EndEntityCert::try_from(first)
            .map_err(|_| TlsFault::Unreadable("it is no X.509 certificate of version 3"))?;
        let lists = [&self.revoked];
        let revocation = RevocationOptionsBuilder::new(&lists)
            .expect("there is a list")
            .with_depth(RevocationCheckDepth::EndEntity)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build();
        let usage = match end {
            End::Dialler => KeyUsage::client_auth(),
            End::Listener => KeyUsage::server_auth(),
        };
        let seconds = u64::try_from(now.as_secs()).unwrap_or(0);
        certificate
            .verify_for_usage(
                self.provider.signature_verification_algorithms.all,
                std::slice::from_ref(&self.anchor),
                intermediates,
                UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)),
                usage,
                Some(revocation),
                None,
            )
            .map(|_| ())
            .map_err(|error| self.fault(&info, &error, now))?;
        Ok(info)
    }

    fn fault(&self, info: &CertificateInfo, error: &webpki::Error, now: UtcTime) -> TlsFault {
        let node = info.node.clone();
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "webpki has fifty errors and adds more"
        )]
        match error {
            webpki::Error::CertExpired { .. } => TlsFault::Expired {
                node,
                not_after: info.not_after,
            },
            webpki::Error::CertNotValidYet { .. } => TlsFault::NotYetValid {
                node,
                not_before: info.not_before,
                now,
            },
            webpki::Error::CertRevoked => TlsFault::Revoked {
                node,
                serial: info.serial.clone(),
            },
            webpki::Error::CrlExpired { .. } => TlsFault::StaleList {
                until: self.list_until,
            },
            webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
                TlsFault::ForeignAuthority { node }
            }
            webpki::Error::UnknownRevocationStatus
            | webpki::Error::InvalidCrlSignatureForPublicKey => TlsFault::Unfit {
                node,
                what: "the revocation list revoked.pem here is of another authority".to_owned(),
            },
            other => TlsFault::Unfit {
                node,
                what: other.to_string(),
            },
        }
    }
}

fn content(path: &Path, what: &str) -> TlsError {
    TlsError::Content {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

fn read_anchor(path: &Path) -> Result<TrustAnchor<'static>, TlsError> {
    let remedy = "it holds no authority's CERTIFICATE: copy authority.pem of gridloom pki init";
    let pem = files::read(path)?;
    let der = CertificateDer::from_pem_slice(&pem).map_err(|_| content(path, remedy))?;
    anchor_from_trusted_cert(&der)
        .map(|anchor| anchor.to_owned())
        .map_err(|_| content(path, remedy))
}

fn read_list(path: &Path) -> Result<(CertRevocationList<'static>, UtcTime), TlsError> {
    let remedy = "it holds no X509 CRL: make a new one with gridloom pki renew";
    let pem = files::read(path)?;
    let der =
        CertificateRevocationListDer::from_pem_slice(&pem).map_err(|_| content(path, remedy))?;
    let until = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(&der)
        .ok()
        .and_then(|list| list.tbs_cert_list.next_update)
        .and_then(|time| i64::try_from(time.to_unix_duration().as_secs()).ok())
        .map(UtcTime::from_secs)
        .ok_or_else(|| content(path, remedy))?;
    let list = BorrowedCertRevocationList::from_der(&der)
        .and_then(|list| list.to_owned())
        .map_err(|_| content(path, remedy))?;
    Ok((list.into(), until))
}
