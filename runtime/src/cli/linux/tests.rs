use super::{Files, Surroundings, pack, repack};
use crate::cli::failure;
use denali_linux::bundle::{Node, SETTINGS, Settings, TREE, Tree};
use denali_protocol::bundle::{self, Content, PackRequest};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Compiles in `folder`; sources and outputs are named in `arguments`.
fn gcc(folder: &Path, arguments: &[&str]) {
    let status = Command::new("gcc").current_dir(folder).args(arguments).status().unwrap();
    assert!(status.success(), "gcc {arguments:?}");
}

/// A folder with `bin/program`, which needs `lib/libone.so`, which needs `libtwo.so` beside it.
fn application(run_path: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("two.c", "int two(void) { return 2; }"),
        ("one.c", "int two(void); int one(void) { return two() - 1; }"),
        ("main.c", "int one(void); int main(void) { return one(); }"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    for directory in ["bin", "lib"] {
        fs::create_dir(folder.path().join(directory)).unwrap();
    }
    let origin = "-Wl,-rpath,$ORIGIN";
    gcc(folder.path(), &["-shared", "-fPIC", "two.c", "-o", "lib/libtwo.so"]);
    gcc(folder.path(), &["-shared", "-fPIC", "one.c", "-Llib", "-ltwo", origin, "-o", "lib/libone.so"]);
    let link = ["main.c", "-Llib", "-lone", "-Wl,-rpath-link,lib", run_path, "-o", "bin/program"];
    gcc(folder.path(), &link);
    folder
}

fn packed(path: &Path, around: &Surroundings) -> anyhow::Result<Files> {
    let mut files = pack(&fs::read(path).unwrap(), path, around, Vec::new())?.1;
    files.sort();
    Ok(files)
}

fn file<'a>(files: &'a Files, name: &str) -> &'a [u8] {
    &files.iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn settings(files: &Files) -> Settings {
    Settings::parse(file(files, SETTINGS)).unwrap()
}

#[test]
fn a_dynamic_program_brings_its_loader_and_libraries() {
    let folder = application("-Wl,-rpath,/none:$ORIGIN/../lib");
    let files = packed(&folder.path().join("bin/program"), &Surroundings::default()).unwrap();
    assert_eq!(settings(&files), Settings::new("/program").unwrap());
    assert_eq!(file(&files, "lib/libone.so"), fs::read(folder.path().join("lib/libone.so")).unwrap());
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"lib/libtwo.so") && names.contains(&"program"), "{names:?}");
    assert!(names.iter().any(|name| name.ends_with("/ld-linux-x86-64.so.2")), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.ends_with("/libc.so.6")).count(), 1, "{names:?}");
    // What a loader needs that looks for the same names below another root: the program, two libraries, C's, the
    // loader, the settings.
    assert_eq!(names.len(), 6, "{names:?}");
}

#[test]
fn a_library_named_by_its_path_keeps_it() {
    let folder = application("-Wl,-rpath,$ORIGIN/../lib");
    let library = folder.path().join("lib/libtwo.so");
    let library = library.to_str().unwrap();
    gcc(folder.path(), &["-Wl,--no-as-needed", "-xc", "two.c", "-Dtwo=main", "-xnone", library, "-o", "bin/other"]);
    let files = packed(&folder.path().join("bin/other"), &Surroundings::default()).unwrap();
    assert_eq!(file(&files, library.trim_start_matches('/')), fs::read(library).unwrap());
}

#[test]
fn a_missing_library_is_named() {
    let folder = application("-Wl,-rpath,$ORIGIN/../lib");
    fs::remove_file(folder.path().join("lib/libtwo.so")).unwrap();
    let error = packed(&folder.path().join("bin/program"), &Surroundings::default()).unwrap_err();
    let text = failure::text(&error).unwrap();
    assert!(text.contains("/lib/libone.so needs libtwo.so") && text.contains("hint: "), "{text}");
}

