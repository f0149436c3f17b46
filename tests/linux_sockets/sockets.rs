//! Sockets of Rust's standard library, between the threads of one program. The first argument is a directory.
use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv6Addr, Shutdown, TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
    os::{fd::AsRawFd, linux::net::SocketAddrExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// What poll(2) is asked, as `struct pollfd`.
#[repr(C)]
struct Poll {
    fd: i32,
    events: i16,
    found: i16,
}

unsafe extern "C" {
    fn poll(files: *mut Poll, count: u64, ms: i32) -> i32;
}

const READ: i16 = 1;
const WRITE: i16 = 4;

fn ready(socket: &impl AsRawFd, ms: i32) -> i16 {
    let mut file = Poll { fd: socket.as_raw_fd(), events: READ | WRITE, found: 0 };
    // SAFETY: one `struct pollfd`, which is there as long as the call.
    unsafe { poll(&raw mut file, 1, ms) };
    file.found
}

fn main() -> io::Result<()> {
    let directory = env::args().nth(1).expect("a directory");
    streams(TcpListener::bind("127.0.0.1:0")?)?;
    streams(TcpListener::bind((Ipv6Addr::LOCALHOST, 0))?)?;
    much()?;
    datagrams()?;
    unix(Path::new(&directory))?;
    waiting()?;
    let names: Vec<_> = "localhost:80".to_socket_addrs()?.filter(|at| at.is_ipv4()).collect();
    println!("{names:?}");
    Ok(())
}

/// A server that says what it hears in capitals, to four clients at once.
fn streams(listener: TcpListener) -> io::Result<()> {
    let at = listener.local_addr()?;
    let server = thread::spawn(move || {
        let serve = |stream: TcpStream| {
            let mut reader = BufReader::new(stream.try_clone().expect("another"));
            let mut line = String::new();
            while reader.read_line(&mut line).expect("a line") > 0 {
                (&stream).write_all(line.to_uppercase().as_bytes()).expect("it listens");
                line.clear();
            }
        };
        let threads: Vec<_> = listener.incoming().take(4).map(|s| thread::spawn(move || serve(s.expect("one")))).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
    });
    let clients: Vec<_> = (0..4)
        .map(|number| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(at).expect("a server");
                stream.set_nodelay(true).expect("it can be");
                for round in 0..3 {
                    writeln!(stream, "client {number}, round {round}").expect("it listens");
                }
                stream.shutdown(Shutdown::Write).expect("it is connected");
                let mut all = String::new();
                stream.read_to_string(&mut all).expect("text");
                all
            })
        })
        .collect();
    for client in clients {
        print!("{}", client.join().expect("it ends"));
    }
    server.join().expect("it ends");
    println!("{:?}", TcpStream::connect(at).map_err(|error| error.kind()));
    Ok(())
}

/// More than all buffers hold, so that each waits for the other.
fn much() -> io::Result<()> {
    let listener = TcpListener::bind("localhost:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, from) = listener.accept()?;
    println!("{}", from == client.local_addr()? && server.local_addr()? == client.peer_addr()?);
    let writer = thread::spawn(move || {
        for piece in 0..100_u32 {
            client.write_all(&[piece as u8; 50_000]).expect("a reader");
        }
    });
    let (mut sum, mut count, mut buffer) = (0_u64, 0, vec![0; 70_000]);
    loop {
        let read = server.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        count += read;
        sum += buffer[..read].iter().map(|byte| u64::from(*byte)).sum::<u64>();
    }
    writer.join().expect("it ends");
    println!("{count} bytes, sum {sum}");
    println!("{:?}, {:?}", server.write(b"late"), server.write(b"later").map_err(|error| error.kind()));
    Ok(())
}

fn datagrams() -> io::Result<()> {
    let (one, other) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    for number in 0..3 {
        one.send_to(format!("datagram {number}").as_bytes(), other.local_addr()?)?;
    }
    let mut buffer = [0; 8];
    for _ in 0..3 {
        let (count, from) = other.recv_from(&mut buffer)?;
        println!("{:?} {}", String::from_utf8_lossy(&buffer[..count]), from == one.local_addr()?);
    }
    other.connect(one.local_addr()?)?;
    drop(one);
    println!("{:?}, {:?}", other.send(b"x"), other.recv(&mut buffer).map_err(|error| error.kind()));
    Ok(())
}

fn unix(directory: &Path) -> io::Result<()> {
    let path = directory.join("socket");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    let client = thread::spawn({
        let path = path.clone();
        move || {
            let mut stream = UnixStream::connect(path).expect("a server");
            stream.write_all(b"over a path").expect("it listens");
        }
    });
    let (mut stream, from) = listener.accept()?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    client.join().expect("it ends");
    println!("{text}, {}", from.is_unnamed());
    println!("{:?}", UnixListener::bind(&path).map_err(|error| error.kind()));
    std::fs::remove_file(&path)?;
    println!("{:?}", UnixStream::connect(&path).map_err(|error| error.kind()));
    let name = SocketAddr::from_abstract_name(format!("denali-{}", std::process::id()))?;
    let (one, other) = (UnixDatagram::bind_addr(&name)?, UnixDatagram::unbound()?);
    other.send_to_addr(b"over a name", &name)?;
    let mut buffer = [0; 99];
    let count = one.recv(&mut buffer)?;
    println!("{}", String::from_utf8_lossy(&buffer[..count]));
    Ok(())
}

/// Without waiting, with a time, and with poll(2).
fn waiting() -> io::Result<()> {
    let (mut one, mut other) = UnixStream::pair()?;
    println!("{} {}", ready(&one, 0), ready(&other, 0));
    one.set_nonblocking(true)?;
    println!("{:?}", one.read(&mut [0]).map_err(|error| error.kind()));
    while one.write(&[0; 4096]).is_ok() {}
    println!("{}", ready(&one, 0));
    other.write_all(b"x")?;
    println!("{}", ready(&one, 1000));
    drop(one);
    let mut rest = Vec::new();
    println!("{:?}", other.read_to_end(&mut rest).map(|count| count > 100_000).map_err(|error| error.kind()));
    let quiet = UdpSocket::bind("127.0.0.1:0")?;
    quiet.set_read_timeout(Some(Duration::from_millis(30)))?;
    let start = Instant::now();
    let late = quiet.recv(&mut [0]).map_err(|error| error.kind());
    println!("{late:?} {}", start.elapsed() >= Duration::from_millis(30));
    Ok(())
}
