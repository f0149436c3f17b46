//! libFuzzer target: whole VMs on real KVM. See `docs/attack.md`.
#![no_main]

use denali_harness::{Target, mark};
use std::cell::RefCell;

thread_local! {
    static TARGET: RefCell<Target> = RefCell::new(Target::new().expect("KVM: see `denali doctor`"));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let verdict = TARGET.with_borrow_mut(|target| target.run(data)).expect("the host goes on");
    verdict.features().iter().for_each(|feature| mark(*feature));
    assert!(verdict.broken().is_empty(), "{:#?}", verdict.broken());
});
