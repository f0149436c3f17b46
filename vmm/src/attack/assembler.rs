//! Code under construction: the few encodings that attacks are put together from.

/// General registers, by their number in encodings.
pub(super) const RAX: u8 = 0;
pub(super) const RCX: u8 = 1;
pub(super) const RDX: u8 = 2;
pub(super) const RBX: u8 = 3;
pub(super) const RSI: u8 = 6;
pub(super) const RDI: u8 = 7;
pub(super) const R10: u8 = 10;

/// Code.
#[derive(Clone, Debug, Default)]
pub(super) struct Code(pub(super) Vec<u8>);

impl Code {
    /// These bytes.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// `mov register, value`
    pub(super) fn mov(&mut self, register: u8, value: u64) -> &mut Self {
        let (prefix, register) = (0x48 | register >> 3 & 1, register & 7);
        self.raw(&[prefix, 0xb8 + register]).raw(&value.to_le_bytes())
    }

    /// `push` of a value, through RAX.
    pub(super) fn push(&mut self, value: u64) -> &mut Self {
        self.mov(RAX, value).raw(&[0x50])
    }

    /// `push qword ptr [address]`, of an address below 2 GiB.
    pub(super) fn push_from(&mut self, address: u64) -> &mut Self {
        self.raw(&[0xff, 0x34, 0x25]).raw(&(address as u32).to_le_bytes())
    }

    /// `mov qword ptr [address], value`, through RAX and RBX.
    pub(super) fn store(&mut self, address: u64, value: u64) -> &mut Self {
        self.mov(RBX, address).mov(RAX, value).raw(&[0x48, 0x89, 0x03])
    }

    /// A virtual instruction with its arguments.
    pub(super) fn instruction(&mut self, port: u8, arguments: [u64; 4]) -> &mut Self {
        for (register, value) in [RDI, RSI, RDX, R10].into_iter().zip(arguments) {
            self.mov(register, value);
        }
        self.raw(&[0xe7, port])
    }
}
