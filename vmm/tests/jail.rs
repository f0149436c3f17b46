//! What a guest can do that took over its worker: nothing. Seen from inside, by a flaw that is planted in this build of the
//! worker (`vmm/src/exploit.rs`), and from outside.
//!
//! `cargo test -p denali-vmm --features planted-exploit --test jail`

mod guest;

use denali_abi::memory::PAGE_BYTES;
use denali_vmm::{
    exploit::{ALLOCATE, PANIC},
    jail::Role,
    worker,
};
use guest::{Asm, DATA, Ended, Job, Reg, Worker};
use libc::c_long;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::{
    env,
    fs::{self, File},
    io::{Read, stdin},
    net::TcpListener,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    path::PathBuf,
    process::{Command, ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// The worker's, whose threads with guests can't ask the system for memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// See `vmm/src/exploit.rs`.
const EXPLOIT: u16 = 0xe0;

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some("--worker") {
        let socket = stdin().as_fd().try_clone_to_owned().expect("a descriptor");
        return worker::serve(socket);
    }
    let tests: [(&str, fn()); 11] = [
        ("a_jailed_worker_runs_jobs_and_ends", a_jailed_worker_runs_jobs_and_ends),
        ("no_other_system_call_can_be_made", no_other_system_call_can_be_made),
        ("calls_that_are_allowed_are_so_with_some_arguments_alone", calls_are_allowed_with_some_arguments_alone),
        ("without_seccomp_there_is_still_nothing_to_reach", without_seccomp_there_is_still_nothing_to_reach),
        ("calls_that_need_not_be_made_are_not", calls_that_need_not_be_made_are_not),
        ("memory_is_there_without_a_call", memory_is_there_without_a_call),
        ("a_panic_ends_it_with_words", a_panic_ends_it_with_words),
        ("a_log_that_takes_no_words_leaves_its_end_as_it_is", a_log_that_takes_no_words_leaves_its_end_as_it_is),
        ("signals_from_outside_do_not_end_it", signals_from_outside_do_not_end_it),
        ("from_outside_it_has_nothing", from_outside_it_has_nothing),
        ("it_dies_with_the_process_that_waits_for_it", it_dies_with_the_process_that_waits_for_it),
    ];
    for (name, test) in tests {
        // A test that fails ends the process by its panic.
        println!("test {name} ...");
        test();
    }
    println!("test result: ok. {} passed", tests.len());
    ExitCode::SUCCESS
}

fn worker(seccomp: bool) -> Worker {
    worker_with(seccomp, Stdio::inherit())
}

fn worker_with(seccomp: bool, stderr: Stdio) -> Worker {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    // As if whoever starts it had left something open.
    let _left_open = rustix::io::dup(std::io::stdout()).expect("a descriptor");
    let mut command = Command::new(env::current_exe().expect("this binary"));
    command
        .arg("--worker")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(stderr);
    if !seccomp {
        command.env("WITHOUT_SECCOMP", "1");
    }
    Worker::of(command.spawn().expect("a process"), ours)
}

/// A system call: its number and arguments.
#[derive(Clone, Copy, Debug)]
struct Call {
    number: c_long,
    arguments: [Argument; 6],
}

#[derive(Clone, Copy, Debug)]
enum Argument {
    Number(u64),
    /// The address of these bytes, which the guest has.
    Bytes(&'static [u8]),
    /// What the call before gave.
    Last,
}
use Argument::{Bytes, Last, Number};

const ZERO: Argument = Number(0);
const HERE: Argument = Number(libc::AT_FDCWD as u64);

fn call<const N: usize>(number: c_long, arguments: [Argument; N]) -> Call {
    let mut all = [ZERO; 6];
    all[..N].copy_from_slice(&arguments);
    Call { number, arguments: all }
}

/// A guest that makes these calls one after another, and says what each gave.
fn program(calls: &[Call]) -> Asm {
    let (table, mut bytes_at) = (DATA + 2 * PAGE_BYTES, DATA + 3 * PAGE_BYTES);
    let mut code = Asm::new().mov(Reg::Rax, 0);
    for (n, Call { number, arguments }) in calls.iter().enumerate() {
        // What the call before gave is in RAX.
        for (place, argument) in (1..).zip(arguments) {
            if matches!(argument, Last) {
                code = code.store_rax(table + 8 * place);
            }
        }
        let mut pointers = 0;
        let mut words = vec![(0, *number as u64)];
        for (place, argument) in (1u64..).zip(arguments) {
            match argument {
                Number(value) => words.push((place, *value)),
                Last => {}
                Bytes(bytes) => {
                    pointers |= 1 << (place - 1);
                    words.push((place, bytes_at));
                    for chunk in bytes.chunks(8) {
                        let mut word = [0; 8];
                        word[..chunk.len()].copy_from_slice(chunk);
                        code = code.mov(Reg::Rax, u64::from_le_bytes(word)).store_rax(bytes_at);
                        bytes_at += 8;
                    }
                    // A zero ends it.
                    bytes_at += 8;
                }
            }
        }
        words.push((7, pointers));
        for (place, word) in words {
            code = code.mov(Reg::Rax, word).store_rax(table + 8 * place);
        }
        code = code.mov(Reg::Rdi, table).out(EXPLOIT).keep_rax(n as u64);
    }
    code.send_result().terminate(0)
}

fn attempt(seccomp: bool, calls: &[Call]) -> Result<Ended, ExitStatus> {
    worker(seccomp).run_or_die(Job::new(&program(calls)))
}

/// What each call gave, in a worker without seccomp.
fn results(calls: &[Call]) -> Vec<i64> {
    let ended = attempt(false, calls).unwrap_or_else(|status| panic!("{calls:?}: {status}"));
    (0..calls.len()).map(|n| ended.word(n) as i64).collect()
}

fn is_killed(calls: &[Call]) {
    let status = attempt(true, calls).expect_err("it was allowed");
    assert_eq!(status.signal(), Some(libc::SIGSYS), "{calls:?}: {status}");
}

fn a_jailed_worker_runs_jobs_and_ends() {
    let mut worker = worker(true);
    let code = Asm::new().mov(Reg::Rax, 42).keep_rax(0).send_result().terminate(0);
    for _ in 0..20 {
        assert_eq!(worker.run(Job::new(&code)).word(0), 42);
    }
    assert!(worker.close().is_some_and(|took| took < Duration::from_secs(5)));
}

fn no_other_system_call_can_be_made() {
    let allowed = Role::Runner.rules();
    for number in 0..=470 {
        // The kernel lets these two by itself: they return from handlers of uprobes, where there are none.
        let beyond_seccomp = [335, 336].contains(&number);
        if !beyond_seccomp && !FORGIVEN.contains(&number) && !allowed.iter().any(|rule| rule.call == number) {
            is_killed(&[call(number, [])]);
        }
    }
}

/// Calls that libraries make and that nothing depends on.
const FORGIVEN: [c_long; 4] =
    [libc::SYS_sched_yield, libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_restart_syscall];

fn calls_that_need_not_be_made_are_not() {
    // An hour.
    let hour = Bytes(b"\x10\x0e\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let sleep = call(libc::SYS_clock_nanosleep, [Number(1), ZERO, hour]);
    let calls = [call(libc::SYS_sched_yield, []), sleep, call(libc::SYS_restart_syscall, [])];
    let ended = attempt(true, &calls).expect("it goes on");
    assert_eq!([0, 1, 2].map(|n| ended.word(n) as i64), [0, 0, -i64::from(libc::EINTR)]);
}

/// Threads with guests take memory: small pieces, large ones, and more of each than ever before.
fn memory_is_there_without_a_call() {
    for (pieces, bytes) in [(100_000, 100), (1_000, 10_000), (100, 1 << 20), (18, 32 << 20)] {
        let calls = [call(ALLOCATE as c_long, [Number(pieces), Number(bytes)])];
        assert_eq!(attempt(true, &calls).expect("it has memory").word(0), pieces * bytes);
    }
}

fn a_panic_ends_it_with_words() {
    let (mut words, writer) = std::io::pipe().expect("a pipe");
    panics(worker_with(true, writer.into()));
    let mut text = String::new();
    words.read_to_string(&mut text).expect("text");
    assert!(text.starts_with("denali worker: runner ") && text.contains("as planted"), "{text}");
}

/// A full disk, and a log that is longer than the worker's files may be.
fn a_log_that_takes_no_words_leaves_its_end_as_it_is() {
    let full = File::options().write(true).open("/dev/full").expect("a device");
    panics(worker_with(true, full.into()));
    let long = tempfile::tempfile().expect("a file");
    long.set_len(2 << 30).expect("a hole");
    let log = File::options().append(true).open(format!("/proc/self/fd/{}", long.as_raw_fd())).expect("a file");
    let worker = worker_with(true, log.into());
    let most = Rlimit { current: Some(1 << 30), maximum: Some(1 << 30) };
    prlimit(Pid::from_raw(inner(&worker) as i32), Resource::Fsize, most).expect("a process of ours");
    panics(worker);
    assert_eq!(long.metadata().expect("an open file").len(), 2 << 30);
}

fn panics(worker: Worker) {
    let ended = worker.run_or_die(Job::new(&program(&[call(PANIC as c_long, [])])));
    assert_eq!(ended.err().and_then(|status| status.code()), Some(125));
}

/// Whoever stops a service for a while, or has it reopen its log, has no jobs lost.
fn signals_from_outside_do_not_end_it() {
    let mut worker = worker(true);
    let inner = inner(&worker) as i32;
    let code = Asm::new().send_result().terminate(0);
    for _ in 0..50 {
        for signal in [libc::SIGUSR1, libc::SIGSTOP, libc::SIGCONT] {
            // SAFETY: it takes plain numbers, and the process is one of ours.
            assert_eq!(unsafe { libc::kill(inner, signal) }, 0);
        }
        worker.run(Job::new(&code));
        // Long enough for its keeper to wait with a time limit, and to be stopped in that.
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(worker.close().is_some());
}

fn calls_are_allowed_with_some_arguments_alone() {
    let kvm_create_vm = 0xae01;
    let rights = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u64;
    for refused in [
        call(libc::SYS_ioctl, [Number(3), Number(kvm_create_vm)]),
        call(libc::SYS_ioctl, [ZERO, Number(libc::TIOCSTI), Bytes(b"x")]),
        call(libc::SYS_sendto, [ZERO, Bytes(b"x"), Number(1), ZERO, Bytes(b"\x02\0\0\x50\x7f\0\0\x01"), Number(16)]),
        // An address whose lower half is none.
        call(libc::SYS_sendto, [ZERO, Bytes(b"x"), Number(1), ZERO, Number(1 << 32), Number(16)]),
        call(libc::SYS_tgkill, [Number(1), Number(1), Number(libc::SIGKILL as u64)]),
        call(libc::SYS_tgkill, [Number(2), Number(2), Number(libc::SIGUSR1 as u64)]),
        call(libc::SYS_madvise, [ZERO, Number(4096), Number(libc::MADV_HUGEPAGE as u64)]),
        call(libc::SYS_clock_gettime, [Number(libc::CLOCK_BOOTTIME as u64)]),
        call(libc::SYS_mmap, [ZERO, Number(4096), Number(rights), Number(0x22), Number(u64::MAX), ZERO]),
    ] {
        is_killed(&[refused]);
    }
}

/// Should seccomp fail, or let too much through.
fn without_seccomp_there_is_still_nothing_to_reach() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut address = vec![2, 0];
    address.extend(port.to_be_bytes());
    address.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let address: &'static [u8] = address.leak();
    let outside = u64::from(std::process::id());
    let stream = [Number(libc::AF_INET as u64), Number(libc::SOCK_STREAM as u64)];

    let refused = |calls: &[Call], errors: &[i32]| {
        let result = *results(calls).last().expect("a call");
        assert!(errors.iter().any(|error| result == -i64::from(*error)), "{calls:?}: {result}");
    };
    let gone = [libc::ENOENT, libc::EACCES];
    for path in [&b"/etc/passwd"[..], b"/dev/kvm", b"/proc/self/environ", b"/sys/kernel", b"/root"] {
        refused(&[call(libc::SYS_openat, [HERE, Bytes(path)])], &gone);
    }
    refused(&[call(libc::SYS_openat, [HERE, Bytes(b"/"), Number(libc::O_DIRECTORY as u64)])], &gone);
    let create = Number((libc::O_CREAT | libc::O_WRONLY) as u64);
    refused(
        &[call(libc::SYS_openat, [HERE, Bytes(b"/x"), create, Number(0o600)])],
        &[libc::EACCES, libc::EROFS, libc::EPERM],
    );
    refused(&[call(libc::SYS_execve, [Bytes(b"/bin/sh"), ZERO, ZERO])], &gone);
    refused(
        &[call(libc::SYS_socket, stream), call(libc::SYS_connect, [Last, Bytes(address), Number(16)])],
        &[libc::ENETUNREACH, libc::EACCES],
    );
    refused(&[call(libc::SYS_kill, [Number(outside), Number(9)])], &[libc::ESRCH, libc::EPERM]);
    refused(&[call(libc::SYS_ptrace, [Number(16), Number(outside)])], &[libc::ESRCH, libc::EPERM]);
    refused(&[call(libc::SYS_mount, [Bytes(b"none"), Bytes(b"/"), Bytes(b"proc")])], &[libc::EPERM]);
    refused(&[call(libc::SYS_setuid, [ZERO])], &[libc::EINVAL, libc::EPERM]);
    refused(&[call(libc::SYS_setns, [ZERO, ZERO])], &[libc::EINVAL, libc::EPERM]);
    refused(&[call(libc::SYS_init_module, [ZERO, ZERO, ZERO])], &[libc::EPERM, libc::ENOSYS]);
    refused(&[call(libc::SYS_chroot, [Bytes(b"/")])], &[libc::EPERM, libc::EACCES]);
    // It sees itself alone.
    let alone = results(&[call(libc::SYS_getpid, []), call(libc::SYS_getppid, []), call(libc::SYS_geteuid, [])]);
    assert_eq!(alone, [1, 0, 65_534]);
}

/// The process behind the one that waits for it.
fn inner(worker: &Worker) -> u32 {
    let launcher = worker.process().expect("it has a process");
    let children = fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).expect("its children");
    children.trim().parse().unwrap_or_else(|_| panic!("one child, not {children:?}"))
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    line.trim()
}

fn from_outside_it_has_nothing() {
    let mut worker = worker(true);
    let code = Asm::new().send_result().terminate(0);
    worker.run(Job::new(&code));
    let process = PathBuf::from(format!("/proc/{}", inner(&worker)));

    let tasks = fs::read_dir(process.join("task")).expect("its threads");
    let mut threads = 0;
    for task in tasks {
        let status = fs::read_to_string(task.expect("a thread").path().join("status")).expect("its status");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(&status, set), "0000000000000000", "{set} {status}");
        }
        assert_eq!((field(&status, "NoNewPrivs:"), field(&status, "Seccomp:")), ("1", "2"), "{status}");
        // KVM has a thread of its own for each VM, which never leaves the kernel.
        threads += usize::from(!field(&status, "Name:").starts_with("kvm-"));
    }
    // Runners and makers, keeper, reporter, and the first.
    assert_eq!(threads, 2 * std::thread::available_parallelism().map_or(1, usize::from) + 3);

    for space in ["user", "mnt", "net", "ipc", "uts", "cgroup", "pid"] {
        let of = |process: PathBuf| fs::read_link(process.join("ns").join(space)).expect("a namespace");
        assert_ne!(of(process.clone()), of("/proc/self".into()), "{space}");
    }
    assert_eq!(fs::read_dir(process.join("root")).expect("its root").count(), 0);
    let mounts = fs::read_to_string(process.join("mounts")).expect("its mounts");
    let mount: Vec<&str> = mounts.split_whitespace().collect();
    assert_eq!((mounts.lines().count(), mount[1], mount[2]), (1, "/", "tmpfs"), "{mounts}");
    assert!(mount[3].split(',').any(|option| option == "ro"), "{mounts}");
    let devices = fs::read_to_string(process.join("net/dev")).expect("its network");
    assert_eq!(devices.lines().skip(2).filter(|line| !line.contains("lo:")).count(), 0, "{devices}");

    // Its socket, KVM, its own page map, images and inputs in memory, what it waits on, and the operator's log.
    for descriptor in fs::read_dir(process.join("fd")).expect("its descriptors") {
        let descriptor = descriptor.expect("a descriptor");
        let number: u32 = descriptor.file_name().to_str().and_then(|name| name.parse().ok()).expect("a number");
        let target = fs::read_link(descriptor.path()).expect("what it is").to_string_lossy().into_owned();
        let known = ["socket:", "anon_inode:", "/memfd:"].iter().any(|known| target.starts_with(known));
        // Opened where there were files: their paths have lost their beginnings.
        let opened = ["/kvm", "/pagemap", "/null"].iter().any(|name| target.ends_with(name));
        assert!(number == 2 || known || opened, "{number}: {target}");
    }
    worker.close();
}

/// Whether a process runs; one that ended may still wait for whoever is its parent now.
fn lives(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    !status.is_empty() && !field(&status, "State:").starts_with('Z')
}

fn it_dies_with_the_process_that_waits_for_it() {
    let worker = worker(true);
    let (launcher, inner) = (worker.process().expect("a process"), inner(&worker));
    // SAFETY: it takes plain numbers, and the process is a child of ours.
    assert_eq!(unsafe { libc::kill(launcher as i32, libc::SIGKILL) }, 0);
    // Its socket stays open: that would end it too.
    let end = Instant::now() + Duration::from_secs(10);
    while lives(inner) {
        assert!(Instant::now() < end, "it lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(worker);
}
