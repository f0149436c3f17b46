//! A node of a user that owns nothing but its data and may open `/dev/kvm`, as `docs/systemd/denali-node.service` starts it: its
//! workers' jail is as whole as root's.

use crate::harness::{Denali, Place, children, eventually, text};
use rustix::process::geteuid;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

/// Numbers that no one has.
const USER: u32 = 64_901;
const GROUP: u32 = 64_902;

/// Puts the device into directory `$1` of a namespace of mounts, and starts binary `$4` with the arguments of `$6` as user `$2` of
/// group `$3`, whose own directory is `$5`. The host's device stays as it is.
const START: &str = "mount -t tmpfs none \"$1\" && mknod \"$1/kvm\" c 10 232 && chown 0:\"$3\" \"$1/kvm\" \
                     && chmod 660 \"$1/kvm\" && mount --bind \"$1/kvm\" /dev/kvm && user=$2 group=$3 binary=$4 \
                     && export DENALI_HOME=\"$5\" && shift 6 && exec setpriv --reuid \"$user\" --regid \"$group\" \
                     --clear-groups --inh-caps=-all --no-new-privs \"$binary\" \"$@\"";

/// A directory of this place that is that user's.
fn directory(place: &Place, name: &str) -> PathBuf {
    let path = place.path(name);
    fs::create_dir(&path).expect("a directory");
    chown(&path, Some(USER), Some(GROUP)).expect("it is given away");
    path
}

/// A command of that user, after `prepare` was done to its mounts.
fn command(place: &Place, prepare: &str, command: Denali) -> Denali {
    let open = |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    open(place.path(""), 0o755);
    let (home, device) = (directory(place, "node-home"), directory(place, "device"));
    // Where tests are built, that user need not be let in.
    let binary = place.path("denali");
    fs::copy(env!("CARGO_BIN_EXE_denali"), &binary).expect("a copy");
    let path = |path: &Path| path.to_str().expect("text").to_owned();
    let script = format!("{prepare} && {START}");
    let words =
        [script, "sh".to_owned(), path(&device), USER.to_string(), GROUP.to_string(), path(&binary), path(&home)];
    command.through("sh", ["-c".to_owned()].iter().chain(&words)).through("unshare", ["--mount", "--"])
}

fn may_try() -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("not tried: only root can become another user");
    }
    root
}

#[test]
fn its_workers_are_in_a_whole_jail() {
    if !may_try() {
        return;
    }
    let place = Place::new();
    let policy = place.write("policy.toml", "[node]\njail = \"whole\"\n");
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let node = place.denali(["node", "--listen", "127.0.0.1:0", "--data"]).arg(directory(&place, "data"));
    let node = command(&place, "true", node.arg("--policy").arg(policy)).start();
    let name = node.hear("\n").lines().next().expect("a line").to_owned();
    let ask = |command| place.denali([command, "--node", &name]);
    let status = ask("status").arg("--json").succeed().line();
    assert_eq!(status["jail_lacks"].as_array().map(Vec::len), Some(0), "{status}");
    assert!(ask("status").succeed().text().contains("jail     whole\n"));
    let done = ask("submit").arg(place.image("hello")).args(["--json", "--", "you"]).succeed();
    assert_eq!(text(&done.line(), "stdout"), "Hello, you!\n", "{done}");

    // The job's worker, and the next one, which may be on its way to jail.
    let jailed = |process: &u32| status_of(*process).is_some_and(|status| field(&status, "Seccomp:") == ["2"]);
    let processes = eventually("workers in jail", || {
        let launchers = children(node.id());
        let workers: Vec<u32> = launchers.iter().flat_map(|launcher| children(*launcher)).collect();
        let all = [launchers, workers].concat();
        (all.len() >= 2 && all.len() % 2 == 0 && all.iter().all(jailed)).then_some(all)
    });
    for process in processes {
        let status = status_of(process).expect("it lives");
        assert_eq!(field(&status, "Uid:"), [USER.to_string().as_str(); 4]);
        assert_eq!(field(&status, "Gid:"), [GROUP.to_string().as_str(); 4]);
        assert!(field(&status, "Groups:").is_empty(), "{status}");
        for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
            assert_eq!(field(&status, set), ["0000000000000000"], "{status}");
        }
        assert_eq!(field(&status, "NoNewPrivs:"), ["1"]);
    }
}

/// As `ProtectProc=invisible` in a unit would have it.
#[test]
fn a_host_that_hides_workers_from_their_node_is_warned_of() {
    if !may_try() {
        return;
    }
    let place = Place::new();
    let doctor = place.denali(["doctor", "--json"]);
    let done = command(&place, "mount -t proc -o hidepid=2 proc /proc", doctor).succeed().line();
    let checks = done["checks"].as_array().expect("a list");
    let jail = checks.iter().find(|finding| finding["check"] == "jail").expect("it looks at the jail");
    assert_eq!(text(jail, "level"), "warn", "{jail}");
    assert!(text(jail, "advice").contains("hidepid"), "{jail}");
    let user = checks.iter().find(|finding| finding["check"] == "user").expect("it looks at the user");
    assert_eq!(text(user, "level"), "ok", "{user}");
}

fn status_of(process: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{process}/status")).ok()
}

/// The words of a line of `/proc/PID/status` (proc_pid_status(5)).
fn field<'a>(status: &'a str, name: &str) -> Vec<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).split_ascii_whitespace().collect()
}
