//! `denali bench`: measures this machine.

use std::process::ExitCode;

/// Measure how fast this machine runs VMs and jobs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali bench job --json")]
pub(crate) struct Args {}

pub(crate) fn execute(_args: &Args) -> anyhow::Result<ExitCode> {
    super::failure::fail("not yet", "")
}
