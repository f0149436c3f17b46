//! The Denali virtual machine monitor: private virtual hardware for hostile programs, and the worker process that holds
//! it.
//!
//! | module | what |
//! |---|---|
//! | [`machine`] | a VM as bytes: ELF layout, page tables, descriptor tables, prepared images |
//! | [`kvm`] | everything that knows KVM, and nearly all `unsafe` |
//! | [`nic`] | the VMM's end of the NIC rings |
//! | [`gateway`] | the one thing a VM can reach: the job channel |
//! | `sabotage` | what tests leave out to show that others notice |
//! | `schedule` | which VM of a worker runs next; pure |
//! | [`swap`] | where whole idle VMs wait on disk |
//! | `vm` | one VM from its first instruction to its end |
//! | [`attack`] | hostile guests in the calling process, and whether every promise held |
//! | [`measure`] | VMs in the calling process, for benches |
//! | [`jail`] | what a worker gives up before its first guest |
//! | [`worker`] | the process that holds the VMs of one tenant |

#[cfg(feature = "planted-exploit")]
pub mod exploit;
mod sabotage;

pub mod attack;
pub mod gateway;
pub mod jail;
pub mod kvm;
pub mod machine;
pub mod measure;
pub mod nic;
mod schedule;
pub mod swap;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod vm;
pub mod worker;
