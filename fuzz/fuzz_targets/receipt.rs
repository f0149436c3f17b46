//! libFuzzer target: see [`denali_fuzz::receipt`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::receipt(data));
