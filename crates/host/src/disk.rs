//! Disks: a thread that carries out what nodes ask for, in order, many requests to one fsync.

mod archive;
mod cells;
mod directory;
mod keeper;
mod ledger;
mod mirror;
mod operations;
mod spool;
#[cfg(test)]
mod tests;
mod words;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as sync_mpsc;
use std::thread::JoinHandle;

use gridloom_nodes::{DiskReply, DiskRequest, PairReply, PairRequest};
use gridloom_store::{Batch, Effect, Entry, Outcome};
use tokio::sync::mpsc;

pub use archive::{ArchiveDisk, OBJECT_BYTES_MAX, OBJECT_NAME_BYTES_MAX};
pub use cells::CellDisk;
pub use directory::DataDirectory;
pub use keeper::KeeperDisk;
pub use ledger::{JOURNAL_BYTES_MAX, LedgerDisk, LedgerStart};
pub use operations::OperationsDisk;
pub use spool::{SPOOL_SEGMENT_BYTES_MAX, SpoolDisk};

use mirror::Mirror;

/// Requests that one pass takes; consecutive cells among them become one transaction, and so do
/// consecutive changes of the head-end's tables.
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
    /// The head-end's tables.
    pub operations: Option<OperationsDisk>,
    /// The archive.
    pub archive: Option<ArchiveDisk>,
    /// What the keeper of a head-end pair needs.
    pub keeper: Option<KeeperDisk>,
    /// The spools, by the names of their nodes.
    pub spools: BTreeMap<String, SpoolDisk>,
}

/// Which runner of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ClientId(u64);

/// Whom to tell: a runner, and a node of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asker {
    client: ClientId,
    slot: usize,
}

type Answers = mpsc::UnboundedSender<(usize, DiskReply)>;

enum Job {
    Attach {
        client: ClientId,
        answers: Answers,
    },
    Ask {
        asker: Asker,
        node: Arc<str>,
        request: DiskRequest,
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
    next_client: Arc<AtomicU64>,
    has_cells: bool,
    has_ledger: bool,
    has_operations: bool,
    has_archive: bool,
    has_keeper: bool,
    has_spools: bool,
}

impl fmt::Debug for DiskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskHandle")
            .field("cells", &self.has_cells)
            .field("ledger", &self.has_ledger)
            .field("operations", &self.has_operations)
            .field("archive", &self.has_archive)
            .field("keeper", &self.has_keeper)
            .field("spools", &self.has_spools)
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
            next_client: Arc::default(),
            has_cells: parts.cells.is_some(),
            has_ledger: parts.ledger.is_some(),
            has_operations: parts.operations.is_some(),
            has_archive: parts.archive.is_some(),
            has_keeper: parts.keeper.is_some(),
            has_spools: !parts.spools.is_empty(),
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
    /// A runner's own way to ask, and its answers with the slot of the node that asked. The thread
    /// alone holds the other end of the answers: when it dies, they end.
    ///
    /// The answers are unbounded, because each belongs to a request, and runners bound those.
    pub(crate) fn attach(&self) -> (DiskClient, mpsc::UnboundedReceiver<(usize, DiskReply)>) {
        let (answers_in, answers) = mpsc::unbounded_channel();
        let id = ClientId(self.next_client.fetch_add(1, Ordering::Relaxed));
        let attach = Job::Attach {
            client: id,
            answers: answers_in,
        };
        // A closed disk answers nothing: the answers have ended.
        let _ = self.jobs.send(attach);
        let handle = self.clone();
        (DiskClient { handle, id }, answers)
    }
}

/// One runner's way to ask a disk.
#[derive(Debug)]
pub(crate) struct DiskClient {
    handle: DiskHandle,
    id: ClientId,
}

