//! The texts that wait to be sent, and what becomes of them.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::Instant;

use crate::alphabet::{SmsText, TextError};
use crate::backoff::Backoff;
use crate::cause::Cause;
use crate::cause::HaltReason;
use crate::number::PhoneNumber;

/// Texts in the queue. One more is refused to its caller, who knows whether it matters.
pub const QUEUE_MAX: usize = 64;
/// Attempts per part of a text. The last failure is the text's failure.
pub const ATTEMPTS_MAX: u32 = 5;
/// Time a text may wait. After it the text fails: old readings and alerts mislead.
pub const AGE_MAX: Duration = Duration::from_secs(86_400);

const RETRY: Backoff = Backoff {
    first: Duration::from_secs(5),
    longest: Duration::from_secs(300),
};

/// Names a text from `send` to its event; never used again by the same driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Why a text was not even queued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The queue is full.
    #[error("text queue: {QUEUE_MAX} texts are waiting; send again later or check the modem")]
    QueueFull,
    /// The modem waits for an operator.
    #[error("modem is halted: {0}")]
    Halted(HaltReason),
}

/// Why a queued text failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendFailure {
    /// The modem or the network refused it for good, or too often.
    #[error("text refused after {attempts} attempts: {cause}")]
    Refused {
        /// In its words.
        cause: Cause,
        /// Attempts on the part that failed.
        attempts: u32,
    },
    /// The modem stopped answering on every attempt. The text may have been sent.
    #[error("modem did not confirm the text in {attempts} attempts; it may have been sent")]
    Unconfirmed {
        /// Attempts on the part that failed.
        attempts: u32,
    },
    /// The modem never asked for the text.
    #[error("modem did not ask for the text in {attempts} attempts; nothing was sent")]
    NoPrompt {
        /// Attempts on the part that failed.
        attempts: u32,
    },
    /// The modem speaks a character set that lacks a character of the text.
    #[error(transparent)]
    Text(#[from] TextError),
    /// It waited too long.
    #[error("text waited a day without being sent; check registration and signal")]
    Expired,
}

/// A text between `send` and its event.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) ticket: Ticket,
    pub(crate) number: PhoneNumber,
    pub(crate) references: Vec<u8>,
    /// A part may have been sent more than once.
    pub(crate) repeated: bool,
    parts: Vec<SmsText>,
    attempts: u32,
    not_before: Instant,
    queued_at: Instant,
}

impl Outgoing {
    /// The part to send next.
    pub(crate) fn part(&self) -> &SmsText {
        self.parts
            .get(self.references.len())
            .expect("a text leaves the queue with its last part")
    }
}

/// How an attempt went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptError {
    Refused(Cause),
    /// No prompt: nothing of the text was written.
    NoPrompt,
    /// No answer although the whole text was written.
    Unconfirmed,
}

/// The queue. At most one text is under way; the driver knows which.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    texts: VecDeque<Outgoing>,
    next_ticket: u64,
}

impl Queue {
    pub(crate) fn push(
        &mut self,
        number: PhoneNumber,
        text: &SmsText,
        now: Instant,
    ) -> Result<Ticket, SendError> {
        if self.texts.len() >= QUEUE_MAX {
            return Err(SendError::QueueFull);
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.texts.push_back(Outgoing {
            ticket,
            number,
            references: Vec::new(),
            repeated: false,
            parts: text.parts(),
            attempts: 0,
            not_before: now,
            queued_at: now,
        });
        Ok(ticket)
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(crate) fn get(&self, ticket: Ticket) -> &Outgoing {
        self.texts
            .iter()
            .find(|t| t.ticket == ticket)
            .expect("a text under way stays queued")
    }

    /// The first text whose wait is over.
    pub(crate) fn due(&self, now: Instant) -> Option<&Outgoing> {
        self.texts.iter().find(|t| t.not_before <= now)
    }

    /// When a text's wait is over.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.texts.iter().map(|t| t.not_before).min()
    }

    /// When the oldest text expires.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        self.texts.iter().map(|t| t.queued_at + AGE_MAX).min()
    }

    /// A part went out; gives the text back when it was the last.
    pub(crate) fn part_sent(&mut self, ticket: Ticket, reference: u8) -> Option<Outgoing> {
        let position = self.position(ticket);
        let text = &mut self.texts[position];
        text.references.push(reference);
        text.attempts = 0;
        if text.references.len() == text.parts.len() {
            return self.texts.remove(position);
        }
        None
    }

