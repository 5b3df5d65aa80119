//! The gateway tier: its port for meters, its buffer, its edge.

use gridloom_host::{
    DataDirectory, DialAddress, Disk, Framing, ListenOptions, Listener, Net, Runner, Running,
};
use gridloom_nodes::envelope::Role;
use gridloom_nodes::{GatewayNode, PathsConfig};

use crate::buffer::Buffer;
use crate::config::{Buffers, GatewayBackup};
use crate::links::Links;

/// A gateway at work.
pub(super) struct RunningGateway {
    pub(super) node: Running<GatewayNode>,
    pub(super) name: String,
    /// The edge that it dials: its name, or else its address.
    pub(super) edge: Option<String>,
    /// The one that it dials as well, and how patient it is.
    pub(super) backup: Option<(String, PathsConfig)>,
    /// What the operator should know of its buffer.
    pub(super) news: Option<String>,
    disk: Option<Disk>,
}

impl RunningGateway {
    /// Starts it with what its buffer kept; without a directory it buffers in memory.
    pub(super) fn start(
        name: &str,
        (directory, buffers): (Option<&DataDirectory>, &Buffers),
        port: Listener,
        (edge, upper, backup): (Option<DialAddress>, Option<String>, Option<&GatewayBackup>),
        net: &Net,
        links: &Links,
    ) -> anyhow::Result<Self> {
        let mut runner = Runner::new(net.clone());
        let (node, disk, news) = match directory {
            Some(directory) => {
                let buffer = Buffer::open(directory, name, buffers.gateway)?;
                let disk = Buffer::start("gateway", buffer.disk)?;
                runner.disk(disk.handle());
                let node = GatewayNode::with_spool(name.to_owned(), buffer.spool);
                (node, Some(disk), buffer.news)
            }
            None => {
                let news = format!(
                    "{name} buffers {} KiB in memory; name --data DIR to keep a week on disk",
                    GatewayNode::MEMORY.bytes_max / 1024
                );
                (GatewayNode::new(name.to_owned()), None, Some(news))
            }
        };
        let node = match backup {
            Some(backup) => node.with_backup(backup.paths),
            None => node,
        };
        let node = match backup.and_then(|backup| backup.release_after) {
            Some(after) => node.releasing_after(after),
            None => node,
        };
        let node = runner.add(name, node.sampling(buffers.delay_one_in));
        runner.listen(node, port, ListenOptions::new(Framing::DlmsWrapper));
        if let Some(edge) = edge {
            links.dial(&mut runner, node, Role::Gateway, edge);
        }
        if let Some(backup) = backup {
            let edge = backup.edge.clone();
            links.dial_backup(&mut runner, node, Role::Gateway, edge);
        }
        Ok(Self {
            node: runner.start(),
            name: name.to_owned(),
            edge: upper,
            backup: backup.map(|it| (it.edge.to_string(), it.paths)),
            news,
            disk,
        })
    }

    /// Ends it; what it wants written is written.
    pub(super) async fn stop(self) {
        self.node.stop().await;
        if let Some(disk) = self.disk {
            disk.close();
        }
    }
}
