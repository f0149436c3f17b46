//! What the `denali` command is made of: grid client, node and worker. The command is its only user; there is no other interface.
//!
//! | module | what |
//! |---|---|
//! | `cli` | the command line: one module a command |
//! | `client` | talks to nodes, believes nothing they say unchecked |
//! | `home` | where keys and known nodes are kept |
//! | `key_file` | secret keys in files |
//! | `node` | the daemon of one volunteer |
//! | `transport` | QUIC with raw public keys on both ends |
//! | `worker` | a handle on a worker process |
#![forbid(unsafe_code)]

mod cli;
mod client;
mod home;
mod key_file;
mod node;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod transport;
mod worker;

pub use cli::main;