impl DiskClient {
    /// Queues a request; its answer comes with `slot`.
    pub(crate) fn ask(&self, node: &Arc<str>, slot: usize, request: DiskRequest) {
        let disk = &self.handle;
        let (has_it, what) = match &request {
            DiskRequest::Remember { .. } => (disk.has_cells, "memory cells"),
            DiskRequest::Ledger(_) | DiskRequest::Query { .. } => (disk.has_ledger, "a ledger"),
            DiskRequest::Operations { .. } => (disk.has_operations, "the operations' tables"),
            DiskRequest::Archive { .. } => (disk.has_archive, "an archive"),
            DiskRequest::Pair(_) => (disk.has_keeper, "a pair's keeper"),
            DiskRequest::Spool(_) => (disk.has_spools, "a spool"),
        };
        assert!(
            has_it,
            "{node} asks for {what}, which its disk was not given"
        );
        let client = self.id;
        let job = Job::Ask {
            asker: Asker { client, slot },
            node: Arc::clone(node),
            request,
        };
        disk.jobs
            .send(job)
            .unwrap_or_else(|_| panic!("the disk of {node} ended before its runner"));
    }
}

/// The runners that have attached.
#[derive(Default)]
struct Clients(BTreeMap<ClientId, Answers>);

impl Clients {
    fn answer(&mut self, asker: Asker, reply: DiskReply) {
        let Some(answers) = self.0.get(&asker.client) else {
            return;
        };
        if answers.send((asker.slot, reply)).is_err() {
            // The runner gave up waiting, and asks no more.
            self.0.remove(&asker.client);
        }
    }

    fn done(&mut self, asker: Asker, ticket: u64, result: Result<(), String>) {
        self.answer(asker, DiskReply::Done { ticket, result });
    }
}

/// A memory cell to write, and whom to tell.
struct CellJob {
    asker: Asker,
    node: Arc<str>,
    ticket: u64,
    cell: Cow<'static, str>,
    bytes: Vec<u8>,
    /// Whether it comes from the other member of a pair.
    is_copy: bool,
}

/// Changes of the head-end's tables that become durable together, in their order.
#[derive(Default)]
struct Batches {
    askers: Vec<Changer>,
    batches: Vec<Batch>,
}

/// Who wants a batch carried out.
struct Changer {
    asker: Asker,
    ticket: u64,
    /// Whether it comes from the other member of a pair.
    is_copy: bool,
}

impl Batches {
    fn push(&mut self, changer: Changer, batch: Batch) {
        self.askers.push(changer);
        self.batches.push(batch);
    }

    fn write(&mut self, parts: &mut DiskParts, clients: &mut Clients, mirror: &mut Mirror) {
        if self.batches.is_empty() {
            return;
        }
        let disk = parts.operations.as_mut();
        let disk = disk.expect("a client refuses to ask for what the disk has not");
        let batches = std::mem::take(&mut self.batches);
        let results = disk.commit(&batches);
        for (index, (changer, batch)) in self.askers.drain(..).zip(batches).enumerate() {
            let Changer {
                asker,
                ticket,
                is_copy,
            } = changer;
            let result = match &results {
                Ok(answers) => Ok(answers[index].clone()),
                Err(words) => Err(words.clone()),
            };
            let changed = matches!(result, Ok(Ok(())));
            if is_copy {
                let result = match result {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(refused)) => Err(refused.to_string()),
                    Err(words) => Err(words),
                };
                clients.done(asker, ticket, result);
                continue;
            }
            let entry = (changed && mirror.is_on()).then_some(Entry::Batch(batch));
            let reply = DiskReply::Operations { ticket, result };
            mirror.answer(clients, asker, reply, entry);
        }
    }
}

/// A disk's thread.
struct Service {
    parts: DiskParts,
    clients: Clients,
    cells: Transaction,
    batches: Batches,
    mirror: Mirror,
}

