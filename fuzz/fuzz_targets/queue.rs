//! libFuzzer target: see [`denali_fuzz::queue`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::queue(data));
