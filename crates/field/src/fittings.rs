//! What a meter has besides measuring, switching and tariffs: schedules and setups. They are as
//! the maker made them until a client changes one; only then does a meter own a copy.

use std::sync::LazyLock;

use gridloom_core::bytes::Reader;
use gridloom_core::{ObisCode, UtcTime};

use crate::objects::InterfaceObject;
use crate::objects::communication_setup::{HdlcSetup, Ipv4Setup, TcpUdpSetup};
use crate::objects::recurrence::{DatePattern, Recurrence, TimePattern};
use crate::objects::retained::RetainedError;
use crate::objects::script_table::{Script, ScriptAction, ScriptName, ScriptService, ScriptTable};
use crate::objects::single_action_schedule::{ScheduleType, SingleActionSchedule};

/// The script table of the billing period: 1 ends it.
pub const BILLING_SCRIPTS: ObisCode = ObisCode([0, 0, 10, 0, 1, 255]);

/// The script table of the firmware: 1 activates the image that was transferred.
pub const IMAGE_SCRIPTS: ObisCode = ObisCode([0, 0, 10, 0, 107, 255]);

/// The script table of pushes: 1 pushes the newest interval.
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
}

impl Scripts {
    pub(crate) const fn name(self) -> ObisCode {
        match self {
            Self::Billing => BILLING_SCRIPTS,
            Self::Image => IMAGE_SCRIPTS,
            Self::Push => PUSH_SCRIPTS,
        }
    }

    pub(crate) fn table(self) -> &'static ScriptTable {
        match self {
            Self::Billing => &BILLING_TABLE,
            Self::Image => &IMAGE_TABLE,
            Self::Push => &PUSH_TABLE,
        }
    }
}

static BILLING_TABLE: LazyLock<ScriptTable> =
    LazyLock::new(|| one_script(7, [1, 0, 98, 1, 0, 255], 2));
static IMAGE_TABLE: LazyLock<ScriptTable> =
    LazyLock::new(|| one_script(18, [0, 0, 44, 0, 0, 255], 4));
static PUSH_TABLE: LazyLock<ScriptTable> =
    LazyLock::new(|| one_script(40, [0, 0, 25, 9, 0, 255], 1));

fn one_script(class_id: u16, instance: [u8; 6], method: i8) -> ScriptTable {
    ScriptTable::new(vec![Script {
        identifier: 1,
        actions: vec![ScriptAction {
            service: ScriptService::Invoke,
            class_id,
            instance: ObisCode(instance),
            index: method,
            parameter: gridloom_dlms::axdr::Data::Integer(0),
        }],
    }])
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

static TCP: TcpUdpSetup = TcpUdpSetup::DEFAULT;
static IPV4: Ipv4Setup = Ipv4Setup::DHCP;
static HDLC: HdlcSetup = HdlcSetup::DEFAULT;

/// An object among the fittings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fitting {
    Schedule(Agenda),
    Tcp,
    Ipv4,
    Hdlc,
}

/// The fittings of one meter.
#[derive(Debug, Default)]
pub(crate) struct Fittings {
    schedules: [Option<Box<SingleActionSchedule>>; 3],
    tcp: Option<Box<TcpUdpSetup>>,
    ipv4: Option<Box<Ipv4Setup>>,
    hdlc: Option<Box<HdlcSetup>>,
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
            Fitting::Ipv4 => self.ipv4.as_deref().unwrap_or(&IPV4),
            Fitting::Hdlc => self.hdlc.as_deref().unwrap_or(&HDLC),
        }
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
            Fitting::Tcp => own(&mut self.tcp, || TcpUdpSetup::DEFAULT, |object| act(object)),
            Fitting::Ipv4 => own(&mut self.ipv4, || Ipv4Setup::DHCP, |object| act(object)),
            Fitting::Hdlc => own(&mut self.hdlc, || HdlcSetup::DEFAULT, |object| act(object)),
        }
    }

    /// Whether billing periods end with the months of the profile.
    pub(crate) fn bills_by_month(&self) -> bool {
        self.schedules[Agenda::Billing as usize].is_none()
    }

    /// When [`Self::handle_time`] has something to do, by the meter's clock.
    pub(crate) fn due(&self) -> Option<UtcTime> {
        let schedules = self.schedules.iter().flatten();
        schedules
            .filter_map(|schedule| Some(schedule.wake()?.0))
            .min()
    }

    /// The scripts that are due by `at`, oldest first.
    pub(crate) fn handle_time(&mut self, at: UtcTime) -> Vec<ScriptName> {
        let mut due = Vec::new();
        for schedule in self.schedules.iter_mut().flatten() {
            schedule.handle_time(at);
            while let Some(event) = schedule.poll_event() {
                due.push((event.due, event.script));
            }
        }
        due.sort_by_key(|(due, _)| *due);
        due.into_iter().map(|(_, script)| script).collect()
    }

    /// Appends what differs from the maker's: each part under its number, with its length, so
    /// that a newer program may have more of them.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut part = |number: u8, encode: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Vec::new();
            encode(&mut bytes);
            out.push(number);
            let length = u32::try_from(bytes.len()).expect("fittings are small");
            out.extend(length.to_be_bytes());
            out.extend(bytes);
        };
        for (number, schedule) in (1..).zip(&self.schedules) {
            if let Some(schedule) = schedule {
                part(number, &|out| schedule.encode(out));
            }
        }
        if let Some(tcp) = &self.tcp {
            part(4, &|out| tcp.encode(out));
        }
        if let Some(ipv4) = &self.ipv4 {
            part(5, &|out| ipv4.encode(out));
        }
        if let Some(hdlc) = &self.hdlc {
            part(6, &|out| hdlc.encode(out));
        }
    }

    /// Takes over what fittings kept.
    ///
    /// # Errors
    ///
    /// Bytes that no fittings wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RetainedError> {
        const OBJECT: &str = "fittings";
        let truncated = |source| RetainedError::Truncated {
            object: OBJECT,
            source,
        };
        let mut fittings = Self::default();
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let number = reader.u8().map_err(truncated)?;
            let length = reader.u32().map_err(truncated)?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let part = reader.take(length).map_err(truncated)?;
            match number {
                1..=3 => {
                    let place = usize::from(number) - 1;
                    let schedule = SingleActionSchedule::decode(part)?;
                    fittings.schedules[place] = Some(Box::new(schedule));
                }
                4 => fittings.tcp = Some(Box::new(TcpUdpSetup::decode(part)?)),
                5 => fittings.ipv4 = Some(Box::new(Ipv4Setup::decode(part)?)),
                6 => fittings.hdlc = Some(Box::new(HdlcSetup::decode(part)?)),
                version => {
                    return Err(RetainedError::Version {
                        object: OBJECT,
                        version,
                    });
                }
            }
        }
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
    use gridloom_dlms::axdr::Data;

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
