//! Programs for Linux, as compilers make them: in a VM they say what they say on the host.
//!
//! What is tested with a C compiler or busybox is left out, and says so, where there is none.

use crate::harness::{Denali, Place};
use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A program that uses files and streams.
const FILES: &str = include_str!("linux_files/files.rs");

/// What every program here reads.
const INPUT: &str = "one\ntwo\n\nand the last without an end";

/// Compiles a program in `source`, with the words of a command line before its name.
fn compiled(place: &Place, source: &str, name: &str, compiler: &[&str]) -> Option<PathBuf> {
    let (source, program) = (place.write(&format!("{name}.source"), source), place.path(name));
    let [command, options @ ..] = compiler else { return None };
    let mut command = Command::new(command);
    let built = command.args(options).arg("-o").arg(&program).arg(source).output();
    match built {
        Ok(built) => {
            assert!(built.status.success(), "{command:?}: {}", String::from_utf8_lossy(&built.stderr));
            Some(program)
        }
        Err(error) => {
            eprintln!("left out, there is no {command:?}: {error}");
            None
        }
    }
}

/// Status, output and errors of a program on the host.
pub(crate) fn on_host<S: AsRef<OsStr>>(program: &Path, arguments: &[S], input: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it can be started");
    // A program need not read what it is given.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let done = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (done.status.code(), text(done.stdout), text(done.stderr))
}

/// The same in a VM.
pub(crate) fn in_vm(run: Denali, input: &str) -> (Option<i32>, String, String) {
    let done = run.input(input).run();
    (done.status.code(), done.text(), done.stderr.clone())
}

pub(crate) fn directory(place: &Place) -> String {
    let directory = place.path("work");
    std::fs::create_dir_all(&directory).expect("a directory");
    directory.to_str().expect("text").to_owned()
}

#[test]
fn c_libraries_find_their_files() {
    for (name, compiler) in
        [("glibc", &["gcc", "-O1", "-static", "-x", "c"][..]), ("musl", &["musl-gcc", "-O1", "-static", "-x", "c"])]
    {
        let place = Place::new();
        let Some(program) = compiled(&place, include_str!("linux_files/files.c"), name, compiler) else { continue };
        let host = on_host(&program, &[&directory(&place), "7"], INPUT);
        let guest = in_vm(place.denali(["run"]).arg(&program).args(["--", "/tmp", "7"]), INPUT);
        assert_eq!(guest, host, "{name}");
        assert_eq!(host.0, Some(7));
    }
}

#[test]
fn threads_take_turns_and_signals_come() {
    for (name, compiler) in [
        ("glibc", &["gcc", "-O1", "-static", "-pthread", "-x", "c"][..]),
        ("musl", &["musl-gcc", "-O1", "-static", "-pthread", "-x", "c"]),
    ] {
        let place = Place::new();
        let Some(program) = compiled(&place, include_str!("linux_files/threads.c"), name, compiler) else { continue };
        let none: [&str; 0] = [];
        let host = on_host(&program, &none, "");
        assert_eq!(in_vm(place.denali(["run"]).arg(&program), ""), host, "{name}");
        assert_eq!(host.0, Some(9));
    }
}

#[test]
fn odd_corners_are_as_on_the_host() {
    for (name, compiler) in [
        ("glibc", &["gcc", "-O1", "-static", "-pthread", "-x", "c"][..]),
        ("musl", &["musl-gcc", "-O1", "-static", "-pthread", "-x", "c"]),
    ] {
        let place = Place::new();
        let Some(program) = compiled(&place, include_str!("linux_files/corners.c"), name, compiler) else { continue };
        let none: [&str; 0] = [];
        let host = on_host(&program, &none, "");
        assert_eq!(in_vm(place.denali(["run"]).arg(&program), ""), host, "{name}");
        assert_eq!(host.0, Some(5), "{host:?}");
    }
}

#[test]
fn a_shared_mapping_is_the_file() {
    let place = Place::new();
    let compiler = &["gcc", "-O1", "-static", "-x", "c"];
    let Some(program) = compiled(&place, include_str!("linux_files/shared.c"), "shared", compiler) else { return };
    let host = on_host(&program, &[&directory(&place)], "");
    assert_eq!(in_vm(place.denali(["run"]).arg(&program).args(["--", "/tmp"]), ""), host);
    assert_eq!(host.0, Some(7), "{host:?}");
}

/// SQLite keeps an index in a shared mapping, sorts in files, and locks.
const DATABASE: &str = r#"
#include <sqlite3.h>
#include <stdio.h>
static int row(void *none, int count, char **values, char **names) { return printf("%s\n", values[0] ? values[0] : "") < 0; }
int main(int count, char **words) {
    sqlite3 *base;
    char *why = NULL, path[4200];
    snprintf(path, sizeof path, "%s/test.db", words[1]);
    sqlite3_open(path, &base);
    int status = sqlite3_exec(base,
        "pragma journal_mode = wal; create table a(n integer primary key, t text); create index b on a(t);"
        "with recursive c(n) as (select 1 union all select n + 1 from c where n < 3000) insert into a select n, hex(n * n % 97) from c;"
        "delete from a where n % 7 = 0; select count(*) || min(t) || max(t) from a; pragma wal_checkpoint;"
        "vacuum; pragma integrity_check; select group_concat(t) from (select distinct t from a order by t desc);", row, NULL, &why);
    printf("%d %s\n", status, why ? why : "");
    return sqlite3_close(base) + 5;
}
"#;

