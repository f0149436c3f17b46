//! The isolation kernel of a worker: all of its VMs, and the runners, threads that give each its turn.
//!
//! A VM has no thread. A runner asks the scheduler for the next VM, holds it alone while it runs a slice of it, and puts it
//! back. A runner without a VM waits for the node's commands, for input, and for the time that idle VMs asked for; so
//! whoever hears of a job runs it, without waking another thread. The keeper, one more thread, does what no job should wait
//! for.
//!
//! | module | what |
//! |---|---|
//! | `events` | commands of the node, input, the bell |
//! | `turn` | one turn of a VM, from the scheduler's pick to what becomes of it |
//! | `memory` | the gatekeeper: who goes to sleep on disk, and comes back |
//! | `room` | what it counts: who has how much memory, and who waits for some |
//! | `state` | what all threads share: the life of each run |

mod events;
mod memory;
mod room;
mod state;
mod turn;

use super::{
    AbortOnPanic,
    images::Images,
    keeper::{self, Chore, Keeper},
    message::{Report, RunId, Start},
    reporter::Reporter,
    shelf::Shelf,
    socket::{Commands, SocketError},
};
use crate::{
    gateway::Sink,
    kvm::{Alarm, Host, forget_interruption},
    swap::SwapSpace,
    vm::Vm,
};
use denali_protocol::job::Channel;
use events::{BELL, CLOCK, COMMANDS};
use ring::rand::{SecureRandom, SystemRandom};
pub(super) use room::OVERHEAD_KIB;
use rustix::{
    event::{EventfdFlags, epoll, eventfd},
    time::{TimerfdClockId, TimerfdFlags, timerfd_create},
};
use state::{Slot, State};
use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    thread,
    time::Instant,
};

/// The VMs of one worker.
pub(super) struct Kernel {
    pub(super) host: Host,
    images: Images,
    keeper: Keeper,
    reporter: Reporter,
    commands: Mutex<Commands>,
    state: Mutex<State>,
    /// Where VMs sleep, if the node gave a place.
    swap: Mutex<Option<SwapSpace>>,
    /// What a runner without a VM waits for.
    events: OwnedFd,
    /// Wakes a runner that waits.
    bell: OwnedFd,
    /// Wakes one when the next idle VM's time comes.
    clock: OwnedFd,
    next_vm: AtomicU64,
}

/// A run that has no VM yet.
struct Pending {
    start: Start,
    bundle: File,
    /// The input's descriptor, if it comes from one.
    input: Option<File>,
    came: Instant,
}

/// A VM, and where its hardware goes after it.
struct Resident {
    vm: Vm,
    shelf: Arc<Shelf>,
    reimage: bool,
    /// The CPU time it had used when its memory was measured; none since it came into memory.
    measured_us: Option<u64>,
}

impl Resident {
    fn of(vm: Vm, shelf: Arc<Shelf>, reimage: bool) -> Self {
        Self { vm, shelf, reimage, measured_us: None }
    }
}

/// A runner's own.
struct Runner {
    alarm: Alarm,
    /// Room for a frame.
    frame: Vec<u8>,
}

/// Sends a job's output to the node.
struct ReportSink {
    run: RunId,
    reporter: Reporter,
}

impl Sink for ReportSink {
    fn output(&mut self, channel: Channel, bytes: &[u8]) {
        // Without a node no one is left to tell, and the worker ends.
        let _ = self.reporter.send(&Report::Output { run: self.run, channel, bytes: bytes.to_vec() });
    }

    fn progress(&mut self, permille: u16) {
        let _ = self.reporter.send(&Report::Progress { run: self.run, permille });
    }

    fn keeps_up(&self) -> bool {
        self.reporter.keeps_up()
    }
}

