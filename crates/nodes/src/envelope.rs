//! The envelope between our own tiers: a version, a kind and a body in big-endian binary.
//! The transport adds the length. Meters never see it; they speak DLMS.

pub(crate) mod carried;
pub mod pair;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use gridloom_core::bytes::{Reader, Truncated};
use gridloom_core::{MeterId, SystemTitle, UtcTime};
use gridloom_dlms::wrapper::WPort;
use gridloom_edge::{
    AcceptedReading, AlarmKey, ClosedLine, GatewayStatus, LinkQuality, MeterAlarm, ReasonCounters,
    Scores, ScreenedReading,
};
use gridloom_headend::ReadingKey;
use gridloom_headend::key_news::SEALED_BYTES_MAX;
use gridloom_store::PricePoint;
use gridloom_store::spool::Gap;

use crate::delay::Shares;
use pair::{Epoch, PairMessage};
use wire::{Source, Writer};

/// The version this program speaks. A peer of another version is refused by name.
pub const VERSION: u8 = 2;

/// The kind of a greeting.
const HELLO: u8 = 1;

/// The kind of what a head-end pair says.
const PAIR: u8 = 60;
/// Kinds of messages that are put together from encoded elements.
const SCREENED: u8 = 13;
const ALARMS: u8 = 14;
const SPOOLED: u8 = 19;
const GAPS: u8 = 30;
/// The longest share of a delay that an envelope carries, in microseconds: twelve days.
const SHARE_US_MAX: u64 = 1 << 40;

/// The most elements a list in one envelope may have.
pub const LIST_MAX: usize = 4_096;

/// Why an envelope could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// It ends too early.
    #[error("envelope: {0}")]
    Truncated(#[from] Truncated),
    /// The peer runs another version.
    #[error("envelope: version {got}, this program speaks {VERSION}: update the older side")]
    Version {
        /// What the peer sent.
        got: u8,
    },
    /// There is no such kind.
    #[error("envelope: unknown kind {0}")]
    Kind(u8),
    /// A field holds what it cannot hold.
    #[error("envelope: field {field} holds an impossible value")]
    Field {
        /// Which.
        field: &'static str,
    },
    /// Bytes follow the end.
    #[error("envelope: {0} bytes too many")]
    TooLong(usize),
}

/// What a node is, as it says in its greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A data concentrator.
    Gateway,
    /// An edge node.
    Edge,
    /// The utility's services.
    Utility,
    /// The archive.
    Archive,
    /// The head-end, which reads meters and commands them.
    HeadEnd,
}

