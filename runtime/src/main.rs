//! The `denali` command.
#![forbid(unsafe_code)]

/// A node handles thousands of jobs a second, each with some hundred small allocations, many of them freed on another
/// thread: this one takes a fifth off what a job costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // The allocator asks for pages of 2 MiB: each worker would hold a dozen of them for a few hundred KiB. Workers inherit
    // this, and what benches compare VMs with. Where it is refused, workers are only larger.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    denali::main()
}
