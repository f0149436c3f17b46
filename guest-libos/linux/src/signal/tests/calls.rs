//! Calls about signals against their manuals.
use super::*;
use linux_raw_sys::general as raw;

#[test]
fn errors_of_actions_and_masks() {
    let mut signals = two();
    let action = Some(Action::default());
    for signal in [0, 65, -1, 9, 19] {
        assert_eq!(signals.sigaction(signal, action, 8), Err(Errno::EINVAL), "{signal}");
    }
    assert!(signals.sigaction(9, None, 8).is_ok());
    assert_eq!(signals.sigaction(1, None, 16), Err(Errno::EINVAL));
    assert_eq!(signals.sigprocmask(MAIN, 3, Some(SigSet(0)), 8), Err(Errno::EINVAL));
    assert_eq!(signals.sigprocmask(MAIN, 3, None, 8), Ok(SigSet(0)));
    assert_eq!(signals.sigprocmask(MAIN, 0, None, 4), Err(Errno::EINVAL));
    signals.sigprocmask(MAIN, 2, Some(SigSet(u64::MAX)), 8).unwrap();
    assert_eq!(signals.mask(MAIN), Ok(SigSet(!SigSet::UNBLOCKABLE.0)));
    assert_eq!(signals.sigpending(MAIN, 9), Err(Errno::EINVAL));
}

#[test]
fn actions_are_kept_as_they_came() {
    let flags = u64::from(raw::SA_SIGINFO | raw::SA_RESTORER);
    let action = Action { handler: 1 << 40, flags, restorer: 77, mask: SigSet(3) };
    assert_eq!(Action::from_bytes(&action.to_bytes()), action);
    let odd = Action { flags: flags | 0x400, mask: SigSet(u64::MAX), ..action };
    let read = Action::from_bytes(&odd.to_bytes());
    assert_eq!((read.flags, read.mask), (flags, SigSet(!SigSet::UNBLOCKABLE.0)), "SA_UNSUPPORTED is not known");
}

#[test]
fn whom_kill_finds() {
    let mut signals = two();
    for pid in [0, 10, -10, 11] {
        assert_eq!(signals.kill(pid, 0), Ok(None), "{pid}");
        assert_eq!(signals.kill(pid, 65), Err(Errno::EINVAL), "{pid}");
    }
    for pid in [1, -1, 12, i32::MIN] {
        assert_eq!(signals.kill(pid, 15), Err(Errno::ESRCH), "{pid}");
    }
    assert_eq!(signals.tgkill(10, 12, 15), Err(Errno::ESRCH));
    assert_eq!(signals.tgkill(11, 11, 15), Err(Errno::ESRCH));
    assert_eq!(signals.tgkill(0, 11, 15), Err(Errno::EINVAL));
    assert_eq!(signals.tgkill(10, -1, 15), Err(Errno::EINVAL));
    assert_eq!(signals.tgkill(10, 11, 15), Ok(Some(OTHER)));
    assert_eq!(signals.deliver(MAIN, at(0)), Delivery::None);
    assert_eq!(signals.deliver(OTHER, at(0)), Delivery::Terminate { signal: Signal::SIGTERM });
}

#[test]
fn a_signal_of_the_process_goes_to_who_takes_it() {
    let mut signals = two();
    handle(&mut signals, 10, 0);
    assert_eq!(signals.kill(10, 10), Ok(Some(MAIN)));
    block(&mut signals, MAIN, &[10]);
    assert_eq!(signals.retarget(), [OTHER]);
    assert!(signals.interrupts(OTHER) && !signals.interrupts(MAIN));
    block(&mut signals, OTHER, &[10]);
    assert_eq!((signals.retarget(), signals.kill(10, 10)), (vec![], Ok(None)));
    assert_eq!(signals.sigpending(OTHER, 8), Ok(set(&[10])));
    block(&mut signals, OTHER, &[]);
    assert!(handled(&mut signals, OTHER).is_some());
    assert_eq!(handled(&mut signals, OTHER), None, "one below 32 is there once");
}

#[test]
fn ignored_signals_are_dropped_unless_blocked() {
    let mut signals = two();
    assert_eq!(signals.kill(10, 17), Ok(None));
    block(&mut signals, MAIN, &[17]);
    block(&mut signals, OTHER, &[17]);
    signals.kill(10, 17).unwrap();
    assert_eq!(signals.sigpending(MAIN, 8), Ok(set(&[17])));
    signals.sigaction(17, Some(Action { handler: 1, ..Action::default() }), 8).unwrap();
    assert_eq!(signals.sigpending(MAIN, 8), Ok(SigSet(0)));
    signals.kill(10, 19).unwrap();
    assert_eq!(signals.deliver(MAIN, at(0)), Delivery::None);
}

#[test]
fn a_handlers_mask() {
    let mut signals = two();
    block(&mut signals, MAIN, &[3]);
    let action = Action { handler: 4096, flags: 0, restorer: 0, mask: set(&[4]) };
    signals.sigaction(10, Some(action), 8).unwrap();
    signals.kill(10, 10).unwrap();
    assert_eq!(handled(&mut signals, MAIN).unwrap().mask, set(&[3]));
    assert_eq!(signals.mask(MAIN), Ok(set(&[3, 4, 10])));
    signals.returned(MAIN, set(&[3, 9]), AltStack::default(), 0);
    assert_eq!(signals.mask(MAIN), Ok(set(&[3])));
    handle(&mut signals, 12, raw::SA_NODEFER | raw::SA_RESETHAND);
    signals.kill(10, 12).unwrap();
    handled(&mut signals, MAIN).unwrap();
    assert_eq!(signals.mask(MAIN), Ok(set(&[3])));
    assert_eq!(signals.sigaction(12, None, 8).unwrap().handler, 0);
}

