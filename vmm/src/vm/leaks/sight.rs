//! What the reader saw, and how it differs from what it should have seen.

use super::guest::{
    BASES, DATA_END, EXTENDED, FLAGS, FOUND, MEMORY_BYTES, REPORT_BYTES, REST_WAS, SAVE, SEEN, SELECTORS, SPARE, TABLE,
    TABLE_WAS, WINDOW_WAS, XCR0,
};
use denali_abi::{
    memory::{CONTROL, PAGE_BYTES, STACK_TOP},
    registers::VirtualRegisters,
};
use std::{mem::offset_of, ops::Range};

const GENERAL_REGISTERS: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// Parts of what XSAVE stores (Intel SDM volume 1, chapter 13), of a CPU that has all of them.
const EXTENDED_PARTS: [(&str, Range<usize>); 9] = [
    ("x87 control", 0..24),
    ("MXCSR", 24..28),
    ("x87 and MMX", 32..160),
    ("SSE", 160..416),
    ("components in use", 512..520),
    ("AVX", 576..832),
    ("AVX-512 masks", 1088..1152),
    ("AVX-512", 1152..2688),
    ("protection keys", 2688..2696),
];

/// The reader's report.
pub(super) struct Sight(Vec<u8>);

impl Sight {
    /// A reader's output.
    pub(super) fn new(report: Vec<u8>) -> Self {
        assert_eq!(report.len(), REPORT_BYTES, "a whole report");
        Self(report)
    }

    fn word(&self, place: usize) -> u64 {
        u64::from_le_bytes(self.0[place..place + 8].try_into().expect("eight bytes"))
    }

    /// A virtual register, up to eight bytes of it.
    fn register(&self, offset: usize) -> u64 {
        self.word(SEEN + offset)
    }

    /// Components of the extended state that the guest could use.
    pub(super) fn xcr0(&self) -> u64 {
        self.word(XCR0)
    }

    /// The names of all that is not as `fresh` saw it, in hardware that no job used; or is as there, and must not be.
    pub(super) fn leaks(&self, fresh: &Self) -> Vec<String> {
        let mut leaks = Vec::new();
        let differs = |place: usize| self.word(place) != fresh.word(place);
        leaks.extend(
            GENERAL_REGISTERS.iter().enumerate().filter(|(n, _)| differs(8 * n)).map(|(_, name)| name.to_string()),
        );
        let words = [
            ("flags", FLAGS),
            ("FS base", BASES),
            ("GS base", BASES + 8),
            ("DS", SELECTORS),
            ("ES", SELECTORS + 8),
            ("FS", SELECTORS + 16),
            ("GS", SELECTORS + 24),
            ("SS", SELECTORS + 32),
            ("CS", SELECTORS + 40),
            ("XCR0", XCR0),
            ("words of the pattern", FOUND),
            ("data page of the table", TABLE_WAS),
            ("rest of the register page", REST_WAS),
            ("window", WINDOW_WAS),
        ];
        leaks.extend(words.into_iter().filter(|(_, place)| differs(*place)).map(|(name, _)| name.to_owned()));
        for (name, part) in EXTENDED_PARTS {
            let part = EXTENDED + part.start..EXTENDED + part.end;
            if self.0[part.clone()] != fresh.0[part] {
                leaks.push(name.to_owned());
            }
        }
        leaks.extend(self.registers_amiss(fresh).into_iter().map(|name| format!("virtual register {name}")));
        let pages = (0..MEMORY_BYTES).step_by(PAGE_BYTES as usize);
        let digest = |page: u64| (TABLE - SAVE + page / PAGE_BYTES * 8) as usize;
        leaks.extend(
            pages.filter(|page| differs(digest(*page))).map(|page| format!("{} {page:#x}", region(fresh, page))),
        );
        leaks
    }

    fn registers_amiss(&self, fresh: &Self) -> Vec<&'static str> {
        macro_rules! offsets {
            ($($name:ident),*) => { [$((stringify!($name), offset_of!(VirtualRegisters, $name))),*] };
        }
        // MTU goes with `kick_wanted`, the second address with the first.
        let constant = offsets!(
            magic,
            abi_version,
            memory_bytes,
            heap_start,
            modules,
            module_count,
            tsc_hz,
            tsc_to_ns,
            cpu_limit_us,
            pending,
            transmit_ring,
            transmit_bytes,
            receive_ring,
            receive_bytes,
            transmit_tail,
            receive_head,
            kick_wanted,
            gateway_mac,
            ip,
            checkpoint_wanted
        );
        let unique = offsets!(vm_id, generation, random_seed);
        let later = offsets!(tsc_base, realtime_base_ns);
        let mut amiss: Vec<_> =
            constant.into_iter().filter(|(_, at)| self.register(*at) != fresh.register(*at)).collect();
        amiss.extend(unique.into_iter().filter(|(_, at)| self.register(*at) == fresh.register(*at)));
        amiss.extend(later.into_iter().filter(|(_, at)| self.register(*at) <= fresh.register(*at)));
        // What a job uses up before its first instruction.
        const BEFORE_ENTRY_US: u64 = 10_000;
        let used = offsets!(cpu_used_us);
        amiss.extend(used.into_iter().filter(|(_, at)| self.register(*at) > BEFORE_ENTRY_US));
        amiss.into_iter().map(|(name, _)| name).collect()
    }

    /// Its generation and random seed.
    pub(super) fn identity(&self) -> (u64, [u8; 32]) {
        let seed = SEEN + offset_of!(VirtualRegisters, random_seed);
        let seed = self.0[seed..seed + 32].try_into().expect("32 bytes");
        (self.register(offset_of!(VirtualRegisters, generation)), seed)
    }
}

fn region(fresh: &Sight, page: u64) -> &'static str {
    match page {
        CONTROL => "control page",
        _ if page < STACK_TOP => "stack page",
        _ if page <= SPARE => "program page",
        _ if page < DATA_END => "data page",
        _ if page < fresh.register(offset_of!(VirtualRegisters, receive_ring)) => "transmit ring page",
        _ if page < fresh.register(offset_of!(VirtualRegisters, heap_start)) => "receive ring page",
        _ => "heap page",
    }
}
