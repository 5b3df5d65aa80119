//! Runs nodes: one, or ten thousand small ones in a single task.

mod fleet;
mod gate;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use gridloom_core::Now;
use gridloom_nodes::{Node, Port, Pusher};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::disk::DiskHandle;
use crate::dlms::{MeterListenOptions, MeterListener};
use crate::framing::Framing;
use crate::net::{
    self, DialAddress, DialOptions, LinkEvent, LinkLimits, LinkSpec, ListenOptions, Listener, Net,
    Route,
};
use crate::tls::{Admission, Seeking};

pub use gate::Gate;

pub use fleet::{BATCH_MAX, DIALS_MAX, DISK_OUTSTANDING_MAX, STOP_TIMEOUT};

/// Link events that wait for the nodes of one runner; above it sockets are not read.
pub const EVENTS_MAX: usize = 512;

/// Calls that wait for the nodes of one runner; above it callers wait.
pub const CALLS_MAX: usize = 64;

/// Bytes of a node's name: it is the key of the node's memory cells. A longer one is our mistake.
pub const NAME_BYTES_MAX: usize = gridloom_store::cells::CELL_NAME_BYTES_MAX;

/// Which node of a runner; counted from 0 in the order of [`Runner::add`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub usize);

/// The runner has stopped, and its nodes are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub struct Stopped;

struct Member<N> {
    name: Arc<str>,
    node: N,
}

enum Task {
    Listen {
        listener: Listener,
        connections_max: usize,
        admission: Option<Admission>,
    },
    Dial {
        target: DialAddress,
        options: DialOptions,
        seeking: Option<Seeking>,
    },
    Meters {
        listener: MeterListener,
        connections_max: usize,
    },
}

struct Planned {
    route: Route,
    port: Port,
    framing: Framing,
    limits: LinkLimits,
    task: Task,
}

/// Nodes with their links and their disk, not yet started.
pub struct Runner<N> {
    net: Net,
    members: Vec<Member<N>>,
    names: BTreeSet<Arc<str>>,
    planned: Vec<Planned>,
    disk: Option<DiskHandle>,
    gate: Option<Gate>,
}

impl<N> fmt::Debug for Runner<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("nodes", &self.members.len())
            .finish_non_exhaustive()
    }
}

