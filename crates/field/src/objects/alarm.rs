//! Alarms: what the meter reports at once. The error register (0.0.97.97.0), the two alarm
//! registers with filter and descriptor (0.0.97.98.0/1, .10/.11, .20/.21) of IDIS, and the event
//! status word with its filter (0.0.94.91.18, .26) of IS 15959.
//!
//! A descriptor's bit is set when its alarm begins and passes the filter, and stays until a
//! client writes it off: an alarm that flickers is reported once.

use std::collections::VecDeque;

use gridloom_dlms::apdu::DataAccessResult;
use gridloom_dlms::axdr::{BitString, Data};
pub use gridloom_dlms::companion::{AlarmBit, ErrorBit, StatusBit};

use super::retained::{Keeper, Kept, RetainedError};
use super::shape;

const VERSION: u8 = 1;
const OBJECT: &str = "alarm";
const WORD_BITS: usize = 128;

/// Which of the objects is meant; each is a data object (class 1) whose attribute 2 it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmObject {
    /// Error register, 0.0.97.97.0.255.
    Errors,
    /// Alarm register 1 or 2, 0.0.97.98.0.255 and .1.
    Register(AlarmBank),
    /// Alarm filter 1 or 2, 0.0.97.98.10.255 and .11.
    Filter(AlarmBank),
    /// Alarm descriptor 1 or 2, 0.0.97.98.20.255 and .21.
    Descriptor(AlarmBank),
    /// Event status word, 0.0.94.91.18.255.
    StatusWord,
    /// Event status word filter, 0.0.94.91.26.255.
    StatusFilter,
}

/// One of the two alarm registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AlarmBank {
    One,
    Two,
}

impl AlarmBank {
    const fn index(self) -> usize {
        match self {
            Self::One => 0,
            Self::Two => 1,
        }
    }
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It has begun.
    Present,
    /// It has ended.
    Gone,
}

/// Something passed a filter: push an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmEvent {
    /// Bits were set in an alarm descriptor (0.4.25.9.0 sends it).
    Descriptor {
        /// Which.
        bank: AlarmBank,
        /// The bits that are new.
        raised: u32,
    },
    /// A bit of the event status word has changed.
    Status {
        /// Which.
        bit: StatusBit,
        /// How.
        condition: Condition,
    },
    /// A client has cleared bits of the error register: log it.
    ErrorsCleared,
    /// A client has cleared bits of an alarm register: log it.
    AlarmsCleared,
}

/// What passes the filters from the factory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlarmConfig {
    /// Alarm filters 1 and 2; a set bit lets pass.
    pub filters: [u32; 2],
    /// Event status word filter; bit 0 is the highest.
    pub status_filter: u128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bank {
    register: u32,
    filter: u32,
    descriptor: u32,
}

/// All alarms of one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarms {
    errors: u32,
    banks: [Bank; 2],
    status: u128,
    status_filter: u128,
    /// At most one per input.
    events: VecDeque<AlarmEvent>,
}

impl Alarms {
    /// Nothing to report.
    pub fn new(config: AlarmConfig) -> Self {
        let bank = |filter| Bank {
            register: 0,
            filter,
            descriptor: 0,
        };
        Self {
            errors: 0,
            banks: config.filters.map(bank),
            status: 0,
            status_filter: config.status_filter,
            events: VecDeque::new(),
        }
    }

    /// The meter has found a fault of its own. It stays until a client clears it.
    pub const fn handle_error(&mut self, bit: ErrorBit) {
        self.errors |= 1 << (bit as u8);
    }

    /// An alarm's condition has begun or ended.
    pub fn handle_alarm(&mut self, bit: AlarmBit, condition: Condition) {
        let (bank, mask) = match bit as u8 {
            low @ 0..32 => (AlarmBank::One, 1 << low),
            high => (AlarmBank::Two, 1 << (high - 32)),
        };
        let kept = &mut self.banks[bank.index()];
        let was = kept.register;
        match condition {
            Condition::Present => kept.register |= mask,
            Condition::Gone => kept.register &= !mask,
        }
        let begun = kept.register & !was & kept.filter;
        let raised = begun & !kept.descriptor;
        kept.descriptor |= begun;
        if raised != 0 {
            self.events
                .push_back(AlarmEvent::Descriptor { bank, raised });
        }
    }

    /// A condition of the event status word has begun or ended.
    pub fn handle_status(&mut self, bit: StatusBit, condition: Condition) {
        let mask = bit.mask();
        let was = self.status;
        match condition {
            Condition::Present => self.status |= mask,
            Condition::Gone => self.status &= !mask,
        }
        if (self.status ^ was) & self.status_filter != 0 {
            self.events.push_back(AlarmEvent::Status { bit, condition });
        }
    }

    /// What the meter must know or do next.
    pub fn poll_event(&mut self) -> Option<AlarmEvent> {
        self.events.pop_front()
    }

    /// Alarm descriptors 1 and 2.
    pub const fn descriptors(&self) -> [u32; 2] {
        [self.banks[0].descriptor, self.banks[1].descriptor]
    }

