//! A directory that a command fills with files whose names are a guest's or a node's. No name leads out of it, no link
//! below it is followed, and nothing in it is overwritten unless that was asked for.

use super::{
    failure::{Hint, fail},
    write,
};
use anyhow::Context;
use denali_protocol::bundle::path;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// The directory. It is made with the first file.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Whether files may take the place of others.
    force: bool,
}

/// A file that gets its name when it is whole.
pub(crate) struct NewFile {
    file: NamedTempFile,
    path: PathBuf,
    force: bool,
}

impl Directory {
    /// The directory `path`, in which files are replaced only by `force`.
    pub(crate) fn new(path: PathBuf, force: bool) -> Self {
        Self { path, force }
    }

    /// A file of this name, below the subdirectory `within` if one is given. A name may have directories of its own.
    pub(crate) fn create(&self, within: Option<&str>, name: &str) -> anyhow::Result<NewFile> {
        path::check(name).with_context(|| format!("output file {name:?}"))?;
        fs::create_dir_all(&self.path).with_context(|| format!("cannot make {}", self.path.display()))?;
        let mut parent = self.path.clone();
        let (above, last) = name.rsplit_once('/').map_or((None, name), |(above, last)| (Some(above), last));
        for part in within.into_iter().chain(above.into_iter().flat_map(|above| above.split('/'))) {
            parent.push(part);
            make(&parent)?;
        }
        let path = parent.join(last);
        if !self.force && path.symlink_metadata().is_ok() {
            return exists(&path);
        }
        let file = NamedTempFile::new_in(&parent).with_context(|| format!("cannot write in {}", parent.display()))?;
        Ok(NewFile { file, path, force: self.force })
    }
}

/// Makes a subdirectory. A link to one is none.
fn make(directory: &Path) -> anyhow::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            match directory.symlink_metadata().is_ok_and(|there| there.is_dir()) {
                true => Ok(()),
                false => fail(format!("{} is no directory", directory.display()), "choose an empty directory"),
            }
        }
        made => made.with_context(|| format!("cannot make {}", directory.display())),
    }
}

fn exists<T>(path: &Path) -> anyhow::Result<T> {
    let message = format!("{} exists already, and is not overwritten", path.display());
    fail(message, "choose an empty directory, or replace files with --force")
}

impl NewFile {
    /// Writes the next bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.file.write_all(bytes).with_context(|| self.failed())
    }

    /// Writes all that `source` has.
    pub(crate) fn copy(&mut self, source: &mut impl io::Read) -> anyhow::Result<()> {
        io::copy(source, &mut self.file).map(|_| ()).with_context(|| self.failed())
    }

    fn failed(&self) -> String {
        format!("cannot write {}", self.path.display())
    }

    /// Puts it in its place. A link that is there is replaced by force, and not followed.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let failed = self.failed();
        let Self { file, path, force } = self;
        let mode = write::new_file_mode().and_then(|mode| file.as_file().set_permissions(mode));
        mode.and_then(|()| file.as_file().sync_all()).context(failed.clone())?;
        let named = if force { file.persist(&path) } else { file.persist_noclobber(&path) };
        match named {
            Ok(_) => write::sync_directory_of(&path).context(failed),
            Err(error) if !force && error.error.kind() == io::ErrorKind::AlreadyExists => exists(&path),
            Err(error) => Err(error.error).with_context(|| failed).hint("choose an empty directory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn put(directory: &Directory, within: Option<&str>, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let mut file = directory.create(within, name)?;
        file.write(bytes)?;
        file.finish()
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::new(root.path().to_owned(), true);
        for name in ["../x", "/x", "a/../../x", "", "a\u{202e}"] {
            assert!(directory.create(None, name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn links_are_neither_followed_nor_written_through() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let victim = outside.path().join("victim");
        fs::write(&victim, "old").unwrap();
        symlink(outside.path(), root.path().join("7")).unwrap();
        symlink(&victim, root.path().join("link")).unwrap();
        for force in [false, true] {
            let directory = Directory::new(root.path().to_owned(), force);
            assert!(put(&directory, Some("7"), "victim", b"new").is_err());
            assert!(put(&directory, None, "7/victim", b"new").is_err());
            assert_eq!(put(&directory, None, "link", b"new").is_ok(), force);
        }
        assert_eq!(fs::read(&victim).unwrap(), b"old");
        assert_eq!(fs::read(root.path().join("link")).unwrap(), b"new");
    }

    #[test]
    fn files_are_replaced_by_force_alone_and_come_whole() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("new/7/a/b");
        let [careful, forced] = [false, true].map(|force| Directory::new(root.path().join("new"), force));
        put(&careful, Some("7"), "a/b", b"one").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o400, 0o400);
        let text = super::super::failure::text(&put(&careful, Some("7"), "a/b", b"two").unwrap_err()).unwrap();
        assert!(text.contains("7/a/b exists already") && text.contains("--force"), "{text}");
        assert_eq!(fs::read(&path).unwrap(), b"one");

        // Not finished, or somebody was faster.
        drop(careful.create(None, "c").unwrap());
        let late = careful.create(None, "c").unwrap();
        fs::write(root.path().join("new/c"), "theirs").unwrap();
        assert!(late.finish().is_err());
        assert_eq!(fs::read(root.path().join("new/c")).unwrap(), b"theirs");

        put(&forced, Some("7"), "a/b", b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(root.path().join("new")).unwrap().count(), 2, "nothing is left behind");
    }
}
