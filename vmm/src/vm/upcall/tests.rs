use super::*;
use denali_abi::registers::pending::{RECEIVE, STOPPING};
use proptest::prelude::*;

fn word() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..20_000_000u64, (0..64u32).prop_map(|bit| 1 << bit), Just(0), Just(u64::MAX)]
}

fn control() -> impl Strategy<Value = Control> {
    (proptest::array::uniform7(word()), word()).prop_map(|(words, in_fault)| {
        let [interrupts_enabled, upcall_entry, fault_entry, timer_ns, timer_period_ns, causes, transmit_head] = words;
        Control {
            transmit_head,
            interrupts_enabled,
            upcall_entry,
            fault_entry,
            timer_ns,
            timer_period_ns,
            causes,
            in_fault,
            ..Control::default()
        }
    })
}

fn registers() -> impl Strategy<Value = Registers> {
    (word(), word(), word(), word()).prop_map(|(rip, rsp, rflags, rax)| Registers {
        rip,
        rsp,
        rflags,
        rax,
        r15: !rax,
        ..Registers::default()
    })
}

const MEMORY: u64 = 8 << 20;

proptest! {
    #[test]
    fn causes_are_known_ones_and_none_is_lost(control in control(), happened in 0u64..16, now in word()) {
        let (causes, timer) = latch(&control, happened, now);
        prop_assert_eq!(causes & !ALL, 0);
        prop_assert_eq!(causes & (control.causes & ALL | happened), control.causes & ALL | happened);
        // It is due no more, or was not.
        let after = Control { timer_ns: timer, ..control };
        prop_assert!(armed(&after).is_none_or(|due| due > now));
        if timer != control.timer_ns {
            prop_assert!(causes & TIMER != 0 && armed(&control).is_some_and(|due| due <= now));
            prop_assert!(timer == 0 || control.timer_period_ns != 0);
        }
    }

    #[test]
    fn an_upcall_continues_in_memory_with_all_else_as_it_was(control in control(), registers in registers()) {
        match interrupt(&control, registers, MEMORY) {
            Ok((at, entered)) => {
                prop_assert_eq!((at.rip, at.rsp), (registers.rip, registers.rsp));
                prop_assert_eq!(at.rflags & !USER_FLAGS, FIXED_FLAGS);
                prop_assert!(entered.rip == control.upcall_entry && entered.rip < MEMORY);
                prop_assert!(!welcome(&control, entered.rflags), "no other in between");
                let back = Registers { rip: registers.rip, rflags: registers.rflags, ..entered };
                prop_assert_eq!(back, registers);
            }
            Err(_) => prop_assert!(control.upcall_entry >= MEMORY),
        }
    }

    #[test]
    fn a_fault_is_delivered_at_most_once(control in control(), registers in registers(), vector in 0u64..70) {
        let at = Interrupted { rip: 0x20_0000, rflags: 0x1_0246, rsp: 0x1f_0000 };
        let record = FaultRecord { at, vector, error_code: 2, address: 8 };
        match fault(&control, record, registers, MEMORY) {
            Some(Ok((written, entered))) => {
                prop_assert!(control.fault_entry != 0 && control.in_fault == 0);
                prop_assert_eq!(written, FaultRecord { at: Interrupted { rflags: 0x246 & !0x200, ..at }, ..record });
                prop_assert_eq!((entered.rip, entered.rsp, entered.rax), (control.fault_entry, at.rsp, registers.rax));
                let again = Control { in_fault: 1, ..control };
                prop_assert!(fault(&again, record, entered, MEMORY).is_none());
            }
            Some(Err(_)) => prop_assert!(control.fault_entry >= MEMORY),
            None => prop_assert!(
                control.fault_entry == 0 || control.in_fault != 0 || [1, 2, 8, 18].contains(&vector)
                    || vector > 63 || DELIVERED_FAULTS >> vector & 1 == 0
            ),
        }
    }
}

#[test]
fn the_timer_keeps_its_beat_and_skips_what_it_missed() {
    let timer =
        |timer_ns, timer_period_ns| Control { upcall_entry: 1, timer_ns, timer_period_ns, ..Control::default() };
    let ms = 1_000_000;
    assert_eq!(latch(&timer(10 * ms, 2 * ms), 0, 9 * ms), (0, 10 * ms));
    assert_eq!(latch(&timer(10 * ms, 2 * ms), RECEIVE, 10 * ms), (RECEIVE | TIMER, 12 * ms));
    assert_eq!(latch(&timer(10 * ms, 2 * ms), 0, 15 * ms), (TIMER, 16 * ms));
    assert_eq!(latch(&timer(10 * ms, 0), STOPPING, 15 * ms), (TIMER | STOPPING, 0));
    // A period too short counts as the shortest.
    assert_eq!(latch(&timer(10 * ms, 1), 0, 10 * ms), (TIMER, 10 * ms + TICK_US_MIN * 1000));
    assert_eq!(latch(&timer(1, u64::MAX), 0, 10 * ms), (TIMER, 0));
    assert_eq!(armed(&Control { upcall_entry: 0, ..timer(1, 1) }), None);
}

#[test]
fn what_is_no_fault_of_a_program_is_never_delivered() {
    for vector in [1, 2, 8, 18] {
        assert_eq!(DELIVERED_FAULTS >> vector & 1, 0);
    }
}
