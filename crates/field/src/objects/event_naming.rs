//! What the two companion profiles call that which the machines report: event codes of IS 15959
//! and of IDIS, and bits of the event status word and of the alarm registers.

use super::alarm::{AlarmBit, Condition, StatusBit};
use super::disconnect_control::{Cause, ControlState};
use super::power_quality::Disturbance;
use super::tamper::Tamper;
use gridloom_dlms::companion::{IdisEvent, IndianEvent};

impl Tamper {
    /// The event of IS 15959; it knows no end of an opened cover and no terminal cover.
    pub const fn indian_event(self, condition: Condition) -> Option<IndianEvent> {
        use IndianEvent as Event;
        let (began, ended) = match self {
            Self::CoverOpen => (Event::CoverOpened, None),
            Self::TerminalCoverOpen => return None,
            Self::Magnet => (Event::Magnet, Some(Event::MagnetRestored)),
            Self::CurrentReverseL1 => (
                Event::CurrentReverseL1,
                Some(Event::CurrentReverseL1Restored),
            ),
            Self::CurrentReverseL2 => (
                Event::CurrentReverseL2,
                Some(Event::CurrentReverseL2Restored),
            ),
            Self::CurrentReverseL3 => (
                Event::CurrentReverseL3,
                Some(Event::CurrentReverseL3Restored),
            ),
            Self::NeutralMissing => (Event::NeutralMissing, Some(Event::NeutralMissingRestored)),
            Self::NeutralDisturbance => (
                Event::NeutralDisturbance,
                Some(Event::NeutralDisturbanceRestored),
            ),
            Self::CurrentBypass => (Event::CurrentBypass, Some(Event::CurrentBypassRestored)),
            Self::MissingPotentialL1 => (
                Event::MissingPotentialL1,
                Some(Event::MissingPotentialL1Restored),
            ),
            Self::MissingPotentialL2 => (
                Event::MissingPotentialL2,
                Some(Event::MissingPotentialL2Restored),
            ),
            Self::MissingPotentialL3 => (
                Event::MissingPotentialL3,
                Some(Event::MissingPotentialL3Restored),
            ),
            Self::OverCurrent => (Event::OverCurrent, Some(Event::OverCurrentRestored)),
            Self::LowPowerFactor => (Event::LowPowerFactor, Some(Event::LowPowerFactorRestored)),
            Self::CurrentUnbalance => (
                Event::CurrentUnbalance,
                Some(Event::CurrentUnbalanceRestored),
            ),
        };
        match condition {
            Condition::Present => Some(began),
            Condition::Gone => ended,
        }
    }

    /// The event of IDIS; it knows fewer conditions.
    pub const fn idis_event(self, condition: Condition) -> Option<IdisEvent> {
        use IdisEvent as Event;
        match (self, condition) {
            (Self::CoverOpen, Condition::Present) => Some(Event::CoverRemoved),
            (Self::CoverOpen, Condition::Gone) => Some(Event::CoverClosed),
            (Self::TerminalCoverOpen, Condition::Present) => Some(Event::TerminalCoverRemoved),
            (Self::TerminalCoverOpen, Condition::Gone) => Some(Event::TerminalCoverClosed),
            (Self::Magnet, Condition::Present) => Some(Event::StrongField),
            (Self::Magnet, Condition::Gone) => Some(Event::StrongFieldGone),
            (
                Self::CurrentReverseL1 | Self::CurrentReverseL2 | Self::CurrentReverseL3,
                Condition::Present,
            ) => Some(Event::CurrentReversal),
            (Self::NeutralMissing, Condition::Present) => Some(Event::MissingNeutral),
            _ => None,
        }
    }

    /// The bit of the event status word.
    pub const fn status_bit(self) -> Option<StatusBit> {
        Some(match self {
            Self::CoverOpen => StatusBit::CoverOpened,
            Self::TerminalCoverOpen | Self::NeutralMissing => return None,
            Self::Magnet => StatusBit::Magnet,
            Self::CurrentReverseL1 => StatusBit::CurrentReverseL1,
            Self::CurrentReverseL2 => StatusBit::CurrentReverseL2,
            Self::CurrentReverseL3 => StatusBit::CurrentReverseL3,
            Self::NeutralDisturbance => StatusBit::NeutralDisturbance,
            Self::CurrentBypass => StatusBit::CurrentBypass,
            Self::MissingPotentialL1 => StatusBit::MissingVoltageL1,
            Self::MissingPotentialL2 => StatusBit::MissingVoltageL2,
            Self::MissingPotentialL3 => StatusBit::MissingVoltageL3,
            Self::OverCurrent => StatusBit::OverCurrent,
            Self::LowPowerFactor => StatusBit::LowPowerFactor,
            Self::CurrentUnbalance => StatusBit::CurrentUnbalance,
        })
    }

    /// The bit of the alarm registers. Several conditions share the fraud bit: clear it when none
    /// of them holds any more.
    pub const fn alarm_bit(self) -> Option<AlarmBit> {
        match self {
            Self::CoverOpen
            | Self::TerminalCoverOpen
            | Self::Magnet
            | Self::NeutralDisturbance
            | Self::CurrentBypass => Some(AlarmBit::Fraud),
            Self::CurrentReverseL1 | Self::CurrentReverseL2 | Self::CurrentReverseL3 => {
                Some(AlarmBit::CurrentReversal)
            }
            Self::NeutralMissing => Some(AlarmBit::MissingNeutral),
            Self::MissingPotentialL1 => Some(AlarmBit::MissingVoltageL1),
            Self::MissingPotentialL2 => Some(AlarmBit::MissingVoltageL2),
            Self::MissingPotentialL3 => Some(AlarmBit::MissingVoltageL3),
            Self::CurrentUnbalance => Some(AlarmBit::PhaseAsymmetry),
            Self::OverCurrent | Self::LowPowerFactor => None,
        }
    }
}

