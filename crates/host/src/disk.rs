//! Disks: a thread that carries out what nodes ask for, in order, many requests to one fsync.

mod archive;
mod cells;
mod directory;
mod ledger;
#[cfg(test)]
mod tests;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc as sync_mpsc;
use std::thread::JoinHandle;

use gridloom_nodes::{DiskReply, DiskRequest};
use tokio::sync::mpsc;

pub use archive::{ArchiveDisk, OBJECT_BYTES_MAX, OBJECT_NAME_BYTES_MAX};
pub use cells::CellDisk;
pub use directory::DataDirectory;
pub use ledger::{JOURNAL_BYTES_MAX, LedgerDisk, LedgerStart};

/// Requests that one pass takes; consecutive cells among them become one transaction.
pub const PASS_MAX: usize = 1_024;

/// A transaction of cells is closed once it holds this many bytes.
pub const TRANSACTION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A disk cannot be set up. Every message names the file and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// Another process works in the directory.
    #[error(
        "{directory} is in use by another gridloom{holder}: stop it, or choose another directory with {key}",
        directory = directory.display(),
        holder = process.map(|id| format!(" (process {id})")).unwrap_or_default()
    )]
    InUse {
        /// The data directory.
        directory: PathBuf,
        /// The process that holds it, where it is known.
        process: Option<u32>,
        /// The option or configuration key.
        key: String,
    },
    /// The system refuses.
    #[error("{doing} {path} failed: {cause}", path = path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's words and the remedy.
        cause: String,
    },
    /// The database refuses.
    #[error("{path}: {cause}", path = path.display())]
    Database {
        /// Its file.
        path: PathBuf,
        /// Its words and the remedy.
        cause: String,
    },
    /// The journal is larger than a start may load.
    #[error(
        "{path} holds more than {JOURNAL_BYTES_MAX} bytes of journal: something has kept days from \
         being sealed; move nothing, and recover with a backup of this directory at hand",
        path = path.display()
    )]
    JournalTooLarge {
        /// The journal's directory.
        path: PathBuf,
    },
}

/// What a disk can do.
#[derive(Debug, Default)]
pub struct DiskParts {
    /// The memory of nodes.
    pub cells: Option<CellDisk>,
    /// The utility's ledger.
    pub ledger: Option<LedgerDisk>,
    /// The archive.
    pub archive: Option<ArchiveDisk>,
}

enum Job {
    Ask {
        node: Arc<str>,
        slot: usize,
        request: DiskRequest,
        answers: mpsc::UnboundedSender<(usize, DiskReply)>,
    },
    Stop,
}

/// A disk at work on its own thread.
#[derive(Debug)]
pub struct Disk {
    handle: DiskHandle,
    thread: JoinHandle<DiskParts>,
}

/// A way to ask a disk. Several runners may share one.
#[derive(Clone)]
pub struct DiskHandle {
    jobs: sync_mpsc::Sender<Job>,
    has_cells: bool,
    has_ledger: bool,
    has_archive: bool,
}

impl fmt::Debug for DiskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskHandle")
            .field("cells", &self.has_cells)
            .field("ledger", &self.has_ledger)
            .field("archive", &self.has_archive)
            .finish()
    }
}