/// Everything our tiers say to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The first message on every link, from the side that dialled, and its answer.
    Hello {
        /// What it is.
        role: Role,
        /// What it is called.
        name: String,
        /// The reign in which a utility speaks; none where it has no standby, and of other tiers.
        epoch: Epoch,
    },
    /// Gateway to edge: a frame from a meter. Nobody keeps it on the way.
    Uplink(Uplink),
    /// Gateway to edge: frames that the gateway keeps until they are [`Self::Taken`], oldest
    /// first. The edge fetches what it knows of all their senders at once.
    Spooled {
        /// The number of the first in the gateway's spool; the others follow it.
        first: u64,
        /// The frames.
        uplinks: Vec<Uplink>,
    },
    /// Upwards: comes back as [`Self::Echoed`], which measures the round trip.
    Echo {
        /// Comes back.
        number: u64,
    },
    /// Downwards: the answer.
    Echoed {
        /// Of the question.
        number: u64,
    },
    /// Gateway to edge: of the frames of the next [`Self::Spooled`] these were so long at the
    /// gateway, and under way to the edge.
    Held(Vec<(u64, Duration)>),
    /// Edge to utility: how long readings of the next [`Self::Screened`] were under way so far.
    Delays(Vec<Shares>),
    /// Edge to gateway: so many frames from this number on need not be kept any more.
    Taken {
        /// Of the first.
        first: u64,
        /// How many.
        count: u16,
    },
    /// Gateway to edge: a line is gone that frames came from, or that its host had to close.
    LineGone {
        /// As it came, or would have come, in an uplink.
        path: u64,
        /// What its host closed it for.
        closed: Option<ClosedLine>,
    },
    /// Gateway to edge: is this link alive both ways? Answered by [`Self::Alive`].
    Heartbeat {
        /// Comes back in the answer.
        number: u64,
        /// When the next one comes, in milliseconds.
        every_ms: u32,
    },
    /// Edge to gateway: the answer.
    Alive {
        /// Of the heartbeat.
        number: u64,
    },
    /// Gateway to edge: whether this edge has the gateway's meters from now on. A gateway that
    /// does not say so has one edge only, and always uses it.
    Duty {
        /// Or another edge has them.
        is_active: bool,
    },
    /// Gateway to edge: lines that came over from another edge, with the titles that were heard
    /// on them there.
    Lines(Vec<(u64, SystemTitle)>),
    /// Edge to utility: these meters are behind this edge now.
    Reached(Vec<MeterId>),
    /// Edge to gateway: a frame for the meter at the end of `path`.
    Downlink {
        /// As it came in the uplink.
        path: u64,
        /// The frame.
        frame: Vec<u8>,
    },
    /// Head-end to utility: readings that it has read.
    Readings(Vec<AcceptedReading>),
    /// Edge to utility: verified readings, how far each is trusted, and how it was carried.
    Screened(Vec<ScreenedReading>),
    /// Edge to utility to head-end: alarms of meters, before any reading.
    Alarms(Vec<MeterAlarm>),
    /// Head-end to utility to edge: these alarms are durable.
    AlarmsStored(Vec<AlarmKey>),
    /// Upwards: what a buffer had to give up, to be read from the meters again. It is repeated
    /// until it is answered.
    Gaps(Vec<Gap>),
    /// Downwards: these gaps stand in the durable memory of whoever sees to them.
    GapsTaken(Vec<Gap>),
    /// Edge to utility: its smoothed trust, of all packets and by gateway.
    Trust {
        /// Of all packets.
        edge: Scores,
        /// By gateway, in the order of their links.
        gateways: Vec<GatewayStatus>,
    },
    /// Utility to edge: these readings are durable.
    Stored(Vec<ReadingKey>),
    /// Utility to edge: decided prices, oldest first.
    Prices(Vec<PricePoint>),
    /// Edge to utility: what it has refused since it started.
    Refusals(ReasonCounters),
    /// Head-end to utility to edge: an APDU for a meter, sealed for its association.
    ToMeter {
        /// For whom.
        meter: MeterId,
        /// The client that asks.
        client: WPort,
        /// The APDU.
        apdu: Vec<u8>,
    },
    /// Edge to utility to head-end: what a meter answered, as unverified as it came.
    FromMeter {
        /// Who answered.
        meter: MeterId,
        /// The client that had asked.
        client: WPort,
        /// The APDU.
        apdu: Vec<u8>,
    },
    /// The answer to a [`Self::ToMeter`] that found no way to its meter.
    MeterUnreachable {
        /// Which.
        meter: MeterId,
    },
    /// Head-end to utility to every edge: keys of a meter, sealed for edges
    /// ([`gridloom_headend::key_news`]).
    KeysChanged {
        /// Whose.
        meter: MeterId,
        /// Of the news; newer news has a higher one.
        number: u64,
        /// The sealed news.
        sealed: Vec<u8>,
    },
    /// Edge to utility to head-end: the news of this meter that is durable here.
    KeysTaken {
        /// Whose keys.
        meter: MeterId,
        /// Of the news.
        number: u64,
    },
    /// Utility to archive: keep this.
    Object {
        /// Comes back in the answer.
        ticket: u64,
        /// A relative path of safe characters.
        name: String,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// Archive to utility: kept, or not.
    ObjectStored {
        /// Of the object.
        ticket: u64,
        /// Whether it is durable.
        stored: bool,
    },
    /// Between the members of a head-end pair and their witnesses.
    Pair(PairMessage),
}