    /// The event status word, bit 0 the highest.
    pub const fn status_word(&self) -> u128 {
        self.status
    }

    /// Attribute 2 of one of the objects.
    pub fn value(&self, object: AlarmObject) -> Data {
        match object {
            AlarmObject::Errors => Data::DoubleLongUnsigned(self.errors),
            AlarmObject::Register(bank) => {
                Data::DoubleLongUnsigned(self.banks[bank.index()].register)
            }
            AlarmObject::Filter(bank) => Data::DoubleLongUnsigned(self.banks[bank.index()].filter),
            AlarmObject::Descriptor(bank) => {
                Data::DoubleLongUnsigned(self.banks[bank.index()].descriptor)
            }
            AlarmObject::StatusWord => word_value(self.status),
            AlarmObject::StatusFilter => word_value(self.status_filter),
        }
    }

    /// A client writes attribute 2 of one of the objects. Registers and descriptors take a new
    /// value that clears bits and sets none; filters take any.
    ///
    /// # Errors
    ///
    /// [`DataAccessResult::OtherReason`] where a bit would be set,
    /// [`DataAccessResult::ReadWriteDenied`] for the event status word.
    pub fn write(&mut self, object: AlarmObject, value: &Data) -> Result<(), DataAccessResult> {
        let cleared = |now: u32| {
            let value = shape::double_long_unsigned(value)?;
            if value & !now == 0 {
                Ok(value)
            } else {
                Err(DataAccessResult::OtherReason)
            }
        };
        match object {
            AlarmObject::Errors => {
                let errors = cleared(self.errors)?;
                if errors != self.errors {
                    self.errors = errors;
                    self.events.push_back(AlarmEvent::ErrorsCleared);
                }
            }
            AlarmObject::Register(bank) => {
                let bank = &mut self.banks[bank.index()];
                let register = cleared(bank.register)?;
                if register != bank.register {
                    bank.register = register;
                    self.events.push_back(AlarmEvent::AlarmsCleared);
                }
            }
            AlarmObject::Descriptor(bank) => {
                let bank = &mut self.banks[bank.index()];
                bank.descriptor = cleared(bank.descriptor)?;
            }
            AlarmObject::Filter(bank) => {
                self.banks[bank.index()].filter = shape::double_long_unsigned(value)?;
            }
            AlarmObject::StatusFilter => self.status_filter = word(value)?,
            AlarmObject::StatusWord => return Err(DataAccessResult::ReadWriteDenied),
        }
        Ok(())
    }

    /// Appends what the alarms keep.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.put(self.errors.to_be_bytes());
        for bank in self.banks {
            keeper.put(bank.register.to_be_bytes());
            keeper.put(bank.filter.to_be_bytes());
            keeper.put(bank.descriptor.to_be_bytes());
        }
        keeper.put(self.status.to_be_bytes());
        keeper.put(self.status_filter.to_be_bytes());
    }

    /// Takes over what the alarms kept.
    ///
    /// # Errors
    ///
    /// Bytes that no alarms wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let errors = kept.u32()?;
        let mut bank = || {
            Ok(Bank {
                register: kept.u32()?,
                filter: kept.u32()?,
                descriptor: kept.u32()?,
            })
        };
        let alarms = Self {
            errors,
            banks: [bank()?, bank()?],
            status: u128::from_be_bytes(kept.array()?),
            status_filter: u128::from_be_bytes(kept.array()?),
            events: VecDeque::new(),
        };
        kept.finish()?;
        Ok(alarms)
    }
}

fn word_value(word: u128) -> Data {
    let bits = BitString::new(WORD_BITS, word.to_be_bytes().to_vec());
    Data::BitString(bits.expect("sixteen bytes have 128 bits"))
}

