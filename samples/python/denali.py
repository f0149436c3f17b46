"""What a Python program can tell the VM that it runs in. The same program runs anywhere else, where this does the natural thing.

    import json                     # done once for many jobs, if the bundle was packed with --ready
    import denali

    def main(arguments):            # the job's arguments, without the program's name
        print(json.dumps(arguments))

    denali.run(main)
"""

import atexit
import os
import sys
import threading
import traceback

_READY = "/dev/denali/ready"
_PROGRESS = "/dev/denali/progress"

# What progress told last, in thousandths.
_told = -1


def inside():
    """Whether the program runs in a Denali VM."""
    return os.path.exists("/dev/denali")


def progress(fraction):
    """Says which part of the job is done, from 0 to 1.

    In a VM it reaches whoever waits for the job; what was said before ready, or is less than before, does not. Elsewhere
    it is drawn on standard error, if that is a terminal. Call it as often as you like: only thousandths count.
    """
    global _told
    permille = int(1000 * min(max(fraction, 0), 1))
    if permille == _told:
        return
    _told = permille
    try:
        device = os.open(_PROGRESS, os.O_WRONLY)
    except OSError:
        if os.isatty(2):
            os.write(2, b"\r%5.1f %%%s" % (permille / 10, b"\n" if permille == 1000 else b""))
        return
    try:
        os.write(device, b"%d" % permille)
    finally:
        os.close(device)


def result(name, mode="w", **options):
    """Opens a named result of the job, to write to. A name may have directories: "tables/3.csv".

    In a VM it is a file below /out, which whoever submitted the job finds below --output-dir once the job ended; elsewhere
    a file in the directory $DENALI_OUT, or in out where there is no such variable. Mode and options are those of open.
    """
    parts = name.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or len(os.fsencode(name)) > 255:
        raise ValueError(f"no result can be called {name!r}; give a relative path of at most 255 bytes without ..")
    path = os.path.join("/out" if inside() else os.environ.get("DENALI_OUT", "out"), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return open(path, mode, **options)


def ready():
    """Says that the program is ready for a job, and gives the job's arguments.

    The VM may be copied at this place: everything after the call runs once for each job, everything before may run once
    for many. So random numbers are seeded again; what else was drawn from them before is the same in all jobs.
    """
    try:
        with open(_READY, "rb") as file:
            arguments = [argument.decode() for argument in file.read().split(b"\0")[:-1]]
    except FileNotFoundError:
        return sys.argv[1:]
    global _told
    _told = -1
    if "random" in sys.modules:
        sys.modules["random"].seed()
    return arguments


def run(main):
    """Calls main with the job's arguments when there is a job, and exits with what it returns, as sys.exit would.

    The interpreter is not taken apart, which would take longer than most jobs: a copy of a VM pays for each page that it
    changes. Threads are waited for, exit handlers run, and output is flushed.
    """
    try:
        status = _status(main(ready()))
    except SystemExit as exit:
        status = _status(exit.code)
    except BaseException:
        traceback.print_exc()
        status = 1
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        status = status or 120
    sys.stderr.flush()
    os._exit(status)


def _status(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1