/// Runs VMs as `commands` ask, until the node closes its socket.
pub(super) fn serve(host: Host, commands: Commands, reporter: Reporter) -> Result<(), KernelError> {
    let runners = thread::available_parallelism().map_or(1, usize::from);
    let (keeper, chores) = keeper::open();
    let kernel = Kernel::new(host, commands, reporter, keeper, runners as u32)?;
    thread::scope(|scope| {
        let kernel = &kernel;
        let keeper = thread::Builder::new().name("keeper".to_owned());
        keeper.spawn_scoped(scope, move || {
            let _guard = AbortOnPanic;
            keeper::keep(kernel, &chores);
        })?;
        let spawned = (0..runners).try_for_each(|n| {
            let runner = thread::Builder::new().name(format!("runner {n}"));
            let runner = runner.spawn_scoped(scope, move || {
                let _guard = AbortOnPanic;
                kernel.run_vms();
            });
            runner.map(drop)
        });
        // Those that there are would wait for ever.
        spawned.inspect_err(|_| kernel.close(Ok(())))
    })?;
    kernel.state().closed.take().unwrap_or(Ok(())).map_err(KernelError::from)
}

/// Why a worker ends other than by its node's wish.
#[derive(Debug, thiserror::Error)]
pub(super) enum KernelError {
    #[error("the host has no threads or descriptors for VMs: {0}")]
    Host(#[from] io::Error),
    #[error(transparent)]
    Socket(#[from] SocketError),
}

impl Kernel {
    fn new(host: Host, commands: Commands, reporter: Reporter, keeper: Keeper, cpus: u32) -> io::Result<Self> {
        // VM names start at a random place, so that no two workers of a node ever give the same one.
        let mut place = [0; 8];
        SystemRandom::new().fill(&mut place).map_err(|_| io::Error::other("the host has no random numbers"))?;
        let events = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let once = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        epoll::add(&events, &commands, epoll::EventData::new_u64(COMMANDS), once)?;
        let clock = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&events, &bell, epoll::EventData::new_u64(BELL), edge)?;
        epoll::add(&events, &clock, epoll::EventData::new_u64(CLOCK), edge)?;
        let images = Images::default();
        let state = Mutex::new(State::new(cpus, images.kept().clone()));
        Ok(Self {
            host,
            images,
            keeper,
            reporter,
            commands: Mutex::new(commands),
            state,
            swap: Mutex::new(None),
            events,
            bell,
            clock,
            next_vm: AtomicU64::new(u64::from_le_bytes(place)),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a runner does.
    fn run_vms(&self) {
        let mut runner = match Alarm::new() {
            Ok(alarm) => Runner { alarm, frame: Vec::new() },
            Err(error) => return self.close(Err(SocketError::Io(error))),
        };
        loop {
            let mut state = self.state();
            if state.closed.is_some() {
                drop(state);
                // Each that hears it wakes the next.
                return self.ring();
            }
            // Before others can see that this thread runs a VM: what they interrupt from then on is that.
            forget_interruption();
            let turn = state.next();
            self.set_clock(&mut state);
            if let Some(turn) = turn {
                let others = state.scheduler.has_waiting() && state.waiting > 0;
                let no_one_listens = state.waiting == 0;
                drop(state);
                if others {
                    self.ring();
                }
                self.give_turn(turn, &mut runner);
                if no_one_listens {
                    self.listen(false);
                }
            } else {
                state.waiting += 1;
                let short = state.room.is_short();
                // The lease is too small: the node learns of it from the status alone.
                if state.scheduler.has_waiting() {
                    self.tell(state);
                } else {
                    drop(state);
                }
                if short {
                    self.relieve();
                }
                self.listen(true);
                self.state().waiting -= 1;
            }
        }
    }

    /// Wakes a runner that waits.
    fn ring(&self) {
        // The counter can't overflow; it is only ever read to zero.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    fn close(&self, why: Result<(), SocketError>) {
        let mut state = self.state();
        state.closed.get_or_insert(why);
        for slot in state.slots.values() {
            slot.interrupt();
        }
        drop(state);
        self.ring();
        self.keeper.give(Chore::Stop);
    }

    /// Has hardware destroyed.
    fn destroy<T: Send + 'static>(&self, hardware: impl IntoIterator<Item = T>) {
        for hardware in hardware {
            self.keeper.give(Chore::Destroy(Box::new(hardware)));
        }
    }

    /// Whether there is memory for hardware made ahead.
    pub(super) fn may_stock(&self) -> bool {
        !self.state().room.is_short()
    }

    /// Tells the node how the VMs are.
    pub(super) fn tell_status(&self) {
        let swap_bytes = self.swap().as_ref().map_or(0, |space| space.counts().held);
        let status = self.state().status(swap_bytes);
        let _ = self.reporter.send(&Report::Status(Box::new(status)));
        self.reporter.flush();
    }
}
