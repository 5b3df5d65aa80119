//! The first steps of screening: frame, identity, integrity, freshness, clock. Each refusal has a
//! reason and a counter.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{IntervalReading, MeterId, Period, SystemTitle, UtcTime, Watts};
use gridloom_dlms::apdu::{Apdu, DataAccessResult, InvokeId};
use gridloom_dlms::counter::ReceiveCounter;
use gridloom_dlms::push::{BillingStatus, IntervalPush};
use gridloom_dlms::security::{CipherContext, CipheredApdu, Policy};

use crate::registry::{Registration, Registry};

/// Why a packet was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It is no general-glo-ciphering APDU, or its verified content cannot be read.
    Malformed,
    /// Its system title is not in the registry.
    UnknownTitle,
    /// Its tag does not verify, or it is protected less than suite 0 demands.
    BadTag,
    /// Its invocation counter was used before.
    Replayed,
    /// Its interval ends in the future.
    ClockAhead,
    /// It is of another capture period than the meter was set to.
    WrongPeriod,
    /// It is a verified APDU that nobody asked this meter for.
    Unexpected,
}

impl Refusal {
    /// Every reason, in the order of [`RefusalCounters::to_array`].
    pub const ALL: [Self; RefusalCounters::KINDS] = [
        Self::Malformed,
        Self::UnknownTitle,
        Self::BadTag,
        Self::Replayed,
        Self::ClockAhead,
        Self::WrongPeriod,
        Self::Unexpected,
    ];
}

/// Packets refused since start, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefusalCounters([u64; Self::KINDS]);

impl RefusalCounters {
    /// Number of reasons.
    pub const KINDS: usize = 7;

    /// Counts one more.
    pub fn count(&mut self, refusal: Refusal) {
        self.0[refusal as usize] += 1;
    }

    /// How many were refused for this reason.
    pub const fn get(&self, refusal: Refusal) -> u64 {
        self.0[refusal as usize]
    }

    /// Adds another screen's counters.
    pub fn add(&mut self, other: &Self) {
        for (own, more) in self.0.iter_mut().zip(other.0) {
            *own += more;
        }
    }

    /// The counters in the order of [`Refusal::ALL`].
    pub const fn to_array(self) -> [u64; Self::KINDS] {
        self.0
    }

    /// The counters from the order of [`Refusal::ALL`].
    pub const fn from_array(counts: [u64; Self::KINDS]) -> Self {
        Self(counts)
    }
}

/// A reading that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedReading {
    /// Who signed it.
    pub title: SystemTitle,
    /// Its invocation counter.
    pub counter: u32,
    /// What was measured.
    pub reading: IntervalReading,
    /// Active power at the moment of the push, import positive.
    pub power: Watts,
    /// The meter's own account of what its customer owes.
    pub billing: BillingStatus,
}

/// What a verified packet said.
#[derive(Debug)]
pub(crate) enum Said {
    /// A reading.
    Reading(AcceptedReading),
    /// The answer to a SET.
    SetAnswer { invoke_id: InvokeId, accepted: bool },
}

#[derive(Debug)]
struct Device {
    meter: MeterId,
    period: Period,
    context: CipherContext,
    believed: ReceiveCounter,
}

/// Verifies packets against the registry.
#[derive(Debug)]
pub(crate) struct Screen {
    devices: BTreeMap<SystemTitle, Device>,
    counters: RefusalCounters,
    /// Whether a counter was believed since [`Screen::take_news`].
    news: bool,
    /// Where packets are decrypted; kept so that no packet costs an allocation.
    plain: Vec<u8>,
}

impl Screen {
    /// How far a meter's clock may be ahead of the edge's.
    const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(300);

    pub(crate) fn new(registry: &Registry, believed: &BTreeMap<SystemTitle, u32>) -> Self {
        let device = |registration: &Registration| Device {
            meter: registration.meter,
            period: registration.period,
            context: CipherContext::new(&registration.keys),
            believed: believed
                .get(&registration.title)
                .map_or_else(ReceiveCounter::new, |last| ReceiveCounter::after(*last)),
        };
        Self {
            devices: registry
                .titles()
                .filter_map(|title| registry.by_title(title))
                .map(|registration| (registration.title, device(registration)))
                .collect(),
            counters: RefusalCounters::default(),
            news: false,
            plain: Vec::new(),
        }
    }

    /// Counts a packet that was refused before it got here.
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        self.counters.count(refusal);
    }

    pub(crate) fn counters(&self) -> RefusalCounters {
        self.counters
    }

    /// The cipher of a meter, for what goes back to it.
    pub(crate) fn context(&self, title: SystemTitle) -> Option<&CipherContext> {
        self.devices.get(&title).map(|device| &device.context)
    }

    /// The counters believed so far, by title.
    pub(crate) fn believed(&self) -> impl Iterator<Item = (SystemTitle, u32)> {
        self.devices
            .iter()
            .filter_map(|(title, device)| device.believed.last().map(|last| (*title, last)))
    }

    /// Whether a counter was believed since the last call, be its packet accepted or not: a
    /// verified packet that is refused today must not pass when it is replayed after a restart.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Takes a packet apart, and believes it if it deserves that.
    pub(crate) fn screen(
        &mut self,
        frame: &[u8],
        now: UtcTime,
    ) -> Result<(SystemTitle, Said), Refusal> {
        let result = self.verify(frame, now);
        if let Err(refusal) = result {
            self.counters.count(refusal);
        }
        result
    }

    fn verify(&mut self, frame: &[u8], now: UtcTime) -> Result<(SystemTitle, Said), Refusal> {
        let packet = CipheredApdu::decode(frame).map_err(|_| Refusal::Malformed)?;
        let device = self
            .devices
            .get_mut(&packet.title)
            .ok_or(Refusal::UnknownTitle)?;
        // Checked before the tag because it is cheap, committed after it because a forged frame
        // with a high counter must not lock the true meter out.
        let fresh = device
            .believed
            .check(packet.counter)
            .map_err(|_| Refusal::Replayed)?;
        let plain = device
            .context
            .open(&packet, Policy::AuthenticatedEncryption, &mut self.plain)
            .map_err(|_| Refusal::BadTag)?;
        device.believed.commit(fresh);
        self.news = true;
        let said = match Apdu::decode(plain) {
            Ok(Apdu::DataNotification(notification)) => {
                let push =
                    IntervalPush::decode(notification.body).map_err(|_| Refusal::Malformed)?;
                reading(&packet, device, &push, now)?
            }
            Ok(Apdu::SetResponseNormal(response)) => Said::SetAnswer {
                invoke_id: response.invoke_id,
                accepted: response.result == DataAccessResult::Success,
            },
            Ok(_) => return Err(Refusal::Unexpected),
            Err(_) => return Err(Refusal::Malformed),
        };
        Ok((packet.title, said))
    }
}

fn reading(
    packet: &CipheredApdu<'_>,
    device: &Device,
    push: &IntervalPush,
    now: UtcTime,
) -> Result<Said, Refusal> {
    if push.period != device.period {
        return Err(Refusal::WrongPeriod);
    }
    if push.end > now + Screen::CLOCK_AHEAD_MAX {
        return Err(Refusal::ClockAhead);
    }
    Ok(Said::Reading(AcceptedReading {
        title: packet.title,
        counter: packet.counter,
        reading: push.reading(device.meter),
        power: push.power,
        billing: push.billing,
    }))
}
