use super::{Image, Start};
use crate::errno::Errno;
use linux_raw_sys::auxvec as at;
use proptest::prelude::*;

const TOP: u64 = 0x7000_0000;

/// Reads an image as a libc does.
struct Reader<'a>(&'a Image);

impl Reader<'_> {
    fn word(&self, address: u64) -> u64 {
        let at = (address - self.0.pointer) as usize;
        u64::from_le_bytes(self.0.bytes[at..at + 8].try_into().unwrap())
    }

    fn string(&self, address: u64) -> Vec<u8> {
        let at = (address - self.0.pointer) as usize;
        self.0.bytes[at..].iter().copied().take_while(|&byte| byte != 0).collect()
    }

    /// The words from `address` to a zero, and where that is.
    fn list(&self, address: u64) -> (Vec<u64>, u64) {
        let words: Vec<_> = (address..).step_by(8).map(|at| self.word(at)).take_while(|&word| word != 0).collect();
        let end = address + 8 * words.len() as u64;
        (words, end)
    }

    fn strings(&self, address: u64) -> (Vec<Vec<u8>>, u64) {
        let (words, end) = self.list(address);
        (words.into_iter().map(|word| self.string(word)).collect(), end)
    }

    fn auxiliary(&self, address: u64) -> Vec<(u64, u64)> {
        let pairs = (address..).step_by(16).map(|at| (self.word(at), self.word(at + 8)));
        pairs.take_while(|&(kind, _)| kind != 0).collect()
    }
}

proptest! {
    #[test]
    fn a_libc_finds_what_was_given(
        arguments in prop::collection::vec(prop::collection::vec(1u8.., 0..20), 0..6),
        environment in prop::collection::vec(prop::collection::vec(1u8.., 0..20), 0..6),
        path in prop::collection::vec(1u8.., 0..20),
        vdso in prop::option::of(1u64..),
        top in TOP..TOP + 64,
    ) {
        let given: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let variables: Vec<&[u8]> = environment.iter().map(Vec::as_slice).collect();
        let start = Start {
            arguments: &given,
            environment: &variables,
            path: &path,
            entry: 0x40_1000,
            headers: 0x40_0040,
            header_count: 9,
            random: *b"0123456789abcdef",
            vdso,
            user: (7, 8),
            ..Start::default()
        };
        let image = start.image(top, 1 << 20).unwrap();
        prop_assert!(image.pointer.is_multiple_of(16));
        prop_assert_eq!(image.pointer + image.bytes.len() as u64, top & !7);
        let read = Reader(&image);
        prop_assert_eq!(read.word(image.pointer), arguments.len() as u64);
        let (found, end) = read.strings(image.pointer + 8);
        prop_assert_eq!(found, arguments);
        let (found, end) = read.strings(end + 8);
        prop_assert_eq!(found, environment);
        let auxiliary = read.auxiliary(end + 8);
        let from = (end + 8 - image.pointer) as usize;
        prop_assert_eq!(&image.bytes[from..from + image.auxiliary.len()], &image.auxiliary);
        prop_assert!(image.auxiliary.ends_with(&[0; 16]) && image.auxiliary.len() == 16 * (auxiliary.len() + 1));
        let value = |kind: u32| auxiliary.iter().find(|(k, _)| *k == u64::from(kind)).map(|(_, value)| *value);
        prop_assert_eq!(read.string(value(at::AT_EXECFN).unwrap()), path);
        prop_assert_eq!(read.string(value(at::AT_PLATFORM).unwrap()), b"x86_64");
        prop_assert_eq!(&read.string(value(at::AT_RANDOM).unwrap())[..16], b"0123456789abcdef");
        prop_assert_eq!(value(at::AT_SYSINFO_EHDR), vdso);
        prop_assert_eq!(value(at::AT_MINSIGSTKSZ), Some(2048));
        prop_assert_eq!(value(at::AT_ENTRY), Some(0x40_1000));
        prop_assert_eq!((value(at::AT_PHDR), value(at::AT_PHNUM), value(at::AT_PHENT)), (Some(0x40_0040), Some(9), Some(56)));
        prop_assert_eq!((value(at::AT_UID), value(at::AT_EGID), value(at::AT_SECURE)), (Some(7), Some(8), Some(0)));
    }
}

#[test]
fn a_stack_that_is_too_small_is_refused() {
    let arguments: &[&[u8]] = &[b"a", b"bc"];
    let start = Start { arguments, ..Start::default() };
    let bytes = start.image(TOP, 1 << 20).unwrap().bytes.len() as u64;
    assert!(start.image(TOP, bytes).is_ok());
    for less in 0..bytes {
        assert_eq!(start.image(TOP, less), Err(Errno::E2BIG));
    }
    for top in 0..bytes {
        assert_eq!(start.image(top, u64::MAX), Err(Errno::E2BIG));
    }
    assert_eq!(Start { path: b"a\0b", ..Start::default() }.image(TOP, 1 << 20), Err(Errno::EINVAL));
}
