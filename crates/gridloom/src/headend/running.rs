//! The head-end's node at work, above a utility of the same process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use gridloom_core::{Now, Period, Seed};
use gridloom_headend::Templates;
use gridloom_headend::schedule::Recurrence;
use gridloom_host::{
    DialAddress, Disk, DiskHandle, DiskParts, Gate, Handle, LinkLimits, MeterListenOptions,
    MeterListener, Net, NodeIndex, Runner, Running, entropy,
};
use gridloom_nodes::envelope::Role;
use gridloom_nodes::envelope::pair::Epoch;
use gridloom_nodes::headend::HeadEndStatus;
use gridloom_nodes::{HeadEndConfig, HeadEndMemory, HeadEndNode, UtilityNode};

use super::{Firmware, HeadEndDesk, NODE, Office};
use crate::config::HeadEndSettings;
use crate::links::Links;

/// A read begins so long after its interval: a meter needs a moment to capture it.
const READ_AFTER: Duration = Duration::from_secs(5);

/// Reads of one interval are spread over so long for each meter, but never over more than a
/// third of the period.
const SPREAD_PER_METER: Duration = Duration::from_millis(20);

/// The shortest time that reads are spread over.
const SPREAD_MIN: Duration = Duration::from_secs(2);

/// Senders that say nothing for so long are closed.
const PUSH_SILENCE_MAX: Duration = Duration::from_mins(5);

/// A pushed frame that has begun must end within this time.
const PUSH_FRAME_MAX: Duration = Duration::from_secs(10);

/// How a head-end works.
#[derive(Debug)]
pub(crate) struct Work {
    /// The interval that meters capture.
    pub(crate) period: Period,
    /// Whether profiles are read on time, or pushed and only read on order.
    pub(crate) reads: Reads,
    /// How many times faster than the wall time passes: patience grows with it.
    pub(crate) speed: u32,
    pub(crate) settings: HeadEndSettings,
    /// Where meters push to it.
    pub(crate) pushes: Vec<MeterListener>,
    /// As a member of a pair.
    pub(crate) shared: Option<Shared>,
}

/// Who brings the profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The head-end reads every meter once in every period; those behind our own gateways push.
    OnTime,
    /// The meters push; the head-end looks once a year.
    Pushed,
}

/// A head-end at work.
pub(crate) struct HeadEnd {
    templates: Templates,
    firmware: Firmware,
    speed: u32,
    running: Running<HeadEndNode>,
    /// Its own; none where it shares that of a pair.
    disk: Option<Disk>,
}

/// What the tiers of a member of a pair share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// The disk that tells the other member.
    pub(crate) disk: DiskHandle,
    /// Shut when the lease ends.
    pub(crate) gate: Gate,
    /// The reign in which they speak.
    pub(crate) epoch: Epoch,
}

