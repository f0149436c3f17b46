//! What clients, nodes and workers say to each other, and the files they exchange.
//!
//! Everything here is *sans-IO*: bytes in, typed values out, and the other way round. No socket, file, clock or thread
//! is touched, so every parser is tested, fuzzed and reused without one.
//!
//! | module | what |
//! |---|---|
//! | [`codec`] | the one place that knows bincode: bounded decode, nothing left over |
//! | [`digest`] | SHA-256 over exact bytes |
//! | [`identity`] | ed25519 keys, and signatures bound to a purpose |
//! | [`bundle`] | the bundle file: manifest, program, files, signatures |
//! | [`job`] | job names, arrays, limits, outcomes, usage |
//! | [`receipt`] | a node's signed statement of what ran |
//! | [`wire`] | frames and messages on a stream |
//! | [`limits`] | every bound, in one table |
#![forbid(unsafe_code)]

pub mod bundle;
pub mod codec;
pub mod digest;
pub mod identity;
pub mod job;
pub mod limits;
pub mod receipt;
pub mod wire;
