//! libFuzzer target: see [`denali_fuzz::bundle`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::bundle(data));
