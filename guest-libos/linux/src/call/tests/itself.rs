//! Who the program is, and what it may use.
use super::{DATA, NOWHERE, Program, TEXT};
use crate::errno::Errno;
use linux_raw_sys::{general as nr, prctl};

#[test]
fn nobody_becomes_anybody_else() {
    let mut p = Program::new();
    for number in [nr::__NR_getpid, nr::__NR_getpgrp, nr::__NR_gettid] {
        assert_eq!(p.try_call(number, []), Ok(1));
    }
    assert_eq!((p.try_call(nr::__NR_getpgid, [0]), p.try_call(nr::__NR_getsid, [5])), (Ok(1), Err(Errno::ESRCH)));
    assert_eq!(
        (p.try_call(nr::__NR_setpgid, [0, 0]), p.try_call(nr::__NR_setsid, [])),
        (Err(Errno::EPERM), Err(Errno::EPERM))
    );
    assert_eq!((p.try_call(nr::__NR_setuid, [0]), p.try_call(nr::__NR_setgid, [1000])), (Ok(0), Err(Errno::EPERM)));
    assert_eq!(p.try_call(nr::__NR_setuid, [u64::MAX]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_setresuid, [u64::MAX, 0, 0]), Ok(0));
    p.put(DATA, &[u64::MAX]);
    assert_eq!((p.try_call(nr::__NR_getresuid, [DATA, DATA + 4, DATA + 8]), p.word(DATA)), (Ok(0), 0));
    let path = p.text(0, "/in/numbers");
    assert_eq!((p.try_call(nr::__NR_stat, [path, DATA]), p.word(DATA + 28)), (Ok(0), 0), "files are its own");
    assert_eq!(p.try_call(nr::__NR_getresgid, [DATA, NOWHERE, DATA]), Err(Errno::EFAULT));
    assert_eq!(
        (p.try_call(nr::__NR_getgroups, [0, 0]), p.try_call(nr::__NR_setgroups, [0, 0])),
        (Ok(0), Err(Errno::EPERM))
    );
    for (keep, told) in [(1, Ok(1)), (2, Ok(1)), (0, Ok(0))] {
        let set = p.try_call(nr::__NR_prctl, [prctl::PR_SET_KEEPCAPS.into(), keep]);
        assert_eq!(set, if keep > 1 { Err(Errno::EINVAL) } else { Ok(0) });
        assert_eq!(p.try_call(nr::__NR_prctl, [prctl::PR_GET_KEEPCAPS.into()]), told);
    }
    p.put(DATA, &[0x2008_0522, 1, 1, 1]);
    assert_eq!((p.try_call(nr::__NR_capget, [DATA, DATA + 8]), p.word(DATA + 8)), (Ok(0), 0x1f | 0x1f << 32));
    p.put(DATA, &[0]);
    assert_eq!((p.try_call(nr::__NR_capget, [DATA, 0]), p.word(DATA)), (Ok(0), 0x2008_0522));
    assert_eq!((p.try_call(nr::__NR_uname, [DATA]), p.bytes(DATA, 6)), (Ok(0), b"Linux\0".to_vec()));
    assert_eq!(p.try_call(nr::__NR_getrandom, [DATA, 8, 99]), Err(Errno::EINVAL));
    assert_eq!((p.try_call(nr::__NR_getrandom, [DATA, 8, 0]), p.bytes(DATA, 8)), (Ok(8), vec![4; 8]));
}

#[test]
fn threads_have_names() {
    let mut p = Program::new();
    let get = |p: &mut Program| (p.try_call(nr::__NR_prctl, [prctl::PR_GET_NAME.into(), DATA]), p.bytes(DATA, 16));
    assert_eq!(get(&mut p), (Ok(0), b"program\0\0\0\0\0\0\0\0\0".to_vec()));
    let name = p.text(0, "a name of many letters");
    assert_eq!(p.try_call(nr::__NR_prctl, [prctl::PR_SET_NAME.into(), name]), Ok(0));
    assert_eq!(get(&mut p), (Ok(0), b"a name of many \0".to_vec()));
    assert_eq!(p.contents("/proc/self/comm"), "a name of many \n");
    assert_eq!(p.try_call(nr::__NR_prctl, [prctl::PR_SET_NAME.into(), NOWHERE]), Err(Errno::EFAULT));
    assert_eq!(p.try_call(nr::__NR_prctl, [prctl::PR_GET_DUMPABLE.into()]), Ok(1));
    assert_eq!(p.try_call(nr::__NR_prctl, [9999]), Err(Errno::EINVAL));
}

