//! libFuzzer target: see [`denali_fuzz::gateway_race`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::gateway_race(data));
