//! libFuzzer target: see [`denali_fuzz::spool`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::spool(data));
