//! `gridloom capture-events`: a meter's event logs as they grow, and what it says unasked.

mod push;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::ensure;
use gridloom_core::ObisCode;
use gridloom_dlms::apdu::{Apdu, EventNotification};
use gridloom_dlms::selection::EntryDescriptor;
use serde_json::json;

use crate::client::{MeterOptions, MeterSession, run_on};
use crate::obis_names;
use crate::read::{ObjectList, Profile};
use crate::show;
use crate::usage::usage;
use push::PushListener;

/// Rows asked for each time, where a meter selects by entry: a log holds about a hundred.
const ROWS_MAX: u32 = 1_000;

/// How often pushes are looked for while the association is quiet.
const PUSH_CHECK: Duration = Duration::from_millis(200);

/// Follows a meter's event logs, and takes pushes
#[derive(clap::Args)]
pub(crate) struct CaptureEvents {
    #[command(flatten)]
    meter: MeterOptions,
    /// Seconds between two looks
    #[arg(long, default_value_t = 10)]
    interval: u64,
    /// Address to take pushes at, of this and other meters with the same keys
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Print what is there and stop
    #[arg(long)]
    once: bool,
    /// Print a JSON object per event
    #[arg(long)]
    json: bool,
}

impl CaptureEvents {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        if !(1..=86_400).contains(&self.interval) {
            let words = format!("--interval {}: give 1 to 86400 seconds", self.interval);
            return usage(Err(anyhow::anyhow!(words)));
        }
        run_on(&self.meter, async |meter| self.follow(meter, out).await)
    }

    async fn follow(&self, meter: &mut MeterSession, out: &mut impl Write) -> anyhow::Result<()> {
        let list = ObjectList::read(meter).await?;
        let logs: Vec<ObisCode> = list
            .entries
            .iter()
            .filter(|entry| entry.class_id == 7 && entry.may_read(2) && is_log(entry.instance))
            .map(|entry| entry.instance)
            .collect();
        ensure!(
            !logs.is_empty() || !self.once,
            "object: this client sees no event log (0-x:99.98.x.255); another --client may"
        );
        if !self.json {
            writeln!(out, "following {} event logs", logs.len())?;
            out.flush()?;
        }
        let mut pushes = match &self.listen {
            Some(text) => Some(PushListener::bind(text, self.meter.push_keys()?.as_ref()).await?),
            None => None,
        };
        if let Some(pushes) = &pushes
            && !self.json
        {
            writeln!(out, "pushes to {}", pushes.address())?;
            out.flush()?;
        }
        let mut last: BTreeMap<ObisCode, String> = BTreeMap::new();
        loop {
            for log in &logs {
                let access = EntryDescriptor::rows(1, ROWS_MAX).to_access();
                let profile = Profile::read(meter, *log, Some(access), &mut |_| ()).await?;
                for (time, what) in profile.rows_after(last.get(log).map(String::as_str)) {
                    self.print(*log, &time, &what, out)?;
                    let newest = last.entry(*log).or_default();
                    if time > *newest {
                        *newest = time;
                    }
                }
            }
            out.flush()?;
            if self.once {
                return Ok(());
            }
            self.wait(meter, pushes.as_mut(), out).await?;
        }
    }

    fn print(
        &self,
        log: ObisCode,
        time: &str,
        what: &str,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        if self.json {
            let event = json!({"log": log.to_string(), "time": time, "event": what});
            writeln!(out, "{event}")?;
        } else {
            let name = obis_names::object(log).unwrap_or_else(|| log.to_string());
            writeln!(out, "{time}  {name}  {what}")?;
        }
        Ok(())
    }

    /// Waits until the next look; prints what meters say meanwhile.
    async fn wait(
        &self,
        meter: &mut MeterSession,
        mut pushes: Option<&mut PushListener>,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let interval = Duration::from_secs(self.interval);
        let slice = if pushes.is_some() {
            PUSH_CHECK
        } else {
            interval
        };
        let started = meter.now();
        loop {
            let left = interval.saturating_sub(meter.now().since(started));
            if left.is_zero() {
                return Ok(());
            }
            if let Some(apdu) = meter.notification(left.min(slice)).await? {
                self.print_notification("association", Ok(&apdu), out)?;
            }
            while let Some((from, push)) = pushes.as_mut().and_then(|pushes| pushes.next()) {
                let push = push.as_deref().map_err(String::as_str);
                self.print_notification(&from, push, out)?;
            }
        }
    }

    fn print_notification(
        &self,
        from: &str,
        apdu: Result<&[u8], &str>,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let (time, what) = match apdu {
            Ok(apdu) => notification(apdu),
            Err(error) => (String::new(), error.to_owned()),
        };
        if self.json {
            let told = json!({
                "from": from, "time": time, "notified": what, "believed": apdu.is_ok(),
            });
            writeln!(out, "{told}")?;
        } else {
            let how = if apdu.is_ok() { "notified" } else { "refused" };
            writeln!(out, "{time}  {how} by {from}  {what}")?;
        }
        out.flush()?;
        Ok(())
    }
}

/// Time and content of a notification.
fn notification(apdu: &[u8]) -> (String, String) {
    match Apdu::decode(apdu) {
        Ok(Apdu::EventNotification(EventNotification {
            time,
            attribute,
            value,
        })) => {
            let time = time.map_or_else(String::new, |time| {
                time.to_utc_at(0)
                    .map_or_else(|_| String::new(), |utc| utc.to_string())
            });
            let name = obis_names::object(attribute.instance).unwrap_or_default();
            let what = format!("{} {name} {}", attribute.instance, show::text(&value));
            (time, what)
        }
        Ok(Apdu::DataNotification(notification)) => {
            let what = match notification.data() {
                Ok(data) => show::text(&data),
                Err(error) => error.to_string(),
            };
            (String::new(), what)
        }
        Ok(_) => (String::new(), "another service".into()),
        Err(error) => (String::new(), error.to_string()),
    }
}

const fn is_log(name: ObisCode) -> bool {
    matches!(name.0, [0, _, 99, 98, _, _])
}