impl HeadEnd {
    /// Starts the node; it keeps itself connected to the utility at `utility`, and reads every
    /// meter once in `period`.
    pub(crate) fn start(
        office: Office,
        utility: DialAddress,
        work: Work,
        net: &Net,
        links: &Links,
        now: Now,
    ) -> anyhow::Result<Self> {
        let memory = HeadEndMemory::read(office.disk.store())?;
        let meters = office.disk.store().devices()?.len();
        let reading = match work.reads {
            Reads::OnTime => reading(work.period, meters)?,
            Reads::Pushed => rarely()?,
        };
        let templates = office.templates.clone();
        let mut config = HeadEndConfig::new(NODE, office.title, office.templates, reading);
        config.edge_key = Some(office.edge_key);
        config.images = office.firmware.load(&memory.images_wanted())?;
        config.seed = Seed::new(u64::from_be_bytes(office.title.0));
        config.reading_of_pushers = Some(rarely()?);
        config.history = work.settings.history;
        config.push_addresses = work.settings.push.addresses;
        if work.reads == Reads::OnTime {
            config.first_read_within = Some(spread(work.period, meters));
        }
        be_patient(&mut config, work.speed);
        let seed = entropy::bytes()?;
        let node = HeadEndNode::new(config, memory, Box::new(office.keys), seed, now)
            .context("the head-end cannot start")?;
        let mut runner = Runner::new(net.clone());
        let disk = match work.shared {
            Some(shared) => {
                runner.gate(shared.gate);
                runner.disk(shared.disk);
                None
            }
            None => {
                let parts = DiskParts {
                    operations: Some(office.disk),
                    ..DiskParts::default()
                };
                let disk = Disk::start("headend", parts)?;
                runner.disk(disk.handle());
                Some(disk)
            }
        };
        let index = runner.add(NODE, node);
        links.dial(&mut runner, index, Role::HeadEnd, utility);
        for listener in work.pushes {
            let options = MeterListenOptions {
                limits: LinkLimits {
                    partial_frame: PUSH_FRAME_MAX,
                    idle: Some(PUSH_SILENCE_MAX),
                    ..LinkLimits::default()
                },
                connections_max: work.settings.push.connections_max,
            };
            runner.listen_for_pushes(index, listener, options);
        }
        Ok(Self {
            templates,
            firmware: office.firmware,
            speed: work.speed,
            running: runner.start(),
            disk,
        })
    }

    /// Where the API asks and orders.
    /// Without a utility in this process a meter that is imported is not priced and billed until
    /// the utility's registry has it.
    pub(crate) fn desk(&self, utility: Option<Handle<UtilityNode>>) -> Arc<HeadEndDesk> {
        let desk = HeadEndDesk::new(
            self.running.handle(),
            utility,
            self.templates.clone(),
            self.firmware.clone(),
            self.speed,
        );
        Arc::new(desk)
    }

    pub(crate) async fn status(&self) -> anyhow::Result<HeadEndStatus> {
        let handle = self.running.handle();
        Ok(handle.call(NodeIndex(0), |node, _| node.status()).await?)
    }

    /// Ends sessions and dials; what waits for the disk is written.
    pub(crate) async fn stop(self) {
        self.running.stop().await;
        if let Some(disk) = self.disk {
            disk.close();
        }
    }
}

/// Lets everybody take as long by the wall as without acceleration.
fn be_patient(config: &mut HeadEndConfig, speed: u32) {
    for template in config.templates.values_mut() {
        template.answer_timeout *= speed;
    }
    for time in [
        &mut config.link_timeout,
        &mut config.session_timeout,
        &mut config.link_idle,
        &mut config.delivery_timeout,
        &mut config.command.selection_timeout,
        &mut config.command.wait,
    ] {
        *time *= speed;
    }
}

/// When profiles are read that come by themselves.
fn rarely() -> anyhow::Result<Recurrence> {
    let longest = Recurrence::PERIOD_MAX;
    Ok(Recurrence::new(
        longest,
        Duration::ZERO,
        longest,
        Duration::ZERO,
    )?)
}

/// When profiles are read: soon after each interval, until the next one is due.
fn reading(period: Period, meters: usize) -> anyhow::Result<Recurrence> {
    let jitter = spread(period, meters);
    let period = period.duration();
    Ok(Recurrence::new(period, READ_AFTER, period, jitter)?)
}

/// Over how long the reads of so many meters are spread.
fn spread(period: Period, meters: usize) -> Duration {
    let meters = u32::try_from(meters).unwrap_or(u32::MAX);
    let spread = SPREAD_PER_METER.saturating_mul(meters).max(SPREAD_MIN);
    spread.min(period.duration() / 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_period_and_size_has_its_times() {
        for seconds in [60, 900, 1_800, 3_600] {
            for meters in [0, 1, 10_000, 1_000_000] {
                let period = Period::from_secs(seconds).unwrap();
                assert!(reading(period, meters).is_ok(), "{seconds} s, {meters}");
            }
        }
    }
}