#[test]
fn sigsuspend_waits_with_its_own_mask() {
    let mut signals = two();
    handle(&mut signals, 10, 0);
    block(&mut signals, MAIN, &[10]);
    block(&mut signals, OTHER, &[10]);
    signals.begin_mask(MAIN, SigSet(0), 8).unwrap();
    assert!(!signals.interrupts(MAIN));
    assert_eq!(signals.kill(10, 10), Ok(Some(MAIN)));
    assert_eq!(handled(&mut signals, MAIN).unwrap().mask, set(&[10]), "what sigreturn brings back");
    signals.begin_mask(OTHER, set(&[5]), 8).unwrap();
    assert_eq!(handled(&mut signals, OTHER), None);
    assert_eq!(signals.mask(OTHER), Ok(set(&[10])));
    assert_eq!(signals.begin_mask(OTHER, SigSet(0), 7), Err(Errno::EINVAL));
}

#[test]
fn sigtimedwait_takes_what_is_blocked() {
    let mut signals = two();
    block(&mut signals, MAIN, &[40]);
    block(&mut signals, OTHER, &[40]);
    assert_eq!(signals.begin_wait(OTHER, set(&[40]), 8, at(0)), Ok(None));
    let mut info = [0; INFO_BYTES];
    info[8..12].copy_from_slice(&(-1i32).to_le_bytes());
    info[24] = 42;
    assert_eq!(signals.queue(10, None, 40, info), Ok(Some(OTHER)), "who waits is who is woken");
    assert_eq!(signals.end_wait(OTHER, Wake::Interrupted, at(0)).unwrap().bytes()[24], 42);
    assert_eq!(signals.begin_wait(OTHER, set(&[40]), 8, at(0)), Ok(None));
    assert_eq!(signals.end_wait(OTHER, Wake::TimedOut, at(0)), Err(Errno::EAGAIN));
    assert_eq!(signals.end_wait(OTHER, Wake::Interrupted, at(0)), Err(Errno::EINTR));
}

#[test]
fn queues_are_bounded() {
    let mut signals = two();
    block(&mut signals, MAIN, &[40, 10]);
    let mut info = [0; INFO_BYTES];
    info[8] = 0xff;
    for _ in 0..QUEUE_MAX {
        assert_eq!(signals.queue(10, Some(10), 40, info), Ok(None));
    }
    assert_eq!(signals.queue(10, Some(10), 40, info), Err(Errno::EAGAIN));
    assert_eq!(signals.tgkill(10, 10, 10), Ok(None), "one below 32 comes without its story");
    assert_eq!(signals.sigpending(MAIN, 8), Ok(set(&[10, 40])));
    let taken = signals.begin_wait(MAIN, set(&[10]), 8, at(0)).unwrap().unwrap();
    assert_eq!((taken.code(), taken.bytes()[16]), (0, 0));
    signals.thread_ended(MAIN);
    assert_eq!(signals.queued, 0);
    assert_eq!(signals.queue(1, None, 40, [0; INFO_BYTES]), Err(Errno::EPERM));
    info[8..12].fill(0xff);
    assert_eq!(signals.queue(1, None, 40, info), Err(Errno::ESRCH));
}

#[test]
fn alternate_stacks() {
    let mut signals = two();
    let stack = AltStack { base: 0x10000, bytes: 8192, flags: 0 };
    let none = signals.sigaltstack(MAIN, Some(stack), 0).unwrap();
    assert_eq!((none.bytes, none.flags), (0, raw::SS_DISABLE));
    assert_eq!(signals.sigaltstack(MAIN, None, 0x10100).unwrap().flags, raw::SS_ONSTACK);
    assert_eq!(signals.sigaltstack(MAIN, Some(stack), 0x10100), Err(Errno::EPERM));
    assert_eq!(signals.sigaltstack(MAIN, Some(AltStack { bytes: 2047, ..stack }), 0), Err(Errno::ENOMEM));
    assert_eq!(signals.sigaltstack(MAIN, Some(AltStack { flags: 4, ..stack }), 0), Err(Errno::EINVAL));
    assert_eq!(signals.sigaltstack(MAIN, None, 0), Ok(stack), "failures change nothing");
    assert_eq!(AltStack::from_bytes(&stack.to_bytes()), stack);
}

#[test]
fn who_goes_on_after_a_handler() {
    let plain = Action { handler: 4096, ..Action::default() };
    let restart = Action { flags: u64::from(raw::SA_RESTART), ..plain };
    let read = Restart::of_call(raw::__NR_read);
    assert_eq!(read.after(Some(&restart)), After::Again);
    assert_eq!(read.after(Some(&plain)), After::Interrupted);
    assert_eq!(Restart::of_call(raw::__NR_preadv2), read);
    let poll = Restart::of_call(raw::__NR_poll);
    assert_eq!((poll.after(Some(&restart)), poll.after(None)), (After::Interrupted, After::Again));
    assert_eq!(Restart::Always.after(Some(&plain)), After::Again);
}
