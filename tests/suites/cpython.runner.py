"""Runs the tests of modules, and prints a line for each test, `@@ MODULE RESULT NAME`, and `@@ end` behind each module. RESULT is ok,
failed or skipped; or, whatever came of it, process for a test that started one. What `cpython.modules` gives a reason to leave
out is left out; with --left-out, only that is run.

    python cpython.runner.py [--left-out] MODULE ...
"""

import faulthandler
import os
import sys
import traceback
import unittest
from pathlib import Path
from test import support

STARTS = ["subprocess.Popen", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.system"]
# Tests may take standard output for themselves.
lines = os.fdopen(os.dup(1), "w")
listed = [line.split(" ", 1) for line in Path(__file__).with_name("cpython.modules").read_text().splitlines()]
left_out = [words[0] for words in listed if len(words) == 2]
started = []
sys.addaudithook(lambda event, _: started.append(event) if event in STARTS else None)
only_left_out = sys.argv[1] == "--left-out"
# Seconds that one test may take.
patience = 20 if only_left_out else 120
# What needs a network, much memory or much time is left out, as the tests' own driver does unless it is told otherwise. These say
# that they need a network, and mean the loopback.
LOOPBACK = ["test_socketserver"]


class Result(unittest.TestResult):
    def __init__(self, module):
        super().__init__()
        self.module, self.worst = module, "ok"

    def startTest(self, test):
        super().startTest(test)
        self.worst = "ok"
        started.clear()
        faulthandler.dump_traceback_later(patience, exit=True, file=sys.__stderr__)

    def stopTest(self, test):
        faulthandler.cancel_dump_traceback_later()
        result = "process" if started else self.worst
        print("@@", self.module, result, test.id().removeprefix("test."), file=lines, flush=True)
        super().stopTest(test)

    def addSkip(self, test, reason):
        self.worst = "skipped"

    def addExpectedFailure(self, test, error):
        self.worst = "skipped"

    def addSubTest(self, test, part, error):
        if error is not None:
            self.addError(test, error)

    def addError(self, test, error):
        self.worst = "failed"
        print(test.id(), self._exc_info_to_string(error, test), file=sys.stderr, flush=True)

    addFailure = addError

    def addUnexpectedSuccess(self, test):
        self.worst = "failed"


def wanted(tests):
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            test._tests = list(wanted(test))
            yield test
        elif only_left_out == any(f"{test.id().removeprefix('test.')}.".startswith(f"{name}.") for name in left_out):
            yield test


for module in sys.argv[1 + only_left_out:]:
    support.use_resources = ["network"] if module in LOOPBACK else []
    try:
        suite = unittest.defaultTestLoader.loadTestsFromName(f"test.{module}")
        unittest.TestSuite(wanted([suite])).run(Result(module))
    # A module that cannot even be loaded has no results.
    except Exception:
        traceback.print_exc()
    print("@@ end", file=lines, flush=True)
