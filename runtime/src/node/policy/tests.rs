//! What a policy file may say, and how a wrong one is refused.

use super::*;
use denali_protocol::bundle::CpuModel;

const KEY: &str = "0101010101010101010101010101010101010101010101010101010101010101";

fn parse(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(text, Path::new("policy.toml"))
}

fn manifest(memory_bytes: u64) -> Manifest {
    Manifest {
        name: "x".to_owned(),
        cpu: CpuModel::V2,
        memory_bytes,
        cpu_time_us: 1_000_000,
        wall_time_us: 1_000_000,
        program_bytes: 1,
        files: Vec::new(),
    }
}

#[test]
fn nothing_said_is_the_default() {
    assert_eq!(parse("").unwrap(), Policy::default());
    assert_eq!(parse("[unsigned]").unwrap(), Policy::default());
}

#[test]
fn every_key_is_read() {
    let policy = parse(&format!(
        "[node]\nslots = 3\nworkers = 9\nworker_vms = 2\ncpus = 1\nmemory = \"1GiB\"\nswap = \"2GiB\"\n\
         swap_directory = \"/swap\"\nqueue_jobs = 7\nstore = \"1GiB\"\nresults_expire = \"1h\"\n\
         [clients]\nallow = [\"{KEY}\"]\noperators = [\"{KEY}\"]\nqueue_jobs = 5\n\
         [unsigned]\nallow = false\nmemory = 8388608\ncpu_time = \"1s\"\nwall_time = \"2s\"\noutput = \"1KiB\"\nvms = 1\nqueue_jobs = 4\n\
         [[signer]]\nkey = \"{KEY}\"\nname = \"n\"\nmemory = \"2GiB\"\ncpu_time = \"1h\"\nwall_time = \"2h\"\n\
         output = \"1GiB\"\nvms = 2\n"
    ))
    .unwrap();
    assert_eq!((policy.node.slots, policy.node.store, policy.unsigned.memory), (3, 1 << 30, 8 << 20));
    assert_eq!((policy.node.cpus, policy.node.memory, policy.node.swap), (1, 1 << 30, 2 << 30));
    assert_eq!(policy.node.swap_directory.as_deref(), Some(Path::new("/swap")));
    // Two for three slots, and four for others.
    assert_eq!(policy.node.swap_workers(), 6);
    assert!(policy.is_operator(PublicKey([1; 32])) && !policy.is_operator(PublicKey([2; 32])));
    assert_eq!(policy.unsigned_grant(), None);
    assert!(policy.admit(PublicKey([1; 32])).is_ok());
    assert!(policy.admit(PublicKey([2; 32])).unwrap_err().message.contains(&PublicKey([2; 32]).to_string()));
    assert_eq!(policy.grants(&[PublicKey([1; 32])]).unwrap()[0].vms, 2);
}

#[test]
fn a_stranger_has_neither_the_whole_queue_nor_the_whole_machine() {
    for (slots, vms) in [(1, 1), (2, 1), (8, 7)] {
        let policy = parse(&format!("[node]\nslots = {slots}")).unwrap();
        let grant = policy.unsigned_grant().unwrap();
        assert_eq!((grant.vms, grant.queue_jobs), (vms, 10_000));
        assert!(policy.clients.queue_jobs < policy.node.queue_jobs);
    }
    // The bound for clients holds for strangers too, and an operator may give them all slots.
    let policy = parse("[node]\nslots = 2\n[clients]\nqueue_jobs = 5\n[unsigned]\nvms = 2").unwrap();
    let grant = policy.unsigned_grant().unwrap();
    assert_eq!((grant.vms, grant.queue_jobs), (2, 5));
}

#[test]
fn errors_name_file_line_and_what_is_allowed() {
    for (text, line, allowed) in [
        ("[node]\nslotz = 1", "line 2", "expected one of `slots`"),
        ("[node]\nslots = 0", "line 2", "allowed are 1 to 65536"),
        ("[node]\ncpus = 1025", "line 2", "allowed are 1 to 1024"),
        ("[node]\nworker_vms = 0", "line 2", "allowed are 1 to 10000"),
        ("[unsigned]\n\nmemory = \"64 bananas\"", "line 3", "such as \"64MiB\""),
        ("[unsigned]\nmemory = \"1KiB\"", "line 2", "allowed are 4194304 to"),
        ("[unsigned]\ncpu_time = \"100d\"", "line 2", "30 days"),
        ("[unsigned]\ncpu_time = 5", "line 2", "expected a string"),
        ("[[signer]]\nkey = \"00\"", "line 2", "64 lower-case hexadecimal digits"),
        ("[[signer]]\nname = \"x\"", "line 1", "missing field `key`"),
        ("[nodes]", "line 1", "expected one of `node`"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains("policy.toml") && error.contains(line) && error.contains(allowed), "{text}: {error}");
    }
    let little = parse("[node]\nslots = 2\nswap = \"1MiB\"").unwrap_err().to_string();
    assert!(little.contains("policy.toml") && little.contains("5242880 or more"), "{little}");
    let twice = format!("[[signer]]\nkey = \"{KEY}\"\n[[signer]]\nkey = \"{KEY}\"");
    assert!(matches!(parse(&twice), Err(PolicyError::SignerTwice { .. })));
}