#[test]
fn limits_are_kept() {
    let mut p = Program::new();
    assert_eq!((p.try_call(nr::__NR_getrlimit, [7, DATA]), p.word(DATA)), (Ok(0), 1024));
    p.put(TEXT, &[100, 200]);
    assert_eq!(p.try_call(nr::__NR_setrlimit, [7, TEXT]), Ok(0));
    assert_eq!((p.try_call(nr::__NR_prlimit64, [0, 7, 0, DATA]), p.word(DATA), p.word(DATA + 8)), (Ok(0), 100, 200));
    let descriptors: Vec<_> = (0..100).map(|_| p.try_call(nr::__NR_dup, [0])).collect();
    assert_eq!((descriptors[96], descriptors[97]), (Ok(99), Err(Errno::EMFILE)));
    assert_eq!(p.try_call(nr::__NR_dup2, [0, 100]), Err(Errno::EBADF));
    assert_eq!(p.try_call(nr::__NR_fcntl, [0, nr::F_DUPFD.into(), 100]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_poll, [DATA, 101, 0]), Err(Errno::EINVAL));
    p.put(TEXT, &[200, 200]);
    assert_eq!((p.try_call(nr::__NR_setrlimit, [7, TEXT]), p.try_call(nr::__NR_dup, [0])), (Ok(0), Ok(100)));
    p.put(TEXT, &[100, 300]);
    assert_eq!(p.try_call(nr::__NR_prlimit64, [1, 7, TEXT, 0]), Err(Errno::EPERM));
    p.put(TEXT, &[100, 20]);
    assert_eq!(p.try_call(nr::__NR_setrlimit, [7, TEXT]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_getrlimit, [16, DATA]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_prlimit64, [9, 7, 0, DATA]), Err(Errno::ESRCH));
    let mapped = p.process.space.mapped();
    p.put(TEXT, &[mapped, u64::MAX]);
    assert_eq!(p.try_call(nr::__NR_setrlimit, [nr::RLIMIT_AS.into(), TEXT]), Ok(0));
    assert_eq!(p.try_call(nr::__NR_mmap, [0, 4096, 3, 0x22, u64::MAX, 0]), Err(Errno::ENOMEM));
}

