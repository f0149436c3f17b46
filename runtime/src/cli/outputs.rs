//! The outputs of one job as they arrive: counted, digested, and its named files written to a directory.

use super::directory::{Directory, NewFile};
use denali_protocol::{
    digest::Hasher,
    job::{Channel, ChannelDigest, OutputDigests},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// What arrived so far.
#[derive(Default)]
pub(crate) struct Outputs {
    directory: Option<Directory>,
    channels: BTreeMap<Channel, Arrived>,
}

#[derive(Default)]
struct Arrived {
    bytes: u64,
    hasher: Hasher,
    file: Option<NewFile>,
}

impl Outputs {
    /// Named files will be written below `directory`, if one is given.
    pub(crate) fn new(directory: Option<Directory>) -> Self {
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
                none => none.insert(directory.create(None, name)?),
            };
            file.write(bytes)?;
        }
        Ok(())
    }

    /// Gives the files their names. Length and digest of each channel: standard output first, then standard error, then
    /// the files by name.
    pub(crate) fn finish(self) -> anyhow::Result<OutputDigests> {
        let mut digests = Vec::new();
        for (channel, Arrived { bytes, hasher, file }) in self.channels {
            file.map_or(Ok(()), NewFile::finish)?;
            digests.push(ChannelDigest { channel, bytes, digest: hasher.finish() });
        }
        Ok(OutputDigests(digests))
    }
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
        let mut outputs = Outputs::new(Some(Directory::new(directory.path().to_owned(), false)));
        let file = Channel::File("a/b".to_owned());
        for (channel, bytes) in [(&file, b"12"), (&Channel::Output, b"xy"), (&file, b"34")] {
            outputs.add(channel, bytes).unwrap();
        }
        let OutputDigests(table) = outputs.finish().unwrap();
        assert_eq!(table[0].channel, Channel::Output);
        assert_eq!((table[1].bytes, table[1].digest), (4, Digest::of(b"1234")));
        assert_eq!(std::fs::read(directory.path().join("a/b")).unwrap(), b"1234");
    }
}
