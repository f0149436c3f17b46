//! Error numbers, with Linux's values on x86-64: what a system call that fails returns, negated.
use core::fmt;

/// The error number of a system call.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

macro_rules! errors {
    ($($name:ident)*) => {
        #[allow(missing_docs, reason = "their meaning is errno(3)")]
        impl Errno {
            $(pub const $name: Self = Self(linux_raw_sys::errno::$name as i32);)*
        }

        impl fmt::Debug for Errno {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$name => f.write_str(stringify!($name)),)*
                    Self(other) => write!(f, "Errno({other})"),
                }
            }
        }
    };
}

errors! {
    EPERM ESRCH EINTR EAGAIN ENOMEM EFAULT EINVAL EDEADLK ENOSYS EOPNOTSUPP ETIMEDOUT
}
