//! `futex` against its manual.
use super::*;
use crate::signal::Restart;
use linux_raw_sys::general as raw;
use proptest::prelude::*;

const A: u64 = 0x1000;
const B: u64 = 0x2000;

fn memory() -> Memory {
    Memory::with(&[(A, 5), (B, 0)])
}

fn call(operation: u32, address: u64, value: u32) -> Futex {
    Futex { address, operation, value, ..Futex::default() }
}

/// Blocks thread `tid` at an address.
fn wait(threads: &mut Threads, memory: &mut Memory, tid: u32, address: u64) {
    run(threads, tid);
    let value = memory.0[&address];
    let call = call(raw::FUTEX_WAIT_PRIVATE, address, value);
    assert_eq!(threads.futex(&call, memory, at(0)), Ok(Outcome::Blocked));
}

#[test]
fn errors_of_waiting() {
    let (mut threads, mut memory) = (threads(2), memory());
    let mut futex = |call: Futex| threads.futex(&call, &mut memory, at(0));
    assert_eq!(futex(call(raw::FUTEX_WAIT, A, 6)), Err(Errno::EAGAIN));
    assert_eq!(futex(call(raw::FUTEX_WAIT, A + 2, 5)), Err(Errno::EINVAL));
    assert_eq!(futex(call(raw::FUTEX_WAIT, 0x3000, 5)), Err(Errno::EFAULT));
    assert_eq!(futex(call(raw::FUTEX_WAKE, !3, 5)), Err(Errno::EFAULT));
    assert_eq!(futex(call(raw::FUTEX_WAIT_BITSET, A, 5)), Err(Errno::EINVAL));
    assert_eq!(futex(call(raw::FUTEX_WAKE_BITSET, A, 5)), Err(Errno::EINVAL));
    let bad = Some(Timespec { seconds: 0, nanoseconds: 1_000_000_000 });
    assert_eq!(futex(Futex { timeout: bad, ..call(raw::FUTEX_WAIT, A, 5) }), Err(Errno::EINVAL));
    for operation in [2, 11, 12, 14, 99, raw::FUTEX_WAIT | 256, raw::FUTEX_WAKE | 256] {
        assert_eq!(futex(call(operation, A, 5)), Err(Errno::ENOSYS), "{operation}");
    }
}

#[test]
fn timeouts_are_relative_or_absolute_by_operation() {
    let one = Some(Timespec { seconds: 1001, nanoseconds: 0 });
    let cases = [
        (raw::FUTEX_WAIT, 1_001_000_000_007),
        (raw::FUTEX_WAIT_BITSET, 1_001_000_000_000),
        (raw::FUTEX_WAIT_BITSET | raw::FUTEX_CLOCK_REALTIME, 1_000_000_000),
    ];
    for (operation, until) in cases {
        let (mut threads, mut memory) = (threads(1), memory());
        let call = Futex { timeout: one, value3: 1, ..call(operation, A, 5) };
        assert_eq!(threads.futex(&call, &mut memory, at(7)), Ok(Outcome::Blocked));
        assert_eq!(threads.next(until - 1), Next::Idle(Some(until)));
        assert_eq!(threads.next(until), Next::Run(Tid(1)));
        assert_eq!(Futex::result(threads.woken().unwrap()), Err(Errno::ETIMEDOUT));
        assert_eq!(threads.waiters(A).count(), 0);
    }
}

#[test]
fn a_call_that_goes_on_keeps_its_end() {
    let timeout = Some(Timespec { seconds: 0, nanoseconds: 100 });
    let call = Futex { timeout, ..call(raw::FUTEX_WAIT, A, 5) };
    let fixed = call.fixed(at(7)).unwrap();
    assert_eq!((fixed.until(at(7)), fixed.until(at(90))), (Ok(Some(107)), Ok(Some(107))));
    let (mut threads, mut memory) = (threads(1), memory());
    assert_eq!(threads.futex(&fixed, &mut memory, at(90)), Ok(Outcome::Blocked));
    assert_eq!((call.restart(), fixed.restart()), (Restart::Never, Restart::Never));
}

proptest! {
    /// Any arguments: no panic, and a thread that is blocked is in the queue.
    #[test]
    fn hostile_calls(operation in 0u32..15, flags in 0u32..4, address in prop_oneof![Just(A), Just(B), any::<u64>()], value in prop_oneof![Just(5u32), any::<u32>()],
        value2 in any::<u32>(), value3 in any::<u32>(), seconds in prop::option::of(any::<i64>()), nanoseconds in any::<i64>()) {
        let (mut threads, mut memory) = (threads(3), memory());
        let timeout = seconds.map(|seconds| Timespec { seconds, nanoseconds });
        let call = Futex { address, operation: operation | flags << 7, value, timeout, value2, address2: B, value3 };
        for _ in 0..3 {
            let result = threads.futex(&call, &mut memory, at(3));
            prop_assert_eq!(result == Ok(Outcome::Blocked), threads.current().is_none());
            threads.next(3);
        }
    }
}

