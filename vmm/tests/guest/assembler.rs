//! The few instructions that hand-made guests need, and the frame by which they say what they saw.

use denali_abi::{
    instruction::{PAGES_IN_PLACE, PROTECT, TERMINATE},
    job::{HEADER_BYTES, KIND, OUTPUT, PORT, UDP_HEADERS_BYTES},
    memory::{CONTROL, REGISTERS},
    registers::{Control, VirtualRegisters},
    ring::RECORD_HEADER_BYTES,
};
use std::mem::offset_of;

/// Address of the guest's data segment: 32 pages, writable, which start with a record whose frame carries
/// [`RESULT_BYTES`] of standard output.
pub(crate) const DATA: u64 = 0x30_0000;

/// Bytes of the result, at [`Asm::result`].
pub(crate) const RESULT_BYTES: usize = 4096;

/// Registers, by their number in encodings.
#[derive(Clone, Copy)]
pub(crate) enum Reg {
    Rax = 0,
    Rcx = 1,
    Rdx = 2,
    Rbx = 3,
    Rsp = 4,
    Rsi = 6,
    Rdi = 7,
}

/// Code under construction.
#[derive(Clone, Default)]
pub(crate) struct Asm(pub(crate) Vec<u8>);

impl Asm {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// These bytes.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// `mov register, value`
    pub(crate) fn mov(self, register: Reg, value: u64) -> Self {
        self.raw(&[0x48, 0xb8 + register as u8]).raw(&value.to_le_bytes())
    }

    /// `mov r15, value`, before the code.
    pub(crate) fn with_r15(&self, value: u64) -> Self {
        Self::new().raw(&[0x49, 0xbf]).raw(&value.to_le_bytes()).raw(&self.0)
    }

    /// `mov r14, value`, before the code.
    pub(crate) fn with_r14(&self, value: u64) -> Self {
        Self::new().raw(&[0x49, 0xbe]).raw(&value.to_le_bytes()).raw(&self.0)
    }

    /// `out port, eax`
    pub(crate) fn out(self, port: u16) -> Self {
        let port = u8::try_from(port).expect("a port of the immediate form");
        self.raw(&[0xe7, port])
    }

    /// `mov [address], rax`, through RBX.
    pub(crate) fn store_rax(self, address: u64) -> Self {
        self.mov(Reg::Rbx, address).raw(&[0x48, 0x89, 0x03])
    }

    /// `mov rax, [address]`, through RBX.
    pub(crate) fn load_rax(self, address: u64) -> Self {
        self.mov(Reg::Rbx, address).raw(&[0x48, 0x8b, 0x03])
    }

    /// A virtual instruction with its arguments.
    pub(crate) fn instruction(self, port: u16, rdi: u64, rsi: u64, rdx: u64) -> Self {
        self.mov(Reg::Rdi, rdi).mov(Reg::Rsi, rsi).mov(Reg::Rdx, rdx).out(port)
    }

    /// PROTECT of pages that are to be somewhere else.
    pub(crate) fn map(self, address: u64, bytes: u64, rights: u64, pages: u64) -> Self {
        let code = self.raw(&[0x49, 0xba]).raw(&pages.to_le_bytes()); // mov r10, pages
        let code = code.instruction(PROTECT, address, bytes, rights);
        code.raw(&[0x49, 0xba]).raw(&PAGES_IN_PLACE.to_le_bytes())
    }

    /// TERMINATE.
    pub(crate) fn terminate(self, status: u64) -> Self {
        self.mov(Reg::Rdi, status).out(TERMINATE)
    }

    /// Loops for ever.
    pub(crate) fn spin(self) -> Self {
        self.raw(&[0xeb, 0xfe])
    }

    /// Address of a result's `n`-th byte.
    pub(crate) fn result(n: u64) -> u64 {
        DATA + RECORD_HEADER_BYTES + (UDP_HEADERS_BYTES + HEADER_BYTES) as u64 + n
    }

    /// Stores RAX as the `n`-th word of the result.
    pub(crate) fn keep_rax(self, n: u64) -> Self {
        self.store_rax(Self::result(8 * n))
    }

    /// Copies the record at DATA to the start of the transmit ring and publishes it.
    pub(crate) fn send_result(self) -> Self {
        let bytes = frame_record(RESULT_BYTES).len() as u64;
        self.load_rax(REGISTERS + offset_of!(VirtualRegisters, transmit_ring) as u64)
            .mov(Reg::Rsi, DATA)
            .mov(Reg::Rcx, bytes)
            .raw(&[0xfc]) // cld
            .raw(&[0x48, 0x89, 0xc7]) // mov rdi, rax
            .raw(&[0xf3, 0xa4]) // rep movsb
            .publish(bytes)
    }

    /// Publishes a position of the transmit ring.
    pub(crate) fn publish(self, head: u64) -> Self {
        self.mov(Reg::Rax, head).store_rax(CONTROL + offset_of!(Control, transmit_head) as u64)
    }
}

/// A record with a frame that carries `bytes` of standard output to the gateway.
pub(crate) fn frame_record(bytes: usize) -> Vec<u8> {
    let ip_bytes = (UDP_HEADERS_BYTES - 14 + HEADER_BYTES + bytes) as u16;
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0];
    frame.extend([0x45, 0]);
    frame.extend(ip_bytes.to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
    frame.extend(PORT.to_be_bytes());
    frame.extend(PORT.to_be_bytes());
    frame.extend((ip_bytes - 20).to_be_bytes());
    frame.extend([0, 0]);
    let message = frame.len();
    frame.resize(message + HEADER_BYTES + bytes, 0);
    frame[message + KIND] = OUTPUT;
    let mut record = (frame.len() as u64).to_le_bytes().to_vec();
    record.extend(frame);
    record.resize(record.len().next_multiple_of(8), 0);
    record
}
