//! What a person sees of a node. Pure: looks in, lines out.

use super::{
    rates::History,
    text::{Line, Tone, bar, number, rate},
};
use crate::cli::units;
use denali_protocol::{
    identity::PublicKey,
    job::Exits,
    wire::top::{Durations, Share, Top},
};

/// Where values begin, below their names.
const VALUES: usize = 12;

/// Where bars begin, beside their values.
const BARS: usize = 38;

/// The lines for a terminal of this size.
pub(super) fn lines(title: &str, own: PublicKey, history: &History, width: usize, height: usize) -> Vec<Line> {
    let Some(top) = history.last() else { return Vec::new() };
    let mut lines = vec![head(title, top, history.is_mean(), width), Line::new()];
    lines.extend(vms(top, width));
    lines.extend([cpu(history, top, width), memory(top, width), swap(top, width), Line::new()]);
    lines.extend([jobs(top), starts(history), exits(history), Line::new()]);
    lines.extend(latencies(history));
    lines.push(Line::new());
    lines.extend(clients(history, own, top, height.saturating_sub(lines.len())));
    lines
}

/// A line that begins with a name.
fn named(name: &str) -> Line {
    Line::new().with(Tone::Plain, " ").with(Tone::Dim, name).to(VALUES)
}

fn head(title: &str, top: &Top, mean: bool, width: usize) -> Line {
    let left = Line::new().with(Tone::Bold, " denali top").with(Tone::Plain, format!("  {title}"));
    let up = units::show_micros(top.uptime_us - top.uptime_us % 1_000_000);
    let right = format!("{}up {up}", if mean { "means since its start · " } else { "" });
    let column = width.saturating_sub(right.chars().count() + 1).max(left.width() + 2);
    left.to(column).with(Tone::Dim, right)
}

fn vms(top: &Top, width: usize) -> [Line; 2] {
    let Share { runnable, running, idle, swapped, .. } = top.all;
    let states = [
        (Tone::Green, running, "running"),
        (Tone::Yellow, runnable, "runnable"),
        (Tone::Blue, idle, "idle"),
        (Tone::Magenta, swapped, "swapped"),
    ];
    let mut line = named("VMs");
    for (tone, count, name) in states {
        let tone = if count > 0 { tone } else { Tone::Dim };
        line = line.with(tone, number(count)).with(Tone::Dim, format!(" {name}   "));
    }
    let line = line.with(Tone::Dim, format!("of {} slots", number(top.slots.into())));
    // Old numbers and new ones may be more than there can be at once.
    let sum = running.saturating_add(runnable).saturating_add(idle).saturating_add(swapped);
    let parts = states.map(|(tone, count, _)| (tone, count as f64));
    let whole = u64::from(top.slots).max(sum) as f64;
    [line, bar(Line::new().to(VALUES), width.saturating_sub(VALUES + 1), whole, &parts)]
}

/// What is used of what there is. Where nearly all of it is, it stands out, unless that is well.
fn gauge(name: &str, texts: [String; 2], used: f64, all: f64, full: Tone, width: usize) -> Line {
    let [value, of] = texts;
    let line = named(name).with(Tone::Plain, value).with(Tone::Dim, format!(" of {of} ")).to(BARS);
    let columns = width.saturating_sub(line.width() + 1);
    bar(line, columns, all, &[(if used > all * 0.95 { full } else { Tone::Green }, used)])
}

fn cpu(history: &History, top: &Top, width: usize) -> Line {
    let texts = [format!("{:.2}", history.cpus()), top.cpus.to_string()];
    gauge("CPU", texts, history.cpus(), top.cpus.into(), Tone::Green, width)
}

fn bytes(name: &str, used: u64, all: u64, width: usize) -> Line {
    gauge(name, [used, all].map(units::show_bytes), used as f64, all as f64, Tone::Yellow, width)
}

fn memory(top: &Top, width: usize) -> Line {
    bytes("Memory", top.all.memory_bytes, top.memory_bytes, width)
}

fn swap(top: &Top, width: usize) -> Line {
    match top.swap_bytes {
        0 => named("Swap").with(Tone::Dim, "none"),
        all => bytes("Swap", top.all.swap_bytes, all, width),
    }
}

