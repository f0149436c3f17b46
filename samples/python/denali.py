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
