//! What is carried, with what is known about it: frames and the lines they came by, readings with
//! their scores, alarms.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use gridloom_core::bytes::Reader;
use gridloom_core::{MeterId, SystemTitle};
use gridloom_dlms::apdu::LongInvokeId;
use gridloom_edge::{
    AlarmKey, AlarmNumber, ClosedLine, GatewayId, GatewayStatus, LineFault, LinkQuality,
    MeterAlarm, Path, Reasons, Scores, ScreenedReading,
};
use gridloom_store::spool::{Gap, GapCause, Lane, Whose};

use super::wire::{Source, Writer};
use super::{EnvelopeError, SHARE_US_MAX, Uplink};
use crate::delay::Shares;

const UNKNOWN: u8 = 0;
const METER: u8 = 1;
const TITLE: u8 = 2;

const ALERT: u8 = 1;
const EVENT: u8 = 2;

/// Which of a link's fields follow: a bit each.
mod known {
    pub(super) const RECEIVED: u8 = 1;
    pub(super) const LOST: u8 = 2;
    pub(super) const RETRANSMISSIONS: u8 = 4;
    pub(super) const RESPONSE: u8 = 8;
    pub(super) const SIGNAL: u8 = 16;
    pub(super) const ALL: u8 = 31;
}

/// An uplink as it stands in an envelope.
pub(crate) fn encode_uplink(uplink: &Uplink) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(uplink.frame.len() + 32));
    out.uplink(uplink);
    out.0
}

/// A screened reading as it stands in an envelope.
pub(crate) fn encode_screened(reading: &ScreenedReading) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(256));
    out.screened(reading);
    out.0
}

/// An alarm as it stands in an envelope.
pub(crate) fn encode_alarm(alarm: &MeterAlarm) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(alarm.apdu.len() + 64));
    out.alarm(alarm);
    out.0
}

/// A gap as it stands in an envelope.
pub(crate) fn encode_gap(gap: &Gap) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(48));
    out.gap(gap);
    out.0
}

/// Reads what [`encode_gap`] wrote.
pub(crate) fn decode_gap(bytes: &[u8]) -> Result<Gap, EnvelopeError> {
    let mut from = Source(Reader::new(bytes));
    let gap = from.gap()?;
    from.whole(gap)
}

/// Reads what [`encode_screened`] wrote.
pub(crate) fn decode_screened(bytes: &[u8]) -> Result<ScreenedReading, EnvelopeError> {
    let mut from = Source(Reader::new(bytes));
    let reading = from.screened()?;
    from.whole(reading)
}

/// Reads what [`encode_alarm`] wrote.
pub(crate) fn decode_alarm(bytes: &[u8]) -> Result<MeterAlarm, EnvelopeError> {
    let mut from = Source(Reader::new(bytes));
    let alarm = from.alarm()?;
    from.whole(alarm)
}

impl Writer {
    pub(super) fn scores(&mut self, scores: &Scores) {
        for score in scores.to_array() {
            self.u16(score);
        }
    }

    pub(super) fn link(&mut self, link: &LinkQuality) {
        let bit = |is_known: bool, bit: u8| if is_known { bit } else { 0 };
        self.u8(bit(link.received.is_some(), known::RECEIVED)
            | bit(link.lost_percent.is_some(), known::LOST)
            | bit(link.retransmissions.is_some(), known::RETRANSMISSIONS)
            | bit(link.response_ms.is_some(), known::RESPONSE)
            | bit(link.signal_dbm.is_some(), known::SIGNAL));
        if let Some(received) = link.received {
            self.time(received);
        }
        if let Some(percent) = link.lost_percent {
            self.u8(percent);
        }
        if let Some(times) = link.retransmissions {
            self.u8(times);
        }
        if let Some(milliseconds) = link.response_ms {
            self.u32(milliseconds);
        }
        if let Some(dbm) = link.signal_dbm {
            self.0.extend(dbm.to_be_bytes());
        }
    }

    /// Nothing, or the fault from 1 and the address with its length.
    pub(super) fn closed(&mut self, closed: Option<ClosedLine>) {
        let Some(ClosedLine { fault, address }) = closed else {
            return self.u8(0);
        };
        self.u8(fault.code() + 1);
        match address {
            None => self.u8(0),
            Some(IpAddr::V4(address)) => {
                self.u8(4);
                self.0.extend(address.octets());
            }
            Some(IpAddr::V6(address)) => {
                self.u8(16);
                self.0.extend(address.octets());
            }
        }
    }

