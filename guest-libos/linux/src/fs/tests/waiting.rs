//! Pipes, eventfds and epoll against the host's: what a transfer gives, and what poll and epoll then tell.
//!
//! Left out, since Linux's answers there follow from its pages and not from its manual: pipes filled by odd sizes, and
//! edges of a pipe's room.
use super::super::{EpollEvent, Fs, Stop};
use crate::errno::Errno;
use linux_raw_sys::general as abi;
use proptest::{collection::vec, prelude::*, sample::select};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll},
    fd::{AsFd, OwnedFd},
    io::Errno as HostErrno,
};

/// Two pipes, an eventfd, and one that is a semaphore.
const SLOTS: usize = 6;

#[derive(Debug, Clone)]
enum Op {
    Write(usize, usize),
    Read(usize, usize),
    Close(usize),
    Poll(usize),
    Add(usize, u32),
    Modify(usize, u32),
    Delete(usize),
    Wait,
}

#[derive(Debug, PartialEq, Eq)]
enum Gave {
    Count(usize),
    Word(u64),
    Events(u32),
    Ready(Vec<(u64, u32)>),
}

/// The bytes of a transfer: pages of a pipe, or a word of an eventfd.
fn bytes(slot: usize, count: usize, unit: usize) -> Vec<u8> {
    if slot < 4 { vec![7; count * unit] } else { (count as u64).to_ne_bytes().to_vec() }
}

fn gave(slot: usize, count: usize, buffer: &[u8]) -> Gave {
    match buffer.first_chunk() {
        Some(word) if slot >= 4 => Gave::Word(u64::from_ne_bytes(*word)),
        _ => Gave::Count(count),
    }
}

struct Host {
    epoll: OwnedFd,
    slots: Vec<Option<OwnedFd>>,
}

impl Host {
    fn new() -> Self {
        let pipes = [0; 2].map(|_| std::io::pipe().unwrap());
        let ends = pipes.into_iter().flat_map(|(read, write)| [OwnedFd::from(read), write.into()]);
        let mut slots: Vec<Option<OwnedFd>> = ends.map(Some).collect();
        for end in slots.iter().flatten() {
            rustix::fs::fcntl_setfl(end, rustix::fs::OFlags::NONBLOCK).unwrap();
        }
        for flags in [EventfdFlags::empty(), EventfdFlags::SEMAPHORE] {
            slots.push(Some(eventfd(0, flags | EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()));
        }
        Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC).unwrap(), slots }
    }

    fn run(&mut self, operation: &Op, unit: usize) -> Result<Gave, HostErrno> {
        let (slots, epoll) = (&mut self.slots, &self.epoll);
        let fd = |slot: &usize| slots[*slot].as_ref().map(AsFd::as_fd).ok_or(HostErrno::BADF);
        let data = |slot: &usize| epoll::EventData::new_u64(*slot as u64);
        match operation {
            Op::Write(slot, count) => {
                return rustix::io::write(fd(slot)?, &bytes(*slot, *count, unit)).map(Gave::Count);
            }
            Op::Read(slot, count) => {
                let mut buffer = bytes(*slot, *count, unit);
                let count = rustix::io::read(fd(slot)?, &mut buffer)?;
                return Ok(gave(*slot, count, &buffer));
            }
            Op::Close(slot) => drop(slots[*slot].take().ok_or(HostErrno::BADF)?),
            Op::Poll(slot) => {
                let fd = fd(slot)?;
                let mut asked = [PollFd::new(&fd, PollFlags::IN | PollFlags::OUT)];
                poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
                return Ok(Gave::Events(asked[0].revents().bits().into()));
            }
            Op::Add(slot, events) => {
                epoll::add(epoll, fd(slot)?, data(slot), epoll::EventFlags::from_bits_retain(*events))?;
            }
            Op::Modify(slot, events) => {
                epoll::modify(epoll, fd(slot)?, data(slot), epoll::EventFlags::from_bits_retain(*events))?;
            }
            Op::Delete(slot) => epoll::delete(epoll, fd(slot)?)?,
            Op::Wait => {
                let mut events: Vec<epoll::Event> = Vec::with_capacity(16);
                let space = rustix::buffer::spare_capacity(&mut events);
                epoll::wait(epoll, space, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
                let mut ready: Vec<_> = events
                    .iter()
                    .map(|event| {
                        let (flags, data) = (event.flags, event.data);
                        (data.u64(), flags.bits())
                    })
                    .collect();
                ready.sort_unstable();
                return Ok(Gave::Ready(ready));
            }
        }
        Ok(Gave::Count(0))
    }
}

struct Ours {
    fs: Fs,
    epoll: i32,
    slots: Vec<i32>,
}

