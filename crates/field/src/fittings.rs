//! What a meter has besides measuring, switching and tariffs: schedules and setups. They are as
//! the maker made them until a client changes one; only then does a meter own a copy.

use std::sync::LazyLock;

use gridloom_core::{ObisCode, UtcTime};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::selection::CaptureObject;

use crate::delivery::RETRIES_UNBOUNDED;
use crate::features::{DISCONNECT_SCRIPTS, TARIFF_SCRIPTS, TARIFFS};
use crate::objects::InterfaceObject;
use crate::objects::communication_setup::{HDLC_FIELD_MAX, HdlcSetup, Ipv4Setup, TcpUdpSetup};
use crate::objects::push_setup::{Destination, PushConfig, PushSetup};
use crate::objects::recurrence::{DatePattern, Recurrence, TimePattern};
use crate::objects::retained::RetainedError;
use crate::objects::script_table::{Script, ScriptAction, ScriptName, ScriptService, ScriptTable};
use crate::objects::shape;
use crate::objects::single_action_schedule::{ScheduleType, SingleActionSchedule};
use crate::parts;

/// The script table of the billing period: 1 ends it.
pub const BILLING_SCRIPTS: ObisCode = ObisCode([0, 0, 10, 0, 1, 255]);

/// The script table of the firmware: 1 activates the image that was transferred.
pub const IMAGE_SCRIPTS: ObisCode = ObisCode([0, 0, 10, 0, 107, 255]);

/// The script table of pushes: 1 pushes the newest interval, 2 an alert.
pub const PUSH_SCRIPTS: ObisCode = ObisCode([0, 0, 10, 0, 108, 255]);

/// A schedule of a meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agenda {
    /// Ends billing periods. As made, by the months of the profile.
    Billing = 0,
    /// Activates firmware.
    Image = 1,
    /// Pushes.
    Push = 2,
}

/// A script table that no client changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scripts {
    Billing,
    Image,
    Push,
    Tariff,
}

impl Scripts {
    pub(crate) const fn name(self) -> ObisCode {
        match self {
            Self::Billing => BILLING_SCRIPTS,
            Self::Image => IMAGE_SCRIPTS,
            Self::Push => PUSH_SCRIPTS,
            Self::Tariff => TARIFF_SCRIPTS,
        }
    }

    pub(crate) fn table(self) -> &'static ScriptTable {
        match self {
            Self::Billing => &BILLING_TABLE,
            Self::Image => &IMAGE_TABLE,
            Self::Push => &PUSH_TABLE,
            Self::Tariff => &TARIFF_TABLE,
        }
    }

    /// Whether a script is one of a meter, or none at all: a schedule that would run anything
    /// else would look as if it did.
    pub(crate) fn knows(script: ScriptName) -> bool {
        script == ScriptName::NONE
            || (script.table == DISCONNECT_SCRIPTS && matches!(script.selector, 1 | 2))
            || [Self::Billing, Self::Image, Self::Push, Self::Tariff]
                .into_iter()
                .filter(|scripts| scripts.name() == script.table)
                .any(|scripts| scripts.table().actions(script.selector).is_some())
    }
}

static BILLING_TABLE: LazyLock<ScriptTable> =
    LazyLock::new(|| ScriptTable::new(vec![invoking(1, 7, [1, 0, 98, 1, 0, 255], 2)]));
static IMAGE_TABLE: LazyLock<ScriptTable> =
    LazyLock::new(|| ScriptTable::new(vec![invoking(1, 18, [0, 0, 44, 0, 0, 255], 4)]));
static PUSH_TABLE: LazyLock<ScriptTable> = LazyLock::new(|| {
    ScriptTable::new(vec![
        invoking(1, 40, [0, 0, 25, 9, 0, 255], 1),
        invoking(2, 40, [0, 4, 25, 9, 0, 255], 1),
    ])
});
/// Script `n` makes tariff `n` the active one (0.0.96.14.0).
static TARIFF_TABLE: LazyLock<ScriptTable> = LazyLock::new(|| {
    let activating = |tariff: u8| Script {
        identifier: tariff.into(),
        actions: vec![ScriptAction {
            service: ScriptService::Write,
            class_id: 1,
            instance: ObisCode([0, 0, 96, 14, 0, 255]),
            index: 2,
            parameter: Data::Unsigned(tariff),
        }],
    };
    ScriptTable::new((1..).take(TARIFFS).map(activating).collect())
});

