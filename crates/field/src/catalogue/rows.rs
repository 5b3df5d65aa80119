//! The rows of the object tables. Codes of the Indian companion standard (IS 15959) and of the
//! Blue Book's defaults; what belongs to one kind of connection is in its own part.

use super::register::{Channel, Phase, Quantity};
use super::table::{Attribute, Clients, Method, Row, Shape};
use crate::features::Part;
use crate::fittings::{Agenda, Fitting, Pushes, Scripts};
use crate::objects::alarm::{AlarmBank, AlarmObject};
use crate::objects::power_quality::Disturbance;
use crate::survey::Span;

/// Who answers for an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Association,
    SapList,
    DeviceName,
    SecuritySetup,
    /// The highest counter believed under a key, of any peer.
    InvocationCounter(CounterOf),
    Clock,
    Serial,
    Maker,
    YearOfManufacture,
    Firmware,
    /// A period that a client may set, in seconds.
    Span(Span),
    /// Of the last captured interval.
    ProfileStatus,
    ActiveTariff,
    /// Outages that are over.
    OutageCount,
    /// In whole minutes, all of them together.
    OutageMinutes,
    /// An event log, and the code of its newest event.
    Log(usize),
    EventCode(usize),
    /// A script table that no client changes.
    Scripts(Scripts),
    Fitting(Fitting),
    ImageTransfer,
    Alarm(AlarmObject),
    TamperCount,
    /// The mean import over a period.
    Demand(Channel),
    /// How often the voltage of a phase was disturbed.
    Disturbances(Disturbance, Phase),
    Part(Part),
    Register(Quantity),
    Profile(Buffer),
    /// Of a profile, or of the event logs.
    Scalers(Option<Buffer>),
}

/// Which part of a meter changes when an object is written or invoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    Clock,
    Part(Part),
    Fitting(Fitting),
    Alarm(AlarmObject),
    ImageTransfer,
    Span(Span),
    Log(usize),
    Scripts(Scripts),
    Profile(Buffer),
    /// None: the rights on the object say so too.
    Fixed,
}

impl Kind {
    pub(crate) const fn holder(self) -> Holder {
        match self {
            Self::Clock => Holder::Clock,
            Self::Part(part) => Holder::Part(part),
            Self::Fitting(fitting) => Holder::Fitting(fitting),
            Self::Alarm(object) => Holder::Alarm(object),
            Self::ImageTransfer => Holder::ImageTransfer,
            Self::Span(span) => Holder::Span(span),
            Self::Log(number) => Holder::Log(number),
            Self::Scripts(scripts) => Holder::Scripts(scripts),
            Self::Profile(buffer) => Holder::Profile(buffer),
            Self::Association
            | Self::SapList
            | Self::DeviceName
            | Self::SecuritySetup
            | Self::InvocationCounter(_)
            | Self::Serial
            | Self::Maker
            | Self::YearOfManufacture
            | Self::Firmware
            | Self::ProfileStatus
            | Self::ActiveTariff
            | Self::OutageCount
            | Self::OutageMinutes
            | Self::EventCode(_)
            | Self::TamperCount
            | Self::Demand(_)
            | Self::Disturbances(..)
            | Self::Register(_)
            | Self::Scalers(_) => Holder::Fixed,
        }
    }
}

/// The keys that have a counter of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CounterOf {
    Unicast,
    Broadcast,
}

/// The profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buffer {
    Block,
    Daily,
    Billing,
    Instantaneous,
}

const ALL: Clients = Clients::ALL;
const READERS: Clients = Clients::READERS;
const MANAGEMENT: Clients = Clients::MANAGEMENT;
const NOBODY: Clients = Clients::NONE;

const NAME_ALL: Attribute = Attribute::read(1, ALL);
const NAME: Attribute = Attribute::read(1, READERS);

const DATA_ALL: Shape = Shape {
    class_id: 1,
    version: 0,
    attributes: &[NAME_ALL, Attribute::read(2, ALL)],
    methods: &[],
};

const DATA: Shape = Shape {
    class_id: 1,
    version: 0,
    attributes: &[NAME, Attribute::read(2, READERS)],
    methods: &[],
};

/// Management writes the value.
const DATA_SET: Shape = Shape {
    class_id: 1,
    version: 0,
    attributes: &[NAME, Attribute::write(2, READERS)],
    methods: &[],
};