    pub(super) fn share(&mut self, share: Duration) {
        let micros = u64::try_from(share.as_micros()).unwrap_or(u64::MAX);
        self.u64(micros.min(SHARE_US_MAX));
    }

    pub(super) fn shares(&mut self, shares: &Shares) {
        self.key(&shares.key);
        self.time(shares.received);
        self.share(shares.gateway);
        self.share(shares.edge);
    }

    pub(super) fn gap(&mut self, gap: &Gap) {
        self.u8(gap.lane.number());
        self.u8(gap.cause.number());
        match gap.whose {
            Whose::Unknown => self.u8(UNKNOWN),
            Whose::Meter(meter) => {
                self.u8(METER);
                self.u32(meter.0);
            }
            Whose::Title(title) => {
                self.u8(TITLE);
                self.0.extend(title.0);
            }
        }
        match gap.from.zip(gap.to) {
            Some((from, to)) => {
                self.u8(1);
                self.time(from);
                self.time(to);
            }
            None => self.u8(0),
        }
        self.u64(gap.entries);
    }

    pub(super) fn uplink(&mut self, uplink: &Uplink) {
        self.u64(uplink.path);
        self.time(uplink.received);
        self.link(&uplink.link);
        self.bytes(&uplink.frame);
    }

    pub(super) fn screened(&mut self, reading: &ScreenedReading) {
        self.reading(&reading.accepted);
        self.scores(&reading.scores);
        self.u32(reading.reasons.bits());
        self.u64(reading.path.gateway);
        self.u64(reading.path.down);
        self.link(&reading.link);
    }

    pub(super) fn alarm_key(&mut self, key: &AlarmKey) {
        self.u32(key.meter.0);
        let (kind, number) = match key.number {
            AlarmNumber::Alert(id) => (ALERT, id.0),
            AlarmNumber::Event(counter) => (EVENT, counter),
        };
        self.u8(kind);
        self.u32(number);
        self.time(key.time);
    }

    pub(super) fn alarm(&mut self, alarm: &MeterAlarm) {
        self.alarm_key(&alarm.key);
        self.0.extend(alarm.title.0);
        self.u32(alarm.counter);
        self.time(alarm.received);
        self.scores(&alarm.scores);
        self.u32(alarm.reasons.bits());
        self.bytes(&alarm.apdu);
    }

    pub(super) fn gateway(&mut self, gateway: &GatewayStatus) {
        self.u64(gateway.link);
        match gateway.id {
            Some(id) => {
                self.u8(1);
                self.u16(id.0);
            }
            None => self.u8(0),
        }
        match &gateway.name {
            Some(name) => {
                self.u8(1);
                self.bytes(name.as_bytes());
            }
            None => self.u8(0),
        }
        self.u64(gateway.packets);
        self.scores(&gateway.trust);
    }
}

