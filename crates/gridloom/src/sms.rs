//! `gridloom sms`: texts through a GSM modem, by hand.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use gridloom_host::Clock;
use gridloom_host::serial::{ModemCommand, ModemEvent, SerialOptions, run_modem};
use gridloom_modem::{Event, ModemDriver, PhoneNumber, Pin, SmsText, Timing};
use tokio::sync::{mpsc, oneshot};

/// Sends and lists short messages through a GSM modem
#[derive(clap::Args)]
pub(crate) struct Sms {
    /// Serial device of the modem, such as /dev/ttyUSB0
    #[arg(long)]
    device: PathBuf,
    /// PIN of the SIM, if it asks
    #[arg(long)]
    pin: Option<String>,
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Sends a text and waits until the network took it
    Send {
        /// Number, such as +49301234567
        #[arg(long)]
        to: String,
        /// Text
        #[arg(long)]
        text: String,
    },
    /// Shows texts as they arrive, those in the modem's memory first
    Listen {
        /// Seconds to listen
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

/// How long a text may take, start of the modem included.
const SEND_MAX: Duration = Duration::from_secs(300);

impl Sms {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("failed to start the runtime")?;
        runtime.block_on(self.work(out))
    }

    async fn work(self, out: &mut impl Write) -> anyhow::Result<()> {
        let pin = self
            .pin
            .as_deref()
            .map(Pin::parse)
            .transpose()
            .context("--pin")?;
        let clock = Clock::realtime();
        let (commands, queue) = mpsc::channel(4);
        let (events_in, mut events) = mpsc::channel(64);
        let modem = tokio::spawn(run_modem(
            self.device,
            SerialOptions::default(),
            ModemDriver::new(pin, Timing::default()),
            queue,
            events_in,
            move || clock.now().instant,
        ));
        let result = match self.action {
            Action::Send { to, text } => {
                let sending = send(&commands, &mut events, &to, &text, out);
                match tokio::time::timeout(SEND_MAX, sending).await {
                    Ok(result) => result,
                    Err(_) => bail!("the modem did not send the text within {SEND_MAX:?}"),
                }
            }
            Action::Listen { seconds } => {
                let listening = listen(&mut events, out);
                match tokio::time::timeout(Duration::from_secs(seconds), listening).await {
                    Ok(result) => result,
                    Err(_) => Ok(()),
                }
            }
        };
        drop(commands);
        drop(events);
        modem.await.context("the modem's task failed")?;
        result
    }
}

async fn send(
    commands: &mpsc::Sender<ModemCommand>,
    events: &mut mpsc::Receiver<ModemEvent>,
    to: &str,
    text: &str,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let number = PhoneNumber::parse(to).with_context(|| format!("--to {to:?}"))?;
    let (text, replaced) = SmsText::with_replacements(text).context("--text")?;
    for replaced in replaced {
        writeln!(
            out,
            "replaced {:?} by {:?}",
            replaced.character, replaced.by
        )?;
    }
    let (reply, answer) = oneshot::channel();
    commands
        .send(ModemCommand::Send {
            number,
            text,
            reply,
        })
        .await
        .context("the modem's task ended")?;
    let ours = answer.await.context("the modem's task ended")??;
    while let Some(event) = events.recv().await {
        match event {
            ModemEvent::Unavailable { error, .. } => return Err(error.into()),
            ModemEvent::Driver(Event::Halted(reason)) => return Err(reason.into()),
            ModemEvent::Driver(Event::Sent {
                ticket, references, ..
            }) if ticket == ours => {
                writeln!(out, "sent in {} part(s)", references.len())?;
                return Ok(());
            }
            ModemEvent::Driver(Event::Failed {
                ticket, failure, ..
            }) if ticket == ours => return Err(failure.into()),
            ModemEvent::Opened | ModemEvent::Driver(_) => {}
        }
    }
    bail!("the modem's task ended")
}

async fn listen(
    events: &mut mpsc::Receiver<ModemEvent>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    while let Some(event) = events.recv().await {
        match event {
            ModemEvent::Unavailable { error, .. } => return Err(error.into()),
            ModemEvent::Driver(Event::Halted(reason)) => return Err(reason.into()),
            ModemEvent::Driver(Event::Received(text)) => {
                writeln!(
                    out,
                    "{}  {}  {}",
                    text.sent_at,
                    text.sender.as_str(),
                    text.text
                )?;
                out.flush()?;
            }
            ModemEvent::Opened | ModemEvent::Driver(_) => {}
        }
    }
    Ok(())
}