const REGISTER: Shape = Shape {
    class_id: 3,
    version: 0,
    attributes: &[
        NAME,
        Attribute::read(2, READERS),
        Attribute::read(3, READERS),
    ],
    methods: &[Method::new(1, NOBODY)],
};

const CLOCK: Shape = Shape {
    class_id: 8,
    version: 0,
    attributes: &[
        NAME_ALL,
        Attribute::write(2, ALL),
        Attribute::write(3, ALL),
        Attribute::read(4, ALL),
        Attribute::write(5, ALL),
        Attribute::write(6, ALL),
        Attribute::write(7, ALL),
        Attribute::write(8, ALL),
        Attribute::read(9, ALL),
    ],
    methods: &[
        Method::new(1, MANAGEMENT),
        Method::new(2, MANAGEMENT),
        Method::new(3, MANAGEMENT),
        Method::new(4, MANAGEMENT),
        Method::new(5, MANAGEMENT),
        Method::new(6, MANAGEMENT),
    ],
};

const ASSOCIATION: Shape = Shape {
    class_id: 15,
    version: 1,
    attributes: &[
        NAME_ALL,
        Attribute::read(2, ALL),
        Attribute::read(3, ALL),
        Attribute::read(4, ALL),
        Attribute::read(5, ALL),
        Attribute::read(6, ALL),
        // The secret.
        Attribute::read(7, NOBODY),
        Attribute::read(8, ALL),
        Attribute::read(9, ALL),
    ],
    methods: &[
        Method::new(1, MANAGEMENT),
        // Change of the client's own secret.
        Method::new(2, MANAGEMENT),
        Method::new(3, NOBODY),
        Method::new(4, NOBODY),
    ],
};

const SAP_LIST: Shape = Shape {
    class_id: 17,
    version: 0,
    attributes: &[NAME_ALL, Attribute::read(2, ALL)],
    methods: &[Method::new(1, NOBODY)],
};

const SECURITY_SETUP: Shape = Shape {
    class_id: 64,
    version: 1,
    attributes: &[
        Attribute::read(1, MANAGEMENT),
        Attribute::read(2, MANAGEMENT),
        Attribute::read(3, MANAGEMENT),
        Attribute::read(4, MANAGEMENT),
        Attribute::read(5, MANAGEMENT),
        Attribute::read(6, MANAGEMENT),
    ],
    methods: &[
        Method::new(1, MANAGEMENT),
        Method::new(2, MANAGEMENT),
        Method::new(3, MANAGEMENT),
        Method::new(4, MANAGEMENT),
        Method::new(5, MANAGEMENT),
        Method::new(6, MANAGEMENT),
        Method::new(7, MANAGEMENT),
        Method::new(8, MANAGEMENT),
    ],
};

const DISCONNECT_CONTROL: Shape = Shape {
    class_id: 70,
    version: 0,
    attributes: &[
        NAME,
        Attribute::read(2, READERS),
        Attribute::read(3, READERS),
        Attribute::write(4, READERS),
    ],
    methods: &[Method::new(1, MANAGEMENT), Method::new(2, MANAGEMENT)],
};

const SCRIPTS: Shape = Shape {
    class_id: 9,
    version: 0,
    attributes: &[
        Attribute::read(1, MANAGEMENT),
        Attribute::read(2, MANAGEMENT),
    ],
    methods: &[Method::new(1, MANAGEMENT)],
};

const SCHEDULE: Shape = Shape {
    class_id: 22,
    version: 0,
    attributes: &[
        Attribute::read(1, MANAGEMENT),
        Attribute::write(2, MANAGEMENT),
        Attribute::write(3, MANAGEMENT),
        Attribute::write(4, MANAGEMENT),
    ],
    methods: &[],
};

/// An emulated meter has no line of its own: what its host decides is read-only.
const HDLC_SETUP: Shape = Shape {
    class_id: 23,
    version: 1,
    attributes: &[
        Attribute::read(1, MANAGEMENT),
        Attribute::read(2, MANAGEMENT),
        Attribute::write(3, MANAGEMENT),
        Attribute::write(4, MANAGEMENT),
        Attribute::write(5, MANAGEMENT),
        Attribute::write(6, MANAGEMENT),
        Attribute::read(7, MANAGEMENT),
        Attribute::write(8, MANAGEMENT),
        Attribute::read(9, MANAGEMENT),
    ],
    methods: &[],
};

