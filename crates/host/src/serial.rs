//! Serial ports: runs a modem driver on a device, and an emulated modem on a pseudo-terminal.
//!
//! Nothing is decided here. A device that cannot be opened or disappears is opened again, for
//! ever, with growing waits: modems are plugged in and out, and texts wait in the driver.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gridloom_core::Instant;
use gridloom_modem::{Event, ModemDriver, Output, PhoneNumber, Pin, SendError, SmsText, Ticket};
use serial2_tokio::SerialPort;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

#[cfg(unix)]
pub use pty::{EmulatedCommand, EmulatedPty, emulate_modem_on_pty};

/// Bytes taken from a port at once.
const READ_MAX: usize = 512;
/// Time for the port to take what the driver writes. Then the device counts as lost.
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);

/// How a device is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SerialOptions {
    /// Bits per second, with 8 data bits, no parity, one stop bit and no flow control.
    pub baud: u32,
    /// Wait before the device is opened again; doubles with each failure.
    pub reopen_first: Duration,
    /// Longest such wait.
    pub reopen_longest: Duration,
}

impl Default for SerialOptions {
    fn default() -> Self {
        Self {
            baud: 115_200,
            reopen_first: Duration::from_secs(1),
            reopen_longest: Duration::from_secs(30),
        }
    }
}

/// Why a device cannot be used now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SerialError {
    /// It is not there.
    #[error(
        "serial device {}: not found; plug the modem in, or configure the device it has \
         (/dev/serial/by-id lists them)",
        .0.display()
    )]
    Missing(PathBuf),
    /// This user may not open it.
    #[error(
        "serial device {}: permission denied; add this user to the group that owns it \
         (often dialout) and log in again",
        .0.display()
    )]
    Denied(PathBuf),
    /// It is in use, or something else is wrong.
    #[error("serial device {}: {source}; check the cable and that nothing else uses it", device.display())]
    Failed {
        /// Which.
        device: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl SerialError {
    pub(crate) fn new(device: &Path, source: io::Error) -> Self {
        let device = device.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            Self::Missing(device)
        } else if source.kind() == io::ErrorKind::PermissionDenied {
            Self::Denied(device)
        } else {
            Self::Failed { device, source }
        }
    }
}

/// What the user of a modem wants.
#[derive(Debug)]
pub enum ModemCommand {
    /// Queue a text.
    Send {
        /// To whom.
        number: PhoneNumber,
        /// What.
        text: SmsText,
        /// Gets the ticket that the text's event will name, or why it was not queued.
        reply: oneshot::Sender<Result<Ticket, SendError>>,
    },
    /// Try this PIN, once.
    EnterPin(Pin),
}

/// What the user of a modem is told.
#[derive(Debug)]
pub enum ModemEvent {
    /// The driver says something.
    Driver(Event),
    /// The device was opened.
    Opened,
    /// The device cannot be used; it is tried again after the wait.
    Unavailable {
        /// Why.
        error: SerialError,
        /// The wait.
        retry_in: Duration,
    },
}

/// Runs `driver` on the serial device `device` until `commands` is closed or nobody takes
/// `events`. A full `events` holds the modem up; nothing is dropped.
///
/// `now` is the host's monotonic clock.
pub async fn run_modem(
    device: PathBuf,
    options: SerialOptions,
    driver: ModemDriver,
    commands: mpsc::Receiver<ModemCommand>,
    events: mpsc::Sender<ModemEvent>,
    now: impl Fn() -> Instant,
) {
    let mut task = ModemTask {
        driver,
        commands,
        events,
        now,
        heard: false,
    };
    let mut failures = 0;
    loop {
        task.heard = false;
        let End::Lost(source) = task.use_device(&device, options.baud).await else {
            return;
        };
        // Only a device that speaks has recovered; one that opens and fails has not.
        failures = if task.heard { 1 } else { failures + 1 };
        let retry_in = reopen_wait(options, failures);
        let error = SerialError::new(&device, source);
        tracing::warn!(%error, ?retry_in, "modem device unavailable");
        let unavailable = ModemEvent::Unavailable { error, retry_in };
        if task.events.send(unavailable).await.is_err() {
            return;
        }
        if let End::Finished = task.wait_without_device(retry_in).await {
            return;
        }
    }
}

fn reopen_wait(options: SerialOptions, failures: u32) -> Duration {
    let factor = 1_u32
        .checked_shl(failures.saturating_sub(1))
        .unwrap_or(u32::MAX);
    options
        .reopen_first
        .saturating_mul(factor)
        .min(options.reopen_longest)
}

