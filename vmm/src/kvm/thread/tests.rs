//! A signal at each instruction of the way into KVM_RUN: none is lost.
//!
//! The CPU single-steps this thread (trap flag), so each instruction of `uninterrupted` is followed by a handler of the test,
//! which sends the kick at the one whose turn it is.

use super::{
    INTERRUPTED, KICK_SIGNAL, RANG, Thread, alarm_rang, forget_alarm, forget_interruption, install_signal_handlers,
    uninterrupted, was_kicked,
};
use std::{
    arch::asm,
    cell::Cell,
    ptr,
    sync::atomic::{Ordering, compiler_fence},
};

thread_local! {
    /// Instructions until the kick; below zero once it was sent.
    static LEFT: Cell<i64> = const { Cell::new(-1) };
}

/// The CPU executed an instruction.
extern "C" fn on_step(_signal: libc::c_int) {
    let left = LEFT.get();
    LEFT.set(left - 1);
    if left == 0 {
        Thread::current().kick();
    }
}

fn handle_steps() {
    let action = libc::sigaction {
        sa_sigaction: on_step as *const () as libc::sighandler_t,
        // SAFETY: an all-zero `sigset_t` is a valid, empty set on Linux.
        sa_mask: unsafe { std::mem::zeroed() },
        sa_flags: 0,
        sa_restorer: None,
    };
    // SAFETY: `action` is whole and outlives the call; the handler touches cells of its own thread only, and sends a signal.
    assert_eq!(unsafe { libc::sigaction(libc::SIGTRAP, &raw const action, ptr::null_mut()) }, 0);
}

/// From here on the CPU stops after each instruction of this thread, or does not.
fn single_step(on: bool) {
    const TRAP_FLAG: u64 = 1 << 8;
    let flag = if on { TRAP_FLAG } else { 0 };
    // SAFETY: the flags are pushed and popped in pairs below the red zone's end; all but the trap flag are as before.
    unsafe {
        asm!("sub rsp, 128", "pushfq", "and qword ptr [rsp], ~0x100", "or qword ptr [rsp], {flag}", "popfq", "add rsp, 128",
            flag = in(reg) flag);
    }
}

/// What a virtual CPU did.
#[derive(Debug, PartialEq, Eq)]
enum Ran {
    /// It was not entered.
    Not,
    /// KVM looked at `immediate_exit`, and left at once.
    Left,
    /// KVM did not: only a signal from then on makes it leave.
    Stayed,
}

/// Enters a virtual CPU with a kick after so many instructions. What it did, and whether the kick came before KVM looked.
fn enter(instructions: i64) -> (Ran, bool) {
    let mut immediate_exit = 0_u8;
    let place = &raw mut immediate_exit;
    forget_interruption();
    LEFT.set(instructions);
    single_step(true);
    let ran = uninterrupted(place, || {
        // As KVM: what comes after its look at the byte is its own to notice.
        let kicked = LEFT.get() < 0;
        compiler_fence(Ordering::SeqCst);
        // SAFETY: it is this function's own byte, which the handler writes too, on this thread.
        (unsafe { place.read_volatile() }, kicked)
    });
    single_step(false);
    match ran {
        None => (Ran::Not, true),
        Some((1, _)) => (Ran::Left, true),
        Some((_, kicked)) => (Ran::Stayed, kicked),
    }
}

#[test]
fn a_kick_before_kvm_looks_is_never_lost() {
    install_signal_handlers().expect("signals can be handled");
    handle_steps();
    let (mut seen_before, mut seen_within, mut instructions) = (0, 0, 0);
    loop {
        let (ran, kicked) = enter(instructions);
        assert!(ran != Ran::Stayed || !kicked, "lost after {instructions} instructions");
        if LEFT.get() >= 0 {
            break;
        }
        assert!(was_kicked() && !alarm_rang(), "forgotten after {instructions} instructions");
        match ran {
            Ran::Not => seen_before += 1,
            Ran::Left => seen_within += 1,
            Ran::Stayed => {}
        }
        instructions += 1;
    }
    println!("{instructions} instructions: not entered {seen_before} times, left at once {seen_within} times");
    assert!(seen_before > 0 && seen_within > 0, "the kick was not everywhere");
    forget_interruption();
    assert!(!was_kicked());
}

#[test]
fn an_alarm_and_a_kick_are_told_apart() {
    install_signal_handlers().expect("signals can be handled");
    forget_interruption();
    let alarm = super::Alarm::new().expect("a timer");
    alarm.set(std::time::Duration::from_micros(50));
    while !alarm_rang() {
        std::hint::spin_loop();
    }
    assert!(!was_kicked());
    let mut immediate_exit = 0;
    assert!(uninterrupted(&raw mut immediate_exit, || ()).is_none(), "an alarm keeps it from being entered");
    Thread::current().kick();
    forget_alarm();
    assert!(was_kicked() && !alarm_rang(), "who forgets an alarm does not forget a kick");
    assert_eq!((INTERRUPTED.replace(false), RANG.get(), KICK_SIGNAL), (true, false, libc::SIGUSR1));
}

/// What a process took is known as long as it is not waited for, and grows.
#[test]
fn processes_take_time() {
    let own = || super::cpu_time_of(std::process::id()).expect("it lives");
    let begun = own();
    while own() < begun + std::time::Duration::from_millis(1) {}
    let mut child = std::process::Command::new("true").spawn().expect("a process");
    assert!(super::cpu_time_of(child.id()).is_some());
    child.wait().expect("it ends");
    for none in [0, (1 << 22) + 1, i32::MAX as u32, u32::MAX] {
        assert_eq!(super::cpu_time_of(none), None);
    }
}