fn invoking(identifier: u16, class_id: u16, instance: [u8; 6], method: i8) -> Script {
    Script {
        identifier,
        actions: vec![ScriptAction {
            service: ScriptService::Invoke,
            class_id,
            instance: ObisCode(instance),
            index: method,
            parameter: Data::Integer(0),
        }],
    }
}

/// The schedules as made, for readers.
static SCHEDULES: LazyLock<[SingleActionSchedule; 3]> =
    LazyLock::new(|| made_schedules(UtcTime::from_secs(0)));

/// The first of each month, and never, after `at`.
fn made_schedules(at: UtcTime) -> [SingleActionSchedule; 3] {
    let first_of_month = Recurrence {
        date: DatePattern {
            day: 1,
            ..DatePattern::ANY
        },
        time: TimePattern {
            hour: 0,
            minute: 0,
            second: 0,
        },
    };
    let schedule = |table, times| {
        let script = ScriptName { table, selector: 1 };
        SingleActionSchedule::new(script, ScheduleType::One, times, at)
    };
    [
        schedule(BILLING_SCRIPTS, vec![first_of_month]),
        schedule(IMAGE_SCRIPTS, Vec::new()),
        schedule(PUSH_SCRIPTS, Vec::new()),
    ]
}

/// The push setups as made, for readers.
static PUSHES: LazyLock<[PushSetup; 2]> =
    LazyLock::new(|| [Pushes::Interval, Pushes::Alert].map(Pushes::made));

/// A push setup of a meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pushes {
    /// 0.0.25.9.0: after each interval.
    Interval = 0,
    /// 0.4.25.9.0: when an alarm begins.
    Alert = 1,
}

impl Pushes {
    /// As made: to the edge, at once, until it is heard.
    fn made(self) -> PushSetup {
        PushSetup::new(PushConfig {
            objects: self.objects(),
            destination: Destination {
                transport: 0,
                address: Vec::new(),
                message: 0,
            },
            randomisation_s: 0,
            retries: RETRIES_UNBOUNDED,
            delay_s: 0,
        })
    }

    /// Its first list of objects, as a client writes it.
    pub(crate) fn made_list(self) -> Data {
        shape::array_value(&self.objects(), |object| object.to_data())
    }

    /// What the edge reads, in the order of its payloads (`dlms::push` and `dlms::alert`).
    pub(crate) fn objects(self) -> Vec<CaptureObject> {
        let object = |(class_id, [a, b, c, d, e], attribute): (u16, [u8; 5], i8)| CaptureObject {
            class_id,
            instance: ObisCode([a, b, c, d, e, 255]),
            attribute,
            data_index: 0,
        };
        match self {
            Self::Interval => INTERVAL_OBJECTS.iter().copied().map(object).collect(),
            Self::Alert => ALERT_OBJECTS.iter().copied().map(object).collect(),
        }
    }
}

const INTERVAL_OBJECTS: &[(u16, [u8; 5], i8)] = &[
    (40, [0, 0, 25, 9, 0], 1),
    (8, [0, 0, 1, 0, 0], 2),
    (1, [0, 0, 96, 10, 1], 2),
    (1, [1, 0, 0, 8, 4], 2),
    (3, [1, 0, 1, 29, 0], 2),
    (3, [1, 0, 2, 29, 0], 2),
    (3, [1, 0, 5, 29, 0], 2),
    (3, [1, 0, 6, 29, 0], 2),
    (3, [1, 0, 7, 29, 0], 2),
    (3, [1, 0, 8, 29, 0], 2),
    (3, [1, 0, 9, 29, 0], 2),
    (3, [1, 0, 32, 27, 0], 2),
    (3, [1, 0, 1, 8, 0], 2),
    (3, [1, 0, 1, 7, 0], 2),
];

const ALERT_OBJECTS: &[(u16, [u8; 5], i8)] = &[
    (40, [0, 4, 25, 9, 0], 1),
    (1, [0, 0, 42, 0, 0], 2),
    (8, [0, 0, 1, 0, 0], 2),
    (1, [0, 0, 97, 98, 20], 2),
    (1, [0, 0, 97, 98, 21], 2),
    (1, [0, 0, 94, 91, 18], 2),
];

static TCP: TcpUdpSetup = MADE_TCP;