enum End {
    /// The device is gone, or the wait without it is over.
    Lost(io::Error),
    /// Nobody uses the modem any more.
    Finished,
}

struct ModemTask<N> {
    driver: ModemDriver,
    commands: mpsc::Receiver<ModemCommand>,
    events: mpsc::Sender<ModemEvent>,
    now: N,
    heard: bool,
}

impl<N: Fn() -> Instant> ModemTask<N> {
    async fn use_device(&mut self, device: &Path, baud: u32) -> End {
        let port = match SerialPort::open(device, baud) {
            Ok(port) => port,
            Err(error) => return End::Lost(error),
        };
        if self.events.send(ModemEvent::Opened).await.is_err() {
            return End::Finished;
        }
        self.driver.handle_opened((self.now)());
        let end = match self.converse(&port).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        if let End::Lost(_) = end {
            // Events still count; what was to be written is not written to the next device.
            if self.drain(None).await.is_err() {
                return End::Finished;
            }
            self.driver.handle_lost((self.now)());
            if self.drain(None).await.is_err() {
                return End::Finished;
            }
        }
        end
    }

    async fn converse(&mut self, port: &SerialPort) -> Result<core::convert::Infallible, End> {
        let mut buffer = [0; READ_MAX];
        loop {
            self.drain(Some(port)).await?;
            let deadline = self.until_deadline();
            tokio::select! {
                biased;
                read = port.read(&mut buffer) => match read {
                    Ok(0) => return Err(End::Lost(io::ErrorKind::UnexpectedEof.into())),
                    Ok(count) => {
                        self.heard = true;
                        self.driver.handle_bytes(&buffer[..count], (self.now)());
                    }
                    Err(error) => return Err(End::Lost(error)),
                },
                command = self.commands.recv() => self.take(command)?,
                () = sleep(deadline) => self.driver.handle_timeout((self.now)()),
            }
        }
    }

    async fn wait_without_device(&mut self, wait: Duration) -> End {
        let end = sleep(wait);
        tokio::pin!(end);
        loop {
            let deadline = self.until_deadline();
            let step = tokio::select! {
                biased;
                () = &mut end => return End::Lost(io::ErrorKind::NotFound.into()),
                command = self.commands.recv() => self.take(command),
                () = sleep(deadline) => {
                    self.driver.handle_timeout((self.now)());
                    Ok(())
                }
            };
            if step.is_err() || self.drain(None).await.is_err() {
                return End::Finished;
            }
        }
    }

    fn take(&mut self, command: Option<ModemCommand>) -> Result<(), End> {
        match command {
            Some(ModemCommand::Send {
                number,
                text,
                reply,
            }) => {
                let result = self.driver.send(number, &text, (self.now)());
                // Whoever does not wait for the ticket still wants the text sent.
                drop(reply.send(result));
            }
            Some(ModemCommand::EnterPin(pin)) => self.driver.handle_pin(pin, (self.now)()),
            None => return Err(End::Finished),
        }
        Ok(())
    }

    async fn drain(&mut self, port: Option<&SerialPort>) -> Result<(), End> {
        while let Some(output) = self.driver.poll_output() {
            match (output, port) {
                (Output::Event(event), _) => {
                    let event = ModemEvent::Driver(event);
                    (self.events.send(event).await).map_err(|_| End::Finished)?;
                }
                (Output::Transmit(bytes), Some(port)) => {
                    match timeout(WRITE_TIME_MAX, port.write_all(&bytes)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return Err(End::Lost(error)),
                        Err(_) => return Err(End::Lost(io::ErrorKind::TimedOut.into())),
                    }
                }
                (Output::Transmit(_), None) => {}
            }
        }
        Ok(())
    }

    fn until_deadline(&self) -> Duration {
        until(self.driver.poll_timeout(), (self.now)())
    }
}

