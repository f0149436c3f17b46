"""Runs the tests of modules, and prints a line for each test, `@@ MODULE RESULT NAME`, and `@@ end` behind each module. RESULT is ok,
failed or skipped; or, whatever came of it, process or network for a test that used one. What `cpython.modules` gives a reason to
leave out is left out.

    python cpython.runner.py MODULE ...
"""

import os
import sys
import traceback
import unittest
from pathlib import Path
from test import support

NEEDS = {"subprocess.Popen": "process", "os.fork": "process", "os.forkpty": "process", "os.exec": "process", "os.posix_spawn": "process",
         "os.system": "process", "socket.bind": "network", "socket.connect": "network", "socket.getaddrinfo": "network",
         "socket.gethostbyname": "network"}
# Tests may take standard output for themselves.
lines = os.fdopen(os.dup(1), "w")
listed = [line.split(" ", 1) for line in Path(__file__).with_name("cpython.modules").read_text().splitlines()]
left_out = [words[0] for words in listed if len(words) == 2]
needed = set()
sys.addaudithook(lambda event, _: needed.add(NEEDS[event]) if event in NEEDS else None)
# What needs a network, much memory or much time is left out, as the tests' own driver does unless it is told otherwise.
support.use_resources = []


class Result(unittest.TestResult):
    def __init__(self, module):
        super().__init__()
        self.module, self.worst = module, "ok"

    def startTest(self, test):
        super().startTest(test)
        self.worst = "ok"
        needed.clear()

    def stopTest(self, test):
        result = next(iter(needed), self.worst)
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
        elif not any(f"{test.id().removeprefix('test.')}.".startswith(f"{name}.") for name in left_out):
            yield test


for module in sys.argv[1:]:
    try:
        suite = unittest.defaultTestLoader.loadTestsFromName(f"test.{module}")
        unittest.TestSuite(wanted([suite])).run(Result(module))
    # A module that cannot even be loaded has no results.
    except Exception:
        traceback.print_exc()
    print("@@ end", file=lines, flush=True)
