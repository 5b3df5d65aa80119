//! Names and numbers of the companion profiles, in one place: event codes of IS 15959 part 2 and
//! of IDIS with the log each belongs to, and the bits of the error register, the alarm registers
//! and the event status word.
//!
//! They are written from memory of the two profiles. Whoever holds the standards changes a
//! number or a text here and nowhere else; `docs/companion-tables.md` says which ones to check.

macro_rules! event_codes {
    ($(#[$doc:meta])* $name:ident in $log:ident {
        $($variant:ident = $code:literal, $in_log:ident, $text:literal;)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum $name {
            $(#[doc = $text] $variant = $code,)*
        }

        impl $name {
            /// Every code, ascending.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The event of a code; `None` for one that the profile does not list.
            pub const fn from_code(code: u16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The code.
            pub const fn code(self) -> u16 {
                self as u16
            }

            /// What happened, in English.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// The log it belongs to.
            pub const fn log(self) -> $log {
                match self {
                    $(Self::$variant => $log::$in_log,)*
                }
            }
        }
    };
}

macro_rules! bits {
    ($(#[$doc:meta])* $name:ident {
        $($variant:ident = $number:literal, $text:literal;)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $(#[doc = $text] $variant = $number,)*
        }

        impl $name {
            /// Every bit, ascending.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The bit's number.
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// What it says, in English.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

/// The event logs of IS 15959: group E of 0.0.99.98.x.255 (log) and 0.0.96.11.x.255 (code).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum IndianLog {
    /// Voltage related events.
    Voltage = 0,
    /// Current related events.
    Current = 1,
    /// Power related events.
    Power = 2,
    /// Transaction events: what a client has changed.
    Transaction = 3,
    /// Other events.
    Other = 4,
    /// Events that are never overwritten.
    NonRollover = 5,
    /// Control events.
    Control = 6,
}

/// The event logs of IDIS: group E of 0.0.99.98.x.255 (log) and 0.0.96.11.x.255 (code).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum IdisLog {
    /// Standard event log.
    Standard = 0,
    /// Fraud detection log.
    Fraud = 1,
    /// Disconnector control log.
    Disconnector = 2,
    /// Power quality log.
    PowerQuality = 4,
}

event_codes!(
    /// The events of IS 15959 part 2.
    IndianEvent in IndianLog {
        MissingPotentialL1 = 1, Voltage, "R-phase potential missing, occurrence";
        MissingPotentialL1Restored = 2, Voltage, "R-phase potential missing, restoration";
        MissingPotentialL2 = 3, Voltage, "Y-phase potential missing, occurrence";
        MissingPotentialL2Restored = 4, Voltage, "Y-phase potential missing, restoration";
        MissingPotentialL3 = 5, Voltage, "B-phase potential missing, occurrence";
        MissingPotentialL3Restored = 6, Voltage, "B-phase potential missing, restoration";
        OverVoltage = 7, Voltage, "over-voltage in any phase, occurrence";
        OverVoltageRestored = 8, Voltage, "over-voltage in any phase, restoration";
        LowVoltage = 9, Voltage, "low voltage in any phase, occurrence";
        LowVoltageRestored = 10, Voltage, "low voltage in any phase, restoration";
        VoltageUnbalance = 11, Voltage, "voltage unbalance, occurrence";
        VoltageUnbalanceRestored = 12, Voltage, "voltage unbalance, restoration";
        CurrentReverseL1 = 51, Current, "R-phase current reverse, occurrence";
        CurrentReverseL1Restored = 52, Current, "R-phase current reverse, restoration";
        CurrentReverseL2 = 53, Current, "Y-phase current reverse, occurrence";
        CurrentReverseL2Restored = 54, Current, "Y-phase current reverse, restoration";
        CurrentReverseL3 = 55, Current, "B-phase current reverse, occurrence";
        CurrentReverseL3Restored = 56, Current, "B-phase current reverse, restoration";
        CurrentOpenL1 = 57, Current, "R-phase current transformer open, occurrence";
        CurrentOpenL1Restored = 58, Current, "R-phase current transformer open, restoration";
        CurrentOpenL2 = 59, Current, "Y-phase current transformer open, occurrence";
        CurrentOpenL2Restored = 60, Current, "Y-phase current transformer open, restoration";
        CurrentOpenL3 = 61, Current, "B-phase current transformer open, occurrence";
        CurrentOpenL3Restored = 62, Current, "B-phase current transformer open, restoration";
        CurrentUnbalance = 63, Current, "current unbalance, occurrence";
        CurrentUnbalanceRestored = 64, Current, "current unbalance, restoration";
        CurrentBypass = 65, Current, "current bypass, occurrence";
        CurrentBypassRestored = 66, Current, "current bypass, restoration";
        OverCurrent = 67, Current, "over-current in any phase, occurrence";
        OverCurrentRestored = 68, Current, "over-current in any phase, restoration";
        PowerFailure = 101, Power, "power failure, occurrence";
        PowerRestored = 102, Power, "power failure, restoration";
        ClockSet = 151, Transaction, "real-time clock, date and time set";
        DemandPeriodSet = 152, Transaction, "demand integration period set";
        CapturePeriodSet = 153, Transaction, "profile capture period set";
        BillingScheduleSet = 154, Transaction, "single-action schedule for billing dates set";
        CalendarSet = 155, Transaction, "activity calendar for time zones set";
        FirmwareActivated = 157, Transaction, "new firmware activated";
        LoadLimitSet = 158, Transaction, "load limit set";
        LoadLimitEnabled = 159, Transaction, "load limit function enabled";
        LoadLimitDisabled = 160, Transaction, "load limit function disabled";
        LowSecretChanged = 161, Transaction, "LLS secret of the meter reader changed";
        HighSecretChanged = 162, Transaction, "HLS key of the utility setting changed";
        FirmwareSecretChanged = 163, Transaction, "HLS key of the firmware upgrade changed";
        GlobalKeysChanged = 164, Transaction, "global encryption and authentication key changed";
        StatusFilterChanged = 165, Transaction, "event status word filter changed";
        DemandReset = 166, Transaction, "maximum demand reset";
        MeteringModeChanged = 167, Transaction, "metering mode changed";
        Magnet = 201, Other, "influence of permanent magnet or electromagnet, occurrence";
        MagnetRestored = 202, Other, "influence of permanent magnet or electromagnet, restoration";
        NeutralDisturbance = 203, Other, "neutral disturbance, occurrence";
        NeutralDisturbanceRestored = 204, Other, "neutral disturbance, restoration";
        LowPowerFactor = 205, Other, "very low power factor, occurrence";
        LowPowerFactorRestored = 206, Other, "very low power factor, restoration";
        NeutralMissing = 207, Other, "neutral missing, occurrence";
        NeutralMissingRestored = 208, Other, "neutral missing, restoration";
        CoverOpened = 251, NonRollover, "meter cover opened";
        LoadDisconnected = 301, Control, "load switch: meter disconnected";
        LoadConnected = 302, Control, "load switch: meter connected";
    }
);

event_codes!(
    /// The events of the IDIS companion profile.
    IdisEvent in IdisLog {
        PowerDown = 1, Standard, "power down";
        PowerUp = 2, Standard, "power up";
        DaylightSavingChanged = 3, Standard, "daylight saving time enabled or disabled";
        ClockAdjustedFrom = 4, Standard, "clock adjusted, old time";
        ClockAdjustedTo = 5, Standard, "clock adjusted, new time";
        ClockInvalid = 6, Standard, "clock invalid";
        ReplaceBattery = 7, Standard, "replace battery";
        BatteryLow = 8, Standard, "battery voltage low";
        TariffActivated = 9, Standard, "time of use activated";
        ErrorRegisterCleared = 10, Standard, "error register cleared";
        AlarmRegisterCleared = 11, Standard, "alarm register cleared";
        ProgramMemoryError = 12, Standard, "program memory error";
        RamError = 13, Standard, "RAM error";
        NvMemoryError = 14, Standard, "non-volatile memory error";
        WatchdogError = 15, Standard, "watchdog error";
        MeasurementError = 16, Standard, "measurement system error";
        FirmwareReady = 17, Standard, "firmware ready for activation";
        FirmwareActivated = 18, Standard, "firmware activated";
        PassiveTariffProgrammed = 19, Standard, "passive time of use programmed";
        ExternalAlert = 20, Standard, "external alert detected";
        TerminalCoverRemoved = 40, Fraud, "terminal cover removed";
        TerminalCoverClosed = 41, Fraud, "terminal cover closed";
        StrongField = 42, Fraud, "strong DC field detected";
        StrongFieldGone = 43, Fraud, "no strong DC field any more";
        CoverRemoved = 44, Fraud, "meter cover removed";
        CoverClosed = 45, Fraud, "meter cover closed";
        AuthenticationFailures = 46, Fraud, "association authentication failed n times";
        ParametersChanged = 47, Standard, "one or more parameters changed";
        GlobalKeysChanged = 48, Standard, "global keys changed";
        DecryptionFailures = 49, Fraud, "decryption or authentication failed n times";
        ReplayAttack = 50, Fraud, "replay attack";
        FirmwareVerificationFailed = 51, Standard, "firmware verification failed";
        UnexpectedConsumption = 52, Standard, "unexpected consumption";
        ReadyForReconnection = 59, Disconnector, "disconnector ready for manual reconnection";
        ManualDisconnection = 60, Disconnector, "manual disconnection";
        ManualConnection = 61, Disconnector, "manual connection";
        RemoteDisconnection = 62, Disconnector, "remote disconnection";
        RemoteConnection = 63, Disconnector, "remote connection";
        LocalDisconnection = 64, Disconnector, "local disconnection";
        LimiterExceeded = 65, Disconnector, "limiter threshold exceeded";
        LimiterOk = 66, Disconnector, "limiter threshold ok";
        LimiterChanged = 67, Disconnector, "limiter threshold changed";
        DisconnectorFailure = 68, Disconnector, "disconnect or reconnect failure";
        LocalConnection = 69, Disconnector, "local reconnection";
        UnderVoltageL1 = 76, PowerQuality, "undervoltage (sag) L1";
        UnderVoltageL2 = 77, PowerQuality, "undervoltage (sag) L2";
        UnderVoltageL3 = 78, PowerQuality, "undervoltage (sag) L3";
        OverVoltageL1 = 79, PowerQuality, "overvoltage (swell) L1";
        OverVoltageL2 = 80, PowerQuality, "overvoltage (swell) L2";
        OverVoltageL3 = 81, PowerQuality, "overvoltage (swell) L3";
        MissingVoltageL1 = 82, PowerQuality, "missing voltage (cut) L1";
        MissingVoltageL2 = 83, PowerQuality, "missing voltage (cut) L2";
        MissingVoltageL3 = 84, PowerQuality, "missing voltage (cut) L3";
        NormalVoltageL1 = 85, PowerQuality, "voltage normal L1";
        NormalVoltageL2 = 86, PowerQuality, "voltage normal L2";
        NormalVoltageL3 = 87, PowerQuality, "voltage normal L3";
        PhaseSequenceReversal = 88, Standard, "phase sequence reversal";
        MissingNeutral = 89, Standard, "missing neutral";
        PhaseAsymmetry = 90, PowerQuality, "phase asymmetry";
        CurrentReversal = 91, Fraud, "current reversal";
        BadVoltageL1 = 92, PowerQuality, "bad voltage quality L1";
        BadVoltageL2 = 93, PowerQuality, "bad voltage quality L2";
        BadVoltageL3 = 94, PowerQuality, "bad voltage quality L3";
        ProfileCleared = 254, Standard, "load profile cleared";
        LogCleared = 255, Standard, "event log cleared";
    }
);

bits!(
    /// A fault of the meter itself: a bit of the error register.
    ErrorBit {
        ClockInvalid = 0, "the clock may be wrong";
        ReplaceBattery = 1, "the battery must be replaced";
        ProgramMemory = 8, "the program memory is damaged";
        Ram = 9, "the working memory is damaged";
        NvMemory = 10, "the memory that keeps is damaged";
        Measurement = 11, "measuring is damaged";
        Watchdog = 12, "the watchdog has restarted the meter";
    }
);

bits!(
    /// A bit of alarm register 1 (below 32) or 2.
    AlarmBit {
        ClockInvalid = 0, "the clock may be wrong";
        ReplaceBattery = 1, "the battery must be replaced";
        ProgramMemory = 8, "the program memory is damaged";
        Ram = 9, "the working memory is damaged";
        NvMemory = 10, "the memory that keeps is damaged";
        Measurement = 11, "measuring is damaged";
        Watchdog = 12, "the watchdog has restarted the meter";
        Fraud = 13, "somebody tampers with the meter";
        TotalPowerFailure = 32, "supply is away on all phases";
        PowerResumed = 33, "supply is back";
        MissingVoltageL1 = 34, "voltage missing on L1";
        MissingVoltageL2 = 35, "voltage missing on L2";
        MissingVoltageL3 = 36, "voltage missing on L3";
        MissingNeutral = 40, "neutral missing";
        PhaseAsymmetry = 41, "phases are asymmetric";
        CurrentReversal = 42, "current flows backwards";
        PhaseSequence = 43, "the phases turn the other way";
        UnexpectedConsumption = 44, "consumption where none is expected";
        KeyExchanged = 45, "keys were exchanged";
        BadVoltageL1 = 46, "voltage quality is bad on L1";
        BadVoltageL2 = 47, "voltage quality is bad on L2";
        BadVoltageL3 = 48, "voltage quality is bad on L3";
        ExternalAlert = 49, "another device raises an alert";
        LocalCommunication = 50, "somebody tries to talk to the meter on the spot";
    }
);

bits!(
    /// A bit of the event status word, the first bit in the highest bit of the first byte.
    StatusBit {
        MissingVoltageL1 = 0, "R-phase voltage missing";
        MissingVoltageL2 = 1, "Y-phase voltage missing";
        MissingVoltageL3 = 2, "B-phase voltage missing";
        OverVoltage = 3, "over-voltage in any phase";
        LowVoltage = 4, "low voltage in any phase";
        VoltageUnbalance = 5, "voltage unbalance";
        CurrentReverseL1 = 6, "R-phase current reverse";
        CurrentReverseL2 = 7, "Y-phase current reverse";
        CurrentReverseL3 = 8, "B-phase current reverse";
        CurrentUnbalance = 9, "current unbalance";
        CurrentBypass = 10, "current bypass";
        OverCurrent = 11, "over-current in any phase";
        LowPowerFactor = 12, "very low power factor";
        EarthLoading = 51, "earth loading";
        Magnet = 81, "influence of a magnet";
        NeutralDisturbance = 82, "neutral disturbance";
        CoverOpened = 83, "meter cover opened";
        LoadDisconnected = 84, "load disconnected";
        LastGasp = 85, "supply is about to go";
        FirstBreath = 86, "supply is back";
        DemandReset = 87, "the billing counter has moved by hand";
    }
);

impl StatusBit {
    /// The bit in the word of 128, whose bit 0 is the highest.
    pub const fn mask(self) -> u128 {
        1 << (127 - self as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_finds_its_event_and_its_log() {
        for event in IndianEvent::ALL {
            assert_eq!(IndianEvent::from_code(event.code()), Some(*event));
            // The profile numbers its logs by fifties.
            let log = match event.code() {
                1..=50 => IndianLog::Voltage,
                51..=100 => IndianLog::Current,
                101..=150 => IndianLog::Power,
                151..=200 => IndianLog::Transaction,
                201..=250 => IndianLog::Other,
                251..=300 => IndianLog::NonRollover,
                _ => IndianLog::Control,
            };
            assert_eq!(event.log(), log, "{event:?}");
        }
        for event in IdisEvent::ALL {
            assert_eq!(IdisEvent::from_code(event.code()), Some(*event));
            assert!(event.code() <= 255, "IDIS codes are unsigned: {event:?}");
        }
        assert_eq!(IndianEvent::from_code(0), None);
        assert_eq!(IdisEvent::from_code(256), None);
    }

    #[test]
    fn an_occurrence_is_odd_and_its_restoration_follows() {
        for event in IndianEvent::ALL {
            if event.text().ends_with("occurrence") {
                let restored = IndianEvent::from_code(event.code() + 1).unwrap();
                assert_eq!(
                    restored.text(),
                    event.text().replace("occurrence", "restoration")
                );
                assert_eq!(event.code() % 2, 1, "{event:?}");
            }
        }
    }

    #[test]
    fn bits_are_ascending_and_fit_their_words() {
        fn check(numbers: Vec<u8>, bits: u8) {
            assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
            assert!(numbers.iter().all(|number| *number < bits), "{numbers:?}");
        }
        check(ErrorBit::ALL.iter().map(|bit| bit.number()).collect(), 32);
        check(AlarmBit::ALL.iter().map(|bit| bit.number()).collect(), 64);
        check(StatusBit::ALL.iter().map(|bit| bit.number()).collect(), 128);
        assert_eq!(StatusBit::MissingVoltageL1.mask(), 1 << 127);
    }
}
