//! Processes by their ids, as `/proc` shows them.

use rustix::process::{Pid, Signal, kill_process};
use std::{fs, time::Duration};

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.cast_signed()).expect("a process id")
}

/// Sends a signal to a process that is there.
pub(crate) fn send(id: u32, signal: Signal) {
    kill_process(pid(id), signal).expect("the process is there");
}

/// What `/proc/ID/stat` says of a process (proc_pid_stat(5)).
struct Stat {
    state: String,
    parent: u32,
    /// Clock ticks of CPU time, those of its VMs included.
    ticks: u64,
    /// When it was started, in clock ticks since the host was.
    started: u64,
}

fn stat(id: u32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before them may hold anything, but ends with the last parenthesis. Field 3 comes first.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = number(14)? + number(15)?;
    Some(Stat {
        state: (*fields.first()?).to_owned(),
        parent: u32::try_from(number(4)?).ok()?,
        ticks,
        started: number(22)?,
    })
}

/// Whether a process runs: it is there, and no zombie.
pub(crate) fn is_alive(id: u32) -> bool {
    stat(id).is_some_and(|stat| !matches!(stat.state.as_str(), "Z" | "X"))
}

/// Kills a process that may have ended in the meantime. Whether it was there.
pub(crate) fn kill(id: u32) -> bool {
    is_alive(id) && kill_process(pid(id), Signal::KILL).is_ok()
}

/// One process for all time: an id is given again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Life {
    id: u32,
    started: u64,
}

impl Life {
    /// The process that has this id now.
    pub(crate) fn of(id: u32) -> Option<Self> {
        Some(Self { id, started: stat(id)?.started })
    }

    /// Whether it runs still.
    pub(crate) fn lasts(self) -> bool {
        Self::of(self.id) == Some(self) && is_alive(self.id)
    }
}

/// Which of these processes compute.
pub(crate) fn busy(ids: &[u32]) -> Vec<u32> {
    let ticks = |id: u32| stat(id).map_or(0, |stat| stat.ticks);
    let before: Vec<_> = ids.iter().map(|id| ticks(*id)).collect();
    // Tens of ticks for a process with half a CPU; one that waits for work uses none.
    std::thread::sleep(Duration::from_millis(500));
    ids.iter().zip(before).filter(|(id, before)| ticks(**id) > before + 2).map(|(id, _)| *id).collect()
}

/// The running children of a process.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| stat(*id).is_some_and(|stat| stat.parent == parent) && is_alive(*id)).collect()
}
