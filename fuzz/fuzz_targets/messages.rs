//! libFuzzer target: see [`denali_fuzz::messages`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::messages(data));