/// Numbers with their names; those that are nothing are less to be seen.
fn counted<'a>(line: Line, counts: impl IntoIterator<Item = (String, &'a str)>) -> Line {
    counts.into_iter().fold(line, |line, (count, name)| {
        let tone = if count == "0" { Tone::Dim } else { Tone::Plain };
        line.with(tone, count).with(Tone::Dim, format!(" {name}   "))
    })
}

fn jobs(top: &Top) -> Line {
    let Share { jobs_queued, jobs_running, jobs_ended, jobs_lost, workers, .. } = top.all;
    let counts = [
        (number(jobs_queued.into()), "queued"),
        (number(jobs_running.into()), "running"),
        (number(jobs_ended), "ended"),
    ];
    let line = counted(named("Jobs"), counts);
    let tone = if jobs_lost > 0 { Tone::Red } else { Tone::Dim };
    let line = line.with(tone, number(jobs_lost)).with(Tone::Dim, " lost   ");
    let plural = |count: u32, one: &str| format!("{} {one}{}", number(count.into()), if count == 1 { "" } else { "s" });
    line.with(Tone::Dim, format!("{} · {}", plural(top.clients, "client"), plural(workers, "worker")))
}

fn starts(history: &History) -> Line {
    let counts = [
        (rate(history.per_s(|top| top.starts.new)), "new"),
        (rate(history.per_s(|top| top.starts.ready)), "ready"),
        (rate(history.per_s(|top| top.starts.reimaged)), "re-imaged"),
    ];
    counted(named("Starts/s"), counts)
}

