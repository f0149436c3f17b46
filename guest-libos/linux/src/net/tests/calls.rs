//! What the host is not asked for: waiting, what comes along with bytes, options, and where nothing leads.
use super::{DATAGRAM, NONBLOCK, PACKETS, STREAM, inet, inet6, new, pair, receive, unix, v4};
use crate::{
    errno::Errno,
    fs::{Events, Fs, Send, Stop, Wait},
    net::{Credentials, Told},
};
use linux_raw_sys::{general as abi, net as raw};
use std::net::Ipv6Addr;

const AGAIN: Stop = Stop::Error(Errno::EAGAIN);

fn blocked<T: std::fmt::Debug>(result: Result<T, Stop>) -> (usize, Wait) {
    match result {
        Err(Stop::Blocked { done, wait }) => (done, wait),
        other => panic!("{other:?}"),
    }
}

fn socket(fs: &mut Fs, domain: u32, kind: u32) -> i32 {
    fs.socket(domain, kind, 0).unwrap()
}

/// A TCP socket that listens at a port.
fn server(fs: &mut Fs, port: u16, backlog: u32) -> i32 {
    let server = socket(fs, raw::AF_INET, STREAM);
    fs.bind(server, &v4(port)).unwrap();
    fs.listen(server, backlog).unwrap();
    server
}

fn send(fs: &mut Fs, fd: i32, bytes: &[u8], rights: &[i32]) -> Result<usize, Stop> {
    fs.send(fd, &[bytes], &Send { rights, ..Send::default() })
}

#[test]
fn a_reader_waits_for_bytes_and_a_writer_for_room() {
    let (mut fs, _) = new();
    let [one, other] = pair(&mut fs, STREAM);
    let (_, reader) = blocked(fs.read(other, &mut [0; 4]));
    assert!(!fs.is_ready(reader));
    let (done, writer) = blocked(fs.write(one, &[7; 400_000]));
    assert!((150_000..=208 << 10).contains(&done) && fs.is_ready(reader) && !fs.is_ready(writer), "{done}");
    let before = fs.generation();
    assert_eq!(fs.write(one, b""), Ok(0));
    let mut all = vec![0; 400_000];
    assert_eq!(fs.read(other, &mut all), Ok(done));
    assert!(fs.generation() != before && fs.is_ready(writer));
    // Whoever wants all of it gets it in pieces.
    send(&mut fs, one, b"abc", &[]).unwrap();
    let mut buffer = [0; 5];
    let mut into = vec![&mut buffer[..]];
    let (done, _) = blocked(fs.receive(other, &mut into, raw::MSG_WAITALL, 0).map(|told| told.count));
    send(&mut fs, one, b"defg", &[]).unwrap();
    assert_eq!((done, fs.receive(other, &mut into, raw::MSG_WAITALL, done).map(|told| told.count)), (3, Ok(2)));
    assert_eq!(&buffer, b"abcde");
}

#[test]
fn descriptors_come_along() {
    let (mut fs, _) = new();
    let held = fs.held();
    let [one, other] = pair(&mut fs, STREAM);
    let file = fs.openat(abi::AT_FDCWD, b"/in/data/numbers", 0, 0).unwrap();
    send(&mut fs, one, b"plain", &[]).unwrap();
    send(&mut fs, one, b"with", &[file, one]).unwrap();
    send(&mut fs, one, b"after", &[]).unwrap();
    fs.close(file).unwrap();
    let mut buffer = [0; 100];
    // Looked at, they come twice.
    let told = fs.receive(other, &mut vec![&mut buffer[..]], raw::MSG_PEEK, 0).unwrap();
    let looked = fs.install_rights(told.rights, 1, 0);
    let told = fs.receive(other, &mut vec![&mut buffer[..]], 0, 0).unwrap();
    assert_eq!((told.count, &buffer[..9]), (9, &b"plainwith"[..]), "a read ends behind them");
    let brought = fs.install_rights(told.rights, 8, raw::MSG_CMSG_CLOEXEC);
    assert_eq!((looked.len(), brought.len()), (1, 2));
    assert_eq!(fs.fcntl(brought[0], abi::F_GETFD, 0), Ok(1));
    assert_eq!((fs.read(looked[0], &mut buffer[..4]), fs.read(brought[0], &mut buffer[4..8])), (Ok(4), Ok(4)));
    assert_eq!(&buffer[..8], b"01234567", "they share the offset");
    assert_eq!(fs.write(brought[1], b"!"), Ok(1));
    assert_eq!(receive(&mut fs, other, 100, 0), Ok(b"after!".to_vec()));
    // What nobody receives is closed with the socket that it was sent to.
    let [read, write] = fs.pipe2(abi::O_NONBLOCK).unwrap();
    send(&mut fs, one, b"x", &[write]).unwrap();
    fs.close(write).unwrap();
    assert_eq!(fs.read(read, &mut buffer), Err(AGAIN));
    fs.close(other).unwrap();
    assert_eq!(fs.read(read, &mut buffer), Ok(0));
    assert_eq!(send(&mut fs, one, b"x", &[99]), Err(Errno::EBADF.into()));
    fs.close_range(3, u32::MAX, 0).unwrap();
    assert_eq!(fs.held(), held);
}

