//! Calls that wait: for bytes, room, times and signals.
use super::{DATA, NOWHERE, PROGRAM, Program, TEXT};
use crate::errno::Errno;
use linux_raw_sys::general as nr;

/// `CLONE_VM`, `FS`, `FILES`, `SIGHAND`, `THREAD`, `SYSVSEM`.
const THREAD: u64 = 0x5_0f00;
const MS: u64 = 1_000_000;
const POLLIN: u64 = 1 << 32;

impl Program {
    fn pipe(&mut self) -> (u64, u64) {
        self.try_call(nr::__NR_pipe, [DATA]).unwrap();
        let both = self.word(DATA);
        (both & 0xffff_ffff, both >> 32)
    }

    fn now_ms(&self) -> u64 {
        self.outside.borrow().now_ns / MS
    }

    /// A handler for SIGALRM, and the alarm after so many milliseconds.
    fn alarm(&mut self, ms: u64) {
        self.alarm_with(ms, 0);
    }

    /// The same with flags of the handler.
    pub(super) fn alarm_with(&mut self, ms: u64, flags: u64) {
        let (handler, restorer) = (PROGRAM + 0x200, PROGRAM + 0x300);
        self.put(TEXT + 0x800, &[handler, 0x0400_0000 | flags, restorer, 0]);
        self.try_call(nr::__NR_rt_sigaction, [14, TEXT + 0x800, 0, 8]).unwrap();
        self.put(TEXT + 0x800, &[0, 0, 0, ms * 1000]);
        self.try_call(nr::__NR_setitimer, [0, TEXT + 0x800, 0]).unwrap();
    }

    /// Leaves the handler: what the interrupted call answered.
    pub(super) fn leave_handler(&mut self) -> u64 {
        assert_eq!(self.frame.rip, PROGRAM + 0x200, "in the handler");
        self.frame.rsp += 8;
        self.call(nr::__NR_rt_sigreturn, [])
    }
}

#[test]
fn a_read_waits_for_input() {
    let mut p = Program::new();
    p.outside.borrow_mut().arrivals.extend([b"line\n".to_vec()]);
    assert_eq!((p.try_call(nr::__NR_read, [0, DATA, 100]), p.bytes(DATA, 5)), (Ok(5), b"line\n".to_vec()));
    p.outside.borrow_mut().input_ended = true;
    assert_eq!(p.try_call(nr::__NR_read, [0, DATA, 100]), Ok(0));
}

#[test]
fn a_pipe_hands_over_from_thread_to_thread() {
    let mut p = Program::new();
    let (read, write) = p.pipe();
    assert_eq!(p.try_call(nr::__NR_clone, [THREAD, PROGRAM + 0x1000, 0, 0, 0]), Ok(2));
    // The first thread waits, so the second runs: it came out of its clone.
    assert_eq!((p.call(nr::__NR_read, [read, DATA, 10]), p.frame.rsp), (0, PROGRAM + 0x1000));
    let text = p.text(0, "handed over");
    assert_eq!(p.try_call(nr::__NR_write, [write, text, 6]), Ok(6));
    // When it ends, the first has its answer.
    assert_eq!((p.call(nr::__NR_exit, [0]), p.bytes(DATA, 6)), (6, b"handed".to_vec()));
}

#[test]
fn a_long_write_goes_on_as_there_is_room() {
    let mut p = Program::new();
    let (read, write) = p.pipe();
    p.try_call(nr::__NR_clone, [THREAD, PROGRAM + 0x1000, 0, 0, 0]).unwrap();
    let most = 100_000;
    let from = PROGRAM + 0x14_0000;
    p.process.space.pages().poke(from, &(0..most).map(|at| at as u8).collect::<Vec<_>>());
    assert_eq!(p.call(nr::__NR_write, [write, from, most]), 0, "the second thread runs");
    let mut all = Vec::new();
    while all.len() < most as usize {
        let mut count = p.try_call(nr::__NR_read, [read, DATA, 30_000]).unwrap();
        if count == most {
            // The first runs again, done: the second goes on.
            count = p.call(nr::__NR_exit, [0]);
        }
        all.extend(p.bytes(DATA, count));
    }
    assert!(all.iter().enumerate().all(|(at, byte)| *byte == at as u8));
}

