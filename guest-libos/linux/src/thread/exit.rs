//! How threads and the process end.
use super::table::{Threads, Tid};
use super::{Wake, Words};
use crate::errno::Errno;
use linux_raw_sys::general::{
    FUTEX_BITSET_MATCH_ANY, FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, ROBUST_LIST_LIMIT,
};

/// What is left after a thread's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Other threads.
    Thread,
    /// Nothing: the process ended with this status.
    Process(i32),
}

impl Threads {
    /// `exit` of the current thread. Marks and wakes what it leaves behind, in Linux's order: robust mutexes, mutexes with
    /// an owner, its number. Memory that can't be reached is passed over.
    ///
    /// The process's status is its main thread's, however early that ended.
    pub fn exit(&mut self, status: i32, words: &mut dyn Words) -> Option<Exit> {
        let tid = self.current?;
        let (robust, clear_tid) = self.table.get(&tid).map(|thread| (thread.robust_list, thread.clear_tid))?;
        if robust != 0 {
            let _ = self.walk_robust(tid, robust, words);
        }
        self.release_pi(tid, words);
        if clear_tid != 0 {
            let _ = words.store(clear_tid, 0);
            let _ = self.futex_wake(clear_tid, 1, FUTEX_BITSET_MATCH_ANY);
        }
        self.table.remove(&tid);
        self.current = None;
        if tid == self.pid {
            self.main_status = status;
        }
        Some(if self.table.is_empty() { Exit::Process(self.main_status) } else { Exit::Thread })
    }

    /// Marks the mutexes in a list that the program wrote (struct robust_list_head: next, offset, pending), at most
    /// [`ROBUST_LIST_LIMIT`] of them.
    fn walk_robust(&mut self, dead: Tid, head: u64, words: &mut dyn Words) -> Result<(), Errno> {
        let field = |at: u64| head.checked_add(at).ok_or(Errno::EFAULT);
        let mut entry = words.load_pair(head)?;
        let offset = words.load_pair(field(8)?)?;
        let pending = words.load_pair(field(16)?)?;
        for _ in 0..ROBUST_LIST_LIMIT {
            if entry & !1 == head {
                break;
            }
            // The next is read before the mutex is given away: its new owner may unlink it.
            let next = words.load_pair(entry & !1);
            if entry & !1 != pending & !1 {
                self.mark_dead(dead, entry, offset, false, words)?;
            }
            entry = next?;
        }
        if pending & !1 != 0 {
            self.mark_dead(dead, pending, offset, true, words)?;
        }
        Ok(())
    }

    /// One mutex: bit 0 of its entry says that it names its owner (PI); `pending` that the thread was at it when it ended.
    fn mark_dead(
        &mut self,
        dead: Tid,
        entry: u64,
        offset: u64,
        pending: bool,
        words: &mut dyn Words,
    ) -> Result<(), Errno> {
        let (address, pi) = ((entry & !1).wrapping_add(offset), entry & 1 != 0);
        super::queue::check(address)?;
        let value = words.load(address)?;
        let owner = value & FUTEX_TID_MASK;
        if pending && !pi && owner == 0 {
            // It unlocked and had no time to wake the next.
            self.wake_first(address);
        } else if owner == dead.0 && !(pi && self.first_waiter(address).is_some()) {
            words.store(address, value & FUTEX_WAITERS | FUTEX_OWNER_DIED)?;
            if !pi && value & FUTEX_WAITERS != 0 {
                self.wake_first(address);
            }
        }
        Ok(())
    }

    fn wake_first(&mut self, address: u64) {
        if let Some((tid, false)) = self.first_waiter(address) {
            self.wake(tid, Wake::Futex);
        }
    }
}
