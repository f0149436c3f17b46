#!/usr/bin/python3.11
"""Packs this machine's CPython 3.11 into a bundle that runs in a Denali VM.

The standard library goes in compiled, each module as one .pyc in the place of its source: nothing is compiled,
checked against a source or unpacked when a program starts. Run it with the interpreter that is to be packed.
"""

import argparse
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LIBRARY = Path("/usr/lib/python3.11")
INTERPRETER = Path("/usr/bin/python3.11")
OURS = Path("denali.py")
CONFIG = LIBRARY / "config-3.11-x86_64-linux-gnu"

# What makes no sense in a VM, or only where Python itself is built.
MODULES_OUT = {
    "__pycache__", "config-3.11-x86_64-linux-gnu", "distutils", "ensurepip", "idlelib", "lib-dynload", "lib2to3",
    "pydoc_data", "sitecustomize.py", "test", "tkinter", "turtle.py", "turtledemo", "venv",
}
# Terminals, sound, tests, and what needs OpenSSL: hashlib has its own of most algorithms.
EXTENSIONS_OUT = re.compile("_(crypt|curses.*|dbm|gdbm|hashlib|ssl|test.*|tkinter|ctypes_test|xx.*)|nis|oss.*|readline|xx.*")

ENVIRONMENT = ["PYTHONHOME=/usr", "PYTHONDONTWRITEBYTECODE=1", "PYTHONNOUSERSITE=1"]

MAIN = "#include <Python.h>\nint main(int count, char **values) { return Py_BytesMain(count, values); }\n"


def modules():
    """Paths of all modules to pack, relative to the library."""
    for directory, below, names in os.walk(LIBRARY):
        below[:] = sorted(set(below) - MODULES_OUT)
        yield from (Path(directory, name).relative_to(LIBRARY) for name in sorted(names)
                    if name.endswith(".py") and name not in MODULES_OUT)


def compile_modules(root):
    ours = (Path(__file__).parent / OURS).resolve()
    for module, source in [*((module, LIBRARY / module) for module in modules()), (OURS, ours)]:
        target = root / LIBRARY.relative_to("/") / f"{module}c"
        target.parent.mkdir(parents=True, exist_ok=True)
        # The name in tracebacks is the same on all machines; no time goes in, so the same source is the same bytes.
        py_compile.compile(str(source), cfile=str(target), dfile=str(LIBRARY / module), doraise=True,
                           invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def copy(root, path):
    target = root / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


def copy_extensions(root):
    """Extension modules, and the libraries that they load: the packer sees those of the interpreter alone."""
    for module in sorted((LIBRARY / "lib-dynload").iterdir()):
        if EXTENSIONS_OUT.fullmatch(module.name.split(".")[0]):
            continue
        copy(root, module)
        found = subprocess.run(["ldd", module], check=True, capture_output=True, text=True).stdout
        for library in re.findall(r"=> (/\S+)", found):
            copy(root, Path(library))


def link_static(target):
    """One static interpreter with Debian's libpython3.11-dev: it needs no dynamic loader, and can load no extensions."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "main.c")
        source.write_text(MAIN)
        subprocess.run(["gcc", "-O2", "-static", "-s", "-w", "-o", target, source, "-I/usr/include/python3.11",
                        CONFIG / "libpython3.11.a", "-lexpat", "-lz", "-lm"], check=True, stderr=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", required=True, help="the bundle to write")
    parser.add_argument("--static", action="store_true", help="link a static interpreter, without extension modules")
    parser.add_argument("--denali", default="denali", help="the denali to pack with")
    options, more = parser.parse_known_args()
    if sys.version_info[:2] != (3, 11) or not LIBRARY.exists():
        sys.exit("run this with Debian's /usr/bin/python3.11: what is compiled must fit what runs it")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        compile_modules(root)
        copy(root, INTERPRETER)
        program = root / INTERPRETER.relative_to("/")
        if options.static:
            link_static(program)
            # It is looked for, and missed aloud.
            (root / LIBRARY.relative_to("/") / "lib-dynload").mkdir()
        else:
            copy_extensions(root)
        environment = [word for variable in ENVIRONMENT for word in ("--env", variable)]
        subprocess.run([options.denali, "pack", program, "-o", options.output, "--name", "python", "--root", root,
                        *environment, *more], check=True)


if __name__ == "__main__":
    main()
