//! The isolation kernel of a worker: all of its VMs, and the runners, threads that give each its turn.
//!
//! A VM has no thread. A runner asks the scheduler for the next VM, holds it alone while it runs a slice of it, and puts it
//! back. A runner without a VM waits for the node's commands, for input, and for the time that idle VMs asked for; so
//! whoever hears of a job runs it, without waking another thread, where there is hardware at hand. A runner has guests that may
//! take it over, so it can't do much (see [`crate::jail`]): what takes more, makers do. The keeper, one more thread, does what
//! no job should wait for.
//!
//! | module | what |
//! |---|---|
//! | `events` | commands of the node, input, the bell |
//! | `input` | what came for a VM and was not taken, and where more is read; pure |
//! | `maker` | threads that make VMs, and read their input |
//! | `turn` | one turn of a VM, from the scheduler's pick to what becomes of it |
//! | `memory` | the gatekeeper: who goes to sleep on disk, and comes back |
//! | `room` | what it counts: who has how much memory, and who waits for some |
//! | `state` | what all threads share: the life of each run; pure |
//! | `vms` | what it asks of a VM, which its model has too |

mod events;
mod input;
mod maker;
mod memory;
mod room;
mod state;
mod turn;
mod vms;

use super::{
    AbortOnPanic, ending,
    images::Images,
    keeper::{self, Chore, Keeper},
    message::{Report, RunId, Start},
    reporter::Reporter,
    shelf::Shelf,
    socket::{Commands, SocketError},
};
use crate::{
    gateway::Sink,
    jail::{Jail, Role},
    kvm::{Alarm, Host, Thread, cpu_time, forget_interruption, hear_kicks},
    swap::SwapSpace,
    vm::Vm,
};
use denali_protocol::job::Channel;
use events::{BELL, CLOCK, COMMANDS};
use maker::{Bench, Work};
use ring::rand::{SecureRandom, SystemRandom};
pub(super) use room::OVERHEAD_KIB;
use rustix::{
    event::epoll,
    net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair},
    time::{TimerfdClockId, TimerfdFlags, timerfd_create},
};
use state::{Next, State};
use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    thread,
    time::Instant,
};

/// Descriptors of bundles that are kept open though they are of no more use.
const SPENT: usize = 64;

