//! A meter whose memory is this process: what it wants remembered is remembered at once.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::{Now, Wake};
use gridloom_dlms::hdlc::Parameters;
use gridloom_field::Meter;
use gridloom_host::dlms::HdlcLine;
use gridloom_nodes::{DiskReply, DiskRequest, Input, MeterNode, Node, Output};
use tokio::sync::watch;

/// A meter without a disk, or with one.
#[derive(Debug)]
pub(crate) struct Kept {
    node: MeterNode,
    in_process: bool,
    done: VecDeque<u64>,
    now: Option<Now>,
    /// Learns how the meter wants its HDLC line.
    line: Option<watch::Sender<HdlcLine>>,
}

impl Kept {
    /// A meter that asks for no disk if `in_process`.
    pub(crate) const fn new(node: MeterNode, in_process: bool) -> Self {
        Self {
            node,
            in_process,
            done: VecDeque::new(),
            now: None,
            line: None,
        }
    }

    /// What the meter's line agrees to, now and whenever it is set.
    pub(crate) fn line(&mut self) -> watch::Receiver<HdlcLine> {
        let (sender, receiver) = watch::channel(line_of(self.node.meter()));
        self.line = Some(sender);
        receiver
    }
}

fn line_of(meter: &Meter) -> HdlcLine {
    let setup = meter.hdlc_setup();
    HdlcLine {
        parameters: Parameters {
            info_transmit: setup.field_transmit,
            info_receive: setup.field_receive,
            window_transmit: setup.window_transmit,
            window_receive: setup.window_receive,
        },
        inactivity: Duration::from_secs(setup.inactivity_s.into()),
    }
}

impl Node for Kept {
    fn handle(&mut self, input: Input, now: Now) {
        self.now = Some(now);
        self.node.handle(input, now);
        if let Some(sender) = &self.line {
            let line = line_of(self.node.meter());
            sender.send_if_modified(|known| core::mem::replace(known, line) != line);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        loop {
            match self.node.poll_output() {
                Some(Output::Disk(DiskRequest::Remember { ticket, .. })) if self.in_process => {
                    self.done.push_back(ticket);
                }
                Some(output) => return Some(output),
                None => {
                    // Before the first input nothing waits for an answer.
                    let now = self.now?;
                    let ticket = self.done.pop_front()?;
                    let result = Ok(());
                    let reply = DiskReply::Done { ticket, result };
                    self.node.handle(Input::Disk(reply), now);
                }
            }
        }
    }

    fn wake(&self) -> Wake {
        self.node.wake()
    }
}