impl Disk {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// [`DiskError::File`] if the system gives no thread.
    pub fn start(name: &str, parts: DiskParts) -> Result<Self, DiskError> {
        // Unbounded, because runners bound what they have outstanding.
        let (jobs_in, jobs) = sync_mpsc::channel();
        let handle = DiskHandle {
            jobs: jobs_in,
            has_cells: parts.cells.is_some(),
            has_ledger: parts.ledger.is_some(),
            has_archive: parts.archive.is_some(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("disk-{name}"))
            .spawn(move || serve(parts, &jobs))
            .map_err(|error| DiskError::File {
                doing: "starting the thread of",
                path: name.into(),
                cause: error.to_string(),
            })?;
        Ok(Self { handle, thread })
    }

    /// A way to ask it.
    pub fn handle(&self) -> DiskHandle {
        self.handle.clone()
    }

    /// Carries out everything asked for so far, then ends the thread and gives the parts back.
    /// Blocks meanwhile. Stop the runners first: what is asked for later goes unanswered.
    ///
    /// # Panics
    ///
    /// With the panic of the thread, if it has panicked.
    pub fn close(self) -> DiskParts {
        // A thread that has panicked takes no job; joining tells.
        let _ = self.handle.jobs.send(Job::Stop);
        match self.thread.join() {
            Ok(parts) => parts,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl DiskHandle {
    /// Queues a request; its answer comes with `slot`.
    pub(crate) fn ask(
        &self,
        node: &Arc<str>,
        slot: usize,
        request: DiskRequest,
        answers: &mpsc::UnboundedSender<(usize, DiskReply)>,
    ) {
        let (has_it, what) = match &request {
            DiskRequest::Remember { .. } => (self.has_cells, "memory cells"),
            DiskRequest::Ledger(_) | DiskRequest::Query { .. } => (self.has_ledger, "a ledger"),
            DiskRequest::Archive { .. } => (self.has_archive, "an archive"),
        };
        assert!(
            has_it,
            "{node} asks for {what}, which its disk was not given"
        );
        let job = Job::Ask {
            node: Arc::clone(node),
            slot,
            request,
            answers: answers.clone(),
        };
        self.jobs
            .send(job)
            .unwrap_or_else(|_| panic!("the disk of {node} was closed before its runner"));
    }
}

/// A memory cell to write, and whom to tell.
struct CellJob {
    node: Arc<str>,
    slot: usize,
    ticket: u64,
    cell: &'static str,
    bytes: Vec<u8>,
    answers: mpsc::UnboundedSender<(usize, DiskReply)>,
}

impl CellJob {
    fn answer(&self, result: Result<(), String>) {
        let reply = DiskReply::Done {
            ticket: self.ticket,
            result,
        };
        // A runner that gave up waiting needs no answer.
        let _ = self.answers.send((self.slot, reply));
    }
}

fn serve(mut parts: DiskParts, jobs: &sync_mpsc::Receiver<Job>) -> DiskParts {
    let mut cells = Transaction::default();
    while let Ok(first) = jobs.recv() {
        let waiting = std::iter::once(first).chain(jobs.try_iter());
        for job in waiting.take(PASS_MAX) {
            let Job::Ask {
                node,
                slot,
                request,
                answers,
            } = job
            else {
                cells.write(&mut parts);
                return parts;
            };
            let reply = match request {
                DiskRequest::Remember {
                    ticket,
                    slot: cell,
                    bytes,
                } => {
                    cells.push(CellJob {
                        node,
                        slot,
                        ticket,
                        cell,
                        bytes,
                        answers,
                    });
                    if cells.is_full() {
                        cells.write(&mut parts);
                    }
                    continue;
                }
                DiskRequest::Ledger(effect) => {
                    cells.write(&mut parts);
                    DiskReply::Ledger(parts.ledger_mut().carry_out(effect))
                }
                DiskRequest::Query { ticket, query } => {
                    cells.write(&mut parts);
                    let result = parts.ledger_mut().query(query);
                    DiskReply::Answer { ticket, result }
                }
                DiskRequest::Archive {
                    ticket,
                    name,
                    bytes,
                } => {
                    cells.write(&mut parts);
                    let result = parts.archive_mut().put(&name, &bytes);
                    DiskReply::Done { ticket, result }
                }
            };
            // A runner that gave up waiting needs no answer.
            let _ = answers.send((slot, reply));
        }
        cells.write(&mut parts);
    }
    parts
}

impl DiskParts {
    fn ledger_mut(&mut self) -> &mut LedgerDisk {
        let ledger = self.ledger.as_mut();
        ledger.expect("the handle refuses what the disk has not")
    }

    fn archive_mut(&mut self) -> &mut ArchiveDisk {
        let archive = self.archive.as_mut();
        archive.expect("the handle refuses what the disk has not")
    }
}

/// Cells that become durable together. They are written before any other request is carried
/// out, because requests of one node are carried out in order.
#[derive(Default)]
struct Transaction {
    jobs: Vec<CellJob>,
    bytes: usize,
}

impl Transaction {
    fn push(&mut self, job: CellJob) {
        self.bytes += job.bytes.len();
        self.jobs.push(job);
    }

    const fn is_full(&self) -> bool {
        self.bytes >= TRANSACTION_BYTES_MAX
    }

    fn write(&mut self, parts: &mut DiskParts) {
        if self.jobs.is_empty() {
            return;
        }
        let disk = parts.cells.as_mut();
        let disk = disk.expect("the handle refuses what the disk has not");
        // One node's oversized cell must not fail its neighbours' transaction.
        self.jobs.retain(|job| match disk.check(job.bytes.len()) {
            Ok(()) => true,
            Err(words) => {
                job.answer(Err(words));
                false
            }
        });
        let cells: Vec<(&str, &str, &[u8])> = self
            .jobs
            .iter()
            .map(|job| (&*job.node, job.cell, &*job.bytes))
            .collect();
        let result = disk.put_many(&cells);
        for job in self.jobs.drain(..) {
            job.answer(result.clone());
        }
        self.bytes = 0;
    }
}

fn file_error(doing: &'static str, path: &Path, error: &std::io::Error) -> DiskError {
    DiskError::File {
        doing,
        path: path.to_owned(),
        cause: words::of_system(error),
    }
}