#[test]
fn usage_is_told() {
    let mut p = Program::new();
    p.outside.borrow_mut().now_ns = 2_500_000_000;
    assert_eq!((p.try_call(nr::__NR_getrusage, [0, DATA]), p.word(DATA), p.word(DATA + 8)), (Ok(0), 2, 500_000));
    assert_eq!(p.try_call(nr::__NR_getrusage, [5, DATA]), Err(Errno::EINVAL));
    p.put(DATA + 16, &[u64::MAX]);
    assert_eq!((p.try_call(nr::__NR_gettimeofday, [DATA, DATA + 16]), p.word(DATA + 16)), (Ok(0), 0));
    for wrong in [[NOWHERE, 0], [0, NOWHERE]] {
        assert_eq!(p.try_call(nr::__NR_gettimeofday, wrong), Err(Errno::EFAULT));
    }
    assert_eq!((p.try_call(nr::__NR_times, [DATA]), p.word(DATA)), (Ok(250), 250));
    assert_eq!((p.try_call(nr::__NR_sysinfo, [DATA]), p.word(DATA), p.word(DATA + 32)), (Ok(0), 2, 2 << 20));
    assert_eq!(p.try_call(nr::__NR_sysinfo, [NOWHERE]), Err(Errno::EFAULT));
    assert_eq!(
        (p.try_call(nr::__NR_getcpu, [DATA, 0]), p.try_call(nr::__NR_getcpu, [NOWHERE, 0])),
        (Ok(0), Err(Errno::EFAULT))
    );
    p.put(DATA, &[1]);
    assert_eq!(
        (p.try_call(nr::__NR_sched_setaffinity, [0, 8, DATA]), p.try_call(nr::__NR_sched_getaffinity, [0, 8, DATA])),
        (Ok(0), Ok(8))
    );
    assert_eq!(p.try_call(nr::__NR_sched_getaffinity, [0, 7, DATA]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_sched_setscheduler, [0, 1, DATA]), Err(Errno::EPERM));
    assert_eq!(p.try_call(nr::__NR_sched_getparam, [0, DATA]), Ok(0));
    assert_eq!(p.try_call(nr::__NR_sched_getparam, [u64::MAX, DATA]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_sched_getaffinity, [u64::MAX, 8, DATA]), Err(Errno::ESRCH));
    assert_eq!((p.try_call(nr::__NR_sched_rr_get_interval, [1, DATA]), p.word(DATA + 8)), (Ok(0), 10_000_000));
    assert_eq!(p.try_call(nr::__NR_sched_setparam, [0, DATA]), Ok(0));
    assert_eq!(
        (p.try_call(nr::__NR_sched_get_priority_max, [1]), p.try_call(nr::__NR_sched_get_priority_min, [9])),
        (Ok(99), Err(Errno::EINVAL))
    );
    assert_eq!(
        (p.try_call(nr::__NR_getpriority, [0, 0]), p.try_call(nr::__NR_setpriority, [0, 0, u64::MAX])),
        (Ok(20), Err(Errno::EACCES))
    );
    assert_eq!(
        (p.try_call(nr::__NR_membarrier, [0, 0]), p.try_call(nr::__NR_membarrier, [2, 0])),
        (Ok(25), Err(Errno::EINVAL))
    );
}

#[test]
fn there_is_one_process() {
    let mut p = Program::new();
    for number in [nr::__NR_fork, nr::__NR_vfork] {
        assert_eq!(p.try_call(number, []), Err(Errno::ENOSYS));
    }
    assert_eq!(p.process.refused.processes, 2);
    assert_eq!(p.try_call(nr::__NR_wait4, [1 << 31, 0, 0, 0]), Err(Errno::ESRCH));
    assert_eq!(p.try_call(nr::__NR_wait4, [u64::MAX, 0, 0, 0]), Err(Errno::ECHILD));
    assert_eq!((p.try_call(9999, []), p.try_call(nr::__NR_rseq, [])), (Err(Errno::ENOSYS), Err(Errno::ENOSYS)));
    assert_eq!(p.process.unserved.into_iter().collect::<Vec<_>>(), [(512, 1)]);
}

#[test]
fn proc_tells_of_the_program() {
    let mut p = Program::new();
    assert_eq!(p.contents("/proc/self/cmdline"), "program\0-x\0");
    assert_eq!(p.contents("/proc/self/environ"), "A=b\0");
    assert_eq!(p.contents("/proc/self/auxv"), "vector");
    assert_eq!(p.contents("/proc/self/stat").split(' ').count(), 52);
    assert_eq!(p.contents("/proc/self/limits").lines().count(), 17);
    assert!(p.contents("/proc/self/status").contains("\nThreads:\t1\n"));
    assert!(p.contents("/proc/meminfo").starts_with("MemTotal:           2048 kB\n"));
    assert!(p.contents("/proc/self/maps").contains("[stack]"));
    assert_eq!(p.contents("/proc/sys/kernel/random/boot_id").len(), 37);
    assert_eq!(p.contents("/sys/devices/system/cpu/online"), "0\n");
    for path in ["/proc/self/mounts", "/proc/self/mountinfo"] {
        assert_eq!(p.contents(path).lines().count(), 4);
    }
    for path in ["/proc/cpuinfo", "/proc/stat", "/proc/uptime", "/proc/loadavg", "/proc/version", "/proc/self/statm"] {
        assert!(p.contents(path).ends_with('\n'), "{path}");
    }
}

#[test]
fn counts_of_calls_that_are_not_served_are_bounded() {
    let mut p = Program::new();
    for number in 10_000..12_000 {
        assert_eq!(p.try_call(number, []), Err(Errno::ENOSYS));
    }
    assert_eq!((p.process.unserved.len(), p.process.unserved[&512]), (1, 2000));
}
