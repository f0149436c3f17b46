//! Answers the system calls of code in an area, and touches no other.
//!
//! A filter (seccomp) answers with an error that number and arguments decide. Newer kernels do not ask it about `uprobe` and `uretprobe`,
//! to whose numbers code may come. They answer the former with an error, the latter with -1 and SIGILL, unless it is their own doing.

use super::AREA_BYTES;
use std::{ffi, io, mem, ptr, sync::OnceLock};

/// What was to be done about SIGILL before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// From now on, for the area of this thread that begins at `area`.
pub(super) fn calls_from(area: usize) -> io::Result<()> {
    PREVIOUS.get_or_init(pass_over_uretprobe);
    filter(area)
}

/// The code goes on with the answer that the call has.
fn pass_over_uretprobe() -> libc::sigaction {
    let handler: extern "C" fn(ffi::c_int, *const libc::siginfo_t, *const ffi::c_void) = illegal;
    // SAFETY: zeros are no handler, no flags, and no signals.
    let (mut action, mut previous): (libc::sigaction, libc::sigaction) = unsafe { mem::zeroed() };
    (action.sa_sigaction, action.sa_flags) = (handler as usize, libc::SA_SIGINFO);
    // SAFETY: the handler has the signature that the flag asks for, and only reads what it is given.
    let result = unsafe { libc::sigaction(libc::SIGILL, &raw const action, &raw mut previous) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    previous
}

extern "C" fn illegal(_: ffi::c_int, information: *const libc::siginfo_t, _: *const ffi::c_void) {
    // SAFETY: the kernel gives it to a handler with this flag.
    let code = unsafe { (*information).si_code };
    if code != libc::SI_KERNEL {
        // An instruction is illegal: it is met again, and left to who was there before, such as libFuzzer.
        let previous = PREVIOUS.get().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: an action that this call itself gave, or none.
        unsafe { libc::sigaction(libc::SIGILL, previous, ptr::null_mut()) };
    }
}

fn filter(area: usize) -> io::Result<()> {
    let load = |at: u32| (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let mix = |at: u32| {
        [load(at), (libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X, 0, 0, 0), (libc::BPF_MISC | libc::BPF_TAX, 0, 0, 0)]
    };
    let unless = |value: u32, skip: u8| (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skip, value);
    let alu = |operation, value: u32| (libc::BPF_ALU | operation | libc::BPF_K, 0, 0, value);
    // `struct seccomp_data`: number 0, architecture 4, instruction pointer 8, arguments from 16 on.
    let mut code = vec![load(12), unless((area >> 32) as u32, 26), load(8)];
    code.extend([alu(libc::BPF_AND, !(AREA_BYTES as u32 - 1)), unless(area as u32, 23)]);
    code.extend([load(0), (libc::BPF_MISC | libc::BPF_TAX, 0, 0, 0)]);
    (0..6).for_each(|argument| code.extend(mix(16 + 8 * argument)));
    code.extend([alu(libc::BPF_AND, 0xfff), alu(libc::BPF_OR, libc::SECCOMP_RET_ERRNO)]);
    code.push((libc::BPF_RET | libc::BPF_A, 0, 0, 0));
    code.push((libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    let mut code: Vec<_> =
        code.into_iter().map(|(code, jt, jf, k)| libc::sock_filter { code: code as u16, jt, jf, k }).collect();
    let program = libc::sock_fprog { len: code.len() as u16, filter: code.as_mut_ptr() };
    // SAFETY: takes from the thread what it does not need.
    let unprivileged = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program is as long as it says, and copied.
    let filtered = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if unprivileged == 0 && filtered == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
