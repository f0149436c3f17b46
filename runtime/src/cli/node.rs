//! `denali node`: the daemon of a volunteer.

use super::{failure::Hint, runtime::block_on};
use crate::node::{self, NodeError, NodeOptions, rights};
use anyhow::Context;
use rustix::process::geteuid;
use std::{
    error::Error,
    io::{self, ErrorKind},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

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
    // It has one thread still.
    rights::give_up().context("cannot give up rights")?;
    let options = NodeOptions { data: args.data.clone(), listen: args.listen, policy: args.policy.clone() };
    match block_on(async { Ok(node::run(options).await) })? {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error @ NodeError::Host(_)) => Err(error).hint("find out what it lacks with: denali doctor"),
        Err(error) => {
            let error = anyhow::Error::from(error);
            if geteuid().is_root() && is_denied(&error) {
                return Err(error)
                    .hint("a node gives up root's rights: start it as the user whose files these are, or chown them");
            }
            Err(error)
        }
    }
}

/// Whether it lacks a right to a file.
fn is_denied(error: &anyhow::Error) -> bool {
    let denied = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    error.chain().any(denied)
}
