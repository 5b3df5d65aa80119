#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gridloom_store::journal::probe(bytes);
});
