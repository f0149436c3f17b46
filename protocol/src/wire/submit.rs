//! The request that starts jobs, and the limits that it must keep.

use crate::{
    bundle::BundleSignature,
    digest::Digest,
    job::{Indices, IndicesError, JobId},
    limits::{ARGUMENTS, ARGUMENTS_BYTES, BUNDLE_BYTES, INPUT_BYTES},
};
use serde::{Deserialize, Serialize};

/// A job or an array of jobs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Submit {
    /// Its name, chosen by the client.
    pub job: JobId,
    /// The digest of the bundle's content.
    pub bundle: Digest,
    /// Length of the content, in bytes.
    pub bundle_bytes: u64,
    /// The bundle's signatures. They stand beside the content, so they travel with each request and the content only
    /// where the node lacks it.
    pub signatures: Vec<BundleSignature>,
    /// Arguments; `{index}` in one stands for the job's index.
    pub arguments: Vec<String>,
    /// The indices to run.
    pub indices: Indices,
    /// Length of the input, in bytes. Each job of an array gets the same input.
    pub input_bytes: u64,
    /// Digest of the input.
    pub input: Digest,
    /// Whether to go on with events on this stream.
    pub attach: bool,
}

/// The limit that a submission breaks. The client is at fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SubmitError {
    /// The bundle is too large.
    #[error("a bundle of {bytes} bytes, more than the limit of {BUNDLE_BYTES}; pack less, and send data as input")]
    Bundle {
        /// Bytes announced.
        bytes: u64,
    },
    /// The input is too large.
    #[error("an input of {bytes} bytes, more than the limit of {INPUT_BYTES}; split it over several jobs")]
    Input {
        /// Bytes announced.
        bytes: u64,
    },
    /// Too many arguments.
    #[error("{count} arguments, more than the limit of {ARGUMENTS}; send them as input")]
    TooManyArguments {
        /// Arguments given.
        count: usize,
    },
    /// Arguments too long.
    #[error("arguments of {bytes} bytes, more than the limit of {ARGUMENTS_BYTES}; send them as input")]
    LongArguments {
        /// Bytes of all arguments together.
        bytes: usize,
    },
    /// A NUL in an argument, where a program would see its end.
    #[error("argument {number} holds a NUL character; remove it")]
    NulInArgument {
        /// Which one, from 0.
        number: usize,
    },
    /// The indices are no range, or too many.
    #[error(transparent)]
    Indices(#[from] IndicesError),
}

impl Submit {
    /// Checks every limit that the request can break by itself. Signatures are [`crate::bundle::verify_signatures`]'s
    /// question.
    ///
    /// # Errors
    /// [`SubmitError`] names the first limit broken.
    pub fn check(&self) -> Result<(), SubmitError> {
        if self.bundle_bytes > BUNDLE_BYTES {
            return Err(SubmitError::Bundle { bytes: self.bundle_bytes });
        }
        if self.input_bytes > INPUT_BYTES {
            return Err(SubmitError::Input { bytes: self.input_bytes });
        }
        self.indices.check()?;
        check_arguments(&self.arguments)
    }
}

/// Checks the arguments of one job.
///
/// # Errors
/// [`SubmitError`] names the first limit broken.
pub fn check_arguments(arguments: &[String]) -> Result<(), SubmitError> {
    if arguments.len() > ARGUMENTS {
        return Err(SubmitError::TooManyArguments { count: arguments.len() });
    }
    let bytes = arguments.iter().map(String::len).sum();
    if bytes > ARGUMENTS_BYTES {
        return Err(SubmitError::LongArguments { bytes });
    }
    match arguments.iter().position(|argument| argument.contains('\0')) {
        Some(number) => Err(SubmitError::NulInArgument { number }),
        None => Ok(()),
    }
}
