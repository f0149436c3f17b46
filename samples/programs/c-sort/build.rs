//! Compiles the C program: freestanding, at fixed addresses.

fn main() {
    println!("cargo::rerun-if-changed=src/sort.c");
    println!("cargo::rerun-if-changed=../../../guest-libos/include/denali.h");
    cc::Build::new()
        .file("src/sort.c")
        .include("../../../guest-libos/include")
        .flag("-std=c11")
        .flag("-ffreestanding")
        .flag("-fno-stack-protector")
        .pic(false)
        .flag("-fno-pie")
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true)
        .compile("sort");
}
