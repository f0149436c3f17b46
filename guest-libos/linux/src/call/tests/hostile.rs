//! Whatever a program hands over, there is an answer, in proportionate time.
use super::{DATA, END, NOWHERE, Program, TEXT};
use linux_raw_sys::general as nr;
use proptest::{collection::vec, prelude::*, sample::select};

/// Calls that may end or stop the test's only thread.
const ENDS: [u32; 16] = [
    nr::__NR_exit,
    nr::__NR_exit_group,
    nr::__NR_rt_sigreturn,
    nr::__NR_pause,
    nr::__NR_rt_sigsuspend,
    nr::__NR_rt_sigtimedwait,
    nr::__NR_futex,
    nr::__NR_kill,
    nr::__NR_tkill,
    nr::__NR_tgkill,
    nr::__NR_rt_sigqueueinfo,
    nr::__NR_rt_tgsigqueueinfo,
    nr::__NR_clone,
    nr::__NR_clone3,
    nr::__NR_alarm,
    nr::__NR_setitimer,
];

fn argument() -> impl Strategy<Value = u64> {
    let words = vec![0, 1, 2, 3, 4, 5, 6, 8, 100, 4096, NOWHERE, TEXT, DATA, DATA + 1, END - 9, 1 << 31, 1 << 47];
    prop_oneof![select(words), any::<u64>(), any::<u32>().prop_map(u64::from), Just(u64::MAX), Just(1 << 63)]
}

fn number() -> impl Strategy<Value = u32> {
    let sockets =
        (nr::__NR_socket..=nr::__NR_getsockopt).chain([nr::__NR_accept4, nr::__NR_recvmmsg, nr::__NR_sendmmsg]);
    prop_oneof![3 => 0..470_u32, 1 => select(sockets.collect::<Vec<_>>())]
}

proptest! {
    #[test]
    fn no_call_panics(calls in vec((number(), any::<[u8; 32]>(), vec(argument(), 6)), 1..60)) {
        let mut p = Program::new();
        p.outside.borrow_mut().input_ended = true;
        p.open("/tmp/a", nr::O_RDWR | nr::O_CREAT);
        p.try_call(nr::__NR_timerfd_create, [1, 0x800]).unwrap();
        p.try_call(nr::__NR_eventfd2, [1, 0x800]).unwrap();
        p.try_call(nr::__NR_socketpair, [1, 0x801, 0, DATA]).unwrap();
        p.try_call(nr::__NR_socket, [2, 0x802, 0]).unwrap();
        for (number, bytes, arguments) in calls.into_iter().filter(|(number, ..)| !ENDS.contains(number)) {
            let writable = p.process.space.check_bytes(DATA, 0x4000, crate::mm::Access::Write).is_ok();
            if writable {
                p.text(0, "/tmp/b");
                p.process.space.pages().poke(DATA, &bytes);
            }
            // What may wait for ever is made to find something.
            p.outside.borrow_mut().arrivals = [vec![1]; 1].into();
            let arguments = <[u64; 6]>::try_from(arguments).unwrap();
            let call = std::panic::AssertUnwindSafe(|| p.call(number, arguments));
            if let Err(panic) = std::panic::catch_unwind(call) {
                prop_assert!(panic.is::<crate::testing::WaitsForEver>(), "call {number} {arguments:x?}");
                return Ok(());
            }
        }
    }
}
