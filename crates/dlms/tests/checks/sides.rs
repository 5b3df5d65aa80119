//! What holds for either side of an association, whatever the other one says. The bytes are a
//! script: honest steps, hostile APDUs, and hostile APDUs under the right keys.

#[path = "../link/mod.rs"]
mod link;

use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{ClientConfig, ClientOutput, Request, ServiceForm, Signing};
use gridloom_dlms::counter::CounterError;
use gridloom_dlms::security::{
    CipheredApdu, GeneralCiphering, GeneralKey, GeneralSigning, SecurityControl, SecuritySuite,
};

use link::{ECHO, ENERGY, HEAD_END, LONG, Link, METER, SECRET};

/// Steps of one script; the rest of the bytes is not looked at.
const STEPS_MAX: usize = 48;

/// APDUs that a client may send for one step: a long value in its smallest blocks.
const SENT_PER_STEP_MAX: usize = 400;

/// Reads a script.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An APDU to seal: one always has a tag.
    fn plain(&mut self) -> Vec<u8> {
        let mut bytes = self.bytes();
        if bytes.is_empty() {
            bytes.push(0xC0);
        }
        bytes
    }

    /// As many of the next bytes as the first of them says.
    fn bytes(&mut self) -> Vec<u8> {
        let len = usize::from(self.byte().unwrap_or_default()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes.to_vec()
    }
}

/// A client and a meter; the highest kinds have all keys of each other.
fn link_of(kind: u8) -> Link {
    let keys = [
        GeneralKey::Unicast,
        GeneralKey::Wrapped,
        GeneralKey::OnePass,
        GeneralKey::Static,
    ];
    let Some(equipped) = kind.checked_sub(0xF0).map(usize::from) else {
        return Link::of(config_of(kind));
    };
    let signing = [Signing::None, Signing::Requests, Signing::Both];
    link::ring::link_of(
        SecuritySuite::Suite1,
        ServiceForm::Ciphering(keys[equipped % keys.len()]),
        signing[equipped / keys.len() % signing.len()],
    )
}

fn config_of(kind: u8) -> ClientConfig {
    match kind % 7 {
        0 => link::public(),
        1 => link::reader(),
        2 => link::ciphered_reader(),
        3 => link::manager(),
        4 => link::manager_with(ServiceForm::General, false),
        5 => link::manager_with(ServiceForm::Service, true),
        _ => link::manager_with(ServiceForm::General, true),
    }
}

/// Flips, cuts or lengthens one of the APDUs said so far.
fn altered(said: &[Vec<u8>], script: &mut Script<'_>) -> Option<Vec<u8>> {
    let which = usize::from(script.byte()?) % said.len().max(1);
    let mut apdu = said.get(which)?.clone();
    let (at, value) = (usize::from(script.byte()?), script.byte()?);
    match value % 3 {
        0 => apdu.truncate(at % (apdu.len() + 1)),
        1 => apdu.insert(at % (apdu.len() + 1), value),
        _ => {
            let at = at % apdu.len().max(1);
            if let Some(byte) = apdu.get_mut(at) {
                *byte ^= value | 1;
            }
        }
    }
    Some(apdu)
}

/// Whether the client has neither an association nor a question under way.
fn may_open(link: &Link) -> bool {
    !link.client.is_open() && link.client.wake().is_none()
}

/// A client that still waits for an earlier answer cannot ask again.
fn ask_honestly(link: &mut Link, request: Request) {
    if link.client.is_open() {
        link.client.request(request, link.now);
        link.run();
    }
}

fn honest_step(link: &mut Link, op: u8) {
    match op {
        0 => {
            if may_open(link) {
                link.open();
            }
        }
        1 => ask_honestly(
            link,
            Request::Get {
                attribute: ENERGY,
                access: None,
            },
        ),
        2 => ask_honestly(
            link,
            Request::Get {
                attribute: LONG,
                access: None,
            },
        ),
        3 => ask_honestly(
            link,
            Request::GetList(vec![(ENERGY, None), (SECRET, None), (LONG, None)]),
        ),
        4 => ask_honestly(
            link,
            Request::Invoke {
                method: ECHO,
                parameters: Some(Data::OctetString(link::octets(700))),
            },
        ),
        5 => {
            if link.client.is_open() {
                link.release();
            }
        }
        _ => {
            link.run_out();
        }
    }
}

/// What is inside a signature; nobody looks whether it verifies.
fn inside(apdu: &[u8]) -> &[u8] {
    GeneralSigning::decode(apdu).map_or(apdu, |signing| signing.unverified())
}

