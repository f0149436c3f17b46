//! The command line: one module a command. Called by `main` alone; what scripts rely on (names, exit statuses, JSON
//! keys) is written down in `docs/cli.md`.

mod advice;
mod attack;
mod bench;
mod bench_cpu;
mod bench_job;
mod bench_paper;
mod bench_program;
mod bench_rewrite;
mod bench_scale;
mod bench_start;
mod bench_syscall;
mod bench_vm;
mod clock;
mod connect;
mod demo;
mod directory;
mod distribution;
mod doctor;
mod dry_run;
mod facts;
mod failure;
mod fleet;
mod host;
mod inspect;
mod keep;
mod key;
mod lines;
mod linux;
mod logs;
mod mosaic;
mod native_program;
mod node;
mod node_process;
mod outputs;
mod pack;
mod plot;
mod print;
mod program;
mod query;
mod result;
mod result_line;
mod run;
mod runtime;
mod samples;
mod sign;
mod statement;
mod submission;
mod submit;
mod top;
mod tree;
pub(crate) mod units;
mod verify;
mod wait;
mod worker;
mod write;

use clap::{Parser, Subcommand, error::ErrorKind};
use std::process::ExitCode;

const EXIT_STATUSES: &str = "\
Exit statuses:
  0     done; for `run`, `submit --wait` and `result`: the job exited with 0
  1     the answer is no: a receipt does not hold, a check failed, a job of an array failed
  124   the job reached a limit of time
  125   denali itself failed, or was used wrongly; the job was cancelled, lost or could not be started
  137   the job reached its limit of memory or output
  139   the job did what no VM may do
  141   the reader of standard output went away
  else  the job's own status

Environment:
  DENALI_NODE   the node to talk to, where --node is not given
  DENALI_HOME   directory of the default key and the known nodes (default: ~/.config/denali)";

/// Mobile code for grids: run programs in small virtual machines, here or on volunteers' nodes.
#[derive(Debug, Parser)]
#[command(name = "denali", version, after_help = EXIT_STATUSES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Pack(pack::Args),
    Key(key::Args),
    Sign(sign::Args),
    Inspect(inspect::Args),
    Verify(verify::Args),
    Samples(samples::Args),
    Node(node::Args),
    Submit(submit::Args),
    Status(query::StatusArgs),
    List(query::ListArgs),
    Top(top::Args),
    Logs(logs::Args),
    Result(result::Args),
    Cancel(query::CancelArgs),
    #[command(hide = true)]
    Worker(worker::Args),
    Doctor(doctor::Args),
    Bench(bench::Args),
    Attack(attack::Args),
    Demo(demo::Args),
}

impl Command {
    fn execute(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(args) => run::execute(&args),
            Self::Pack(args) => pack::execute(&args),
            Self::Key(args) => key::execute(&args),
            Self::Sign(args) => sign::execute(&args),
            Self::Inspect(args) => inspect::execute(&args),
            Self::Verify(args) => verify::execute(&args),
            Self::Samples(args) => samples::execute(&args),
            Self::Node(args) => node::execute(&args),
            Self::Submit(args) => submit::execute(&args),
            Self::Status(args) => query::status(&args),
            Self::List(args) => query::list(&args),
            Self::Top(args) => top::execute(&args),
            Self::Logs(args) => logs::execute(&args),
            Self::Result(args) => result::execute(&args),
            Self::Cancel(args) => query::cancel(&args),
            Self::Worker(args) => worker::execute(&args),
            Self::Doctor(args) => doctor::execute(&args),
            Self::Bench(args) => bench::execute(&args),
            Self::Attack(args) => attack::execute(&args),
            Self::Demo(args) => demo::execute(&args),
        }
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    cli.command.execute().unwrap_or_else(|error| {
        if let Some(text) = failure::text(&error) {
            print::note(text.trim_end());
        }
        ExitCode::from(failure::status(&error))
    })
}

/// Help and version go to standard output; wrong usage is an error of denali's own, since a job may exit with 2.
fn usage(error: &clap::Error) -> ExitCode {
    if let ErrorKind::DisplayHelp | ErrorKind::DisplayVersion = error.kind() {
        return match print::line(error.to_string().trim_end()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(closed) => ExitCode::from(failure::status(&closed)),
        };
    }
    // In the words of every other error.
    let text = error.to_string().replacen("error: ", "denali: ", 1).replace("\n\n", "\n");
    let mut text = text.replace("For more information, try '--help'.", "hint: --help tells more, with an example");
    if error.kind() == ErrorKind::MissingRequiredArgument && text.contains("\n  --node") {
        text.push_str("hint: the environment variable DENALI_NODE can name the node instead of --node\n");
    }
    print::note(text.trim_end());
    ExitCode::from(failure::DENALI)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Cli::command().get_subcommands().filter(|c| !c.is_hide_set()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("denali "), "{} has no example", command.get_name());
        }
    }
}
