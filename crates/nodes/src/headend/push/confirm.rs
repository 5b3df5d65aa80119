//! The answers to confirmed pushes: each under a counter of its own that is durable.

use gridloom_dlms::apdu::{DataNotificationConfirm, LongInvokeId};
use gridloom_dlms::security::SecuritySuite;
use gridloom_dlms::wrapper::{self, WPort};
use gridloom_headend::Taken;
use gridloom_headend::rotation::KeySelection;
use gridloom_store::KeyId;

use crate::headend::HeadEndNode;
use crate::node::{LinkId, Output};

/// Under what a push came, and its answer leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::headend) enum Under {
    /// The meter is not ciphered.
    Nothing,
    Keys(KeySelection),
}

/// A confirmation that is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::headend) struct Confirm {
    pub(super) link: LinkId,
    /// The wrapper port to which the meter pushed.
    pub(super) client: WPort,
    /// The wrapper port from which it pushed.
    pub(super) meter: WPort,
    pub(super) under: Under,
    pub(super) invoke_id: LongInvokeId,
}

impl HeadEndNode {
    /// Confirmations of one meter that wait for a counter; the oldest is dropped beyond it, and
    /// the meter pushes again.
    const CONFIRMS_PER_KEY_MAX: usize = 32;

    /// What a push said is durable: its meter may forget it.
    pub(in crate::headend) fn pushes_confirmed(&mut self, confirm: Option<Confirm>) {
        let Some(confirm) = confirm else { return };
        match confirm.under {
            Under::Nothing => {
                let apdu = confirm.apdu();
                self.send_confirm(&confirm, &apdu);
            }
            Under::Keys(selection) => {
                let key = selection.encryption;
                let waiting = self.pushes.waiting.entry(key).or_default();
                if waiting.len() >= Self::CONFIRMS_PER_KEY_MAX {
                    waiting.pop_front();
                }
                waiting.push_back(confirm);
                self.send_confirms(key);
            }
        }
    }

    /// Counters under any key are durable, or came back from a session.
    pub(in crate::headend) fn send_all_confirms(&mut self) {
        let keys: Vec<KeyId> = self.pushes.waiting.keys().copied().collect();
        for key in keys {
            self.send_confirms(key);
        }
    }

    /// Sends what waits under a key, as far as there are counters.
    pub(in crate::headend) fn send_confirms(&mut self, key: KeyId) {
        let Some(mut waiting) = self.pushes.waiting.remove(&key) else {
            return;
        };
        while let Some(confirm) = waiting.pop_front() {
            let Under::Keys(selection) = confirm.under else {
                continue;
            };
            if !self.pushes.is_up(confirm.link) {
                continue;
            }
            match self.counters.take(key) {
                Taken::Counter(counter) => {
                    let suite = self.suite_of(key);
                    if let Some(context) = self.push_context(selection, suite) {
                        let own = self.config.title;
                        let mut sealed = Vec::new();
                        let protection = context.full_protection(own, counter);
                        context.protect(protection, &confirm.apdu(), &mut sealed);
                        self.send_confirm(&confirm, &sealed);
                    }
                }
                Taken::Later => {
                    waiting.push_front(confirm);
                    self.pushes.waiting.insert(key, waiting);
                    return;
                }
                Taken::Never => {}
            }
        }
    }

    /// The suite that the meter of a key is registered with.
    fn suite_of(&self, key: KeyId) -> SecuritySuite {
        let row = self.keys.row(key);
        let device = row.and_then(|row| self.registry.meter(row.meter));
        let suites = device.into_iter().flat_map(|row| &row.roles);
        let suite = suites.filter_map(|role| role.suite).max().unwrap_or(0);
        SecuritySuite::from_code(suite).unwrap_or(SecuritySuite::Suite0)
    }

    fn send_confirm(&mut self, confirm: &Confirm, apdu: &[u8]) {
        self.pushes.counts.confirmed += 1;
        let frame = wrapper::Frame {
            source: confirm.client,
            destination: confirm.meter,
            apdu,
        };
        self.outbox.push_back(Output::Send {
            link: confirm.link,
            frame: frame.to_bytes(),
        });
    }
}

impl Confirm {
    fn apdu(&self) -> Vec<u8> {
        let mut apdu = Vec::new();
        DataNotificationConfirm {
            invoke_id: self.invoke_id,
            time: None,
        }
        .encode(&mut apdu);
        apdu
    }
}