fn word(value: &Data) -> Result<u128, DataAccessResult> {
    let Data::BitString(bits) = value else {
        return Err(DataAccessResult::TypeUnmatched);
    };
    if bits.bits() != WORD_BITS {
        return Err(DataAccessResult::OtherReason);
    }
    let bytes = bits.bytes().try_into().expect("128 bits are sixteen bytes");
    Ok(u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::retained::assert_survives;

    fn alarms() -> Alarms {
        Alarms::new(AlarmConfig {
            filters: [1 << 13, u32::MAX],
            status_filter: StatusBit::Magnet.mask(),
        })
    }

    fn events(alarms: &mut Alarms) -> Vec<AlarmEvent> {
        std::iter::from_fn(|| alarms.poll_event()).collect()
    }

    const REGISTER: AlarmObject = AlarmObject::Register(AlarmBank::One);
    const DESCRIPTOR: AlarmObject = AlarmObject::Descriptor(AlarmBank::One);

    #[test]
    fn an_alarm_is_reported_once_until_it_is_written_off() {
        let mut alarms = alarms();
        let fraud = Data::DoubleLongUnsigned(1 << 13);
        let raised = AlarmEvent::Descriptor {
            bank: AlarmBank::One,
            raised: 1 << 13,
        };
        for _ in 0..3 {
            alarms.handle_alarm(AlarmBit::Fraud, Condition::Present);
            alarms.handle_alarm(AlarmBit::Fraud, Condition::Present);
            alarms.handle_alarm(AlarmBit::Fraud, Condition::Gone);
        }
        assert_eq!(events(&mut alarms), [raised]);
        assert_eq!(alarms.value(REGISTER), Data::DoubleLongUnsigned(0));
        assert_eq!(alarms.value(DESCRIPTOR), fraud);
        // Filtered out: only in the register.
        alarms.handle_alarm(AlarmBit::ClockInvalid, Condition::Present);
        assert_eq!(events(&mut alarms), []);
        assert_eq!(alarms.value(REGISTER), Data::DoubleLongUnsigned(1));
        assert_eq!(alarms.value(DESCRIPTOR), fraud);
        // Written off while it is there: it must go and come back.
        alarms.handle_alarm(AlarmBit::Fraud, Condition::Present);
        assert_eq!(
            alarms.write(DESCRIPTOR, &Data::DoubleLongUnsigned(0)),
            Ok(())
        );
        alarms.handle_alarm(AlarmBit::Fraud, Condition::Present);
        assert_eq!(events(&mut alarms), []);
        alarms.handle_alarm(AlarmBit::Fraud, Condition::Gone);
        alarms.handle_alarm(AlarmBit::Fraud, Condition::Present);
        assert_eq!(events(&mut alarms), [raised]);
    }

    #[test]
    fn the_second_register_begins_at_its_own_bit() {
        let mut alarms = alarms();
        alarms.handle_alarm(AlarmBit::TotalPowerFailure, Condition::Present);
        alarms.handle_alarm(AlarmBit::LocalCommunication, Condition::Present);
        assert_eq!(
            alarms.value(AlarmObject::Register(AlarmBank::Two)),
            Data::DoubleLongUnsigned(1 | 1 << 18)
        );
        assert_eq!(alarms.value(REGISTER), Data::DoubleLongUnsigned(0));
    }

    #[test]
    fn the_status_word_counts_from_its_first_bit() {
        let mut alarms = alarms();
        alarms.handle_status(StatusBit::MissingVoltageL1, Condition::Present);
        alarms.handle_status(StatusBit::Magnet, Condition::Present);
        alarms.handle_status(StatusBit::Magnet, Condition::Present);
        alarms.handle_status(StatusBit::Magnet, Condition::Gone);
        let magnet = |condition| AlarmEvent::Status {
            bit: StatusBit::Magnet,
            condition,
        };
        assert_eq!(
            events(&mut alarms),
            [magnet(Condition::Present), magnet(Condition::Gone)]
        );
        let Data::BitString(word) = alarms.value(AlarmObject::StatusWord) else {
            panic!("the event status word is a bit string");
        };
        assert_eq!(word.bits(), 128);
        assert_eq!((word.get(0), word.get(81)), (Some(true), Some(false)));
    }

    #[test]
    fn clients_clear_and_set_filters_only() {
        let mut alarms = alarms();
        alarms.handle_error(ErrorBit::Watchdog);
        alarms.handle_alarm(AlarmBit::Watchdog, Condition::Present);
        let bits =
            |bits, bytes: usize| Data::BitString(BitString::new(bits, vec![0xFF; bytes]).unwrap());
        let number = Data::DoubleLongUnsigned;
        let cases = [
            (
                AlarmObject::Errors,
                number(1),
                Err(DataAccessResult::OtherReason),
            ),
            (AlarmObject::Errors, number(1 << 12), Ok(())),
            (AlarmObject::Errors, number(0), Ok(())),
            (
                REGISTER,
                number(1 << 12 | 1),
                Err(DataAccessResult::OtherReason),
            ),
            (REGISTER, number(0), Ok(())),
            (DESCRIPTOR, number(1), Err(DataAccessResult::OtherReason)),
            (AlarmObject::Filter(AlarmBank::Two), number(3), Ok(())),
            (AlarmObject::StatusFilter, bits(128, 16), Ok(())),
            (
                AlarmObject::StatusFilter,
                bits(120, 15),
                Err(DataAccessResult::OtherReason),
            ),
            (
                AlarmObject::StatusFilter,
                number(0),
                Err(DataAccessResult::TypeUnmatched),
            ),
            (
                AlarmObject::StatusWord,
                bits(128, 16),
                Err(DataAccessResult::ReadWriteDenied),
            ),
        ];
        for (object, value, expected) in cases {
            assert_eq!(alarms.write(object, &value), expected, "{object:?}");
            if expected.is_ok() {
                assert_eq!(alarms.value(object), value);
            }
        }
        assert_eq!(
            events(&mut alarms),
            [AlarmEvent::ErrorsCleared, AlarmEvent::AlarmsCleared]
        );
        assert_survives(&alarms, Alarms::encode, Alarms::decode);
    }
}
