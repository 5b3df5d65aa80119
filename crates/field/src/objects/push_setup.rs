//! Push setup (class 40, version 1): what is sent to whom on its own, when it may be sent, and
//! how often it is tried.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use gridloom_core::UtcTime;
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::CosemDateTime;
use gridloom_dlms::selection::CaptureObject;

use super::InterfaceObject;
use super::recurrence::Recurrence;
use super::retained::{Keeper, Kept, RetainedError};
use super::shape::{self, Unfit};

/// Objects in one push; a longer list is refused.
pub const PUSH_OBJECTS_MAX: usize = 64;
/// Communication windows; a longer list is refused.
pub const WINDOWS_MAX: usize = 16;
/// Bytes of a destination; a longer one is refused.
pub const DESTINATION_MAX: usize = 64;

const VERSION: u8 = 1;
const OBJECT: &str = "push-setup";

/// Whom and how (attribute 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Transport: 0 TCP, 1 UDP, 2 FTP, 3 SMTP, 4 SMS, 5 HDLC, 6 M-Bus, 7 ZigBee, 200–255 ours.
    pub transport: u8,
    /// The address, as the transport writes it.
    pub address: Vec<u8>,
    /// Message: 0 A-XDR encoded xDLMS APDU, 1 XML, 128–255 ours.
    pub message: u8,
}

/// Transport service TCP.
pub const TRANSPORT_TCP: u8 = 0;
/// Transport service UDP.
pub const TRANSPORT_UDP: u8 = 1;

impl Destination {
    /// Nobody but the edge.
    pub fn is_none(&self) -> bool {
        self.address.is_empty()
    }

    /// The address as `IP:PORT` in ASCII, which is what a meter of ours can reach; `None` for
    /// another transport, message or form.
    pub fn socket(&self) -> Option<SocketAddr> {
        let reachable = matches!(self.transport, TRANSPORT_TCP | TRANSPORT_UDP);
        let text = core::str::from_utf8(&self.address).ok()?;
        text.parse().ok().filter(|_| reachable && self.message == 0)
    }

    pub(crate) fn from_value(value: &Data) -> Result<Self, Unfit> {
        let [transport, address, message] = shape::structure(value)?;
        Ok(Self {
            transport: shape::enumeration(transport)?,
            address: shape::octets(address, DESTINATION_MAX)?.to_vec(),
            message: shape::enumeration(message)?,
        })
    }
}

/// A time in which pushes may leave (attribute 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Opens at each of these moments.
    pub start: CosemDateTime,
    /// Closes at the next of these.
    pub end: CosemDateTime,
}

impl Window {
    /// The window that is open at `at`, or opens next.
    fn next(&self, at: UtcTime) -> Option<(UtcTime, UtcTime)> {
        let start = Recurrence::from_date_time(self.start)?;
        let end = Recurrence::from_date_time(self.end)?;
        if let Some(open) = start.last_until(at)
            && let Some(close) = end.next_after(open)
            && at < close
        {
            return Some((open, close));
        }
        let open = start.next_after(at)?;
        Some((open, end.next_after(open)?))
    }

    fn value(&self) -> Data {
        Data::Structure(vec![
            shape::date_time_value(self.start),
            shape::date_time_value(self.end),
        ])
    }

    fn from_value(value: &Data) -> Result<Self, Unfit> {
        let [start, end] = shape::structure(value)?;
        let window = Self {
            start: shape::date_time(start)?,
            end: shape::date_time(end)?,
        };
        let known = |time| Recurrence::from_date_time(time).is_some();
        if known(window.start) && known(window.end) {
            Ok(window)
        } else {
            Err(Unfit::Range)
        }
    }
}

/// What a push setup begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushConfig {
    /// What is sent, in order.
    pub objects: Vec<CaptureObject>,
    /// To whom.
    pub destination: Destination,
    /// Pushes wait for a random part of so many seconds (attribute 5).
    pub randomisation_s: u16,
    /// Tries after the first one (attribute 6).
    pub retries: u8,
    /// Seconds between tries (attribute 7).
    pub delay_s: u16,
}

/// How a try came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushOutcome {
    /// The receiver has it.
    Delivered,
    /// It did not arrive, or nobody confirmed it.
    Failed,
}

