"""What the suites share: packages, the same program on the host and in a VM, and what is said of each test.

A suite is an executable of this folder, called as `NAME DENALI WORK_DIRECTORY`. For each test it prints one line, `ok TEST`,
`differs TEST: why` or `excepted TEST: reason`, and it ends with 0 if nothing differs.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import typing

# Where sources and static libraries come from: one release for everybody, so that what is run is the same everywhere.
RELEASE = "bookworm"
# Where this machine gets its packages.
APT = pathlib.Path("/etc/apt")

# What every program finds in its environment, on the host as in a VM.
ENVIRONMENT = {"PATH": "/bin:/usr/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "TERM": "dumb"}

# Seconds that one program may take.
PATIENCE = 120
# Seconds that one step of a build may take.
BUILDING = 1200


class Done(typing.NamedTuple):
    """How a program ended: exit status as a shell tells it, standard output and error, and the files that it left, by name."""

    status: int
    output: bytes
    errors: bytes
    files: dict


def sources():
    """Lines for apt: this machine's own sources of the release, and with them those of source packages."""
    found = []
    for path in sorted([*APT.glob("sources.list"), *APT.glob("sources.list.d/*.list")]):
        found += re.findall(r"^deb +((?:\[.*?\] +)?.*)$", path.read_text(), re.M)
    for path in sorted(APT.glob("sources.list.d/*.sources")):
        for paragraph in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^([A-Za-z-]+): *(.*)$", paragraph, re.M))
            keys = f"[signed-by={fields['Signed-By']}] " if "Signed-By" in fields else ""
            for suite in fields.get("Suites", "").split():
                found.append(f"{keys}{fields.get('URIs', '')} {suite} {fields.get('Components', '')}")
    found = [line for line in found if re.search(rf" {RELEASE}(-security)? ", line)]
    if not found:
        sys.exit(f"apt has no sources of {RELEASE} in {APT}: these suites run on Debian 12")
    return "".join(f"{kind} {line}\n" for line in found for kind in ("deb", "deb-src"))


def status(code):
    """An exit status as a shell tells it."""
    return 128 - code if code < 0 else code


def with_locale(root):
    """Puts into a tree what glibc needs to know of the locale C.UTF-8, if this host has it."""
    locale = pathlib.Path("/usr/lib/locale/C.utf8")
    if locale.is_dir():
        shutil.copytree(locale, root / locale.relative_to("/"))


def ended(command, given, **options):
    """How a command ended; one that takes too long is ended as by timeout(1)."""
    try:
        return subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE, **options)
    except subprocess.TimeoutExpired as late:
        return subprocess.CompletedProcess(command, 124, late.stdout or b"", late.stderr or b"")


