//! Prints one interval push in general-glo-ciphering as hexadecimal, for foreign decoders.
//! Its keys are 16 bytes 5A (encryption) and 16 bytes A5 (authentication).

use std::io::Write as _;

use gridloom_core::{
    IntervalValues, MillivarHours, MillivoltAmpereHours, Millivolts, MilliwattHours, Period,
    ReadingStatus, SystemTitle, UtcTime, Watts,
};
use gridloom_dlms::push::{BillingStatus, IntervalPush};
use gridloom_dlms::security::{CipherContext, Keys, Protection};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let push = IntervalPush {
        period: Period::QUARTER_HOUR,
        end: UtcTime::from_secs(1_359_675_000),
        status: ReadingStatus::GOOD,
        values: IntervalValues {
            import: MilliwattHours::new(333_000),
            export: MilliwattHours::ZERO,
            reactive: [MillivarHours::new(12_000); 4],
            apparent: MillivoltAmpereHours::new(350_000),
            voltage: Millivolts::new(230_100),
        },
        import_register: MilliwattHours::new(123_456_789_000),
        power: Watts::new(1_332),
        billing: BillingStatus::default(),
    };
    let mut plain = Vec::new();
    push.encode_notification(&mut plain)?;
    let mut sealed = Vec::new();
    CipherContext::new(&Keys::new([0x5A; 16], [0xA5; 16])).protect(
        Protection::full(SystemTitle::new(*b"GLM", 1), 7),
        &plain,
        &mut sealed,
    );
    let mut out = std::io::stdout().lock();
    for byte in sealed {
        write!(out, "{byte:02X}")?;
    }
    writeln!(out)?;
    Ok(())
}
