//! `denali bench`: measures this machine.

use super::{
    bench_cpu, bench_job, bench_paper, bench_program, bench_rewrite, bench_scale, bench_start, bench_syscall, bench_vm,
};
use std::process::ExitCode;

/// Measure how fast this machine runs VMs, what they compute, and jobs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali bench job --json")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Vm(bench_vm::Args),
    Cpu(bench_cpu::Args),
    Job(bench_job::Args),
    Start(bench_start::Args),
    Program(bench_program::Args),
    Syscall(bench_syscall::Args),
    Rewrite(bench_rewrite::Args),
    Scale(bench_scale::Args),
    Paper(bench_paper::Args),
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Vm(args) => bench_vm::execute(args),
        What::Cpu(args) => bench_cpu::execute(args),
        What::Job(args) => bench_job::execute(args),
        What::Start(args) => bench_start::execute(args),
        What::Program(args) => bench_program::execute(args),
        What::Syscall(args) => bench_syscall::execute(args),
        What::Rewrite(args) => bench_rewrite::execute(args),
        What::Scale(args) => bench_scale::execute(args),
        What::Paper(args) => bench_paper::execute(args),
    }
}
