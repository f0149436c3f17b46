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
    // The allocator asks for pages of 2 MiB: each worker would hold a dozen of them for a few hundred KiB. Workers inherit
    // this, and what benches compare VMs with. Where it is refused, workers are only larger.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    cli::main()
}
