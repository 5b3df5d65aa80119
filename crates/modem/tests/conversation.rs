//! The driver and the emulated modem on one link, in virtual time.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::{Instant, Seed};
use gridloom_modem::{
    Behaviour, Cause, CmeCause, CmsCause, EmulatedModem, EmulatedOutput, Event, HaltReason,
    ModemDriver, Output, PIN_TRIES, PhoneNumber, Pin, Registration, RestartReason, SendError,
    SendFailure, SendFault, SmsText, Ticket, Timing,
};
use rand_core::Rng as _;

/// More steps than any conversation here needs; a livelock ends the test.
const STEPS_MAX: usize = 200_000;

struct Link {
    driver: ModemDriver,
    modem: EmulatedModem,
    now: Instant,
    events: Vec<Event>,
    /// Bytes delivered at once; small ones cut lines and prompts.
    chunk: usize,
    steps: usize,
    /// What the driver wrote, for what must never be written twice.
    written: String,
}

impl Link {
    fn new(pin: Option<&str>, behaviour: Behaviour) -> Self {
        let pin = pin.map(|pin| Pin::parse(pin).expect("a PIN"));
        let mut link = Self {
            driver: ModemDriver::new(pin, Timing::default()),
            modem: EmulatedModem::new(behaviour, Instant::ZERO),
            now: Instant::ZERO,
            events: Vec::new(),
            chunk: usize::MAX,
            steps: 0,
            written: String::new(),
        };
        link.driver.handle_opened(link.now);
        link.exchange();
        link
    }

