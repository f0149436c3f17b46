//! The error numbers of Linux, as system calls return them.
//!
//! Only the numbers that this crate's calls can return have a name here. The values are those of Linux' own headers, from
//! the crate linux-raw-sys.

use core::fmt;
use linux_raw_sys::errno as raw;

/// An error number of Linux, from 1 to 4,095.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub(crate) i32);

impl Errno {
    /// The number: 2 for `ENOENT`.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// What a system call returns in `rax`: the number, negated.
    #[must_use]
    pub const fn rax(self) -> u64 {
        (-(self.0 as i64)).cast_unsigned()
    }
}

/// Gives each number its constant, and its name in messages.
macro_rules! numbers {
    ($($name:ident $meaning:literal,)*) => {
        impl Errno {
            $(#[doc = $meaning] pub const $name: Self = Self(raw::$name.cast_signed());)*

            /// The name in Linux' headers: `"ENOENT"`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    _ => "E?",
                }
            }
        }

        #[cfg(test)]
        const ALL: &[Errno] = &[$(Errno::$name,)*];
    };
}

numbers! {
    EPERM "Operation not permitted.",
    ENOENT "No such file or directory.",
    ESRCH "No such process.",
    EINTR "Interrupted by a signal.",
    EIO "Input or output failed.",
    ENXIO "No such device or address.",
    E2BIG "Arguments and environment too long.",
    EBADF "Not an open file descriptor.",
    ECHILD "No child processes.",
    EAGAIN "Try again, it would block; the same as `EWOULDBLOCK`.",
    ENOMEM "Out of memory.",
    EACCES "Permission denied.",
    EFAULT "Bad address.",
    EBUSY "Device or resource busy.",
    EEXIST "Exists already.",
    EXDEV "A link across file systems.",
    ENODEV "The file or device does not do this.",
    ENOTDIR "Not a directory.",
    EISDIR "A directory.",
    EINVAL "Invalid argument.",
    ENFILE "Too many open files in the system.",
    EMFILE "Too many open files.",
    ENOTTY "Not a terminal: no such control.",
    EFBIG "The file would become too large.",
    ENOSPC "No space left.",
    ESPIPE "Can't seek.",
    EROFS "Read-only file system.",
    EMLINK "Too many links.",
    EPIPE "No reader at the other end.",
    EDOM "Outside of the function's domain.",
    ERANGE "The result does not fit.",
    EDEADLK "It would wait for ever.",
    ENAMETOOLONG "The name is too long.",
    ENOSYS "No such system call.",
    ENOTEMPTY "The directory is not empty.",
    ELOOP "Too many symbolic links.",
    ENOTSOCK "Not a socket.",
    EDESTADDRREQ "A destination is needed.",
    EMSGSIZE "The message is too long.",
    EPROTOTYPE "The wrong protocol for the socket.",
    ENOPROTOOPT "No such option.",
    EPROTONOSUPPORT "No such protocol.",
    ESOCKTNOSUPPORT "No such type of socket.",
    EOPNOTSUPP "Not supported.",
    EAFNOSUPPORT "No such family of addresses.",
    EADDRINUSE "The address is in use.",
    EADDRNOTAVAIL "No such address here.",
    ENETUNREACH "The network can't be reached.",
    ECONNABORTED "The connection was given up.",
    ECONNRESET "The connection was reset.",
    ENOBUFS "No room for buffers.",
    EISCONN "Connected already.",
    ENOTCONN "Not connected.",
    ETOOMANYREFS "Too many descriptors are on their way.",
    ETIMEDOUT "It took too long.",
    ECONNREFUSED "The connection was refused.",
    EALREADY "Under way already.",
    EINPROGRESS "Under way now.",
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::{ALL, Errno};

    #[test]
    fn each_number_is_one_that_linux_can_return_and_has_one_name() {
        for (i, errno) in ALL.iter().enumerate() {
            assert!((1..4096).contains(&errno.number()));
            assert!(ALL[..i].iter().all(|other| other != errno && other.name() != errno.name()), "{errno:?}");
        }
    }

    #[test]
    fn a_call_returns_the_negated_number() {
        assert_eq!(Errno::ENOENT.rax(), (-2i64).cast_unsigned());
        assert_eq!(format!("{:?} {0}", Errno::EFAULT), "EFAULT(14) EFAULT");
    }
}
