//! `denali worker`: the process that holds the VMs of one tenant. Started by the node and by `denali run`, never by
//! people.

use std::{os::fd::AsFd, process::ExitCode};

/// Hold VMs for a node: serves the Unix socket that is standard input.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn execute(_args: &Args) -> anyhow::Result<ExitCode> {
    Ok(denali_vmm::worker::serve(std::io::stdin().as_fd().try_clone_to_owned()?))
}
