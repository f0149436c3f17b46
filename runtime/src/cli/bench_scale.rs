//! `denali bench scale`: many VMs at once, in memory and on disk.

use super::{distribution::Distribution, host::Host, print, run::sealed, runtime::block_on, samples, units, wait};
use crate::worker::{Reports, Worker};
use anyhow::{Context, bail, ensure};
use denali_protocol::{
    digest::Digest,
    job::{Channel, Limits},
};
use denali_vmm::worker::message::{Command, Input, Report, RunId, Start, Status};
use serde::Serialize;
use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, time::timeout};

/// Bytes of one packet.
const PACKET_BYTES: usize = 64;
/// A VM that has not answered by then never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests of the Zipf load on their way at once.
const IN_FLIGHT: usize = 4;

/// Measure many VMs at once: to make them, to hold them, to have each answer a packet, and to wake them from disk.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  denali bench scale --vms 10000\n  denali bench scale --vms 10000 --memory 1GiB\n  \
                        denali bench scale --vms 1000 --idle"
)]
pub(crate) struct Args {
    /// VMs.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    vms: u32,
    /// Memory of each VM, as it sees it.
    #[arg(long, value_parser = units::bytes, default_value = "16MiB")]
    vm_memory: u64,
    /// Memory that they may take together; the rest waits on disk. Without it all are in memory.
    #[arg(long, value_parser = units::bytes)]
    memory: Option<u64>,
    /// Disk for those that wait.
    #[arg(long, value_parser = units::bytes, default_value = "8GiB")]
    swap: u64,
    /// Directory of that disk space.
    #[arg(long, default_value = "/var/tmp")]
    swap_directory: PathBuf,
    /// VMs in one worker process.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    per_worker: u32,
    /// Measure the CPU time that they use while they idle.
    #[arg(long)]
    idle: bool,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Measured {
    vms: u32,
    workers: usize,
    /// VMs that answered a packet after all were made.
    answered: u32,
    /// To make a VM and have its first answer: medians of the first and the last tenth.
    create_first_us: u64,
    create_last_us: u64,
    last_to_first: f64,
    /// What the host's memory lost to all of it, for each VM.
    resident_kib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<Idle>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap: Option<Swap>,
    host: Host,
}

#[derive(Serialize)]
struct Idle {
    seconds: f64,
    /// CPU time of all workers, of one CPU.
    cpu_percent: f64,
}

#[derive(Serialize)]
struct Swap {
    memory_bytes: u64,
    /// What the host's memory lost while the budget held.
    used_bytes: u64,
    /// VMs on disk when all had been made.
    asleep: u32,
    /// Packets to each VM in turn, so that the one meant is always the one that was used longest ago.
    turn_answered: u32,
    turn_woken_from_disk: u64,
    wake_p50_us: u64,
    wake_p99_us: u64,
    /// Packets to VMs chosen by Zipf's law.
    zipf_requests: u32,
    zipf_answered: u32,
    zipf_distinct: usize,
    zipf_per_s: u64,
    zipf_p50_us: u64,
    zipf_p99_us: u64,
    /// Memory that a VM on disk keeps.
    asleep_bytes: u64,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let measured = block_on(measure(args))?;
    if args.json {
        print::json(&measured)?;
    } else {
        show(&measured)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(measured: &Measured) -> anyhow::Result<()> {
    let line = |what: &str, value: String| print::line(format!("{what:<34} {value}"));
    print::line(measured.host.to_string())?;
    line("VMs, worker processes", format!("{}, {}", measured.vms, measured.workers))?;
    line("answered a packet", measured.answered.to_string())?;
    let (first, last) = (measured.create_first_us, measured.create_last_us);
    line("to make one, first and last tenth", format!("{first} µs, {last} µs: {:.2} times", measured.last_to_first))?;
    if let Some(kib) = measured.resident_kib {
        line("memory for each", format!("{kib:.0} KiB"))?;
    }
    if let Some(idle) = &measured.idle {
        line("CPU while all idle", format!("{:.2} % of one, over {:.0} s", idle.cpu_percent, idle.seconds))?;
    }
    if let Some(swap) = &measured.swap {
        let mib = |bytes: u64| bytes >> 20;
        line("memory used", format!("{} of {} MiB", mib(swap.used_bytes), mib(swap.memory_bytes)))?;
        line("on disk after their making", swap.asleep.to_string())?;
        line("in turn: answered, from disk", format!("{}, {}", swap.turn_answered, swap.turn_woken_from_disk))?;
        line("  packet to answer", format!("{} µs, p99 {} µs", swap.wake_p50_us, swap.wake_p99_us))?;
        line("by Zipf's law: answered, of VMs", format!("{}, {}", swap.zipf_answered, swap.zipf_distinct))?;
        let zipf = format!("{} µs, p99 {} µs, {} a second", swap.zipf_p50_us, swap.zipf_p99_us, swap.zipf_per_s);
        line("  packet to answer", zipf)?;
        line("memory that one on disk keeps", format!("{} bytes", swap.asleep_bytes))?;
    }
    Ok(())
}

/// What workers say, as far as it matters.
enum Said {
    Answer(u64),
    Status(usize, Box<Status>),
    Failed(String),
}

struct Fleet {
    workers: Vec<Worker>,
    per_worker: u32,
    said: mpsc::UnboundedReceiver<Said>,
    status: Vec<Status>,
}

async fn measure(args: &Args) -> anyhow::Result<Measured> {
    let content = samples::named("echo")?;
    let mut fleet = Fleet::start(args).await?;
    let free_before = available_bytes()?;
    let bar = wait::bar(args.vms);
    let mut created = Vec::new();
    for vm in 0..args.vms {
        let begun = Instant::now();
        fleet.create(vm, &content, args.vm_memory)?;
        fleet.ask(vm)?;
        fleet.answer_of(vm).await?;
        created.push(units::micros(begun.elapsed()));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let answered = fleet.ask_all(args.vms).await?;
    // What was made ahead and what is to be destroyed is: keepers have some time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = free_before.saturating_sub(available_bytes()?);
    let tenth = created.len().div_ceil(10);
    let create_first_us = Distribution::of(created[..tenth].to_vec()).median();
    let create_last_us = Distribution::of(created[created.len() - tenth..].to_vec()).median();
    let idle = if args.idle { Some(fleet.idle().await?) } else { None };
    let swap = match args.memory {
        Some(memory) => Some(fleet.swap(args, memory, used).await?),
        None => None,
    };
    Ok(Measured {
        vms: args.vms,
        workers: fleet.workers.len(),
        answered,
        create_first_us,
        create_last_us,
        last_to_first: create_last_us as f64 / create_first_us.max(1) as f64,
        resident_kib: args.memory.is_none().then(|| used as f64 / 1024.0 / f64::from(args.vms)),
        idle,
        swap,
        host: Host::describe(),
    })
}

impl Fleet {
    async fn start(args: &Args) -> anyhow::Result<Self> {
        let count = args.vms.div_ceil(args.per_worker);
        let (say, said) = mpsc::unbounded_channel();
        let mut workers = Vec::new();
        for number in 0..count as usize {
            let (worker, reports) = Worker::spawn().await?;
            if let Some(memory) = args.memory {
                let file = denali_vmm::swap::create(&args.swap_directory)
                    .with_context(|| format!("cannot make a file in {}", args.swap_directory.display()))?;
                worker.tell(&Command::Memory(memory / u64::from(count)), Vec::new())?;
                worker.tell(&Command::Swap(args.swap / u64::from(count)), vec![file.into()])?;
            }
            tokio::spawn(listen(number, reports, say.clone()));
            workers.push(worker);
        }
        let status = vec![Status::default(); workers.len()];
        Ok(Self { workers, per_worker: args.per_worker, said, status })
    }

    fn worker(&self, vm: u32) -> &Worker {
        &self.workers[(vm / self.per_worker) as usize]
    }

    fn create(&self, vm: u32, content: &[u8], memory_bytes: u64) -> anyhow::Result<()> {
        const HOUR_US: u64 = 3_600_000_000;
        let limits = Limits { memory_bytes, cpu_time_us: HOUR_US, wall_time_us: HOUR_US, output_bytes: 1 << 30 };
        let start = Start {
            run: RunId(vm.into()),
            bundle: Digest::of(content),
            arguments: Vec::new(),
            limits,
            input: Input::Messages,
            reimage: true,
        };
        Ok(self.worker(vm).start(start, sealed(content)?, None)?)
    }

    fn ask(&self, vm: u32) -> anyhow::Result<()> {
        let packet = Command::Input { run: RunId(vm.into()), bytes: vec![0x5a; PACKET_BYTES], end: false };
        Ok(self.worker(vm).tell(&packet, Vec::new())?)
    }

    /// The next VM that answers.
    async fn answer(&mut self) -> anyhow::Result<u64> {
        loop {
            match timeout(PATIENCE, self.said.recv())
                .await
                .context("a VM does not answer")?
                .context("no worker lives")?
            {
                Said::Answer(vm) => return Ok(vm),
                Said::Status(worker, status) => self.status[worker] = *status,
                Said::Failed(why) => bail!(why),
            }
        }
    }

    async fn answer_of(&mut self, vm: u32) -> anyhow::Result<()> {
        let answered = self.answer().await?;
        ensure!(answered == u64::from(vm), "VM {answered} answered instead of {vm}");
        Ok(())
    }

    /// Asks all at once. Gives how many answered.
    async fn ask_all(&mut self, vms: u32) -> anyhow::Result<u32> {
        let mut answered = vec![false; vms as usize];
        for batch in (0..vms).collect::<Vec<_>>().chunks(64) {
            for vm in batch {
                self.ask(*vm)?;
            }
            for _ in batch {
                let vm = self.answer().await?;
                answered[vm as usize] = true;
            }
        }
        Ok(answered.into_iter().filter(|answered| *answered).count() as u32)
    }

    async fn idle(&self) -> anyhow::Result<Idle> {
        let (begun, before) = (Instant::now(), self.cpu_time()?);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let used = self.cpu_time()?.saturating_sub(before);
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Idle { seconds, cpu_percent: used.as_secs_f64() / seconds * 100.0 })
    }

    /// CPU time of all workers.
    fn cpu_time(&self) -> anyhow::Result<Duration> {
        let ticks = rustix::param::clock_ticks_per_second();
        let mut sum = 0;
        for worker in &self.workers {
            let stat = fs::read_to_string(format!("/proc/{}/stat", worker.pid().context("a worker is gone")?))?;
            // After the name in parentheses: state is field 3, user time 14 and system time 15.
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            for place in [11, 12] {
                sum += fields.get(place).context("a short stat")?.parse::<u64>()?;
            }
        }
        Ok(Duration::from_millis(sum * 1000 / ticks))
    }

    /// Anonymous memory of all worker processes, in bytes.
    fn anonymous_bytes(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for worker in &self.workers {
            let status = fs::read_to_string(format!("/proc/{}/status", worker.pid().context("a worker is gone")?))?;
            sum += field_kib(&status, "RssAnon:")?;
        }
        Ok(sum * 1024)
    }

    async fn swap(&mut self, args: &Args, memory: u64, used_bytes: u64) -> anyhow::Result<Swap> {
        let total = |fleet: &Self, of: fn(&Status) -> u64| fleet.status.iter().map(of).sum::<u64>();
        self.settle().await?;
        let asleep = total(self, |status| status.swapped.into()) as u32;

        let from_disk = total(self, |status| status.counts.swapped_in);
        let mut turn = Vec::new();
        for vm in 0..args.vms {
            let begun = Instant::now();
            self.ask(vm)?;
            self.answer_of(vm).await?;
            turn.push(units::micros(begun.elapsed()));
        }
        self.settle().await?;
        let turn_woken_from_disk = total(self, |status| status.counts.swapped_in) - from_disk;
        let turn_answered = turn.len() as u32;
        let turn = Distribution::of(turn);
        let zipf = self.zipf(args.vms).await?;

        // All of them to disk.
        for worker in &self.workers {
            worker.tell(&Command::Memory(0), Vec::new())?;
        }
        let mut asleep_now = 0;
        for _ in 0..60 {
            self.settle().await?;
            asleep_now = total(self, |status| status.swapped.into());
            if asleep_now >= u64::from(args.vms) {
                break;
            }
        }
        ensure!(asleep_now > 0, "no VM went to disk");
        let empty = self.empty_worker_bytes().await?;
        let kept = self.anonymous_bytes()?.saturating_sub(empty * self.workers.len() as u64);
        Ok(Swap {
            memory_bytes: memory,
            used_bytes,
            asleep,
            turn_answered,
            turn_woken_from_disk,
            wake_p50_us: turn.median(),
            wake_p99_us: turn.percentile(99),
            zipf_requests: zipf.requests,
            zipf_answered: zipf.latencies.len() as u32,
            zipf_distinct: zipf.distinct,
            zipf_per_s: (f64::from(zipf.requests) / zipf.took.as_secs_f64()) as u64,
            zipf_p50_us: Distribution::of(zipf.latencies.clone()).median(),
            zipf_p99_us: Distribution::of(zipf.latencies).percentile(99),
            asleep_bytes: kept / asleep_now,
        })
    }

    /// Waits until workers have told how things are.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_millis(500);
        while let Ok(said) = timeout(until.saturating_duration_since(Instant::now()), self.said.recv()).await {
            match said.context("no worker lives")? {
                Said::Answer(_) => {}
                Said::Status(worker, status) => self.status[worker] = *status,
                Said::Failed(why) => bail!(why),
            }
        }
        Ok(())
    }

    async fn zipf(&mut self, vms: u32) -> anyhow::Result<Zipf> {
        let requests = vms.saturating_mul(2);
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        let weights: Vec<f64> = (1..=vms)
            .scan(0.0, |sum, rank| {
                *sum += 1.0 / f64::from(rank);
                Some(*sum)
            })
            .collect();
        let all = weights.last().copied().unwrap_or(1.0);
        let mut asked: std::collections::HashMap<u64, Vec<Instant>> = std::collections::HashMap::new();
        let mut seen = std::collections::HashSet::new();
        let mut latencies = Vec::new();
        let begun = Instant::now();
        let mut on_their_way = 0;
        for _ in 0..requests {
            let place = weights.partition_point(|sum| *sum < chance.next() * all);
            // Ranks are spread over all workers.
            let vm = (place as u64 * 7919 % u64::from(vms)) as u32;
            seen.insert(vm);
            asked.entry(vm.into()).or_default().push(Instant::now());
            self.ask(vm)?;
            on_their_way += 1;
            if on_their_way >= IN_FLIGHT {
                on_their_way -= self.note(&mut asked, &mut latencies).await?;
            }
        }
        while on_their_way > 0 {
            on_their_way -= self.note(&mut asked, &mut latencies).await?;
        }
        Ok(Zipf { requests, latencies, distinct: seen.len(), took: begun.elapsed() })
    }

    /// Takes an answer, which may be to several packets. Gives to how many.
    async fn note(
        &mut self,
        asked: &mut std::collections::HashMap<u64, Vec<Instant>>,
        latencies: &mut Vec<u64>,
    ) -> anyhow::Result<usize> {
        let vm = self.answer().await?;
        let times = asked.remove(&vm).unwrap_or_default();
        latencies.extend(times.iter().map(|time| units::micros(time.elapsed())));
        Ok(times.len())
    }

    /// Anonymous memory of a worker that holds nothing but this image's first VM, gone to disk.
    async fn empty_worker_bytes(&self) -> anyhow::Result<u64> {
        let (worker, mut reports) = Worker::spawn().await?;
        let status = fs::read_to_string(format!("/proc/{}/status", worker.pid().context("a worker is gone")?))?;
        let bytes = field_kib(&status, "RssAnon:")? * 1024;
        worker.kill();
        let _ = reports.next().await;
        Ok(bytes)
    }
}

struct Zipf {
    requests: u32,
    latencies: Vec<u64>,
    distinct: usize,
    took: Duration,
}

/// A small generator (splitmix64), so that each run asks the same.
struct Chance(u64);

impl Chance {
    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

async fn listen(worker: usize, mut reports: Reports, say: mpsc::UnboundedSender<Said>) {
    loop {
        let said = match reports.next().await {
            Ok(Report::Output { run, channel: Channel::Output, .. }) => Said::Answer(run.0),
            Ok(Report::Status(status)) => Said::Status(worker, status),
            Ok(Report::Ended { run, outcome, .. }) => Said::Failed(format!("VM {} {outcome}", run.0)),
            Ok(_) => continue,
            Err(death) => {
                let _ = say.send(Said::Failed(death.to_string()));
                return;
            }
        };
        if say.send(said).is_err() {
            return;
        }
    }
}

fn field_kib(text: &str, name: &str) -> anyhow::Result<u64> {
    let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name}"))?;
    Ok(line.split_whitespace().nth(1).with_context(|| format!("an empty {name}"))?.parse()?)
}

/// Memory that the host could give.
fn available_bytes() -> anyhow::Result<u64> {
    Ok(field_kib(&fs::read_to_string("/proc/meminfo")?, "MemAvailable:")? * 1024)
}
