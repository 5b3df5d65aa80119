//! A member of a head-end pair: the keeper runs always, the tiers while this member is active.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use gridloom_core::Now;
use gridloom_host::{
    CellDisk, Clock, DataDirectory, Disk, DiskParts, Gate, Handle, KeeperDisk, LedgerDisk,
    Listener, Net, NodeIndex, OperationsDisk, Runner, Running, entropy,
};
use gridloom_nodes::envelope::pair::{Epoch, Place};
use gridloom_nodes::pair::{PairStatus, PeerState, Standing};
use gridloom_nodes::{MemberNode, PairConfig};
use gridloom_web::{Answer, DeskError, Desks, PairDesk, PairEdge, PairView, Snapshot};
use tokio::sync::{mpsc, oneshot};

use super::founding::Founding;
use super::nodes::{Basis, Nodes, elsewhere, links_of};
use super::{Place as Keys, SNAPSHOT_EVERY, open_directory};
use crate::area;
use crate::config::{Config, StandbySettings, Tiers};
use crate::console::{Console, ConsolePort, Token};
use crate::headend::{Office, Shared};
use crate::pki;
use crate::profiles;
use crate::snapshot::{self, Sources};
use crate::topology::Neighbours;

const FIRST: NodeIndex = NodeIndex(0);

/// How often the tiers are told for how long they may still speak.
const GATE_EVERY: Duration = Duration::from_millis(50);

/// A member that begins lets the other one go first for so long.
const STAND_BACK: Duration = Duration::from_secs(1);

/// What an answer of the console needs to leave.
const FAREWELL: Duration = Duration::from_millis(300);

/// How a member ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Somebody stopped the process.
    Stopped,
    /// It is the active member no more, and begins anew as the standby.
    Over,
}

/// Somebody wants a take-over, and waits for the answer.
type Drill = oneshot::Sender<Result<(), String>>;

/// Where the API asks.
struct PairOffice {
    member: Handle<MemberNode>,
    drills: mpsc::Sender<Drill>,
}

impl PairDesk for PairOffice {
    fn status(&self) -> Answer<PairView> {
        let member = self.member.clone();
        Box::pin(async move {
            let status = member.call(FIRST, |node, now| node.status(now)).await;
            status.map(|status| view(&status)).map_err(down)
        })
    }

    fn fail_over(&self, by: String) -> Answer<PairView> {
        let (member, drills) = (self.member.clone(), self.drills.clone());
        Box::pin(async move {
            tracing::warn!(%by, "a take-over is ordered");
            let (answer_in, answer) = oneshot::channel();
            drills.send(answer_in).await.map_err(down)?;
            answer.await.map_err(down)?.map_err(DeskError::Refused)?;
            let status = member.call(FIRST, |node, now| node.status(now)).await;
            status.map(|status| view(&status)).map_err(down)
        })
    }
}

fn down(error: impl std::fmt::Display) -> DeskError {
    DeskError::Down(format!("this member of the pair is ending: {error}"))
}

fn view(status: &PairStatus) -> PairView {
    let (peer, behind, copy) = match status.peer {
        PeerState::Away => ("away", 0, None),
        PeerState::Idle => ("idle", 0, None),
        PeerState::Copying { sent, total } => ("copying", 0, Some((sent, total))),
        PeerState::Following { behind } => ("following", behind, None),
        PeerState::InStep { behind } => ("in_step", behind, None),
    };
    let away = status
        .edges
        .iter()
        .filter(|(_, is_there)| !is_there)
        .count();
    let advice = match status.standing {
        Standing::Active if status.is_alone && peer == "away" => Some(
            "DEGRADED: nobody stands by, and a second failure stops the head-end; start the other \
             member"
                .to_owned(),
        ),
        Standing::Active | Standing::Standby if away > 0 => Some(format!(
            "{away} of {} witnesses are away from this member",
            status.edges.len()
        )),
        Standing::Active | Standing::Standby => None,
        Standing::Over { why } => Some(format!("{why}; it begins anew as the standby")),
    };
    PairView {
        place: match status.place {
            Place::First => 1,
            Place::Second => 2,
        },
        standing: match status.standing {
            Standing::Active => "active",
            Standing::Standby => "standby",
            Standing::Over { .. } => "over",
        },
        epoch: status.epoch.0,
        lease_left_ms: u64::try_from(status.lease_left.as_millis()).unwrap_or(u64::MAX),
        alone: status.is_alone,
        peer,
        copy,
        behind,
        edges: status
            .edges
            .iter()
            .map(|(name, connected)| PairEdge {
                name: name.clone(),
                connected: *connected,
            })
            .collect(),
        entries: status.entries,
        copies: status.copies,
        advice,
    }
}

