//! Programs for Linux: recognised, and packed with the image that serves their system calls, their dynamic loader,
//! libraries and files.

mod libraries;
mod root;
mod search;

use super::failure::Hint;
use anyhow::Context;
use denali_linux::{
    bundle::{Entry, Node, SETTINGS, Settings, TREE, Tree},
    elf::{self, PROGRAM_BASE, Placed},
};
use denali_protocol::bundle::Content;
use std::path::{Path, PathBuf};

/// Offsets in an ELF header, and the size of an entry (System V gABI).
const PROGRAM_HEADERS: usize = 32;
const PROGRAM_HEADER_COUNT: usize = 56;
const PROGRAM_HEADER_BYTES: usize = 56;
const PT_LOAD: u32 = 1;
/// Read and write.
const PF_RW: u32 = 6;

/// Programs may take no more than this, in bytes: more than any VM has.
const PROGRAM_END: u64 = 1 << 40;

const HINT_BUILD: &str = "give a program that was built for x86-64 Linux";

/// Files by their names in the bundle.
pub(super) type Files = Vec<(String, Vec<u8>)>;

/// What a program for Linux finds in its VM, as options.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Surroundings {
    /// Directory that a Linux program has as its /, with modes and symbolic links
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Variable in a Linux program's environment; for several, several times
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Working directory of a Linux program [default: the bundle's, else /]
    #[arg(long, value_name = "PATH")]
    workdir: Option<String>,
    /// Argument that a Linux program gets before the job's; for several, several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    argument: Vec<String>,
    /// A Linux program says itself when it is ready for a job, by reading /dev/denali/ready: what it does before is done
    /// once for many jobs
    #[arg(long)]
    ready: bool,
}

impl Surroundings {
    /// Whether nothing is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_none() && self.env.is_empty() && self.workdir.is_none() && self.argument.is_empty() && !self.ready
    }

    /// Changes `settings` as the options say.
    fn apply(&self, settings: &mut Settings) -> anyhow::Result<()> {
        for variable in &self.env {
            settings.set(variable).context("--env")?;
        }
        for argument in &self.argument {
            settings.add_argument(argument).context("--argument")?;
        }
        settings.ready |= self.ready;
        self.workdir.as_ref().map_or(Ok(()), |directory| settings.set_directory(directory)).context("--workdir")
    }
}

/// The program headers of an ELF64 file.
fn headers(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let word =
        |at: usize| file.get(at..at + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()));
    let start = usize::try_from(word(PROGRAM_HEADERS)).unwrap_or(usize::MAX);
    let count = word(PROGRAM_HEADER_COUNT) & 0xffff;
    let table = file.get(start..).unwrap_or_default();
    table.chunks_exact(PROGRAM_HEADER_BYTES).take(count as usize)
}

/// Whether an ELF file is a program for Linux, not for the Denali VM: linkers for Linux say more of it than where it lies.
pub(super) fn is_for_linux(file: &[u8]) -> bool {
    headers(file).any(|header| header[..4] != PT_LOAD.to_le_bytes())
}

/// The image to run `program` in, which was read from `path`, and the files that it needs in the bundle; `files` are
/// more of them.
///
/// # Errors
/// When no VM can run the program, or something is missing.
pub(super) fn pack(
    program: &[u8],
    path: &Path,
    around: &Surroundings,
    files: Files,
) -> anyhow::Result<(Vec<u8>, Files)> {
    let mut tree = around.root.as_deref().map(root::read).transpose()?.unwrap_or_default();
    let name = place(&mut tree, program, path, around.root.as_deref())?;
    // Where --root has it: a link there may be another here.
    let program = tree.file(name.as_bytes()).context("the program is not in the tree")?.clone();
    let parsed = elf::parse(&program).hint(HINT_BUILD)?;
    let mut settings = Settings::new(&name)?;
    around.apply(&mut settings)?;

    let loader = match parsed.interpreter {
        None => None,
        Some(loader) => {
            let loader = str::from_utf8(loader).hint("the path of its dynamic loader is not UTF-8; link it again")?;
            let unusual = libraries::collect(&mut tree, &name, path, loader)?;
            if !unusual.is_empty() {
                settings.set_default(&format!("LD_LIBRARY_PATH={}", unusual.join(":")))?;
            }
            tree.file(loader.as_bytes())
        }
    };
    let loader = loader.map(|file| elf::parse(file)).transpose().context("the program's dynamic loader")?;
    let placed = Placed::new(&parsed, loader.as_ref(), &(PROGRAM_BASE..PROGRAM_END))?;
    let image = image(placed.end);

    let settings = (SETTINGS.to_owned(), settings.to_string().into_bytes());
    if around.root.is_none() {
        let own = plain(tree)?;
        return Ok((image, own.into_iter().chain([settings]).chain(files).collect()));
    }
    for (name, bytes) in files {
        insert(&mut tree, name.as_bytes(), 0o755, bytes)?;
    }
    Ok((image, vec![settings, (TREE.to_owned(), tree.to_tar()?)]))
}

