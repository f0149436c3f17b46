//! The table of threads: who there is, and what each is doing.
use super::clone::NewThread;
use super::wait::{On, Waits, Wake};
use crate::errno::Errno;
use alloc::collections::{BTreeMap, VecDeque};
use linux_raw_sys::general::robust_list_head;

/// Most threads that there can be at a time.
pub const THREADS_MAX: usize = 4096;

/// Linux's PID_MAX_LIMIT: numbers start again after it. Futex words have 30 bits for them.
const TID_END: u32 = 1 << 22;

/// The number of a thread; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(pub u32);

/// What a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has the CPU.
    Running,
    /// It would run.
    Ready,
    /// It waits.
    Blocked,
}

pub(super) struct Thread {
    pub(super) state: State,
    /// What a blocked thread waits for.
    pub(super) on: On,
    /// When a blocked thread stops to wait.
    pub(super) until: Option<u64>,
    /// Why it runs again.
    pub(super) wake: Option<Wake>,
    /// Cleared and woken at its end (`set_tid_address`, CLONE_CHILD_CLEARTID); 0 for none.
    pub(super) clear_tid: u64,
    /// Head of its list of robust mutexes; 0 for none.
    pub(super) robust_list: u64,
}

/// All threads of the process, who runs, and who waits for what.
pub struct Threads {
    pub(super) table: BTreeMap<Tid, Thread>,
    pub(super) ready: VecDeque<Tid>,
    pub(super) current: Option<Tid>,
    /// When the current thread has run enough if others would.
    pub(super) slice_end_ns: u64,
    pub(super) waits: Waits,
    pub(super) pid: Tid,
    /// What the main thread exited with, if it did.
    pub(super) main_status: i32,
    /// Threads that there can be; the next `clone` gets `EAGAIN`.
    most: usize,
    last_tid: Tid,
}

impl Threads {
    /// A process with one thread, the main one, which runs. `pid` is its number.
    #[must_use]
    pub fn new(pid: Tid, now_ns: u64) -> Self {
        let mut threads = Self {
            table: BTreeMap::new(),
            ready: VecDeque::new(),
            current: Some(pid),
            slice_end_ns: now_ns.saturating_add(super::SLICE_NS),
            waits: Waits::default(),
            pid,
            main_status: 0,
            most: THREADS_MAX,
            last_tid: pid,
        };
        threads.table.insert(pid, Thread::new(State::Running));
        threads
    }

    /// The process's number, which is its main thread's.
    #[must_use]
    pub fn pid(&self) -> Tid {
        self.pid
    }

    /// The thread that has the CPU.
    #[must_use]
    pub fn current(&self) -> Option<Tid> {
        self.current
    }

    /// What a thread is doing; `None` for one that is not, or not any more.
    #[must_use]
    pub fn state(&self, tid: Tid) -> Option<State> {
        self.table.get(&tid).map(|thread| thread.state)
    }

    /// Sets how many there may be from now on, [`THREADS_MAX`] at most; those that there are stay.
    pub fn limit(&mut self, most: usize) {
        self.most = most.min(THREADS_MAX);
    }

    /// How many there may be.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.table.len()
    }

    /// Makes a thread, ready behind all others. Stores its number where the request says: failures to do so are the
    /// program's own, as they are on Linux.
    ///
    /// # Errors
    /// `EAGAIN` if there are [`Threads::most`].
    pub fn spawn(&mut self, request: &NewThread, words: &mut dyn super::Words) -> Result<Tid, Errno> {
        if self.table.len() >= self.most {
            return Err(Errno::EAGAIN);
        }
        let tid = self.free_tid();
        let mut thread = Thread::new(State::Ready);
        thread.clear_tid = request.clear_tid.unwrap_or(0);
        for address in [request.parent_tid, request.child_tid].into_iter().flatten() {
            let _ = words.store(address, tid.0);
        }
        self.table.insert(tid, thread);
        self.ready.push_back(tid);
        Ok(tid)
    }

    /// The next number that no thread has. Ends: there are far fewer threads than numbers.
    fn free_tid(&mut self) -> Tid {
        loop {
            self.last_tid = Tid(if self.last_tid.0 >= TID_END - 1 { 1 } else { self.last_tid.0 + 1 });
            if !self.table.contains_key(&self.last_tid) {
                return self.last_tid;
            }
        }
    }

    /// `set_tid_address` of the current thread: gives its number.
    pub fn set_tid_address(&mut self, address: u64) -> Option<Tid> {
        let tid = self.current?;
        self.table.get_mut(&tid)?.clear_tid = address;
        Some(tid)
    }

    /// `set_robust_list` of the current thread.
    ///
    /// # Errors
    /// `EINVAL` if `bytes` is not the size of `struct robust_list_head`.
    pub fn set_robust_list(&mut self, head: u64, bytes: u64) -> Result<(), Errno> {
        if bytes != size_of::<robust_list_head>() as u64 {
            return Err(Errno::EINVAL);
        }
        let thread = self.current.and_then(|tid| self.table.get_mut(&tid)).ok_or(Errno::ESRCH)?;
        thread.robust_list = head;
        Ok(())
    }

    /// `get_robust_list`: the head that a thread has set, 0 for none. Thread 0 is the current one.
    ///
    /// # Errors
    /// `ESRCH` if there is no such thread.
    pub fn robust_list(&self, tid: Tid) -> Result<u64, Errno> {
        let tid = if tid.0 == 0 { self.current.ok_or(Errno::ESRCH)? } else { tid };
        self.table.get(&tid).map(|thread| thread.robust_list).ok_or(Errno::ESRCH)
    }
}

impl Thread {
    fn new(state: State) -> Self {
        Self { state, on: On::Time, until: None, wake: None, clear_tid: 0, robust_list: 0 }
    }
}