/// The host gives port and segments; connections and the time-out are the meter's.
const TCP_SETUP: Shape = Shape {
    class_id: 41,
    version: 0,
    attributes: &[
        Attribute::read(1, MANAGEMENT),
        Attribute::read(2, MANAGEMENT),
        Attribute::read(3, MANAGEMENT),
        Attribute::read(4, MANAGEMENT),
        Attribute::write(5, MANAGEMENT),
        Attribute::write(6, MANAGEMENT),
    ],
    methods: &[],
};

/// A virtual meter cannot have another address than its host's.
const IPV4_SETUP: Shape = Shape {
    class_id: 42,
    version: 0,
    attributes: &[
        Attribute::read(1, MANAGEMENT),
        Attribute::read(2, MANAGEMENT),
        Attribute::read(3, MANAGEMENT),
        Attribute::read(4, MANAGEMENT),
        Attribute::read(5, MANAGEMENT),
        Attribute::read(6, MANAGEMENT),
        Attribute::read(7, MANAGEMENT),
        Attribute::read(8, MANAGEMENT),
        Attribute::read(9, MANAGEMENT),
        Attribute::read(10, MANAGEMENT),
    ],
    methods: &[
        Method::new(1, NOBODY),
        Method::new(2, NOBODY),
        Method::new(3, NOBODY),
    ],
};

const IMAGE_TRANSFER: Shape = Shape {
    class_id: 18,
    version: 0,
    attributes: &[
        Attribute::read(1, MANAGEMENT),
        Attribute::read(2, MANAGEMENT),
        Attribute::read(3, MANAGEMENT),
        Attribute::read(4, MANAGEMENT),
        Attribute::write(5, MANAGEMENT),
        Attribute::read(6, MANAGEMENT),
        Attribute::read(7, MANAGEMENT),
    ],
    methods: &[
        Method::new(1, MANAGEMENT),
        Method::new(2, MANAGEMENT),
        Method::new(3, MANAGEMENT),
        Method::new(4, MANAGEMENT),
    ],
};

const LIMITER: Shape = Shape {
    class_id: 71,
    version: 0,
    attributes: &[
        Attribute::read(1, MANAGEMENT),
        Attribute::read(2, MANAGEMENT),
        Attribute::read(3, MANAGEMENT),
        Attribute::write(4, MANAGEMENT),
        Attribute::write(5, MANAGEMENT),
        Attribute::write(6, MANAGEMENT),
        Attribute::write(7, MANAGEMENT),
        Attribute::write(8, MANAGEMENT),
        Attribute::write(9, MANAGEMENT),
        Attribute::read(10, MANAGEMENT),
        Attribute::write(11, MANAGEMENT),
    ],
    methods: &[],
};

const CALENDAR: Shape = Shape {
    class_id: 20,
    version: 0,
    attributes: &[
        NAME,
        Attribute::read(2, READERS),
        Attribute::read(3, READERS),
        Attribute::read(4, READERS),
        Attribute::read(5, READERS),
        Attribute::write(6, READERS),
        Attribute::write(7, READERS),
        Attribute::write(8, READERS),
        Attribute::write(9, READERS),
        Attribute::write(10, READERS),
    ],
    methods: &[Method::new(1, MANAGEMENT)],
};

const SPECIAL_DAYS: Shape = Shape {
    class_id: 11,
    version: 0,
    attributes: &[NAME, Attribute::write(2, READERS)],
    methods: &[Method::new(1, MANAGEMENT), Method::new(2, MANAGEMENT)],
};

const DEMAND_REGISTER: Shape = Shape {
    class_id: 5,
    version: 0,
    attributes: &[
        NAME,
        Attribute::read(2, READERS),
        Attribute::read(3, READERS),
        Attribute::read(4, READERS),
        Attribute::read(5, READERS),
        Attribute::read(6, READERS),
        Attribute::read(7, READERS),
        Attribute::read(8, READERS),
        Attribute::read(9, READERS),
    ],
    methods: &[Method::new(1, NOBODY), Method::new(2, NOBODY)],
};

const EXTENDED_REGISTER: Shape = Shape {
    class_id: 4,
    version: 0,
    attributes: &[
        NAME,
        Attribute::read(2, READERS),
        Attribute::read(3, READERS),
        Attribute::read(4, READERS),
        Attribute::read(5, READERS),
    ],
    methods: &[Method::new(1, MANAGEMENT)],
};