/// What the meter must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushEvent {
    /// Send [`PushSetup::objects`] to [`PushSetup::destination`], then report with
    /// [`PushSetup::handle_outcome`].
    Send {
        /// From 1.
        attempt: u16,
    },
    /// All tries have failed: the push is given up.
    GivenUp {
        /// How many there were.
        attempts: u16,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// The next try is due.
    Waiting {
        due: UtcTime,
        attempt: u16,
    },
    /// A try is out.
    Sent {
        attempt: u16,
    },
}

/// One push setup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushSetup {
    objects: Vec<CaptureObject>,
    destination: Destination,
    windows: Vec<Window>,
    randomisation_s: u16,
    retries: u8,
    delay_s: u16,
    state: State,
    /// Another push was asked for while one was out: it follows with fresh values.
    again: bool,
    /// A client's method, to be started with [`PushSetup::handle_push`].
    asked: bool,
    /// At most one per input.
    events: VecDeque<PushEvent>,
}

impl PushSetup {
    /// Nothing to send yet.
    ///
    /// # Panics
    ///
    /// If the bounds of this module are passed: the maker's setup is wrong.
    pub fn new(config: PushConfig) -> Self {
        assert!(
            config.objects.len() <= PUSH_OBJECTS_MAX
                && config.destination.address.len() <= DESTINATION_MAX,
            "a maker's push setup is within bounds"
        );
        Self {
            objects: config.objects,
            destination: config.destination,
            windows: Vec::new(),
            randomisation_s: config.randomisation_s,
            retries: config.retries,
            delay_s: config.delay_s,
            state: State::Idle,
            again: false,
            asked: false,
            events: VecDeque::new(),
        }
    }

    /// What is sent.
    pub fn objects(&self) -> &[CaptureObject] {
        &self.objects
    }

    /// Sends other objects from now on.
    ///
    /// # Panics
    ///
    /// If there are more than [`PUSH_OBJECTS_MAX`].
    pub(crate) fn set_objects(&mut self, objects: Vec<CaptureObject>) {
        assert!(objects.len() <= PUSH_OBJECTS_MAX, "a maker's list is short");
        self.objects = objects;
    }

    /// Pushes wait for a random part of this (attribute 5).
    pub const fn randomisation(&self) -> Duration {
        Duration::from_secs(self.randomisation_s as u64)
    }

    /// Tries after the first one (attribute 6), and the seconds between them (attribute 7).
    pub const fn repetition(&self) -> (u8, u16) {
        (self.retries, self.delay_s)
    }

    /// To whom.
    pub const fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Whether a client has invoked `push` since the last call. Then call [`Self::handle_push`]:
    /// it needs a random number, which an object does not draw.
    pub const fn take_asked(&mut self) -> bool {
        core::mem::replace(&mut self.asked, false)
    }

    /// A push is wanted. `random` spreads the meters of a grid over the randomisation interval.
    /// While one waits, nothing changes; while one is out, one more follows.
    pub fn handle_push(&mut self, random: u32, at: UtcTime) {
        match self.state {
            State::Idle => {
                let spread = u64::from(self.randomisation_s) * 1_000 + 1;
                let wait = Duration::from_millis(u64::from(random) % spread);
                self.wait(at, wait, 1);
                self.handle_time(at);
            }
            State::Waiting { .. } => {}
            State::Sent { .. } => self.again = true,
        }
    }

    /// Sends what is due.
    pub fn handle_time(&mut self, at: UtcTime) {
        if let State::Waiting { due, attempt } = self.state
            && at >= due
        {
            // The meter may have slept through the window.
            let open = self.opening(at);
            if open > at {
                self.state = State::Waiting { due: open, attempt };
                return;
            }
            self.state = State::Sent { attempt };
            self.events.push_back(PushEvent::Send { attempt });
        }
    }

