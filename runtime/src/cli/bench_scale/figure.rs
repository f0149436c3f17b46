//! The figures of `denali bench scale`.

use super::{Measured, swap::Swap, sweep::Budget};
use crate::cli::{
    distribution::Distribution,
    plot::{self, Axis, Chart, Series},
};
use std::path::Path;

/// VMs whose median is one point: single ones meet whatever else the host does.
const SMOOTHED: usize = 50;
/// Most points of a line.
const POINTS: usize = 500;

/// Draws what was measured: the sweep, or latencies under a budget, or the making of VMs.
pub(super) fn draw(path: &Path, measured: &Measured) -> anyhow::Result<()> {
    let note = measured.host.to_string();
    let vms = measured.vms;
    match &measured.swap {
        _ if !measured.sweep.is_empty() => plot::panels(path, &sweep(&measured.sweep, vms, note)),
        Some(swap) => plot::lines(path, &latencies(swap, vms, note)),
        None => plot::lines(path, &making(&measured.created, note)),
    }
}

fn making(created: &[u64], note: String) -> Chart {
    let window = SMOOTHED.min(created.len()).max(1);
    let step = created.len().div_ceil(POINTS).max(1);
    let medians = created.windows(window).enumerate().step_by(step);
    let points = medians.map(|(n, some)| ((n + window) as f64, Distribution::of(some.to_vec()).median() as f64));
    Chart {
        title: "Making a VM while others live".to_owned(),
        x: Axis::linear("VMs alive").showing(&[0.0]),
        y: Axis::linear("to make one, to its first answer, µs").showing(&[0.0]),
        series: vec![Series { name: format!("median of the last {window}"), points: points.collect() }],
        note,
    }
}

fn latencies(swap: &Swap, vms: u32, note: String) -> Chart {
    let series = |name: &str, distribution: &Distribution| Series {
        name: format!("{name}: median {} µs", distribution.median()),
        points: distribution.curve(),
    };
    let latencies = &swap.latencies;
    Chart {
        title: format!("{vms} VMs in {} MiB: from a packet to its answer", swap.memory_bytes >> 20),
        x: Axis::log("time, µs"),
        y: Axis::linear("packets that took no longer, %").showing(&[0.0, 100.0]),
        series: vec![
            series("VM in memory", &latencies.awake),
            series("VM woken from disk", &latencies.turn),
            series("by Zipf's law", &latencies.zipf),
        ],
        note,
    }
}

fn sweep(sweep: &[Budget], vms: u32, note: String) -> [Chart; 2] {
    let series = |name: &str, of: fn(&Budget) -> f64| Series {
        name: name.to_owned(),
        points: sweep.iter().map(|budget| (f64::from(budget.percent), of(budget))).collect(),
    };
    let x = || Axis::linear("memory, % of what all VMs need").showing(&[0.0, 100.0]);
    [
        Chart {
            title: format!("{vms} VMs asked by Zipf's law, with less and less memory"),
            x: x(),
            y: Axis::linear("packets answered a second").showing(&[0.0]),
            series: vec![series("packets answered a second", |budget| budget.per_s as f64)],
            note: String::new(),
        },
        Chart {
            title: "From a packet to its answer".to_owned(),
            x: x(),
            y: Axis::log("time, µs"),
            series: vec![
                series("median", |budget| budget.p50_us as f64),
                series("99th percentile", |budget| budget.p99_us as f64),
            ],
            note,
        },
    ]
}
