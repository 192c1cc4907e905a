"""Runs the tests of one module: one line per test, PASS, FAIL or SKIP, which `run` counts."""

import os
import sys
import unittest

SUITE = os.environ.get("SIGMUX_SUITE", "python")


class Lines(unittest.TestResult):
    def addSuccess(self, test):
        self._line("PASS", test)

    def addSkip(self, test, reason):
        self._line("SKIP", test, f": {reason}")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._line("FAIL", test, f"\n{self.failures[-1][1]}")

    def addError(self, test, err):
        super().addError(test, err)
        self._line("FAIL", test, f"\n{self.errors[-1][1]}")

    def _line(self, verdict, test, details=""):
        name = test.id().rsplit(".", 1)[-1].removeprefix("test_").replace("_", " ")
        print(f"{verdict} {SUITE}: {name}{details}", flush=True)


def main():
    sys.path.insert(0, os.path.dirname(__file__))
    tests = unittest.defaultTestLoader.loadTestsFromName(sys.argv[1])
    sys.exit(0 if tests.run(Lines()).wasSuccessful() else 1)


if __name__ == "__main__":
    main()
