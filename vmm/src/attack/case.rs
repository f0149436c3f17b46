//! One guest program, with everything that is done to its VM: all that an attack is made of, and so all that it takes to
//! do it again.

use super::{
    assembler::Code,
    layout::{HANDLER, TEXT, TEXT_BYTES},
    op::Op,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// Machine code put together from pieces.
    Pieces {
        /// What runs first. A TERMINATE follows.
        main: Vec<Op>,
        /// Where upcalls and faults may continue.
        handler: Vec<Op>,
    },
    /// A static ELF file for the Denali VM.
    Elf(Vec<u8>),
}

/// Something that happens to a VM from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happening {
    /// Its thread is interrupted, and it is given the CPU again.
    Interruption,
    /// The same, and input came meanwhile; or the input's end.
    Input {
        /// The input.
        bytes: Vec<u8>,
        /// Whether it was the last.
        end: bool,
    },
    /// The job is cancelled.
    Cancel,
}

/// When something happens: before the entry of this number, or as soon as the VM idles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The number of the entry; the first is 0.
    pub entry: u32,
    /// What happens.
    pub what: Happening,
}

/// A guest program and all that happens to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The program.
    pub program: Program,
    /// General registers at the entry, by number. The stack pointer's can't be chosen.
    pub registers: Vec<(u8, u64)>,
    /// Words of the control page at the entry, by number.
    pub control: Vec<(u8, u64)>,
    /// The start of the transmit ring at the entry.
    pub transmit: Vec<u8>,
    /// Input that is there from the beginning.
    pub input: Vec<u8>,
    /// The virtual registers' random seed.
    pub random_seed: [u8; 32],
    /// CPU time, in microseconds.
    pub cpu_time_us: u64,
    /// Bytes of output allowed.
    pub output_bytes: u64,
    /// Events, in the order in which they come.
    pub events: Vec<Event>,
}

/// CPU time of a program that does not say, in microseconds: some thirty exits where they are slow.
pub const CPU_TIME_US: u64 = 1_000;

/// CPU time of a raw program, in microseconds.
pub const RAW_CPU_TIME_US: u64 = 1_000_000;

/// A flat program is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a flat program of {bytes} bytes; the most is {TEXT_BYTES}: a longer one has to be an ELF file")]
pub struct TooLong {
    /// Its bytes.
    pub bytes: usize,
}

impl Case {
    /// A program in an ordinary VM, to which nothing happens.
    #[must_use]
    pub fn of(program: Program) -> Self {
        Self {
            program,
            registers: Vec::new(),
            control: Vec::new(),
            transmit: Vec::new(),
            input: Vec::new(),
            random_seed: [0; 32],
            cpu_time_us: CPU_TIME_US,
            output_bytes: 4096,
            events: Vec::new(),
        }
    }

    /// Raw machine code, which is placed at the start of the image.
    ///
    /// # Errors
    /// [`TooLong`] where it does not fit.
    pub fn flat(code: Vec<u8>) -> Result<Self, TooLong> {
        if code.len() as u64 > TEXT_BYTES {
            return Err(TooLong { bytes: code.len() });
        }
        let program = Program::Pieces { main: vec![Op::Bytes(code)], handler: Vec::new() };
        Ok(Self { cpu_time_us: RAW_CPU_TIME_US, output_bytes: 1 << 20, ..Self::of(program) })
    }

    /// An ELF file.
    #[must_use]
    pub fn elf(file: Vec<u8>) -> Self {
        Self { cpu_time_us: RAW_CPU_TIME_US, output_bytes: 1 << 20, ..Self::of(Program::Elf(file)) }
    }

    /// What is written to the text of the image before the program starts: addresses and bytes.
    pub(super) fn code(&self) -> Vec<(u64, Vec<u8>)> {
        let Program::Pieces { main, handler } = &self.program else { return Vec::new() };
        let end = if handler.is_empty() { TEXT + TEXT_BYTES } else { HANDLER };
        let mut places = vec![(TEXT, assembled(main, end - TEXT))];
        if !handler.is_empty() {
            places.push((HANDLER, assembled(handler, TEXT + TEXT_BYTES - HANDLER)));
        }
        places
    }
}

/// Machine code of pieces, and a TERMINATE after it, cut where there is no room.
fn assembled(ops: &[Op], bytes: u64) -> Vec<u8> {
    let mut code = Code::default();
    for op in ops {
        op.assemble(&mut code);
        if code.0.len() as u64 > bytes {
            break;
        }
    }
    Op::End(0).assemble(&mut code);
    code.0.truncate(bytes as usize);
    code.0
}

/// For people: a piece or an event a line.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.program {
            Program::Elf(file) => writeln!(f, "an ELF file of {} bytes", file.len())?,
            Program::Pieces { main, handler } => {
                main.iter().try_for_each(|op| writeln!(f, "main    {op}"))?;
                handler.iter().try_for_each(|op| writeln!(f, "handler {op}"))?;
            }
        }
        self.registers.iter().try_for_each(|(n, value)| writeln!(f, "register {n} = {value:#x}"))?;
        self.control.iter().try_for_each(|(n, value)| writeln!(f, "control word {n} = {value:#x}"))?;
        if !self.transmit.is_empty() {
            writeln!(f, "transmit ring {:x?}", self.transmit)?;
        }
        self.events.iter().try_for_each(|event| writeln!(f, "before entry {}: {:x?}", event.entry, event.what))
    }
}
