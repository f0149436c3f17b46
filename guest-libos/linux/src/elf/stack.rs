//! The stack that a program starts with: arguments, environment and the auxiliary vector, as Linux lays them out.
//!
//! From the top of the stack down: 8 zero bytes, the path of the program, the environment's strings, the arguments',
//! the platform's name, 16 random bytes; then, 16-byte aligned at their low end, which is the stack pointer at the entry:
//! the count of arguments, their addresses, 0, the environment's addresses, 0, the auxiliary vector.

use crate::errno::Errno;
use crate::mm::PAGE_BYTES;
use alloc::{vec, vec::Vec};
use linux_raw_sys::auxvec as at;

/// `AT_CLKTCK`: ticks a second in what `times` returns, on every Linux.
pub(crate) const TICKS_PER_SECOND: u64 = 100;
/// Bytes of a program header: `AT_PHENT`.
const HEADER_BYTES: u64 = 56;
/// Least `AT_MINSIGSTKSZ`, the constant of old headers: glibc asserts that it is not 0.
const SIGNAL_STACK_MIN: u64 = 2048;
/// `AT_PLATFORM`.
const PLATFORM: &[u8] = b"x86_64";

/// What a program is told at its start.
#[derive(Clone, Debug, Default)]
pub struct Start<'a> {
    /// Arguments, the program's name first; no zero bytes in them.
    pub arguments: &'a [&'a [u8]],
    /// Environment: `NAME=value`; no zero bytes in them.
    pub environment: &'a [&'a [u8]],
    /// Path of the program.
    pub path: &'a [u8],
    /// Where the program itself starts, also if a dynamic loader runs first.
    pub entry: u64,
    /// Where its program headers lie; 0 for nowhere.
    pub headers: u64,
    /// How many there are.
    pub header_count: u16,
    /// Where the dynamic loader lies; 0 for none.
    pub loader: u64,
    /// User and group.
    pub user: (u32, u32),
    /// EDX of CPUID leaf 1.
    pub hwcap: u64,
    /// Bit 1: `rdfsbase` and its kin work.
    pub hwcap2: u64,
    /// 16 bytes that no one can guess.
    pub random: [u8; 16],
    /// Where the vDSO's ELF header lies, if there is one.
    pub vdso: Option<u64>,
    /// Least bytes of a stack for a signal's handler; 2,048 are told if it is less.
    pub signal_stack_bytes: u64,
}

/// The stack's contents at the entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Image {
    /// The stack pointer: a multiple of 16.
    pub pointer: u64,
    /// What lies from there to the top.
    pub bytes: Vec<u8>,
    /// The auxiliary vector in it.
    pub auxiliary: Vec<u8>,
}

impl Start<'_> {
    /// The image for a stack that ends at `top`, taking `bytes_max` at most.
    ///
    /// # Errors
    /// `E2BIG` if it takes more, `EINVAL` for a zero byte within an argument.
    pub fn image(&self, top: u64, bytes_max: u64) -> Result<Image, Errno> {
        let mut strings = Strings { bytes: vec![0; 8], top: top & !7, bytes_max };
        let path = strings.push(self.path)?;
        let environment = strings.push_all(self.environment)?;
        let arguments = strings.push_all(self.arguments)?;
        let platform = strings.push(PLATFORM)?;
        let random = strings.push_raw(&self.random)?;

        let mut words = vec![self.arguments.len() as u64];
        words.extend(arguments);
        words.push(0);
        words.extend(environment);
        words.push(0);
        let auxiliary = self.auxiliary(path, platform, random);
        words.extend(auxiliary.as_flattened());
        let (pointer, bytes) = strings.below(&words)?;
        Ok(Image { pointer, bytes, auxiliary: bytes_of(auxiliary.as_flattened()) })
    }

    /// The auxiliary vector: types and values, in the order of Linux, with its end.
    fn auxiliary(&self, path: u64, platform: u64, random: u64) -> Vec<[u64; 2]> {
        let (user, group) = (u64::from(self.user.0), u64::from(self.user.1));
        let rest = [
            (at::AT_MINSIGSTKSZ, self.signal_stack_bytes.max(SIGNAL_STACK_MIN)),
            (at::AT_HWCAP, self.hwcap),
            (at::AT_PAGESZ, PAGE_BYTES),
            (at::AT_CLKTCK, TICKS_PER_SECOND),
            (at::AT_PHDR, self.headers),
            (at::AT_PHENT, HEADER_BYTES),
            (at::AT_PHNUM, u64::from(self.header_count)),
            (at::AT_BASE, self.loader),
            (at::AT_FLAGS, 0),
            (at::AT_ENTRY, self.entry),
            (at::AT_UID, user),
            (at::AT_EUID, user),
            (at::AT_GID, group),
            (at::AT_EGID, group),
            (at::AT_SECURE, 0),
            (at::AT_RANDOM, random),
            (at::AT_HWCAP2, self.hwcap2),
            (at::AT_EXECFN, path),
            (at::AT_PLATFORM, platform),
            (at::AT_NULL, 0),
        ];
        let vdso = self.vdso.map(|address| (at::AT_SYSINFO_EHDR, address));
        vdso.into_iter().chain(rest).map(|(kind, value)| [u64::from(kind), value]).collect()
    }
}

fn bytes_of(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The upper part of a stack, growing downwards: its bytes are kept in reverse.
struct Strings {
    bytes: Vec<u8>,
    top: u64,
    bytes_max: u64,
}

impl Strings {
    /// Adds `bytes` below all others, and returns their address.
    fn push_raw(&mut self, bytes: &[u8]) -> Result<u64, Errno> {
        let total = (self.bytes.len() as u64).checked_add(bytes.len() as u64);
        let total = total.filter(|&total| total <= self.bytes_max).ok_or(Errno::E2BIG)?;
        self.bytes.extend(bytes.iter().rev());
        self.top.checked_sub(total).ok_or(Errno::E2BIG)
    }

    /// Adds a string and its terminator.
    fn push(&mut self, string: &[u8]) -> Result<u64, Errno> {
        if string.contains(&0) {
            return Err(Errno::EINVAL);
        }
        self.push_raw(&[0])?;
        self.push_raw(string)
    }

    /// Adds strings, the first of them lowest, and returns their addresses.
    fn push_all(&mut self, strings: &[&[u8]]) -> Result<Vec<u64>, Errno> {
        let mut addresses = strings.iter().rev().map(|s| self.push(s)).collect::<Result<Vec<_>, _>>()?;
        addresses.reverse();
        Ok(addresses)
    }

    /// Pointer and bytes of the stack with `words` below the strings.
    fn below(mut self, words: &[u64]) -> Result<(u64, Vec<u8>), Errno> {
        let used = self.push_raw(&[])?;
        let pointer = used.checked_sub(size_of_val(words) as u64).ok_or(Errno::E2BIG)? & !15;
        if self.top - pointer > self.bytes_max {
            return Err(Errno::E2BIG);
        }
        let mut bytes = bytes_of(words);
        bytes.resize((used - pointer) as usize, 0);
        bytes.extend(self.bytes.iter().rev());
        Ok((pointer, bytes))
    }
}

#[cfg(test)]
mod tests;
