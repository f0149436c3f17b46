//! libFuzzer target: see [`denali_fuzz::collector`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::collector(data));
