//! How a meter is reached: TCP-UDP setup (class 41, version 0), IPv4 setup (class 42, version 0)
//! and IEC HDLC setup (class 23, version 1). Plain data: the host applies it after a restart.

use gridloom_core::{ObisCode, UtcTime};
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::Data;

use super::InterfaceObject;
use super::retained::{Keeper, Kept, RetainedError};
use super::shape::{self, Unfit};

/// Multicast addresses of one interface; further ones are refused.
pub const MULTICAST_MAX: usize = 16;
/// The longest information field of HDLC that is negotiated, in bytes.
pub const HDLC_FIELD_MAX: u16 = 2_030;

const VERSION: u8 = 1;
/// Bytes of the smallest maximum segment, as class 41 says.
const SEGMENT_MIN: u16 = 40;

/// TCP-UDP setup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpUdpSetup {
    /// The port that the meter listens on (attribute 2); 4059 is registered for DLMS.
    pub port: u16,
    /// The IP setup below it (3).
    pub ip: ObisCode,
    /// Maximum segment size in bytes (4).
    pub segment_max: u16,
    /// Connections at a time (5), at least 1.
    pub connections: u8,
    /// A connection without traffic for so many seconds is closed; 0 for never (6).
    pub inactivity_s: u16,
}

impl TcpUdpSetup {
    /// Port 4059, one connection, three minutes.
    pub const DEFAULT: Self = Self {
        port: 4_059,
        ip: ObisCode([0, 0, 25, 1, 0, 255]),
        segment_max: 576,
        connections: 1,
        inactivity_s: 180,
    };

    /// Appends what the setup keeps.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.put(self.port.to_be_bytes());
        keeper.put(self.ip.0);
        keeper.put(self.segment_max.to_be_bytes());
        keeper.byte(self.connections);
        keeper.put(self.inactivity_s.to_be_bytes());
    }

    /// Takes over what a setup kept.
    ///
    /// # Errors
    ///
    /// Bytes that no setup wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open("tcp-udp-setup", VERSION, bytes)?;
        let setup = Self {
            port: kept.u16()?,
            ip: kept.name()?,
            segment_max: kept.u16()?,
            connections: kept.u8()?,
            inactivity_s: kept.u16()?,
        };
        kept.require(setup.connections > 0, "connections")?;
        kept.require(setup.segment_max >= SEGMENT_MIN, "segment size")?;
        kept.finish()?;
        Ok(setup)
    }
}

impl InterfaceObject for TcpUdpSetup {
    fn get(&self, attribute: i8, _: UtcTime) -> Result<Data, DataAccessResult> {
        Ok(match attribute {
            2 => Data::LongUnsigned(self.port),
            3 => shape::name_value(self.ip),
            4 => Data::LongUnsigned(self.segment_max),
            5 => Data::Unsigned(self.connections),
            6 => Data::LongUnsigned(self.inactivity_s),
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    fn set(&mut self, attribute: i8, value: &Data, _: UtcTime) -> Result<(), DataAccessResult> {
        match attribute {
            2 => self.port = shape::long_unsigned(value)?,
            3 => self.ip = shape::logical_name(value)?,
            4 => self.segment_max = at_least(SEGMENT_MIN, shape::long_unsigned(value)?)?,
            5 => self.connections = at_least(1, shape::unsigned(value)?)?,
            6 => self.inactivity_s = shape::long_unsigned(value)?,
            _ => return Err(DataAccessResult::ObjectUndefined),
        }
        Ok(())
    }

    fn invoke(
        &mut self,
        _: i8,
        _: Option<&Data>,
        _: UtcTime,
    ) -> Result<Option<Data>, ActionResult> {
        Err(ActionResult::ObjectUndefined)
    }
}

/// Whether the address comes from a server of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressSource {
    /// It is set by hand.
    Static,
    /// DHCP gives it, and everything else of this setup.
    Dhcp,
}

/// IPv4 setup. Addresses are numbers, the first octet the highest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipv4Setup {
    /// The link below it (attribute 2).
    pub link: ObisCode,
    /// The meter's address (3).
    pub address: u32,
    /// Multicast addresses it listens to (4), at most [`MULTICAST_MAX`].
    pub multicast: Vec<u32>,
    /// (6).
    pub subnet_mask: u32,
    /// (7).
    pub gateway: u32,
    /// (8).
    pub source: AddressSource,
    /// Name servers (9, 10).
    pub name_servers: [u32; 2],
}

impl Ipv4Setup {
    /// An address that DHCP gives, on the Ethernet interface.
    pub const DHCP: Self = Self {
        link: ObisCode([0, 0, 25, 2, 0, 255]),
        address: 0,
        multicast: Vec::new(),
        subnet_mask: 0,
        gateway: 0,
        source: AddressSource::Dhcp,
        name_servers: [0; 2],
    };

