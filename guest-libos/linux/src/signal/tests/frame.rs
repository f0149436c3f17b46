//! Frames against the host: its kernel's own frames, rebuilt byte for byte, and its C library's offsets.
use super::*;
use crate::signal::frame::{self, FRAME_BYTES, Frame, Registers};
use linux_raw_sys::general as raw;
use proptest::prelude::*;
use std::collections::HashMap;
use std::process::Command;
use std::string::String;
use std::vec::Vec;

/// What the C program beside this file says, by name.
fn host(what: &str) -> HashMap<String, String> {
    let program = std::env::temp_dir().join(format!("denali-linux-frame-{}-{what}", std::process::id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/signal/tests/frame.c");
    let built = Command::new("gcc").args(["-O1", "-static", "-o"]).arg(&program).arg(source).status().unwrap();
    assert!(built.success());
    let output = Command::new(&program).arg(what).output().unwrap();
    std::fs::remove_file(&program).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_once(' ')).map(|(name, value)| (name.into(), value.into())).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap()).collect()
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Takes a frame of the host's kernel apart and builds it again.
fn rebuild(said: &HashMap<String, String>) -> (Frame, Frame) {
    let number = |name: &str| said[name].parse::<u64>().unwrap();
    let (frame, extended) = (bytes(&said["frame"]), bytes(&said["extended"]));
    let signal = Signal::new(i32::from(frame[frame::INFO])).unwrap();
    let altstack = AltStack::from_bytes(frame[frame::STACK..frame::GENERAL].try_into().unwrap());
    let flags = u64::from(raw::SA_RESTORER | raw::SA_ONSTACK | raw::SA_SIGINFO);
    let handler = Handler {
        info: Info::queued(signal, frame[frame::INFO..].try_into().unwrap()),
        action: Action { handler: 0x40_0000, flags, restorer: word(&frame, 0), mask: SigSet::default() },
        mask: SigSet(word(&frame, frame::MASK)),
        altstack,
    };
    let registers = Registers::from_words(core::array::from_fn(|index| word(&frame, frame::GENERAL + 8 * index)));
    let state = |index: usize| word(&frame, frame::GENERAL + 8 * index);
    let fault = Fault { error_code: state(19), vector: state(20), address: state(22), ..Fault::default() };
    let area = Extended { area: &extended[..extended.len() - 4], features: word(&extended, 472) };
    let built = frame::build(&handler, &registers, area, &fault).unwrap();
    let expected = Frame {
        address: number("at"),
        bytes: frame.clone().try_into().unwrap(),
        extended_address: number("extended_at"),
        extended,
        registers: built.registers,
    };
    (built, expected)
}

#[test]
fn frames_are_those_of_the_hosts_kernel() {
    for what in ["user", "altstack", "fault"] {
        let (built, expected) = rebuild(&host(what));
        assert_eq!(built.bytes, expected.bytes, "{what}");
        assert_eq!(built, expected, "{what}");
        let start = built.registers;
        assert_eq!((start.rsp + 8) % 16, 0);
        assert_eq!((start.rsi, start.rdx), (built.address + 312, built.address + 8));
    }
}

#[test]
fn the_c_library_agrees_on_offsets() {
    let said = host("offsets");
    let general = frame::GENERAL - frame::CONTEXT;
    let ours = [
        ("uc_flags", 0),
        ("uc_link", 8),
        ("uc_stack", frame::STACK - frame::CONTEXT),
        ("uc_mcontext.gregs", general),
        ("uc_mcontext.gregs[REG_RSP]", general + 15 * 8),
        ("uc_mcontext.gregs[REG_RIP]", general + 16 * 8),
        ("uc_mcontext.gregs[REG_EFL]", general + 17 * 8),
        ("uc_mcontext.gregs[REG_CR2]", general + 22 * 8),
        ("uc_mcontext.fpregs", frame::FPSTATE - frame::CONTEXT),
        ("uc_sigmask", frame::MASK - frame::CONTEXT),
        ("si_code", 8),
        ("si_addr", 16),
        ("si_overrun", 20),
        ("si_value", 24),
        ("siginfo", INFO_BYTES),
        ("stack_t", 24),
        ("ss_flags", 8),
        ("ss_size", 16),
    ];
    for (name, offset) in ours {
        assert_eq!(said[name], offset.to_string(), "{name}");
    }
}

fn handler(flags: u32, altstack: AltStack) -> Handler {
    let flags = u64::from(flags | raw::SA_RESTORER);
    Handler {
        info: Info::kernel(Signal::SIGUSR1),
        action: Action { handler: 0x40_0000, flags, restorer: 7, mask: SigSet::default() },
        mask: SigSet(5),
        altstack,
    }
}

const NOTHING: Extended<'static> = Extended { area: &[], features: 0 };

#[test]
fn frames_that_have_no_place() {
    let build = |handler: &Handler, rsp| {
        frame::build(handler, &Registers { rsp, ..Registers::default() }, NOTHING, &Fault::default()).map(|f| f.address)
    };
    let plain = handler(0, AltStack::default());
    for rsp in [0, 127, 128, 500, 1 << 63, u64::MAX] {
        assert_eq!(build(&plain, rsp), Err(Errno::EFAULT), "{rsp:#x}");
    }
    let bare = Handler { action: Action { flags: 0, ..plain.action }, ..plain.clone() };
    assert_eq!(build(&bare, 0x10_0000), Err(Errno::EFAULT), "no restorer");
    let stack = AltStack { base: 0x20_0000, bytes: 2048, flags: 0 };
    let there = build(&handler(raw::SA_ONSTACK, stack), 0x10_0000).unwrap();
    assert!((0x20_0000..0x20_0800).contains(&there));
    assert!(build(&handler(0, stack), 0x10_0000).unwrap() < 0x10_0000);
    assert_eq!(build(&handler(raw::SA_ONSTACK, stack), 0x20_0200), Err(Errno::EFAULT), "nested, and too deep");
    let high = AltStack { base: u64::MAX - 10, bytes: u64::MAX, flags: 0 };
    assert_eq!(build(&handler(raw::SA_ONSTACK, high), 0x10_0000), Err(Errno::EFAULT));
}

fn area() -> Vec<u8> {
    let mut area = vec![0xa5; 832];
    area[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
    area[512..576].fill(0);
    area[512] = 7;
    area
}

#[test]
fn extended_state_comes_back() {
    let area = area();
    let extended = Extended { area: &area, features: 7 };
    let registers = Registers { rsp: 0x7fff_0000, rip: 0x40_0000, rflags: 0x246, r8: 3, ..Registers::default() };
    let built = frame::build(&handler(0, AltStack::default()), &registers, extended, &Fault::default()).unwrap();
    let back = frame::parse(&built.bytes).unwrap();
    assert_eq!((back.registers, back.mask), (registers, SigSet(5)));
    assert_eq!(back.extended_address, Some(built.extended_address));
    let restored = restore_extended(&built.extended, 832, 7).unwrap();
    assert_eq!((&restored[..464], &restored[512..]), (&area[..464], &area[512..]));
    // Without the last mark only the first 512 bytes count.
    let legacy = restore_extended(&built.extended[..832], 832, 7).unwrap();
    assert_eq!((legacy[512], legacy[600]), (3, 0));
    let mut bad = built.extended.clone();
    bad[513] = 0x80;
    assert_eq!(restore_extended(&bad, 832, 7), Err(Errno::EFAULT), "an unknown feature");
    let mut compact = built.extended.clone();
    compact[527] = 0x80;
    assert_eq!(restore_extended(&compact, 832, 7), Err(Errno::EFAULT), "the compacted format");
    assert_eq!(restore_extended(&built.extended[..511], 832, 7), Err(Errno::EFAULT));
}

#[test]
fn flags_that_a_frame_brings_can_do_no_harm() {
    let mut bytes = [0xff; FRAME_BYTES];
    let rip = frame::GENERAL + 16 * 8;
    assert_eq!(frame::parse(&bytes), Err(Errno::EFAULT));
    bytes[rip..rip + 8].copy_from_slice(&0x40_0000_u64.to_le_bytes());
    let back = frame::parse(&bytes).unwrap();
    assert_eq!(back.registers.rflags, 0x5_0ed7, "no TF, IOPL, NT, ID");
    assert_eq!(back.mask, SigSet(!SigSet::UNBLOCKABLE.0));
}

proptest! {
    #[test]
    fn hostile_frames(bytes in prop::collection::vec(any::<u8>(), FRAME_BYTES), rsp in any::<u64>()) {
        let bytes: [u8; FRAME_BYTES] = bytes.try_into().unwrap();
        if let Ok(back) = frame::parse(&bytes) {
            prop_assert!(back.registers.rip < 1 << 47);
            let mut signals = Signals::new(Tid(1), 0);
            signals.returned(Tid(1), back.mask, back.altstack, rsp);
        }
    }

    #[test]
    fn hostile_stacks(base in any::<u64>(), bytes in any::<u64>(), flags in any::<u32>(), rsp in any::<u64>(), long in 0usize..900) {
        let area = vec![0; long];
        let registers = Registers { rsp, ..Registers::default() };
        let handler = handler(raw::SA_ONSTACK, AltStack { base, bytes, flags });
        let built = frame::build(&handler, &registers, Extended { area: &area, features: 7 }, &Fault::default());
        if let Ok(built) = built {
            prop_assert_eq!((built.address + 8) % 16, 0);
            prop_assert_eq!(built.extended_address % 64, 0);
            prop_assert!(built.address + FRAME_BYTES as u64 <= built.extended_address);
        }
    }

    #[test]
    fn hostile_extended_state(mut bytes in prop::collection::vec(any::<u8>(), 512..900), size in 0u32..1000, area in 512usize..900) {
        bytes[464..468].copy_from_slice(&0x4650_5853_u32.to_le_bytes());
        bytes[468..472].copy_from_slice(&u32::MAX.to_le_bytes());
        bytes[480..484].copy_from_slice(&size.to_le_bytes());
        if let Some(end) = bytes.get_mut(size as usize..size as usize + 4) {
            end.copy_from_slice(&0x4650_5845_u32.to_le_bytes());
        }
        if let Ok(restored) = restore_extended(&bytes, area, 7) {
            prop_assert_eq!(restored.len(), area);
            prop_assert!(word(&restored, 24) as u32 <= 0xffff);
        }
    }
}
