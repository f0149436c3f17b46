//! What CPUID says, asked once: it is an exit for the host's kernel, 5 µs each on software KVM, and a C library asks forty times
//! as it starts.

use core::{arch::x86_64::__cpuid_count, cell::UnsafeCell};

/// An answer. The assembly of [`crate::entry`] looks for it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Known {
    pub leaf: u32,
    /// 0 where the leaf has no parts, all bits below the highest where it has; the highest bit alone behind the last answer.
    pub mask: u32,
    /// The part.
    pub subleaf: u32,
    /// EAX, EBX, ECX, EDX.
    pub result: [u32; 4],
}

const END: Known = Known { leaf: 0, mask: 1 << 31, subleaf: 0, result: [0; 4] };
const ANY: u32 = 0;
const EXACT: u32 = !(1 << 31);

/// Room for answers, and one more.
const ROOM: usize = 80;

/// Leaves with parts, and how many of these are asked for.
const PARTS: [(u32, u32); 5] = [(0x4, 6), (0x7, 3), (0xb, 3), (0xd, 3), (0x8000_001d, 6)];
/// Leaves from here on are those of extended functions.
const EXTENDED: u32 = 0x8000_0000;
/// Most leaves of each kind.
const LEAVES: u32 = 0x20;

#[repr(transparent)]
pub struct Answers(UnsafeCell<[Known; ROOM]>);

// SAFETY: written by `ask` alone, while the program's threads do not run.
unsafe impl Sync for Answers {}

/// The answers that are known. Others are asked for.
pub static KNOWN: Answers = Answers(UnsafeCell::new([END; ROOM]));

/// Asks for what programs ask for. What it says is that of this CPU's kind: VMs are copied on one machine only.
pub fn ask() {
    // SAFETY: nothing looks at it now.
    let known = unsafe { &mut *KNOWN.0.get() };
    if known[0].mask != END.mask {
        return;
    }
    let mut places = known[..ROOM - 1].iter_mut();
    for first in [0, EXTENDED] {
        let last = __cpuid_count(first, 0).eax;
        for leaf in first..=last.min(first + LEAVES) {
            let parts = PARTS.iter().find(|(with, _)| *with == leaf).map(|(_, parts)| *parts);
            for subleaf in 0..parts.unwrap_or(1) {
                let Some(place) = places.next() else { return };
                let told = __cpuid_count(leaf, subleaf);
                let mask = if parts.is_some() { EXACT } else { ANY };
                *place = Known { leaf, mask, subleaf, result: [told.eax, told.ebx, told.ecx, told.edx] };
            }
        }
    }
}
