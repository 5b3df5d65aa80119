//! The audit log of a data directory, for whoever decides about held packets.

use std::sync::{Arc, Mutex, PoisonError};

use gridloom_headend::AuditRecord;
use gridloom_headend::audit::Action;
use gridloom_host::{DataDirectory, OperationsDisk};
use gridloom_store::Batch;
use gridloom_store::audit_log::AUDIT_READ_MAX;
use gridloom_web::DeskError;

/// Entries of the log that are read at a start; an outcome that was left unknown before them stays so.
const RECENT_MAX: u64 = 10_000;

/// A connection of its own to the hash-chained log: an edge's host may have no head-end, and then
/// nobody else writes there. Where there is one, the database puts the entries of both in a row.
#[derive(Clone)]
pub(super) struct DecisionLog(Arc<Mutex<OperationsDisk>>);

impl DecisionLog {
    pub(super) fn open(directory: &DataDirectory) -> anyhow::Result<Self> {
        let disk = OperationsDisk::open(directory)?;
        Ok(Self(Arc::new(Mutex::new(disk))))
    }

    /// What was written last about held packets, oldest first.
    pub(super) fn recent(&self) -> anyhow::Result<Vec<AuditRecord>> {
        let disk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let store = disk.store();
        let mut after = store.audit_head()?.number.saturating_sub(RECENT_MAX);
        let mut records = Vec::new();
        loop {
            let entries = store.audit_log(after, AUDIT_READ_MAX)?;
            let Some(last) = entries.last() else {
                return Ok(records);
            };
            after = last.number;
            // A newer program may have written others; `gridloom audit verify` names them.
            let some = entries
                .iter()
                .filter_map(|entry| AuditRecord::decode(&entry.record).ok());
            records.extend(some.filter(|record| record.action == Action::Quarantine));
        }
    }

    /// Returns once the record is durable.
    pub(super) async fn write(&self, record: AuditRecord) -> Result<(), DeskError> {
        let disk = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || {
            let mut disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
            let answers = disk
                .store_mut()
                .commit(&[Batch::new(vec![record.to_change()])]);
            answers
                .map_err(|error| error.to_string())?
                .into_iter()
                .try_for_each(|answer| answer.map_err(|refused| refused.to_string()))
        });
        let written = written.await.map_err(super::broken)?;
        written.map_err(|words| {
            DeskError::Down(format!(
                "the audit log was not written: {words}; look at the packet before you decide again"
            ))
        })
    }
}
