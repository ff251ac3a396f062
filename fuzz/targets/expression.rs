//! `manta_fuzz::expression` for `cargo fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| manta_fuzz::expression::run(data));
