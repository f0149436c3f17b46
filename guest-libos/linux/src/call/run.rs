//! A thread comes in with a call, a fault or an interrupt, and goes on.

use super::{Frame, Machine, Next, On, Process, Recent, Stop, Waiting, identity, limits::Limits};
use crate::{
    errno::Errno,
    fs::Fs,
    mm::Space,
    signal::{After, Delivery, Extended as Area, Fault, Handler, Restart, Signals, Times, frame},
    thread::{self, Futex, Refused, Threads, Tid},
};
use alloc::{collections::BTreeMap, vec::Vec};

impl<M: Machine> Process<M> {
    /// A program in `space` with one thread, which is about to start.
    pub fn new(mut space: Space<M>, files: Fs, path: Vec<u8>) -> Self {
        let pid = Tid(identity::PROCESS as u32);
        let (now_ns, _) = space.pages().now();
        Self {
            space,
            files,
            path,
            identity: identity::Identity::default(),
            limits: Limits::default(),
            unserved: BTreeMap::new(),
            shared: Vec::new(),
            recent: Recent::default(),
            refused: Refused::default(),
            threads: Threads::new(pid, now_ns),
            signals: Signals::new(pid, identity::USER),
            parked: BTreeMap::new(),
            loaded: pid,
            again: None,
            fault: Fault::default(),
            attention: false,
            timer_ns: 0,
            files_seen: 0,
        }
    }

    /// Serves the call that the current thread makes with `frame`.
    #[inline]
    pub fn call(&mut self, frame: &mut Frame) -> Next {
        let (number, arguments) = (frame.rax as u32, frame.arguments());
        self.recent.begin(number);
        match self.answer(number, arguments, frame) {
            Ok(value) => frame.rax = value,
            Err(Stop::Error(error)) => frame.rax = error.rax(),
            Err(stop) => return self.stop(stop, frame, number, arguments),
        }
        self.recent.end(frame.rax);
        if self.attention || self.space.pages().take_attention() { self.go_on(frame) } else { Next::Return }
    }

    /// The current thread was interrupted between two instructions, by the timer perhaps, which is set anew then.
    pub fn interrupted(&mut self, frame: &mut Frame) -> Next {
        self.timer_ns = 0;
        self.replaced(frame)
    }

    /// The current thread goes on with a frame that is another than that of its call.
    fn replaced(&mut self, frame: &mut Frame) -> Next {
        self.space.pages().take_attention();
        match self.go_on(frame) {
            Next::Return => Next::Restore,
            next => next,
        }
    }

    /// The current thread's instruction faulted: it gets the signal.
    pub fn fault(&mut self, frame: &mut Frame, fault: Fault) -> Next {
        self.fault = fault;
        frame.rip = fault.resume();
        self.signals.force(self.current(), fault.info());
        self.deliver(frame, None).map_or_else(|next| next, |_| Next::Restore)
    }

    /// The last fault of the program.
    pub fn last_fault(&self) -> Fault {
        self.fault
    }

    /// The thread that has the CPU.
    pub(super) fn current(&self) -> Tid {
        self.threads.current().unwrap_or(self.threads.pid())
    }

    fn stop(&mut self, stop: Stop, frame: &mut Frame, number: u32, arguments: [u64; 6]) -> Next {
        match stop {
            Stop::Error(error) => frame.rax = error.rax(),
            Stop::Waits(waits) => {
                let waiting = Waiting { waits: self.with_timeout(waits), number, arguments };
                let wait = self.wait(frame, waiting);
                return wait
                    .map_or_else(|next| next, |blocked| if blocked { self.switch(frame) } else { Next::Restore });
            }
            Stop::Yields => {
                frame.rax = 0;
                self.park(frame, None);
                self.threads.put_back();
                return self.switch(frame);
            }
            Stop::Ended(None) => return self.switch(frame),
            Stop::Ended(Some(status)) | Stop::Exit(status) => return Next::Exit(status as u8),
            Stop::Replaced => {}
        }
        self.replaced(frame)
    }

    /// Lets the current thread wait, or interrupts its call if a signal is there. Whether it waits.
    pub(super) fn wait(&mut self, frame: &mut Frame, mut waiting: Waiting) -> Result<bool, Next> {
        loop {
            let queued = self.threads.current().is_none();
            if queued || !self.signals.interrupts(self.current()) {
                return self.block(frame, waiting).map(|()| true);
            }
            match self.deliver(frame, Some(waiting))? {
                Some(again) => waiting = again,
                None => return Ok(false),
            }
        }
    }

