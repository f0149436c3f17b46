//! `denali bench paper`: what the mechanisms of the Denali paper are worth here, beside what they were worth there.

mod load;
mod mechanism;

use super::{
    fleet::Server,
    host::Host,
    plot::{self, Axis, Row, Rows},
    print,
    runtime::block_on_one_thread,
    samples, wait,
};
use load::Rates;
use serde::Serialize;
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// How often each variant has its turn. Odd, so that medians are measurements.
const ROUNDS: u32 = 5;
/// Memory of each VM.
const MEMORY_BYTES: u64 = 16 << 20;

/// Measure what the mechanisms of the Denali paper are worth: each is switched off in turn.
///
/// A server in each VM answers packets: in one VM that is sent 32 at once, and in all of them with 64 requests on their
/// way. All variants take turns; what is told are medians over five turns of each.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali bench paper --vms 30 --plot paper.svg")]
pub(crate) struct Args {
    /// VMs.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    vms: u32,
    /// Seconds that each variant is measured under each load.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
    /// Also draw what each mechanism is worth, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Serialize)]
struct Measured {
    vms: u32,
    seconds: u32,
    mechanisms: Vec<Compared>,
    host: Host,
}

/// With a mechanism and without it.
#[derive(Serialize)]
struct Compared {
    name: &'static str,
    /// Packets that one VM answered a second.
    packets_per_s: f64,
    packets_per_s_without: f64,
    packets_ratio: f64,
    /// What a packet and its answer cost more without, in one VM.
    packet_cost_us: f64,
    /// Requests that all VMs answered a second.
    served_per_s: f64,
    served_per_s_without: f64,
    served_ratio: f64,
    /// What the paper measured.
    paper: &'static str,
    /// Whether it is worth something under both loads, as in the paper.
    as_in_paper: bool,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let measured = block_on_one_thread(measure(args))?;
    if let Some(path) = &args.plot {
        plot::rows(path, &figure(&measured))?;
    }
    if args.json {
        print::json(&measured)?;
    } else {
        show(&measured)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(measured: &Measured) -> anyhow::Result<()> {
    print::line(measured.host.to_string())?;
    for (what, of) in [
        ("packets a second, one VM".to_owned(), Compared::packets as fn(&Compared) -> [f64; 3]),
        (format!("requests a second, {} VMs", measured.vms), Compared::served),
    ] {
        print::line(format!("{what:<30} {:>9} {:>9} {:>7}", "with", "without", "ratio"))?;
        for compared in &measured.mechanisms {
            let [with, without, ratio] = of(compared);
            print::line(format!("  {:<28} {with:>9.0} {without:>9.0} {ratio:>7.2}", compared.name))?;
        }
    }
    for Compared { name, packet_cost_us, paper, as_in_paper, .. } in &measured.mechanisms {
        let direction = if *as_in_paper { "the same direction" } else { "NOT the same direction" };
        print::line(format!("{name}: {direction} as in the paper"))?;
        print::line(format!("  here:  without it, {packet_cost_us:.1} µs more for a packet and its answer"))?;
        print::line(format!("  paper: {paper}"))?;
    }
    Ok(())
}

fn figure(measured: &Measured) -> Rows {
    let row =
        |c: &Compared| Row { name: c.name.to_owned(), value: c.served_ratio, second: c.packets_ratio, goal: None };
    Rows {
        title: "What the paper's mechanisms are worth".to_owned(),
        x: Axis::log("throughput with it ÷ throughput without it").showing(&[0.5, 2.0]),
        base: 1.0,
        value: format!("requests to {} VMs", measured.vms),
        second: "packets to one VM".to_owned(),
        rows: measured.mechanisms.iter().map(row).collect(),
        note: measured.host.to_string(),
    }
}

async fn measure(args: &Args) -> anyhow::Result<Measured> {
    let content = samples::named("paper-bench")?;
    let server = |without: &str| Server {
        content: content.clone(),
        arguments: vec![without.to_owned()],
        memory_bytes: MEMORY_BYTES,
    };
    let all_on = server(mechanism::ALL_ON);
    let without = mechanism::ALL.map(|mechanism| server(mechanism.without));
    let time = Duration::from_secs(args.seconds.into()) / ROUNDS;
    let bar = wait::bar(ROUNDS * (1 + without.len() as u32));
    let (mut with, mut off) = (Vec::new(), [const { Vec::new() }; mechanism::ALL.len()]);
    for _ in 0..ROUNDS {
        with.push(load::measure(&all_on, args.vms, time).await?);
        bar.inc(1);
        for (server, rates) in without.iter().zip(&mut off) {
            rates.push(load::measure(server, args.vms, time).await?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let with = medians(&with);
    let mechanisms = mechanism::ALL.iter().zip(off);
    let mechanisms = mechanisms.map(|(mechanism, off)| Compared::of(mechanism, with, medians(&off)));
    Ok(Measured { vms: args.vms, seconds: args.seconds, mechanisms: mechanisms.collect(), host: Host::describe() })
}

fn medians(rates: &[Rates]) -> Rates {
    let median = |of: fn(&Rates) -> f64| {
        let mut rates: Vec<f64> = rates.iter().map(of).collect();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or(0.0)
    };
    Rates { packets: median(|rates| rates.packets), requests: median(|rates| rates.requests) }
}

impl Compared {
    fn of(mechanism: &mechanism::Mechanism, with: Rates, without: Rates) -> Self {
        let packets_ratio = with.packets / without.packets;
        let served_ratio = with.requests / without.requests;
        Self {
            name: mechanism.name,
            packets_per_s: with.packets,
            packets_per_s_without: without.packets,
            packets_ratio,
            packet_cost_us: 1e6 / without.packets - 1e6 / with.packets,
            served_per_s: with.requests,
            served_per_s_without: without.requests,
            served_ratio,
            paper: mechanism.paper,
            as_in_paper: packets_ratio > 1.0 && served_ratio > 1.0,
        }
    }

    fn packets(&self) -> [f64; 3] {
        [self.packets_per_s, self.packets_per_s_without, self.packets_ratio]
    }

    fn served(&self) -> [f64; 3] {
        [self.served_per_s, self.served_per_s_without, self.served_ratio]
    }
}
