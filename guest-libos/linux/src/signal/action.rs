//! Actions: what a process does with a signal.
use super::number::{SigSet, Signal};
use linux_raw_sys::general as raw;

/// `SIG_DFL` and `SIG_IGN` in the place of a handler.
pub(super) const DEFAULT: u64 = 0;
pub(super) const IGNORE: u64 = 1;

/// Flags that are kept; others are cleared, which is how programs learn that they are not known.
const KNOWN: u64 = (raw::SA_NOCLDSTOP
    | raw::SA_NOCLDWAIT
    | raw::SA_SIGINFO
    | raw::SA_ONSTACK
    | raw::SA_RESTART
    | raw::SA_NODEFER
    | raw::SA_RESETHAND
    | raw::SA_RESTORER) as u64;

/// `struct sigaction` of the kernel: handler, flags, restorer, mask; 8 bytes each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// Address of the handler, or 0 for the default, or 1 to ignore it.
    pub handler: u64,
    /// `SA_…`.
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// What is blocked while it runs.
    pub mask: SigSet,
}

/// What happens to a signal without a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// The process ends.
    Terminate,
    /// Nothing.
    Ignore,
    /// The process stops: nobody could continue it here, so nothing.
    Stop,
}

impl Action {
    /// Size in memory.
    pub const BYTES: usize = 32;

    /// Reads it, with what can't be clear.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut words = [0; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        let [handler, flags, restorer, mask] = words;
        Self { handler, flags: flags & KNOWN, restorer, mask: SigSet(mask).without(SigSet::UNBLOCKABLE) }
    }

    /// Writes it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let words = [self.handler, self.flags, self.restorer, self.mask.0];
        for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *chunk = word.to_le_bytes();
        }
        bytes
    }

    pub(super) fn has(&self, flag: u32) -> bool {
        self.flags & u64::from(flag) != 0
    }

    /// Whether a signal with this action has no effect at all.
    pub(super) fn ignores(&self, signal: Signal) -> bool {
        self.handler == IGNORE || self.handler == DEFAULT && DefaultAction::of(signal) == DefaultAction::Ignore
    }
}

impl DefaultAction {
    /// The default action of a signal, of signal(7). SIGCONT finds nothing stopped.
    #[must_use]
    pub fn of(signal: Signal) -> Self {
        match u32::from(signal.number()) {
            raw::SIGCHLD | raw::SIGURG | raw::SIGWINCH | raw::SIGCONT => Self::Ignore,
            raw::SIGSTOP | raw::SIGTSTP | raw::SIGTTIN | raw::SIGTTOU => Self::Stop,
            _ => Self::Terminate,
        }
    }
}
