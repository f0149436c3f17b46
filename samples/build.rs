//! Builds the guest programs in `programs/`, a workspace of its own that links for the Denali VM, and native programs to
//! measure them against. What it makes goes into the table that `src/lib.rs` includes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What cargo tells a build script about the outer build, and what must not reach the inner one: flags for host code,
/// and the compiler wrappers of linters.
const OUTER: [&str; 8] = [
    "CARGO_BUILD_TARGET",
    // Guests have no runtime of a sanitizer.
    "CARGO_CFG_SANITIZE",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
];

/// The flags of `programs/.cargo/config.toml` that decide what code is generated. With them the native side of
/// `denali bench cpu` is the machine code that runs in the VM, at the same places in its cache lines.
const SAME_CODE: [&str; 3] = [
    "-Crelocation-model=static",
    "-Cforce-unwind-tables=no",
    "-Cllvm-args=-align-all-functions=6 -x86-experimental-pref-innermost-loop-alignment=6",
];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for source in ["build.rs", "programs", "native", "kernels", "../guest-libos", "../vmm/abi"] {
        println!("cargo::rerun-if-changed={source}");
    }
    let target = out.join("programs");
    build(&root.join("programs"), &target, |_| ());
    build(&root.join("programs"), &out.join("native"), |cargo| {
        cargo.args(["--package", "kernels-native"]).env("CARGO_ENCODED_RUSTFLAGS", SAME_CODE.join("\x1f"));
    });
    // As people build programs for other machines than their own.
    build(&root.join("programs"), &out.join("static"), |cargo| {
        cargo.args(["--package", "syscalls-native"]).env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    });
    build(&root.join("../guest-libos/linux/image"), &out.join("linux"), |_| ());
    build_native_hello(&root.join("native/hello.c"), &out.join("native-hello"));

    let mut table = String::from("[\n");
    for (name, folder) in programs(&root.join("programs")) {
        let elf = target.join("x86_64-unknown-linux-gnu/release").join(name.replace('/', "-"));
        let expectation = folder.join("expect.toml");
        let text = if expectation.exists() { format!("include_str!({expectation:?})") } else { "\"\"".to_owned() };
        table += &format!("Sample {{ name: {name:?}, elf: include_bytes!({elf:?}), expectation: {text} }},\n");
    }
    table += "]\n";
    fs::write(out.join("samples.rs"), table).expect("OUT_DIR is writable");
}

fn build(workspace: &Path, target: &Path, adapt: impl FnOnce(&mut Command)) {
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    cargo.args(["build", "--release", "--locked"]).current_dir(workspace).arg("--target-dir").arg(target);
    for name in OUTER {
        cargo.env_remove(name);
    }
    adapt(&mut cargo);
    let status = cargo.status().expect("cargo can be run");
    assert!(status.success(), "the guest programs in {} did not build", workspace.display());
}

/// A static program where the host has a static C library, otherwise a dynamic one: both are what people start.
fn build_native_hello(source: &Path, output: &Path) {
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let compile = |options: &[&str]| {
        Command::new(&compiler)
            .args(options)
            .arg(source)
            .arg("-o")
            .arg(output)
            .output()
            .is_ok_and(|result| result.status.success())
    };
    assert!(compile(&["-O2", "-static"]) || compile(&["-O2"]), "no C compiler: Rust itself needs one to link");
}

/// Names and folders of the programs, hostile ones as `hostile/NAME`, sorted.
fn programs(workspace: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for (prefix, folder) in [("", workspace.to_owned()), ("hostile/", workspace.join("hostile"))] {
        for entry in fs::read_dir(folder).expect("the folder is there").flatten() {
            if entry.path().join("Cargo.toml").exists() {
                found.push((format!("{prefix}{}", entry.file_name().to_string_lossy()), entry.path()));
            }
        }
    }
    found.sort();
    found
}
