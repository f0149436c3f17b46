//! Trees of files, as a bundle by a stranger might hold them: tar archives.

use denali_linux::{
    bundle::{Entry, Node, Tree},
    fs::{Fs, Setup},
    testing::{Shared, console},
};

/// Reads `data` as an archive. What is accepted is a tree, whose links lead somewhere or nowhere in bounded time, of which the same
/// archive is made again, and that a program may have as its files.
pub fn linux_tree(data: &[u8]) {
    let tree = match Tree::from_tar(data) {
        Ok(tree) => tree,
        Err(error) => return assert_ne!(error.to_string(), ""),
    };
    let mut bytes = 0;
    for (path, entry) in tree.entries() {
        assert!(!path.is_empty() && path.len() <= 4095 && entry.mode & !0o7777 == 0);
        assert!(path.split(|byte| *byte == b'/').all(|name| !matches!(name, b"" | b"." | b"..") && !name.contains(&0)));
        if let Some(parent) = path.iter().rposition(|byte| *byte == b'/') {
            assert_eq!(tree.get(&path[..parent]), Some(&Node::Directory));
        }
        if let Some(resolved) = tree.resolve(path) {
            assert!(!matches!(tree.get(&resolved), Some(Node::Symlink(_))));
        }
        bytes += if let Node::File(file) = &entry.node { file.len() } else { 0 };
    }
    assert!(bytes <= data.len());
    let written = tree.to_tar().expect("no file is larger than the archive was");
    assert_eq!(Tree::from_tar(&written).as_ref(), Ok(&tree));
    // Files live as long as a VM: here they are others.
    let mut other = Tree::default();
    for (path, Entry { mode, node }) in tree {
        let node = match node {
            Node::Directory => Node::Directory,
            Node::File(_) => Node::File(&b"contents"[..]),
            Node::Symlink(text) => Node::Symlink(text),
        };
        assert_eq!(other.insert(&path, Entry { mode, node }), Ok(()));
    }
    let setup = Setup { files: &[], tree: &other, program: b"/bin/program", pid: 1, memory: 1 << 20 };
    if let Err(error) = Fs::new(&setup, console(Shared::default())) {
        assert_ne!(error.to_string(), "");
    }
}
