//! The contract of a deployed node: frames on links, requests to a disk, and time.

use std::net::IpAddr;

use gridloom_core::{Day, IntervalReading, MeterId, Month, Now, Period, Wake};
use gridloom_edge::ClosedLine;
use gridloom_headend::Arrival;
use gridloom_store::{BillRow, PricePoint};

/// One connection, numbered by the host and never used again after it went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Which neighbour a link leads to. The layers stand above each other, field lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// Towards the field; the node listens.
    Down,
    /// Towards the cloud; the node dials, and the host dials again when the link goes down.
    Up,
    /// Towards the cloud by the second way, as [`Self::Up`]: the node decides which it uses.
    Backup,
    /// To whom the node itself wanted to be connected, once.
    Dialled(DialId),
    /// Whoever connects, or sends datagrams, to push readings and events.
    Push(Pusher),
}

/// Who pushes, as far as the network tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pusher {
    /// The sender's address. Nothing proves it.
    pub address: IpAddr,
    /// Whether frames keep their order.
    pub arrival: Arrival,
}

/// An attempt to connect, numbered by the node that makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// What the frames are of a link that a node dials itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wire {
    /// Wrapped APDUs (IEC 62056-47) on a TCP connection.
    Wrapper,
    /// Wrapped APDUs, each a UDP datagram.
    Datagrams,
    /// Pieces of what comes over a serial line; its address is `DEVICE@BAUD`.
    Serial,
    /// Pieces of a TCP byte stream, cut anywhere; the node finds its frames in them.
    Bytes,
}

/// What happens to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A connection stands.
    LinkUp {
        /// Its number.
        link: LinkId,
        /// Which neighbour.
        port: Port,
    },
    /// One whole frame arrived, without its transport framing.
    Frame {
        /// Where.
        link: LinkId,
        /// Its bytes, not yet trusted in any way.
        frame: Vec<u8>,
    },
    /// The host had to close a connection; [`Input::LinkDown`] follows.
    LinkFault {
        /// Which.
        link: LinkId,
        /// Why, and whose it was.
        closed: ClosedLine,
    },
    /// A connection is gone.
    LinkDown {
        /// Which.
        link: LinkId,
    },
    /// The answer to an [`Output::Dial`] that came to nothing.
    DialFailed {
        /// Which attempt.
        dial: DialId,
        /// The system's words.
        reason: String,
    },
    /// The disk finished a request.
    Disk(DiskReply),
    /// A deadline of [`Node::wake`] has passed.
    Timeout,
}

/// What a node wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send one frame; the host adds the transport framing.
    Send {
        /// On which link. A link that is gone swallows it.
        link: LinkId,
        /// The frame.
        frame: Vec<u8>,
    },
    /// Close a connection.
    Close {
        /// Which.
        link: LinkId,
        /// Why, for the log.
        reason: &'static str,
    },
    /// Connect, once. Answered by [`Input::LinkUp`] or [`Input::DialFailed`].
    Dial {
        /// Comes back in the answer.
        dial: DialId,
        /// Where to, as `HOST:PORT`, or as `DEVICE@BAUD` on a serial line.
        address: String,
        /// What the frames of the link will be.
        wire: Wire,
    },
    /// Do something on disk. Requests of one node are carried out in order.
    Disk(DiskRequest),
}

/// What a node asks of its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskRequest {
    /// Keep `bytes` under `slot` in the node's non-volatile memory, replacing what was there.
    /// Answered once it is durable.
    Remember {
        /// Comes back in the answer.
        ticket: u64,
        /// The name of the memory cell.
        slot: &'static str,
        /// Its new content.
        bytes: Vec<u8>,
    },
    /// An effect of the utility's ledger.
    Ledger(gridloom_store::Effect),
    /// An effect of the node's own spool. Answered in order.
    Spool(gridloom_store::spool::SpoolEffect),
    /// Read what is sealed.
    Query {
        /// Comes back in the answer.
        ticket: u64,
        /// What to read.
        query: Query,
    },
    /// Put an object into the archive. Answered once it is durable.
    Archive {
        /// Comes back in the answer.
        ticket: u64,
        /// The object's name, a relative path of safe characters.
        name: String,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// Change the head-end's tables. Answered once it is durable, or refused.
    Operations {
        /// Comes back in the answer.
        ticket: u64,
        /// The changes, which happen together or not at all.
        batch: gridloom_store::Batch,
    },
    /// What the keeper of a pair asks.
    Pair(PairRequest),
}