impl Source<'_> {
    /// The value that was read, if nothing follows it.
    fn whole<T>(&self, value: T) -> Result<T, EnvelopeError> {
        match self.0.rest().len() {
            0 => Ok(value),
            left => Err(EnvelopeError::TooLong(left)),
        }
    }

    pub(super) fn closed(&mut self) -> Result<Option<ClosedLine>, EnvelopeError> {
        let impossible = |field| EnvelopeError::Field { field };
        let Some(code) = self.0.u8()?.checked_sub(1) else {
            return Ok(None);
        };
        let fault = LineFault::from_code(code).ok_or(impossible("line fault"))?;
        let address = match self.0.u8()? {
            0 => None,
            4 => Some(IpAddr::from(Ipv4Addr::from(self.0.array::<4>()?))),
            16 => Some(IpAddr::from(Ipv6Addr::from(self.0.array::<16>()?))),
            _ => return Err(impossible("address length")),
        };
        Ok(Some(ClosedLine { fault, address }))
    }

    pub(super) fn scores(&mut self) -> Result<Scores, EnvelopeError> {
        let mut scores = [0; 5];
        for score in &mut scores {
            *score = self.0.u16()?;
        }
        Scores::from_array(scores).ok_or(EnvelopeError::Field { field: "score" })
    }

    fn reasons(&mut self) -> Result<Reasons, EnvelopeError> {
        Reasons::from_bits(self.0.u32()?).ok_or(EnvelopeError::Field { field: "reasons" })
    }

    pub(super) fn link(&mut self) -> Result<LinkQuality, EnvelopeError> {
        let bits = self.0.u8()?;
        if bits & !known::ALL != 0 {
            return Err(EnvelopeError::Field { field: "link" });
        }
        let mut link = LinkQuality::default();
        if bits & known::RECEIVED != 0 {
            link.received = Some(self.time()?);
        }
        if bits & known::LOST != 0 {
            link.lost_percent = Some(self.0.u8()?);
        }
        if bits & known::RETRANSMISSIONS != 0 {
            link.retransmissions = Some(self.0.u8()?);
        }
        if bits & known::RESPONSE != 0 {
            link.response_ms = Some(self.0.u32()?);
        }
        if bits & known::SIGNAL != 0 {
            link.signal_dbm = Some(i16::from_be_bytes(self.0.array()?));
        }
        Ok(link)
    }

    pub(super) fn share(&mut self) -> Result<Duration, EnvelopeError> {
        match self.0.u64()? {
            micros @ 0..=SHARE_US_MAX => Ok(Duration::from_micros(micros)),
            _ => Err(EnvelopeError::Field {
                field: "share of a delay",
            }),
        }
    }

    pub(super) fn shares(&mut self) -> Result<Shares, EnvelopeError> {
        Ok(Shares {
            key: self.key()?,
            received: self.time()?,
            gateway: self.share()?,
            edge: self.share()?,
        })
    }

    pub(super) fn gap(&mut self) -> Result<Gap, EnvelopeError> {
        let impossible = |field| EnvelopeError::Field { field };
        let lane = Lane::from_number(self.0.u8()?).ok_or(impossible("lane"))?;
        let cause = GapCause::from_number(self.0.u8()?).ok_or(impossible("gap cause"))?;
        let whose = match self.0.u8()? {
            UNKNOWN => Whose::Unknown,
            METER => Whose::Meter(MeterId(self.0.u32()?)),
            TITLE => Whose::Title(SystemTitle(self.0.array()?)),
            _ => return Err(impossible("gap owner")),
        };
        let times = self.optional("gap times", |from| Ok((from.time()?, from.time()?)))?;
        if times.is_some_and(|(from, to)| from > to) {
            return Err(impossible("gap times"));
        }
        Ok(Gap {
            lane,
            cause,
            whose,
            from: times.map(|(from, _)| from),
            to: times.map(|(_, to)| to),
            entries: self.0.u64()?,
        })
    }

    pub(super) fn uplink(&mut self) -> Result<Uplink, EnvelopeError> {
        Ok(Uplink {
            path: self.0.u64()?,
            received: self.time()?,
            link: self.link()?,
            frame: self.bytes()?,
        })
    }

    pub(super) fn screened(&mut self) -> Result<ScreenedReading, EnvelopeError> {
        Ok(ScreenedReading {
            accepted: self.reading()?,
            scores: self.scores()?,
            reasons: self.reasons()?,
            path: Path {
                gateway: self.0.u64()?,
                down: self.0.u64()?,
            },
            link: self.link()?,
        })
    }

    pub(super) fn alarm_key(&mut self) -> Result<AlarmKey, EnvelopeError> {
        let meter = MeterId(self.0.u32()?);
        let (kind, number) = (self.0.u8()?, self.0.u32()?);
        let number = match kind {
            ALERT => AlarmNumber::Alert(LongInvokeId(number)),
            EVENT => AlarmNumber::Event(number),
            _ => {
                return Err(EnvelopeError::Field {
                    field: "alarm kind",
                });
            }
        };
        Ok(AlarmKey {
            meter,
            number,
            time: self.time()?,
        })
    }

    pub(super) fn alarm(&mut self) -> Result<MeterAlarm, EnvelopeError> {
        let alarm = MeterAlarm {
            key: self.alarm_key()?,
            title: SystemTitle(self.0.array()?),
            counter: self.0.u32()?,
            received: self.time()?,
            scores: self.scores()?,
            reasons: self.reasons()?,
            apdu: self.bytes()?,
        };
        if alarm.apdu.is_empty() || alarm.apdu.len() > MeterAlarm::APDU_MAX {
            return Err(EnvelopeError::Field { field: "apdu" });
        }
        Ok(alarm)
    }

    pub(super) fn gateway(&mut self) -> Result<GatewayStatus, EnvelopeError> {
        Ok(GatewayStatus {
            link: self.0.u64()?,
            id: self.optional("gateway number", |from| Ok(GatewayId(from.0.u16()?)))?,
            name: self.optional("gateway name", |from| from.text("gateway name"))?,
            packets: self.0.u64()?,
            trust: self.scores()?,
        })
    }
}