def files(directory):
    """Contents of the files below a directory, by their relative paths."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


class Suite:
    """One suite: `excepted` says of tests that are known to differ why they do."""

    def __init__(self, excepted=None):
        if len(sys.argv) != 3:
            sys.exit(f"usage: {sys.argv[0]} DENALI WORK_DIRECTORY")
        self.denali, self.shared = (pathlib.Path(word).resolve() for word in sys.argv[1:])
        self.work = self.shared / pathlib.Path(sys.argv[0]).name
        self.work.mkdir(parents=True, exist_ok=True)
        self.excepted = excepted or {}
        self.differs = False

    # Packages.

    def apt(self, directory, *words):
        """Runs apt-get in a directory, with package lists of our own: no right is needed, and the system is left alone."""
        apt = self.shared / "apt"
        configuration = apt / "apt.conf"
        environment = os.environ | {"APT_CONFIG": str(configuration), "LC_ALL": "C"}
        if not (apt / "ready").exists():
            for name in ["lists/partial", "cache/archives/partial"]:
                (apt / name).mkdir(parents=True, exist_ok=True)
            (apt / "sources.list").write_text(sources())
            configuration.write_text(
                f'Dir::Etc::SourceList "{apt}/sources.list"; Dir::Etc::SourceParts "-"; Dir::State::Lists "{apt}/lists";\n'
                f'Dir::Cache "{apt}/cache"; APT::Sandbox::User "";\n'
            )
            self.make(["apt-get", "update"], apt, env=environment)
            (apt / "ready").touch()
        self.make(["apt-get", "-q", *words], directory, env=environment)

    def once(self, name, build):
        """A directory below the suite's that `build` filled, now or in an earlier run."""
        directory = self.work / name
        if not directory.exists():
            partial = self.work / f"{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            build(partial)
            partial.rename(directory)
        return directory

    def package(self, name):
        """The unpacked files of a Debian package."""

        def build(directory):
            self.apt(directory, "download", name)
            [package] = directory.glob("*.deb")
            self.make(["dpkg", "-x", package, directory], directory)
            package.unlink()

        return self.once(name, build)

    def source(self, name):
        """The unpacked source of a Debian source package."""
        directory = self.once(f"{name}-source", lambda directory: self.apt(directory, "source", name))
        [source] = (path for path in directory.iterdir() if path.is_dir())
        return source

    def make(self, command, directory, **options):
        """Runs a command that builds something; what it says is only told if it fails."""
        done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, timeout=BUILDING, **options)
        if done.returncode != 0:
            words = " ".join(str(word) for word in command)
            sys.exit(f"{words} failed in {directory}:\n{(done.stdout + done.stderr).decode(errors='replace')[-4000:]}")
        return done.stdout

    # Programs.

    def tree(self, fill):
        """A fresh tree for one program, with what `fill` puts into it."""
        root = self.work / "root"
        shutil.rmtree(root, ignore_errors=True)
        for name in ["data", "out", "tmp"]:
            (root / name).mkdir(parents=True)
        if fill:
            fill(root)
        return root

    def on_host(self, program, words=(), given=b"", fill=None, environment=None):
        """Runs a program in the folder `data` of a fresh tree. What it leaves in `../out` are its files."""
        root = self.tree(fill)
        environment = ENVIRONMENT | (environment or {})
        done = ended([f"/{program.name}", *words], given, executable=program, cwd=root / "data", env=environment)
        return Done(status(done.returncode), done.stdout, done.stderr, files(root / "out"))

    def in_vm(self, program, words=(), given=b"", fill=None, environment=None, options=()):
        """The same in a VM, where the tree is its root."""
        root, out = self.tree(fill), self.work / "out"
        shutil.rmtree(out, ignore_errors=True)
        command = [self.denali, "run", "--root", root, "--workdir", "/data", "--output-dir", out, *options]
        for name, value in (ENVIRONMENT | (environment or {})).items():
            command += ["--env", f"{name}={value}"]
        command += [program, "--", *words]
        done = ended(command, given)
        # What Denali says of a program's end is no part of what the program says.
        errors = re.sub(rb"(?m)^denali: .*\n", b"", done.stderr)
        return Done(status(done.returncode), done.stdout, errors, files(out) if out.exists() else {})

    # Verdicts.

    def say(self, name, why=""):
        """Tells of a test whether it differs, and why."""
        reason = self.excepted.get(name)
        if reason and why:
            print(f"excepted {name}: {reason}", flush=True)
            return
        if reason:
            why = "it is excepted, and agrees"
        print(f"differs {name}: {why}" if why else f"ok {name}", flush=True)
        self.differs |= bool(why)

    def same(self, name, host, vm):
        """Tells whether a program ended in a VM as on the host."""
        self.say(name, difference(host, vm))

    def both(self, name, program, words=(), options=(), known=None, **run):
        """Runs a program on both and compares; `known` takes away from its output what no two runs have in common."""
        known = known or (lambda done: done)
        host = known(self.on_host(program, words, **run))
        self.same(name, host, known(self.in_vm(program, words, options=options, **run)))
        return host

    def end(self):
        """Ends the suite."""
        sys.exit(1 if self.differs else 0)


def difference(host, vm):
    """In one line, in what two ends of a program differ first; nothing if they do not."""
    for kind in ("output", "errors"):
        ours, theirs = getattr(host, kind), getattr(vm, kind)
        if ours != theirs:
            return first_difference(kind, ours, theirs)
    if host.status != vm.status:
        return f"status {vm.status} in a VM, {host.status} on the host"
    for name in sorted(host.files.keys() | vm.files.keys()):
        ours, theirs = host.files.get(name), vm.files.get(name)
        if ours is None or theirs is None:
            return f"it wrote {name} only {'in a VM' if ours is None else 'on the host'}"
        if ours != theirs:
            return first_difference(name, ours, theirs)
    return ""


def first_difference(what, host, vm):
    """In one line, where two texts differ first."""
    ours, theirs = host.split(b"\n"), vm.split(b"\n")
    at = next((at for at, (one, other) in enumerate(zip(ours, theirs)) if one != other), min(len(ours), len(theirs)))
    show = lambda lines: repr(lines[at][:80].decode(errors="replace")) if at < len(lines) else "its end"
    return f"line {at + 1} of its {what}: {show(theirs)} in a VM, {show(ours)} on the host"