    /// Appends what the setup keeps.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.put(self.link.0);
        keeper.put(self.address.to_be_bytes());
        keeper.list(self.multicast.iter(), |keeper, address| {
            keeper.put(address.to_be_bytes());
        });
        keeper.put(self.subnet_mask.to_be_bytes());
        keeper.put(self.gateway.to_be_bytes());
        keeper.flag(self.source == AddressSource::Dhcp);
        for server in self.name_servers {
            keeper.put(server.to_be_bytes());
        }
    }

    /// Takes over what a setup kept.
    ///
    /// # Errors
    ///
    /// Bytes that no setup wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open("ipv4-setup", VERSION, bytes)?;
        let setup = Self {
            link: kept.name()?,
            address: kept.u32()?,
            multicast: kept.list("multicast addresses", MULTICAST_MAX, Kept::u32)?,
            subnet_mask: kept.u32()?,
            gateway: kept.u32()?,
            source: if kept.flag("DHCP")? {
                AddressSource::Dhcp
            } else {
                AddressSource::Static
            },
            name_servers: [kept.u32()?, kept.u32()?],
        };
        kept.finish()?;
        Ok(setup)
    }
}

impl InterfaceObject for Ipv4Setup {
    fn get(&self, attribute: i8, _: UtcTime) -> Result<Data, DataAccessResult> {
        Ok(match attribute {
            2 => shape::name_value(self.link),
            3 => Data::DoubleLongUnsigned(self.address),
            4 => shape::array_value(&self.multicast, |address| {
                Data::DoubleLongUnsigned(*address)
            }),
            // We set no options in the header.
            5 => Data::Array(Vec::new()),
            6 => Data::DoubleLongUnsigned(self.subnet_mask),
            7 => Data::DoubleLongUnsigned(self.gateway),
            8 => Data::Boolean(self.source == AddressSource::Dhcp),
            9 => Data::DoubleLongUnsigned(self.name_servers[0]),
            10 => Data::DoubleLongUnsigned(self.name_servers[1]),
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    fn set(&mut self, attribute: i8, value: &Data, _: UtcTime) -> Result<(), DataAccessResult> {
        match attribute {
            2 => self.link = shape::logical_name(value)?,
            3 => self.address = shape::double_long_unsigned(value)?,
            4 => self.multicast = shape::list(value, MULTICAST_MAX, multicast)?,
            5 => return Err(DataAccessResult::ReadWriteDenied),
            6 => self.subnet_mask = mask(value)?,
            7 => self.gateway = shape::double_long_unsigned(value)?,
            8 => {
                self.source = if shape::boolean(value)? {
                    AddressSource::Dhcp
                } else {
                    AddressSource::Static
                };
            }
            9 => self.name_servers[0] = shape::double_long_unsigned(value)?,
            10 => self.name_servers[1] = shape::double_long_unsigned(value)?,
            _ => return Err(DataAccessResult::ObjectUndefined),
        }
        Ok(())
    }

    /// Methods 1 and 2 add and delete a multicast address, 3 counts them.
    fn invoke(
        &mut self,
        method: i8,
        parameters: Option<&Data>,
        _: UtcTime,
    ) -> Result<Option<Data>, ActionResult> {
        match method {
            1 => {
                let address = multicast(shape::required(parameters)?)?;
                if !self.multicast.contains(&address) {
                    if self.multicast.len() == MULTICAST_MAX {
                        return Err(ActionResult::OtherReason);
                    }
                    self.multicast.push(address);
                }
                Ok(None)
            }
            2 => {
                let address = multicast(shape::required(parameters)?)?;
                let place = self.multicast.iter().position(|known| *known == address);
                self.multicast
                    .remove(place.ok_or(ActionResult::ScopeOfAccessViolated)?);
                Ok(None)
            }
            3 => {
                shape::nothing(parameters)?;
                let count = u16::try_from(self.multicast.len()).expect("at most sixteen");
                Ok(Some(Data::LongUnsigned(count)))
            }
            _ => Err(ActionResult::ObjectUndefined),
        }
    }
}

/// 224.0.0.0 to 239.255.255.255.
fn multicast(value: &Data) -> Result<u32, Unfit> {
    let address = shape::double_long_unsigned(value)?;
    if address >> 28 == 0xE {
        Ok(address)
    } else {
        Err(Unfit::Range)
    }
}

/// Ones, then zeros.
fn mask(value: &Data) -> Result<u32, Unfit> {
    let mask = shape::double_long_unsigned(value)?;
    if mask.leading_ones() + mask.trailing_zeros() == 32 {
        Ok(mask)
    } else {
        Err(Unfit::Range)
    }
}

fn at_least<T: PartialOrd>(least: T, value: T) -> Result<T, Unfit> {
    if value < least {
        Err(Unfit::Range)
    } else {
        Ok(value)
    }
}

/// IEC HDLC setup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HdlcSetup {
    /// Baud rate by its code (attribute 2): 0 is 300, 5 is 9 600, 9 is 115 200.
    pub speed: u8,
    /// Frames that may be sent without acknowledgement, 1–7 (3).
    pub window_transmit: u8,
    /// Likewise received (4).
    pub window_receive: u8,
    /// Bytes of an information field sent, 32 to [`HDLC_FIELD_MAX`] (5).
    pub field_transmit: u16,
    /// Likewise received (6).
    pub field_receive: u16,
    /// Silence that ends a frame, 20–6000 ms (7).
    pub inter_octet_ms: u16,
    /// A connection without frames for so many seconds is closed; 0 for never (8).
    pub inactivity_s: u16,
    /// The lower HDLC address (9).
    pub device_address: u16,
}

impl HdlcSetup {
    /// The defaults of IEC 62056-46: 9 600 baud, window 1, 128 bytes.
    pub const DEFAULT: Self = Self {
        speed: 5,
        window_transmit: 1,
        window_receive: 1,
        field_transmit: 128,
        field_receive: 128,
        inter_octet_ms: 25,
        inactivity_s: 120,
        device_address: 16,
    };

    const SPEED_MAX: u8 = 9;

    /// The baud rate.
    pub const fn baud(&self) -> u32 {
        match self.speed {
            0 => 300,
            1 => 600,
            2 => 1_200,
            3 => 2_400,
            4 => 4_800,
            6 => 19_200,
            7 => 38_400,
            8 => 57_600,
            9 => 115_200,
            _ => 9_600,
        }
    }

    const fn is_valid(&self) -> bool {
        self.speed <= Self::SPEED_MAX
            && matches!(self.window_transmit, 1..=7)
            && matches!(self.window_receive, 1..=7)
            && matches!(self.field_transmit, 32..=HDLC_FIELD_MAX)
            && matches!(self.field_receive, 32..=HDLC_FIELD_MAX)
            && matches!(self.inter_octet_ms, 20..=6_000)
            && self.device_address < 0x4000
    }

    /// Appends what the setup keeps.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.byte(self.speed);
        keeper.byte(self.window_transmit);
        keeper.byte(self.window_receive);
        for value in [
            self.field_transmit,
            self.field_receive,
            self.inter_octet_ms,
            self.inactivity_s,
            self.device_address,
        ] {
            keeper.put(value.to_be_bytes());
        }
    }

    /// Takes over what a setup kept.
    ///
    /// # Errors
    ///
    /// Bytes that no setup wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open("hdlc-setup", VERSION, bytes)?;
        let setup = Self {
            speed: kept.u8()?,
            window_transmit: kept.u8()?,
            window_receive: kept.u8()?,
            field_transmit: kept.u16()?,
            field_receive: kept.u16()?,
            inter_octet_ms: kept.u16()?,
            inactivity_s: kept.u16()?,
            device_address: kept.u16()?,
        };
        kept.require(setup.is_valid(), "value")?;
        kept.finish()?;
        Ok(setup)
    }
}

