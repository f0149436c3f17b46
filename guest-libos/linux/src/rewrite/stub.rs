//! Emits stubs, and the jumps to them.

use alloc::vec;
use alloc::vec::Vec;

use super::Patch;
use super::report::Reason;
use super::shape::{JUMP, Shape};
use super::step::{Kind, Step};
use super::text::{Handlers, StubArea, Text, Trap};

/// `int3`: what is left of an overwritten instruction is never reached, or fails at once.
const INT3: u8 = 0xcc;

/// Stubs so far.
pub(super) struct Emitter<'a> {
    text: Text<'a>,
    area: StubArea,
    handlers: Handlers,
    code: Vec<u8>,
    /// Each instruction of a stub, and what it stands for.
    pairs: Vec<(u64, u64)>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(text: Text<'a>, area: StubArea, handlers: Handlers) -> Self {
        Self { text, area, handlers, code: Vec::new(), pairs: Vec::new() }
    }

    /// Emits the stub of `shape`; gives what to write at its site. On an error it is as if nothing had been emitted.
    pub(super) fn emit(&mut self, shape: &Shape) -> Result<Patch, Reason> {
        let start = (self.code.len(), self.pairs.len());
        let patch = self.stub(shape);
        if patch.is_err() {
            self.code.truncate(start.0);
            self.pairs.truncate(start.1);
        }
        patch
    }

    pub(super) fn finish(self) -> (Vec<u8>, Vec<(u64, u64)>) {
        (self.code, self.pairs)
    }

    fn stub(&mut self, shape: &Shape) -> Result<Patch, Reason> {
        let address = self.here();
        shape.before.iter().try_for_each(|step| self.displaced(step))?;
        self.stands_for(shape.site);
        // lea return(%rip), %rcx for a system call, %rdx for CPUID: a register that the instruction overwrites, and does not read.
        let lea = match shape.trap {
            Trap::Syscall => [0x48, 0x8d, 0x0d],
            Trap::Cpuid => [0x48, 0x8d, 0x15],
        };
        self.code.extend(lea);
        let field = self.code.len();
        self.code.extend([0; 4]);
        let after_lea = self.here();
        self.stands_for(shape.site);
        self.jump(match shape.trap {
            Trap::Syscall => self.handlers.syscall,
            Trap::Cpuid => self.handlers.cpuid,
        });
        let back = if shape.after.is_empty() { shape.end() } else { self.here() };
        let back = relative(after_lea, back)?;
        if let Some(field) = self.code.get_mut(field..field + 4) {
            field.copy_from_slice(&back);
        }
        if !shape.after.is_empty() {
            shape.after.iter().try_for_each(|step| self.displaced(step))?;
            self.stands_for(shape.end());
            self.jump(shape.end());
        }
        if self.code.len() > self.area.size {
            return Err(Reason::AreaFull);
        }
        patch(shape, address)
    }

    fn here(&self) -> u64 {
        self.area.address + self.code.len() as u64
    }

    fn stands_for(&mut self, original: u64) {
        self.pairs.push((self.here(), original));
    }

    /// A displaced instruction; its operand stays the same one.
    fn displaced(&mut self, step: &Step) -> Result<(), Reason> {
        let bytes = self.text.get(step.address, usize::from(step.length)).ok_or(Reason::OutOfReach)?;
        if let (Kind::Conditional(condition), Some(target)) = (step.kind, step.target) {
            self.stands_for(step.address);
            let displacement = relative(self.here() + 6, target)?;
            self.code.extend([0x0f, 0x80 | condition]);
            self.code.extend(displacement);
            return Ok(());
        }
        let (place, moved) = (self.code.len(), self.here().wrapping_sub(step.address).cast_signed());
        self.stands_for(step.address);
        self.code.extend(bytes);
        if let Kind::Relative(offset) = step.kind {
            let field = self.code.get_mut(place + usize::from(offset)..).and_then(<[u8]>::first_chunk_mut);
            let field: &mut [u8; 4] = field.ok_or(Reason::OutOfReach)?;
            let displacement = i64::from(i32::from_le_bytes(*field)) - moved;
            *field = i32::try_from(displacement).map_err(|_| Reason::OutOfReach)?.to_le_bytes();
        }
        Ok(())
    }

    /// A jump; if `target` is far, through a word after it.
    fn jump(&mut self, target: u64) {
        match relative(self.here() + JUMP, target) {
            Ok(displacement) => {
                self.code.push(0xe9);
                self.code.extend(displacement);
            }
            Err(_) => {
                // jmp *0(%rip)
                self.code.extend([0xff, 0x25, 0, 0, 0, 0]);
                self.code.extend(target.to_le_bytes());
            }
        }
    }
}

/// What is written at a site whose stub is at `stub`.
fn patch(shape: &Shape, stub: u64) -> Result<Patch, Reason> {
    let mut bytes = vec![0xe9];
    bytes.extend(relative(shape.jump + JUMP, stub)?);
    bytes.extend((shape.jump + JUMP..shape.overwritten).map(|_| INT3));
    Ok(Patch { address: shape.jump, bytes })
}

/// The displacement from `next`, the address after an instruction, to `target`.
fn relative(next: u64, target: u64) -> Result<[u8; 4], Reason> {
    let distance = target.wrapping_sub(next).cast_signed();
    i32::try_from(distance).map(i32::to_le_bytes).map_err(|_| Reason::OutOfReach)
}
