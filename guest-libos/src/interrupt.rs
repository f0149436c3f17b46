//! Interrupts: a handler that is called when something happened, in the middle of whatever runs.
//!
//! They are batched and late. The VMM says what happened when it enters the VM: within 20 ms while it runs, at once when it
//! idles. A handler is never interrupted by another interrupt. What comes meanwhile, or while they are disabled, is kept,
//! and the handler is called afterwards.
//!
//! A handler may compute, use atomics, read the clock, allocate, and set the timer. It must not wait: an IDLE of its own
//! would take the event that the interrupted code is about to wait for. Input, outputs and random numbers belong to the
//! interrupted code; a handler that finds them in use panics. So set a flag, and let the program look at it.

use crate::{clock, instruction, upcall, vreg};
use core::{
    arch::asm,
    mem, ptr,
    sync::atomic::{AtomicPtr, Ordering, compiler_fence},
    time::Duration,
};
use denali_abi::{
    instruction::IDLE_FOREVER,
    registers::{IN_UPCALL, pending},
};

/// What happened since the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Causes(u64);

impl Causes {
    /// Frames came.
    pub const RECEIVE: Self = Self(pending::RECEIVE);
    /// There is room to transmit.
    pub const TRANSMIT: Self = Self(pending::TRANSMIT);
    /// The timer's time has come.
    pub const TIMER: Self = Self(pending::TIMER);
    /// The VM has less than 50 ms of its CPU or wall time left.
    pub const STOPPING: Self = Self(pending::STOPPING);

    /// Whether `cause` is among them.
    #[must_use]
    pub fn has(self, cause: Self) -> bool {
        self.0 & cause.0 != 0
    }
}

/// The handler, a `fn(Causes)`; null for none.
static HANDLER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Where the interrupted code goes on, a `fn(u64) -> u64`; null where it was interrupted.
static REDIRECT: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Asks `redirect` at the end of each interrupt where the interrupted code goes on: it is given the address where it was
/// interrupted. All registers but the instruction pointer are as they were there. For those who have threads.
///
/// # Safety
/// Code at the address that it answers must be able to run with any registers, and without a stack.
pub unsafe fn redirect(redirect: fn(u64) -> u64) {
    REDIRECT.store(redirect as *mut (), Ordering::Relaxed);
}

/// Calls `handler` for interrupts from now on, and enables them.
pub fn on(handler: fn(Causes)) {
    HANDLER.store(handler as *mut (), Ordering::Relaxed);
    upcall::take_interrupts();
    enable();
}

/// Disables interrupts. Gives whether they were enabled.
pub fn disable() -> bool {
    let word = vreg::interrupts_enabled();
    let was = word.load(Ordering::Relaxed) != 0;
    word.store(0, Ordering::Relaxed);
    // The VMM acts between two instructions of this CPU: only the compiler could reorder.
    compiler_fence(Ordering::SeqCst);
    was
}

/// Enables interrupts. What came meanwhile is handled first.
pub fn enable() {
    compiler_fence(Ordering::SeqCst);
    vreg::interrupts_enabled().store(1, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    // What came from here on interrupts; what came before may not for another 20 ms.
    while vreg::causes().load(Ordering::Relaxed) != 0 && !in_handler() && handler().is_some() {
        set_in_handler(true);
        deliver();
        set_in_handler(false);
    }
}

/// Calls `f` with interrupts disabled.
pub fn without<T>(f: impl FnOnce() -> T) -> T {
    let was = disable();
    let value = f();
    if was {
        enable();
    }
    value
}

/// Waits until `ready` says so. It is asked after each interrupt, and with interrupts disabled, so that none falls between its
/// answer and the wait.
pub fn wait(mut ready: impl FnMut() -> bool) {
    let was = disable();
    while !ready() {
        // It ends as soon as there is a cause, enabled or not.
        instruction::idle(IDLE_FOREVER);
        enable();
        disable();
    }
    if was {
        enable();
    }
}

/// Whether this runs in a handler, of interrupts or of faults.
#[must_use]
pub fn in_handler() -> bool {
    let flags: u64;
    // SAFETY: pushes and pops a word, and changes no flag.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags & IN_UPCALL != 0
}

fn set_in_handler(value: bool) {
    let (clear, set) = (!IN_UPCALL, if value { IN_UPCALL } else { 0 });
    // SAFETY: the bit means something to the VMM alone; the flags of arithmetic are clobbered, as the compiler expects.
    unsafe {
        asm!("pushfq", "and [rsp], {clear}", "or [rsp], {set}", "popfq", clear = in(reg) clear, set = in(reg) set);
    }
}

/// Interrupts with [`Causes::TIMER`] every `period`: at least half a millisecond, about on time.
pub fn every(period: Duration) {
    let ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(1);
    set_timer(clock::now_ns().saturating_add(ns), ns);
}

/// Interrupts with [`Causes::TIMER`] once, at `time` of [`clock::now`].
pub fn at(time: Duration) {
    set_timer(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1), 0);
}

/// The same as [`at`] without an exit: the VMM learns of it when it next enters this VM, which may be 20 ms from now.
pub fn at_next_entry(time: Duration) {
    vreg::timer_period_ns().store(0, Ordering::Relaxed);
    vreg::timer_ns().store(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
}

/// Stops the timer.
pub fn stop_timer() {
    vreg::timer_ns().store(0, Ordering::Relaxed);
}

fn set_timer(first_ns: u64, period_ns: u64) {
    stop_timer();
    vreg::timer_period_ns().store(period_ns, Ordering::Relaxed);
    vreg::timer_ns().store(first_ns, Ordering::Relaxed);
    // The VMM looks at the next entry. A handler's caller may be about to wait for what this would take from it.
    if !in_handler() {
        instruction::idle(0);
    }
}

fn handler() -> Option<fn(Causes)> {
    let handler = HANDLER.load(Ordering::Relaxed);
    // SAFETY: it is null, which is `None`, or was made of such a function by `on`.
    unsafe { mem::transmute(handler) }
}

/// Called by the assembly alone, with the place of the interrupted instruction pointer.
pub(crate) extern "C" fn handle(rip: &mut u64) {
    deliver();
    let redirect = REDIRECT.load(Ordering::Relaxed);
    // SAFETY: it is null, which is `None`, or was made of such a function by `redirect`.
    let redirect: Option<fn(u64) -> u64> = unsafe { mem::transmute(redirect) };
    if let Some(redirect) = redirect {
        *rip = redirect(*rip);
    }
}

/// Calls the handler until nothing is left to say.
fn deliver() {
    loop {
        match (vreg::causes().swap(0, Ordering::Relaxed), handler()) {
            (0, _) | (_, None) => return,
            (causes, Some(handler)) => handler(Causes(causes)),
        }
    }
}