/// A frame from a meter, as its gateway had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The gateway's name for the way back.
    pub path: u64,
    /// When the gateway had it.
    pub received: UtcTime,
    /// What else the gateway's link to the meter knew.
    pub link: LinkQuality,
    /// The frame, unverified.
    pub frame: Vec<u8>,
}

impl Message {
    /// A greeting.
    pub fn hello(role: Role, name: &str) -> Self {
        Self::hello_in(role, name, Epoch::NONE)
    }

    /// The greeting of a utility in its reign.
    pub fn hello_in(role: Role, name: &str, epoch: Epoch) -> Self {
        Self::Hello {
            role,
            name: name.to_owned(),
            epoch,
        }
    }

    /// The bytes of the envelope.
    ///
    /// # Panics
    ///
    /// If a list is longer than [`LIST_MAX`]: whoever fills it splits it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(vec![VERSION, self.kind()]);
        match self {
            Self::Hello { role, name, epoch } => {
                out.u8(match role {
                    Role::Gateway => 1,
                    Role::Edge => 2,
                    Role::Utility => 3,
                    Role::Archive => 4,
                    Role::HeadEnd => 5,
                });
                out.bytes(name.as_bytes());
                // Where nobody stands by, a greeting is what it always was.
                if *epoch != Epoch::NONE {
                    out.u64(epoch.0);
                }
            }
            Self::Pair(message) => out.pair(message),
            Self::Uplink(uplink) => out.uplink(uplink),
            Self::Spooled { first, uplinks } => {
                out.u64(*first);
                out.list(uplinks, Writer::uplink);
            }
            Self::Echo { number } | Self::Echoed { number } => out.u64(*number),
            Self::Held(samples) => out.list(samples, |out, (number, share)| {
                out.u64(*number);
                out.share(*share);
            }),
            Self::Delays(delays) => out.list(delays, Writer::shares),
            Self::Taken { first, count } => {
                out.u64(*first);
                out.u16(*count);
            }
            Self::LineGone { path, closed } => {
                out.u64(*path);
                out.closed(*closed);
            }
            Self::Heartbeat { number, every_ms } => {
                out.u64(*number);
                out.u32(*every_ms);
            }
            Self::Alive { number } => out.u64(*number),
            Self::Duty { is_active } => out.u8(u8::from(*is_active)),
            Self::Lines(lines) => out.list(lines, |out, (path, title)| {
                out.u64(*path);
                out.0.extend(title.0);
            }),
            Self::Reached(meters) => out.list(meters, |out, meter| out.u32(meter.0)),
            Self::Downlink { path, frame } => {
                out.u64(*path);
                out.bytes(frame);
            }
            Self::Readings(readings) => out.list(readings, Writer::reading),
            Self::Screened(readings) => out.list(readings, Writer::screened),
            Self::Alarms(alarms) => out.list(alarms, Writer::alarm),
            Self::AlarmsStored(keys) => out.list(keys, Writer::alarm_key),
            Self::Gaps(gaps) | Self::GapsTaken(gaps) => out.list(gaps, Writer::gap),
            Self::Trust { edge, gateways } => {
                out.scores(edge);
                out.list(gateways, Writer::gateway);
            }
            Self::Stored(keys) => out.list(keys, Writer::key),
            Self::Prices(points) => out.list(points, Writer::price),
            Self::Refusals(counters) => {
                for count in counters.to_array() {
                    out.u64(count);
                }
            }
            Self::Object {
                ticket,
                name,
                bytes,
            } => {
                out.u64(*ticket);
                out.bytes(name.as_bytes());
                out.bytes(bytes);
            }
            Self::ObjectStored { ticket, stored } => {
                out.u64(*ticket);
                out.u8(u8::from(*stored));
            }
            Self::ToMeter {
                meter,
                client,
                apdu,
            }
            | Self::FromMeter {
                meter,
                client,
                apdu,
            } => {
                out.u32(meter.0);
                out.u16(client.0);
                out.bytes(apdu);
            }
            Self::MeterUnreachable { meter } => out.u32(meter.0),
            Self::KeysChanged {
                meter,
                number,
                sealed,
            } => {
                out.u32(meter.0);
                out.u64(*number);
                out.bytes(sealed);
            }
            Self::KeysTaken { meter, number } => {
                out.u32(meter.0);
                out.u64(*number);
            }
        }
        out.0
    }

    /// The bytes of [`Self::Spooled`] with uplinks that are encoded already.
    pub(crate) fn spooled_of(first: u64, uplinks: &[Arc<[u8]>]) -> Vec<u8> {
        let mut out = Writer(vec![VERSION, SPOOLED]);
        out.u64(first);
        out.elements(uplinks)
    }

    /// The bytes of [`Self::Screened`] with readings that are encoded already.
    pub(crate) fn screened_of(readings: &[Arc<[u8]>]) -> Vec<u8> {
        Writer(vec![VERSION, SCREENED]).elements(readings)
    }

    /// The bytes of [`Self::Alarms`] with alarms that are encoded already.
    pub(crate) fn alarms_of(alarms: &[Arc<[u8]>]) -> Vec<u8> {
        Writer(vec![VERSION, ALARMS]).elements(alarms)
    }

    /// The bytes of [`Self::Gaps`] with gaps that are encoded already.
    pub(crate) fn gaps_of(gaps: &[Arc<[u8]>]) -> Vec<u8> {
        Writer(vec![VERSION, GAPS]).elements(gaps)
    }

    /// Who the sender of an encoded envelope says it is; `None` if it is no greeting.
    pub fn greeting(bytes: &[u8]) -> Option<(Role, String)> {
        if bytes.get(1) != Some(&HELLO) {
            return None;
        }
        match Self::decode(bytes) {
            Ok(Self::Hello { role, name, .. }) => Some((role, name)),
            Ok(_) | Err(_) => None,
        }
    }

    /// Reads one envelope, whole.
    ///
    /// # Errors
    ///
    /// Names the field that is wrong; allocates no more than the envelope is long.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut from = Source(Reader::new(bytes));
        let got = from.0.u8()?;
        if got != VERSION {
            return Err(EnvelopeError::Version { got });
        }
        let message = match from.0.u8()? {
            HELLO => Self::Hello {
                role: match from.0.u8()? {
                    1 => Role::Gateway,
                    2 => Role::Edge,
                    3 => Role::Utility,
                    4 => Role::Archive,
                    5 => Role::HeadEnd,
                    _ => return Err(EnvelopeError::Field { field: "role" }),
                },
                name: from.text("name")?,
                epoch: match from.0.rest().len() {
                    8 => Epoch(from.0.u64()?),
                    _ => Epoch::NONE,
                },
            },
            2 => Self::Uplink(from.uplink()?),
            3 => Self::Downlink {
                path: from.0.u64()?,
                frame: from.bytes()?,
            },
            4 => Self::Readings(from.list(Source::reading)?),
            5 => Self::Stored(from.list(Source::key)?),
            6 => Self::Prices(from.list(Source::price)?),
            7 => {
                let mut counts = [0; ReasonCounters::KINDS];
                for count in &mut counts {
                    *count = from.0.u64()?;
                }
                Self::Refusals(ReasonCounters::from_array(counts))
            }
            8 => Self::Object {
                ticket: from.0.u64()?,
                name: from.text("name")?,
                bytes: from.bytes()?,
            },
            9 => Self::ObjectStored {
                ticket: from.0.u64()?,
                stored: match from.0.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(EnvelopeError::Field { field: "stored" }),
                },
            },
            10 => {
                let (meter, client, apdu) = from.tunnelled()?;
                Self::ToMeter {
                    meter,
                    client,
                    apdu,
                }
            }
            11 => {
                let (meter, client, apdu) = from.tunnelled()?;
                Self::FromMeter {
                    meter,
                    client,
                    apdu,
                }
            }
            12 => Self::MeterUnreachable {
                meter: MeterId(from.0.u32()?),
            },
            SCREENED => Self::Screened(from.list(Source::screened)?),
            ALARMS => Self::Alarms(from.list(Source::alarm)?),
            15 => Self::AlarmsStored(from.list(Source::alarm_key)?),
            GAPS => Self::Gaps(from.list(Source::gap)?),
            32 => Self::Echo {
                number: from.0.u64()?,
            },
            33 => Self::Echoed {
                number: from.0.u64()?,
            },
            34 => Self::Held(from.list(|from| Ok((from.0.u64()?, from.share()?)))?),
            35 => Self::Delays(from.list(Source::shares)?),
            31 => Self::GapsTaken(from.list(Source::gap)?),
            16 => Self::Trust {
                edge: from.scores()?,
                gateways: from.list(Source::gateway)?,
            },
            SPOOLED => Self::Spooled {
                first: from.number()?,
                uplinks: from.list(Source::uplink)?,
            },
            18 => Self::Taken {
                first: from.number()?,
                count: from.0.u16()?,
            },
            22 => Self::LineGone {
                path: from.0.u64()?,
                closed: from.closed()?,
            },
            20 => {
                let (meter, number) = (MeterId(from.0.u32()?), from.0.u64()?);
                let sealed = from.bytes()?;
                if sealed.len() > SEALED_BYTES_MAX {
                    return Err(EnvelopeError::Field { field: "sealed" });
                }
                Self::KeysChanged {
                    meter,
                    number,
                    sealed,
                }
            }
            21 => Self::KeysTaken {
                meter: MeterId(from.0.u32()?),
                number: from.0.u64()?,
            },
            40 => Self::Heartbeat {
                number: from.0.u64()?,
                every_ms: from.0.u32()?,
            },
            41 => Self::Alive {
                number: from.0.u64()?,
            },
            42 => Self::Duty {
                is_active: match from.0.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(EnvelopeError::Field { field: "duty" }),
                },
            },
            43 => Self::Lines(from.list(|from| {
                let (path, title) = (from.0.u64()?, from.0.array()?);
                Ok((path, SystemTitle(title)))
            })?),
            44 => Self::Reached(from.list(|from| Ok(MeterId(from.0.u32()?)))?),
            PAIR => Self::Pair(from.pair()?),
            kind => return Err(EnvelopeError::Kind(kind)),
        };
        match from.0.rest().len() {
            0 => Ok(message),
            left => Err(EnvelopeError::TooLong(left)),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Hello { .. } => HELLO,
            Self::Uplink(_) => 2,
            Self::Downlink { .. } => 3,
            Self::Readings(_) => 4,
            Self::Stored(_) => 5,
            Self::Prices(_) => 6,
            Self::Refusals(_) => 7,
            Self::Object { .. } => 8,
            Self::ObjectStored { .. } => 9,
            Self::ToMeter { .. } => 10,
            Self::FromMeter { .. } => 11,
            Self::MeterUnreachable { .. } => 12,
            Self::Screened(_) => SCREENED,
            Self::Alarms(_) => ALARMS,
            Self::AlarmsStored(_) => 15,
            Self::Gaps(_) => GAPS,
            Self::GapsTaken(_) => 31,
            Self::Echo { .. } => 32,
            Self::Echoed { .. } => 33,
            Self::Held(_) => 34,
            Self::Delays(_) => 35,
            Self::Trust { .. } => 16,
            Self::Spooled { .. } => SPOOLED,
            Self::Taken { .. } => 18,
            Self::KeysChanged { .. } => 20,
            Self::KeysTaken { .. } => 21,
            Self::LineGone { .. } => 22,
            Self::Heartbeat { .. } => 40,
            Self::Alive { .. } => 41,
            Self::Duty { .. } => 42,
            Self::Lines(_) => 43,
            Self::Reached(_) => 44,
            Self::Pair(_) => PAIR,
        }
    }
}

#[cfg(test)]
mod tests;
