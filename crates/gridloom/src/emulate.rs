//! `gridloom emulate`: field devices for other programs.

mod attacker;
mod fleet;
mod kept;
mod meter;
mod pcapng;
mod security;

pub(crate) use fleet::Fleet;

use std::io::Write;

use anyhow::Context;
use gridloom_host::Clock;
use gridloom_host::serial::{EmulatedCommand, emulate_modem_on_pty};
use gridloom_modem::Behaviour;
use tokio::sync::mpsc;

/// Emulates a field device for other programs
#[derive(clap::Args)]
pub(crate) struct Emulate {
    #[command(subcommand)]
    device: Device,
}

#[derive(clap::Subcommand)]
enum Device {
    /// A GSM modem on a pseudo-terminal; prints its path, then every text that it is given
    Modem {
        /// A text that arrives at once, as NUMBER:TEXT
        #[arg(long)]
        receive: Vec<String>,
    },
    /// Smart meters that DLMS clients connect to; prints how to read them
    Meter(Box<meter::EmulatedMeters>),
    /// A hostile peer that attacks a gateway, a line or a tier of yours; prints what it did
    Attacker(Box<attacker::EmulatedAttacker>),
}

impl Emulate {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("failed to start the runtime")?;
        runtime.block_on(async {
            match self.device {
                Device::Modem { receive } => modem(receive, out).await,
                Device::Meter(meters) => meters.run(out).await,
                Device::Attacker(attacker) => attacker.run(out).await,
            }
        })
    }
}

async fn modem(receive: Vec<String>, out: &mut impl Write) -> anyhow::Result<()> {
    let clock = Clock::realtime();
    let pty = emulate_modem_on_pty(Behaviour::default(), clock.now().instant)?;
    writeln!(out, "modem  {}", pty.path().display())?;
    out.flush()?;
    let (commands, queue) = mpsc::channel(64);
    let (sent, mut texts) = mpsc::channel(64);
    for text in receive {
        let (sender, text) = text
            .split_once(':')
            .with_context(|| format!("--receive {text:?}: give NUMBER:TEXT"))?;
        let (sender, text) = (sender.to_owned(), text.to_owned());
        commands
            .send(EmulatedCommand::Receive { sender, text })
            .await?;
    }
    let running = pty.run(queue, sent, move || clock.now().instant);
    tokio::pin!(running);
    loop {
        tokio::select! {
            result = &mut running => return Ok(result?),
            signal = tokio::signal::ctrl_c() => {
                signal.context("failed to listen for Ctrl-C")?;
                return Ok(());
            }
            Some(text) = texts.recv() => {
                writeln!(out, "sent   {}  {}", text.number, String::from_utf8_lossy(&text.text))?;
                out.flush()?;
            }
        }
    }
}