fn serve(parts: DiskParts, jobs: &sync_mpsc::Receiver<Job>) -> DiskParts {
    let mut service = Service {
        parts,
        clients: Clients::default(),
        cells: Transaction::default(),
        batches: Batches::default(),
        mirror: Mirror::default(),
    };
    while let Ok(first) = jobs.recv() {
        let waiting = std::iter::once(first).chain(jobs.try_iter());
        for job in waiting.take(PASS_MAX) {
            match job {
                Job::Ask {
                    asker,
                    node,
                    request,
                } => service.take(asker, node, request),
                Job::Attach { client, answers } => {
                    service.clients.0.insert(client, answers);
                }
                Job::Stop => {
                    service.write();
                    return service.parts;
                }
            }
        }
        service.write();
    }
    service.parts
}

impl Service {
    fn write(&mut self) {
        self.write_cells();
        self.write_batches();
    }

    fn write_cells(&mut self) {
        self.cells
            .write(&mut self.parts, &mut self.clients, &mut self.mirror);
    }

    fn write_batches(&mut self) {
        self.batches
            .write(&mut self.parts, &mut self.clients, &mut self.mirror);
    }

    fn take(&mut self, asker: Asker, node: Arc<str>, request: DiskRequest) {
        match request {
            DiskRequest::Remember {
                ticket,
                slot,
                bytes,
            } => self.take_cell(CellJob {
                asker,
                node,
                ticket,
                cell: Cow::Borrowed(slot),
                bytes,
                is_copy: false,
            }),
            DiskRequest::Operations { ticket, batch } => {
                self.write_cells();
                let is_copy = false;
                let changer = Changer {
                    asker,
                    ticket,
                    is_copy,
                };
                self.batches.push(changer, batch);
            }
            DiskRequest::Pair(PairRequest::Apply { ticket, entry }) => {
                self.apply(asker, ticket, &entry);
            }
            DiskRequest::Pair(request) => {
                self.write();
                self.keep(asker, request);
            }
            DiskRequest::Ledger(effect) => {
                self.write();
                let entry = self.mirror.is_on().then(|| effect.clone());
                let outcome = self.parts.ledger(effect);
                let has_failed = matches!(outcome, Outcome::Failed { .. });
                let entry = entry.filter(|_| !has_failed).map(Entry::Effect);
                let reply = DiskReply::Ledger(outcome);
                self.mirror.answer(&mut self.clients, asker, reply, entry);
            }
            other @ (DiskRequest::Spool(_)
            | DiskRequest::Query { .. }
            | DiskRequest::Archive { .. }) => {
                self.write();
                let reply = self.parts.carry_out(&node, other);
                self.clients.answer(asker, reply);
            }
        }
    }

    fn take_cell(&mut self, job: CellJob) {
        self.write_batches();
        self.cells.push(job);
        if self.cells.is_full() {
            self.write_cells();
        }
    }

    /// What the other member's disk has carried out.
    fn apply(&mut self, asker: Asker, ticket: u64, entry: &[u8]) {
        match Entry::decode(entry) {
            Ok(Entry::Batch(batch)) => {
                self.write_cells();
                let is_copy = true;
                let changer = Changer {
                    asker,
                    ticket,
                    is_copy,
                };
                self.batches.push(changer, batch);
            }
            Ok(Entry::Cell { node, slot, bytes }) => self.take_cell(CellJob {
                asker,
                node: node.into(),
                ticket,
                cell: Cow::Owned(slot),
                bytes,
                is_copy: true,
            }),
            Ok(Entry::Effect(effect)) => {
                self.write();
                let result = match self.parts.ledger(effect) {
                    Outcome::Failed { error, .. } => Err(error),
                    Outcome::Truncated
                    | Outcome::Written { .. }
                    | Outcome::Committed(_)
                    | Outcome::Dropped => Ok(()),
                };
                self.clients.done(asker, ticket, result);
            }
            Err(error) => {
                self.write();
                self.clients.done(asker, ticket, Err(error.to_string()));
            }
        }
    }

