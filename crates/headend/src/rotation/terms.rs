//! What a rotation is told, what it wants done, and how that may end.

use std::collections::BTreeSet;

use gridloom_core::{MeterId, SystemTitle};
use gridloom_store::{Batch, KeyId, KeyKind};

use super::candidates::KeySelection;
use crate::vault::VaultError;

/// What to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationPlan {
    /// The number of this work.
    pub number: u64,
    /// Whose keys.
    pub meter: MeterId,
    /// Which ones.
    pub kinds: BTreeSet<KeyKind>,
    /// Who wants it, for the audit log.
    pub actor: String,
    /// The head-end's own system title, whose counters start under the new keys.
    pub own: SystemTitle,
}

/// What a rotation wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationOutput {
    /// Commit this; answer with [`super::Rotation::handle_committed`] or
    /// [`super::Rotation::handle_commit_failed`].
    Commit(Batch),
    /// Open an association under these keys and invoke `key_transfer` with the others; answer
    /// with [`super::Rotation::handle_transfer`].
    Transfer {
        /// Under which keys.
        under: KeySelection,
        /// By which of the meter's master keys they are wrapped.
        wrapped_by: KeyId,
        /// What to hand over: see [`super::transport_keys`].
        keys: Vec<(KeyKind, KeyId)>,
    },
    /// Open an association under these keys, and release it; answer with
    /// [`super::Rotation::handle_probe`].
    Probe(KeySelection),
    /// No key that we hold opens an association, or unwraps at the meter. Nothing is thrown away
    /// and probing goes on, but somebody should look at the meter.
    NoKeyWorks {
        /// Rounds of probing so far.
        rounds: u32,
    },
    /// It is over.
    Finished(RotationOutcome),
}

/// How a rotation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationOutcome {
    /// The new keys work, and are current.
    Changed,
    /// The old keys work, and stay current.
    GivenUp(String),
}

/// What is known of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferOutcome {
    /// The meter's verified answer says that it took the keys.
    Accepted,
    /// The meter's verified answer says that it did not.
    Refused(String),
    /// Nothing was sent: the link or the association did not come up in time.
    NotSent(String),
    /// The meter does not accept the keys that the association was tried under.
    WrongKey(String),
    /// It was sent, and no verified answer came.
    Unknown(String),
}

/// What is known after a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// The association opened: both sides proved the keys.
    Opened,
    /// The meter was reached, but not under these keys.
    WrongKey(String),
    /// The meter was not reached.
    Unreachable(String),
}

/// Why a rotation cannot begin or go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotationError {
    /// A secret that is no key of the security setup.
    #[error(
        "key change of {meter}: a {kind} does not travel by key transfer; change guek, gak, gbek \
         or kek"
    )]
    NotTransferable {
        /// Whose.
        meter: MeterId,
        /// Which kind.
        kind: KeyKind,
    },
    /// Nothing to change.
    #[error("key change of {0}: no kind of key is named; name guek, gak, gbek or kek")]
    NothingToChange(MeterId),
    /// There is no current key.
    #[error("key change of {meter}: it has no current {kind}; import its keys first")]
    NoCurrentKey {
        /// Whose.
        meter: MeterId,
        /// Which kind.
        kind: KeyKind,
    },
    /// Another change is under way.
    #[error("key change of {meter}: {key} is pending; finish that change first")]
    AlreadyPending {
        /// Whose.
        meter: MeterId,
        /// The key.
        key: KeyId,
    },
    /// Too little entropy.
    #[error("key change of {meter}: {got} bytes of entropy, {wanted} are needed")]
    Entropy {
        /// Whose.
        meter: MeterId,
        /// Given.
        got: usize,
        /// Needed.
        wanted: usize,
    },
    /// The vault refused.
    #[error("key change: {0}")]
    Vault(#[from] VaultError),
    /// The stored state does not decode.
    #[error("key change {number}: its stored state is damaged ({what}); restore it from a backup")]
    DamagedState {
        /// Which.
        number: u64,
        /// What is wrong.
        what: &'static str,
    },
}