/// Puts the program into the tree, unless it lies there; its absolute path.
fn place(tree: &mut Tree<Vec<u8>>, program: &[u8], path: &Path, root: Option<&Path>) -> anyhow::Result<String> {
    // By its name and not what that leads to: a program may look at how it was called.
    let inside = root.and_then(|root| {
        let directory = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let directory = directory.canonicalize().ok()?;
        Some(directory.strip_prefix(root.canonicalize().ok()?).ok()?.join(path.file_name()?))
    });
    let name = inside.as_deref().or(path.file_name().map(Path::new)).and_then(Path::to_str);
    let name = format!("/{}", name.context("the program's name is not UTF-8").hint("rename it")?);
    if inside.is_none() || tree.file(name.as_bytes()).is_none() {
        insert(tree, name.trim_start_matches('/').as_bytes(), 0o755, program.to_vec())?;
    }
    Ok(name)
}

/// Puts a file where `path` leads in the tree.
fn insert(tree: &mut Tree<Vec<u8>>, path: &[u8], mode: u32, bytes: Vec<u8>) -> anyhow::Result<()> {
    let place = tree.resolve(path).with_context(|| format!("{:?} leads nowhere", String::from_utf8_lossy(path)))?;
    let inserted = tree.insert(&place, Entry { mode, node: Node::File(bytes) });
    inserted.hint("give the file another name, or leave it out of the directory of --root")
}

/// The files of a tree that has nothing else, by their names in a bundle.
fn plain(tree: Tree<Vec<u8>>) -> anyhow::Result<Files> {
    let mut files = Vec::new();
    for (path, entry) in tree {
        if let Node::File(bytes) = entry.node {
            files.push((String::from_utf8(path).context("a library's path is not UTF-8")?, bytes));
        }
    }
    Ok(files)
}

/// The files of a bundle with more files, and other settings.
///
/// # Errors
/// When the bundle is none of a program for Linux, or can't take them.
pub(super) fn repack(content: &Content<'_>, around: &Surroundings, more: Files) -> anyhow::Result<Files> {
    let mut files: Files = content.files().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect();
    let settings = files.iter_mut().find(|(name, _)| name == SETTINGS);
    if !around.is_empty() {
        let (_, text) = settings
            .context("the bundle is not of a program for Linux")
            .hint("--root, --env, --workdir, --argument and --ready are for those; programs for the Denali VM take arguments and --files")?;
        if around.root.is_some() {
            return super::failure::fail("--root can't change a bundle", "give it to denali pack, with the program");
        }
        let mut settings = Settings::parse(text)?;
        around.apply(&mut settings)?;
        *text = settings.to_string().into_bytes();
    }
    if let Some((_, tar)) = files.iter().find(|(name, _)| name == TREE) {
        let tree = Tree::from_tar(tar)?;
        for (name, _) in &more {
            let place = tree.resolve(name.as_bytes());
            if place.as_deref() != Some(name.as_bytes()) || tree.get(name.as_bytes()).is_some() {
                let message = format!("{name:?} is in the bundle, or its directory is a symbolic link there");
                return super::failure::fail(message, "give the file another name");
            }
        }
    }
    files.extend(more);
    Ok(files)
}

/// The image, with room for a program that ends at `end`: one segment of zeros more.
fn image(end: u64) -> Vec<u8> {
    let mut image = denali_samples::LINUX.to_vec();
    let start = PROGRAM_HEADER_BYTES * headers(&image).count() + 64;
    let bytes = end.saturating_sub(PROGRAM_BASE).max(1);
    let words = [u64::from(PT_LOAD) | u64::from(PF_RW) << 32, 0, PROGRAM_BASE, PROGRAM_BASE, 0, bytes, 4096];
    let header: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    // The linker leaves the rest of the first page free.
    image[start..start + PROGRAM_HEADER_BYTES].copy_from_slice(&header);
    image[PROGRAM_HEADER_COUNT] += 1;
    image
}

/// Bytes that the program takes in memory when it starts, in the image that [`pack`] gave.
pub(super) fn room(image: &[u8]) -> u64 {
    let last = headers(image).last().and_then(|header| header[40..48].try_into().ok());
    last.map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests;
