//! Why a virtual CPU stopped, and whose doing that was.
//!
//! Source: the KVM API document, `kvm_run`.

use kvm_bindings::{
    KVM_EXIT_FAIL_ENTRY, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_IO, KVM_EXIT_IO_OUT, KVM_EXIT_MEMORY_FAULT, KVM_EXIT_MMIO,
    KVM_EXIT_SHUTDOWN, KVM_INTERNAL_ERROR_EMULATION, kvm_run,
};
use std::io;

/// Why the virtual CPU stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// `out` to a port.
    Out {
        /// The port.
        port: u16,
        /// Whether it is one access of four bytes, as the virtual instructions are. To KVM an `outsd` is no different.
        plain: bool,
    },
    /// `in` from a port.
    In {
        /// The port.
        port: u16,
    },
    /// An access to an address with no memory.
    Mmio {
        /// The address.
        address: u64,
    },
    /// A signal.
    Interrupted,
    /// It can't go on after what the guest did.
    Shutdown,
    /// The host failed to run it.
    Host(HostFault),
}

/// What the host failed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostFault {
    /// The call: there is no memory left, for one.
    #[error("{}", io::Error::from_raw_os_error(*.errno))]
    Call {
        /// The kernel's error number.
        errno: i32,
    },
    /// The entry.
    #[error("the CPU refused to enter it, with reason {reason:#x}")]
    Entry {
        /// As the CPU gave it.
        reason: u64,
    },
    /// KVM, in itself.
    #[error("KVM failed with internal error {suberror}")]
    Internal {
        /// One of `KVM_INTERNAL_ERROR`.
        suberror: u32,
    },
    /// KVM could not reach the VM's memory.
    #[error("the host's memory for the VM failed")]
    Memory,
    /// An exit that nothing of a Denali VM leads to.
    #[error("KVM left it for reason {reason}")]
    Unknown {
        /// One of `KVM_EXIT`.
        reason: u32,
    },
}

impl Exit {
    /// What `kvm_run` says after a KVM_RUN that ended well.
    pub(super) fn of(run: &kvm_run) -> Self {
        match run.exit_reason {
            KVM_EXIT_IO => {
                // SAFETY: the exit reason says that this is the member of the union that KVM wrote; plain numbers.
                let io = unsafe { run.__bindgen_anon_1.io };
                match u32::from(io.direction) {
                    KVM_EXIT_IO_OUT => Self::Out { port: io.port, plain: (io.size, io.count) == (4, 1) },
                    _ => Self::In { port: io.port },
                }
            }
            KVM_EXIT_MMIO => {
                // SAFETY: as above.
                let mmio = unsafe { run.__bindgen_anon_1.mmio };
                Self::Mmio { address: mmio.phys_addr }
            }
            KVM_EXIT_SHUTDOWN => Self::Shutdown,
            // Comes with EFAULT or EHWPOISON, which kvm-ioctls takes for success then.
            KVM_EXIT_MEMORY_FAULT => Self::Host(HostFault::Memory),
            KVM_EXIT_FAIL_ENTRY => {
                // SAFETY: as above.
                let failure = unsafe { run.__bindgen_anon_1.fail_entry };
                Self::Host(HostFault::Entry { reason: failure.hardware_entry_failure_reason })
            }
            KVM_EXIT_INTERNAL_ERROR => {
                // SAFETY: as above.
                let error = unsafe { run.__bindgen_anon_1.internal };
                internal(error.suberror)
            }
            reason => Self::Host(HostFault::Unknown { reason }),
        }
    }

    /// What a KVM_RUN that failed says.
    pub(super) fn failed(errno: i32) -> Self {
        match errno {
            libc::EINTR | libc::EAGAIN => Self::Interrupted,
            errno => Self::Host(HostFault::Call { errno }),
        }
    }
}

/// KVM emulates an instruction for what the guest did with it, and would have to on any host: where it can't, that is the
/// guest's doing, and to try again would be in vain. All else is the host's, and another may do better. No way is known for a
/// guest to bring it about; should there be one, all that it gains is an outcome that blames the host, and as few tries as
/// any lost job has.
fn internal(suberror: u32) -> Exit {
    match suberror {
        KVM_INTERNAL_ERROR_EMULATION => Exit::Shutdown,
        suberror => Exit::Host(HostFault::Internal { suberror }),
    }
}

#[cfg(test)]
mod tests;
