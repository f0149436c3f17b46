//! `denali worker`: the process that holds the VMs of one tenant. Started by the node and by `denali run`, never by
//! people.

use crate::worker::cgroup;
use std::{os::fd::AsFd, path::PathBuf, process::ExitCode};

/// Hold VMs for a node: serves the Unix socket that is standard input.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A control group to enter before anything else; where that fails, it does not start
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
    /// Bytes up to which it may make any file grow
    #[arg(long, value_name = "BYTES")]
    file_bytes: Option<u64>,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    // Whatever it starts is in it too.
    args.cgroup.as_deref().map_or(Ok(()), cgroup::enter)?;
    args.file_bytes.map_or(Ok(()), cgroup::limit_files)?;
    Ok(denali_vmm::worker::serve(std::io::stdin().as_fd().try_clone_to_owned()?))
}
