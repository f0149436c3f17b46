//! A policy file as an operator, in a hurry or with another version at hand, may write it.

use super::{Policy, choose};
use denali_protocol::{
    bundle::{CpuModel, Manifest},
    identity::PublicKey,
    limits,
};
use std::{path::Path, time::Duration};

/// Parses `data` as a policy. What is accepted grants what can be granted, and no more than it says; an error names the file.
pub fn policy(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let policy = match Policy::parse(text, Path::new("policy.toml")) {
        Ok(policy) => policy,
        Err(error) => return assert!(error.to_string().starts_with("policy file policy.toml: ")),
    };
    let share = &policy.node;
    assert!(share.slots >= 1 && share.workers >= 1 && share.worker_vms >= 1 && share.cpus >= 1);
    assert!(share.swap == 0 || share.swap / u64::from(share.swap_workers()) >= 1 << 20);
    let stranger = PublicKey([9; 32]);
    assert_eq!(policy.admit(stranger).is_ok(), policy.clients.allow.is_none());
    let keys: Vec<PublicKey> = policy.signer.iter().map(|signer| signer.key.0).collect();
    assert!((1..keys.len()).all(|n| !keys[..n].contains(&keys[n])));
    for signers in [&[][..], &[stranger], &keys[..]] {
        let Ok(grants) = policy.grants(signers) else {
            assert!(!policy.unsigned.allow || !signers.is_empty());
            continue;
        };
        assert!(!grants.is_empty());
        for grant in &grants {
            let asked = &grant.limits;
            assert!(limits::MEMORY_BYTES.contains(&asked.memory_bytes) && grant.vms >= 1 && grant.queue_jobs >= 1);
            for time_us in [asked.cpu_time_us, asked.wall_time_us] {
                assert!((1000..=limits::TIME_US).contains(&time_us));
            }
            let mut manifest = manifest(asked.memory_bytes, asked.cpu_time_us, asked.wall_time_us);
            let chosen = choose(&grants, &manifest).expect("one of the grants is this");
            assert_eq!(
                (chosen.limits.memory_bytes, chosen.limits.cpu_time_us),
                (asked.memory_bytes, asked.cpu_time_us)
            );
            assert!(grants.iter().any(|grant| grant.limits.output_bytes == chosen.limits.output_bytes));
            manifest.wall_time_us = u64::MAX;
            assert!(choose(&grants, &manifest).is_err());
        }
    }
    assert!(share.results_expire >= Duration::ZERO);
}

fn manifest(memory_bytes: u64, cpu_time_us: u64, wall_time_us: u64) -> Manifest {
    let (name, cpu, files) = ("x".to_owned(), CpuModel::V2, Vec::new());
    Manifest { name, cpu, memory_bytes, cpu_time_us, wall_time_us, program_bytes: 1, files }
}
