//! Faults of the program: which signal each of the CPU's exceptions is (arch/x86/kernel/traps.c).
use super::info::Info;
use super::number::Signal;
use linux_raw_sys::general as raw;

/// A fault, as `docs/abi.md` delivers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// The CPU's vector.
    pub vector: u64,
    /// Its error code, or 0.
    pub error_code: u64,
    /// The address touched, of a page fault.
    pub address: u64,
    /// The instruction.
    pub rip: u64,
    /// Of a page fault, whether a mapping holds the address: then it is its rights that are missing.
    pub mapped: bool,
    /// Of vector 16, the x87 status and control words (`status & !control`); of 19, MXCSR. Else 0.
    pub floating: u32,
}

/// What `int3` is where its gate is refused: #GP for entry 3 of the IDT.
const INT3_REFUSED: u64 = 0x1a;

impl Fault {
    /// The signal to [`force`](super::Signals::force).
    #[must_use]
    pub fn info(&self) -> Info {
        let at = |signal, code| Info::fault(signal, code, self.rip);
        match self.vector {
            0 => at(Signal::SIGFPE, raw::FPE_INTDIV),
            3 => Info::kernel(Signal::SIGTRAP),
            6 => at(Signal::SIGILL, raw::ILL_ILLOPN),
            11 | 12 => Info::kernel(Signal::SIGBUS),
            14 => {
                let code = if self.mapped { raw::SEGV_ACCERR } else { raw::SEGV_MAPERR };
                Info::fault(Signal::SIGSEGV, code, self.address)
            }
            16 => at(Signal::SIGFPE, floating_code(self.floating)),
            17 => Info::fault(Signal::SIGBUS, raw::BUS_ADRALN, 0),
            19 => at(Signal::SIGFPE, floating_code(!(self.floating >> 7) & self.floating)),
            _ if self.is_refused_int3() => Info::kernel(Signal::SIGTRAP),
            _ => Info::kernel(Signal::SIGSEGV),
        }
    }

    /// Where the program goes on after a handler: behind an `int3` that came as #GP, as if it had come as #BP.
    #[must_use]
    pub fn resume(&self) -> u64 {
        if self.is_refused_int3() { self.rip.wrapping_add(1) } else { self.rip }
    }

    fn is_refused_int3(&self) -> bool {
        self.vector == 13 && self.error_code == INT3_REFUSED
    }
}

/// The code of x87 and SSE exceptions, by their bits, in Linux's order.
fn floating_code(bits: u32) -> u32 {
    match bits {
        _ if bits & 0x01 != 0 => raw::FPE_FLTINV,
        _ if bits & 0x04 != 0 => raw::FPE_FLTDIV,
        _ if bits & 0x08 != 0 => raw::FPE_FLTOVF,
        _ if bits & 0x12 != 0 => raw::FPE_FLTUND,
        _ if bits & 0x20 != 0 => raw::FPE_FLTRES,
        _ => 0,
    }
}
