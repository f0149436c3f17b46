//! Many VMs in worker processes of their own, each a server that answers packets: what benches of many VMs measure.

use super::run::sealed;
use crate::worker::{Reports, Worker};
use anyhow::{Context, bail, ensure};
use denali_protocol::{
    digest::Digest,
    job::{Channel, Limits},
};
use denali_vmm::worker::{
    cpu_time_of,
    message::{Command, Input, Report, RunId, Start, Status},
};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, time::timeout};

/// Bytes of one packet.
pub(super) const PACKET_BYTES: usize = 64;
/// A VM that has not answered by then never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// After a change, workers have told how things are by then.
const SETTLED: Duration = Duration::from_millis(500);
/// Packets on their way at once where all VMs are asked.
const ASKED_AT_ONCE: usize = 64;

/// The VMs and their workers. All of it ends with this.
pub(super) struct Fleet {
    workers: Vec<Worker>,
    vms: u32,
    per_worker: u32,
    said: mpsc::UnboundedReceiver<Said>,
    status: Vec<Status>,
}

/// The server that VMs run.
pub(super) struct Server {
    /// The content of its bundle.
    pub(super) content: Vec<u8>,
    /// Its arguments.
    pub(super) arguments: Vec<String>,
    /// Memory of its VM, as it sees it.
    pub(super) memory_bytes: u64,
}

/// A piece of output. It may answer several packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// The VM.
    pub(super) vm: u32,
    /// Its bytes.
    pub(super) bytes: usize,
    /// Lines in it.
    pub(super) lines: usize,
}

/// What workers say, as far as it matters.
enum Said {
    Answer(Answer),
    Status(usize, Box<Status>),
    Failed(String),
}

impl Fleet {
    /// Workers for so many VMs.
    pub(super) async fn start(vms: u32, per_worker: u32) -> anyhow::Result<Self> {
        let (say, said) = mpsc::unbounded_channel();
        let mut workers = Vec::new();
        for number in 0..vms.div_ceil(per_worker) as usize {
            let (worker, reports) = Worker::spawn().await?;
            tokio::spawn(listen(number, reports, say.clone()));
            workers.push(worker);
        }
        let status = vec![Status::default(); workers.len()];
        Ok(Self { workers, vms, per_worker, said, status })
    }

    /// How many workers there are.
    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// How each worker's VMs are, as it last said.
    pub(super) fn status(&self) -> &[Status] {
        &self.status
    }

    /// The sum of one number over all workers.
    pub(super) fn total(&self, of: fn(&Status) -> u64) -> u64 {
        self.status.iter().map(of).sum()
    }

    /// Bounds the memory that the VMs of each worker take, to what `of` says of the worker's number.
    pub(super) fn bound(&self, of: impl Fn(usize) -> u64) -> anyhow::Result<()> {
        for (number, worker) in self.workers.iter().enumerate() {
            worker.tell(&Command::Memory(of(number)), Vec::new())?;
        }
        Ok(())
    }

    /// Lets VMs sleep in files of `directory`, up to so many bytes together.
    pub(super) fn swap_into(&self, directory: &Path, bytes: u64) -> anyhow::Result<()> {
        for worker in &self.workers {
            let file = denali_vmm::swap::create(directory)
                .with_context(|| format!("cannot make a file in {}", directory.display()))?;
            worker.tell(&Command::Swap(bytes / self.workers.len() as u64), vec![file.into()])?;
        }
        Ok(())
    }

    fn worker(&self, vm: u32) -> &Worker {
        &self.workers[(vm / self.per_worker) as usize]
    }

    /// Makes a VM.
    pub(super) fn create(&self, vm: u32, server: &Server) -> anyhow::Result<()> {
        const HOUR_US: u64 = 3_600_000_000;
        let Server { content, arguments, memory_bytes } = server;
        let limits =
            Limits { memory_bytes: *memory_bytes, cpu_time_us: HOUR_US, wall_time_us: HOUR_US, output_bytes: 1 << 30 };
        let start = Start {
            run: RunId(vm.into()),
            bundle: Digest::of(content),
            arguments: arguments.clone(),
            limits,
            input: Input::Messages,
            reimage: true,
        };
        Ok(self.worker(vm).start(start, sealed(content)?, None)?)
    }

    /// Sends a packet to a VM.
    pub(super) fn ask(&self, vm: u32) -> anyhow::Result<()> {
        let packet = Command::Input { run: RunId(vm.into()), bytes: vec![0x5a; PACKET_BYTES], end: false };
        Ok(self.worker(vm).tell(&packet, Vec::new())?)
    }

