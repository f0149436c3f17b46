//! Programs for Linux that talk to themselves over sockets: in a VM they say what they say on the host.

use crate::{
    harness::Place,
    linux_files::{directory, in_vm, on_host, rust_program},
};

#[test]
fn threads_talk_over_sockets() {
    let place = Place::new();
    let program = rust_program(&place, include_str!("linux_sockets/sockets.rs"), "sockets");
    let host = on_host(&program, &[&directory(&place)], "");
    let guest = in_vm(place.denali(["run"]).arg(&program).args(["--", "/tmp"]), "");
    assert_eq!(guest, host);
    assert_eq!(host.0, Some(0));
}

#[test]
fn whoever_asks_for_a_network_is_told_that_there_is_none() {
    let place = Place::new();
    let source = "fn main() { println!(\"{}\", std::net::TcpStream::connect(\"10.9.8.7:65\").unwrap_err()) }";
    let program = rust_program(&place, source, "lost");
    let (status, output, errors) = in_vm(place.denali(["run", "--env", "DENALI_REPORT=1"]).arg(&program), "");
    assert_eq!((status, output.as_str()), (Some(0), "Network is unreachable (os error 101)\n"));
    assert!(errors.contains("no network is reached from here") && errors.contains("10.9.8.7:65"), "{errors}");
}
