//! What the driver says, and the order in which it sets a modem up.

use crate::alphabet::Charset;
use crate::cause::Cause;
use crate::number::Pin;
use crate::outgoing::Ticket;

/// A command under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Reset,
    Probe,
    EchoOff,
    NumericErrors,
    PinQuery,
    PinEnter,
    TextMode,
    SetCharset(Charset),
    TextDetails,
    Indications,
    RegistrationReports,
    RegistrationQuery,
    SignalQuery,
    List,
    Delete(u16),
    Send { ticket: Ticket, stage: SendStage },
    Cancel(Ticket),
}

/// What a text under way waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendStage {
    /// The prompt: the modem was given the number.
    Prompt,
    /// The network's reference: the modem was given the text.
    Reference,
    /// The end of the command: the network took the text under this reference.
    Result(u8),
}

impl Command {
    /// The command without parameters, for messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Reset => "ATZ",
            Self::Probe => "AT",
            Self::EchoOff => "ATE0",
            Self::NumericErrors => "AT+CMEE=1",
            Self::PinQuery => "AT+CPIN?",
            Self::PinEnter => "AT+CPIN",
            Self::TextMode => "AT+CMGF=1",
            Self::SetCharset(_) => "AT+CSCS",
            Self::TextDetails => "AT+CSDH=1",
            Self::Indications => "AT+CNMI=2,1,0,0,0",
            Self::RegistrationReports => "AT+CREG=1",
            Self::RegistrationQuery => "AT+CREG?",
            Self::SignalQuery => "AT+CSQ",
            Self::List => "AT+CMGL=\"ALL\"",
            Self::Delete(_) => "AT+CMGD",
            Self::Send { .. } => "AT+CMGS",
            Self::Cancel(_) => "ESC",
        }
    }

    /// The command line without its CR, for commands whose parameters are their own.
    pub(crate) fn line(self, pin: Option<&Pin>) -> String {
        let name = self.name();
        match self {
            Self::PinEnter => {
                let pin = pin.expect("a PIN is entered only when there is one");
                format!("{name}=\"{}\"", pin.digits())
            }
            Self::SetCharset(charset) => format!("{name}=\"{}\"", charset.name()),
            Self::Delete(index) => format!("{name}={index}"),
            Self::Reset
            | Self::Probe
            | Self::EchoOff
            | Self::NumericErrors
            | Self::PinQuery
            | Self::TextMode
            | Self::TextDetails
            | Self::Indications
            | Self::RegistrationReports
            | Self::RegistrationQuery
            | Self::SignalQuery
            | Self::List
            | Self::Send { .. }
            | Self::Cancel(_) => name.to_owned(),
        }
    }

    /// What comes next in the set-up after this command ended; an error where it was needed.
    ///
    /// `None` after the last, and for commands that are not part of the straight way.
    pub(crate) fn next_in_setup(self, result: Result<(), Cause>) -> Result<Option<Self>, Cause> {
        let next = match self {
            // A modem without a stored profile refuses ATZ and works all the same.
            Self::Reset => Self::Probe,
            Self::Probe => {
                result?;
                Self::EchoOff
            }
            // Echo is tolerated, bare ERROR too, and what is not told is polled.
            Self::EchoOff => Self::NumericErrors,
            Self::NumericErrors => Self::PinQuery,
            Self::TextMode => {
                result?;
                Self::SetCharset(Charset::Ira)
            }
            Self::SetCharset(Charset::Ira) if result.is_err() => Self::SetCharset(Charset::Gsm),
            Self::SetCharset(_) => {
                result?;
                Self::TextDetails
            }
            Self::TextDetails => Self::Indications,
            Self::Indications => Self::RegistrationReports,
            Self::RegistrationReports => {
                result?;
                Self::RegistrationQuery
            }
            Self::RegistrationQuery => {
                result?;
                Self::SignalQuery
            }
            Self::SignalQuery
            | Self::PinQuery
            | Self::PinEnter
            | Self::List
            | Self::Delete(_)
            | Self::Send { .. }
            | Self::Cancel(_) => return Ok(None),
        };
        Ok(Some(next))
    }
}
