//! What waits: standard streams, pipes, eventfd, timerfd, epoll.
use super::{Events, Fs, NOW, Now, new};
use crate::{
    errno::Errno,
    fs::{Copied, EpollEvent, Stop, TimerSpec, Wait},
};
use linux_raw_sys::general as abi;

const AGAIN: Stop = Stop::Error(Errno::EAGAIN);

/// What a call waits for, and how much it did before.
fn blocked<T: std::fmt::Debug>(result: Result<T, Stop>) -> (usize, Wait) {
    match result {
        Err(Stop::Blocked { done, wait }) => (done, wait),
        other => panic!("{other:?}"),
    }
}

#[test]
fn standard_input_waits_and_ends() {
    let (mut fs, streams) = new();
    let mut buffer = [0; 4];
    let (_, wait) = blocked(fs.read(0, &mut buffer));
    assert!(!fs.is_ready(wait));
    streams.borrow_mut().input.extend(b"abcdef");
    assert!(fs.is_ready(wait));
    assert_eq!((fs.read(0, &mut buffer), &buffer), (Ok(4), b"abcd"));
    assert_eq!((fs.read(0, &mut buffer), &buffer[..2]), (Ok(2), &b"ef"[..]));
    fs.fcntl(0, abi::F_SETFL, abi::O_NONBLOCK.into()).unwrap();
    assert_eq!(fs.read(0, &mut buffer), Err(AGAIN));
    streams.borrow_mut().input_ends = true;
    assert_eq!((fs.read(0, &mut buffer), fs.readiness(0)), (Ok(0), Ok(Events::IN)));
    assert_eq!(fs.write(0, b"x"), Err(Stop::Error(Errno::EBADF)));
    assert_eq!(fs.lseek(0, 0, abi::SEEK_SET), Err(Errno::ESPIPE));
    assert_eq!(fs.pread(0, &mut buffer, 0), Err(Stop::Error(Errno::ESPIPE)));
}

#[test]
fn standard_output_waits_for_room() {
    let (mut fs, streams) = new();
    streams.borrow_mut().room = 6;
    assert_eq!(fs.writev(1, &[b"ab", b"", b"cd"], None), Ok(4));
    let (done, wait) = blocked(fs.write(2, b"efgh"));
    assert_eq!((done, fs.is_ready(wait)), (2, false));
    streams.borrow_mut().room = 6;
    assert!(fs.is_ready(wait));
    assert_eq!((fs.write(2, b"gh"), &streams.borrow().output[..]), (Ok(2), &b"abcdefgh"[..]));
}

#[test]
fn pipes_hold_64_kib_and_small_writes_are_atomic() {
    let (mut fs, _) = new();
    let [read, write] = fs.pipe2(0).unwrap();
    let mut buffer = vec![0; 1 << 17];
    let (_, reader) = blocked(fs.read(read, &mut buffer));
    assert_eq!(fs.write(write, &[1; 65_000]), Ok(65_000));
    assert!(fs.is_ready(reader));
    let (done, writer) = blocked(fs.write(write, &[2; 4096]));
    assert_eq!((done, fs.is_ready(writer)), (0, false));
    let (done, _) = blocked(fs.write(write, &[3; 4097]));
    assert_eq!(done, 536);
    assert_eq!(fs.read(read, &mut buffer), Ok(65_536));
    assert!(fs.is_ready(writer));
    let before = fs.generation();
    fs.close(write).unwrap();
    assert!(fs.generation() != before && fs.is_ready(writer));
    assert_eq!((fs.read(read, &mut buffer), fs.readiness(read)), (Ok(0), Ok(Events::HUP)));
}

#[test]
fn a_pipe_without_readers_is_broken() {
    let (mut fs, _) = new();
    let [read, write] = fs.pipe2(abi::O_NONBLOCK).unwrap();
    assert_eq!(fs.read(read, &mut [0]), Err(AGAIN));
    assert_eq!((fs.read(write, &mut [0]), fs.write(read, b"x")), (Err(Errno::EBADF.into()), Err(Errno::EBADF.into())));
    // Opened again by its name, it has one reader more.
    let again = fs.openat(abi::AT_FDCWD, format!("/proc/self/fd/{read}").as_bytes(), 0, 0).unwrap();
    fs.close(read).unwrap();
    assert_eq!((fs.write(write, b"xy"), fs.read(again, &mut [0])), (Ok(2), Ok(1)));
    fs.close(again).unwrap();
    assert_eq!((fs.write(write, b"x"), fs.readiness(write)), (Err(Stop::BrokenPipe), Ok(Events::OUT.and(Events::ERR))));
    assert_eq!((fs.pipe2(1), fs.lseek(write, 0, 0)), (Err(Errno::EINVAL), Err(Errno::ESPIPE)));
}

