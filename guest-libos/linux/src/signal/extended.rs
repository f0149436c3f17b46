//! Extended state in signal frames: an XSAVE area in standard format, with Linux's marks (asm/sigcontext.h: `_fpx_sw_bytes`
//! in bytes 464 to 511, and a last word behind the area).
use crate::errno::Errno;
use alloc::vec;
use alloc::vec::Vec;

const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;

/// Bytes of an FXSAVE area; the marks are in its last 48, the XSAVE header is behind it.
pub(super) const LEGACY_BYTES: usize = 512;
const HEADER_END: usize = 576;
const MARKS: usize = 464;
const MXCSR: usize = 24;
/// The bits that MXCSR has: setting another is a #GP.
const MXCSR_MASK: u32 = 0xffff;
/// x87 and SSE, which an area always has.
const LEGACY_FEATURES: u64 = 3;

/// What the embedder saved of an interrupted thread.
#[derive(Clone, Copy, Debug)]
pub struct Extended<'a> {
    /// The area: 512 bytes of FXSAVE, or 576 and more of XSAVE (standard format); empty: no state goes into the frame.
    pub area: &'a [u8],
    /// What of XCR0 it holds.
    pub features: u64,
}

impl Extended<'_> {
    /// The bytes for the frame.
    pub(super) fn marked(&self) -> Vec<u8> {
        let mut bytes = self.area.to_vec();
        if bytes.len() < HEADER_END {
            return bytes;
        }
        let size = bytes.len() as u32;
        bytes[MARKS..LEGACY_BYTES].fill(0);
        put32(&mut bytes, MARKS, MAGIC1);
        put32(&mut bytes, MARKS + 4, size.saturating_add(4));
        bytes[MARKS + 8..MARKS + 16].copy_from_slice(&self.features.to_le_bytes());
        put32(&mut bytes, MARKS + 16, size);
        // Programs that know only FXSAVE change the first 512 bytes and expect them to be taken.
        let held = get64(&bytes, LEGACY_BYTES) | LEGACY_FEATURES;
        bytes[LEGACY_BYTES..LEGACY_BYTES + 8].copy_from_slice(&held.to_le_bytes());
        bytes.extend_from_slice(&MAGIC2.to_le_bytes());
        bytes
    }
}

/// Reads the state of a frame into an area of `area_bytes` that XRSTOR, or FXRSTOR if they are 512, takes without a fault.
/// `bytes` is what can be read at the frame's pointer, up to `area_bytes + 4`. State that the frame doesn't hold is initial.
///
/// # Errors
/// `EFAULT` if it is less than 512 bytes, or its header is bad: the thread then gets SIGSEGV.
pub fn restore_extended(bytes: &[u8], area_bytes: usize, features: u64) -> Result<Vec<u8>, Errno> {
    if bytes.len() < LEGACY_BYTES || area_bytes < LEGACY_BYTES {
        return Err(Errno::EFAULT);
    }
    let mut area = vec![0; area_bytes];
    area[..LEGACY_BYTES].copy_from_slice(&bytes[..LEGACY_BYTES]);
    let held = if let Some(held) = held(bytes, area_bytes) {
        let source = &bytes[..held.size];
        check_header(source, features)?;
        area[..held.size].copy_from_slice(source);
        get64(source, LEGACY_BYTES) & held.features & features
    } else {
        LEGACY_FEATURES
    };
    let mxcsr = get32(&area, MXCSR) & MXCSR_MASK;
    put32(&mut area, MXCSR, mxcsr);
    if area_bytes >= HEADER_END {
        area[LEGACY_BYTES..LEGACY_BYTES + 8].copy_from_slice(&held.to_le_bytes());
    }
    Ok(area)
}

struct Held {
    size: usize,
    features: u64,
}

/// What the marks say, if there are good ones; else the frame holds 512 bytes.
fn held(bytes: &[u8], area_bytes: usize) -> Option<Held> {
    let size = usize::try_from(get32(bytes, MARKS + 16)).ok()?;
    let good = get32(bytes, MARKS) == MAGIC1
        && (HEADER_END..=area_bytes).contains(&size)
        && get32(bytes, MARKS + 16) <= get32(bytes, MARKS + 4)
        && bytes.len() >= size + 4
        && get32(bytes, size) == MAGIC2;
    good.then(|| Held { size, features: get64(bytes, MARKS + 8) })
}

/// XRSTOR faults for unknown features, the compacted format and reserved bytes.
fn check_header(area: &[u8], features: u64) -> Result<(), Errno> {
    let reserved = area[LEGACY_BYTES + 8..HEADER_END].iter().any(|&byte| byte != 0);
    if reserved || get64(area, LEGACY_BYTES) & !features != 0 { Err(Errno::EFAULT) } else { Ok(()) }
}

fn get32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn get64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
