//! A directory that becomes the root of a program's files.

use crate::cli::failure::{Hint, fail};
use anyhow::Context;
use denali_linux::bundle::{Entry, Node, Tree};
use denali_protocol::limits;
use std::{
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
};

/// Directories of which the VM has its own.
const OWN: [&str; 3] = ["dev", "proc", "sys"];

/// Everything below `root`, but for `/dev`, `/proc` and `/sys`. Devices, sockets and the like are refused.
pub(super) fn read(root: &Path) -> anyhow::Result<Tree<Vec<u8>>> {
    let mut tree = Tree::default();
    let mut total_bytes = 0;
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("cannot list {}", directory.display()))?.path();
            let inside = path.strip_prefix(root).unwrap_or(&path);
            if OWN.iter().any(|own| inside == Path::new(own)) {
                continue;
            }
            let found = fs::symlink_metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?;
            let cannot_read = || format!("cannot read {}", path.display());
            let node = if found.is_dir() {
                directories.push(path.clone());
                Node::Directory
            } else if found.is_symlink() {
                Node::Symlink(fs::read_link(&path).with_context(cannot_read)?.as_os_str().as_bytes().to_vec())
            } else if found.is_file() {
                total_bytes += found.len();
                if total_bytes > limits::BUNDLE_BYTES {
                    let message = format!("{} holds more than {} bytes", root.display(), limits::BUNDLE_BYTES);
                    return fail(message, "leave out what the program does not need, or give it as input");
                }
                Node::File(fs::read(&path).with_context(cannot_read)?)
            } else {
                let message = format!("{} is no file, directory or symbolic link", path.display());
                return fail(message, "leave it out: the VM has its own /dev, and sockets mean nothing there");
            };
            tree.insert(inside.as_os_str().as_bytes(), Entry { mode: found.permissions().mode(), node })
                .hint("give a directory with fewer files")?;
        }
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_links_are_kept_and_devices_are_not() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("bin")).unwrap();
        fs::create_dir_all(root.path().join("proc/1")).unwrap();
        fs::write(root.path().join("bin/run"), "#!").unwrap();
        fs::set_permissions(root.path().join("bin/run"), fs::Permissions::from_mode(0o751)).unwrap();
        std::os::unix::fs::symlink("/bin/run", root.path().join("start")).unwrap();
        let tree = read(root.path()).unwrap();
        assert_eq!(tree.entries().map(|(path, _)| path).collect::<Vec<_>>(), [&b"bin"[..], b"bin/run", b"start"]);
        assert_eq!(tree.entries().nth(1).unwrap().1.mode, 0o751);
        assert_eq!(tree.file(b"/start").unwrap(), b"#!");

        let socket = root.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(read(root.path()).unwrap_err().to_string().contains("socket"));
        assert!(read(&socket).is_err());
    }
}
