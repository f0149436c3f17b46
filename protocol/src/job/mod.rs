//! What a job is called, what it may use, how it ended and what it used.

mod fault;
mod id;
mod indices;
mod outcome;
mod output;
mod usage;

pub use fault::{Access, Fault, FaultCause};
pub use id::{JobId, ParseJobIdError, VmId};
pub use indices::{Indices, IndicesError};
pub use outcome::{Clock, Outcome};
pub use output::{Channel, ChannelDigest, OutputDigests};
pub use usage::{Exits, Limits, Usage};
