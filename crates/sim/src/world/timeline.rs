//! What happened last at each node, for whoever has to explain a violation.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use gridloom_core::UtcTime;
use gridloom_dlms::wrapper;
use gridloom_nodes::envelope::Message;
use gridloom_nodes::{DiskReply, DiskRequest, Input, Output};
use gridloom_store::spool::{SpoolEffect, SpoolOutcome};

use super::{Fault, NodeIndex, World};

/// The last events of every node of a world.
#[derive(Debug, Default)]
pub struct Timeline {
    nodes: BTreeMap<usize, VecDeque<Line>>,
    number: u64,
}

/// One event.
#[derive(Debug, Clone)]
struct Line {
    at: UtcTime,
    number: u64,
    words: String,
}

impl Timeline {
    /// Lines kept of each node; the oldest is forgotten.
    pub const LINES_MAX: usize = 60;

    fn note(&mut self, node: usize, at: UtcTime, words: String) {
        let lines = self.nodes.entry(node).or_default();
        if lines.len() >= Self::LINES_MAX {
            lines.pop_front();
        }
        self.number += 1;
        let number = self.number;
        lines.push_back(Line { at, number, words });
    }
}

impl World {
    /// Keeps the last events of every node from now on, which costs some speed.
    pub fn keep_timeline(&mut self) {
        self.timeline = Some(Timeline::default());
    }

    /// The last events of these nodes in the order in which they happened, if they were kept.
    pub fn timeline(&self, nodes: &[NodeIndex]) -> Vec<String> {
        let Some(timeline) = &self.timeline else {
            return Vec::new();
        };
        let mut lines: Vec<(&Line, usize)> = nodes
            .iter()
            .filter_map(|node| Some((timeline.nodes.get(&node.0)?, node.0)))
            .flat_map(|(lines, node)| lines.iter().map(move |line| (line, node)))
            .collect();
        lines.sort_by_key(|(line, _)| line.number);
        let text = |(line, node): (&Line, usize)| {
            let name = self.places[node].role.name();
            format!("{} {name:<12} {}", line.at, line.words)
        };
        lines.into_iter().map(text).collect()
    }

    pub(super) fn note_input(&mut self, index: usize, input: &Input) {
        let at = self.now().utc;
        if let Some(timeline) = &mut self.timeline {
            let words = match input {
                Input::LinkUp { port, .. } => format!("link up, {port:?}"),
                Input::LinkFault { closed, .. } => format!("line closed, {closed:?}"),
                Input::LinkDown { .. } => "link down".to_owned(),
                Input::Frame { frame, .. } => format!("got  {}", Frame(frame)),
                Input::DialFailed { .. } => "dial failed".to_owned(),
                Input::Disk(reply) => format!("disk {}", disk_words(reply)),
                Input::Timeout => "timeout".to_owned(),
            };
            timeline.note(index, at, words);
        }
    }

    pub(super) fn note_output(&mut self, index: usize, output: &Output) {
        let at = self.now().utc;
        if let Some(timeline) = &mut self.timeline {
            let words = match output {
                Output::Send { frame, .. } => format!("sent {}", Frame(frame)),
                Output::Close { reason, .. } => format!("closes a link: {reason}"),
                Output::Dial { .. } => "dials".to_owned(),
                Output::Disk(request) => format!("asks {}", request_words(request)),
            };
            timeline.note(index, at, words);
        }
    }

    pub(super) fn note_fault(&mut self, fault: Fault) {
        let at = self.now().utc;
        let nodes: Vec<usize> = match fault {
            Fault::Crash(node)
            | Fault::CrashWriting(node)
            | Fault::Boot(node)
            | Fault::Disk(node, _)
            | Fault::Room(node)
            | Fault::Rot(node)
            | Fault::Step(node, _)
            | Fault::Drift(node, _)
            | Fault::Dark(node)
            | Fault::Lit(node) => vec![node.0],
            Fault::Cut(cable)
            | Fault::Mend(cable)
            | Fault::Mute(cable, _)
            | Fault::Unmute(cable)
            | Fault::Degrade(cable, _)
            | Fault::Restore(cable) => {
                let cable = &self.cables[cable.0];
                vec![cable.lower, cable.upper]
            }
        };
        if let Some(timeline) = &mut self.timeline {
            let words = format!("FAULT {}", fault.words());
            for node in nodes {
                timeline.note(node, at, words.clone());
            }
        }
    }
}