/// A day stands for never.
fn until(deadline: Option<(Instant, &'static str)>, now: Instant) -> Duration {
    deadline.map_or(Duration::from_secs(86_400), |(at, _)| at.since(now))
}

#[cfg(unix)]
mod pty {
    use std::fs::File;
    use std::io::{self, Read as _, Write as _};
    use std::os::fd::{AsFd as _, AsRawFd as _};
    use std::path::{Path, PathBuf};

    use gridloom_core::Instant;
    use gridloom_modem::{Behaviour, EmulatedModem, EmulatedOutput, Registration, SentSms};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::sync::mpsc;
    use tokio::time::sleep;

    use super::{READ_MAX, until};

    /// What happens to an emulated modem from outside.
    #[derive(Debug)]
    pub enum EmulatedCommand {
        /// The network brings a text; lost if the memory is full, as in life.
        Receive {
            /// From whom.
            sender: String,
            /// What.
            text: String,
        },
        /// Somebody calls.
        Ring,
        /// The network changes the registration.
        Register(Registration),
        /// Its power goes and comes back.
        PowerCycle,
        /// It changes its behaviour.
        Behave(Behaviour),
    }

    /// An emulated modem on a pseudo-terminal. The device is gone when this is dropped.
    #[derive(Debug)]
    pub struct EmulatedPty {
        modem: EmulatedModem,
        ours: AsyncFd<File>,
        /// Held open: while nobody has the other end open, ours would report an error.
        _theirs: serial2::SerialPort,
        path: PathBuf,
    }

    /// Opens a pseudo-terminal with an emulated modem on it, switched on at `now`.
    ///
    /// # Errors
    ///
    /// The system gives no pseudo-terminal, or does not name it under `/proc`.
    pub fn emulate_modem_on_pty(behaviour: Behaviour, now: Instant) -> io::Result<EmulatedPty> {
        let (ours, theirs) = serial2::SerialPort::pair()?;
        let link = format!("/proc/self/fd/{}", theirs.as_raw_fd());
        let path = std::fs::read_link(&link).map_err(|error| {
            let words = format!(
                "pseudo-terminal: {link} does not name it ({error}); the emulated modem needs Linux"
            );
            io::Error::new(error.kind(), words)
        })?;
        // Opened non-blocking, which the duplicate shares.
        let ours = File::from(ours.as_fd().try_clone_to_owned()?);
        #[expect(
            deprecated,
            reason = "a File owns its descriptor and keeps it open as long as the AsyncFd, which \
                      is all that the unsafe successor asks for"
        )]
        let ours = AsyncFd::new(ours)?;
        Ok(EmulatedPty {
            modem: EmulatedModem::new(behaviour, now),
            ours,
            _theirs: theirs,
            path,
        })
    }

    impl EmulatedPty {
        /// The device that a driver opens.
        pub fn path(&self) -> &Path {
            &self.path
        }

        /// Runs the modem until `commands` is closed, and tells each text that leaves it. A full
        /// `sent` holds the modem up; a closed one is ignored.
        ///
        /// # Errors
        ///
        /// The pseudo-terminal fails.
        pub async fn run(
            mut self,
            mut commands: mpsc::Receiver<EmulatedCommand>,
            sent: mpsc::Sender<SentSms>,
            now: impl Fn() -> Instant,
        ) -> io::Result<()> {
            let mut buffer = [0; READ_MAX];
            loop {
                while let Some(output) = self.modem.poll_output() {
                    match output {
                        EmulatedOutput::Transmit(bytes) => self.write_all(&bytes).await?,
                        EmulatedOutput::Sent(text) => drop(sent.send(text).await),
                    }
                }
                let deadline = until(self.modem.poll_timeout(), now());
                tokio::select! {
                    read = self.ours.async_io(Interest::READABLE, |mut file| file.read(&mut buffer)) => {
                        let count = read?;
                        self.modem.handle_bytes(&buffer[..count], now());
                    }
                    command = commands.recv() => match command {
                        Some(command) => self.take(command, now()),
                        None => return Ok(()),
                    },
                    () = sleep(deadline) => self.modem.handle_timeout(now()),
                }
            }
        }

        fn take(&mut self, command: EmulatedCommand, now: Instant) {
            match command {
                EmulatedCommand::Receive { sender, text } => {
                    if !self.modem.receive(&sender, &text) {
                        tracing::warn!("emulated modem: memory full, a text is lost");
                    }
                }
                EmulatedCommand::Ring => self.modem.ring(),
                EmulatedCommand::Register(registration) => {
                    self.modem.set_registration(registration);
                }
                EmulatedCommand::PowerCycle => self.modem.handle_power_cycle(now),
                EmulatedCommand::Behave(behaviour) => self.modem.behaviour = behaviour,
            }
        }

        async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
            while !bytes.is_empty() {
                let write = |mut file: &File| file.write(bytes);
                let count = self.ours.async_io(Interest::WRITABLE, write).await?;
                if count == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                bytes = &bytes[count..];
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_device_and_remedy() {
        let device = Path::new("/dev/ttyUSB0");
        let cases = [
            (io::ErrorKind::NotFound, "plug the modem in"),
            (io::ErrorKind::PermissionDenied, "dialout"),
            (io::ErrorKind::ResourceBusy, "nothing else uses it"),
        ];
        for (kind, remedy) in cases {
            let words = SerialError::new(device, kind.into()).to_string();
            assert!(words.contains("/dev/ttyUSB0"), "{words}");
            assert!(words.contains(remedy), "{words}");
        }
    }

    #[test]
    fn a_missing_device_is_tried_again_later_and_later() {
        let options = SerialOptions::default();
        for (failures, seconds) in [(1, 1), (2, 2), (5, 16), (6, 30), (90, 30)] {
            assert_eq!(reopen_wait(options, failures).as_secs(), seconds);
        }
    }

    #[cfg(target_os = "linux")]
    mod on_a_pty {
        use gridloom_modem::{Behaviour, Timing};

        use super::*;

        const TEST_TIME_MAX: Duration = Duration::from_secs(20);

        fn clock() -> impl Fn() -> Instant + Copy {
            let start = tokio::time::Instant::now();
            move || Instant::ZERO + start.elapsed()
        }

        async fn next(
            events: &mut mpsc::Receiver<ModemEvent>,
            wanted: impl Fn(&ModemEvent) -> bool,
        ) -> ModemEvent {
            loop {
                let event = events.recv().await.expect("the modem task runs");
                if wanted(&event) {
                    return event;
                }
            }
        }

        #[tokio::test]
        async fn a_text_goes_out_one_comes_in_and_the_device_disappears() {
            let now = clock();
            let behaviour = Behaviour {
                pin: Some("1234".into()),
                registers_after: Duration::ZERO,
                sends_in: Duration::ZERO,
                ..Behaviour::default()
            };
            let pty = emulate_modem_on_pty(behaviour, now()).expect("a pseudo-terminal");
            let device = pty.path().to_owned();
            let (world, world_rx) = mpsc::channel(4);
            let (sent, mut sent_rx) = mpsc::channel(4);
            let emulated = tokio::spawn(pty.run(world_rx, sent, now));

            // The SIM is looked at again at once after its PIN.
            let timing = Timing {
                restart_first: Duration::from_millis(1),
                ..Timing::default()
            };
            let pin = Pin::parse("1234").expect("a PIN");
            let driver = ModemDriver::new(Some(pin), timing);
            let options = SerialOptions {
                reopen_first: Duration::from_millis(1),
                ..SerialOptions::default()
            };
            let (commands, commands_rx) = mpsc::channel(4);
            let (events, mut events_rx) = mpsc::channel(4);
            let modem = tokio::spawn(run_modem(device, options, driver, commands_rx, events, now));

            let conversation = async {
                let (reply, ticket) = oneshot::channel();
                let send = ModemCommand::Send {
                    number: PhoneNumber::parse("+491701234567").expect("a number"),
                    text: SmsText::parse("bill 12.34 EUR").expect("a text"),
                    reply,
                };
                commands.send(send).await.expect("the modem task runs");
                let wanted = async { ticket.await.expect("a reply").expect("a free queue") };
                let told = next(&mut events_rx, |e| {
                    matches!(e, ModemEvent::Driver(Event::Sent { .. }))
                });
                let (ticket, told) = tokio::join!(wanted, told);
                assert!(matches!(
                    told,
                    ModemEvent::Driver(Event::Sent { ticket: t, .. }) if t == ticket
                ));
                let text = sent_rx.recv().await.expect("the emulated modem runs");
                assert_eq!(text.text, b"bill 12.34 EUR");

                let receive = EmulatedCommand::Receive {
                    sender: "+49170".into(),
                    text: "STOP".into(),
                };
                world.send(receive).await.expect("the emulated modem runs");
                next(
                    &mut events_rx,
                    |e| matches!(e, ModemEvent::Driver(Event::Received(sms)) if sms.text == "STOP"),
                )
                .await;

                drop(world);
                emulated.await.expect("no panic").expect("no error");
                next(&mut events_rx, |e| {
                    matches!(
                        e,
                        ModemEvent::Unavailable {
                            error: SerialError::Missing(_),
                            ..
                        }
                    )
                })
                .await;
                drop(commands);
                drop(events_rx);
                modem.await.expect("no panic");
            };
            timeout(TEST_TIME_MAX, conversation)
                .await
                .expect("the conversation ends in time");
        }
    }
}
