//! `manta_fuzz::split` for `cargo fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| manta_fuzz::split::run(data));
