//! What the rewriter is given: code at its run address, room for stubs, and where they lead.

/// No address of user space is above: sums of two addresses, and their differences, fit into 64 bits with a sign.
const USER_END: u64 = 1 << 47;

/// Whether `length` bytes from `address` lie in user space.
fn is_user(address: u64, length: usize) -> bool {
    let end = u64::try_from(length).ok().and_then(|length| address.checked_add(length));
    end.is_some_and(|end| end <= USER_END)
}

/// Code at the address where it runs: an executable section, or a segment where sections are not told. A segment may hold data too, which
/// is rarely, but sometimes, taken for code.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    address: u64,
    bytes: &'a [u8],
}

impl<'a> Text<'a> {
    /// `bytes` that run at `address`; none unless all of it is in user space.
    #[must_use]
    pub fn new(address: u64, bytes: &'a [u8]) -> Option<Self> {
        is_user(address, bytes.len()).then_some(Self { address, bytes })
    }

    pub(super) fn address(&self) -> u64 {
        self.address
    }

    pub(super) fn end(&self) -> u64 {
        self.address + self.bytes.len() as u64
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where `address` is in the bytes; their length for the end.
    pub(super) fn position(&self, address: u64) -> Option<usize> {
        let position = usize::try_from(address.checked_sub(self.address)?).ok()?;
        (position <= self.bytes.len()).then_some(position)
    }

    /// The `length` bytes at `address`.
    pub(super) fn get(&self, address: u64, length: usize) -> Option<&'a [u8]> {
        let start = self.position(address)?;
        self.bytes.get(start..start.checked_add(length)?)
    }
}

/// Free memory for stubs, which the caller makes executable. A jump reaches 2 GiB, so it must be near the text.
#[derive(Debug, Clone, Copy)]
pub struct StubArea {
    pub(super) address: u64,
    pub(super) size: usize,
}

impl StubArea {
    /// `size` bytes at `address`; none unless all of it is in user space.
    #[must_use]
    pub fn new(address: u64, size: usize) -> Option<Self> {
        is_user(address, size).then_some(Self { address, size })
    }
}

/// Where stubs lead: their contract is in the documentation of [`crate::rewrite`].
#[derive(Debug, Clone, Copy)]
pub struct Handlers {
    /// Serves a system call and continues at the address in rcx.
    pub syscall: u64,
    /// Answers CPUID and continues at the address in rdx.
    pub cpuid: u64,
}

/// The two instructions that are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trap {
    /// `syscall`, 0f 05.
    Syscall,
    /// `cpuid`, 0f a2.
    Cpuid,
}

impl Trap {
    /// Length of either instruction, bytes.
    pub(super) const LENGTH: u64 = 2;

    /// The trap that these two bytes encode.
    pub(super) fn of(first: u8, second: u8) -> Option<Self> {
        match (first, second) {
            (0x0f, 0x05) => Some(Self::Syscall),
            (0x0f, 0xa2) => Some(Self::Cpuid),
            _ => None,
        }
    }
}
