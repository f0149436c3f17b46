//! libFuzzer target: see [`denali_fuzz::linux_settings`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::linux_settings(data));
