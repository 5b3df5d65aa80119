//! Texts about bills and silent meters, through a GSM modem.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use gridloom_core::Month;
use gridloom_host::Clock;
use gridloom_host::serial::{ModemCommand, ModemEvent, SerialOptions, run_modem};
use gridloom_modem::{Alert, AlertLevel, Event, ModemDriver, PhoneNumber, Pin, SmsText, Timing};
use gridloom_web::{ClosedBill, HouseState, Snapshot};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::config::SmsConfig;

/// Texts that wait for the driver; beyond it one is given up, and logged.
const WAITING_MAX: usize = 64;

/// The modem at work, and what people were told.
pub(super) struct Texting {
    commands: mpsc::Sender<ModemCommand>,
    modem: JoinHandle<()>,
    log: JoinHandle<()>,
    to: Vec<PhoneNumber>,
    /// Houses that were told to be silent.
    silent: BTreeSet<String>,
    /// Houses that were heard since the start; before that, silence is no news.
    heard: BTreeSet<String>,
    /// The last month whose bill was told, by house; `None` before the first look, which finds
    /// the bills of earlier runs.
    billed: Option<BTreeMap<String, Month>>,
}

impl Texting {
    pub(super) fn start(config: &SmsConfig, clock: Clock) -> anyhow::Result<Self> {
        let to = config
            .to
            .iter()
            .map(|number| PhoneNumber::parse(number).with_context(|| format!("sms.to: {number:?}")))
            .collect::<anyhow::Result<_>>()?;
        let pin = config
            .pin
            .as_deref()
            .map(Pin::parse)
            .transpose()
            .context("sms.pin")?;
        let driver = ModemDriver::new(pin, Timing::default());
        let (commands, command_queue) = mpsc::channel(WAITING_MAX);
        let (events, mut event_queue) = mpsc::channel(WAITING_MAX);
        let modem = tokio::spawn(run_modem(
            config.device.clone(),
            SerialOptions::default(),
            driver,
            command_queue,
            events,
            move || clock.now().instant,
        ));
        let log = tokio::spawn(async move {
            while let Some(event) = event_queue.recv().await {
                log_event(&event);
            }
        });
        Ok(Self {
            commands,
            modem,
            log,
            to,
            silent: BTreeSet::new(),
            heard: BTreeSet::new(),
            billed: None,
        })
    }

    /// Texts what changed since the last look: a closed bill, a meter that fell silent or is back.
    pub(super) fn look_at(&mut self, snapshot: &Snapshot) {
        let names: BTreeMap<&str, &str> = snapshot
            .houses
            .iter()
            .map(|house| (house.row.id.as_str(), house.row.name.as_str()))
            .collect();
        self.tell_bills(snapshot, &names);
        self.tell_presence(snapshot);
    }

    fn tell_bills(&mut self, snapshot: &Snapshot, names: &BTreeMap<&str, &str>) {
        let newest = |billed: &mut BTreeMap<String, Month>, bill: &ClosedBill| {
            let told = billed.entry(bill.house.clone()).or_insert(bill.month);
            *told = (*told).max(bill.month);
        };
        let Some(mut billed) = self.billed.take() else {
            let mut billed = BTreeMap::new();
            for bill in &snapshot.bills {
                newest(&mut billed, bill);
            }
            self.billed = Some(billed);
            return;
        };
        // The console's list has the newest month first; people read it in order.
        for bill in snapshot.bills.iter().rev() {
            if billed
                .get(&bill.house)
                .is_some_and(|told| *told >= bill.month)
            {
                continue;
            }
            newest(&mut billed, bill);
            let name = names
                .get(bill.house.as_str())
                .copied()
                .unwrap_or(&bill.house);
            // The reading that the customer can compare with the display.
            let reading = snapshot
                .house(&bill.house)
                .and_then(|house| house.row.energy_wh)
                .map(|wh| format!(", meter reads {}.{:03} kWh", wh / 1_000, wh % 1_000))
                .unwrap_or_default();
            let text = format!(
                "{name}: bill of {} is {} {}{reading}",
                bill.month,
                bill.amount.decimal(),
                snapshot.currency
            );
            match SmsText::with_replacements(&text) {
                Ok((text, _)) => self.send_to_all(&text),
                Err(error) => tracing::error!(%error, "a bill could not be texted"),
            }
        }
        self.billed = Some(billed);
    }

    fn tell_presence(&mut self, snapshot: &Snapshot) {
        for house in &snapshot.houses {
            let row = &house.row;
            let what = match row.state {
                HouseState::Silent if self.heard.contains(&row.id) => {
                    self.silent.insert(row.id.clone()).then_some("meter silent")
                }
                HouseState::Silent => None,
                HouseState::Online | HouseState::Late => {
                    self.heard.insert(row.id.clone());
                    self.silent.remove(&row.id).then_some("meter is back")
                }
            };
            let Some(what) = what else {
                continue;
            };
            let alert = Alert {
                level: AlertLevel::Warning,
                at: snapshot.now,
                place: &row.name,
                what,
            };
            match alert.text() {
                Ok((text, _)) => self.send_to_all(&text),
                Err(error) => tracing::error!(%error, "an alert could not be texted"),
            }
        }
    }

    /// Stops the modem.
    pub(super) async fn stop(self) {
        drop(self.commands);
        let _ = self.modem.await;
        let _ = self.log.await;
    }

    fn send_to_all(&self, text: &SmsText) {
        for number in &self.to {
            let (reply, answer) = oneshot::channel();
            let command = ModemCommand::Send {
                number: number.clone(),
                text: text.clone(),
                reply,
            };
            if self.commands.try_send(command).is_err() {
                tracing::error!(%text, "too many texts wait for the modem; one is given up");
                continue;
            }
            tokio::spawn(async move {
                if let Ok(Err(error)) = answer.await {
                    tracing::error!(%error, "the modem's queue refused a text");
                }
            });
        }
    }
}

fn log_event(event: &ModemEvent) {
    match event {
        ModemEvent::Opened => tracing::info!("modem: device opened"),
        ModemEvent::Unavailable { error, retry_in } => {
            tracing::warn!(%error, ?retry_in, "modem unavailable");
        }
        ModemEvent::Driver(Event::Sent { ticket, .. }) => tracing::info!(?ticket, "text sent"),
        ModemEvent::Driver(Event::Failed {
            ticket, failure, ..
        }) => {
            tracing::error!(?ticket, %failure, "text not sent");
        }
        ModemEvent::Driver(Event::Halted(reason)) => tracing::error!(%reason, "modem halted"),
        ModemEvent::Driver(Event::Restarting { reason, .. }) => {
            tracing::warn!(%reason, "modem restarting");
        }
        ModemEvent::Driver(
            Event::Ready
            | Event::Registration(_)
            | Event::Signal(_)
            | Event::Received(_)
            | Event::IncomingCall,
        ) => tracing::debug!(?event, "modem"),
    }
}
