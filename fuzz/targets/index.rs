//! `manta_fuzz::index` for `cargo fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| manta_fuzz::index::run(data));