#[test]
fn whoever_wants_to_know_is_told_who_sent() {
    let (mut fs, _) = new();
    let [one, other] = pair(&mut fs, DATAGRAM);
    let own = Credentials { pid: 7, uid: 0, gid: 0 };
    let told = |fs: &mut Fs| fs.receive(other, &mut vec![&mut [0; 4][..]], 0, 0).unwrap().credentials;
    fs.write(one, b"x").unwrap();
    assert_eq!(told(&mut fs), None);
    fs.set_socket_option(other, raw::SOL_SOCKET, raw::SO_PASSCRED, 1).unwrap();
    fs.write(one, b"x").unwrap();
    assert_eq!(told(&mut fs), Some(own));
    let peer = fs.socket_option(one, raw::SOL_SOCKET, raw::SO_PEERCRED).unwrap();
    assert_eq!(peer, Told::Bytes([7, 0, 0].map(u32::to_ne_bytes).concat()));
}

#[test]
fn whoever_finds_no_room_at_a_server_waits_until_one_is_accepted() {
    let (mut fs, _) = new();
    let server = server(&mut fs, 80, 0);
    let [first, second, third] = [0; 3].map(|_| socket(&mut fs, raw::AF_INET, STREAM));
    assert_eq!(fs.connect(first, &v4(80)), Ok(()));
    let (_, wait) = blocked(fs.connect(second, &v4(80)));
    fs.fcntl(third, abi::F_SETFL, abi::O_NONBLOCK.into()).unwrap();
    assert_eq!(fs.connect(third, &v4(80)), Err(Errno::EINPROGRESS.into()));
    assert_eq!(fs.connect(third, &v4(80)), Err(Errno::EALREADY.into()));
    assert_eq!((fs.is_ready(wait), fs.readiness(third), fs.write(third, b"x")), (false, Ok(Events::NONE), Err(AGAIN)));
    fs.accept(server, 0).unwrap();
    assert_eq!((fs.is_ready(wait), fs.connect(second, &v4(80))), (true, Ok(())));
    fs.close(server).unwrap();
    let error = fs.socket_option(third, raw::SOL_SOCKET, raw::SO_ERROR).unwrap();
    assert_eq!(error, Told::Number(Errno::ECONNREFUSED.number()));
    // Unix sockets wait too, and are asked again.
    let (listener, client, late) =
        (socket(&mut fs, 1, PACKETS), socket(&mut fs, 1, PACKETS), socket(&mut fs, 1, PACKETS));
    fs.bind(listener, &unix(b"\0here")).unwrap();
    fs.listen(listener, 0).unwrap();
    assert_eq!(fs.connect(client, &unix(b"\0here")), Ok(()));
    blocked(fs.connect(late, &unix(b"\0here")));
    fs.accept(listener, 0).unwrap();
    assert_eq!(fs.connect(late, &unix(b"\0here")), Ok(()));
}

