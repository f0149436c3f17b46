//! Handlers for tests: they execute the trap itself.

use denali_linux::rewrite::Handlers;

/// Code of both handlers, and the words that they write.
pub(crate) struct Handler {
    pub(crate) code: Vec<u8>,
}

/// Where CPUID's handler is in the code.
const CPUID: u64 = 0x40;

impl Handler {
    /// Bytes that handlers take: two of 64 bytes, two words of 8.
    pub(crate) const SIZE: u64 = 0x90;

    /// Does what the trap did.
    ///
    /// It has no memory of its own thread, so the address to continue at is kept beyond the red zone, where only a signal would
    /// write; but for calls after which a child runs on another stack or on the same (clone, fork, vfork, clone3) in a fixed word.
    pub(crate) fn serving() -> Self {
        let syscall: [&[u8]; 14] = [
            &[0x83, 0xf8, 56, 0x74, 0x22],                     // cmp $56, %eax; je kept
            &[0x83, 0xf8, 57, 0x74, 0x1d],                     // cmp $57, %eax; je kept
            &[0x83, 0xf8, 58, 0x74, 0x18],                     // cmp $58, %eax; je kept
            &[0x3d, 0xb3, 0x01, 0, 0, 0x74, 0x11],             // cmp $435, %eax; je kept
            &[0x48, 0x89, 0x8c, 0x24, 0x70, 0xff, 0xff, 0xff], // mov %rcx, -144(%rsp)
            &[0x0f, 0x05],                                     // syscall
            &[0xff, 0xa4, 0x24, 0x70, 0xff, 0xff, 0xff],       // jmp *-144(%rsp)
            &[0x83, 0xf8, 15, 0x74, 7],                        // kept: cmp $15, %eax; je to the syscall
            &[0x48, 0x89, 0x0d, 0x4d, 0, 0, 0],                // mov %rcx, word(%rip)
            &[0x0f, 0x05],                                     // syscall
            &[0xff, 0x25, 0x45, 0, 0, 0],                      // jmp *word(%rip)
            &[0xcc; 5],
            // CPUID: mov %rdx, other(%rip); cpuid; jmp *other(%rip)
            &[0x48, 0x89, 0x15, 0x41, 0, 0, 0, 0x0f, 0xa2, 0xff, 0x25, 0x39, 0, 0, 0],
            &[0xcc; 0x31],
        ];
        Self { code: [syscall.concat(), vec![0; 16]].concat() }
    }

    /// As [`Handler::serving`], with the fixed word for all calls but the return from a signal: for programs of one thread, whose
    /// signals' handlers make no other.
    pub(crate) fn serving_one_thread() -> Self {
        let mut this = Self::serving();
        // jmp kept
        this.code[..2].copy_from_slice(&[0xeb, 0x25]);
        this
    }

    /// Raises SIGILL: ud2.
    pub(crate) fn failing() -> Self {
        Self { code: [0x0f, 0x0b].repeat(usize::try_from(Self::SIZE).unwrap() / 2) }
    }

    /// Entries of the code at `address`.
    pub(crate) fn entries(address: u64) -> Handlers {
        Handlers { syscall: address, cpuid: address + CPUID }
    }
}