/// Runs a member until somebody stops it, or it is active no more.
pub(super) async fn serve(
    config: &Config,
    tiers: &Tiers,
    standby: &StandbySettings,
    keys: &Keys,
    out: &mut impl Write,
) -> anyhow::Result<Ended> {
    let directory = open_directory(config, tiers)?.context("a member of a pair keeps data")?;
    ensure!(
        standby.place == Place::First || Founding::read(directory.path())?.is_some(),
        "{} is not the directory of a utility: the second member of a pair begins with a copy of \
         the first one's, made while that is stopped; it holds the names and the master key",
        directory.path().display()
    );
    if standby.place == Place::First {
        Founding::open(directory.path(), config, Clock::realtime().now().utc)?;
    }
    let member = Member::start(config, tiers, standby, directory).await?;
    member.run(config, tiers, keys, out).await
}

struct Member {
    directory: DataDirectory,
    clock: Clock,
    keeper: Running<MemberNode>,
    handle: Handle<MemberNode>,
    disk: Disk,
    drills: mpsc::Receiver<Drill>,
    desk: Arc<PairOffice>,
    gate: Gate,
}

impl Member {
    async fn start(
        config: &Config,
        tiers: &Tiers,
        standby: &StandbySettings,
        directory: DataDirectory,
    ) -> anyhow::Result<Self> {
        let port = Listener::bind("standby.listen", &standby.listen).await?;
        let clock = Clock::realtime();
        let keeper = KeeperDisk::open(&directory);
        let pair = PairConfig {
            place: standby.place,
            name: pki::UTILITY.to_owned(),
            edges: standby.edges.clone(),
            stand_back: STAND_BACK,
        };
        let record = keeper.record()?;
        let node = MemberNode::new(pair, record.as_deref(), clock.now())?;
        let parts = DiskParts {
            cells: Some(CellDisk::open(&directory)?),
            ledger: Some(LedgerDisk::open(&directory)?.0),
            operations: Some(OperationsDisk::open(&directory)?),
            keeper: Some(keeper),
            ..DiskParts::default()
        };
        let disk = Disk::start("pair", parts)?;
        let net = Net::new(clock.clone(), entropy::seed()?);
        let links = links_of(config, tiers, &clock)?;
        let mut runner = Runner::new(net);
        let index = runner.add("pair", node);
        links.listen_as_pair(&mut runner, index, port);
        if standby.place == Place::Second {
            let role = gridloom_nodes::envelope::Role::Utility;
            links.dial_pair(&mut runner, index, role, standby.peer.clone());
        }
        runner.disk(disk.handle());
        let keeper = runner.start();
        let (drills_in, drills) = mpsc::channel(1);
        let desk = Arc::new(PairOffice {
            member: keeper.handle(),
            drills: drills_in,
        });
        Ok(Self {
            directory,
            clock,
            handle: keeper.handle(),
            keeper,
            disk,
            drills,
            desk,
            gate: Gate::default(),
        })
    }

    /// The tiers, on the data as they are now.
    async fn tiers(
        &self,
        config: &Config,
        tiers: &Tiers,
        keys: &Keys,
        epoch: Epoch,
        out: &mut impl Write,
    ) -> anyhow::Result<Nodes> {
        let now = self.clock.now().utc;
        let began = Founding::open(self.directory.path(), config, now)?.began()?;
        let profiles = keys.profiles.as_deref();
        let office = Office::open(&self.directory, profiles, &keys.master)?;
        for news in &office.news {
            writeln!(out, "{news}")?;
        }
        let shared = Shared {
            disk: self.disk.handle(),
            gate: self.gate.clone(),
            epoch,
        };
        let basis = Basis {
            config,
            tiers,
            directory: Some(&self.directory),
            templates: profiles::read_all(profiles)?,
            master: &keys.master,
            began,
            office: Some(office),
            shared: Some(shared),
        };
        Nodes::start(basis, self.clock.clone()).await
    }

    async fn quiet_console(&self, config: &Config) -> anyhow::Result<Console> {
        let port = ConsolePort::bind(&config.listen.console).await?;
        let token = Token::of(self.directory.path())?;
        let desks = Desks {
            pair: Some(Arc::clone(&self.desk) as Arc<dyn PairDesk>),
            ..Desks::default()
        };
        Ok(Console::start(
            port,
            token,
            desks,
            quiet(config, self.clock.now())?,
        ))
    }