#[test]
fn a_database_is_kept_in_a_file() {
    const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libsqlite3.a";
    if !Path::new(LIBRARY).exists() {
        eprintln!("left out, there is no {LIBRARY}");
        return;
    }
    let place = Place::new();
    let (source, program) = (place.write("base.c", DATABASE), place.path("base"));
    let libraries = [LIBRARY, "-lz", "-lm", "-ldl", "-lpthread"];
    let built =
        Command::new("gcc").args(["-O1", "-static", "-w", "-o"]).arg(&program).arg(source).args(libraries).output();
    let built = built.expect("there is gcc");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let host = on_host(&program, &[&directory(&place)], "");
    assert_eq!(in_vm(place.denali(["run"]).arg(&program).args(["--", "/tmp"]), ""), host);
    assert!(host.0 == Some(5) && host.1.starts_with("wal\n2572") && host.1.contains("\nok\n"), "{host:?}");
}

#[test]
fn a_crash_is_told_with_its_function_and_the_last_calls() {
    let place = Place::new();
    let source = "#include <unistd.h>\n\
        __attribute__((noinline)) void crash(int *word) { *word = 1; }\n\
        int main(void) { close(99); crash((int *)8); return 0; }\n";
    let Some(program) = compiled(&place, source, "crashing", &["gcc", "-O1", "-static", "-x", "c"]) else { return };
    let (status, _, errors) = in_vm(place.denali(["run"]).arg(&program), "");
    assert_eq!(status, Some(139));
    assert!(errors.contains("SIGSEGV at ") && errors.contains("(crash+0x0), address 0x8"), "{errors}");
    assert!(errors.trim_end().ends_with("close = EBADF"), "{errors}");
}

pub(crate) fn rust_program(place: &Place, source: &str, name: &str) -> PathBuf {
    let target = ["--edition=2024", "--target=x86_64-unknown-linux-gnu", "-Ctarget-feature=+crt-static", "-O"];
    let compiler = [&["rustc", "--crate-type=bin", "--crate-name", name][..], &target].concat();
    compiled(place, source, name, &compiler).expect("there is a Rust compiler")
}

#[test]
fn the_standard_library_finds_its_files() {
    let place = Place::new();
    let program = rust_program(&place, FILES, "files");
    let host = on_host(&program, &[&directory(&place)], INPUT);
    let guest = in_vm(place.denali(["run"]).arg(&program).args(["--", "/tmp"]), INPUT);
    assert_eq!(guest, host);
    assert_eq!(host.0, Some(0));
}

#[test]
fn what_is_below_out_is_the_result() {
    let place = Place::new();
    let run = place.denali(["run", "--output-dir", "results"]).arg(rust_program(&place, FILES, "files"));
    run.args(["--", "/tmp", "/out/first", "/out/deep/er/second", "/tmp/lost"]).input("").succeed();
    let read = |name: &str| std::fs::read_to_string(place.path("results").join(name));
    assert_eq!(read("first").expect("a result"), "/out/first\n");
    assert_eq!(read("deep/er/second").expect("a result"), "/out/deep/er/second\n");
    assert_eq!(std::fs::read_dir(place.path("results")).expect("a directory").count(), 2);
}

#[test]
fn a_program_answers_line_by_line() {
    let Some(busybox) = busybox() else { return };
    let place = Place::new();
    let mut program = place.denali(["run"]).arg(busybox).args(["--", "sed", "-u", "s/^/said: /"]).start();
    for line in ["first", "second"] {
        program.say(format!("{line}\n").as_bytes());
        program.hear(&format!("said: {line}\n"));
    }
    assert_eq!(program.finish().text(), "said: first\nsaid: second\n");
}

/// A busybox that needs no libraries.
fn busybox() -> Option<&'static Path> {
    let path = Path::new("/bin/busybox");
    let program = std::fs::read(path).unwrap_or_default();
    let found = !program.is_empty() && !program.windows(15).any(|bytes| bytes == b"ld-linux-x86-64");
    if !found {
        eprintln!("left out, there is no static {}", path.display());
    }
    found.then_some(path)
}

#[test]
fn busybox_does_as_on_the_host() {
    let Some(busybox) = busybox() else { return };
    let place = Place::new();
    for applet in [
        &["sha256sum"][..],
        &["md5sum", "-"],
        &["sort", "-r"],
        &["wc"],
        &["tac"],
        &["head", "-n", "2"],
        &["grep", "-c", "t"],
        &["awk", "{ print NR, length($0) }"],
        &["sed", "s/o/0/g"],
        &["od", "-c"],
        &["base64"],
        &["tr", "a-z", "A-Z"],
        &["seq", "3", "5"],
        &["expr", "6", "*", "7"],
        &["dirname", "/a/b"],
        &["cat", "/etc/nothing"],
        &["test", "-e", "/nowhere"],
        &["false"],
    ] {
        let host = on_host(busybox, applet, INPUT);
        let guest = in_vm(place.denali(["run"]).arg(busybox).arg("--").args(applet), INPUT);
        assert_eq!(guest, host, "{applet:?}");
    }
}
