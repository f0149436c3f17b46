//! The registers of a thread that made a system call.

/// What the entry of the image saves, and restores when the call is over. The order is that of its assembly.
#[repr(C, align(16))]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "registers, by their names")]
pub struct Frame {
    /// XMM0 to XMM15: a call leaves them alone, and the library OS uses them.
    pub xmm: [[u64; 2]; 16],
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    /// Where the program goes on.
    pub rcx: u64,
    pub rax: u64,
    pub rflags: u64,
    pub rsp: u64,
    /// Keeps the size a multiple of 16.
    pub padding: u64,
}

impl Frame {
    /// The arguments of the call.
    #[must_use]
    pub fn arguments(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }
}