impl<N: Node + Send + 'static> Runner<N> {
    /// A runner without nodes.
    pub fn new(net: Net) -> Self {
        Self {
            net,
            members: Vec::new(),
            names: BTreeSet::new(),
            planned: Vec::new(),
            disk: None,
            gate: None,
        }
    }

    /// Adds a node. Its name is the key of its memory on disk.
    ///
    /// # Panics
    ///
    /// If the name is taken in this runner, or longer than [`NAME_BYTES_MAX`].
    pub fn add(&mut self, name: &str, node: N) -> NodeIndex {
        assert!(
            name.len() <= NAME_BYTES_MAX,
            "the node name {name:?} has more than {NAME_BYTES_MAX} bytes"
        );
        let name: Arc<str> = name.into();
        assert!(
            self.names.insert(Arc::clone(&name)),
            "two nodes called {name} would share their memory"
        );
        self.members.push(Member { name, node });
        NodeIndex(self.members.len() - 1)
    }

    /// Lets a node's lower neighbours in.
    pub fn listen(&mut self, node: NodeIndex, listener: Listener, options: ListenOptions) {
        self.listen_over(node, listener, options, None);
    }

    /// Lets a node's lower neighbours in, over TLS and by role where there is an admission.
    pub fn listen_over(
        &mut self,
        node: NodeIndex,
        listener: Listener,
        options: ListenOptions,
        admission: Option<Admission>,
    ) {
        self.plan(
            node,
            Port::Down,
            options.framing,
            options.limits,
            Task::Listen {
                listener,
                connections_max: options.connections_max,
                admission,
            },
        );
    }

    /// Keeps a node connected to an upper neighbour. May be called more than once per node.
    pub fn dial(&mut self, node: NodeIndex, target: DialAddress, options: DialOptions) {
        self.dial_over(node, target, options, None);
    }

    /// Keeps a node connected to an upper neighbour, over TLS and by role where it seeks one.
    pub fn dial_over(
        &mut self,
        node: NodeIndex,
        target: DialAddress,
        options: DialOptions,
        seeking: Option<Seeking>,
    ) {
        self.dial_as(Port::Up, node, target, options, seeking);
    }

    /// Keeps a node connected to its backup neighbour as well; it decides which it uses.
    pub fn dial_backup(&mut self, node: NodeIndex, target: DialAddress, options: DialOptions) {
        self.dial_backup_over(node, target, options, None);
    }

    /// As [`Self::dial_backup`], over TLS and by role where it seeks one.
    pub fn dial_backup_over(
        &mut self,
        node: NodeIndex,
        target: DialAddress,
        options: DialOptions,
        seeking: Option<Seeking>,
    ) {
        self.dial_as(Port::Backup, node, target, options, seeking);
    }

    fn dial_as(
        &mut self,
        port: Port,
        node: NodeIndex,
        target: DialAddress,
        options: DialOptions,
        seeking: Option<Seeking>,
    ) {
        self.plan(
            node,
            port,
            options.framing,
            options.limits,
            Task::Dial {
                target,
                options,
                seeking,
            },
        );
    }

    /// Lets DLMS clients in to every node of this runner: the node added first is server 1, the
    /// next one server 2, and so on, each a meter that sees itself as server 1. A server that is
    /// not here answers nothing.
    pub fn listen_for_clients(&mut self, listener: MeterListener, options: MeterListenOptions) {
        self.planned.push(Planned {
            route: Route::ByServer,
            port: Port::Down,
            framing: Framing::DlmsWrapper,
            limits: options.limits,
            task: Task::Meters {
                listener,
                connections_max: options.connections_max,
            },
        });
    }

    /// Lets whoever pushes in to one node: the wrapper over TCP or UDP. Nothing is known of the
    /// sender but its address.
    pub fn listen_for_pushes(
        &mut self,
        node: NodeIndex,
        listener: MeterListener,
        options: MeterListenOptions,
    ) {
        let pusher = Pusher {
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            arrival: listener.arrival(),
        };
        let connections_max = options.connections_max;
        let task = Task::Meters {
            listener,
            connections_max,
        };
        let port = Port::Push(pusher);
        self.plan(node, port, Framing::DlmsWrapper, options.limits, task);
    }

    fn plan(
        &mut self,
        node: NodeIndex,
        port: Port,
        framing: Framing,
        limits: LinkLimits,
        task: Task,
    ) {
        assert!(node.0 < self.members.len(), "{node:?} was not added here");
        self.planned.push(Planned {
            route: Route::Node(node.0),
            port,
            framing,
            limits,
            task,
        });
    }

    /// Gives the nodes a disk. A node that asks for one without it is our mistake and panics.
    pub fn disk(&mut self, disk: DiskHandle) {
        self.disk = Some(disk);
    }

    /// What these nodes send, and whom they dial, goes out only while the gate is open.
    pub fn gate(&mut self, gate: Gate) {
        self.gate = Some(gate);
    }

    /// Starts everything on the current tokio runtime.
    pub fn start(self) -> Running<N> {
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let (calls_in, calls) = mpsc::channel(CALLS_MAX);
        let (stop_in, stop) = watch::channel(false);
        for planned in self.planned {
            spawn_planned(planned, &self.net, &events_in, &stop);
        }
        let dialing = fleet::Dialing {
            net: self.net,
            events: events_in,
            stop,
        };
        let fleet = fleet::Fleet::new(
            self.members,
            dialing,
            (self.disk, self.gate),
            events,
            stop_in,
        );
        let task = tokio::spawn(fleet.run(calls));
        Running {
            handle: Handle { calls: calls_in },
            task,
        }
    }
}