/// The VMs of one worker.
pub(super) struct Kernel {
    pub(super) host: Host,
    images: Images,
    keeper: Keeper,
    bench: Bench,
    reporter: Reporter,
    commands: Mutex<Commands>,
    state: Mutex<State>,
    /// Bundles whose descriptors runners can't close.
    spent: Mutex<Vec<File>>,
    /// Where VMs sleep, if the node gave a place.
    swap: Mutex<Option<SwapSpace>>,
    /// What a runner without a VM waits for.
    events: OwnedFd,
    /// Wakes a runner that waits: written to one end, heard at the other.
    bell: [OwnedFd; 2],
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
    /// Itself, for others to interrupt.
    thread: Thread,
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

/// Runs VMs as `commands` ask, until the node closes its socket. With a `jail` it never returns: threads can't end in there.
pub(super) fn serve(
    host: Host,
    commands: Commands,
    reporter: Reporter,
    jail: Option<&Jail>,
) -> Result<(), KernelError> {
    let runners = thread::available_parallelism().map_or(1, usize::from);
    // The first call asks the kernel where its vDSO is, which threads in the jail can't.
    cpu_time();
    let (keeper, chores) = keeper::open();
    let kernel = Kernel::new(host, commands, reporter, keeper, runners as u32)?;
    // No guest runs before all threads have given up what they do not need.
    let confined = Barrier::new(2 * runners + 2);
    let begin = |role| {
        if let Some(jail) = jail
            && let Err(error) = jail.enter(role)
        {
            // It has all of its system calls still.
            ending::exit(&Err(format!("a thread can't be jailed: {error}")));
        }
        confined.wait();
    };
    // Nor could they drop what they own.
    let end = || {
        if jail.is_some() {
            ending::rest();
        }
    };
    thread::scope(|scope| {
        let (kernel, begin, end) = (&kernel, &begin, &end);
        let spawn = |name: String, work: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(name);
            let thread = thread.spawn_scoped(scope, move || {
                let _guard = AbortOnPanic;
                work();
            });
            thread.map(drop)
        };
        // Where one can't be made, those that there are would wait for it for ever. The node was promised nothing yet.
        let must = |spawned: io::Result<()>| {
            spawned.unwrap_or_else(|error| ending::exit(&Err(format!("the host has no thread for it: {error}"))));
        };
        let keep = move || {
            begin(Role::Keeper);
            // No job comes before this.
            let _ = kernel.reporter.send(&Report::Ready(Ok(jail.map(|jail| jail.lacks.clone()).unwrap_or_default())));
            kernel.reporter.flush();
            keeper::keep(kernel, &chores);
            end();
        };
        must(spawn("keeper".to_owned(), Box::new(keep)));
        for n in 0..runners {
            let make = || {
                begin(Role::Keeper);
                kernel.make();
                end();
            };
            must(spawn(format!("maker {n}"), Box::new(make)));
            let run = || {
                // It can't ask for a timer afterwards, nor who it is.
                let alarm = Alarm::new();
                let thread = Thread::current();
                let alarm = alarm.and_then(|alarm| hear_kicks(true).map(|()| alarm));
                begin(Role::Runner);
                let runner = alarm.map(|alarm| Runner { alarm, thread, frame: Vec::new() });
                match runner {
                    Ok(mut runner) => {
                        kernel.run_vms(&mut runner);
                        end();
                    }
                    Err(error) => {
                        kernel.close(Err(SocketError::Io(error)));
                        end();
                    }
                }
            };
            must(spawn(format!("runner {n}"), Box::new(run)));
        }
        if jail.is_some() {
            ending::end_on_panic();
        }
        begin(Role::Main);
        if jail.is_some() {
            if let Err(words) = ending::wait() {
                // Whoever said them may hold any lock.
                ending::exit(&Err(words));
            }
            let closed = kernel.state().closed.take().unwrap_or(Ok(()));
            // What the socket does not take now is lost, and so is what the reporter's thread has: a node that closed its end hears
            // nothing, and one that broke the protocol runs again what did not come to an end for it.
            kernel.reporter.flush();
            ending::exit(&closed.map_err(|error| error.to_string()));
        }
    });
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
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (bell, heard) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let clock = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&events, &commands, epoll::EventData::new_u64(COMMANDS), edge)?;
        epoll::add(&events, &heard, epoll::EventData::new_u64(BELL), edge)?;
        epoll::add(&events, &clock, epoll::EventData::new_u64(CLOCK), edge)?;
        let images = Images::default();
        let state = Mutex::new(State::new(cpus, images.kept().clone(), Instant::now()));
        Ok(Self {
            host,
            images,
            keeper,
            bench: Bench::default(),
            reporter,
            commands: Mutex::new(commands),
            state,
            spent: Mutex::default(),
            swap: Mutex::new(None),
            events,
            bell: [bell, heard],
            clock,
            next_vm: AtomicU64::new(u64::from_le_bytes(place)),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = Instant::now();
        state
    }

    /// What a runner does.
    fn run_vms(&self, runner: &mut Runner) {
        loop {
            let mut state = self.state();
            if state.closed.is_some() {
                drop(state);
                // Each that hears it wakes the next.
                return self.ring();
            }
            // Before others can see that this thread runs a VM: what they interrupt from then on is that.
            forget_interruption();
            let next = state.next(runner.thread);
            self.set_clock(&mut state);
            match next {
                Next::Turn { turn, others, no_one_listens } => {
                    drop(state);
                    if others {
                        self.ring();
                    }
                    self.give_turn(turn, runner);
                    if no_one_listens {
                        self.listen(false);
                    }
                }
                Next::Wait { short } => {
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
    }

    /// Wakes a runner that waits.
    fn ring(&self) {
        // Where it takes no more, it rings already.
        let _ = send(&self.bell[0], &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }

    fn close(&self, why: Result<(), SocketError>) {
        let mut state = self.state();
        state.closed.get_or_insert(why);
        for slot in state.slots.values() {
            slot.interrupt();
        }
        drop(state);
        self.ring();
        self.bench.close();
        self.keeper.give(Chore::Stop);
        ending::announce();
    }

    /// A bundle's descriptor is of no more use. The keeper closes it.
    fn spend(&self, bundle: File) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.push(bundle);
        if spent.len() == SPENT {
            drop(spent);
            self.keeper.give(Chore::Tidy);
        }
    }

    /// Closes and drops what others have left. The keeper's.
    pub(super) fn tidy(&self) {
        let spent = std::mem::take(&mut *self.spent.lock().unwrap_or_else(PoisonError::into_inner));
        drop(spent);
        self.images.sweep();
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