#[test]
fn pipes_are_bounded() {
    let (mut fs, _) = new();
    let held = fs.held();
    assert_eq!((0..).take_while(|_| fs.pipe2(0).is_ok()).count(), 256);
    assert_eq!(fs.pipe2(0), Err(Errno::ENFILE));
    fs.close_range(3, u32::MAX, 0).unwrap();
    assert_eq!(fs.held(), held);
    fs.pipe2(0).unwrap();
}

/// splice(2) at the offsets of both: how many bytes were moved.
fn splice(fs: &mut Fs, from: i32, to: i32, count: usize, flags: u32) -> Result<usize, Stop> {
    fs.splice(Copied { count, from: None, to: None }, from, to, flags).map(|copied| copied.count)
}

#[test]
fn splice_moves_between_a_pipe_and_anything() {
    let (mut fs, streams) = new();
    let file = fs.openat(abi::AT_FDCWD, b"/tmp/file", abi::O_CREAT | abi::O_RDWR, 0o600).unwrap();
    let [read, write] = fs.pipe2(0).unwrap();
    let [other, into] = fs.pipe2(0).unwrap();
    fs.write(file, b"0123456789").unwrap();
    let (from, mut buffer) = (Copied { count: 4, from: Some(3), to: None }, [0; 16]);
    assert_eq!(fs.splice(from, file, write, 0), Ok(Copied { count: 4, from: Some(7), to: None }));
    assert_eq!(splice(&mut fs, file, write, 4, 0), Ok(0), "the file's own offset is at its end");
    assert_eq!(splice(&mut fs, read, into, 100, 0), Ok(4));
    let at = Copied { count: 2, from: None, to: Some(1) };
    assert_eq!(fs.splice(at, other, file, 0), Ok(Copied { count: 2, from: None, to: Some(3) }));
    assert_eq!((fs.pread(file, &mut buffer, 0), &buffer[..10]), (Ok(10), &b"0343456789"[..]));
    assert_eq!((splice(&mut fs, other, 1, 9, 0), &streams.borrow().output[..]), (Ok(2), &b"56"[..]));
    // What the other end has no room for stays.
    fs.write(write, b"abcdef").unwrap();
    streams.borrow_mut().room = 4;
    assert_eq!((splice(&mut fs, read, 1, 9, 0), blocked(splice(&mut fs, read, 1, 9, 0)).0), (Ok(4), 0));
    assert_eq!((fs.read(read, &mut buffer), &buffer[..2]), (Ok(2), &b"ef"[..]));
    let (_, reader) = blocked(splice(&mut fs, read, into, 9, 0));
    assert!(!fs.is_ready(reader));
    fs.write(into, &[7; 1 << 16]).unwrap();
    fs.write(write, b"x").unwrap();
    assert!(fs.is_ready(reader));
    let (_, writer) = blocked(splice(&mut fs, read, into, 9, 0));
    assert!(!fs.is_ready(writer));
    assert_eq!(splice(&mut fs, read, into, 9, abi::SPLICE_F_NONBLOCK), Err(AGAIN));
    fs.close(other).unwrap();
    assert_eq!(splice(&mut fs, read, into, 9, 0), Err(Stop::BrokenPipe));
    fs.close(write).unwrap();
    assert_eq!((splice(&mut fs, read, file, 9, 0), splice(&mut fs, read, file, 9, 0)), (Ok(1), Ok(0)));
}