fn spawn_planned(
    planned: Planned,
    net: &Net,
    events: &mpsc::Sender<LinkEvent>,
    stop: &watch::Receiver<bool>,
) {
    let spec = LinkSpec {
        net: net.clone(),
        route: planned.route,
        port: planned.port,
        framing: planned.framing,
        limits: planned.limits,
        events: events.clone(),
    };
    match planned.task {
        Task::Listen {
            listener,
            connections_max,
            admission,
        } => tokio::spawn(net::listen(
            listener,
            connections_max,
            admission,
            spec,
            stop.clone(),
        )),
        Task::Meters {
            listener,
            connections_max,
        } => tokio::spawn(listener.serve(connections_max, spec, stop.clone())),
        Task::Dial {
            target,
            options,
            seeking,
        } => tokio::spawn(net::dial(target, options, seeking, spec, stop.clone())),
    };
}

type Call<N> = Box<dyn FnOnce(&mut fleet::Fleet<N>) + Send>;

enum Command<N> {
    Call(Call<N>),
    Stop,
}

/// Nodes at work. They stop when this and every [`Handle`] are gone.
#[derive(Debug)]
pub struct Running<N> {
    handle: Handle<N>,
    task: JoinHandle<Vec<N>>,
}

impl<N: Node + Send + 'static> Running<N> {
    /// A way to reach the nodes.
    pub fn handle(&self) -> Handle<N> {
        self.handle.clone()
    }

    /// Stops: waits for the disk, closes the links, and gives the nodes back in the order of
    /// [`Runner::add`].
    ///
    /// # Panics
    ///
    /// With the panic of a node, if one has panicked.
    pub async fn stop(self) -> Vec<N> {
        // If the runner has stopped by itself, its result is there already.
        let _ = self.handle.calls.send(Command::Stop).await;
        drop(self.handle);
        join(self.task).await
    }

    /// Waits until the nodes stop by themselves: never, unless one panics or another handle
    /// stops them.
    ///
    /// # Panics
    ///
    /// With the panic of a node, if one has panicked.
    pub async fn ended(&mut self) -> Vec<N> {
        join(&mut self.task).await
    }
}

async fn join<N>(task: impl Future<Output = Result<Vec<N>, tokio::task::JoinError>>) -> Vec<N> {
    match task.await {
        Ok(nodes) => nodes,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Vec::new(), // The runtime is shutting down.
        },
    }
}

/// A way to reach running nodes from outside: for snapshots, and for what an operator orders.
#[derive(Debug)]
pub struct Handle<N> {
    calls: mpsc::Sender<Command<N>>,
}

impl<N> Clone for Handle<N> {
    fn clone(&self) -> Self {
        Self {
            calls: self.calls.clone(),
        }
    }
}

impl<N: Node + Send + 'static> Handle<N> {
    /// Runs `call` between two inputs of a node, then carries out what the node wants done.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if the node is gone.
    ///
    /// # Panics
    ///
    /// In the runner, if `node` was not added to it.
    pub async fn call<R: Send + 'static>(
        &self,
        node: NodeIndex,
        call: impl FnOnce(&mut N, Now) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        self.send(move |fleet| fleet.call(node.0, call)).await
    }

    /// Runs `call` on every node in the order of [`Runner::add`], with no input in between.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if the nodes are gone.
    pub async fn call_each<R: Send + 'static>(
        &self,
        mut call: impl FnMut(NodeIndex, &mut N, Now) -> R + Send + 'static,
    ) -> Result<Vec<R>, Stopped> {
        self.send(move |fleet| {
            (0..fleet.len())
                .map(|slot| fleet.call(slot, |node, now| call(NodeIndex(slot), node, now)))
                .collect()
        })
        .await
    }

    async fn send<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut fleet::Fleet<N>) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (answer_in, answer) = oneshot::channel();
        let call = Command::Call(Box::new(move |fleet: &mut fleet::Fleet<N>| {
            // A caller that lost interest is no error.
            let _ = answer_in.send(call(fleet));
        }));
        self.calls.send(call).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}
