//! Calls made as a program makes them: by number, with registers, on memory of its own.

mod files;
mod hostile;
mod itself;
mod names;
mod shared;
mod sockets;
mod waiting;

use super::{Machine, Next};
use crate::{
    errno::Errno,
    testing::{ARENA, END, PROGRAM, Program},
};
use linux_raw_sys::general as nr;

/// Where a test puts strings, and where it puts everything else.
const TEXT: u64 = ARENA + 0x1_0000;
const DATA: u64 = ARENA + 0x2_0000;
/// Nothing is mapped there.
const NOWHERE: u64 = 0x1000;
const CWD: u64 = nr::AT_FDCWD as u64;

impl Program {
    fn new() -> Self {
        Self::default()
    }

    /// Makes a call, and gives RAX of the thread that goes on then.
    fn call<const N: usize>(&mut self, number: u32, arguments: [u64; N]) -> u64 {
        let mut all = [0; 6];
        all[..N].copy_from_slice(&arguments);
        let next = self.make(number, all);
        assert!(matches!(next, Next::Return | Next::Restore), "{next:?}");
        self.frame.rax
    }

    /// The same: what it answered, or its error.
    fn try_call<const N: usize>(&mut self, number: u32, arguments: [u64; N]) -> Result<u64, Errno> {
        match self.call(number, arguments) {
            error @ 0xffff_ffff_ffff_f001.. => Err(Errno((error as i64).unsigned_abs() as i32)),
            value => Ok(value),
        }
    }

    /// Puts a string with its NUL at `TEXT` plus `at`, and gives its address.
    fn text(&mut self, at: u64, text: &str) -> u64 {
        let address = TEXT + at;
        let machine = self.process.space.pages();
        machine.poke(address, text.as_bytes());
        machine.poke(address + text.len() as u64, &[0]);
        address
    }

    fn put(&mut self, address: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.process.space.pages().poke(address, &bytes);
    }

    fn bytes(&mut self, address: u64, count: u64) -> Vec<u8> {
        self.process.space.pages().bytes(address..address + count).to_vec()
    }

    fn word(&mut self, address: u64) -> u64 {
        u64::from_le_bytes(self.bytes(address, 8).try_into().unwrap())
    }

    fn open(&mut self, path: &str, flags: u32) -> u64 {
        let path = self.text(0xe000, path);
        self.try_call(nr::__NR_open, [path, flags.into(), 0o644]).unwrap()
    }

    /// Everything that a file says.
    fn contents(&mut self, path: &str) -> String {
        let descriptor = self.open(path, nr::O_RDONLY);
        let mut all = Vec::new();
        loop {
            let count = self.try_call(nr::__NR_read, [descriptor, DATA, 100]).unwrap();
            if count == 0 {
                self.try_call(nr::__NR_close, [descriptor]).unwrap();
                return String::from_utf8(all).unwrap();
            }
            all.extend(self.bytes(DATA, count));
        }
    }
}
