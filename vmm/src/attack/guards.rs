//! What no guest may change: memory next to the VM's, and the image that all its VMs share.

use super::verdict::{AttackError, Finding, Oracle};
use crate::vm::Template;
use std::{hash::Hasher, io, sync::Arc};
use twox_hash::XxHash3_64;
use vm_memory::{Bytes, VolatileMemory, VolatileSlice, mmap::MmapRegion};

/// Bytes of a canary, in the whole of which no one ever writes.
const CANARY_BYTES: usize = 128 << 10;

/// What it is filled with.
const PATTERN: u8 = 0xa5;

/// Canaries, and the digest of an image.
#[derive(Debug)]
pub(super) struct Guards {
    template: Arc<Template>,
    image: u64,
    canaries: [MmapRegion; 2],
}

impl Guards {
    /// Makes one canary before and one after something else is mapped. The kernel places mappings next to each other, from
    /// the top down, and what is mapped anew where that was.
    pub(super) fn around<T>(
        template: &Arc<Template>,
        map: impl FnOnce() -> Result<T, AttackError>,
    ) -> Result<(Self, T), AttackError> {
        let above = canary()?;
        let mapped = map()?;
        let guards = Self { template: Arc::clone(template), image: digest(template)?, canaries: [above, canary()?] };
        Ok((guards, mapped))
    }

    /// Looks whether all is as it was.
    pub(super) fn check(&self) -> Result<Vec<Finding>, AttackError> {
        let mut findings = Vec::new();
        for canary in &self.canaries {
            let mut bytes = vec![0; CANARY_BYTES];
            canary.as_volatile_slice().read_slice(&mut bytes, 0)?;
            if let Some(at) = bytes.iter().position(|byte| *byte != PATTERN) {
                let place = canary.as_ptr() as usize + at;
                findings.push(Finding::new(Oracle::Guards, format!("memory outside of the VM changed at {place:#x}")));
            }
        }
        if digest(&self.template)? != self.image {
            findings.push(Finding::new(Oracle::Guards, "the image that VMs share changed"));
        }
        Ok(findings)
    }
}

fn canary() -> Result<MmapRegion, AttackError> {
    let region = MmapRegion::new(CANARY_BYTES).map_err(io::Error::other)?;
    region.as_volatile_slice().write_slice(&[PATTERN; CANARY_BYTES], 0)?;
    Ok(region)
}

fn digest(template: &Template) -> Result<u64, AttackError> {
    let mut hasher = XxHash3_64::with_seed(0);
    let master = template.master();
    for (memory, parts) in [(master.ram(), &template.image.ram), (master.supervisor(), &template.image.supervisor)] {
        for part in parts {
            add(&mut hasher, &memory, part.pages.start as usize, part.pages.end as usize)?;
        }
    }
    Ok(hasher.finish())
}

fn add(hasher: &mut XxHash3_64, memory: &VolatileSlice<'_>, from: usize, to: usize) -> Result<(), AttackError> {
    let mut bytes = vec![0; to - from];
    memory.read_slice(&mut bytes, from)?;
    hasher.write(&bytes);
    Ok(())
}
