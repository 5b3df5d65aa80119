//! What a meter's security objects may do to the keys that the server holds for it.

use gridloom_core::SystemTitle;

use super::device::Caller;
use super::protection::Entropy;
use super::security::DeviceSecurity;
use crate::apdu::ActionResult;
use crate::association::{Mechanism, Secret};
use crate::axdr::Data;
use crate::security::{
    CertificateRequest, CertificateType, Curve, KeyAgreement, KeyId, Parties, PolicyBits,
    PrivateKey, PublicKey, SecuritySuite,
};

/// Bytes of the longest secret that a client may choose.
pub const CHOSEN_SECRET_LEN_MAX: usize = 64;

/// Bytes of the shortest one.
pub const CHOSEN_SECRET_LEN_MIN: usize = 8;

/// Lets a meter's security setup and association objects change keys and secrets, for the client
/// that asks. The answer goes out under the protection that held before.
pub struct SecurityDesk<'a> {
    pub(super) security: &'a mut DeviceSecurity,
    pub(super) entropy: &'a mut Entropy<'a>,
    pub(super) caller: Caller,
}

impl SecurityDesk<'_> {
    /// The suite that the meter speaks.
    pub const fn suite(&self) -> SecuritySuite {
        self.security.suite()
    }

    /// The public key of the meter's own pair for a purpose, if it has one.
    pub fn public_key(&self, kind: CertificateType) -> Option<PublicKey> {
        let own = self.security.own_keys().of(kind);
        own.map(PrivateKey::public_key)
    }

    /// Puts a policy in force (method 1), beginning with the next request.
    ///
    /// # Errors
    ///
    /// [`ActionResult::OtherReason`] for one that is weaker than the present one, or that would
    /// lock its own author out: it asks for signatures, and the meter has no signing key, or no
    /// signature certificate of this client.
    pub fn activate(&mut self, policy: PolicyBits) -> Result<(), ActionResult> {
        let is_possible = !(policy.signs_requests() || policy.signs_responses())
            || self
                .vouched()
                .is_some_and(|(client, title)| self.security.signatures(client, title).is_some());
        if !is_possible || !policy.covers(self.security.policy()) {
            return Err(ActionResult::OtherReason);
        }
        self.security.set_policy(policy);
        Ok(())
    }

    /// Draws a new key pair (method 4) and returns its public key. The old one is gone.
    ///
    /// # Errors
    ///
    /// [`ActionResult::ObjectUnavailable`] in suite 0, [`ActionResult::OtherReason`] for
    /// [`CertificateType::Other`].
    pub fn generate_key_pair(&mut self, kind: CertificateType) -> Result<PublicKey, ActionResult> {
        let curve = self.curve()?;
        if kind == CertificateType::Other {
            return Err(ActionResult::OtherReason);
        }
        let key = PrivateKey::generate(curve, self.entropy);
        let public = key.public_key();
        self.security.own_keys_mut().set(kind, key);
        Ok(public)
    }

    /// A request in DER for a certificate of the meter's key pair (method 5).
    ///
    /// # Errors
    ///
    /// [`ActionResult::OtherReason`] without such a pair.
    pub fn certificate_request(&self, kind: CertificateType) -> Result<Vec<u8>, ActionResult> {
        let key = self.security.own_keys().of(kind);
        let key = key.ok_or(ActionResult::OtherReason)?;
        Ok(CertificateRequest::sign(self.security.title(), key))
    }

    /// Changes the secret of the client that asks (class 15 method 2).
    ///
    /// # Errors
    ///
    /// [`ActionResult::ReadWriteDenied`] if its mechanism has no secret of its own, or the new
    /// one came where everybody could read it; [`ActionResult::OtherReason`] for a secret of
    /// other than [`CHOSEN_SECRET_LEN_MIN`] to [`CHOSEN_SECRET_LEN_MAX`] bytes.
    pub fn change_secret(&mut self, secret: &[u8]) -> Result<(), ActionResult> {
        let is_hidden = self
            .caller
            .protection
            .is_some_and(|control| control.is_encrypted());
        let has_secret = matches!(
            self.caller.authentication,
            Mechanism::Lls | Mechanism::Sha256
        );
        if !is_hidden || !has_secret {
            return Err(ActionResult::ReadWriteDenied);
        }
        if !(CHOSEN_SECRET_LEN_MIN..=CHOSEN_SECRET_LEN_MAX).contains(&secret.len()) {
            return Err(ActionResult::OtherReason);
        }
        let secret = Secret::new(secret);
        self.security.set_secret(self.caller.client, secret);
        Ok(())
    }

    /// Agrees on keys (method 3): verifies the client's ephemeral keys, draws the meter's own,
    /// and returns these, signed. The agreed keys are in force after the answer, all or none.
    pub(super) fn agree_keys(&mut self, parameters: &Data) -> Result<Data, ActionResult> {
        let curve = self.curve()?;
        let asked = KeyAgreement::from_data(parameters).map_err(|_| ActionResult::TypeUnmatched)?;
        let (client, title) = self.vouched().ok_or(ActionResult::ObjectUnavailable)?;
        let signatures = self.security.signatures(client, title);
        let (signer, client_key) = signatures.ok_or(ActionResult::ObjectUnavailable)?;
        // Verified before anything is drawn: nobody else makes the meter work.
        asked
            .verify(client_key)
            .map_err(|_| ActionResult::OtherReason)?;
        let drawn: Vec<(KeyId, PrivateKey)> = asked
            .ids()
            .map(|id| (id, PrivateKey::generate(curve, self.entropy)))
            .collect();
        let own: Vec<(KeyId, &PrivateKey)> = drawn.iter().map(|(id, key)| (*id, key)).collect();
        let parties = Parties {
            originator: title,
            recipient: self.security.title(),
        };
        let agreed = asked
            .agree(&parties, &own, client_key)
            .map_err(|_| ActionResult::OtherReason)?;
        let offer = KeyAgreement::offer(&own, signer);
        self.security.stage(agreed);
        Ok(offer.to_data())
    }

    fn curve(&self) -> Result<Curve, ActionResult> {
        let curve = self.security.suite().curve();
        curve.ok_or(ActionResult::ObjectUnavailable)
    }

    /// The client, if its title is known.
    fn vouched(&self) -> Option<(u16, SystemTitle)> {
        Some((self.caller.client, self.caller.title?))
    }
}

impl core::fmt::Debug for SecurityDesk<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SecurityDesk")
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}