#[test]
fn nothing_outside_is_reached() {
    let (mut fs, _) = new();
    let unreachable = Err(Stop::Error(Errno::ENETUNREACH));
    let far = inet([10, 1, 2, 3], 80);
    let (tcp, udp) = (socket(&mut fs, raw::AF_INET, STREAM), socket(&mut fs, raw::AF_INET, DATAGRAM));
    assert_eq!((fs.connect(tcp, &far), fs.connect(udp, &far)), (unreachable, unreachable));
    assert_eq!(fs.send(udp, &[b"x"], &Send { to: Some(&far), ..Send::default() }), Err(Errno::ENETUNREACH.into()));
    let v6 = socket(&mut fs, raw::AF_INET6, STREAM);
    assert_eq!(fs.connect(v6, &inet6("2001:db8::1".parse().unwrap(), 443)), unreachable);
    let told = fs.unreachable();
    assert_eq!((told.count, told.last), (4, Some("[2001:db8::1]:443".parse().unwrap())));
    assert_eq!(fs.bind(tcp, &far), Err(Errno::EADDRNOTAVAIL));
    for (domain, kind, error) in [
        (raw::AF_NETLINK, raw::SOCK_RAW, Errno::EAFNOSUPPORT),
        (raw::AF_INET, raw::SOCK_RAW, Errno::EPERM),
        (raw::AF_INET, PACKETS, Errno::ESOCKTNOSUPPORT),
        (raw::AF_INET, 1 << 20, Errno::EINVAL),
    ] {
        assert_eq!(fs.socket(domain, kind, 0), Err(error));
    }
    assert_eq!(fs.socket(raw::AF_INET, STREAM, raw::SOL_UDP), Err(Errno::EPROTONOSUPPORT));
    assert_eq!(fs.socketpair(raw::AF_INET, STREAM, 0), Err(Errno::EOPNOTSUPP));
}

#[test]
fn a_server_of_ipv6_takes_ipv4_unless_told_otherwise() {
    let (mut fs, _) = new();
    let server = socket(&mut fs, raw::AF_INET6, STREAM);
    fs.bind(server, &inet6(Ipv6Addr::UNSPECIFIED, 80)).unwrap();
    fs.listen(server, 5).unwrap();
    let client = socket(&mut fs, raw::AF_INET, STREAM);
    assert_eq!(fs.connect(client, &v4(80)), Ok(()));
    let (_, from) = fs.accept(server, 0).unwrap();
    assert_eq!(from[8..24], std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets());
    let other = socket(&mut fs, raw::AF_INET, STREAM);
    assert_eq!(fs.bind(other, &v4(80)), Err(Errno::EADDRINUSE));
    let only = socket(&mut fs, raw::AF_INET6, STREAM);
    fs.set_socket_option(only, raw::SOL_IPV6, raw::IPV6_V6ONLY, 1).unwrap();
    fs.bind(only, &inet6(Ipv6Addr::UNSPECIFIED, 81)).unwrap();
    fs.listen(only, 5).unwrap();
    assert_eq!((fs.connect(other, &v4(81)), fs.bind(other, &v4(81))), (Err(Errno::ECONNREFUSED.into()), Ok(())));
}

#[test]
fn a_socket_is_a_file_and_its_path_another() {
    let (mut fs, _) = new();
    let server = socket(&mut fs, raw::AF_UNIX, STREAM);
    let path = unix(b"/tmp/socket\0and what is behind");
    fs.bind(server, &path).unwrap();
    assert_eq!(fs.fstat(server).unwrap().mode, abi::S_IFSOCK | 0o777);
    assert_eq!(fs.fstatat(abi::AT_FDCWD, b"/tmp/socket", 0).unwrap().mode, abi::S_IFSOCK | 0o755);
    assert_eq!(fs.openat(abi::AT_FDCWD, b"/tmp/socket", 0, 0), Err(Errno::ENXIO));
    assert_eq!(fs.socket_name(server, false), Ok(unix(b"/tmp/socket\0")));
    fs.listen(server, 1).unwrap();
    fs.close(server).unwrap();
    let client = socket(&mut fs, raw::AF_UNIX, STREAM);
    assert_eq!(fs.connect(client, &path), Err(Errno::ECONNREFUSED.into()));
    assert_eq!(fs.bind(client, &path), Err(Errno::EADDRINUSE));
    fs.unlinkat(abi::AT_FDCWD, b"/tmp/socket", 0).unwrap();
    assert_eq!((fs.connect(client, &path), fs.bind(client, &path)), (Err(Errno::ENOENT.into()), Ok(())));
    assert!(fs.describe(client).unwrap().starts_with(b"socket:["));
    assert_eq!((fs.lseek(client, 0, 0), fs.listen(0, 1)), (Err(Errno::ESPIPE), Err(Errno::ENOTSOCK)));
    // A socket without a name is given one.
    let nameless = socket(&mut fs, raw::AF_UNIX, DATAGRAM);
    fs.bind(nameless, &unix(b"")).unwrap();
    assert_eq!(fs.socket_name(nameless, false).unwrap().len(), 8);
}