    /// How the last try came out; `random` is for a push that follows. Without a try out, nothing
    /// happens: an answer may come late.
    pub fn handle_outcome(&mut self, outcome: PushOutcome, random: u32, at: UtcTime) {
        let State::Sent { attempt } = self.state else {
            return;
        };
        match outcome {
            PushOutcome::Failed if attempt <= u16::from(self.retries) => {
                let delay = Duration::from_secs(u64::from(self.delay_s));
                self.wait(at, delay, attempt + 1);
                return;
            }
            PushOutcome::Failed => {
                self.events
                    .push_back(PushEvent::GivenUp { attempts: attempt });
            }
            PushOutcome::Delivered => {}
        }
        self.state = State::Idle;
        if core::mem::replace(&mut self.again, false) {
            self.handle_push(random, at);
        }
    }

    /// When [`Self::handle_time`] is due, and why.
    pub const fn wake(&self) -> Option<(UtcTime, &'static str)> {
        match self.state {
            State::Waiting { due, .. } => Some((due, "push")),
            State::Idle | State::Sent { .. } => None,
        }
    }

    /// What the meter must do next.
    pub fn poll_event(&mut self) -> Option<PushEvent> {
        self.events.pop_front()
    }

    /// Waits `wait` within a window: what does not fit the open one waits as long in the next.
    fn wait(&mut self, at: UtcTime, wait: Duration, attempt: u16) {
        let open = self.opening(at).max(at);
        let due = self.opening(open + wait).max(open + wait);
        self.state = State::Waiting { due, attempt };
    }

    /// The first moment from `at` on at which a window is open; `at` where there are none.
    pub(crate) fn opening(&self, at: UtcTime) -> UtcTime {
        self.windows
            .iter()
            .filter_map(|window| window.next(at))
            .map(|(open, _)| open.max(at))
            .min()
            .unwrap_or(at)
    }

    /// Appends what the setup keeps. A try that was out is made again after a restart.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.list(self.objects.iter(), |keeper, object| {
            keeper.put(object.class_id.to_be_bytes());
            keeper.put(object.instance.0);
            keeper.put(object.attribute.to_be_bytes());
            keeper.put(object.data_index.to_be_bytes());
        });
        keeper.byte(self.destination.transport);
        keeper.octets(&self.destination.address);
        keeper.byte(self.destination.message);
        keeper.list(self.windows.iter(), |keeper, window| {
            keeper.put(window.start.to_bytes());
            keeper.put(window.end.to_bytes());
        });
        keeper.put(self.randomisation_s.to_be_bytes());
        keeper.byte(self.retries);
        keeper.put(self.delay_s.to_be_bytes());
        let pending = match self.state {
            State::Idle => None,
            State::Waiting { due, attempt } => Some((due, attempt)),
            State::Sent { attempt } => Some((UtcTime::from_secs(0), attempt)),
        };
        keeper.option(pending, |keeper, (due, attempt)| {
            keeper.time(due);
            keeper.put(attempt.to_be_bytes());
        });
        keeper.flag(self.again);
        keeper.flag(self.asked);
    }

    /// Takes over what a setup kept; call [`Self::handle_time`] afterwards.
    ///
    /// # Errors
    ///
    /// Bytes that no setup wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let objects = kept.list("objects", PUSH_OBJECTS_MAX, |kept| {
            Ok(CaptureObject {
                class_id: kept.u16()?,
                instance: kept.name()?,
                attribute: i8::from_be_bytes(kept.array()?),
                data_index: kept.u16()?,
            })
        })?;
        let destination = Destination {
            transport: kept.u8()?,
            address: kept.octets("destination", DESTINATION_MAX)?.to_vec(),
            message: kept.u8()?,
        };
        let windows = kept.list("windows", WINDOWS_MAX, |kept| {
            let (start, end) = (kept.date_time()?, kept.date_time()?);
            Ok(Window { start, end })
        })?;
        let setup = Self {
            objects,
            destination,
            windows,
            randomisation_s: kept.u16()?,
            retries: kept.u8()?,
            delay_s: kept.u16()?,
            state: kept
                .option("pending push", |kept| {
                    let due = kept.time()?;
                    let attempt = kept.u16()?;
                    kept.require((1..=256).contains(&attempt), "attempt")?;
                    Ok(State::Waiting { due, attempt })
                })?
                .unwrap_or(State::Idle),
            again: kept.flag("again")?,
            asked: kept.flag("asked")?,
            events: VecDeque::new(),
        };
        kept.finish()?;
        Ok(setup)
    }
}

