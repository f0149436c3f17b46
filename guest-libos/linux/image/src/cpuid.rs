//! What CPUID says, asked once: it is an exit for the host's kernel, 5 µs each on software KVM, and a C library asks forty times
//! as it starts.

use core::{arch::x86_64::__cpuid_count, cell::UnsafeCell};

/// An answer. The assembly of [`crate::entry`] looks for it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Known {
    pub leaf: u32,
    /// [`ANY`] where the leaf has no parts, [`EXACT`] where it has or may have, [`LAST`] behind the last answer.
    pub mask: u32,
    /// The part.
    pub subleaf: u32,
    /// EAX, EBX, ECX, EDX.
    pub result: [u32; 4],
}

const END: Known = Known { leaf: 0, mask: LAST, subleaf: 0, result: [0; 4] };
/// See [`Known::mask`].
pub const LAST: u32 = 1;
const ANY: u32 = 0;
const EXACT: u32 = u32::MAX;

/// Room for answers, and one more.
const ROOM: usize = 80;

/// Leaves with parts of which programs ask for more than the first, and how many of these are asked for.
const PARTS: [(u32, u32); 5] = [(0x4, 6), (0x7, 3), (0xb, 3), (0xd, 3), (0x8000_001d, 6)];
/// The leaves without parts (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E). Of others the first part is known, and the
/// rest is asked of the CPU.
const WHOLE: [core::ops::RangeInclusive<u32>; 5] = [0..=3, 5..=6, 8..=0xa, 0x15..=0x16, EXTENDED..=EXTENDED + 0x1c];
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
    if known[0].mask != LAST {
        return;
    }
    let mut places = known[..ROOM - 1].iter_mut();
    for first in [0, EXTENDED] {
        let last = __cpuid_count(first, 0).eax;
        for leaf in first..=last.min(first + LEAVES) {
            let parts = PARTS.iter().find(|(with, _)| *with == leaf).map_or(1, |(_, parts)| *parts);
            let mask = if WHOLE.iter().any(|leaves| leaves.contains(&leaf)) { ANY } else { EXACT };
            for subleaf in 0..parts {
                let Some(place) = places.next() else { return };
                let told = __cpuid_count(leaf, subleaf);
                *place = Known { leaf, mask, subleaf, result: [told.eax, told.ebx, told.ecx, told.edx] };
            }
        }
    }
}
