//! `siginfo_t`: 128 bytes that say where a signal came from. Offsets of x86-64: signo 0, errno 4, code 8; then by kind.
use super::number::Signal;
use linux_raw_sys::general as raw;

/// Size of `siginfo_t`.
pub const INFO_BYTES: usize = raw::SI_MAX_SIZE as usize;

const CODE: usize = 8;
const PID: usize = 16;
const ADDRESS: usize = 16;
const OVERRUN: usize = 20;
const VALUE: usize = 24;

/// A signal with where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    signal: Signal,
    bytes: [u8; INFO_BYTES],
    /// The timer that sent it, and at which of its settings.
    pub(super) timer: Option<(i32, u64)>,
}

impl Info {
    fn new(signal: Signal, code: i32) -> Self {
        let mut info = Self { signal, bytes: [0; INFO_BYTES], timer: None };
        info.put(0, i32::from(signal.number()));
        info.put(CODE, code);
        info
    }

    /// From `kill` (SI_USER), or `tkill` and `tgkill` (SI_TKILL).
    #[must_use]
    pub fn user(signal: Signal, by_thread: bool, pid: u32, uid: u32) -> Self {
        let mut info = Self::new(signal, if by_thread { raw::SI_TKILL } else { raw::SI_USER as i32 });
        info.put(PID, pid.cast_signed());
        info.put(PID + 4, uid.cast_signed());
        info
    }

    /// From the kernel, without more.
    #[must_use]
    pub fn kernel(signal: Signal) -> Self {
        Self::new(signal, raw::SI_KERNEL as i32)
    }

    /// From an instruction at fault.
    #[must_use]
    pub fn fault(signal: Signal, code: u32, address: u64) -> Self {
        let mut info = Self::new(signal, code.cast_signed());
        info.bytes[ADDRESS..ADDRESS + 8].copy_from_slice(&address.to_le_bytes());
        info
    }

    /// From `rt_sigqueueinfo`: what the program wrote, under the number that it asked for.
    #[must_use]
    pub fn queued(signal: Signal, bytes: [u8; INFO_BYTES]) -> Self {
        let mut info = Self { signal, bytes, timer: None };
        info.put(0, i32::from(signal.number()));
        info
    }

    pub(super) fn from_timer(signal: Signal, id: i32, setting: u64, value: u64) -> Self {
        let mut info = Self::new(signal, raw::SI_TIMER);
        info.put(PID, id);
        info.bytes[VALUE..VALUE + 8].copy_from_slice(&value.to_le_bytes());
        info.timer = Some((id, setting));
        info
    }

    pub(super) fn set_overrun(&mut self, overrun: i32) {
        self.put(OVERRUN, overrun);
    }

    fn put(&mut self, at: usize, value: i32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn get(&self, at: usize) -> i32 {
        let mut four = [0; 4];
        four.copy_from_slice(&self.bytes[at..at + 4]);
        i32::from_le_bytes(four)
    }

    /// The signal.
    #[must_use]
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// `si_code`.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.get(CODE)
    }

    /// `si_addr`, of a fault.
    #[must_use]
    pub fn address(&self) -> u64 {
        let mut eight = [0; 8];
        eight.copy_from_slice(&self.bytes[ADDRESS..ADDRESS + 8]);
        u64::from_le_bytes(eight)
    }

    /// `si_overrun`, of a timer.
    #[must_use]
    pub fn overrun(&self) -> i32 {
        self.get(OVERRUN)
    }

    /// All of it, as the program reads it.
    #[must_use]
    pub fn bytes(&self) -> &[u8; INFO_BYTES] {
        &self.bytes
    }
}