#[test]
fn splice_refuses_what_it_cannot_move() {
    let (mut fs, _) = new();
    let file = fs.openat(abi::AT_FDCWD, b"/tmp/file", abi::O_CREAT | abi::O_RDWR | abi::O_APPEND, 0o600).unwrap();
    let counter = fs.eventfd2(1, 0).unwrap();
    let [read, write] = fs.pipe2(0).unwrap();
    fs.write(write, b"x").unwrap();
    for (from, to, error) in [
        (file, file, Errno::EINVAL),
        (read, file, Errno::EINVAL),
        (read, write, Errno::EINVAL),
        (counter, write, Errno::EINVAL),
        (write, file, Errno::EBADF),
        (file, read, Errno::EBADF),
        (99, write, Errno::EBADF),
    ] {
        assert_eq!(splice(&mut fs, from, to, 1, 0), Err(error.into()), "{from} {to}");
    }
    let both = Copied { count: 1, from: Some(0), to: None };
    assert_eq!(fs.splice(both, read, file, 0), Err(Errno::ESPIPE.into()));
    assert_eq!(fs.splice(both, 0, write, 0), Err(Errno::EINVAL.into()), "standard input has no offset");
    assert_eq!(fs.splice(Copied { from: Some(-1), ..both }, file, write, 0), Err(Errno::EINVAL.into()));
}

