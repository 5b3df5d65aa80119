//! An authority that a demo makes for itself in its data directory, and renews by itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gridloom_core::UtcTime;
use gridloom_host::{Clock, NodeName};

use super::office::Office;

/// Days of a certificate.
const DAYS: u32 = 30;

/// How often a running demo looks whether something has to be renewed.
const LOOK_EVERY: Duration = Duration::from_hours(12);

/// Makes what is missing, renews what is due, and goes on doing so; the directory.
pub(crate) fn keep(
    data: &Path,
    utility: &str,
    nodes: &[NodeName],
    clock: &Clock,
) -> anyhow::Result<PathBuf> {
    let directory = data.join("pki");
    refresh(&directory, utility, nodes, clock.wall())?;
    let (utility, nodes, clock) = (utility.to_owned(), nodes.to_vec(), clock.clone());
    let of_task = directory.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(error) = refresh(&of_task, &utility, &nodes, clock.wall()) {
                let error = format!("{error:#}");
                tracing::error!(error, "the demo's certificates cannot be renewed");
            }
        }
    });
    Ok(directory)
}

fn refresh(
    directory: &Path,
    utility: &str,
    nodes: &[NodeName],
    now: UtcTime,
) -> anyhow::Result<()> {
    let mut office = if Office::is_in(directory) {
        Office::open(directory, now)?
    } else {
        Office::found(directory, utility, 10, now)?
    };
    for node in office.due() {
        office.renew(&node, None)?;
    }
    for node in nodes {
        // One that an operator has revoked stays out.
        if office.register().newest(node).is_none() {
            office.enrol(node, DAYS, &[])?;
        }
    }
    office.write_list()
}
