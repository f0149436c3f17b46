//! Who runs and when, sleeping, making threads.
use super::*;
use linux_raw_sys::general as raw;

const THREAD: u64 = (raw::CLONE_VM | raw::CLONE_FS | raw::CLONE_FILES | raw::CLONE_SIGHAND | raw::CLONE_THREAD) as u64;

#[test]
fn one_thread_alone_wants_no_timer() {
    let mut threads = threads(1);
    assert_eq!((threads.next(5), threads.next_timer()), (Next::Run(Tid(1)), None));
    assert!(!threads.slice_over(1 << 40));
}

#[test]
fn slices_end_when_others_are_ready() {
    let mut threads = threads(3);
    assert_eq!(threads.next_timer(), Some(SLICE_NS));
    assert!(!threads.slice_over(SLICE_NS - 1));
    for (round, tid) in [2, 3, 1, 2].into_iter().enumerate() {
        let now = SLICE_NS * (round as u64 + 1);
        assert!(threads.slice_over(now));
        threads.put_back();
        assert_eq!(threads.next(now), Next::Run(Tid(tid)));
    }
}

#[test]
fn all_threads_share_the_cpu_alike() {
    let mut threads = threads(7);
    let mut shares = [0; 7];
    for slice in 0..700 {
        let Next::Run(tid) = threads.next(slice * SLICE_NS) else { panic!("idle") };
        shares[tid.0 as usize - 1] += 1;
        if threads.slice_over((slice + 1) * SLICE_NS) {
            threads.put_back();
        }
    }
    assert_eq!(shares, [100; 7]);
}

#[test]
fn a_sleeper_is_idle_until_its_time() {
    let mut threads = threads(1);
    let time = Timespec { seconds: 1, nanoseconds: 5 };
    let sleep = Sleep::parse(1, 0, time, at(100)).unwrap();
    threads.block(Wait::Time { until_ns: Some(sleep.until_ns) }).unwrap();
    assert_eq!(threads.next(100), Next::Idle(Some(1_000_000_105)));
    assert_eq!(threads.next(1_000_000_105), Next::Run(Tid(1)));
    let wake = threads.woken().unwrap();
    assert_eq!((wake, sleep.result(wake, 1_000_000_105)), (Wake::TimedOut, Ok(())));
    assert_eq!(threads.woken(), None);
}

#[test]
fn an_interrupted_sleep_tells_what_is_left_if_relative() {
    let mut threads = threads(1);
    let sleep = Sleep::parse(1, 0, Timespec { seconds: 3, nanoseconds: 0 }, at(0)).unwrap();
    threads.block(Wait::Time { until_ns: Some(sleep.until_ns) }).unwrap();
    assert!(threads.interrupt(Tid(1)));
    assert!(!threads.interrupt(Tid(1)));
    let left = Some(Timespec { seconds: 2, nanoseconds: 0 });
    assert_eq!(sleep.result(Wake::Interrupted, 1_000_000_000), Err((Errno::EINTR, left)));
    let absolute = Sleep::parse(0, 1, Timespec { seconds: 1001, nanoseconds: 0 }, at(0)).unwrap();
    assert_eq!(absolute.until_ns, 1_000_000_000, "CLOCK_REALTIME began 1,000 s before");
    assert_eq!(absolute.result(Wake::Interrupted, 5), Err((Errno::EINTR, None)));
}

#[test]
fn bad_times_and_clocks() {
    let sleep = |clock, seconds, nanoseconds| Sleep::parse(clock, 0, Timespec { seconds, nanoseconds }, at(0));
    assert_eq!(sleep(1, -1, 0), Err(Errno::EINVAL));
    assert_eq!(sleep(1, 0, 1_000_000_000), Err(Errno::EINVAL));
    assert_eq!(sleep(1, 0, -1), Err(Errno::EINVAL));
    assert_eq!(sleep(77, 0, 0), Err(Errno::EINVAL));
    assert_eq!(sleep(-6, 0, 0), Err(Errno::EINVAL));
    assert_eq!(sleep(2, 0, 0), Err(Errno::EOPNOTSUPP));
    assert_eq!(sleep(6, 0, 0), Err(Errno::EOPNOTSUPP));
    let long = sleep(1, i64::MAX, 0).unwrap();
    assert_eq!(long.until_ns, NEVER);
}

