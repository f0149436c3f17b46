//! Code whose system calls and CPUIDs are replaced, before and after: both run on this CPU.

use denali_linux::testing::compare;

/// Runs the code that `data` describe, as it is and rewritten. Both leave the same registers, flags and stack behind.
///
/// # Panics
/// Also where the host has no seccomp, without which code can't be run.
pub fn rewrite(data: &[u8]) {
    let ([was, is], _) = compare(data).expect("code can be run");
    assert_eq!(was, is);
}
