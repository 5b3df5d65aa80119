//! Received texts between the modem's memory and their events.
//!
//! A body of known length is taken byte by byte, so a text cannot pose as an answer of the modem.
//! From a modem that does not tell lengths (no `AT+CSDH`) a line `OK` in a text ends the listing:
//! text mode cannot tell the two apart. The rest of such a text is then read as answers, and may
//! even confirm a text of ours that never left. Use a modem that has `AT+CSDH`.

use std::collections::{BTreeMap, VecDeque};

use crate::alphabet::Charset;
use crate::event::ReceivedSms;
use crate::line::LINE_MAX;
use crate::reply::ListHead;

/// Texts taken from one listing. The rest stays in the modem until these are deleted.
pub(crate) const MESSAGES_MAX: usize = 64;

/// Characters kept of one text. A longer one is cut and marked incomplete.
pub(crate) const BODY_MAX: usize = LINE_MAX;

/// What a listing holds so far, what was reported, and what is to be deleted.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    listed: Vec<ReceivedSms>,
    /// Whether body lines still belong to the last listed text.
    open: bool,
    /// A message that is not reported is being listed: one stored for sending, or one too many.
    skipping: bool,
    cut: bool,
    /// Reported, and perhaps still in the modem.
    delivered: BTreeMap<u16, ReceivedSms>,
    deletions: VecDeque<u16>,
}

impl Inbox {
    /// Forgets an unfinished listing; what was reported is remembered.
    pub(crate) fn begin(&mut self) {
        self.listed.clear();
        self.open = false;
        self.skipping = false;
        self.cut = false;
        self.deletions.clear();
    }

    /// Takes the head of the next message.
    pub(crate) fn head(&mut self, head: ListHead) {
        self.open = true;
        let room = self.listed.len() < MESSAGES_MAX;
        self.cut |= head.received && !room;
        self.skipping = !head.received || !room;
        if !self.skipping {
            self.listed.push(ReceivedSms {
                index: head.index,
                sender: head.sender,
                sent_at: head.sent_at,
                text: String::new(),
                complete: true,
            });
        }
    }

    /// Takes a body line, or what follows a counted body.
    pub(crate) fn line(&mut self, bytes: &[u8], charset: Charset) {
        let text = charset.decode(bytes);
        let newline = self
            .current()
            .is_some_and(|message| !message.text.is_empty());
        if newline {
            self.append("\n");
        }
        self.append(&text);
    }

    /// Takes a counted body.
    pub(crate) fn body(&mut self, bytes: &[u8], charset: Charset) {
        let text = charset.decode(bytes).replace("\r\n", "\n");
        self.append(&text);
        self.open = false;
    }

    /// A line of the body was too long for the reader.
    pub(crate) fn overlong(&mut self) {
        if let Some(message) = self.current() {
            message.complete = false;
        }
    }

    /// The listing is complete: gives what is new, and plans the deletions. `true` if the modem
    /// holds more.
    pub(crate) fn finish(&mut self) -> (Vec<ReceivedSms>, bool) {
        let listed = core::mem::take(&mut self.listed);
        if !self.cut {
            self.delivered
                .retain(|index, _| listed.iter().any(|m| m.index == *index));
        }
        let mut news = Vec::new();
        for message in listed {
            self.deletions.push_back(message.index);
            if self.delivered.get(&message.index) != Some(&message) {
                self.delivered.insert(message.index, message.clone());
                news.push(message);
            }
        }
        // Past this only messages that cannot be deleted are left; the oldest may repeat.
        while self.delivered.len() > 2 * MESSAGES_MAX {
            self.delivered.pop_first();
        }
        let more = self.cut && !news.is_empty();
        (news, more)
    }

    /// The next message to delete.
    pub(crate) fn next_deletion(&mut self) -> Option<u16> {
        self.deletions.pop_front()
    }

    /// The modem deleted a message.
    pub(crate) fn deleted(&mut self, index: u16) {
        self.delivered.remove(&index);
    }

    fn current(&mut self) -> Option<&mut ReceivedSms> {
        if self.skipping {
            return None;
        }
        self.listed.last_mut()
    }

    fn append(&mut self, text: &str) {
        if let Some(message) = self.current() {
            let room = BODY_MAX.saturating_sub(message.text.chars().count());
            message.complete &= text.chars().count() <= room;
            message.text.extend(text.chars().take(room));
        }
    }

    /// Whether lines are body until the next head or result.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::Sender;

    fn head(index: u16, received: bool) -> ListHead {
        ListHead {
            index,
            received,
            sender: Sender("110".into()),
            sent_at: String::new(),
            length: None,
        }
    }

    fn list(inbox: &mut Inbox, messages: &[(u16, &str)]) -> Vec<String> {
        inbox.begin();
        for (index, text) in messages {
            inbox.head(head(*index, true));
            inbox.line(text.as_bytes(), Charset::Ira);
        }
        inbox.finish().0.into_iter().map(|m| m.text).collect()
    }

    #[test]
    fn a_message_that_stays_is_reported_once() {
        let mut inbox = Inbox::default();
        assert_eq!(list(&mut inbox, &[(1, "a"), (2, "b")]), ["a", "b"]);
        assert_eq!(inbox.next_deletion(), Some(1));
        assert_eq!(list(&mut inbox, &[(1, "a"), (2, "c")]), ["c"]);
        inbox.deleted(1);
        assert_eq!(list(&mut inbox, &[(1, "a")]), ["a"]);
    }

    #[test]
    fn messages_stored_for_sending_are_left_alone() {
        let mut inbox = Inbox::default();
        inbox.begin();
        inbox.head(head(4, false));
        inbox.line(b"draft", Charset::Ira);
        assert_eq!(inbox.finish(), (vec![], false));
        assert_eq!(inbox.next_deletion(), None);
    }

    #[test]
    fn a_full_memory_is_taken_in_bounded_steps() {
        let mut inbox = Inbox::default();
        inbox.begin();
        for index in 0..100 {
            inbox.head(head(index, true));
            inbox.line(b"x", Charset::Ira);
        }
        let (news, more) = inbox.finish();
        assert_eq!((news.len(), more), (MESSAGES_MAX, true));
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let mut inbox = Inbox::default();
        inbox.begin();
        inbox.head(head(1, true));
        inbox.line(&[b'x'; BODY_MAX], Charset::Ira);
        inbox.line(b"y", Charset::Ira);
        let (news, _) = inbox.finish();
        assert_eq!(news[0].text.len(), BODY_MAX);
        assert!(!news[0].complete);
    }
}
