//! libFuzzer target: see [`denali_fuzz::schedule`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::schedule(data));
