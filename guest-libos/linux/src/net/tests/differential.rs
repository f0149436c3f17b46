//! The same calls on sockets here and on the host's: every answer, every error, what poll and epoll tell.
//!
//! Left out, since Linux's answers there follow from its buffers and not from its manual: when a buffer is full, and edges of
//! the room of streams.
use super::{Op, Place, SLOTS, host::Host, ours::Ours};
use crate::errno::Errno;
use linux_raw_sys::general as abi;
use proptest::{collection::vec, prelude::*, sample::select, test_runner::RngSeed};
use rustix::net::{AddressFamily, SocketType};

const UNIX: &[Place] = &[Place::Name(0), Place::Name(1), Place::Path(0), Place::Path(1)];
const V4: &[Place] = &[Place::Port(0), Place::Port(1)];
const V6: &[Place] = &[Place::V6(0), Place::V6(1)];
/// IPv4 over sockets of IPv6. A socket that has used it is not asked to go elsewhere.
const MAPPED: &[Place] = &[Place::Mapped(0), Place::Mapped(1)];

/// Calls on sockets of a family and a type, which know each other.
fn operation(family: AddressFamily, kind: SocketType, places: &[Place]) -> impl Strategy<Value = Op> + use<> {
    let slot = || 0..SLOTS;
    let place = || select(places.to_vec());
    let size = || prop_oneof![10 => 1..40_usize, 1 => Just(3000)];
    let pair = move |(a, b)| {
        if family == AddressFamily::UNIX && a != b { Op::Pair(a, b, kind) } else { Op::Socket(a, family, kind) }
    };
    let both = abi::EPOLLIN | abi::EPOLLOUT | abi::EPOLLRDHUP;
    let room = if kind == SocketType::STREAM { 0 } else { abi::EPOLLOUT };
    let events = select(vec![abi::EPOLLIN, both, abi::EPOLLIN | abi::EPOLLRDHUP | room | abi::EPOLLET]);
    prop_oneof![
        4 => slot().prop_map(move |slot| Op::Socket(slot, family, kind)),
        2 => (slot(), slot()).prop_map(pair),
        4 => (slot(), place()).prop_map(|(slot, place)| Op::Bind(slot, place)),
        3 => (slot(), 1..4).prop_map(|(slot, backlog)| Op::Listen(slot, backlog)),
        6 => (slot(), place()).prop_map(|(slot, place)| Op::Connect(slot, place)),
        4 => (slot(), slot()).prop_map(|(from, to)| Op::Accept(from, to)),
        10 => (slot(), size()).prop_map(|(slot, count)| Op::Send(slot, count)),
        4 => (slot(), place(), size()).prop_map(|(slot, place, count)| Op::SendTo(slot, place, count)),
        10 => (slot(), size(), prop::bool::weighted(0.2)).prop_map(|(slot, count, peek)| Op::Receive(slot, count, peek)),
        3 => (slot(), 0..3_u32).prop_map(|(slot, how)| Op::Shutdown(slot, how)),
        3 => slot().prop_map(Op::Close),
        6 => slot().prop_map(Op::Poll),
        2 => slot().prop_map(Op::Error),
        2 => (slot(), any::<bool>()).prop_map(|(slot, remote)| Op::Name(slot, remote)),
        2 => slot().prop_map(Op::Waiting),
        3 => (slot(), events).prop_map(|(slot, events)| Op::Watch(slot, events)),
        5 => Just(Op::Wait),
    ]
}

/// Three sockets that can talk: from there on anything may happen.
fn start(family: AddressFamily, kind: SocketType, places: &[Place]) -> Vec<Op> {
    let [first, second, ..] = *places else { return Vec::new() };
    let mut start = vec![Op::Socket(0, family, kind), Op::Bind(0, first), Op::Socket(1, family, kind)];
    if kind == SocketType::DGRAM {
        start.extend([Op::Bind(1, second), Op::Connect(1, first), Op::Send(1, 5)]);
    } else {
        start.extend([Op::Listen(0, 3), Op::Connect(1, first), Op::Accept(0, 2), Op::Poll(1)]);
    }
    start
}

fn operations(kind: SocketType, places: &'static [Place]) -> impl Strategy<Value = Vec<Op>> {
    let family = match places[0] {
        Place::Name(_) | Place::Path(_) => AddressFamily::UNIX,
        Place::Port(_) => AddressFamily::INET,
        Place::Mapped(_) | Place::V6(_) => AddressFamily::INET6,
    };
    (any::<bool>(), vec(operation(family, kind, places), 1..40)).prop_map(move |(starts, rest)| {
        let mut all = if starts { start(family, kind, places) } else { Vec::new() };
        all.extend(rest);
        all
    })
}

fn agrees(operations: &[Op]) -> Result<(), TestCaseError> {
    let mut host = Host::new();
    let mut ours = Ours::new(host.ip(), host.v6_port(0));
    // Left out: what becomes of a TCP socket that is used again after its connection, or was shut before it had one. Linux
    // gives up parts of its state then, in an order of its own.
    let (mut connected, mut shut) = ([false; SLOTS], [false; SLOTS]);
    for (number, operation) in operations.iter().enumerate() {
        match *operation {
            Op::Bind(slot, Place::Port(_) | Place::Mapped(_) | Place::V6(_)) if connected[slot] || shut[slot] => {
                continue;
            }
            Op::Connect(slot, Place::Port(_) | Place::Mapped(_) | Place::V6(_)) if shut[slot] => continue,
            Op::Socket(slot, ..) | Op::Close(slot) => (connected[slot], shut[slot]) = (false, false),
            Op::Connect(slot, _) => connected[slot] = true,
            Op::Accept(_, slot) => (connected[slot], shut[slot]) = (true, false),
            Op::Shutdown(slot, _) => shut[slot] = true,
            _ => {}
        }
        let expected = host.run(*operation, number).map_err(|error| Errno(error.raw_os_error()));
        let found = ours.run(*operation, number);
        prop_assert_eq!(expected, found, "operation {}: {:?} of {:?}", number, operation, operations);
    }
    prop_assert!(ours.gives_all_back());
    Ok(())
}

proptest! {
    // The same calls each time, since hosts differ in corners that few random ones reach. With `RngSeed::Random`, and more
    // cases, they are others.
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 128,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn unix_streams(operations in operations(SocketType::STREAM, UNIX)) {
        agrees(&operations)?;
    }

    #[test]
    fn unix_datagrams(operations in operations(SocketType::DGRAM, UNIX)) {
        agrees(&operations)?;
    }

    #[test]
    fn unix_packets(operations in operations(SocketType::SEQPACKET, UNIX)) {
        agrees(&operations)?;
    }

    #[test]
    fn tcp(operations in operations(SocketType::STREAM, V4)) {
        agrees(&operations)?;
    }

    #[test]
    fn udp(operations in operations(SocketType::DGRAM, V4)) {
        agrees(&operations)?;
    }

    #[test]
    fn tcp_over_ipv6(operations in operations(SocketType::STREAM, V6)) {
        agrees(&operations)?;
    }

    #[test]
    fn udp_over_ipv6(operations in operations(SocketType::DGRAM, V6)) {
        agrees(&operations)?;
    }

    #[test]
    fn tcp_over_ipv4_in_ipv6(operations in operations(SocketType::STREAM, MAPPED)) {
        agrees(&operations)?;
    }

    #[test]
    fn udp_over_ipv4_in_ipv6(operations in operations(SocketType::DGRAM, MAPPED)) {
        agrees(&operations)?;
    }
}
