//! The worker: a process that holds the VMs of one tenant.

pub mod message;
