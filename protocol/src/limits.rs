//! Every bound that a peer, a bundle or an operator can run into, in one table.

/// Longest encoded control frame, in bytes: requests, responses and events. Large bodies are raw stream bytes instead.
pub const FRAME_BYTES: usize = 256 * 1024;

/// Most bytes that a node sends back to measure the way there and back.
pub const ECHO_BYTES: usize = 4096;

/// Longest single piece of job output in one event, in bytes. Leaves room for the event around it.
pub const OUTPUT_PIECE_BYTES: usize = 64 * 1024;

/// Largest content of a bundle, in bytes.
pub const BUNDLE_BYTES: u64 = 512 * 1024 * 1024;

/// Largest bundle file, in bytes: content, the length of the signatures, signatures.
pub const BUNDLE_FILE_BYTES: u64 = BUNDLE_BYTES + 4 + SIGNATURES_BYTES as u64;

/// Longest encoded manifest, in bytes.
pub const MANIFEST_BYTES: usize = 64 * 1024;

/// Most signatures on one bundle.
pub const SIGNATURES: usize = 16;

/// Longest encoded list of signatures, in bytes: a count, then key (32), expiry (8) and signature (64) of each.
pub const SIGNATURES_BYTES: usize = 8 + SIGNATURES * (32 + 8 + 64);

/// Most files in a bundle, and most named output files of one job.
pub const FILES: usize = 256;

/// Longest file name, bundle name or job name, in bytes.
pub const NAME_BYTES: usize = 255;

/// Most arguments of one job.
pub const ARGUMENTS: usize = 256;

/// Longest argument list of one job, in bytes, all arguments together.
pub const ARGUMENTS_BYTES: usize = 32 * 1024;

/// Most jobs in one array.
pub const ARRAY_JOBS: u32 = 100_000;

/// Largest input of one job, in bytes.
pub const INPUT_BYTES: u64 = 256 * 1024 * 1024;

/// Smallest and largest memory of a VM, in bytes.
pub const MEMORY_BYTES: std::ops::RangeInclusive<u64> = (4 << 20)..=(16 << 30);

/// Longest CPU time or wall time that a manifest may ask for, in microseconds: 30 days.
pub const TIME_US: u64 = 30 * 24 * 3600 * 1_000_000;

/// Longest encoded receipt body, in bytes.
pub const RECEIPT_BYTES: usize = 8 * 1024;

/// Most clients that an operator is told of at once.
pub const TOP_CLIENTS: usize = 256;