    /// What is due before the current thread goes on: other threads, signals, the timer.
    fn go_on(&mut self, frame: &mut Frame) -> Next {
        self.attention = false;
        let times = self.tick();
        if self.threads.slice_over(times.now.mono_ns) {
            self.park(frame, None);
            self.threads.put_back();
            return self.switch(frame);
        }
        match self.take_signals(frame) {
            Ok(next) => {
                self.arm(times);
                next
            }
            Err(over) => over,
        }
    }

    /// Lets the current thread take its signals, if there are any that it would notice.
    pub(super) fn take_signals(&mut self, frame: &mut Frame) -> Result<Next, Next> {
        if !self.signals.interrupts(self.current()) {
            return Ok(Next::Return);
        }
        self.deliver(frame, None).map(|_| Next::Restore)
    }

    /// Lets the current thread take its signals. Gives back the call that it waits in if none has a handler.
    pub(super) fn deliver(&mut self, frame: &mut Frame, mut waiting: Option<Waiting>) -> Result<Option<Waiting>, Next> {
        let tid = self.current();
        loop {
            let times = self.times();
            match self.signals.deliver(tid, times) {
                Delivery::None => return Ok(waiting),
                Delivery::Terminate { signal, .. } => return Err(Next::Killed(signal)),
                Delivery::Handle(handler) => {
                    if let Some(waiting) = waiting.take() {
                        self.settle(frame, &waiting, &handler);
                    }
                    if self.enter_handler(frame, &handler).is_err() {
                        self.signals.frame_failed(tid, Some(handler.info.signal()));
                    }
                    let others = self.signals.retarget();
                    self.interrupt(&others);
                }
            }
        }
    }

    /// A handler runs within a call: whether the call is made again after it, or what it returns.
    fn settle(&mut self, frame: &mut Frame, waiting: &Waiting, handler: &Handler) {
        let restart = match waiting.number {
            linux_raw_sys::general::__NR_futex => {
                let [address, operation, _, timeout, ..] = waiting.arguments;
                let timeout = (timeout != 0).then(thread::Timespec::default);
                Futex { address, operation: operation as u32, timeout, ..Futex::default() }.restart()
            }
            number => Restart::of_call(number),
        };
        let timed = waiting.waits.until_ns.is_some() && matches!(waiting.waits.on, On::File(_));
        frame.rax = match waiting.waits.done {
            // Who waits with a time of its own does not wait for it twice.
            0 if restart.after(Some(&handler.action)) == After::Again && !timed => {
                frame.rip = self.trap(frame.rcx);
                waiting.number.into()
            }
            0 => Errno::EINTR.rax(),
            done => done,
        };
    }

    /// The system call that returns to `after`: as on Linux, one that is to be made again is where its thread is. Libraries that
    /// cancel threads look for it. What can't be found begins again at the entry of calls, to which RCX says the rest.
    fn trap(&mut self, after: u64) -> u64 {
        let machine = self.space.pages();
        let (entry, trap) = (machine.entry(), machine.original(after).wrapping_sub(2));
        let replaced = machine.resume(trap) != trap;
        if replaced || self.input(trap, 2).is_ok_and(|bytes| bytes == [0x0f, 0x05]) { trap } else { entry }
    }

    fn enter_handler(&mut self, frame: &mut Frame, handler: &Handler) -> Result<(), Errno> {
        let mut extended = self.space.pages().save();
        extended.set_xmm(frame);
        let area = Area { area: &extended.0, features: self.space.pages().features() };
        let mut registers = frame.registers();
        registers.rip = self.space.machine().original(registers.rip);
        let built = frame::build(handler, &registers, area, &self.fault)?;
        self.output(built.extended_address, built.extended.len() as u64)?.copy_from_slice(&built.extended);
        self.output(built.address, built.bytes.len() as u64)?.copy_from_slice(&built.bytes);
        frame.set_registers(&built.registers);
        Ok(())
    }

    /// Ends the waits of threads that got a signal.
    pub(super) fn interrupt(&mut self, tids: &[Tid]) {
        for &tid in tids {
            self.threads.interrupt(tid);
        }
        self.attention = true;
    }

    /// What time it is, for signals.
    pub(super) fn times(&mut self) -> Times {
        let cpu_ns = self.space.pages().cpu_ns();
        Times { now: self.now(), cpu_ns }
    }

    /// What time it is.
    pub(super) fn now(&mut self) -> thread::Now {
        let (mono_ns, realtime_ns) = self.space.pages().now();
        thread::Now { mono_ns, realtime_base_ns: realtime_ns.wrapping_sub(mono_ns) }
    }
}