#[test]
fn a_root_is_searched_first_and_packed_whole() {
    let folder = application("-Wl,-rpath,/opt/lib");
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::create_dir_all(root.join("opt")).unwrap();
    fs::rename(folder.path().join("lib"), root.join("usr/lib")).unwrap();
    fs::rename(folder.path().join("bin/program"), root.join("usr/bin/program")).unwrap();
    for (text, link) in [("/usr/lib", "opt/lib"), ("usr/lib", "lib"), ("/usr/bin/program", "start")] {
        std::os::unix::fs::symlink(text, root.join(link)).unwrap();
    }
    let around = Surroundings {
        root: Some(root.clone()),
        env: vec!["A=1".to_owned(), "A=2".to_owned()],
        workdir: Some("/usr".to_owned()),
        ..Surroundings::default()
    };
    let path = root.join("usr/bin/program");
    let (_, files) = pack(&fs::read(&path).unwrap(), &path, &around, vec![("lib/more".to_owned(), vec![1])]).unwrap();
    let settings = settings(&files);
    assert_eq!((settings.program.as_str(), settings.directory.as_str()), ("/usr/bin/program", "/usr"));
    assert_eq!(settings.environment, ["A=2"]);
    let tree = Tree::from_tar(file(&files, TREE)).unwrap();
    assert_eq!(tree.file(b"/opt/lib/libone.so").unwrap(), &fs::read(root.join("usr/lib/libone.so")).unwrap());
    assert!(tree.entries().any(|(path, entry)| path == b"usr/lib/more" && entry.node == Node::File(&[1])));
    // C's library came from this machine, through the link that the root has in its place.
    let c = tree.entries().filter(|(path, _)| path.ends_with(b"/libc.so.6")).map(|(path, _)| path);
    assert!(c.collect::<Vec<_>>()[0].starts_with(b"usr/lib/"));
    assert_eq!(files.len(), 2);
}

fn bundle(files: &Files) -> Vec<u8> {
    let request = PackRequest {
        name: "x",
        cpu: Default::default(),
        memory_bytes: 64 << 20,
        cpu_time_us: 1,
        wall_time_us: 1,
        program: b"image",
        files,
    };
    bundle::pack(&request).unwrap()
}

#[test]
fn a_bundle_takes_more_files_and_other_settings() {
    let mut tree = Tree::default();
    let entry = |node| denali_linux::bundle::Entry { mode: 0o755, node };
    tree.insert(b"usr/a", entry(Node::File(b"a".to_vec()))).unwrap();
    tree.insert(b"link", entry(Node::Symlink(b"usr".to_vec()))).unwrap();
    let files = vec![(SETTINGS.to_owned(), b"program=/a\n".to_vec()), (TREE.to_owned(), tree.to_tar().unwrap())];
    let content = bundle(&files);
    let content = Content::parse(&content).unwrap();
    let around =
        Surroundings { workdir: Some("/b".to_owned()), env: vec!["N=V".to_owned()], ..Surroundings::default() };
    let more = |name: &str| vec![(name.to_owned(), b"new".to_vec())];
    let files = repack(&content, &around, more("usr/b")).unwrap();
    assert_eq!((settings(&files).directory.as_str(), settings(&files).environment), ("/b", vec!["N=V".to_owned()]));
    assert_eq!(file(&files, "usr/b"), b"new");
    for taken in ["usr/a", "link/b"] {
        assert!(repack(&content, &around, more(taken)).is_err(), "{taken}");
    }
    let rooted = Surroundings { root: Some(PathBuf::from("/")), ..Surroundings::default() };
    assert!(failure::text(&repack(&content, &rooted, Vec::new()).unwrap_err()).unwrap().contains("denali pack"));
    let other = bundle(&Vec::new());
    let other = Content::parse(&other).unwrap();
    assert!(repack(&other, &around, Vec::new()).is_err());
    assert_eq!(repack(&other, &Surroundings::default(), more("b")).unwrap().len(), 1);
}
