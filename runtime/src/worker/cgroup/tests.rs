use super::{
    groups::{NODE, orphans},
    *,
};
use crate::node::policy::{NodeShare, Unsigned};
use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const HYBRID: &str = "30 24 0:26 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
                      42 32 0:39 / /sys/fs/cgroup/unified rw,relatime shared:5 - cgroup2 cgroup2 rw\n";
const PURE: &str = "35 25 0:30 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

#[test]
fn the_group_of_a_process_is_found() {
    let path = |cgroup, mounts| directory(cgroup, mounts).map(|path| path.display().to_string());
    assert_eq!(path("4:memory:/m\n0::/a/b.service\n", HYBRID).as_deref(), Some("/sys/fs/cgroup/unified/a/b.service"));
    assert_eq!(path("0::/\n", PURE).as_deref(), Some("/sys/fs/cgroup"));
    assert_eq!(path("4:memory:/m\n", PURE), None);
    assert_eq!(path("0::/a\n", "30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"), None);
    // Only a part is mounted: the process's own, or another.
    let part = "35 25 0:30 /docker/7 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
    assert_eq!(path("0::/docker/7/x\n", part).as_deref(), Some("/sys/fs/cgroup/x"));
    assert_eq!(path("0::/docker/8\n", part), None);
    assert_eq!(path("0::\nrubbish", "rubbish - cgroup2\n"), None);
}

#[test]
fn clients_are_told_no_paths() {
    let directory = PathBuf::from("/sys/fs/cgroup/a");
    let source = || io::Error::from_raw_os_error(16);
    for (error, word) in [
        (GroupError::Absent, "version 2"),
        (GroupError::Controllers { directory: directory.clone(), missing: vec!["cpu", "pids"] }, "cpu, pids"),
        (GroupError::File { path: directory.join("cgroup.procs"), source: source() }, "cgroup.procs: "),
    ] {
        let told = error.brief();
        assert!(told.contains(word) && !told.contains('/'), "{told}");
    }
}

#[test]
fn bounds_hold_what_the_policy_gives_and_the_worker_needs() {
    let node = NodeShare { memory: 4 << 30, worker_vms: 100, cpus: 3, ..NodeShare::default() };
    let unsigned = Unsigned { memory: 1 << 30, ..Unsigned::default() };
    let mut policy = Policy { node, unsigned, ..Policy::default() };
    let (memory_bytes, threads) = ((7 << 30) + (256 << 20), 200 + 16 + 256);
    let expected = Bounds { memory_bytes, threads, cpus: 4, file_bytes: file_bytes_max(1 << 30) };
    assert_eq!(Bounds::of(&policy, 4), expected);
    assert!((1 << 30..2 << 30).contains(&expected.file_bytes));
    // One slot, so five workers have a part each.
    policy.node = NodeShare { slots: 1, swap: 50 << 30, ..policy.node };
    assert_eq!(Bounds::of(&policy, 4).file_bytes, 10 << 30);
    assert_eq!(expected.files()[2], ("pids.max", "472".to_owned()));
    assert_eq!(expected.files()[3], ("cpu.max", "400000 100000".to_owned()));
    policy.node.memory = u64::MAX;
    assert_eq!(Bounds::of(&policy, 4096).memory_bytes, u64::MAX);
}

/// A directory of control groups that this test may use; none on hosts without, or where it may not.
fn place(name: &str) -> Option<PathBuf> {
    let found = directory(&read(Path::new("/proc/self/cgroup")).ok()?, &read(Path::new("/proc/self/mountinfo")).ok()?);
    let place = found?.join(format!("denali-test-{name}-{}", std::process::id()));
    match fs::create_dir(&place) {
        Ok(()) => Some(place),
        Err(error) => {
            println!("not tried: {}: {error}", place.display());
            None
        }
    }
}

fn groups(parent: &Path) -> &'static Groups {
    Box::leak(Box::new(Groups::below(parent)))
}

/// A process that is in a group when this returns.
fn sleeper(group: &Path) -> Child {
    let procs = group.join("cgroup.procs");
    let script = format!("echo 0 > '{}' && exec sleep 1000", procs.display());
    let child = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).spawn().unwrap();
    eventually(|| fs::read_to_string(&procs).unwrap().lines().any(|line| line == child.id().to_string()));
    child
}

fn eventually(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_group_takes_its_processes_along() {
    let Some(place) = place("along") else { return };
    let groups = groups(&place);
    let group = groups.make(&[]).unwrap();
    let directory = group.directory().to_owned();
    let mut child = sleeper(&directory);
    let kernel_kills = directory.join("cgroup.kill").exists();
    drop(group);
    if !kernel_kills {
        child.kill().unwrap();
    }
    assert!(!child.wait().unwrap().success());
    eventually(|| {
        drop(groups.make(&[]).unwrap());
        !directory.exists()
    });
    eventually(|| {
        drop(groups.make(&[]).unwrap());
        groups.left().is_empty()
    });
    fs::remove_dir(place).unwrap();
}

/// With whatever controllers there are here: none on many hosts.
#[test]
fn a_process_divides_its_group_or_stays_where_it_was() {
    let Some(place) = place("divide") else { return };
    let before = place.parent().unwrap();
    let is_in = |directory: &Path| {
        let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap();
        processes.lines().any(|line| line == std::process::id().to_string())
    };
    enter(&place).unwrap();
    // Whoever else is in the group keeps it from being divided. No host has such a controller either.
    assert!(matches!(Groups::divide(&place, &["nonsense"]), Err(GroupError::File { .. })));
    assert!(is_in(&place) && !place.join(NODE).exists());

    let controllers = fs::read_to_string(place.join("cgroup.controllers")).unwrap();
    let controllers: Vec<_> = controllers.split_ascii_whitespace().collect();
    println!("with {controllers:?}");
    let groups: &'static Groups = Box::leak(Box::new(Groups::divide(&place, &controllers).unwrap()));
    assert!(is_in(&place.join(NODE)) && !is_in(&place));
    let group = groups.make(&[]).unwrap();
    let mut child = sleeper(group.directory());
    for controller in controllers.iter().filter(|controller| **controller == "hugetlb") {
        assert!(group.directory().join(format!("{controller}.2MB.max")).exists());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    drop(group);
    enter(before).unwrap();
    for directory in groups.left().iter().chain([&place.join(NODE), &place]) {
        eventually(|| fs::remove_dir(directory).is_ok());
    }
}

#[test]
fn a_bound_that_can_not_be_set_leaves_no_group() {
    let Some(place) = place("bound") else { return };
    let error = groups(&place).make(&[("no.such.file", "1".to_owned())]).unwrap_err();
    assert!(matches!(&error, GroupError::File { path, .. } if path.ends_with("no.such.file")), "{error}");
    // Nothing but files of the kernel's own.
    fs::remove_dir(place).unwrap();
}

#[test]
fn groups_of_nodes_that_are_gone_are_found() {
    let place = tempfile::tempdir().unwrap();
    // No process has the number 0; whoever started this one lives; and the last one of this very number does not.
    let of = |process: u32| format!("denali-worker-{process}-1");
    let (gone, own, lives) = (of(0), of(std::process::id()), of(std::os::unix::process::parent_id()));
    for name in [&gone, &own, &lives, "denali-worker-x", NODE] {
        fs::create_dir(place.path().join(name)).unwrap();
    }
    let mut found = orphans(place.path());
    found.sort();
    let mut expected = [gone, own].map(|name| place.path().join(name));
    expected.sort();
    assert_eq!(found, expected);
}
