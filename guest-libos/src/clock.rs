//! Time, read from the time-stamp counter: no exit.

use crate::vreg;
use core::{sync::atomic::Ordering, time::Duration};

/// Nanoseconds since the VM's start.
#[must_use]
pub fn now_ns() -> u64 {
    // SAFETY: every x86-64 CPU has RDTSC, and the VMM leaves it enabled.
    let tsc = unsafe { core::arch::x86_64::_rdtsc() };
    let [base, to_ns] = [vreg::tsc_base(), vreg::tsc_to_ns()].map(|word| word.load(Ordering::Relaxed));
    ((u128::from(tsc.wrapping_sub(base)) * u128::from(to_ns)) >> 32) as u64
}

/// Time since the VM's start.
#[must_use]
pub fn now() -> Duration {
    Duration::from_nanos(now_ns())
}

/// Time since 1970 (UTC), by the host's clock at the VM's start.
#[must_use]
pub fn realtime() -> Duration {
    Duration::from_nanos(crate::vreg::read().realtime_base_ns.wrapping_add(now_ns()))
}

/// CPU time that this job may use.
#[must_use]
pub fn cpu_limit() -> Duration {
    Duration::from_micros(crate::vreg::read().cpu_limit_us)
}

/// Gives up the CPU for `time`.
pub fn sleep(time: Duration) {
    let until = now_ns().saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - 1));
    while now_ns() < until {
        crate::instruction::idle(until);
    }
}
