use super::{Only, Role};
use std::collections::BTreeSet;

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
