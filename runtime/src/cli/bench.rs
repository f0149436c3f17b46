//! `denali bench`: measures this machine.

use super::{bench_job, bench_scale, bench_vm};
use std::process::ExitCode;

/// Measure how fast this machine runs VMs and jobs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali bench job --json")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Vm(bench_vm::Args),
    Job(bench_job::Args),
    Scale(bench_scale::Args),
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Vm(args) => bench_vm::execute(args),
        What::Job(args) => bench_job::execute(args),
        What::Scale(args) => bench_scale::execute(args),
    }
}
