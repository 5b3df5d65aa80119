//! The payload of a gridloom meter's alert: what the supervision of a meter has found.
//!
//! A structure of six values, the factory's object list of the push setup 0-4:25.9.0. It leaves
//! the meter as an interval does: a `DataNotification`, general-glo-ciphered under the meter's
//! title, and the meter repeats it until a `DataNotificationConfirm` brings its id back.

use gridloom_core::{ObisCode, UtcTime};

use crate::apdu::{DataNotification, LongInvokeId};
use crate::axdr::{AxdrError, BitString, Data, Decoder, Encoder};
use crate::companion::{AlarmBit, StatusBit};
use crate::datetime::{CosemDateTime, DateTimeError};

/// The push setup object that the payload names first; an interval names 0-0:25.9.0.
pub const ALERT_SETUP: ObisCode = ObisCode([0, 4, 25, 9, 0, 255]);

/// Bytes of a logical device name; a longer one is refused.
pub const DEVICE_NAME_MAX: usize = 16;

/// Bits of the event status word.
pub const STATUS_WORD_BITS: usize = 128;

const MEMBERS: usize = 6;

/// One alert, as a meter pushes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertPush {
    /// The logical device name (0-0:42.0.0), at most [`DEVICE_NAME_MAX`] bytes.
    pub device_name: Vec<u8>,
    /// When the alarm was raised, by the meter's clock, in whole seconds.
    pub time: UtcTime,
    /// Alarm descriptors 1 and 2 (0-0:97.98.20 and .21): every alarm that no client has written
    /// off, also the ones of earlier alerts.
    pub descriptors: [u32; 2],
    /// The event status word (0-0:94.91.18), bit 0 the highest: what held at `time`.
    pub status_word: u128,
}

/// Why a payload is no [`AlertPush`], or one cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlertError {
    /// The payload has another shape.
    #[error("alert: {0}")]
    Axdr(#[from] AxdrError),
    /// The payload belongs to another push setup object.
    #[error("alert: object {0} is not {ALERT_SETUP}; give the meter gridloom's alert object list")]
    Object(ObisCode),
    /// A logical device name that is none.
    #[error("alert: a device name of {length} bytes, at most {DEVICE_NAME_MAX} stand")]
    DeviceName {
        /// Its length.
        length: usize,
    },
    /// The date-time is no point in time.
    #[error("alert: time: {0}; set the meter's clock")]
    Time(DateTimeError),
    /// The event status word has another length.
    #[error("alert: the event status word is no bit-string of {STATUS_WORD_BITS} bits")]
    StatusWord,
}

impl AlertPush {
    /// The long-invoke-id of a meter's `number`-th alert: of high priority, which no interval
    /// has, so that neither is confirmed for the other. It repeats after 2²⁴ alerts.
    pub const fn invoke_id(number: u32) -> LongInvokeId {
        LongInvokeId(0xC000_0000 | (number & 0x00FF_FFFF))
    }

    /// Whether a notification or its confirmation under `id` is an alert's.
    pub const fn is_alert(id: LongInvokeId) -> bool {
        id.0 & 0x8000_0000 != 0
    }

    /// Whether a notification's payload names the alert push setup, before all of it is read.
    pub fn is_payload(body: &[u8]) -> bool {
        let mut decoder = Decoder::new(body);
        decoder.structure(MEMBERS).is_ok() && decoder.octet_array() == Ok(ALERT_SETUP.0)
    }

    /// The alarms that the descriptors name, in the order of their bits. A bit that the
    /// companion profile does not list is left out.
    pub fn alarms(&self) -> impl Iterator<Item = AlarmBit> {
        let [one, two] = self.descriptors;
        let bits = u64::from(two) << 32 | u64::from(one);
        AlarmBit::ALL
            .iter()
            .copied()
            .filter(move |bit| bits & (1 << bit.number()) != 0)
    }

    /// The conditions that the event status word names, in the order of their bits.
    pub fn conditions(&self) -> impl Iterator<Item = StatusBit> {
        let word = self.status_word;
        StatusBit::ALL
            .iter()
            .copied()
            .filter(move |bit| word & bit.mask() != 0)
    }

    /// Appends the whole `DataNotification` of the meter's `number`-th alert to `out`.
    ///
    /// # Errors
    ///
    /// As [`Self::encode`]; `out` is then as before.
    pub fn encode_notification(&self, number: u32, out: &mut Vec<u8>) -> Result<(), AlertError> {
        let start = out.len();
        DataNotification {
            invoke_id: Self::invoke_id(number),
            time: None,
            body: &[],
        }
        .encode(out);
        self.encode(out).inspect_err(|_| out.truncate(start))
    }

