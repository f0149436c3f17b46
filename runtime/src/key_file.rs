//! Secret keys in files: comment lines, then `denali-key-1` and the seed in hexadecimal. Written once, readable by the
//! owner alone, never overwritten.

use denali_protocol::identity::KeyPair;
use ring::rand::{SecureRandom, SystemRandom};
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const TAG: &str = "denali-key-1";

/// Longest key file that is read, in bytes: room for comments.
const FILE_BYTES: u64 = 4096;

/// Why a key file is of no use. The operator is at fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    /// It is there already.
    #[error("{} exists already, and keys are never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("key file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Other users may read or change it.
    #[error("key file {} has mode {mode:03o}: other users have access to it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Its content is not a key.
    #[error("{} is not a Denali key file", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random bytes. The host is at fault.
    #[error("the system gave no random bytes for a new key")]
    Random,
}

/// Reads the key in `path`.
pub(crate) fn load(path: &Path) -> Result<KeyPair, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open { path: path.to_owned(), mode });
    }
    let mut text = Vec::new();
    file.take(FILE_BYTES).read_to_end(&mut text).map_err(failed)?;
    let seed = std::str::from_utf8(&text).ok().and_then(parse);
    seed.map(|seed| KeyPair::from_seed(&seed)).ok_or_else(|| KeyFileError::Format { path: path.to_owned() })
}

/// Makes a new key, for a command that keeps it to itself.
pub(crate) fn generate() -> Result<KeyPair, KeyFileError> {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| KeyFileError::Random)?;
    Ok(KeyPair::from_seed(&seed))
}

/// Makes a new key and writes it to `path`, which must not exist. Missing directories are made, closed to others.
pub(crate) fn create(path: &Path) -> Result<KeyPair, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    if path.symlink_metadata().is_ok() {
        return Err(KeyFileError::Exists { path: path.to_owned() });
    }
    let key = generate()?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_directory(directory).map_err(failed)?;
    // A temporary file has mode 0600 from the start, and is whole before it gets its name.
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    file.write_all(format(&key).as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    match file.persist_noclobber(path) {
        // Only then does the name survive a power failure: the id of this key is about to be printed.
        Ok(_) => fs::File::open(directory).and_then(|d| d.sync_all()).map(|()| key).map_err(failed),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            Err(KeyFileError::Exists { path: path.to_owned() })
        }
        Err(error) => Err(failed(error.error)),
    }
}

/// Makes a directory and those above it that are missing, each on the disk before the next.
fn make_directory(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if parent != directory {
        make_directory(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        // Another command was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        made => made.and_then(|()| fs::File::open(parent)?.sync_all()),
    }
}

fn format(key: &KeyPair) -> String {
    let seed = data_encoding::HEXLOWER.encode(&key.seed());
    format!("# Denali secret key: who reads it can act as {}\n{TAG} {seed}\n", key.public())
}

/// The seed in the text of a key file.
pub(crate) fn parse(text: &str) -> Option<[u8; 32]> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let (TAG, seed) = line.split_once(' ')? else { return None };
    data_encoding::HEXLOWER.decode(seed.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_closed_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/key");
        let made = create(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load(&path).unwrap().public(), made.public());
        assert!(matches!(create(&path), Err(KeyFileError::Exists { .. })));
        assert_eq!(load(&path).unwrap().public(), made.public());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load(&path), Err(KeyFileError::Open { mode: 0o640, .. })));
    }

    #[test]
    fn only_the_exact_format_is_a_key() {
        let seed = "11".repeat(32);
        assert!(parse(&format!("# x\n\n{TAG} {seed}\n")).is_some());
        for wrong in
            [String::new(), seed.clone(), format!("{TAG} {}", &seed[2..]), format!("{TAG} {seed}\n{TAG} {seed}")]
        {
            assert_eq!(parse(&wrong), None, "{wrong:?}");
        }
    }
}
