//! libFuzzer target: see [`denali_fuzz::frames`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::frames(data));