#[test]
fn options_are_kept_and_told_back() {
    let (mut fs, _) = new();
    let tcp = socket(&mut fs, raw::AF_INET, STREAM | NONBLOCK);
    let mut set = |level, name, value| {
        fs.set_socket_option(tcp, level, name, value)?;
        fs.socket_option(tcp, level, name)
    };
    assert_eq!(set(raw::SOL_SOCKET, raw::SO_REUSEADDR, 7), Ok(Told::Number(1)));
    assert_eq!(set(raw::SOL_TCP, raw::TCP_NODELAY, 1), Ok(Told::Number(1)));
    assert_eq!(set(raw::SOL_TCP, raw::TCP_KEEPIDLE, 0), Err(Errno::EINVAL));
    assert_eq!(set(raw::SOL_SOCKET, raw::SO_RCVBUF, 5000), Ok(Told::Number(10_000)));
    assert_eq!(set(raw::SOL_SOCKET, raw::SO_SNDBUF, -1), Ok(Told::Number(2 * (208 << 10))));
    assert_eq!(set(raw::SOL_SOCKET, raw::SO_ATTACH_FILTER, 1), Err(Errno::ENOPROTOOPT));
    assert_eq!(set(raw::SOL_IPV6, raw::IPV6_V6ONLY, 1), Err(Errno::ENOPROTOOPT));
    assert_eq!(fs.socket_option(tcp, raw::SOL_SOCKET, raw::SO_PROTOCOL), Ok(Told::Number(6)));
    let [one, _] = pair(&mut fs, STREAM);
    assert_eq!(fs.set_socket_option(one, raw::SOL_TCP, raw::TCP_NODELAY, 1), Err(Errno::EOPNOTSUPP));
    assert_eq!(fs.socket_option(one, raw::SOL_SOCKET, raw::SO_DOMAIN), Ok(Told::Number(1)));
}

#[test]
fn whoever_sends_much_to_nobody_learns_of_it() {
    let (mut fs, _) = new();
    let server = server(&mut fs, 80, 1);
    let client = socket(&mut fs, raw::AF_INET, STREAM);
    fs.connect(client, &v4(80)).unwrap();
    fs.fcntl(client, abi::F_SETFL, NONBLOCK.into()).unwrap();
    let (accepted, _) = fs.accept(server, 0).unwrap();
    fs.close(accepted).unwrap();
    let much = vec![0; 1 << 20];
    assert_eq!(fs.writev(client, &[&much, &much], None), Ok(208 << 10));
    assert_eq!(fs.writev(client, &[&much, &much], None), Err(Stop::BrokenPipe));
}

#[test]
fn an_end_without_lingering_is_a_reset() {
    let (mut fs, _) = new();
    let server = server(&mut fs, 80, 1);
    let client = socket(&mut fs, raw::AF_INET, STREAM);
    fs.connect(client, &v4(80)).unwrap();
    let (accepted, _) = fs.accept(server, 0).unwrap();
    fs.set_socket_linger(accepted, true, 0).unwrap();
    fs.close(accepted).unwrap();
    assert_eq!((fs.read(client, &mut [0]), fs.read(client, &mut [0])), (Err(Errno::ECONNRESET.into()), Ok(0)));
    assert_eq!(fs.write(client, b"x"), Err(Stop::BrokenPipe));
    let flags = raw::MSG_NOSIGNAL;
    assert_eq!(fs.send(client, &[b"x"], &Send { flags, ..Send::default() }), Err(Errno::EPIPE.into()));
}
