//! libFuzzer target: see [`denali_fuzz::gateway`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::gateway(data));