/// The counters of ciphered APDUs of one sender, in the order in which they were said.
fn counters_rise(said: &[Vec<u8>], title: gridloom_core::SystemTitle) {
    let mut last = None;
    for apdu in said {
        let apdu = inside(apdu);
        let ciphered = GeneralCiphering::decode(apdu, Some(title))
            .map(|general| general.apdu)
            .or_else(|_| CipheredApdu::decode(apdu))
            .or_else(|_| CipheredApdu::decode_service(apdu, title))
            .ok()
            .filter(|ciphered| ciphered.title == title);
        if let Some(ciphered) = ciphered {
            assert!(
                last.is_none_or(|last| ciphered.counter > last),
                "counter {} after {last:?}",
                ciphered.counter
            );
            last = Some(ciphered.counter);
        }
    }
}

/// A server that hears anything: it never panics, its counters never go back or repeat, it never
/// believes a counter that no verified APDU brought, and what nobody may read stays unread.
pub(crate) fn server(bytes: &[u8]) {
    let mut script = Script(bytes);
    let mut link = link_of(script.byte().unwrap_or_default());
    let mut highest_sealed = 0;
    for _ in 0..STEPS_MAX {
        let Some(op) = script.byte() else { break };
        let before = link::last_counter(&link.security);
        match op % 12 {
            op @ 0..=6 => honest_step(&mut link, op),
            7 => {
                link.ask(&script.bytes());
            }
            8 | 9 => {
                // Somebody who has the keys, with services that no honest client sends.
                let counter = link::last_counter(&link.security).unwrap_or_default();
                let counter = counter.saturating_add(u32::from(script.byte().unwrap_or(1)));
                highest_sealed = highest_sealed.max(counter);
                let full = SecurityControl::AUTHENTICATED_ENCRYPTED;
                let sealed = link::glo(counter, full, &script.plain());
                link.ask(&sealed);
            }
            10 => {
                if let Some(apdu) = altered(&link.asked.clone(), &mut script) {
                    link.ask(&apdu);
                }
            }
            _ => link.server.disconnected(),
        }
        let after = link::last_counter(&link.security);
        assert!(after >= before, "a believed counter went back");
    }
    counters_rise(&link.answered, METER);
    let sent = spent(&link).max(highest_sealed);
    assert!(link::last_counter(&link.security).is_none_or(|last| last <= sent));
    assert!(!link.device.values.contains_key(&SECRET));
}

/// The highest counter that the honest client has used.
fn spent(link: &Link) -> u32 {
    match link.client.counters().0.clone().next() {
        Ok(next) | Err(CounterError::NotReserved { next }) => next - 1,
        Err(_) => u32::MAX,
    }
}

/// A client that hears anything: it never panics, never repeats a counter, sends a bounded number
/// of APDUs for one question, and always comes to an end by its deadlines.
pub(crate) fn client(bytes: &[u8]) {
    let mut script = Script(bytes);
    let mut link = link_of(script.byte().unwrap_or_default());
    for _ in 0..STEPS_MAX {
        let Some(op) = script.byte() else { break };
        let asked_before = link.asked.len();
        let honest = op % 16;
        if honest < 7 {
            honest_step(&mut link, honest);
        } else {
            hostile_answer(&mut link, op, &mut script);
        }
        assert!(
            link.asked.len() - asked_before <= SENT_PER_STEP_MAX,
            "a client sends without end"
        );
    }
    let rest = link.run_out();
    assert!(link.client.wake().is_none(), "a client waits for ever");
    let failures = rest
        .iter()
        .filter(|event| matches!(event, ClientOutput::Failed(_)))
        .count();
    assert!(failures <= 1, "one association fails once");
    counters_rise(&link.asked, HEAD_END);
}

/// The next question is answered by whatever the script says.
fn hostile_answer(link: &mut Link, op: u8, script: &mut Script<'_>) {
    let said = link.answered.clone();
    let counter = u32::from(script.byte().unwrap_or_default());
    let forged = match op % 5 {
        0 => Some(script.bytes()),
        1 => altered(&said, script),
        2 => said.last().cloned(),
        3 => Some(link::from_meter(counter, &script.plain())),
        _ => None,
    };
    let ready = link.client.is_open();
    if may_open(link) {
        link.client.open(&[0xC5; 32], link.now);
    } else if ready {
        let request = Request::Get {
            attribute: if op & 0x80 == 0 { ENERGY } else { LONG },
            access: None,
        };
        link.client.request(request, link.now);
    }
    let mut forged = Some(forged);
    link.run_with(&mut |answer| match forged.take() {
        Some(spoilt) => spoilt,
        None => Some(answer),
    });
}
