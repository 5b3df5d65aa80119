#![no_main]

#[path = "../../crates/nodes/tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    checks::envelope(bytes);
});
