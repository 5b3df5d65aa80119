//! What attackers write: pushes and requests that look right, under keys right or wrong, and
//! frames that do not.

use gridloom_core::{
    IntervalValues, MillivarHours, MillivoltAmpereHours, Millivolts, MilliwattHours, Period,
    ReadingStatus, SystemTitle, UtcTime, Watts, seed,
};
use gridloom_dlms::push::{BillingStatus, IntervalPush};
use gridloom_dlms::security::{CipherContext, Keys};
use gridloom_dlms::wrapper::{self, WPort};
use rand_core::Rng as _;

/// Who an attacker claims to be, and with which keys.
#[derive(Clone)]
pub struct Identity {
    /// The title.
    pub title: SystemTitle,
    /// The keys, valid or guessed.
    pub keys: Keys,
    /// The last invocation counter that was used.
    pub counter: u32,
}

impl std::fmt::Debug for Identity {
    /// The title and the counter, never the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("title", &self.title)
            .field("counter", &self.counter)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Ciphers an APDU under the next counter and wraps it as a meter does for its edge. At the
    /// counter's end it stays there: the next packets are replays.
    pub fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        self.counter = self.counter.saturating_add(1);
        seal(&self.keys, self.title, self.counter, plain)
    }
}

/// Ciphers and wraps an APDU under a counter that need not be fresh.
pub fn seal(keys: &Keys, title: SystemTitle, counter: u32, plain: &[u8]) -> Vec<u8> {
    let context = CipherContext::new(keys);
    let mut apdu = Vec::new();
    context.protect(context.full_protection(title, counter), plain, &mut apdu);
    wrap(&apdu)
}

/// Wraps an APDU as from a meter to its edge. What is empty or too long is cut to what fits.
pub fn wrap(apdu: &[u8]) -> Vec<u8> {
    let most = usize::from(wrapper::APDU_MAX).min(apdu.len());
    let apdu = if most == 0 { &[0][..] } else { &apdu[..most] };
    wrapper::Frame {
        source: WPort::MANAGEMENT,
        destination: WPort::PRE_ESTABLISHED_CLIENT,
        apdu,
    }
    .to_bytes()
}

/// A push of the interval ending at `end` that no rule of physics forbids, as an APDU. The register
/// stands at `register_wh` after it.
pub fn push(period: Period, end: UtcTime, energy_wh: u32, register_wh: u32) -> Vec<u8> {
    let energy = i64::from(energy_wh) * 1_000;
    let push = IntervalPush {
        period,
        end: period.end_of_interval_at(end),
        status: ReadingStatus::GOOD,
        values: IntervalValues {
            import: MilliwattHours::new(energy),
            export: MilliwattHours::ZERO,
            reactive: [0; 4].map(MillivarHours::new),
            apparent: MillivoltAmpereHours::new(energy),
            voltage: Millivolts::new(230_000),
        },
        import_register: MilliwattHours::new(i64::from(register_wh) * 1_000),
        power: Watts::new(i64::from(energy_wh) * i64::from(period.per_hour())),
        billing: BillingStatus::default(),
    };
    let mut out = Vec::new();
    push.encode_notification(&mut out)
        .expect("whole watt-hours on the grid fit their registers");
    out
}

/// A GET, SET or ACTION of a meter's object, which no edge asked for (IEC 62056-5-3 §8.4).
pub(super) fn request(number: u64) -> Vec<u8> {
    let invoke = 0xC0 | u8::try_from(number % 16).expect("a nibble");
    match number % 4 {
        // GET of the clock's time.
        0 => vec![0xC0, 1, invoke, 0, 8, 0, 0, 1, 0, 0, 255, 2, 0],
        // SET of the same to null.
        1 => vec![0xC1, 1, invoke, 0, 8, 0, 0, 1, 0, 0, 255, 2, 0, 0],
        // ACTION: remote disconnect.
        2 => vec![0xC3, 1, invoke, 0, 70, 0, 0, 96, 3, 10, 255, 1, 1, 0x0F, 0],
        // An answer to a GET that was never asked.
        _ => vec![0xC4, 1, invoke, 0, 6, 0, 0, 0, 1],
    }
}

/// Bytes that are no frame, or nearly one. Never empty.
pub(super) fn malformed(sample: &[u8], rng: &mut seed::Rng) -> Vec<u8> {
    let mut bytes = if sample.is_empty() {
        wrap(&[0xDB, 8, 71, 76, 77, 0, 0, 0, 0, 1, 5, 0x30, 0, 0, 0, 1])
    } else {
        sample.to_vec()
    };
    match rng.next_u64() % 8 {
        // Cut anywhere: the header announces more than comes.
        0 => bytes.truncate(below(rng, bytes.len()).max(1)),
        // The header announces all that it can.
        1 => bytes.splice(6.., [0xFF, 0xFF, 0xDB]).for_each(drop),
        // A wrapped APDU of no bytes.
        2 => bytes = vec![0, 1, 0, 1, 0, 102, 0, 0],
        // Another wrapper version.
        3 => bytes[1] = 9,
        // A whole frame whose APDU is nothing we know.
        4 => bytes = wrap(&noise(rng, 64)),
        // Structures within structures.
        5 => {
            bytes = wrap(
                &[
                    [0x0F, 0xC0, 0, 0, 1, 0].as_slice(),
                    &[0x02, 0x01].repeat(2_000),
                ]
                .concat(),
            )
        }
        // A long-form length that claims four gigabytes.
        6 => bytes = wrap(&[0xDB, 0x84, 0xFF, 0xFF, 0xFF, 0xFF, 0x30]),
        // Another protocol altogether.
        _ => bytes = b"GET / HTTP/1.1\r\nHost: meter\r\n\r\n".to_vec(),
    }
    bytes
}

/// Up to `most` random bytes, at least one.
pub(super) fn noise(rng: &mut seed::Rng, most: usize) -> Vec<u8> {
    let length = 1 + below(rng, most);
    let mut bytes = vec![0; length];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// A number below `most`; 0 if there is none.
pub(super) fn below(rng: &mut seed::Rng, most: usize) -> usize {
    let drawn = rng.next_u64() % u64::try_from(most.max(1)).unwrap_or(u64::MAX);
    usize::try_from(drawn).unwrap_or(0)
}

/// Random keys.
pub(super) fn random_keys(rng: &mut seed::Rng) -> Keys {
    let mut key = || {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        bytes
    };
    Keys::new(key(), key())
}

/// The key that somebody would try as the `number`th: those of published examples and of careless
/// factories first, then random ones.
pub(super) fn guess(number: u64, title: SystemTitle, rng: &mut seed::Rng) -> Keys {
    const PUBLISHED_EK: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    const PUBLISHED_AK: [u8; 16] = [
        0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE,
        0xDF,
    ];
    let twice =
        |title: SystemTitle| -> [u8; 16] { core::array::from_fn(|at| title.0[at % title.0.len()]) };
    match number {
        0 => Keys::new(PUBLISHED_EK, PUBLISHED_AK),
        1 => Keys::new(PUBLISHED_EK, PUBLISHED_EK),
        2 => Keys::new([0; 16], [0; 16]),
        3 => Keys::new([0xFF; 16], [0xFF; 16]),
        4 => Keys::new([0x11; 16], [0x11; 16]),
        5 => Keys::new(twice(title), twice(title)),
        6 => Keys::new(*b"1234567890123456", *b"1234567890123456"),
        _ => random_keys(rng),
    }
}
