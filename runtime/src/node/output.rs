//! The output of a result, channel after channel, wherever it is kept.

use super::{
    engine::Engine,
    spool::ChannelReader,
    store::{OutputPlace, ResultRecord, StoreError},
};
use denali_protocol::{
    job::{Channel, ChannelDigest},
    limits,
};
use std::sync::Arc;

enum Source {
    /// All channels one after another; and how much of it is behind.
    Inline(Vec<u8>, usize),
    File(String),
}

/// Reads the output of one result in pieces.
pub(crate) struct OutputReader {
    engine: Arc<Engine>,
    rows: Vec<ChannelDigest>,
    source: Source,
    /// The row at hand, and how much of it is behind.
    row: usize,
    behind: u64,
    file: Option<ChannelReader>,
}

impl OutputReader {
    /// Reads the output of `record`, from `inline` where it is kept there.
    pub(crate) fn new(engine: &Arc<Engine>, record: &ResultRecord, inline: Vec<u8>) -> Self {
        let source = match &record.place {
            OutputPlace::Inline => Source::Inline(inline, 0),
            OutputPlace::File(name) => Source::File(name.clone()),
        };
        let rows = record.result.outputs.0.clone();
        Self { engine: Arc::clone(engine), rows, source, row: 0, behind: 0, file: None }
    }

    /// The next piece, leaving out of each channel as many bytes as `skip` says.
    pub(crate) async fn next(&mut self, skip: &[(Channel, u64)]) -> Result<Option<(Channel, Vec<u8>)>, StoreError> {
        while let Some(row) = self.rows.get(self.row) {
            let skip = skip.iter().find(|(channel, _)| *channel == row.channel).map_or(0, |(_, bytes)| *bytes);
            if skip >= row.bytes && self.behind == 0 {
                self.pass(row.bytes);
                continue;
            }
            let Some(mut bytes) = self.piece().await? else {
                self.pass(0);
                continue;
            };
            let left_out = skip.saturating_sub(self.behind).min(bytes.len() as u64);
            self.behind += bytes.len() as u64;
            bytes.drain(..left_out as usize);
            if !bytes.is_empty() {
                return Ok(Some((self.rows[self.row].channel.clone(), bytes)));
            }
        }
        Ok(None)
    }

    /// Goes on to the next row, over `bytes` of this one that were not read.
    fn pass(&mut self, bytes: u64) {
        if let Source::Inline(_, at) = &mut self.source {
            *at = at.saturating_add(bytes as usize);
        }
        (self.row, self.behind, self.file) = (self.row + 1, 0, None);
    }

    /// The next piece of the row at hand.
    async fn piece(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let left = self.rows[self.row].bytes.saturating_sub(self.behind);
        match &mut self.source {
            Source::Inline(bytes, at) => {
                let length = left.min(limits::OUTPUT_PIECE_BYTES as u64) as usize;
                let short = || StoreError::Corrupt("a result's output is cut short".to_owned());
                let piece = bytes.get(*at..at.saturating_add(length)).ok_or_else(short)?.to_vec();
                *at += length;
                Ok((length > 0).then_some(piece))
            }
            Source::File(_) if left == 0 => Ok(None),
            Source::File(name) => {
                let (name, rows, row, engine) = (name.clone(), self.rows.len(), self.row, Arc::clone(&self.engine));
                let mut file = self.file.take();
                let (file, piece) = tokio::task::spawn_blocking(move || -> Result<_, StoreError> {
                    let mut reader = match file.take() {
                        Some(reader) => reader,
                        None => ChannelReader::open(engine.store.files.get_output(&name)?, rows, row)?,
                    };
                    let piece = reader.next()?;
                    Ok((reader, piece))
                })
                .await
                .map_err(|error| StoreError::Io(error.to_string()))??;
                self.file = Some(file);
                Ok(piece)
            }
        }
    }
}
