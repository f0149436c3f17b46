//! libFuzzer target: see [`denali_fuzz::reports`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::reports(data));
