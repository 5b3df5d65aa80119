//! Which keys a meter may hold after a transfer whose outcome nobody heard.

use std::collections::{BTreeMap, BTreeSet};

use gridloom_store::{KeyId, KeyKind};

/// The keys of one association.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeySelection {
    /// The global unicast encryption key; counters belong to it.
    pub encryption: KeyId,
    /// The authentication key.
    pub authentication: KeyId,
}

impl KeySelection {
    pub(super) fn of(keys: &BTreeMap<KeyKind, KeyId>) -> Self {
        Self {
            encryption: keys[&KeyKind::UnicastEncryption],
            authentication: keys[&KeyKind::Authentication],
        }
    }
}

/// The kinds of keys that the meter may have taken; none of them: it holds the old ones.
pub(super) type Candidate = BTreeSet<KeyKind>;

/// In the order in which they are tried: everything taken, nothing taken, then the mixtures of a
/// meter that took a part.
pub(super) fn candidates(pending: &BTreeMap<KeyKind, KeyId>) -> Vec<Candidate> {
    let whole: Candidate = pending.keys().copied().collect();
    let mut all = vec![whole, Candidate::new()];
    if pending.len() > 1 {
        all.extend(pending.keys().map(|kind| Candidate::from([*kind])));
    }
    all
}
