//! Programs for Linux from the command line: what they are is seen, and their arguments need no marks.

use crate::harness::Place;
use std::{path::PathBuf, process::Command};

const ARGUMENTS: &str = r#"
#include <stdio.h>
int main(int count, char **values) {
    for (int at = 1; at < count; at++) puts(values[at]);
    return 3;
}
"#;

/// It needs no library, and so its dynamic loader opens no file.
const BARE: &str = r#"
__asm__(".globl _start\n_start: mov $1, %eax\n mov $1, %edi\n lea text(%rip), %rsi\n mov $6, %edx\n syscall\n"
        "mov $231, %eax\n mov $7, %edi\n syscall\n text: .ascii \"bare!\\n\"");
"#;

/// It says what it finds around itself.
const AROUND: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
int one(void);
int main(void) {
    char buffer[64] = "", target[64] = "";
    printf("%s %s\n", getcwd(buffer, sizeof buffer), getenv("COLOUR"));
    FILE *file = fopen("link", "r");
    printf("%s", file ? fgets(buffer, sizeof buffer, file) : "no file\n");
    struct stat status;
    printf("%d %o\n", (int)readlink("link", target, sizeof target), stat("link", &status) ? 0 : status.st_mode);
    return one();
}
"#;

fn compiled(place: &Place, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let (source, output) = (place.write(&format!("{name}.c"), source), place.path(name));
    let status = Command::new("gcc").args(flags).arg("-o").arg(&output).arg(source).status().expect("there is gcc");
    assert!(status.success(), "gcc {flags:?}");
    output
}

#[test]
fn arguments_follow_the_program() {
    let place = Place::new();
    for flags in [&["-static", "-no-pie"][..], &["-static-pie"]] {
        let program = compiled(&place, "arguments", ARGUMENTS, flags);
        let run = |arguments: &[&str]| {
            place.denali(["run", "--cpu-time", "5s"]).arg(&program).args(arguments).end_with(3).text()
        };
        assert_eq!(run(&["a", "-x", "--", "--memory", "1"]), "a\n-x\n--\n--memory\n1\n");
        assert_eq!(run(&["--", "--memory", "a"]), "--memory\na\n");
        assert_eq!(run(&["--wall-time", "7s", "-e", "--wall-time", "b"]), "-e\n--wall-time\nb\n");
        assert_eq!(run(&[]), "");
    }
}

#[test]
fn a_dynamic_loader_starts_its_program() {
    let place = Place::new();
    for flags in [&["-nostdlib", "-pie"][..], &["-nostdlib", "-no-pie"]] {
        let mut flags = flags.to_vec();
        flags.push("-Wl,--dynamic-linker=/lib64/ld-linux-x86-64.so.2");
        if flags.contains(&"-no-pie") {
            // Without a library it would be a static one.
            flags.extend(["-Wl,--no-as-needed", "-Wl,--export-dynamic", "-Wl,-z,dynamic-undefined-weak"]);
        }
        let program = compiled(&place, "bare", BARE, &flags);
        let done = place.denali(["run"]).arg(&program).end_with(7);
        assert_eq!(done.text(), "bare!\n");
    }
}

#[test]
fn a_packed_program_takes_files_and_variables() {
    let place = Place::new();
    let program = compiled(&place, "arguments", ARGUMENTS, &["-static"]);
    place.write("input.txt", "text");
    place.denali(["pack", "arguments", "-o", "a.denali", "--files", "input.txt", "--env", "A=1"]).succeed();
    let listed = place.denali(["inspect", "a.denali"]).succeed().text();
    for name in ["input.txt", ".linux", "arguments"] {
        assert!(listed.contains(name), "{listed}");
    }
    assert_eq!(place.denali(["run", "a.denali", "--files", "arguments.c", "b"]).end_with(3).text(), "b\n");
    place.denali(["run", "a.denali", "--files", "input.txt"]).fail_with(["input.txt"]);
    place.denali(["run", "a.denali", "--env", "A"]).fail_with(["no variable"]);
    place.denali(["run"]).arg(place.image("hello")).args(["--env", "A=1"]).fail_with(["hint: "]);
    place.denali(["pack", "a.denali", "-o", "b.denali"]).fail_with(["a bundle already", "hint: "]);
    std::fs::remove_file(program).expect("it was there");
    place.write("script", "#!/usr/bin/python3\n");
    place.denali(["run", "script"]).fail_with(["/usr/bin/python3", "hint: "]);
}

#[test]
fn a_dynamic_program_runs_with_its_libraries_and_root() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("root/opt/bin")).expect("a directory");
    std::fs::create_dir_all(place.path("root/data")).expect("a directory");
    place.write("root/data/text", "text\n");
    std::os::unix::fs::symlink("/data/text", place.path("root/data/link")).expect("a link");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    std::fs::set_permissions(place.path("root/data/text"), mode).expect("a mode");
    compiled(&place, "root/opt/libone.so", "int one(void) { return 1; }", &["-shared", "-fPIC"]);
    let (source, program) = (place.write("around.c", AROUND), place.path("root/opt/bin/around"));
    let mut gcc = Command::new("gcc");
    gcc.arg(source).arg("-L").arg(place.path("root/opt")).args(["-lone", "-Wl,-rpath,$ORIGIN/..", "-o"]).arg(&program);
    assert!(gcc.status().expect("there is gcc").success());
    let root = ["--root", "root", "--workdir", "/data", "--env", "COLOUR=red"];
    let done = place.denali(["run"]).args(root).arg(&program).end_with(1);
    assert_eq!(done.text(), "/data red\ntext\n10 100640\n");
    let done = place.denali(["run"]).arg(&program).end_with(1);
    assert_eq!(done.text(), "/ (null)\nno file\n-1 0\n");
    place.denali(["run", "--root", "root", "--workdir", "/none"]).arg(&program).end_with(126);
}
