//! The meter node: one emulated meter on one link.

use gridloom_core::{Now, Wake};
use gridloom_dlms::wrapper::{self, WPort};
use gridloom_field::meter::{Event, Meter, Output as MeterOutput};
use gridloom_field::status::MeterStatus;

use crate::node::{DiskReply, DiskRequest, Input, LinkId, Node, Output, Port};

/// A meter node.
pub struct MeterNode {
    meter: Meter,
    link: Option<LinkId>,
}

impl MeterNode {
    /// A node around a meter.
    pub fn new(meter: Meter) -> Self {
        Self { meter, link: None }
    }

    /// The meter.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// How the meter stands; measures up to `now`.
    pub fn status(&mut self, now: Now) -> MeterStatus {
        self.meter.status(now)
    }
}

impl Node for MeterNode {
    fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::LinkUp {
                link,
                port: Port::Up,
            } => {
                self.link = Some(link);
                self.meter.handle_link_up(now);
            }
            // A meter that listens for head-ends is another assembly.
            Input::LinkUp {
                port: Port::Down | Port::Dialled(_),
                ..
            }
            | Input::DialFailed { .. } => {}
            Input::LinkDown { link } => {
                if self.link == Some(link) {
                    self.link = None;
                    self.meter.handle_link_down(now);
                }
            }
            Input::Frame { frame, .. } => match wrapper::Frame::decode(&frame) {
                Ok(wrapper::Frame {
                    source: WPort::PRE_ESTABLISHED_CLIENT,
                    destination: WPort::MANAGEMENT,
                    apdu,
                }) => self.meter.handle_frame(apdu, now),
                Ok(_) | Err(_) => {
                    tracing::debug!(meter = %self.meter.config().id, "frame for nobody here");
                }
            },
            Input::Disk(DiskReply::Done { ticket, result }) => {
                self.meter.handle_remembered(ticket, result, now);
            }
            Input::Disk(DiskReply::Ledger(_) | DiskReply::Answer { .. }) => {}
            Input::Timeout => self.meter.handle_timeout(now),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        loop {
            match self.meter.poll_output()? {
                MeterOutput::Send { frame } => {
                    if let Some(link) = self.link {
                        let frame = wrapper::Frame {
                            source: WPort::MANAGEMENT,
                            destination: WPort::PRE_ESTABLISHED_CLIENT,
                            apdu: &frame,
                        }
                        .to_bytes();
                        return Some(Output::Send { link, frame });
                    }
                }
                MeterOutput::Remember {
                    ticket,
                    cell,
                    bytes,
                } => {
                    return Some(Output::Disk(DiskRequest::Remember {
                        ticket,
                        slot: cell,
                        bytes,
                    }));
                }
                MeterOutput::Event(event) => self.log(&event),
            }
        }
    }

    fn wake(&self) -> Wake {
        self.meter.wake()
    }
}

impl MeterNode {
    fn log(&self, event: &Event) {
        let meter = self.meter.config().id;
        match event {
            Event::LostAtSource { end } => {
                tracing::error!(%meter, %end, "the profile is full: an interval is lost");
            }
            Event::MonthClosed(bill) => {
                tracing::info!(%meter, month = %bill.month, "the meter closed a month");
            }
            // Counted in the meter's status; a line per packet would let a peer flood the log.
            Event::FrameRefused(error) => tracing::debug!(%meter, %error, "frame refused"),
            Event::RequestRefused(error) => tracing::debug!(%meter, %error, "request refused"),
            Event::MemoryFailed(error) => tracing::error!(%meter, %error, "memory not written"),
        }
    }
}

impl std::fmt::Debug for MeterNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeterNode")
            .field("meter", &self.meter.config().id)
            .field("link", &self.link)
            .finish()
    }
}