    async fn run(
        mut self,
        config: &Config,
        tiers: &Tiers,
        keys: &Keys,
        out: &mut impl Write,
    ) -> anyhow::Result<Ended> {
        let mut console = Some(self.quiet_console(config).await?);
        let mut nodes: Option<Nodes> = None;
        let token = Token::of(self.directory.path())?;
        writeln!(out, "token    {}", token.path.display())?;
        writeln!(out, "standby  this member stands by")?;
        writeln!(out, "ready")?;
        out.flush()?;
        let interrupted = crate::signals::stop_asked();
        tokio::pin!(interrupted);
        let mut ticks = tokio::time::interval(GATE_EVERY);
        let mut pictures = tokio::time::interval(SNAPSHOT_EVERY);
        let ended = loop {
            tokio::select! {
                asked = &mut interrupted => {
                    asked?;
                    break Ended::Stopped;
                }
                Some(drill) = self.drills.recv() => self.hand_over(drill).await?,
                _ = ticks.tick() => {
                    let (reign, status) = self
                        .handle
                        .call(FIRST, |node, now| (node.reign(now), node.status(now)))
                        .await?;
                    if let Standing::Over { why } = status.standing {
                        self.gate.shut();
                        writeln!(out, "over     {why}; begins anew as the standby")?;
                        break Ended::Over;
                    }
                    let Some((epoch, end)) = reign else {
                        self.gate.shut();
                        continue;
                    };
                    self.gate.open_until(end);
                    if nodes.is_none() {
                        // The console's place is the tiers' now.
                        if let Some(console) = console.take() {
                            console.stop().await?;
                        }
                        let mut started = self.tiers(config, tiers, keys, epoch, out).await?;
                        let desk = Arc::clone(&self.desk) as Arc<dyn PairDesk>;
                        console = started
                            .serve_console(Some(&self.directory), Some(desk))
                            .await?;
                        for (heading, text) in &started.lines {
                            writeln!(out, "{heading:<8} {text}")?;
                        }
                        writeln!(out, "active   in epoch {epoch}")?;
                        out.flush()?;
                        nodes = Some(started);
                    }
                }
                _ = pictures.tick() => {
                    let picture = match &nodes {
                        Some(nodes) => nodes.snapshot().await?,
                        None => quiet(config, self.clock.now())?,
                    };
                    if let Some(console) = &mut console {
                        console.show(picture);
                    }
                }
            }
        };
        if ended == Ended::Over {
            // The process is replaced as it is, like one that was killed: what its tiers still
            // hold was acknowledged to nobody.
            tokio::time::sleep(FAREWELL).await;
            return Ok(ended);
        }
        if let Some(console) = console {
            console.stop().await?;
        }
        if let Some(nodes) = nodes {
            nodes.stop().await;
        }
        self.keeper.stop().await;
        self.disk.close();
        let data = self.directory.path().display();
        writeln!(out, "stopped; the same command goes on from {data}")?;
        Ok(ended)
    }

    /// First nothing is said any more, then the lease is given back.
    async fn hand_over(&self, drill: Drill) -> anyhow::Result<()> {
        let status = self
            .handle
            .call(FIRST, |node, now| node.status(now))
            .await?;
        let refused = match (status.standing, status.peer) {
            (Standing::Active, PeerState::InStep { .. }) => None,
            (Standing::Active, _) => {
                Some("the other member does not hold everything yet; wait until it is in step")
            }
            (Standing::Standby | Standing::Over { .. }, _) => {
                Some("this member is not the active one; ask the other one")
            }
        };
        let answer = match refused {
            Some(words) => Err(words.to_owned()),
            None => {
                self.gate.shut();
                let done = self
                    .handle
                    .call(FIRST, |node, now| node.hand_over(now))
                    .await?;
                match done {
                    true => Ok(()),
                    false => Err("the other member has just left; nothing was done".to_owned()),
                }
            }
        };
        // Whoever asked may have gone.
        let _ = drill.send(answer);
        Ok(())
    }
}

/// What the console of a member shows that stands by.
fn quiet(config: &Config, now: Now) -> anyhow::Result<Snapshot> {
    let snapshot = snapshot::build(&Sources {
        now,
        speed: 1,
        utility: elsewhere(area::utility(config, 1)?, now),
        has_utility: false,
        meters: Vec::new(),
        gateway: None,
        edge: None,
        head_end: None,
        archive: None,
        buffers: Vec::new(),
        delays: None,
        neighbours: Neighbours::default(),
    });
    snapshot.check()?;
    Ok(snapshot)
}