const PUSH_SETUP: Shape = Shape {
    class_id: 40,
    version: 1,
    attributes: &[
        Attribute::read(1, MANAGEMENT),
        Attribute::write(2, MANAGEMENT),
        Attribute::write(3, MANAGEMENT),
        Attribute::write(4, MANAGEMENT),
        Attribute::write(5, MANAGEMENT),
        Attribute::write(6, MANAGEMENT),
        Attribute::write(7, MANAGEMENT),
    ],
    methods: &[Method::new(1, MANAGEMENT)],
};

const fn profile_attributes(selectors: &'static [u8]) -> [Attribute; 8] {
    [
        NAME,
        Attribute {
            selectors,
            ..Attribute::read(2, READERS)
        },
        Attribute::read(3, READERS),
        Attribute::read(4, READERS),
        Attribute::read(5, READERS),
        Attribute::read(6, READERS),
        Attribute::read(7, READERS),
        Attribute::read(8, READERS),
    ]
}

/// A buffer of one row, which is made when it is read.
const PROFILE_OF_NOW: Shape = Shape {
    class_id: 7,
    version: 1,
    attributes: &profile_attributes(&[]),
    methods: &[Method::new(1, NOBODY), Method::new(2, NOBODY)],
};

const PROFILE: Shape = Shape {
    class_id: 7,
    version: 1,
    attributes: &profile_attributes(&[1, 2]),
    methods: &[Method::new(1, MANAGEMENT), Method::new(2, NOBODY)],
};

/// Management ends a billing period by hand.
const PROFILE_BILLING: Shape = Shape {
    class_id: 7,
    version: 1,
    attributes: &profile_attributes(&[1, 2]),
    methods: &[Method::new(1, MANAGEMENT), Method::new(2, MANAGEMENT)],
};

const fn register(name: [u8; 5], quantity: Quantity) -> Row {
    Row::new(name, &REGISTER, Kind::Register(quantity))
}

const fn schedule(agenda: Agenda) -> Kind {
    Kind::Fitting(Fitting::Schedule(agenda))
}

const fn push(push: Pushes) -> Kind {
    Kind::Fitting(Fitting::Push(push))
}

const fn disturbances(name: [u8; 5], disturbance: Disturbance, phase: Phase) -> Row {
    Row::new(name, &DATA, Kind::Disturbances(disturbance, phase))
}

