//! A GSM modem on the AT interface, both ends of the wire, without any IO: what to write, what it
//! answered, and when to give up.
//!
//! [`ModemDriver`] brings a modem up, keeps it registered and sends and collects texts;
//! [`EmulatedModem`] is its peer, for tests and for systems without a modem. Both follow the house
//! contract: feed them bytes and time, drain `poll_output`, come back at `poll_timeout`.
//!
//! Standards: 3GPP TS 27.005 (texts, text mode), TS 27.007 (PIN, registration, errors),
//! TS 23.038 (alphabet), ITU-T V.250 (command lines).
//!
//! Invariants:
//!
//! - A PIN that may have been wrong is never sent a second time by the same driver.
//! - No text or number can end a command or a message early: both are checked types.
//! - No character is changed silently: a text is refused, or the caller is told what was replaced.
//! - A received text is deleted from the modem only after its event stands in the output, and is
//!   reported once even if the modem fails to delete it.
//! - Every queue, line, retry and wait is bounded; the bound says what happens there.

mod alphabet;
mod backoff;
mod cause;
mod command;
mod driver;
mod emulated;
mod event;
mod inbox;
mod line;
mod message;
mod number;
mod outgoing;
mod reply;

pub use alphabet::{Charset, PART_SEPTETS_MAX, PARTS_MAX, Replaced, SmsText, TextError};
pub use cause::{Cause, CmeCause, CmsCause, HaltReason};
pub use driver::ModemDriver;
pub use emulated::{
    Behaviour, EmulatedModem, EmulatedOutput, INBOX_MAX, OUTBOX_MAX, PIN_TRIES, SendFault, SentSms,
};
pub use event::{Event, Output, ReceivedSms, RestartReason, Timing};
pub use message::{Alert, AlertLevel, ReadingNotice};
pub use number::{NumberError, PhoneNumber, Pin, PinError, Sender};
pub use outgoing::{AGE_MAX, ATTEMPTS_MAX, QUEUE_MAX, SendError, SendFailure, Ticket};
pub use reply::{Registration, Signal};