#[test]
fn an_unknown_signer_is_named_and_does_not_fall_back_to_unsigned() {
    let stranger = PublicKey([9; 32]);
    let refusal = Policy::default().grants(&[stranger]).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Denied);
    assert!(refusal.message.contains(&stranger.to_string()) && refusal.message.contains("[[signer]]"));
}

#[test]
fn a_manifest_beyond_the_grant_is_refused_with_both_numbers() {
    let policy = parse(&format!("[[signer]]\nkey = \"{KEY}\"\nmemory = \"512MiB\"\noutput = \"1MiB\"")).unwrap();
    let signed = policy.grants(&[PublicKey([1; 32])]).unwrap();
    let chosen = choose(&signed, &manifest(300 << 20)).unwrap();
    assert_eq!((chosen.limits.memory_bytes, chosen.limits.output_bytes), (300 << 20, 1 << 20));
    let refusal = choose(&policy.grants(&[]).unwrap(), &manifest(300 << 20)).unwrap_err();
    assert!(refusal.message.contains("314572800") && refusal.message.contains("268435456"), "{}", refusal.message);
}

#[test]
fn the_documented_policy_is_one_and_its_defaults_are_true() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policy.md"));
    let example = page.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let mut policy = parse(example).unwrap();
    let signer = policy.signer.remove(0);
    let bare = parse(&format!("[[signer]]\nkey = \"{}\"", signer.key.0)).unwrap().signer.remove(0);
    assert_eq!(signer, Signer { name: "the lab".to_owned(), vms: Some(2), ..bare });
    // These follow from the machine.
    let NodeShare { slots, workers, cpus, memory, swap_directory, .. } = Policy::default().node;
    policy.node = NodeShare { slots, workers, cpus, memory, swap_directory, ..policy.node };
    assert!(policy.is_operator(policy.clients.operators[0].0));
    policy.clients.operators.clear();
    policy.clients.allow = None;
    policy.unsigned.vms = None;
    assert_eq!(policy, Policy::default());
}

/// All manifests and all pairs of grants, of a few sizes.
#[test]
fn the_most_generous_grant_that_covers_a_bundle_is_its_grant() {
    let sizes = || (0..32).map(|bits: u64| [0, 1, 2, 3, 4].map(|n| 1 + (bits >> n & 1)));
    let grants = || {
        sizes().map(|[memory, cpu, wall, output, vms]| {
            let time = Duration::from_micros;
            grant(memory, time(cpu), time(wall), output, vms as u32, 1)
        })
    };
    let asked = (0..27).map(|n| [n % 3, n / 3 % 3, n / 9].map(|n| n + 1));
    for [memory_bytes, cpu_time_us, wall_time_us] in asked {
        let manifest = Manifest { cpu_time_us, wall_time_us, ..manifest(memory_bytes) };
        let limits = Limits { memory_bytes, cpu_time_us, wall_time_us, output_bytes: 0 };
        let covers = |granted: &Limits| {
            granted.memory_bytes >= memory_bytes
                && granted.cpu_time_us >= cpu_time_us
                && granted.wall_time_us >= wall_time_us
        };
        for pair in grants().flat_map(|a| grants().map(move |b| [a, b])) {
            let best = pair.iter().filter(|grant| covers(&grant.limits)).max_by_key(|g| (g.limits.output_bytes, g.vms));
            match (choose(&pair, &manifest), best) {
                (Ok(chosen), Some(best)) => {
                    let limits = Limits { output_bytes: best.limits.output_bytes, ..limits };
                    assert_eq!(chosen, Grant { limits, ..*best });
                }
                (Err(refusal), None) => {
                    let first = &pair[0].limits;
                    let too_much = [
                        (memory_bytes, first.memory_bytes, "bytes of memory"),
                        (cpu_time_us, first.cpu_time_us, "µs of CPU time"),
                        (wall_time_us, first.wall_time_us, "µs of wall time"),
                    ];
                    let names = |(asked, granted, unit): &(u64, u64, &str)| {
                        let words = format!("asks for {asked} {unit}, this node grants it {granted}");
                        asked > granted && refusal.message.ends_with(&words)
                    };
                    assert!(too_much.iter().any(names), "{} of {pair:?}", refusal.message);
                    assert_eq!(refusal.kind, RefusalKind::Denied);
                }
                (chosen, best) => panic!("{chosen:?}, not {best:?}"),
            }
        }
    }
}
