//! Fetches the outputs of one ended job. Nothing of them is given out before all of it was verified.

use super::{
    check::{self, Expectation, Lie, Tally},
    session::{Session, SessionError, within},
};
use denali_protocol::{
    job::{Channel, ChannelDigest},
    limits,
    receipt::Statement,
    wire::message::JobResult,
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Seek, Write},
};

/// Most bytes of one job that are fetched, where nobody says otherwise.
pub(crate) const DEFAULT_LIMIT_BYTES: u64 = 1 << 30;

/// Most channels of one job: standard output, standard error and its files.
const CHANNELS: usize = limits::FILES + 2;

/// Why there are no outputs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The node says no, or the connection broke.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The connection broke within the outputs, or the node ended them early.
    #[error("the outputs stopped early: {0}")]
    CutShort(#[from] quinn::ReadExactError),
    /// The node says what is not so.
    #[error("the node lies about job {job} index {index}: {lie}")]
    Lie {
        /// The job.
        job: String,
        /// The index.
        index: u32,
        /// What is not so.
        lie: Lie,
    },
    /// The job put out more than this client wants to hold.
    #[error("index {index} put out {bytes} bytes, more than the {limit_bytes} that are to be fetched of one job")]
    TooLong {
        /// The index.
        index: u32,
        /// Bytes the node signed for.
        bytes: u64,
        /// Most bytes to fetch.
        limit_bytes: u64,
    },
    /// The bytes could not be kept. The host is at fault.
    #[error("cannot keep the outputs in a temporary file: {0}")]
    Keep(#[from] io::Error),
}

/// A verified result with its outputs.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The result.
    pub(crate) result: JobResult,
    /// What its receipt states.
    pub(crate) statement: Statement,
    /// The channels, each with a file that holds its bytes and is read from its start.
    pub(crate) outputs: Vec<(Channel, File)>,
}

impl FetchError {
    /// Whether a new connection may help.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Session(error) => error.is_transient(),
            Self::CutShort(_) => true,
            _ => false,
        }
    }
}

/// Fetches the result of one index, and checks it against what is expected. Of more than `limit_bytes` nothing is
/// fetched.
pub(crate) async fn fetch(
    session: &Session,
    expectation: &Expectation,
    index: u32,
    limit_bytes: u64,
) -> Result<Fetched, FetchError> {
    let lie = |lie| FetchError::Lie { job: expectation.job.to_string(), index, lie };
    let (result, mut stream) = session.result(&expectation.job, index).await?;
    // First the receipt: nothing is written on the word of a node that has not signed for it.
    let statement = expectation.check_result(&result).map_err(lie)?;
    if result.outputs.0.len() > CHANNELS {
        return Err(lie(Lie::TooMuch));
    }
    let bytes = result.outputs.0.iter().fold(0_u64, |sum, output| sum.saturating_add(output.bytes));
    if bytes > limit_bytes {
        return Err(FetchError::TooLong { index, bytes, limit_bytes });
    }
    let mut arrived = BTreeMap::new();
    let mut outputs = Vec::new();
    for ChannelDigest { channel, bytes, .. } in &result.outputs.0 {
        let mut file = tempfile::tempfile()?;
        let tally = copy(&mut stream, *bytes, &mut file).await?;
        file.rewind()?;
        arrived.insert(channel.clone(), tally);
        outputs.push((channel.clone(), file));
    }
    check::check_bytes(&result.outputs, &arrived).map_err(lie)?;
    Ok(Fetched { result, statement, outputs })
}

async fn copy(stream: &mut quinn::RecvStream, mut left_bytes: u64, file: &mut File) -> Result<Tally, FetchError> {
    let mut tally = Tally::default();
    let mut buffer = vec![0; limits::OUTPUT_PIECE_BYTES];
    while left_bytes > 0 {
        let length = usize::try_from(left_bytes).unwrap_or(usize::MAX).min(buffer.len());
        within(async { Ok(stream.read_exact(&mut buffer[..length]).await) }).await??;
        file.write_all(&buffer[..length])?;
        tally.add(&buffer[..length]);
        left_bytes -= length as u64;
    }
    Ok(tally)
}