#[test]
fn a_pipe_without_readers_is_broken() {
    let mut p = Program::new();
    let (read, write) = p.pipe();
    p.put(TEXT, &[1, 0, 0, 0]);
    p.try_call(nr::__NR_rt_sigaction, [13, TEXT, 0, 8]).unwrap();
    p.try_call(nr::__NR_close, [read]).unwrap();
    assert_eq!(p.try_call(nr::__NR_write, [write, TEXT, 1]), Err(Errno::EPIPE));
    assert_eq!(p.try_call(nr::__NR_pipe2, [NOWHERE, 0]), Err(Errno::EFAULT));
    assert_eq!(p.try_call(nr::__NR_pipe2, [DATA, 1]), Err(Errno::EINVAL));
}

#[test]
fn poll_tells_what_is_ready_or_that_it_is_late() {
    let mut p = Program::new();
    let (read, write) = p.pipe();
    p.put(DATA, &[read | POLLIN, 0xffff_ffff | POLLIN]);
    assert_eq!((p.try_call(nr::__NR_poll, [DATA, 2, 30]), p.now_ms()), (Ok(0), 30));
    p.try_call(nr::__NR_write, [write, DATA, 1]).unwrap();
    assert_eq!((p.try_call(nr::__NR_poll, [DATA, 2, u64::MAX]), p.word(DATA)), (Ok(1), read | POLLIN | 1 << 48));
    p.put(DATA, &[88 | POLLIN]);
    assert_eq!((p.try_call(nr::__NR_poll, [DATA, 1, 0]), p.word(DATA) >> 48), (Ok(1), nr::POLLNVAL.into()));
    assert_eq!(p.try_call(nr::__NR_poll, [DATA, 1025, 0]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_poll, [NOWHERE, 1, 0]), Err(Errno::EFAULT));
    p.put(TEXT, &[0, 5 * MS]);
    p.put(DATA, &[POLLIN]);
    p.outside.borrow_mut().arrivals.push_back(b"x".to_vec());
    assert_eq!((p.try_call(nr::__NR_ppoll, [DATA, 1, TEXT, 0, 8]), p.word(TEXT + 8)), (Ok(1), 5 * MS));
    p.put(TEXT, &[0, 1_000_000_000]);
    assert_eq!(p.try_call(nr::__NR_ppoll, [DATA, 1, TEXT, 0, 8]), Err(Errno::EINVAL));
}

#[test]
fn select_keeps_what_is_ready() {
    let mut p = Program::new();
    let (read, write) = p.pipe();
    p.put(TEXT, &[1 << read | 1, 1 << write | 2, 2]);
    let sets = [8, TEXT, TEXT + 8, TEXT + 16];
    assert_eq!(p.try_call(nr::__NR_select, [sets[0], sets[1], sets[2], sets[3], 0]), Ok(2));
    assert_eq!((p.word(TEXT), p.word(TEXT + 8), p.word(TEXT + 16)), (0, 1 << write | 2, 0));
    p.put(TEXT, &[1 << read]);
    p.put(DATA, &[0, 2_500]);
    assert_eq!((p.try_call(nr::__NR_select, [8, TEXT, 0, 0, DATA]), p.outside.borrow().now_ns), (Ok(0), 2_500_000));
    p.put(TEXT, &[1 << 60]);
    assert_eq!(p.try_call(nr::__NR_select, [64, TEXT, 0, 0, 0]), Err(Errno::EBADF));
    assert_eq!(p.try_call(nr::__NR_select, [u64::MAX, TEXT, 0, 0, 0]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_select, [64, NOWHERE, 0, 0, 0]), Err(Errno::EFAULT));
}

