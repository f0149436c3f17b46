//! What a hostile program can make the library OS hold, and what it may pass.
use super::{DATAGRAM, PACKETS, STREAM, new, pair, unix, v4};
use crate::{
    errno::Errno,
    fs::{Send, Stop, tests::with_memory},
    net::limits::MAX_IN_FLIGHT,
};
use linux_raw_sys::{general as abi, net as raw};

#[test]
fn descriptors_on_their_way_are_bounded() {
    let (mut fs, _) = new();
    let held = fs.held();
    let [one, other] = pair(&mut fs, DATAGRAM);
    let rights = [other; 200];
    let with = Send { rights: &rights, ..Send::default() };
    let sent = (0..).take_while(|_| fs.send(one, &[b"x"], &with).is_ok()).count();
    assert_eq!((sent, fs.send(one, &[b"x"], &with)), (MAX_IN_FLIGHT / 200, Err(Errno::ETOOMANYREFS.into())));
    let told = fs.receive(other, &mut vec![&mut [0; 9][..]], 0, 0).unwrap();
    assert_eq!(fs.install_rights(told.rights, 3, 0).len(), 3);
    assert_eq!(fs.send(one, &[b"x"], &with), Ok(1));
    fs.close_range(3, u32::MAX, 0).unwrap();
    // A socket that lies in its own queue is never closed: what that holds is bounded too.
    assert!(fs.held() - held < 16 << 10, "{}", fs.held() - held);
}

#[test]
fn memory_is_bounded_and_given_back() {
    let (mut fs, _) = with_memory(1 << 20);
    let held = fs.held();
    let mut stops = Vec::new();
    for _ in 0..10 {
        let Ok([one, _]) = fs.socketpair(raw::AF_UNIX, STREAM | super::NONBLOCK, 0) else { break };
        while fs.write(one, &[1; 10_000]).is_ok() {}
        stops.push(fs.write(one, &[1; 10_000]).unwrap_err());
    }
    assert!(stops.contains(&Stop::Error(Errno::EAGAIN)) && stops.contains(&Stop::Error(Errno::ENOBUFS)), "{stops:?}");
    assert!(fs.held() <= 1 << 20);
    fs.close_range(3, u32::MAX, 0).unwrap();
    assert_eq!(fs.held(), held);
}

#[test]
fn a_message_fits_its_buffer_or_is_refused() {
    let (mut fs, _) = new();
    let [one, _] = pair(&mut fs, PACKETS);
    assert_eq!(fs.write(one, &vec![0; 208 << 10]), Err(Errno::EMSGSIZE.into()));
    assert_eq!(fs.write(one, &vec![0; (208 << 10) - 32]), Ok((208 << 10) - 32));
    let udp = fs.socket(raw::AF_INET, DATAGRAM, 0).unwrap();
    let to = v4(9);
    let with = Send { to: Some(&to), ..Send::default() };
    assert_eq!(fs.send(udp, &[&[0; 65_508]], &with), Err(Errno::EMSGSIZE.into()));
    assert_eq!(fs.send(udp, &[&[0; 65_507]], &with), Ok(65_507), "nobody is there, and nobody says so");
    // Who does not receive loses what has no room.
    fs.bind(udp, &v4(9)).unwrap_err();
    let server = fs.socket(raw::AF_INET, DATAGRAM, 0).unwrap();
    fs.bind(server, &to).unwrap();
    let held = fs.held();
    assert!((0..100).all(|_| fs.send(udp, &[&[0; 60_000]], &with) == Ok(60_000)));
    assert!(fs.held() - held < 300 << 10, "{}", fs.held() - held);
}

#[test]
fn connections_are_bounded() {
    let (mut fs, _) = new();
    let held = fs.held();
    let server = fs.socket(raw::AF_INET, STREAM, 0).unwrap();
    fs.bind(server, &v4(80)).unwrap();
    fs.listen(server, u32::MAX).unwrap();
    let mut connected = 0;
    loop {
        let client = fs.socket(raw::AF_INET, STREAM, 0).unwrap();
        if fs.connect(client, &v4(80)).is_err() {
            break;
        }
        fs.close(client).unwrap();
        connected += 1;
    }
    assert!((4000..4096).contains(&connected), "{connected}");
    fs.close_range(3, u32::MAX, 0).unwrap();
    assert_eq!(fs.held(), held);
}

#[test]
fn no_argument_panics() {
    let (mut fs, _) = new();
    let names: Vec<Vec<u8>> = (0..130)
        .flat_map(|length| {
            [0_u16, 1, 2, 10, 77].map(|family| {
                let mut bytes = family.to_ne_bytes().to_vec();
                bytes.resize(length, 0x41);
                bytes
            })
        })
        .chain([unix(b"\0"), unix(b"/"), unix(b"/tmp/"), unix(b"/proc/self/fd/0"), v4(0)])
        .collect();
    for domain in [1, 2, 10] {
        for kind in [STREAM, DATAGRAM, PACKETS] {
            let Ok(fd) = fs.socket(domain, kind | super::NONBLOCK, 0) else { continue };
            for name in &names {
                let _ = (fs.connect(fd, name), fs.bind(fd, name));
                let _ = fs.send(fd, &[b"x"], &Send { to: Some(name), flags: !raw::MSG_OOB, ..Send::default() });
                let _ = (fs.accept(fd, 0), fs.listen(fd, u32::MAX), fs.shutdown(fd, u32::MAX));
            }
            for level in [0, 1, 6, 17, 41, u32::MAX] {
                for option in (0..100).chain([u32::MAX]) {
                    for value in [i32::MIN, -1, 0, i32::MAX] {
                        let _ = (fs.set_socket_option(fd, level, option, value), fs.socket_option(fd, level, option));
                    }
                }
            }
            for flags in (0..20).map(|bit| 1 << bit).chain([u32::MAX]) {
                let _ = fs.receive(fd, &mut vec![&mut [0; 3][..], &mut []], flags, usize::MAX);
                let _ = fs.send(fd, &[&[], b"xy"], &Send { flags, ..Send::default() });
            }
            let _ = (fs.pread(fd, &mut [0], 0), fs.openat(fd, b"x", 0, 0), fs.fcntl(fd, abi::F_GETPIPE_SZ, 0));
            let _ = (fs.readiness(fd), fs.socket_name(fd, true), fs.fsync(fd), fs.ftruncate(fd, 0));
        }
    }
}