    /// Appends the payload to `out`.
    ///
    /// # Errors
    ///
    /// A time that COSEM cannot write, a device name that is too long; `out` is then as before.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), AlertError> {
        let time = CosemDateTime::from_utc(self.time).map_err(AlertError::Time)?;
        check_name(&self.device_name)?;
        let word = BitString::new(STATUS_WORD_BITS, self.status_word.to_be_bytes().to_vec());
        let mut encoder = Encoder::new(out);
        encoder.structure(MEMBERS);
        encoder.octet_string(&ALERT_SETUP.0);
        encoder.octet_string(&self.device_name);
        encoder.octet_string(&time.to_bytes());
        for descriptor in self.descriptors {
            encoder.double_long_unsigned(descriptor);
        }
        encoder.value(&Data::BitString(word.expect("sixteen bytes have 128 bits")));
        Ok(())
    }

    /// Reads the payload of a notification.
    ///
    /// # Errors
    ///
    /// Another shape or object, an impossible time.
    pub fn decode(body: &[u8]) -> Result<Self, AlertError> {
        let mut decoder = Decoder::new(body);
        decoder.structure(MEMBERS)?;
        let object = ObisCode(decoder.octet_array()?);
        if object != ALERT_SETUP {
            return Err(AlertError::Object(object));
        }
        let device_name = decoder.octet_string()?;
        check_name(device_name)?;
        let time = CosemDateTime::from_bytes(decoder.octet_array()?)
            .to_utc()
            .map_err(AlertError::Time)?;
        let descriptors = [
            decoder.double_long_unsigned()?,
            decoder.double_long_unsigned()?,
        ];
        let Data::BitString(word) = decoder.value()? else {
            return Err(AlertError::StatusWord);
        };
        if word.bits() != STATUS_WORD_BITS {
            return Err(AlertError::StatusWord);
        }
        let word = word.bytes().try_into();
        decoder.finish()?;
        Ok(Self {
            device_name: device_name.to_vec(),
            time,
            descriptors,
            status_word: u128::from_be_bytes(word.map_err(|_| AlertError::StatusWord)?),
        })
    }
}

const fn check_name(name: &[u8]) -> Result<(), AlertError> {
    if name.len() <= DEVICE_NAME_MAX {
        Ok(())
    } else {
        Err(AlertError::DeviceName { length: name.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::IntervalPush;

    fn alert() -> AlertPush {
        AlertPush {
            device_name: b"GRL0000000000042".to_vec(),
            time: UtcTime::parse("2026-11-21T18:04:05Z").unwrap(),
            descriptors: [1 << 13, 0b11],
            status_word: StatusBit::Magnet.mask() | StatusBit::LastGasp.mask(),
        }
    }

    fn encoded(alert: &AlertPush) -> Vec<u8> {
        let mut out = Vec::new();
        alert.encode(&mut out).unwrap();
        out
    }

    #[test]
    fn the_payload_is_fixed_for_all_time() {
        let golden = "0206 0906000419090 0FF 091047524C30303030303030303030303432 \
                      090C07EA0B1506120405000000 00 0600002000 0600000003 \
                      04818000000000000000000000440000000000";
        assert_eq!(encoded(&alert()), crate::hex::bytes(golden));
        assert_eq!(AlertPush::decode(&encoded(&alert())), Ok(alert()));
        assert!(AlertPush::is_payload(&encoded(&alert())));
        assert!(IntervalPush::decode(&encoded(&alert())).is_err());
    }

    #[test]
    fn it_names_its_alarms_and_conditions() {
        let alert = alert();
        let alarms: Vec<AlarmBit> = alert.alarms().collect();
        let expected = [
            AlarmBit::Fraud,
            AlarmBit::TotalPowerFailure,
            AlarmBit::PowerResumed,
        ];
        assert_eq!(alarms, expected);
        let conditions: Vec<StatusBit> = alert.conditions().collect();
        assert_eq!(conditions, [StatusBit::Magnet, StatusBit::LastGasp]);
    }

    #[test]
    fn a_notification_carries_the_number_and_no_intervals_id() {
        let mut out = Vec::new();
        alert().encode_notification(0x0123_4567, &mut out).unwrap();
        let notification = DataNotification::decode(&out).unwrap();
        assert_eq!(notification.invoke_id, LongInvokeId(0xC023_4567));
        assert!(AlertPush::is_alert(notification.invoke_id));
        assert!(!AlertPush::is_alert(LongInvokeId::confirmed(0x0023_4567)));
        assert_eq!(AlertPush::decode(notification.body), Ok(alert()));
    }

    #[test]
    fn another_payload_is_refused_by_name() {
        let good = encoded(&alert());
        for cut in 0..good.len() {
            assert!(AlertPush::decode(&good[..cut]).is_err(), "{cut}");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            AlertPush::decode(&bytes)
        };
        let other = ObisCode([0, 0, 25, 9, 0, 255]);
        assert_eq!(with(5, 0), Err(AlertError::Object(other)));
        assert!(matches!(with(32, 0xFF), Err(AlertError::Time(_))));
        assert!(matches!(with(1, 7), Err(AlertError::Axdr(_))), "members");
        let mut longer = good.clone();
        longer.push(0);
        assert!(AlertPush::decode(&longer).is_err());
        let named = AlertPush {
            device_name: vec![b'A'; DEVICE_NAME_MAX + 1],
            ..alert()
        };
        let mut out = vec![0xAA];
        let refused = named.encode_notification(1, &mut out);
        assert_eq!(refused, Err(AlertError::DeviceName { length: 17 }));
        assert_eq!(out, [0xAA], "nothing half written");
    }
}
