//! `denali node`: the daemon of a volunteer.

use super::{failure::Hint, runtime::block_on};
use crate::node::{self, NodeError, NodeOptions};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

/// Offer this machine: run the jobs that clients submit, each in a fresh VM.
///
/// Prints NODEID@ADDRESS on standard output when it is ready to serve. Stop it with Ctrl-C: accepted jobs are kept, and
/// go on at the next start.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali node --data /var/lib/denali --listen 0.0.0.0:4900")]
pub(crate) struct Args {
    /// Directory of its identity, queue, bundles and results; made if missing.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Address and UDP port to serve on; port 0 takes a free one. The default serves this machine alone.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4900")]
    listen: SocketAddr,
    /// What is granted to whom [default: a careful built-in policy]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let options = NodeOptions { data: args.data.clone(), listen: args.listen, policy: args.policy.clone() };
    match block_on(async { Ok(node::run(options).await) })? {
        Err(error @ NodeError::Host(_)) => Err(error).hint("find out what it lacks with: denali doctor"),
        ended => Ok(ended.map(|()| ExitCode::SUCCESS)?),
    }
}
