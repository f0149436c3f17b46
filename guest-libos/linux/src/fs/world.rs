//! What the embedder gives: the three standard streams and randomness.

/// What reading standard input gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// So many bytes, at least one, were put at the start of the buffer.
    Bytes(usize),
    /// The end: no byte comes any more.
    End,
    /// None yet.
    Pending,
}

/// A standard stream that is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// The standard streams.
pub trait Console {
    /// Reads standard input into `buffer`, which is not empty.
    fn read(&mut self, buffer: &mut [u8]) -> Input;

    /// Whether [`Console::read`] would give anything but [`Input::Pending`].
    fn readable(&self) -> bool;

    /// Writes to a stream; how many of the bytes were taken, 0 where none can be now.
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> usize;

    /// Whether [`Console::write`] would take a byte.
    fn writable(&self, stream: Stream) -> bool;
}

/// A file whose contents are made when it is read: [`Stop::Text`](super::Stop::Text).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the file of its name")]
pub enum Generated {
    /// The job's arguments, for a program that is ready for it.
    Ready,
    ProcCmdline,
    ProcComm,
    ProcEnviron,
    ProcAuxv,
    ProcLimits,
    ProcMaps,
    ProcMountinfo,
    ProcMounts,
    ProcStat,
    ProcStatm,
    ProcStatus,
    Cpuinfo,
    Filesystems,
    Loadavg,
    Meminfo,
    Stat,
    Uptime,
    Version,
    SysHostname,
    SysOsrelease,
    SysOstype,
    SysPidMax,
    SysThreadsMax,
    SysCapLastCap,
    SysSomaxconn,
    SysMaxMapCount,
    SysOvercommitMemory,
    SysBootId,
    SysFileMax,
    /// /proc/sys/fs/pipe-max-size
    SysPipeMaxSize,
    CpusOnline,
    CpusPossible,
    CpusPresent,
    HugepageEnabled,
    HugepageSize,
}

/// Everything that the file system asks its embedder for.
pub trait World: Console {
    /// The time.
    fn now(&self) -> Now;

    /// Fills `buffer` with bytes for keys.
    fn random(&mut self, buffer: &mut [u8]);

    /// The program says how far its job is, in thousandths. Whether anyone is told: there may be no job yet.
    fn progress(&mut self, permille: u16) -> bool {
        let _ = permille;
        false
    }
}

/// The time, by both clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// Nanoseconds since 1970 of `CLOCK_REALTIME`.
    pub realtime_ns: u64,
}

/// Readiness, as bits of poll(2) and epoll(7), which agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events(pub u32);

impl Events {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Reading does not wait (`POLLIN`, `POLLRDNORM`).
    pub const IN: Self = Self(0x041);
    /// Writing does not wait (`POLLOUT`, `POLLWRNORM`).
    pub const OUT: Self = Self(0x104);
    /// Every reader is gone (`POLLERR`).
    pub const ERR: Self = Self(0x008);
    /// Every writer is gone (`POLLHUP`).
    pub const HUP: Self = Self(0x010);
    /// The other end of a connection writes no more (`POLLRDHUP`).
    pub const RDHUP: Self = Self(0x2000);

    /// All of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These if `condition` holds, else none.
    #[must_use]
    pub const fn when(self, condition: bool) -> Self {
        if condition { self } else { Self::NONE }
    }

    /// Whether any is in both.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}
