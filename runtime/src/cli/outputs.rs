//! The outputs of one job as they arrive: counted, digested, and its named files written to a directory.

use anyhow::Context;
use denali_protocol::{
    bundle::path,
    digest::Hasher,
    job::{Channel, ChannelDigest, OutputDigests},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

/// What arrived so far.
#[derive(Default)]
pub(crate) struct Outputs {
    directory: Option<PathBuf>,
    channels: BTreeMap<Channel, Arrived>,
}

#[derive(Default)]
struct Arrived {
    bytes: u64,
    hasher: Hasher,
    file: Option<File>,
}

impl Outputs {
    /// Named files will be written below `directory`, if one is given.
    pub(crate) fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, channels: BTreeMap::new() }
    }

    /// Takes in the next piece of a channel.
    pub(crate) fn add(&mut self, channel: &Channel, bytes: &[u8]) -> anyhow::Result<()> {
        let arrived = self.channels.entry(channel.clone()).or_default();
        arrived.bytes += bytes.len() as u64;
        arrived.hasher.update(bytes);
        if let (Channel::File(name), Some(directory)) = (channel, &self.directory) {
            let file = match &mut arrived.file {
                Some(file) => file,
                none => none.insert(create(directory, name)?),
            };
            file.write_all(bytes).with_context(|| format!("cannot write {}", directory.join(name).display()))?;
        }
        Ok(())
    }

    /// Length and digest of each channel: standard output first, then standard error, then the files by name.
    pub(crate) fn digests(self) -> OutputDigests {
        let channels = self.channels.into_iter();
        OutputDigests(
            channels
                .map(|(channel, Arrived { bytes, hasher, .. })| ChannelDigest {
                    channel,
                    bytes,
                    digest: hasher.finish(),
                })
                .collect(),
        )
    }
}

/// Makes the file of an output. The name is a guest's, so it must not lead out of the directory.
pub(crate) fn create(directory: &Path, name: &str) -> anyhow::Result<File> {
    path::check(name).with_context(|| format!("output file {name:?}"))?;
    let path = directory.join(name);
    let parent = path.parent().unwrap_or(directory);
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    File::create(&path).with_context(|| format!("cannot write {}", path.display()))
}

/// An output as JSON.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OutputLine {
    channel: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    bytes: u64,
    digest: String,
}

/// All outputs as JSON.
pub(crate) fn lines(outputs: &OutputDigests) -> Vec<OutputLine> {
    let line = |output: &ChannelDigest| {
        let (channel, name) = match &output.channel {
            Channel::Output => ("stdout", None),
            Channel::Error => ("stderr", None),
            Channel::File(name) => ("file", Some(name.clone())),
        };
        OutputLine { channel, name, bytes: output.bytes, digest: output.digest.to_string() }
    };
    outputs.0.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use denali_protocol::digest::Digest;

    #[test]
    fn pieces_of_a_channel_add_up() {
        let directory = tempfile::tempdir().unwrap();
        let mut outputs = Outputs::new(Some(directory.path().to_owned()));
        let file = Channel::File("a/b".to_owned());
        for (channel, bytes) in [(&file, b"12"), (&Channel::Output, b"xy"), (&file, b"34")] {
            outputs.add(channel, bytes).unwrap();
        }
        let OutputDigests(table) = outputs.digests();
        assert_eq!(table[0].channel, Channel::Output);
        assert_eq!((table[1].bytes, table[1].digest), (4, Digest::of(b"1234")));
        assert_eq!(fs::read(directory.path().join("a/b")).unwrap(), b"1234");
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["../x", "/x", "a/../../x", ""] {
            assert!(create(directory.path(), name).is_err(), "{name:?}");
        }
    }
}
