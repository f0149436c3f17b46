//! A tree of the bundle: modes and symbolic links are as they were packed.
use super::{Desk, Setup};
use crate::{
    bundle::{Entry, Node, Tree},
    errno::Errno,
    fs::{Fs, SetupError, Stop},
};
use linux_raw_sys::general as abi;

const CWD: i32 = abi::AT_FDCWD;

fn tree(entries: &[(&str, u32, Node<&'static [u8]>)]) -> Tree<&'static [u8]> {
    let mut tree = Tree::default();
    for (path, mode, node) in entries {
        tree.insert(path.as_bytes(), Entry { mode: *mode, node: node.clone() }).unwrap();
    }
    tree
}

fn fs(tree: &Tree<&'static [u8]>) -> Result<Fs, SetupError> {
    let setup = Setup { files: &[("a", b"a")], tree, program: b"/a", pid: 1, memory: 1 << 20 };
    Fs::new(&setup, Box::new(Desk(Default::default())))
}

#[test]
fn modes_and_links_are_kept() {
    let tree = tree(&[
        ("usr/lib", 0o750, Node::Directory),
        ("usr/lib/libc.so.6", 0o644, Node::File(b"library")),
        ("usr/bin/run", 0o4755, Node::File(b"program")),
        ("lib", 0o777, Node::Symlink(b"usr/lib".to_vec())),
        ("etc/hosts", 0o600, Node::File(b"127.0.0.1 tree")),
        ("etc/resolv.conf", 0o777, Node::Symlink(b"../run/resolv.conf".to_vec())),
        ("tmp", 0o700, Node::Directory),
        (std::str::from_utf8(b"n\xc3\xa9").unwrap(), 0o444, Node::File(b"")),
    ]);
    let mut fs = fs(&tree).unwrap();
    for (path, mode) in [
        ("/usr/lib", 0o040_750),
        ("/lib/libc.so.6", 0o100_644),
        ("/usr/bin/run", 0o104_755),
        ("/etc/hosts", 0o100_600),
        ("/tmp", 0o040_700),
        ("/var/tmp", 0o041_777),
        ("/a", 0o100_755),
        ("/né", 0o100_444),
    ] {
        assert_eq!(fs.fstatat(CWD, path.as_bytes(), 0).map(|found| found.mode), Ok(mode), "{path}");
    }
    assert_eq!(fs.readlinkat(CWD, b"/lib").unwrap(), b"usr/lib");
    assert_eq!(fs.readlinkat(CWD, b"/etc/resolv.conf").unwrap(), b"../run/resolv.conf");
    let fd = fs.openat(CWD, b"/lib/libc.so.6", abi::O_RDWR, 0).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(fs.read(fd, &mut buffer), Ok::<_, Stop>(7));
    assert_eq!(&buffer[..7], b"library");
    assert_eq!(fs.pwrite(fd, b"L", 0), Ok(1));
}

#[test]
fn trees_that_do_not_fit_are_refused() {
    let name = "n".repeat(300);
    for (path, node, error) in [
        ("a", Node::File(&b""[..]), Errno::EEXIST),
        ("a", Node::Directory, Errno::EEXIST),
        ("a/b", Node::Directory, Errno::EEXIST),
        ("etc", Node::Symlink(b"usr/etc".to_vec()), Errno::EEXIST),
        ("dev/null", Node::File(b""), Errno::EEXIST),
        ("proc/self", Node::Directory, Errno::EEXIST),
        (&name, Node::Directory, Errno::ENAMETOOLONG),
    ] {
        assert_eq!(fs(&tree(&[(path, 0o755, node)])).err().map(|told| told.error), Some(error), "{path}");
    }
}