/// What a transfer that is not to wait gave; the caller of a broken pipe raises a signal besides the error.
fn done(result: Result<usize, Stop>) -> Result<usize, Errno> {
    result.map_err(|stop| match stop {
        Stop::Error(error) => error,
        Stop::BrokenPipe => Errno::EPIPE,
        Stop::Text(_) | Stop::Blocked { .. } => panic!("{stop:?}"),
    })
}

impl Ours {
    fn new() -> Self {
        let (mut fs, _) = super::new();
        let mut slots: Vec<i32> = (0..2).flat_map(|_| fs.pipe2(abi::O_NONBLOCK).unwrap()).collect();
        slots.push(fs.eventfd2(0, abi::EFD_NONBLOCK).unwrap());
        slots.push(fs.eventfd2(0, abi::EFD_NONBLOCK | abi::EFD_SEMAPHORE).unwrap());
        let epoll = fs.epoll_create1(0).unwrap();
        Self { fs, epoll, slots }
    }

    fn run(&mut self, operation: &Op, unit: usize) -> Result<Gave, Errno> {
        let (fs, slots, epoll) = (&mut self.fs, &self.slots, self.epoll);
        let event = |slot: &usize, events: &u32| EpollEvent { events: *events, data: *slot as u64 };
        match operation {
            Op::Write(slot, count) => {
                return done(fs.write(slots[*slot], &bytes(*slot, *count, unit))).map(Gave::Count);
            }
            Op::Read(slot, count) => {
                let mut buffer = bytes(*slot, *count, unit);
                let count = done(fs.read(slots[*slot], &mut buffer))?;
                return Ok(gave(*slot, count, &buffer));
            }
            Op::Close(slot) => fs.close(slots[*slot])?,
            Op::Poll(slot) => {
                let asked = abi::POLLIN | abi::POLLOUT | abi::POLLERR | abi::POLLHUP;
                return Ok(Gave::Events(fs.readiness(slots[*slot])?.0 & asked));
            }
            Op::Add(slot, events) => fs.epoll_ctl(epoll, abi::EPOLL_CTL_ADD, slots[*slot], event(slot, events))?,
            Op::Modify(slot, events) => fs.epoll_ctl(epoll, abi::EPOLL_CTL_MOD, slots[*slot], event(slot, events))?,
            Op::Delete(slot) => fs.epoll_ctl(epoll, abi::EPOLL_CTL_DEL, slots[*slot], event(slot, &0))?,
            Op::Wait => {
                let mut events = [EpollEvent::default(); 16];
                let count = fs.epoll_wait(epoll, &mut events)?;
                let mut ready: Vec<_> = events[..count].iter().map(|event| (event.data, event.events)).collect();
                ready.sort_unstable();
                return Ok(Gave::Ready(ready));
            }
        }
        Ok(Gave::Count(0))
    }
}

fn interest() -> impl Strategy<Value = (usize, u32)> {
    let flags = select(vec![0, 0, abi::EPOLLET, abi::EPOLLONESHOT, abi::EPOLLET | abi::EPOLLONESHOT]);
    (0..SLOTS, select(vec![abi::EPOLLIN, abi::EPOLLOUT, abi::EPOLLIN | abi::EPOLLOUT]), flags).prop_map(
        |(slot, events, flags)| {
            let room_of_a_pipe = slot < 4 && events & abi::EPOLLOUT != 0;
            (slot, events | if room_of_a_pipe { flags & !abi::EPOLLET } else { flags })
        },
    )
}

fn operation() -> impl Strategy<Value = Op> {
    let slot = || 0..SLOTS;
    prop_oneof![
        8 => (slot(), 0..20_usize).prop_map(|(slot, count)| Op::Write(slot, count)),
        8 => (slot(), 0..20_usize).prop_map(|(slot, count)| Op::Read(slot, count)),
        1 => slot().prop_map(Op::Close),
        3 => slot().prop_map(Op::Poll),
        5 => interest().prop_map(|(slot, events)| Op::Add(slot, events)),
        3 => interest().prop_map(|(slot, events)| Op::Modify(slot, events)),
        1 => slot().prop_map(Op::Delete),
        8 => Just(Op::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_host_tells_the_same(operations in vec(operation(), 1..80), unit in select(vec![1_usize, 4096])) {
        let (mut host, mut ours) = (Host::new(), Ours::new());
        for (number, operation) in operations.iter().enumerate() {
            let expected = host.run(operation, unit).map_err(|error| Errno(error.raw_os_error()));
            let found = ours.run(operation, unit);
            prop_assert_eq!(expected, found, "operation {}: {:?}", number, operation);
        }
    }
}
