//! libFuzzer target: see [`denali_fuzz::upcalls`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::upcalls(data));