impl InterfaceObject for HdlcSetup {
    fn get(&self, attribute: i8, _: UtcTime) -> Result<Data, DataAccessResult> {
        Ok(match attribute {
            2 => Data::Enum(self.speed),
            3 => Data::Unsigned(self.window_transmit),
            4 => Data::Unsigned(self.window_receive),
            5 => Data::LongUnsigned(self.field_transmit),
            6 => Data::LongUnsigned(self.field_receive),
            7 => Data::LongUnsigned(self.inter_octet_ms),
            8 => Data::LongUnsigned(self.inactivity_s),
            9 => Data::LongUnsigned(self.device_address),
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    fn set(&mut self, attribute: i8, value: &Data, _: UtcTime) -> Result<(), DataAccessResult> {
        let mut written = self.clone();
        match attribute {
            2 => written.speed = shape::enumeration(value)?,
            3 => written.window_transmit = shape::unsigned(value)?,
            4 => written.window_receive = shape::unsigned(value)?,
            5 => written.field_transmit = shape::long_unsigned(value)?,
            6 => written.field_receive = shape::long_unsigned(value)?,
            7 => written.inter_octet_ms = shape::long_unsigned(value)?,
            8 => written.inactivity_s = shape::long_unsigned(value)?,
            9 => written.device_address = shape::long_unsigned(value)?,
            _ => return Err(DataAccessResult::ObjectUndefined),
        }
        if !written.is_valid() {
            return Err(DataAccessResult::OtherReason);
        }
        *self = written;
        Ok(())
    }

    fn invoke(
        &mut self,
        _: i8,
        _: Option<&Data>,
        _: UtcTime,
    ) -> Result<Option<Data>, ActionResult> {
        Err(ActionResult::ObjectUndefined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::retained::assert_survives;

    const AT: UtcTime = UtcTime::from_secs(0);

    fn all_read_as_written(object: &mut dyn InterfaceObject, attributes: &[i8]) {
        for attribute in attributes {
            let value = object.get(*attribute, AT).unwrap();
            assert_eq!(object.set(*attribute, &value, AT), Ok(()), "{attribute}");
            assert_eq!(object.get(*attribute, AT), Ok(value));
        }
        assert_eq!(object.get(11, AT), Err(DataAccessResult::ObjectUndefined));
    }

    #[test]
    fn each_setup_reads_as_written_and_survives() {
        let mut tcp = TcpUdpSetup::DEFAULT;
        all_read_as_written(&mut tcp, &[2, 3, 4, 5, 6]);
        assert_survives(&tcp, TcpUdpSetup::encode, TcpUdpSetup::decode);
        let mut ip = Ipv4Setup {
            multicast: vec![0xE000_0001],
            ..Ipv4Setup::DHCP
        };
        all_read_as_written(&mut ip, &[2, 3, 4, 6, 7, 8, 9, 10]);
        assert_survives(&ip, Ipv4Setup::encode, Ipv4Setup::decode);
        let mut hdlc = HdlcSetup::DEFAULT;
        all_read_as_written(&mut hdlc, &[2, 3, 4, 5, 6, 7, 8, 9]);
        assert_survives(&hdlc, HdlcSetup::encode, HdlcSetup::decode);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let word = Data::LongUnsigned;
        let address = Data::DoubleLongUnsigned;
        let cases: [(Box<dyn InterfaceObject>, i8, Data, bool); 13] = [
            (Box::new(TcpUdpSetup::DEFAULT), 4, word(39), false),
            (Box::new(TcpUdpSetup::DEFAULT), 5, Data::Unsigned(0), false),
            (Box::new(Ipv4Setup::DHCP), 6, address(0xFFFF_FF00), true),
            (Box::new(Ipv4Setup::DHCP), 6, address(0xFFFF_00FF), false),
            (
                Box::new(Ipv4Setup::DHCP),
                4,
                Data::Array(vec![address(0x0A00_0001)]),
                false,
            ),
            (Box::new(HdlcSetup::DEFAULT), 2, Data::Enum(9), true),
            (Box::new(HdlcSetup::DEFAULT), 2, Data::Enum(10), false),
            (Box::new(HdlcSetup::DEFAULT), 3, Data::Unsigned(0), false),
            (Box::new(HdlcSetup::DEFAULT), 4, Data::Unsigned(8), false),
            (Box::new(HdlcSetup::DEFAULT), 5, word(HDLC_FIELD_MAX), true),
            (
                Box::new(HdlcSetup::DEFAULT),
                6,
                word(HDLC_FIELD_MAX + 1),
                false,
            ),
            (Box::new(HdlcSetup::DEFAULT), 7, word(19), false),
            (Box::new(HdlcSetup::DEFAULT), 9, word(0x4000), false),
        ];
        for (mut object, attribute, value, fits) in cases {
            let expected = if fits {
                Ok(())
            } else {
                Err(DataAccessResult::OtherReason)
            };
            assert_eq!(object.set(attribute, &value, AT), expected, "{value:?}");
        }
        assert_eq!(
            HdlcSetup {
                speed: 9,
                ..HdlcSetup::DEFAULT
            }
            .baud(),
            115_200
        );
    }

    #[test]
    fn multicast_addresses_come_and_go() {
        let mut ip = Ipv4Setup::DHCP;
        let address = |last: u32| Data::DoubleLongUnsigned(0xE000_0000 + last);
        for last in 0..16 {
            assert_eq!(ip.invoke(1, Some(&address(last)), AT), Ok(None));
            assert_eq!(ip.invoke(1, Some(&address(last)), AT), Ok(None));
        }
        assert_eq!(
            ip.invoke(1, Some(&address(16)), AT),
            Err(ActionResult::OtherReason)
        );
        assert_eq!(ip.invoke(2, Some(&address(3)), AT), Ok(None));
        assert_eq!(
            ip.invoke(2, Some(&address(3)), AT),
            Err(ActionResult::ScopeOfAccessViolated)
        );
        assert_eq!(
            ip.invoke(3, Some(&Data::Integer(0)), AT),
            Ok(Some(Data::LongUnsigned(15)))
        );
    }
}