    fn keep(&mut self, asker: Asker, request: PairRequest) {
        let keeper = self.parts.keeper.as_mut();
        let keeper = keeper.expect("a client refuses to ask for what the disk has not");
        let ticket = request.ticket();
        let result = match request {
            PairRequest::Keep { bytes, .. } => keeper.keep(&bytes),
            PairRequest::Mirror { .. } => {
                self.mirror.begin(asker);
                Ok(())
            }
            PairRequest::Release { through, .. } => {
                self.mirror.release(&mut self.clients, through);
                Ok(())
            }
            PairRequest::Copy { .. } => {
                let through = self.mirror.number();
                let result = keeper.copy().map(|files| (through, files));
                let copied = PairReply::Copied { ticket, result };
                return self.clients.answer(asker, DiskReply::Pair(copied));
            }
            PairRequest::ReadCopy { file, offset, .. } => {
                let result = keeper.read_copy(&file, offset);
                let piece = PairReply::Piece { ticket, result };
                return self.clients.answer(asker, DiskReply::Pair(piece));
            }
            PairRequest::TakePiece {
                file,
                offset,
                bytes,
                ..
            } => keeper.take(&file, offset, &bytes),
            PairRequest::Install { .. } => self.parts.install(),
            PairRequest::Apply { .. } => unreachable!("entries wait for their transaction"),
        };
        self.clients.done(asker, ticket, result);
    }
}

const HAS_IT: &str = "a client refuses to ask for what the disk has not";

impl DiskParts {
    fn ledger(&mut self, effect: Effect) -> Outcome {
        let ledger = self.ledger.as_mut();
        ledger.expect(HAS_IT).carry_out(effect)
    }

    /// Puts the other member's copy in place of what is open here.
    fn install(&mut self) -> Result<(), String> {
        let mut keeper = self.keeper.take().expect(HAS_IT);
        (self.cells, self.operations, self.ledger) = (None, None, None);
        let installed = keeper.install();
        let reopened = keeper.reopen(self);
        self.keeper = Some(keeper);
        installed?;
        reopened.map_err(|error| error.to_string())
    }

    fn carry_out(&mut self, node: &str, request: DiskRequest) -> DiskReply {
        match request {
            DiskRequest::Spool(effect) => {
                let spool = self.spools.get_mut(node).expect(HAS_IT);
                DiskReply::Spool(spool.carry_out(effect))
            }
            DiskRequest::Query { ticket, query } => {
                let result = self.ledger.as_ref().expect(HAS_IT).query(query);
                DiskReply::Answer { ticket, result }
            }
            DiskRequest::Archive {
                ticket,
                name,
                bytes,
            } => {
                let result = self.archive.as_mut().expect(HAS_IT).put(&name, &bytes);
                DiskReply::Done { ticket, result }
            }
            DiskRequest::Remember { .. }
            | DiskRequest::Operations { .. }
            | DiskRequest::Ledger(_)
            | DiskRequest::Pair(_) => unreachable!("they have a way of their own"),
        }
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

    fn write(&mut self, parts: &mut DiskParts, clients: &mut Clients, mirror: &mut Mirror) {
        if self.jobs.is_empty() {
            return;
        }
        let disk = parts.cells.as_mut();
        let disk = disk.expect("a client refuses to ask for what the disk has not");
        // One node's oversized cell must not fail its neighbours' transaction.
        self.jobs.retain(|job| match disk.check(job.bytes.len()) {
            Ok(()) => true,
            Err(words) => {
                clients.done(job.asker, job.ticket, Err(words));
                false
            }
        });
        let cells: Vec<(&str, &str, &[u8])> = self
            .jobs
            .iter()
            .map(|job| (&*job.node, &*job.cell, &*job.bytes))
            .collect();
        let result = disk.put_many(&cells);
        for job in self.jobs.drain(..) {
            let (asker, ticket) = (job.asker, job.ticket);
            let is_news = mirror.is_on() && !job.is_copy && result.is_ok();
            let entry = is_news.then(|| Entry::Cell {
                node: (*job.node).to_owned(),
                slot: job.cell.into_owned(),
                bytes: job.bytes,
            });
            let result = result.clone();
            mirror.answer(clients, asker, DiskReply::Done { ticket, result }, entry);
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