    /// An attempt failed; gives the text back when it was the last.
    pub(crate) fn attempt_failed(
        &mut self,
        ticket: Ticket,
        error: AttemptError,
        now: Instant,
    ) -> Option<(Outgoing, SendFailure)> {
        let position = self.position(ticket);
        let text = &mut self.texts[position];
        text.attempts += 1;
        let attempts = text.attempts;
        text.not_before = now + RETRY.after(attempts);
        let (again, failure) = match error {
            AttemptError::Refused(cause) => (
                cause.is_transient(),
                SendFailure::Refused { cause, attempts },
            ),
            AttemptError::NoPrompt => (true, SendFailure::NoPrompt { attempts }),
            AttemptError::Unconfirmed => (true, SendFailure::Unconfirmed { attempts }),
        };
        if again && attempts < ATTEMPTS_MAX {
            // An alert twice is better than none; the event tells.
            text.repeated |= error == AttemptError::Unconfirmed;
            return None;
        }
        self.texts.remove(position).map(|text| (text, failure))
    }

    /// Takes a text out that cannot be sent at all.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Outgoing {
        let position = self.position(ticket);
        self.texts
            .remove(position)
            .expect("position is in the queue")
    }

    /// Takes one text out that waited too long and is not under way.
    pub(crate) fn expire(&mut self, now: Instant, under_way: Option<Ticket>) -> Option<Outgoing> {
        let position = self
            .texts
            .iter()
            .position(|t| t.queued_at + AGE_MAX <= now && Some(t.ticket) != under_way)?;
        self.texts.remove(position)
    }

    fn position(&self, ticket: Ticket) -> usize {
        self.texts
            .iter()
            .position(|t| t.ticket == ticket)
            .expect("a text under way stays queued")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::CmsCause;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn queue_of(text: &str) -> (Queue, Ticket) {
        let mut queue = Queue::default();
        let number = PhoneNumber::parse("+49170").unwrap();
        let text = SmsText::parse(text).unwrap();
        let ticket = queue.push(number, &text, at(0)).unwrap();
        (queue, ticket)
    }

    #[test]
    fn a_full_queue_refuses() {
        let (mut queue, _) = queue_of("a");
        let number = PhoneNumber::parse("110").unwrap();
        let text = SmsText::parse("b").unwrap();
        for _ in 1..QUEUE_MAX {
            queue.push(number.clone(), &text, at(0)).unwrap();
        }
        assert_eq!(queue.push(number, &text, at(0)), Err(SendError::QueueFull));
    }

    #[test]
    fn transient_failures_wait_longer_and_end() {
        let (mut queue, ticket) = queue_of("a");
        let busy = AttemptError::Refused(Cause::Cms(CmsCause(42)));
        for (attempt, wait) in [(1, 5), (2, 10), (3, 20), (4, 40)] {
            assert!(queue.attempt_failed(ticket, busy, at(0)).is_none());
            assert!(queue.due(at(wait - 1)).is_none(), "{attempt}");
            assert!(queue.due(at(wait)).is_some(), "{attempt}");
        }
        let (_, failure) = queue.attempt_failed(ticket, busy, at(0)).unwrap();
        let expected = SendFailure::Refused {
            cause: Cause::Cms(CmsCause(42)),
            attempts: ATTEMPTS_MAX,
        };
        assert_eq!(failure, expected);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_permanent_failure_ends_at_once() {
        let (mut queue, ticket) = queue_of("a");
        let cause = Cause::Cms(CmsCause(1));
        let (_, failure) = queue
            .attempt_failed(ticket, AttemptError::Refused(cause), at(0))
            .unwrap();
        assert_eq!(failure, SendFailure::Refused { cause, attempts: 1 });
    }

    #[test]
    fn parts_go_one_by_one_and_old_texts_expire() {
        let (mut queue, ticket) = queue_of(&"a".repeat(200));
        assert!(queue.get(ticket).part().as_str().starts_with("1/2 "));
        assert!(queue.part_sent(ticket, 7).is_none());
        assert!(queue.get(ticket).part().as_str().starts_with("2/2 "));
        assert!(queue.expire(at(86_399), None).is_none());
        assert!(queue.expire(at(86_400), Some(ticket)).is_none());
        let old = queue.expire(at(86_400), None).unwrap();
        assert_eq!(old.references, [7]);
    }
}
