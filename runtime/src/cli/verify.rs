//! `denali verify`: checks receipts, and says what a node states.

use super::{failure, key, print, statement::StatementLine, units};
use crate::client::session::printable;
use anyhow::Context;
use data_encoding::BASE64;
use denali_protocol::{
    identity::PublicKey,
    limits,
    receipt::{Receipt, Statement},
};
use serde::Serialize;
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Most bytes that a receipt takes in base64, with its magic, length, signature and a final newline.
const FILE_BYTES: usize = (limits::RECEIPT_BYTES + 128) / 3 * 4 + 8;

/// Check receipts, and print what the node states in them.
///
/// A receipt is a file in binary, or in base64 as `--json` prints it. Exits with 1 if any does not hold.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali verify receipts/JOB-0.receipt --node NODEID")]
pub(crate) struct Args {
    /// Files with one receipt each; - reads standard input.
    #[arg(required = true, value_name = "RECEIPT")]
    receipts: Vec<PathBuf>,
    /// The node that must have signed them.
    #[arg(long, value_name = "NODEID", value_parser = key::public)]
    node: Option<PublicKey>,
    /// Print one line of JSON for each receipt.
    #[arg(long)]
    json: bool,
}

/// Why a file is not a receipt that holds.
#[derive(Debug, thiserror::Error)]
enum Doubt {
    #[error("longer than any receipt")]
    TooLong,
    #[error("JSON, not a receipt: give the value of its key \"receipt\" alone, as `jq -r .receipt` prints it")]
    Json,
    #[error("a bundle, not a receipt: see `denali inspect`")]
    Bundle,
    #[error("neither a binary receipt nor one in canonical base64 ({0})")]
    Base64(data_encoding::DecodeError),
    #[error(transparent)]
    Receipt(#[from] denali_protocol::receipt::ReceiptError),
    #[error("node {signed} signed it, not {expected}")]
    OtherNode { signed: PublicKey, expected: PublicKey },
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line {
    file: String,
    holds: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_compared: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<StatementLine>,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let mut all_hold = true;
    for path in &args.receipts {
        let verdict = check(&read(path)?, args.node);
        all_hold &= verdict.is_ok();
        if args.json {
            show_json(path, verdict, args.node.is_some())?;
        } else {
            show(path, verdict, args.node.is_some())?;
        }
    }
    Ok(if all_hold { ExitCode::SUCCESS } else { ExitCode::from(failure::NO) })
}

/// At most one byte more than a receipt may take.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).with_context(|| format!("cannot open {}", path.display()))?)
    };
    let mut bytes = Vec::new();
    source
        .take(FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

fn check(file: &[u8], expected: Option<PublicKey>) -> Result<Statement, Doubt> {
    let statement = decode(file)?.verify()?;
    match expected {
        Some(expected) if expected != statement.node => Err(Doubt::OtherNode { signed: statement.node, expected }),
        _ => Ok(statement),
    }
}

/// Binary receipts start with their magic, which is no base64 of one. Base64 is read strictly, so that every bit of the
/// file counts: a final newline is the one freedom.
fn decode(file: &[u8]) -> Result<Receipt, Doubt> {
    if file.trim_ascii_start().starts_with(b"{") {
        return Err(Doubt::Json);
    }
    if file.starts_with(b"DENALIB") {
        return Err(Doubt::Bundle);
    }
    if file.len() > FILE_BYTES {
        return Err(Doubt::TooLong);
    }
    if file.starts_with(b"DENALIR") {
        return Ok(Receipt(file.to_vec()));
    }
    let text = file.strip_suffix(b"\n").unwrap_or(file);
    BASE64.decode(text).map(Receipt).map_err(Doubt::Base64)
}

fn show(path: &Path, verdict: Result<Statement, Doubt>, compared: bool) -> anyhow::Result<()> {
    let statement = match verdict {
        Ok(statement) => statement,
        Err(doubt) => return print::line(format!("{}: DOES NOT HOLD: {doubt}", path.display())),
    };
    let compared = if compared { "as expected" } else { "not compared: give --node NODEID to compare" };
    print::line(format!("{}: holds", path.display()))?;
    let vm = statement.vm.map_or_else(|| "none started".to_owned(), |vm| vm.to_string());
    let usage = &statement.usage;
    for (name, value) in [
        ("node", format!("{} ({compared})", statement.node)),
        ("client", statement.client.to_string()),
        ("job", format!("{} index {}", statement.job, statement.index)),
        ("bundle", statement.bundle.to_string()),
        ("arguments", statement.arguments.to_string()),
        ("input", statement.input.to_string()),
        ("vm", vm),
        ("outcome", printable(&statement.outcome.to_string())),
        ("cpu time", units::show_micros(usage.cpu_us)),
        ("wall time", units::show_micros(usage.wall_us)),
        ("memory", units::show_bytes(usage.memory_peak_kib.saturating_mul(1024))),
        ("output", statement.output.to_string()),
        ("ended", units::show_time(statement.ended_unix_ms)),
    ] {
        print::line(format!("  {name:<10} {value}"))?;
    }
    Ok(())
}

fn show_json(path: &Path, verdict: Result<Statement, Doubt>, compared: bool) -> anyhow::Result<()> {
    let file = path.display().to_string();
    match verdict {
        Ok(statement) => {
            let (node_compared, statement) = (Some(compared), Some((&statement).into()));
            print::json(&Line { file, holds: true, error: None, node_compared, statement })
        }
        Err(doubt) => {
            let error = Some(doubt.to_string());
            print::json(&Line { file, holds: false, error, node_compared: None, statement: None })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use denali_protocol::{
        digest::Digest,
        identity::KeyPair,
        job::{Outcome, Usage, VmId},
        receipt::StartPath,
    };

    fn receipt() -> Receipt {
        let key = KeyPair::from_seed(&[7; 32]);
        let digest = Digest::of(b"x");
        let statement = Statement {
            node: key.public(),
            client: KeyPair::from_seed(&[8; 32]).public(),
            job: "j".parse().unwrap(),
            index: 3,
            bundle: digest,
            arguments: digest,
            input: digest,
            vm: Some(VmId(1)),
            start: StartPath::New,
            outcome: Outcome::Exited(0),
            usage: Usage::default(),
            output: digest,
            ended_unix_ms: 1,
        };
        Receipt::sign(&statement, &key).unwrap()
    }

    #[test]
    fn both_forms_hold_and_the_node_is_compared() {
        let binary = receipt().0;
        let text = BASE64.encode(&binary);
        let node = KeyPair::from_seed(&[7; 32]).public();
        for file in [binary.clone(), text.clone().into_bytes(), format!("{text}\n").into_bytes()] {
            assert_eq!(check(&file, Some(node)).unwrap().index, 3);
        }
        let other = KeyPair::from_seed(&[9; 32]).public();
        assert!(matches!(check(&binary, Some(other)), Err(Doubt::OtherNode { .. })));
        assert!(check(format!("{text}\n\n").as_bytes(), None).is_err());
    }

    #[test]
    fn what_is_mistaken_for_a_receipt_is_named() {
        let line = format!("{{\"job\":\"j\",\"stdout\":\"{}\"}}\n", "x".repeat(FILE_BYTES));
        assert!(matches!(check(line.as_bytes(), None), Err(Doubt::Json)));
        assert!(matches!(check(b"DENALIB1...", None), Err(Doubt::Bundle)));
    }

    #[test]
    fn every_flipped_bit_breaks_it() {
        let binary = receipt().0;
        let text = format!("{}\n", BASE64.encode(&binary)).into_bytes();
        for file in [binary, text] {
            for bit in 0..file.len() * 8 {
                let mut flipped = file.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(check(&flipped, None).is_err(), "bit {bit}");
            }
        }
    }
}
