#![no_main]

use gridloom_core::Instant;
use gridloom_modem::{Behaviour, EmulatedModem, ModemDriver, Timing};

/// The first byte says how the stream is cut; both ends of the wire read the rest, and their
/// timers run as they ask.
fn at(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else {
        return;
    };
    let mut now = Instant::ZERO;
    let mut driver = ModemDriver::new(None, Timing::default());
    let mut modem = EmulatedModem::new(Behaviour::default(), now);
    driver.handle_opened(now);
    while driver.poll_output().is_some() {}
    for piece in bytes.chunks(1 + usize::from(cut)) {
        driver.handle_bytes(piece, now);
        while driver.poll_output().is_some() {}
        modem.handle_bytes(piece, now);
        while modem.poll_output().is_some() {}
        if let Some((at, _)) = driver.poll_timeout() {
            now = now.max(at);
            driver.handle_timeout(now);
            while driver.poll_output().is_some() {}
            modem.handle_timeout(now);
            while modem.poll_output().is_some() {}
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| at(bytes));
