//! `manta_fuzz::dap` for `cargo fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| manta_fuzz::dap::run(data));