impl Disturbance {
    /// The event of IS 15959, which does not tell phases apart and logs a cut as missing
    /// potential.
    pub const fn indian_event(self, condition: Condition) -> Option<IndianEvent> {
        match (self, condition) {
            (Self::Sag, Condition::Present) => Some(IndianEvent::LowVoltage),
            (Self::Sag, Condition::Gone) => Some(IndianEvent::LowVoltageRestored),
            (Self::Swell, Condition::Present) => Some(IndianEvent::OverVoltage),
            (Self::Swell, Condition::Gone) => Some(IndianEvent::OverVoltageRestored),
            (Self::Unbalance, Condition::Present) => Some(IndianEvent::VoltageUnbalance),
            (Self::Unbalance, Condition::Gone) => Some(IndianEvent::VoltageUnbalanceRestored),
            (Self::Cut | Self::Distortion, _) => None,
        }
    }

    /// The event of IDIS on a phase, from 0; `None` for a phase that there is not.
    pub fn idis_event(self, phase: u8, condition: Condition) -> Option<IdisEvent> {
        use IdisEvent as Event;
        let by_phase = match (self, condition) {
            (Self::Sag, Condition::Present) => [
                Event::UnderVoltageL1,
                Event::UnderVoltageL2,
                Event::UnderVoltageL3,
            ],
            (Self::Swell, Condition::Present) => [
                Event::OverVoltageL1,
                Event::OverVoltageL2,
                Event::OverVoltageL3,
            ],
            (Self::Cut, Condition::Present) => [
                Event::MissingVoltageL1,
                Event::MissingVoltageL2,
                Event::MissingVoltageL3,
            ],
            (Self::Sag | Self::Swell | Self::Cut, Condition::Gone) => [
                Event::NormalVoltageL1,
                Event::NormalVoltageL2,
                Event::NormalVoltageL3,
            ],
            (Self::Distortion, Condition::Present) => [
                Event::BadVoltageL1,
                Event::BadVoltageL2,
                Event::BadVoltageL3,
            ],
            (Self::Unbalance, Condition::Present) => [Event::PhaseAsymmetry; 3],
            (Self::Distortion | Self::Unbalance, Condition::Gone) => return None,
        };
        by_phase.get(usize::from(phase)).copied()
    }
}

impl Cause {
    /// The event of IDIS for a transition of the load switch to `to` by this cause.
    pub const fn idis_event(self, to: ControlState) -> IdisEvent {
        match (self, to) {
            (Self::Remote, ControlState::ReadyForReconnection) => IdisEvent::ReadyForReconnection,
            (Self::Remote, ControlState::Disconnected) => IdisEvent::RemoteDisconnection,
            (Self::Remote | Self::Mode, ControlState::Connected) => IdisEvent::RemoteConnection,
            (Self::Manual, ControlState::Connected) => IdisEvent::ManualConnection,
            (Self::Local, ControlState::Connected) => IdisEvent::LocalConnection,
            (Self::Manual, ControlState::Disconnected | ControlState::ReadyForReconnection) => {
                IdisEvent::ManualDisconnection
            }
            (
                Self::Local | Self::Mode,
                ControlState::Disconnected | ControlState::ReadyForReconnection,
            ) => IdisEvent::LocalDisconnection,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_dlms::companion::{IdisLog, IndianLog};

    #[test]
    fn what_ends_is_the_code_after_what_began() {
        let tampers = Tamper::ALL.map(|tamper| {
            (
                tamper.indian_event(Condition::Present),
                tamper.indian_event(Condition::Gone),
            )
        });
        let disturbances = Disturbance::ALL.map(|disturbance| {
            (
                disturbance.indian_event(Condition::Present),
                disturbance.indian_event(Condition::Gone),
            )
        });
        let mut pairs = 0;
        for (began, ended) in tampers.into_iter().chain(disturbances) {
            if let (Some(began), Some(ended)) = (began, ended) {
                assert_eq!(ended.code(), began.code() + 1);
                pairs += 1;
            } else {
                assert!(
                    ended.is_none() && began.is_none_or(|e| e.log() == IndianLog::NonRollover),
                    "{began:?}"
                );
            }
        }
        assert_eq!(pairs, 16);
    }

    #[test]
    fn phases_count_in_their_order() {
        for disturbance in [
            Disturbance::Sag,
            Disturbance::Swell,
            Disturbance::Cut,
            Disturbance::Distortion,
        ] {
            let code = |phase| {
                disturbance
                    .idis_event(phase, Condition::Present)
                    .map(IdisEvent::code)
            };
            let first = code(0).unwrap();
            assert_eq!((code(1), code(2)), (Some(first + 1), Some(first + 2)));
            assert_eq!(code(3), None);
        }
    }

    #[test]
    fn fraud_goes_to_the_fraud_log_and_raises_its_alarm() {
        for tamper in Tamper::ALL {
            if tamper.is_fraud() {
                assert_eq!(tamper.alarm_bit(), Some(AlarmBit::Fraud), "{tamper:?}");
                let event = tamper.idis_event(Condition::Present);
                assert!(event.is_none_or(|event| event.log() == IdisLog::Fraud));
            }
        }
        for cause in [Cause::Remote, Cause::Manual, Cause::Local] {
            for to in [ControlState::Connected, ControlState::ReadyForReconnection] {
                assert_eq!(cause.idis_event(to).log(), IdisLog::Disconnector);
            }
        }
    }
}
