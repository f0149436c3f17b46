//! What the tests share. Nothing here waits for ever: what takes too long is killed, and the test fails with what it said.

mod command;
mod dice;
mod figures;
mod node;
mod pipe;
mod process;
mod shortage;

pub(crate) use command::{Denali, Done, Running};
pub(crate) use dice::{Dice, seed, setting};
pub(crate) use figures::Figures;
pub(crate) use node::Node;
pub(crate) use process::{Life, busy, children, is_alive, kill, send};
pub(crate) use shortage::Shortage;

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long a command may take. Far above what any needs, since the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(100);

/// One user's directory: keys, known nodes and files.
pub(crate) struct Place(TempDir);

impl Place {
    /// A new, empty one, on a machine that can run VMs.
    pub(crate) fn new() -> Self {
        let kvm = fs::File::options().read(true).write(true).open("/dev/kvm");
        if let Err(error) = kvm {
            panic!("these tests run VMs, and /dev/kvm cannot be used: {error}; `denali doctor` says what to do");
        }
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// The path of a file or directory here.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it has a directory")).expect("a directory");
        fs::write(&path, bytes).expect("the file can be written");
        path
    }

    /// A `denali` command of this user.
    pub(crate) fn denali<const N: usize>(&self, arguments: [&str; N]) -> Denali {
        Denali::new(self.0.path()).args(arguments)
    }

    /// The bare image of a sample, as a file.
    pub(crate) fn image(&self, sample: &str) -> PathBuf {
        let sample = denali_samples::find(sample).expect("there is such a sample");
        let name = format!("{}.elf", sample.name.replace('/', "-"));
        // Written once: a command may be reading it.
        if self.path(&name).exists() { self.path(&name) } else { self.write(&name, sample.elf) }
    }

    /// A bundle of a sample, packed with these options.
    pub(crate) fn pack<const N: usize>(&self, sample: &str, options: [&str; N]) -> PathBuf {
        let bundle = self.path(&format!("{}.denali", sample.replace('/', "-")));
        self.denali(["pack"]).arg(self.image(sample)).arg("-o").arg(&bundle).args(options).succeed();
        bundle
    }

    /// Makes a key; gives its file and its public half.
    pub(crate) fn key(&self, name: &str) -> (PathBuf, String) {
        let path = self.path(name);
        let public = self.denali(["key", "new", "--out"]).arg(&path).succeed().text();
        (path, public.trim_end().to_owned())
    }
}

/// Waits until `probe` gives something.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A number in a JSON object.
pub(crate) fn number(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or_else(|| panic!("no number {key} in {object}"))
}

/// A text in a JSON object.
pub(crate) fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_else(|| panic!("no text {key} in {object}"))
}

/// A report file.
pub(crate) fn json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Bytes without a pattern that anything could rely on, the same for every call.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    // Xorshift: Marsaglia, "Xorshift RNGs", 2003.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..bytes).map(|_| next()).collect()
}

/// The file with one bit turned over.
pub(crate) fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[bit / 8] ^= 1 << (bit % 8);
    changed
}
