//! The registers of a thread beyond its frame (x87, SSE, AVX, AVX-512), as XSAVE keeps them.
//!
//! Source: Intel SDM volume 1, chapter 13.

use core::{arch::asm, arch::x86_64::__cpuid_count, cell::UnsafeCell, ptr};
use denali_linux::call::Extended;

/// Most bytes that are kept: with AVX-512 and protection keys they are 2,696.
const AREA_BYTES: usize = 4096;
/// The legacy region and the header: x87 and SSE.
const LEGACY_BYTES: usize = 512 + 64;
/// Features of AMX, whose 8 KiB a thread would pay for at each switch. Linux gives them to those that ask (`arch_prctl`),
/// which is not served.
const TILES: u64 = 3 << 17;

#[repr(C, align(64))]
struct Area(UnsafeCell<[u8; AREA_BYTES]>);

// SAFETY: a VM has one virtual CPU, and nothing interrupts the library OS to use it.
unsafe impl Sync for Area {}

static AREA: Area = Area(UnsafeCell::new([0; _]));

/// What XSAVE keeps of a thread on this CPU.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Its mask, bits as in XCR0.
    pub features: u64,
    /// Bytes that it takes in the standard format; at most those of the area.
    pub bytes: usize,
}

impl Kept {
    /// All that the CPU has switched on but tiles, as far as there is room.
    pub fn of_cpu() -> Self {
        let (low, high): (u32, u32);
        // SAFETY: OSXSAVE is on in every VM, so that anyone may ask.
        unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack)) };
        let all = (u64::from(low) | u64::from(high) << 32) & !TILES;
        let mut kept = Self { features: all & 3, bytes: LEGACY_BYTES };
        for feature in (2..63).filter(|feature| all & 1 << feature != 0) {
            let place = __cpuid_count(0xd, feature);
            let end = place.ebx as usize + place.eax as usize;
            if (LEGACY_BYTES..=AREA_BYTES).contains(&end) {
                kept = Self { features: kept.features | 1 << feature, bytes: kept.bytes.max(end) };
            }
        }
        kept
    }

    /// What the CPU has now.
    pub fn save(self) -> Extended {
        let area = AREA.0.get().cast::<u8>();
        let mut extended = Extended::new(self.bytes);
        // SAFETY: the area is aligned, of this machine alone, and as large as the features need.
        unsafe {
            asm!("xsave64 [{}]", in(reg) area, in("eax") self.features as u32,
                in("edx") (self.features >> 32) as u32, options(nostack, preserves_flags));
        }
        // SAFETY: as above; the sizes agree.
        unsafe { ptr::copy_nonoverlapping(area, extended.0.as_mut_ptr(), self.bytes) };
        extended
    }

    /// Puts it into the CPU.
    pub fn restore(self, extended: &Extended) {
        let area = AREA.0.get().cast::<u8>();
        let bytes = extended.0.len().min(self.bytes);
        // SAFETY: the area is of this machine alone, and that large.
        unsafe { ptr::copy_nonoverlapping(extended.0.as_ptr(), area, bytes) };
        // SAFETY: the area was made by `save`, or checked; it holds nothing of the library OS, which uses XMM alone, and
        // nothing in them now.
        unsafe {
            asm!("xrstor64 [{}]", in(reg) area, in("eax") self.features as u32,
                in("edx") (self.features >> 32) as u32, options(nostack, preserves_flags),
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
                out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _,
                out("xmm13") _, out("xmm14") _, out("xmm15") _);
        }
    }
}