/// What a meter does as made.
const MADE_TCP: TcpUdpSetup = TcpUdpSetup {
    connections: 4,
    inactivity_s: 600,
    ..TcpUdpSetup::DEFAULT
};
static IPV4: Ipv4Setup = Ipv4Setup::DHCP;
static HDLC: HdlcSetup = MADE_HDLC;

/// What a line agrees to as made: the longest fields and windows.
const MADE_HDLC: HdlcSetup = HdlcSetup {
    window_transmit: 7,
    window_receive: 7,
    field_transmit: HDLC_FIELD_MAX,
    field_receive: HDLC_FIELD_MAX,
    inter_octet_ms: 1_000,
    ..HdlcSetup::DEFAULT
};

/// An object among the fittings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fitting {
    Schedule(Agenda),
    Tcp,
    Ipv4,
    Hdlc,
    Push(Pushes),
}

/// The fittings of one meter.
#[derive(Debug, Default)]
pub(crate) struct Fittings {
    schedules: [Option<Box<SingleActionSchedule>>; 3],
    tcp: Option<Box<TcpUdpSetup>>,
    hdlc: Option<Box<HdlcSetup>>,
    pushes: [Option<Box<PushSetup>>; 2],
}

impl Fittings {
    /// The object of a fitting.
    pub(crate) fn object(&self, fitting: Fitting) -> &dyn InterfaceObject {
        match fitting {
            Fitting::Schedule(agenda) => match &self.schedules[agenda as usize] {
                Some(own) => &**own,
                None => &SCHEDULES[agenda as usize],
            },
            Fitting::Tcp => self.tcp.as_deref().unwrap_or(&TCP),
            Fitting::Ipv4 => &IPV4,
            Fitting::Hdlc => self.hdlc.as_deref().unwrap_or(&HDLC),
            Fitting::Push(push) => self.push(push),
        }
    }

    /// A push setup.
    pub(crate) fn push(&self, push: Pushes) -> &PushSetup {
        match &self.pushes[push as usize] {
            Some(own) => own,
            None => &PUSHES[push as usize],
        }
    }

    /// A push setup that a client has changed, at work.
    pub(crate) fn push_mut(&mut self, push: Pushes) -> Option<&mut PushSetup> {
        self.pushes[push as usize].as_deref_mut()
    }

    /// Gives a push setup its first list of objects again.
    pub(crate) fn restore_objects(&mut self, push: Pushes) {
        if let Some(own) = self.push_mut(push) {
            own.set_objects(push.objects());
        }
    }

    /// The connection's setup over TCP.
    pub(crate) fn tcp(&self) -> &TcpUdpSetup {
        self.tcp.as_deref().unwrap_or(&TCP)
    }

    /// The connection's setup over HDLC.
    pub(crate) fn hdlc(&self) -> &HdlcSetup {
        self.hdlc.as_deref().unwrap_or(&HDLC)
    }

    /// Lets a client change the object of a fitting at `at`. One that refuses stays the maker's.
    pub(crate) fn change<R, E>(
        &mut self,
        fitting: Fitting,
        at: UtcTime,
        act: impl FnOnce(&mut dyn InterfaceObject) -> Result<R, E>,
    ) -> Result<R, E> {
        match fitting {
            Fitting::Schedule(agenda) => own(
                &mut self.schedules[agenda as usize],
                || {
                    let [billing, image, push] = made_schedules(at);
                    match agenda {
                        Agenda::Billing => billing,
                        Agenda::Image => image,
                        Agenda::Push => push,
                    }
                },
                |object| act(object),
            ),
            Fitting::Tcp => own(&mut self.tcp, || MADE_TCP, |object| act(object)),
            // The rights on it let nobody get here.
            Fitting::Ipv4 => act(&mut Ipv4Setup::DHCP.clone()),
            Fitting::Hdlc => own(&mut self.hdlc, || MADE_HDLC, |object| act(object)),
            Fitting::Push(push) => own(
                &mut self.pushes[push as usize],
                || push.made(),
                |object| act(object),
            ),
        }
    }

    /// Whether billing periods end with the months of the profile.
    pub(crate) fn bills_by_month(&self) -> bool {
        self.schedules[Agenda::Billing as usize].is_none()
    }

