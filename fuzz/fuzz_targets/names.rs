//! libFuzzer target: see [`denali_fuzz::names`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::names(data));
