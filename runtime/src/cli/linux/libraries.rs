//! The dynamic loader and the libraries that a program needs, found as its loader would find them on this machine.

use super::{HINT_BUILD, insert, search::Loader};
use crate::cli::failure::{Hint, fail};
use anyhow::Context;
use denali_linux::{
    bundle::Tree,
    elf::{Dependencies, dependencies},
};
use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    path::{Path, PathBuf},
};

/// A directory: in the VM, and on this machine if it is there too.
type Place = (String, Option<PathBuf>);

/// A program or library whose needs are not met yet.
struct Object {
    /// Its path in the VM.
    name: String,
    needed: Vec<String>,
    /// Where its own path says that its libraries are, and those of whoever needed it.
    rpath: Vec<Place>,
    /// What counts instead, if it has one.
    runpath: Option<Vec<Place>>,
}

/// Puts the loader and all libraries of the program `name`, which is in the tree and was read from `path`, into the
/// tree. What is in it already counts first. Gives the directories of which the loader has to be told in the VM.
pub(super) fn collect(tree: &mut Tree<Vec<u8>>, name: &str, path: &Path, loader: &str) -> anyhow::Result<Vec<String>> {
    if tree.file(loader.as_bytes()).is_none() {
        let bytes = fs::read(loader)
            .with_context(|| format!("the program's dynamic loader {loader} is not on this machine"))
            .hint(
                "install its C library, give a directory that has it with --root, or link the program with -static",
            )?;
        insert(tree, loader.as_bytes(), 0o755, bytes)?;
    }
    let kind = Loader::of(loader);
    let system = kind.directories();
    let mut unusual = Vec::new();
    let mut seen = BTreeSet::new();
    let host = path.canonicalize().ok();
    let mut objects = VecDeque::from([object(tree, name, host.as_deref(), &[])?]);
    while let Some(Object { name, needed, rpath, runpath }) = objects.pop_front() {
        for library in needed {
            if kind.is(&library) || !seen.insert(library.clone()) {
                continue;
            }
            let (places, file) = match library.rsplit_once('/') {
                // A path is no name to look for.
                Some((directory, file)) => (vec![(directory.to_owned(), Some(directory.into()))], file),
                None => {
                    let own = runpath.as_ref().unwrap_or(&rpath).iter().cloned();
                    let system = system.iter().map(|directory| (directory.clone(), Some(directory.into())));
                    (own.chain(system).collect(), &*library)
                }
            };
            let Some((directory, path, host)) = places.into_iter().find_map(|place| find(tree, place, file)) else {
                return fail(
                    format!("{name} needs {library}, which is not on this machine"),
                    "install what has it, give a directory that has it with --root, or link the program with -static",
                );
            };
            let usual = kind.usual().contains(&&*directory);
            if !usual && system.contains(&directory) && !unusual.contains(&directory) {
                unusual.push(directory);
            }
            if tree.file(path.as_bytes()).is_none() {
                let bytes = fs::read(&host).with_context(|| format!("cannot read {}", host.display()))?;
                insert(tree, path.as_bytes(), 0o755, bytes)?;
            }
            objects.push_back(object(tree, &path, Some(&host), &rpath)?);
        }
    }
    Ok(unusual)
}

/// The library in a directory: the directory and the library's path in the VM, and its path here.
fn find(tree: &Tree<Vec<u8>>, (directory, host): Place, library: &str) -> Option<(String, String, PathBuf)> {
    let path = format!("{directory}/{library}");
    let host = host.map(|host| host.join(library));
    let fits = match tree.file(path.as_bytes()) {
        Some(bytes) => dependencies(bytes).is_ok(),
        // A loader passes over files for other machines.
        None => dependencies(&fs::read(host.as_ref()?).ok()?).is_ok(),
    };
    fits.then(|| (directory, path, host.unwrap_or_default()))
}

/// What the object at `name` in the tree needs; `host` is its path here, `inherited` the paths of who needs it.
fn object(tree: &Tree<Vec<u8>>, name: &str, host: Option<&Path>, inherited: &[Place]) -> anyhow::Result<Object> {
    let bytes = tree.file(name.as_bytes()).with_context(|| format!("{name} is not in the tree"))?;
    let Dependencies { needed, rpath, runpath } = dependencies(bytes).context(name.to_owned()).hint(HINT_BUILD)?;
    let origin = (name.rsplit_once('/').map_or("", |(directory, _)| directory), host.and_then(Path::parent));
    let own = rpath.filter(|_| runpath.is_none()).map(|path| places(path, origin)).unwrap_or_default();
    Ok(Object {
        name: name.to_owned(),
        needed: needed.into_iter().map(|library| String::from_utf8_lossy(library).into_owned()).collect(),
        rpath: own.into_iter().chain(inherited.iter().cloned()).collect(),
        runpath: runpath.map(|path| places(path, origin)),
    })
}

/// The directories of a path, `$ORIGIN` being those of the object. Relative ones mean nothing.
fn places(path: &[u8], (origin, host): (&str, Option<&Path>)) -> Vec<Place> {
    let path = String::from_utf8_lossy(path);
    let parts = path.split(':').map(|part| part.replace("${ORIGIN}", "$ORIGIN"));
    parts
        .filter_map(|part| match part.strip_prefix("$ORIGIN") {
            Some(rest) => {
                let host = host.map(|host| host.join(rest.trim_start_matches('/')));
                Some((format!("{origin}{rest}"), host))
            }
            None if part.starts_with('/') => Some((part.clone(), Some(part.into()))),
            None => None,
        })
        .collect()
}
