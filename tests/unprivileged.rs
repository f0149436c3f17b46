//! A node of a user that owns nothing but its data and may open `/dev/kvm`, as `docs/systemd/denali-node.service` starts it: its
//! workers' jail is as whole as root's.

use crate::harness::{Denali, Node, Place, children, eventually, number, text};
use rustix::process::geteuid;
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
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

    assert!(is_secret(node.id()));

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

/// Also where root starts it.
#[test]
fn a_node_gives_up_rights() {
    let place = Place::new();
    let node = Node::start(&place, "[node]\njail = \"whole\"\n");
    let status = status_of(node.process()).expect("it lives");
    assert_eq!(field(&status, "NoNewPrivs:"), ["1"]);
    // Of what it was started with, which is what this process has.
    let own = fs::read_to_string("/proc/self/status").expect("this process lives");
    let kept = |set| capabilities(&own, set) & needed();
    for (set, kept) in [("CapInh:", 0), ("CapPrm:", kept("CapPrm:")), ("CapEff:", kept("CapPrm:")), ("CapAmb:", 0)] {
        assert_eq!(capabilities(&status, set), kept, "{set} {status}");
    }
    // Who has no CAP_SETPCAP can't give up what programs could gain, and gains nothing.
    let may_bound = capabilities(&own, "CapEff:") & 1 << 8 != 0;
    let bound = if may_bound { kept("CapBnd:") } else { capabilities(&own, "CapBnd:") };
    assert_eq!(capabilities(&status, "CapBnd:"), bound, "{status}");
    let limits = fs::read_to_string(format!("/proc/{}/limits", node.process())).expect("it lives");
    let cores = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).expect("a line");
    assert_eq!(cores.split_ascii_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"]);
    assert!(is_secret(node.process()));
    let done = node.submit(&place, place.image("hello")).args(["--json", "--", "you"]).succeed();
    assert_eq!(text(&done.line(), "stdout"), "Hello, you!\n", "{done}");
}

/// As `ProtectProc=invisible` in a unit has it.
#[test]
fn a_node_that_sees_no_other_process_knows_what_its_workers_take() {
    if !may_try() {
        return;
    }
    let place = Place::new();
    let hidden = "mount -t proc -o hidepid=2 proc /proc";
    let node = place.denali(["node", "--listen", "127.0.0.1:0", "--data"]).arg(directory(&place, "data"));
    let node = command(&place, hidden, node).start();
    let name = node.hear("\n").lines().next().expect("a line").to_owned();
    let ask = |command| place.denali([command, "--node", &name]);
    ask("submit").arg(place.pack("hostile/spin", ["--cpu-time", "10s"])).args(["--id", "spin"]).succeed();
    eventually("CPU time of a job that runs", || {
        let top = ask("top").args(["--once", "--json"]).succeed().line();
        assert_eq!(number(&top["own"], "jobs_ended"), 0, "{top}");
        (number(&top["own"], "cpu_us") > 100_000).then_some(())
    });
    ask("cancel").arg("spin").succeed();
}

/// The capabilities that a node needs here: CAP_NET_BIND_SERVICE, CAP_SETFCAP, and CAP_SYS_ADMIN where only that makes a namespace
/// of users.
fn needed() -> u64 {
    let setting =
        |name: &str| -> Option<u64> { fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok() };
    let may_all = setting("user/max_user_namespaces") != Some(0)
        && setting("kernel/unprivileged_userns_clone") != Some(0)
        && setting("kernel/apparmor_restrict_unprivileged_userns") != Some(1);
    1 << 10 | 1 << 31 | if may_all { 0 } else { 1 << 21 }
}

/// Whether the kernel keeps others of its user out of a process's memory, which has a key: its files are root's then. Those of a
/// process of root's are in any case.
fn is_secret(process: u32) -> bool {
    fs::metadata(format!("/proc/{process}/environ")).expect("it lives").uid() == 0
}

/// One of the sets of a `/proc/PID/status`.
fn capabilities(status: &str, set: &str) -> u64 {
    u64::from_str_radix(field(status, set)[0], 16).expect("a number")
}

fn status_of(process: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{process}/status")).ok()
}

/// The words of a line of `/proc/PID/status` (proc_pid_status(5)).
fn field<'a>(status: &'a str, name: &str) -> Vec<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).split_ascii_whitespace().collect()
}
