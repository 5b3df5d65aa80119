#![no_main]

#[allow(dead_code, reason = "the corpus replay also asks for verdicts")]
#[path = "../../crates/edge/tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::packet(bytes));