#[test]
fn epoll_tells_what_is_ready() {
    let mut p = Program::new();
    let (read, write) = p.pipe();
    let epoll = p.try_call(nr::__NR_epoll_create1, [0]).unwrap();
    p.put(TEXT, &[1 | 0x77 << 32, 0]);
    assert_eq!(p.try_call(nr::__NR_epoll_ctl, [epoll, 1, read, TEXT]), Ok(0));
    assert_eq!(p.try_call(nr::__NR_epoll_ctl, [epoll, 1, read, TEXT]), Err(Errno::EEXIST));
    assert_eq!(p.try_call(nr::__NR_epoll_ctl, [epoll, 1, read, NOWHERE]), Err(Errno::EFAULT));
    assert_eq!((p.try_call(nr::__NR_epoll_wait, [epoll, DATA, 10, 7]), p.now_ms()), (Ok(0), 7));
    p.try_call(nr::__NR_write, [write, DATA, 1]).unwrap();
    assert_eq!(
        (p.try_call(nr::__NR_epoll_pwait, [epoll, DATA, 10, u64::MAX, 0, 8]), p.word(DATA)),
        (Ok(1), 1 | 0x77 << 32)
    );
    assert_eq!(p.try_call(nr::__NR_epoll_wait, [epoll, DATA, 0, 0]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_epoll_wait, [read, DATA, 1, 0]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_epoll_pwait2, [epoll, NOWHERE, 1, 0, 0, 8]), Err(Errno::EFAULT));
    assert_eq!(p.try_call(nr::__NR_epoll_create, [0]), Err(Errno::EINVAL));
}

#[test]
fn an_edge_of_the_input_comes_once_and_again_after_a_read() {
    let mut p = Program::new();
    let epoll = p.try_call(nr::__NR_epoll_create1, [0]).unwrap();
    p.put(TEXT, &[u64::from(nr::EPOLLIN | nr::EPOLLET) | 5 << 32, 0]);
    assert_eq!(p.try_call(nr::__NR_epoll_ctl, [epoll, 1, 0, TEXT]), Ok(0));
    for _ in 0..3 {
        p.outside.borrow_mut().arrivals.push_back(b"line\n".to_vec());
        assert_eq!((p.try_call(nr::__NR_epoll_wait, [epoll, DATA, 10, u64::MAX]), p.word(DATA)), (Ok(1), 1 | 5 << 32));
        // It stays readable, and nobody is woken by that.
        let now_ms = p.now_ms();
        assert_eq!((p.try_call(nr::__NR_epoll_wait, [epoll, DATA, 10, 7]), p.now_ms()), (Ok(0), now_ms + 7));
        assert_eq!(p.try_call(nr::__NR_read, [0, DATA, 100]), Ok(5));
    }
    p.outside.borrow_mut().input_ended = true;
    assert_eq!(p.try_call(nr::__NR_epoll_wait, [epoll, DATA, 10, 7]), Ok(1));
    assert_eq!(p.try_call(nr::__NR_epoll_wait, [epoll, DATA, 10, 7]), Ok(0));
}

