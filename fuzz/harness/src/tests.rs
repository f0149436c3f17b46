//! What any fuzzer relies on.

use super::*;

#[test]
fn any_bytes_run_and_tell_what_they_reach() {
    let mut target = Target::new().expect("these tests need KVM");
    let mut ends = std::collections::BTreeSet::new();
    for byte in 0..=255 {
        let verdict = target.run(&[byte; 40]).expect("the host goes on");
        assert_eq!(verdict.broken(), [""; 0]);
        let reached = verdict.map().iter().filter(|reached| **reached == 1).count();
        assert_eq!(reached, verdict.features().len());
        verdict.features().iter().for_each(|feature| mark(*feature));
        ends.insert(verdict.features().to_vec());
        assert!(Reproduction::parse(&verdict.reproduction()).is_ok());
    }
    assert!(ends.len() > 20, "{} different", ends.len());
    assert_eq!(target.inspect().expect("the host goes on"), [""; 0]);
}

#[test]
fn raw_code_runs() {
    let mut target = Target::new().expect("these tests need KVM");
    // mov edi, 7; out 0xd1, eax
    let verdict = target.run_flat(&[0xbf, 7, 0, 0, 0, 0xe7, 0xd1]).expect("the host goes on");
    assert_eq!(verdict.end(), "exited with status 7");
    let verdict = target.run_flat(&vec![0x90; 100_000]).expect("the host goes on");
    assert!(verdict.end().starts_with("fault: "), "{}", verdict.end());
}
