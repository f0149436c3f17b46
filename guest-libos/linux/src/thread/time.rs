//! Clocks and `struct timespec`.
//!
//! All deadlines inside are ns of the VM's clock, which is CLOCK_MONOTONIC. The other clocks are translated once, when a
//! call comes: the VM's real-time clock is never set, so both run alike.
use crate::errno::Errno;
use linux_raw_sys::general as raw;

/// A deadline that never comes.
pub const NEVER: u64 = u64::MAX;

const SECOND_NS: u64 = 1_000_000_000;

/// What time it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The VM's clock, in ns.
    pub mono_ns: u64,
    /// Ns since 1970 at zero of the VM's clock.
    pub realtime_base_ns: u64,
}

/// A clock that deadlines can be given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// CLOCK_MONOTONIC, CLOCK_BOOTTIME: the VM's clock.
    Monotonic,
    /// CLOCK_REALTIME, CLOCK_TAI.
    Realtime,
    /// CPU time, of the process or the thread.
    Cpu,
}

impl Clock {
    /// The clock of a `clockid_t`, where it can be waited on.
    ///
    /// # Errors
    /// `EINVAL` for no clock, `EOPNOTSUPP` for one that can only be read.
    pub fn parse(id: i32) -> Result<Self, Errno> {
        match u32::try_from(id).map_err(|_| Errno::EINVAL)? {
            raw::CLOCK_MONOTONIC | raw::CLOCK_BOOTTIME => Ok(Self::Monotonic),
            raw::CLOCK_REALTIME | raw::CLOCK_TAI => Ok(Self::Realtime),
            raw::CLOCK_PROCESS_CPUTIME_ID | raw::CLOCK_THREAD_CPUTIME_ID => Ok(Self::Cpu),
            raw::CLOCK_MONOTONIC_RAW | raw::CLOCK_REALTIME_COARSE | raw::CLOCK_MONOTONIC_COARSE => {
                Err(Errno::EOPNOTSUPP)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// When a time comes, in ns of the VM's clock; [`Clock::Cpu`] is taken for the VM's clock.
    #[must_use]
    pub fn deadline(self, absolute: bool, ns: u64, now: Now) -> u64 {
        match (absolute, self) {
            (false, _) => now.mono_ns.saturating_add(ns),
            (true, Self::Realtime) if ns != NEVER => ns.saturating_sub(now.realtime_base_ns),
            (true, _) => ns,
        }
    }
}

/// `struct timespec`, as the program gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timespec {
    /// Seconds.
    pub seconds: i64,
    /// And nanoseconds.
    pub nanoseconds: i64,
}

impl Timespec {
    /// Writes it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.seconds.cast_unsigned()) | u128::from(self.nanoseconds.cast_unsigned()) << 64).to_le_bytes()
    }

    /// The time that so many ns are.
    #[must_use]
    pub fn from_ns(ns: u64) -> Self {
        Self { seconds: (ns / SECOND_NS).cast_signed(), nanoseconds: (ns % SECOND_NS).cast_signed() }
    }

    /// All of it in ns, [`NEVER`] if that is too much.
    ///
    /// # Errors
    /// `EINVAL` if it is negative, or the nanoseconds are a second or more.
    pub fn ns(self) -> Result<u64, Errno> {
        let seconds = u64::try_from(self.seconds).map_err(|_| Errno::EINVAL)?;
        let rest = u64::try_from(self.nanoseconds).map_err(|_| Errno::EINVAL)?;
        if rest >= SECOND_NS {
            return Err(Errno::EINVAL);
        }
        Ok(seconds.saturating_mul(SECOND_NS).saturating_add(rest))
    }
}
