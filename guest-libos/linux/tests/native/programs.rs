//! Static programs, made by whatever compilers there are.

use std::path::{Path, PathBuf};
use std::process::Command;

const C: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int main(int count, char **values) {
    for (int i = 1; i < count; i++) printf("%s\n", values[i]);
    struct timespec now;
    printf("%d %d\n", getppid() > 0, clock_gettime(CLOCK_MONOTONIC, &now));
    char *large = malloc(1 << 22);
    large[1 << 20] = 1;
    free(large);
    FILE *file = fopen("/proc/self/stat", "r");
    printf("%d\n", file && fgetc(file) > 0);
    usleep(10);
    return 7;
}
"#;

const CXX: &str = r#"
#include <iostream>
#include <thread>
int main() {
    int x = 0;
    std::thread thread([&] { x = 42; });
    thread.join();
    try { throw 5; } catch (int thrown) { x += thrown; }
    std::cout << "hello " << x << std::endl;
    return 3;
}
"#;

const RUST: &str = r#"
fn main() {
    let threads: Vec<_> = (0..4).map(|i| std::thread::spawn(move || i * i)).collect();
    println!("{}", threads.into_iter().map(|thread| thread.join().unwrap()).sum::<i32>());
    assert!(std::fs::read("/proc/self/stat").is_ok());
    assert!(std::panic::catch_unwind(|| std::fs::read("/none").unwrap()).is_err());
    std::process::exit(5);
}
"#;

const GO: &str = r#"
package main

import ("fmt"; "os"; "sync")

func main() {
	var group sync.WaitGroup
	squares := make([]int, 4)
	for i := range squares {
		group.Add(1)
		go func(i int) { squares[i] = i * i; group.Done() }(i)
	}
	group.Wait()
	fmt.Println("hello", squares)
	os.Exit(4)
}
"#;

/// Compiles `source` as `directory/name`; none if there is no such compiler.
fn made(directory: &Path, name: &str, source: &str, compiler: &str, options: &[&str]) -> Option<PathBuf> {
    let file = directory.join(name);
    std::fs::write(&file, source).unwrap();
    let program = file.with_extension(format!("{compiler}.program"));
    let mut command = Command::new(compiler);
    command
        .current_dir(directory)
        .env("GOCACHE", directory.join("cache"))
        .env("GO111MODULE", "off")
        .env("CGO_ENABLED", "0");
    let output = command.args(options).arg("-o").arg(&program).arg(&file).output().ok()?;
    assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
    Some(program)
}

/// The C program, by gcc.
pub(crate) fn c(directory: &Path) -> PathBuf {
    made(directory, "c.c", C, "gcc", &["-O2", "-static"]).expect("gcc")
}

/// All programs that can be made here, and those of `DENALI_REWRITE`.
pub(crate) fn all(directory: &Path) -> Vec<PathBuf> {
    let optional = [
        made(directory, "cxx.cc", CXX, "g++", &["-O2", "-static"]),
        made(directory, "stripped.c", C, "gcc", &["-O2", "-static", "-s"]),
        made(directory, "pie.c", C, "gcc", &["-O2", "-static-pie"]),
        made(directory, "musl.c", C, "musl-gcc", &["-O2", "-static"]),
        made(directory, "stripped.c", C, "musl-gcc", &["-O2", "-static", "-s"]),
        made(directory, "rust.rs", RUST, "rustc", &["-O", "-Ctarget-feature=+crt-static"]),
        made(directory, "go.go", GO, "go", &["build"]),
    ];
    let named = std::env::var("DENALI_REWRITE").unwrap_or_default();
    let named: Vec<_> = named.split(':').filter(|path| !path.is_empty()).map(PathBuf::from).collect();
    std::iter::once(c(directory)).chain(optional.into_iter().flatten()).chain(named).collect()
}