impl InterfaceObject for PushSetup {
    fn get(&self, attribute: i8, _: UtcTime) -> Result<Data, DataAccessResult> {
        Ok(match attribute {
            2 => shape::array_value(&self.objects, |object| object.to_data()),
            3 => Data::Structure(vec![
                Data::Enum(self.destination.transport),
                Data::OctetString(self.destination.address.clone()),
                Data::Enum(self.destination.message),
            ]),
            4 => shape::array_value(&self.windows, Window::value),
            5 => Data::LongUnsigned(self.randomisation_s),
            6 => Data::Unsigned(self.retries),
            7 => Data::LongUnsigned(self.delay_s),
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    fn set(&mut self, attribute: i8, value: &Data, _: UtcTime) -> Result<(), DataAccessResult> {
        match attribute {
            2 => {
                self.objects = shape::list(value, PUSH_OBJECTS_MAX, |object| {
                    CaptureObject::from_data(object).map_err(|_| Unfit::Type)
                })?;
            }
            3 => {
                self.destination = Destination::from_value(value)?;
            }
            4 => self.windows = shape::list(value, WINDOWS_MAX, Window::from_value)?,
            5 => self.randomisation_s = shape::long_unsigned(value)?,
            6 => self.retries = shape::unsigned(value)?,
            7 => self.delay_s = shape::long_unsigned(value)?,
            _ => return Err(DataAccessResult::ObjectUndefined),
        }
        Ok(())
    }

    fn invoke(
        &mut self,
        method: i8,
        parameters: Option<&Data>,
        _: UtcTime,
    ) -> Result<Option<Data>, ActionResult> {
        if method != 1 {
            return Err(ActionResult::ObjectUndefined);
        }
        shape::nothing(parameters)?;
        self.asked = true;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use gridloom_core::ObisCode;

    use super::*;
    use crate::objects::retained::assert_survives;

    fn at(text: &str) -> UtcTime {
        UtcTime::parse(&format!("2026-11-21T{text}Z")).unwrap()
    }

    fn setup() -> PushSetup {
        PushSetup::new(PushConfig {
            objects: vec![CaptureObject {
                class_id: 1,
                instance: ObisCode([0, 0, 42, 0, 0, 255]),
                attribute: 2,
                data_index: 0,
            }],
            destination: Destination {
                transport: 0,
                address: b"10.0.0.1:4059".to_vec(),
                message: 0,
            },
            randomisation_s: 60,
            retries: 2,
            delay_s: 30,
        })
    }

    /// Open every day from 2 to 4 o'clock.
    fn nightly() -> Data {
        let time = |hour| {
            Data::OctetString(vec![
                0xFF, 0xFF, 0xFF, 0xFF, 0xFF, hour, 0, 0, 0, 0x80, 0, 0xFF,
            ])
        };
        Data::Array(vec![Data::Structure(vec![time(2), time(4)])])
    }

    fn events(setup: &mut PushSetup) -> Vec<PushEvent> {
        std::iter::from_fn(|| setup.poll_event()).collect()
    }

    fn due(setup: &PushSetup) -> Option<UtcTime> {
        setup.wake().map(|(due, _)| due)
    }

    #[test]
    fn pushes_are_spread_and_tried_again() {
        let mut setup = setup();
        assert_eq!(
            setup.invoke(1, Some(&Data::Integer(0)), at("10:00:00")),
            Ok(None)
        );
        assert!(setup.take_asked() && !setup.take_asked());
        // 60 001 values from 0 to 60 s.
        setup.handle_push(60_001 + 20_000, at("10:00:00"));
        assert_eq!(due(&setup), Some(at("10:00:20")));
        setup.handle_push(0, at("10:00:01"));
        assert_eq!(due(&setup), Some(at("10:00:20")), "it waits already");
        let send = |attempt| PushEvent::Send { attempt };
        for (attempt, sent, next) in [
            (1, "10:00:20", Some("10:00:55")),
            (2, "10:00:55", Some("10:01:30")),
            (3, "10:01:30", None),
        ] {
            setup.handle_time(at(sent) - Duration::from_millis(1));
            assert_eq!(events(&mut setup), []);
            setup.handle_time(at(sent));
            assert_eq!(events(&mut setup), [send(attempt)]);
            let late = at(sent) + Duration::from_secs(5);
            setup.handle_outcome(PushOutcome::Failed, 0, late);
            assert_eq!(due(&setup), next.map(at));
        }
        assert_eq!(events(&mut setup), [PushEvent::GivenUp { attempts: 3 }]);
        // An answer that comes too late.
        setup.handle_outcome(PushOutcome::Failed, 0, at("10:05:00"));
        assert_eq!((events(&mut setup), due(&setup)), (vec![], None));
    }

    #[test]
    fn what_is_asked_for_meanwhile_follows() {
        let mut setup = setup();
        setup.handle_push(0, at("10:00:00"));
        setup.handle_push(7, at("10:00:01"));
        setup.handle_push(7, at("10:00:01"));
        setup.handle_outcome(PushOutcome::Delivered, 5_000, at("10:00:02"));
        assert_eq!(events(&mut setup), [PushEvent::Send { attempt: 1 }]);
        assert_eq!(due(&setup), Some(at("10:00:07")));
        setup.handle_time(at("10:00:07"));
        setup.handle_outcome(PushOutcome::Delivered, 0, at("10:00:08"));
        assert_eq!(due(&setup), None);
    }

    #[test]
    fn nothing_leaves_outside_a_window() {
        let mut setup = setup();
        setup.set(4, &nightly(), at("00:00:00")).unwrap();
        // When it is wanted, the random wait in milliseconds, when it leaves.
        let cases = [
            ("01:00:00", 0, "02:00:00"),
            ("01:00:00", 30_000, "02:00:30"),
            ("02:30:00", 0, "02:30:00"),
            ("03:59:59", 500, "03:59:59"),
        ];
        for (wanted, random, leaves) in cases {
            let mut setup = setup.clone();
            setup.handle_push(random, at(wanted));
            let due = due(&setup).unwrap_or(at(wanted));
            assert_eq!(due.as_secs(), at(leaves).as_secs(), "{wanted}");
        }
        let tomorrow = at("02:00:00") + Duration::from_secs(86_400);
        let mut late = setup.clone();
        late.handle_push(30_000, at("03:59:59"));
        assert_eq!(due(&late), Some(tomorrow), "the wait passes the end");
        // The meter sleeps through the window.
        setup.handle_push(0, at("01:00:00"));
        setup.handle_time(at("05:00:00"));
        assert_eq!((events(&mut setup), due(&setup)), (vec![], Some(tomorrow)));
    }

    #[test]
    fn attributes_read_as_they_are_written() {
        let mut setup = setup();
        setup.set(4, &nightly(), at("00:00:00")).unwrap();
        for attribute in 2..=7 {
            let value = setup.get(attribute, at("00:00:00")).unwrap();
            assert_eq!(setup.set(attribute, &value, at("00:00:00")), Ok(()));
            assert_eq!(setup.get(attribute, at("00:00:00")), Ok(value));
        }
        let unset = Data::OctetString(vec![0xFF; 12]);
        let cases = [
            (
                2,
                Data::Array(vec![Data::Null]),
                DataAccessResult::TypeUnmatched,
            ),
            (
                4,
                Data::Array(vec![Data::Structure(vec![unset.clone(), unset])]),
                DataAccessResult::OtherReason,
            ),
            (6, Data::LongUnsigned(1), DataAccessResult::TypeUnmatched),
            (8, Data::Null, DataAccessResult::ObjectUndefined),
        ];
        for (attribute, value, expected) in cases {
            assert_eq!(
                setup.set(attribute, &value, at("00:00:00")),
                Err(expected),
                "{attribute}"
            );
        }
    }

    #[test]
    fn it_survives_and_sends_again_what_was_out() {
        let mut setup = setup();
        setup.set(4, &nightly(), at("00:00:00")).unwrap();
        setup.handle_push(0, at("01:00:00"));
        assert_survives(&setup, PushSetup::encode, PushSetup::decode);
        setup.handle_time(at("02:00:00"));
        let mut bytes = Vec::new();
        setup.encode(&mut bytes);
        let mut restarted = PushSetup::decode(&bytes).unwrap();
        restarted.handle_time(at("02:01:00"));
        assert_eq!(events(&mut restarted), [PushEvent::Send { attempt: 1 }]);
    }
}
