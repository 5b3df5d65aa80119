//! The event logs of IS 15959: what happened to a meter, with its import register then.

use std::sync::{Arc, LazyLock};

use gridloom_core::bytes::Reader;
use gridloom_core::{ObisCode, UtcTime};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::selection::CaptureObject;

use crate::objects::event_log::{CodeType, EventLog, EventLogConfig, WhenFull};
use crate::objects::outage::{OutageConfig, OutageEvent, Outages};
use crate::objects::retained::RetainedError;
use gridloom_dlms::companion::{IndianEvent, IndianLog};

/// Event logs of a meter.
pub(crate) const LOGS: usize = 7;

/// Entries of one log; the oldest makes room, but in the log that is never overwritten.
pub const ENTRIES_MAX: u32 = 100;

static SHAPES: LazyLock<[Arc<EventLogConfig>; LOGS]> = LazyLock::new(|| {
    [0, 1, 2, 3, 4, 5, 6].map(|number: u8| {
        Arc::new(EventLogConfig {
            code: ObisCode([0, 0, 96, 11, number, 255]),
            code_type: CodeType::LongUnsigned,
            captures: vec![CaptureObject {
                class_id: 3,
                instance: ObisCode([1, 0, 1, 8, 0, 255]),
                attribute: 2,
                data_index: 0,
            }],
            entries: ENTRIES_MAX,
            when_full: if number == IndianLog::NonRollover as u8 {
                WhenFull::Keep
            } else {
                WhenFull::Rollover
            },
        })
    })
});

/// The logs of one meter, and the outages that it counts.
#[derive(Debug)]
pub(crate) struct Logs {
    logs: [EventLog; LOGS],
    outages: Outages,
}

impl Logs {
    pub(crate) fn new() -> Self {
        Self {
            logs: SHAPES.each_ref().map(|shape| EventLog::new(shape.clone())),
            outages: Outages::new(OutageConfig::EN_50160),
        }
    }

    pub(crate) fn log(&self, number: usize) -> &EventLog {
        &self.logs[number]
    }

    pub(crate) fn log_mut(&mut self, number: usize) -> &mut EventLog {
        &mut self.logs[number]
    }

    pub(crate) fn outages(&self) -> &Outages {
        &self.outages
    }

    /// Notes an event, with the import register then.
    pub(crate) fn note(&mut self, event: IndianEvent, import: Data, at: UtcTime) {
        self.logs[event.log() as usize].handle_event(event.code(), vec![import], at);
    }

    /// Supply goes: an emulated meter has no reserve to wait on.
    pub(crate) fn supply_gone(&mut self, at: UtcTime) {
        self.outages.handle_power_down(at);
    }

    /// Supply is back at `at`, with the import register as it stood.
    pub(crate) fn supply_back(&mut self, at: UtcTime, import: &Data) {
        self.outages.handle_power_up(at);
        while let Some(event) = self.outages.poll_event() {
            match event {
                OutageEvent::LastGasp { .. } => {}
                OutageEvent::Restored { since, at, .. } => {
                    self.note(IndianEvent::PowerFailure, import.clone(), since);
                    self.note(IndianEvent::PowerRestored, import.clone(), at);
                }
            }
        }
    }

    /// The meter starts at `at` and was last alive at `alive`, without supply between.
    pub(crate) fn was_dark(&mut self, alive: UtcTime, at: UtcTime, import: &Data) {
        if self.outages.since().is_none() {
            self.outages.handle_power_down(alive);
        }
        self.supply_back(at, import);
    }

    /// Appends what the logs keep: the outages, then each log, with their lengths.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut part = |encode: &dyn Fn(&mut Vec<u8>)| {
            let start = out.len();
            out.extend([0; 4]);
            encode(out);
            let length = u32::try_from(out.len() - start - 4).expect("a log is bounded");
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        };
        part(&|out| self.outages.encode(out));
        for log in &self.logs {
            part(&|out| log.encode(out));
        }
    }

    /// Takes over what logs kept.
    ///
    /// # Errors
    ///
    /// Bytes that no logs wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RetainedError> {
        const OBJECT: &str = "event logs";
        let truncated = |source| RetainedError::Truncated {
            object: OBJECT,
            source,
        };
        let mut reader = Reader::new(bytes);
        let mut part = || {
            let length = reader.u32().map_err(truncated)?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            reader.take(length).map_err(truncated)
        };
        let outages = Outages::decode(OutageConfig::EN_50160, part()?)?;
        let mut logs = Self::new();
        logs.outages = outages;
        for (log, shape) in logs.logs.iter_mut().zip(&*SHAPES) {
            *log = EventLog::decode(shape.clone(), part()?)?;
        }
        match reader.rest().len() {
            0 => Ok(logs),
            bytes => Err(RetainedError::Trailing {
                object: OBJECT,
                bytes,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_are_logged_when_they_are_over_and_remembered() {
        let mut logs = Logs::new();
        let import = Data::DoubleLongUnsigned(77);
        logs.supply_gone(UtcTime::from_secs(1_000));
        logs.supply_back(UtcTime::from_secs(1_500), &import);
        // Found out at the next start.
        logs.was_dark(
            UtcTime::from_secs(2_000),
            UtcTime::from_secs(2_100),
            &import,
        );
        logs.note(IndianEvent::ClockSet, import, UtcTime::from_secs(3_000));
        assert_eq!((logs.outages().count(), logs.outages().seconds()), (2, 600));
        let power = logs.log(IndianLog::Power as usize);
        let entries: Vec<_> = power
            .entries()
            .map(|entry| (entry.at.as_secs(), entry.code))
            .collect();
        assert_eq!(
            entries,
            [(1_000, 101), (1_500, 102), (2_000, 101), (2_100, 102)]
        );
        let transactions = logs.log(IndianLog::Transaction as usize);
        assert_eq!(transactions.last_code(), Data::LongUnsigned(151));

        let mut bytes = Vec::new();
        logs.encode(&mut bytes);
        let again = Logs::decode(&bytes).unwrap();
        assert_eq!(again.logs, logs.logs);
        assert_eq!(again.outages, logs.outages);
        for cut in 0..bytes.len() {
            assert!(Logs::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        bytes.push(0);
        assert!(Logs::decode(&bytes).is_err());
    }
}
