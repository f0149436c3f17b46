//! libFuzzer target: see [`denali_fuzz::store_log`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::store_log(data));
