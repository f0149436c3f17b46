//! Ends: of threads, and of the process.
use super::*;
use linux_raw_sys::general as raw;
use proptest::prelude::*;

fn wait(threads: &mut Threads, memory: &mut Memory, tid: u32, address: u64) {
    run(threads, tid);
    let call = Futex { address, operation: raw::FUTEX_WAIT, value: memory.0[&address], ..Futex::default() };
    assert_eq!(threads.futex(&call, memory, at(0)), Ok(Outcome::Blocked));
}

#[test]
fn a_thread_that_ends_wakes_who_joins_it() {
    let mut threads = threads(1);
    let mut memory = Memory::with(&[(64, 2)]);
    threads.spawn(&NewThread { clear_tid: Some(64), ..NewThread::default() }, &mut memory).unwrap();
    wait(&mut threads, &mut memory, 1, 64);
    run(&mut threads, 2);
    assert_eq!(threads.exit(9, &mut memory), Some(Exit::Thread));
    assert_eq!((memory.0[&64], threads.next(0)), (0, Next::Run(Tid(1))));
    assert_eq!(threads.exit(3, &mut memory), Some(Exit::Process(3)));
    assert_eq!((threads.next(0), threads.exit(3, &mut memory)), (Next::Ended, None));
}

#[test]
fn the_status_is_the_main_threads() {
    let mut threads = threads(2);
    assert_eq!(threads.exit(4, &mut Memory::default()), Some(Exit::Thread));
    run(&mut threads, 2);
    assert_eq!(threads.exit(5, &mut Memory::default()), Some(Exit::Process(4)));
}

/// A list at 0x100 of two mutexes: entries at 0x200 and 0x300, words 0x10 behind; and one that was being locked.
fn robust() -> Memory {
    let mut memory = Memory::default();
    for (address, value) in [(0x100, 0x200), (0x108, 0x10), (0x110, 0x400), (0x200, 0x300), (0x300, 0x100), (0x400, 0)]
    {
        memory.put_pair(address, value);
    }
    memory.0.extend([(0x210, 1 | raw::FUTEX_WAITERS), (0x310, 2), (0x410, 0)]);
    memory
}

#[test]
fn robust_mutexes_are_marked_and_passed_on() {
    let (mut threads, mut memory) = (threads(3), robust());
    wait(&mut threads, &mut memory, 2, 0x210);
    wait(&mut threads, &mut memory, 3, 0x410);
    run(&mut threads, 1);
    assert_eq!(threads.set_robust_list(0x100, 23), Err(Errno::EINVAL));
    threads.set_robust_list(0x100, 24).unwrap();
    threads.exit(0, &mut memory);
    assert_eq!(memory.0[&0x210], raw::FUTEX_WAITERS | raw::FUTEX_OWNER_DIED);
    assert_eq!(memory.0[&0x310], 2, "another's");
    assert_eq!(threads.ready, [Tid(2), Tid(3)]);
}

#[test]
fn a_mutex_in_the_list_and_being_locked_is_passed_on_once() {
    let (mut threads, mut memory) = (threads(3), robust());
    memory.put_pair(0x110, 0x200);
    wait(&mut threads, &mut memory, 2, 0x210);
    wait(&mut threads, &mut memory, 3, 0x210);
    run(&mut threads, 1);
    threads.set_robust_list(0x100, 24).unwrap();
    threads.exit(0, &mut memory);
    assert_eq!(threads.ready, [Tid(2)]);
}

#[test]
fn a_ring_without_end_is_left() {
    let (mut threads, mut memory) = (threads(2), robust());
    memory.put_pair(0x300, 0x200);
    threads.set_robust_list(0x100, 24).unwrap();
    assert_eq!(threads.exit(0, &mut memory), Some(Exit::Thread));
}

#[test]
fn mutexes_with_an_owner_go_to_the_next() {
    let (mut threads, mut memory) = (threads(2), Memory::with(&[(64, 1)]));
    run(&mut threads, 2);
    let call = Futex { address: 64, operation: raw::FUTEX_LOCK_PI, ..Futex::default() };
    assert_eq!(threads.futex(&call, &mut memory, at(0)), Ok(Outcome::Blocked));
    run(&mut threads, 1);
    threads.exit(0, &mut memory);
    assert_eq!(memory.0[&64], 2 | raw::FUTEX_WAITERS | raw::FUTEX_OWNER_DIED);
    assert_eq!(threads.next(0), Next::Run(Tid(2)));
}

proptest! {
    /// Any words in a list, and any head: it ends, without a panic.
    #[test]
    fn hostile_lists(words in prop::collection::vec(prop_oneof![0u64..256, any::<u64>()], 40), head in prop_oneof![0u64..200, any::<u64>()]) {
        let mut memory = Memory::default();
        for (index, word) in words.iter().enumerate() {
            memory.put_pair(index as u64 * 8, *word);
        }
        let mut threads = threads(2);
        threads.set_robust_list(head, 24).unwrap();
        threads.set_tid_address(head);
        prop_assert_eq!(threads.exit(0, &mut memory), Some(Exit::Thread));
    }
}
