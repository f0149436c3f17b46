//! Files that commands write: whole or not at all, and on the disk before the command says so.

use anyhow::Context;
use std::{
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Writes `path` at once: readers see the old file or the new one. The mode of an old file stays.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    try_replace(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn try_replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mode = match fs::metadata(path) {
        // A device or a pipe, such as /dev/stdout, is written to; renaming over it would replace it.
        Ok(there) if !there.is_file() => return fs::write(path, bytes),
        Ok(there) => there.permissions(),
        Err(_) => new_file_mode()?,
    };
    // A link is kept, and the file that it leads to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut file = tempfile::NamedTempFile::new_in(directory_of(&path))?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(mode)?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    sync_directory_of(&path)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the name of a file survive a power failure.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    fs::File::open(directory_of(path))?.sync_all()
}

/// The mode that a new file gets.
pub(crate) fn new_file_mode() -> io::Result<Permissions> {
    Ok(Permissions::from_mode(0o666 & !umask()?))
}

/// The process's mask for new files. It can only be read by setting it, so the kernel's view of it is read instead.
fn umask() -> io::Result<u32> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    Ok(mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o022))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_of_an_old_file_stays_and_links_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("f"), directory.path().join("l"));
        replace(&path, b"one").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
