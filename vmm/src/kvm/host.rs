//! The host's hypervisor: opened once a worker, checked for all that Denali needs.

use super::{cpuid, pagemap::Pagemap};
use denali_protocol::bundle::CpuModel;
use kvm_ioctls::{Cap, Kvm};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use ring::rand::{SecureRandom, SystemRandom};
use std::{
    io,
    sync::{Mutex, OnceLock, PoisonError},
};

/// `/dev/kvm`, open and checked.
#[derive(Debug)]
pub struct Host {
    pub(super) kvm: Kvm,
    /// Which pages of this process are in memory.
    pub(crate) pagemap: Pagemap,
    /// Frequency of the time-stamp counter, in Hz.
    pub(crate) tsc_hz: u64,
    /// Gives the VMs their seeds: a thread that runs guests can't ask the kernel for them.
    seeds: Mutex<ChaCha20Rng>,
}

/// What the host lacks. The operator can mend it.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No `/dev/kvm`.
    #[error(
        "/dev/kvm is missing: enable virtualisation (VT-x or AMD-V) in the firmware and load the module with \
         `modprobe kvm_intel` or `modprobe kvm_amd`"
    )]
    Missing,
    /// It may not be opened.
    #[error("no permission to open /dev/kvm: run `sudo usermod -aG kvm $USER` and log in again")]
    Permission,
    /// It can't be opened.
    #[error("/dev/kvm can't be opened: {0}")]
    Open(io::Error),
    /// Another version of the API.
    #[error("the kernel's KVM API has version {0}, not 12: use a Linux kernel of 2.6.22 or later")]
    ApiVersion(i32),
    /// A capability is missing.
    #[error("the kernel's KVM lacks {0}: use a Linux kernel of 5.10 or later")]
    Capability(&'static str),
    /// A call failed.
    #[error("KVM: {call} failed: {error}")]
    Call {
        /// The ioctl.
        call: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The kernel gives no random numbers.
    #[error("the kernel gives no random numbers")]
    Random,
    /// `/proc` is missing.
    #[error("/proc/self/pagemap can't be read: {0}")]
    Pagemap(io::Error),
    /// The CPU is older than the smallest model.
    #[error("this CPU offers guests less than {model}: it lacks {missing}")]
    Cpu {
        /// The model that it fails to offer.
        model: CpuModel,
        /// The first feature missing.
        missing: &'static str,
    },
}

/// What Denali needs beyond the API's base.
const CAPABILITIES: [(Cap, &str); 6] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::SyncRegs, "KVM_CAP_SYNC_REGS"),
    (Cap::Xsave, "KVM_CAP_XSAVE"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::GetTscKhz, "KVM_CAP_GET_TSC_KHZ"),
    (Cap::X86MsrFilter, "KVM_CAP_X86_MSR_FILTER"),
];

impl Host {
    /// Opens `/dev/kvm` and checks it, down to making a virtual CPU.
    ///
    /// # Errors
    /// [`HostError`], which says what is missing and how to get it.
    pub fn open() -> Result<Self, HostError> {
        let kvm = Kvm::new().map_err(|error| match io::Error::from_raw_os_error(error.errno()) {
            e if matches!(error.errno(), libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
                drop(e);
                HostError::Missing
            }
            e if e.kind() == io::ErrorKind::PermissionDenied => HostError::Permission,
            e => HostError::Open(e),
        })?;
        match kvm.get_api_version() {
            12 => {}
            version => return Err(HostError::ApiVersion(version)),
        }
        if let Some((_, name)) = CAPABILITIES.iter().find(|(cap, _)| !kvm.check_extension(*cap)) {
            return Err(HostError::Capability(name));
        }
        let vm = call("KVM_CREATE_VM", kvm.create_vm())?;
        let vcpu = call("KVM_CREATE_VCPU", vm.create_vcpu(0))?;
        let tsc_khz = call("KVM_GET_TSC_KHZ", vcpu.get_tsc_khz())?;
        let pagemap = Pagemap::open().map_err(HostError::Pagemap)?;
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| HostError::Random)?;
        let seeds = Mutex::new(ChaCha20Rng::from_seed(seed));
        let host = Self { kvm, pagemap, tsc_hz: u64::from(tsc_khz) * 1000, seeds };
        Self::offers(CpuModel::V2)?;
        Ok(host)
    }

    /// Random numbers for one VM.
    pub(crate) fn random_seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.seeds.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut seed);
        seed
    }

    /// Whether guests can have `model`.
    ///
    /// # Errors
    /// [`HostError::Cpu`] with the first feature that is missing.
    pub fn offers(model: CpuModel) -> Result<(), HostError> {
        // Asked once: inside of a virtual machine each CPUID leaves it, and there are dozens.
        static MISSING: OnceLock<[Option<&str>; 2]> = OnceLock::new();
        let missing = MISSING.get_or_init(|| [CpuModel::V2, CpuModel::V3].map(cpuid::missing));
        match missing[usize::from(model == CpuModel::V3)] {
            None => Ok(()),
            Some(missing) => Err(HostError::Cpu { model, missing }),
        }
    }
}

fn call<T>(call: &'static str, result: Result<T, kvm_ioctls::Error>) -> Result<T, HostError> {
    result.map_err(|e| HostError::Call { call, error: io::Error::from_raw_os_error(e.errno()) })
}