    /// When [`Self::handle_time`] has something to do, by the meter's clock.
    pub(crate) fn due(&self) -> Option<UtcTime> {
        let schedules = self.schedules.iter().flatten();
        let schedules = schedules.filter_map(|schedule| Some(schedule.wake()?.0));
        let pushes = self.pushes.iter().flatten();
        schedules
            .chain(pushes.filter_map(|push| Some(push.wake()?.0)))
            .min()
    }

    /// The scripts that are due by `at`, oldest first. Pushes that are due wait to be polled.
    pub(crate) fn handle_time(&mut self, at: UtcTime) -> Vec<ScriptName> {
        let mut due = Vec::new();
        for schedule in self.schedules.iter_mut().flatten() {
            schedule.handle_time(at);
            while let Some(event) = schedule.poll_event() {
                due.push((event.due, event.script));
            }
        }
        for push in self.pushes.iter_mut().flatten() {
            push.handle_time(at);
        }
        due.sort_by_key(|(due, _)| *due);
        due.into_iter().map(|(_, script)| script).collect()
    }

    /// Appends what differs from the maker's.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for (number, schedule) in (1..).zip(&self.schedules) {
            if let Some(schedule) = schedule {
                parts::put(out, number, |out| schedule.encode(out));
            }
        }
        if let Some(tcp) = &self.tcp {
            parts::put(out, 4, |out| tcp.encode(out));
        }
        if let Some(hdlc) = &self.hdlc {
            parts::put(out, 6, |out| hdlc.encode(out));
        }
        for (number, push) in (7..).zip(&self.pushes) {
            if let Some(push) = push {
                parts::put(out, number, |out| push.encode(out));
            }
        }
    }

    /// Takes over what fittings kept.
    ///
    /// # Errors
    ///
    /// Bytes that no fittings wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RetainedError> {
        const OBJECT: &str = "fittings";
        let mut fittings = Self::default();
        parts::read(OBJECT, bytes, |number, part| {
            match number {
                1..=3 => {
                    let place = usize::from(number) - 1;
                    let schedule = SingleActionSchedule::decode(part)?;
                    fittings.schedules[place] = Some(Box::new(schedule));
                }
                4 => fittings.tcp = Some(Box::new(TcpUdpSetup::decode(part)?)),
                // Once a client could write an address, which no meter then had.
                5 => drop(Ipv4Setup::decode(part)?),
                6 => fittings.hdlc = Some(Box::new(HdlcSetup::decode(part)?)),
                7 | 8 => {
                    let place = usize::from(number) - 7;
                    fittings.pushes[place] = Some(Box::new(PushSetup::decode(part)?));
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(fittings)
    }
}

/// Acts on the meter's own object, or on a new one that becomes its own.
fn own<T, R, E>(
    own: &mut Option<Box<T>>,
    made: impl FnOnce() -> T,
    act: impl FnOnce(&mut T) -> Result<R, E>,
) -> Result<R, E> {
    if let Some(object) = own {
        return act(object);
    }
    let mut object = Box::new(made());
    let done = act(&mut object)?;
    *own = Some(object);
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_client_changed_is_kept() {
        let mut fittings = Fittings::default();
        let mut bytes = Vec::new();
        fittings.encode(&mut bytes);
        assert!(bytes.is_empty());
        let at = UtcTime::from_secs(1_000);
        for agenda in [Agenda::Billing, Agenda::Image, Agenda::Push] {
            let fitting = Fitting::Schedule(agenda);
            let made = fittings.object(fitting).get(4, at).unwrap();
            let mut write =
                |value| fittings.change(fitting, at, |object| object.set(4, &value, at));
            write(Data::Null).unwrap_err();
            write(Data::Array(Vec::new())).unwrap();
            assert_eq!(
                fittings.object(fitting).get(4, at),
                Ok(Data::Array(Vec::new()))
            );
            assert_eq!(
                made == Data::Array(Vec::new()),
                agenda != Agenda::Billing,
                "{agenda:?}"
            );
        }
        assert!(!fittings.bills_by_month());
        fittings.encode(&mut bytes);
        let again = Fittings::decode(&bytes).unwrap();
        assert_eq!(again.schedules, fittings.schedules);
        for cut in 1..bytes.len() {
            if let Ok(cut) = Fittings::decode(&bytes[..cut]) {
                assert_ne!(cut.schedules, fittings.schedules);
            }
        }
        bytes[0] = 99;
        assert!(Fittings::decode(&bytes).is_err());
    }
}