/// Objects of every meter.
pub(crate) const COMMON: &[Row] = &[
    Row::new([0, 0, 1, 0, 0], &CLOCK, Kind::Clock),
    Row::new([0, 0, 10, 0, 1], &SCRIPTS, Kind::Scripts(Scripts::Billing)),
    Row::new([0, 0, 10, 0, 100], &SCRIPTS, Kind::Scripts(Scripts::Tariff)),
    Row::new(
        [0, 0, 10, 0, 106],
        &SCRIPTS,
        Kind::Part(Part::SwitchScripts),
    ),
    Row::new([0, 0, 10, 0, 107], &SCRIPTS, Kind::Scripts(Scripts::Image)),
    Row::new([0, 0, 10, 0, 108], &SCRIPTS, Kind::Scripts(Scripts::Push)),
    Row::new(
        [0, 0, 11, 0, 0],
        &SPECIAL_DAYS,
        Kind::Part(Part::SpecialDays),
    ),
    Row::new([0, 0, 13, 0, 0], &CALENDAR, Kind::Part(Part::Calendar)),
    Row::new([0, 0, 15, 0, 0], &SCHEDULE, schedule(Agenda::Billing)),
    Row::new([0, 0, 15, 0, 2], &SCHEDULE, schedule(Agenda::Image)),
    Row::new([0, 0, 15, 0, 4], &SCHEDULE, schedule(Agenda::Push)),
    Row::new([0, 0, 17, 0, 0], &LIMITER, Kind::Part(Part::Limiter)),
    Row::new([0, 0, 22, 0, 0], &HDLC_SETUP, Kind::Fitting(Fitting::Hdlc)),
    Row::new([0, 0, 25, 0, 0], &TCP_SETUP, Kind::Fitting(Fitting::Tcp)),
    Row::new([0, 0, 25, 1, 0], &IPV4_SETUP, Kind::Fitting(Fitting::Ipv4)),
    Row::new([0, 0, 25, 9, 0], &PUSH_SETUP, push(Pushes::Interval)),
    Row::new([0, 0, 40, 0, 0], &ASSOCIATION, Kind::Association),
    Row::new([0, 0, 41, 0, 0], &SAP_LIST, Kind::SapList),
    Row::new([0, 0, 42, 0, 0], &DATA_ALL, Kind::DeviceName),
    Row::new([0, 0, 43, 0, 0], &SECURITY_SETUP, Kind::SecuritySetup),
    Row::new(
        [0, 0, 43, 1, 0],
        &DATA_ALL,
        Kind::InvocationCounter(CounterOf::Unicast),
    ),
    Row::new(
        [0, 0, 43, 1, 1],
        &DATA_ALL,
        Kind::InvocationCounter(CounterOf::Broadcast),
    ),
    Row::new([0, 0, 44, 0, 0], &IMAGE_TRANSFER, Kind::ImageTransfer),
    Row::new([0, 0, 94, 91, 0], &DATA, Kind::TamperCount),
    Row::new([0, 0, 94, 91, 8], &DATA, Kind::OutageMinutes),
    Row::new(
        [0, 0, 94, 91, 18],
        &DATA,
        Kind::Alarm(AlarmObject::StatusWord),
    ),
    Row::new(
        [0, 0, 94, 91, 26],
        &DATA_SET,
        Kind::Alarm(AlarmObject::StatusFilter),
    ),
    Row::new([0, 0, 96, 1, 0], &DATA, Kind::Serial),
    Row::new([0, 0, 96, 1, 1], &DATA, Kind::Maker),
    Row::new([0, 0, 96, 1, 4], &DATA, Kind::YearOfManufacture),
    Row::new(
        [0, 0, 96, 3, 10],
        &DISCONNECT_CONTROL,
        Kind::Part(Part::Switch),
    ),
    Row::new([0, 0, 96, 7, 0], &DATA, Kind::OutageCount),
    Row::new([0, 0, 96, 10, 1], &DATA, Kind::ProfileStatus),
    Row::new([0, 0, 96, 11, 0], &DATA, Kind::EventCode(0)),
    Row::new([0, 0, 96, 11, 1], &DATA, Kind::EventCode(1)),
    Row::new([0, 0, 96, 11, 2], &DATA, Kind::EventCode(2)),
    Row::new([0, 0, 96, 11, 3], &DATA, Kind::EventCode(3)),
    Row::new([0, 0, 96, 11, 4], &DATA, Kind::EventCode(4)),
    Row::new([0, 0, 96, 11, 5], &DATA, Kind::EventCode(5)),
    Row::new([0, 0, 96, 11, 6], &DATA, Kind::EventCode(6)),
    Row::new([0, 0, 96, 14, 0], &DATA, Kind::ActiveTariff),
    Row::new(
        [0, 0, 97, 97, 0],
        &DATA_SET,
        Kind::Alarm(AlarmObject::Errors),
    ),
    Row::new(
        [0, 0, 97, 98, 0],
        &DATA_SET,
        Kind::Alarm(AlarmObject::Register(AlarmBank::One)),
    ),
    Row::new(
        [0, 0, 97, 98, 1],
        &DATA_SET,
        Kind::Alarm(AlarmObject::Register(AlarmBank::Two)),
    ),
    Row::new(
        [0, 0, 97, 98, 10],
        &DATA_SET,
        Kind::Alarm(AlarmObject::Filter(AlarmBank::One)),
    ),
    Row::new(
        [0, 0, 97, 98, 11],
        &DATA_SET,
        Kind::Alarm(AlarmObject::Filter(AlarmBank::Two)),
    ),
    Row::new(
        [0, 0, 97, 98, 20],
        &DATA_SET,
        Kind::Alarm(AlarmObject::Descriptor(AlarmBank::One)),
    ),
    Row::new(
        [0, 0, 97, 98, 21],
        &DATA_SET,
        Kind::Alarm(AlarmObject::Descriptor(AlarmBank::Two)),
    ),
    Row::new([0, 0, 99, 98, 0], &PROFILE, Kind::Log(0)),
    Row::new([0, 0, 99, 98, 1], &PROFILE, Kind::Log(1)),
    Row::new([0, 0, 99, 98, 2], &PROFILE, Kind::Log(2)),
    Row::new([0, 0, 99, 98, 3], &PROFILE, Kind::Log(3)),
    Row::new([0, 0, 99, 98, 4], &PROFILE, Kind::Log(4)),
    Row::new([0, 0, 99, 98, 5], &PROFILE, Kind::Log(5)),
    Row::new([0, 0, 99, 98, 6], &PROFILE, Kind::Log(6)),
    Row::new([0, 4, 25, 9, 0], &PUSH_SETUP, push(Pushes::Alert)),
    Row::new([1, 0, 0, 2, 0], &DATA, Kind::Firmware),
    Row::new([1, 0, 0, 8, 0], &DATA_SET, Kind::Span(Span::Demand)),
    Row::new([1, 0, 0, 8, 4], &DATA_SET, Kind::Span(Span::Capture)),
    Row::new(
        [1, 0, 1, 4, 0],
        &DEMAND_REGISTER,
        Kind::Demand(Channel::Import),
    ),
    Row::new(
        [1, 0, 1, 6, 0],
        &EXTENDED_REGISTER,
        Kind::Part(Part::DemandActive),
    ),
    register([1, 0, 1, 7, 0], Quantity::ActiveImport),
    register([1, 0, 1, 8, 0], Quantity::Total(Channel::Import)),
    register([1, 0, 1, 8, 1], Quantity::Tariff(Channel::Import, 1)),
    register([1, 0, 1, 8, 2], Quantity::Tariff(Channel::Import, 2)),
    register([1, 0, 1, 8, 3], Quantity::Tariff(Channel::Import, 3)),
    register([1, 0, 1, 8, 4], Quantity::Tariff(Channel::Import, 4)),
    register([1, 0, 1, 8, 5], Quantity::Tariff(Channel::Import, 5)),
    register([1, 0, 1, 8, 6], Quantity::Tariff(Channel::Import, 6)),
    register([1, 0, 1, 8, 7], Quantity::Tariff(Channel::Import, 7)),
    register([1, 0, 1, 8, 8], Quantity::Tariff(Channel::Import, 8)),
    register([1, 0, 1, 29, 0], Quantity::Block(Channel::Import)),
    register([1, 0, 2, 7, 0], Quantity::ActiveExport),
    register([1, 0, 2, 8, 0], Quantity::Total(Channel::Export)),
    register([1, 0, 2, 8, 1], Quantity::Tariff(Channel::Export, 1)),
    register([1, 0, 2, 8, 2], Quantity::Tariff(Channel::Export, 2)),
    register([1, 0, 2, 8, 3], Quantity::Tariff(Channel::Export, 3)),
    register([1, 0, 2, 8, 4], Quantity::Tariff(Channel::Export, 4)),
    register([1, 0, 2, 8, 5], Quantity::Tariff(Channel::Export, 5)),
    register([1, 0, 2, 8, 6], Quantity::Tariff(Channel::Export, 6)),
    register([1, 0, 2, 8, 7], Quantity::Tariff(Channel::Export, 7)),
    register([1, 0, 2, 8, 8], Quantity::Tariff(Channel::Export, 8)),
    register([1, 0, 2, 29, 0], Quantity::Block(Channel::Export)),
    register([1, 0, 3, 7, 0], Quantity::ReactiveImport),
    register([1, 0, 4, 7, 0], Quantity::ReactiveExport),
    register([1, 0, 5, 8, 0], Quantity::Total(Channel::Quadrant1)),
    register([1, 0, 5, 29, 0], Quantity::Block(Channel::Quadrant1)),
    register([1, 0, 6, 8, 0], Quantity::Total(Channel::Quadrant2)),
    register([1, 0, 6, 29, 0], Quantity::Block(Channel::Quadrant2)),
    register([1, 0, 7, 8, 0], Quantity::Total(Channel::Quadrant3)),
    register([1, 0, 7, 29, 0], Quantity::Block(Channel::Quadrant3)),
    register([1, 0, 8, 8, 0], Quantity::Total(Channel::Quadrant4)),
    register([1, 0, 8, 29, 0], Quantity::Block(Channel::Quadrant4)),
    Row::new(
        [1, 0, 9, 4, 0],
        &DEMAND_REGISTER,
        Kind::Demand(Channel::Apparent),
    ),
    Row::new(
        [1, 0, 9, 6, 0],
        &EXTENDED_REGISTER,
        Kind::Part(Part::DemandApparent),
    ),
    register([1, 0, 9, 7, 0], Quantity::Apparent),
    register([1, 0, 9, 8, 0], Quantity::Total(Channel::Apparent)),
    register([1, 0, 9, 29, 0], Quantity::Block(Channel::Apparent)),
    register([1, 0, 13, 7, 0], Quantity::PowerFactor),
    register([1, 0, 14, 7, 0], Quantity::Frequency),
    register([1, 0, 31, 7, 0], Quantity::Current(Phase::L1)),
    register([1, 0, 32, 7, 0], Quantity::Voltage(Phase::L1)),
    register([1, 0, 32, 27, 0], Quantity::MeanVoltage),
    disturbances([1, 0, 32, 32, 0], Disturbance::Sag, Phase::L1),
    disturbances([1, 0, 32, 36, 0], Disturbance::Swell, Phase::L1),
    register([1, 0, 91, 7, 0], Quantity::NeutralCurrent),
    Row::new(
        [1, 0, 94, 91, 0],
        &PROFILE_OF_NOW,
        Kind::Profile(Buffer::Instantaneous),
    ),
    Row::new(
        [1, 0, 94, 91, 3],
        &PROFILE_OF_NOW,
        Kind::Scalers(Some(Buffer::Instantaneous)),
    ),
    Row::new(
        [1, 0, 94, 91, 4],
        &PROFILE_OF_NOW,
        Kind::Scalers(Some(Buffer::Block)),
    ),
    Row::new(
        [1, 0, 94, 91, 5],
        &PROFILE_OF_NOW,
        Kind::Scalers(Some(Buffer::Daily)),
    ),
    Row::new(
        [1, 0, 94, 91, 6],
        &PROFILE_OF_NOW,
        Kind::Scalers(Some(Buffer::Billing)),
    ),
    Row::new([1, 0, 94, 91, 7], &PROFILE_OF_NOW, Kind::Scalers(None)),
    Row::new(
        [1, 0, 98, 1, 0],
        &PROFILE_BILLING,
        Kind::Profile(Buffer::Billing),
    ),
    Row::new([1, 0, 99, 1, 0], &PROFILE, Kind::Profile(Buffer::Block)),
    Row::new([1, 0, 99, 2, 0], &PROFILE, Kind::Profile(Buffer::Daily)),
];