fn disk_words(reply: &DiskReply) -> String {
    match reply {
        DiskReply::Done { ticket, result } => match result {
            Ok(()) => format!("done {ticket}"),
            Err(error) => format!("refused {ticket}: {error}"),
        },
        DiskReply::Ledger(outcome) => match outcome {
            gridloom_store::Outcome::Written { through } => {
                format!("journal durable through {}", through.0)
            }
            gridloom_store::Outcome::Committed(report) => {
                format!("committed, {} readings sealed", report.sealed)
            }
            gridloom_store::Outcome::Failed { what, error } => {
                format!("journal: {what:?} failed: {error}")
            }
            gridloom_store::Outcome::Truncated => "journal cut".to_owned(),
            gridloom_store::Outcome::Dropped => "journal segments dropped".to_owned(),
        },
        DiskReply::Answer { ticket, .. } => format!("answer {ticket}"),
        DiskReply::Spool(SpoolOutcome::Failed(error)) => format!("spool failed: {error}"),
        DiskReply::Spool(
            SpoolOutcome::Written
            | SpoolOutcome::Truncated
            | SpoolOutcome::Read(_)
            | SpoolOutcome::Dropped,
        ) => "spool done".to_owned(),
        DiskReply::Operations { ticket, .. } => format!("tables {ticket}"),
        DiskReply::Pair(_) => "of a pair".to_owned(),
    }
}

fn request_words(request: &DiskRequest) -> String {
    match request {
        DiskRequest::Remember { ticket, slot, .. } => format!("to remember {slot} ({ticket})"),
        DiskRequest::Ledger(effect) => format!("for {:?}", effect.operation()),
        DiskRequest::Spool(SpoolEffect::Write(_)) => "to write the spool".to_owned(),
        DiskRequest::Spool(SpoolEffect::Truncate { .. }) => "to cut the spool".to_owned(),
        DiskRequest::Spool(SpoolEffect::Read { .. }) => "to read the spool".to_owned(),
        DiskRequest::Spool(SpoolEffect::Drop { .. }) => "to drop of the spool".to_owned(),
        DiskRequest::Query { ticket, .. } => format!("a query ({ticket})"),
        DiskRequest::Archive { name, .. } => format!("to archive {name}"),
        DiskRequest::Operations { ticket, .. } => format!("to change tables ({ticket})"),
        DiskRequest::Pair(request) => format!("of a pair ({})", request.ticket()),
    }
}

/// What a frame is, without anything that it holds.
struct Frame<'a>(&'a [u8]);

impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = self;
        let count = match Message::decode(bytes) {
            Ok(message) => {
                let words = format!("{message:?}");
                let end = words.find(|c: char| !c.is_ascii_alphanumeric());
                f.write_str(&words[..end.unwrap_or(words.len())])?;
                match message {
                    Message::Screened(list) => Some(list.len()),
                    Message::Readings(list) => Some(list.len()),
                    Message::Stored(list) => Some(list.len()),
                    Message::Prices(list) => Some(list.len()),
                    Message::Spooled { uplinks, .. } => Some(uplinks.len()),
                    Message::Taken { count, .. } => Some(usize::from(count)),
                    Message::Lines(list) => Some(list.len()),
                    Message::Reached(list) => Some(list.len()),
                    Message::Hello { .. }
                    | Message::Pair(_)
                    | Message::Heartbeat { .. }
                    | Message::Alive { .. }
                    | Message::Duty { .. }
                    | Message::Uplink(_)
                    | Message::Downlink { .. }
                    | Message::LineGone { .. }
                    | Message::Alarms(_)
                    | Message::AlarmsStored(_)
                    | Message::Gaps(_)
                    | Message::GapsTaken(_)
                    | Message::Echo { .. }
                    | Message::Echoed { .. }
                    | Message::Held(_)
                    | Message::Delays(_)
                    | Message::Trust { .. }
                    | Message::Refusals(_)
                    | Message::ToMeter { .. }
                    | Message::FromMeter { .. }
                    | Message::MeterUnreachable { .. }
                    | Message::KeysChanged { .. }
                    | Message::KeysTaken { .. }
                    | Message::Object { .. }
                    | Message::ObjectStored { .. } => None,
                }
            }
            Err(_) => {
                match wrapper::Frame::decode(bytes) {
                    Ok(_) => f.write_str("a wrapped APDU")?,
                    Err(_) => f.write_str("unreadable bytes")?,
                }
                None
            }
        };
        match count {
            Some(count) => write!(f, " of {count}, {} bytes", bytes.len()),
            None => write!(f, ", {} bytes", bytes.len()),
        }
    }
}
