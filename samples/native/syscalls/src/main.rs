//! How long system calls take: an ordinary program for Linux, which `denali bench syscall` runs in a VM and on the host.
//!
//! Its argument names the call. It says picoseconds a call, once for each round.

use std::{
    env,
    ffi::CStr,
    mem, ptr,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Instant,
};

const ROUNDS: usize = 5;
const CALLS: u32 = 100_000;
const TURNS: u32 = 10_000;

fn main() {
    let call = env::args().nth(1).unwrap_or_default();
    stay_on_one_cpu();
    for _ in 0..ROUNDS {
        let picoseconds = match &*call {
            "getpid" => measure(|| syscall(libc::SYS_getpid, [0; 4])),
            "write" => {
                let null = open(c"/dev/null", libc::O_WRONLY);
                let byte = [0_u8; 64];
                measure(|| syscall(libc::SYS_write, [null, byte.as_ptr() as usize, byte.len(), 0]))
            }
            "read" => {
                let file = open(c"/tmp/denali-bench-syscall", libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC);
                let mut page = [1_u8; 4096];
                let page = page.as_mut_ptr() as usize;
                syscall(libc::SYS_write, [file, page, 4096, 0]);
                let picoseconds = measure(|| syscall(libc::SYS_pread64, [file, page, 4096, 0]));
                syscall(libc::SYS_close, [file, 0, 0, 0]);
                syscall(libc::SYS_unlink, [c"/tmp/denali-bench-syscall".as_ptr() as usize, 0, 0, 0]);
                picoseconds
            }
            "clock_gettime" => measure(|| {
                let mut time = mem::MaybeUninit::<libc::timespec>::uninit();
                // SAFETY: the function fills the structure.
                unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr()) };
            }),
            "futex" => futex(),
            _ => panic!("call one of getpid, write, read, clock_gettime and futex"),
        };
        println!("{picoseconds}");
    }
}

/// Picoseconds of one call.
fn measure(mut call: impl FnMut()) -> u64 {
    call();
    let begun = Instant::now();
    (0..CALLS).for_each(|_| call());
    begun.elapsed().as_nanos() as u64 * 1000 / u64::from(CALLS)
}

fn syscall(number: libc::c_long, [a, b, c, d]: [usize; 4]) {
    // SAFETY: the calls above are given what lives as long as they need.
    let result = unsafe { libc::syscall(number, a, b, c, d) };
    assert!(result >= 0, "{}", std::io::Error::last_os_error());
}

fn open(path: &CStr, flags: i32) -> usize {
    // SAFETY: the path ends with a zero byte.
    let file = unsafe { libc::open(path.as_ptr(), flags, 0o600) };
    usize::try_from(file).expect("it opens")
}

/// Picoseconds from one thread to another and back: each waits for the other's turn to end.
fn futex() -> u64 {
    static TURN: AtomicU32 = AtomicU32::new(0);
    TURN.store(0, Ordering::SeqCst);
    let take_turns = |mine: u32| {
        for turn in (mine..2 * TURNS).step_by(2) {
            loop {
                let now = TURN.load(Ordering::SeqCst);
                if now == turn {
                    break;
                }
                // SAFETY: the word lives for ever.
                unsafe {
                    libc::syscall(
                        libc::SYS_futex,
                        TURN.as_ptr(),
                        libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                        now,
                        ptr::null::<u8>(),
                    )
                };
            }
            TURN.store(turn + 1, Ordering::SeqCst);
            // SAFETY: as above.
            unsafe { libc::syscall(libc::SYS_futex, TURN.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1) };
        }
    };
    let begun = Instant::now();
    let other = thread::spawn(move || take_turns(1));
    take_turns(0);
    other.join().expect("it does not panic");
    begun.elapsed().as_nanos() as u64 * 1000 / u64::from(TURNS)
}

/// A VM has one, and a host's threads are faster if they share one.
fn stay_on_one_cpu() {
    // SAFETY: an empty set is valid.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the set is large enough for the CPU that runs this.
    unsafe { libc::CPU_SET(usize::try_from(libc::sched_getcpu()).unwrap_or(0), &mut set) };
    // SAFETY: the set is read. Where it is refused the figures are of several CPUs.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
}
