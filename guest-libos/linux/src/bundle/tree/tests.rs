use super::{Entry, Node, Tree, TreeError};
use proptest::prelude::*;
use std::process::Command;

fn file(bytes: &[u8]) -> Entry<&[u8]> {
    Entry { mode: 0o644, node: Node::File(bytes) }
}

fn link<'a>(text: &str) -> Entry<&'a [u8]> {
    Entry { mode: 0o777, node: Node::Symlink(text.into()) }
}

fn directory<'a>(mode: u32) -> Entry<&'a [u8]> {
    Entry { mode, node: Node::Directory }
}

fn tree(entries: &[(&str, Entry<&'static [u8]>)]) -> Tree<&'static [u8]> {
    let mut tree = Tree::default();
    for (path, entry) in entries {
        tree.insert(path.as_bytes(), entry.clone()).unwrap();
    }
    tree
}

#[test]
fn links_are_followed_within_the_root() {
    let tree = tree(&[
        ("usr/lib/x/libx.so.1.2", file(b"library")),
        ("usr/lib/x/libx.so", link("libx.so.1.2")),
        ("lib", link("usr/lib")),
        ("usr/here", link("../lib/./x")),
        ("usr/bin/away", link("/../../lib//x/")),
        ("loop", link("usr/../loop")),
    ]);
    for path in ["/lib/x/libx.so", "usr/here/libx.so", "/usr/bin/away/libx.so", "/../usr/./lib/x/../x/libx.so.1.2"] {
        assert_eq!(tree.resolve(path.as_bytes()).unwrap(), b"usr/lib/x/libx.so.1.2", "{path}");
        assert_eq!(tree.file(path.as_bytes()), Some(&&b"library"[..]));
    }
    assert_eq!(tree.resolve(b"/lib/new/file").unwrap(), b"usr/lib/new/file");
    assert_eq!((tree.resolve(b"/loop"), tree.resolve(b"/lib/x/libx.so/more")), (None, None));
    assert_eq!((tree.file(b"/lib"), tree.file(b"/none")), (None, None));
}

#[test]
fn what_has_no_place_is_refused() {
    let mut tree = tree(&[("a/b", file(b"")), ("l", link("a"))]);
    for path in ["", "/a", "a//b", "a/", "../a", "a/./b", "a\0", &"a/".repeat(3000)] {
        assert_eq!(tree.insert(path.as_bytes(), file(b"")), Err(TreeError::Path { path: path.to_owned() }));
    }
    for (path, at) in [("a/b", "a/b"), ("a", "a"), ("a/b/c", "a/b"), ("l/c", "l")] {
        assert_eq!(tree.insert(path.as_bytes(), file(b"")), Err(TreeError::Twice { path: at.to_owned() }));
    }
    tree.insert(b"a", directory(0o1777)).unwrap();
    assert_eq!(tree.entries().find(|(path, _)| *path == b"a").unwrap().1.mode, 0o1777);
}

/// Archives of the system's tar, in each of its forms, say what lies on the disk.
#[test]
fn what_tar_makes_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let long = "long/".repeat(40) + "name";
    let root = folder.path().join("root");
    std::fs::create_dir_all(root.join(&long)).unwrap();
    std::fs::write(root.join(&long).join("file"), vec![7; 1000]).unwrap();
    std::fs::write(root.join("empty"), "").unwrap();
    std::os::unix::fs::symlink(format!("/{long}/file"), root.join("link")).unwrap();
    for format in ["gnu", "pax", "ustar"] {
        let mut tar = Command::new("tar");
        tar.args(["-c", "--format", format, "--exclude", if format == "ustar" { "link" } else { "none" }, "-C"]);
        let archive = tar.arg(&root).arg(".").output().unwrap();
        assert!(archive.status.success(), "{}", String::from_utf8_lossy(&archive.stderr));
        let tree = Tree::from_tar(&archive.stdout).unwrap();
        assert_eq!(tree.file(format!("{long}/file").as_bytes()), Some(&&[7; 1000][..]), "{format}");
        assert_eq!(tree.file(b"empty"), Some(&&b""[..]));
        if format != "ustar" {
            assert_eq!(tree.resolve(b"link").unwrap(), format!("{long}/file").as_bytes());
        }
        assert_eq!(tree.entries().count(), if format == "ustar" { 43 } else { 44 });
    }
}

#[test]
fn our_archives_are_read_by_tar() {
    let mut tree = tree(&[("d/script", Entry { mode: 0o755, node: Node::File(b"#!") }), ("link", link("d"))]);
    let long = "n".repeat(150);
    tree.insert(long.as_bytes(), file(b"long")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("a.tar");
    std::fs::write(&archive, tree.to_tar().unwrap()).unwrap();
    let status = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(status.success());
    assert_eq!(std::fs::read(folder.path().join("link/script")).unwrap(), b"#!");
    assert_eq!(std::fs::read(folder.path().join(long)).unwrap(), b"long");
}

#[test]
fn broken_archives_have_their_errors() {
    let whole = tree(&[("a", file(&[1; 600])), ("p", link("a"))]).to_tar().unwrap();
    assert_eq!(Tree::from_tar(&whole[..700]), Err(TreeError::Truncated { at: 0 }));
    assert!(matches!(Tree::from_tar(&[1; 512]), Err(TreeError::Archive { at: 0, .. })));
    assert_eq!(Tree::from_tar(&[]), Err(TreeError::Truncated { at: 0 }));
    assert_eq!(Tree::from_tar(&[0; 1024]).unwrap().entries().count(), 0);
    let mut pipe = whole;
    pipe[1536 + 156] = b'6';
    let sum: u32 = (1536..2048).map(|at| if (1684..1692).contains(&at) { 32 } else { u32::from(pipe[at]) }).sum();
    pipe[1684..1692].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(Tree::from_tar(&pipe), Err(TreeError::Unsupported { path: "p".to_owned() }));
}

#[test]
fn deep_paths_are_bounded_in_all() {
    let mut tree = Tree::<&[u8]>::default();
    // All the directories on the way to one take 4 MB of paths.
    let results: Vec<_> = ["a", "b", "c", "d", "e"]
        .map(|name| tree.insert([name; 2047].join("/").as_bytes(), Entry { mode: 0o755, node: Node::File(b"") }))
        .into();
    assert_eq!(results[..4], [const { Ok(()) }; 4]);
    assert_eq!(results[4], Err(TreeError::TooLong));
    assert!(tree.entries().map(|(path, _)| path.len()).sum::<usize>() <= 16 << 20);
}

fn entries() -> impl Strategy<Value = Vec<(String, Entry<Vec<u8>>)>> {
    let node = prop_oneof![
        Just(Node::Directory),
        prop::collection::vec(any::<u8>(), 0..1500).prop_map(Node::File),
        "[a-z/.]{1,200}".prop_map(|text| Node::Symlink(text.into_bytes())),
    ];
    let entry = (0..0o10000u32, node).prop_map(|(mode, node)| Entry { mode, node });
    prop::collection::vec(("[a-c]{1,120}(/[a-c]{1,2}){0,3}", entry), 0..12)
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in entries()) {
        let mut tree = Tree::default();
        for (path, entry) in entries {
            let _ = tree.insert(path.as_bytes(), entry);
        }
        let tar = tree.to_tar().unwrap();
        let read = Tree::from_tar(&tar).unwrap();
        let read: Vec<_> = read.entries().map(|(path, entry)| (path.to_vec(), format!("{entry:?}"))).collect();
        let written: Vec<_> = tree.entries().map(|(path, entry)| (path.to_vec(), format!("{entry:?}"))).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn a_changed_archive_does_no_harm(
        entries in entries(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut tree = Tree::default();
        for (path, entry) in entries {
            let _ = tree.insert(path.as_bytes(), entry);
        }
        let mut tar = tree.to_tar().unwrap();
        for (at, value) in changes {
            let at = at.index(tar.len());
            tar[at] = value;
        }
        tar.truncate(cut.index(tar.len()) + 1);
        if let Ok(read) = Tree::from_tar(&tar) {
            for (path, _) in read.entries() {
                let _ = read.resolve(path);
            }
        }
    }

    #[test]
    fn any_path_leads_somewhere_or_nowhere(entries in entries(), path in "[a-c/.]{0,20}") {
        let mut tree = Tree::default();
        for (path, entry) in entries {
            let _ = tree.insert(path.as_bytes(), entry);
        }
        if let Some(end) = tree.resolve(path.as_bytes()) {
            prop_assert!(!matches!(tree.get(&end), Some(Node::Symlink(_))));
        }
    }
}