    /// The next answer.
    pub(super) async fn answer(&mut self) -> anyhow::Result<Answer> {
        loop {
            match timeout(PATIENCE, self.said.recv())
                .await
                .context("a VM does not answer")?
                .context("no worker lives")?
            {
                Said::Answer(answer) => return Ok(answer),
                Said::Status(worker, status) => self.status[worker] = *status,
                Said::Failed(why) => bail!(why),
            }
        }
    }

    /// Asks one VM while no other is asked. Gives how long its answer took.
    pub(super) async fn ask_one(&mut self, vm: u32) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        self.ask(vm)?;
        let answered = self.answer().await?.vm;
        ensure!(answered == vm, "VM {answered} answered instead of {vm}");
        Ok(begun.elapsed())
    }

    /// Asks VMs, each once. Gives how many answered.
    pub(super) async fn ask_all(&mut self, vms: u32) -> anyhow::Result<u32> {
        let mut answered = vec![false; vms as usize];
        for batch in (0..vms).collect::<Vec<_>>().chunks(ASKED_AT_ONCE) {
            for vm in batch {
                self.ask(*vm)?;
            }
            for _ in batch {
                let vm = self.answer().await?.vm;
                answered[vm as usize] = true;
            }
        }
        Ok(answered.into_iter().filter(|answered| *answered).count() as u32)
    }

    /// VMs in memory, after all were asked in their order: of each worker the later half of those that are there.
    pub(super) fn lately_used(&self) -> Vec<u32> {
        let workers = (0..self.vms).step_by(self.per_worker as usize).zip(&self.status);
        let late = workers.flat_map(|(first, status)| {
            let end = self.vms.min(first + self.per_worker);
            let here = (end - first).saturating_sub(status.swapped);
            end - here / 2..end
        });
        late.collect()
    }

    /// Ends all VMs, and waits until their workers are gone.
    pub(super) async fn end(mut self) {
        self.workers.iter().for_each(Worker::kill);
        while self.said.recv().await.is_some() {}
    }

    /// Waits until workers have told how things are.
    pub(super) async fn settle(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + SETTLED;
        while let Ok(said) = timeout(until.saturating_duration_since(Instant::now()), self.said.recv()).await {
            match said.context("no worker lives")? {
                Said::Answer(_) => {}
                Said::Status(worker, status) => self.status[worker] = *status,
                Said::Failed(why) => bail!(why),
            }
        }
        Ok(())
    }

    /// CPU time of all workers.
    pub(super) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let times = self.workers.iter().map(|worker| worker.pid().and_then(cpu_time_of).context("a worker is gone"));
        times.sum()
    }

    /// Anonymous memory of all worker processes beyond what they take without VMs, in bytes.
    pub(super) async fn anonymous_bytes(&self) -> anyhow::Result<u64> {
        let mut sum: u64 = 0;
        for worker in &self.workers {
            sum += anonymous_bytes(worker)?;
        }
        let (empty, mut reports) = Worker::spawn().await?;
        let without_vms = anonymous_bytes(&empty)?;
        empty.kill();
        let _ = reports.next().await;
        Ok(sum.saturating_sub(without_vms * self.workers.len() as u64))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Those who listen hold the workers as well.
        self.workers.iter().for_each(Worker::kill);
    }
}

async fn listen(worker: usize, mut reports: Reports, say: mpsc::UnboundedSender<Said>) {
    loop {
        let said = match reports.next().await {
            Ok(Report::Output { run, channel: Channel::Output, bytes }) => {
                let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
                Said::Answer(Answer { vm: run.0 as u32, bytes: bytes.len(), lines })
            }
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

fn anonymous_bytes(worker: &Worker) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", worker.pid().context("a worker is gone")?))?;
    Ok(field_kib(&status, "RssAnon:")? * 1024)
}

/// Memory that the host could give.
pub(super) fn available_bytes() -> anyhow::Result<u64> {
    Ok(field_kib(&fs::read_to_string("/proc/meminfo")?, "MemAvailable:")? * 1024)
}

/// The same once it grows no more: the kernel takes its time to take back what a process that ended had.
pub(super) async fn settled_available_bytes() -> anyhow::Result<u64> {
    let mut available = available_bytes()?;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = available_bytes()?;
        if now < available + (4 << 20) {
            return Ok(now);
        }
        available = now;
    }
    Ok(available)
}

fn field_kib(text: &str, name: &str) -> anyhow::Result<u64> {
    let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name}"))?;
    Ok(line.split_whitespace().nth(1).with_context(|| format!("an empty {name}"))?.parse()?)
}
