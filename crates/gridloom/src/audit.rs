//! `gridloom audit`: proves that nobody has changed the audit log.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use gridloom_headend::AuditRecord;
use gridloom_host::OperationsDisk;
use gridloom_store::audit_log::{AUDIT_READ_MAX, AuditHash, AuditHead, Verifier};

use crate::hex;
use crate::usage::usage;

/// Checks the audit log
#[derive(clap::Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Checks every entry and the hash that chains it to the one before
    Verify(Verify),
}

#[derive(clap::Args)]
struct Verify {
    /// Data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The end of the log as an earlier check printed it: shows also what was cut off since
    #[arg(long, value_name = "NUMBER:HASH")]
    witness: Option<String>,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

impl Audit {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        match self.action {
            Action::Verify(verify) => verify.run(out),
        }
    }
}

impl Verify {
    fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let witness = usage(self.witness.as_deref().map(read_head).transpose())?;
        let disk = OperationsDisk::open_database(&self.data)?;
        let mut verifier = Verifier::new(witness);
        let mut after = 0;
        loop {
            let entries = disk.store().audit_log(after, AUDIT_READ_MAX)?;
            let Some(last) = entries.last() else {
                break;
            };
            after = last.number;
            for entry in &entries {
                verifier.check(entry)?;
                AuditRecord::decode(&entry.record)
                    .with_context(|| format!("audit log: entry {}", entry.number))?;
            }
        }
        let head = verifier.finish()?;
        if self.json {
            let said = serde_json::json!({
                "entries": head.number, "head": head.hash.to_string(), "intact": true,
            });
            return Ok(writeln!(out, "{said}")?);
        }
        writeln!(out, "{} entries, all intact", head.number)?;
        writeln!(out, "witness  {}:{}", head.number, head.hash)?;
        Ok(())
    }
}

/// `NUMBER:HASH`.
fn read_head(text: &str) -> anyhow::Result<AuditHead> {
    let wanted = || format!("--witness {text:?}: give NUMBER:HASH as an earlier check printed it");
    let (number, hash) = text.split_once(':').with_context(wanted)?;
    let hash = hex::bytes("--witness", hash)?;
    Ok(AuditHead {
        number: number.parse().with_context(wanted)?,
        hash: AuditHash(hash.try_into().ok().with_context(wanted)?),
    })
}