/// What the keeper of a head-end pair ([`crate::pair`]) asks of the disk that it shares with the
/// nodes it keeps a second copy of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairRequest {
    /// Keep the keeper's own record, apart from everything that is copied. Answered once it is
    /// durable.
    Keep {
        /// Comes back in the answer.
        ticket: u64,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// From now on tell the keeper of everything that was carried out for other nodes and changed
    /// something ([`PairReply::Carried`]), and hold its answer back.
    Mirror {
        /// Comes back in the answer.
        ticket: u64,
    },
    /// Give the answers that were held back, up to this entry.
    Release {
        /// Comes back in the answer.
        ticket: u64,
        /// The last entry.
        through: u64,
    },
    /// Carry out what the other member's disk has carried out, a [`gridloom_store::Entry`].
    /// Answered once it is durable.
    Apply {
        /// Comes back in the answer.
        ticket: u64,
        /// The entry.
        entry: Vec<u8>,
    },
    /// Make a copy of everything, whole and of one moment. Answered by [`PairReply::Copied`].
    Copy {
        /// Comes back in the answer.
        ticket: u64,
    },
    /// Read a piece of the copy. Answered by [`PairReply::Piece`].
    ReadCopy {
        /// Comes back in the answer.
        ticket: u64,
        /// Which file of it.
        file: String,
        /// From where.
        offset: u64,
    },
    /// Keep a piece of the other member's copy; one at offset 0 begins its file anew.
    TakePiece {
        /// Comes back in the answer.
        ticket: u64,
        /// Which file of it.
        file: String,
        /// Where in it.
        offset: u64,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Put the copy that was taken in the place of what is here. Answered once it is durable.
    Install {
        /// Comes back in the answer.
        ticket: u64,
    },
}

/// What the disk answers. A failed request is an answer too: the node decides what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskReply {
    /// A cell or an object is durable, or why not.
    Done {
        /// Of the request.
        ticket: u64,
        /// The system's error in words, naming the file.
        result: Result<(), String>,
    },
    /// The ledger's effect is carried out, or why not.
    Ledger(gridloom_store::Outcome),
    /// The spool's effect is carried out, or why not.
    Spool(gridloom_store::spool::SpoolOutcome),
    /// What a query found, or the database's error in words.
    Answer {
        /// Of the request.
        ticket: u64,
        /// What it found.
        result: Result<Answer, String>,
    },
    /// A batch is durable or refused, or the database failed in its own words: then it has changed
    /// nothing.
    Operations {
        /// Of the request.
        ticket: u64,
        /// How it went.
        result: Result<Result<(), gridloom_store::Refused>, String>,
    },
    /// To the keeper of a pair.
    Pair(PairReply),
}

impl PairRequest {
    /// What comes back in the answer.
    pub const fn ticket(&self) -> u64 {
        match self {
            Self::Keep { ticket, .. }
            | Self::Mirror { ticket }
            | Self::Release { ticket, .. }
            | Self::Apply { ticket, .. }
            | Self::Copy { ticket }
            | Self::ReadCopy { ticket, .. }
            | Self::TakePiece { ticket, .. }
            | Self::Install { ticket } => *ticket,
        }
    }
}

/// What a disk tells the keeper of a pair. Where nothing is said here, [`DiskReply::Done`] answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairReply {
    /// Not an answer: something was carried out for another node, is durable here, and waits for
    /// [`PairRequest::Release`].
    Carried {
        /// Its number, counted from 1 without holes since the disk was started.
        number: u64,
        /// What: a [`gridloom_store::Entry`].
        entry: Vec<u8>,
    },
    /// To [`PairRequest::Copy`]: the last entry that is in the copy, and its files with their
    /// lengths; or why there is none.
    Copied {
        /// Of the request.
        ticket: u64,
        /// The copy.
        result: Result<(u64, Vec<(String, u64)>), String>,
    },
    /// To [`PairRequest::ReadCopy`]: at most [`crate::envelope::pair::PART_BYTES_MAX`] bytes.
    Piece {
        /// Of the request.
        ticket: u64,
        /// The bytes; none at the end of the file.
        result: Result<Vec<u8>, String>,
    },
}

/// What can be read from the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// Sealed readings of a meter.
    Readings {
        /// Whose.
        meter: MeterId,
        /// Of which profile.
        period: Period,
        /// The first day.
        first: Day,
        /// The last day.
        last: Day,
    },
    /// Sealed readings of every registered meter.
    Day {
        /// Of which profile.
        period: Period,
        /// The day.
        day: Day,
    },
    /// Committed prices.
    Prices {
        /// Of intervals of this length.
        period: Period,
        /// The first day.
        first: Day,
        /// The last day.
        last: Day,
    },
    /// Bills of a month.
    Bills {
        /// Which.
        month: Month,
    },
}

/// What a query found, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Query::Readings`] and [`Query::Day`], by meter and then by end.
    Readings(Vec<IntervalReading>),
    /// To [`Query::Prices`].
    Prices(Vec<PricePoint>),
    /// To [`Query::Bills`].
    Bills(Vec<BillRow>),
}

/// A deployed node: one state machine over frames, disk answers and time.
pub trait Node {
    /// Takes one input. The host drains [`Node::poll_output`] before the next.
    fn handle(&mut self, input: Input, now: Now);

    /// The next thing to do, until `None`.
    fn poll_output(&mut self) -> Option<Output>;

    /// When to come with [`Input::Timeout`]. May change with every input.
    fn wake(&self) -> Wake;
}