#[test]
fn counters_and_timers_are_waited_for() {
    let mut p = Program::new();
    let counter = p.try_call(nr::__NR_eventfd2, [3, 0]).unwrap();
    assert_eq!((p.try_call(nr::__NR_read, [counter, DATA, 8]), p.word(DATA)), (Ok(8), 3));
    assert_eq!(p.try_call(nr::__NR_eventfd2, [3, 4]), Err(Errno::EINVAL));
    let timer = p.try_call(nr::__NR_timerfd_create, [1, 0]).unwrap();
    p.put(TEXT, &[0, 20 * MS, 0, 50 * MS]);
    assert_eq!(p.try_call(nr::__NR_timerfd_settime, [timer, 0, TEXT, DATA]), Ok(0));
    assert_eq!((p.try_call(nr::__NR_timerfd_gettime, [timer, DATA]), p.word(DATA + 24)), (Ok(0), 50 * MS));
    assert_eq!((p.try_call(nr::__NR_read, [timer, DATA, 8]), p.word(DATA), p.now_ms()), (Ok(8), 1, 50));
    assert_eq!((p.try_call(nr::__NR_read, [timer, DATA, 8]), p.word(DATA), p.now_ms()), (Ok(8), 1, 70));
    assert_eq!(p.try_call(nr::__NR_timerfd_settime, [counter, 0, TEXT, 0]), Err(Errno::EINVAL));
    p.put(TEXT, &[0, u64::MAX, 0, 0]);
    assert_eq!(p.try_call(nr::__NR_timerfd_settime, [timer, 0, TEXT, 0]), Err(Errno::EINVAL));
}

#[test]
fn a_signal_ends_a_wait() {
    let mut p = Program::new();
    let (read, _) = p.pipe();
    p.alarm(10);
    p.put(DATA, &[read | POLLIN]);
    p.call(nr::__NR_poll, [DATA, 1, u64::MAX]);
    assert_eq!((p.leave_handler(), p.now_ms()), (Errno::EINTR.rax(), 10));
    p.alarm(10);
    p.call(nr::__NR_read, [read, DATA, 1]);
    assert_eq!(p.leave_handler(), Errno::EINTR.rax());
}

#[test]
fn a_mask_lasts_as_long_as_its_call() {
    let mut p = Program::new();
    let (read, _) = p.pipe();
    // SIGALRM is blocked, and comes; only the call with an empty mask lets it through, though its time is over at once.
    p.put(TEXT, &[1 << 13, 0]);
    p.try_call(nr::__NR_rt_sigprocmask, [0, TEXT, 0, 8]).unwrap();
    p.alarm(10);
    p.put(DATA, &[read | POLLIN, 0, 0]);
    assert_eq!((p.try_call(nr::__NR_poll, [DATA, 1, 20]), p.now_ms()), (Ok(0), 20));
    p.call(nr::__NR_ppoll, [DATA, 1, DATA + 8, TEXT + 8, 8]);
    assert_eq!(p.leave_handler(), Errno::EINTR.rax());
    assert_eq!((p.try_call(nr::__NR_rt_sigprocmask, [0, 0, DATA, 8]), p.word(DATA)), (Ok(0), 1 << 13));
    assert_eq!(p.try_call(nr::__NR_ppoll, [DATA, 0, DATA + 8, TEXT + 8, 4]), Err(Errno::EINVAL));
}

/// Starts a thread that goes on where the current one is.
fn thread(p: &mut Program) {
    p.call(nr::__NR_clone, [THREAD, TEXT + 0x8000, 0, 0, 0]);
}

#[test]
fn an_interrupt_that_comes_early_sets_the_timer_again() {
    let mut p = Program::new();
    thread(&mut p);
    let slice = p.process.space.pages().timer_ns;
    assert!(slice > 0);
    p.process.space.pages().timer_ns = 0;
    // The VMM's clock may be a little ahead of the VM's.
    p.outside.borrow_mut().now_ns = slice - 1;
    p.process.interrupted(&mut p.frame);
    assert_eq!(p.process.space.pages().timer_ns, slice);
}

#[test]
fn a_wait_of_all_threads_does_not_leave_one_without_its_slice() {
    let mut p = Program::new();
    thread(&mut p);
    let slice = p.process.space.pages().timer_ns;
    p.put(TEXT + 0x900, &[0, 1000]);
    // Both sleep, which takes the machine's timer; the first to wake starts another.
    p.call(nr::__NR_nanosleep, [TEXT + 0x900, 0]);
    p.call(nr::__NR_nanosleep, [TEXT + 0x900, 0]);
    thread(&mut p);
    assert!(p.outside.borrow().now_ns < slice && p.process.space.pages().timer_ns > 0);
}
