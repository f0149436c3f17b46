use super::*;
use proptest::{collection::vec, prelude::*};

/// mov $7, %eax; syscall; xor %eax, %ebx; cpuid; cmp $-4095, %rax.
const MIXED: [u8; 16] = [0, 6, 0, 7, 0, 0, 0, 11, 2, 0, 4, 0, 0, 14, 0, 0];

#[test]
fn traps_are_answered_and_replaced() {
    let ([was, is], patched) = compare(&MIXED).unwrap();
    assert_eq!((&was, patched), (&is, 2));
    assert_ne!(was.registers[3], 4 * 0x1111_2222_3333, "CPUID overwrote RBX");
}

#[test]
fn a_wrong_stub_is_noticed() {
    let snippet = Snippet::of(&MIXED[..7]);
    let native = Native::new().unwrap();
    let mut rewrite = native.plan(&snippet);
    // mov $7, %eax is the first instruction of the first stub.
    assert_eq!(rewrite.stubs[..2], [0xb8, 7]);
    rewrite.stubs[1] = 8;
    assert_ne!(native.run(&snippet, None), native.run(&snippet, Some(&rewrite)));
}

/// mov $0xff, %eax; mov $0x50, %edx; add %edx, %eax; syscall.
const URETPROBE: [u8; 13] = [0, 6, 0, 0xff, 6, 1, 0x50, 10, 0, 1, 0, 0, 0];

#[test]
fn a_call_that_no_filter_sees_is_answered() {
    let ([was, is], patched) = compare(&URETPROBE).unwrap();
    assert_eq!((&was, patched), (&is, 1));
    assert!((-4095..0).contains(&was.registers[0].cast_signed()), "{was:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn rewritten_code_does_the_same_on_this_cpu(data in vec(any::<u8>(), 0..200)) {
        let ([was, is], _) = compare(&data).unwrap();
        prop_assert_eq!(was, is);
    }
}
