//! The whole system as its users have it: the `denali` binary in processes of its own, QUIC over the loopback interface,
//! VMs on KVM, and real signals. Every test has its own directory, key and nodes, and ends what it started.
//!
//! | module | what |
//! |---|---|
//! | [`harness`] | places, commands with a deadline, nodes |
//! | [`samples`] | each sample program ends as its expectation says, alone and on a node |
//! | [`run`] | `denali run`: streams, exit statuses, reports |
//! | [`images`] | programs that no VM is started for |
//! | [`linux_files`] | Linux programs and their files, against the host |
//! | [`linux_sdk`] | Linux programs that know Denali |
//! | [`linux_guide`] | the commands of `docs/linux.md` |
//! | [`linux_sockets`] | Linux programs that talk to themselves, against the host |
//! | [`bundles`] | packing, signing, and bundles that somebody changed |
//! | [`receipts`] | a thousand jobs and their receipts |
//! | [`linux`] | programs for Linux |
//! | [`jobs`] | jobs on a node: wait, follow, cancel, names |
//! | [`refusals`] | who is not served, and who is told why |
//! | [`clients`] | clients that vanish, stall or send rubbish |
//! | [`recovery`] | killed workers and nodes |
//! | [`kills`] | nodes, workers and clients killed a thousand times |
//! | [`disk`] | a full disk |
//! | [`faults`] | a host that lacks other things |
//! | [`shares`] | what clients get of the machine |
//! | [`attack`] | hostile guests, and reproductions of them |
//! | [`hostile`] | hosts that give no whole jail, and workers that lose a part of theirs |
//! | [`unprivileged`] | a node of a user without rights |
//! | [`soak`] | all of it at once, for as long as one likes |
//! | [`top`] | what a node says it does |
#![forbid(unsafe_code)]

mod attack;
mod bundles;
mod clients;
mod disk;
mod faults;
mod harness;
mod hostile;
mod images;
mod jobs;
mod kills;
mod linux;
mod linux_files;
mod linux_guide;
mod linux_sdk;
mod linux_sockets;
mod receipts;
mod recovery;
mod refusals;
mod run;
mod samples;
mod shares;
mod soak;
mod top;
mod unprivileged;
