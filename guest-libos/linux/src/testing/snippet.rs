//! Code for the rewriter, made from any bytes: it ends, and keeps to registers and memory that can be compared.
//!
//! Jumps lead forward, memory is below the stack pointer or in the code's own words, and what a system call leaves in RCX and R11 is
//! not looked at. Two functions, of which the first may call the second.

use std::ops::Range;

/// Code and what is known of it.
pub(super) struct Snippet {
    /// The code, to be entered at its first byte as a function is; no longer than [`Snippet::MOST_BYTES`].
    pub(super) bytes: Vec<u8>,
    /// Its functions: places in it.
    pub(super) functions: Vec<Range<usize>>,
    /// Whether the rewriter is told them.
    pub(super) known: bool,
}

/// An instruction of the snippet.
enum Part {
    /// As it stands.
    Plain(Vec<u8>),
    /// Its last four bytes are the way to the instruction so many after it.
    Far(Vec<u8>, usize),
    /// Its last four bytes are the way to this word behind the code.
    Word(Vec<u8>, usize),
    /// lea, jmp: by this register to the instruction so many after it.
    Computed(u8, usize),
    /// The same with one byte, if that is enough.
    Short(u8, usize),
    /// A call of the second function.
    Call,
}

impl Part {
    fn length(&self) -> usize {
        match self {
            Self::Plain(bytes) | Self::Far(bytes, _) | Self::Word(bytes, _) => bytes.len(),
            Self::Computed(..) => 9,
            Self::Short(..) => 2,
            Self::Call => 5,
        }
    }
}

/// Register numbers that an instruction with three bits may name: all but RSP, and RCX, which a system call changes.
const REGISTERS: [u8; 6] = [0, 2, 3, 5, 6, 7];

/// Instructions before the first trap, so that the sweep is in step.
const RUN_UP: usize = 48;

impl Snippet {
    /// Instructions in a function.
    const MOST_PARTS: usize = 60;
    /// Longest code, bytes.
    pub(super) const MOST_BYTES: usize = 4096;

    /// The code that `data` describe.
    pub(super) fn of(data: &[u8]) -> Self {
        let mut data = data.iter().copied();
        let known = data.next().is_none_or(|byte| byte & 1 == 0);
        let first = parts(&mut data, true);
        let second = parts(&mut data, false);
        let mut bytes = vec![0x90; RUN_UP];
        let callee = RUN_UP + first.iter().map(Part::length).sum::<usize>() + 1;
        assemble(&first, callee, &mut bytes);
        assemble(&second, callee, &mut bytes);
        let end = bytes.len();
        Self { bytes, functions: vec![0..callee, callee..end], known }
    }
}

fn parts(data: &mut impl Iterator<Item = u8>, calls: bool) -> Vec<Part> {
    let mut parts = Vec::new();
    while parts.len() < Snippet::MOST_PARTS {
        let Some(choice) = data.next() else { break };
        if choice == u8::MAX {
            break;
        }
        parts.push(chosen(choice, calls, data));
    }
    parts
}

fn plain(bytes: &[u8]) -> Part {
    Part::Plain(bytes.to_vec())
}

/// What `choice` and the bytes after it stand for.
fn chosen(choice: u8, calls: bool, data: &mut impl Iterator<Item = u8>) -> Part {
    let mut byte = || data.next().unwrap_or_default();
    let [one, two] = [byte(), byte()];
    let [to, from] = [one, two].map(|byte| REGISTERS[usize::from(byte) % REGISTERS.len()]);
    let ahead = usize::from(two % 8);
    match choice % 24 {
        0..=3 => plain(&[0x0f, 0x05]),
        4 | 5 => plain(&[0x0f, 0xa2]),
        6 | 7 => plain(&[0xb8 | to, two, 0, 0, 0]),
        8 => plain(&[0x48, 0xc7, 0xc0 | to, two, 0, 0, 0]),
        // mov, add, xor, cmp, test between registers
        9 => plain(&[0x48, 0x89, 0xc0 | from << 3 | to]),
        10 => plain(&[0x01, 0xc0 | from << 3 | to]),
        11 => plain(&[0x31, 0xc0 | from << 3 | to]),
        12 => plain(&[0x48, 0x39, 0xc0 | from << 3 | to]),
        13 => plain(&[0x85, 0xc0 | from << 3 | to]),
        // cmp $-4095, %rax, as after most system calls
        14 => plain(&[0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff]),
        // The red zone: mov %reg, -8*n(%rsp), and back
        15 => plain(&[0x48, 0x89, 0x44 | to << 3, 0x24, 0x80 | two & 0x78]),
        16 => plain(&[0x48, 0x8b, 0x44 | to << 3, 0x24, 0x80 | two & 0x78]),
        // lea and mov relative to RIP
        17 => Part::Far(vec![0x48, 0x8d, 0x05 | to << 3, 0, 0, 0, 0], ahead),
        18 => Part::Word(vec![0x48, 0x8b, 0x05 | to << 3, 0, 0, 0, 0], ahead),
        19 | 20 => Part::Short(0x70 | one & 15, ahead),
        21 => Part::Far(vec![0x0f, 0x80 | one & 15, 0, 0, 0, 0], ahead),
        22 => Part::Computed(to, ahead),
        _ if calls => Part::Call,
        _ => plain(&[0x0f, 0x1f, 0x40, 0]),
    }
}

/// Puts `parts` and a `ret` behind `bytes`.
fn assemble(parts: &[Part], callee: usize, bytes: &mut Vec<u8>) {
    let starts: Vec<usize> =
        parts.iter().scan(bytes.len(), |place, part| Some(std::mem::replace(place, *place + part.length()))).collect();
    let end = starts.last().zip(parts.last()).map_or(bytes.len(), |(start, part)| start + part.length());
    for (index, part) in parts.iter().enumerate() {
        let after = starts[index] + part.length();
        // The instruction so many after the next one; the `ret` if there is none.
        let way = |ahead: usize| starts.get(index + 1 + ahead).map_or(end, |start| *start) - after;
        match part {
            Part::Plain(plain) => bytes.extend(plain),
            Part::Far(code, ahead) => {
                bytes.extend(&code[..code.len() - 4]);
                bytes.extend((way(*ahead) as u32).to_le_bytes());
            }
            Part::Word(code, word) => {
                bytes.extend(&code[..code.len() - 4]);
                bytes.extend(((Snippet::MOST_BYTES + 8 * word - after) as u32).to_le_bytes());
            }
            Part::Computed(register, ahead) => {
                // The way is from the end of the lea, two bytes before that of the jump.
                bytes.extend([0x48, 0x8d, 0x05 | register << 3]);
                bytes.extend((way(*ahead) as u32 + 2).to_le_bytes());
                bytes.extend([0xff, 0xe0 | register]);
            }
            Part::Short(opcode, ahead) => {
                bytes.extend([*opcode, i8::try_from(way(*ahead)).unwrap_or(0).cast_unsigned()]);
            }
            Part::Call => {
                bytes.push(0xe8);
                bytes.extend(((callee - after) as u32).to_le_bytes());
            }
        }
    }
    bytes.push(0xc3);
}
