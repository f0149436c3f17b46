//! The alternate stack of a thread: `sigaltstack`.
use crate::errno::Errno;
use linux_raw_sys::general::{MINSIGSTKSZ, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK};

/// `stack_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AltStack {
    /// Its lowest address.
    pub base: u64,
    /// Its size; 0: there is none.
    pub bytes: u64,
    /// As the program gave them, which is what frames hold; [`AltStack::seen`] tells the state instead.
    pub flags: u32,
}

impl AltStack {
    /// None, as threads start, and as SS_AUTODISARM leaves it.
    pub(super) const OFF: Self = Self { base: 0, bytes: 0, flags: SS_DISABLE };

    /// Reads `stack_t`: address, flags (4 bytes and 4 of padding), size.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 24]) -> Self {
        let word = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        Self { base: word(0), flags: word(8) as u32, bytes: word(16) }
    }

    /// Writes it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.base.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.flags.to_le_bytes());
        bytes[16..].copy_from_slice(&self.bytes.to_le_bytes());
        bytes
    }

    /// Whether a stack pointer lies on it, ends and all as Linux counts.
    pub(super) fn contains(&self, rsp: u64) -> bool {
        rsp > self.base && rsp - self.base <= self.bytes
    }

    /// Whether a thread with this stack pointer runs on it; never with SS_AUTODISARM, which put it away.
    fn in_use(&self, rsp: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && self.contains(rsp)
    }

    /// Where a handler that wants it starts, if it is there and not in use.
    pub(super) fn top(&self, rsp: u64) -> Option<u64> {
        (self.bytes != 0 && !self.in_use(rsp)).then(|| self.base.saturating_add(self.bytes))
    }

    /// What the program sees of it.
    #[must_use]
    pub fn seen(&self, rsp: u64) -> Self {
        let state = match (self.bytes, self.in_use(rsp)) {
            (0, _) => SS_DISABLE,
            (_, true) => SS_ONSTACK,
            _ => 0,
        };
        Self { flags: self.flags & SS_AUTODISARM | state, ..*self }
    }

    /// Sets it to what the program gave.
    pub(super) fn set(&mut self, new: Self, rsp: u64) -> Result<(), Errno> {
        if self.in_use(rsp) {
            return Err(Errno::EPERM);
        }
        *self = match new.flags & !SS_AUTODISARM {
            SS_DISABLE => Self { base: 0, bytes: 0, flags: new.flags },
            0 | SS_ONSTACK if new.bytes < u64::from(MINSIGSTKSZ) => return Err(Errno::ENOMEM),
            0 | SS_ONSTACK => new,
            _ => return Err(Errno::EINVAL),
        };
        Ok(())
    }
}
