//! The `denali` command: grid client, node and worker in one binary.
//!
//! | module | what |
//! |---|---|
//! | [`cli`] | the command line: one module a command |
//! | [`client`] | talks to nodes, believes nothing they say unchecked |
//! | [`home`] | where keys and known nodes are kept |
//! | [`key_file`] | secret keys in files |
//! | [`node`] | the daemon of one volunteer |
//! | [`transport`] | QUIC with raw public keys on both ends |
//! | [`worker`] | a handle on a worker process |
#![forbid(unsafe_code)]

mod cli;
mod client;
mod home;
mod key_file;
mod node;
mod transport;
mod worker;

/// A node handles thousands of jobs a second, each with some hundred small allocations, many of them freed on another
/// thread: this one takes a fifth off what a job costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
