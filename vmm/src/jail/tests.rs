use super::{Only, Role, filter};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::{
    collections::BTreeSet,
    io::{Read, pipe},
    os::fd::AsRawFd,
};

const OF_A_WORKER: [Role; 4] = [Role::Runner, Role::Keeper, Role::Reporter, Role::Main];

#[test]
fn a_thread_with_a_guest_has_a_dozen_system_calls_and_a_worker_thirty() {
    let calls: BTreeSet<i64> = OF_A_WORKER.iter().flat_map(|role| role.rules()).map(|rule| rule.call).collect();
    assert!(Role::Runner.rules().len() <= 12, "{}", Role::Runner.rules().len());
    assert!(calls.len() <= 30, "{}", calls.len());
}

#[test]
fn every_call_is_named_once_and_with_its_reason() {
    for role in [Role::Runner, Role::Keeper, Role::Reporter, Role::Main, Role::Launcher] {
        let calls: BTreeSet<i64> = role.rules().iter().map(|rule| rule.call).collect();
        assert_eq!(calls.len(), role.rules().len(), "{role:?}");
        assert!(role.rules().iter().all(|rule| !rule.why.is_empty()));
    }
}

/// What would make a thread more than it is.
#[test]
fn no_thread_makes_code_processes_files_or_connections() {
    let never = [
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_open,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_sendmsg,
        libc::SYS_mprotect,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_kill,
        libc::SYS_io_uring_setup,
        libc::SYS_bpf,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
    ];
    for role in OF_A_WORKER {
        for rule in role.rules() {
            assert!(!never.contains(&rule.call), "{role:?}: {}", rule.call);
            if rule.call == libc::SYS_mmap {
                assert!(matches!(rule.only, Only::Without(2, bits) if bits & libc::PROT_EXEC as u64 != 0));
            }
            if rule.call == libc::SYS_ioctl {
                assert!(matches!(rule.only, Only::OneOf(1, _)));
            }
        }
    }
}

/// What a call gives under a role's filter; none where it ends the process.
fn under(role: Role, [number, a, b, c, d, e, f]: [i64; 7]) -> Option<i64> {
    let (mut answer, log) = pipe().expect("a pipe");
    // SAFETY: the child makes system calls, and allocates by glibc's allocator, which goes through a fork whole.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: both are open.
        let standing = unsafe { libc::dup2(log.as_raw_fd(), 2) } == 2 && filter::apply(role).is_ok();
        if standing {
            // SAFETY: whatever the call does, it does to this process, which ends here.
            let result = unsafe { libc::syscall(number, a, b, c, d, e, f) }.to_le_bytes();
            // SAFETY: the bytes outlive the call.
            unsafe { libc::write(2, result.as_ptr().cast(), result.len()) };
        }
        super::exit(0)
    }
    drop(log);
    let mut bytes = Vec::new();
    answer.read_to_end(&mut bytes).expect("an answer");
    waitpid(Pid::from_raw(child), WaitOptions::empty()).expect("a child");
    Some(i64::from_le_bytes(bytes.try_into().ok()?))
}

/// Its own files to the length that they may have, nothing of the operator's log, and no other way to name that.
#[test]
fn a_maker_has_no_other_files_and_no_more_of_its_own() {
    let open = tempfile::tempfile().expect("a file");
    let (file, log, keep_size) = (i64::from(open.as_raw_fd()), 2, i64::from(libc::FALLOC_FL_KEEP_SIZE));
    let mapped = [0, 4096, i64::from(libc::PROT_READ), i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS), -1, 0];
    let [start, length, rights, flags, none, offset] = mapped;
    for (call, allowed) in [
        ([libc::SYS_fallocate, file, 0, 0, 8192, 0, 0], true),
        ([libc::SYS_fallocate, file, keep_size, 0, 8192, 0, 0], false),
        ([libc::SYS_fallocate, log, 0, 0, 8192, 0, 0], false),
        ([libc::SYS_ftruncate, file, 0, 0, 0, 0, 0], true),
        ([libc::SYS_ftruncate, log, 0, 0, 0, 0, 0], false),
        ([libc::SYS_lseek, file, 0, 0, 0, 0, 0], true),
        ([libc::SYS_lseek, log, 0, 0, 0, 0, 0], false),
        ([libc::SYS_pread64, file, 0, 0, 0, 0, 0], true),
        ([libc::SYS_pread64, log, 0, 0, 0, 0, 0], false),
        ([libc::SYS_preadv2, file, 0, 0, 0, 0, 0], true),
        ([libc::SYS_preadv2, log, 0, 0, 0, 0, 0], false),
        ([libc::SYS_pwrite64, file, 0, 0, 0, 0, 0], true),
        ([libc::SYS_pwrite64, log, 0, 0, 0, 0, 0], false),
        ([libc::SYS_write, log, 0, 0, 0, 0, 0], true),
        ([libc::SYS_write, file, 0, 0, 0, 0, 0], false),
        ([libc::SYS_fcntl, log, i64::from(libc::F_GETFD), 0, 0, 0, 0], true),
        ([libc::SYS_fcntl, log, i64::from(libc::F_DUPFD_CLOEXEC), 0, 0, 0, 0], false),
        ([libc::SYS_fcntl, log, i64::from(libc::F_DUPFD), 0, 0, 0, 0], false),
        ([libc::SYS_dup, log, 0, 0, 0, 0, 0], false),
        ([libc::SYS_mmap, start, length, rights, flags, none, offset], true),
        ([libc::SYS_mmap, start, length, rights | i64::from(libc::PROT_EXEC), flags, none, offset], false),
    ] {
        let result = under(Role::Keeper, call);
        assert_eq!(result.is_some(), allowed, "{call:?}");
        assert!(result.is_none_or(|result| result >= 0), "{call:?}: {result:?}");
    }
}
