//! What meters tell through their edge unasked: recorded, shown among the alarms, and only then
//! confirmed to the edge.

use std::collections::{BTreeSet, VecDeque};

use gridloom_core::Now;
use gridloom_dlms::alert::AlertPush;
use gridloom_edge::{AlarmBody, AlarmKey, MeterAlarm};
use gridloom_headend::AuditRecord;
use gridloom_headend::audit::{Action, AuditOutcome, Target};
use gridloom_store::Batch;

use super::HeadEndNode;
use super::disk::Saved;
use crate::envelope::Message;

/// Which alarms of meters are recorded, or on their way to the disk.
///
/// After a restart nobody knows which were recorded: an alarm whose confirmation was lost just
/// then stands in the audit log twice, under the same number and time.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    writing: BTreeSet<AlarmKey>,
    recorded: BTreeSet<AlarmKey>,
    order: VecDeque<AlarmKey>,
}

impl Alerts {
    /// Alarms remembered as recorded; beyond it the oldest is forgotten, and would be recorded
    /// again if it came again.
    const RECORDED_MAX: usize = 16_384;

    fn record(&mut self, key: AlarmKey) {
        self.writing.remove(&key);
        if !self.recorded.insert(key) {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > Self::RECORDED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.recorded.remove(&oldest);
        }
    }
}

impl HeadEndNode {
    /// Alarms came from the utility: each is recorded once.
    pub(super) fn take_alarms(&mut self, alarms: Vec<MeterAlarm>, now: Now) {
        let (mut changes, mut written, mut known) = (Vec::new(), Vec::new(), Vec::new());
        for alarm in alarms {
            if self.alerts.recorded.contains(&alarm.key) {
                known.push(alarm.key);
                continue;
            }
            if !self.alerts.writing.insert(alarm.key) {
                continue;
            }
            let words = words(&alarm);
            let record = AuditRecord {
                at: alarm.received,
                actor: format!("meter {}", alarm.title),
                action: Action::Event,
                target: Target::Meter(alarm.key.meter),
                before: String::new(),
                after: format!("raised {}: {words}", alarm.key.time),
                outcome: AuditOutcome::Done,
            };
            changes.push(record.to_change());
            written.push(alarm.key);
            self.alarm(Some(alarm.key.meter), words, now);
        }
        if !changes.is_empty() {
            self.save(Batch::new(changes), Saved::Alarms(written));
        }
        self.confirm_alarms(known);
    }

    /// Alarms are in the audit log.
    pub(super) fn alarms_saved(&mut self, keys: Vec<AlarmKey>) {
        for key in &keys {
            self.alerts.record(*key);
        }
        self.confirm_alarms(keys);
    }

    /// The store refused them: they come again.
    pub(super) fn alarms_not_saved(&mut self, keys: &[AlarmKey]) {
        for key in keys {
            self.alerts.writing.remove(key);
        }
    }

    fn confirm_alarms(&mut self, keys: Vec<AlarmKey>) {
        if !keys.is_empty() {
            self.ways.tell_utility(&Message::AlarmsStored(keys));
        }
    }
}

/// An alarm in words.
fn words(alarm: &MeterAlarm) -> String {
    let mut words = match alarm.body() {
        Some(AlarmBody::Alert(alert)) => alert_words(&alert),
        Some(AlarmBody::Event(event)) => format!(
            "event: {:?} is {:?}; read the meter's event log",
            event.attribute, event.value
        ),
        None => "an alarm that cannot be read; look at its bytes in the edge's log".to_owned(),
    };
    if !alarm.reasons.is_empty() {
        let reasons: Vec<_> = alarm.reasons.iter().map(|reason| reason.text()).collect();
        words.push_str(&format!(
            " (trust {}: {})",
            alarm.scores.p,
            reasons.join(", ")
        ));
    }
    words
}

fn alert_words(alert: &AlertPush) -> String {
    let conditions: Vec<_> = alert.conditions().map(|bit| bit.text()).collect();
    let alarms: Vec<_> = alert.alarms().map(|bit| bit.text()).collect();
    let or_none = |words: Vec<&str>| {
        if words.is_empty() {
            "none".to_owned()
        } else {
            words.join(", ")
        }
    };
    format!(
        "alert: now {}; alarms not written off: {}",
        or_none(conditions),
        or_none(alarms)
    )
}
