//! libFuzzer target: see [`denali_fuzz::protect`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::protect(data));
