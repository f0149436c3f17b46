//! From the VM's first instruction to the program's `main`, and from its end to TERMINATE.

use crate::{heap::Heap, instruction, job::Job, stream, vreg};
use core::{
    fmt,
    panic::PanicInfo,
    sync::atomic::{AtomicBool, Ordering},
};
use denali_abi::instruction::STATUS_OUT_OF_MEMORY;

/// The status of a program that panicked, as of Rust programs everywhere.
pub(crate) const STATUS_PANIC: u64 = 101;

/// Whether the program's panic is being reported.
static PANICKING: AtomicBool = AtomicBool::new(false);

/// The status of a library OS that does not know the VMM's version of the contract.
const STATUS_INCOMPATIBLE: u64 = 125;

/// What a `main` may give back: the job's exit status.
pub trait Exit {
    /// The status, after saying on standard error what went wrong.
    fn status(self) -> u8;
}

impl Exit for () {
    fn status(self) -> u8 {
        0
    }
}

impl Exit for u8 {
    fn status(self) -> u8 {
        self
    }
}

impl<T: Exit, E: fmt::Display> Exit for Result<T, E> {
    fn status(self) -> u8 {
        match self {
            Ok(value) => value.status(),
            Err(error) => {
                crate::eprintln!("error: {error}");
                1
            }
        }
    }
}

/// Runs a program. Called by [`crate::main!`] alone.
///
/// # Safety
/// Must be the first thing that the VM does, and `heap` the program's allocator.
#[doc(hidden)]
pub unsafe fn enter<T: Exit>(heap: &Heap, main: fn(&mut Job) -> T) -> ! {
    if !vreg::compatible() {
        instruction::terminate(STATUS_INCOMPATIBLE);
    }
    // SAFETY: nothing ran before, so no one uses the heap's memory, and it is claimed this once.
    unsafe { heap.claim(u64::MAX) };
    if vreg::read().checkpoint_wanted != 0 {
        instruction::checkpoint();
    }
    let status = main(&mut Job::receive()).status();
    exit(status)
}

/// Ends the job with this status. What was written to the outputs is sent.
pub fn exit(status: u8) -> ! {
    stream::flush();
    instruction::terminate(status.into())
}

/// Ends the job with the panic's message. Called by [`crate::main!`] alone.
#[doc(hidden)]
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    // A handler's panic finds in use what the code that it interrupted uses: its message is lost then.
    if PANICKING.swap(true, Ordering::Relaxed) {
        instruction::terminate(STATUS_PANIC);
    }
    let exhausted = crate::heap::exhausted();
    crate::eprintln!("{info}");
    stream::flush();
    instruction::terminate(if exhausted { STATUS_OUT_OF_MEMORY } else { STATUS_PANIC })
}

/// Makes a function the program: `fn main(job: &mut Job) -> T`, where `T` is `()`, a status, or a `Result` of one.
///
/// ```ignore
/// denali_guest::main!(main);
///
/// fn main(job: &mut denali_guest::Job) {
///     denali_guest::println!("Hello, {}!", job.arguments().join(" "));
/// }
/// ```
#[macro_export]
macro_rules! main {
    ($main:path) => {
        #[global_allocator]
        static DENALI_HEAP: $crate::heap::Heap = $crate::heap::Heap::new();

        #[panic_handler]
        fn denali_panic(info: &::core::panic::PanicInfo<'_>) -> ! {
            $crate::entry::panicked(info)
        }

        extern "C" fn denali_enter() -> ! {
            // SAFETY: `_start`, the entry point, calls this first and once; the heap is this program's allocator.
            unsafe { $crate::entry::enter(&DENALI_HEAP, $main) }
        }

        /// The entry point: the stack pointer is at the stack's top, and all else is zero.
        // SAFETY: the linker script names `_start` as the entry, and no other function has that name.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        extern "C" fn _start() -> ! {
            ::core::arch::naked_asm!("xor ebp, ebp", "call {enter}", "ud2", enter = sym denali_enter)
        }
    };
}
