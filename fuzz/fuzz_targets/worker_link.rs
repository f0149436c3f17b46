//! libFuzzer target: see [`denali_fuzz::worker_link`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| denali_fuzz::worker_link(data));
