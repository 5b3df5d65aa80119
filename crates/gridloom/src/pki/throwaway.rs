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
        match office.register().newest(node) {
            None => {
                office.enrol(node, DAYS, &[])?;
            }
            // A demo that was killed here had registered the certificate and not yet written it.
            Some(known) if known.revoked.is_none() && !office.files(node).own.is_file() => {
                office.renew(node, None)?;
            }
            // One that an operator has revoked stays out.
            Some(_) => {}
        }
    }
    office.write_list()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::register::Why;

    #[test]
    fn what_is_missing_is_made_and_what_is_due_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let node: NodeName = "edge/edge-1".parse().unwrap();
        let start = UtcTime::from_secs(1_700_000_000);
        let days = |days: u64| start + Duration::from_hours(24 * days);
        let at = |now| {
            refresh(folder.path(), "Elm", std::slice::from_ref(&node), now).unwrap();
            let office = Office::open(folder.path(), now).unwrap();
            let own = office.files(&node).own;
            let newest = office.register().newest(&node).unwrap().clone();
            (newest, office.register().issued.len(), own)
        };
        let (first, count, own) = at(start);
        assert_eq!((count, first.not_after), (1, days(30)));
        assert_eq!(at(days(19)).1, 1, "two thirds have not passed");
        let (second, count, _) = at(days(21));
        assert_eq!((count, second.not_after), (2, days(51)));
        // As a kill between register and file would leave it.
        std::fs::remove_file(&own).unwrap();
        assert_eq!(at(days(22)).1, 3);
        assert!(own.is_file());
        let mut office = Office::open(folder.path(), days(22)).unwrap();
        office.revoke("edge-1", Why::Unspecified).unwrap();
        drop(office);
        let (last, count, _) = at(days(60));
        assert_eq!(count, 3);
        assert!(last.revoked.is_some());
    }
}
