//! How much gateway and edge keep for the tier above them, and of how many pushes the delay is
//! measured.

use anyhow::ensure;
use gridloom_nodes::delay::SAMPLE_ONE_IN;
use gridloom_store::SpoolConfig;

use super::Picker;

/// Room for a week of 1,000 meters that push every quarter of an hour.
const MIB: u64 = 256;

/// Below it a lane has no room for its segments; above it a start would list too many.
const MIB_MIN: u64 = 16;
const MIB_MAX: u64 = 65_536;

/// Rarer, nothing is seen of a day.
const ONE_IN_MAX: u32 = 1_000_000;

/// The bounds of the buffers of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Buffers {
    pub(crate) gateway: SpoolConfig,
    pub(crate) edge: SpoolConfig,
    /// Of so many pushes the gateway has the delay of one measured; none if zero.
    pub(crate) delay_one_in: u32,
}

impl Buffers {
    pub(super) fn resolve(
        gateway_mib: Option<u64>,
        edge_mib: Option<u64>,
        delay_one_in: Option<u32>,
        p: &mut Picker,
    ) -> anyhow::Result<Self> {
        let key = "gateway.delay_one_in";
        let delay_one_in = p.pick(key, None, delay_one_in, SAMPLE_ONE_IN, u32::to_string);
        ensure!(
            delay_one_in <= ONE_IN_MAX,
            "{key} = {delay_one_in}: give 0 for none, 1 for every push, up to {ONE_IN_MAX}"
        );
        Ok(Self {
            delay_one_in,
            gateway: bound("gateway.buffer_mib", gateway_mib, p)?,
            edge: bound("edge.buffer_mib", edge_mib, p)?,
        })
    }
}

fn bound(key: &str, said: Option<u64>, p: &mut Picker) -> anyhow::Result<SpoolConfig> {
    let mib = p.pick(key, None, said, MIB, u64::to_string);
    ensure!(
        (MIB_MIN..=MIB_MAX).contains(&mib),
        "{key} = {mib}: give {MIB_MIN} to {MIB_MAX}"
    );
    Ok(SpoolConfig {
        bytes_max: mib * 1024 * 1024,
        ..SpoolConfig::default()
    })
}
