//! `manta_fuzz::core_file` for `cargo fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| manta_fuzz::core_file::run(data));
