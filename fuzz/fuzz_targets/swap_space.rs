//! libFuzzer target: see [`denali_fuzz::swap_space`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::swap_space(data));
