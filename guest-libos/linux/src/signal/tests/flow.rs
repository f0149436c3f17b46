//! Threads and signals together, as an embedder drives them.
use super::*;
use crate::signal::frame::{self, Registers};
use crate::thread::{NewThread, Next, Sleep, Threads, Timespec, Wait, Words};
use linux_raw_sys::general as raw;

struct Nothing;

impl Words for Nothing {
    fn load(&self, _: u64) -> Result<u32, Errno> {
        Err(Errno::EFAULT)
    }

    fn store(&mut self, _: u64, _: u32) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }
}

#[test]
fn a_signal_ends_a_sleep_and_runs_its_handler() {
    let (mut threads, mut signals) = (Threads::new(MAIN, 0), Signals::new(MAIN, 0));
    let other = threads.spawn(&NewThread::default(), &mut Nothing).unwrap();
    signals.thread_started(other, MAIN);
    handle(&mut signals, 10, raw::SA_RESTORER | raw::SA_RESTART);

    let sleep = Sleep::parse(1, 0, Timespec { seconds: 9, nanoseconds: 0 }, at(0).now).unwrap();
    assert!(!signals.interrupts(MAIN));
    threads.block(Wait::Time { until_ns: Some(sleep.until_ns) }).unwrap();
    assert_eq!(threads.next(1), Next::Run(other));

    let interrupted = signals.kill(10, 10).unwrap().unwrap();
    assert!(threads.interrupt(interrupted));
    assert_eq!((threads.next(2), signals.deliver(other, at(2))), (Next::Run(other), Delivery::None));
    threads.put_back();
    assert_eq!(threads.next(3), Next::Run(MAIN));
    let ended = sleep.result(threads.woken().unwrap(), 1_000_000_000);
    assert_eq!(ended, Err((Errno::EINTR, Some(Timespec { seconds: 8, nanoseconds: 0 }))));

    let handler = handled(&mut signals, MAIN).unwrap();
    let sleeping = Restart::of_call(raw::__NR_nanosleep);
    assert_eq!(sleeping.after(Some(&handler.action)), After::Interrupted, "SA_RESTART or not");
    let rax = i64::from(-Errno::EINTR.0).cast_unsigned();
    let registers = Registers { rax, rsp: 0x7f_0000, rip: 0x40_1000, rflags: 0x202, ..Registers::default() };
    let nothing = Extended { area: &[], features: 0 };
    let built = frame::build(&handler, &registers, nothing, &Fault::default()).unwrap();
    assert_eq!((built.registers.rip, built.registers.rdi), (0x1000, 10));
    assert_eq!(signals.mask(MAIN), Ok(set(&[10])));

    let back = frame::parse(&built.bytes).unwrap();
    signals.returned(MAIN, back.mask, back.altstack, back.registers.rsp);
    assert_eq!((back.registers, back.extended_address), (registers, None));
    assert_eq!(signals.mask(MAIN), Ok(SigSet(0)));
}

#[test]
fn a_timer_wakes_one_that_only_waits_for_signals() {
    let (mut threads, mut signals) = (Threads::new(MAIN, 0), Signals::new(MAIN, 0));
    handle(&mut signals, 14, raw::SA_RESTORER);
    signals.itimers.alarm(1, at(0));
    threads.block(crate::thread::Wait::Time { until_ns: None }).unwrap();
    assert_eq!((threads.next(0), signals.next_timer(at(0), false)), (Next::Idle(None), Some(1_000_000_000)));
    for tid in signals.tick(at(1_000_000_000)) {
        threads.interrupt(tid);
    }
    assert_eq!((threads.next(1_000_000_000), threads.woken()), (Next::Run(MAIN), Some(Wake::Interrupted)));
    assert!(handled(&mut signals, MAIN).is_some());
}
