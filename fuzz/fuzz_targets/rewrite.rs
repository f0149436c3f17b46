//! libFuzzer target: see [`denali_fuzz::rewrite`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::rewrite(data));