    /// Carries bytes both ways until nobody has anything to say.
    fn exchange(&mut self) {
        let mut down: VecDeque<u8> = VecDeque::new();
        let mut up: VecDeque<u8> = VecDeque::new();
        loop {
            self.steps += 1;
            assert!(self.steps < STEPS_MAX, "the conversation does not end");
            while let Some(output) = self.driver.poll_output() {
                match output {
                    Output::Transmit(bytes) => {
                        self.written.push_str(&String::from_utf8_lossy(&bytes));
                        down.extend(bytes);
                    }
                    Output::Event(event) => self.events.push(event),
                }
            }
            while let Some(output) = self.modem.poll_output() {
                if let EmulatedOutput::Transmit(bytes) = output {
                    up.extend(bytes);
                }
            }
            if up.is_empty() && down.is_empty() {
                return;
            }
            let take = |queue: &mut VecDeque<u8>, chunk: usize| -> Vec<u8> {
                queue.drain(..queue.len().min(chunk)).collect()
            };
            let bytes = take(&mut up, self.chunk);
            self.driver.handle_bytes(&bytes, self.now);
            let bytes = take(&mut down, self.chunk);
            self.modem.handle_bytes(&bytes, self.now);
        }
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let next = [self.driver.poll_timeout(), self.modem.poll_timeout()]
                .into_iter()
                .flatten()
                .map(|(at, _)| at)
                .min();
            let Some(at) = next.filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            self.modem.handle_timeout(self.now);
            self.driver.handle_timeout(self.now);
            self.exchange();
        }
    }

    fn send(&mut self, text: &str) -> Ticket {
        let number = PhoneNumber::parse("+491701234567").expect("a number");
        let text = SmsText::parse(text).expect("a text");
        let sent = self.driver.send(number, &text, self.now);
        let ticket = sent.expect("the queue has room");
        self.exchange();
        ticket
    }

    fn sent(&self) -> Vec<String> {
        self.modem
            .sent()
            .map(|s| String::from_utf8(s.text.clone()).expect("ASCII"))
            .collect()
    }

    fn received(&self) -> Vec<&str> {
        self.events
            .iter()
            .filter_map(|event| {
                let Event::Received(sms) = event else {
                    return None;
                };
                Some(sms.text.as_str())
            })
            .collect()
    }

    fn has(&self, event: &Event) -> bool {
        self.events.contains(event)
    }

    fn restarts(&self) -> usize {
        self.events
            .iter()
            .filter(|e| matches!(e, Event::Restarting { .. }))
            .count()
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn with(change: impl FnOnce(&mut Behaviour)) -> Behaviour {
    let mut behaviour = Behaviour::default();
    change(&mut behaviour);
    behaviour
}

#[test]
fn a_text_goes_out_whatever_the_modem_is_like() {
    let text = "Meter 00BC614E bill 12.34 EUR @ $1_2";
    let cases = [
        ("plain", Behaviour::default(), 1_usize),
        ("echo", with(|b| b.echoes_always = true), 1),
        ("noise", with(|b| b.noise = b"\0\xff~}\r\n".to_vec()), 1),
        (
            "slow",
            with(|b| b.registers_after = Duration::from_secs(200)),
            1,
        ),
        (
            "roaming",
            with(|b| b.registration = Registration::Roaming),
            1,
        ),
        (
            "slow network",
            with(|b| b.sends_in = Duration::from_secs(50)),
            1,
        ),
        (
            "busy twice",
            with(|b| {
                b.send_faults = [
                    SendFault::Refused(Cause::Cms(CmsCause(42))),
                    SendFault::NoPrompt(Cause::Cms(CmsCause(314))),
                ]
                .into();
            }),
            1,
        ),
        (
            "mute prompt",
            with(|b| b.send_faults = [SendFault::MutePrompt].into()),
            1,
        ),
        (
            "bare error",
            with(|b| b.send_faults = [SendFault::Refused(Cause::Error)].into()),
            1,
        ),
        // At least once: what may be lost is sent again, and the event says so.
        (
            "lost confirmation",
            with(|b| b.send_faults = [SendFault::LostConfirmation].into()),
            2,
        ),
    ];
    for (name, behaviour, copies) in cases {
        for chunk in [1, 3, usize::MAX] {
            let mut link = Link::new(None, behaviour.clone());
            link.chunk = chunk;
            let ticket = link.send(text);
            link.run_for(10 * MINUTE);
            assert_eq!(link.sent(), vec![text; copies], "{name}, {chunk} at once");
            let repeated = copies > 1;
            let done = link.events.iter().any(|e| {
                matches!(e, Event::Sent { ticket: t, repeated: r, .. }
                    if *t == ticket && *r == repeated)
            });
            assert!(done, "{name}, {chunk} at once: {:?}", link.events);
            assert_eq!(link.driver.queued(), 0);
        }
    }
}

#[test]
fn a_modem_without_ira_is_driven_in_its_own_alphabet() {
    let mut link = Link::new(None, with(|b| b.knows_ira = false));
    link.send("a@b");
    let ticket = link.send("a[b");
    link.run_for(MINUTE);
    assert_eq!(link.sent(), ["a\0b"]);
    assert!(link.events.iter().any(|e| matches!(
        e,
        Event::Failed { ticket: t, failure: SendFailure::Text(_), .. } if *t == ticket
    )));
}

#[test]
fn a_text_that_reads_like_an_answer_is_confirmed_by_the_modem_alone() {
    for text in ["OK", "ERROR", "+CMGS: 9", "> "] {
        for echoes_always in [false, true] {
            let mut link = Link::new(None, with(|b| b.echoes_always = echoes_always));
            link.send(text);
            link.run_for(MINUTE);
            assert_eq!(link.sent(), [text]);
            assert_eq!(link.restarts(), 0, "{text} {echoes_always}");
            assert!(link.has(&Event::Sent {
                ticket: Ticket(0),
                references: vec![0],
                repeated: false,
            }));
        }
    }
}

#[test]
fn long_texts_go_out_in_order() {
    let mut link = Link::new(None, Behaviour::default());
    link.send(&"x".repeat(400));
    link.run_for(MINUTE);
    let starts: Vec<String> = link.sent().iter().map(|s| s[..4].to_owned()).collect();
    assert_eq!(starts, ["1/3 ", "2/3 ", "3/3 "]);
    assert!(link.has(&Event::Sent {
        ticket: Ticket(0),
        references: vec![0, 1, 2],
        repeated: false,
    }));
}

#[test]
fn refused_texts_fail_with_the_reason() {
    let cases = [
        (vec![SendFault::Refused(Cause::Cms(CmsCause(1)))], 1),
        (vec![SendFault::Refused(Cause::Cms(CmsCause(42))); 5], 5),
    ];
    for (faults, expected) in cases {
        let mut link = Link::new(None, with(|b| b.send_faults = faults.into()));
        link.send("x");
        link.run_for(10 * MINUTE);
        assert!(link.sent().is_empty());
        let attempts = link.events.iter().find_map(|e| {
            let Event::Failed {
                failure: SendFailure::Refused { attempts, .. },
                ..
            } = e
            else {
                return None;
            };
            Some(*attempts)
        });
        assert_eq!(attempts, Some(expected));
    }
}

#[test]
fn a_right_pin_opens_the_sim_and_a_power_cycle_needs_it_again() {
    let mut link = Link::new(Some("1234"), with(|b| b.pin = Some("1234".into())));
    link.run_for(MINUTE);
    assert!(link.has(&Event::Ready));
    link.modem.handle_power_cycle(link.now);
    link.send("x");
    link.run_for(5 * MINUTE);
    assert_eq!(link.sent(), ["x"]);
    assert_eq!(link.modem.pin_tries(), PIN_TRIES);
}

#[test]
fn a_wrong_pin_is_tried_once_whatever_happens_then() {
    let mut link = Link::new(Some("9999"), with(|b| b.pin = Some("1234".into())));
    let wrong = HaltReason::PinRefused(Cause::Cme(CmeCause::INCORRECT_PASSWORD));
    assert!(link.has(&Event::Halted(wrong.clone())));
    for _ in 0..5 {
        link.driver.handle_lost(link.now);
        link.modem.handle_power_cycle(link.now);
        link.driver.handle_opened(link.now);
        link.exchange();
        link.run_for(10 * MINUTE);
    }
    assert_eq!(link.modem.pin_tries(), PIN_TRIES - 1);
    let number = PhoneNumber::parse("110").unwrap();
    let text = SmsText::parse("x").unwrap();
    assert_eq!(
        link.driver.send(number, &text, link.now),
        Err(SendError::Halted(wrong))
    );
    link.driver
        .handle_pin(Pin::parse("1234").unwrap(), link.now);
    link.exchange();
    link.run_for(MINUTE);
    assert!(link.has(&Event::Ready));
}

#[test]
fn a_pin_without_an_answer_is_not_repeated() {
    let pin = Some(Pin::parse("9999").unwrap());
    let mut driver = ModemDriver::new(pin, Timing::default());
    let mut modem = EmulatedModem::new(with(|b| b.pin = Some("1234".into())), Instant::ZERO);
    let mut now = Instant::ZERO;
    let mut entries = 0;
    let mut halted = None;
    driver.handle_opened(now);
    for _ in 0..1_000 {
        let mut down = Vec::new();
        while let Some(output) = driver.poll_output() {
            match output {
                Output::Transmit(bytes) => down.push(bytes),
                Output::Event(Event::Halted(reason)) => halted = Some(reason),
                Output::Event(_) => {}
            }
        }
        let mut up = Vec::new();
        for bytes in down {
            let entry = bytes.starts_with(b"AT+CPIN=");
            entries += u32::from(entry);
            modem.handle_bytes(&bytes, now);
            while let Some(output) = modem.poll_output() {
                if let EmulatedOutput::Transmit(bytes) = output
                    && !entry
                {
                    up.extend(bytes);
                }
            }
        }
        if !up.is_empty() {
            driver.handle_bytes(&up, now);
        } else if let Some((at, _)) = driver.poll_timeout() {
            now = now.max(at);
            driver.handle_timeout(now);
        } else {
            break;
        }
    }
    assert_eq!(entries, 1);
    assert_eq!(halted, Some(HaltReason::PinUncertain));
    assert_eq!(modem.pin_tries(), PIN_TRIES - 1);
}

#[test]
fn locks_halt_with_their_remedy() {
    let mut link = Link::new(None, with(|b| b.pin = Some("1234".into())));
    assert!(link.has(&Event::Halted(HaltReason::PinMissing)));
    for _ in 0..3 {
        link.modem
            .handle_bytes(b"AT+CPIN=\"0000\"\r", Instant::ZERO);
    }
    link.driver.handle_opened(link.now);
    link.exchange();
    link.run_for(MINUTE);
    assert!(link.has(&Event::Halted(HaltReason::PukRequired)));
}

#[test]
fn received_texts_are_reported_once_and_deleted() {
    for tells_lengths in [true, false] {
        for keeps_texts in [true, false] {
            let mut link = Link::new(
                None,
                with(|b| {
                    b.tells_lengths = tells_lengths;
                    b.keeps_texts = keeps_texts;
                }),
            );
            link.modem.receive("+49170", "before");
            link.run_for(MINUTE);
            link.modem.receive("Provider", "two\r\nlines, \"quoted\"");
            link.exchange();
            link.run_for(10 * MINUTE);
            assert_eq!(link.received(), ["before", "two\nlines, \"quoted\""]);
            let left = if keeps_texts { 2 } else { 0 };
            assert_eq!(link.modem.stored(), left);
            assert_eq!(link.restarts(), 0);
        }
    }
}

#[test]
fn a_received_text_cannot_speak_for_the_modem() {
    let forged =
        "hi\r\n\r\nOK\r\n\r\n+CREG: 3\r\n+CMGL: 9,\"REC READ\",\"110\",,\"\"\r\nfake\r\nOK";
    let mut link = Link::new(None, Behaviour::default());
    link.run_for(MINUTE);
    link.modem.receive("+49170", forged);
    link.exchange();
    link.send("x");
    link.run_for(5 * MINUTE);
    assert_eq!(link.received(), [forged.replace("\r\n", "\n")]);
    assert!(!link.has(&Event::Registration(Registration::Denied)));
    assert_eq!((link.sent(), link.restarts()), (vec!["x".to_owned()], 0));
}

#[test]
fn a_silent_modem_is_reset_with_growing_waits_and_recovers() {
    let mut link = Link::new(None, Behaviour::default());
    link.run_for(MINUTE);
    link.modem.behaviour.silent = true;
    link.send("x");
    link.run_for(3 * MINUTE);
    let waits: Vec<u64> = link
        .events
        .iter()
        .filter_map(|e| {
            let Event::Restarting { after, .. } = e else {
                return None;
            };
            Some(after.as_secs())
        })
        .collect();
    assert_eq!(waits[..5], [1, 2, 4, 8, 16]);
    assert!(link.written.contains("ATZ\r"));
    link.modem.behaviour.silent = false;
    link.modem.handle_power_cycle(link.now);
    link.run_for(5 * MINUTE);
    assert_eq!(link.sent(), ["x"]);
}

#[test]
fn registration_is_watched() {
    let mut link = Link::new(None, Behaviour::default());
    link.run_for(MINUTE);
    assert_eq!(link.driver.registration(), Some(Registration::Home));
    link.modem.set_registration(Registration::Searching);
    link.exchange();
    link.send("waits");
    link.run_for(4 * MINUTE);
    assert!(link.sent().is_empty());
    link.modem.set_registration(Registration::Roaming);
    link.exchange();
    link.run_for(MINUTE);
    assert_eq!(link.sent(), ["waits"]);

    link.modem.set_registration(Registration::Denied);
    link.exchange();
    link.run_for(6 * MINUTE);
    assert!(link.events.iter().any(|e| matches!(
        e,
        Event::Restarting {
            reason: RestartReason::NotRegistered(_),
            ..
        }
    )));
}

#[test]
fn a_text_that_waits_a_day_expires() {
    let mut link = Link::new(None, with(|b| b.registration = Registration::Denied));
    let ticket = link.send("old");
    link.run_for(25 * 60 * MINUTE);
    assert!(link.has(&Event::Failed {
        ticket,
        parts_sent: 0,
        failure: SendFailure::Expired,
    }));
    assert!(link.sent().is_empty());
}

#[test]
fn calls_are_told() {
    let mut link = Link::new(None, Behaviour::default());
    link.run_for(MINUTE);
    link.modem.ring();
    link.exchange();
    assert!(link.has(&Event::IncomingCall));
}

/// Feeds a driver that is at any point of its work, and answers every deadline.
fn survive(driver: &mut ModemDriver, now: &mut Instant, bytes: &[u8]) {
    driver.handle_bytes(bytes, *now);
    while driver.poll_output().is_some() {}
    if let Some((at, _)) = driver.poll_timeout() {
        *now = (*now).max(at);
        driver.handle_timeout(*now);
        while driver.poll_output().is_some() {}
    }
}

#[test]
fn no_garbage_stops_the_driver() {
    const WORDS: [&[u8]; 16] = [
        b"\r\nOK\r\n",
        b"\r\nERROR\r\n",
        b"> ",
        b"\r\n> ",
        b"+CPIN: READY\r\n",
        b"+CPIN: SIM PIN\r\n",
        b"+CREG: 1,1\r\n",
        b"+CREG: 3\r\n",
        b"+CMGS: 7\r\n",
        b"+CMS ERROR: 42\r\n",
        b"+CME ERROR: 16\r\n",
        b"+CMTI: \"SM\",1\r\n",
        b"+CMGL: 1,\"REC UNREAD\",\"110\",,\"\",145,5\r\n",
        b"+CMGL: 2,\"REC UNREAD\",\"110\"\r\nbody\r\n",
        b"+CSQ: 9,9\r\n",
        b"RING\r\n",
    ];
    for seed in 0..200 {
        let mut rng = Seed::new(seed).child("modem garbage").rng();
        let pin = Some(Pin::parse("1234").unwrap());
        let mut driver = ModemDriver::new(pin, Timing::default());
        let mut now = Instant::ZERO;
        driver.handle_opened(now);
        while driver.poll_output().is_some() {}
        for _ in 0..400 {
            let draw = usize::try_from(rng.next_u32()).unwrap();
            if draw.is_multiple_of(7) {
                let number = PhoneNumber::parse("110").unwrap();
                let text = SmsText::parse("x").unwrap();
                // Full and halted are answers too.
                let _ = driver.send(number, &text, now);
                while driver.poll_output().is_some() {}
            }
            let mut noise = vec![0; draw % 40];
            rng.fill_bytes(&mut noise);
            survive(&mut driver, &mut now, WORDS[draw % WORDS.len()]);
            if draw.is_multiple_of(3) {
                survive(&mut driver, &mut now, &noise);
            }
        }
    }
}

#[test]
fn no_garbage_stops_the_emulated_modem() {
    for seed in 0..100 {
        let mut rng = Seed::new(seed).child("terminal garbage").rng();
        let mut modem = EmulatedModem::new(Behaviour::default(), Instant::ZERO);
        for step in 0..200_u64 {
            let now = Instant::from_nanos(step * 1_000_000_000);
            let mut bytes = vec![0; usize::try_from(rng.next_u32() % 64).unwrap()];
            rng.fill_bytes(&mut bytes);
            modem.handle_bytes(b"AT+CMG", now);
            modem.handle_bytes(&bytes, now);
            modem.handle_timeout(now);
            while modem.poll_output().is_some() {}
        }
    }
}

#[test]
fn the_corpus_is_survived() {
    let folder = "fuzz-corpus/at";
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        count += 1;
        for chunk in [1, usize::MAX] {
            let mut driver = ModemDriver::new(None, Timing::default());
            let mut modem = EmulatedModem::new(Behaviour::default(), Instant::ZERO);
            let mut now = Instant::ZERO;
            driver.handle_opened(now);
            while driver.poll_output().is_some() {}
            for piece in bytes.chunks(chunk.min(bytes.len().max(1))) {
                survive(&mut driver, &mut now, piece);
                modem.handle_bytes(piece, now);
                while modem.poll_output().is_some() {}
            }
        }
    }
    assert!(count >= 8, "the corpus has its files");
}