#[test]
fn eventfds_count() {
    let (mut fs, _) = new();
    let (fd, semaphore) = (fs.eventfd2(0, 0).unwrap(), fs.eventfd2(2, abi::EFD_SEMAPHORE | abi::EFD_NONBLOCK).unwrap());
    let mut word = [0; 8];
    let (_, wait) = blocked(fs.read(fd, &mut word));
    for value in [3_u64, 4] {
        assert_eq!(fs.write(fd, &value.to_ne_bytes()), Ok(8));
    }
    assert!(fs.is_ready(wait));
    assert_eq!((fs.read(fd, &mut word), u64::from_ne_bytes(word)), (Ok(8), 7));
    assert_eq!((fs.read(semaphore, &mut word), u64::from_ne_bytes(word)), (Ok(8), 1));
    fs.read(semaphore, &mut word).unwrap();
    assert_eq!(fs.read(semaphore, &mut word), Err(AGAIN));
    assert_eq!(fs.write(fd, &u64::MAX.to_ne_bytes()), Err(Errno::EINVAL.into()));
    assert_eq!(
        (fs.write(fd, &[0; 7]), fs.read(fd, &mut [0; 7])),
        (Err(Errno::EINVAL.into()), Err(Errno::EINVAL.into()))
    );
    fs.write(fd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    assert_eq!(fs.readiness(fd), Ok(Events::IN));
    assert_eq!(blocked(fs.write(fd, &1_u64.to_ne_bytes())).0, 0);
}

#[test]
fn timers_expire_and_repeat() {
    let at = |ns: u64| Now { monotonic_ns: NOW.monotonic_ns + ns, ..NOW };
    let (mut fs, streams) = new();
    let fd = fs.timerfd_create(abi::CLOCK_MONOTONIC, abi::TFD_NONBLOCK).unwrap();
    let mut word = [0; 8];
    assert_eq!((fs.read(fd, &mut word), fs.next_deadline()), (Err(AGAIN), None));
    let spec = TimerSpec { value_ns: 100, interval_ns: 50 };
    assert_eq!(fs.timerfd_settime(fd, 0, spec), Ok(TimerSpec::default()));
    assert_eq!(fs.next_deadline(), Some(NOW.monotonic_ns + 100));
    streams.borrow_mut().now = at(99);
    assert_eq!((fs.readiness(fd), fs.timerfd_gettime(fd).unwrap().value_ns), (Ok(Events::NONE), 1));
    streams.borrow_mut().now = at(210);
    assert_eq!((fs.readiness(fd), fs.timerfd_gettime(fd).unwrap().value_ns), (Ok(Events::IN), 40));
    assert_eq!((fs.read(fd, &mut word), u64::from_ne_bytes(word)), (Ok(8), 3));
    assert_eq!((fs.read(fd, &mut word), fs.next_deadline()), (Err(AGAIN), Some(NOW.monotonic_ns + 250)));
    let once = TimerSpec { value_ns: NOW.monotonic_ns + 220, interval_ns: 0 };
    fs.timerfd_settime(fd, abi::TFD_TIMER_ABSTIME, once).unwrap();
    streams.borrow_mut().now = at(u64::MAX / 4);
    assert_eq!((fs.read(fd, &mut word), u64::from_ne_bytes(word)), (Ok(8), 1));
    assert_eq!((fs.read(fd, &mut word), fs.next_deadline()), (Err(AGAIN), None));
    fs.timerfd_settime(fd, 0, TimerSpec { value_ns: u64::MAX, interval_ns: u64::MAX }).unwrap();
    assert_eq!(fs.read(fd, &mut word), Err(AGAIN));
    assert_eq!((fs.timerfd_create(2, 0), fs.timerfd_gettime(0)), (Err(Errno::EINVAL), Err(Errno::EINVAL)));
}

/// The data of what is ready.
fn ready(fs: &mut Fs, epoll: i32) -> Vec<u64> {
    let mut events = [EpollEvent::default(); 8];
    let count = fs.epoll_wait(epoll, &mut events).unwrap();
    events[..count].iter().map(|event| event.data).collect()
}

fn watch(fs: &mut Fs, epoll: i32, fd: i32, events: u32) -> Result<(), Errno> {
    fs.epoll_ctl(epoll, abi::EPOLL_CTL_ADD, fd, EpollEvent { events, data: fd as u64 })
}

#[test]
fn epoll_tells_by_level_by_edge_and_once() {
    let (mut fs, _) = new();
    let epoll = fs.epoll_create1(0).unwrap();
    let pairs = [0; 3].map(|_| fs.pipe2(abi::O_NONBLOCK).unwrap());
    let [level, edge, once] = pairs.map(|[read, _]| read as u64);
    for ([read, _], flag) in pairs.iter().zip([0, abi::EPOLLET, abi::EPOLLONESHOT]) {
        watch(&mut fs, epoll, *read, abi::EPOLLIN | flag).unwrap();
    }
    assert!(ready(&mut fs, epoll).is_empty());
    assert_eq!(fs.readiness(epoll), Ok(Events::NONE));
    pairs.iter().for_each(|[_, write]| assert_eq!(fs.write(*write, b"xyz"), Ok(3)));
    assert_eq!(fs.readiness(epoll), Ok(Events::IN));
    assert_eq!(ready(&mut fs, epoll), [level, edge, once]);
    assert_eq!(ready(&mut fs, epoll), [level]);
    // More data is another edge; taking some is none.
    fs.read(pairs[1][0], &mut [0]).unwrap();
    assert_eq!(ready(&mut fs, epoll), [level]);
    pairs.iter().for_each(|[_, write]| assert_eq!(fs.write(*write, b"x"), Ok(1)));
    assert_eq!(ready(&mut fs, epoll).len(), 2);
    let again = EpollEvent { events: abi::EPOLLIN | abi::EPOLLONESHOT, data: 77 };
    fs.epoll_ctl(epoll, abi::EPOLL_CTL_MOD, pairs[2][0], again).unwrap();
    assert!(ready(&mut fs, epoll).contains(&77));
    fs.epoll_ctl(epoll, abi::EPOLL_CTL_DEL, pairs[0][0], again).unwrap();
    assert!(ready(&mut fs, epoll).is_empty());
    fs.close(pairs[1][1]).unwrap();
    assert_eq!(ready(&mut fs, epoll), [edge], "that the writer is gone is an edge");
    fs.close(pairs[1][0]).unwrap();
    assert!(ready(&mut fs, epoll).is_empty(), "what is closed is not watched");
}

#[test]
fn epoll_starves_nobody() {
    let (mut fs, _) = new();
    let epoll = fs.epoll_create1(0).unwrap();
    let fds = [0; 3].map(|_| fs.eventfd2(1, 0).unwrap());
    fds.iter().for_each(|fd| watch(&mut fs, epoll, *fd, abi::EPOLLIN).unwrap());
    let mut seen = [0; 6].map(|_| {
        let mut event = [EpollEvent::default()];
        assert_eq!(fs.epoll_wait(epoll, &mut event), Ok(1));
        event[0].data
    });
    seen.sort_unstable();
    assert_eq!(seen, [fds[0], fds[0], fds[1], fds[1], fds[2], fds[2]].map(|fd| fd as u64));
}

#[test]
fn epoll_refuses_what_it_cannot_watch() {
    let (mut fs, _) = new();
    let (epoll, other) = (fs.epoll_create1(0).unwrap(), fs.epoll_create1(abi::EPOLL_CLOEXEC).unwrap());
    let held = fs.held();
    let file = fs.openat(abi::AT_FDCWD, b"/in/data/numbers", 0, 0).unwrap();
    assert_eq!(watch(&mut fs, epoll, file, abi::EPOLLIN), Err(Errno::EPERM));
    assert_eq!(watch(&mut fs, epoll, epoll, abi::EPOLLIN), Err(Errno::EINVAL));
    assert_eq!(watch(&mut fs, epoll, other, abi::EPOLLIN), Err(Errno::ELOOP));
    assert_eq!(watch(&mut fs, epoll, 99, abi::EPOLLIN), Err(Errno::EBADF));
    assert_eq!(watch(&mut fs, 0, 1, abi::EPOLLIN), Err(Errno::EINVAL));
    watch(&mut fs, epoll, 0, abi::EPOLLIN).unwrap();
    assert_eq!(watch(&mut fs, epoll, 0, abi::EPOLLIN), Err(Errno::EEXIST));
    let event = EpollEvent::default();
    assert_eq!(fs.epoll_ctl(epoll, abi::EPOLL_CTL_MOD, 1, event), Err(Errno::ENOENT));
    assert_eq!(fs.epoll_ctl(epoll, abi::EPOLL_CTL_DEL, 1, event), Err(Errno::ENOENT));
    assert_eq!(fs.epoll_ctl(epoll, 9, 1, event), Err(Errno::EINVAL));
    assert_eq!(fs.epoll_wait(epoll, &mut []), Err(Errno::EINVAL));
    fs.epoll_ctl(epoll, abi::EPOLL_CTL_DEL, 0, event).unwrap();
    assert_eq!(fs.held(), held);
}

#[test]
fn no_argument_panics() {
    const OFFSETS: [i64; 7] = [i64::MIN, -1, 0, 1, 65_535, i64::MAX - 1, i64::MAX];
    let (mut fs, _) = new();
    let paths = ["/", "/proc/self/fd", "/proc/cpuinfo", "/dev/zero", "/in/data/numbers"];
    let _ = paths.map(|path| fs.openat(abi::AT_FDCWD, path.as_bytes(), 0, 0).unwrap());
    let _ =
        ["/tmp/a", "/dev/null"].map(|path| fs.openat(abi::AT_FDCWD, path.as_bytes(), abi::O_CREAT | abi::O_RDWR, 0));
    let _ = (fs.pipe2(0), fs.eventfd2(1, 0), fs.timerfd_create(0, 0), fs.epoll_create1(0), fs.socketpair(1, 2, 0));
    let _ = fs.openat(abi::AT_FDCWD, b"/tmp", abi::O_PATH, 0);
    for fd in (-1..25).chain([i32::MIN, i32::MAX]) {
        for offset in OFFSETS {
            let _ = (fs.pread(fd, &mut [0; 9], offset), fs.pwrite(fd, &[0; 9], offset));
            for number in 0..6 {
                let _ = fs.lseek(fd, offset, number);
                let _ = (fs.read(fd, &mut [0; 9]), fs.getdents64(fd, &mut [0; 30]));
                let _ = fs.fallocate(fd, number, offset, offset);
            }
            let _ = (fs.sendfile(fd, 7, Some(offset), 100), fs.sendfile(1, fd, Some(offset), usize::MAX));
            let _ = (
                fs.readv(fd, &mut vec![&mut [0; 3][..], &mut [0; 3]], Some(offset)),
                fs.writev(fd, &[&[0; 5000]], Some(offset)),
            );
            let _ = (fs.ftruncate(fd, offset), fs.fcntl(fd, 1031, offset.cast_unsigned()));
            let spec = TimerSpec { value_ns: offset.cast_unsigned(), interval_ns: offset.cast_unsigned() };
            let _ = (fs.timerfd_settime(fd, 0, spec), fs.timerfd_settime(fd, 1, spec), fs.next_deadline());
        }
        let _ = (fs.fstat(fd), fs.fstatfs(fd), fs.readlinkat(fd, b""), fs.fchmod(fd, u32::MAX), fs.readiness(fd));
        let _ = fs.readlinkat(abi::AT_FDCWD, format!("/proc/self/fd/{fd}").as_bytes());
    }
}