fn exits(history: &History) -> Line {
    type Kind = (&'static str, fn(&Exits) -> u64);
    const KINDS: [Kind; 7] = [
        ("terminate", |exits| exits.terminate),
        ("idle", |exits| exits.idle),
        ("protect", |exits| exits.protect),
        ("checkpoint", |exits| exits.checkpoint),
        ("fault", |exits| exits.fault),
        ("interrupted", |exits| exits.interrupted),
        ("kicks", |exits| exits.kicks),
    ];
    let seen = |of: fn(&Exits) -> u64| history.last().is_some_and(|top| of(&top.exits) > 0);
    // Kinds that never happened here are not worth a place.
    let counts = KINDS.into_iter().filter(|(_, of)| seen(*of));
    let counts: Vec<_> = counts.map(|(name, of)| (rate(history.per_s(|top| of(&top.exits))), name)).collect();
    let line = named("Exits/s");
    if counts.is_empty() { line.with(Tone::Dim, "none") } else { counted(line, counts) }
}

fn latencies(history: &History) -> [Line; 3] {
    type Kind = (&'static str, fn(&Top) -> &Durations);
    const KINDS: [Kind; 4] = [
        ("start", |top| &top.start),
        ("wake", |top| &top.wake),
        ("swap in", |top| &top.swap_in),
        ("swap out", |top| &top.swap_out),
    ];
    let row = |name: &str, permille: Option<u64>| {
        let mut line = named(name);
        for (at, (kind, of)) in KINDS.into_iter().enumerate() {
            let text = permille.map(|permille| history.durations(of).quantile_us(permille));
            line = match text {
                None => line.with(Tone::Dim, kind),
                Some(None) => line.with(Tone::Dim, "–"),
                Some(Some(us)) => line.with(Tone::Plain, units::show_micros(us)),
            };
            line = line.to(VALUES + (at + 1) * 14);
        }
        line
    };
    [row("Latency", None), row("  p50", Some(500)), row("  p99", Some(990))]
}

fn clients(history: &History, own: PublicKey, top: &Top, room: usize) -> Vec<Line> {
    let row = |key: &str, cells: [String; 9]| {
        let [cpu, run, wait, idle, swap, memory, queued, ended, workers] = cells;
        format!(
            " {key:<15} {cpu:>6} {run:>5} {wait:>7} {idle:>7} {swap:>7} {memory:>10} {queued:>9} {ended:>11} {workers:>7}"
        )
    };
    let names = ["CPU", "RUN", "WAIT", "IDLE", "SWAP", "MEMORY", "QUEUED", "ENDED", "WORKERS"];
    let mut lines = vec![Line::new().with(Tone::Dim, row("CLIENT", names.map(str::to_owned)))];
    let all = history.clients(own);
    let fits = room.saturating_sub(2).max(1);
    for (key, share, cpus) in all.iter().take(fits) {
        let name = if *key == own { format!("{} (you)", key.short()) } else { key.short() };
        let cells = [
            format!("{cpus:.2}"),
            number(share.running),
            number(share.runnable),
            number(share.idle),
            number(share.swapped),
            units::show_bytes(share.memory_bytes),
            number(share.jobs_queued.into()),
            number(share.jobs_ended),
            number(share.workers.into()),
        ];
        let busy = share.workers > 0 || share.jobs_queued > 0;
        lines.push(Line::new().with(if busy { Tone::Plain } else { Tone::Dim }, row(&name, cells)));
    }
    let hidden = all.len().saturating_sub(fits);
    if hidden > 0 {
        lines.push(Line::new().with(Tone::Dim, format!(" and {hidden} more")));
    } else if top.by_client.is_none() && top.clients > 1 {
        lines.push(Line::new().with(Tone::Dim, " Others are shown to the node's operators."));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> PublicKey {
        PublicKey([n; 32])
    }

    fn text(history: &History, width: usize, height: usize) -> Vec<String> {
        lines("node@host:1", key(1), history, width, height).iter().map(Line::plain).collect()
    }

    fn busy() -> Top {
        let own = Share { running: 2, runnable: 98, idle: 3802, cpu_us: 1_000_000, workers: 20, ..Share::default() };
        let by_client = (1..=40).map(|n| (key(n), Share { cpu_us: 1000 * u64::from(n), ..own })).collect();
        let mut top = Top { uptime_us: 10_000_000, slots: 4000, cpus: 2, clients: 40, ..Top::default() };
        (top.all, top.own, top.by_client, top.memory_bytes) = (own, own, Some(by_client), 4 << 30);
        top.exits.terminate = 100;
        top.start.0[6] = 10;
        top
    }

    #[test]
    fn everything_is_in_its_place() {
        let mut history = History::default();
        history.push(busy());
        let lines = text(&history, 80, 24);
        let all = lines.join("\n");
        for words in [
            "node@host:1",
            "means since its start",
            "2 running   98 runnable   3,802 idle   0 swapped   of 4,000 slots",
            "0.10 of 2",
            "0 B of 4.0 GiB",
            "none",
            "40 clients · 20 workers",
            "10.0 terminate",
            "01010101 (you)",
        ] {
            assert!(all.contains(words), "no {words:?} in\n{all}");
        }
        assert_eq!(lines.len(), 24, "{all}");
        assert!(lines.last().unwrap().ends_with("more"));
        // What never happened takes no place.
        assert!(!all.contains("protect"));
    }

    #[test]
    fn a_client_sees_itself() {
        let mut history = History::default();
        history.push(Top { by_client: None, ..busy() });
        history.push(Top { by_client: None, uptime_us: 11_000_000, ..busy() });
        let all = text(&history, 100, 50).join("\n");
        assert!(all.contains("01010101 (you)") && !all.contains("02020202") && all.contains("operators"), "{all}");
        assert!(!all.contains("means"));
    }

    #[test]
    fn any_numbers_and_any_terminal_will_do() {
        let most = u64::MAX;
        let share = Share { running: most, runnable: most, memory_bytes: most, cpu_us: most, ..Share::default() };
        let mut top = Top { uptime_us: 1, all: share, own: share, wake: Durations([most; 32]), ..Top::default() };
        top.exits.kicks = most;
        let mut history = History::default();
        for _ in 0..2 {
            for (width, height) in [(0, 0), (1, 1), (20, 5), (300, 100)] {
                assert!(!text(&history, width, height).is_empty() || history.last().is_none());
                for line in lines("node", key(1), &history, width, height) {
                    line.coloured(width);
                }
            }
            history.push(top.clone());
        }
    }
}
