//! How much gateway and edge keep for the tier above them.

use anyhow::ensure;
use gridloom_store::SpoolConfig;

use super::Picker;

/// Room for a week of 1,000 meters that push every quarter of an hour.
const MIB: u64 = 256;

/// Below it a lane has no room for its segments; above it a start would list too many.
const MIB_MIN: u64 = 16;
const MIB_MAX: u64 = 65_536;

/// The bounds of the buffers of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Buffers {
    pub(crate) gateway: SpoolConfig,
    pub(crate) edge: SpoolConfig,
}

impl Buffers {
    pub(super) fn resolve(
        gateway_mib: Option<u64>,
        edge_mib: Option<u64>,
        p: &mut Picker,
    ) -> anyhow::Result<Self> {
        Ok(Self {
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