#[test]
fn a_signal_interrupts() {
    let (mut threads, mut memory) = (threads(1), memory());
    wait(&mut threads, &mut memory, 1, A);
    threads.interrupt(Tid(1));
    threads.next(0);
    assert_eq!(Futex::result(threads.woken().unwrap()), Err(Errno::EINTR));
}

#[test]
fn the_first_to_wait_is_the_first_to_wake() {
    let (mut threads, mut memory) = (threads(4), memory());
    for tid in [3, 1, 2] {
        wait(&mut threads, &mut memory, tid, A);
    }
    run(&mut threads, 4);
    assert_eq!(threads.futex(&call(raw::FUTEX_WAKE, A, 2), &mut memory, at(0)), Ok(Outcome::Done(2)));
    assert_eq!(threads.ready, [Tid(3), Tid(1)]);
    assert_eq!(threads.futex(&call(raw::FUTEX_WAKE, A, i32::MAX as u32), &mut memory, at(0)), Ok(Outcome::Done(1)));
}

#[test]
fn errors_of_requeueing() {
    let (mut threads, mut memory) = (threads(1), memory());
    let mut requeue = |value, value2, address2| {
        let call = Futex { value2, address2, value3: 6, ..call(raw::FUTEX_CMP_REQUEUE, A, value) };
        threads.futex(&call, &mut memory, at(0))
    };
    assert_eq!(requeue(u32::MAX, 0, B), Err(Errno::EINVAL));
    assert_eq!(requeue(0, u32::MAX, B), Err(Errno::EINVAL));
    assert_eq!(requeue(0, 1, B + 1), Err(Errno::EINVAL));
    assert_eq!(requeue(0, 1, B), Err(Errno::EAGAIN));
}

#[test]
fn wake_op_changes_compares_and_wakes() {
    let (mut threads, mut memory) = (threads(3), memory());
    wait(&mut threads, &mut memory, 1, A);
    wait(&mut threads, &mut memory, 2, B);
    run(&mut threads, 3);
    // *B += 1 << 3, and wake there if it was 0.
    let encoded = (raw::FUTEX_OP_ADD | 8) << 28 | raw::FUTEX_OP_CMP_EQ << 24 | 3 << 12;
    let call = Futex { address2: B, value2: 1, value3: encoded, ..call(raw::FUTEX_WAKE_OP, A, 1) };
    assert_eq!(threads.futex(&call, &mut memory, at(0)), Ok(Outcome::Done(2)));
    assert_eq!(memory.0[&B], 8);
    assert_eq!(threads.futex(&call, &mut memory, at(0)), Ok(Outcome::Done(0)));
    for bad in [5 << 28, 7 << 24] {
        let call = Futex { value3: bad, ..call };
        assert_eq!(threads.futex(&call, &mut memory, at(0)), Err(Errno::ENOSYS));
    }
}

#[test]
fn a_mutex_with_an_owner_is_handed_over() {
    let (mut threads, mut memory) = (threads(3), memory());
    let [lock, unlock, try_lock] =
        [raw::FUTEX_LOCK_PI, raw::FUTEX_UNLOCK_PI, raw::FUTEX_TRYLOCK_PI].map(|operation| call(operation, B, 0));
    assert_eq!(threads.futex(&lock, &mut memory, at(0)), Ok(Outcome::Done(0)));
    assert_eq!(memory.0[&B], 1);
    assert_eq!(threads.futex(&lock, &mut memory, at(0)), Err(Errno::EDEADLK));
    run(&mut threads, 2);
    assert_eq!(threads.futex(&try_lock, &mut memory, at(0)), Err(Errno::EAGAIN));
    assert_eq!(threads.futex(&unlock, &mut memory, at(0)), Err(Errno::EPERM));
    assert_eq!(threads.futex(&lock, &mut memory, at(0)), Ok(Outcome::Blocked));
    assert_eq!(memory.0[&B], 1 | raw::FUTEX_WAITERS);
    run(&mut threads, 3);
    assert_eq!(threads.futex(&call(raw::FUTEX_WAKE, B, 1), &mut memory, at(0)), Err(Errno::EINVAL));
    run(&mut threads, 1);
    assert_eq!(threads.futex(&unlock, &mut memory, at(0)), Ok(Outcome::Done(0)));
    assert_eq!(memory.0[&B], 2 | raw::FUTEX_WAITERS);
    run(&mut threads, 2);
    assert_eq!(threads.woken(), Some(Wake::Futex));
    assert_eq!(threads.futex(&unlock, &mut memory, at(0)), Ok(Outcome::Done(0)));
    assert_eq!(memory.0[&B], 0);
    memory.0.insert(B, 77);
    assert_eq!(threads.futex(&lock, &mut memory, at(0)), Err(Errno::ESRCH));
}