#[test]
fn tokens_wake_all_that_wait() {
    let mut threads = threads(3);
    for _ in 0..2 {
        threads.block(Wait::Tokens { tokens: vec![7, 9, 7], until_ns: Some(50) }).unwrap();
        threads.next(0);
    }
    assert_eq!(threads.token_ready(8), 0);
    assert_eq!(threads.token_ready(9), 2);
    assert_eq!(threads.token_ready(7), 0);
    threads.put_back();
    threads.next(60);
    assert_eq!(threads.woken(), Some(Wake::Token(9)));
    assert_eq!(threads.next_timer(), Some(60 + SLICE_NS), "no deadline is left behind");
    let too_many = Wait::Tokens { tokens: (0..=WAITS_MAX as u64).collect(), until_ns: None };
    assert_eq!(threads.block(too_many), Err(Errno::ENOMEM));
}

#[test]
fn the_table_is_bounded_and_numbers_are_not_reused_at_once() {
    let mut threads = threads(THREADS_MAX as u32);
    let mut memory = Memory::with(&[(64, 0)]);
    assert_eq!(threads.spawn(&NewThread::default(), &mut memory), Err(Errno::EAGAIN));
    run(&mut threads, 1);
    assert_eq!(threads.exit(0, &mut memory), Some(Exit::Thread));
    let request = NewThread { parent_tid: Some(64), ..NewThread::default() };
    assert_eq!(threads.spawn(&request, &mut memory), Ok(Tid(THREADS_MAX as u32 + 1)));
    assert_eq!(memory.0[&64], THREADS_MAX as u32 + 1);
}

#[test]
fn a_small_machine_has_fewer() {
    let mut threads = threads(3);
    threads.limit(2);
    let mut memory = Memory::default();
    assert_eq!(threads.spawn(&NewThread::default(), &mut memory), Err(Errno::EAGAIN));
    threads.exit(0, &mut memory);
    run(&mut threads, 2);
    threads.exit(0, &mut memory);
    assert_eq!(threads.spawn(&NewThread::default(), &mut memory), Ok(Tid(4)));
    assert_eq!(threads.spawn(&NewThread::default(), &mut memory), Err(Errno::EAGAIN));
    threads.limit(usize::MAX);
    assert_eq!(threads.most(), THREADS_MAX);
}

#[test]
fn clone_makes_threads_only() {
    let mut refused = Refused::default();
    let mut clone = |flags: u64| NewThread::parse(flags, 1, 2, 3, &mut refused);
    let musl = THREAD | 0x7d_0000;
    let made = NewThread { parent_tid: Some(1), child_tid: None, clear_tid: Some(2), tls: Some(3) };
    assert_eq!(clone(musl), Ok(made));
    assert_eq!(clone(THREAD | u64::from(raw::CLONE_SYSVSEM)), Ok(NewThread::default()), "Go");
    assert_eq!(clone(17), Err(Errno::ENOSYS), "fork");
    assert_eq!(clone(u64::from(raw::CLONE_VM | raw::CLONE_VFORK) | 17), Err(Errno::ENOSYS), "vfork");
    assert_eq!(clone(THREAD & !u64::from(raw::CLONE_VM)), Err(Errno::EINVAL));
    assert_eq!(clone(THREAD & !u64::from(raw::CLONE_SIGHAND)), Err(Errno::EINVAL));
    assert_eq!(clone(THREAD & !u64::from(raw::CLONE_FILES)), Err(Errno::ENOSYS));
    assert_eq!(clone(THREAD | u64::from(raw::CLONE_NEWNET)), Err(Errno::ENOSYS));
    assert_eq!(clone(THREAD | 1 << 40), Err(Errno::ENOSYS));
    assert_eq!(refused, Refused { processes: 2, unshared: 3 });
}