/// Objects of meters on one phase, by which an Indian head-end asks.
pub(crate) const SINGLE_PHASE: &[Row] = &[
    register([1, 0, 11, 7, 0], Quantity::Current(Phase::L1)),
    register([1, 0, 12, 7, 0], Quantity::Voltage(Phase::L1)),
];

/// Objects of meters on three phases.
pub(crate) const THREE_PHASE: &[Row] = &[
    register([1, 0, 21, 7, 0], Quantity::PhaseActiveImport(Phase::L1)),
    register([1, 0, 22, 7, 0], Quantity::PhaseActiveExport(Phase::L1)),
    register([1, 0, 33, 7, 0], Quantity::PhasePowerFactor(Phase::L1)),
    register([1, 0, 41, 7, 0], Quantity::PhaseActiveImport(Phase::L2)),
    register([1, 0, 42, 7, 0], Quantity::PhaseActiveExport(Phase::L2)),
    register([1, 0, 51, 7, 0], Quantity::Current(Phase::L2)),
    register([1, 0, 52, 7, 0], Quantity::Voltage(Phase::L2)),
    disturbances([1, 0, 52, 32, 0], Disturbance::Sag, Phase::L2),
    disturbances([1, 0, 52, 36, 0], Disturbance::Swell, Phase::L2),
    register([1, 0, 53, 7, 0], Quantity::PhasePowerFactor(Phase::L2)),
    register([1, 0, 61, 7, 0], Quantity::PhaseActiveImport(Phase::L3)),
    register([1, 0, 62, 7, 0], Quantity::PhaseActiveExport(Phase::L3)),
    register([1, 0, 71, 7, 0], Quantity::Current(Phase::L3)),
    register([1, 0, 72, 7, 0], Quantity::Voltage(Phase::L3)),
    disturbances([1, 0, 72, 32, 0], Disturbance::Sag, Phase::L3),
    disturbances([1, 0, 72, 36, 0], Disturbance::Swell, Phase::L3),
    register([1, 0, 73, 7, 0], Quantity::PhasePowerFactor(Phase::L3)),
];
